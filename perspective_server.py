"""Keeps a Perspective table equal to the newest rows in TDengine and serves it to viewers.

`ReaderThread` owns the reader, a child process that reads TDengine and sends what changed. `Mirror` hands
each change to the table, on Tornado's event loop, which also serves the page, `/health` and the viewers.
This process never imports `taosws`: a call that waits for TDengine would hold up every viewer.
"""

import argparse
import asyncio
import base64
import ctypes
import errno
import functools
import gzip
import hashlib
import json
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import CancelledError
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import perspective
import tornado.ioloop
import tornado.web

import tdengine_reader
from tdengine_connection import CHILD_SILENCE, TDengine, limit_waits, start_child, time_span, whole_number
from tdengine_reader import Connected, Failed, Poll, Schema
from viewer_gate import ViewerGate, ViewerHandler, http_settings, websocket_settings

TAOS_HOST = os.environ.get("TAOS_HOST") or "localhost"
TAOS_PORT = whole_number("TAOS_PORT", 6041, 1, 65535)
TAOS_USER = os.environ.get("TAOS_USER") or "root"
TAOS_PASSWORD = os.environ.get("TAOS_PASSWORD") or "taosdata"
TAOS_DATABASE = os.environ.get("TAOS_DATABASE") or "power"
TAOS_TABLENAME = os.environ.get("TAOS_TABLENAME") or "meters"

PERSPECTIVE_HOST = os.environ.get("PERSPECTIVE_HOST") or "127.0.0.1"
PERSPECTIVE_PORT = whole_number("PERSPECTIVE_PORT", 8080, 1, 65535)
PERSPECTIVE_TABLE_NAME = os.environ.get("PERSPECTIVE_TABLE_NAME") or "meters_values"
PERSPECTIVE_REFRESH_RATE = whole_number("PERSPECTIVE_REFRESH_RATE", 300, 10, 3_600_000)  # ms
PERSPECTIVE_LIMIT = whole_number("PERSPECTIVE_LIMIT", 1000, 1, 250_000)  # rows
PERSPECTIVE_WINDOW = time_span("PERSPECTIVE_WINDOW", "12h")
PERSPECTIVE_LAYOUT = os.environ.get("PERSPECTIVE_LAYOUT") or ""  # a file
PERSPECTIVE_ALLOWED_ORIGINS = os.environ.get("PERSPECTIVE_ALLOWED_ORIGINS") or ""
PERSPECTIVE_TOKEN = os.environ.get("PERSPECTIVE_TOKEN") or ""

PAGE = Path(__file__).with_name("prsp-viewer.html")
PAGE_MODULES = PAGE.with_name("page")
BROWSER_FILES = Path(perspective.__file__).parent / "widget" / "static"
MAX_VIEWERS_IN_LAYOUT = 4

# Seconds without a poll until the table counts as stale: a large window takes longer to read.
PATIENCE = max(2, 5 * PERSPECTIVE_REFRESH_RATE / 1000, PERSPECTIVE_LIMIT / 25_000)

# Perspective updates a table's grouped views in parallel, and each of these tasks waits for tasks of its own
# in the same pool. With as many grouped views as threads that can wait for ever: with a single page where
# there are two cores. So: more threads than all viewers together can have views. They start when needed.
ENGINE_THREADS = 2048

# With a heap for each of these threads, memory that is free again stays scattered over them all.
ENGINE_HEAPS = 2
M_ARENA_MAX = -8  # of glibc's malloc.h

log = logging.getLogger("perspective_server")


