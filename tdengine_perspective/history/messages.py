"""Owns what the server and its processes that look back tell each other."""

from dataclasses import dataclass, field

from tdengine_perspective.mirror.schema import Schema


@dataclass(frozen=True)
class Open:
    """A viewer has come, for the answering process."""

    viewer: int
    span: str


@dataclass(frozen=True)
class Asked:
    """A viewer's request, for the answering process."""

    viewer: int
    number: int
    frame: bytes


@dataclass(frozen=True)
class Left:
    """A viewer has gone, for the answering process."""

    viewer: int


@dataclass(frozen=True)
class Answered:
    """What a request gets, for the server."""

    viewer: int
    number: int
    answers: tuple[bytes, ...] = ()
    refusal: str | None = None  # why it was refused, for the log
    made: str | None = None  # the view that there is now by this request
    deleted: str | None = None  # the view that there is no more


@dataclass(frozen=True)
class Told:
    """What a viewer is told besides answers, for the server: JSON."""

    viewer: int
    text: str


@dataclass(frozen=True)
class Closed:
    """That a viewer's WebSocket has to be closed, and why, for the server."""

    viewer: int
    reason: str  # it can't be looked at now


@dataclass(frozen=True)
class Rubbish:
    """That a viewer has sent what is no request, for the server."""

    viewer: int


@dataclass(frozen=True)
class ColumnsChanged:
    """The table has other columns than those that the viewers were told, for the server."""


@dataclass(frozen=True)
class Alive:
    """The answering process works, for the server, about every second: what it has done up to now."""

    questions: int = 0
    seconds: float = 0.0  # that TDengine took for those that it answered
    timeouts: int = 0
    restarts: int = 0
    workers: int = 0


@dataclass(frozen=True)
class Begun:
    """An asking worker has begun to ask TDengine, for the answering process."""


@dataclass(frozen=True)
class Learnt:
    """The table's columns as an asking worker has found them, for the answering process."""

    schema: Schema


@dataclass(frozen=True)
class Rows:
    """TDengine's answer, for the answering process."""

    pickled: bytes  # a list of tuples, as it is kept
    seconds: float


@dataclass(frozen=True)
class Failed:
    """TDengine has not answered, for the answering process: why, in one line."""

    text: str
    is_problem: bool = field(default=False)  # of TDengine's, not of the question
