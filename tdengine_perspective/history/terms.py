"""Owns what stands in a SELECT for a column of the Perspective table, and how its values are read."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from tdengine_perspective.history.words import NotAnswered
from tdengine_perspective.mirror.schema import CALENDAR, SUBTABLE, TYPES, Column, Schema
from tdengine_perspective.tdengine import bytes_of, quote_name, readable

INTEGER, FLOAT, STRING, BOOLEAN, DATE, DATETIME = "integer", "float", "string", "boolean", "date", "datetime"
NUMBERS = (INTEGER, FLOAT)
TIMES = (DATE, DATETIME)
DAY = 86_400_000  # ms
FLOATS = ("FLOAT", "DOUBLE")  # TDengine's types that may hold NaN and infinity
UNGROUPABLE = ("JSON", "VARBINARY", "GEOMETRY", "BLOB")  # that TDengine neither groups by nor compares


@dataclass(frozen=True)
class Term:
    """A value of each row: its SQL, Perspective's type of it, and how many units of it are a ms, for a time.

    kind: the type; column: TDengine's, where it is one and not computed; units: of a time, a ms.
    """

    sql: str
    kind: str
    column: Column | None = None
    units: int = 1
    step: str | None = None  # as INTERVAL takes it, where it is the key's time in steps
    is_constant: bool = False  # whether it is the same in all rows, since no column is in it
    may_be_of_no_row: bool = False  # whether it may have a value where there are tags, but no row
    as_bytes: bool = False  # whether it is a text to be read as bytes, since not all of them are UTF-8

    @property
    def name(self) -> str:
        """What functions that take a column take: a time as it is."""
        return quote_name(self.column.name) if self.column and self.sql != SUBTABLE else self.sql

    @property
    def is_time_column(self) -> bool:
        return self.column is not None and self.column.kind == "TIMESTAMP"

    @property
    def may_be_infinite(self) -> bool:
        """Whether it is a column that may have NaN or infinity in it, which on the live side is no value."""
        return self.column is not None and self.column.kind in FLOATS

    @property
    def may_be_sorted(self) -> bool:
        """Whether there is no NaN in it, whatever comes: TDengine's process can end where it sorts some."""
        if self.kind not in NUMBERS:
            return True
        return self.column is not None and self.column.kind not in FLOATS

    def in_ms(self) -> "Term":
        """A time in ms, whatever the database's precision; cut first, as a DOUBLE would not hold it."""
        if self.units == 1:
            return self
        cut = f"TIMETRUNCATE({self.name}, 1a)"  # towards 1970
        one_less = f"CASE WHEN {self.name} < {cut} THEN {self.units} ELSE 0 END"
        sql = f"CAST(ROUND((CAST({cut} AS BIGINT) - {one_less}) / {self.units}) AS BIGINT)"
        return Term(sql, self.kind)

    def shown(self, sql: str = "") -> str:
        """What stands in a SELECT's list for it, or for something else of its type."""
        return bytes_of(sql or self.sql) if self.as_bytes else sql or self.sql

    @property
    def as_double(self) -> str:
        """What it is compared by and computed with: TDengine compares a FLOAT as if it had fewer digits."""
        inexact = self.column is not None and self.column.kind in ("FLOAT", "DECIMAL")
        return f"CAST({self.sql} AS DOUBLE)" if inexact else self.sql

    def read(self, values: Sequence[Any]) -> list[Any]:
        """TDengine's values as Perspective has them: times in ms, dates in days."""
        return READERS[self.kind](values, self)


def finite(sql: str) -> str:
    """Without NaN and infinity. Without the inner CAST, TDengine takes infinity for a part of all that."""
    least_and_greatest = "-1.7976931348623157e308 AND 1.7976931348623157e308"
    return f"CASE WHEN CAST({sql} AS DOUBLE) BETWEEN {least_and_greatest} THEN CAST({sql} AS DOUBLE) END"


def read_floats(values: Sequence[Any], term: Term) -> list[float | None]:
    return [None if value is None or not math.isfinite(value) else float(value) for value in values]


def read_integers(values: Sequence[Any], term: Term) -> list[int | None]:
    return [None if value is None or not math.isfinite(value) else int(value) for value in values]


