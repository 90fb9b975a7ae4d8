"""What statements mean, asked through taosws and taosrest: the same on the emulator and on TDengine.

With TEST_TAOS_PORT set these run against the TDengine there; that is how they were checked.
"""

import asyncio
import json
import math
import re
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import taosrest
import taosws
from conftest import TDengine
from support import wait_for
from tornado.websocket import websocket_connect

T = 1700000000000
METERS = (
    "(`ts` TIMESTAMP, `current` FLOAT, `voltage` INT, `phase` FLOAT) "
    "TAGS (`groupid` INT, `location` BINARY(16))"
)
INSERT = "INSERT INTO ? USING meters (groupid, location) TAGS (?, ?) VALUES (?, ?, ?, ?)"


@pytest.fixture
def meters(tdengine: TDengine, database: str) -> Iterator["taosws.Connection"]:
    """A connection that uses a database of its own with an empty supertable meters."""
    connection = tdengine.connect()
    connection.execute(f"CREATE DATABASE {database}")
    connection.execute(f"USE {database}")
    connection.execute(f"CREATE TABLE meters {METERS}")
    yield connection
    connection.close()


def rows(connection: "taosws.Connection", sql: str) -> list[tuple[Any, ...]]:
    return list(connection.query(sql))


def fails(code: str) -> Any:
    return pytest.raises(taosws.Error, match=code)


def reading(
    name: str,
    times: list[Any],
    currents: list[Any],
    voltages: list[Any],
    phases: list[Any],
    group: Any = 1,
    city: Any = "A",
) -> Any:
    """One table of a bind."""
    columns = [
        taosws.millis_timestamps_to_column(times),
        taosws.floats_to_column(currents),
        taosws.ints_to_column(voltages),
        taosws.floats_to_column(phases),
    ]
    return taosws.stmt2_bind_param_view(
        name, [taosws.int_to_tag(group), taosws.varchar_to_tag(city)], columns
    )


def prepared(connection: "taosws.Connection", sql: str = INSERT) -> Any:
    statement = connection.stmt2_statement()
    statement.prepare(sql)
    return statement


def write(connection: "taosws.Connection", *tables: Any) -> int:
    statement = prepared(connection)
    statement.bind(list(tables))
    return statement.execute()


# Upserts and NULLs


def test_a_row_replaces_the_one_with_its_subtable_and_time(meters: "taosws.Connection") -> None:
    write(meters, reading("d0", [T], [1.5], [220], [0.5]), reading("d1", [T], [9.5], [229], [9.5]))
    write(meters, reading("d0", [T], [2.5], [221], [1.5]))
    assert rows(meters, "SELECT tbname, current, voltage, phase FROM meters ORDER BY voltage") == [
        ("d0", 2.5, 221, 1.5),
        ("d1", 9.5, 229, 9.5),
    ]


def test_a_bound_null_replaces_a_value(meters: "taosws.Connection") -> None:
    write(meters, reading("d0", [T], [1.5], [220], [0.5]))
    write(meters, reading("d0", [T], [None], [221], [None]))
    assert rows(meters, "SELECT current, voltage, phase FROM meters") == [(None, 221, None)]


def test_a_column_that_is_not_named_keeps_its_value(meters: "taosws.Connection") -> None:
    meters.execute(f"INSERT INTO d0 USING meters TAGS (1, 'A') VALUES ({T}, 1.5, 220, 0.5)")
    meters.execute(f"INSERT INTO d0 (ts, voltage) VALUES ({T}, 230)")
    assert rows(meters, "SELECT current, voltage, phase FROM meters") == [(1.5, 230, 0.5)]


def test_one_time_twice_in_a_bind_is_one_row_the_last(meters: "taosws.Connection") -> None:
    assert write(meters, reading("d0", [T, T], [1, 2], [1, None], [3, 4])) == 1
    assert rows(meters, "SELECT current, voltage, phase FROM meters") == [(2, None, 4)]


def test_execute_counts_rows_over_all_tables(meters: "taosws.Connection") -> None:
    tables = [reading(f"d{n}", [T, T + 1, T + 2], [1] * 3, [1] * 3, [1] * 3) for n in range(10)]
    assert write(meters, *tables) == 30
    assert rows(meters, "SELECT COUNT(*) FROM meters") == [(30,)]


def test_an_old_row_stays_beside_a_new_one(meters: "taosws.Connection") -> None:
    meters.execute("CREATE TABLE plain (ts TIMESTAMP, v INT)")
    values = "('2025-01-01 12:00:00', 1) ('2025-01-02 12:00:00', 2) (NOW, 3)"
    assert meters.execute(f"INSERT INTO plain VALUES {values}") == 3
    assert rows(meters, "SELECT v FROM plain ORDER BY ts") == [(1,), (2,), (3,)]


def test_binds_add_up_until_execute(meters: "taosws.Connection") -> None:
    statement = prepared(meters)
    statement.bind([reading("d0", [T], [1], [1], [1])])
    statement.bind([reading("d0", [T + 1], [1], [1], [1])])
    assert statement.execute() == 2


def test_all_but_the_time_may_be_null(meters: "taosws.Connection") -> None:
    write(meters, reading("d0", [T], [None], [None], [None], group=None, city=None))
    meters.execute(f"INSERT INTO d1 USING meters TAGS (NULL, NULL) VALUES ({T}, NULL, NULL, NULL)")
    everything = "SELECT CAST(ts AS BIGINT), current, voltage, phase, groupid, location FROM meters"
    assert rows(meters, everything) == [(T, None, None, None, None, None)] * 2
    assert rows(meters, "SELECT COUNT(*), COUNT(current) FROM meters WHERE location IS NULL") == [(2, 0)]


# Tags


def test_tags_are_those_of_the_first_insert(meters: "taosws.Connection") -> None:
    write(meters, reading("d0", [T], [1], [1], [1], group=1, city="first"))
    write(meters, reading("d0", [T + 1], [1], [1], [1], group=2, city="second"))
    meters.execute(f"INSERT INTO d0 USING meters TAGS (3, 'third') VALUES ({T + 2}, 1, 1, 1)")
    statement = meters.statement()
    statement.prepare(INSERT)
    statement.set_tbname("d0")
    statement.set_tags([taosws.int_to_tag(4), taosws.varchar_to_tag("fourth")])
    columns = [taosws.millis_timestamps_to_column([T + 3]), taosws.floats_to_column([1.0])]
    statement.bind_param([*columns, taosws.ints_to_column([1]), taosws.floats_to_column([1.0])])
    statement.add_batch()
    assert statement.execute() == 1
    assert rows(meters, "SELECT groupid, location FROM meters") == [(1, "first")] * 4


