"""Owns what the reader process tells the server."""

from dataclasses import dataclass

from tdengine_perspective.mirror.schema import Schema

AHEAD = (
    10_000  # ms by which a row may be later than TDengine's clock before it counts as ahead: clocks differ
)


@dataclass(frozen=True)
class Older:
    """What there is of a table that has no row in the window."""

    newest: int | None  # timestamp, ms since 1970; None: the table has no row at all


@dataclass(frozen=True)
class Times:
    """When the window's rows are, measured by TDengine's clock; all in ms since 1970."""

    clock: int  # TDengine's own
    ahead: int = 0  # rows that lie ahead of it
    ahead_from: int | None = None  # the first of these
    ahead_in_table: int = 0  # as many of the whole table, where they crowd the window
    newest_up_to_now: int | None = None  # of the rows that do not lie ahead


@dataclass(frozen=True)
class Poll:
    """What one read of TDengine brought, for the server."""

    update: str | None  # JSON columns for the table; None: nothing changed
    whole: bool  # whether the update is all that the table is to hold
    rows: int
    newest: int | None  # timestamp, ms since 1970
    schema: Schema | None = None  # of this update and those after it; None: the same as before
    times: Times | None = None
    older: Older | None = None  # None: there are rows in the window, or TDengine did not say
    damaged: frozenset[str] = frozenset()  # columns in which there was text that is not UTF-8
    has_more: bool = False  # whether rows beyond the table's limit were left out
    took: float = 0  # seconds
    pause: float = 0  # seconds beyond the beat until the next read, since this one took long


@dataclass(frozen=True)
class Pushed:
    """What rows that TDengine pushed changed, for the server. It says nothing of the other rows."""

    update: str  # JSON columns for the table
    rows: int
    newest: int | None  # timestamp, ms since 1970
    times: Times | None = None
    damaged: frozenset[str] = frozenset()  # as Poll's
    has_more: bool = False  # as Poll's
    whole: bool = False  # never: as Poll's


@dataclass(frozen=True)
class Source:
    """Whether TDengine pushes new rows now, for the server; and why not, where that is trouble."""

    is_push: bool
    trouble: str | None = None


@dataclass(frozen=True)
class Connected:
    """TDengine answers, for the server."""

    version: str


@dataclass(frozen=True)
class Failed:
    """TDengine can't be read, for the server: why, in one line. The reader keeps trying."""

    error: str
    kind: str = "other"  # the class of the error, such as OutOfReach


@dataclass(frozen=True)
class Ended:
    """The reader process ended or hung, for the server. It is started again."""


Message = Poll | Pushed | Source | Connected | Failed | Ended
