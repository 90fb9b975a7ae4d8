"""What the emulator keeps, for how long, for how many clients; and how it starts and ends."""

import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
import taosws
from support import Process, emulator, free_port, python

from tdengine_emulator.sql import execute
from tdengine_emulator.store import Store

pytestmark = pytest.mark.emulator_only

T = 1700000000000
HOUR = 3_600_000
NEARLY_FULL = 1_950_000
METERS = "(ts TIMESTAMP, current FLOAT, voltage INT, phase FLOAT) TAGS (groupid INT, location BINARY(16))"


def connect(port: int, database: str = "") -> "taosws.Connection":
    return taosws.connect(f"taosws://root:taosdata@127.0.0.1:{port}/{database}?conn_retries=1")


def create(port: int) -> "taosws.Connection":
    connection = connect(port)
    for sql in ("CREATE DATABASE power", "USE power", f"CREATE TABLE meters {METERS}"):
        connection.execute(sql)
    return connection


def prepared(connection: "taosws.Connection") -> Any:
    statement = connection.stmt2_statement()
    statement.prepare("INSERT INTO ? USING meters (groupid, location) TAGS (?, ?) VALUES (?, ?, ?, ?)")
    return statement


def write(statement: Any, name: str, times: list[int]) -> int:
    """Write a row at each time; returns how many the emulator acknowledged."""
    count = len(times)
    columns = [
        taosws.millis_timestamps_to_column(times),
        taosws.floats_to_column([1.5] * count),
        taosws.ints_to_column([220] * count),
        taosws.floats_to_column([None] * count),
    ]
    tags = [taosws.int_to_tag(1), taosws.varchar_to_tag("A")]
    statement.bind([taosws.stmt2_bind_param_view(name, tags, columns)])
    return statement.execute()


def times_in(port: int) -> set[int]:
    connection = connect(port, "power")
    return {row[0] for row in connection.query("SELECT CAST(ts AS BIGINT) FROM meters")}


@pytest.fixture
def port() -> Iterator[int]:
    """The port of an emulator that keeps its data in memory."""
    number = free_port()
    with emulator(number):
        yield number


# Keeping data


def test_no_acknowledged_row_is_missing_after_a_kill(tmp_path: Path) -> None:
    port, acknowledged = free_port(), set()
    with emulator(port, "--data", str(tmp_path)) as process:
        statement = prepared(create(port))
        with ThreadPoolExecutor(1) as pool:
            killed = None
            for batch in range(10_000):
                times = list(range(T + batch * 30, T + batch * 30 + 30))
                try:
                    assert write(statement, "d0", times) == 30
                except taosws.Error:
                    break
                acknowledged.update(times)
                if batch == 30:
                    killed = pool.submit(process.kill)
            assert killed, "the emulator ended before it was killed"
    with emulator(port, "--data", str(tmp_path)):
        assert acknowledged <= times_in(port)


def test_tables_tags_and_rows_are_there_after_a_restart(tmp_path: Path) -> None:
    port = free_port()
    with emulator(port, "--data", str(tmp_path)) as process:
        connection = create(port)
        connection.execute(f"INSERT INTO d0 USING meters TAGS (7, 'Zürich') VALUES ({T}, 1.5, NULL, 2.5)")
        connection.execute(f"INSERT INTO d1 USING meters TAGS (8, 'Oslo') VALUES ({T}, 1, 1, 1)")
        connection.execute("ALTER TABLE d0 SET TAG groupid = 9")
        connection.execute("DROP TABLE d1")
        connection.execute("CREATE DATABASE other PRECISION 'us'")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    with emulator(port, "--data", str(tmp_path)):
        connection = connect(port, "power")
        everything = (
            "SELECT tbname, CAST(ts AS BIGINT), current, voltage, phase, groupid, location FROM meters"
        )
        assert list(connection.query(everything)) == [("d0", T, 1.5, None, 2.5, 9, "Zürich")]
        assert list(connection.query("SHOW TABLES")) == [("d0",)]
        connection.execute(f"INSERT INTO d0 VALUES ({T}, 2, 2, 2)")
        assert list(connection.query("SELECT COUNT(*) FROM meters")) == [(1,)]
        precision = "SELECT `precision` FROM information_schema.ins_databases WHERE name = 'other'"
        assert list(connection.query(precision)) == [("us",)]


