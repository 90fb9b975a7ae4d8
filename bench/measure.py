"""Measures what this design is worth against naive polling, and prints one table.

Everything happens on this machine, one after the other: the readers, the producers, how costs grow, and how
long it takes until something can be seen. `sh bench/run.sh --help` says what can be chosen.
"""

import argparse
import asyncio
import bisect
import itertools
import json
import os
import platform
import re
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "bench")]

import load  # noqa: E402
import psutil  # noqa: E402
import requests  # noqa: E402
import watch  # noqa: E402
from drawing import Panel, draw  # noqa: E402
from support import Process, answers, emulator, free_port, python, wait_for  # noqa: E402

from tdengine_perspective.children import start_child  # noqa: E402
from tdengine_perspective.mirror.reader import Reader  # noqa: E402
from tdengine_perspective.tdengine import TDengine, TDengineError, connect, server_version  # noqa: E402

NAIVE, OURS = "naive", "this"
SERVERS = {NAIVE: "bench/naive_server.py", OURS: "perspective_server.py"}
STALL = 5  # seconds
STARTS = 3
EMULATOR_ROWS = 2_000_000  # that it keeps of a supertable
CHROMIUM = Path("/usr/bin/chromium")
PACKAGES = ("perspective-python", "taos-ws-py", "tornado")


@dataclass(frozen=True)
class Plan:
    """How much is measured. Times in seconds."""

    viewers: tuple[int, ...] = (1, 20, 60)
    different: int = 20  # viewers no two of which have the same view
    follow: float = 12
    check: float = 5
    settle: float = 3
    quiet: float = 5
    batches: tuple[int, ...] = (30, 300, 10_000)
    produce: float = 4
    scale: float = 5
    scale_rows: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000)
    scale_meters: tuple[int, ...] = (10, 100, 1_000, 10_000)
    scale_windows: tuple[int, ...] = (1_000, 10_000, 100_000)
    scale_viewers: tuple[int, ...] = (1, 10, 30, 100)


QUICK = Plan(
    viewers=(1, 20),
    different=5,
    follow=4,
    check=2,
    quiet=3,
    produce=1.5,
    scale=2,
    scale_rows=(10_000, 100_000),
    scale_meters=(10, 100),
    scale_windows=(1_000, 10_000),
    scale_viewers=(1, 10),
)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def settings(tdengine: TDengine) -> dict[str, str]:
    """The environment of a program that is measured."""
    return {
        "TAOS_HOST": tdengine.host,
        "TAOS_PORT": str(tdengine.port),
        "TAOS_USER": tdengine.user,
        "TAOS_PASSWORD": tdengine.password,
        "TAOS_DATABASE": tdengine.database,
        "TAOS_DSN": "",
        "TAOS_TLS": "",
        "TAOS_CA": "",
        "TAOS_URL": f"taosws://{tdengine.user}:{tdengine.password}@{tdengine.url}",
    }


@contextmanager
def database(tdengine: TDengine) -> Iterator[TDengine]:
    """The same TDengine with a database of our own, dropped before and after."""
    own = replace(tdengine, database=f"bench_{os.getpid()}")
    drop(own)
    try:
        yield own
    finally:
        drop(own)


def drop(tdengine: TDengine) -> None:
    connection, _ = connect(tdengine)
    connection.execute(f"DROP DATABASE IF EXISTS {tdengine.database}")


def query(tdengine: TDengine, sql: str) -> list[tuple]:
    connection, _ = connect(tdengine)
    return list(connection.query(sql))


def processor_time(pid: int) -> float:
    """Seconds of processor time that the process and all its descendants, ended ones too, have used."""
    process = psutil.Process(pid)
    total = 0.0
    for member in [process, *process.children(recursive=True)]:
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


class Meter:
    """The processor time of some processes and of the machine from now on, as a share of one core."""

    def __init__(self, **pids: int | None):
        self.pids = {name: pid for name, pid in pids.items() if pid}
        self.began = time.monotonic()
        self.used = {name: processor_time(pid) for name, pid in self.pids.items()}
        psutil.cpu_percent()

    def shares(self) -> dict[str, float]:
        took = time.monotonic() - self.began
        machine = psutil.cpu_percent() / 100 * (os.cpu_count() or 1)
        own = {name: (processor_time(pid) - self.used[name]) / took for name, pid in self.pids.items()}
        return own | {"machine": machine}


