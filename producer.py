"""Writes random smart-meter readings into TDengine: ten meters, one prepared batch an interval.

`main` says which batch is due and keeps the beat; a child process (`write_batches`) owns the connection to
TDengine, makes the readings and writes them. A batch counts once TDengine has taken all of it. Until then
`main` asks for it again, so that a lost connection, a restart of TDengine or a hung call costs time but no
row: the batch is made and sent again with the same timestamps and readings, and TDengine overwrites a row of
the same meter and timestamp by itself.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import taosws

from tdengine_connection import (
    CHILD_SILENCE,
    OutOfReach,
    Refused,
    TDengine,
    TDengineError,
    connect,
    errors_explained,
    limit_waits,
    quote_name,
    quote_text,
    server_version,
    silence_driver,
    start_child,
    watchdog,
    whole_number,
)

TAOS_HOST = os.environ.get("TAOS_HOST") or "localhost"
TAOS_PORT = whole_number("TAOS_PORT", 6041, 1, 65535)
TAOS_USER = os.environ.get("TAOS_USER") or "root"
TAOS_PASSWORD = os.environ.get("TAOS_PASSWORD") or "taosdata"
TAOS_DATABASE = os.environ.get("TAOS_DATABASE") or "power"
TAOS_TABLENAME = os.environ.get("TAOS_TABLENAME") or "meters"

LOCATIONS = [
    "San Francisco",
    "Los Angeles",
    "San Diego",
    "San Jose",
    "Palo Alto",
    "Campbell",
    "Mountain View",
    "Sunnyvale",
    "Santa Clara",
    "Cupertino",
]  # meter d_bind_<i> stands at LOCATIONS[i] and is of group i

COLUMNS = {"ts": "TIMESTAMP", "current": "FLOAT", "voltage": "INT", "phase": "FLOAT"}
TAGS = {"groupid": "INT", "location": "BINARY(16)"}

PATIENCE = 10  # seconds to wait for a TDengine that has not answered yet
RETRY_DELAY = 0.5  # seconds between attempts to reach TDengine again
FULL_SPEED_ROWS = 10_000  # bound at once with --interval 0, since TDengine takes most of its time by the bind
LAST_WAIT = 1  # seconds that a batch under way may still take when the producer is stopped

# A batch as `main` asks for it: the arguments of gen_data.
Order = tuple[int, int, int]

# One meter's share of a batch: its number, and equally long columns ts (ms since 1970), current (A),
# voltage (V) and phase (°).
MeterRows = tuple[int, list[int], list[float], list[int], list[float]]


def create_database(connection: taosws.Connection, tdengine: TDengine) -> None:
    """Create the database unless it exists, and use it. Raises Refused where its timestamps are not in ms."""
    connection.execute(f"CREATE DATABASE IF NOT EXISTS {quote_name(tdengine.database)}")
    connection.execute(f"USE {quote_name(tdengine.database)}")
    for (precision,) in connection.query(
        "SELECT `precision` FROM information_schema.ins_databases "
        f"WHERE name = {quote_text(tdengine.database)}"
    ):
        if precision != "ms":
            raise Refused(
                f"{tdengine.database} has timestamps in {precision}, and the producer writes ms: "
                "choose another TAOS_DATABASE"
            )


def check_subtables(connection: taosws.Connection, tdengine: TDengine, append: bool) -> None:
    """Raises Refused where a subtable's name is taken, since that is unique in a database.

    Unless `append`, also where the supertable holds other subtables than the producer's: they are somebody's.
    """
    own = [subtable(meter) for meter in range(len(LOCATIONS))]
    tables = (
        "SELECT table_name, stable_name FROM information_schema.ins_tables "
        f"WHERE db_name = {quote_text(tdengine.database)}"
    )
    for name, owner in connection.query(f"{tables} AND table_name IN ({', '.join(map(quote_text, own))})"):
        if owner != tdengine.table:
            whose = f"{tdengine.database}.{owner}" if owner else "no supertable"
            raise Refused(f"{tdengine.database}.{name} belongs to {whose}: choose another TAOS_DATABASE")
    if append:
        return
    found = connection.query(f"{tables} AND stable_name = {quote_text(tdengine.table)} LIMIT {len(own) + 1}")
    for name, _ in found:
        if name not in own:
            raise Refused(
                f"{tdengine.database}.{tdengine.table} holds subtables that are not the producer's ({name}): "
                "choose another TAOS_DATABASE, or --append to write beside them"
            )


def create_table(connection: taosws.Connection, tdengine: TDengine, reset: bool) -> None:
    """Create the supertable unless it exists; with `reset`, drop what is there first.

    Raises Refused where a table of that name has other columns: its data is somebody's.
    """
    if reset:
        connection.execute(f"DROP TABLE IF EXISTS {tdengine.table_sql}")
    columns, tags = (
        ", ".join(f"{quote_name(name)} {kind}" for name, kind in names.items()) for names in (COLUMNS, TAGS)
    )
    connection.execute(f"CREATE TABLE IF NOT EXISTS {tdengine.table_sql} ({columns}) TAGS ({tags})")
    found = [row[0] for row in connection.query(f"DESCRIBE {tdengine.table_sql}")]
    if found != [*COLUMNS, *TAGS]:
        raise Refused(
            f"{tdengine.database}.{tdengine.table} exists with other columns ({', '.join(found)}): choose "
            "another TAOS_DATABASE, or --reset to drop that table and its data"
        )


def last_timestamp(connection: taosws.Connection, tdengine: TDengine) -> int:
    """The newest timestamp (ms) in the table, 0 if it is empty."""
    rows = list(connection.query(f"SELECT CAST(LAST(ts) AS BIGINT) FROM {tdengine.table_sql}"))
    return rows[0][0] or 0 if rows else 0


def gen_data(rows: int, start: int, span: int) -> list[MeterRows]:
    """`rows` random readings of the ten meters with timestamps from `start` to before `start + span` (ms).

    Each meter's timestamps are evenly spread, and unique if `span` has a millisecond for each of its rows.
    """
    random.seed(start)  # the same batch when it has to be made again
    multiplier = random.random() * random.randint(1, 50)
    batch = []
    meters = len(LOCATIONS)
    # A random byte takes a fifth of the time of randint: at full speed TDengine is to be what takes longest.
    value, some = random.random, random.randbytes
    for meter in range(min(meters, rows)):
        count = len(range(meter, rows, meters))
        offset = start * meters + meter * span // count
        step = span * meters // count
        batch.append(
            (
                meter,
                [(offset + row * step) // meters for row in range(count)],
                [75 * value() + byte * 10 // 256 * multiplier for byte in some(count)],
                [200 + byte * 26 // 256 for byte in some(count)],
                [105 * value() + (1 + byte * 3 // 256) * multiplier for byte in some(count)],
            )
        )
    return batch


def prepare(connection: taosws.Connection, tdengine: TDengine) -> taosws.TaosStmt2:
    """The statement that every batch is bound to."""
    statement = connection.stmt2_statement()
    statement.prepare(
        f"INSERT INTO ? USING {quote_name(tdengine.table)} (groupid, location) "
        "TAGS (?, ?) VALUES (?, ?, ?, ?)"
    )
    return statement


def subtable(meter: int) -> str:
    return f"d_bind_{meter}"


def insert_data(statement: taosws.TaosStmt2, batch: list[MeterRows]) -> int:
    """Write a batch, all meters in one bind, and return the number of rows that TDengine took."""
    statement.bind(
        [
            taosws.stmt2_bind_param_view(
                subtable(meter),
                [taosws.int_to_tag(meter), taosws.varchar_to_tag(LOCATIONS[meter])],
                [
                    taosws.millis_timestamps_to_column(timestamps),
                    taosws.floats_to_column(current),
                    taosws.ints_to_column(voltage),
                    taosws.floats_to_column(phase),
                ],
            )
            for meter, timestamps, current, voltage, phase in batch
        ]
    )
    return statement.execute()


def write_batches(pipe: Connection, tdengine: TDengine, reset: bool, append: bool) -> None:
    """The child process: connect, tell the newest timestamp there is, then make and write each batch that
    is asked for.

    Answers the pipe with ("ready", newest timestamp in ms), ("written", rows) or, as its last word, with
    ("failed", error).
    """
    silence_driver()
    try:
        with errors_explained(tdengine), watchdog():
            connection, _ = connect(tdengine)
            create_database(connection, tdengine)
            check_subtables(connection, tdengine, append)
            create_table(connection, tdengine, reset)
            newest = last_timestamp(connection, tdengine)
            statement = prepare(connection, tdengine)
        pipe.send(("ready", newest))
        while True:
            batch = gen_data(*pipe.recv())
            with errors_explained(tdengine), watchdog():
                written = insert_data(statement, batch)
            pipe.send(("written", written))
    except TDengineError as error:
        pipe.send(("failed", error))
    except (EOFError, BrokenPipeError):
        pass  # the parent has ended


class Writer:
    """The child process as `main` sees it: started when needed, gone after any failure."""

    def __init__(self, tdengine: TDengine, reset: bool, append: bool):
        self.tdengine = tdengine
        self.reset = reset
        self.append = append  # also where there are subtables of others
        self.process = None
        self.asked = False  # for a batch, and there is no answer yet

    def start(self) -> int:
        """Start the child; returns the newest timestamp (ms) in the table. Raises TDengineError."""
        server_version(self.tdengine)  # spares a process for each attempt while nothing answers
        self.process, self.pipe = start_child(write_batches, self.tdengine, self.reset, self.append)
        limit_waits(self.pipe, CHILD_SILENCE)
        newest = self.answer()
        self.reset, self.append = False, True  # from now on it is the producer's
        return newest

    def write(self, order: Order) -> int:
        """Rows that TDengine took. Raises TDengineError."""
        self.asked = True
        with contextlib.suppress(OSError):  # then its last word says why
            self.pipe.send(order)
        return self.answer()

    def answer(self) -> int:
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            kind, value = "failed", OutOfReach(f"TDengine at {self.tdengine.url} hangs")
        self.asked = False
        if kind == "failed":
            self.stop()
            raise value
        return value

    def finish(self) -> int:
        """Stop; returns the rows of a batch under way, if TDengine takes it within LAST_WAIT."""
        written = 0
        with contextlib.suppress(TDengineError):
            if self.asked and self.process is not None and self.pipe.poll(LAST_WAIT):
                written = self.answer()
        self.stop()
        return written

    def stop(self) -> None:
        """Kill the child, whatever it is in."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.process = None


