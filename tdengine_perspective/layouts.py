"""Owns the layout file: how the page is to arrange its viewers at first."""

import json
import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from tdengine_perspective.layout_forms import NoLayout, bring_up_to_date, find_viewers
from tdengine_perspective.settings import SettingError

MAX_VIEWERS_IN_LAYOUT = 4

NO_HISTORIES: Mapping[str, str] = {}

log = logging.getLogger(__name__)


def read_layout(file: str, histories: Mapping[str, str] = NO_HISTORIES) -> str:
    """How the page is to arrange its viewers, as JSON: a list of configurations, `null` without a file.

    A viewer with a `time` looks back; one of a table of `histories` (each with the live one's name) that says
    none does so at all rows.

    Raises SettingError, in one line, for a file that is no such thing; logs what of it there is no more.
    """
    if not file:
        return "null"
    try:
        layout = json.loads(Path(file).read_text(encoding="utf-8-sig"))
        json.dumps(layout, allow_nan=False)  # Python reads NaN and infinity, a browser does not
        viewers = find_viewers(layout)
    except OSError as error:
        raise SettingError(f"PERSPECTIVE_LAYOUT: can't read {file}: {error.strerror}") from None
    except NoLayout:
        raise SettingError(
            f"PERSPECTIVE_LAYOUT: {file} must be a list of one to {MAX_VIEWERS_IN_LAYOUT} viewer "
            "configurations, as the page's download button writes it"
        ) from None
    except (ValueError, RecursionError) as error:
        raise SettingError(f"PERSPECTIVE_LAYOUT: {file} is no JSON: {error}") from None
    if len(viewers) > MAX_VIEWERS_IN_LAYOUT:
        raise SettingError(
            f"PERSPECTIVE_LAYOUT: {file} has {len(viewers)} viewers, and the page has room for "
            f"{MAX_VIEWERS_IN_LAYOUT}: take {len(viewers) - MAX_VIEWERS_IN_LAYOUT} out"
        )
    shown = []
    for number, viewer in enumerate(viewers, 1):
        config, left_out = bring_up_to_date(viewer)
        if config.get("table") in histories:
            config["table"] = histories[config["table"]]
            if viewer.get("time") is None:
                config["time"] = "all"
        shown.append(config)
        for what in left_out:
            log.warning("PERSPECTIVE_LAYOUT: left out of viewer %d: %s", number, what)
    return json.dumps(shown)


def missing_columns(viewer: dict[str, object], columns: Collection[str]) -> list[str]:
    """What a viewer's configuration names that is neither a column nor an expression of its own."""
    named = []
    for part in ("columns", "group_by", "split_by", "sort", "filter"):
        entries = viewer.get(part)
        for entry in entries if isinstance(entries, list) else []:
            named.append(entry[0] if isinstance(entry, list) and entry else entry)  # [name, how to sort]
    expressions = viewer.get("expressions")
    known = {*columns, *(expressions if isinstance(expressions, dict) else {})}
    texts = dict.fromkeys(name for name in named if isinstance(name, str))
    return [name for name in texts if name not in known]


def warn_of_missing_columns(
    layout: str, columns: Collection[str], table: str, others: Collection[str] = ()
) -> None:
    """Log what a layout, as read_layout gives it, names and the table lacks: the page leaves that out.

    Viewers of `others`, tables by their Perspective names, have nothing to do with it.
    """
    for number, viewer in enumerate(json.loads(layout) or [], 1):
        missing = [] if viewer.get("table") in others else missing_columns(viewer, columns)
        if missing:
            log.warning(
                "PERSPECTIVE_LAYOUT: viewer %d has columns that %s lacks: %s",
                number,
                table,
                ", ".join(missing),
            )
