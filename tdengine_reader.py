"""Reads TDengine in a process of its own and tells the server what changed.

The mirror that it keeps is the window: the newest `limit` rows of the last WINDOW. Every `refresh_rate` ms it
reads only the rows that may be new; every few seconds it reads the whole window, which brings what a read of
new rows can't see: late rows, changed and deleted ones (`Reader`). Either way only the difference goes up the
pipe (`Window`).
"""

import heapq
import json
import math
import time
from collections import deque
from dataclasses import dataclass
from itertools import takewhile
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from tdengine_connection import (
    Refused,
    TDengine,
    TDengineError,
    connect,
    errors_explained,
    silence_driver,
    watchdog,
)

if TYPE_CHECKING:
    import taosws

WINDOW = "12h"
WINDOW_READ_INTERVAL = 2  # seconds from one read of the whole window to the next, at least
WINDOW_READ_SHARE = 20  # a read of the whole window may take one part in so many of the time
RETRY_DELAY = 0.5  # seconds between attempts to reach TDengine again

COLUMNS = {  # TDengine's column: the types it may have (VARCHAR is BINARY in a query's result)
    "ts": {"TIMESTAMP"},
    "location": {"VARCHAR", "BINARY", "NCHAR"},
    "groupid": {"TINYINT", "SMALLINT", "INT"},
    "current": {"FLOAT", "DOUBLE"},
    "voltage": {"TINYINT", "SMALLINT", "INT"},
    "phase": {"FLOAT", "DOUBLE"},
}

Key = tuple[str, int]  # subtable, timestamp (ms since 1970)
Values = tuple[str | None, int | None, float | None, int | None, float | None]  # location … phase
Rows = dict[Key, Values]


def check_columns(tdengine: TDengine, found: dict[str, str]) -> None:
    """Raises Refused where `found`, column to type, lacks one of the six or has it in another type."""
    wrong = [name for name, types in COLUMNS.items() if found.get(name) not in types]
    if wrong:
        raise Refused(
            f"{tdengine.database}.{tdengine.table} is no table of meter readings: it needs a fitting column "
            f"{', '.join(wrong)}"
        )


def read_tdengine(connection: "taosws.Connection", tdengine: TDengine, since: str, limit: int) -> Rows:
    """The newest `limit` rows for which `since` holds, newest first.

    Of the rows that tie at the oldest timestamp those with the highest subtable names are taken, the same
    ones each time. Raises Refused, or taosws.Error.
    """
    rows = select(connection, tdengine, f"{since} ORDER BY ts DESC LIMIT {limit}")
    if len(rows) == limit:
        # Sorting by name too in the first place would take TDengine seconds where the table is large.
        oldest = next(reversed(rows))[1]
        tied = list(takewhile(lambda key: key[1] == oldest, reversed(rows)))
        for key in tied:
            del rows[key]
        rows |= select(connection, tdengine, f"ts = {oldest} ORDER BY tbname DESC LIMIT {len(tied)}")
    return rows


def select(connection: "taosws.Connection", tdengine: TDengine, condition: str) -> Rows:
    """The rows of `condition`, their timestamps as numbers: parsing text would cost more than the query."""
    result = connection.query(
        "SELECT tbname, CAST(ts AS BIGINT), location, groupid, current, voltage, phase "
        f"FROM {tdengine.table_sql} WHERE {condition}"
    )
    # The table may have been dropped and made anew since the last DESCRIBE.
    check_columns(tdengine, {"ts": "TIMESTAMP"} | {field.name(): field.type() for field in result.fields})
    return {
        (subtable, timestamp): (location, groupid, number(current), voltage, number(phase))
        for subtable, timestamp, location, groupid, current, voltage, phase in result
    }


def number(value: float | None) -> float | None:
    """None for NaN and infinity, which JSON lacks and the viewer can't draw."""
    return value if value is None or math.isfinite(value) else None