def test_set_tag_changes_the_tag_of_all_rows(meters: "taosws.Connection") -> None:
    write(meters, reading("d0", [T, T + 1], [1, 1], [1, 1], [1, 1]), reading("d1", [T], [1], [1], [1]))
    meters.execute("ALTER TABLE d0 SET TAG location = 'elsewhere'")
    assert sorted(rows(meters, "SELECT tbname, location FROM meters")) == [
        ("d0", "elsewhere"),
        ("d0", "elsewhere"),
        ("d1", "A"),
    ]


def test_a_subtable_can_be_made_without_rows(meters: "taosws.Connection") -> None:
    meters.execute("CREATE TABLE d0 USING meters TAGS (7, 'empty')")
    assert rows(meters, "SELECT DISTINCT tbname, groupid, location FROM meters") == [("d0", 7, "empty")]
    assert rows(meters, "SELECT * FROM meters") == []
    assert rows(meters, "SHOW TABLES") == [("d0",)]


def test_a_subtable_shows_its_columns_and_on_demand_its_tags(meters: "taosws.Connection") -> None:
    write(
        meters,
        reading("d0", [T], [1.5], [220], [0.5], group=3, city="here"),
        reading("d1", [T], [1], [1], [1]),
    )
    assert [column.name() for column in meters.query("SELECT * FROM d0").fields] == [
        "ts",
        "current",
        "voltage",
        "phase",
    ]
    assert rows(meters, "SELECT voltage, location, tbname FROM d0") == [(220, "here", "d0")]


# Types


def test_binary_holds_bytes_and_nchar_characters(meters: "taosws.Connection") -> None:
    meters.execute("CREATE TABLE texts (ts TIMESTAMP, b BINARY(4), n NCHAR(4)) TAGS (t NCHAR(4))")
    meters.execute(f"INSERT INTO t0 USING texts TAGS ('℃℃℃℃') VALUES ({T}, 'éé', 'é😀ab')")
    assert rows(meters, "SELECT b, n, t FROM texts") == [("éé", "é😀ab", "℃℃℃℃")]
    assert rows(meters, "SELECT COUNT(*) FROM texts WHERE n = 'é😀ab' AND t = '℃℃℃℃'") == [(1,)]
    with fails("0x2653.*Value too long for column/tag: b"):
        meters.execute(f"INSERT INTO t0 VALUES ({T}, 'ééé', 'x')")
    with fails("0x2653.*Value too long for column/tag: n"):
        meters.execute(f"INSERT INTO t0 VALUES ({T}, 'x', 'ééééé')")


def test_texts_can_be_bound(meters: "taosws.Connection") -> None:
    meters.execute("CREATE TABLE texts (ts TIMESTAMP, b BINARY(8), n NCHAR(4)) TAGS (t NCHAR(4))")
    statement = prepared(meters, "INSERT INTO ? USING texts TAGS (?) VALUES (?, ?, ?)")
    columns = [
        taosws.millis_timestamps_to_column([T, T + 1, T + 2]),
        taosws.varchar_to_column(["Zürich", None, ""]),
        taosws.nchar_to_column(["é😀ab", None, ""]),
    ]
    statement.bind([taosws.stmt2_bind_param_view("t0", [taosws.nchar_to_tag("℃")], columns)])
    assert statement.execute() == 3
    assert rows(meters, "SELECT b, n, t FROM texts ORDER BY ts") == [
        ("Zürich", "é😀ab", "℃"),
        (None, None, "℃"),
        ("", "", "℃"),
    ]


def test_a_float_is_the_nearest_of_32_bits(meters: "taosws.Connection") -> None:
    write(meters, reading("d0", [T], [1.1], [1], [16777217.0]))
    meters.execute(f"INSERT INTO d0 VALUES ({T + 1}, 1.1, 1, 16777217)")
    (nearest,) = struct.unpack("<f", struct.pack("<f", 1.1))
    assert rows(meters, "SELECT current, phase FROM meters ORDER BY ts") == [(nearest, 16777216.0)] * 2


def test_nan_and_infinity_come_back(meters: "taosws.Connection") -> None:
    write(
        meters,
        reading("d0", [T, T + 1, T + 2, T + 3], [math.nan, math.inf, -math.inf, None], [1] * 4, [1] * 4),
    )
    nan, inf, negative, null = (row[0] for row in rows(meters, "SELECT current FROM meters ORDER BY ts"))
    assert math.isnan(nan)
    assert (inf, negative, null) == (math.inf, -math.inf, None)
    assert rows(meters, "SELECT COUNT(current) FROM meters") == [(3,)]


def test_a_sum_or_average_over_nan_or_infinity_is_null(meters: "taosws.Connection") -> None:
    write(meters, reading("d0", [T, T + 1], [math.nan, 1], [1] * 2, [math.inf, 1]))
    assert rows(meters, "SELECT SUM(current), AVG(current), SUM(phase), AVG(phase) FROM meters") == [
        (None,) * 4
    ]


@pytest.mark.parametrize(
    ("type_name", "values"),
    [
        ("BOOL", [True, False, None]),
        ("TINYINT", [-127, 127, None]),
        ("SMALLINT", [-32767, 32767, None]),
        ("INT", [-(2**31) + 1, 2**31 - 1, None]),
        ("BIGINT", [-(2**63) + 1, 2**63 - 1, None]),
        ("TINYINT UNSIGNED", [0, 254, None]),
        ("SMALLINT UNSIGNED", [0, 65534, None]),
        ("INT UNSIGNED", [0, 2**32 - 2, None]),
        ("FLOAT", [-1.5, 0.25, None]),
        ("DOUBLE", [-1.1, 1e300, None]),
    ],
)
def test_a_type_keeps_its_values(meters: "taosws.Connection", type_name: str, values: list[Any]) -> None:
    meters.execute(f"CREATE TABLE typed (ts TIMESTAMP, v {type_name})")
    for number, value in enumerate(values):
        meters.execute(f"INSERT INTO typed VALUES ({T + number}, {'NULL' if value is None else value})")
    result = meters.query("SELECT v FROM typed ORDER BY ts")
    assert [column.type() for column in result.fields] == [type_name]
    assert [row[0] for row in result] == values


def test_times_are_milliseconds(meters: "taosws.Connection") -> None:
    write(meters, reading("d0", [T, T + 24], [1] * 2, [1] * 2, [1] * 2))
    assert rows(meters, "SELECT ts FROM meters ORDER BY ts") == [
        ("2023-11-14 22:13:20 +00:00",),
        ("2023-11-14 22:13:20.024 +00:00",),
    ]
    assert rows(meters, "SELECT CAST(ts AS BIGINT) AS x FROM meters ORDER BY ts DESC LIMIT 1") == [(T + 24,)]


