"""What a look back asks, and what it means: the same on the emulator and on TDengine.

With TEST_TAOS_PORT set these run against the TDengine there; that is how they were checked. Of the rest of a
look back's statements recordings/11-history has the answers.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import taosws
from conftest import TDengine
from support import Process, emulator, free_port, python, wait_for
from test_emulator_meaning import fails, rows

T = 1_700_006_400_000  # 2023-11-15 00:00
HOUR = 3_600_000
NAN, INFINITY = math.nan, math.inf
FLOAT_01, FLOAT_1E30 = struct.unpack("<2f", struct.pack("<2f", 0.1, 1e30))
LARGEST = "1.7976931348623157e308"


@pytest.fixture(scope="module")
def readings(tdengine: TDengine) -> Iterator["taosws.Connection"]:
    """A connection that uses a database with a supertable of three subtables, and one without rows."""
    connection = tdengine.connect()
    connection.execute("DROP DATABASE IF EXISTS emulator_history")
    connection.execute("CREATE DATABASE emulator_history KEEP 36500")
    connection.execute("USE emulator_history")
    connection.execute(
        "CREATE STABLE readings (ts TIMESTAMP, f FLOAT, d DOUBLE, i INT, s VARCHAR(20), n NCHAR(20), "
        "ok BOOL, w TIMESTAMP, b BIGINT) TAGS (city VARCHAR(20), g INT)"
    )
    statement = connection.stmt2_statement()
    statement.prepare("INSERT INTO ? USING readings TAGS (?, ?) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
    for at, (city, group) in enumerate([("Aix", 1), ("Bern", 2), ("Aix", None)]):
        columns = [
            taosws.millis_timestamps_to_column([T + at + hour * HOUR for hour in range(6)]),
            taosws.floats_to_column([0.1, NAN, INFINITY, None, -0.0, 1e30]),
            taosws.doubles_to_column([0.25 + at, NAN, -INFINITY, None, 0.0, -2.5]),
            taosws.ints_to_column([1, -7, 2_147_483_647, None, 0, 5]),
            taosws.varchar_to_column(["", "Ab", "12.5x", None, "z%_ü", "-3"]),
            taosws.nchar_to_column(["", "Ab", "12.5x", None, "😀ü", "-3"]),
            taosws.bools_to_column([True, False, None, True, False, None]),
            taosws.millis_timestamps_to_column([T, T - 1, None, 0, -5000, T + 1]),
            taosws.big_ints_to_column([1, -7, 2**63 - 1, None, 0, 2**53 + 1]),
        ]
        tags = [taosws.varchar_to_tag(city), taosws.int_to_tag(group)]
        statement.bind([taosws.stmt2_bind_param_view(f"r{at}", tags, columns)])
        statement.execute()
    connection.execute("CREATE TABLE r3 USING readings TAGS ('Cork', 3)")
    yield connection
    connection.execute("DROP DATABASE emulator_history")
    connection.close()


def rounded(values: Any) -> list[Any]:
    """Values, floats among them as texts of 12 digits."""
    return [f"{value:.12g}" if isinstance(value, float) else value for value in values]


def same(found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows in which NaN is equal to NaN."""
    return [tuple("NaN" if value != value else value for value in row) for row in found]


def of_r0(connection: "taosws.Connection", expression: str) -> list[Any]:
    """An expression's values in the six rows of one subtable."""
    found = rows(connection, f"SELECT {expression} FROM readings WHERE tbname = 'r0' ORDER BY ts")
    return [value for (value,) in same(found)]


