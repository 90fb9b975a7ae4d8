"""Time zones on the page: which one it shows, days of UTC, and the night in which a clock is put back."""

# ruff: noqa: F811, the fixtures are test_page's

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
from conftest import TDengine
from support import free_port, wait_for
from test_page import PATIENCE, Page, chromium, meters, page, server  # noqa: F401
from test_page_time import Looks, back, choose, make_meters, viewer, wait_until_shown  # noqa: F401

pytestmark = pytest.mark.browser

BERLIN = "Europe/Berlin"
MIDNIGHT = int(datetime(2026, 10, 24, 22, tzinfo=UTC).timestamp() * 1000)  # in Berlin, before that night
STEP = 10 * 60_000  # ms
ROWS = 6 * 6  # until 05:00, for at 03:00 it is 02:00 once more
SHOWN = "async (viewer) => JSON.stringify(await (await viewer.getView()).to_columns())"


@contextmanager
def page_in(chromium: Any, zone: str) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1280, "height": 720}, timezone_id=zone)
    yield Page(context.new_page())
    context.close()


@pytest.fixture
def berlin(chromium: Any) -> Iterator[Page]:
    with page_in(chromium, BERLIN) as page:
        yield page


@pytest.fixture(scope="module")
def night(tdengine: TDengine) -> Iterator[int]:
    """The port of a server with a row each ten minutes of three devices, in the night to 2026-10-25."""
    settings = make_meters(tdengine, "test_page_zones", MIDNIGHT, STEP, ROWS)
    port = free_port()
    with server({**settings, "PERSPECTIVE_WINDOW": "36500d"}, port):
        yield port
    connection = tdengine.connect()
    connection.execute("DROP DATABASE test_page_zones")
    connection.close()


def shown(page: Page, number: int) -> dict[str, list]:
    return json.loads(viewer(page, number).evaluate(SHOWN))


def asked(looks: Looks) -> list[str]:
    """The spans that the server was asked for."""
    return [parse_qs(urlsplit(url).query)["time"][0] for url in looks.sockets]


def fill(page: Page, first: str, last: str) -> None:
    """Type a span, as the clock shows it."""
    page.tab.click("#own")
    page.tab.fill("#span [name=from]", first)
    page.tab.fill("#span [name=to]", last)
    page.tab.click("#span button")
    wait_until_shown(page, "own")


@pytest.mark.parametrize(
    ("zone", "name", "going_by"),
    [
        (BERLIN, BERLIN, "; steps of days, and what is computed of a time, go by UTC"),
        ("UTC", "UTC", ""),
        (
            "America/New_York",
            "America/New_York",
            "; steps of days, and what is computed of a time, go by UTC",
        ),
    ],
)
def test_the_page_says_which_time_zone_it_shows(
    night: int, chromium: Any, zone: str, name: str, going_by: str
) -> None:
    with page_in(chromium, zone) as page:
        page.open(night)
        assert page.text("#zone") == name
        title = f"Times are shown in {name}, as this browser is set{going_by}"
        assert page.tab.get_attribute("#zone", "title") == title
        newest = datetime.fromtimestamp((MIDNIGHT + (ROWS - 1) * STEP) / 1000, ZoneInfo(zone))
        assert page.text("#newest").startswith(f"newest {newest:%Y-%m-%d %H:%M:%S},")