def test_a_database_can_count_microseconds(tdengine: TDengine, database: str) -> None:
    connection = tdengine.connect()
    connection.execute(f"CREATE DATABASE {database} PRECISION 'us'")
    connection.execute(f"CREATE TABLE {database}.t (ts TIMESTAMP, v INT)")
    connection.execute(f"INSERT INTO {database}.t VALUES (NOW - 2h, 1) (NOW, 2)")
    ((moment,),) = rows(connection, f"SELECT CAST(ts AS BIGINT) FROM {database}.t WHERE ts > NOW() - 1h")
    assert abs(moment - time.time() * 1_000_000) < 60_000_000
    connection.execute(f"INSERT INTO {database}.t VALUES ('2023-11-14T22:13:20.000001Z', 3)")
    connection.execute(f"DELETE FROM {database}.t WHERE ts > NOW - 3h")
    connection.execute(f"INSERT INTO {database}.t VALUES ('2023-11-14T22:13:20.000001Z', 3)")
    assert rows(connection, f"SELECT ts, v FROM {database}.t") == [("2023-11-14 22:13:20.000001 +00:00", 3)]


@pytest.mark.parametrize(
    "written", ["'2023-11-14 22:13:20.024+00:00'", "'2023-11-14T22:13:20.024Z'", str(T + 24)]
)
def test_a_time_can_be_written_as_text(meters: "taosws.Connection", written: str) -> None:
    meters.execute(f"INSERT INTO d0 USING meters TAGS (1, 'A') VALUES ({written}, 1, 1, 1)")
    assert rows(meters, f"SELECT CAST(ts AS BIGINT) FROM meters WHERE ts = {written}") == [(T + 24,)]


def test_texts_can_hold_quotes_and_escapes(meters: "taosws.Connection") -> None:
    for number, text in enumerate(['"it\'s"', r"'it\'s'", "'it''s'"]):
        meters.execute(f"INSERT INTO d{number} USING meters TAGS ({number}, {text}) VALUES ({T}, 1, 1, 1)")
    assert rows(meters, "SELECT DISTINCT location FROM meters") == [("it's",)]


# Time


@pytest.mark.parametrize(
    ("duration", "milliseconds"),
    [
        ("1a", 1),
        ("2s", 2_000),
        ("3m", 180_000),
        ("4h", 14_400_000),
        ("5d", 432_000_000),
        ("6w", 3_628_800_000),
    ],
)
def test_durations(meters: "taosws.Connection", duration: str, milliseconds: int) -> None:
    write(meters, reading("d0", [T], [1], [1], [1]))
    selected = f"SELECT CAST(ts - {duration} AS BIGINT), CAST(ts + {duration} AS BIGINT) FROM meters"
    assert rows(meters, selected) == [(T - milliseconds, T + milliseconds)]
    ((ago,),) = rows(meters, f"SELECT CAST(NOW() - {duration} AS BIGINT)")
    assert abs(ago + milliseconds - time.time() * 1000) < 60_000


def test_now_is_the_servers_clock(meters: "taosws.Connection") -> None:
    ((called, word),) = rows(meters, "SELECT CAST(NOW() AS BIGINT), CAST(NOW AS BIGINT)")
    assert abs(called - time.time() * 1000) < 60_000
    assert abs(called - word) < 1000


def test_where_takes_now(meters: "taosws.Connection") -> None:
    meters.execute("INSERT INTO d0 USING meters TAGS (1, 'A') VALUES (NOW - 2h, 1, 1, 1) (NOW(), 1, 2, 1)")
    assert rows(meters, "SELECT voltage FROM meters WHERE ts >= NOW() - 1h") == [(2,)]
    assert rows(meters, "SELECT COUNT(*) FROM meters WHERE ts > NOW() - 3h AND ts <= NOW") == [(2,)]


# Reading


@pytest.fixture
def read(meters: "taosws.Connection") -> "taosws.Connection":
    """Three meters, d0 with voltages 0 to 3, d1 10 to 13, d2 20 to 23, and currents a half more."""
    for number, city in enumerate(["Oslo", "Rome", "Bern"]):
        voltages = [number * 10 + row for row in range(4)]
        times = [T + row * 10 + number for row in range(4)]
        currents = [voltage + 0.5 for voltage in voltages]
        write(meters, reading(f"d{number}", times, currents, voltages, [None] * 4, group=number, city=city))
    return meters


@pytest.mark.parametrize(
    ("clauses", "voltages"),
    [
        ("ORDER BY ts DESC LIMIT 3", [23, 13, 3]),
        ("ORDER BY ts LIMIT 2 OFFSET 3", [1, 11]),
        ("ORDER BY ts LIMIT 3, 2", [1, 11]),
        ("ORDER BY location, ts DESC LIMIT 2", [23, 22]),
        (f"WHERE ts > {T + 30} ORDER BY ts", [13, 23]),
        (f"WHERE ts >= {T + 30} AND ts < {T + 32} ORDER BY ts", [3, 13]),
        (f"WHERE ts BETWEEN {T} AND {T + 2} ORDER BY ts", [0, 10, 20]),
        ("WHERE ts > '2023-11-14T22:13:20.030Z' ORDER BY ts", [13, 23]),
        (f"WHERE location = 'Rome' AND ts <> {T + 1} ORDER BY ts", [11, 12, 13]),
        ("WHERE groupid IN (0, 2) AND voltage >= 3 ORDER BY voltage", [3, 20, 21, 22, 23]),
        ("WHERE tbname = 'd1' ORDER BY ts DESC", [13, 12, 11, 10]),
        ("WHERE NOT (groupid = 0 OR location LIKE 'r%') ORDER BY ts", [20, 21, 22, 23]),
        ("WHERE phase IS NOT NULL", []),
        ("WHERE phase IS NULL AND current > 22 ORDER BY ts", [22, 23]),
        ("WHERE voltage + 1 = 4 OR current * 2 = 1 ORDER BY ts", [0, 3]),
    ],
)
def test_rows_are_chosen_and_ordered(read: "taosws.Connection", clauses: str, voltages: list[int]) -> None:
    assert [row[0] for row in rows(read, f"SELECT voltage FROM meters {clauses}")] == voltages


@pytest.mark.parametrize(
    ("selected", "expected"),
    [
        ("COUNT(*)", [(12,)]),
        ("COUNT(phase), COUNT(voltage)", [(0, 12)]),
        ("AVG(voltage), MIN(voltage), MAX(current), SUM(voltage)", [(11.5, 0, 23.5, 138)]),
        ("CAST(LAST(ts) AS BIGINT), CAST(FIRST(ts) AS BIGINT)", [(T + 32, T)]),
        ("LAST(voltage), LAST_ROW(voltage), LAST_ROW(phase)", [(23, 23, None)]),
        ("MIN(location), MAX(location)", [("Bern", "Rome")]),
        ("SUM(phase), COUNT(*)", [(None, 12)]),
    ],
)
def test_aggregates(read: "taosws.Connection", selected: str, expected: list[tuple[Any, ...]]) -> None:
    assert rows(read, f"SELECT {selected} FROM meters") == expected