def chosen(connection: "taosws.Connection", condition: str) -> list[int]:
    """The numbers of the rows of one subtable, from 0, for which a condition holds."""
    sql = f"SELECT CAST(ts AS BIGINT) FROM readings WHERE tbname = 'r0' AND ({condition}) ORDER BY ts"
    return [(moment - T) // HOUR for (moment,) in rows(connection, sql)]


# Arithmetic and functions


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("i + 1", [2.0, -6.0, 2147483648.0, None, 1.0, 6.0]),
        ("d * 2", [0.5, "NaN", -INFINITY, None, 0.0, -5.0]),
        ("f - f", [0.0, "NaN", "NaN", None, 0.0, 0.0]),
        ("i / 0", [None] * 6),
        ("i % 0", [None] * 6),
        ("i % 3", [1.0, -1.0, 1.0, None, 0.0, 2.0]),
        ("d % 2", [0.25, None, None, None, 0.0, -0.5]),
        ("(i + 1) * 2", [4.0, -12.0, 4294967296.0, None, 2.0, 12.0]),
        ("-i", [-1.0, 7.0, -2147483647.0, None, 0.0, -5.0]),
        ("s + 1", [1.0, 1.0, 13.5, None, 1.0, -2.0]),
        ("i + s", [1.0, -7.0, 2147483659.5, None, 0.0, 2.0]),
        ("ok + 1", [2.0, 1.0, None, 2.0, 1.0, None]),
        ("CAST(w + 1 AS BIGINT)", [T + 1, T, None, 1, -4999, T + 2]),
        ("1 + 2 * 3 - 4 / 8", [6.5] * 6),
        ("ABS(d)", [0.25, "NaN", INFINITY, None, 0.0, 2.5]),
        ("CEIL(d)", [1.0, "NaN", -INFINITY, None, 0.0, -2.0]),
        ("FLOOR(d)", [0.0, "NaN", -INFINITY, None, 0.0, -3.0]),
        ("ROUND(d)", [0.0, "NaN", -INFINITY, None, 0.0, -3.0]),
        ("ROUND(i / 8, 2)", [0.13, -0.88, 268435455.88, None, 0.0, 0.63]),
        ("TRUNCATE(d, 0)", [0.0, None, None, None, 0.0, -2.0]),
        ("SIGN(d)", [1.0, 0.0, -1.0, None, 0.0, -1.0]),
        ("SQRT(i - 1)", [0.0, None, math.sqrt(2147483646), None, None, 2.0]),
        ("POW(i, 2)", [1.0, 49.0, 2147483647.0**2, None, 0.0, 25.0]),
        ("LN(d)", [math.log(0.25), None, None, None, None, None]),
        ("LOG(i, 5)", [0.0, None, math.log(2147483647) / math.log(5), None, None, 1.0]),
        ("EXP(d)", [math.exp(0.25), None, 0.0, None, 1.0, math.exp(-2.5)]),
        ("MOD(i, 3)", [1.0, -1.0, 1.0, None, 0.0, 2.0]),
        ("SIN(i - i) + COS(i - i) + TAN(i - i)", [1.0, 1.0, 1.0, None, 1.0, 1.0]),
        ("ASIN(i / 5) * 2 / PI()", [math.asin(0.2) * 2 / math.pi, None, None, None, 0.0, 1.0]),
        ("ACOS(i / 5)", [math.acos(0.2), None, None, None, math.acos(0), 0.0]),
        ("ATAN(d)", [math.atan(0.25), None, -math.pi / 2, None, 0.0, math.atan(-2.5)]),
        ("DEGREES(RADIANS(d + 0.25))", [0.5, None, None, None, 0.25, -2.25]),
        ("GREATEST(i, 1)", [1, 1, 2147483647, None, 1, 5]),
        ("LEAST(i, d)", [0.25, "NaN", -INFINITY, None, 0.0, -2.5]),
    ],
)
def test_numbers_are_computed(readings: "taosws.Connection", expression: str, values: list[Any]) -> None:
    assert rounded(of_r0(readings, expression)) == rounded(values)


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("UPPER(s)", ["", "AB", "12.5X", None, "Z%_ü", "-3"]),
        ("LOWER(n)", ["", "ab", "12.5x", None, "😀ü", "-3"]),
        ("LENGTH(s)", [0, 2, 5, None, 5, 2]),
        ("LENGTH(n)", [0, 8, 20, None, 8, 8]),
        ("CHAR_LENGTH(s)", [0, 2, 5, None, 4, 2]),
        ("CONCAT(s, n)", ["", "AbAb", "12.5x12.5x", None, "z%_ü😀ü", "-3-3"]),
        ("CONCAT_WS('-', s, n, 'x')", ["--x", "Ab-Ab-x", "12.5x-12.5x-x", None, "z%_ü-😀ü-x", "-3--3-x"]),
        ("SUBSTR(s, 2)", ["", "b", "2.5x", None, "%_ü", "3"]),
        ("SUBSTRING(n, 1, 1)", ["", "A", "1", None, "😀", "-"]),
        ("SUBSTR(s, -2, 1)", ["", "A", "5", None, "_", "-"]),
        ("SUBSTRING_INDEX(s, '.', 1)", ["", "Ab", "12", None, "z%_ü", "-3"]),
        ("POSITION('b' IN s)", [0, 2, 0, None, 0, 0]),
        ("REPLACE(s, 'b', 'xyz')", ["", "Axyz", "12.5x", None, "z%_ü", "-3"]),
        ("REPEAT(s, 2)", ["", "AbAb", "12.5x12.5x", None, "z%_üz%_ü", "-3-3"]),
        ("LTRIM(CONCAT(' ', s, ' '))", ["", "Ab ", "12.5x ", None, "z%_ü ", "-3 "]),
        ("RTRIM(CONCAT(' ', s, ' '))", ["", " Ab", " 12.5x", None, " z%_ü", " -3"]),
        ("TRIM(CONCAT(' ', s, ' '))", ["", "Ab", "12.5x", None, "z%_ü", "-3"]),
        ("ASCII(CONCAT(s, 'x'))", [120, 65, 49, None, 122, 45]),
        ("CAST(i AS VARCHAR(20))", ["1", "-7", "2147483647", None, "0", "5"]),
        (
            "CAST(d / 3 AS VARCHAR(30))",
            ["0.0833333333333333", "nan", "-inf", None, "0", "-0.833333333333333"],
        ),
        ("CAST(ok AS VARCHAR(2))", ["tr", "fa", None, "tr", "fa", None]),
        ("CAST(s AS NCHAR(2))", ["", "Ab", "12", None, "z%", "-3"]),
        ("CAST(s AS DOUBLE)", [0.0, 0.0, 12.5, None, 0.0, -3.0]),
        ("CAST(s AS INT)", [0, 0, 12, None, 0, -3]),
        ("CAST(d AS INT)", [0, -(2**31), -(2**31), None, 0, -2]),
        ("CAST(i AS TINYINT)", [1, -7, -1, None, 0, 5]),
        ("CAST(i AS BOOL)", [True, True, True, None, False, True]),
        ("CAST(ok AS DOUBLE)", [1.0, 0.0, None, 1.0, 0.0, None]),
        ("CAST(d AS FLOAT)", [0.25, "NaN", -INFINITY, None, 0.0, -2.5]),
    ],
)
def test_texts_are_computed(readings: "taosws.Connection", expression: str, values: list[Any]) -> None:
    assert of_r0(readings, expression) == values


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("DAYOFWEEK(w)", [4, 3, None, 5, 4, 4]),
        ("WEEKDAY(w)", [2, 1, None, 3, 2, 2]),
        ("CAST(TIMETRUNCATE(w, 1h) AS BIGINT)", [T, T - HOUR, None, 0, 0, T]),
        ("CAST(TIMETRUNCATE(w, 1d) AS BIGINT)", [T, T - 24 * HOUR, None, 0, 0, T]),
        ("TIMEDIFF(ts, w, 1h)", [0, 1, None, (T + 3 * HOUR) // HOUR, (T + 4 * HOUR) // HOUR, 4]),
        (
            "TO_CHAR(w, 'yyyy-mm-dd hh24:mi:ss.ms Mon DY am')",
            [
                "2023-11-15 00:00:00.000 Nov WED am",
                "2023-11-14 23:59:59.999 Nov TUE pm",
                None,
                "1970-01-01 00:00:00.000 Jan THU am",
                "1969-12-31 23:59:55.000 Dec WED pm",
                "2023-11-15 00:00:00.001 Nov WED am",
            ],
        ),
        ("CAST(TODAY() AS BIGINT) % 86400000 + CAST(ok AS INT) * 0", [0.0, 0.0, None, 0.0, 0.0, None]),
    ],
)
def test_times_are_computed(readings: "taosws.Connection", expression: str, values: list[Any]) -> None:
    assert of_r0(readings, expression) == values


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("CASE WHEN i > 0 THEN 'yes' WHEN i < 0 THEN 'no' END", ["yes", "no", "yes", None, None, "yes"]),
        ("CASE i WHEN 1 THEN 10 WHEN 5 THEN 50 ELSE 0 END", [10, 0, 0, 0, 0, 50]),
        ("CASE WHEN i IS NULL THEN true ELSE false END", [False, False, False, True, False, False]),
        ("CASE WHEN i > 0 THEN i ELSE d END", ["1", "nan", "2147483647", None, "0", "5"]),
        (
            "CASE WHEN i > 0 THEN f ELSE d END",
            [FLOAT_01, "NaN", INFINITY, None, 0.0, FLOAT_1E30],
        ),
        ("CASE WHEN i > 0 AND ok = true OR n = 'Ab' THEN 1 ELSE 0 END", [1, 1, 0, 0, 0, 0]),
    ],
)
def test_case_chooses(readings: "taosws.Connection", expression: str, values: list[Any]) -> None:
    assert of_r0(readings, expression) == values


