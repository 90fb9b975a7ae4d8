"""What the page shows of layouts from elsewhere, of faulty ones, and of a table with NULLs."""

# ruff: noqa: F811, the fixtures are test_page's

import json
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import TDengine
from support import free_port, wait_for
from test_page import PATIENCE, Page, chromium, meters, page, producer, server  # noqa: F401

pytestmark = pytest.mark.browser

DOUBLE = '"current" * 2'
SHOWN = "async (viewer) => JSON.stringify(await (await viewer.getView()).to_columns())"


def shown(page: Page, viewer: int) -> dict[str, list]:
    """The columns that a viewer has of its view."""
    return json.loads(page.tab.locator("perspective-viewer").nth(viewer).evaluate(SHOWN))


def faults(page: Page) -> list[str]:
    """What each panel says of what it does not show."""
    return page.tab.locator("section > .fault").all_text_contents()


def with_layout(settings: dict[str, str], folder: Path, layout: Any) -> dict[str, str]:
    file = folder / "layout.json"
    file.write_text(json.dumps(layout))
    return {**settings, "PERSPECTIVE_LAYOUT": str(file)}


def test_layouts_of_older_versions_are_shown(meters: dict[str, str], page: Page, tmp_path: Path) -> None:
    layout = [
        {
            "plugin": "Datagrid",
            "columns": ["timestamp", DOUBLE],
            "expressions": [DOUBLE],
            "version": "2.10.0",
        },
        {
            "plugin": "d3_y_line",
            "row-pivots": ["location"],
            "columns": ["double"],
            "expressions": [f"// double\n{DOUBLE}"],
            "aggregates": {"double": "avg"},
            "theme": "Material Dark",
        },
        {
            "plugin": "datagrid",
            "row_pivots": ["groupid"],
            "column_pivots": ["location"],
            "columns": ["current"],
            "sort": ["groupid"],
            "plugin_config": {"columns": {"current": {"fixed": 1}}, "scroll_lock": False, "editable": False},
        },
    ]
    port = free_port()
    with server(with_layout(meters, tmp_path, layout), port):
        page.open(port)
        grid, line, pivoted = page.all_saved()
        assert (grid["plugin"], grid["columns"]) == ("Datagrid", ["timestamp", DOUBLE])
        assert (line["plugin"], line["group_by"], line["columns"]) == ("Y Line", ["location"], ["double"])
        assert line["theme"] in ("Pro Light", "Pro Dark")
        assert (pivoted["group_by"], pivoted["split_by"]) == (["groupid"], ["location"])
        assert pivoted["sort"] == [["groupid", "asc"]]
        assert faults(page) == ["", "", ""]
        assert set(shown(page, 0)) == {"timestamp", DOUBLE}
        assert None not in shown(page, 0)[DOUBLE]
        assert None not in shown(page, 1)["double"]
        assert page.coloured(page.plot(1)) > 0.0005
        assert page.errors == []


def test_a_viewers_fault_leaves_the_others_alone(meters: dict[str, str], page: Page, tmp_path: Path) -> None:
    many = {f"e{number}": f'"current" + {number}' for number in range(25)}
    layout = [
        {"plugin": "Datagrid", "columns": list(many), "expressions": many, "title": "Many"},
        {
            "plugin": "Datagrid",
            "columns": ["location"],
            "group_by": ["groupid"],
            "aggregates": {"location": "avg"},
        },
        {
            "plugin": "Datagrid",
            "columns": ["current", "wrong", "missing"],
            "expressions": {"wrong": "vlookup('current', 1)"},
        },
        {"plugin": "Y Line", "columns": ["current"], "group_by": ["location"], "title": "Good"},
    ]
    port = free_port()
    with server(with_layout(meters, tmp_path, layout), port):
        page.open(port)
        first, second, third, fourth = wait_for(lambda: faults(page), "four panels", PATIENCE)
        assert first == "not shown as arranged: expressions: at most 20, not 25"
        assert "there is no mean of location, which is a string" in second
        assert third.startswith("not shown as arranged: wrong: there is no function vlookup() here; ")
        assert third.endswith("there is no column missing")
        assert fourth == ""
        panels = page.tab.locator("section")
        assert [panels.nth(number).locator("perspective-viewer").count() for number in range(4)] == [
            0,
            0,
            1,
            1,
        ]
        saved = [
            panels.nth(number).locator("perspective-viewer").evaluate("viewer => viewer.save()")
            for number in (2, 3)
        ]
        assert [viewer["columns"] for viewer in saved] == [["current"], ["current"]]
        assert saved[1]["title"] == "Good"
        for number in range(3):
            assert panels.nth(number).locator(".fault").is_visible()
        with page.tab.expect_download() as download:
            page.tab.click("#download")
        assert len(json.loads(download.value.path().read_text())) == 2
        page.wait_for_state("live")


