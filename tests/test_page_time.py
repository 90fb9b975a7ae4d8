"""The choice of time on the page: looking back, following, arrangements and layouts, in Chromium.

Most of it before a stand-in for /history (engine_handler.py), whose rows are made by rule; what TDengine has
part in, before the real one.
"""

# ruff: noqa: F811, the fixtures are test_page's

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import TDengine
from support import Process, answers, free_port, python, wait_for
from test_page import (  # noqa: F401
    PATIENCE,
    Page,
    chromium,
    file_server,
    health,
    meters,
    page,
    reverse_proxy,
    server,
)

pytestmark = pytest.mark.browser

SPANS = {"5m": "5 min", "15m": "15 min", "1h": "1 h", "6h": "6 h", "24h": "24 h", "7d": "7 d"}
MARK = "viewers => viewers.forEach((viewer) => (viewer.dataset.mark = 'same'))"
MARKED = "section > perspective-viewer[data-mark=same]:not(.leaving)"
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
ROWS = "async (viewer) => (await viewer.getView()).num_rows()"
SHOWN = "async (viewer) => JSON.stringify(await (await viewer.getView()).to_columns())"


@contextmanager
def with_stand_in(settings: dict[str, str], port: int, *faults: str) -> Iterator[Process]:
    """The server on the port whose /history is the stand-in."""
    command = python("tests/engine_handler.py", *faults)
    environment = {**settings, "PERSPECTIVE_PORT": str(port), "PYTHONPATH": "."}
    with Process(command, environment) as process:
        try:
            wait_for(lambda: answers(port) or not process.running(), "the server")
            assert process.running()
            yield process
        finally:
            print("\n".join(line for line in process.lines if not line.startswith("asked")))


@pytest.fixture(scope="module")
def back(meters: dict[str, str]) -> Iterator[int]:
    """The port of a server whose looks back are the stand-in's."""
    port = free_port()
    with with_stand_in(meters, port):
        wait_for(lambda: health(port)["rows"] > 0, "rows")
        yield port


class Looks:
    """What the page asks on its WebSockets to /history."""

    def __init__(self, page: Page):
        self.sockets: list[str] = []
        self.asked = 0
        page.tab.on("websocket", self.listen)

    def listen(self, socket: Any) -> None:
        if "/history" in socket.url:
            self.sockets.append(socket.url)
            socket.on("framesent", self.count)

    def count(self, _: Any) -> None:
        self.asked += 1


def choose(page: Page, key: str) -> None:
    page.tab.click(f"#times [data-time='{key}']")
    wait_until_shown(page, key)


def pressed(page: Page) -> str:
    return page.tab.locator("#times [aria-pressed=true]").text_content()


def titles(page: Page) -> list[str]:
    return page.tab.locator("section").evaluate_all("all => all.map((section) => section.ariaLabel)")


def wait_until_shown(page: Page, key: str) -> None:
    """Until the panels show that time and nothing else, and the header says so."""
    state = "live" if key == "live" else "past"
    page.wait_for_state(state)
    sections = "section.of-before, section > perspective-viewer:is(.arriving, .leaving)"
    wait_for(lambda: page.tab.locator(sections).count() == 0, "all panels at the time", PATIENCE)
    page.wait_for_state(state)


def viewer(page: Page, number: int) -> Any:
    return page.tab.locator("section").nth(number).locator("perspective-viewer:not(.leaving)").first


def table_of(page: Page, number: int) -> str:
    return viewer(page, number).evaluate("async (viewer) => (await viewer.save()).table")


def faults(page: Page) -> list[str]:
    return page.tab.locator("section > .fault").all_text_contents()


