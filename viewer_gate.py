"""Who may look: the viewers' WebSocket, and from which pages it is opened."""

import logging
from urllib.parse import urlsplit

import perspective
import tornado.httputil
import tornado.web
import tornado.websocket

LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}
MAX_MESSAGE = 1 << 20  # bytes; what a viewer asks is a few hundred
MAX_VIEWERS = 100

websocket_settings = {
    "websocket_max_message_size": MAX_MESSAGE,
    "websocket_ping_interval": 20,  # seconds; a connection without an answer within this time is closed
}

log = logging.getLogger("viewer_gate")


class ViewerGate:
    """The policy, and the viewers connected at the moment."""

    def __init__(self, host: str, port: int, allowed_origins: str = ""):
        self.viewers: set[ViewerHandler] = set()
        self.local = host in LOCAL_NAMES
        self.allowed_origins = {origin.strip().rstrip("/") for origin in allowed_origins.split(",")} - {""}
        for origin in self.allowed_origins:
            if urlsplit(origin).scheme not in ("http", "https") or not urlsplit(origin).hostname:
                raise ValueError(
                    f"PERSPECTIVE_ALLOWED_ORIGINS: {origin!r} is no origin such as https://example.org"
                )

    def check(self, request: tornado.httputil.HTTPServerRequest) -> None:
        """Raises HTTPError 403 for a Host header that is not ours: a page that had its name rebound to us."""
        name = urlsplit(f"//{request.host}").hostname
        configured = {urlsplit(origin).hostname for origin in self.allowed_origins}
        if self.local and name not in LOCAL_NAMES | configured:
            log.warning("refused a request for host %r", request.host)
            raise tornado.web.HTTPError(403)

    def allows_origin(self, request: tornado.httputil.HTTPServerRequest) -> bool:
        """Whether the page that sent the request may see the answer."""
        origin = request.headers.get("Origin", "")
        parts = urlsplit(origin)
        return (
            origin in self.allowed_origins
            or parts.netloc == request.host
            or (self.local and parts.hostname in LOCAL_NAMES)
        )


class ViewerHandler(tornado.websocket.WebSocketHandler):
    """One viewer: passes its requests to the engine and the engine's answers back."""

    def initialize(self, perspective_server: perspective.Server, gate: ViewerGate) -> None:
        self.perspective_server = perspective_server
        self.gate = gate

    def prepare(self) -> None:
        self.gate.check(self.request)
        if len(self.gate.viewers) >= MAX_VIEWERS:
            raise tornado.web.HTTPError(503)

    def check_origin(self, origin: str) -> bool:
        allowed = self.gate.allows_origin(self.request)
        if not allowed:
            log.warning("refused a viewer from origin %r", origin)
        return allowed

    def open(self) -> None:
        self.gate.viewers.add(self)
        self.session = self.perspective_server.new_session(self.send)

    def send(self, answer: bytes) -> None:
        try:
            self.write_message(answer, binary=True)
        except tornado.websocket.WebSocketClosedError:
            self.close()

    def on_message(self, message: str | bytes) -> None:
        if isinstance(message, bytes) and message:  # an empty frame would end the engine's process
            self.session.handle_request(message)

    def on_close(self) -> None:
        if self in self.gate.viewers:
            self.gate.viewers.remove(self)
            self.session.close()
