"""Owns the WebSocket of a viewer that looks back: /history?time=24h, &table= for another than the first."""

import asyncio
from collections.abc import Awaitable, Mapping

from tdengine_perspective.gate.admission import Admission
from tdengine_perspective.gate.viewers import Connections
from tdengine_perspective.gate.websocket import TRY_AGAIN_LATER, ViewerSocket
from tdengine_perspective.history.process import LookBack, Viewer, shortened
from tdengine_perspective.history.spans import Span

WRONG_TIME = 1008  # why a WebSocket is closed: what its address asks for is not there
OFF = "this server does not look back (PERSPECTIVE_HISTORY_WORKERS=0)"
NO_TABLE = "this server looks back into no table of this name"


class HistoryHandler(ViewerSocket):
    """One viewer that looks back at a span of time.

    Its answers come from another process, so that nothing here takes long.
    """

    def initialize(self, histories: Mapping[str, LookBack], admission: Admission) -> None:
        name = self.get_query_argument("table", next(iter(histories), ""))
        self.history = histories.get(name)
        super().initialize(self.history.connections if self.history else Connections(1), admission)
        self.session: Viewer | None = None

    def open(self) -> None:
        if self.history is None:
            return self.close(WRONG_TIME, NO_TABLE)
        text = b"".join(self.request.query_arguments.get("time", [])).decode(errors="replace")
        try:
            span = Span.parse(text)
        except ValueError as error:
            return self.close(WRONG_TIME, shortened(str(error)))
        if not self.history.is_on:
            return self.close(TRY_AGAIN_LATER, OFF)
        self.viewers.connected.add(self)
        self.session = self.history.open(self, span.text)

    def on_message(self, message: str | bytes) -> Awaitable[object] | None:
        """Hand a request on. The viewer's next one is read only when what this returns is done."""
        if self.session is None:
            return None
        if isinstance(message, str):
            return self.close_for_text()
        room = self.session.ask(message)
        pause = self.requests.spend(1)
        return room or (asyncio.sleep(pause) if pause > 0 else None)
