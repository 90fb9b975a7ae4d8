"""Owns looking back as the server sees it: the viewers that do, and the process that answers them.

The process is started when the first of them comes. When it ends or hangs it is started anew, with the views
that there were, and whatever has no answer yet is asked again.
"""

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from dataclasses import astuple, dataclass, field, replace
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Protocol

from tdengine_perspective.children import CHILD_SILENCE, limit_waits, start_child
from tdengine_perspective.gate.protocol import Request, error_response
from tdengine_perspective.gate.viewers import SERVICE_RESTART, Connected, Connections
from tdengine_perspective.gate.websocket import TRY_AGAIN_LATER
from tdengine_perspective.history import answering
from tdengine_perspective.history.handler import History
from tdengine_perspective.history.messages import (
    Alive,
    Answered,
    Asked,
    Closed,
    ColumnsChanged,
    Left,
    Open,
    Rubbish,
    Told,
)
from tdengine_perspective.tables import TableSettings

MAX_LOOKING_BACK = 100  # viewers at once: each has a thread
RESTART_DELAY = 0.2  # seconds
MAX_ATTEMPTS = 2  # at a request: it may be what ends the process
MAX_UNANSWERED = 64  # requests of a viewer; it is not read on before there are fewer
MAX_UNANSWERED_SIZE = 256 << 10  # bytes of these
MAX_REMEMBERED = 16 << 10  # bytes of a request for a view; a larger one is not made again [1,000]
IDLE = 60  # seconds without a viewer after which the process ends
LAST_WORDS = 3  # seconds that the process has to end what TDengine computes for it

log = logging.getLogger(__name__)


class Socket(Connected, Protocol):
    """The WebSocket of a viewer that looks back."""

    def send(self, answer: bytes) -> None: ...

    def send_text(self, text: str) -> None: ...

    def close_for_rubbish(self) -> None: ...

    def note(self, what: str) -> None: ...


@dataclass
class Unanswered:
    frame: bytes
    attempts: int = 1
    is_own: bool = False  # to make a view again, of which the viewer hears nothing


@dataclass(eq=False)
class Viewer:
    """A viewer as it has to be known to have it go on with another process."""

    number: int
    span: str
    socket: Socket
    history: "LookBack"
    views: dict[str, bytes] = field(default_factory=dict)  # the requests by which they were made
    unanswered: dict[int, Unanswered] = field(default_factory=dict)
    size: int = 0  # bytes of these
    has_room: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: count = field(default_factory=count)

    def ask(self, frame: bytes) -> Awaitable[object] | None:
        """Have a request answered. The next one may come when what this returns is done."""
        self.put(Unanswered(frame))
        if len(self.unanswered) < MAX_UNANSWERED and self.size < MAX_UNANSWERED_SIZE:
            return None
        self.has_room.clear()
        return self.has_room.wait()

    def put(self, request: Unanswered) -> None:
        number = next(self.numbers)
        self.unanswered[number] = request
        self.size += len(request.frame)
        self.history.tell(Asked(self.number, number, request.frame))

    def take(self, answer: Answered) -> None:
        request = self.unanswered.pop(answer.number, None)
        if request is None:
            return
        self.size -= len(request.frame)
        if len(self.unanswered) < MAX_UNANSWERED:
            self.has_room.set()
        if answer.made is not None and len(request.frame) <= MAX_REMEMBERED:
            self.views[answer.made] = request.frame
        if answer.deleted is not None:
            self.views.pop(answer.deleted, None)
        if request.is_own:
            if answer.made is None:  # the viewer has to make it itself
                self.socket.close(SERVICE_RESTART, "a view could not be made again")
                self.socket.end_session()
            return
        for each in answer.answers:
            self.socket.send(each)
        if answer.refusal:
            self.socket.note(f"a look back: {answer.refusal}")

    def begin_anew(self) -> None:
        """Have a new process know the viewer, its views, and what it still waits for."""
        self.history.tell(Open(self.number, self.span))
        before, self.unanswered, self.size = self.unanswered, {}, 0
        for frame in self.views.values():
            self.put(Unanswered(frame, is_own=True))
        for request in before.values():
            if request.is_own:
                continue
            request.attempts += 1
            if request.attempts <= MAX_ATTEMPTS:
                self.put(request)
            else:
                asked = Request.FromString(request.frame)
                self.socket.send(error_response(asked, "the process that looks back ended over this"))
        if len(self.unanswered) < MAX_UNANSWERED:
            self.has_room.set()

    def close(self) -> None:
        self.has_room.set()
        self.history.forget(self)


