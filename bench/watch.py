"""Viewers that follow the table over real WebSockets as a Datagrid does, in a process of their own.

Each holds a view of the whole table, the newest row first. When the server says that it changed, the viewer
asks for the number of rows and for the rows on its screen, and no more often than it gets its answers.
"""

import asyncio
import contextlib
import json
import sys
import time
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from viewers import Viewer  # noqa: E402

TABLE = "meters_values"
COLUMNS = ["timestamp", "location", "groupid", "current", "voltage", "phase"]
ROWS_ON_SCREEN = 40
PROBE_INTERVAL = 0.05  # seconds from one question of a probe to the next, at least
FIRST_ROW_TIMEOUT = 60  # seconds

Row = tuple[str, int]  # location, timestamp (ms since 1970): no two rows of the meters have both


class Datagrid(Viewer):
    """A viewer, and what it saw."""

    async def follow(self, number: int | None = None) -> None:
        """Follow the table from now on. With a number it's a view of its own, though it shows the same."""
        self.forget()
        self.changed = asyncio.Event()
        while TABLE not in await self.client.get_hosted_table_names():
            await asyncio.sleep(0.05)
        table = await self.client.open_table(TABLE)
        own = {} if number is None else {"filter": [["voltage", ">", -number - 1]]}
        self.view = await table.view(columns=COLUMNS, sort=[["timestamp", "desc"]], **own)
        await self.view.on_update(self.hear)
        self.drawing = asyncio.create_task(self.draw())

    def forget(self) -> None:
        self.received = 0  # bytes
        self.updates = 0
        self.snapshots: list[tuple[int, int]] = []  # (when it came, its newest timestamp), ms since 1970

    def hear(self, *_: object) -> None:
        self.updates += 1
        self.changed.set()

    async def draw(self) -> None:
        self.changed.set()
        while True:
            await self.changed.wait()
            self.changed.clear()
            await self.view.num_rows()
            screen = json.loads(await self.view.to_columns_string(start_row=0, end_row=ROWS_ON_SCREEN))
            if screen["timestamp"]:
                self.snapshots.append((self.arrived, screen["timestamp"][0]))

    async def whole_table(self) -> list[Row]:
        table = json.loads(await self.view.to_columns_string())
        return list(zip(table["location"], table["timestamp"], strict=True))


class Watch:
    """All viewers of this process, and what they are asked to do: each method's answer goes up the pipe."""

    def __init__(self, viewers: list[Datagrid]):
        self.viewers = viewers

    async def follow(self, seconds: float) -> dict[str, Any]:
        """Just follow, and tell what came."""
        for viewer in self.viewers:
            viewer.forget()
        await asyncio.sleep(seconds)
        return {
            "bytes": sum(viewer.received for viewer in self.viewers),
            "updates": sum(viewer.updates for viewer in self.viewers),
            "snapshots": [viewer.snapshots for viewer in self.viewers],
        }

    async def check(self, seconds: float) -> dict[str, Any]:
        """One viewer reads all of the table at each update.

        Tells how many rows were in a snapshot more than once, when (ms since 1970) each row was first seen,
        and the newest timestamp of the first and the last snapshot.
        """
        checker = self.viewers[0]
        end = time.monotonic() + seconds
        first_seen: dict[Row, int] = {}
        newest: list[int] = []
        twice = 0
        while (left := end - time.monotonic()) > 0:
            updates = checker.updates
            rows = await checker.whole_table()
            arrival = checker.arrived
            twice = max(twice, len(rows) - len(set(rows)))
            newest.append(max(timestamp for _, timestamp in rows))
            for row in rows:
                first_seen.setdefault(row, arrival)
            while checker.updates == updates and (left := end - time.monotonic()) > 0:
                await asyncio.sleep(min(0.002, left))
        return {"twice": twice, "first_seen": first_seen, "newest": (newest[0], newest[-1])}

    async def size(self) -> int:
        """How many rows are in the table now."""
        return await self.viewers[0].view.num_rows()

    async def table(self) -> list[Row]:
        """What is in the table now."""
        return await self.viewers[0].whole_table()

    async def probe(self, seconds: float) -> float:
        """The longest time (s) in which a viewer got no answer, though it kept asking."""
        longest = 0.0
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            asked = time.monotonic()
            await self.viewers[0].view.num_rows()
            longest = max(longest, time.monotonic() - asked)
            await asyncio.sleep(PROBE_INTERVAL)
        return longest


async def serve(pipe: Connection, url: str, count: int, are_different: bool) -> None:
    async with AsyncExitStack() as stack:
        viewers = [await stack.enter_async_context(Datagrid(url)) for _ in range(count)]
        for number, viewer in enumerate(viewers):
            await viewer.follow(number if are_different else None)
        watch = Watch(viewers)
        pipe.send("following")
        while True:
            name, *arguments = await asyncio.to_thread(pipe.recv)
            pipe.send(await getattr(watch, name)(*arguments))


def run(pipe: Connection, url: str, count: int, are_different: bool = False) -> None:
    """The child process: `count` viewers at `url`, which do what the pipe says until that is closed."""
    with contextlib.suppress(EOFError, OSError):
        asyncio.run(serve(pipe, url, count, are_different))


async def first_row(url: str) -> None:
    """Returns once a viewer, which tries to connect again and again, has got a row."""
    end = time.monotonic() + FIRST_ROW_TIMEOUT
    while time.monotonic() < end:
        with contextlib.suppress(Exception):  # nothing listens yet, or there is no table yet
            async with Datagrid(url) as viewer:
                await viewer.follow()
                while not viewer.snapshots:
                    await asyncio.sleep(0.001)
                return
        await asyncio.sleep(0.01)
    raise TimeoutError(f"no row from {url} within {FIRST_ROW_TIMEOUT} s")
