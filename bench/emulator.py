"""What the emulator takes: rows a second written, and the demo's load in parts of a core.

    python bench/emulator.py [--data]

It starts an emulator of its own (with --data one that writes to disk), binds ten meters of 1,000 rows each as
fast as it can, then writes 300 rows and polls every 300 ms as the demo does, and prints a table.
"""

import sys
import tempfile
import time
from pathlib import Path

import psutil
import taosws

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests")]

from support import emulator, free_port  # noqa: E402

METERS = 10
BULK_ROWS = 1_000
BULK_BATCHES = 100
DEMO_ROWS = 30
DEMO_SECONDS = 15
INTERVAL = 0.3
POLL = (
    "SELECT CAST(ts AS BIGINT) AS ts, location, groupid, current, voltage, phase FROM meters "
    "WHERE ts > {} ORDER BY ts"
)


def bound(start: int, rows: int) -> list[object]:
    """Ten meters with that many rows each, one a millisecond from `start`."""
    columns = [
        taosws.millis_timestamps_to_column(list(range(start, start + rows))),
        taosws.floats_to_column([1.5] * rows),
        taosws.ints_to_column([220] * rows),
        taosws.floats_to_column([0.25] * rows),
    ]
    return [
        taosws.stmt2_bind_param_view(
            f"d_bind_{meter}", [taosws.int_to_tag(meter), taosws.varchar_to_tag(f"City {meter}")], columns
        )
        for meter in range(METERS)
    ]


def bulk(statement: object, start: int) -> float:
    """Rows a second in binds of ten meters by 1,000 rows, the making of the binds not counted."""
    spent = 0.0
    for batch in range(BULK_BATCHES):
        parameters = bound(start + batch * BULK_ROWS, BULK_ROWS)
        began = time.perf_counter()
        statement.bind(parameters)
        statement.execute()
        spent += time.perf_counter() - began
    return METERS * BULK_ROWS * BULK_BATCHES / spent


def demo(connection: object, statement: object, process: psutil.Process) -> tuple[float, float]:
    """The emulator's share of a core, and a poll's milliseconds, while the demo's rows come and are read."""
    began, used, polls = time.perf_counter(), sum(process.cpu_times()[:2]), []
    watermark = int(time.time() * 1000)
    while time.perf_counter() - began < DEMO_SECONDS:
        statement.bind(bound(int(time.time() * 1000), DEMO_ROWS))
        statement.execute()
        polled = time.perf_counter()
        rows = list(connection.query(POLL.format(watermark)))
        polls.append(time.perf_counter() - polled)
        watermark = max([watermark, *(row[0] for row in rows)])
        time.sleep(max(0.0, INTERVAL - (time.perf_counter() - polled)))
    share = (sum(process.cpu_times()[:2]) - used) / (time.perf_counter() - began)
    return share, sorted(polls)[len(polls) // 2] * 1000


def main() -> None:
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        arguments = ["--data", directory] if "--data" in sys.argv[1:] else []
        with emulator(port, *arguments) as child:
            process = psutil.Process(child.pid)
            connection = taosws.connect(f"taosws://root:taosdata@127.0.0.1:{port}")
            connection.execute("CREATE DATABASE bench")
            connection.execute("USE bench")
            connection.execute(
                "CREATE TABLE meters (ts TIMESTAMP, current FLOAT, voltage INT, phase FLOAT) "
                "TAGS (groupid INT, location BINARY(16))"
            )
            statement = connection.stmt2_statement()
            statement.prepare(
                "INSERT INTO ? USING meters (groupid, location) TAGS (?, ?) VALUES (?, ?, ?, ?)"
            )
            rate = bulk(statement, int(time.time() * 1000) - BULK_BATCHES * BULK_ROWS)
            share, poll = demo(connection, statement, process)
            memory = process.memory_info().rss / 2**20
    print("| rows/s, ten meters by 1,000 a bind | the demo's load | a poll | memory, 1 million rows |")
    print("| --- | --- | --- | --- |")
    print(f"| {rate:,.0f} | {share:.1%} of a core | {poll:.1f} ms | {memory:.0f} MB |")


if __name__ == "__main__":
    main()