def test_each_span_can_be_chosen_and_a_link_shows_the_same(back: int, page: Page) -> None:
    page.open(back)
    assert pressed(page) == "Live"
    for key, label in SPANS.items():
        choose(page, key)
        assert pressed(page) == label
        assert page.tab.evaluate("location.hash") == f"#time={key}"
        wait_for(
            lambda label=label: all(title.endswith(f", last {label}") for title in titles(page)),
            f"titles that tell the last {label}",
            PATIENCE,
        )
        assert 40 <= viewer(page, 1).evaluate(ROWS) <= 301, label
        assert page.text("#state").startswith(f"last {label}, asked every ")
        assert re.fullmatch(r"[\d,]+ rows in 0\.021 s", page.text("#rows"))
        assert {table_of(page, number) for number in range(4)} == {"meters_history"}
    choose(page, "all")
    assert all(title.endswith(", all 400 d") for title in titles(page)), titles(page)
    assert page.coloured(page.plot(1)) > 0.01
    choose(page, "live")
    assert {table_of(page, number) for number in range(4)} == {"meters_values"}
    assert page.errors == []

    page.tab.goto("about:blank")
    page.tab.goto(f"http://localhost:{back}/#time=6h")
    wait_until_shown(page, "6h")
    assert pressed(page) == "6 h"
    assert titles(page)[1] == "Current by location (A), stacked, last 6 h"


def test_the_browsers_buttons_lead_back_and_forward(back: int, page: Page) -> None:
    page.open(back)
    choose(page, "1h")
    choose(page, "24h")
    page.tab.go_back()
    wait_for(lambda: pressed(page) == "1 h", "the span before")
    wait_until_shown(page, "1h")
    assert titles(page)[0].endswith(", last 1 h")
    page.tab.go_forward()
    wait_for(lambda: pressed(page) == "24 h", "the span after")
    wait_until_shown(page, "24h")
    page.tab.go_back()
    page.tab.go_back()
    wait_for(lambda: pressed(page) == "Live", "the beginning")
    wait_until_shown(page, "live")


def test_from_one_moment_to_another_by_keyboard(back: int, page: Page) -> None:
    looks = Looks(page)
    page.open(back)
    keyboard = page.tab.keyboard
    page.tab.focus("#own")
    keyboard.press("Enter")
    assert page.tab.evaluate("document.activeElement.name") == "from"
    keyboard.press("Escape")
    assert not page.tab.is_visible("#span")
    keyboard.press("Enter")
    page.tab.fill("#span [name=from]", "2026-11-24T08:00")
    page.tab.fill("#span [name=to]", "2026-11-24T07:30")
    keyboard.press("Enter")
    assert page.tab.is_visible("#span"), "it ends before it begins"
    page.tab.fill("#span [name=to]", "2026-11-24T09:30")
    keyboard.press("Enter")
    page.wait_for_state("past")
    wait_until_shown(page, "own")
    assert not page.tab.is_visible("#span")
    assert pressed(page) == "From–to"
    assert page.tab.evaluate("location.hash") == "#time=2026-11-24T08:00/2026-11-24T09:30"
    assert page.text("#state") == "2026-11-24 08:00 – 09:30"
    assert titles(page)[0].endswith(", 2026-11-24 08:00 – 09:30")
    assert looks.sockets[-1].endswith("/history?time=2026-11-24T08%3A00Z%2F2026-11-24T09%3A30Z")
    assert not page.tab.is_visible("#pause"), "there is nothing to come"


def test_a_time_that_makes_no_sense_is_as_none(back: int, page: Page) -> None:
    page.tab.goto(f"http://localhost:{back}/#time=yesterday")
    page.wait_for_state("live")
    assert pressed(page) == "Live"


def test_what_the_user_arranges_stays_live_and_back(back: int, page: Page) -> None:
    page.open(back)
    page.arrange(0, {"sort": [["voltage (V)", "desc"]], "title": "Mine"})
    steps = page.saved(1)["group_by"]
    page.arrange(1, {"plugin": "Y Bar"})
    choose(page, "1h")
    first, second, third, _ = page.all_saved()
    assert (first["title"], first["sort"]) == ("Mine", [["voltage (V)", "desc"]])
    assert (second["plugin"], second["title"]) == ("Y Bar", "Current by location (A), stacked, last 1 h")
    assert second["group_by"] == ["timestamp, steps of 15 s"] != steps, "in steps that suit"
    assert second["split_by"] == ["location"]

    page.arrange(2, {"columns": ["voltage"]})
    choose(page, "7d")
    assert page.saved(2)["columns"] == ["voltage"]
    assert page.saved(1)["group_by"] == ["timestamp, steps of 1 h"]
    assert third["columns"] == ["voltage", "current", "phase"]
    choose(page, "live")
    first, second, third, _ = page.all_saved()
    assert (first["title"], first["sort"]) == ("Mine", [["voltage (V)", "desc"]])
    assert second["plugin"] == "Y Bar"
    assert re.search(r", last [\d.]+ m?s$", second["title"])
    assert third["columns"] == ["voltage"]
    assert faults(page) == ["", "", "", ""]
    assert page.errors == []


