"""Measures what it costs a server to keep latest rows, many tables, and a query's result; prints one table.

    venv/bin/python bench/tables.py [--quick]

Uses the TDengine at TAOS_HOST:TAOS_PORT where one answers, else the emulator, in a database of its own that
it drops afterwards.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "bench")]

import load  # noqa: E402
import psutil  # noqa: E402
from measure import Meter, database, drop, find_tdengine, freshness, percentile, say, settings  # noqa: E402
from support import Process, free_port, python, wait_for  # noqa: E402
from viewers import Viewer  # noqa: E402

from tdengine_perspective.children import start_child  # noqa: E402
from tdengine_perspective.tdengine import TDengine, connect  # noqa: E402

RESULT_ROWS = 10_000
CHANGED_ROWS = 100  # of these, a second
TDENGINES = ("taosd", "taosadapter")  # the names of its processes

LATEST = """
[meters_latest]
table = "{database}.meters"
rows = "latest"
"""
RESULT = """
[result]
query = "SELECT ts, current, voltage FROM {database}.meters"
key = ["ts"]
refresh_rate = 1000
"""
MANY = "".join(
    f"""
[table_{number}]
table = "{{database}}.d_bind_{number}"
rows = "{"latest" if number % 4 == 3 else "newest"}"
"""
    for number in range(16)
)


@dataclass(frozen=True)
class Case:
    what: str
    tables: str  # the file
    shown: str  # the table that a viewer follows
    meters: int
    rows: int
    writes: Any  # the child that writes on


def overwrite(pipe: Connection, tdengine: TDengine, _: int) -> None:
    """The child process: CHANGED_ROWS of the rows have another voltage, each second."""
    connection, _ = connect(tdengine)
    times = [at for (at,) in connection.query(f"SELECT CAST(ts AS BIGINT) FROM {tdengine.table_sql}")]
    pipe.send("writing")
    voltage = 0
    with contextlib.suppress(OSError):
        while not pipe.poll(1):
            first = voltage * CHANGED_ROWS % len(times)
            voltage += 1
            values = " ".join(f"({at}, 1.5, {voltage}, 0.25)" for at in times[first : first + CHANGED_ROWS])
            connection.execute(f"INSERT INTO {tdengine.database}.d_bind_0 VALUES {values}")


CASES = [
    Case("latest row of 10,000 meters", LATEST, "meters_latest", 10_000, 100_000, load.write_on),
    Case("16 tables, each of a meter", MANY, "table_0", 16, 160_000, load.write_on),
    Case("a result of 10,000 rows, 1 % changed a second", RESULT, "result", 1, RESULT_ROWS, overwrite),
]


@contextmanager
def serving(tdengine: TDengine, tables: str) -> Iterator[tuple[Process, int]]:
    """A server that keeps the tables, all of them live; yields its process and port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tables.toml"
        file.write_text(tables.format(database=tdengine.database))
        own = {"PERSPECTIVE_PORT": str(port), "PERSPECTIVE_TABLES": str(file)}
        with Process(python("perspective_server.py"), settings(tdengine) | own) as process:

            def are_live() -> bool:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
                        return all(each["status"] == "live" for each in json.load(answer)["tables"].values())
                except urllib.error.HTTPError:
                    return False

            wait_for(are_live, f"live tables of {process.output}", 120)
            yield process, port


@contextmanager
def written(case: Case, tdengine: TDengine) -> Iterator[None]:
    writer, pipe = start_child(case.writes, tdengine, case.meters)
    try:
        assert pipe.recv() == "writing"
        yield
    finally:
        writer.kill()
        writer.join()


class Follower:
    """A viewer that asks for the newest row at each update."""

    def __init__(self, port: int, table: str):
        self.url = f"ws://127.0.0.1:{port}/websocket"
        self.table = table
        self.updates = 0
        self.snapshots: list[tuple[int, int]] = []  # (when it came, its newest timestamp), ms since 1970

    async def follow(self, seconds: float) -> None:
        async with Viewer(self.url) as viewer:
            table = await viewer.client.open_table(self.table)
            key = next(name for name, kind in (await table.schema()).items() if kind == "datetime")
            view = await table.view(columns=[key], sort=[[key, "desc"]])

            looking: set[asyncio.Future] = set()

            async def look() -> None:
                newest = (await view.to_columns(end_row=1))[key][0]
                self.snapshots.append((time.time_ns() // 1_000_000, newest))

            def hear(*_: object) -> None:
                self.updates += 1
                looking.add(asyncio.ensure_future(look()))

            await view.on_update(hear)
            await asyncio.sleep(seconds)


def follow(port: int, table: str, seconds: float) -> Follower:
    follower = Follower(port, table)
    asyncio.run(follower.follow(seconds))
    return follower


def memory(pid: int) -> float:
    """MB that the server has for itself, and its readers."""
    process = psutil.Process(pid)
    return sum(each.memory_full_info().uss for each in [process, *process.children(recursive=True)]) / (
        1 << 20
    )


def tdengine_pids() -> dict[str, int]:
    return {
        each.info["name"]: each.pid
        for each in psutil.process_iter(["name"])
        if each.info["name"] in TDENGINES
    }


def measure(case: Case, tdengine: TDengine, seconds: float, emulator_pid: int | None) -> list[str]:
    """A line of the table."""
    say(case.what)
    drop(tdengine)
    load.fill(tdengine, case.rows, case.meters)
    with serving(tdengine, case.tables) as (server, port):
        with written(case, tdengine):
            follow(port, case.shown, 2)
            before = memory(server.pid)
            pids = {"emulator": emulator_pid} if emulator_pid else tdengine_pids()
            meter = Meter(server=server.pid, **pids)
            followed = follow(port, case.shown, seconds)
            shares = meter.shares()
            after = memory(server.pid)
        follow(port, case.shown, 5)
        quiet = follow(port, case.shown, 5)
    seen = followed.snapshots
    ages = freshness(list(range(seen[0][1], seen[-1][1])), [seen]) if case.writes is load.write_on else []
    return [
        case.what,
        f"{shares['server']:.1%}",
        f"{sum(shares[name] for name in pids):.1%}",
        f"{percentile(ages, 50)}, {percentile(ages, 99)}" if ages else "",
        f"{followed.updates / seconds:.1f}",
        str(quiet.updates),
        f"{before:.0f}, {after:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure several tables, latest rows and a query's result.")
    parser.add_argument("--quick", action="store_true", help="measure each for 10 s instead of 60 s")
    seconds = 10 if parser.parse_args().quick else 60
    head = (
        "of a core: the server and its readers",
        "TDengine",
        "freshness p50, p99, ms",
        "updates a second",
        "updates in 5 s without a change",
        "MB before, after",
    )
    with find_tdengine() as (found, name, emulator_pid), database(found) as tdengine:
        lines = [measure(case, tdengine, seconds, emulator_pid) for case in CASES]
    print(f"{name}, {seconds} s each\n\n| | {' | '.join(head)} |\n| --- |{' ---: |' * len(head)}")
    for line in lines:
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main()