def test_columns_that_were_changed_are_there_after_a_restart(tmp_path: Path) -> None:
    port = free_port()
    with emulator(port, "--data", str(tmp_path)):
        connection = connect(port)
        for sql in (
            "CREATE DATABASE power",
            "USE power",
            "CREATE TABLE keyed (ts TIMESTAMP, seq INT PRIMARY KEY, gone INT) TAGS (info JSON)",
            "ALTER TABLE keyed ADD COLUMN amount DECIMAL(30,5)",
            "ALTER TABLE keyed DROP COLUMN gone",
            f"""INSERT INTO k1 USING keyed TAGS ('{{"a":1}}') VALUES ({T}, 1, 1.5) ({T}, 2, NULL)""",
        ):
            connection.execute(sql)
        described = list(connection.query("DESCRIBE keyed"))
        everything = list(connection.query("SELECT * FROM keyed ORDER BY seq"))
        assert [row[2] for row in everything] == [Decimal("1.50000"), None]
    with emulator(port, "--data", str(tmp_path)):
        connection = connect(port, "power")
        assert list(connection.query("DESCRIBE keyed")) == described
        assert list(connection.query("SELECT * FROM keyed ORDER BY seq")) == everything


def test_a_file_of_the_first_emulators_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    execute(store, "CREATE DATABASE power", None)
    columns = "(ts TIMESTAMP, `Temp` INT, `Select` INT) TAGS (`Tag 1` INT)"
    execute(store, f"CREATE TABLE meters {columns}", "power")
    execute(store, f"INSERT INTO d0 USING meters TAGS (42) VALUES ({T}, 1, 2)", "power")
    store.close()
    with closing(sqlite3.connect(tmp_path / "emulator.sqlite", isolation_level=None)) as file:
        for table, name in (("rows_1", "^Temp"), ("rows_1", "^Select"), ("tags_1", "^Tag 1")):
            file.execute(f'ALTER TABLE {table} RENAME COLUMN "{name}" TO "{name[1:]}"')
        for table, column in (("databases", "keep_days"), ("tables", "created")):
            file.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        file.execute("PRAGMA user_version = 0")
    port = free_port()
    for _ in range(2):
        with emulator(port, "--data", str(tmp_path)):
            asked = "SELECT `Temp`, `Select`, `Tag 1` FROM meters WHERE `Temp` = 1"
            connection = connect(port, "power")
            assert list(connection.query(asked)) == [(1, 2, 42)]
            connection.execute(f"INSERT INTO d0 VALUES ({T}, 1, 2)")


def test_without_a_directory_nothing_is_kept() -> None:
    port = free_port()
    with emulator(port):
        create(port)
    with emulator(port), pytest.raises(taosws.Error, match="Database not exist"):
        connect(port, "power")


def test_a_failed_insert_leaves_nothing_behind(port: int) -> None:
    connection = create(port)
    with pytest.raises(taosws.Error, match="0x060B"):
        connection.execute(
            f"INSERT INTO d0 USING meters TAGS (1, 'A') VALUES ({T}, 1, 1, 1) "
            "d1 USING meters TAGS (1, 'A') VALUES (1000, 1, 1, 1)"
        )
    assert list(connection.query("SHOW TABLES")) == []
    connection.execute(f"INSERT INTO d0 USING meters TAGS (2, 'B') VALUES ({T}, 1, 1, 1)")
    assert list(connection.query("SELECT groupid, location FROM meters")) == [(2, "B")]


# Bounds


def test_old_rows_stay_beside_new_ones(port: int) -> None:
    statement = prepared(create(port))
    write(statement, "d0", [T, T + HOUR])
    write(statement, "d1", [T + 13 * HOUR])
    write(statement, "d1", [T - 10_000 * HOUR, T + 10_000 * HOUR])
    assert times_in(port) == {T, T + HOUR, T + 13 * HOUR, T - 10_000 * HOUR, T + 10_000 * HOUR}


def test_a_row_from_the_future_makes_no_other_leave(port: int) -> None:
    statement, now = prepared(create(port)), int(time.time() * 1000)
    write(statement, "d0", [now - HOUR, now + 100 * HOUR])
    assert times_in(port) == {now - HOUR, now + 100 * HOUR}


