"""Owns a viewer's WebSocket, which takes no more of the server's time and memory than its share."""

import asyncio
import struct
import time
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Protocol

import tornado.ioloop
import tornado.iostream
import tornado.web
import tornado.websocket
from google.protobuf.message import DecodeError

from tdengine_perspective.gate.admission import Admission
from tdengine_perspective.gate.allowance import Allowance
from tdengine_perspective.gate.protocol import Response, error_response
from tdengine_perspective.gate.refusals import MAX_LOG_LINES
from tdengine_perspective.gate.sessions import ViewerSession
from tdengine_perspective.gate.viewers import Connections, Viewers

# Limits for one viewer; in brackets what a page with four viewers needs.
MAX_REQUESTS = 400  # a second; beyond it they wait [150 while they are rearranged]
MAX_ENGINE_TIME = 0.25  # of each second; beyond it its requests wait, so that the others get their turn
MAX_WAITING = 16 << 20  # bytes sent to it that it has not read yet [0.1 MB]
MAX_MESSAGE = 64 << 10  # bytes of a request [330]

websocket_settings = {
    "websocket_max_message_size": MAX_MESSAGE,
    # Seconds. A dead connection is found within two of them; proxies end a silent one after 60.
    "websocket_ping_interval": 20,
    "websocket_ping_timeout": 20,
}
BINARY, TEXT = 0x82, 0x81  # how a frame of that kind begins
# Why a WebSocket is closed.
TEXT_FRAME, NOT_A_REQUEST, TRY_AGAIN_LATER = 1003, 1007, 1013


class Session(Protocol):
    """What ends with a viewer's WebSocket."""

    def close(self) -> None: ...


class ViewerSocket(tornado.websocket.WebSocketHandler):
    """One viewer's WebSocket, whatever it looks at: who may have one, and how much may wait to be read."""

    def initialize(self, viewers: Connections, admission: Admission) -> None:
        self.viewers = viewers
        self.admission = admission
        self.session: Session | None = None
        self.requests = Allowance(MAX_REQUESTS)
        self.outgoing: list[bytes] = []  # frames, until the loop's next turn
        self.waiting = 0  # bytes
        self.noted: set[str] = set()

    def prepare(self) -> None:
        self.admission.check(self.request)
        if self.viewers.is_full:
            self.admission.refusals.counts["viewer"] += 1
            self.admission.refusals.note(
                f"refused a viewer at {self.request.remote_ip}: there are {self.viewers.most}"
            )
            raise tornado.web.HTTPError(HTTPStatus.SERVICE_UNAVAILABLE)

    def check_origin(self, origin: str) -> bool:
        return self.admission.allows_origin(self.request)

    def send(self, answer: bytes) -> None:
        if self.session is None:
            return
        if len(answer) > MAX_WAITING:
            answer = error_response(Response.FromString(answer), "the answer is too large for this server")
        if self.waiting + len(answer) > MAX_WAITING:
            self.note("more: it does not read what it asked for")
            self.close(TRY_AGAIN_LATER, "too much is waiting for you")
            # The engine may be at work for this session just now.
            tornado.ioloop.IOLoop.current().add_callback(self.end_session)
            return
        self.write_frame(BINARY, answer)

    def send_text(self, text: str) -> None:
        """Tell the viewer something besides."""
        if self.session is not None and self.waiting < MAX_WAITING:
            self.write_frame(TEXT, text.encode())

    def write_frame(self, kind: int, content: bytes) -> None:
        """Write a frame, together with what is written in the same turn of the loop: a call costs most."""
        if not self.outgoing:
            asyncio.get_running_loop().call_soon(self.write_frames)
        self.outgoing.append(frame(kind, content))
        self.waiting += len(self.outgoing[-1])

    def write_frames(self) -> None:
        frames = b"".join(self.outgoing)
        self.outgoing.clear()
        connection = self.ws_connection
        if not frames or connection is None or connection.is_closing():
            return
        # What write_message does besides costs as much as the rest of an answer.
        try:
            written = connection.stream.write(frames)
        except tornado.iostream.StreamClosedError:
            return
        self.viewers.bytes_sent += len(frames)
        if written.done():
            self.waiting -= len(frames)
        else:
            written.add_done_callback(lambda written: self.sent(len(frames), written))

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        self.write_frames()
        super().close(code, reason)

    def sent(self, size: int, written: asyncio.Future) -> None:
        self.waiting -= size
        if not written.cancelled():
            written.exception()  # the viewer has gone, and on_close is called

    def on_close(self) -> None:
        self.end_session()

    def end_session(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            self.viewers.connected.discard(self)
            session.close()

    def close_for_text(self) -> None:
        self.close(TEXT_FRAME, "requests are binary")

    def close_for_rubbish(self) -> None:
        self.note("what is no request at all")
        self.close(NOT_A_REQUEST, "this is no request")

    def note(self, what: str) -> None:
        """Count a refusal, and log it, each kind once for each viewer."""
        self.admission.refusals.counts["request"] += 1
        if what not in self.noted and len(self.noted) < MAX_LOG_LINES:
            self.noted.add(what)
            self.admission.refusals.note(f"refused the viewer at {self.request.remote_ip} {what}")


class ViewerHandler(ViewerSocket):
    """One viewer of the live table."""

    def initialize(self, viewers: Viewers, admission: Admission) -> None:
        super().initialize(viewers, admission)
        self.engine_time = Allowance(MAX_ENGINE_TIME)

    def open(self) -> None:
        self.viewers.connected.add(self)
        self.session = ViewerSession(self.viewers, self.send)

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:
        """Answer a request. The viewer's next one is read only when what this returns is done."""
        if self.session is None:
            return None
        if isinstance(message, str):
            return self.close_for_text()
        started, before = time.thread_time(), self.viewers.engine_time.seconds
        try:
            refusal = self.session.handle(message)
        except DecodeError:
            return self.close_for_rubbish()
        if refusal:
            self.note(f"a request: {refusal}")
        took = max(time.thread_time() - started, self.viewers.engine_time.seconds - before)
        pause = max(self.requests.spend(1), self.engine_time.spend(took))
        return asyncio.sleep(pause) if pause > 0 else None


def frame(kind: int, content: bytes) -> bytes:
    """A WebSocket frame as a server sends it (RFC 6455, section 5.2)."""
    size = len(content)
    if size < 126:
        head = struct.pack("!BB", kind, size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", kind, 126, size)
    else:
        head = struct.pack("!BBQ", kind, 127, size)
    return head + content
