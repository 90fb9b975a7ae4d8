"""Owns conversations with the engine, and the views that are made in them."""

import time
from dataclasses import dataclass, field

import perspective
from google.protobuf.message import Message

from tdengine_perspective.gate.protocol import OWN_QUESTION, Response

OWN_NUMBER = Response(msg_id=OWN_QUESTION).SerializeToString()


class EngineTime:
    """The processor time, in seconds, that the engine has taken for requests so far."""

    def __init__(self) -> None:
        self.seconds = 0.0


class EngineSession:
    """A conversation with the engine, which adds to `engine_time` what it takes.

    Everything happens on the thread on which the table is updated, too: the engine calls `hear` from within
    an update.
    """

    def __init__(self, server: perspective.Server, engine_time: EngineTime):
        self.engine = server.new_session(self.hear)
        self.engine_time = engine_time
        self.answers: list[bytes] | None = None  # while the engine works on a request

    def ask(self, request: Message) -> list[bytes]:
        """Pass a request on. Returns what the engine says in this session meanwhile."""
        self.answers = []
        started = time.process_time()  # of all the engine's threads, which makes it dear
        try:
            self.engine.handle_request(request.SerializeToString(deterministic=True))
            return self.answers
        finally:
            self.answers = None
            self.engine_time.seconds += time.process_time() - started

    def ask_own(self, request: Message) -> Message:
        """The engine's answer to a question of the session's own."""
        return Response.FromString(self.answer_to(request))

    def answer_to(self, request: Message) -> bytes:
        """The same as it came, but without its number."""
        request.msg_id = OWN_QUESTION
        own = b""
        for answer in self.ask(request):
            if answer.startswith(OWN_NUMBER):
                own = answer.removeprefix(OWN_NUMBER)
            else:  # an update that was due
                self.tell(answer)
        return own

    def hear(self, answer: bytes) -> None:
        """The engine calls this, in `ask` or when a table that this session looks at was updated."""
        if self.answers is not None:
            self.answers.append(answer)
        else:
            self.tell(answer)

    def tell(self, answer: bytes) -> None:
        """Take what the engine says of its own accord."""
        raise NotImplementedError


@dataclass
class View:
    """A view in the engine, one viewer's own or shared."""

    name: str  # in the engine
    request: Message  # by which it was made
    seconds: float  # that it took to compute it
    is_shared: bool
    null_sources: frozenset[str] = frozenset()  # where NULLs make the engine lose track of it
    copy: str = ""  # the engine's name of the same view, made anew, and at which of the updates it was
    copied_at: int = 0
    changes: list[tuple[str, int | list]] = field(default_factory=list)  # rows that were closed and opened
    viewers: int = 0  # that share it
    answers: dict[bytes, bytes] = field(default_factory=dict)  # since the last update, by request

    @property
    def is_split(self) -> bool:
        return bool(self.request.make_view.config.split_by)


def make_view(session: EngineSession, request: Message, is_shared: bool) -> View | bytes:
    """A new view, or the engine's answer, without its number, where it makes none."""
    before = session.engine_time.seconds
    answer = session.answer_to(request)
    seconds = session.engine_time.seconds - before
    if Response.FromString(answer).HasField("error"):
        return answer
    return View(request.make_view.view_id, request, seconds, is_shared)