# Conditions


@pytest.mark.parametrize(
    ("condition", "places"),
    [
        ("i > 0", [0, 2, 5]),
        ("NOT (i > 0)", [1, 3, 4]),
        ("i <> 1", [1, 2, 4, 5]),
        ("NOT i = 1", [1, 2, 3, 4, 5]),
        ("i IN (1, 5)", [0, 5]),
        ("i NOT IN (1, 5)", [1, 2, 4]),
        ("NOT i IN (1, 5)", [1, 2, 3, 4]),
        ("i IN (1, NULL)", [0]),
        ("i BETWEEN -7 AND 1", [0, 1, 4]),
        ("i NOT BETWEEN -7 AND 1", [2, 5]),
        ("i IS NULL OR ok = true", [0, 3]),
        ("ok <> true", [1, 4]),
        ("ok = false AND i < 0", [1]),
        ("f = 0.1", [0]),
        ("f IN (0.1)", []),
        ("f > 0.1", [2, 5]),
        ("f >= 0.1", [0, 2, 5]),
        ("CAST(f AS DOUBLE) > 0.1", [0, 2, 5]),
        ("d = 0.25", [0]),
        ("d < 1", [0, 1, 2, 4, 5]),
        ("d > -9", [0, 4, 5]),
        ("NOT (d < 1)", [1, 3]),
        ("d <> 0", [0, 2, 5]),
        (f"d BETWEEN -{LARGEST} AND {LARGEST}", [0, 4, 5]),
        (f"NOT (d BETWEEN -{LARGEST} AND {LARGEST})", [1, 2, 3]),
        ("d + 1 > 0", [0, 4]),
        ("s = 'Ab'", [1]),
        ("s = 'ab'", []),
        ("s <> 'Ab'", [0, 2, 4, 5]),
        ("s > 'A'", [1, 4]),
        ("s IN ('Ab', '')", [0, 1]),
        ("s = n", [0, 1, 2, 5]),
        ("s LIKE 'a_'", [1]),
        ("s NOT LIKE 'a%'", [0, 2, 4, 5]),
        ("NOT s LIKE 'a%'", [0, 2, 3, 4, 5]),
        ("s LIKE 'z\\\\%\\\\_%'", [4]),
        ("s LIKE 'z%__'", [4]),
        ("s LIKE 'z__ü'", [4]),
        ("s LIKE '___'", []),
        ("n LIKE '_ü'", [4]),
        ("n MATCH '^A'", [1]),
        ("n MATCH 'a'", []),
        ("n NMATCH '^A'", [0, 2, 4, 5]),
        ("w > 0 AND w <= ts", [0, 1, 5]),
        (f"w IN ({T}, 0)", [0, 3]),
        ("w IS NOT NULL", [0, 1, 3, 4, 5]),
        ("b = 9007199254740993", [5]),
        ("1 = 1", [0, 1, 2, 3, 4, 5]),
        ("CASE WHEN i > 0 THEN 0 ELSE 1 END = 1", [1, 3, 4]),
    ],
)
def test_conditions_choose(readings: "taosws.Connection", condition: str, places: list[int]) -> None:
    assert chosen(readings, condition) == places


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("i > 0", [True, False, True, False, False, True]),
        ("NOT i > 0", [False, True, False, True, True, False]),
        ("i > 0 AND ok = true", [True, False, False, False, False, False]),
        ("d < 0.5", [True, True, True, False, True, True]),
        ("d < 1", [True, False, True, False, True, True]),
        ("d <= 1", [True, True, True, False, True, True]),
        ("d = d", [True, True, False, False, True, True]),
        ("d <> d", [False, False, True, False, False, False]),
        ("i IS NULL", [False, False, False, True, False, False]),
        ("NULL = 1", [False] * 6),
    ],
)
def test_a_condition_is_a_value(readings: "taosws.Connection", expression: str, values: list[Any]) -> None:
    assert of_r0(readings, expression) == values