def reader_of(server: int) -> int | None:
    """The id of the child in which a server reads TDengine, if it has one; its other child only waits."""
    children = psutil.Process(server).children()
    return max(children, key=lambda child: processor_time(child.pid)).pid if children else None


@contextmanager
def reader(kind: str, tdengine: TDengine, limit: int = 1000) -> Iterator[tuple[Process, str]]:
    """A server that shows the table; yields it and its WebSocket's address."""
    port = free_port()
    own = {"PERSPECTIVE_PORT": str(port), "PERSPECTIVE_LIMIT": str(limit)}
    with Process(python(SERVERS[kind]), settings(tdengine) | own) as process:
        try:
            wait_for(lambda: answers(port) or not process.running(), "the server", 60)
            assert process.running()
        except AssertionError:
            raise SystemExit(f"bench: {SERVERS[kind]} did not start:\n{process.output}") from None
        yield process, f"ws://127.0.0.1:{port}/websocket"


@contextmanager
def viewers(url: str, count: int, are_different: bool = False) -> Iterator[tuple["Viewers", int]]:
    """Viewers that follow the table; yields them and their process's id."""
    process, pipe = start_child(watch.run, url, count, are_different)
    try:
        assert pipe.recv() == "following"
        yield Viewers(pipe), process.pid
    finally:
        process.kill()
        process.join()
        pipe.close()


class Viewers:
    """What can be asked of the viewers' process: the methods of watch.Watch."""

    def __init__(self, pipe: Connection):
        self.pipe = pipe

    def ask(self, method: str, *arguments: float) -> Any:
        self.pipe.send((method, *arguments))
        return self.pipe.recv()


@contextmanager
def written_to(tdengine: TDengine) -> Iterator[Process]:
    """producer.py writes 1,000 rows/s, on a beat that is none of the readers'."""
    with Process(
        python("producer.py", "--interval", str(load.BEAT), "--rows", str(load.BEAT)), settings(tdengine)
    ) as process:
        wait_for(
            lambda: query(tdengine, f"SELECT COUNT(*) FROM {tdengine.table_sql}")[0][0] >= 1000, "1,000 rows"
        )
        yield process
        process.signal(15)
        process.wait()


def measure_reader(
    kind: str, tdengine: TDengine, count: int, plan: Plan, are_different: bool = False
) -> dict[str, Any]:
    """One server with so many viewers: first while rows come, then while nothing changes."""
    say(f"readers: {kind}, {count} {'different ' if are_different else ''}viewers")
    with ExitStack() as stack:
        writing = stack.enter_context(ExitStack())
        writing.enter_context(written_to(tdengine))
        server, url = stack.enter_context(reader(kind, tdengine))
        watched, watching = stack.enter_context(viewers(url, count, are_different))
        wait_for(lambda: watched.ask("size") >= 1000, "a full table")
        watched.ask("follow", 1.0)

        meter = Meter(server=server.pid, reading=reader_of(server.pid), viewers=watching)
        followed = watched.ask("follow", plan.follow)
        shares = meter.shares()
        checked = watched.ask("check", plan.check)
        writing.close()
        watched.ask("follow", plan.settle)  # until the last rows are through, deleted and late ones too
        quiet = watched.ask("follow", plan.quiet)
        shown = watched.ask("table")

    sql = f"SELECT location, CAST(ts AS BIGINT) FROM {tdengine.table_sql} WHERE ts >= NOW() - 10m ORDER BY ts"
    rows = query(tdengine, sql)
    ages = freshness([timestamp for _, timestamp in rows], followed["snapshots"])
    first, last = checked["newest"]
    # What is written meter by meter need not come in the order of its timestamps: not to the very end.
    to_see = [row for row in rows if first < row[1] < last - 1000]
    exact = sorted(checked["first_seen"][row] - row[1] for row in to_see if row in checked["first_seen"])
    return {
        "reader": kind,
        "viewers": count,
        "are_different": are_different,
        "processor": shares["server"],
        "reading_processor": shares.get("reading"),  # a part of it
        "viewers_processor": shares["viewers"],
        "machine_processor": shares["machine"],
        "bytes_per_second": followed["bytes"] / plan.follow,
        "updates_per_second": followed["updates"] / plan.follow / count,
        "freshness_p50": percentile(ages, 50),
        "freshness_p99": percentile(ages, 99),
        "freshness_row_by_row_p50": percentile(exact, 50),
        "freshness_row_by_row_p99": percentile(exact, 99),
        "rows_twice": max(checked["twice"], len(shown) - len(set(shown))),
        "rows_missing": len(set(rows[-1000:]) - set(shown)) if len(shown) else len(rows),
        "rows_never_seen": len(to_see) - len(exact),
        "updates_while_quiet": quiet["updates"] / count,
        "quiet_seconds": plan.quiet,
    }