class Stop(BaseException):
    """SIGINT or SIGTERM."""


def raise_stop(number: int, frame: object) -> None:
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, signal.SIG_IGN)
    raise Stop


def report(line: str) -> None:
    """Log one line on standard error, on a line of its own also where the progress is shown."""
    print(("\r\x1b[K" if sys.stderr.isatty() else "") + line, file=sys.stderr, flush=True)


def reach(writer: Writer) -> int:
    """Start the writer, within PATIENCE seconds; returns the newest timestamp (ms) in the table.

    Raises OutOfReach when TDengine has not answered by then, and Refused at once.
    """
    deadline = time.monotonic() + PATIENCE
    told = False
    while True:
        try:
            return writer.start()
        except OutOfReach as error:
            if time.monotonic() > deadline:
                raise
            if not told:
                report(f"producer: {error} Trying for {PATIENCE} s.")
                told = True
            time.sleep(RETRY_DELAY)


def write_until_taken(writer: Writer, order: Order) -> int:
    """Write the batch, again and again until TDengine has taken it; returns its number of rows."""
    told = None
    while True:
        try:
            if writer.process is None:
                writer.start()
            written = writer.write(order)
        except TDengineError as error:
            if str(error) != told:
                told = str(error)
                report(f"producer: {told}; keeping the batch to send it again")
            time.sleep(RETRY_DELAY)
        else:
            if told:
                report("producer: writing again")
            return written