@pytest.fixture(scope="module")
def nearly_full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of a supertable with NEARLY_FULL rows from T on, one a millisecond, written past the protocol."""
    directory = tmp_path_factory.mktemp("nearly_full")
    store = Store(directory)
    for sql in ("CREATE DATABASE power", f"CREATE TABLE meters {METERS}"):
        execute(store, sql, "power")
    execute(store, f"INSERT INTO d0 USING meters TAGS (1, 'A') VALUES ({T}, 1, 1, 1)", "power")
    count = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {NEARLY_FULL - 1})"
    store.sqlite.execute(f"{count} INSERT INTO rows_1 SELECT {T} + i, 1.5, 220, NULL, 1 FROM n")
    store.close()
    return directory


@pytest.fixture
def full(nearly_full: Path, tmp_path: Path) -> Iterator[tuple[int, Process]]:
    """The port of an emulator with a copy of those data, and the emulator."""
    shutil.copytree(nearly_full, tmp_path, dirs_exist_ok=True)
    port = free_port()
    with emulator(port, "--data", str(tmp_path)) as process:
        yield port, process


def test_a_supertable_holds_two_million_rows_the_newest(full: tuple[int, Process]) -> None:
    port, process = full
    connection = connect(port, "power")
    statement, last = prepared(connection), T + NEARLY_FULL
    for _ in range(3):
        write(statement, "d0", list(range(last, last + 60_000)))
        last += 60_000
        ((count,),) = connection.query("SELECT COUNT(*) FROM meters")
        assert 1_900_000 < count <= 2_000_000
        ((first, newest),) = connection.query(
            "SELECT CAST(FIRST(ts) AS BIGINT), CAST(LAST(ts) AS BIGINT) FROM meters"
        )
        assert (newest, newest - first) == (last - 1, count - 1)
    assert [line for line in process.lines if "rows" in line] == [
        "tdengine_emulator: power.meters has more than 2,000,000 rows: the oldest leave, now and from now on"
    ]


def test_overwritten_rows_do_not_count(full: tuple[int, Process]) -> None:
    port, process = full
    connection = connect(port, "power")
    statement = prepared(connection)
    for _ in range(2):
        write(statement, "d0", list(range(T, T + 60_000)))
    assert list(connection.query("SELECT COUNT(*) FROM meters")) == [(NEARLY_FULL,)]
    assert len(process.lines) == 1, process.output


# Many clients


def test_fifty_clients_at_once(port: int) -> None:
    create(port)
    clients = [connect(port, "power") for _ in range(50)]
    statements = [prepared(client) for client in clients]
    for number, statement in enumerate(statements):
        assert write(statement, f"d{number}", [T + number]) == 1
    for client in clients:
        assert list(client.query("SELECT COUNT(*) FROM meters")) == [(50,)]

    def ask(number: int) -> Any:
        sql = f"SELECT CAST(ts AS BIGINT) FROM power.d{number}"
        return requests.post(
            f"http://127.0.0.1:{port}/rest/sql", data=sql, auth=("root", "taosdata"), timeout=30
        ).json()["data"]

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(ask, range(50))) == [[[T + number]] for number in range(50)]


# Start and end


def test_it_says_where_it_listens_and_what_it_is() -> None:
    port = free_port()
    with emulator(port) as process:
        process.wait_for_line("listens on")
        assert process.lines == [
            f"TDengine emulator 3.3.7.5.emulator (not TDengine itself) listens on 127.0.0.1:{port}"
        ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_success(number: int) -> None:
    port = free_port()
    with emulator(port) as process:
        client = create(port)
        process.signal(number)
        assert process.wait() == 0
        assert len(process.lines) == 1, process.output
        client.close()


def fails(*arguments: str) -> str:
    """The only line that the emulator says where it can't start."""
    with Process(python("-m", "tdengine_emulator", *arguments)) as process:
        assert process.wait() not in (0, -signal.SIGKILL)
        assert len(process.lines) == 1, process.output
        return process.lines[0]


def test_a_port_that_is_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = fails("--port", port)
    assert port in line
    assert "in use" in line


@pytest.mark.parametrize("port", ["0", "65536", "-1", "x"])
def test_a_bad_port_is_named(port: str) -> None:
    assert f"--port {port}:" in fails("--port", port)


def test_a_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert f"{tmp_path}/file/data" in fails("--port", str(free_port()), "--data", f"{tmp_path}/file/data")


def test_a_file_that_is_no_data_is_named(tmp_path: Path) -> None:
    (tmp_path / "emulator.sqlite").write_text("no database" * 100)
    assert str(tmp_path) in fails("--port", str(free_port()), "--data", str(tmp_path))


def test_a_directory_serves_one_emulator(tmp_path: Path) -> None:
    port = free_port()
    with emulator(port, "--data", str(tmp_path)):
        assert "locked" in fails("--port", str(free_port()), "--data", str(tmp_path))
        create(port)
