"""Layouts of other versions of Perspective and of other tools are taken, or a line says what is not."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import perspective
import pytest

from tdengine_perspective.layout_forms import PLUGINS, THEMES, bring_up_to_date
from tdengine_perspective.layouts import read_layout

BROWSER_FILES = Path(perspective.__file__).parent / "widget" / "static"

GRID = {"plugin": "Datagrid", "columns": ["current"]}
LINE = {"plugin": "Y Line", "columns": ["voltage"], "group_by": ["location"]}
FILES = {
    "a list": ([GRID, LINE], [GRID, LINE]),
    "what save() of a single viewer gives": (GRID, [GRID]),
    "an object with a list of viewers": ({"viewers": [GRID, LINE]}, [GRID, LINE]),
    "a saved workspace of before": (
        {
            "sizes": [1],
            "detail": {"main": {"type": "tab-area", "widgets": ["ONE", "TWO"], "currentIndex": 0}},
            "mode": "globalFilters",
            "viewers": {"ONE": {**GRID, "master": False, "name": "Readings", "linked": False}, "TWO": LINE},
        },
        [{**GRID, "title": "Readings"}, LINE],
    ),
    "a saved workspace": ({"layout": {"type": "tab-layout"}, "active": "p0", "panels": {"p0": LINE}}, [LINE]),
    "a workspace in a list": ([{"panels": {"p0": LINE, "p1": GRID}}], [LINE, GRID]),
}


def read(file: Path, content: object) -> list[dict[str, Any]]:
    file.write_text(json.dumps(content))
    return json.loads(read_layout(str(file)))


@pytest.mark.parametrize("what", FILES)
def test_a_file_of_this_form_is_taken(what: str, tmp_path: Path) -> None:
    content, viewers = FILES[what]
    assert read(tmp_path / "layout.json", content) == viewers


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    file = tmp_path / "layout.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps([GRID]).encode())
    assert json.loads(read_layout(str(file))) == [GRID]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"table": "meters_history", "time": "24h"}, {"table": "meters_values", "time": "24h"}),
        ({"time": "2026-11-24T08:00Z/2026-11-24T09:30Z"}, {"time": "2026-11-24T08:00Z/2026-11-24T09:30Z"}),
        ({"table": "meters_history"}, {"table": "meters_values", "time": "all"}),
        ({"table": "meters_history", "time": "live"}, {"table": "meters_values"}),
        ({"table": "meters_values", "time": None}, {"table": "meters_values"}),
    ],
)
def test_a_viewer_may_look_back(given: dict[str, Any], expected: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "layout.json"
    file.write_text(json.dumps([{**GRID, **given}]))
    assert json.loads(read_layout(str(file), {"meters_history": "meters_values"})) == [{**GRID, **expected}]


@pytest.mark.parametrize("time", ["24 hours", "0h", 24, ["24h"], "2026-11-24/2026-11-23"])
def test_a_time_that_is_none_is_left_out_and_said(time: object) -> None:
    config, left_out = bring_up_to_date({**GRID, "time": time})
    assert config == GRID
    [line] = left_out
    assert line.startswith(f"the time {time}: ")


DOUBLE = '"current" * 2'
FIELDS = {
    "expressions in a list": (
        {"columns": [DOUBLE], "expressions": [DOUBLE]},
        {"columns": [DOUBLE], "expressions": {DOUBLE: DOUBLE}},
    ),
    "expressions named by a remark": (
        {"columns": ["double"], "expressions": [f"// double\n{DOUBLE}", f"//  half \r\n{DOUBLE} / 4"]},
        {
            "columns": ["double"],
            "expressions": {"double": f"// double\n{DOUBLE}", "half": f"//  half \r\n{DOUBLE} / 4"},
        },
    ),
    "expressions as objects in a list": (
        {"expressions": [{"name": "double", "expression": DOUBLE}]},
        {"expressions": {"double": DOUBLE}},
    ),
    "expressions as they are now": ({"expressions": {"double": DOUBLE}}, {"expressions": {"double": DOUBLE}}),
    "pivots with hyphens": (
        {"row-pivots": ["location"], "column-pivots": ["groupid"]},
        {"group_by": ["location"], "split_by": ["groupid"]},
    ),
    "pivots with underscores": (
        {"row_pivots": ["location"], "column_pivots": ["groupid"]},
        {"group_by": ["location"], "split_by": ["groupid"]},
    ),
    "pivots beside what they are called now": (
        {"row_pivots": ["groupid"], "group_by": ["location"]},
        {"group_by": ["location"]},
    ),
    "lists as attributes of HTML have them": (
        {
            "columns": '["current", "voltage"]',
            "row-pivots": '["location"]',
            "aggregates": '{"current": "avg"}',
        },
        {"columns": ["current", "voltage"], "group_by": ["location"], "aggregates": {"current": "avg"}},
    ),
    "a list of one without brackets": ({"columns": "current"}, {"columns": ["current"]}),
    "sorts": (
        {
            "sort": [
                "current",
                ["voltage"],
                ["phase", "DESC"],
                ["location", "none"],
                ["groupid", "column asc"],
            ]
        },
        {"sort": [["current", "asc"], ["voltage", "asc"], ["phase", "desc"], ["groupid", "col asc"]]},
    ),
    "filters": (
        {"filters": [["current", ">", 1], "nonsense", ["location", "is not null"]]},
        {"filter": [["current", ">", 1], ["location", "is not null"]]},
    ),
    "aggregates in a list": (
        {"aggregates": [{"column": "current", "op": "mean"}]},
        {"aggregates": {"current": "mean"}},
    ),
    "an aggregate by another column": (
        {"aggregates": {"current": ["weighted mean", "voltage"], "phase": ["max by", ["timestamp"]]}},
        {"aggregates": {"current": ["weighted mean", ["voltage"]], "phase": ["max by", ["timestamp"]]}},
    ),
    "styles of columns in the plugin's": (
        {"plugin_config": {"scroll_lock": True, "columns": {"current": {"fixed": 1}}}},
        {"plugin_config": {"scroll_lock": True}, "columns_config": {"current": {"fixed": 1}}},
    ),
    "what is no more": (
        {"version": "2.10.0", "editable": False, "render_mode": "webgl", "settings": True},
        {},
    ),
    "free places among the columns": ({"columns": ["current", None, 3]}, {"columns": ["current", None]}),
}


@pytest.mark.parametrize("what", FIELDS)
def test_a_viewer_of_another_version_is_brought_up_to_date(what: str) -> None:
    given, expected = FIELDS[what]
    assert bring_up_to_date(given) == (expected, [])


@pytest.mark.parametrize(
    ("name", "plugin"),
    [
        ("datagrid", "Datagrid"),
        ("hypergrid", "Datagrid"),
        ("perspective-viewer-datagrid", "Datagrid"),
        ("d3_y_line", "Y Line"),
        ("d3_x_bar", "X Bar"),
        ("d3_xy_scatter", "X/Y Scatter"),
        ("d3fc-y-area", "Y Area"),
        ("D3 Treemap", "Treemap"),
        ("y_bar", "Y Bar"),
        ("vertical", "Y Bar"),
        ("d3_candlestick", "Candlestick"),
        ("d3_ohlc", "OHLC"),
        *((name, name) for name in PLUGINS),
    ],
)
def test_a_plugin_is_known_by_its_older_names(name: str, plugin: str) -> None:
    assert bring_up_to_date({"plugin": name}) == ({"plugin": plugin}, [])


def test_what_there_is_no_more_is_told_in_a_line_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    viewers = [
        GRID,
        {**GRID, "theme": "Material Dark", "computed-columns": [{"column": "x"}]},
        {"plugin": "Globe", "columns": ["current"], "theme": "Vaporwave"},
    ]
    with caplog.at_level(logging.WARNING):
        shown = read(tmp_path / "layout.json", viewers)
    assert shown == [GRID, GRID, {"columns": ["current"], "theme": "Vaporwave"}]
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert lines[0] == "PERSPECTIVE_LAYOUT: left out of viewer 2: computed_columns, which are expressions now"
    assert lines[1].startswith(
        "PERSPECTIVE_LAYOUT: left out of viewer 2: the theme Material Dark, which is none of Pro"
    )
    assert lines[2].startswith(
        "PERSPECTIVE_LAYOUT: left out of viewer 3: the plugin Globe, which is none of Datagrid"
    )


def test_themes_and_plugins_are_those_of_the_browser_files() -> None:
    css = (BROWSER_FILES / "perspective-anywidget.css").read_text()
    assert set(re.findall(r'theme-name:\s*"([^"]+)"', css)) == set(THEMES)
    script = (BROWSER_FILES / "perspective-anywidget.js").read_text()
    assert [name for name in PLUGINS if f'"{name}"' not in script] == []
