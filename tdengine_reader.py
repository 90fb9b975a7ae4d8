"""Reads TDengine in a process of its own and tells the server what changed.

It asks TDengine for the table's columns and makes of them the SELECT and the columns of the Perspective table
(`Schema`). The mirror that it keeps is the window: the newest `limit` rows of the last `span`. Every
`refresh_rate` ms it reads only the rows that may be new; every few seconds it reads the columns and the whole
window again, which brings what a read of new rows can't see: late, changed and deleted rows, other columns
(`Reader`). Either way only the difference goes up the pipe (`Window`).
"""

import bisect
import json
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from tdengine_connection import (
    OtherColumns,
    Refused,
    TDengine,
    TDengineError,
    connect,
    errors_explained,
    quote_name,
    quote_text,
    silence_driver,
    watchdog,
)

if TYPE_CHECKING:
    import taosws

WINDOW_READ_INTERVAL = 2  # seconds from one read of the whole window to the next, at least
WINDOW_READ_SHARE = 20  # a read of the whole window may take one part in so many of the time
RETRY_DELAY = 0.5  # seconds between attempts to reach TDengine again

UNITS = {"ms": 1, "us": 1_000, "ns": 1_000_000}  # of a database's timestamps: so many make a millisecond
CALENDAR = (-62_135_596_800_000, 253_402_300_799_999)  # years 1 to 9999, in ms since 1970
ENGINES_OWN = ("psp_", "__INDEX__", "__ROW_PATH__")  # Perspective bears no column with this in its name

Key = tuple  # timestamp (in the database's unit, since 1970), subtable, the second key where there is one
Row = tuple  # timestamp, subtable, then the other columns' values
Rows = dict[Key, Row]


def keep(values: Sequence[Any]) -> Sequence[Any]:
    return values


def as_float(values: Sequence[Any]) -> list[str | None]:
    """As text, which Perspective reads to the last bit, and JSON's numbers only nearly.

    None for NaN and infinity, which the viewer can't draw.
    """
    if set(map(type, values)) == {float} and math.isfinite(sum(values)):  # the same in a third of the time
        return list(map(repr, values))
    return [None if value is None or not math.isfinite(value) else repr(float(value)) for value in values]


def as_string(values: Sequence[str | None]) -> Sequence[str | None]:
    """Perspective ends a text at a NUL."""
    if any(value and "\0" in value for value in values):
        return [value and value.replace("\0", "\N{REPLACEMENT CHARACTER}") for value in values]
    return values


def as_hexadecimal(values: Sequence[bytes | None]) -> list[str | None]:
    return [value if value is None else value.hex() for value in values]


# By TDengine's name of a type: Perspective's type, and what makes the column's values JSON. TIMESTAMP is not
# among them, since its unit is the database's.
INTEGER = ("integer", keep)  # of 32 bits
FLOAT = ("float", as_float)
STRING = ("string", as_string)
HEXADECIMAL = ("string", as_hexadecimal)
TYPES: dict[str, tuple[str, Callable[[Sequence[Any]], Sequence[Any]]]] = {
    "BOOL": ("boolean", keep),
    **dict.fromkeys(("TINYINT", "SMALLINT", "INT", "TINYINT UNSIGNED", "SMALLINT UNSIGNED"), INTEGER),
    **dict.fromkeys(("INT UNSIGNED", "BIGINT", "BIGINT UNSIGNED", "FLOAT", "DOUBLE", "DECIMAL"), FLOAT),
    **dict.fromkeys(("VARCHAR", "BINARY", "NCHAR", "JSON"), STRING),
    **dict.fromkeys(("VARBINARY", "GEOMETRY", "BLOB"), HEXADECIMAL),
}


@dataclass(frozen=True)
class Column:
    name: str  # in TDengine
    label: str  # in Perspective
    kind: str  # TDengine's type, without a length

    @property
    def sql(self) -> str:
        """Timestamps as numbers: parsing text would cost more than the query."""
        name = quote_name(self.name)
        return f"CAST({name} AS BIGINT)" if self.kind == "TIMESTAMP" else name

    @property
    def result_kind(self) -> str:
        """The type that it has in a query's result."""
        return {"TIMESTAMP": "BIGINT", "VARCHAR": "BINARY"}.get(self.kind, self.kind)