@pytest.mark.parametrize("text", ["'Zürich'", "''", "NULL"])
def test_a_text_can_be_had_as_its_bytes(read: "taosws.Connection", text: str) -> None:
    expected = None if text == "NULL" else text.strip("'").encode()
    read.execute("CREATE TABLE noted (ts TIMESTAMP, note VARCHAR(9), wide NCHAR(9), v INT)")
    try:
        read.execute(f"INSERT INTO noted VALUES (NOW, {text}, 'ü', 1)")
        whole, part = "CAST(note AS VARBINARY(65517))", "CAST(note AS VARBINARY(2))"
        assert rows(read, f"SELECT {whole}, {part} FROM noted") == [(expected, expected and expected[:2])]
        for other in ("wide", "v"):
            with pytest.raises(taosws.QueryError, match="0x2802"):
                rows(read, f"SELECT CAST({other} AS VARBINARY(9)) FROM noted")
    finally:
        read.execute("DROP TABLE noted")


def test_aggregates_by_group(read: "taosws.Connection") -> None:
    grouped = (
        "SELECT location, COUNT(*), AVG(current), MIN(voltage), MAX(voltage) FROM meters GROUP BY location"
    )
    assert rows(read, f"{grouped} ORDER BY location") == [
        ("Bern", 4, 22, 20, 23),
        ("Oslo", 4, 2, 0, 3),
        ("Rome", 4, 12, 10, 13),
    ]
    partitioned = (
        "SELECT tbname, CAST(LAST_ROW(ts) AS BIGINT), LAST(voltage), location FROM meters PARTITION BY tbname"
    )
    assert sorted(rows(read, partitioned)) == [
        ("d0", T + 30, 3, "Oslo"),
        ("d1", T + 31, 13, "Rome"),
        ("d2", T + 32, 23, "Bern"),
    ]


def test_last_with_a_column_gives_the_column_of_the_last_row(read: "taosws.Connection") -> None:
    assert rows(read, "SELECT LAST(ts), location, tbname FROM meters")[0][1:] == ("Bern", "d2")


def test_without_rows_only_count_gives_a_row(meters: "taosws.Connection") -> None:
    assert rows(meters, "SELECT COUNT(*) FROM meters") == [(0,)]
    assert rows(meters, "SELECT AVG(voltage), COUNT(*) FROM meters") == [(None, 0)]
    for selected in ("LAST(ts)", "MAX(voltage)", "AVG(current), SUM(voltage)", "LAST_ROW(*)"):
        assert rows(meters, f"SELECT {selected} FROM meters") == []
    assert rows(meters, "SELECT COUNT(*) FROM meters GROUP BY tbname") == []


@pytest.mark.parametrize(
    ("sql", "fields"),
    [
        ("SELECT 1", ["1 BIGINT 8"]),
        ("SELECT 1 + 1", ["1 + 1 DOUBLE 8"]),
        ("SELECT NOW() - 1h", ["now() - 1h TIMESTAMP 8"]),
        (
            "SELECT `voltage` AS V, Current, tbname FROM meters",
            ["v INT 4", "current FLOAT 4", "tbname BINARY 270"],
        ),
        ("SELECT COUNT( * ) FROM meters", ["count( * ) BIGINT 8"]),
        (
            "SELECT meters.voltage, MAX(`voltage`) m FROM meters GROUP BY voltage",
            ["voltage INT 4", "m INT 4"],
        ),
        ("SELECT -voltage FROM meters", ["-voltage DOUBLE 8"]),
        ("SELECT AVG(voltage), SUM(voltage) FROM meters", ["avg(voltage) DOUBLE 8", "sum(voltage) BIGINT 8"]),
        (
            "SELECT *, tbname FROM meters",
            [
                "ts TIMESTAMP 8",
                "current FLOAT 4",
                "voltage INT 4",
                "phase FLOAT 4",
                "groupid INT 4",
                "location BINARY 16",
                "tbname BINARY 270",
            ],
        ),
    ],
)
def test_columns_of_a_result_have_names_types_and_lengths(
    meters: "taosws.Connection", sql: str, fields: list[str]
) -> None:
    described = [f"{column.name()} {column.type()} {column.bytes()}" for column in meters.query(sql).fields]
    assert described == fields


def test_a_prepared_select_takes_parameters(read: "taosws.Connection") -> None:
    statement = prepared(
        read, "SELECT voltage, location FROM meters WHERE ts > ? AND location = ? ORDER BY ts"
    )
    parameters = [taosws.millis_timestamps_to_column([T + 11]), taosws.varchar_to_column(["Rome"])]
    statement.bind([taosws.stmt2_bind_param_view(None, None, parameters)])
    statement.execute()
    assert list(statement.result_set()) == [(12, "Rome"), (13, "Rome")]


def test_many_rows_come_whole_and_in_order(meters: "taosws.Connection") -> None:
    count = 10_000
    write(meters, reading("d0", list(range(T, T + count)), [1] * count, list(range(count)), [1] * count))
    assert [row[0] for row in rows(meters, "SELECT voltage FROM meters ORDER BY ts")] == list(range(count))


# Deleting and dropping


def test_delete_by_time(read: "taosws.Connection") -> None:
    assert read.execute(f"DELETE FROM meters WHERE ts >= {T + 10} AND ts <= {T + 20}") == 4
    assert read.execute(f"DELETE FROM d2 WHERE ts < {T + 20}") == 1
    assert sorted(row[0] for row in rows(read, "SELECT voltage FROM meters")) == [0, 3, 10, 12, 13, 22, 23]
    assert read.execute("DELETE FROM meters") == 7
    assert rows(read, "SELECT COUNT(*) FROM meters") == [(0,)]
    assert len(rows(read, "SHOW TABLES")) == 3


def test_a_dropped_table_can_come_back_other_than_it_was(read: "taosws.Connection") -> None:
    read.execute("DROP TABLE meters")
    with fails("0x2603"):
        read.query("SELECT * FROM meters")
    assert rows(read, "SHOW TABLES") == []
    read.execute("CREATE TABLE meters (ts TIMESTAMP, power DOUBLE) TAGS (site BINARY(8))")
    read.execute(f"INSERT INTO d0 USING meters TAGS ('roof') VALUES ({T}, 1.5)")
    assert rows(read, "SELECT power, site FROM meters") == [(1.5, "roof")]


def test_a_dropped_subtable_takes_its_rows_along(read: "taosws.Connection") -> None:
    read.execute("DROP TABLE d0, d1")
    assert {row[0] for row in rows(read, "SELECT tbname FROM meters")} == {"d2"}
    write(read, reading("d0", [T], [1], [1], [1], group=9, city="new"))
    assert rows(read, "SELECT groupid, location FROM d0") == [(9, "new")]


def test_a_statement_outlives_a_table_that_is_dropped_and_made_anew(meters: "taosws.Connection") -> None:
    statement = prepared(meters)
    meters.execute("DROP TABLE meters")
    meters.execute(f"CREATE TABLE meters {METERS}")
    statement.bind([reading("d0", [T], [1], [1], [1])])
    assert statement.execute() == 1


