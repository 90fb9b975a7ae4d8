"""Measures looking back as rows grow: from the choice of a span to its viewers drawn, and each SELECT.

    venv/bin/python bench/history.py [--quick] [--json FILE] [--rows N,N …]

Beside it: reading the same rows into a Perspective table and grouping them there, the memory of those who
answer over many views, and how fresh live rows are meanwhile. Uses the TDengine at TAOS_HOST:TAOS_PORT where
one answers, else the emulator, in a database of its own that it drops afterwards.
"""

import argparse
import contextlib
import itertools
import json
import os
import platform
import random
import re
import resource
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "bench")]

import load  # noqa: E402
import lookers  # noqa: E402
import perspective  # noqa: E402
import psutil  # noqa: E402
import taosws  # noqa: E402
from drawing import Growth, draw_growth  # noqa: E402
from measure import (  # noqa: E402
    CHROMIUM,
    EMULATOR_ROWS,
    OURS,
    PACKAGES,
    database,
    drop,
    find_tdengine,
    freshness,
    percentile,
    query,
    reader,
    say,
    viewers,
)
from support import wait_for  # noqa: E402

from producer import LOCATIONS  # noqa: E402
from tdengine_perspective.children import start_child  # noqa: E402
from tdengine_perspective.engine import prepare_engine  # noqa: E402
from tdengine_perspective.gate.protocol import Response  # noqa: E402
from tdengine_perspective.history.arrow import to_arrow  # noqa: E402
from tdengine_perspective.history.handler import History  # noqa: E402
from tdengine_perspective.history.messages import Answered  # noqa: E402
from tdengine_perspective.history.sessions import Session  # noqa: E402
from tdengine_perspective.history.spans import Span  # noqa: E402
from tdengine_perspective.mirror.reading import learn_columns  # noqa: E402
from tdengine_perspective.mirror.schema import Schema  # noqa: E402
from tdengine_perspective.tdengine import DRIVER_OPTIONS, TDengine, TDengineError, connect  # noqa: E402

METERS = 100
STEP = 1000  # ms from row to row of a meter
BLOCK = 1000  # rows of a meter bound at once, of so many meters:
TOGETHER = 10
TABLE = "meters_history"
FIRST = "5m"  # the span that a page looks back at first, for which its server starts processes
SPANS = {"all": "All", "1h": "1 h"}
PIECE = 100_000  # rows that are read into a Perspective table at once
LOOKING = 4  # viewers that look back while others look at live rows
FEW_VIEWS = 2_000  # after which memory counts
PATIENCE = 180  # seconds
WIDE = {"width": 1280, "height": 720}
FLAGS = ["--no-sandbox", "--disable-background-networking", "--enable-unsafe-swiftshader"]

# From the choice to the moment that the page says all viewers show it; ms.
CHOOSE = """(key) => new Promise((shown) => {
  const status = document.querySelector("#status");
  let isAsking = false;
  let began = 0;
  new MutationObserver((_, observer) => {
    isAsking ||= status.dataset.status === "asking";
    if (!isAsking || status.dataset.status !== "past") return;
    observer.disconnect();
    requestAnimationFrame(() => shown(performance.now() - began));
  }).observe(status, { attributeFilter: ["data-status"] });
  began = performance.now();
  document.querySelector(`#times [data-time="${key}"]`).click();
})"""
CHANGING = "section > perspective-viewer:is(.arriving, .leaving)"


@dataclass(frozen=True)
class Plan:
    """How much is measured. Times in seconds."""

    rows: tuple[int, ...] = (100_000, 1_000_000, 10_000_000, 20_000_000, 100_000_000)
    times: int = 3  # that each is measured; the median counts
    most_read: int = 20_000_000  # rows that are read into a Perspective table
    busy_rows: int = 20_000_000  # while viewers look back over which live rows are watched
    rounds: int = 10  # of these, alone and beside the others by turns
    follow: float = 12
    views: int = 10_000  # over which memory is watched
    at_once: int = 500


QUICK = Plan(
    rows=(10_000, 100_000),
    times=1,
    busy_rows=100_000,
    rounds=2,
    follow=4,
    views=4_000,
    at_once=200,
)


