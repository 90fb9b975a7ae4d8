"""Owns the reading of the latest row of each subtable: what to read when.

At each poll it reads the subtables that have rows since the watermark, and every few seconds all of them,
which brings what the former can't see: late, changed and deleted rows, dropped subtables, other tags.
"""

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from tdengine_perspective.mirror.messages import Poll, Pushed
from tdengine_perspective.mirror.reader import (
    WINDOW_READ_INTERVAL,
    WINDOW_READ_SHARE,
    lacks_what_was,
    read_clock,
)
from tdengine_perspective.mirror.schema import SUBTABLE, Row, Schema, read_schema
from tdengine_perspective.mirror.slots import Rows, Slots
from tdengine_perspective.spelling import check_spelling
from tdengine_perspective.tdengine import Absent, OtherColumns, TDengine, Unreadable, errors_explained

if TYPE_CHECKING:
    import taosws


class LatestReader:
    """Keeps the latest row of each subtable, of `limit` of them at most."""

    def __init__(self, tdengine: TDengine, limit: int):
        self.tdengine = tdengine
        self.limit = limit
        self.slots: Slots | None = None
        self.as_bytes = False  # whether texts are read as bytes
        self.damaged: set[str] = set()  # columns in which there was text that is not UTF-8
        self.has_more = False
        self.new: list[
            tuple
        ] = []  # time and subtable of rows of the last poll, newer than all that were known
        self.forget_time()

    @property
    def schema(self) -> Schema:
        return self.slots.schema

    def forget_time(self) -> None:
        """Read all next: after a new connection nothing is known of what happened meanwhile."""
        self.next_full_read = -math.inf
        # At each of the last two polls: the server's clock or, if that is less, the newest row's timestamp.
        self.watermarks: deque[int] = deque(maxlen=2)

    def poll(self, connection: "taosws.Connection") -> Poll:
        """Read what is due. Raises TDengineError or taosws.Error."""
        began = time.monotonic()
        schema, whole = None, False
        known = self.newest if self.slots else None
        if began < self.next_full_read and self.watermarks and not self.has_more:
            try:
                since = f" WHERE {self.slots.schema.key} > {self.watermarks[0]}"
                update = self.take(self.read(connection, self.slots.schema, since))
            except (OtherColumns, Unreadable):
                self.forget_time()
        if not self.watermarks or began >= self.next_full_read or self.has_more:
            try:
                schema, update, whole = self.read_all(connection)
            except Absent:
                check_spelling(connection, self.tdengine)
                raise
            took = time.monotonic() - began
            self.next_full_read = began + max(WINDOW_READ_INTERVAL, took * WINDOW_READ_SHARE)
        rows, units = self.slots.rows, self.slots.schema.units
        newest = self.newest
        later = () if schema or known is None else (row for row in rows.values() if row[0] > known)
        self.new = [row[: self.schema.key_size] for row in later]
        if newest is not None:
            self.watermarks.append(min(newest, int((self.server_clock + began * 1000) * units)))
        (shown,) = self.slots.schema.milliseconds([newest])
        pause = self.next_full_read - time.monotonic() if self.has_more else 0
        return Poll(
            update,
            whole,
            len(rows),
            shown,
            schema,
            damaged=frozenset(self.damaged),
            has_more=self.has_more,
            pause=max(0, pause),
        )

    @property
    def newest(self) -> int | None:
        """Timestamp, in the database's unit."""
        return max((row[0] for row in self.slots.rows.values()), default=None)

    def take_pushed(self, rows: Sequence[Row]) -> Pushed | None:
        """Take in rows that TDengine pushed, in their order; None where that changes nothing."""
        held, taken, size = self.slots.rows, {}, self.schema.key_size
        for row in rows:
            before = taken.get(row[1:2]) or held.get(row[1:2])
            is_later = before is None or row[:size] > before[:size]
            if is_later or (row[:size] == before[:size] and not lacks_what_was(row, before)):
                taken[row[1:2]] = row
        self.damaged |= self.schema.damaged(taken.values())
        update = self.take(taken)
        if update is None:
            return None
        (newest,) = self.schema.milliseconds([self.newest])
        damaged = frozenset(self.damaged)
        return Pushed(update, len(held), newest, damaged=damaged, has_more=self.has_more)

    def take(self, rows: Rows) -> str | None:
        """Take in the rows of some subtables; returns the table's update."""
        if len(self.slots.rows.keys() | rows.keys()) > self.limit:
            self.has_more = True
            rows = {key: row for key, row in rows.items() if key in self.slots.rows}
        return self.slots.merge(rows)

    def read_all(self, connection: "taosws.Connection") -> tuple[Schema | None, str | None, bool]:
        """The schema, if it is new, and all rows: the table's update, and whether that is all of it."""
        server_time, units = read_clock(connection, self.tdengine)
        self.server_clock = server_time - time.monotonic() * 1000  # rather slow than fast
        schema = read_schema(connection, self.tdengine, units)
        schema = replace(schema, shows_subtable=SUBTABLE not in schema.perspective, as_bytes=self.as_bytes)
        try:
            rows = self.read(connection, schema, "")
        except Unreadable:
            if self.as_bytes:
                raise
            self.as_bytes = True
            return self.read_all(connection)
        self.has_more = len(rows) > self.limit
        if self.has_more:  # the same ones each time
            rows = dict(islice(sorted(rows.items()), self.limit))
        is_new = self.slots is None or schema != self.slots.schema
        if is_new:
            self.slots = Slots(schema)
        update, whole = self.slots.replace(rows)
        return (schema if is_new else None), update, whole

    def read(self, connection: "taosws.Connection", schema: Schema, condition: str) -> Rows:
        """The latest row of each subtable that has rows for which the condition holds, by its name."""
        with errors_explained(self.tdengine):
            result = connection.query(
                f"SELECT {schema.select_latest} FROM {self.tdengine.table_sql}{condition} PARTITION BY tbname"
            )
            kinds = [field.type() for field in result.fields]
            if kinds != schema.result_kinds:  # the table was dropped and made anew since the last DESCRIBE
                raise OtherColumns(
                    f"{self.tdengine.database}.{self.tdengine.table} has other columns now: {kinds}"
                )
            rows = {(row[1],): row for row in result}
        self.damaged |= schema.damaged(rows.values())
        return rows
