"""Links: the address shows whoever opens it what its maker saw, and nothing that no viewer could have."""

# ruff: noqa: F811, the fixtures are test_page's

import base64
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import free_port, wait_for
from test_page import PATIENCE, Page, chromium, live, meters, page, server  # noqa: F401
from test_page_layouts import faults, with_layout
from test_page_time import back, choose, pressed, titles, viewer, wait_until_shown  # noqa: F401

pytestmark = pytest.mark.browser

# What does not depend on the rows at the moment, nor on who looks.
KEPT = ("plugin", "columns", "split_by", "sort", "aggregates", "plugin_config", "group_rollup_mode")


def pack(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(text) + packer.flush()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def unpack(link: str) -> dict[str, Any]:
    """What a link says of the viewers."""
    text = link.partition("view=")[2].partition("&")[0]
    return json.loads(zlib.decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), -15))


def linked(*viewers: Any) -> str:
    """A hash with panels of the viewers, each told by its one panel's fields."""
    told = [each and {"table": "meters_values", "panels": {"0": each}} for each in viewers]
    return f"#time=live&view={pack({'version': 1, 'viewers': told})}"


def copy_link(page: Page) -> str:
    page.tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.tab.click("#copy")
    wait_for(lambda: page.text("#copy") == "Link copied", "the link")
    link = page.tab.evaluate("navigator.clipboard.readText()")
    assert link == page.tab.url
    return link


def open_link(page: Page, link: str) -> None:
    page.tab.goto("about:blank")
    page.tab.goto(link)


@pytest.fixture
def other(chromium: Any) -> Iterator[Page]:
    """Somebody else's browser."""
    context = chromium.new_context(viewport={"width": 1280, "height": 720})
    yield Page(context.new_page())
    context.close()


CHANGES = [
    (0, {"title": "Newest per site", "sort": [["voltage (V)", "desc"]]}),
    (0, {"filter": [["location", "in", ["Campbell", "Cupertino", "San Jose"]]]}),
    (0, {"columns": ["current (A)", "voltage (V)", "timestamp"]}),
    (1, {"plugin": "Y Bar", "title": "Peaks of current"}),
    (1, {"aggregates": {"current (A)": "max"}}),
    (2, {"expressions": {"power (W)": '"voltage" * "current" * cos("phase" * 3.14159265 / 180)'}}),
    (2, {"columns": ["power (W)", "current"], "aggregates": {"power (W)": "median", "current": "max"}}),
    (2, {"plugin_config": {"legend_mode": "floating"}}),
    (3, {"plugin": "Sunburst", "group_by": ["groupid", "location"]}),
    (3, {"title": "Überblick: Spannung, 電圧"}),
]


def test_a_link_shows_somebody_else_the_same_live(live: int, page: Page, other: Page) -> None:
    page.open(live)
    for number, changes in CHANGES:
        page.arrange(number, changes)
    link = copy_link(page)
    assert len(link) < 2000, len(link)
    assert "#time=live&table=meters_values&view=" in link
    mine = page.all_saved()

    open_link(other, link)
    other.wait_for_state("live")
    theirs = other.all_saved()
    for one, same in zip(mine, theirs, strict=True):
        assert {name: one.get(name) for name in KEPT} == {name: same.get(name) for name in KEPT}
    assert theirs[0]["title"] == "Newest per site"
    assert theirs[3]["title"] == "Überblick: Spannung, 電圧"
    assert theirs[0]["filter"] == mine[0]["filter"]
    assert theirs[3]["group_by"] == ["groupid", "location"]
    assert theirs[2]["expressions"] == mine[2]["expressions"]
    assert theirs[1]["group_by"][0].startswith("timestamp, steps of ")
    assert faults(other) == ["", "", "", ""]
    newest = max(wait_for(other.timestamps, "timestamps"))
    wait_for(lambda: max(other.timestamps(), default="") > newest, "rows that move on", PATIENCE)

    assert len(copy_link(other)) < 2000, "what was opened can be passed on"
    choose(other, "live")
    assert other.saved(0)["title"] == "Newest per site"
    assert other.errors == []


def test_a_link_to_the_page_as_it_is_says_the_time_and_the_table_alone(back: int, page: Page) -> None:
    page.open(back)
    assert copy_link(page) == f"http://localhost:{back}/#time=live&table=meters_values"
    choose(page, "6h")
    wait_for(lambda: page.text("#copy") == "Copy link", "the button's own words")
    assert copy_link(page) == f"http://localhost:{back}/#time=6h&table=meters_values"


