"""Owns the HTTP side: the page and its files, `/health`, `/layout`, and listening."""

import asyncio
import base64
import errno
import functools
import gzip
import hashlib
import re
import resource
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import perspective
import tornado.httpserver
import tornado.web

from tdengine_perspective.dashboards import Dashboards
from tdengine_perspective.dsn import in_url
from tdengine_perspective.gate.admission import TOKEN_HEADER, Admission
from tdengine_perspective.metrics import CONTENT_TYPE, Metrics
from tdengine_perspective.settings import SettingError, Settings

PAGE = Path(__file__).parent.parent / "prsp-viewer.html"
PAGE_MODULES = PAGE.with_name("page")
PATH_HEADERS = (
    "X-Forwarded-Uri",
    "X-Original-Uri",
)  # in which proxies tell the path that they were asked for
BROWSER_FILES = Path(perspective.__file__).parent / "widget" / "static"

BACKLOG = 1024  # connections that may wait to be taken: all viewers come at once when a server starts anew
# For Application.listen: who connects and then says nothing is gone after 10 s. No request here has a body.
http_settings = {
    "idle_connection_timeout": 10,
    "body_timeout": 10,
    "max_body_size": 1024,
    "max_header_size": 16 << 10,
}


class Handler(tornado.web.RequestHandler):
    """What all pages share: who may ask, and headers that keep the page to its own server."""

    def initialize(self, admission: Admission) -> None:
        self.admission = admission

    def prepare(self) -> None:
        self.admission.check(self.request)

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")


class NotFoundHandler(Handler):
    def prepare(self) -> None:
        super().prepare()
        raise tornado.web.HTTPError(404)


class PageHandler(Handler):
    """The page, below whatever path: all that it asks for is beside it, so the path has to end in a slash."""

    def get(self) -> None:
        name = self.last_name()
        if name:
            query = f"?{self.request.query}" if self.request.query else ""
            self.set_header("Location", f"./{name}/{query}")  # from where the browser is
            self.set_status(302)
            return
        self.finish_page()

    def finish_page(self) -> None:
        page = PAGE.read_bytes()
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", content_security_policy(page))
        self.set_header("Cache-Control", "no-cache")
        self.finish(page)

    def last_name(self) -> str:
        """The end of the path that a proxy was asked for, where it tells that and no slash is there."""
        asked = [self.request.headers.get(header, "") for header in PATH_HEADERS]
        found = re.match(r"(?:[^?#]*/)?([A-Za-z0-9._~-]+)(?:\?|$)", next(filter(None, asked), ""))
        return found[1] if found else ""


class DashboardHandler(PageHandler):
    """The page for one of several dashboards, whose name is its address."""

    def initialize(self, admission: Admission, dashboards: Dashboards) -> None:
        super().initialize(admission)
        self.dashboards = dashboards

    def get(self, name: str) -> None:
        if name not in self.dashboards.names:
            raise tornado.web.HTTPError(404)
        self.finish_page()


class PageModuleHandler(Handler):
    """The page's modules and style sheet, read anew each time, so that a change needs but a reload."""

    def get(self, name: str) -> None:
        try:
            module = (PAGE_MODULES / name).read_bytes()
        except OSError:
            raise tornado.web.HTTPError(404) from None
        kind = "css" if name.endswith(".css") else "javascript"
        self.set_header("Content-Type", f"text/{kind}; charset=utf-8")
        self.set_header("Cache-Control", "no-cache")  # ask each time whether the copy is current, by its ETag
        self.finish(module)


def content_security_policy(page: bytes) -> str:
    """What the page may load: its own script and modules, and Perspective from this server.

    Perspective compiles WebAssembly, runs its charts in workers made from blobs, and sets styles on its
    elements, which no hash can cover.
    """
    script = re.search(rb'<script type="module">(.*?)</script>', page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}' blob: 'wasm-unsafe-eval'; "
        "worker-src blob:; style-src 'self' 'unsafe-inline'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class AnswerHandler(Handler):
    """An answer for the page alone, which may come from another server."""

    allowed_origin: str | None = None  # the page's that may read the answer

    def prepare(self) -> None:
        origin = self.request.headers.get("Origin")
        if origin and self.admission.allows_origin(self.request):
            self.allowed_origin = origin
            self.set_default_headers()
        super().prepare()

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Vary", "Origin")
        self.set_header("Cache-Control", "no-store")
        if self.allowed_origin:  # also where the answer is an error, which clears all other headers
            self.set_header("Access-Control-Allow-Origin", self.allowed_origin)

    def options(self) -> None:
        """A browser asks whether a page of another origin may send the token."""
        self.set_header("Access-Control-Allow-Headers", f"{TOKEN_HEADER}, Authorization")
        self.set_status(204)


