"""A table of latest rows holds the newest row of each subtable, after any history."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import TDengine
from test_mirror import HOUR, METERS, Copy, Histories, Source, run_histories

from tdengine_perspective.mirror.latest import LatestReader


class LatestSource(Source):
    shows_subtables = True

    def latest(self) -> list[tuple[Any, ...]]:
        """The newest row of each subtable, found out without LAST_ROW; of a composite key's the last one."""
        newest: dict[str, tuple[tuple, Any]] = {}
        for subtable, timestamp, values in self.rows(since=" IS NOT NULL"):
            order = (timestamp, values[1] if self.is_composite else 0)
            if subtable not in newest or order > newest[subtable][0]:
                newest[subtable] = (order, values)
        return [values for _, values in newest.values()]


class LatestCopy(Copy):
    """As Copy, of the latest rows."""

    def make_reader(self) -> Any:
        return LatestReader(self.source.tdengine, self.limit)

    def assert_exact(self) -> None:
        assert list(self.view.to_columns()) == self.source.labels
        assert sorted(map(repr, self.rows())) == sorted(map(repr, self.source.latest()))


class LatestHistories(Histories):
    make_source, make_copy = LatestSource, LatestCopy

    def assert_fresh_rows_are_there(self) -> None:
        held = set(map(repr, self.copy.rows()))
        latest = set(map(repr, self.source.latest()))
        for _, _, values in self.fresh:
            assert repr(values) in held or repr(values) not in latest, f"{values} is not there"


def test_the_table_is_exact_after_any_history(tdengine: TDengine) -> None:
    histories = int(os.environ.get("TEST_HISTORIES", 15 if tdengine.is_emulator else 8))
    run_histories(tdengine, None, histories, LatestHistories)


@pytest.fixture
def source(tdengine: TDengine) -> Iterator[LatestSource]:
    source = LatestSource(tdengine)
    yield source
    source.close()


def test_a_subtable_that_fell_silent_stays_and_a_dropped_one_goes(source: LatestSource) -> None:
    copy = LatestCopy(source)
    now = source.clock()
    source.insert("d0", [(now - 300 * 24 * HOUR, 1.0, 1, 1.0)])
    source.insert("d1", [(now, 2.0, 2, 2.0)])
    copy.poll()
    copy.assert_exact()
    assert len(copy.rows()) == 2
    source.execute(f"DROP TABLE {source.database}.d1")
    copy.poll(whole_window=True)
    copy.assert_exact()
    assert len(copy.rows()) == 1


def test_more_subtables_than_the_limit_are_said_and_not_left_out_in_silence(source: LatestSource) -> None:
    copy = LatestCopy(source, limit=2)
    now = source.clock()
    for number, meter in enumerate(METERS):
        source.insert(meter, [(now + number, 1.0, 1, 1.0)])
    copy.poll()
    assert len(copy.rows()) == 2
    assert "has more rows than are shown" in copy.mirror.state.notices[0]
