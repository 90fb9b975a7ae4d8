"""Owns the reader process as the server sees it: started anew when it ends or hangs, killed at the end."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from tdengine_perspective.children import CHILD_SILENCE, limit_waits, start_child
from tdengine_perspective.mirror import polling
from tdengine_perspective.mirror.messages import Ended, Failed, Message, Poll
from tdengine_perspective.mirror.state import patience
from tdengine_perspective.tables import TableSettings
from tdengine_perspective.tdengine import TDengine

RESTART_DELAY = 0.2  # seconds
FAREWELL = 3  # seconds that a reader may take to remove from TDengine what it needed there


class ReaderProcess:
    """`messages` is for one thread, the rest for any."""

    def __init__(self, settings: TableSettings):
        self.settings = settings
        self.tdengine = TDengine.of(settings)
        self.patience = patience(settings)
        self.stopping = threading.Event()
        self.is_to_begin_anew = False
        self.process: BaseProcess | None = None
        self.pipe: Connection | None = None  # this side's end

    def messages(self) -> Iterator[Message]:
        """What the reader says, each reader until it ends, until `stop` is called."""
        while not self.stopping.is_set():
            self.is_to_begin_anew = False
            self.process, self.pipe = start_child(polling.run, self.settings)
            if self.stopping.is_set():
                self.process.kill()
            try:
                yield from self.messages_of(self.pipe)
            finally:
                self.process.kill()
                self.process.join()
                self.pipe.close()
            if not self.stopping.wait(RESTART_DELAY):
                yield Ended()

    def messages_of(self, pipe: Connection) -> Iterator[Message]:
        """What one reader says until it ends, or has been silent for CHILD_SILENCE."""
        try:
            limit_waits(pipe, CHILD_SILENCE)
            pipe.poll(CHILD_SILENCE)  # before its first word it has to start
            pause = 0.0  # seconds that it will be silent for besides, as it said itself
            while not self.is_to_begin_anew:
                if not pipe.poll(self.patience + pause):
                    yield Failed(
                        f"no answer from TDengine at {self.tdengine.url} for {self.patience:g} s", "NoAnswer"
                    )
                    if not pipe.poll(CHILD_SILENCE):
                        return
                message = pipe.recv()
                pause = message.pause if isinstance(message, Poll) else 0
                yield message
        except (EOFError, OSError):
            pass  # it has ended

    def begin_anew(self) -> None:
        """Have everything read again, by a new reader: what the table holds is not known any more."""
        self.is_to_begin_anew = True

    def stop(self) -> None:
        """End the reader; `messages` ends."""
        self.stopping.set()
        if self.process is not None:
            if self.settings.is_pushed:
                with suppress(OSError):  # it has ended
                    self.pipe.send(None)
                    wait([self.process.sentinel], FAREWELL)
            self.process.kill()
