"""Pause on the page: what is shown stays, whatever happens, and goes on with the newest data."""

# ruff: noqa: F811, the fixtures are test_page's

import re
from typing import Any

import pytest
import requests
from support import free_port, wait_for
from test_page import PATIENCE, Page, chromium, live, meters, page, server  # noqa: F401
from test_page_time import MARK, MARKED, back, choose, titles, wait_until_shown  # noqa: F401

pytestmark = pytest.mark.browser

PAUSED = r"live, paused since \d\d:\d\d:\d\d"


def pause(page: Page) -> None:
    """Pause, and wait until what was being drawn has been drawn."""
    page.tab.click("#pause")
    wait_for(lambda: is_still(page, 3), "a picture that stays", PATIENCE)


def shown(page: Page) -> tuple[list[str], list[str]]:
    """The times in the grid, and the panels' titles."""
    return page.timestamps(), titles(page)


def picture(page: Page) -> tuple[Any, ...]:
    """The same, and the charts as they are drawn."""
    return *shown(page), *(page.plot(number) for number in (1, 2, 3))


def is_still(page: Page, rows_later: int) -> bool:
    """Whether the picture is the same when the header has told of newer rows so often."""
    before = picture(page)
    for _ in range(rows_later):
        seen = page.newest()
        wait_for(lambda seen=seen: page.newest() > seen, "newer rows in the header", PATIENCE)
    return picture(page) == before


def test_live_pauses_and_goes_on_with_the_newest_rows(live: int, page: Page) -> None:
    page.open(live)
    wait_for(page.timestamps, "timestamps in the datagrid")
    assert page.text("#pause") == "Pause"
    pause(page)
    assert page.text("#pause") == "Go on"
    assert re.fullmatch(PAUSED, page.text("#state"))
    assert page.state() == "paused"
    said = page.text("#state")
    before = page.timestamps()
    assert is_still(page, 5)
    assert page.text("#state") == said, "since when, and not for how long"

    page.tab.click("#pause")
    page.wait_for_state("live")
    assert page.text("#state") == "live"
    wait_for(lambda: min(page.timestamps(), default="") > max(before), "newer rows", PATIENCE)
    drawn = page.plot(1)
    wait_for(lambda: page.plot(1) != drawn, "a chart that moves", PATIENCE)
    assert page.errors == []


def test_the_space_key_pauses_where_no_field_or_button_has_the_focus(live: int, page: Page) -> None:
    page.open(live)
    keyboard = page.tab.keyboard
    keyboard.press("Space")
    page.wait_for_state("paused")
    keyboard.press("Space")
    page.wait_for_state("live")

    page.tab.focus("#theme")
    keyboard.press("Space")
    assert page.is_light(), "the button took it"
    assert page.state() == "live"
    page.toggle_settings(0, True)
    field = page.tab.locator("perspective-viewer").nth(0).locator("#settings_panel input").first
    field.focus()
    keyboard.press("Space")
    assert page.state() == "live"
    page.toggle_settings(0, False)

    page.tab.focus("#pause")
    keyboard.press("Space")
    page.wait_for_state("paused")
    keyboard.press("Space")
    page.wait_for_state("live")
    assert page.errors == []


def test_another_time_ends_the_pause(back: int, page: Page) -> None:
    page.open(back)
    page.tab.click("#pause")
    page.wait_for_state("paused")
    choose(page, "5m")
    assert "paused" not in page.text("#state")
    page.tab.click("#pause")
    assert re.fullmatch(r"last 5 min, paused since [\d:]+", page.text("#state"))
    choose(page, "live")
    assert page.text("#pause") == "Pause"
    assert page.text("#state") == "live"
    before = max(wait_for(page.timestamps, "timestamps"))
    wait_for(lambda: min(page.timestamps(), default="") > before, "rows that move on", PATIENCE)
    assert page.errors == []


def test_what_is_arranged_during_a_pause_is_shown(live: int, page: Page) -> None:
    page.open(live)
    pause(page)
    page.arrange(0, {"plugin": "Datagrid", "group_by": ["location"], "columns": ["voltage"], "title": "Mine"})
    assert page.saved(0)["group_by"] == ["location"]
    assert page.state() == "paused"
    page.tab.click("#pause")
    page.wait_for_state("live")
    assert page.saved(0)["title"] == "Mine"


def test_a_servers_restart_does_not_end_the_pause(meters: dict[str, str], page: Page) -> None:
    port = free_port()
    with server(meters, port):
        page.open(port)
        wait_for(page.timestamps, "timestamps in the datagrid")
        pause(page)
        said = page.text("#state")
        before = shown(page)
        page.tab.locator("section > perspective-viewer").evaluate_all(MARK)
    wait_for(lambda: page.state() == "silent", "no answer", PATIENCE)
    assert page.text("#state").endswith(said.removeprefix("live"))
    with server(meters, port):
        page.wait_for_state("held")
        since = said.removeprefix("live")
        lost = "the connection was lost and is back; what is new is drawn when you go on"
        assert page.text("#state") == lost + since
        wait_for(lambda: is_still(page, 3), "a picture that stays", PATIENCE)
        assert shown(page) == before
        page.tab.click("#pause")
        page.wait_for_state("live")
        wait_for(lambda: min(page.timestamps(), default="") > max(before[0]), "newer rows", PATIENCE)
        assert page.tab.locator(MARKED).count() == 0
        page.tab.click("#pause")
        page.wait_for_state("paused")
        assert re.fullmatch(PAUSED, page.text("#state"))


def test_a_lost_look_back_does_not_end_the_pause(back: int, page: Page) -> None:
    page.open(back)
    choose(page, "1h")
    page.tab.click("#pause")
    page.tab.locator("section > perspective-viewer").evaluate_all(MARK)
    requests.post(f"http://localhost:{back}/drop", timeout=10).raise_for_status()
    page.wait_for_state("held")
    assert page.tab.locator(MARKED).count() == 4
    page.tab.click("#pause")
    wait_for(lambda: page.tab.locator(MARKED).count() == 0, "new viewers", PATIENCE)
    wait_until_shown(page, "1h")
    assert "paused" not in page.text("#state")
