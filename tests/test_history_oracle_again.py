"""The other half of the views of test_history_oracle.py."""

from conftest import TDengine
from test_history_oracle import SEED, hold_to_the_live_table


def test_the_look_back_answers_other_views_as_the_live_table_does(tdengine: TDengine) -> None:
    hold_to_the_live_table(tdengine, SEED + 1)
