"""Owns what all readers of a table have in common: its columns, its rows, and when all of these are read."""

import math
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from tdengine_perspective.mirror.schema import SUBTABLE, Row, Schema, read_schema
from tdengine_perspective.mirror.slots import Rows, Slots
from tdengine_perspective.spelling import check_spelling
from tdengine_perspective.tdengine import (
    Absent,
    OtherColumns,
    TDengine,
    Unreadable,
    errors_explained,
    quote_text,
)

if TYPE_CHECKING:
    import taosws

FULL_READ_INTERVAL = 2  # seconds from one read of all rows to the next, at least
FULL_READ_SHARE = 20  # a read of all rows may take one part in so many of the time

UNITS = {"ms": 1, "us": 1_000, "ns": 1_000_000}  # of a database's timestamps: so many make a millisecond


def read_clock(connection: "taosws.Connection", tdengine: TDengine) -> tuple[int, int]:
    """The server's time (ms since 1970), and how many units of the database's timestamps make a ms."""
    for precision, now in connection.query(
        "SELECT `precision`, CAST(NOW() AS BIGINT) FROM information_schema.ins_databases "
        f"WHERE name = {quote_text(tdengine.database)}"
    ):
        return now, UNITS[precision]
    raise Absent(f"TDengine at {tdengine.url} has no database {tdengine.database} yet")


def is_supertable(connection: "taosws.Connection", tdengine: TDengine) -> bool:
    """Whether the table has subtables; DESCRIBE says the same of a supertable and of one of these."""
    found = connection.query(
        "SELECT stable_name FROM information_schema.ins_stables "
        f"WHERE db_name = {quote_text(tdengine.database)} AND stable_name = {quote_text(tdengine.table)}"
    )
    return len(list(found)) > 0


def learn_columns(
    connection: "taosws.Connection", tdengine: TDengine, as_bytes: bool, shows_subtable: bool = False
) -> tuple[int, Schema]:
    """The server's time (ms since 1970), and the table's columns as they are to be read.

    shows_subtable: always, and not only where the rows need it. Raises Absent, or Refused for a name that is
    there in other letters.
    """
    try:
        server_time, units = read_clock(connection, tdengine)
        schema = read_schema(connection, tdengine, units)
    except Absent:
        check_spelling(connection, tdengine)
        raise
    is_shown = shows_subtable and SUBTABLE not in schema.perspective
    if is_shown or (schema.may_show_subtable and is_supertable(connection, tdengine)):
        schema = replace(schema, shows_subtable=True)
    return server_time, replace(schema, as_bytes=as_bytes)


def rows_of(connection: "taosws.Connection", tdengine: TDengine, schema: Schema, sql: str) -> list[Row]:
    """What a SELECT of the schema's columns answers. Raises OtherColumns, or another TDengineError."""
    with errors_explained(tdengine):
        result = connection.query(sql)
        kinds = [field.type() for field in result.fields]
        if kinds != schema.result_kinds:  # the table was dropped and made anew since the last DESCRIBE
            raise OtherColumns(f"{tdengine.database}.{tdengine.table} has other columns now: {kinds}")
        return list(result)


def lacks_what_was(row: Row, before: Row | None) -> bool:
    """Whether a pushed row has NULL for a value that the same row had before.

    A write may name some columns alone, and then the others, which keep their values, are pushed as NULL.
    What holds, the next read of all rows tells.
    """
    return before is not None and any(
        new is None and old is not None for new, old in zip(row, before, strict=True)
    )


class TableReader:
    """Reads the rows that may be new at each poll, and every few seconds the columns and all rows.

    limit: rows that it holds, at most.
    """

    shows_subtable = False  # always, and not only where the rows need it

    def __init__(self, tdengine: TDengine, limit: int):
        self.tdengine = tdengine
        self.limit = limit
        self.held: Slots | None = None
        self.as_bytes = False  # whether texts are read as bytes
        self.damaged: set[str] = set()  # columns in which there was text that is not UTF-8
        self.forget_time()

    @property
    def schema(self) -> Schema:
        return self.held.schema

    def forget_time(self) -> None:
        """Read all rows next: after a new connection nothing is known of what happened meanwhile."""
        self.next_full_read = -math.inf
        # At each of the last two polls: the server's clock, and the newest row's timestamp.
        self.watermarks: deque[tuple[int, int]] = deque(maxlen=2)

    def read_due(
        self, connection: "taosws.Connection", began: float, is_whole_due: bool = False
    ) -> tuple[Schema | None, str | None, bool]:
        """Read what is due; returns the schema, if it is new, the table's update, and whether that is all.

        Raises TDengineError or taosws.Error.
        """
        if began < self.next_full_read and self.watermarks and not is_whole_due:
            try:
                return None, self.take(self.read_new(connection)), False
            except (OtherColumns, Unreadable):
                self.forget_time()
        found = self.read_all(connection)
        took = time.monotonic() - began
        self.next_full_read = began + max(FULL_READ_INTERVAL, took * FULL_READ_SHARE)
        return found

    def read_all(self, connection: "taosws.Connection") -> tuple[Schema | None, str | None, bool]:
        """The schema, if it is new, and all rows: the table's update, and whether that is all of it."""
        server_time, schema = learn_columns(connection, self.tdengine, self.as_bytes, self.shows_subtable)
        self.server_clock = server_time - time.monotonic() * 1000  # rather slow than fast
        try:
            rows = self.read_whole(connection, schema)
        except Unreadable:
            if self.as_bytes:
                raise
            self.as_bytes = True
            return self.read_all(connection)
        is_new = self.held is None or schema != self.schema
        held = self.make_slots(schema) if is_new else self.held
        update, whole = held.replace(rows)
        self.held = held
        self.look_around(connection)
        return (schema if is_new else None), update, whole

    def note_newest(self, began: float, newest: int | None) -> None:
        """The newest row's timestamp at the poll that began then; the next but one asks from there on."""
        if newest is not None:
            self.watermarks.append((int((self.server_clock + began * 1000) * self.schema.units), newest))

    def make_slots(self, schema: Schema) -> Slots:
        """Slots for rows with these columns."""
        return Slots(schema)

    def look_around(self, connection: "taosws.Connection") -> None:
        """Ask what there is to ask besides, now that all rows have been read."""

    def take(self, rows: Rows) -> str | None:
        """Take in rows beside those that are held; returns the table's update."""
        return self.held.merge(rows)

    def read_new(self, connection: "taosws.Connection") -> Rows:
        """The rows that may be new."""
        raise NotImplementedError

    def read_whole(self, connection: "taosws.Connection", schema: Schema) -> Rows:
        """All rows that are to be held."""
        raise NotImplementedError