def test_what_can_not_be_had_when_looking_back_is_said_and_back_again_live(
    meters: dict[str, str], page: Page
) -> None:
    port = free_port()
    with with_stand_in(meters, port, "refuses-medians"):
        page.open(port)
        page.arrange(2, {"aggregates": {"voltage": "median"}, "columns": ["voltage"]})
        choose(page, "1h")
        reason = "not shown as arranged: there is no median when looking back"
        wait_for(lambda: faults(page)[2] == reason, "the reason in the third panel", PATIENCE)
        said = faults(page)
        assert said[:2] + said[3:] == ["", "", ""]
        assert page.saved(2)["aggregates"]["voltage"] == "avg"
        choose(page, "24h")
        assert "no median" in faults(page)[2]
        choose(page, "live")
        assert page.saved(2)["aggregates"]["voltage"] == "median"
        assert faults(page) == ["", "", "", ""]


def test_a_span_follows_without_a_flicker(back: int, page: Page) -> None:
    page.open(back)
    choose(page, "5m")
    page.tab.locator("section > perspective-viewer").evaluate_all(MARK)
    page.tab.evaluate(
        """() => {
          window.changes = 0;
          const watch = new MutationObserver(() => window.changes++);
          watch.observe(document.querySelector("main"), { childList: true, subtree: true });
        }"""
    )
    before = page.text("#rows")
    drawn = page.plot(1)
    newest = json.loads(viewer(page, 0).evaluate(SHOWN))["timestamp"]
    wait_for(lambda: page.text("#rows") != before, "more rows", PATIENCE)
    wait_for(
        lambda: json.loads(viewer(page, 0).evaluate(SHOWN))["timestamp"] > newest, "newer rows", PATIENCE
    )
    wait_for(lambda: page.plot(1) != drawn, "a chart that moves on", PATIENCE)
    assert page.tab.locator(MARKED).count() == 4
    assert page.tab.locator("section > perspective-viewer").count() == 4
    assert page.errors == []


def test_nothing_is_asked_while_nobody_looks_or_while_it_is_paused(back: int, page: Page) -> None:
    looks = Looks(page)
    page.open(back)
    choose(page, "5m")

    def rounds_later() -> int:
        """What has been asked when three turns could have been."""
        polls = health(back)["polls"]
        wait_for(lambda: page.state() and health(back)["polls"] > polls + 25, "polls", PATIENCE)
        return looks.asked

    before = looks.asked
    wait_for(lambda: page.state() and looks.asked > before, "a question")
    page.tab.evaluate(HIDE, True)
    asked = rounds_later()
    assert rounds_later() == asked
    page.tab.evaluate(HIDE, False)
    wait_for(lambda: page.state() and looks.asked > asked + 4, "questions again")

    page.tab.click("#pause")
    assert re.fullmatch(r"last 5 min, paused since [\d:]+", page.text("#state"))
    asked, rows = rounds_later(), page.text("#rows")
    assert rounds_later() - asked <= 4, "but for pings"
    assert page.text("#rows") == rows
    page.tab.click("#pause")
    assert page.text("#pause") == "Pause"
    wait_for(lambda: page.text("#rows") != rows, "that it goes on", PATIENCE)