def test_a_connection_outlives_its_database(meters: "taosws.Connection", database: str) -> None:
    meters.execute(f"DROP DATABASE {database}")
    with fails("0x0388.*Database not exist"):
        meters.query("SELECT * FROM meters")
    meters.execute(f"CREATE DATABASE {database}")
    with fails("0x2603"):
        meters.query("SELECT * FROM meters")
    meters.execute(f"CREATE TABLE meters {METERS}")
    assert write(meters, reading("d0", [T], [1], [1], [1])) == 1


def test_several_tables_in_one_insert(meters: "taosws.Connection") -> None:
    inserted = meters.execute(
        f"INSERT INTO d0 USING meters TAGS (1, 'A') VALUES ({T}, 1, 1, 1), ({T + 1}, 1, 1, 1) "
        f"d1 USING meters (location) TAGS ('B') (ts, voltage) VALUES ({T}, 7)"
    )
    assert inserted == 3
    assert rows(meters, "SELECT current, voltage, groupid, location FROM d1") == [(None, 7, None, "B")]


def test_information_schema_tells_of_tables(read: "taosws.Connection", database: str) -> None:
    where = f"WHERE db_name = '{database}'"
    stables = f"SELECT stable_name, `columns`, `tags` FROM information_schema.ins_stables {where}"
    assert rows(read, stables) == [("meters", 4, 2)]
    tables = (
        f"SELECT table_name, stable_name, type FROM information_schema.ins_tables {where} ORDER BY table_name"
    )
    assert rows(read, tables) == [(f"d{number}", "meters", "CHILD_TABLE") for number in range(3)]


def test_describe_tells_columns_from_tags(meters: "taosws.Connection") -> None:
    described = [row[:4] for row in rows(meters, "DESCRIBE meters")]
    assert described == [
        ("ts", "TIMESTAMP", 8, ""),
        ("current", "FLOAT", 4, ""),
        ("voltage", "INT", 4, ""),
        ("phase", "FLOAT", 4, ""),
        ("groupid", "INT", 4, "TAG"),
        ("location", "VARCHAR", 16, "TAG"),
    ]


# Errors, each at the call at which TDengine gives it


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("USE no_such_database", "0x0388.*Database not exist"),
        ("DROP DATABASE no_such_database", "0x0388.*Database not exist"),
        ("SELECT * FROM no_such_database.meters", "0x0388.*Database not exist"),
        ("SELECT * FROM nothing", "0x2603.*Table does not exist"),
        ("DESCRIBE nothing", "0x2603.*Table does not exist"),
        ("DROP TABLE nothing", "0x2603.*Table does not exist"),
        ("DELETE FROM nothing WHERE ts < 1", "0x2603.*Table does not exist"),
        ("INSERT INTO nothing VALUES (NOW, 1, 1, 1)", "0x2603.*Table does not exist"),
        ("INSERT INTO d0 USING nothing TAGS (1) VALUES (NOW, 1, 1, 1)", "0x2603.*Table does not exist"),
        ("ALTER TABLE nothing SET TAG location = 'e'", "0x2603.*Table does not exist"),
        ("SELECT nope FROM meters", "0x2602.*Invalid column name: nope"),
        ("SELECT voltage FROM meters WHERE nope = 1", "0x2602.*Invalid column name: nope"),
        (
            "INSERT INTO d USING meters TAGS (1, 'A') (ts, nope) VALUES (NOW, 1)",
            "0x2602.*Invalid column name: nope",
        ),
        ("SELEC 1", '0x2600.*syntax error near "selec 1"'),
        (f"INSERT INTO d USING meters TAGS (1, 'A') VALUES ({T}, ?, 1, 1)", "0x"),
        ("SELECT * FROM meters LIMIT x", '0x2600.*syntax error near "x"'),
        ("SELECT * FROM", "0x2601.*Incomplete SQL statement"),
        (f"CREATE TABLE meters {METERS}", "0x0360.*STable already exists"),
        ("DROP STABLE nothing", "0x0362.*STable not exist"),
        ("SELECT MAX(ts) FROM meters", "0x2802.*Invalid parameter data type : max"),
        ("SELECT MIN(ts) FROM meters", "0x2802.*Invalid parameter data type : min"),
        ("SELECT AVG(location) FROM meters", "0x2802.*Invalid parameter data type : avg"),
        ("SELECT COUNT(*), location FROM meters", "0x260C.*Not a single-group group function"),
        ("DELETE FROM meters WHERE voltage = 1", "0x2655"),
        ("DELETE FROM meters WHERE ts <> 5", "0x2655.*only have a definite time window range"),
        ("DELETE FROM meters WHERE ts < 5 OR ts > 9", "0x2655.*only have a definite time window range"),
        ("DELETE FROM meters WHERE ts IN (5)", "0x2655.*only have a definite time window range"),
        ("DELETE FROM meters WHERE NOT ts = 5", "0x2655.*only have a definite time window range"),
        ("CREATE TABLE other (v INT, ts TIMESTAMP)", "0x2641.*First column must be timestamp"),
        ("CREATE TABLE other (ts TIMESTAMP, v INT) TAGS (v INT)", "0x263C.*Duplicated column names"),
        (
            "INSERT INTO d USING meters TAGS (1, 'A') VALUES (1000, 1, 1, 1)",
            "0x060B.*Timestamp data out of range",
        ),
        ("INSERT INTO d USING meters TAGS (1, 'A') VALUES (NOW, 'x', 1, 1)", "0x0216"),
        (
            "INSERT INTO d USING meters TAGS (1, 'A') VALUES (NOW, 1, 3000000000, 1)",
            "0x0216.*int data overflow",
        ),
        ("INSERT INTO d USING meters TAGS (1, 'A') VALUES (NOW, 1)", "0x0216"),
        ("INSERT INTO d USING meters TAGS (1, 'A') VALUES (NULL, 1, 1, 1)", "0x0216"),
        (
            "INSERT INTO d USING meters TAGS (1, '12345678901234567') VALUES (NOW, 1, 1, 1)",
            "0x2653.*too long.*location",
        ),
    ],
)
def test_a_statement_fails_as_in_tdengine(meters: "taosws.Connection", sql: str, code: str) -> None:
    with fails(code):
        meters.query(sql)
    assert rows(meters, "SELECT COUNT(*) FROM meters") == [(0,)]


def test_a_name_that_is_taken(meters: "taosws.Connection", database: str) -> None:
    meters.execute("CREATE TABLE d0 USING meters TAGS (1, 'A')")
    with fails("0x0603.*Table already exists"):
        meters.execute("CREATE TABLE d0 USING meters TAGS (1, 'A')")
    with fails("0x0381.*Database already exists"):
        meters.execute(f"CREATE DATABASE {database}")
    meters.execute("CREATE TABLE IF NOT EXISTS d0 USING meters TAGS (1, 'A')")
    meters.execute(f"CREATE TABLE IF NOT EXISTS meters {METERS}")
    meters.execute(f"CREATE DATABASE IF NOT EXISTS {database}")


