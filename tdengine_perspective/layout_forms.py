"""Owns the forms that a layout may have: those of other tools and versions of Perspective, and this one's.

Perspective's viewers take what `save()` of their own version gives, and are silent about the rest. What is
made of older files here is what the newest call the same.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from tdengine_perspective.history.spans import Span

Viewer = dict[str, Any]

PLUGINS = (  # of the browser files
    *("Datagrid", "X Bar", "Y Bar", "Y Line", "X/Y Line", "Y Area", "Y Scatter", "X/Y Scatter", "Treemap"),
    *("Sunburst", "Heatmap", "Candlestick", "OHLC", "Density", "Map Scatter", "Map Line", "Map Density"),
)
OTHER_PLUGINS = {  # by the name that was usual before, in small letters and without d3 or d3fc before it
    **{re.sub(r"\W", "", name).lower(): name for name in PLUGINS},
    "hypergrid": "Datagrid",
    "grid": "Datagrid",
    "line": "Y Line",
    "vertical": "Y Bar",
    "horizontal": "X Bar",
    "area": "Y Area",
    "scatter": "X/Y Scatter",
}
THEMES = (  # of the browser files
    *("Pro Light", "Pro Dark", "Blueprint", "Botanical", "Dracula", "Eggplant", "Gruvbox Dark"),
    *("Gruvbox Light", "Ledger", "Monokai", "Nord", "Phosphor", "Solarized", "Solarized Dark", "Vaporwave"),
    "Velvet",
)
OTHER_NAMES = {  # of fields
    "row_pivots": "group_by",
    "row_pivot": "group_by",
    "column_pivots": "split_by",
    "column_pivot": "split_by",
    "filters": "filter",
    "sorts": "sort",
    "name": "title",
    "column_config": "columns_config",
}
NO_MORE = {
    "version",
    "settings",
    "editable",
    "selectable",
    "render_mode",
    "master",
    "linked",
    "parsed_computed_columns",
}
LISTS = ("columns", "group_by", "split_by", "sort", "filter")
FIELDS = {*LISTS, *OTHER_NAMES, "plugin", "expressions", "aggregates"}  # by one of these it is a viewer
DIRECTIONS = ("asc", "desc", "col asc", "col desc", "asc abs", "desc abs", "col asc abs", "col desc abs")


class NoLayout(ValueError):
    """What a file has is no arrangement of viewers."""


def find_viewers(layout: object) -> list[Viewer]:
    """The viewers' configurations in a file: a list of them, a single one, or a saved workspace.

    Raises NoLayout.
    """
    if isinstance(layout, dict):
        for name in ("viewers", "panels"):
            if isinstance(layout.get(name), dict | list):
                inner = layout[name]
                return find_viewers(list(inner.values()) if isinstance(inner, dict) else inner)
        if FIELDS & {name.replace("-", "_") for name in layout}:
            return [layout]
        raise NoLayout
    if not isinstance(layout, list) or not layout or not all(isinstance(entry, dict) for entry in layout):
        raise NoLayout
    if len(layout) == 1 and {"viewers", "panels"} & layout[0].keys():
        return find_viewers(layout[0])
    return layout


def bring_up_to_date(viewer: Viewer) -> tuple[Viewer, list[str]]:
    """A viewer's configuration as the browser files take it, and what was left out of it, and why."""
    fields = {name.replace("-", "_"): value for name, value in viewer.items()}
    fields = {
        OTHER_NAMES.get(name, name): value
        for name, value in fields.items()
        if name not in NO_MORE and not (name in OTHER_NAMES and OTHER_NAMES[name] in fields)
    }
    left_out: list[str] = []
    for name in LISTS:
        if name in fields:
            fields[name] = as_list(fields[name])
    for name in ("columns", "group_by", "split_by"):
        if name in fields:  # null among the columns is a place that is left free
            fields[name] = [entry for entry in fields[name] if isinstance(entry, str | None)]
    if "sort" in fields:
        fields["sort"] = [term for entry in fields["sort"] for term in sort_terms(entry)]
    if "filter" in fields:
        fields["filter"] = [term for term in fields["filter"] if isinstance(term, list) and len(term) >= 2]
    if "expressions" in fields:
        fields["expressions"] = named_expressions(as_object_or_list(fields["expressions"]))
    if "aggregates" in fields:
        fields["aggregates"] = named_aggregates(as_object_or_list(fields["aggregates"]))
    if fields.pop("computed_columns", None):
        left_out.append("computed_columns, which are expressions now")
    move_styles(fields)
    if isinstance(fields.get("plugin"), str):
        fields["plugin"], unknown = known_plugin(fields["plugin"])
        if unknown:
            left_out.append(f"the plugin {unknown}, which is none of {', '.join(PLUGINS)}")
    if not fields.get("plugin"):
        fields.pop("plugin", None)
    if fields.get("time") in (None, "live"):
        fields.pop("time", None)
    elif reason := why_no_time(fields["time"]):
        left_out.append(f"the time {fields.pop('time')}: {reason}")
    if fields.get("theme") not in (None, *THEMES):
        left_out.append(f"the theme {fields.pop('theme')}, which is none of {', '.join(THEMES)}")
    return fields, left_out