class Window:
    """The rows on display, each in a numbered slot of the Perspective table.

    A new row takes the slot of one that left: so the table never grows, and an update overwrites in place.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self.rows: Rows = {}
        self.newest: int | None = None  # timestamp, ms since 1970
        self._slots: dict[Key, int] | None = None  # None: what the table holds is not known yet
        self._free: list[int] = []
        self._by_age: list[tuple[int, str]] = []  # a heap of (timestamp, subtable), the oldest first

    def merge(self, rows: Rows) -> str | None:
        """Take in rows (newest first), let the oldest beyond the limit go; returns the table's update."""
        changed = [key for key, values in rows.items() if self.rows.get(key) != values]
        for subtable, timestamp in changed:
            if (subtable, timestamp) not in self.rows:
                heapq.heappush(self._by_age, (timestamp, subtable))
        self.rows.update(rows)
        while len(self.rows) > self.limit:
            timestamp, subtable = heapq.heappop(self._by_age)
            self._let_go((subtable, timestamp))
        if rows:
            self.newest = max(next(iter(rows))[1], self.newest or 0)
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
            changed = [key for key, values in rows.items() if self.rows.get(key) != values]
            for key in self.rows.keys() - rows.keys():
                self._let_go(key)
        self.rows = rows
        self._by_age = sorted((timestamp, subtable) for subtable, timestamp in rows)
        self.newest = next(iter(rows))[1] if rows else None
        return self._update(changed), whole

    def _let_go(self, key: Key) -> None:
        del self.rows[key]
        if key in self._slots:
            self._free.append(self._slots.pop(key))

    def _update(self, keys: list[Key]) -> str | None:
        """The rows as JSON columns, `__INDEX__` saying which slots they go to; None for no rows."""
        if not keys:
            return None
        for key in keys:
            if key not in self._slots:
                self._slots[key] = self._free.pop() if self._free else len(self._slots)
        location, groupid, current, voltage, phase = zip(*(self.rows[key] for key in keys), strict=True)
        return json.dumps(
            {
                "__INDEX__": [self._slots[key] for key in keys],
                "timestamp": [timestamp for _, timestamp in keys],
                "location": location,
                "groupid": groupid,
                "current": as_text(current),
                "voltage": voltage,
                "phase": as_text(phase),
            }
        )


def as_text(values: tuple[float | None, ...]) -> list[str | None]:
    """For a float column of Perspective, which reads text to the last bit, and JSON's numbers only nearly."""
    return [value if value is None else repr(value) for value in values]


@dataclass(frozen=True)
class Poll:
    """What one read of TDengine brought, for the server."""

    update: str | None  # JSON columns for the table; None: nothing changed
    whole: bool  # whether the update is all that the table is to hold
    rows: int
    newest: int | None  # timestamp, ms since 1970


@dataclass(frozen=True)
class Connected:
    """TDengine answers, for the server."""

    version: str


@dataclass(frozen=True)
class Failed:
    """TDengine can't be read, for the server: why, in one line. The reader keeps trying."""

    error: str


class Reader:
    """Decides what to read when, and keeps the window."""

    def __init__(self, tdengine: TDengine, limit: int):
        self.tdengine = tdengine
        self.window = Window(limit)
        self.forget_time()

    def forget_time(self) -> None:
        """Read the whole window next: after a new connection nothing is known of what happened meanwhile."""
        self.next_window_read = -math.inf
        # At each of the last two polls: the server's clock, and the newest row's timestamp.
        self.watermarks: deque[tuple[int, int]] = deque(maxlen=2)

    def poll(self, connection: "taosws.Connection") -> Poll:
        now = time.monotonic()
        whole = False
        if now >= self.next_window_read or not self.watermarks:
            described = connection.query(f"DESCRIBE {self.tdengine.table_sql}")
            check_columns(self.tdengine, {name: kind for name, kind, *_ in described})
            server_time = next(iter(connection.query("SELECT CAST(NOW() AS BIGINT)")))[0]
            self.server_clock = server_time - time.monotonic() * 1000  # rather slow than fast
            rows = read_tdengine(connection, self.tdengine, f"ts >= NOW() - {WINDOW}", self.window.limit)
            update, whole = self.window.replace(rows)
            took = time.monotonic() - now
            self.next_window_read = now + max(WINDOW_READ_INTERVAL, took * WINDOW_READ_SHARE)
        else:
            # Rows from the poll before the last on, not just the last: a batch of several meters may become
            # visible meter by meter, and then some of its rows are older than the newest one seen.
            clock, newest = self.watermarks[0]
            since = f"ts > {newest}"
            if newest > clock:  # rows from the future: what comes in order now is older, and they aren't new
                since = f"ts > {clock} AND (ts <= NOW() OR {since})"
            update = self.window.merge(read_tdengine(connection, self.tdengine, since, self.window.limit))
        if self.window.newest is not None:
            self.watermarks.append((int(self.server_clock + now * 1000), self.window.newest))
        return Poll(update, whole, len(self.window.rows), self.window.newest)


def run(pipe: Connection, tdengine: TDengine, refresh_rate: int, limit: int) -> None:
    """The child process: poll every `refresh_rate` ms and tell the pipe, until that is closed.

    A poll that takes longer than that skips the beats it missed. A hung call ends the process.
    """
    silence_driver()
    reader = Reader(tdengine, limit)
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