@pytest.mark.parametrize("condition", ["1 = 2", "i = NULL", "i <> NULL", "i NOT IN (1, NULL)"])
def test_a_condition_that_never_holds_leaves_nothing_to_count(
    readings: "taosws.Connection", condition: str
) -> None:
    assert rows(readings, f"SELECT COUNT(*) FROM readings WHERE {condition}") == []


# Groups


def test_rows_are_grouped_by_tags(readings: "taosws.Connection") -> None:
    sql = "SELECT city, g, COUNT(*), COUNT(i), SUM(i), AVG(i), MIN(s), MAX(n) FROM readings WHERE i < 100 "
    assert rows(readings, f"{sql} GROUP BY city, g ORDER BY city, g") == [
        ("Aix", None, 4, 4, -1, -0.25, "", "😀ü"),
        ("Aix", 1, 4, 4, -1, -0.25, "", "😀ü"),
        ("Bern", 2, 4, 4, -1, -0.25, "", "😀ü"),
        ("Cork", 3, 0, 0, None, None, None, None),
    ]


def test_tags_without_rows_count_0_where_there_is_a_count(readings: "taosws.Connection") -> None:
    nothing = "FROM readings WHERE i > 3000000000 AND city <> 'Bern'"
    counted = rows(readings, f"SELECT city, COUNT(*), SUM(i) {nothing} GROUP BY city ORDER BY city")
    assert counted == [("Aix", 0, None), ("Cork", 0, None)]
    assert rows(readings, f"SELECT COUNT(i) {nothing} PARTITION BY tbname") == [(0,)] * 3
    made_up = f"SELECT city, COUNT(*), SUM(CASE WHEN i > 0 THEN 1 ELSE 0 END) {nothing} GROUP BY city"
    assert sorted(rows(readings, made_up)) == [("Aix", 0, 0), ("Cork", 0, 0)]
    assert rows(readings, f"SELECT city, SUM(i) {nothing} GROUP BY city") == []
    assert rows(readings, f"SELECT city, s, COUNT(*) {nothing} GROUP BY city, s") == []
    assert rows(readings, f"SELECT _wstart, city, COUNT(*) {nothing} PARTITION BY city INTERVAL(1h)") == []


def test_null_and_nan_are_groups_of_their_own_and_sort_first(readings: "taosws.Connection") -> None:
    found = rows(readings, "SELECT d, COUNT(*) FROM readings GROUP BY d ORDER BY d")
    assert same(found)[:4] == [(None, 3), ("NaN", 3), (-INFINITY, 3), (-2.5, 3)]
    assert rows(readings, "SELECT s, COUNT(*) FROM readings GROUP BY s ORDER BY s DESC")[-1] == (None, 3)
    assert same(rows(readings, "SELECT DISTINCT d FROM readings ORDER BY d DESC"))[-2:] == [("NaN",), (None,)]