def test_a_lost_look_back_comes_back_with_what_the_user_arranged(back: int, page: Page) -> None:
    looks = Looks(page)
    page.open(back)
    choose(page, "1h")
    page.arrange(0, {"sort": [["phase (°)", "asc"]], "title": "Mine"})
    page.tab.locator("section > perspective-viewer").evaluate_all(MARK)
    requests.post(f"http://localhost:{back}/drop", timeout=10).raise_for_status()
    wait_for(lambda: page.state() and len(looks.sockets) == 2, "a new look back", PATIENCE)
    wait_for(lambda: page.tab.locator(MARKED).count() == 0, "new viewers", PATIENCE)
    wait_until_shown(page, "1h")
    assert page.saved(0)["title"] == "Mine"
    assert page.saved(0)["sort"] == [["phase (°)", "asc"]]


def test_while_tdengine_is_out_of_reach_the_page_says_so_and_keeps_what_it_shows(
    meters: dict[str, str], page: Page
) -> None:
    port = free_port()
    with with_stand_in(meters, port, "away"):
        page.tab.goto(f"http://localhost:{port}/#time=1h")
        page.wait_for_state("late")
        assert page.text("#state") == ("last 1 h, not up to date: TDengine at localhost:6041 does not answer")
        wait_for(lambda: page.coloured(page.plot(1)) > 0.01, "a chart", PATIENCE)


def test_a_phone_has_room_for_the_choice(back: int, page: Page) -> None:
    page.tab.set_viewport_size({"width": 390, "height": 844})
    page.open(back)
    width = "document.documentElement.scrollWidth"
    for key in ("7d", "all"):
        choose(page, key)
        assert page.tab.evaluate(width) == 390
    page.tab.click("#own")
    assert page.tab.evaluate(width) == 390
    inside = page.tab.locator("#span :is(input, button)")
    assert all(0 <= each.bounding_box()["x"] < 390 for each in inside.all())
    header = page.tab.locator("header").bounding_box()
    assert header["height"] < 844 / 3


def test_looking_back_works_from_a_file_server_below_a_path_and_with_a_token(
    meters: dict[str, str], page: Page
) -> None:
    port = free_port()
    with with_stand_in({**meters, "PERSPECTIVE_TOKEN": "look-but-only-look"}, port):
        looks = Looks(page)
        with file_server() as address:
            page.tab.goto(f"{address}?server=localhost:{port}&token=look-but-only-look#time=1h")
            wait_until_shown(page, "1h")
        with reverse_proxy(port) as address:
            page.tab.goto(f"{address}?token=look-but-only-look#time=1h")
            wait_until_shown(page, "1h")
            assert page.tab.url == f"{address}#time=1h"
        assert looks.sockets == [
            f"ws://localhost:{port}/history?time=1h&token=look-but-only-look",
            f"{address.replace('http', 'ws')}history?time=1h&token=look-but-only-look",
        ]
        assert page.errors == []


# With TDengine


def make_meters(tdengine: TDengine, database: str, start: int, step: int, rows: int) -> dict[str, str]:
    connection = tdengine.connect()
    connection.execute(f"CREATE DATABASE `{database}`")
    connection.execute(f"USE `{database}`")
    connection.execute(
        "CREATE TABLE meters (ts TIMESTAMP, current FLOAT, voltage INT, phase FLOAT) "
        "TAGS (groupid INT, location BINARY(24))"
    )
    for device, location in enumerate(["Campbell", "Cupertino", "Palo Alto"]):
        values = " ".join(
            f"({start + row * step}, {10 + device + row % 3}, {210 + row % 9}, 146)" for row in range(rows)
        )
        connection.execute(
            f"INSERT INTO d{device} USING meters TAGS ({device}, '{location}') VALUES {values}"
        )
    connection.close()
    return tdengine.settings(database)


