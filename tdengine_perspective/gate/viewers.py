"""Owns the viewers of a server: who is connected, and what they have together."""

from collections.abc import Collection
from typing import Protocol

import perspective

from tdengine_perspective.gate.shared_views import SharedViews

MAX_VIEWERS = 100  # at once; with the views of each there must be fewer than the engine has threads
SERVICE_RESTART = 1012  # why a WebSocket is closed: its viewer shall come again


class Connected(Protocol):
    """A viewer's WebSocket."""

    def close(self, code: int, reason: str) -> None: ...

    def end_session(self) -> None: ...


class Viewers:
    """All on the event loop's thread."""

    def __init__(self, engine: perspective.Server):
        self.engine = engine
        self.columns_with_nulls: set[str] = set()
        self.shared_views = SharedViews(engine, self.columns_with_nulls)
        self.view_names: set[str] = set()  # of all viewers' views
        self.connected: set[Connected] = set()
        self.bytes_sent = 0

    @property
    def is_full(self) -> bool:
        return len(self.connected) >= MAX_VIEWERS

    def note_nulls(self, columns: Collection[str]) -> None:
        """Take note of columns that have NULLs now."""
        self.columns_with_nulls.update(columns)

    def send_away(self, reason: str) -> None:
        """Close all viewers' WebSockets, so that nothing in the engine is theirs; they may come again."""
        for viewer in list(self.connected):
            viewer.close(SERVICE_RESTART, reason)
            viewer.end_session()