class Mirror:
    """The Perspective table and what is known of its source. All on the event loop's thread."""

    def __init__(
        self, client: perspective.Client, tdengine: TDengine, gate: ViewerGate, layout: str = "null"
    ):
        self.client = client
        self.gate = gate
        self.layout = layout  # see read_layout
        self.table: perspective.Table | None = None  # made when TDengine has told its columns
        self.schema: Schema | None = None
        self.failed_renewal: perspective.PerspectiveError | None = None
        self.tdengine = tdengine
        self.version: str | None = None
        self.rows = 0
        self.had_rows = False
        self.newest: int | None = None  # timestamp, ms since 1970
        self.polls = 0
        self.last_poll: float | None = None  # time.monotonic() of the last successful one
        self.errors = 0
        self.error: str | None = None  # what is wrong now
        self.told: set[str] = set()  # errors logged since the last successful poll
        self.last_error: str | None = None
        self.nothing_to_show: str | None = None  # why, while TDengine answers and there has been no row
        self.reader_restarts = 0

    def take(self, message: Connected | Poll | Failed) -> None:
        """Act on what the reader says. Raises PerspectiveError where the table has to be filled anew."""
        if self.failed_renewal:
            error, self.failed_renewal = self.failed_renewal, None
            raise error
        match message:
            case Connected():
                self.version = message.version
            case Poll():
                if message.schema is not None and message.schema != self.schema:
                    self.make_table(message.schema)
                self.update_table(message)
                self.polls += 1
                self.rows = message.rows
                self.had_rows = self.had_rows or message.rows > 0
                if self.had_rows:
                    self.nothing_to_show = None
                else:
                    self.report(
                        f"{self.tdengine.database}.{self.tdengine.table} has no rows of the last "
                        f"{PERSPECTIVE_WINDOW} (PERSPECTIVE_WINDOW)"
                    )
                self.newest = message.newest
                self.last_poll = time.monotonic()
                if self.error:
                    log.info("reading TDengine at %s again", self.tdengine.url)
                self.error = None
                self.told.clear()
            case Failed():
                self.fail(message.error)

    def make_table(self, schema: Schema) -> None:
        """Make the table, anew where it is there with other columns; the viewers then have to come again."""
        for column in schema.left_out:
            log.warning("%s.%s: left out the column %s", self.tdengine.database, self.tdengine.table, column)
        columns = list(schema.perspective.items())
        if self.table is None or columns != list(self.schema.perspective.items()):
            if self.table is not None:
                log.info("%s.%s has other columns now", self.tdengine.database, self.tdengine.table)
                self.gate.send_away("the table's columns have changed")
                self.table.delete()
            self.table = self.client.table(dict(columns), name=PERSPECTIVE_TABLE_NAME)
            self.rows = 0
            self.check_layout(schema)
        self.schema = schema

    def check_layout(self, schema: Schema) -> None:
        """Log what the layout names and the table lacks: the page leaves that out."""
        for number, viewer in enumerate(json.loads(self.layout) or [], 1):
            missing = missing_columns(viewer, schema.perspective)
            if missing:
                log.warning(
                    "PERSPECTIVE_LAYOUT: viewer %d has columns that %s.%s lacks: %s",
                    number,
                    self.tdengine.database,
                    self.tdengine.table,
                    ", ".join(missing),
                )

    def update_table(self, poll: Poll) -> None:
        """Hand the change to the table, as one update; the viewers hear of it from the engine."""
        if poll.whole and poll.update:
            self.table.replace(poll.update, format="columns")
        elif poll.update:
            self.table.update(poll.update, format="columns")
        elif poll.whole and self.rows:
            self.table.clear()

    def renew_table_when_due(self) -> None:
        """Have the engine forget what viewers filled the memory with; to be called once a second or so."""
        if self.table is None or not self.gate.renewal_due():
            return
        # With the rows' own places in the table, where the next updates will look for them.
        columns = [*self.table.columns(), "__INDEX__"]
        everything = self.table.view(columns=columns, expressions={"__INDEX__": "index()"})
        try:
            self.table.replace(everything.to_arrow())
        except perspective.PerspectiveError as error:  # rare, and nobody knows what the table holds now
            self.failed_renewal = error
        everything.delete()  # or each later update would compute it, too
        return_freed_memory()
        self.gate.renewed()

    def fail(self, error: str) -> None:
        """Note an error; log it when it is news."""
        self.errors += 1
        if error not in self.told:
            log.warning("%s; trying again%s", error, ", the last data stay on screen" if self.rows else "")
            self.told.add(error)
        self.error = self.last_error = error

    def report(self, nothing_to_show: str) -> None:
        """Note why there is nothing to show although TDengine answers; log it when it is news."""
        if nothing_to_show != self.nothing_to_show:
            log.warning(nothing_to_show)
        self.nothing_to_show = nothing_to_show

    def restarted(self) -> None:
        self.reader_restarts += 1
        self.fail("the reader process ended or hung and was started again")

    def status(self) -> str:
        """`waiting`: no data yet; `live`; `stale`: what the table holds may be out of date."""
        if self.last_poll is None or not self.had_rows:
            return "waiting"
        return "stale" if self.error or time.monotonic() - self.last_poll > PATIENCE else "live"

    def health(self) -> dict[str, object]:
        """The answer of /health, but for the viewers."""
        newest = self.newest and datetime.fromtimestamp(self.newest / 1000, UTC).isoformat(
            "T", "milliseconds"
        )
        return {
            "status": self.status(),
            "tdengine": {"url": self.tdengine.url, "version": self.version},
            "rows": self.rows,
            "newest": newest,
            "last_poll_ms_ago": self.last_poll and round((time.monotonic() - self.last_poll) * 1000),
            "polls": self.polls,
            "errors": self.errors,
            "last_error": self.error or self.nothing_to_show or self.last_error,
            "reader_restarts": self.reader_restarts,
        }


