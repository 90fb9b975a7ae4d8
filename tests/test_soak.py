"""Nothing leaks: memory, files and processes stay the same over many polls with viewers that come and go.

TEST_SOAK_POLLS=12000 runs the long form.
"""

import asyncio
import os
import random
import statistics
from typing import Any

import psutil
from conftest import TDengine
from support import Process, python, wait_for
from test_end_to_end import Server, serving
from viewers import Viewer

POLLS = int(os.environ.get("TEST_SOAK_POLLS", 1500))
LONG = POLLS >= 10_000
GROWTH = 1.05 if LONG else 1.15  # the short form ends before all caches and pools are full

Sample = dict[str, tuple[int, int, int]]  # process: resident memory (bytes), files, children


def sample(processes: dict[str, psutil.Process]) -> Sample:
    """What each process, and each of its children, uses."""
    found = {}
    for name, process in processes.items():
        for child in (process, *process.children(recursive=True)):
            if "resource_tracker" not in " ".join(child.cmdline()):
                role = name if child == process else f"{name}'s child"
                found[role] = (child.memory_info().rss, child.num_fds(), len(child.children(recursive=True)))
    return found


async def come_look_and_go(server: Server, chance: random.Random) -> None:
    """A viewer as the page is: four views, of which two are grouped, and some answers to updates."""
    async with Viewer(f"ws://127.0.0.1:{server.port}/websocket") as viewer:
        table = await viewer.client.open_table("meters_values")
        shapes: list[dict[str, Any]] = [
            {"sort": [["timestamp", "desc"]]},
            {"group_by": ["location"], "aggregates": {"current": "avg"}},
            {"group_by": ["timestamp"], "split_by": ["location"], "columns": ["current"]},
            {"columns": ["timestamp", "voltage"]},
        ]
        views = [await table.view(**shape) for shape in shapes]
        updated = asyncio.Event()
        await views[0].on_update(lambda *_: updated.set())
        for _ in range(chance.randint(2, 6)):
            await asyncio.wait_for(updated.wait(), 30)
            updated.clear()
            for view in views:
                await view.to_columns(start_row=0, end_row=30)
        if chance.random() < 0.5:  # some leave without a word
            for view in views:
                await view.delete()


async def soak(server: Server, processes: dict[str, psutil.Process]) -> list[Sample]:
    """A sample every 1/50 of the polls, while two viewers at a time come and go."""
    chance = random.Random(1)
    over = asyncio.Event()

    async def visitors() -> None:
        while not over.is_set():
            await come_look_and_go(server, chance)

    guests = [asyncio.create_task(visitors()) for _ in range(2)]
    samples: list[Sample] = []
    warm_up = POLLS // 3  # allocators and thread pools fill with the first hundreds of viewers
    start = server.health()["polls"] + warm_up
    while (polls := (await asyncio.to_thread(server.health))["polls"] - start) < POLLS:
        if polls >= len(samples) * POLLS / 50:
            samples.append(await asyncio.to_thread(sample, processes))
        await asyncio.sleep(0.02)
    over.set()
    await asyncio.gather(*guests)
    return samples


def test_memory_files_and_processes_stay_the_same(tdengine: TDengine, database: str) -> None:
    settings = {**tdengine.settings(database), "PERSPECTIVE_REFRESH_RATE": "10"}
    with (
        Process(python("producer.py", "--interval", "20", "--rows", "30"), settings) as producer,
        serving(settings) as server,
    ):
        server.wait_until_live(rows=1000)
        processes = {
            "the producer": psutil.Process(producer.pid),
            "the server": psutil.Process(server.process.pid),
        }
        samples = asyncio.run(soak(server, processes))
        health = server.health()
        assert health["reader_restarts"] == 0, health
        wait_for(lambda: server.health()["viewers"] == 0, "the viewers to be gone")
    tenth = len(samples) // 10
    for role in samples[0]:
        memory, files, children = zip(*(each[role] for each in samples), strict=True)
        second, last = statistics.mean(memory[tenth : 2 * tenth]), statistics.mean(memory[-tenth:])
        print(f"{role}: {second / 2**20:.1f} MB, at the end {last / 2**20:.1f} MB, {files[-1]} files")
        assert last <= second * GROWTH, f"{role} grows"
        # Each viewer that is there at the moment has a connection.
        assert max(files[-tenth:]) <= max(files[tenth : 2 * tenth]) + 2, f"{role} leaves files open"
        assert len(set(children)) == 1, f"{role} has now more, now fewer processes"