def test_groups_are_of_expressions_aliases_and_places(readings: "taosws.Connection") -> None:
    expected = [(None, 3), (-1.0, 3), (0.0, 3), (1.0, 9)]
    for key in ("i % 2", "odd", "1"):
        sql = f"SELECT i % 2 odd, COUNT(*) FROM readings GROUP BY {key} ORDER BY odd"
        assert rows(readings, sql) == expected, key
    sql = "SELECT CAST(ts AS BIGINT) g0, COUNT(*) FROM readings GROUP BY ts ORDER BY g0 LIMIT 2"
    assert rows(readings, sql) == [(T, 1), (T + 1, 1)]


def test_groups_are_chosen_and_ordered_by_aggregates(readings: "taosws.Connection") -> None:
    sql = "SELECT city, COUNT(*) c FROM readings GROUP BY city"
    assert rows(readings, f"{sql} HAVING COUNT(*) > 0 ORDER BY c DESC LIMIT 1") == [("Aix", 12)]
    assert rows(readings, f"{sql} ORDER BY COUNT(*), city LIMIT 2 OFFSET 1") == [("Bern", 6), ("Aix", 12)]
    assert rows(readings, f"{sql} ORDER BY 2 DESC, 1 LIMIT 2, 1") == [("Cork", 0)]


def test_limit_without_order_counts_in_each_group(readings: "taosws.Connection") -> None:
    sql = "SELECT city, COUNT(*) FROM readings GROUP BY city"
    assert len(rows(readings, f"{sql} LIMIT 1")) == 3
    assert rows(readings, f"{sql} LIMIT 1 OFFSET 1") == []
    assert len(rows(readings, "SELECT tbname, i FROM readings PARTITION BY tbname LIMIT 2")) == 6


def test_columns_beside_a_tables_name_may_be_tags(readings: "taosws.Connection") -> None:
    sql = "SELECT tbname, city, UPPER(city), COUNT(i) FROM readings GROUP BY tbname ORDER BY tbname"
    assert rows(readings, sql) == [
        ("r0", "Aix", "AIX", 5),
        ("r1", "Bern", "BERN", 5),
        ("r2", "Aix", "AIX", 5),
        ("r3", "Cork", "CORK", 0),
    ]


def test_windows_lie_from_1970(readings: "taosws.Connection") -> None:
    sql = "SELECT CAST(_wstart AS BIGINT) g0, CAST(_wend AS BIGINT), _wduration, COUNT(*) FROM readings"
    for window, start, length, counts in [
        ("2h", T, 2 * HOUR, [6, 6, 6]),
        ("7h", T - 4 * HOUR, 7 * HOUR, [9, 9]),
        ("7h, 1h", T - 3 * HOUR, 7 * HOUR, [12, 6]),
        ("1d", T, 24 * HOUR, [18]),
        ("1w", T - 144 * HOUR, 168 * HOUR, [18]),
    ]:
        expected = [(start + n * length, start + (n + 1) * length, length, c) for n, c in enumerate(counts)]
        assert rows(readings, f"{sql} INTERVAL({window}) ORDER BY g0") == expected, window


@pytest.mark.parametrize(
    ("window", "month"), [("1n", "2023-11-01"), ("1y", "2023-01-01"), ("3n", "2023-10-01")]
)
def test_windows_go_by_the_calendar(readings: "taosws.Connection", window: str, month: str) -> None:
    sql = f"SELECT TO_CHAR(_wstart, 'yyyy-mm-dd'), COUNT(*) FROM readings INTERVAL({window})"
    assert rows(readings, sql) == [(month, 18)]


def test_windows_of_partitions(readings: "taosws.Connection") -> None:
    sql = (
        "SELECT CAST(_wstart AS BIGINT) g0, city g1, COUNT(*), LAST(i), COLS(FIRST(ts), n) FROM readings "
        "WHERE i IS NOT NULL PARTITION BY city INTERVAL(3h) ORDER BY g0, g1 LIMIT 200"
    )
    assert rows(readings, sql) == [
        (T, "Aix", 6, 2147483647, ""),
        (T, "Bern", 3, 2147483647, ""),
        (T + 3 * HOUR, "Aix", 4, 5, "😀ü"),
        (T + 3 * HOUR, "Bern", 2, 5, "😀ü"),
    ]


# Aggregates