def test_a_link_looks_back_as_its_maker_did(back: int, page: Page, other: Page) -> None:
    page.open(back)
    choose(page, "1h")
    page.arrange(1, {"plugin": "Y Bar", "aggregates": {"current (A)": "max"}})
    page.arrange(2, {"title": "Mine, last 1 h"})
    link = copy_link(page)
    open_link(other, link)
    wait_until_shown(other, "1h")
    assert pressed(other) == "1 h"
    assert (other.saved(1)["plugin"], other.saved(1)["aggregates"]) == ("Y Bar", {"current (A)": "max"})
    assert other.saved(1)["group_by"] == ["timestamp, steps of 15 s"]
    assert titles(other)[2] == "Mine, last 1 h"
    choose(other, "7d")
    assert other.saved(1)["plugin"] == "Y Bar", "it goes with whoever looks on"
    assert titles(other)[2] == "Mine, last 7 d"
    assert other.tab.url.endswith("&time=7d")
    assert "view=" in other.tab.url


def test_where_there_is_no_clipboard_the_link_is_shown_to_be_copied(live: int, page: Page) -> None:
    page.tab.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.open(live)
    page.tab.click("#copy")
    wait_for(lambda: page.tab.is_visible("#link"), "the link")
    assert page.tab.input_value("#link") == page.tab.url
    selected = "(field) => field.value.slice(field.selectionStart, field.selectionEnd)"
    assert page.tab.locator("#link").evaluate(selected) == page.tab.url
    assert page.focus().startswith("INPUT")
    page.tab.focus("#theme")
    assert not page.tab.is_visible("#link")


def test_of_a_link_that_does_not_fit_is_shown_what_fits(live: int, page: Page) -> None:
    link = linked(
        {"columns": ["current (A)", "humidity"], "sort": [["dew point", "asc"]], "title": "Mine"},
        {"columns": ["humidity"]},
        {"expressions": {"wrong": "vlookup('current', 1)"}, "columns": ["current", "wrong"]},
        {"plugin": "No Such Chart", "title": "Odd"},
    )
    page.tab.goto(f"http://localhost:{live}/{link}")
    page.wait_for_state("live")
    first, second, third, fourth = faults(page)
    assert first == "not shown as arranged: there is no column humidity; there is no column dew point"
    assert second == "not shown as arranged: there is no column humidity"
    assert third.startswith("not shown as arranged: wrong: there is no function vlookup() here")
    assert fourth.startswith("not shown as arranged: ")
    assert (page.saved(0)["title"], page.saved(0)["columns"]) == ("Mine", ["current (A)"])
    assert page.saved(1)["columns"] == ["current (A)"], "the page's own"
    assert page.saved(2)["columns"] == ["current"]
    assert page.saved(3)["plugin"] == "Treemap"


def test_a_link_to_another_table_says_so(live: int, page: Page) -> None:
    told = {"table": "pumps", "panels": {"0": {"title": "Flow", "columns": ["flow"]}}}
    link = f"#table=pumps&view={pack({'version': 1, 'viewers': [told]})}"
    page.tab.goto(f"http://localhost:{live}/{link}")
    page.wait_for_state("live")
    assert faults(page)[0] == (
        "not shown as arranged: the link is to the table pumps; there is no column flow"
    )
    said = "the link is to the table pumps, which is not here: this is meters_values"
    assert page.text("#notices") == said

    open_link(page, f"http://localhost:{live}/#table=meters_values")
    page.wait_for_state("live")
    assert page.text("#notices") == ""


GOOD = {"title": "Mine"}
BAD = {
    "nothing": "",
    "no base64": "!!!",
    "not packed": "AAAA",
    "cut off": pack({"version": 1, "viewers": [{"table": "t", "panels": {"0": GOOD}}]})[:-8],
    "no JSON": pack(b"{"),
    "another version": pack({"version": 2, "viewers": []}),
    "five viewers": pack({"version": 1, "viewers": [None] * 5}),
    "a list": pack([]),
    "an unknown field": pack({"version": 1, "viewers": [], "server": "http://evil.example.org"}),
    "a bomb": pack(b'"' + b"a" * 10_000_000 + b'"'),
    "a bomb of JSON": pack(b"[" * 1_000_000),
    "too many letters": "A" * 20_000,
    **{
        f"a panel with {panel}": pack({"version": 1, "viewers": [{"table": "t", "panels": {"0": panel}}]})
        for panel in (
            {"table": "other"},
            {"theme": "Pro Light"},
            {"settings": True},
            {"plugin": 5},
            {"plugin": "x" * 60},
            {"columns": "all"},
            {"columns": ["a"] * 200},
            {"filter": [["location", "==", {"a": 1}]]},
            {"filter": [["location"]]},
            {"sort": ["location"]},
            {"expressions": ["x"]},
            {"aggregates": {"x": 1}},
            {"columns_config": {"x": 1}},
            {"plugin_config": [1]},
            {"plugin_config": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}},
        )
    },
    "panels without places": pack(
        {"version": 1, "viewers": [{"table": "t", "panels": {"a": GOOD, "b": GOOD}}]}
    ),
    "a place without a panel": pack(
        {
            "version": 1,
            "viewers": [
                {
                    "table": "t",
                    "panels": {"a": GOOD},
                    "layout": {"type": "tab-layout", "tabs": ["a", "b"], "selected": 0},
                }
            ],
        }
    ),
}


