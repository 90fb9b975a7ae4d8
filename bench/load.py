"""Tables of any size to measure on: filling them, and writing on while they are read."""

import contextlib
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import taosws  # noqa: E402

from producer import create_database, create_table, prepare  # noqa: E402
from tdengine_perspective.tdengine import TDengine, connect  # noqa: E402

BIND_ROWS = 10_000
BEAT = 11  # ms from batch to batch, and rows a batch: 1,000 rows/s, on no beat of the readers'


def open_table(tdengine: TDengine) -> tuple[taosws.Connection, taosws.TaosStmt2]:
    """A connection, and the statement to bind rows to; database and supertable are made where missing."""
    connection, _ = connect(tdengine)
    create_database(connection, tdengine)
    create_table(connection, tdengine, reset=False)
    return connection, prepare(connection, tdengine)


def bind(statement: taosws.TaosStmt2, rows: dict[int, list[int]]) -> None:
    """Write rows with these timestamps (ms since 1970) for each meter."""
    statement.bind(
        [
            taosws.stmt2_bind_param_view(
                f"d_bind_{meter}",
                [taosws.int_to_tag(meter), taosws.varchar_to_tag(f"Meter {meter}")],
                [
                    taosws.millis_timestamps_to_column(timestamps),
                    taosws.floats_to_column([1.5] * len(timestamps)),
                    taosws.ints_to_column([220] * len(timestamps)),
                    taosws.floats_to_column([0.25] * len(timestamps)),
                ],
            )
            for meter, timestamps in rows.items()
        ]
    )
    statement.execute()


def fill(tdengine: TDengine, rows: int, meters: int) -> None:
    """Make a table of `rows` rows, evenly over the meters, a row a meter and ms up to now."""
    _connection, statement = open_table(tdengine)
    each = rows // meters
    start = int(time.time() * 1000) - each
    at_once = min(each, 1000)
    together = max(1, BIND_ROWS // at_once)
    for first_row in range(0, each, at_once):
        timestamps = list(range(start + first_row, start + min(first_row + at_once, each)))
        for first_meter in range(0, meters, together):
            bind(
                statement, dict.fromkeys(range(first_meter, min(first_meter + together, meters)), timestamps)
            )


def write_on(pipe: Connection, tdengine: TDengine, meters: int) -> None:
    """The child process: 1,000 rows/s, from one meter to the next, until the pipe is closed."""
    _connection, statement = open_table(tdengine)
    pipe.send("writing")
    beat = time.time()
    meter = 0
    with contextlib.suppress(OSError):
        while not pipe.poll(max(0.0, beat - time.time())):
            rows: dict[int, list[int]] = {}
            for row in range(BEAT):
                rows.setdefault(meter, []).append(int(beat * 1000) - BEAT + row)
                meter = (meter + 1) % meters
            bind(statement, rows)
            beat += BEAT / 1000