@pytest.mark.parametrize(
    ("selected", "expected"),
    [
        ("SUM(i), SUM(d), AVG(d), AVG(f)", (6442450938, None, None, None)),
        ("MIN(d), MAX(d), MAX(f), MIN(i)", (-INFINITY, 2.25, INFINITY, -7)),
        ("SUM(b)", (3 * (2**63 - 1 - 6 + 2**53 + 1) - 2**65,)),
        ("SPREAD(i), SPREAD(ts)", (2147483654.0, 5.0 * HOUR + 2)),
        ("STDDEV(i)", (429496729.2,)),
        ("STDDEV(CAST(i AS DOUBLE))", (858993458.9,)),
        ("HYPERLOGLOG(i), HYPERLOGLOG(s), COUNT(ok)", (5, 5, 12)),
        ("FIRST(s), LAST(s), FIRST(f), LAST(ok)", ("", "-3", FLOAT_01, False)),
        ("SUM(i * 2) + 1, COUNT(*) / 4", (12884901877.0, 4.5)),
        ("COLS(FIRST(ts), s, i), COLS(LAST(ts), s AS t, i + 1 u)", ("", 1, "-3", 6.0)),
        ("COLS(MIN(i), n, ok)", ("Ab", False)),
        ("LAST_ROW(i) - FIRST(i), CAST(LAST_ROW(w) AS BIGINT)", (4.0, T + 1)),
        ("MAX(CAST(w AS BIGINT)), CAST(FIRST(w) AS BIGINT)", (T + 1, T)),
        ("SUM(CASE WHEN ok = true THEN i END), AVG(ABS(i))", (3, 429496732.0)),
        (f"SUM(CASE WHEN d BETWEEN -{LARGEST} AND {LARGEST} THEN d + 0 END)", (-3.75,)),
        ("SUM(NULL), COUNT(NULL), COUNT(1), SUM(2)", (None, 0, 18, 36)),
        ("MODE(city)", ("Aix",)),
    ],
)
def test_aggregates_of_all_rows(
    readings: "taosws.Connection", selected: str, expected: tuple[Any, ...]
) -> None:
    (found,) = rows(readings, f"SELECT {selected} FROM readings")
    assert rounded(found) == rounded(expected)


@pytest.mark.parametrize(
    ("percent", "value"), [(0, -7.0), (25, -7.0), (50, 0.0), (60, 0.25), (75, 1.0), (100, 5.0)]
)
def test_percentiles(readings: "taosws.Connection", percent: int, value: float) -> None:
    sql = f"SELECT APERCENTILE(i, {percent}) FROM readings WHERE i < 100"
    assert rows(readings, sql)[0] == pytest.approx((value,), abs=0.3)


def test_decimals_are_added_up_exactly(readings: "taosws.Connection") -> None:
    readings.execute("CREATE TABLE sums (ts TIMESTAMP, d DECIMAL(10,3), e DECIMAL(30,8))")
    values = [
        f"({T + n}, {d}, {e})" for n, (d, e) in enumerate([(1.5, 0.1), (-20.125, 0.2), ("NULL", "NULL")])
    ]
    readings.execute(f"INSERT INTO sums VALUES {' '.join(values)} ({T + 9}, 7.001, 0.3)")
    selected = "SUM(d), AVG(d), MIN(d), MAX(d), FIRST(e), SUM(e), AVG(e), COUNT(d)"
    (found,) = rows(readings, f"SELECT {selected} FROM sums")
    assert [str(value) for value in found] == (
        ["-11.624", "-3.874667", "-20.125", "7.001", "0.10000000", "0.60000000", "0.20000000", "3"]
    )
    casts = "CAST(d AS DOUBLE), CAST(d AS BIGINT), CAST(d AS VARCHAR(9)), d + CAST(0 AS DOUBLE)"
    assert rows(readings, f"SELECT {casts} FROM sums WHERE d > 1 ORDER BY d LIMIT 1") == [
        (1.5, 2, "1.500", 1.5)
    ]
    with fails("0x2802.*Invalid parameter data type : stddev"):
        readings.query("SELECT STDDEV(d) FROM sums")


# Parts of statements


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT COUNT(*) FROM (SELECT DISTINCT city, s FROM readings)", [(12,)]),
        (
            "SELECT COUNT(*), SUM(c) FROM (SELECT s, COUNT(*) c FROM readings GROUP BY s) WHERE c = 3",
            [(6, 18)],
        ),
        ("SELECT MAX(x) FROM (SELECT i * 2 x FROM readings WHERE i < 9)", [(10.0,)]),
        ("SELECT t.x FROM (SELECT i + 1 AS x FROM readings) t WHERE x < 0 ORDER BY t.x LIMIT 1", [(-6.0,)]),
        ("SELECT FIRST(i), LAST(i) FROM (SELECT ts, i FROM readings WHERE i > 1)", [(2147483647, 5)]),
        ("SELECT AVG(c) FROM (SELECT _wstart, COUNT(*) c FROM readings INTERVAL(2h))", [(6.0,)]),
        ("SELECT _wstart, COUNT(*) FROM (SELECT ts, i FROM readings) INTERVAL(10d)", 1),
        ("SELECT COUNT(*) FROM (SELECT i FROM readings ORDER BY i LIMIT 5)", [(5,)]),
        ("SELECT 'all' c, 1 FROM readings UNION ALL SELECT s, 1 FROM readings WHERE i = 5 ORDER BY c", 21),
        ("SELECT city FROM readings UNION SELECT city FROM readings ORDER BY city", [("Aix",), ("Bern",)]),
        ("SELECT NULL c, 1 UNION ALL SELECT 'x', 2 ORDER BY c", [(None, 1), ("x", 2)]),
        ("SELECT -i AS i FROM readings WHERE i > 0 ORDER BY i LIMIT 1", [(-2147483647.0,)]),
        ("SELECT i FROM readings ORDER BY i NULLS LAST LIMIT 1", [(-7,)]),
        ("SELECT i FROM readings ORDER BY ABS(i) DESC, ts LIMIT 1", [(2147483647,)]),
    ],
)
def test_selects_are_combined(readings: "taosws.Connection", sql: str, expected: Any) -> None:
    found = rows(readings, sql)
    assert (len(found) if isinstance(expected, int) else found) == expected