def test_a_broken_link_is_a_line_in_words_and_the_pages_own_dashboard(live: int, page: Page) -> None:
    read = """async (text) => {
      const { unpack } = await import("./page/packing.js");
      const { checkLink } = await import("./page/allowed.js");
      try {
        checkLink(await unpack(text));
        return "";
      } catch (error) {
        return error.message;
      }
    }"""
    page.open(live)
    said = {name: page.tab.evaluate(read, text) for name, text in BAD.items()}
    assert [name for name, text in said.items() if not text] == []
    assert all(len(text) < 300 and "\n" not in text for text in said.values()), said
    assert said["a bomb"] == said["too many letters"] == "it is too long"
    assert page.tab.evaluate(read, pack({"version": 1, "viewers": [None, None]})) == ""

    for name in ("cut off", "a bomb", "no JSON"):
        open_link(page, f"http://localhost:{live}/#view={BAD[name]}")
        page.wait_for_state("live")
        notice = page.text("#notices")
        assert notice.startswith("the link can't be read: "), notice
        assert notice.endswith("; so this is the page's own dashboard")
        assert len(notice.splitlines()) == 1
        assert titles(page)[0] == "Latest reading by location and group"
        assert faults(page) == ["", "", "", ""]
        assert page.errors == []


def test_a_link_with_more_viewers_than_there_is_room_for(
    meters: dict[str, str], page: Page, tmp_path: Path
) -> None:
    layout = [{"plugin": "Datagrid", "columns": ["timestamp", "current"], "title": "One"}]
    port = free_port()
    with server(with_layout(meters, tmp_path, layout), port):
        page.tab.goto(f"http://localhost:{port}/{linked({'title': 'Mine'}, {'title': 'Second'})}")
        page.wait_for_state("live")
        assert (titles(page), faults(page)) == (["Mine"], [""])
        said = "the link has 2 viewers, and this dashboard 1: the last ones are left out"
        assert page.text("#notices") == said


def test_another_link_in_the_same_tab_is_opened(live: int, page: Page) -> None:
    page.open(live)
    page.tab.evaluate("(hash) => { location.hash = hash; }", linked({"title": "Mine"}))
    wait_for(lambda: page.state() == "live" and titles(page)[:1] == ["Mine"], "the link", PATIENCE)
    page.tab.evaluate("(hash) => { location.hash = hash; }", linked({"title": "Yours"}))
    wait_for(lambda: page.state() == "live" and titles(page)[:1] == ["Yours"], "the other link", PATIENCE)


def test_several_panels_of_a_viewer_go_into_a_link(live: int, page: Page, other: Page) -> None:
    page.open(live)
    add = """async (viewer) => {
      const workspace = await viewer.saveWorkspace();
      const [[name, panel]] = Object.entries(workspace.panels);
      workspace.panels.second = { ...panel, title: "Second", plugin: "Y Bar" };
      workspace.layout = {
        type: "split-layout",
        orientation: "horizontal",
        sizes: [0.5, 0.5],
        children: [name, "second"].map((tab) => ({ type: "tab-layout", tabs: [tab], selected: 0 })),
      };
      await viewer.restoreWorkspace(workspace);
    }"""
    viewer(page, 2).evaluate(add)
    link = copy_link(page)
    assert len(unpack(link)["viewers"][2]["panels"]) == 2
    open_link(other, link)
    other.wait_for_state("live")
    workspace = viewer(other, 2).evaluate("(viewer) => viewer.saveWorkspace()")
    assert sorted(panel["plugin"] for panel in workspace["panels"].values()) == ["Y Bar", "Y Line"]
    assert workspace["layout"]["type"] == "split-layout"
    assert faults(other) == ["", "", "", ""]
    assert other.errors == []
