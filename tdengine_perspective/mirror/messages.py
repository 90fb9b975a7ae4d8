"""Owns what the reader process tells the server."""

from dataclasses import dataclass

from tdengine_perspective.mirror.schema import Schema


@dataclass(frozen=True)
class Poll:
    """What one read of TDengine brought, for the server."""

    update: str | None  # JSON columns for the table; None: nothing changed
    whole: bool  # whether the update is all that the table is to hold
    rows: int
    newest: int | None  # timestamp, ms since 1970
    schema: Schema | None = None  # of this update and those after it; None: the same as before
    damaged: frozenset[str] = frozenset()  # columns in which there was text that is not UTF-8


@dataclass(frozen=True)
class Connected:
    """TDengine answers, for the server."""

    version: str


@dataclass(frozen=True)
class Failed:
    """TDengine can't be read, for the server: why, in one line. The reader keeps trying."""

    error: str


@dataclass(frozen=True)
class Ended:
    """The reader process ended or hung, for the server. It is started again."""


Message = Poll | Connected | Failed | Ended