def test_tags_fail_as_in_tdengine(meters: "taosws.Connection") -> None:
    meters.execute("CREATE TABLE d0 USING meters TAGS (1, 'A')")
    with fails("0x2649.*Invalid tag name: nope"):
        meters.execute("ALTER TABLE d0 SET TAG nope = 'e'")
    with fails("0x2653.*Value too long for column/tag: location"):
        meters.execute("ALTER TABLE d0 SET TAG location = '12345678901234567'")


def test_connecting_fails_as_in_tdengine(tdengine: TDengine) -> None:
    address = f"{tdengine.host}:{tdengine.port}"
    with fails("0x0357.*Authentication failure"):
        taosws.connect(f"taosws://{tdengine.user}:wrong@{address}")
    with fails("0x0351.*Invalid user"):
        taosws.connect(f"taosws://nobody:{tdengine.password}@{address}")
    with fails("0x0388.*Database not exist"):
        taosws.connect(f"{tdengine.url}/no_such_database")
    with fails("0x2616.*Database not specified"):
        tdengine.connect().query("SELECT * FROM meters")


def too_long() -> Any:
    return reading("d0", [T], [1], [1], [1], city="12345678901234567")


def of_another_type() -> Any:
    columns = [taosws.millis_timestamps_to_column([T]), taosws.ints_to_column([1])]
    columns += [taosws.ints_to_column([1]), taosws.floats_to_column([1.0])]
    return taosws.stmt2_bind_param_view("d0", [taosws.int_to_tag(1), taosws.varchar_to_tag("A")], columns)


@pytest.mark.parametrize(
    ("table", "code"),
    [
        (too_long, "0x0200.*tag length is too big"),
        (of_another_type, "0x0200.*column type mis-match with buffer type"),
        (
            lambda: reading("d0", [T, None], [1, 1], [1, 1], [1, 1]),
            "0x267B.*Primary key column should not be null",
        ),
        (
            lambda: reading("d0", [T], [1, 1], [1, 1], [1, 1]),
            "0x0200.*row number in each bind param should be the same",
        ),
        (lambda: reading("d0", [], [], [], []), "0x0236.*bind number out of range or not match"),
    ],
)
def test_a_bind_fails_as_in_tdengine(meters: "taosws.Connection", table: Any, code: str) -> None:
    with fails(code):
        prepared(meters).bind([table()])
    assert write(meters, reading("d1", [T], [1], [1], [1])) == 1


def test_a_bind_of_too_few_columns_fails(meters: "taosws.Connection") -> None:
    columns = [taosws.millis_timestamps_to_column([T]), taosws.floats_to_column([1.0])]
    tags = [taosws.int_to_tag(1), taosws.varchar_to_tag("A")]
    with fails("columns len mismatch"):
        prepared(meters).bind([taosws.stmt2_bind_param_view("d0", tags, columns)])


@pytest.mark.parametrize("moment", [1000, -5, 10**14])
def test_a_time_outside_the_retention_fails_at_execute(meters: "taosws.Connection", moment: int) -> None:
    statement = prepared(meters)
    statement.bind([reading("d0", [moment], [1], [1], [1])])
    with fails("0x060B"):
        statement.execute()


def test_an_unknown_supertable_fails_in_a_prepared_statement(meters: "taosws.Connection") -> None:
    def attempt() -> None:
        statement = prepared(
            meters, "INSERT INTO ? USING nothing (groupid, location) TAGS (?, ?) VALUES (?, ?, ?, ?)"
        )
        statement.bind([reading("d0", [T], [1], [1], [1])])
        statement.execute()

    with fails("0x022B.*Table does not exist"):
        attempt()


def test_a_statement_that_failed_goes_on_failing(meters: "taosws.Connection") -> None:
    statement = prepared(meters)
    with fails("0x0200"):
        statement.bind([too_long()])
    with fails("0x0200"):
        statement.bind([reading("d0", [T], [1], [1], [1])])


def test_a_table_that_is_gone_fails_at_execute(meters: "taosws.Connection") -> None:
    statement = prepared(meters)
    statement.bind([reading("d0", [T], [1], [1], [1])])
    statement.execute()
    meters.execute("DROP TABLE meters")
    statement.bind([reading("d0", [T], [1], [1], [1])])
    with fails("0x2603"):
        statement.execute()
    meters.execute(f"CREATE TABLE meters {METERS}")
    assert write(meters, reading("d0", [T], [1], [1], [1])) == 1


def test_a_closed_statement_is_gone(tdengine: TDengine) -> None:
    async def ask(*messages: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """Send actions with their arguments; returns the answers to all but "close", which has none."""
        socket = await websocket_connect(f"ws://{tdengine.host}:{tdengine.port}/ws")
        answers = []
        for number, (action, arguments) in enumerate(messages):
            await socket.write_message(
                json.dumps({"action": action, "args": {"req_id": number, **arguments}})
            )
            if action != "close":
                answers.append(json.loads(await asyncio.wait_for(socket.read_message(), 20)))
        socket.close()
        return answers

    login = ("conn", {"user": tdengine.user, "password": tdengine.password})
    prepare = ("prepare", {"stmt_id": 1, "sql": "SELECT 1"})
    answers = asyncio.run(ask(login, ("init", {}), prepare, ("close", {"stmt_id": 1}), prepare))
    assert [answer["code"] for answer in answers] == [0, 0, 0, 0xFFFF]


# What a driver and SQLAlchemy ask


@pytest.fixture
def listed(meters: "taosws.Connection", database: str) -> "taosws.Connection":
    """A connection whose database has a supertable meters, its subtables d0 and d1, and a plain table."""
    for number in range(2):
        meters.execute(f"CREATE TABLE d{number} USING meters TAGS ({number}, 'A')")
    meters.execute("CREATE TABLE notes (ts TIMESTAMP, note NCHAR(8))")
    return meters


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SHOW STABLES", {"meters"}),
        ("SHOW `{}`.STABLES", {"meters"}),
        ("SHOW {}.STABLES LIKE 'x%'", set()),
        ("SHOW TABLES", {"d0", "d1", "notes"}),
        ("SHOW {}.TABLES", {"d0", "d1", "notes"}),
        ("SHOW TABLES LIKE 'd_'", {"d0", "d1"}),
        ("SHOW NORMAL TABLES", {"notes"}),
        ("SHOW NORMAL `{}`.TABLES", {"notes"}),
        ("SHOW CHILD {}.TABLES LIKE '%1'", {"d1"}),
        ("SHOW `{}`.VIEWS", set()),
        ("SHOW SYSTEM DATABASES", {"information_schema", "performance_schema"}),
    ],
)
def test_show_lists_names(listed: "taosws.Connection", database: str, sql: str, names: set[str]) -> None:
    assert {row[0] for row in rows(listed, sql.format(database))} == names