def test_a_chart_has_each_row_of_a_table_with_nulls(tdengine: TDengine, database: str, page: Page) -> None:
    """Fourteen pumps, which are too many lines, and an area that one of them alone has."""
    connection = tdengine.connect()
    connection.execute(f"CREATE DATABASE `{database}`")
    connection.execute(f"USE `{database}`")
    connection.execute("CREATE STABLE pumps (ts TIMESTAMP, flow FLOAT) TAGS (pump NCHAR(20))")
    start = int(time.time() * 1000) - 60_000
    for pump in range(1, 15):
        rows = " ".join(f"({start + second * 1000}, {pump})" for second in range(50))
        connection.execute(f"INSERT INTO p{pump} USING pumps TAGS ('pump {pump:02}') VALUES {rows}")
    connection.execute("ALTER STABLE pumps ADD TAG area NCHAR(20)")
    connection.execute("ALTER TABLE p3 SET TAG area = 'north'")
    settings = {**tdengine.settings(database), "TAOS_TABLENAME": "pumps", "PERSPECTIVE_TABLE_NAME": "pumps"}
    port = free_port()
    with server(settings, port):
        page.open(port)
        wait_for(lambda: page.rows() == 14 * 50, "all rows")
        chart = page.saved(1)
        assert chart["title"].startswith("Mean flow by area")
        page.arrange(1, {"aggregates": {"flow": "count"}})

        def counted() -> dict[str, int]:
            columns = shown(page, 1)
            return {name: sum(filter(None, values)) for name, values in columns.items() if "|" in name}

        assert counted() == {"null|flow": 13 * 50, "north|flow": 50}
        assert page.coloured(page.plot(1)) > 0.0005
        for pump in range(1, 15):  # rows in the place of older ones, with a value and without
            second = start + 50_000 + pump
            connection.execute(f"INSERT INTO p{pump} VALUES ({second}, 1)")
        connection.execute("ALTER TABLE p4 SET TAG area = 'south'")
        connection.execute("ALTER TABLE p3 SET TAG area = NULL")
        expected = {"null|flow": 13 * 51, "south|flow": 51}
        wait_for(lambda: {name: n for name, n in counted().items() if n} == expected, "the rows anew")
        assert page.errors == []


def test_lines_are_told_apart_by_a_column_without_nulls(
    tdengine: TDengine, database: str, page: Page
) -> None:
    connection = tdengine.connect()
    connection.execute(f"CREATE DATABASE `{database}`")
    connection.execute(f"USE `{database}`")
    connection.execute("CREATE STABLE t (ts TIMESTAMP, v FLOAT) TAGS (area NCHAR(20), name NCHAR(20))")
    start = int(time.time() * 1000) - 60_000
    for number, area in enumerate(["'north'", "NULL", "'south'"]):
        rows = " ".join(f"({start + second * 1000}, {second})" for second in range(50))
        connection.execute(f"INSERT INTO t{number} USING t TAGS ({area}, 'name {number}') VALUES {rows}")
    port = free_port()
    with server({**tdengine.settings(database), "TAOS_TABLENAME": "t"}, port):
        page.open(port)
        assert page.saved(1)["split_by"] == ["name"]
