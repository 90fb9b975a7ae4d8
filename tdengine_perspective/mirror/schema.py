"""Owns a table's columns: TDengine's and Perspective's side of them, and how values get across."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tdengine_perspective.tdengine import Refused, TDengine, bytes_of, describe, quote_name, readable

if TYPE_CHECKING:
    import taosws

SUBTABLE = "tbname"  # TDengine's name, and the Perspective column's, for the table that a row is in
# The meters' table, whose columns are promised: they tell its meters apart without the subtable's name.
METERS = {"timestamp", "location", "groupid", "current", "voltage", "phase"}
CALENDAR = (-62_135_596_800_000, 253_402_300_799_999)  # years 1 to 9999, in ms since 1970
ENGINES_OWN = ("psp_", "__INDEX__", "__ROW_PATH__")  # Perspective bears no column with this in its name

# A row of a query: timestamp (in the database's unit, since 1970), subtable, then the other columns' values.
Row = tuple


def unchanged(values: Sequence[Any]) -> Sequence[Any]:
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


def is_utf8(text: bytes | None) -> bool:
    try:
        return text is None or text.isascii() or bool(text.decode())
    except UnicodeDecodeError:
        return False


def as_hexadecimal(values: Sequence[bytes | None]) -> list[str | None]:
    return [value if value is None else value.hex() for value in values]


BYTE_TEXTS = ("VARCHAR", "BINARY")  # of which TDengine takes any bytes; the other texts are UTF-8

# By TDengine's name of a type: Perspective's type, and what makes the column's values JSON. TIMESTAMP is not
# among them, since its unit is the database's.
INTEGER = ("integer", unchanged)  # of 32 bits
FLOAT = ("float", as_float)
STRING = ("string", as_string)
HEXADECIMAL = ("string", as_hexadecimal)
TYPES: dict[str, tuple[str, Callable[[Sequence[Any]], Sequence[Any]]]] = {
    "BOOL": ("boolean", unchanged),
    **dict.fromkeys(("TINYINT", "SMALLINT", "INT", "TINYINT UNSIGNED", "SMALLINT UNSIGNED"), INTEGER),
    **dict.fromkeys(("INT UNSIGNED", "BIGINT", "BIGINT UNSIGNED", "FLOAT", "DOUBLE", "DECIMAL"), FLOAT),
    **dict.fromkeys((*BYTE_TEXTS, "NCHAR", "JSON"), STRING),
    **dict.fromkeys(("VARBINARY", "GEOMETRY", "BLOB"), HEXADECIMAL),
}


@dataclass(frozen=True)
class Column:
    name: str  # in TDengine
    label: str  # in Perspective
    kind: str  # TDengine's type, without a length

    @property
    def sql(self) -> str:
        return self.as_number(quote_name(self.name))

    def as_number(self, sql: str) -> str:
        """Timestamps as numbers: parsing text would cost more than the query."""
        return f"CAST({sql} AS BIGINT)" if self.kind == "TIMESTAMP" else sql

    @property
    def result_kind(self) -> str:
        """The type that it has in a query's result."""
        return {"TIMESTAMP": "BIGINT"}.get(self.kind, self.kind)