def fill(tdengine: TDengine, rows: int) -> float:
    """Make a table of so many rows, evenly over the meters, up to now. Returns the seconds that took."""
    drop(tdengine)
    connection, statement = load.open_table(tdengine)
    chance = random.Random(rows)
    each = rows // METERS
    block = min(each, BLOCK)
    readings = [
        [
            taosws.floats_to_column([75 * chance.random() for _ in range(block)]),
            taosws.ints_to_column([200 + chance.randrange(30) for _ in range(block)]),
            taosws.floats_to_column([105 * chance.random() for _ in range(block)]),
        ]
        for _ in range(TOGETHER)
    ]
    start = int(time.time() * 1000) - each * STEP
    began = time.monotonic()
    for first in range(0, each - each % block, block):
        moments = range(start + first * STEP, start + (first + block) * STEP, STEP)
        times = taosws.millis_timestamps_to_column(list(moments))
        for meter in range(0, METERS, TOGETHER):
            statement.bind(
                [
                    taosws.stmt2_bind_param_view(
                        f"d_bind_{meter + place}",
                        [
                            taosws.int_to_tag((meter + place) // len(LOCATIONS)),
                            taosws.varchar_to_tag(LOCATIONS[(meter + place) % len(LOCATIONS)]),
                        ],
                        [times, *readings[place]],
                    )
                    for place in range(TOGETHER)
                ]
            )
            statement.execute()
    took = time.monotonic() - began
    with contextlib.suppress(taosws.Error):  # the emulator keeps nothing back
        connection.execute(
            f"FLUSH DATABASE {tdengine.database}"
        )  # as what is older than a moment is: on disk
    return took


@dataclass
class Seen:
    """What a page showed: how long each span took, and what it asked for."""

    seconds: dict[str, float] = field(default_factory=dict)
    frames: dict[str, list[bytes]] = field(default_factory=dict)


def look_by_page(tdengine: TDengine, browser: Any) -> Seen:
    """From the choice of each span, one after the other, to four viewers drawn, by a server just started."""
    seen = Seen()

    def listen(socket: Any) -> None:
        if found := re.search(r"/history\?time=(\w+)", socket.url):
            frames = seen.frames.setdefault(found[1], [])
            socket.on("framesent", lambda frame: frames.append(bytes(frame)))

    with reader(OURS, tdengine) as (_, url):
        page = browser.new_page(viewport=WIDE)
        page.set_default_timeout(PATIENCE * 1000)
        page.on("websocket", listen)
        page.goto(url.replace("ws:", "http:").removesuffix("websocket"))
        page.wait_for_selector("#status[data-status=live]")
        for key in (FIRST, *SPANS):
            wait_for(lambda: page.locator(CHANGING).count() == 0, "viewers that have gone", PATIENCE)
            seen.seconds[key] = page.evaluate(CHOOSE, key) / 1000
        page.close()
    return seen


def connect_patiently(tdengine: TDengine) -> taosws.Connection:
    connection, _ = connect(tdengine, {**DRIVER_OPTIONS, "read_timeout": str(PATIENCE)})
    return connection


class Timed:
    """In the place of Questions: asks one SELECT after the other, and notes what each takes."""

    def __init__(self, tdengine: TDengine):
        self.tdengine = tdengine
        self.connection = connect_patiently(tdengine)
        self.lock = threading.Lock()  # views are worked at side by side
        self.answers: dict[str, list[tuple]] = {}
        self.seconds: dict[str, list[float]] = {}

    def come(self, viewer: int) -> None:
        pass

    leave = come

    def learn(self, _: int) -> Schema:
        with self.lock:
            return learn_columns(self.connection, self.tdengine, as_bytes=False)[1]

    def ask(self, viewer: int, sql: str, keeps: float) -> tuple[list[tuple], None]:
        with self.lock:
            if sql not in self.answers:
                self.time(sql)
        return self.answers[sql], None

    def time(self, sql: str) -> None:
        began = time.monotonic()
        self.answers[sql] = list(self.connection.query(sql))
        self.seconds.setdefault(sql, []).append(time.monotonic() - began)


def selects_of(tdengine: TDengine, key: str, frames: list[bytes], times: int) -> list[dict[str, Any]]:
    """The SELECTs that a page's requests lead to, and what each takes by itself: query and fetch."""
    timed = Timed(tdengine)
    answered: list[int] = []

    def hear(message: object) -> None:
        if isinstance(message, Answered):
            assert not message.refusal, message.refusal
            answered.append(message.number)

    session = Session(1, TABLE, tdengine.table_sql, Span.parse(key), timed, History, hear)
    for number, frame in enumerate(frames):
        session.handle(number, frame)
    wait_for(lambda: len(answered) == len(frames), "the answers", PATIENCE)
    session.close()
    for sql in list(timed.seconds):
        for _ in range(times - 1):
            timed.time(sql)
    return [
        {"sql": sql, "rows": len(timed.answers[sql]), "seconds": statistics.median(seconds)}
        for sql, seconds in timed.seconds.items()
    ]


def read_and_group(pipe: Connection, tdengine: TDengine, frames: list[bytes]) -> None:
    """The child process: read all rows into a Perspective table, and make the page's views there."""
    prepare_engine()
    connection = connect_patiently(tdengine)
    _, schema = learn_columns(connection, tdengine, as_bytes=False)
    columns = schema.perspective
    server = perspective.Server()
    table = server.new_local_client().table(columns, name=TABLE)
    began = time.monotonic()
    result = iter(connection.query(f"SELECT {schema.select} FROM {tdengine.table_sql}"))
    while rows := list(itertools.islice(result, PIECE)):
        times, _, *others = zip(*rows, strict=True)
        content = list(zip(columns, columns.values(), (times, *others), strict=True))
        table.update(to_arrow(content, len(rows)))
    size = table.size()
    read = time.monotonic()
    answers: list[bytes] = []
    session = server.new_session(answers.append)
    for frame in frames:
        session.handle_request(frame)
    grouped = time.monotonic()
    errors = [answer.error.message for answer in map(Response.FromString, answers) if answer.error.message]
    pipe.send(
        {
            "rows": size,
            "read_seconds": read - began,
            "group_seconds": grouped - read,
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,  # bytes, at most
            "errors": errors,
        }
    )


def measure_reading(tdengine: TDengine, frames: list[bytes]) -> dict[str, Any]:
    process, pipe = start_child(read_and_group, tdengine, frames)
    try:
        return pipe.recv()
    finally:
        process.kill()
        process.join()


def measure_rows(tdengine: TDengine, rows: int, plan: Plan, browser: Any) -> dict[str, Any]:
    """Everything about a table of so many rows."""
    say(f"{rows:,} rows: writing")
    wrote = fill(tdengine, rows)
    ((there,),) = query(tdengine, f"SELECT COUNT(*) FROM {tdengine.table_sql}")
    say(f"{rows:,} rows: looking back on the page")
    seen = [look_by_page(tdengine, browser) for _ in range(plan.times)]
    say(f"{rows:,} rows: each SELECT")
    selects = {key: selects_of(tdengine, key, seen[-1].frames[key], plan.times) for key in SPANS}
    reading = None
    if rows <= plan.most_read:
        say(f"{rows:,} rows: reading them into a Perspective table")
        reading = measure_reading(tdengine, seen[-1].frames["all"])
    return {
        "rows": there,
        "write_seconds": wrote,
        "drawn_seconds": {key: [each.seconds[key] for each in seen] for key in (FIRST, *SPANS)},
        "selects": selects,
        "reading": reading,
    }


@contextmanager
def looking(url: str, rows: int) -> Iterator[Connection]:
    """Viewers that look back at all; yields their process's pipe."""
    url = url.replace("/websocket", "/history?time=all")
    process, pipe = start_child(lookers.run, url, LOOKING, step_for(rows))
    try:
        assert pipe.recv() == "looking"
        yield pipe
    finally:
        process.kill()
        process.join()
        pipe.close()


def step_for(rows: int) -> int:
    """Of a chart of so many rows, ms: some 200 steps."""
    return max(1000, rows // METERS * STEP // 200 // 1000 * 1000)


def ask(pipe: Connection, method: str, *arguments: float) -> Any:
    pipe.send((method, *arguments))
    return pipe.recv()


def measure_memory(tdengine: TDengine, rows: int, plan: Plan) -> dict[str, Any]:
    """The memory of those who answer, while viewers make one view after the other."""
    say(f"memory over {plan.views:,} views")
    samples: list[dict[str, int]] = []
    with reader(OURS, tdengine) as (server, url), looking(url, rows) as pipe:
        answering, asking = answering_processes(server.pid)
        began = time.monotonic()
        for made in range(plan.at_once, plan.views + 1, plan.at_once):
            refused = ask(pipe, "make", plan.at_once)
            memory = {"views": made, "answering": own_memory(answering)}
            samples.append(memory | {"asking": max(map(own_memory, asking))})
    return {"samples": samples, "refused": refused, "seconds": time.monotonic() - began}


def answering_processes(server: int) -> tuple[psutil.Process, list[psutil.Process]]:
    """The process that answers those who look back, and the workers that ask TDengine for it."""
    for child in psutil.Process(server).children():
        workers = [each for each in child.children() if "spawn_main" in " ".join(each.cmdline())]
        if workers:
            return child, workers
    raise AssertionError("nobody looks back")


def own_memory(process: psutil.Process) -> int:
    return process.memory_full_info().uss


def measure_live(tdengine: TDengine, rows: int, plan: Plan) -> dict[str, Any]:
    """How fresh live rows are, alone and while viewers look back at everything, by turns."""
    say(f"live rows beside {LOOKING} viewers that look back over {rows:,}")
    ages: dict[str, list[int]] = {"alone": [], "beside": []}
    looks: list[dict[str, float]] = []
    writer, pipe = start_child(load.write_on, tdengine, METERS)
    try:
        assert pipe.recv() == "writing"
        with (
            reader(OURS, tdengine) as (_, url),
            viewers(url, 1) as (watched, _),
            looking(url, rows) as back,
        ):
            wait_for(lambda: watched.ask("size") >= 1000, "a full table")
            wait_for(lambda: len(watched.ask("follow", 1.0)["snapshots"][0]) > 1, "live rows", PATIENCE)
            ask(back, "look_on", 1.0)
            while len(looks) < plan.rounds or not all(ages.values()):
                assert len(looks) < 10 * plan.rounds, "no live row came"
                for which, seen in ages.items():
                    watched.ask("follow", 1.0)
                    began = int(time.time() * 1000)
                    if which == "beside":
                        back.send(("look_on", plan.follow))
                    followed = watched.ask("follow", plan.follow)
                    if which == "beside":
                        looks.append(back.recv())
                    seen += freshness(timestamps_since(tdengine, began - 5000), followed["snapshots"])
    finally:
        writer.kill()
        writer.join()
    fresh = {
        which: {f"p{part}": percentile(sorted(seen), part) for part in (50, 99)}
        for which, seen in ages.items()
    }
    return {
        "rows": rows,
        **fresh,
        "dashboards": sum(each["dashboards"] for each in looks),
        "seconds_each": statistics.mean(each["seconds_each"] for each in looks),
        "refused": looks[-1]["refused"],
    }


def timestamps_since(tdengine: TDengine, began: int) -> list[int]:
    sql = f"SELECT CAST(ts AS BIGINT) FROM {tdengine.table_sql} WHERE ts >= {began} ORDER BY ts"
    return [timestamp for (timestamp,) in query(tdengine, sql)]


def measure(tdengine: TDengine, plan: Plan) -> dict[str, Any]:
    from playwright.sync_api import sync_playwright

    found: dict[str, Any] = {"sizes": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for rows in plan.rows:
            found["sizes"].append(measure_rows(tdengine, rows, plan, browser))
            if rows == plan.rows[0]:
                found["memory"] = measure_memory(tdengine, rows, plan)
            if rows == plan.busy_rows:
                found["live"] = measure_live(tdengine, rows, plan)
        browser.close()
    return found


def drawn(size: dict[str, Any], key: str) -> float:
    return statistics.median(size["drawn_seconds"][key])


def slowest(size: dict[str, Any], key: str) -> float:
    return max(select["seconds"] for select in size["selects"][key])


def table(found: dict[str, Any]) -> str:
    """A Markdown table with a line a size."""
    heads = (
        "rows",
        *(f"`{name}` drawn, s" for name in SPANS.values()),
        *(f"slowest SELECT of `{name}`, s" for name in SPANS.values()),
        "read into Perspective, s",
        "grouped there, s",
        "MB there",
        "reading / `All`",
    )
    lines = [f"| {' | '.join(heads)} |", f"|{' ---: |' * len(heads)}"]
    for size in found["sizes"]:
        cells = [f"{size['rows']:,}"]
        cells += [f"{drawn(size, key):.2f}" for key in SPANS]
        cells += [f"{slowest(size, key):.3f}" for key in SPANS]
        if reading := size["reading"]:
            cells += [f"{reading['read_seconds']:.1f}", f"{reading['group_seconds']:.1f}"]
            cells += [f"{reading['memory'] / (1 << 20):,.0f}"]
            cells += [f"{reading['read_seconds'] / drawn(size, 'all'):.1f}"]
        else:
            cells += ["", "", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def table_of_selects(size: dict[str, Any]) -> str:
    lines = [f"| of | {size['rows']:,} rows | rows | ms |", "| --- | --- | ---: | ---: |"]
    for key, name in SPANS.items():
        for select in sorted(size["selects"][key], key=lambda select: -select["seconds"]):
            sql = select["sql"].replace("|", "\\|")
            lines.append(f"| `{name}` | `{sql}` | {select['rows']:,} | {select['seconds'] * 1000:.0f} |")
    return "\n".join(lines)


def targets(found: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """What is wanted, what there is, and whether that is enough."""
    judged = []
    by_rows = {size["rows"]: size for size in found["sizes"]}
    if size := by_rows.get(20_000_000):
        whole, hour = drawn(size, "all"), drawn(size, "1h")
        judged.append(("`All` of 20,000,000 rows drawn in 2 s", f"{whole:.2f} s", whole <= 2))
        judged.append(("`1 h` of these in 0.7 s", f"{hour:.2f} s", hour <= 0.7))
        if reading := size["reading"]:
            times = reading["read_seconds"] / whole
            judged.append(("at least 30 times as quick as reading the rows", f"{times:.0f}", times >= 30))
    samples = [sample for sample in found["memory"]["samples"] if sample["views"] >= FEW_VIEWS]
    for name in ("answering", "asking"):
        first, last = (sample[name] / (1 << 20) for sample in (samples[0], samples[-1]))
        what = f"memory of the {name} process: flat from {FEW_VIEWS:,} to {samples[-1]['views']:,} views"
        judged.append((what, f"{first:.0f} MB, {last:.0f} MB", last <= 1.05 * first))
    if live := found.get("live"):
        alone, beside = live["alone"]["p99"], live["beside"]["p99"]
        what = f"live p99 beside {LOOKING} viewers that look back: at most 1.2 times"
        judged.append((what, f"{alone} ms, {beside} ms: {beside / alone:.2f}", beside <= 1.2 * alone))
    return judged


def draw(found: dict[str, Any]) -> str:
    """How it grows, from what the JSON has."""
    sizes = found["sizes"]
    read = [
        (size["rows"], size["reading"]["read_seconds"] + size["reading"]["group_seconds"])
        for size in sizes
        if size["reading"]
    ]
    lines = [
        Growth("read into Perspective and grouped there", read, is_other=True),
        *(
            Growth(f"{name} drawn", [(s["rows"], drawn(s, key)) for s in sizes], is_below=key != "all")
            for key, name in SPANS.items()
        ),
        Growth("slowest SELECT of All", [(size["rows"], slowest(size, "all")) for size in sizes]),
    ]
    caption = f"Measured on {found['tdengine']}, {found['machine']}, {found['date'][:10]}"
    return draw_growth(lines, "rows", "seconds", caption)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure looking back as the rows grow: some 15 minutes.")
    parser.add_argument("--quick", action="store_true", help="measure less: some three minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured to FILE")
    parser.add_argument("--rows", metavar="N,N …", help="sizes of the table instead of the usual ones")
    parser.add_argument(
        "--draw", type=Path, metavar="FILE", help="draw what was written to FILE; nothing else"
    )
    arguments = parser.parse_args()
    if arguments.draw:
        found = json.loads(arguments.draw.read_text())
        return write_drawing(found)
    if not CHROMIUM.exists():
        raise SystemExit(f"bench: there is no {CHROMIUM}, and this measures the page")
    plan = QUICK if arguments.quick else Plan()
    with find_tdengine() as (tdengine, name, emulator_pid), database(tdengine) as own:
        if arguments.rows:
            rows = tuple(int(number) for number in arguments.rows.split(","))
            plan = replace(plan, rows=rows, busy_rows=min(plan.busy_rows, rows[-1]))
        elif emulator_pid and not arguments.quick:
            plan = replace(plan, rows=(100_000, 1_000_000, EMULATOR_ROWS), busy_rows=EMULATOR_ROWS)
        say(f"bench: measuring on {name}")
        found = measure(own, plan)
    found |= {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "tdengine": name,
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "plan": vars(plan),
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    if not arguments.quick and not arguments.rows:
        write_drawing(found)
    print(f"{name}, {found['machine']}, {found['date']}\n")
    print(table(found), end="\n\n")
    print(table_of_selects(found["sizes"][-1]), end="\n\n")
    print("| target | measured | |\n| --- | --- | --- |")
    for what, measured, holds in targets(found):
        print(f"| {what} | {measured} | {'holds' if holds else 'missed'} |")


def write_drawing(found: dict[str, Any]) -> None:
    kind = "emulator" if "emulator" in found["tdengine"] else "tdengine"
    (ROOT / "imgs" / f"history-{kind}.svg").write_text(draw(found))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (AssertionError, TDengineError) as error:
        raise SystemExit(f"bench: {error}") from None