def return_freed_memory() -> None:
    """Give the system back what was freed, which GNU's C library does only when it is told to."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


class ReaderThread(threading.Thread):
    """Owns the reader process: passes on what it says, and starts it anew when it ends or falls silent."""

    def __init__(self, tdengine: TDengine, mirror: Mirror, loop: asyncio.AbstractEventLoop):
        super().__init__(name="perspective_thread", daemon=True)
        self.tdengine = tdengine
        self.mirror = mirror
        self.loop = loop
        self.stopping = threading.Event()
        self.process: BaseProcess | None = None

    def run(self) -> None:
        while not self.stopping.is_set():
            self.process, pipe = start_child(
                tdengine_reader.run,
                self.tdengine,
                PERSPECTIVE_REFRESH_RATE,
                PERSPECTIVE_WINDOW,
                PERSPECTIVE_LIMIT,
            )
            if self.stopping.is_set():
                self.process.kill()
            try:
                limit_waits(pipe, CHILD_SILENCE)
                pipe.poll(CHILD_SILENCE)  # before its first word it has to start
                while self.hears_from(pipe):
                    self.on_loop(self.mirror.take, pipe.recv())
            except (EOFError, OSError):
                pass  # it has ended
            except (RuntimeError, CancelledError):
                return  # the event loop has
            except perspective.PerspectiveError as error:
                log.error("the table did not take an update: %s; reading everything again", error)
            self.process.kill()
            self.process.join()
            pipe.close()
            if not self.stopping.wait(0.2):
                self.on_loop(self.mirror.restarted)

    def hears_from(self, pipe: Connection) -> bool:
        """Wait for the reader's next word; False when it has been silent for CHILD_SILENCE."""
        if pipe.poll(PATIENCE):
            return True
        self.on_loop(self.mirror.fail, f"no answer from TDengine at {self.tdengine.url} for {PATIENCE:g} s")
        return pipe.poll(CHILD_SILENCE)

    def on_loop(self, function: Callable[..., None], *arguments: object) -> None:
        """Call on the event loop and wait: a busy server makes the reader wait, and no queue grows."""

        async def call() -> None:
            function(*arguments)

        asyncio.run_coroutine_threadsafe(call(), self.loop).result()

    async def stop(self) -> None:
        """Kill the reader; returns when it and this thread have ended."""
        self.stopping.set()
        if self.process is not None:
            self.process.kill()
        await asyncio.to_thread(self.join)


class Handler(tornado.web.RequestHandler):
    """What all pages share: who may ask, and headers that keep the page to its own server."""

    def initialize(self, gate: ViewerGate) -> None:
        self.gate = gate

    def prepare(self) -> None:
        self.gate.check(self.request)

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
    def get(self) -> None:
        page = PAGE.read_bytes()
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", content_security_policy(page))
        self.set_header("Cache-Control", "no-cache")
        self.finish(page)


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
        if origin and self.gate.allows_origin(self.request):
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
        self.set_header("Access-Control-Allow-Headers", "Authorization")
        self.set_status(204)


class HealthHandler(AnswerHandler):
    def initialize(self, gate: ViewerGate, mirror: Mirror) -> None:
        super().initialize(gate)
        self.mirror = mirror

    def get(self) -> None:
        health = self.mirror.health()
        self.set_status(200 if health["status"] == "live" else 503)
        self.finish({**health, "viewers": len(self.gate.viewers)})


