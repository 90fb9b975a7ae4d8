"""A viewer without a screen: Perspective's own client over a real WebSocket."""

import asyncio
import contextlib

import perspective
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect


class Viewer:
    """Connects on entry: `async with Viewer(url) as viewer: table = await viewer.client.open_table(…)`.

    `received` counts the bytes that the server sent.
    """

    def __init__(self, url: str, headers: dict[str, str] | None = None):
        self.request = HTTPRequest(url, headers=headers)
        self.received = 0

    async def __aenter__(self) -> "Viewer":
        self.socket: WebSocketClientConnection = await websocket_connect(
            self.request, max_message_size=1 << 30
        )
        self.client = perspective.AsyncClient(self._send)
        self._pump = asyncio.create_task(self._receive())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pump.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pump
        self.socket.close()

    async def _send(self, request: bytes) -> None:
        await self.socket.write_message(bytes(request), binary=True)

    async def _receive(self) -> None:
        while (answer := await self.socket.read_message()) is not None:
            self.received += len(answer)
            await self.client.handle_response(answer)