def known_plugin(name: str) -> tuple[str | None, str]:
    """A plugin's name of now, and the one that was given where there is none."""
    if name in PLUGINS:
        return name, ""
    short = re.sub(r"^(d3fc|d3|perspective_viewer)_?", "", re.sub(r"[^a-z0-9]+", "_", name.lower()))
    found = OTHER_PLUGINS.get(short.replace("_", ""))
    return found, "" if found else name


def why_no_time(time: object) -> str:
    """Why a viewer can't look back at that time; "" where it can."""
    try:
        Span.parse(time if isinstance(time, str) else repr(time))
    except ValueError as error:
        return str(error)
    return ""


def as_list(value: object) -> list:
    """A list that may be written as text, as an attribute of HTML is, or be a single entry."""
    value = as_object_or_list(value)
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def as_object_or_list(value: object) -> object:
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def sort_terms(entry: object) -> Iterator[list[str]]:
    """A column and how to sort by it; ascending where there is only a column."""
    name, *how = entry if isinstance(entry, list) and entry else [entry]
    direction = how[0] if how else "asc"
    direction = re.sub(r"^(col(?:umn)?)[ _-]", "col ", str(direction).lower())
    if isinstance(name, str) and direction in DIRECTIONS:
        yield [name, direction]


def named_expressions(expressions: object) -> dict[str, str]:
    """By name. In a list each is called what its first line remarks, or else what it is."""
    if isinstance(expressions, dict):
        return {name: text for name, text in expressions.items() if isinstance(text, str)}
    found = {}
    for entry in expressions if isinstance(expressions, list) else [expressions]:
        if isinstance(entry, dict) and isinstance(entry.get("expression"), str):
            found[str(entry.get("name") or entry["expression"])] = entry["expression"]
        elif isinstance(entry, str):
            remark = re.match(r"\s*//\s*(.+?)\s*(?:\n|$)", entry)
            found[remark[1] if remark else entry] = entry
    return found


def named_aggregates(aggregates: object) -> dict[str, Any]:
    """By column; what goes by other columns names these in a list."""
    if isinstance(aggregates, list):
        pairs = [(entry.get("column"), entry.get("op")) for entry in aggregates if isinstance(entry, dict)]
    else:
        pairs = list(aggregates.items()) if isinstance(aggregates, dict) else []
    return {
        column: [how[0], [how[1]]]
        if isinstance(how, list) and len(how) == 2 and isinstance(how[1], str)
        else how
        for column, how in pairs
        if isinstance(column, str) and how
    }


def move_styles(fields: Viewer) -> None:
    """The columns' styles, which stood in the plugin's configuration, go to where they stand now."""
    plugin_config = fields.get("plugin_config")
    if isinstance(plugin_config, dict) and isinstance(plugin_config.get("columns"), dict):
        styles = plugin_config["columns"]
        fields["plugin_config"] = {name: value for name, value in plugin_config.items() if name != "columns"}
        fields.setdefault("columns_config", styles)
    for name in ("plugin_config", "columns_config"):
        if name in fields and not isinstance(fields[name], dict):
            del fields[name]