def read_booleans(values: Sequence[Any], term: Term) -> list[bool | None]:
    return [None if value is None else bool(value) for value in values]


def read_texts(values: Sequence[Any], term: Term) -> list[str | None]:
    """Perspective ends a text at a NUL."""
    return [
        value.hex()
        if isinstance(value, bytes) and not term.as_bytes
        else value
        and (readable(value) if term.as_bytes else value).replace("\0", "\N{REPLACEMENT CHARACTER}")
        for value in values
    ]


def read_times(values: Sequence[Any], term: Term) -> list[int | None]:
    first, last = CALENDAR[0] * term.units, (CALENDAR[1] + 1) * term.units
    return [
        None if value is None or not first <= value < last else int(value) // term.units for value in values
    ]


def read_dates(values: Sequence[Any], term: Term) -> list[int | None]:
    return [value if value is None else value // DAY for value in read_times(values, term)]


READERS: dict[str, Callable[[Sequence[Any], Term], list[Any]]] = {
    INTEGER: read_integers,
    FLOAT: read_floats,
    STRING: read_texts,
    BOOLEAN: read_booleans,
    DATETIME: read_times,
    DATE: read_dates,
}


@dataclass(frozen=True)
class Facts:
    """What is known of the table: its name in SQL, its columns as the live side has them.

    infinite: those columns in which there is NaN or infinity, by their names in Perspective. TDengine
    computes with these, and takes several times as long to leave them out: so only where there are some.
    """

    table: str
    schema: Schema
    infinite: frozenset[str] = frozenset()

    @cached_property
    def terms(self) -> dict[str, Term]:
        """By the columns' names in Perspective, in their order."""
        found = {column.label: column_term(column, self.schema.units) for column in self.schema.columns}
        for name in self.infinite & found.keys():
            found[name] = Term(finite(found[name].sql), FLOAT)
        for column in self.schema.columns:
            if self.schema.is_bytes(column):
                found[column.label] = replace(found[column.label], as_bytes=True)
        subtable = Term("tbname", STRING, Column("tbname", SUBTABLE, "BINARY"), as_bytes=self.schema.as_bytes)
        return {name: found.get(name, subtable) for name in self.schema.perspective}

    @cached_property
    def tags(self) -> frozenset[str]:
        """The columns, by their names in Perspective, that are the same in all rows of a subtable."""
        tags = self.schema.tags or 0
        names = [column.label for column in self.schema.columns[len(self.schema.columns) - tags :]]
        return frozenset([*names, *([SUBTABLE] if self.schema.shows_subtable else [])])

    def of_rows(self, term: Term) -> Term:
        """The same as an aggregate takes it.

        Where tags make the groups, TDengine adds a row, all NULL but for its tags, for each group of which a
        part of the database has subtables, but no rows.
        """
        if not term.may_be_of_no_row and (term.column is None or term.column.label not in self.tags):
            return term
        return Term(
            f"CASE WHEN {self.schema.key} IS NOT NULL THEN {term.sql} END",
            term.kind,
            None,
            term.units,
            as_bytes=term.as_bytes,
        )

    @property
    def key(self) -> Term:
        return column_term(self.schema.columns[0], self.schema.units)

    @property
    def order(self) -> list[str]:
        """What puts the rows in their order: that of time, those of one time by their subtables."""
        second = [quote_name(self.schema.columns[1].name)] if self.schema.key_size == 3 else []
        subtable = ["tbname"] if self.schema.tags is not None else []
        return [self.schema.key, *subtable, *second]


def column_term(column: Column, units: int) -> Term:
    if column.kind == "TIMESTAMP":
        return Term(column.sql, DATETIME, column, units)
    return Term(quote_name(column.name), TYPES[column.kind][0], column)


def check_groupable(term: Term, name: str) -> None:
    """Raises NotAnswered for a column by which TDengine does not group."""
    if term.column and term.column.kind in UNGROUPABLE:
        raise NotAnswered(f"{name} is of the type {term.column.kind}, by which TDengine does not group")


def check_sortable(term: Term, name: str) -> None:
    """Raises NotAnswered for a column by which TDengine does not sort, or in an order of its own."""
    if term.column and term.column.kind in UNGROUPABLE:
        raise NotAnswered(f"{name} is of the type {term.column.kind}, by which TDengine does not sort")