def test_show_lists_databases(listed: "taosws.Connection", database: str) -> None:
    of_system = {"information_schema", "performance_schema"}
    shown = {row[0] for row in rows(listed, "SHOW DATABASES")}
    assert of_system | {database} <= shown
    assert {row[0] for row in rows(listed, "SHOW USER DATABASES")} == shown - of_system
    with fails("0x0388.*Database not exist"):
        listed.query("SHOW no_such_database.TABLES")


def test_show_needs_a_database(tdengine: TDengine) -> None:
    with fails("0x2600.*database not specified"):
        tdengine.connect().query("SHOW TABLES")


def test_information_schema_tells_of_the_index_of_the_first_tag(
    listed: "taosws.Connection", database: str
) -> None:
    where = f"WHERE db_name = '{database}' AND table_name = 'meters'"
    (index,) = rows(listed, f"SELECT * FROM information_schema.INS_INDEXES {where}")
    assert (*index[:4], *index[5:]) == ("groupid_meters", database, "meters", None, "groupid", "tag_index")


def test_the_only_node_is_ready(meters: "taosws.Connection") -> None:
    result = meters.query("SHOW DNODES")
    assert [f"{column.name()} {column.type()} {column.bytes()}" for column in result.fields] == [
        "id INT 4",
        "endpoint BINARY 134",
        "vnodes SMALLINT 2",
        "support_vnodes SMALLINT 2",
        "status BINARY 10",
        "create_time TIMESTAMP 8",
        "reboot_time TIMESTAMP 8",
        "note BINARY 256",
    ]
    assert [(row[0], row[4]) for row in result] == [(1, "ready")]


def test_connections_are_listed(tdengine: TDengine, meters: "taosws.Connection") -> None:
    def numbers() -> set[int]:
        return {row[0] for row in rows(meters, "SHOW CONNECTIONS") if row[1:3] == ("root", "taosadapter")}

    before = numbers()
    other = tdengine.connect()
    assert rows(other, "SELECT 1") == [(1,)]
    result = meters.query("SHOW CONNECTIONS")
    assert [f"{column.name()} {column.type()} {column.bytes()}" for column in result.fields] == [
        "conn_id INT UNSIGNED 4",
        "user BINARY 24",
        "app BINARY 24",
        "pid INT UNSIGNED 4",
        "end_point BINARY 134",
        "login_time TIMESTAMP 8",
        "last_access TIMESTAMP 8",
        "user_app BINARY 24",
        "user_ip BINARY 22",
    ]
    wait_for(lambda: len(numbers() - before) == 1, "the other connection in the list")
    other.close()
    del other
    wait_for(lambda: numbers() <= before, "the other connection's end")


def test_a_database_keeps_rows_for_as_long_as_it_says(meters: "taosws.Connection", database: str) -> None:
    meters.execute(f"DROP DATABASE {database}")
    meters.execute(f"CREATE DATABASE {database} KEEP 40d WAL_RETENTION_PERIOD 3600 VGROUPS 1")
    meters.execute(f"CREATE TABLE {database}.t (ts TIMESTAMP, v INT)")
    meters.execute(f"INSERT INTO {database}.t VALUES (NOW - 39d, 1)")
    with fails("0x060B.*Timestamp data out of range"):
        meters.execute(f"INSERT INTO {database}.t VALUES (NOW - 41d, 1)")
    meters.execute(f"DROP DATABASE {database}")
    meters.execute(f"CREATE DATABASE {database} KEEP 36500")
    meters.execute(f"CREATE TABLE {database}.t (ts TIMESTAMP, v INT)")
    meters.execute(f"INSERT INTO {database}.t VALUES (1000, 1)")
    assert rows(meters, f"SELECT CAST(ts AS BIGINT) FROM {database}.t") == [(1000,)]


@pytest.mark.parametrize("option", ["KEEP 29", "KEEP 0", "KEEP 10h", "KEEP 999999", "PRECISION 's'"])
def test_a_database_with_such_an_option_is_refused(meters: "taosws.Connection", option: str) -> None:
    with fails("0x2619"):
        meters.execute(f"CREATE DATABASE never {option}")


# Time zones


@pytest.fixture
def in_new_york(tdengine: TDengine, meters: "taosws.Connection", database: str) -> "taosws.Connection":
    """A connection in New York's time zone, with a plain table of a time beside the first."""
    connection = tdengine.connect(timezone="America/New_York")
    connection.execute(f"USE {database}")
    connection.execute("CREATE TABLE zoned (ts TIMESTAMP, v INT, later TIMESTAMP)")
    return connection


def test_a_text_is_in_the_time_zone_of_the_connection(
    in_new_york: "taosws.Connection", meters: "taosws.Connection"
) -> None:
    in_new_york.execute(
        "INSERT INTO zoned VALUES ('2025-01-01 12:00:00', 1, '2025-07-01 12:00:00.5') "
        "('2025-01-02', 2, NULL) ('2025-01-03T12:00:00Z', 3, '2025-01-03T12:00:00+01:00')"
    )
    assert rows(in_new_york, "SELECT ts FROM zoned WHERE v < 3") == [
        ("2025-01-01 12:00:00 EST",),
        ("2025-01-02 00:00:00 EST",),
    ]
    assert rows(meters, "SELECT ts, later FROM zoned") == [
        ("2025-01-01 17:00:00 +00:00", "2025-07-01 16:00:00.500 +00:00"),
        ("2025-01-02 05:00:00 +00:00", None),
        ("2025-01-03 12:00:00 +00:00", "2025-01-03 11:00:00 +00:00"),
    ]
    where = "WHERE ts >= '2025-01-01 12:00:00' AND ts < '2025-01-01 12:00:01'"
    assert rows(in_new_york, f"SELECT v FROM zoned {where}") == [(1,)]
    assert rows(meters, f"SELECT v FROM zoned {where}") == []
    statement = prepared(in_new_york, "SELECT v FROM zoned WHERE ts = ?")
    moment = taosws.varchar_to_column(["2025-01-01 12:00:00"])
    statement.bind([taosws.stmt2_bind_param_view(None, None, [moment])])
    statement.execute()
    assert list(statement.result_set()) == [(1,)]


def test_a_time_that_the_zone_skips_is_refused(in_new_york: "taosws.Connection") -> None:
    with fails("0x060B.*Timestamp data out of range"):
        in_new_york.execute("INSERT INTO zoned VALUES ('2025-03-09 02:30:00', 1, NULL)")
    in_new_york.execute("INSERT INTO zoned VALUES ('2025-11-02 01:30:00', 1, NULL)")
    assert rows(in_new_york, "SELECT CAST(ts AS BIGINT) FROM zoned") == [(1762061400000,)]


