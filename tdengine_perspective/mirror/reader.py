"""Owns the reading of a table's newest rows: what to read when.

At each poll it reads only the rows that may be new; every few seconds it reads the columns and
the whole window again, which brings what a read of new rows can't see: late, changed and deleted rows,
other columns (`Reader`). Rows that TDengine pushes it takes as they come. Either way only the difference
goes to the server.
"""

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

from tdengine_perspective.mirror.messages import AHEAD, Older, Poll, Pushed, Times
from tdengine_perspective.mirror.schema import Row, Schema, read_schema
from tdengine_perspective.mirror.slots import Key, Rows
from tdengine_perspective.mirror.window import Window
from tdengine_perspective.settings import SPAN_UNITS
from tdengine_perspective.spelling import check_spelling
from tdengine_perspective.tdengine import (
    Absent,
    OtherColumns,
    TDengine,
    TDengineError,
    Unreadable,
    errors_explained,
    quote_text,
)

if TYPE_CHECKING:
    import taosws

WINDOW_READ_INTERVAL = 2  # seconds from one read of the whole window to the next, at least
WINDOW_READ_SHARE = 20  # a read of the whole window may take one part in so many of the time
OLDER_READ_INTERVAL = 10  # seconds from one look for rows older than the window to the next, at least

UNITS = {"ms": 1, "us": 1_000, "ns": 1_000_000}  # of a database's timestamps: so many make a millisecond


def read_clock(connection: "taosws.Connection", tdengine: TDengine) -> tuple[int, int]:
    """The server's time (ms since 1970), and how many units of the database's timestamps make a ms."""
    for precision, now in connection.query(
        "SELECT `precision`, CAST(NOW() AS BIGINT) FROM information_schema.ins_databases "
        f"WHERE name = {quote_text(tdengine.database)}"
    ):
        return now, UNITS[precision]
    raise Absent(f"TDengine at {tdengine.url} has no database {tdengine.database} yet")


def milliseconds_of(span: str) -> int:
    return int(span[:-1]) * SPAN_UNITS[span[-1]]


def lacks_what_was(row: Row, before: Row | None) -> bool:
    """Whether a pushed row has NULL for a value that the same row had before.

    A write may name some columns alone, and then the others, which keep their values, are pushed as NULL.
    What holds, the next read of all rows tells.
    """
    return before is not None and any(
        new is None and old is not None for new, old in zip(row, before, strict=True)
    )


def is_supertable(connection: "taosws.Connection", tdengine: TDengine) -> bool:
    """Whether the table has subtables; DESCRIBE says the same of a supertable and of one of these."""
    found = connection.query(
        "SELECT stable_name FROM information_schema.ins_stables "
        f"WHERE db_name = {quote_text(tdengine.database)} AND stable_name = {quote_text(tdengine.table)}"
    )
    return len(list(found)) > 0


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


class Reader:
    """Decides what to read when, and keeps the window.

    span: how far the window reaches back, as TDengine writes it, such as "12h". limit: its rows at most.
    """

    def __init__(self, tdengine: TDengine, span: str, limit: int):
        self.tdengine = tdengine
        self.span = span
        self.limit = limit
        self.window: Window | None = None
        self.as_bytes = False  # whether texts are read as bytes
        self.damaged: set[str] = set()  # columns in which there was text that is not UTF-8
        self.older: Older | None = None
        self.next_older_read = -math.inf
        self.ahead_in_table = 0
        self.new: list[Key] = []  # of the last poll's rows, those newer than all that were known
        self.forget_time()

    @property
    def schema(self) -> Schema:
        return self.window.schema

    def forget_time(self) -> None:
        """Read the whole window next: after a new connection nothing is known of what happened meanwhile."""
        self.next_full_read = -math.inf
        # At each of the last two polls: the server's clock, and the newest row's timestamp.
        self.watermarks: deque[tuple[int, int]] = deque(maxlen=2)

    def poll(self, connection: "taosws.Connection") -> Poll:
        """Read what is due. Raises TDengineError or taosws.Error."""
        now = time.monotonic()
        schema, whole = None, False
        known = self.window.newest if self.window else None
        if now < self.next_full_read and self.watermarks:
            try:
                update = self.window.merge(self.read_new(connection))
            except (OtherColumns, Unreadable):
                self.forget_time()
        if not self.watermarks or now >= self.next_full_read:
            try:
                schema, update, whole = self.read_all(connection)
            except Absent:
                check_spelling(connection, self.tdengine)
                raise
            took = time.monotonic() - now
            self.next_full_read = now + max(WINDOW_READ_INTERVAL, took * WINDOW_READ_SHARE)
        window = self.window
        self.new = [] if schema or known is None else window.since(known)
        clock = self.server_clock + now * 1000
        if window.newest is not None:
            self.watermarks.append((int(clock * window.schema.units), window.newest))
        (newest,) = window.schema.milliseconds([window.newest])
        return Poll(
            update,
            whole,
            len(window.rows),
            newest,
            schema,
            self.times(clock),
            self.older,
            frozenset(self.damaged),
        )

    def take_pushed(self, rows: Sequence[Row]) -> Pushed | None:
        """Take in rows that TDengine pushed, in their order; None where that changes nothing."""
        window, schema = self.window, self.window.schema
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
        schema = self.window.schema
        ahead, first, until = self.window.split_at((clock + AHEAD) * schema.units)
        first, until = schema.milliseconds([first, until])
        return Times(int(clock), ahead, first, self.ahead_in_table and max(ahead, self.ahead_in_table), until)

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
        return self.read(connection, schema, since)

    def read(self, connection: "taosws.Connection", schema: Schema, since: str) -> Rows:
        """The same as `read_tdengine`, noting where text is not UTF-8."""
        rows = read_tdengine(connection, self.tdengine, schema, since, self.limit)
        self.damaged |= schema.damaged(rows.values())
        return rows

    def read_all(self, connection: "taosws.Connection") -> tuple[Schema | None, str | None, bool]:
        """The schema, if it is new, and the window: the table's update, and whether that is all of it."""
        server_time, units = read_clock(connection, self.tdengine)
        self.server_clock = server_time - time.monotonic() * 1000  # rather slow than fast
        schema = read_schema(connection, self.tdengine, units)
        if schema.may_show_subtable and is_supertable(connection, self.tdengine):
            schema = replace(schema, shows_subtable=True)
        schema = replace(schema, as_bytes=self.as_bytes)
        try:
            rows = self.read(connection, schema, f"{schema.key} >= NOW() - {self.span}")
        except Unreadable:
            if self.as_bytes:
                raise
            self.as_bytes = True
            return self.read_all(connection)
        is_new = self.window is None or schema != self.window.schema
        window = Window(schema, self.limit) if is_new else self.window
        update, whole = window.replace(rows)
        self.window = window
        self.ahead_in_table = self.count_rows_ahead(connection) if self.is_crowded(server_time) else 0
        self.older = None if rows else self.read_older(connection)
        return (schema if is_new else None), update, whole

    def is_crowded(self, clock: float) -> bool:
        """Whether rows ahead of TDengine's clock (ms since 1970) take more than half of a full window."""
        return 2 * self.times(clock).ahead > self.limit == len(self.window.rows)

    def count_rows_ahead(self, connection: "taosws.Connection") -> int:
        """How many rows of the whole table lie ahead of TDengine's clock."""
        key = self.window.schema.key
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
        schema = self.window.schema
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
            self.next_older_read = began + max(OLDER_READ_INTERVAL, took * WINDOW_READ_SHARE)