class LookBack:
    """All viewers that look back, and their process. All on the event loop's thread, but for `run`."""

    def __init__(self, settings: TableSettings):
        self.settings = settings
        self.connections = Connections(MAX_LOOKING_BACK)
        self.viewers: dict[int, Viewer] = {}
        self.numbers = count(1)
        self.outgoing: SimpleQueue[object] | None = None  # None: there is no process just now
        self.counted = Alive()
        self.before = Alive()  # of the processes that there were
        self.process: BaseProcess | None = None
        self.wanted = threading.Event()  # there are viewers, or were within the last minute
        self.stopping = threading.Event()
        self.thread: threading.Thread | None = None

    @property
    def is_on(self) -> bool:
        return self.settings.perspective_history_workers > 0

    def open(self, socket: Socket, span: str) -> Viewer:
        viewer = Viewer(next(self.numbers), span, socket, self)
        self.viewers[viewer.number] = viewer
        self.tell(Open(viewer.number, span))
        self.wanted.set()
        if self.thread is None:
            loop = asyncio.get_running_loop()
            self.thread = threading.Thread(target=self.run, args=(loop,), name="look back", daemon=True)
            self.thread.start()
        return viewer

    def forget(self, viewer: Viewer) -> None:
        if self.viewers.pop(viewer.number, None):
            self.tell(Left(viewer.number))
        if not self.viewers and not self.stopping.is_set():
            asyncio.get_running_loop().call_later(IDLE, self.rest)

    def rest(self) -> None:
        """Have the process end if nobody looks back; the next one who does has it started again."""
        if not self.viewers and self.wanted.is_set() and not self.stopping.is_set():
            self.wanted.clear()
            self.tell(None)

    def tell(self, message: object) -> None:
        if self.outgoing is not None:
            self.outgoing.put(message)

    def run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Keep a process that answers, until `stop` is called; a thread of its own waits for it."""

        async def call(what: Callable[..., None], *arguments: object) -> None:
            try:
                what(*arguments)
            except Exception:  # it is one viewer's, and the others are to go on
                log.exception("a look back failed, please report it")

        def on_loop(what: Callable[..., None], *arguments: object) -> None:
            asyncio.run_coroutine_threadsafe(call(what, *arguments), loop).result()

        try:
            while self.wanted.wait() and not self.stopping.is_set():
                with contextlib.suppress(EOFError, OSError):  # it has ended, or can't be started
                    self.converse(on_loop)
                if not self.stopping.wait(RESTART_DELAY):
                    on_loop(self.ended, self.wanted.is_set())
        except (RuntimeError, CancelledError):
            pass  # the event loop has ended

    def converse(self, on_loop: Callable[..., None]) -> None:
        """Start a process, and take what it says until it ends, or is silent for long."""
        outgoing: SimpleQueue[object] = SimpleQueue()
        self.process, pipe = start_child(answering.run, self.settings, History)
        writer = threading.Thread(target=write, args=(pipe, outgoing), daemon=True)
        writer.start()
        try:
            on_loop(self.begin, outgoing)
            limit_waits(pipe, CHILD_SILENCE)
            while pipe.poll(CHILD_SILENCE):
                on_loop(self.take, pipe.recv())
        finally:
            end(self.process)
            outgoing.put(None)
            writer.join()
            pipe.close()

    def begin(self, outgoing: "SimpleQueue[object]") -> None:
        self.outgoing = outgoing
        for viewer in list(self.viewers.values()):
            viewer.begin_anew()

    def ended(self, is_wanted: bool) -> None:
        if is_wanted:
            log.warning("the process that looks back ended or hung and was started again")
        self.outgoing = None
        self.before = replace(added(self.before, self.counted, Alive(restarts=int(is_wanted))), workers=0)
        self.counted = Alive()

    def take(self, message: object) -> None:
        """Act on what the process says."""
        match message:
            case Answered() if viewer := self.viewers.get(message.viewer):
                viewer.take(message)
            case Told() if viewer := self.viewers.get(message.viewer):
                viewer.socket.send_text(message.text)
            case Closed() if viewer := self.viewers.get(message.viewer):
                viewer.socket.close(TRY_AGAIN_LATER, shortened(message.reason))
                viewer.socket.end_session()
            case Rubbish() if viewer := self.viewers.get(message.viewer):
                viewer.socket.close_for_rubbish()
                viewer.socket.end_session()
            case ColumnsChanged():
                self.connections.send_away("the table's columns have changed")
            case Alive():
                self.counted = message

    @property
    def counts(self) -> Alive:
        """What was done since the server's start."""
        return added(self.before, self.counted)

    def health(self) -> dict[str, int]:
        """What /health says of it."""
        counted = self.counts
        return {
            "viewers": len(self.viewers),
            "questions": counted.questions,
            "workers": counted.workers,
            "timeouts": counted.timeouts,
            "restarts": counted.restarts,
        }

    def stop(self) -> None:
        """Have the process end; `join` waits for that."""
        self.stopping.set()
        self.wanted.set()
        self.tell(None)

    def join(self) -> None:
        """To be called in a thread of its own."""
        if self.thread is None:
            return
        self.thread.join(LAST_WORDS)
        if self.process is not None:
            end(self.process)
        self.thread.join()


def write(pipe: Connection, outgoing: "SimpleQueue[object]") -> None:
    """Hand on what there is to say, in a thread of its own: the process may be busy."""
    with contextlib.suppress(OSError):  # it has ended
        while (message := outgoing.get()) is not None:
            pipe.send(message)
        pipe.send(None)


def end(process: BaseProcess) -> None:
    """Kill the answering process and its workers, a process group of their own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has hardly begun, or has ended
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def added(*counts: Alive) -> Alive:
    return Alive(*(sum(values) for values in zip(*map(astuple, counts), strict=True)))


def shortened(reason: str) -> str:
    """As a WebSocket can be closed with it: at most 123 bytes."""
    return reason.encode()[:123].decode(errors="ignore")
