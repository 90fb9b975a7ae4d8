"""The look back answers as the live table would if it held all those rows: random views, asked of both.

HISTORY_VIEWS views, 2,000 unless set, half of them here and half in test_history_oracle_again.py, at the same
time; HISTORY_SEED the first of them; history_oracle.py says how to ask more.
"""

import os

from conftest import TDengine
from history_oracle import KNOWN, NOT_MET, Oracle
from random_views import PageViews, Views
from support import ROOT

VIEWS = int(os.environ.get("HISTORY_VIEWS", "2000"))
SEED = int(os.environ.get("HISTORY_SEED", "1"))
MOST_REFUSED = 0.4  # of the views: more, and hardly anything would be compared


def hold_to_the_live_table(
    tdengine: TDengine, seed: int, views: int = VIEWS // 2, kind_of_views: type[Views] = Views
) -> None:
    connection = tdengine.connect(read_timeout="30")
    oracle = Oracle(connection, tdengine.port, seed, kind_of_views)
    oracle.ask(views)
    connection.close()
    assert not oracle.unknown, "\n\n".join([*oracle.unknown.values(), oracle.report()])
    assert oracle.refused.total() + oracle.refused_live.total() < MOST_REFUSED * oracle.asked, oracle.report()


def test_the_look_back_answers_as_the_live_table_does(tdengine: TDengine) -> None:
    hold_to_the_live_table(tdengine, SEED)


def test_it_does_so_in_views_such_as_the_pages(tdengine: TDengine) -> None:
    hold_to_the_live_table(tdengine, SEED, VIEWS // 10, PageViews)


def test_what_may_differ_is_what_the_documentation_lists() -> None:
    text = (ROOT / "docs" / "history.md").read_text().partition("## What differs")[2]
    listed = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")]
    assert sorted(listed[2:]) == sorted([*(what for what, _ in KNOWN), *NOT_MET])