@dataclass(frozen=True)
class Schema:
    """A table's columns, tags included, the first of which is the key: TDengine's and Perspective's side."""

    columns: tuple[Column, ...]
    left_out: tuple[str, ...]  # columns that can't be shown, each with the reason
    key_size: int  # 3 where a second column is part of the key, else 2
    units: int  # of a timestamp, a ms

    @cached_property
    def select(self) -> str:
        """The SELECT's list: the key's parts first, see Row."""
        key, *others = (column.sql for column in self.columns)
        return ", ".join([key, "tbname", *others])

    @cached_property
    def result_kinds(self) -> list[str]:
        key, *others = (column.result_kind for column in self.columns)
        return [key, "BINARY", *others]

    @cached_property
    def key(self) -> str:
        return quote_name(self.columns[0].name)

    @cached_property
    def order_of_ties(self) -> str:
        """What orders rows of one timestamp, as their keys are ordered."""
        second = [quote_name(self.columns[1].name)] if self.key_size == 3 else []
        return ", ".join(f"{name} DESC" for name in ["tbname", *second])

    @cached_property
    def perspective(self) -> dict[str, str]:
        """The Perspective table's columns and their types."""
        return {
            column.label: "datetime" if column.kind == "TIMESTAMP" else TYPES[column.kind][0]
            for column in self.columns
        }

    def milliseconds(self, timestamps: Sequence[int | None]) -> list[int | None]:
        """Since 1970; None outside the calendar, where neither Perspective nor a browser can go."""
        first, last = CALENDAR[0] * self.units, (CALENDAR[1] + 1) * self.units
        return [
            None if value is None or not first <= value < last else value // self.units
            for value in timestamps
        ]

    def as_json(self, rows: Sequence[Row], slots: Sequence[int]) -> str:
        """The rows as JSON columns, `__INDEX__` saying which slots they go to."""
        timestamps, _, *others = zip(*rows, strict=True)
        content: dict[str, Sequence[Any]] = {"__INDEX__": slots}
        for column, values in zip(self.columns, (timestamps, *others), strict=True):
            if column.kind == "TIMESTAMP":
                content[column.label] = self.milliseconds(values)
            else:
                content[column.label] = TYPES[column.kind][1](values)
        return json.dumps(content)


def read_schema(connection: "taosws.Connection", tdengine: TDengine, units: int) -> Schema:
    """Ask TDengine for the table's columns; raises Refused where it can't be shown, or taosws.Error."""
    found = [
        (name, kind.partition("(")[0], note)
        for name, kind, _, note, *_ in connection.query(f"DESCRIBE {tdengine.table_sql}")
    ]
    if found[0][1] != "TIMESTAMP":
        raise Refused(
            f"{tdengine.database}.{tdengine.table} can't be shown: its first column, {found[0][0]}, "
            "is no TIMESTAMP"
        )
    names = [name for name, _, _ in found]
    key_names = [names[0], *(name for name, _, note in found if note == "COMPOSITE KEY")]
    columns, left_out = [], []
    for name, kind, _ in found:
        if any(part in name for part in ENGINES_OWN):
            left_out.append(f"{name}, a name that Perspective keeps for itself")
        elif kind != "TIMESTAMP" and kind not in TYPES:
            left_out.append(f"{name}, of the type {kind}, which is not known here")
        else:
            columns.append(Column(name, name, kind))
    if [column.name for column in columns[: len(key_names)]] != key_names:
        raise Refused(f"{tdengine.database}.{tdengine.table} can't be shown: its key is {left_out[0]}")
    if names[0] == "ts" and "timestamp" not in names:
        columns[0] = Column("ts", "timestamp", "TIMESTAMP")
    return Schema(tuple(columns), tuple(left_out), 1 + len(key_names), units)


def read_clock(connection: "taosws.Connection", tdengine: TDengine) -> tuple[int, int]:
    """The server's time (ms since 1970), and how many units of the database's timestamps make a ms."""
    for precision, now in connection.query(
        "SELECT `precision`, CAST(NOW() AS BIGINT) FROM information_schema.ins_databases "
        f"WHERE name = {quote_text(tdengine.database)}"
    ):
        return now, UNITS[precision]
    raise Refused(f"TDengine at {tdengine.url} has no database {tdengine.database} yet")


