"""Owns `/tables/NAME.csv` and `.arrow`: a live table as a file, for programs that are no viewers."""

import asyncio
import time
from collections.abc import Mapping
from http import HTTPStatus

import perspective
import tornado.web

from tdengine_perspective.gate.admission import Admission
from tdengine_perspective.gate.sessions import MAX_CELLS
from tdengine_perspective.gate.websocket import MAX_ENGINE_TIME, Allowance
from tdengine_perspective.mirror.table import Mirror
from tdengine_perspective.web import AnswerHandler

TYPES = {"csv": "text/csv; charset=utf-8", "arrow": "application/vnd.apache.arrow.stream"}


class Downloads:
    """The tables of a server, by name. All who download have the engine's time of one viewer together."""

    def __init__(self, mirrors: Mapping[str, Mirror]):
        self.mirrors = mirrors
        self.turns = asyncio.Lock()
        self.engine_time = Allowance(MAX_ENGINE_TIME)

    async def content(self, name: str, kind: str) -> bytes | str:
        """The table's rows. Raises HTTPError 404 where there is no such table, 413 where it is too large."""
        async with self.turns:
            await asyncio.sleep(self.engine_time.spend(0))
            table = self.mirrors[name].table if name in self.mirrors else None
            if table is None:
                raise tornado.web.HTTPError(HTTPStatus.NOT_FOUND)
            started = time.process_time()
            try:
                return content_of(table, kind)
            finally:
                self.engine_time.spend(time.process_time() - started)


def content_of(table: perspective.Table, kind: str) -> bytes | str:
    if table.size() * len(table.columns()) > MAX_CELLS:
        reason = f"More than {MAX_CELLS} cells, which this server gives out at once"
        raise tornado.web.HTTPError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason=reason)
    view = table.view()
    try:
        return view.to_csv() if kind == "csv" else view.to_arrow()
    finally:
        view.delete()


class DownloadHandler(AnswerHandler):
    """A table as it is now, in the order of its slots."""

    def initialize(self, admission: Admission, downloads: Downloads) -> None:
        super().initialize(admission)
        self.downloads = downloads

    async def get(self, name: str, kind: str) -> None:
        content = await self.downloads.content(name, kind)
        self.set_header("Content-Type", TYPES[kind])
        self.finish(content)
