"""Owns what viewers are told of the rows that they do not see: why, and which setting shows them."""

import math
from datetime import UTC, datetime

from tdengine_perspective.mirror.messages import AHEAD, Older, Times
from tdengine_perspective.mirror.schema import Schema
from tdengine_perspective.settings import LONGEST_SPAN, MOST_ROWS, SPAN_UNITS, Settings
from tdengine_perspective.tdengine import TDengine


def nothing_in_window(settings: Settings, older: Older | None, clock: int) -> str:
    """Why there is nothing to show although TDengine answers, at its time `clock` (ms since 1970)."""
    table, window = settings.table, f"{settings.perspective_window} ({settings.spell('window')})"
    if older is None:
        return f"{table} has no rows of the last {window}"
    if older.newest is None:
        return f"{table} has no rows of the last {window}, nor any older ones"
    newest, span = moment(older.newest), window_for(clock - older.newest)
    if span is None:
        return f"{table} has no rows of the last {window}; its newest is of {newest}, too old for any window"
    return (
        f"{table} has no rows of the last {window}; its newest is of {newest}: "
        f"{settings.spell('window', span)} shows it"
    )


def too_many_ahead(settings: Settings, schema: Schema, times: Times, newest: int) -> str:
    """That rows ahead of TDengine's clock, up to `newest`, leave little room for those of now; what helps."""
    table, limit = settings.table, settings.perspective_limit
    enough = round_up(times.ahead_in_table + max(times.ahead_in_table, limit))
    remove = f"DELETE FROM {TDengine.of(settings).table_sql} WHERE {schema.key} > NOW() + {AHEAD // 1000}s"
    if enough > MOST_ROWS:
        return (
            f"{times.ahead_in_table} rows of {table} lie ahead of TDengine's clock, up to {moment(newest)}, "
            f"and take {times.ahead} of {limit} places; if they are wrong, {remove} makes room"
        )
    return (
        f"{times.ahead_in_table} rows of {table} lie ahead of TDengine's clock, up to {moment(newest)}, and "
        f"take {times.ahead} of {limit} places: {settings.spell('limit', enough)} has room for those of now; "
        f"or, if they are wrong, {remove}"
    )


def no_rows(settings: Settings) -> str:
    return f"{settings.table} has no rows at present"


def too_many_rows(settings: Settings) -> str:
    """That there are more rows than the table may have, which are left out."""
    limit = settings.spell("limit", settings.perspective_limit)
    return f"{settings.table} has more rows than are shown: {limit} leaves out the others"


def moment(timestamp: int) -> str:
    """A timestamp (ms since 1970) for people."""
    return datetime.fromtimestamp(timestamp / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"


def window_for(age: float) -> str | None:
    """A window, as PERSPECTIVE_WINDOW takes it, that reaches back beyond `age` (ms), and for a while longer.

    None where that is longer than a window may be.
    """
    unit = "h" if age < 48 * SPAN_UNITS["h"] else "d"
    most = LONGEST_SPAN * SPAN_UNITS["d"] // SPAN_UNITS[unit]
    least = math.ceil(age / SPAN_UNITS[unit]) + 1
    return f"{min(round_up(least), most)}{unit}" if least <= most else None


def round_up(number: int) -> int:
    """To two digits that are not 0: in a while it is to be enough, too."""
    step = 10 ** max(0, len(str(number)) - 2)
    return -(-number // step) * step