def read_tdengine(
    connection: "taosws.Connection", tdengine: TDengine, schema: Schema, since: str, limit: int
) -> Rows:
    """The newest `limit` rows for which `since` holds, newest first.

    Of the rows that tie at the oldest timestamp those with the highest subtable names are taken, the same
    ones each time. Raises OtherColumns where the schema is out of date, or another TDengineError.
    """
    rows = select(connection, tdengine, schema, f"{since} ORDER BY {schema.key} DESC LIMIT {limit}")
    if len(rows) == limit:
        # Sorting by name too in the first place would take TDengine seconds where the table is large.
        oldest = next(reversed(rows))[0]
        tied = list(takewhile(lambda key: key[0] == oldest, reversed(rows)))
        for key in tied:
            del rows[key]
        rows |= select(
            connection,
            tdengine,
            schema,
            f"{schema.key} = {oldest} ORDER BY {schema.order_of_ties} LIMIT {len(tied)}",
        )
    return rows


def select(connection: "taosws.Connection", tdengine: TDengine, schema: Schema, condition: str) -> Rows:
    """The rows of `condition`."""
    with errors_explained(tdengine):
        result = connection.query(f"SELECT {schema.select} FROM {tdengine.table_sql} WHERE {condition}")
        kinds = [field.type() for field in result.fields]
        if kinds != schema.result_kinds:  # the table was dropped and made anew since the last DESCRIBE
            raise OtherColumns(f"{tdengine.database}.{tdengine.table} has other columns now: {kinds}")
        size = schema.key_size
        return {row[:size]: row for row in result}


class Window:
    """The rows on display, each in a numbered slot of the Perspective table.

    A new row takes the slot of one that left: so the table never grows, and an update overwrites in place.
    """

    def __init__(self, schema: Schema, limit: int):
        self.schema = schema
        self.limit = limit
        self.rows: Rows = {}
        self.newest: int | None = None  # timestamp, in the database's unit
        self._slots: dict[Key, int] | None = None  # None: what the table holds is not known yet
        self._free: list[int] = []
        self._by_age: list[Key] = []  # the oldest first

    def merge(self, rows: Rows) -> str | None:
        """Take in rows (newest first), let the oldest beyond the limit go; returns the table's update."""
        changed = self._changed(rows)
        new = sorted(key for key in changed if key not in self.rows)
        if new:
            place = bisect.bisect(self._by_age, new[0])  # nearly always the end
            self._by_age[place:] = sorted(self._by_age[place:] + new)
        self.rows.update(rows)
        too_many = max(0, len(self.rows) - self.limit)
        for key in self._by_age[:too_many]:
            self._let_go(key)
        del self._by_age[:too_many]
        if rows:
            newest = next(iter(rows))[0]
            self.newest = newest if self.newest is None else max(newest, self.newest)
        return self._update([key for key in changed if key in self.rows])

    def replace(self, rows: Rows) -> tuple[str | None, bool]:
        """Hold exactly these rows (newest first).

        Returns the table's update, and whether that replaces all of the table's content: where the window
        shrank, since a Perspective table without an index can't lose single rows, and at the first time.
        """
        whole = self._slots is None or len(rows) < len(self.rows)
        if whole:
            self._slots, self._free = {}, []
            changed = list(rows)
        else:
            changed = self._changed(rows)
            for key in self.rows.keys() - rows.keys():
                self._let_go(key)
        self.rows = rows
        self._by_age = sorted(rows)
        self.newest = next(iter(rows))[0] if rows else None
        return self._update(changed), whole

    def _changed(self, rows: Rows) -> list[Key]:
        """The keys of the rows that are new or not as they were."""
        held = self.rows
        return [
            key
            for key, row in rows.items()
            if (old := held.get(key)) != row and (old is None or not is_same(old, row))
        ]

    def _let_go(self, key: Key) -> None:
        del self.rows[key]
        if key in self._slots:
            self._free.append(self._slots.pop(key))

    def _update(self, keys: list[Key]) -> str | None:
        """The rows as JSON columns; None for no rows."""
        if not keys:
            return None
        for key in keys:
            if key not in self._slots:
                self._slots[key] = self._free.pop() if self._free else len(self._slots)
        return self.schema.as_json([self.rows[key] for key in keys], [self._slots[key] for key in keys])


def is_same(old: Row, new: Row) -> bool:
    """Whether rows are equal although NaN, of which there may be some, never equals itself."""
    return all(a == b or (a != a and b != b) for a, b in zip(old, new, strict=True))


