"""The producer: what it generates, what it writes, and what it says about bad input."""

import re
import signal
import time
from collections import Counter

import pytest
from conftest import TDengine
from support import Process, free_port, python, wait_for
from test_faults import Proxy

from producer import LOCATIONS, gen_data, next_beat


def run_producer(tdengine: TDengine, database: str, *arguments: str, **settings: str) -> Process:
    return Process(python("producer.py", *arguments), {**tdengine.settings(database), **settings})


def rows_of(tdengine: TDengine, sql: str) -> list[tuple]:
    connection = tdengine.connect()  # held, for a result can't be read once its connection is gone
    return list(connection.query(sql))


def written(process: Process) -> int:
    """The rows that an ended producer says it wrote: its last line."""
    word, count, *rest = process.lines[-1].split()
    assert (word, rest[0]) == ("wrote", "rows"), process.output
    return int(count)


@pytest.mark.parametrize(
    ("rows", "span"), [(300, 300), (1, 1), (7, 300), (33, 300), (12, 7), (1000, 100), (10_000, 1000)]
)
def test_a_batch_has_its_rows_and_timestamps_unique_in_a_meter(rows: int, span: int) -> None:
    batch = gen_data(rows, start=1_000, span=span)
    assert sum(len(timestamps) for _, timestamps, *_ in batch) == rows
    for _, timestamps, current, voltage, phase in batch:
        assert len(set(timestamps)) == len(timestamps) == len(current) == len(voltage) == len(phase)
        assert timestamps == sorted(timestamps)
        assert timestamps[0] >= 1_000
        assert timestamps[-1] < 1_000 + span


def test_a_batch_is_spread_over_its_interval() -> None:
    for meter, timestamps, *_ in gen_data(300, start=5_000, span=300):
        assert timestamps == [5_000 + meter + 10 * row for row in range(30)]


def test_readings_stay_within_what_a_meter_can_show() -> None:
    for _ in range(50):
        for _, _, current, voltage, phase in gen_data(300, 0, 300):
            assert all(0 <= value <= 75 + 9 * 50 for value in current)
            assert all(200 <= value <= 225 for value in voltage)
            assert all(0 <= value <= 105 + 3 * 50 for value in phase)


def test_every_row_that_counts_as_written_is_there(tdengine: TDengine, database: str) -> None:
    with run_producer(tdengine, database, "--count", "7", "--interval", "20", "--rows", "123") as producer:
        assert producer.wait() == 0
    assert written(producer) == 7 * 123
    assert rows_of(tdengine, f"SELECT COUNT(*) FROM {database}.meters") == [(7 * 123,)]


