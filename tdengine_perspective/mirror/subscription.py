"""Owns the subscription to what TDengine pushes: its process, its troubles, and when it is tried again.

The driver's consumer holds the interpreter lock while it waits for rows, and has calls that may never
return. So it is in a process of its own, a child of the reader's, which goes on polling whatever happens
here.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from tdengine_perspective.children import (
    HANG_TIMEOUT,
    limit_waits,
    may_have_children,
    silence_driver,
    start_child,
    watchdog,
)
from tdengine_perspective.mirror.messages import Source
from tdengine_perspective.mirror.schema import Row, Schema
from tdengine_perspective.mirror.topics import Topic, new_group
from tdengine_perspective.tdengine import TDengine, TDengineError, consumer_options, errors_explained

WAIT_FOR_ROWS = 0.25  # seconds; then the process says that it is there and, where its reader ended, ends
SILENCE = 3  # seconds without a word, and seconds by which rows may come late
SETTLING = 2  # seconds from the first rows on, in which some may be missing: polls bring them
STARTING = 2 * HANG_TIMEOUT  # seconds that it may take to subscribe
GATHERING, QUIET = 0.01, 0.002  # seconds: what comes within the first, or without such a gap, is one update
FIRST_RETRY, LAST_RETRY = 5, 120  # seconds until it is tried again, at first and in the end


def push_rows(pipe: Connection, tdengine: TDengine, topic: Topic, group: str) -> None:
    """The child process: subscribe, and tell the pipe the rows that TDengine pushes, until that is closed.

    A list without rows says that it is there, and the first one that it has subscribed; a text is the error
    that ends it. A hung call ends it, too.
    """
    silence_driver()
    import taosws

    try:
        topic.make(tdengine)
        with errors_explained(tdengine), watchdog():
            consumer = taosws.Consumer(
                consumer_options(tdengine)
                | {
                    "group.id": group,
                    "auto.offset.reset": "latest",
                    "enable.auto.commit": "false",
                }
            )
            consumer.subscribe([topic.name])
        polls = 0
        while not pipe.poll():
            with errors_explained(tdengine), watchdog():
                message = consumer.poll(timeout=WAIT_FOR_ROWS)
                rows = [row for block in message or () for row in block.fetchall()]
            polls += 1
            if rows or polls > 1:  # the first may end before TDengine has settled from where on it pushes
                pipe.send(rows)
    except TDengineError as error:
        with suppress(OSError):
            pipe.send(str(error))
    except OSError:
        pass  # the reader has ended


class Subscription:
    """The process as the reader sees it: started for a table's columns, given up at any trouble.

    `sources` has what the server is to be told of it.
    """

    def __init__(self, tdengine: TDengine):
        may_have_children()
        self.tdengine = tdengine
        self.schema: Schema | None = None
        self.process: BaseProcess | None = None
        self.pipe: Connection | None = None
        self.is_pushing = False
        self.retry_at = 0.0
        self.retry_delay = FIRST_RETRY
        self.sources: list[Source] = []

    def follow(self, schema: Schema) -> None:
        """See that rows with these columns are pushed, as far as TDengine does so."""
        now = time.monotonic()
        if schema != self.schema:
            self.end()
            self.schema, self.retry_at, self.retry_delay = schema, now, FIRST_RETRY
        if self.process is None and now >= self.retry_at:
            self.begin()
        elif self.process is not None and not self.pipe.poll():  # else it has said something meanwhile
            silence = now - self.heard
            if self.is_pushing and silence > SILENCE:
                self.give_up(f"nothing has come from the subscription for {SILENCE} s")
            elif silence > STARTING:
                self.give_up(f"it does not subscribe within {STARTING} s")

    def begin(self) -> None:
        self.topic, self.group = Topic.of(self.tdengine, self.schema), new_group()
        self.process, self.pipe = start_child(push_rows, self.tdengine, self.topic, self.group)
        limit_waits(self.pipe, SILENCE)
        self.heard = time.monotonic()
        self.seen_since: float | None = None  # when the first poll came in which rows were pushed
        self.owed: dict[tuple, float] = {}  # new rows that a poll brought before they were pushed, and when

    @property
    def pipes(self) -> list[Connection]:
        """What becomes readable when something was pushed."""
        return [self.pipe] if self.process is not None else []

    def gather(self, not_before: float) -> list[Row]:
        """The rows that were pushed, in their order: those of a moment, and not before that time."""
        began = time.monotonic()
        rows = self.receive()
        while self.process is not None:
            now = time.monotonic()
            left = max(not_before - now, min(began + GATHERING - now, QUIET))
            if left <= 0 or not wait(self.pipes, left):
                if now >= not_before or self.process is None:
                    break
                continue
            rows += self.receive()
        return rows

    def receive(self) -> list[Row]:
        """What has come since."""
        rows: list[Row] = []
        try:
            while self.pipe.poll():
                said = self.pipe.recv()
                if isinstance(said, str):
                    self.give_up(said)
                    return rows
                self.heard = time.monotonic()
                if not self.is_pushing:
                    self.is_pushing = True
                    self.sources.append(Source(True))
                rows += said
        except (EOFError, OSError):
            self.give_up("the subscription's process ended or hung")
        return rows

    def note_pushed(self, rows: Iterable[Row]) -> None:
        """That these rows were pushed."""
        if self.owed:
            for row in rows:
                self.owed.pop(row[: self.schema.key_size], None)

    def note_polled(self, began: float, new: Sequence[tuple]) -> None:
        """That a poll brought, as the newest, rows with these keys, not pushed until it `began`.

        Where they are not pushed in time, something is wrong: the subscription lags, or is one to a table
        that was dropped.
        """
        if not self.is_pushing or self.process is None:
            return
        if self.seen_since is None:  # what is older was perhaps written before it had subscribed
            self.seen_since = began
        if began < self.seen_since + SETTLING:
            return
        self.owed |= {key: began for key in new if key not in self.owed}
        if self.owed and began - min(self.owed.values()) > SILENCE:
            self.give_up(f"rows have not been pushed within {SILENCE} s")
        elif began - self.seen_since > LAST_RETRY:
            self.retry_delay = FIRST_RETRY  # it has been well for long

    def give_up(self, reason: str) -> None:
        """End the process, and try again later."""
        self.end()
        self.sources.append(Source(False, reason))
        self.retry_at = time.monotonic() + self.retry_delay
        self.retry_delay = min(2 * self.retry_delay, LAST_RETRY)

    def end(self) -> None:
        """End the process, and remove from TDengine what it needed there, if that answers."""
        if self.process is None:
            return
        self.process.kill()
        self.process.join()
        self.pipe.close()
        self.process = None
        if self.is_pushing:
            self.is_pushing = False
            self.sources.append(Source(False))
        with suppress(TDengineError):
            self.topic.leave(self.tdengine, self.group)
