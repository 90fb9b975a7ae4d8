"""Writes random smart-meter readings into TDengine: ten meters, one prepared batch an interval.

`main` keeps the beat and says which batch is due. A child process, which may be killed when a call hangs,
connects to TDengine and does the rest: `open_table` once, then `gen_data` and `insert_data` for each batch,
again and again until TDengine has taken it.
"""

import argparse
import random
import time
from collections.abc import Iterator

import taosws

from tdengine_perspective.ownership import check_columns, check_precision, check_subtables, drop_table
from tdengine_perspective.settings import SettingError, Settings, describe_settings
from tdengine_perspective.spelling import check_spelling
from tdengine_perspective.tdengine import TDengine, TDengineError, quote_name, quote_text
from tdengine_perspective.terminal import Stop, report, show_progress, show_result, stop_on_signals
from tdengine_perspective.terminal import whole_number_option as number
from tdengine_perspective.writing import Work, Writer

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
SUBTABLES = [f"d_bind_{meter}" for meter in range(len(LOCATIONS))]

FULL_SPEED_ROWS = 10_000  # bound at once with --interval 0, since TDengine takes most of its time by the bind

STRAY = 10_000  # ms: behind a gap of that in the future comes nothing that the producer wrote

# One meter's share of a batch: its number, and equally long columns ts (ms since 1970), current (A),
# voltage (V) and phase (°).
MeterRows = tuple[int, list[int], list[float], list[int], list[float]]


def create_database(connection: taosws.Connection, tdengine: TDengine) -> None:
    """Create the database unless it exists, and use it. Raises Refused where its timestamps are not in ms."""
    connection.execute(f"CREATE DATABASE IF NOT EXISTS {quote_name(tdengine.database)}")
    connection.execute(f"USE {quote_name(tdengine.database)}")
    check_precision(connection, tdengine)


def create_table(connection: taosws.Connection, tdengine: TDengine, reset: bool) -> None:
    """Create the supertable unless it exists; with `reset`, drop what is there first.

    Raises Refused where a table of that name has other columns, or can't be dropped.
    """
    if reset:
        drop_table(connection, tdengine)
    columns, tags = (
        ", ".join(f"{quote_name(name)} {kind}" for name, kind in names.items()) for names in (COLUMNS, TAGS)
    )
    connection.execute(f"CREATE TABLE IF NOT EXISTS {tdengine.table_sql} ({columns}) TAGS ({tags})")
    check_columns(connection, tdengine, [*COLUMNS, *TAGS])


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


def insert_data(statement: taosws.TaosStmt2, batch: list[MeterRows]) -> int:
    """Write a batch, all meters in one bind, and return the number of rows that TDengine took."""
    statement.bind(
        [
            taosws.stmt2_bind_param_view(
                SUBTABLES[meter],
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


def last_timestamp(connection: taosws.Connection, tdengine: TDengine) -> int:
    """The newest timestamp (ms) of the ten meters, 0 if they have none, but for stray ones in the future.

    At full speed the producer's own rows run ahead of the clock, and must not be overwritten; they leave no
    gap. A row beyond a gap is somebody else's mistake, and readings are not to be stamped as late as that.
    """
    ((clock,),) = connection.query("SELECT CAST(NOW() AS BIGINT)")
    clock = max(clock, int(time.time() * 1000))
    meters = ", ".join(map(quote_text, SUBTABLES))
    newest, last = 0, clock + STRAY
    while True:
        rows = connection.query(
            f"SELECT CAST(LAST(ts) AS BIGINT) FROM {tdengine.table_sql} "
            f"WHERE tbname IN ({meters}) AND ts <= {last}"
        )
        found = next((timestamp for (timestamp,) in rows), None) or 0
        if found <= newest:
            return newest
        newest = found
        last = newest + max(STRAY, newest - clock)


def open_table(
    connection: taosws.Connection, tdengine: TDengine, reset: bool, append: bool
) -> tuple[taosws.TaosStmt2, int]:
    """All that comes before the first batch: the statement to bind it to, and the newest timestamp (ms).

    Raises Refused where what is there is somebody's, or has that name in other letters; with `append` it
    writes beside subtables of others.
    """
    check_spelling(connection, tdengine)
    create_database(connection, tdengine)
    check_subtables(connection, tdengine, SUBTABLES, append)
    create_table(connection, tdengine, reset)
    return prepare(connection, tdengine), last_timestamp(connection, tdengine)


def next_beat(beat: int, interval: int, now: float) -> int:
    """When the batch after the one of `beat` is due, a multiple of `interval`; all in ms since 1970.

    Where that moment has passed it is the last such moment: beats missed during an outage are left out. It is
    never long after `now`, also where the clock was set back.
    """
    last = int(now // interval) * interval
    return min(max(beat + interval, last), last + 2 * interval)


def keep_beat(arguments: argparse.Namespace, newest: int) -> Iterator[tuple[int, int, int]]:
    """Each batch when it is due, as the arguments of gen_data; its rows come after `newest` (ms since 1970).

    A batch ends, and is due, at a multiple of the interval on the clock, so that a chart in such steps of
    time has no step that only some of the meters have reached.
    """
    interval = max(1, arguments.interval)
    next_timestamp = beat = (newest // interval + 1) * interval
    # A batch needs a millisecond for each row of a meter: at more than 10,000 rows/s the timestamps run ahead
    # of the clock rather than overwrite each other.
    span = max(arguments.interval, -(-arguments.rows // len(LOCATIONS)))
    together = 1 if arguments.interval else max(1, FULL_SPEED_ROWS // arguments.rows)
    batches = 0
    while batches != arguments.count:
        if arguments.count:
            together = min(together, arguments.count - batches)
        now = time.time() * 1000
        beat = next_beat(beat, interval, now)
        if beat > now:  # a sleep of no time would still give the processor away
            time.sleep((beat - now) / 1000)
        start = max(beat - together * span, next_timestamp)
        next_timestamp = start + together * span
        yield together * arguments.rows, start, together * span
        batches += together


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Write random smart-meter readings into TDengine, for ever or --count times.",
        epilog="settings, all of them environment variables:\n"
        f"{describe_settings('TAOS_')}\n\n"
        "The supertable is made where it is missing. Ctrl-C ends it; the last line says how many rows it "
        "wrote.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
    try:
        settings = Settings.from_environment()
    except SettingError as error:
        raise SystemExit(f"producer: {error}") from None
    stop_on_signals()
    work = Work(open_table, gen_data, insert_data)
    writer = Writer(TDengine.of(settings), work, arguments.reset, arguments.append)
    began = time.monotonic()
    written = status = 0
    try:
        newest = writer.start_patiently()
        began = time.monotonic()
        for batch in keep_beat(arguments, newest):
            written += writer.write_until_taken(batch)
            show_progress(written, time.monotonic() - began)
    except TDengineError as error:
        report(f"producer: {error}")
        status = 1
    except Stop:
        written += writer.finish()
    writer.stop()
    show_result(written, time.monotonic() - began)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
