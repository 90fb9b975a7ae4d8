"""Owns the reading of the latest row of each subtable: what to read when.

At each poll it reads the subtables that have rows since the watermark, and every few seconds all of them,
which brings what the former can't see: late, changed and deleted rows, dropped subtables, other tags.
"""

import time
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from tdengine_perspective.mirror.messages import Poll, Pushed
from tdengine_perspective.mirror.reading import TableReader, lacks_what_was, rows_of
from tdengine_perspective.mirror.schema import Row, Schema
from tdengine_perspective.mirror.slots import Key, Rows
from tdengine_perspective.tdengine import TDengine

if TYPE_CHECKING:
    import taosws


class LatestReader(TableReader):
    """Keeps the latest row of each subtable, of `limit` of them at most."""

    shows_subtable = True

    def __init__(self, tdengine: TDengine, limit: int):
        super().__init__(tdengine, limit)
        self.has_more = False
        self.known: int | None = None  # the newest timestamp before the last poll, if the columns were known

    @property
    def new(self) -> list[Key]:
        """Time and subtable of rows of the last poll that are newer than all that were known."""
        if self.known is None:
            return []
        return [row[: self.schema.key_size] for row in self.held.rows.values() if row[0] > self.known]

    def poll(self, connection: "taosws.Connection") -> Poll:
        """Read what is due. Raises TDengineError or taosws.Error."""
        began = time.monotonic()
        known = self.newest if self.held else None
        schema, update, whole = self.read_due(connection, began, is_whole_due=self.has_more)
        self.known = None if schema else known
        newest = self.newest
        self.note_newest(began, newest)
        (shown,) = self.schema.milliseconds([newest])
        pause = self.next_full_read - time.monotonic() if self.has_more else 0
        return Poll(
            update,
            whole,
            len(self.held.rows),
            shown,
            schema,
            damaged=frozenset(self.damaged),
            has_more=self.has_more,
            pause=max(0, pause),
        )

    @property
    def newest(self) -> int | None:
        """Timestamp, in the database's unit."""
        return max((row[0] for row in self.held.rows.values()), default=None)

    def take_pushed(self, rows: Sequence[Row]) -> Pushed | None:
        """Take in rows that TDengine pushed, in their order; None where that changes nothing."""
        held, taken, size = self.held.rows, {}, self.schema.key_size
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
        if len(self.held.rows.keys() | rows.keys()) > self.limit:
            self.has_more = True
            rows = {key: row for key, row in rows.items() if key in self.held.rows}
        return super().take(rows)

    def read_new(self, connection: "taosws.Connection") -> Rows:
        """The latest rows of the subtables that have any from the poll before the last on."""
        return self.read(connection, self.schema, f" WHERE {self.schema.key} > {min(self.watermarks[0])}")

    def read_whole(self, connection: "taosws.Connection", schema: Schema) -> Rows:
        rows = self.read(connection, schema, "")
        self.has_more = len(rows) > self.limit
        return dict(islice(sorted(rows.items()), self.limit)) if self.has_more else rows  # the same each time

    def read(self, connection: "taosws.Connection", schema: Schema, condition: str) -> Rows:
        """The latest row of each subtable that has rows for which the condition holds, by its name."""
        sql = f"SELECT {schema.select_latest} FROM {self.tdengine.table_sql}{condition} PARTITION BY tbname"
        rows = {(row[1],): row for row in rows_of(connection, self.tdengine, schema, sql)}
        self.damaged |= schema.damaged(rows.values())
        return rows
