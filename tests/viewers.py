"""Viewers without a screen: Perspective's own client over a real WebSocket, and sockets that are none."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Awaitable, Coroutine
from typing import Any, NamedTuple, Protocol, TypeVar

import perspective
from support import wait_for
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tdengine_perspective.gate.protocol import Response

HANDSHAKE = (
    "GET {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

Answer = TypeVar("Answer")


class Viewer:
    """Connects on entry: `async with Viewer(url) as viewer: table = await viewer.client.open_table(…)`.

    `received` counts the bytes that the server sent, and `arrived` is when the last ones came (ms since
    1970). `requests` are the frames that the client sent, `errors` what the server refused, also where the
    client keeps that to itself, `told` what the server says besides, in text. `closed` is done when the
    server has closed the WebSocket, and then its status code. Clear `reading` for a viewer that reads
    nothing more.
    """

    def __init__(self, url: str, headers: dict[str, str] | None = None):
        self.request = HTTPRequest(url, headers=headers)
        self.received = 0
        self.arrived = 0
        self.requests: list[bytes] = []
        self.errors: list[str] = []
        self.told: list[dict[str, Any]] = []
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

    async def ask(self, promise: Coroutine[Any, Any, Answer]) -> Answer:
        """What the server answers; ConnectionError where it closes the WebSocket instead."""
        asking = asyncio.create_task(promise)
        await asyncio.wait({asking, self.closed}, return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            return asking.result()
        asking.cancel()
        raise ConnectionError(f"closed with {self.closed.result()}")

    async def _send(self, request: bytes) -> None:
        self.requests.append(bytes(request))
        await self.socket.write_message(bytes(request), binary=True)

    async def _receive(self) -> None:
        while (answer := await self.socket.read_message()) is not None:
            self.received += len(answer)
            self.arrived = time.time_ns() // 1_000_000
            if isinstance(answer, str):
                self.told.append(json.loads(answer))
                continue
            response = Response.FromString(answer)
            if response.HasField("error"):
                self.errors.append(response.error.message)
            await self.client.handle_response(answer)
            await self.reading.wait()
        self.closed.set_result(self.socket.close_code)


async def answer(promise: Awaitable[Answer], timeout: float = 30) -> Answer:
    """What the server answers; a request that it never answers is a TimeoutError."""
    return await asyncio.wait_for(promise, timeout)


class Server(Protocol):
    """What is to be known of the server that viewers look at."""

    port: int

    def health(self) -> dict[str, Any]: ...


def url(server: Server) -> str:
    return f"ws://127.0.0.1:{server.port}/websocket"


def history_url(server: Server, time: str = "all") -> str:
    return f"ws://127.0.0.1:{server.port}/history?time={time}"


class Taken(NamedTuple):
    seen: float  # updates that the unluckiest viewer saw, a poll
    pace: float  # polls a second


class Beat:
    """Some viewers that look at each update, and how well they keep up: `async with Beat(server, 20)`."""

    def __init__(self, server: Server, viewers: int):
        self.server = server
        self.viewers = [Viewer(url(server)) for _ in range(viewers)]
        self.seen = [0] * viewers

    async def __aenter__(self) -> "Beat":
        self.stack = contextlib.AsyncExitStack()
        for number, viewer in enumerate(self.viewers):
            await self.stack.enter_async_context(viewer)
            [name] = await viewer.client.get_hosted_table_names()
            view = await (await viewer.client.open_table(name)).view(group_by=["location"])

            async def look(view: Any = view, number: int = number) -> None:
                await view.to_columns(start_row=0, end_row=20)
                self.seen[number] += 1

            await view.on_update(lambda *_, look=look: asyncio.ensure_future(look()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stack.aclose()

    def start(self) -> None:
        """Count from now on."""
        self.began, self.seen_before = time.monotonic(), list(self.seen)
        self.first_poll = self.server.health()["polls"]

    async def polls(self, number: int) -> None:
        """Wait for so many since the start."""
        while (await asyncio.to_thread(self.server.health))["polls"] < self.first_poll + number:
            await asyncio.sleep(0.02)

    def taken(self) -> Taken:
        """What has been counted since the start."""
        polls = self.server.health()["polls"] - self.first_poll
        seen = min(now - before for now, before in zip(self.seen, self.seen_before, strict=True))
        return Taken(seen / polls, polls / (time.monotonic() - self.began))


def dumb_viewer(server: Server, path: str = "/websocket") -> socket.socket:
    """A socket on which the server awaits WebSocket frames."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    connection.sendall(HANDSHAKE.format(path, server.port).encode())
    assert connection.recv(65536).startswith(b"HTTP/1.1 101 ")
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed it, and all that it sent before is read."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def wait_until_closed(connection: socket.socket) -> None:
    wait_for(lambda: is_closed(connection), "the end of the connection")
