"""Viewers that look back over real WebSockets as the dashboard does, in a process of their own.

No two of their questions are the same, so none has an answer that is at hand already.
"""

import asyncio
import contextlib
import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from viewers import Viewer  # noqa: E402

ROWS_ON_SCREEN = 300  # as many as a chart has steps, at most
LONG_AGO = (
    1_000_000_000_000  # ms since 1970: all rows are later, which costs TDengine next to nothing to find
)
NEWEST = ["max by", ["timestamp"]]


def dashboard(step: int) -> list[dict[str, Any]]:
    """The four views of the meters' dashboard, with steps of so many ms."""
    readings = {"current (A)": '"current"', "voltage (V)": '"voltage"', "phase (°)": '"phase"'}
    return [
        {
            "group_by": ["location", "groupid"],
            "group_rollup_mode": "flat",
            "expressions": readings,
            "columns": [*readings, "timestamp"],
            "aggregates": {**dict.fromkeys(readings, NEWEST), "timestamp": "max"},
        },
        {
            "group_by": ["step"],
            "split_by": ["location"],
            "expressions": {"step": f'datetime(bucket(float("timestamp"), {step}))'},
            "columns": ["current"],
            "aggregates": {"current": "avg"},
        },
        {
            "group_by": ["location"],
            "columns": ["voltage", "current", "phase"],
            "aggregates": dict.fromkeys(("voltage", "current", "phase"), "avg"),
        },
        {
            "group_by": ["location"],
            "expressions": {"voltage (V)": '"voltage"', "V above 200": '"voltage" - 200'},
            "columns": ["voltage (V)", "V above 200"],
            "aggregates": dict.fromkeys(("voltage (V)", "V above 200"), NEWEST),
        },
    ]


class Lookers:
    """All viewers of this process, and what they are asked to do: each method's answer goes up the pipe."""

    def __init__(self, viewers: list[Viewer], tables: list[Any], step: int):
        self.viewers = viewers
        self.tables = tables
        self.views = dashboard(step)
        self.numbers: Iterator[int] = itertools.count()

    async def see(self, table: Any, view: dict[str, Any]) -> None:
        """Make a view that nobody had before, read it, and delete it."""
        view = await table.view(**view, filter=[["timestamp", ">", LONG_AGO + next(self.numbers)]])
        await view.num_rows()
        await view.to_arrow(start_row=0, end_row=ROWS_ON_SCREEN)
        await view.delete()

    async def look_on(self, seconds: float) -> dict[str, float]:
        """All look at all of the dashboard, again and again."""
        end = time.monotonic() + seconds
        took: list[float] = []

        async def look(table: Any) -> None:
            while (began := time.monotonic()) < end:
                await asyncio.gather(*(self.see(table, view) for view in self.views))
                took.append(time.monotonic() - began)

        await asyncio.gather(*map(look, self.tables))
        return {"dashboards": len(took), "seconds_each": sum(took) / len(took), "refused": self.refused()}

    async def make(self, count: int) -> int:
        """Make so many views, shared out among the viewers. Returns how many requests were refused so far."""

        async def some(table: Any) -> None:
            for number in range(count // len(self.tables)):
                await self.see(table, self.views[number % len(self.views)])

        await asyncio.gather(*map(some, self.tables))
        return self.refused()

    def refused(self) -> int:
        return sum(len(viewer.errors) for viewer in self.viewers)


async def serve(pipe: Connection, url: str, count: int, step: int) -> None:
    async with AsyncExitStack() as stack:
        viewers = [await stack.enter_async_context(Viewer(url)) for _ in range(count)]
        tables = []
        for viewer in viewers:
            [name] = await viewer.client.get_hosted_table_names()
            tables.append(await viewer.client.open_table(name))
        lookers = Lookers(viewers, tables, step)
        pipe.send("looking")
        while True:
            name, *arguments = await asyncio.to_thread(pipe.recv)
            pipe.send(await getattr(lookers, name)(*arguments))


def run(pipe: Connection, url: str, count: int, step: int) -> None:
    """The child process: `count` viewers at `url`, which do what the pipe says until that is closed."""
    with contextlib.suppress(EOFError, OSError):
        asyncio.run(serve(pipe, url, count, step))