class HealthHandler(AnswerHandler):
    """How things are, for monitors and for the page.

    The page asks with its origin, `?page=`, and is answered with status 200 whatever there is to say: else
    the browser's console would fill with errors while it waits. It is told besides what only the server
    knows: whether pages of that origin may connect, and whether there is room for one more.
    """

    def initialize(
        self, admission: Admission, health: Callable[[], dict[str, object]], is_full: Callable[[], bool]
    ) -> None:
        super().initialize(admission)
        self.health = health
        self.is_full = is_full

    def prepare(self) -> None:
        self.page = self.get_query_argument("page", None)
        try:
            super().prepare()
        except tornado.web.HTTPError as error:
            if self.page is None or error.status_code != HTTPStatus.UNAUTHORIZED:
                raise
            self.finish({"status": "locked"})

    def get(self) -> None:
        health = self.health()
        if self.page is None:
            are_live = all(table["status"] == "live" for table in health["tables"].values())
            self.set_status(200 if are_live else 503)
        elif not self.admission.allows_page(self.page, self.request.host):
            health["page"] = "not allowed"
        else:
            health["page"] = "full" if self.is_full() else "welcome"
        self.finish(health)


class MetricsHandler(Handler):
    """What a monitor counts, in Prometheus' text format."""

    def initialize(self, admission: Admission, metrics: Metrics) -> None:
        super().initialize(admission)
        self.metrics = metrics

    def get(self) -> None:
        self.set_header("Content-Type", CONTENT_TYPE)
        self.set_header("Cache-Control", "no-store")
        self.finish(self.metrics.text())


class LayoutHandler(AnswerHandler):
    """How the page arranges its viewers at first; `?name=` for another dashboard than the first one."""

    def initialize(self, admission: Admission, dashboards: Dashboards) -> None:
        super().initialize(admission)
        self.dashboards = dashboards

    def get(self) -> None:
        names = self.dashboards.names
        try:
            layout = self.dashboards.layout(self.get_query_argument("name", names[0] if names else ""))
        except KeyError:
            self.set_status(404)
            return self.finish({"problem": "there is no dashboard of this name"})
        except SettingError as error:
            self.set_status(500)
            return self.finish({"problem": str(error)})
        self.set_header("Content-Type", "application/json")
        self.finish(layout)


class BrowserFileHandler(Handler):
    """Perspective's browser side out of the installed package, so that its version is the server's."""

    async def get(self, name: str) -> None:
        body, compressed, etag = await asyncio.to_thread(read_browser_file, name)
        self.set_header("Content-Type", "text/css" if name.endswith(".css") else "text/javascript")
        self.set_header("Access-Control-Allow-Origin", "*")  # a public library; a page on :8081 loads it too
        self.set_header("Cache-Control", "no-cache")  # ask each time whether the copy is current, by its ETag
        self.set_header("Vary", "Accept-Encoding")
        self.set_header("ETag", etag)
        if self.check_etag_header():
            self.set_status(304)
            return
        if "gzip" in self.request.headers.get("Accept-Encoding", ""):
            self.set_header("Content-Encoding", "gzip")
            body = compressed
        self.finish(body)

    def compute_etag(self) -> None:
        return None  # set above


@functools.cache
def read_browser_file(name: str) -> tuple[bytes, bytes, str]:
    """The file, the file compressed, and its ETag."""
    body = (BROWSER_FILES / name).read_bytes()
    return body, gzip.compress(body, 6), f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def raise_file_limit() -> None:
    """Let this process have as many files open as the system allows: each viewer's WebSocket is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def listen(app: tornado.web.Application, settings: Settings) -> tornado.httpserver.HTTPServer:
    """Raises SettingError where it can't."""
    host, port = settings.perspective_host, settings.perspective_port
    raise_file_limit()
    try:
        return app.listen(port, host, backlog=BACKLOG, **http_settings)
    except (OSError, UnicodeError) as error:  # Unicode's: a name that can be none of a host
        reason = getattr(error, "strerror", "Not the name of a host")
        is_port = getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES)
        remedy = "PORT to a free port" if is_port else "HOST to an address of this machine"
        place = f"{in_url(host)}:{port}"
        raise SettingError(f"can't listen on {place}: {reason}; set PERSPECTIVE_{remedy}") from None