@dataclass(frozen=True)
class Poll:
    """What one read of TDengine brought, for the server."""

    update: str | None  # JSON columns for the table; None: nothing changed
    whole: bool  # whether the update is all that the table is to hold
    rows: int
    newest: int | None  # timestamp, ms since 1970
    schema: Schema | None = None  # of this update and those after it; None: the same as before


@dataclass(frozen=True)
class Connected:
    """TDengine answers, for the server."""

    version: str


@dataclass(frozen=True)
class Failed:
    """TDengine can't be read, for the server: why, in one line. The reader keeps trying."""

    error: str


class Reader:
    """Decides what to read when, and keeps the window.

    span: how far the window reaches back, as TDengine writes it, such as "12h". limit: its rows at most.
    """

    def __init__(self, tdengine: TDengine, span: str, limit: int):
        self.tdengine = tdengine
        self.span = span
        self.limit = limit
        self.window: Window | None = None
        self.forget_time()

    def forget_time(self) -> None:
        """Read the whole window next: after a new connection nothing is known of what happened meanwhile."""
        self.next_window_read = -math.inf
        # At each of the last two polls: the server's clock, and the newest row's timestamp.
        self.watermarks: deque[tuple[int, int]] = deque(maxlen=2)

    def poll(self, connection: "taosws.Connection") -> Poll:
        """Read what is due. Raises TDengineError or taosws.Error."""
        now = time.monotonic()
        schema, whole = None, False
        if now < self.next_window_read and self.watermarks:
            try:
                update = self.window.merge(self.read_new(connection))
            except OtherColumns:
                self.forget_time()
        if not self.watermarks or now >= self.next_window_read:
            schema, update, whole = self.read_all(connection)
            took = time.monotonic() - now
            self.next_window_read = now + max(WINDOW_READ_INTERVAL, took * WINDOW_READ_SHARE)
        window = self.window
        if window.newest is not None:
            clock = int((self.server_clock + now * 1000) * window.schema.units)
            self.watermarks.append((clock, window.newest))
        (newest,) = window.schema.milliseconds([window.newest])
        return Poll(update, whole, len(window.rows), newest, schema)

    def read_new(self, connection: "taosws.Connection") -> Rows:
        """Rows from the poll before the last on.

        Not just from the last: a batch of several meters may become visible meter by meter, and then some of
        its rows are older than the newest one seen.
        """
        schema = self.window.schema
        clock, newest = self.watermarks[0]
        since = f"{schema.key} > {newest}"
        if newest > clock:  # rows from the future: what comes in order now is older, and they aren't new
            since = f"{schema.key} > {clock} AND ({schema.key} <= NOW() OR {since})"
        return read_tdengine(connection, self.tdengine, schema, since, self.limit)

    def read_all(self, connection: "taosws.Connection") -> tuple[Schema | None, str | None, bool]:
        """The schema, if it is new, and the window: the table's update, and whether that is all of it."""
        server_time, units = read_clock(connection, self.tdengine)
        self.server_clock = server_time - time.monotonic() * 1000  # rather slow than fast
        schema = read_schema(connection, self.tdengine, units)
        rows = read_tdengine(
            connection, self.tdengine, schema, f"{schema.key} >= NOW() - {self.span}", self.limit
        )
        is_new = self.window is None or schema != self.window.schema
        window = Window(schema, self.limit) if is_new else self.window
        update, whole = window.replace(rows)
        self.window = window
        return (schema if is_new else None), update, whole


def run(pipe: Connection, tdengine: TDengine, refresh_rate: int, span: str, limit: int) -> None:
    """The child process: poll every `refresh_rate` ms and tell the pipe, until that is closed.

    A poll that takes longer than that skips the beats it missed. A hung call ends the process.
    """
    silence_driver()
    reader = Reader(tdengine, span, limit)
    connection = None
    interval = refresh_rate / 1000
    beat = time.monotonic()
    try:
        while True:
            try:
                if connection is None:
                    with watchdog():
                        connection, version = connect(tdengine)
                    pipe.send(Connected(version))
                    reader.forget_time()
                with errors_explained(tdengine), watchdog():
                    message = reader.poll(connection)
            except TDengineError as error:
                with watchdog():
                    connection = None
                pipe.send(Failed(str(error)))
                beat = time.monotonic() + RETRY_DELAY
            else:
                pipe.send(message)
                beat += interval * max(1, math.ceil((time.monotonic() - beat) / interval))
            if pipe.poll(max(0, beat - time.monotonic())):
                return
    except OSError:
        return  # the server has ended
