"""Owns the viewers of a server: who is connected, and what they have together."""

from collections.abc import Collection
from typing import Protocol

import perspective
from google.protobuf.message import Message

from tdengine_perspective.gate.conversation import EngineTime
from tdengine_perspective.gate.rules import Refused
from tdengine_perspective.gate.shared_views import SharedViews

MAX_VIEWERS = 1000  # at once
# Of all viewers together, what many look at counting once: the engine needs a thread for each view and for
# each copy of one, and at an update the time of all of them.
MAX_VIEWS_OF_ALL = 1000
MAX_VIEW_TIME_OF_ALL = 10  # seconds a 1,000 rows
SERVICE_RESTART = 1012  # why a WebSocket is closed: its viewer shall come again


class Connected(Protocol):
    """A viewer's WebSocket."""

    def close(self, code: int, reason: str) -> None: ...

    def end_session(self) -> None: ...


class Connections:
    """Those who are connected to look at the same, and how many there may be.

    All on the event loop's thread.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.connected: set[Connected] = set()
        self.bytes_sent = 0

    @property
    def is_full(self) -> bool:
        return len(self.connected) >= self.most

    def send_away(self, reason: str) -> None:
        """Close all viewers' WebSockets, so that nothing is theirs any more; they may come again."""
        for viewer in list(self.connected):
            viewer.close(SERVICE_RESTART, reason)
            viewer.end_session()


class Viewers(Connections):
    """Those of the live table, and what they have in the engine."""

    def __init__(self, engine: perspective.Server):
        super().__init__(MAX_VIEWERS)
        self.engine = engine
        self.columns_with_nulls: set[str] = set()
        self.engine_time = EngineTime()
        self.shared_views = SharedViews(engine, self.engine_time, self.columns_with_nulls)
        self.view_names: set[str] = set()  # of all viewers' views

    def check_room(self, rows: int, request: Message | None = None) -> None:
        """Raises Refused where there is no room for another view, of so many rows, or for just this one."""
        if request is not None and self.shared_views.has(request):
            return
        if len(self.shared_views.computed) >= MAX_VIEWS_OF_ALL:
            raise Refused(f"all viewers together can have {MAX_VIEWS_OF_ALL:,} different views")
        allowed = MAX_VIEW_TIME_OF_ALL * max(1, rows / 1000)
        if sum(self.shared_views.computed.values()) >= allowed:
            raise Refused("all viewers' views together take as long as this server allows")

    def note_nulls(self, columns: Collection[str]) -> None:
        """Take note of columns that have NULLs now."""
        self.columns_with_nulls.update(columns)