class LayoutHandler(AnswerHandler):
    def initialize(self, gate: ViewerGate, layout: str) -> None:
        super().initialize(gate)
        self.layout = layout

    def get(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(self.layout)


def read_layout(file: str) -> str:
    """How the page is to arrange its viewers, as JSON: the file's content, `null` where none is named.

    Raises ValueError, in one line, for a file that is no such thing.
    """
    if not file:
        return "null"
    try:
        layout = json.loads(Path(file).read_text(encoding="utf-8"))
        text = json.dumps(layout, allow_nan=False)  # Python reads NaN and infinity, a browser does not
    except OSError as error:
        raise ValueError(f"PERSPECTIVE_LAYOUT: can't read {file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"PERSPECTIVE_LAYOUT: {file} is no JSON: {error}") from None
    is_list = isinstance(layout, list) and all(isinstance(viewer, dict) for viewer in layout)
    if not is_list or not 1 <= len(layout) <= MAX_VIEWERS_IN_LAYOUT:
        raise ValueError(
            f"PERSPECTIVE_LAYOUT: {file} must be a list of one to {MAX_VIEWERS_IN_LAYOUT} viewer "
            "configurations, as the page's download button writes it"
        )
    return text


def missing_columns(viewer: dict[str, object], columns: Collection[str]) -> list[str]:
    """What a viewer's configuration names that is neither a column nor an expression of its own."""
    named = []
    for part in ("columns", "group_by", "split_by", "sort", "filter"):
        entries = viewer.get(part)
        for entry in entries if isinstance(entries, list) else []:
            named.append(entry[0] if isinstance(entry, list) and entry else entry)  # [name, how to sort]
    expressions = viewer.get("expressions")
    known = {*columns, *(expressions if isinstance(expressions, dict) else {})}
    texts = dict.fromkeys(name for name in named if isinstance(name, str))
    return [name for name in texts if name not in known]


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


def make_app(
    server: perspective.Server, mirror: Mirror, gate: ViewerGate, layout: str
) -> tornado.web.Application:
    """The routes: the page, its health and layout, the viewers' WebSocket and the browser files."""
    return tornado.web.Application(
        [
            (r"/", PageHandler, {"gate": gate}),
            (r"/page/([a-z_-]+\.(?:js|css))", PageModuleHandler, {"gate": gate}),
            (r"/health", HealthHandler, {"gate": gate, "mirror": mirror}),
            (r"/layout", LayoutHandler, {"gate": gate, "layout": layout}),
            (r"/websocket", ViewerHandler, {"perspective_server": server, "gate": gate}),
            (r"/perspective/(perspective-anywidget\.(?:js|css))", BrowserFileHandler, {"gate": gate}),
        ],
        default_handler_class=NotFoundHandler,
        default_handler_args={"gate": gate},
        log_function=lambda handler: None,  # the page asks for /health every second
        **websocket_settings,
    )


def prepare_engine() -> None:
    """Set what has to be set before the engine starts its threads."""
    perspective.set_num_cpus(ENGINE_THREADS)
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_ARENA_MAX, ENGINE_HEAPS)


async def serve() -> None:
    """Serve until SIGINT or SIGTERM."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    try:
        gate = ViewerGate(PERSPECTIVE_HOST, PERSPECTIVE_PORT, PERSPECTIVE_ALLOWED_ORIGINS, PERSPECTIVE_TOKEN)
        layout = read_layout(PERSPECTIVE_LAYOUT)
    except ValueError as error:
        raise SystemExit(f"perspective_server: {error}") from None
    prepare_engine()
    server = perspective.Server()
    tdengine = TDengine(TAOS_HOST, TAOS_PORT, TAOS_USER, TAOS_PASSWORD, TAOS_DATABASE, TAOS_TABLENAME)
    mirror = Mirror(server.new_local_client(), tdengine, gate, layout)
    try:
        listener = make_app(server, mirror, gate, layout).listen(
            PERSPECTIVE_PORT, PERSPECTIVE_HOST, **http_settings
        )
    except (OSError, UnicodeError) as error:  # Unicode's: a name that can be none of a host
        reason = getattr(error, "strerror", "Not the name of a host")
        is_port = getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES)
        remedy = "PORT to a free port" if is_port else "HOST to an address of this machine"
        raise SystemExit(
            f"perspective_server: can't listen on {PERSPECTIVE_HOST}:{PERSPECTIVE_PORT}: {reason}; "
            f"set PERSPECTIVE_{remedy}"
        ) from None
    log.info(
        "serves http://%s:%s/ to %s: %s.%s of TDengine at %s",
        PERSPECTIVE_HOST,
        PERSPECTIVE_PORT,
        gate.who_can_read,
        TAOS_DATABASE,
        TAOS_TABLENAME,
        tdengine.url,
    )
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    reader = ReaderThread(tdengine, mirror, loop)
    reader.start()
    tornado.ioloop.PeriodicCallback(mirror.renew_table_when_due, 1000).start()
    await stop.wait()
    listener.stop()
    await reader.stop()


SETTINGS = """\
settings, all of them environment variables:
  TAOS_HOST, TAOS_PORT                where taosAdapter answers (localhost, 6041)
  TAOS_USER, TAOS_PASSWORD            TDengine's user (root, taosdata)
  TAOS_DATABASE, TAOS_TABLENAME       the table to show (power, meters)
  PERSPECTIVE_HOST, PERSPECTIVE_PORT  where to listen (127.0.0.1, 8080)
  PERSPECTIVE_TABLE_NAME              the Perspective table's name (meters_values)
  PERSPECTIVE_REFRESH_RATE            ms from poll to poll (300)
  PERSPECTIVE_LIMIT                   rows in the table, at most (1000)
  PERSPECTIVE_WINDOW                  how old its rows may be (12h; units: a for ms, s, m, h, d, w)
  PERSPECTIVE_LAYOUT                  a JSON file with the page's first arrangement
  PERSPECTIVE_ALLOWED_ORIGINS         other pages that may show it, such as https://meters.example.org;
                                      commas between several
  PERSPECTIVE_TOKEN                   what viewers must know: ?token= in the page's address

The dashboard is at http://localhost:8080/ then, its state as JSON at /health. README.md says more.
"""


def main() -> None:
    argparse.ArgumentParser(
        description="Show the newest rows of a table in TDengine, live, in a browser.",
        epilog=SETTINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    asyncio.run(serve())


if __name__ == "__main__":
    main()
