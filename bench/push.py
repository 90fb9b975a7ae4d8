"""Measures how fresh a viewer's rows are, pushed and polled, and what that costs; prints one table.

    venv/bin/python bench/push.py [--quick] [--viewers N]

Uses the TDengine at TAOS_HOST:TAOS_PORT where one answers, else the emulator, in a database of its own that
it drops afterwards. A producer writes 1,000 rows/s meanwhile, in batches of 11.
"""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "bench")]

from measure import (  # noqa: E402
    OURS,
    Meter,
    database,
    drop,
    find_tdengine,
    freshness,
    percentile,
    query,
    reader,
    say,
    viewers,
    written_to,
)
from support import wait_for  # noqa: E402
from tables import tdengine_pids  # noqa: E402

from tdengine_perspective.tdengine import TDengine  # noqa: E402

PUSH = "push"
CASES = ("300", "100", "30", PUSH)  # ms from poll to poll


def measure(
    case: str, tdengine: TDengine, count: int, seconds: float, emulator_pid: int | None
) -> dict[str, Any]:
    """A server with so many viewers while rows come."""
    say(f"{case}, {count} viewers")
    drop(tdengine)
    os.environ["PERSPECTIVE_SUBSCRIBE"] = "yes" if case == PUSH else "no"
    os.environ["PERSPECTIVE_REFRESH_RATE"] = "300" if case == PUSH else case
    with ExitStack() as stack:
        stack.enter_context(written_to(tdengine))
        server, url = stack.enter_context(reader(OURS, tdengine))
        watched, watching = stack.enter_context(viewers(url, count))
        wait_for(lambda: watched.ask("size") >= 1000, "a full table")
        wait_for(lambda: health(url)["source"] == ("push" if case == PUSH else "poll"), "its source", 60)
        watched.ask("follow", 2.0)
        pids = {"emulator": emulator_pid} if emulator_pid else tdengine_pids()
        meter = Meter(server=server.pid, viewers=watching, **pids)
        followed = watched.ask("follow", seconds)
        shares = meter.shares()
        ended = health(url)
        server.signal(15)  # so that it removes its topic
        server.wait()
    sql = f"SELECT CAST(ts AS BIGINT) FROM {tdengine.table_sql} WHERE ts >= NOW() - 10m ORDER BY ts"
    ages = freshness([timestamp for (timestamp,) in query(tdengine, sql)], followed["snapshots"])
    return {
        "case": case,
        "viewers": count,
        "freshness_p50": percentile(ages, 50),
        "freshness_p99": percentile(ages, 99),
        "updates_per_second": followed["updates"] / seconds / count,
        "server": shares["server"],
        "tdengine": sum(shares[name] for name in pids),
        "viewers_processor": shares["viewers"],
        "source_at_the_end": ended["source"],
    }


def health(url: str) -> dict[str, Any]:
    address = url.replace("ws://", "http://").replace("/websocket", "/health")
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure pushed rows against polled ones.")
    parser.add_argument("--quick", action="store_true", help="measure each for 5 s instead of 30 s")
    parser.add_argument("--viewers", type=int, metavar="N", default=1, help="viewers (default 1)")
    arguments = parser.parse_args()
    seconds = 5 if arguments.quick else 30
    with find_tdengine() as (found, name, emulator_pid), database(found) as tdengine:
        lines = [measure(case, tdengine, arguments.viewers, seconds, emulator_pid) for case in CASES]
    head = "freshness p50, ms | p99, ms | updates a second | server, of a core | TDengine | viewers"
    print(f"{name}, {arguments.viewers} viewers, {seconds} s each\n\n| | {head} |\n| --- |{' ---: |' * 6}")
    for line in lines:
        what = "pushed" if line["case"] == PUSH else f"polled every {line['case']} ms"
        if line["case"] == PUSH and line["source_at_the_end"] != "push":
            what += " (not all the time)"
        fresh = f"{line['freshness_p50']} | {line['freshness_p99']}"
        print(
            f"| {what} | {fresh} | {line['updates_per_second']:.1f} | {line['server']:.1%} "
            f" | {line['tdengine']:.1%} | {line['viewers_processor']:.1%} |"
        )


if __name__ == "__main__":
    main()