def test_somebody_with_old_rows_sees_them_first(tdengine: TDengine, database: str, page: Page) -> None:
    settings = make_meters(tdengine, database, 1_500_000_000_000, 60_000, 2000)
    port = free_port()
    with server(settings, port):
        wait_for(lambda: health(port)["older"], "the news that there are old rows")
        page.tab.goto(f"http://localhost:{port}/")
        wait_until_shown(page, "all")
        assert pressed(page) == "All"
        assert re.match(r"6,000 rows in [\d.]+ s", page.text("#rows"))
        assert "has no rows of the last 12h" in page.text("#notices")
        assert page.text("#notices").endswith("; so this shows all rows")
        assert titles(page)[1] == "Current by location (A), stacked, all 1.4 d"
        assert len(json.loads(viewer(page, 0).evaluate(SHOWN))["timestamp"]) == 3
        assert page.coloured(page.plot(1)) > 0.01
        assert page.errors == []

        page.tab.click("#times [data-time=live]")
        page.wait_for_state("waiting")
        assert pressed(page) == "Live"
        assert "so this shows" not in page.text("#notices")
        choose(page, "7d")
        assert page.text("#rows").startswith("0 rows")
        page.tab.goto("about:blank")
        page.tab.goto(f"http://localhost:{port}/#time=live")
        page.wait_for_state("waiting")
        assert pressed(page) == "Live"


def test_live_and_history_stand_side_by_side_and_are_downloaded_as_such(
    tdengine: TDengine, database: str, page: Page, tmp_path: Path
) -> None:
    now = int(time.time() * 1000)
    settings = make_meters(tdengine, database, now - 1_000_000, 1000, 1000)
    layout = [
        {"title": "Now", "plugin": "Datagrid", "columns": ["timestamp", "current"]},
        {
            "title": "Mean current by location, last 2 h",
            "plugin": "Y Line",
            "table": "meters_history",
            "time": "2h",
            "expressions": {"minute": "bucket(\"timestamp\", '1m')"},
            "group_by": ["minute"],
            "split_by": ["location"],
            "columns": ["current"],
            "aggregates": {"current": "avg"},
        },
    ]
    file = tmp_path / "layout.json"
    file.write_text(json.dumps(layout))
    port = free_port()
    with server({**settings, "PERSPECTIVE_LAYOUT": str(file)}, port):
        wait_for(lambda: health(port)["status"] == "live", "the server's data")
        page.tab.goto(f"http://localhost:{port}/")
        wait_until_shown(page, "layout")
        assert pressed(page) == "Layout"
        assert [table_of(page, 0), table_of(page, 1)] == ["meters_values", "meters_history"]
        assert titles(page) == ["Now", "Mean current by location, last 2 h"]
        assert 16 <= viewer(page, 1).evaluate(ROWS) <= 19
        with page.tab.expect_download() as download:
            page.tab.click("#download")
        stored = json.loads(download.value.path().read_text())
        assert [(each["table"], each.get("time")) for each in stored] == [
            ("meters_values", None),
            ("meters_history", "2h"),
        ]

        choose(page, "1h")
        assert [table_of(page, 0), table_of(page, 1)] == ["meters_history", "meters_history"]
        assert titles(page)[1] == "Mean current by location, last 1 h"
        choose(page, "layout")
        assert [table_of(page, 0), table_of(page, 1)] == ["meters_values", "meters_history"]
        assert titles(page)[1] == "Mean current by location, last 2 h"
        assert faults(page) == ["", ""]
        assert page.errors == []

    file.write_text(json.dumps(stored))
    with server({**settings, "PERSPECTIVE_LAYOUT": str(file)}, port):
        page.tab.goto("about:blank")
        page.tab.goto(f"http://localhost:{port}/")
        wait_until_shown(page, "layout")
        assert [table_of(page, 0), table_of(page, 1)] == ["meters_values", "meters_history"]


def test_the_real_look_back_shows_all_spans_and_says_how_long_it_took(
    tdengine: TDengine, database: str, page: Page
) -> None:
    now = int(time.time() * 1000)
    settings = make_meters(tdengine, database, now - 1_000_000, 500, 2000)
    port = free_port()
    with server(settings, port):
        page.open(port)
        for key in ("15m", "1h", "7d", "all"):
            choose(page, key)
            assert re.fullmatch(r"[\d,]+ rows in [\d.]+ s", page.text("#rows")), page.text("#rows")
            assert 40 <= viewer(page, 1).evaluate(ROWS) <= 301
            assert len(json.loads(viewer(page, 0).evaluate(SHOWN))["timestamp"]) == 3
            assert faults(page) == ["", "", "", ""]
        assert page.text("#rows").startswith("6,000 rows")
        choose(page, "live")
        assert page.errors == []