def test_rows_of_the_night_are_drawn_once_and_in_order(night: int, berlin: Page) -> None:
    berlin.open(night)
    moments = [MIDNIGHT + number * STEP for number in range(ROWS)]
    steps = shown(berlin, 1)
    columns = [name for name in steps if name.endswith("|current (A)")]
    path = next(steps[name] for name in steps if name.startswith("__ROW_PATH"))
    flat = [each[0] if isinstance(each, list) else each for each in path]
    assert flat == moments, "a chart's steps"
    assert len(columns) == 3
    assert all(None not in steps[name] for name in columns)
    assert berlin.coloured(berlin.plot(1)) > 0.01

    rows = {
        "group_by": [],
        "columns": ["timestamp", "current"],
        "filter": [["location", "==", "Campbell"]],
        "sort": [["timestamp", "asc"]],
        "expressions": {},
        "aggregates": {},
        "title": "Rows",
        "group_rollup_mode": "rollup",
    }
    berlin.arrange(0, rows)
    assert shown(berlin, 0)["timestamp"] == moments
    clock = [datetime.fromtimestamp(moment / 1000, ZoneInfo(BERLIN)) for moment in moments]
    expected = [f"{at:%m/%d, %H:%M:%S}.000" for at in clock]
    assert expected.count("10/25, 02:30:00.000") == 2

    def times() -> list[str]:
        cells = viewer(berlin, 0).locator("regular-table tbody td").all_text_contents()
        return [cell for cell in cells if cell.startswith("10/25")]

    seen = wait_for(times, "the rows' times", PATIENCE)
    assert seen == expected[: len(seen)]
    assert len(seen) > 5
    berlin.arrange(0, {"sort": [["timestamp", "desc"]]})
    wait_for(lambda: times()[:3] == expected[::-1][:3], "the newest rows first", PATIENCE)
    assert berlin.errors == []


def test_a_span_typed_in_that_night_means_what_the_clock_showed(night: int, berlin: Page) -> None:
    looks = Looks(berlin)
    berlin.open(night)
    fill(berlin, "2026-10-25T01:00", "2026-10-25T04:00")
    assert berlin.text("#state") == "2026-10-25 01:00 – 04:00"
    assert asked(looks)[-1] == "2026-10-24T23:00Z/2026-10-25T03:00Z", "four hours"
    wait_for(lambda: berlin.text("#rows").startswith("72 rows"), "the rows of four hours", PATIENCE)
    assert berlin.tab.evaluate("location.hash") == "#time=2026-10-25T01:00/2026-10-25T04:00"
    fill(berlin, "2026-10-25T02:30", "2026-10-25T03:30")
    assert asked(looks)[-1] == "2026-10-25T00:30Z/2026-10-25T02:30Z", "the first 02:30"


def test_the_second_time_that_a_clock_shows_can_be_named(night: int, berlin: Page) -> None:
    looks = Looks(berlin)
    berlin.tab.goto(f"http://localhost:{night}/#time=2026-10-25T01:30Z/2026-10-25T02:30Z")
    wait_until_shown(berlin, "own")
    said = "2026-10-25 02:30+01:00 – 03:30"
    assert berlin.text("#state") == said
    assert shown(berlin, 1), "it is drawn"
    title = berlin.tab.locator("section").nth(1).get_attribute("aria-label")
    assert title.endswith(f", {said}")
    berlin.tab.click("#own")
    assert berlin.tab.input_value("#span [name=from]") == "2026-10-25T02:30"
    berlin.tab.click("#span button")
    wait_for(lambda: "+01:00" in berlin.tab.evaluate("location.hash"), "the span that was shown")
    wait_until_shown(berlin, "own")
    assert berlin.text("#state") == said
    choose(berlin, "all")
    assert berlin.tab.locator("section").nth(1).get_attribute("aria-label").endswith(", all 5.8 h")
    assert set(asked(looks)) == {"2026-10-25T01:30Z/2026-10-25T02:30Z", "all"}


@pytest.mark.parametrize(("zone", "suffix"), [("America/New_York", " of UTC"), ("UTC", "")])
def test_steps_of_days_say_that_they_are_days_of_utc(
    back: int, chromium: Any, zone: str, suffix: str
) -> None:
    with page_in(chromium, zone) as page:
        page.open(back)
        choose(page, "7d")
        assert page.saved(1)["group_by"] == ["timestamp, steps of 1 h"]
        choose(page, "all")
        name = f"timestamp, steps of 2 d{suffix}"
        saved = page.saved(1)
        assert saved["group_by"] == [name]
        shown_in = saved["columns_config"][name]["date_format"].get("timeZone")
        assert shown_in == ("UTC" if suffix else None)
        assert page.coloured(page.plot(1)) > 0.01
        choose(page, "1h")
        assert page.saved(1)["group_by"] == ["timestamp, steps of 15 s"]
        assert list(page.saved(1)["columns_config"]) == ["timestamp, steps of 15 s"]
