"""Keeps a Perspective table equal to the newest rows in TDengine and serves it to viewers.

`perspective_thread` hears from a child process what changed in TDengine, and has the mirror hand it to the
table, on Tornado's event loop, which also serves the page, its health and the viewers. This process never
imports `taosws`: a call that waits for TDengine would hold up every viewer.
"""

import argparse
import asyncio
import logging
import signal
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import CancelledError
from functools import partial

import perspective
import tornado.ioloop
import tornado.web

from tdengine_perspective.addresses import address_elsewhere, local_address
from tdengine_perspective.dashboards import Dashboards
from tdengine_perspective.downloads import DownloadHandler, Downloads
from tdengine_perspective.engine import prepare_engine
from tdengine_perspective.gate.admission import Admission
from tdengine_perspective.gate.refusals import RefusalLog
from tdengine_perspective.gate.viewers import Viewers
from tdengine_perspective.gate.websocket import ViewerHandler, websocket_settings
from tdengine_perspective.history.process import LookBack
from tdengine_perspective.history.websocket import HistoryHandler
from tdengine_perspective.metrics import Metrics
from tdengine_perspective.mirror.messages import Message
from tdengine_perspective.mirror.process import ReaderProcess
from tdengine_perspective.mirror.table import Mirror
from tdengine_perspective.mirror.topics import drop_own_topics
from tdengine_perspective.settings import SettingError, Settings, describe_settings
from tdengine_perspective.tables import read_tables
from tdengine_perspective.tdengine import TDengine, TDengineError
from tdengine_perspective.web import (
    BrowserFileHandler,
    DashboardHandler,
    HealthHandler,
    LayoutHandler,
    MetricsHandler,
    NotFoundHandler,
    PageHandler,
    PageModuleHandler,
    listen,
)

MEMORY_CHECK = 1000  # ms from one look at the engine's memory to the next

log = logging.getLogger("perspective_server")


def perspective_thread(reader: ReaderProcess, mirror: Mirror, loop: asyncio.AbstractEventLoop) -> None:
    """Hand what the reader says to the table, until the reader is stopped.

    This thread waits for the reader, and lets the event loop, where the table is at home, do the rest. It
    waits for that, too: so a busy server makes the reader wait, and no queue grows.
    """

    async def take(message: Message) -> None:
        mirror.take(message)

    try:
        for message in reader.messages():
            try:
                asyncio.run_coroutine_threadsafe(take(message), loop).result()
            except perspective.PerspectiveError as error:
                log.error("the table did not take an update: %s; reading everything again", error)
                reader.begin_anew()
    except (RuntimeError, CancelledError):
        pass  # the event loop has ended


def make_app(
    viewers: Viewers,
    histories: Mapping[str, LookBack],
    mirrors: Mapping[str, Mirror],
    admission: Admission,
    dashboards: Dashboards,
) -> tornado.web.Application:
    """The routes: the page and its files, health, metrics, layout, and the viewers' WebSockets."""
    downloads = Downloads(mirrors)
    states = {name: mirror.state for name, mirror in mirrors.items()}
    metrics = Metrics(states, histories, viewers, admission.refusals)

    def health() -> dict[str, object]:
        tables = {name: state.health() for name, state in states.items()}
        first, *_ = tables.values()
        return {
            **first,
            "tables": tables,
            "viewers": len(viewers.connected),
            "history": {name: history.health() for name, history in histories.items()},
            "dashboards": dashboards.names,
        }

    guarded = {"admission": admission}
    return tornado.web.Application(
        [
            (r"/", PageHandler, guarded),
            (r"/page/([a-z_-]+\.(?:js|css))", PageModuleHandler, guarded),
            (r"/health", HealthHandler, {**guarded, "health": health, "is_full": lambda: viewers.is_full}),
            (r"/metrics", MetricsHandler, {**guarded, "metrics": metrics}),
            (r"/tables/([^/]+)\.(csv|arrow)", DownloadHandler, {**guarded, "downloads": downloads}),
            (r"/layout", LayoutHandler, {**guarded, "dashboards": dashboards}),
            (r"/websocket", ViewerHandler, {**guarded, "viewers": viewers}),
            (r"/history", HistoryHandler, {**guarded, "histories": histories}),
            (r"/([A-Za-z0-9_-]+)", DashboardHandler, {**guarded, "dashboards": dashboards}),
            (r"/perspective/(perspective-anywidget\.(?:js|css))", BrowserFileHandler, guarded),
        ],
        default_handler_class=NotFoundHandler,
        default_handler_args=guarded,
        log_function=lambda handler: None,  # the page asks for /health every second
        **websocket_settings,
    )


def renew_when_due(mirrors: Iterable[Mirror]) -> None:
    for mirror in mirrors:
        mirror.renew_table_when_due()


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Keep the table and serve it until `stop` is set. Raises SettingError where the settings make no sense.

    `prepare_engine` comes first, once a process.
    """
    admission = Admission(settings, RefusalLog())
    tables = read_tables(settings)
    dashboards = Dashboards(settings.perspective_layout, tables)

    engine = perspective.Server()
    viewers = Viewers(engine)
    mirrors = {
        table.perspective_table_name: Mirror(
            engine.new_local_client(),
            table,
            send_viewers_away=viewers.send_away,
            check_columns=partial(dashboards.warn_of_missing_columns, table=table),
            note_nulls=viewers.note_nulls,
        )
        for table in tables
    }
    histories = {table.history_name: LookBack(table) for table in tables if table.looks_back}
    listener = listen(make_app(viewers, histories, mirrors, admission, dashboards), settings)
    readers = [ReaderProcess(table) for table in tables]
    log.info(
        "serves %s to %s: %s of TDengine at %s",
        " and ".join(filter(None, (local_address(settings), address_elsewhere(settings)))),
        admission.who_can_read,
        ", ".join(table.table for table in tables),
        readers[0].tdengine.url,
    )
    threads = [
        threading.Thread(
            target=perspective_thread,
            args=(reader, mirror, asyncio.get_running_loop()),
            name="perspective_thread",
            daemon=True,
        )
        for reader, mirror in zip(readers, mirrors.values(), strict=True)
    ]
    for thread in threads:
        thread.start()
    memory = tornado.ioloop.PeriodicCallback(lambda: renew_when_due(mirrors.values()), MEMORY_CHECK)
    memory.start()
    await stop.wait()
    memory.stop()
    listener.stop()
    for history in histories.values():
        history.stop()
    await asyncio.gather(*(asyncio.to_thread(reader.stop) for reader in readers))
    for part in (*threads, *histories.values()):
        await asyncio.to_thread(part.join)


async def serve_until_signal(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(settings, stop)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Show the newest rows of a table in TDengine, live, in a browser.",
        epilog="settings, all of them environment variables:\n"
        f"{describe_settings()}\n\n"
        "The dashboard is at http://localhost:8080/ then, its state as JSON at /health. More stands in\n"
        "docs/settings.md.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--drop-topics",
        action="store_true",
        help="remove the topics that killed servers with PERSPECTIVE_SUBSCRIBE=yes left in TDengine, and end",
    )
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    try:
        settings = Settings.from_environment()
        if arguments.drop_topics:
            return drop_own_topics(TDengine.of(settings))
        prepare_engine()
        asyncio.run(serve_until_signal(settings))
    except (SettingError, TDengineError) as error:
        raise SystemExit(f"perspective_server: {error}") from None


if __name__ == "__main__":
    main()
