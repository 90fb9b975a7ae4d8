"""Owns the beat of a reader process: it polls TDengine again and again and tells the server what changed."""

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Protocol

from tdengine_perspective.children import silence_driver, watchdog
from tdengine_perspective.mirror.latest import LatestReader
from tdengine_perspective.mirror.messages import Connected, Failed, Poll, Pushed
from tdengine_perspective.mirror.query import QueryReader
from tdengine_perspective.mirror.reader import Reader
from tdengine_perspective.mirror.schema import Row, Schema
from tdengine_perspective.mirror.subscription import GATHERING, Subscription
from tdengine_perspective.tables import LATEST, QUERY, TableSettings
from tdengine_perspective.tdengine import TDengine, TDengineError, connect, errors_explained

if TYPE_CHECKING:
    import taosws

RETRY_DELAY = 0.5  # seconds between attempts to reach TDengine again
BEAT_WHEN_PUSHED = 1  # seconds between polls, at least, while new rows are pushed


class AnyReader(Protocol):
    """Reads one table. What was read before counts as long as the connection holds, and no longer."""

    def poll(self, connection: "taosws.Connection") -> Poll: ...

    def forget_time(self) -> None: ...


class PushedReader(AnyReader, Protocol):
    """One whose new rows may also be pushed."""

    schema: Schema  # once there was a poll
    new: Sequence[tuple]  # keys of the rows of the last poll that are newer than all that were known

    def take_pushed(self, rows: Sequence[Row]) -> Pushed | None: ...


def make_reader(settings: TableSettings) -> AnyReader:
    tdengine, limit = TDengine.of(settings), settings.perspective_limit
    if settings.rows == QUERY:
        return QueryReader(tdengine, settings.query, settings.key, limit)
    if settings.rows == LATEST:
        return LatestReader(tdengine, limit)
    return Reader(tdengine, settings.perspective_window, limit)


def run(pipe: Connection, settings: TableSettings) -> None:
    """The child process: poll every `refresh_rate` ms and tell the pipe, until something comes from there.

    A poll that takes longer than that skips the beats it missed. A hung call ends the process. While
    TDengine pushes new rows, polls are rarer: they bring what is not pushed, such as deleted rows.
    """
    silence_driver()
    reader = make_reader(settings)
    with suppress(OSError):  # the server has ended
        if not settings.is_pushed:
            return poll_on(pipe, settings, reader, None)
        subscription = Subscription(TDengine.of(settings))
        try:
            poll_on(pipe, settings, reader, subscription)
        finally:
            subscription.end()


def poll_on(
    pipe: Connection, settings: TableSettings, reader: AnyReader, subscription: Subscription | None
) -> None:
    """Poll, and take what is pushed, until the server says that it is enough; OSError where it ended."""
    tdengine = TDengine.of(settings)
    connection = None
    beat = time.monotonic()
    while True:
        interval = settings.perspective_refresh_rate / 1000
        try:
            if connection is None:
                with watchdog():
                    connection, version = connect(tdengine)
                pipe.send(Connected(version))
                reader.forget_time()
            if subscription:
                take_pushed(pipe, reader, subscription, time.monotonic())
            began = time.monotonic()
            with errors_explained(tdengine), watchdog():
                message = reader.poll(connection)
            message = replace(message, took=time.monotonic() - began)
        except TDengineError as error:
            with watchdog():
                connection = None
            pipe.send(Failed(str(error), type(error).__name__))
            beat = time.monotonic() + RETRY_DELAY
        else:
            pipe.send(message)
            if subscription:
                subscription.note_polled(began, reader.new)
                subscription.follow(reader.schema)
                if subscription.is_pushing:
                    interval = max(interval, BEAT_WHEN_PUSHED)
            beat += interval * max(1, math.ceil((time.monotonic() - beat) / interval))
            beat = max(beat, time.monotonic() + message.pause)
        if subscription is None:
            if pipe.poll(max(0, beat - time.monotonic())):
                return
        elif take_pushed_until(beat, pipe, reader if connection else None, subscription):
            return


def take_pushed_until(
    beat: float, pipe: Connection, reader: PushedReader | None, subscription: Subscription
) -> bool:
    """Hand on what is pushed, nothing without a reader, until the next poll is due; that is at once where it
    begins or ends to be pushed. Returns whether the server says that it is enough.
    """
    not_before = 0.0
    while True:
        while subscription.sources:
            pipe.send(subscription.sources.pop(0))
        left = max(0, beat - time.monotonic())
        ready = wait([pipe, *subscription.pipes], left)
        if pipe in ready:
            return True
        if not ready or not left:
            return False
        was_pushing = subscription.is_pushing
        if take_pushed(pipe, reader, subscription, not_before):
            not_before = time.monotonic() + GATHERING
        if subscription.is_pushing != was_pushing:
            beat = 0


def take_pushed(
    pipe: Connection, reader: PushedReader | None, subscription: Subscription, not_before: float
) -> bool:
    """Hand on what was pushed, not before that time. Returns whether there was anything."""
    if not subscription.pipes:
        return False
    was_pushing = subscription.is_pushing
    rows = subscription.gather(not_before)
    subscription.note_pushed(rows)
    if reader is None:
        return False
    if subscription.is_pushing and not was_pushing:
        reader.forget_time()  # what was written until now, the next poll has to bring
    is_same = rows and subscription.schema == reader.schema  # else a failed poll has met other columns
    change = reader.take_pushed(rows) if is_same else None
    if change:
        pipe.send(change)
    return change is not None
