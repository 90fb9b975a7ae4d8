"""The benchmark measures what it says: a run too short to tell anything but that it works."""

import sys
from dataclasses import replace
from typing import Any

import pytest
from conftest import TDengine
from support import ROOT
from test_page import chromium  # noqa: F401

from tdengine_perspective import tdengine as reaching

sys.path.append(str(ROOT / "bench"))

import history
import measure
import push
from drawing import Growth, Panel, draw, draw_growth


@pytest.fixture
def own(tdengine: TDengine, database: str) -> reaching.TDengine:
    return reaching.TDengine(
        tdengine.host, tdengine.port, tdengine.user, tdengine.password, database, "meters"
    )


@pytest.mark.parametrize("kind", [measure.NAIVE, measure.OURS])
def test_a_reader_is_measured_from_the_viewers_side(own: reaching.TDengine, kind: str) -> None:
    plan = replace(measure.QUICK, follow=1.5, check=1.5, settle=2.5, quiet=0.7)
    found = measure.measure_reader(kind, own, 2, plan)
    assert 0 < found["processor"] < 2
    assert found["bytes_per_second"] > 0
    assert 0 <= found["freshness_p50"] <= found["freshness_p99"]
    assert found["rows_missing"] == 0
    assert (found["updates_while_quiet"] == 0) == (kind == measure.OURS)


@pytest.mark.parametrize("case", ["100", push.PUSH])
def test_pushed_rows_are_measured_against_polled_ones(
    own: reaching.TDengine, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PERSPECTIVE_SUBSCRIBE", "PERSPECTIVE_REFRESH_RATE"):
        monkeypatch.setenv(name, "")  # and as it was, afterwards
    found = push.measure(case, own, 1, 1.5, None)
    assert 0 <= found["freshness_p50"] <= found["freshness_p99"]
    assert found["source_at_the_end"] == ("push" if case == push.PUSH else "poll")


@pytest.mark.parametrize("kind", [measure.NAIVE, measure.OURS])
def test_a_producer_is_measured_by_the_rows_that_are_there(own: reaching.TDengine, kind: str) -> None:
    found = measure.measure_producer(kind, own, rows=300, seconds=0.5)
    assert found["rows_there"] > 0
    assert (found["rows_there"] >= found["rows_written"]) == (kind == measure.OURS)
    assert found["rows_per_second"] > 0


def test_freshness_counts_a_row_from_the_first_snapshot_that_covers_it() -> None:
    snapshots = [[(1000, 900), (1300, 1200)], [(1010, 900), (1320, 1100)]]
    assert measure.freshness([900, 950, 1100, 1200, 1250], snapshots) == [100, 200, 220, 350, 370]


def test_a_missed_target_shows_in_the_table() -> None:
    lines = [measure.Line("what", "8", "2", "≤ 1", False), measure.Line("other", "8", "1", "≤ 1", True)]
    assert "| what | 8 | 2 | ≤ 1 | missed |\n| other | 8 | 1 | ≤ 1 | holds |" in measure.table(lines)


def test_a_drawing_shows_every_point() -> None:
    panels = [Panel("cost", "rows", [(10, 1.0), (100, 1.5), (1000, 7.0)]), Panel("flat", "rows", [(10, 0.0)])]
    drawing = draw(panels, columns=2, caption="on an emulator")
    assert drawing.startswith("<svg ")
    assert drawing.count("<circle") == 4
    assert "on an emulator" in drawing


@pytest.mark.browser
def test_looking_back_is_measured_from_the_choice_of_a_time_on(own: reaching.TDengine, chromium: Any) -> None:  # noqa: F811
    history.fill(own, 10_000)
    seen = history.look_by_page(own, chromium)
    assert all(seconds > 0 for seconds in seen.seconds.values())
    assert list(seen.seconds) == [history.FIRST, "all", "1h"]
    selects = {key: history.selects_of(own, key, seen.frames[key], 1) for key in history.SPANS}
    assert any("INTERVAL" in each["sql"] for each in selects["all"])
    assert all(" NOW() - 1h" in each["sql"] for each in selects["1h"])
    found = history.measure_reading(own, seen.frames["all"])
    assert found["rows"] == 10_000
    assert found["errors"] == []


def test_memory_is_watched_over_views_that_look_back(own: reaching.TDengine) -> None:
    history.fill(own, 10_000)
    plan = replace(history.QUICK, views=80, at_once=40)
    found = history.measure_memory(own, 10_000, plan)
    assert [sample["views"] for sample in found["samples"]] == [40, 80]
    assert all(sample["answering"] > 0 and sample["asking"] > 0 for sample in found["samples"])
    assert found["refused"] == 0


def test_live_rows_are_watched_while_others_look_back(own: reaching.TDengine) -> None:
    history.fill(own, 10_000)
    found = history.measure_live(own, 10_000, replace(history.QUICK, rounds=2, follow=2))
    for which in ("alone", "beside"):
        assert 0 <= found[which]["p50"] <= found[which]["p99"]
    assert found["dashboards"] >= history.LOOKING
    assert found["refused"] == 0


def test_growth_is_drawn_with_each_lines_name() -> None:
    lines = [
        Growth("All drawn", [(1e5, 1.0), (1e6, 1.1)]),
        Growth("read", [(1e5, 0.6), (1e6, 6.1)], is_other=True),
    ]
    drawing = draw_growth(lines, "rows", "seconds", "on an emulator")
    assert drawing.count("<circle") == 4
    assert "All drawn" in drawing
    assert 'class="other"' in drawing
