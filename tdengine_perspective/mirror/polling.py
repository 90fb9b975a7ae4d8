"""Owns the beat of a reader process: it polls TDengine again and again and tells the server what changed."""

import math
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Protocol

from tdengine_perspective.children import silence_driver, watchdog
from tdengine_perspective.mirror.latest import LatestReader
from tdengine_perspective.mirror.messages import Connected, Failed, Poll
from tdengine_perspective.mirror.query import QueryReader
from tdengine_perspective.mirror.reader import Reader
from tdengine_perspective.tables import LATEST, QUERY, TableSettings
from tdengine_perspective.tdengine import TDengine, TDengineError, connect, errors_explained

if TYPE_CHECKING:
    import taosws

RETRY_DELAY = 0.5  # seconds between attempts to reach TDengine again


class AnyReader(Protocol):
    """Reads one table. What was read before counts as long as the connection holds, and no longer."""

    def poll(self, connection: "taosws.Connection") -> Poll: ...

    def forget_time(self) -> None: ...


def make_reader(settings: TableSettings) -> AnyReader:
    tdengine, limit = TDengine.of(settings), settings.perspective_limit
    if settings.rows == QUERY:
        return QueryReader(tdengine, settings.query, settings.key, limit)
    if settings.rows == LATEST:
        return LatestReader(tdengine, limit)
    return Reader(tdengine, settings.perspective_window, limit)


def run(pipe: Connection, settings: TableSettings) -> None:
    """The child process: poll every `refresh_rate` ms and tell the pipe, until that is closed.

    A poll that takes longer than that skips the beats it missed. A hung call ends the process.
    """
    silence_driver()
    tdengine = TDengine.of(settings)
    reader = make_reader(settings)
    connection = None
    interval = settings.perspective_refresh_rate / 1000
    beat = time.monotonic()
    try:
        while True:
            try:
                if connection is None:
                    with watchdog():
                        connection, version = connect(tdengine)
                    pipe.send(Connected(version))
                    reader.forget_time()
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
                beat += interval * max(1, math.ceil((time.monotonic() - beat) / interval))
                beat = max(beat, time.monotonic() + message.pause)
            if pipe.poll(max(0, beat - time.monotonic())):
                return
    except OSError:
        return  # the server has ended