def test_results_have_types_and_names(readings: "taosws.Connection") -> None:
    selected = (
        "(i + 1) * 2, ABS(f), CEIL(i), CONCAT(city, '!'), CONCAT(city, n), CAST(i AS VARCHAR(9)), 'x', NULL, "
        "i > 0, CASE WHEN i > 0 THEN 'a' ELSE 'bbb' END, LENGTH(s), TO_CHAR(ts, 'yyyy'), SUBSTR(n, 1) AS Part"
    )
    fields = readings.query(f"SELECT {selected} FROM readings WHERE tbname = 'r0'").fields
    assert [f"{field.name()}: {field.type()} {field.bytes()}" for field in fields] == [
        "(i + 1) * 2: DOUBLE 8",
        "abs(f): FLOAT 4",
        "ceil(i): INT 4",
        "concat(city, '!'): BINARY 23",
        "concat(city, n): NCHAR 42",
        "cast(i as varchar(9)): BINARY 9",
        "'x': BINARY 1",
        "null: BINARY 0",
        "i > 0: BOOL 1",
        "case when i > 0 then 'a' else 'bbb' end: BINARY 3",
        "length(s): BIGINT 8",
        "to_char(ts, 'yyyy'): BINARY 4094",
        "part: NCHAR 20",
    ]


def test_an_expression_may_be_deep(readings: "taosws.Connection") -> None:
    deep, choice = "i", "0"
    for n in range(40):
        deep = f"ABS(1 + ({deep}) * 2 - 1)" if n % 2 else f"(({deep}) / 2)"
        choice = f"CASE WHEN i = {n} THEN {n} ELSE {choice} END"
    where = f"WHERE ABS(ABS(ABS({deep}))) >= 0"
    sql = f"SELECT {deep}, {choice}, SUM(1) FROM readings {where} GROUP BY {deep}, {choice}"
    assert (5.0, 5, 3) in rows(readings, sql)


# Errors


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT PERCENTILE(i, 50) FROM readings", "0x265F.*only supported in single table query"),
        (
            "SELECT UNIQUE(i) FROM readings GROUP BY city",
            "0x264F.*not supported in window query or group query",
        ),
        ("SELECT NOSUCH(i) FROM readings", "0x0374.*Func not exists"),
        ("SELECT COALESCE(i, 0) FROM readings", "0x0374.*Func not exists"),
        ("SELECT ABS(s) FROM readings", "0x2802.*Invalid parameter data type : abs"),
        ("SELECT ABS(i, 1) FROM readings", "0x2801.*Invalid number of parameters : abs"),
        ("SELECT UPPER(i) FROM readings", "0x2802.*Invalid parameter data type : upper"),
        ("SELECT AVG(ok) FROM readings", "0x2802.*Invalid parameter data type : avg"),
        ("SELECT STDDEV(s) FROM readings", "0x2802.*Invalid parameter data type : stddev"),
        ("SELECT TIMETRUNCATE(ts, 5m) FROM readings", "0x280A.*Invalid timzone format : timetruncate"),
        ("SELECT -s FROM readings", "0x0200.*Invalid operation"),
        ("SELECT ts + w FROM readings", "0x0200.*Invalid operation"),
        ("SELECT i FROM readings WHERE i LIKE '1'", "0x0200.*Invalid operation"),
        ("SELECT i FROM readings WHERE s MATCH '('", "0x2681.*Syntax error in regular expression"),
        ("SELECT i FROM readings WHERE tbname = ''", "0x0118.*Invalid parameters"),
        ("SELECT city, i FROM readings GROUP BY city", "0x260A.*Not a GROUP BY expression"),
        ("SELECT city, AVG(i) + d FROM readings GROUP BY city", "0x260A.*Not a GROUP BY expression"),
        ("SELECT i FROM readings HAVING i > 1", "0x260A.*Not a GROUP BY expression"),
        ("SELECT i, COUNT(*) c FROM readings GROUP BY i HAVING c > 1", "0x2602.*Invalid column name: c"),
        ("SELECT i x FROM readings WHERE x > 1", "0x2602.*Invalid column name: x"),
        ("SELECT AVG(COUNT(*)) FROM readings", "0x2627.*Aggregate functions do not support nesting"),
        ("SELECT i FROM readings WHERE COUNT(*) > 1", "0x2608.*There mustn't be aggregation"),
        ("SELECT i FROM readings ORDER BY 5", "0x2609.*must be the number of a SELECT-list expression"),
        ("SELECT COUNT(DISTINCT s) FROM readings", "0x2600.*syntax error near"),
        ("SELECT _wstart FROM readings", "0x2658.*can only be used in window query"),
        ("SELECT _wstart FROM readings INTERVAL(1h)", "0x265E.*No valid function in window query"),
        ("SELECT _wstart, i FROM readings INTERVAL(1h)", "0x2667.*Invalid usage of expr: i"),
        ("SELECT COUNT(*) FROM readings INTERVAL(1b)", "0x2615.*Interval cannot be less than 1 ms"),
        ("SELECT COUNT(*) FROM readings INTERVAL(1h, 2h)", "0x262F.*offset should be shorter than interval"),
        ("SELECT REPEAT('x', 1000000) FROM readings", "0x280E.*Function result exceed max length"),
        ("SELECT 1, 2 UNION ALL SELECT 1", "0x2634.*incorrect number of result columns"),
        ("SELECT COUNT(*) FROM (SELECT w FROM readings) INTERVAL(1h)", "0x2650.*not valid primary timestamp"),
        ("SELECT LAST(i) FROM (SELECT i FROM readings)", "0x2674.*Valid primary timestamp required"),
    ],
)
def test_a_question_fails_as_in_tdengine(readings: "taosws.Connection", sql: str, code: str) -> None:
    with fails(code):
        readings.query(sql)