def test_a_connection_tells_its_time_zone(in_new_york: "taosws.Connection") -> None:
    ((zone,),) = rows(in_new_york, "SELECT TIMEZONE()")
    assert zone in ("America/New_York (EST, -0500)", "America/New_York (EDT, -0400)")


@pytest.mark.parametrize(
    "text",
    [
        "2025-01-03 12:00",
        "2025-01-04 12:00:00 +0100",
        "20250105 12:00:00",
        "2025-13-01",
        "2025-01-01 25:00:00",
    ],
)
def test_a_text_that_is_no_time_is_refused(meters: "taosws.Connection", text: str) -> None:
    with fails(f"0x0216.*near '{re.escape(text)}' \\(invalid timestamp\\)"):
        meters.execute(f"INSERT INTO d0 USING meters TAGS (1, 'A') VALUES ('{text}', 1, 1, 1)")


def test_rest_writes_times_in_the_zone_that_is_asked_for(
    tdengine: TDengine, meters: "taosws.Connection", database: str
) -> None:
    write(meters, reading("d0", [T], [1], [1], [1]))
    url, auth = f"{tdengine.rest_url}/rest/sql/{database}", (tdengine.user, tdengine.password)

    def ask(zone: str) -> requests.Response:
        sql = "SELECT ts FROM meters WHERE ts = '2023-11-14T22:13:20Z'"
        return requests.post(url, params={"tz": zone}, data=sql, auth=auth, timeout=10)

    assert ask("Asia/Shanghai").json()["data"] == [["2023-11-15T06:13:20.000+08:00"]]
    assert ask("UTC").json()["data"] == [["2023-11-14T22:13:20.000Z"]]
    answer = ask("Nowhere/Land")
    assert (answer.status_code, answer.json()["desc"]) == (400, "unknown time zone Nowhere/Land")


# REST, through taosrest


@pytest.fixture
def rest(tdengine: TDengine, meters: "taosws.Connection", database: str) -> Any:
    return taosrest.connect(
        url=tdengine.rest_url,
        user=tdengine.user,
        password=tdengine.password,
        database=database,
        timeout=10,
        convert_timestamp=False,
    )


def test_rest_tells_the_version(rest: Any, meters: "taosws.Connection") -> None:
    assert [(rest.server_info,)] == rows(meters, "SELECT SERVER_VERSION()")


def test_rest_writes_and_reads(rest: Any) -> None:
    inserted = rest.query(f"INSERT INTO d0 USING meters TAGS (1, 'Zürich') VALUES ({T}, 1.1, 220, NULL)")
    assert (inserted.data, inserted.fields[0]["name"]) == ([[1]], "affected_rows")
    result = rest.query("SELECT * FROM meters")
    assert result.data == [["2023-11-14T22:13:20.000Z", 1.1, 220, None, 1, "Zürich"]]
    assert [column["type"] for column in result.fields] == [
        "TIMESTAMP",
        "FLOAT",
        "INT",
        "FLOAT",
        "INT",
        "VARCHAR",
    ]


def test_rest_answers_without_a_body_where_json_has_no_number(
    tdengine: TDengine, meters: "taosws.Connection", database: str
) -> None:
    write(meters, reading("d0", [T, T + 1], [math.nan, math.inf], [1] * 2, [1] * 2))
    url, auth = f"{tdengine.rest_url}/rest/sql/{database}", (tdengine.user, tdengine.password)
    for moment in (T, T + 1):
        sql = f"SELECT current FROM meters WHERE ts = {moment}"
        answer = requests.post(url, data=sql, auth=auth, timeout=10)
        assert (answer.status_code, answer.text) == (200, "")


def test_rest_writes_numbers_in_the_fewest_digits(rest: Any, meters: "taosws.Connection") -> None:
    values = [0.1, 16777216.0, 123456789.0, 1e30, 1e-9, -2.5]
    write(meters, reading("d0", list(range(T, T + 6)), values, [1] * 6, [1] * 6))
    result = rest.query("SELECT current FROM meters ORDER BY ts")
    assert [row[0] for row in result.data] == [0.1, 16777216, 123456790, 1e30, 1e-09, -2.5]


def test_rest_fails_as_in_tdengine(rest: Any, tdengine: TDengine) -> None:
    with pytest.raises(taosrest.errors.ConnectError, match="Table does not exist"):
        rest.query("SELECT * FROM nothing")
    with pytest.raises(taosrest.errors.ConnectError, match="Authentication failure"):
        taosrest.connect(url=tdengine.rest_url, user=tdengine.user, password="wrong", timeout=10).query(
            "SELECT 1"
        )
    answer = requests.post(
        f"{tdengine.rest_url}/rest/sql", auth=(tdengine.user, tdengine.password), timeout=10
    )
    assert (answer.status_code, answer.json()["code"]) == (400, 4358)


# What only the emulator says


@pytest.mark.emulator_only
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) FROM meters STATE_WINDOW(voltage)",
        "SELECT DERIVATIVE(voltage, 1s, 0) FROM meters",
        "CREATE STREAM s AS SELECT * FROM meters",
        "SHOW VARIABLES",
        "SELECT * FROM meters JOIN other",
        "SELECT tag_value FROM information_schema.ins_tags",
        "INSERT INTO meters SELECT * FROM other",
        "SELECT " + "1 + " * 3_000 + "1",
        "SELECT " + "9" * 10_000,
    ],
)
def test_what_the_emulator_does_not_understand_it_names(meters: "taosws.Connection", sql: str) -> None:
    with fails(r"(?s)0x2600.*emulator 3\.3\.7\.5\.emulator.*understands .*SELECT"):
        meters.query(sql)


def test_a_group_of_tags_without_rows_has_one_row_that_counts_nowhere(tdengine: TDengine) -> None:
    """All of it is NULL but for the tags; a group that has rows has none such."""
    connection = tdengine.connect()
    connection.execute("DROP DATABASE IF EXISTS test_no_rows")
    try:
        connection.execute("CREATE DATABASE test_no_rows VGROUPS 1")
        connection.execute("CREATE STABLE test_no_rows.t (ts TIMESTAMP, x INT) TAGS (n INT)")
        for name, tag in (("a", 1), ("b", 1), ("c", 2)):
            connection.execute(f"CREATE TABLE test_no_rows.{name} USING test_no_rows.t TAGS ({tag})")
        connection.execute("INSERT INTO test_no_rows.a VALUES (1795000000000, 5)")
        asked = "SELECT n, COUNT(*), COUNT(n), SUM(n), SUM(1) FROM test_no_rows.t GROUP BY n ORDER BY n"
        assert list(connection.query(asked)) == [(1, 1, 1, 1, 1), (2, 0, 0, 2, 1)]
    finally:
        connection.execute("DROP DATABASE test_no_rows")