def freshness(timestamps: list[int], snapshots: list[list[tuple[int, int]]]) -> list[int]:
    """How old (ms) each row was when each viewer first had it, sorted.

    A viewer's screen shows the newest rows alone. The older ones that came into the table together with them
    count from the same moment.
    """
    ages = []
    for seen in snapshots:
        for (_, before), (arrival, newest) in itertools.pairwise(seen):
            start, end = bisect.bisect_right(timestamps, before), bisect.bisect_right(timestamps, newest)
            ages += [arrival - timestamp for timestamp in timestamps[start:end]]
    return sorted(ages)


def percentile(values: list[int], percent: int) -> float | None:
    """Of sorted values."""
    return values[min(len(values) - 1, len(values) * percent // 100)] if values else None


class Proxy:
    """A port of its own that passes everything on to TDengine, until `stalled` is set."""

    def __init__(self, tdengine: TDengine):
        self.tdengine = tdengine
        self.flowing = threading.Event()
        self.flowing.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def address(self) -> TDengine:
        return replace(self.tdengine, host="127.0.0.1", port=self.listener.getsockname()[1])

    def accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection((self.tdengine.host, self.tdengine.port))
            except OSError:
                return
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self.copy, args=(source, target), daemon=True).start()

    def copy(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                self.flowing.wait()
                target.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, target):
                end.close()


def measure_stall(kind: str, tdengine: TDengine) -> dict[str, Any]:
    """The longest time that a viewer waits for an answer while TDengine stalls for STALL seconds."""
    say(f"readers: {kind}, TDengine stalls for {STALL} s")
    proxy = Proxy(tdengine)
    with (
        written_to(tdengine),
        reader(kind, proxy.address) as (_, url),
        viewers(url, 1) as (watched, _),
    ):
        wait_for(lambda: watched.ask("size") >= 1000, "a full table")
        watched.pipe.send(("probe", STALL + 3.0))
        time.sleep(0.5)
        proxy.flowing.clear()
        time.sleep(STALL)
        proxy.flowing.set()
        longest = watched.pipe.recv()
        again = watched.ask("follow", 3.0)["updates"]
        proxy.listener.close()
    return {"reader": kind, "longest_wait_seconds": longest, "updates_afterwards": again}


def measure_producer(
    kind: str, tdengine: TDengine, rows: int, seconds: float, emulator_pid: int | None = None
) -> dict[str, Any]:
    """A producer at full speed with so many rows a batch."""
    say(f"producers: {kind}, {rows:,} rows a batch")
    drop(tdengine)
    command = (
        python("bench/naive_producer.py", str(rows), str(seconds))
        if kind == NAIVE
        else python("producer.py", "--interval", "0", "--rows", str(rows))
    )
    with Process(command, settings(tdengine)) as process:
        wait_for(lambda: has_rows(tdengine), "the producer's first rows", 60)
        meter = Meter(producer=process.pid, emulator=emulator_pid)
        time.sleep(seconds if kind == OURS else seconds / 2)
        shares = meter.shares()
        if kind == OURS:
            process.signal(15)
        process.wait(60)
    done = re.search(r"wrote (\d+) rows in ([\d.]+) s", process.output)
    assert done, process.output
    written = int(done[1])
    there = query(tdengine, f"SELECT COUNT(*) FROM {tdengine.table_sql}")[0][0]
    return {
        "producer": kind,
        "rows_a_batch": rows,
        "rows_per_second": written / float(done[2]),
        "rows_written": written,
        "rows_there": there,
        "producer_processor": shares["producer"],
        "emulator_processor": shares.get("emulator"),
        "machine_processor": shares["machine"],
    }


def has_rows(tdengine: TDengine) -> bool:
    return query(tdengine, f"SELECT COUNT(*) FROM {tdengine.table_sql}")[0][0] > 0


def measure_scale(
    tdengine: TDengine, plan: Plan, rows: int = 100_000, meters: int = 10, window: int = 1000, count: int = 1
) -> dict[str, Any]:
    """The cost of polls and of the whole server with a table of that size, 1,000 rows/s coming in."""
    say(f"scale: {rows:,} rows of {meters:,} meters, window {window:,}, {count} viewers")
    drop(tdengine)
    load.fill(tdengine, rows, meters)
    writer, pipe = start_child(load.write_on, tdengine, meters)
    try:
        assert pipe.recv() == "writing"
        with reader(OURS, tdengine, window) as (server, url), viewers(url, count) as (watched, watching):
            wait_for(lambda: watched.ask("size") >= min(window, rows), "a full table", 60)
            watched.ask("follow", 1.0)
            meter = Meter(server=server.pid, viewers=watching)
            watched.pipe.send(("follow", plan.scale))
            new, whole = poll_times(tdengine, window, plan.scale)
            watched.pipe.recv()
            shares = meter.shares()
    finally:
        writer.kill()
        writer.join()
    return {
        "rows": rows,
        "meters": meters,
        "window": window,
        "viewers": count,
        "poll_ms": statistics.median(new) * 1000,
        "whole_window_ms": statistics.median(whole) * 1000,
        "processor": shares["server"],
        "machine_processor": shares["machine"],
    }


def poll_times(tdengine: TDengine, window: int, seconds: float) -> tuple[list[float], list[float]]:
    """Seconds that polls for new rows take, and reads of the whole window, at a 300 ms beat."""
    connection, _ = connect(tdengine)
    reading = Reader(tdengine, "12h", window)
    new, whole = [], []
    end = time.monotonic() + seconds
    while not new or time.monotonic() < end:
        due = reading.next_full_read
        began = time.monotonic()
        reading.poll(connection)
        took = time.monotonic() - began
        (new if reading.next_full_read == due else whole).append(took)
        time.sleep(max(0.0, 0.3 - took))
    return new, whole


def measure_scales(tdengine: TDengine, plan: Plan) -> dict[str, list[dict[str, Any]]]:
    return {
        "rows": [measure_scale(tdengine, plan, rows=rows) for rows in plan.scale_rows],
        "meters": [measure_scale(tdengine, plan, meters=meters) for meters in plan.scale_meters],
        "window": [measure_scale(tdengine, plan, window=window) for window in plan.scale_windows],
        "viewers": [measure_scale(tdengine, plan, count=count) for count in plan.scale_viewers],
    }


def draw_scales(scales: dict[str, list[dict[str, Any]]], about: dict[str, str]) -> str:
    labels = {
        "rows": "rows in the table",
        "meters": "meters",
        "window": "rows in the window",
        "viewers": "viewers",
    }
    lines = [("a poll, ms", "poll_ms", 1), ("the server, % of a core", "processor", 100)]
    return draw(
        [
            Panel(title, labels[name], [(point[name], point[value] * factor) for point in points])
            for title, value, factor in lines
            for name, points in scales.items()
        ],
        columns=len(scales),
        caption=f"Measured on {about['tdengine']}, {about['machine']}, {about['date'][:10]}",
    )


def measure_start(tdengine: TDengine) -> float:
    """Seconds from `sh run.sh` to the first row in a viewer."""
    drop(tdengine)
    port = free_port()
    own = settings(tdengine) | {"PERSPECTIVE_PORT": str(port)}
    began = time.monotonic()
    with Process(["sh", "run.sh", "--producer"], own) as process:
        asyncio.run(watch.first_row(f"ws://127.0.0.1:{port}/websocket"))
        took = time.monotonic() - began
        process.signal(15)
        process.wait()
    return took


def measure_page(tdengine: TDengine) -> float | None:
    """Seconds from opening the page in Chromium to its first drawn chart; None where there is no Chromium."""
    if not CHROMIUM.exists():
        say(f"page: there is no {CHROMIUM}, so its load is not measured")
        return None
    from playwright.sync_api import sync_playwright

    with written_to(tdengine), reader(OURS, tdengine) as (_, url), sync_playwright() as playwright:
        page_url = url.replace("ws:", "http:").removesuffix("websocket")
        wait_for(lambda: requests.get(page_url + "health", timeout=5).json()["rows"] == 1000, "1,000 rows")
        flags = ["--no-sandbox", "--disable-background-networking", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        began = time.monotonic()
        page.goto(page_url)
        # The page shows a viewer once it is drawn; the first is a grid, the others are charts.
        page.wait_for_selector("section:not(:first-child) perspective-viewer:not(.arriving)", timeout=60_000)
        took = time.monotonic() - began
        browser.close()
    return took


@dataclass(frozen=True)
class Line:
    """A line of the table; `holds` is None where there is no target."""

    what: str
    naive: str
    ours: str
    target: str = ""
    holds: bool | None = None


def reader_lines(readers: list[dict[str, Any]]) -> list[Line]:
    lines = []
    pairs = [
        {reader["reader"]: reader for reader in alike}
        for _, alike in itertools.groupby(
            readers, lambda reader: (reader["are_different"], reader["viewers"])
        )
    ]
    for pair in pairs:
        naive, ours = pair[NAIVE], pair[OURS]
        count = ours["viewers"]
        who = "1 viewer" if count == 1 else f"{count} viewers"
        if ours["are_different"]:
            shares = (f"{reader['processor']:.1%}" for reader in (naive, ours))
            lines.append(Line(f"{count} viewers, each with another view: processor time, of a core", *shares))
            continue
        part = 8 if count == 1 else 3
        p50, p99 = (175, 340) if count <= 20 else (220, 400)
        lines += [
            Line(
                f"{who}: processor time, of a core",
                f"{naive['processor']:.1%}",
                f"{ours['processor']:.1%}, of it reading {ours['reading_processor']:.1%}",
                f"≤ 1/{part} of naive",
                ours["processor"] <= naive["processor"] / part,
            ),
            Line(
                f"{who}: bytes to viewers, a second",
                *(f"{pair[k]['bytes_per_second']:,.0f}" for k in SERVERS),
            ),
            Line(
                f"{who}: freshness p50, p99, ms",
                *(f"{pair[kind]['freshness_p50']}, {pair[kind]['freshness_p99']}" for kind in SERVERS),
                f"≤ {p50}, ≤ {p99}",
                ours["freshness_p50"] <= p50 and ours["freshness_p99"] <= p99,
            ),
            Line(
                f"{who}: rows twice, missing, never seen",
                *(
                    ", ".join(str(pair[k][f"rows_{what}"]) for what in ("twice", "missing", "never_seen"))
                    for k in SERVERS
                ),
                "0, 0, 0",
                not (ours["rows_twice"] or ours["rows_missing"] or ours["rows_never_seen"]),
            ),
            Line(
                f"{who}: updates in {ours['quiet_seconds']:g} s while nothing changed, a viewer",
                *(f"{pair[kind]['updates_while_quiet']:g}" for kind in SERVERS),
                "0",
                ours["updates_while_quiet"] == 0,
            ),
        ]
    return lines


def producer_lines(producers: list[dict[str, Any]]) -> list[Line]:
    lines = []
    for rows in sorted({producer["rows_a_batch"] for producer in producers}):
        pair = {one["producer"]: one for one in producers if one["rows_a_batch"] == rows}
        rates = {kind: pair[kind]["rows_per_second"] for kind in SERVERS}
        target, holds = {
            300: ("≥ 10 × naive", rates[OURS] >= 10 * rates[NAIVE]),
            10_000: ("≥ 500,000", rates[OURS] >= 500_000),
        }.get(rows, ("", None))
        lines += [
            Line(
                f"{rows:,} rows a batch: rows/s written",
                f"{rates[NAIVE]:,.0f}",
                f"{rates[OURS]:,.0f}{while_the_emulator(pair[OURS])}",
                target,
                holds,
            ),
            Line(
                f"{rows:,} rows a batch: of these there afterwards",
                *(f"{min(1.0, pair[k]['rows_there'] / pair[k]['rows_written']):.1%}" for k in SERVERS),
                "all",
                # A batch on its way when the producer is stopped is there, but not counted as written.
                pair[OURS]["rows_there"] >= pair[OURS]["rows_written"],
            ),
        ]
    return lines


def while_the_emulator(produced: dict[str, Any]) -> str:
    """How busy the emulator was meanwhile: with a whole core it is what bounds the producer."""
    share = produced["emulator_processor"]
    return f"; emulator {share:.0%} of a core" if share else ""


def lines_of(result: dict[str, Any]) -> list[Line]:
    stalls = {stall["reader"]: f"{stall['longest_wait_seconds']:.2f}" for stall in result["stalls"]}
    start = statistics.median(result["start_seconds"])
    lines = [
        *reader_lines(result["readers"]),
        Line(f"TDengine stalls for {STALL} s: a viewer's longest wait, s", stalls[NAIVE], stalls[OURS]),
        *producer_lines(result["producers"]),
        Line("start: `sh run.sh` to the first row in a viewer, s", "", f"{start:.1f}", "≤ 3", start <= 3),
    ]
    if result["page_seconds"]:
        page = statistics.median(result["page_seconds"])
        lines.append(Line("page: opened to the first drawn chart in Chromium, s", "", f"{page:.1f}"))
    return lines


def table(lines: list[Line]) -> str:
    """The lines as a Markdown table."""
    marks = {True: "holds", False: "missed", None: ""}
    head = "| | naive | this | target | |\n| --- | ---: | ---: | --- | --- |\n"
    return head + "".join(
        f"| {line.what} | {line.naive} | {line.ours} | {line.target} | {marks[line.holds]} |\n"
        for line in lines
    )


@contextmanager
def find_tdengine() -> Iterator[tuple[TDengine, str, int | None]]:
    """The TDengine at TAOS_HOST:TAOS_PORT where one answers, else an emulator; what it is, in words; and the
    emulator's process id.
    """
    get = os.environ.get
    tdengine = TDengine(
        get("TAOS_HOST") or "localhost",
        int(get("TAOS_PORT") or 6041),
        get("TAOS_USER") or "root",
        get("TAOS_PASSWORD") or "taosdata",
        "",
        "meters",
    )
    with ExitStack() as stack:
        pid = None
        try:
            name = f"TDengine {server_version(tdengine)} at {tdengine.url}"
        except TDengineError as error:
            say(f"bench: {error} Measuring on the emulator.")
            tdengine = replace(tdengine, host="localhost", port=free_port())
            pid = stack.enter_context(emulator(tdengine.port)).pid
            name = "the emulator (not TDengine itself)"
        yield tdengine, name, pid


def measure(tdengine: TDengine, plan: Plan, emulator_pid: int | None) -> dict[str, Any]:
    """Everything but the drawings."""
    cases = [*((count, False) for count in plan.viewers), (plan.different, True)]
    readers = [
        measure_reader(kind, tdengine, count, plan, are_different)
        for count, are_different in cases
        for kind in SERVERS
    ]
    stalls = [measure_stall(kind, tdengine) for kind in SERVERS]
    producers = [
        measure_producer(kind, tdengine, rows, plan.produce, emulator_pid)
        for rows in plan.batches
        for kind in SERVERS
    ]
    drop(tdengine)
    say("start and page")
    start = [measure_start(tdengine) for _ in range(STARTS)]
    page = [took for _ in range(STARTS) if (took := measure_page(tdengine))]
    return {
        "readers": readers,
        "stalls": stalls,
        "producers": producers,
        "start_seconds": start,
        "page_seconds": page,
        "scale": measure_scales(tdengine, plan),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="sh bench/run.sh",
        description="Measure this design against naive polling: about seven minutes, one table. Uses the "
        "TDengine at TAOS_HOST:TAOS_PORT (localhost:6041) where one answers, else the emulator.",
    )
    parser.add_argument("--quick", action="store_true", help="measure less: about three minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured to FILE")
    arguments = parser.parse_args()
    with find_tdengine() as (found, name, emulator_pid), database(found) as tdengine:
        say(f"bench: measuring on {name}")
        plan = QUICK if arguments.quick else Plan()
        if emulator_pid:
            plan = replace(plan, scale_rows=tuple(min(rows, EMULATOR_ROWS) for rows in plan.scale_rows))
        result = measure(tdengine, plan, emulator_pid)
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "tdengine": name,
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }
    lines = lines_of(result)
    if arguments.json:
        whole = {**about, **result, "table": [vars(line) for line in lines]}
        arguments.json.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    if not arguments.quick:
        kind = "emulator" if "emulator" in name else "tdengine"
        (ROOT / "imgs" / f"scale-{kind}.svg").write_text(draw_scales(result["scale"], about))
    print(", ".join(f"{key} {value}" for key, value in about.items()), end="\n\n")
    print(table(lines))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (AssertionError, TDengineError) as error:
        raise SystemExit(f"bench: {error}") from None
