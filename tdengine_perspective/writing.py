"""Owns the producer's child process, through which a batch counts once TDengine has taken all of it.

Until then it is made and sent again, with the same timestamps and readings, and TDengine overwrites a row
of the same subtable and timestamp by itself. So a lost connection, a restart of TDengine or a hung call
costs time but no row.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from tdengine_perspective.children import CHILD_SILENCE, limit_waits, silence_driver, start_child, watchdog
from tdengine_perspective.tdengine import (
    OutOfReach,
    TDengine,
    TDengineError,
    connect,
    errors_explained,
    server_version,
)
from tdengine_perspective.terminal import report

PATIENCE = 10  # seconds to wait for a TDengine that has not answered yet
RETRY_DELAY = 0.5  # seconds between attempts to reach TDengine again
LAST_WAIT = 1  # seconds that a batch under way may still take when the producer is stopped


@dataclass(frozen=True)
class Work:
    """What the child process does, as functions of a module's top level.

    open(connection, tdengine, reset, append): prepare to write, with `reset` into a table made anew, with
    `append` also beside subtables of others; returns a statement and the table's newest timestamp (ms).
    make(*order): a batch, the same one whenever the order is the same. write(statement, batch): the number of
    rows that TDengine took.
    """

    open: Callable[..., tuple[Any, int]]
    make: Callable[..., Any]
    write: Callable[[Any, Any], int]


def write_batches(pipe: Connection, tdengine: TDengine, work: Work, reset: bool, append: bool) -> None:
    """The child process: connect, tell the newest timestamp there is, then make and write each batch that is
    ordered.

    Answers the pipe with ("ready", newest timestamp in ms), ("written", rows) or, as its last word, with
    ("failed", error).
    """
    silence_driver()
    try:
        with errors_explained(tdengine), watchdog():
            connection, _ = connect(tdengine)
            statement, newest = work.open(connection, tdengine, reset, append)
        pipe.send(("ready", newest))
        while True:
            batch = work.make(*pipe.recv())
            with errors_explained(tdengine), watchdog():
                written = work.write(statement, batch)
            pipe.send(("written", written))
    except TDengineError as error:
        pipe.send(("failed", error))
    except (EOFError, BrokenPipeError):
        pass  # the parent has ended


class Writer:
    """The child process as the producer sees it: started when needed, gone after any failure."""

    def __init__(self, tdengine: TDengine, work: Work, reset: bool, append: bool):
        self.tdengine = tdengine
        self.work = work
        self.reset = reset
        self.append = append  # also where there are subtables of others
        self.process = None
        self.is_asked = False  # for a batch, and there is no answer yet

    def start(self) -> int:
        """Start the child; returns the newest timestamp (ms) in the table. Raises TDengineError."""
        server_version(self.tdengine)  # spares a process for each attempt while nothing answers
        self.process, self.pipe = start_child(
            write_batches, self.tdengine, self.work, self.reset, self.append
        )
        limit_waits(self.pipe, CHILD_SILENCE)
        newest = self.answer()
        self.reset, self.append = False, True  # from now on it is the producer's
        return newest

    def start_patiently(self) -> int:
        """The same within PATIENCE seconds. Raises OutOfReach when they are over, and Refused at once."""
        deadline = time.monotonic() + PATIENCE
        told = False
        while True:
            try:
                return self.start()
            except OutOfReach as error:
                if time.monotonic() > deadline:
                    raise
                if not told:
                    report(f"producer: {error} Trying for {PATIENCE} s.")
                    told = True
                time.sleep(RETRY_DELAY)

    def write(self, order: tuple) -> int:
        """Have a batch made and written; returns the rows that TDengine took. Raises TDengineError."""
        self.is_asked = True
        with contextlib.suppress(OSError):  # then its last word says why
            self.pipe.send(order)
        return self.answer()

    def write_until_taken(self, order: tuple) -> int:
        """The same, again and again until TDengine has taken the batch."""
        told = None
        while True:
            try:
                if self.process is None:
                    self.start()
                written = self.write(order)
            except TDengineError as error:
                if str(error) != told:
                    told = str(error)
                    report(f"producer: {told}; keeping the batch to send it again")
                time.sleep(RETRY_DELAY)
            else:
                if told:
                    report("producer: writing again")
                return written

    def answer(self) -> int:
        """What the child says next. Raises TDengineError, and the child is gone then."""
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            kind, value = "failed", OutOfReach(f"TDengine at {self.tdengine.url} hangs")
        self.is_asked = False
        if kind == "failed":
            self.stop()
            raise value
        return value

    def finish(self) -> int:
        """Stop; returns the rows of a batch under way, if TDengine takes it within LAST_WAIT."""
        written = 0
        with contextlib.suppress(TDengineError):
            if self.is_asked and self.process is not None and self.pipe.poll(LAST_WAIT):
                written = self.answer()
        self.stop()
        return written

    def stop(self) -> None:
        """Kill the child, whatever it is in."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.process = None