# Questions that take long


@pytest.fixture(params=["in memory", "in a file"])
def busy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TDengine]:
    """An emulator of its own with 100,000 rows in a table many."""
    port = free_port()
    arguments = ["--data", str(tmp_path)] if request.param == "in a file" else []
    with emulator(port, *arguments) as process:
        tdengine = TDengine(port, is_emulator=True)
        connection = tdengine.connect()
        connection.execute("CREATE DATABASE busy KEEP 36500")
        connection.execute("CREATE TABLE busy.many (ts TIMESTAMP, d DOUBLE) TAGS (g INT)")
        statement = connection.stmt2_statement()
        statement.prepare("INSERT INTO ? USING busy.many TAGS (?) VALUES (?, ?)")
        count = 100_000
        columns = [
            taosws.millis_timestamps_to_column(list(range(T, T + count))),
            taosws.doubles_to_column([n / 7 for n in range(count)]),
        ]
        statement.bind([taosws.stmt2_bind_param_view("m0", [taosws.int_to_tag(1)], columns)])
        statement.execute()
        yield tdengine
        assert process.running(), process.output
        assert "Traceback" not in process.output, process.output


def ask(tdengine: TDengine, sql: str) -> list[Any]:
    """Over REST."""
    auth = (tdengine.user, tdengine.password)
    return requests.post(f"{tdengine.rest_url}/rest/sql", data=sql.encode(), auth=auth, timeout=60).json()[
        "data"
    ]


def in_a_process(tdengine: TDengine, sql: str) -> Process:
    """A client in a process of its own, since the driver lets no other thread run; it prints what it gets."""
    code = (
        f"import taosws; connection = taosws.connect({tdengine.url!r})\n"
        f"try: print('got', len(list(connection.query({sql!r}))))\n"
        "except taosws.Error as error: print('failed', error)"
    )
    return Process(python("-c", code))


SLOW = (
    "/* Mark 7 */ SELECT "
    + ", ".join(f"SUM(SIN(d + {n}) * COS(d - {n}))" for n in range(12))
    + " FROM busy.many"
)


@pytest.mark.emulator_only
def test_others_are_answered_while_a_question_takes_long(busy: TDengine) -> None:
    listed = "SELECT kill_id, `sql`, `user` FROM performance_schema.perf_queries"
    with in_a_process(busy, SLOW) as client:
        ((_, text, user),) = wait_for(lambda: ask(busy, listed), "the question in the list")
        assert (text, user) == (SLOW.lower(), "root")
        assert len(ask(busy, "SHOW QUERIES")[0]) == 16
        ask(busy, f"INSERT INTO busy.m0 VALUES ({T - 1}, 1)")
        assert ask(busy, "SELECT COUNT(*) FROM busy.many") == [[100_001]]
        assert not any("got" in line for line in client.lines)
        client.wait_for_line("got 1", 120)
    wait_for(lambda: not ask(busy, listed), "the end of the list")
    assert ask(busy, "SELECT COUNT(*) FROM busy.many") == [[100_001]]


@pytest.mark.emulator_only
def test_a_question_can_be_ended(busy: TDengine) -> None:
    with in_a_process(busy, SLOW) as client:
        ((number, *_),) = wait_for(lambda: ask(busy, "SHOW QUERIES"), "the question in the list")
        ask(busy, f"KILL QUERY '{number}'")
        assert "Query killed" in client.wait_for_line("failed")
    assert ask(busy, "SHOW QUERIES") == []


@pytest.mark.parametrize(
    ("number", "code"), [("abc", "0x030C.*Invalid query id"), ("1:2", "0x030E.*Invalid connection id")]
)
def test_a_question_that_there_is_not_cannot_be_ended(
    readings: "taosws.Connection", number: str, code: str
) -> None:
    with fails(code):
        readings.query(f"KILL QUERY '{number}'")


def test_a_comment_is_no_part_of_a_statement(readings: "taosws.Connection") -> None:
    assert rows(readings, "/* mark 7 */ SELECT COUNT(*) FROM readings") == [(18,)]