def next_beat(beat: int, interval: int, now: float) -> int:
    """When the batch after the one of `beat` is due, a multiple of `interval`; all in ms since 1970.

    Where that moment has passed it is the last such moment: beats missed during an outage are left out. It is
    never long after `now`, also where the clock was set back.
    """
    last = int(now // interval) * interval
    return min(max(beat + interval, last), last + 2 * interval)


def show_progress(written: int, seconds: float) -> None:
    """One line on a terminal, none anywhere else."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K{written:,} rows, {written / max(seconds, 0.001):,.0f} rows/s", end="", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Write random smart-meter readings into TDengine, for ever or --count times.",
        epilog="Settings are environment variables: TDengine is where TAOS_HOST, TAOS_PORT, TAOS_USER and "
        "TAOS_PASSWORD say (localhost, 6041, root, taosdata); the supertable is "
        "TAOS_DATABASE.TAOS_TABLENAME (power.meters), made where it is missing. Ctrl-C ends it; the last "
        "line says how many rows it wrote.",
    )

    def number(lowest: int, highest: int) -> Callable[[str], int]:
        def parse(text: str) -> int:
            if not text.isascii() or not text.isdigit() or not lowest <= int(text) <= highest:
                raise argparse.ArgumentTypeError(
                    f"must be a whole number from {lowest} to {highest}, not {text!r}"
                )
            return int(text)

        return parse

    parser.add_argument(
        "--interval",
        metavar="MS",
        type=number(0, 86_400_000),
        default=300,
        help="ms from batch to batch, each at a multiple of it on the clock (default 300); 0 writes as fast "
        "as it can, many small batches at once",
    )
    parser.add_argument(
        "--rows",
        metavar="N",
        type=number(1, 100_000),  # TDengine has to take it within READ_TIMEOUT
        default=300,
        help="rows a batch over all ten meters (default 300)",
    )
    parser.add_argument(
        "--count", metavar="BATCHES", type=number(1, 10**9), help="end after so many batches (default: never)"
    )
    parser.add_argument("--reset", action="store_true", help="drop the table and its data first")
    parser.add_argument(
        "--append",
        action="store_true",
        help="also write into (or drop) a supertable that holds other subtables than the producer's ten",
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    tdengine = TDengine(TAOS_HOST, TAOS_PORT, TAOS_USER, TAOS_PASSWORD, TAOS_DATABASE, TAOS_TABLENAME)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, raise_stop)
    writer = Writer(tdengine, arguments.reset, arguments.append)
    began = time.monotonic()
    written = batches = 0
    status = 0
    try:
        newest = reach(writer)
        began = time.monotonic()
        # A batch ends, and is written, at a multiple of the interval on the clock, so that a chart in such
        # steps of time has no step that only some of the meters have reached.
        interval = max(1, arguments.interval)
        next_timestamp = beat = (newest // interval + 1) * interval
        # A batch needs a millisecond for each row of a meter: at more than 10,000 rows/s the timestamps run
        # ahead of the clock rather than overwrite each other.
        span = max(arguments.interval, -(-arguments.rows // len(LOCATIONS)))
        together = 1 if arguments.interval else max(1, FULL_SPEED_ROWS // arguments.rows)
        while batches != arguments.count:
            if arguments.count:
                together = min(together, arguments.count - batches)
            now = time.time() * 1000
            beat = next_beat(beat, interval, now)
            if beat > now:  # a sleep of no time would still give the processor away
                time.sleep((beat - now) / 1000)
            start = max(beat - together * span, next_timestamp)
            next_timestamp = start + together * span
            written += write_until_taken(writer, (together * arguments.rows, start, together * span))
            batches += together
            show_progress(written, time.monotonic() - began)
    except TDengineError as error:
        report(f"producer: {error}")
        status = 1
    except Stop:
        written += writer.finish()
    writer.stop()
    seconds = time.monotonic() - began
    if sys.stdout.isatty():
        print("\r\x1b[K", end="")
    print(f"wrote {written} rows in {seconds:.1f} s ({written / max(seconds, 0.001):.0f} rows/s)", flush=True)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