@dataclass(frozen=True)
class Schema:
    """A table's columns, tags included, the first of which is the key: TDengine's and Perspective's side."""

    columns: tuple[Column, ...]
    left_out: tuple[str, ...]  # columns that can't be shown, each with the reason
    key_size: int  # 3 where a second column is part of the key, else 2
    units: int  # of a timestamp, a ms
    tags: int | None = None  # so many of the columns, the last ones; None: it is a table without tags
    shows_subtable: bool = False  # whether a row's subtable is shown, too, in a column before the tags
    as_bytes: bool = False  # whether texts are read as bytes, since not all of them are UTF-8

    @cached_property
    def select(self) -> str:
        """The SELECT's list: the key's parts first, see Row."""
        key, *others = (self.as_read(column, column.sql) for column in self.columns)
        return ", ".join([key, bytes_of("tbname") if self.as_bytes else "tbname", *others])

    @cached_property
    def select_latest(self) -> str:
        """The same list for the latest row of each subtable; tags are what they are."""
        of_rows = len(self.columns) - (self.tags or 0)
        latest = [f"LAST_ROW({quote_name(c.name)})" for c in self.columns[:of_rows]]
        latest += [quote_name(c.name) for c in self.columns[of_rows:]]
        of_key, *others = (
            self.as_read(column, column.as_number(sql))
            for column, sql in zip(self.columns, latest, strict=True)
        )
        return ", ".join([of_key, bytes_of("tbname") if self.as_bytes else "tbname", *others])

    def as_read(self, column: Column, sql: str) -> str:
        return bytes_of(sql) if self.is_bytes(column) else sql

    @cached_property
    def result_kinds(self) -> list[str]:
        text = "VARBINARY" if self.as_bytes else "BINARY"
        key, *others = (text if c.kind in BYTE_TEXTS else c.result_kind for c in self.columns)
        return [key, text, *others]

    def is_bytes(self, column: Column) -> bool:
        return self.as_bytes and column.kind in BYTE_TEXTS

    def damaged(self, rows: Iterable[Row]) -> set[str]:
        """The columns in which one of these rows has text that is not UTF-8, where it is read as bytes."""
        places = [(at, c.name) for at, c in enumerate(self.columns[1:], 2) if self.is_bytes(c)]
        return {name for at, name in places if not all(map(is_utf8, (row[at] for row in rows)))}

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
        types = [
            (column.label, "datetime" if column.kind == "TIMESTAMP" else TYPES[column.kind][0])
            for column in self.columns
        ]
        if self.shows_subtable:
            types.insert(len(types) - (self.tags or 0), (SUBTABLE, "string"))
        return dict(types)

    @property
    def may_show_subtable(self) -> bool:
        """Whether rows of a supertable with these columns are to say which subtable they are of.

        Two of its devices may have the same tags. A column of that name, which TDengine takes in backquotes,
        is shown in the place of its own.
        """
        return (
            self.tags is not None and self.perspective.keys() != METERS and SUBTABLE not in self.perspective
        )

    def milliseconds(self, timestamps: Sequence[int | None]) -> list[int | None]:
        """Since 1970; None outside the calendar, where neither Perspective nor a browser can go."""
        first, last = CALENDAR[0] * self.units, (CALENDAR[1] + 1) * self.units
        return [
            None if value is None or not first <= value < last else value // self.units
            for value in timestamps
        ]

    def as_json(self, rows: Sequence[Row], slots: Sequence[int]) -> str:
        """The rows as JSON columns, `__INDEX__` saying which slots they go to."""
        timestamps, subtables, *others = zip(*rows, strict=True)
        content: dict[str, Sequence[Any]] = {"__INDEX__": slots}
        if self.shows_subtable:
            content[SUBTABLE] = as_string(list(map(readable, subtables)) if self.as_bytes else subtables)
        for column, values in zip(self.columns, (timestamps, *others), strict=True):
            if column.kind == "TIMESTAMP":
                content[column.label] = self.milliseconds(values)
            elif self.is_bytes(column):
                content[column.label] = as_string(list(map(readable, values)))
            else:
                content[column.label] = TYPES[column.kind][1](values)
        return json.dumps(content)


def read_schema(connection: "taosws.Connection", tdengine: TDengine, units: int) -> Schema:
    """Ask TDengine for the table's columns; raises Refused where it can't be shown, or taosws.Error."""
    found = [
        (name, kind.partition("(")[0], note) for name, kind, _, note, *_ in describe(connection, tdengine)
    ]
    if found[0][1] != "TIMESTAMP":
        raise Refused(
            f"{tdengine.database}.{tdengine.table} can't be shown: its first column, {found[0][0]}, "
            "is no TIMESTAMP"
        )
    names = [name for name, _, _ in found]
    key_names = [names[0], *(name for name, _, note in found if note == "COMPOSITE KEY")]
    columns, left_out = [], []
    tags = 0 if any(note == "TAG" for _, _, note in found) else None
    for name, kind, note in found:
        if any(part in name for part in ENGINES_OWN):
            left_out.append(f"{name}, a name that Perspective keeps for itself")
        elif "\N{REPLACEMENT CHARACTER}" in name:  # no statement can have it in it
            left_out.append(f"{name}, whose name is not UTF-8")
        elif kind != "TIMESTAMP" and kind not in TYPES:
            left_out.append(f"{name}, of the type {kind}, which is not known here")
        else:
            columns.append(Column(name, name, kind))
            if note == "TAG":
                tags += 1
    if [column.name for column in columns[: len(key_names)]] != key_names:
        raise Refused(f"{tdengine.database}.{tdengine.table} can't be shown: its key is {left_out[0]}")
    if names[0] == "ts" and "timestamp" not in names:
        columns[0] = Column("ts", "timestamp", "TIMESTAMP")
    return Schema(tuple(columns), tuple(left_out), 1 + len(key_names), units, tags)
