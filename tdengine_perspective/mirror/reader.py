"""Owns the reading of a table's newest rows: what to read when.

At each poll it reads only the rows that may be new; every few seconds it reads the columns and
the whole window again, which brings what a read of new rows can't see: late, changed and deleted rows,
other columns (`Reader`). Rows that TDengine pushes it takes as they come. Either way only the difference
goes to the server.
"""

import math
import time
from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from tdengine_perspective.mirror.messages import AHEAD, Older, Poll, Pushed, Times
from tdengine_perspective.mirror.reading import FULL_READ_SHARE, TableReader, lacks_what_was, rows_of
from tdengine_perspective.mirror.schema import Row, Schema
from tdengine_perspective.mirror.slots import Key, Rows
from tdengine_perspective.mirror.window import Window
from tdengine_perspective.settings import SPAN_UNITS
from tdengine_perspective.tdengine import TDengine, TDengineError, errors_explained

if TYPE_CHECKING:
    import taosws

OLDER_READ_INTERVAL = 10  # seconds from one look for rows older than the window to the next, at least


def milliseconds_of(span: str) -> int:
    return int(span[:-1]) * SPAN_UNITS[span[-1]]


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
    sql = f"SELECT {schema.select} FROM {tdengine.table_sql} WHERE {condition}"
    size = schema.key_size
    return {row[:size]: row for row in rows_of(connection, tdengine, schema, sql)}


class Reader(TableReader):
    """Decides what to read when, and keeps the window.

    span: how far the window reaches back, as TDengine writes it, such as "12h". limit: its rows at most.
    """

    held: Window | None

    def __init__(self, tdengine: TDengine, span: str, limit: int):
        super().__init__(tdengine, limit)
        self.span = span
        self.older: Older | None = None
        self.next_older_read = -math.inf
        self.ahead_in_table = 0
        self.new: list[Key] = []  # of the last poll's rows, those newer than all that were known

    def poll(self, connection: "taosws.Connection") -> Poll:
        """Read what is due. Raises TDengineError or taosws.Error."""
        began = time.monotonic()
        known = self.held.newest if self.held else None
        schema, update, whole = self.read_due(connection, began)
        window = self.held
        self.new = [] if schema or known is None else window.since(known)
        self.note_newest(began, window.newest)
        (newest,) = self.schema.milliseconds([window.newest])
        return Poll(
            update,
            whole,
            len(window.rows),
            newest,
            schema,
            self.times(self.server_clock + began * 1000),
            self.older,
            frozenset(self.damaged),
        )

    def take_pushed(self, rows: Sequence[Row]) -> Pushed | None:
        """Take in rows that TDengine pushed, in their order; None where that changes nothing."""
        window, schema = self.held, self.schema
        clock = self.server_clock + time.monotonic() * 1000
        begin = (clock - milliseconds_of(self.span)) * schema.units
        size, held, taken = schema.key_size, window.rows, {}
        for row in rows:
            key = row[:size]
            if row[0] >= begin and not lacks_what_was(row, taken.get(key) or held.get(key)):
                taken[key] = row
        update = window.merge(dict(sorted(taken.items(), reverse=True)))
        self.damaged |= schema.damaged(taken.values())
        if update is None:
            return None
        (newest,) = schema.milliseconds([window.newest])
        damaged = frozenset(self.damaged)
        return Pushed(update, len(window.rows), newest, self.times(clock), damaged)

    def times(self, clock: float) -> Times:
        """When the window's rows are, by TDengine's clock (ms since 1970)."""
        schema = self.schema
        ahead, first, until = self.held.split_at((clock + AHEAD) * schema.units)
        first, until = schema.milliseconds([first, until])
        return Times(int(clock), ahead, first, self.ahead_in_table and max(ahead, self.ahead_in_table), until)

    def read_new(self, connection: "taosws.Connection") -> Rows:
        """Rows from the poll before the last on.

        Not just from the last: a batch of several meters may become visible meter by meter, and then some of
        its rows are older than the newest one seen.
        """
        schema = self.schema
        clock, newest = self.watermarks[0]
        since = f"{schema.key} > {newest}"
        if newest > clock:  # rows from the future: what comes in order now is older, and they aren't new
            since = f"{schema.key} > {clock} AND ({schema.key} <= NOW() OR {since})"
        return self.read(connection, schema, since)

    def read(self, connection: "taosws.Connection", schema: Schema, since: str) -> Rows:
        """The same as `read_tdengine`, noting where text is not UTF-8."""
        rows = read_tdengine(connection, self.tdengine, schema, since, self.limit)
        self.damaged |= schema.damaged(rows.values())
        return rows

    def read_whole(self, connection: "taosws.Connection", schema: Schema) -> Rows:
        return self.read(connection, schema, f"{schema.key} >= NOW() - {self.span}")

    def look_around(self, connection: "taosws.Connection") -> None:
        """Ask for rows that the window has no room for, and for older ones."""
        clock = self.server_clock + time.monotonic() * 1000
        self.ahead_in_table = self.count_rows_ahead(connection) if self.is_crowded(clock) else 0
        self.older = None if self.held.rows else self.read_older(connection)

    def make_slots(self, schema: Schema) -> Window:
        return Window(schema, self.limit)

    def is_crowded(self, clock: float) -> bool:
        """Whether rows ahead of TDengine's clock (ms since 1970) take more than half of a full window."""
        return 2 * self.times(clock).ahead > self.limit == len(self.held.rows)

    def count_rows_ahead(self, connection: "taosws.Connection") -> int:
        """How many rows of the whole table lie ahead of TDengine's clock."""
        key = self.schema.key
        counted = connection.query(
            f"SELECT COUNT(*) FROM {self.tdengine.table_sql} WHERE {key} > NOW() + {AHEAD}a"
        )
        return next((count for (count,) in counted), 0)

    def read_older(self, connection: "taosws.Connection") -> Older | None:
        """The newest of the rows that are too old for the window; None where TDengine does not say in time.

        In a large table that takes TDengine longer than a poll, so it is asked rarely.
        """
        began = time.monotonic()
        if began < self.next_older_read:
            return self.older
        schema = self.schema
        try:
            with errors_explained(self.tdengine):
                found = connection.query(
                    f"SELECT CAST(LAST({schema.key}) AS BIGINT) FROM {self.tdengine.table_sql}"
                )
                newest = next((newest for (newest,) in found), None)
            return Older(*schema.milliseconds([newest]))
        except TDengineError:  # it costs the message that detail; what else is wrong, the next poll will meet
            return None
        finally:
            took = time.monotonic() - began
            self.next_older_read = began + max(OLDER_READ_INTERVAL, took * FULL_READ_SHARE)
