"""A viewer without a screen: Perspective's own client over a real WebSocket."""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import TypeVar

import perspective
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

Answer = TypeVar("Answer")


class Viewer:
    """Connects on entry: `async with Viewer(url) as viewer: table = await viewer.client.open_table(…)`.

    `received` counts the bytes that the server sent, `requests` are the frames that the client sent. `closed`
    is done when the server has closed the WebSocket, and then its status code. Clear `reading` for a viewer
    that reads nothing more.
    """

    def __init__(self, url: str, headers: dict[str, str] | None = None):
        self.request = HTTPRequest(url, headers=headers)
        self.received = 0
        self.requests: list[bytes] = []
        self.reading = asyncio.Event()
        self.reading.set()

    async def __aenter__(self) -> "Viewer":
        self.closed: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
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
        self.requests.append(bytes(request))
        await self.socket.write_message(bytes(request), binary=True)

    async def _receive(self) -> None:
        while (answer := await self.socket.read_message()) is not None:
            self.received += len(answer)
            await self.client.handle_response(answer)
            await self.reading.wait()
        self.closed.set_result(self.socket.close_code)


async def answer(promise: Awaitable[Answer], timeout: float = 30) -> Answer:
    """What the server answers; a request that it never answers is a TimeoutError."""
    return await asyncio.wait_for(promise, timeout)