def test_batches_begin_at_multiples_of_the_interval(tdengine: TDengine, database: str) -> None:
    """So each step of time in a chart has all meters, the newest one, too; and no row is from the future."""
    for total in (4, 8):
        with run_producer(tdengine, database, "--count", "4") as producer:
            assert producer.wait() == 0
        found = rows_of(tdengine, f"SELECT CAST(ts AS BIGINT), groupid FROM {database}.meters")
        assert max(found)[0] < time.time() * 1000
        steps = Counter((timestamp // 50, meter) for timestamp, meter in found)
        assert set(steps.values()) == {5}
        assert len(steps) == total * 6 * len(LOCATIONS)
        assert {timestamp for timestamp, _ in found if timestamp % 300 == 0}


@pytest.mark.parametrize(
    ("beat", "now", "due"),
    [
        (0, 1_250, 1_200),  # the first one: what has passed of the clock's beats is not waited for
        (1_200, 1_210.5, 1_500),
        (1_200, 1_499.9, 1_500),
        (1_200, 1_500, 1_500),
        (1_200, 1_505, 1_500),  # a batch took a little longer than the interval: the next one at once
        (1_200, 9_950, 9_900),  # an outage: beats missed are left out
        (1_200, 1_195, 1_500),  # the clock was set back a little
        (9_000, 1_250, 1_800),  # the clock was set back far, or there are rows from the future
    ],
)
def test_a_beat_counts_from_the_last_one_and_missed_ones_are_left_out(
    beat: int, now: float, due: int
) -> None:
    assert next_beat(beat, 300, now) == due


def test_there_are_ten_meters_each_with_its_place(tdengine: TDengine, database: str) -> None:
    with run_producer(tdengine, database, "--count", "1") as producer:
        assert producer.wait() == 0
    found = rows_of(tdengine, f"SELECT DISTINCT tbname, groupid, location FROM {database}.meters")
    assert sorted(found) == [(f"d_bind_{meter}", meter, place) for meter, place in enumerate(LOCATIONS)]


@pytest.mark.parametrize(("batches", "rows"), [(20, 5000), (70, 300)])
def test_full_speed_overwrites_nothing(tdengine: TDengine, database: str, batches: int, rows: int) -> None:
    arguments = ("--count", str(batches), "--interval", "0", "--rows", str(rows))
    with run_producer(tdengine, database, *arguments) as producer:
        assert producer.wait() == 0
    assert written(producer) == batches * rows
    assert rows_of(tdengine, f"SELECT COUNT(*) FROM {database}.meters") == [(batches * rows,)]


def test_full_speed_is_that_of_large_batches_also_with_small_ones(tdengine: TDengine, database: str) -> None:
    rates = {}
    for batches, rows in ((4, 10_000), (800, 50)):
        arguments = ("--count", str(batches), "--interval", "0", "--rows", str(rows))
        with run_producer(tdengine, database, *arguments) as producer:
            assert producer.wait() == 0
        rates[rows] = int(re.search(r"\((\d+) rows/s\)", producer.output)[1])
    assert rates[50] > rates[10_000] / 4


def test_a_second_run_adds_to_the_first(tdengine: TDengine, database: str) -> None:
    for total in (300, 600):
        with run_producer(tdengine, database, "--count", "1", "--interval", "0") as producer:
            assert producer.wait() == 0
        assert rows_of(tdengine, f"SELECT COUNT(*) FROM {database}.meters") == [(total,)]


@pytest.mark.parametrize("meter", ["d_bind_3", "d7"])
@pytest.mark.parametrize("ahead", ["400d", "1h", "20s"])
def test_a_row_of_the_future_does_not_lead_the_producer_astray(
    tdengine: TDengine, database: str, meter: str, ahead: str
) -> None:
    """Be it of a meter of its own or of somebody's whose clock is ahead."""
    with run_producer(tdengine, database, "--count", "1") as producer:
        assert producer.wait() == 0
    connection = tdengine.connect()
    connection.execute(
        f"INSERT INTO {database}.{meter} USING {database}.meters TAGS (3, 'there') "
        f"VALUES (NOW + {ahead}, 1, 2, 3)"
    )
    began = time.time() * 1000
    with run_producer(tdengine, database, "--count", "3", "--append") as producer:
        assert producer.wait() == 0, producer.output
    found = [
        timestamp for (timestamp,) in rows_of(tdengine, f"SELECT CAST(ts AS BIGINT) FROM {database}.meters")
    ]
    assert len(found) == 4 * 300 + 1
    stray = max(found)
    found.remove(stray)
    assert began - 1000 < max(found) < time.time() * 1000 < stray


@pytest.mark.parametrize("stray", [False, True])
def test_a_run_that_is_ahead_of_the_clock_is_not_overwritten_by_the_next(
    tdengine: TDengine, database: str, stray: bool
) -> None:
    """Even if there is a row of the far future, too."""
    arguments = ("--count", "25", "--interval", "0", "--rows", "10000")
    with run_producer(tdengine, database, *arguments) as producer:
        assert producer.wait() == 0
    if stray:
        tdengine.connect().execute(f"INSERT INTO {database}.d_bind_3 VALUES (NOW + 400d, 1, 2, 3)")
    newest = f"SELECT CAST(LAST(ts) AS BIGINT) FROM {database}.d_bind_5"
    ((ahead,),) = rows_of(tdengine, newest)
    with run_producer(tdengine, database, "--count", "2") as producer:
        assert producer.wait() == 0
    assert rows_of(tdengine, f"SELECT COUNT(*) FROM {database}.meters") == [(250_600 + stray,)]
    ((after,),) = rows_of(tdengine, newest)
    assert ahead < after < ahead + 2_000


def refusal(producer: Process) -> str:
    """The line in which a producer says why it writes nothing, once it has ended for that."""
    assert producer.wait() == 1, producer.output
    said, last = producer.lines
    assert last.startswith("wrote 0 rows")
    return said


def test_reset_drops_what_was_there(tdengine: TDengine, database: str) -> None:
    for _ in range(2):
        with run_producer(tdengine, database, "--count", "1", "--reset") as producer:
            assert producer.wait() == 0
    assert rows_of(tdengine, f"SELECT COUNT(*) FROM {database}.meters") == [(300,)]


def test_a_table_of_that_name_with_other_columns_is_left_alone(tdengine: TDengine, database: str) -> None:
    connection = tdengine.connect()
    connection.execute(f"CREATE DATABASE {database}")
    connection.execute(f"CREATE TABLE {database}.meters (ts TIMESTAMP, price INT) TAGS (name BINARY(8))")
    with run_producer(tdengine, database) as producer:
        said = refusal(producer)
    assert "exists with other columns (ts, price, name): choose another TAOS_DATABASE" in said
    assert "Traceback" not in producer.output
    assert [row[0] for row in connection.query(f"DESCRIBE {database}.meters")] == ["ts", "price", "name"]


@pytest.mark.parametrize("arguments", [[], ["--append"], ["--reset"]])
def test_no_second_database_or_table_is_made_whose_name_differs_in_case_alone(
    tdengine: TDengine, database: str, arguments: list[str]
) -> None:
    with run_producer(tdengine, database, "--count", "1") as producer:
        assert producer.wait() == 0
    other = database.upper()
    with run_producer(tdengine, other, *arguments) as producer:
        assert refusal(producer).endswith(
            f"has no database {other}, but {database}: set TAOS_DATABASE={database}"
        )
    with run_producer(tdengine, database, *arguments, TAOS_TABLENAME="Meters") as producer:
        assert refusal(producer).endswith(
            f"has no table {database}.Meters, but {database}.meters: set TAOS_TABLENAME=meters"
        )
    named = rows_of(tdengine, "SELECT name FROM information_schema.ins_databases")
    assert other not in [name for (name,) in named]
    stables = f"SELECT stable_name FROM information_schema.ins_stables WHERE db_name = '{database}'"
    assert rows_of(tdengine, stables) == [("meters",)]


@pytest.fixture
def theirs(tdengine: TDengine, database: str) -> TDengine:
    """A supertable with the producer's columns, and a subtable with a row of somebody else's."""
    connection = tdengine.connect()
    connection.execute(f"CREATE DATABASE {database}")
    connection.execute(
        f"CREATE TABLE {database}.meters (ts TIMESTAMP, current FLOAT, voltage INT, phase FLOAT) "
        "TAGS (groupid INT, location BINARY(16))"
    )
    connection.execute(
        f"INSERT INTO {database}.d7 USING {database}.meters TAGS (7, 'here') VALUES (NOW - 1h, 1, 2, 3)"
    )
    return tdengine


@pytest.mark.parametrize("arguments", [[], ["--reset"]])
def test_a_supertable_with_subtables_of_others_is_left_alone(
    theirs: TDengine, database: str, arguments: list[str]
) -> None:
    with run_producer(theirs, database, "--count", "1", *arguments) as producer:
        said = refusal(producer)
    assert (
        f"{database}.meters holds subtables that are not the producer's (d7): choose another TAOS_DAT" in said
    )
    assert rows_of(theirs, f"SELECT COUNT(*) FROM {database}.meters") == [(1,)]


@pytest.mark.parametrize(
    ("added", "said"),
    [
        (
            "INSERT INTO {0}.dQQQQ USING {0}.meters TAGS (8, 'here') VALUES (NOW, 1, 2, 3)",
            "not the producer's",
        ),
        ("ALTER TABLE {0}.meters ADD COLUMN `QQQQ` INT", "holds subtables"),
        ("CREATE TABLE {0}.QQQQ (ts TIMESTAMP, v INT) TAGS (g INT)", "holds subtables"),
    ],
)
def test_names_that_are_not_utf_8_do_not_keep_the_producer_from_seeing_whose_data_these_are(
    theirs: TDengine, database: str, added: str, said: str
) -> None:
    """What makes them so is on the way from TDengine."""
    theirs.connect().execute(added.format(database))
    with Proxy(theirs) as proxy:
        proxy.now("out of UTF-8")
        with run_producer(theirs, database, TAOS_PORT=str(proxy.port)) as producer:
            assert said in refusal(producer)


def test_append_writes_beside_the_subtables_of_others(theirs: TDengine, database: str) -> None:
    for total in (301, 601):
        with run_producer(theirs, database, "--count", "1", "--append") as producer:
            assert producer.wait() == 0, producer.output
        assert rows_of(theirs, f"SELECT COUNT(*) FROM {database}.meters") == [(total,)]


@pytest.mark.parametrize("arguments", [[], ["--append"], ["--reset"]])
def test_a_subtables_name_that_is_taken_is_told_at_the_start(
    tdengine: TDengine, database: str, arguments: list[str]
) -> None:
    with run_producer(tdengine, database, "--count", "1") as producer:
        assert producer.wait() == 0
    with run_producer(tdengine, database, *arguments, TAOS_TABLENAME="others") as producer:
        said = refusal(producer)
    assert re.fullmatch(
        rf"producer: {database}\.d_bind_\d belongs to {database}\.meters: choose another TAOS_DATABASE", said
    )
    stables = f"SELECT stable_name FROM information_schema.ins_stables WHERE db_name = '{database}'"
    assert rows_of(tdengine, stables) == [("meters",)]


def test_a_plain_table_of_a_subtables_name_is_told_at_the_start(tdengine: TDengine, database: str) -> None:
    connection = tdengine.connect()
    connection.execute(f"CREATE DATABASE {database}")
    connection.execute(f"CREATE TABLE {database}.d_bind_3 (ts TIMESTAMP, price INT)")
    with run_producer(tdengine, database) as producer:
        said = refusal(producer)
    assert said == f"producer: {database}.d_bind_3 belongs to no supertable: choose another TAOS_DATABASE"


@pytest.mark.parametrize("precision", ["us", "ns"])
def test_a_database_in_another_precision_is_refused_at_the_start(
    tdengine: TDengine, database: str, precision: str
) -> None:
    tdengine.connect().execute(f"CREATE DATABASE {database} PRECISION '{precision}'")
    with run_producer(tdengine, database) as producer:
        said = refusal(producer)
    assert said == (
        f"producer: {database} has timestamps in {precision}, and the producer writes ms: "
        "choose another TAOS_DATABASE"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tdengine: TDengine, database: str, number: int) -> None:
    with run_producer(tdengine, database) as producer:
        wait_for(lambda: rows_of(tdengine, f"SELECT COUNT(*) FROM {database}.meters")[0][0], "rows")
        producer.signal(number)
        assert producer.wait() == 0
    assert rows_of(tdengine, f"SELECT COUNT(*) FROM {database}.meters") == [(written(producer),)]
    assert len(producer.lines) == 1, producer.output


@pytest.fixture
def nowhere() -> TDengine:
    """A port where nothing answers."""
    return TDengine(free_port(), is_emulator=True)


@pytest.mark.parametrize(
    ("arguments", "settings", "line", "status"),
    [
        (["--interval", "soon"], {}, "must be a whole number", 2),
        (["--rows", "0"], {}, "must be a whole number", 2),
        ([], {"TAOS_PORT": "many"}, "TAOS_PORT=many: must be a whole number from 1 to 65535", 1),
        ([], {}, "is TDengine (with taosAdapter) up?", 1),
    ],
)
def test_bad_input_gets_one_clear_line(
    nowhere: TDengine, arguments: list[str], settings: dict[str, str], line: str, status: int
) -> None:
    with run_producer(nowhere, "power", *arguments, **settings) as producer:
        assert producer.wait() == status
    assert line in producer.output
    assert "Traceback" not in producer.output


def test_a_wrong_password_is_named(tdengine: TDengine, database: str) -> None:
    with run_producer(tdengine, database, TAOS_PASSWORD="wrong") as producer:
        assert producer.wait() == 1
    assert "check TAOS_USER and TAOS_PASSWORD" in producer.output
    assert "wrong" not in producer.output
    assert "Traceback" not in producer.output
