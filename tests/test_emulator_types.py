"""Every type, tables of every shape, and tables that change: the same on the emulator and on TDengine.

With TEST_TAOS_PORT set these run against the TDengine there; that is how they were checked.
"""

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import requests
import taosws
from conftest import TDengine
from test_emulator_meaning import fails, rows

from tdengine_emulator.grammar import RESERVED_WORDS
from tdengine_emulator.store import MOST_IN_SQLITE

T = 1700000000000
NANOSECONDS = T * 1_000_000
POINT = bytes.fromhex("0101000000000000000000f83f00000000000004c0")


@pytest.fixture
def tables(tdengine: TDengine, database: str) -> Iterator["taosws.Connection"]:
    """A connection that uses a database of its own without tables, and waits long for a long statement."""
    connection = tdengine.connect(read_timeout="60")
    connection.execute(f"CREATE DATABASE {database}")
    connection.execute(f"USE {database}")
    yield connection
    connection.close()


def described(connection: "taosws.Connection", table: str) -> list[tuple[Any, ...]]:
    """Name, type, length and note of each column and tag."""
    return [row[:4] for row in connection.query(f"DESCRIBE {table}")]


# Types


@pytest.mark.parametrize(
    ("type_name", "written", "read"),
    [
        ("TINYINT", ["-128", "127"], [-128, 127]),
        ("SMALLINT", ["-32768", "32767"], [-32768, 32767]),
        ("INT", ["-2147483648", "2147483647"], [-(2**31), 2**31 - 1]),
        ("BIGINT", ["-9223372036854775808", "9223372036854775807"], [-(2**63), 2**63 - 1]),
        ("TINYINT UNSIGNED", ["0", "255"], [0, 255]),
        ("SMALLINT UNSIGNED", ["0", "65535"], [0, 65535]),
        ("INT UNSIGNED", ["0", "4294967295"], [0, 2**32 - 1]),
        ("BIGINT UNSIGNED", ["0", "18446744073709551615"], [0, 2**64 - 1]),
        ("DECIMAL(10,3)", ["-1234567.891", "1.2345", "'2.5'"], ["-1234567.891", "1.235", "2.500"]),
        (
            "DECIMAL(38,10)",
            ["-1234567890123456789.12345", "1.5e3"],
            ["-1234567890123456789.1234500000", "1500"],
        ),
        ("DECIMAL(18)", ["12.5", "-0.5"], ["13", "-1"]),
        ("TIMESTAMP", [str(T), "0"], ["2023-11-14 22:13:20 +00:00", "1970-01-01 00:00:00 +00:00"]),
        ("VARBINARY(8)", ["'\\x00ff'", "'text'", "''"], [b"\x00\xff", b"text", b""]),
        ("GEOMETRY(60)", ["'POINT(1.5 -2.5)'", "'point ( 1.5  -2.5 )'"], [POINT, POINT]),
        ("BLOB", ["'\\x00ff'", "'text'", "''"], [b"\x00\xff", b"text", b""]),
    ],
)
def test_a_type_keeps_its_extremes_and_null(
    tables: "taosws.Connection", type_name: str, written: list[str], read: list[Any]
) -> None:
    tables.execute(f"CREATE TABLE typed (ts TIMESTAMP, v {type_name})")
    for number, value in enumerate([*written, "NULL"]):
        tables.execute(f"INSERT INTO typed VALUES ({T + number}, {value})")
    expected = [Decimal(value) for value in read] if type_name.startswith("DECIMAL") else read
    result = tables.query("SELECT v FROM typed ORDER BY ts")
    assert [column.type() for column in result.fields] == [type_name.partition("(")[0]]
    assert [row[0] for row in result] == [*expected, None]
    assert rows(tables, "SELECT COUNT(v), COUNT(*) FROM typed") == [(len(read), len(read) + 1)]


@pytest.mark.parametrize(
    ("type_name", "make", "values"),
    [
        ("BOOL", "bools_to_column", [True, False]),
        ("TINYINT", "tiny_ints_to_column", [-128, 127]),
        ("SMALLINT", "small_ints_to_column", [-32768, 32767]),
        ("INT", "ints_to_column", [-(2**31), 2**31 - 1]),
        ("BIGINT", "big_ints_to_column", [-(2**63), 2**63 - 1]),
        ("TINYINT UNSIGNED", "unsigned_tiny_ints_to_column", [0, 255]),
        ("SMALLINT UNSIGNED", "unsigned_small_ints_to_column", [0, 65535]),
        ("INT UNSIGNED", "unsigned_ints_to_column", [0, 2**32 - 1]),
        ("BIGINT UNSIGNED", "unsigned_big_ints_to_column", [0, 2**64 - 1]),
        ("FLOAT", "floats_to_column", [1.5, math.inf]),
        ("DOUBLE", "doubles_to_column", [1.1, -1.7e308]),
        ("VARCHAR(8)", "varchar_to_column", ["Zürich", ""]),
        ("NCHAR(8)", "nchar_to_column", ["é😀ab", ""]),
        ("VARBINARY(8)", "varbinary_to_column", [b"\x00\xff", b""]),
        ("GEOMETRY(60)", "geometry_to_column", [POINT, POINT]),
        ("BLOB", "blob_to_column", [b"\x00\xff", b""]),
    ],
)
def test_a_type_can_be_bound(
    tables: "taosws.Connection", type_name: str, make: str, values: list[Any]
) -> None:
    tables.execute(f"CREATE TABLE typed (ts TIMESTAMP, v {type_name})")
    statement = tables.stmt2_statement()
    statement.prepare("INSERT INTO typed VALUES (?, ?)")
    column = getattr(taosws, make)([*values, None])
    times = taosws.millis_timestamps_to_column([T + number for number in range(len(values) + 1)])
    statement.bind([taosws.stmt2_bind_param_view(None, None, [times, column])])
    assert statement.execute() == len(values) + 1
    assert [row[0] for row in tables.query("SELECT v FROM typed ORDER BY ts")] == [*values, None]


@pytest.mark.parametrize(
    ("type_name", "make", "value"),
    [
        ("BOOL", taosws.bool_to_tag, True),
        ("TINYINT", taosws.tiny_int_to_tag, -128),
        ("BIGINT UNSIGNED", taosws.u_big_int_to_tag, 2**64 - 1),
        ("DOUBLE", taosws.double_to_tag, 1.1),
        ("NCHAR(8)", taosws.nchar_to_tag, "é😀ab"),
        ("VARBINARY(8)", taosws.varbinary_to_tag, b"\x00\xff"),
        ("GEOMETRY(60)", taosws.geometry_to_tag, POINT),
        ("JSON", taosws.varchar_to_tag, '{"floor":3}'),
    ],
)
def test_a_tag_can_be_bound(tables: "taosws.Connection", type_name: str, make: Any, value: Any) -> None:
    tables.execute(f"CREATE TABLE typed (ts TIMESTAMP, v INT) TAGS (t {type_name})")
    statement = tables.stmt2_statement()
    statement.prepare("INSERT INTO ? USING typed TAGS (?) VALUES (?, ?)")
    columns = [taosws.millis_timestamps_to_column([T]), taosws.ints_to_column([1])]
    statement.bind([taosws.stmt2_bind_param_view("t0", [make(value)], columns)])
    assert statement.execute() == 1
    assert rows(tables, "SELECT t FROM typed") == [(value,)]


@pytest.mark.parametrize(
    ("type_name", "make"),
    [("DECIMAL(10,3)", taosws.decimal64_to_column), ("DECIMAL(30,3)", taosws.decimal_to_column)],
)
def test_a_decimal_can_be_bound_where_it_is_null(
    tables: "taosws.Connection", type_name: str, make: Any
) -> None:
    tables.execute(f"CREATE TABLE typed (ts TIMESTAMP, d {type_name}, v INT)")
    tables.execute(f"INSERT INTO typed VALUES ({T}, 1.5, 1)")
    statement = tables.stmt2_statement()
    statement.prepare("INSERT INTO typed VALUES (?, ?, ?)")
    times = taosws.millis_timestamps_to_column([T, T + 1])
    statement.bind(
        [taosws.stmt2_bind_param_view(None, None, [times, make([None] * 2), taosws.ints_to_column([2, 3])])]
    )
    assert statement.execute() == 2
    assert rows(tables, "SELECT d, v FROM typed ORDER BY ts") == [(None, 2), (None, 3)]


def test_a_json_tag_is_one_flat_object(tables: "taosws.Connection") -> None:
    tables.execute("CREATE TABLE typed (ts TIMESTAMP, v INT) TAGS (info JSON)")
    texts = ['{"b": 1e3, "a": true, "c": "ü", "d": null}', "", "{}"]
    for number, text in enumerate(texts):
        tables.execute(f"INSERT INTO t{number} USING typed TAGS ('{text}') VALUES ({T + number}, 1)")
    assert rows(tables, "SELECT info FROM typed ORDER BY ts") == [
        ('{"a":true,"b":1000,"c":"ü","d":null}',),
        (None,),
        (None,),
    ]
    with fails("0x072E.*Json not support"):
        tables.query("SELECT DISTINCT tbname, info FROM typed")
    for text in ("nonsense", "[1]", '{"a": [1]}', '{"a": {"b": 1}}'):
        with fails("0x0216.*json"):
            tables.execute(f"CREATE TABLE bad USING typed TAGS ('{text}')")


@pytest.mark.parametrize(
    ("type_name", "written", "code"),
    [
        ("DECIMAL(4,2)", "100", "0x013D.*Decimal value overflow"),
        ("BIGINT UNSIGNED", "18446744073709551616", "0x0216"),
        ("BIGINT UNSIGNED", "-1", "0x0216"),
        ("BIGINT", "9223372036854775808", "0x0216"),
        ("VARBINARY(4)", "'\\x1'", "0x266A.*Invalid varbinary value: v"),
        ("VARBINARY(4)", "'\\xzz'", "0x266A.*Invalid varbinary value: v"),
        ("VARBINARY(4)", "'12345'", "0x2653.*Value too long for column/tag: v"),
        ("VARBINARY(4)", "'\\x0102030405'", "0x2653.*Value too long for column/tag: v"),
        ("GEOMETRY(60)", "'nonsense'", "0x0216"),
    ],
)
def test_a_value_that_a_type_does_not_hold(
    tables: "taosws.Connection", type_name: str, written: str, code: str
) -> None:
    tables.execute(f"CREATE TABLE typed (ts TIMESTAMP, v {type_name})")
    with fails(code):
        tables.execute(f"INSERT INTO typed VALUES ({T}, {written})")


@pytest.mark.parametrize(
    "columns",
    [
        "(ts TIMESTAMP, a BLOB, b BLOB)",
        "(ts TIMESTAMP, a JSON)",
        "(ts TIMESTAMP, a INT) TAGS (t JSON, u INT)",
        "(ts TIMESTAMP, a INT) TAGS (t BLOB)",
        "(ts TIMESTAMP, a INT) TAGS (t DECIMAL(5,2))",
        "(ts TIMESTAMP, a DECIMAL(39,3))",
        "(ts TIMESTAMP, a FOO)",
        "(ts TIMESTAMP, a VARCHAR)",
        "(ts TIMESTAMP, a FLOAT PRIMARY KEY, v INT)",
        "(ts TIMESTAMP, v INT, a INT PRIMARY KEY)",
        "(ts TIMESTAMP PRIMARY KEY, v INT)",
    ],
)
def test_a_type_or_key_where_it_may_not_be_is_refused(tables: "taosws.Connection", columns: str) -> None:
    with fails("0x"):
        tables.execute(f"CREATE TABLE typed {columns}")
    assert rows(tables, "SHOW STABLES") == rows(tables, "SHOW TABLES") == []


def test_describe_gives_types_and_lengths(tables: "taosws.Connection") -> None:
    tables.execute(
        "CREATE TABLE typed (ts TIMESTAMP, d DECIMAL(10,3), e DECIMAL(30), v VARBINARY(8), "
        "g GEOMETRY(60), n NCHAR(8), b BLOB) TAGS (j JSON)"
    )
    assert described(tables, "typed") == [
        ("ts", "TIMESTAMP", 8, ""),
        ("d", "DECIMAL(10, 3)", 8, ""),
        ("e", "DECIMAL(30, 0)", 16, ""),
        ("v", "VARBINARY", 8, ""),
        ("g", "GEOMETRY", 60, ""),
        ("n", "NCHAR", 8, ""),
        ("b", "BLOB", 5, ""),
        ("j", "JSON", 4095, "TAG"),
    ]


def test_rest_writes_every_type_as_json(
    tdengine: TDengine, tables: "taosws.Connection", database: str
) -> None:
    tables.execute(
        "CREATE TABLE typed (ts TIMESTAMP, d DECIMAL(10,3), u BIGINT UNSIGNED, v VARBINARY(8), "
        "g GEOMETRY(60), b BLOB) TAGS (j JSON)"
    )
    tables.execute(
        f"""INSERT INTO t0 USING typed TAGS ('{{"a": 1}}')
        VALUES ({T}, 1.5, 18446744073709551615, '\\x00ff', 'POINT(1.5 -2.5)', 'x')"""
    )
    answer = requests.post(
        f"{tdengine.rest_url}/rest/sql/{database}",
        data="SELECT d, u, v, g, b, j FROM typed",
        auth=(tdengine.user, tdengine.password),
        timeout=10,
    ).json()
    assert answer["data"] == [["1.500", 2**64 - 1, "00ff", POINT.hex(), "78", {"a": 1}]]
    assert [name for _, name, _ in answer["column_meta"]] == [
        "DECIMAL(10,3)",
        "BIGINT UNSIGNED",
        "VARBINARY",
        "GEOMETRY",
        "BLOB",
        "JSON",
    ]


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ("d > 1", 1),
        ("d = 1.5", 1),
        ("u > 9223372036854775807", 1),
        ("u = 18446744073709551615", 1),
        ("v = '\\x00ff'", 1),
        ("v = 'text'", 1),
        ("CAST(d AS DOUBLE) < 0", 1),
    ],
)
def test_rows_are_chosen_by_any_type(tables: "taosws.Connection", condition: str, count: int) -> None:
    tables.execute("CREATE TABLE typed (ts TIMESTAMP, d DECIMAL(10,3), u BIGINT UNSIGNED, v VARBINARY(8))")
    tables.execute(
        f"INSERT INTO typed VALUES ({T}, 1.5, 18446744073709551615, '\\x00ff') ({T + 1}, -20, 1, 'text')"
    )
    assert rows(tables, f"SELECT COUNT(*) FROM typed WHERE {condition}") == [(count,)]


@pytest.mark.parametrize(("precision", "per_ms"), [("ms", 1), ("us", 1_000), ("ns", 1_000_000)])
def test_times_are_in_the_databases_precision(
    tdengine: TDengine, database: str, precision: str, per_ms: int
) -> None:
    connection = tdengine.connect()
    connection.execute(f"CREATE DATABASE {database} PRECISION '{precision}'")
    connection.execute(f"CREATE TABLE {database}.t (ts TIMESTAMP, other TIMESTAMP)")
    connection.execute(f"INSERT INTO {database}.t VALUES ({T * per_ms + 1}, {T * per_ms})")
    ((moment, other),) = rows(
        connection,
        f"SELECT CAST(ts AS BIGINT), CAST(other AS BIGINT) FROM {database}.t WHERE ts < NOW() - 12h",
    )
    assert (moment, other) == (T * per_ms + 1, T * per_ms)
    asked = f"SELECT `precision` FROM information_schema.ins_databases WHERE name = '{database}'"
    assert rows(connection, asked) == [(precision,)]


# Tables


def test_a_plain_table_says_its_name(tables: "taosws.Connection") -> None:
    tables.execute("CREATE TABLE plain (stamp TIMESTAMP, `Value` DOUBLE, `order` INT)")
    tables.execute(f"INSERT INTO plain VALUES ({T}, 1.5, 1) ({T + 1}, 2.5, 2)")
    newest = "SELECT tbname, CAST(stamp AS BIGINT), `Value`, `order` FROM plain ORDER BY stamp DESC LIMIT 1"
    assert rows(tables, newest) == [("plain", T + 1, 2.5, 2)]
    assert [column.name() for column in tables.query("SELECT * FROM plain").fields] == [
        "stamp",
        "Value",
        "order",
    ]


def test_a_composite_key_orders_rows_of_one_time(tdengine: TDengine, database: str) -> None:
    connection = tdengine.connect()
    connection.execute(f"CREATE DATABASE {database} PRECISION 'ns'")
    connection.execute(f"USE {database}")
    connection.execute(
        "CREATE TABLE keyed (ts TIMESTAMP, seq INT PRIMARY KEY, v DOUBLE) TAGS (unit NCHAR(8))"
    )
    assert [row[3] for row in connection.query("DESCRIBE keyed")] == ["", "COMPOSITE KEY", "", "TAG"]
    connection.execute(
        f"INSERT INTO k1 USING keyed TAGS ('℃') VALUES ({NANOSECONDS + 1}, 2, 0.5) "
        f"({NANOSECONDS + 1}, 1, 0.25) ({NANOSECONDS}, 3, 1)"
    )
    connection.execute(f"INSERT INTO k1 VALUES ({NANOSECONDS + 1}, 2, 7)")
    asked = (
        f"SELECT CAST(ts AS BIGINT), `seq`, v, `unit` FROM `{database}`.`keyed` ORDER BY ts DESC, seq DESC"
    )
    assert rows(connection, asked) == [
        (NANOSECONDS + 1, 2, 7, "℃"),
        (NANOSECONDS + 1, 1, 0.25, "℃"),
        (NANOSECONDS, 3, 1, "℃"),
    ]
    at_once = f"SELECT seq FROM keyed WHERE ts = {NANOSECONDS + 1} ORDER BY tbname DESC, seq LIMIT 5"
    assert rows(connection, at_once) == [(1,), (2,)]
    with fails("0x267B.*Primary key column should not be null"):
        connection.execute(f"INSERT INTO k1 VALUES ({NANOSECONDS}, NULL, 0.5)")
    with fails("0x0200.*Primary key column should not be none"):
        connection.execute(f"INSERT INTO k1 (ts, v) VALUES ({NANOSECONDS}, 0.5)")


def test_quoted_names_keep_their_case_and_may_be_reserved(tables: "taosws.Connection", database: str) -> None:
    tables.execute("CREATE TABLE `Upper Case` (`TS` TIMESTAMP, `select` INT, `a-b` INT) TAGS (`Tag 1` INT)")
    tables.execute(f"INSERT INTO `x y` USING `Upper Case` (`Tag 1`) TAGS (2) VALUES ({T}, 1, 2)")
    asked = f"SELECT tbname, `select`, `a-b`, `Tag 1` FROM `{database}`.`Upper Case` ORDER BY `TS` DESC"
    assert rows(tables, asked) == [("x y", 1, 2, 2)]
    assert [row[0] for row in described(tables, "`Upper Case`")] == ["TS", "select", "a-b", "Tag 1"]
    with fails("0x2602.*Invalid column name: ts"):
        tables.query("SELECT TS FROM `Upper Case`")


@pytest.mark.parametrize("word", ["order", "precision", "tags", "value", "select", "table", "limit"])
def test_a_reserved_word_has_to_be_quoted(tables: "taosws.Connection", word: str) -> None:
    tables.execute(f"CREATE TABLE plain (ts TIMESTAMP, `{word}` INT)")
    assert rows(tables, f"SELECT `{word}` FROM plain") == []
    with fails("0x2600.*syntax error"):
        tables.query(f"SELECT {word} FROM plain")


def test_no_reserved_word_is_a_name_without_quotes(tables: "taosws.Connection") -> None:
    words = sorted(RESERVED_WORDS)
    for word in words:
        for sql in (
            f"CREATE TABLE {word} (ts TIMESTAMP, v INT)",
            f"CREATE TABLE plain (ts TIMESTAMP, {word.title()} INT)",
            f"CREATE STABLE meters (ts TIMESTAMP, v INT) TAGS ({word} INT)",
        ):
            with fails("0x2600.*syntax error near"):
                tables.execute(sql)
        with fails("0x(0216|2600).*syntax error near"):
            tables.execute(f"INSERT INTO {word} VALUES (NOW, 1)")
    assert rows(tables, "SHOW STABLES") == rows(tables, "SHOW TABLES") == []
    tables.execute(f"CREATE TABLE `select` (`ts` TIMESTAMP, {', '.join(f'`{word}` INT' for word in words)})")
    assert [row[0] for row in described(tables, "`select`")] == ["ts", *words]


def test_columns_of_an_insert_may_be_reserved_words(tables: "taosws.Connection") -> None:
    tables.execute("CREATE TABLE meters (ts TIMESTAMP, `force` INT) TAGS (`tags` INT)")
    tables.execute(f"INSERT INTO d0 USING meters (tags) TAGS (7) (ts, force) VALUES ({T}, 1)")
    assert rows(tables, "SELECT `force`, `tags` FROM meters") == [(1, 7)]


def test_names_can_differ_in_their_case_alone(tables: "taosws.Connection") -> None:
    tables.execute(
        "CREATE TABLE cases (ts TIMESTAMP, `Temp` FLOAT, `TEMP` INT) TAGS (`temp` INT, `tEMP` INT)"
    )
    tables.execute(f"INSERT INTO c1 USING cases TAGS (42, 43) VALUES ({T}, 1.5, 7)")
    tables.execute(f"INSERT INTO c1 (ts, `TEMP`) VALUES ({T + 1}, 8)")
    asked = "SELECT `Temp`, `TEMP`, temp, `tEMP`, TEMP AS `X`, `Temp` AS x FROM cases ORDER BY ts"
    result = tables.query(asked)
    names = [column.name() for column in result.fields]
    assert names == ["Temp", "TEMP", "temp", "tEMP", "X", "x"]
    assert list(result) == [(1.5, 7, 42, 43, 42, 1.5), (None, 8, 42, 43, 42, None)]
    assert rows(tables, "SELECT `TEMP` FROM cases WHERE `Temp` IS NULL AND temp = 42") == [(8,)]
    assert rows(tables, "SELECT MAX(`TEMP`), COUNT(`Temp`) FROM cases WHERE `tEMP` = 43") == [(8, 1)]
    tables.execute("ALTER TABLE c1 SET TAG `tEMP` = 44")
    tables.execute("ALTER TABLE cases DROP COLUMN `TEMP`")
    tables.execute("ALTER TABLE cases ADD COLUMN `tEmp` INT")
    assert [row[0] for row in described(tables, "cases")] == ["ts", "Temp", "tEmp", "temp", "tEMP"]
    assert rows(tables, "SELECT LAST_ROW(`Temp`), LAST(`Temp`), COUNT(`tEmp`) FROM cases") == [(None, 1.5, 0)]
    assert rows(tables, "SELECT DISTINCT temp, `tEMP` FROM cases") == [(42, 44)]
    with fails("0x2602.*Invalid column name: TEMP"):
        tables.query("SELECT `TEMP` FROM cases")


def test_tables_can_differ_in_their_case_alone(tables: "taosws.Connection") -> None:
    tables.execute("CREATE TABLE `Plain` (ts TIMESTAMP, v INT)")
    tables.execute("CREATE TABLE PLAIN (ts TIMESTAMP, v INT, w INT)")
    tables.execute(f"INSERT INTO `Plain` VALUES ({T}, 1)")
    tables.execute(f"INSERT INTO Plain VALUES ({T}, 2, 3)")
    assert sorted(rows(tables, "SHOW TABLES")) == [("Plain",), ("plain",)]
    assert rows(tables, "SELECT * FROM `Plain`")[0][1:] == (1,)
    assert rows(tables, "SELECT * FROM pLAIN")[0][1:] == (2, 3)


def test_a_column_may_have_any_name(tables: "taosws.Connection") -> None:
    names = ["tbname", "#tbname", "#id", "#subtable", "^temp", "Temp", "^^Temp", 'a"b', "o", "é", "rowid"]
    defined = ", ".join(f"`{name}` INT" for name in names)
    tables.execute(f"CREATE TABLE odd (ts TIMESTAMP, {defined}) TAGS (`#` INT)")
    tables.execute(
        f"INSERT INTO o1 USING odd TAGS (0) VALUES ({T}, {', '.join(map(str, range(len(names))))})"
    )
    selected = ", ".join(f"`{name}`" for name in names)
    assert rows(tables, f"SELECT {selected}, `#`, tbname FROM odd") == [(*range(len(names)), 0, "o1")]


def test_subtables_can_be_counted(tables: "taosws.Connection", database: str) -> None:
    tables.execute("CREATE TABLE plain (ts TIMESTAMP, v INT)")
    tables.execute("CREATE TABLE meters (ts TIMESTAMP, v INT) TAGS (t INT)")
    for number in range(3):
        tables.execute(f"CREATE TABLE d{number} USING meters TAGS ({number})")
    where = f"WHERE db_name = '{database}' AND stable_name = 'meters'"
    assert rows(tables, f"SELECT COUNT(*) FROM information_schema.ins_tables {where}") == [(3,)]


# Wide tables, long names and statements


def many(count: int, name: str = "c", type_name: str = "INT") -> str:
    return ", ".join(f"{name}{number} {type_name}" for number in range(count))


def test_a_table_may_be_wide(tables: "taosws.Connection") -> None:
    names = [f"{'column' * 9}{number:04}" for number in range(1_900)]
    tables.execute(
        f"CREATE TABLE wide (ts TIMESTAMP, {', '.join(f'{name} INT' for name in names)}) TAGS (t INT)"
    )
    tables.execute(f"INSERT INTO w0 USING wide TAGS (7) VALUES ({T}, {', '.join(map(str, range(1_900)))})")
    tables.execute(f"INSERT INTO w0 (ts, {', '.join(reversed(names))}) VALUES (NOW{', 1' * 1_900})")
    selected = f"SELECT {', '.join(names)}, t FROM wide ORDER BY ts LIMIT 1"
    assert rows(tables, selected) == [(*range(1_900), 7)]
    assert [len(row) for row in rows(tables, "SELECT * FROM wide")] == [1_902] * 2
    statement = tables.stmt2_statement()
    statement.prepare(f"INSERT INTO w0 VALUES (?{', ?' * 1_900})")
    columns = [taosws.millis_timestamps_to_column([T + 1]), *[taosws.ints_to_column([5])] * 1_900]
    statement.bind([taosws.stmt2_bind_param_view(None, None, columns)])
    assert statement.execute() == 1
    assert rows(tables, f"SELECT {names[0]}, {names[-1]} FROM wide WHERE ts = {T + 1}") == [(5, 5)]


def test_a_statement_may_be_long(tables: "taosws.Connection") -> None:
    tables.execute("CREATE TABLE plain (ts TIMESTAMP, v INT, b BINARY(20))")
    values = " ".join(f"({T + row}, {row}, 'It''s, (this)')" for row in range(20_000))
    assert tables.execute(f"INSERT INTO plain VALUES {values}") == 20_000
    assert rows(tables, "SELECT v, b FROM plain ORDER BY ts DESC LIMIT 1") == [(19_999, "It's, (this)")]
    assert rows(tables, f"SELECT 1{' ' * (1_048_576 - 8)}") == [(1,)]
    for sql in (f"SELECT 1{' ' * (1_048_576 - 7)}", f"SELECT 'é{'é' * 524_288}'"):
        with fails("0x0219.*SQL statement too long"):
            tables.query(sql)


@pytest.mark.parametrize(
    "columns",
    [
        f"(ts TIMESTAMP, v INT) TAGS ({many(128)})",
        "(ts TIMESTAMP, v BINARY(65517), w INT)",
        "(ts TIMESTAMP, v BINARY(65500), w BINARY(13))",
        "(ts TIMESTAMP, v NCHAR(16379))",
        "(ts TIMESTAMP, v GEOMETRY(65517))",
        "(ts TIMESTAMP, b BLOB, v BINARY(65500))",
        "(ts TIMESTAMP, v INT) TAGS (t BINARY(16382))",
        "(ts TIMESTAMP, v INT) TAGS (t BINARY(10000), u BINARY(6380))",
        f"(ts TIMESTAMP, {'c' * 64} INT)",
    ],
)
def test_a_table_may_be_as_large_as_this(tables: "taosws.Connection", columns: str) -> None:
    name = "t" * 192
    tables.execute(f"CREATE TABLE {name} {columns}")
    assert described(tables, name)[0][:2] == ("ts", "TIMESTAMP")


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        (f"(ts TIMESTAMP, {many(4_096)})", "0x2640.*Too many columns"),
        (f"(ts TIMESTAMP, {many(4_095)}) TAGS (t INT)", "0x2640.*Too many columns"),
        (f"(ts TIMESTAMP, v INT) TAGS ({many(129)})", "0x2643.*Invalid number of tag columns"),
        ("(ts TIMESTAMP, v BINARY(65518))", "0x2642.*Invalid column length for var length type"),
        ("(ts TIMESTAMP, v VARBINARY(65518))", "0x2642.*Invalid column length for var length type"),
        ("(ts TIMESTAMP, v NCHAR(16380))", "0x2642.*Invalid column length for var length type"),
        ("(ts TIMESTAMP, v INT) TAGS (t BINARY(16383))", "0x2642.*Invalid column length for var length type"),
        ("(ts TIMESTAMP, v BINARY(65500), w BINARY(20))", "0x263E.*Row length exceeds max length 65531"),
        ("(ts TIMESTAMP, v INT) TAGS (t BINARY(10000), u BINARY(6382))", "0x263D.*Tags length exceeds"),
        (f"(ts TIMESTAMP, {'c' * 65} INT)", "0x2617.*Invalid identifier name: cc"),
    ],
)
def test_a_table_that_is_too_large_is_refused(tables: "taosws.Connection", columns: str, code: str) -> None:
    with fails(code):
        tables.execute(f"CREATE TABLE large {columns}")


def test_names_that_are_too_long_are_refused(tables: "taosws.Connection") -> None:
    tables.execute("CREATE TABLE s (ts TIMESTAMP, v INT) TAGS (t INT)")
    for sql in (
        f"CREATE DATABASE {'d' * 65}",
        f"CREATE TABLE {'t' * 193} (ts TIMESTAMP, v INT)",
        f"CREATE TABLE {'t' * 193} USING s TAGS (1)",
        f"ALTER TABLE s ADD COLUMN {'c' * 65} INT",
    ):
        with fails("0x2617.*Invalid identifier name"):
            tables.execute(sql)


def test_an_expression_may_be_long(tables: "taosws.Connection") -> None:
    tables.execute("CREATE TABLE plain (ts TIMESTAMP, v INT)")
    tables.execute(f"INSERT INTO plain VALUES ({T}, 3)")
    sums, products = " + ".join(["v * 2 - 1"] * 40), " * ".join(["(v - 1) / 2"] * 40)
    assert rows(tables, f"SELECT {sums}, {products}, 7 - v - 1, 8 / v / 2 FROM plain") == [
        (40 * 5, 1, 3, 8 / 3 / 2)
    ]
    any_of, all_of = " OR ".join(["v = 4"] * 40), " AND ".join(["v = 3"] * 40)
    assert rows(tables, f"SELECT v FROM plain WHERE {any_of}") == []
    assert rows(tables, f"SELECT v FROM plain WHERE {any_of} OR {all_of}") == [(3,)]
    assert rows(tables, f"SELECT v FROM plain WHERE ({any_of} OR v = 3) AND {all_of} AND NOT v = 4") == [(3,)]
    assert rows(tables, f"SELECT v FROM plain WHERE NOT ({any_of}) AND (v = 4 OR v = 3) AND v = 4") == []


def test_a_result_names_its_columns_in_64_characters(tables: "taosws.Connection") -> None:
    (column,) = tables.query(f"SELECT {' + '.join(['1'] * 50)}").fields
    assert column.name() == ("1 + " * 50)[:64]


# Tables that change


@pytest.fixture
def changing(tables: "taosws.Connection") -> "taosws.Connection":
    """A supertable s with one subtable d0 of one row, and a plain table p."""
    tables.execute("CREATE TABLE s (ts TIMESTAMP, v INT, b BINARY(8)) TAGS (t INT, c NCHAR(4))")
    tables.execute(f"INSERT INTO d0 USING s TAGS (1, 'a') VALUES ({T}, 1, 'x')")
    tables.execute("CREATE TABLE p (ts TIMESTAMP, v INT)")
    return tables


def test_columns_come_and_go(changing: "taosws.Connection") -> None:
    changing.execute("ALTER TABLE s ADD COLUMN w DOUBLE")
    assert rows(changing, "SELECT v, b, w, t FROM s") == [(1, "x", None, 1)]
    changing.execute(f"INSERT INTO d0 VALUES ({T + 1}, 2, 'y', 2.5)")
    changing.execute("ALTER STABLE s DROP COLUMN v")
    assert rows(changing, "SELECT b, w FROM s ORDER BY ts") == [("x", None), ("y", 2.5)]
    with fails("0x2602.*Invalid column name: v"):
        changing.query("SELECT v FROM s")
    assert [column[0] for column in described(changing, "d0")] == ["ts", "b", "w", "t", "c"]
    changing.execute("ALTER TABLE p ADD COLUMN w NCHAR(4)")
    changing.execute("ALTER TABLE p DROP COLUMN v")
    assert described(changing, "p") == [("ts", "TIMESTAMP", 8, ""), ("w", "NCHAR", 4, "")]


def test_tags_come_and_go(changing: "taosws.Connection") -> None:
    changing.execute("ALTER TABLE s ADD TAG site BINARY(8)")
    changing.execute("ALTER TABLE d0 SET TAG site = 'roof'")
    changing.execute("ALTER TABLE s DROP TAG t")
    assert rows(changing, "SELECT v, c, site FROM s") == [(1, "a", "roof")]
    changing.execute(f"INSERT INTO d1 USING s (site) TAGS ('cellar') VALUES ({T}, 2, 'y')")
    assert rows(changing, "SELECT c, site FROM d1") == [(None, "cellar")]


def test_texts_can_be_widened(changing: "taosws.Connection") -> None:
    with fails("0x2653"):
        changing.execute(f"INSERT INTO d0 VALUES ({T}, 1, 'ten bytes.')")
    changing.execute("ALTER TABLE s MODIFY COLUMN b BINARY(10)")
    changing.execute("ALTER TABLE s MODIFY TAG c NCHAR(6)")
    changing.execute(f"INSERT INTO d0 VALUES ({T}, 1, 'ten bytes.')")
    changing.execute("ALTER TABLE d0 SET TAG c = 'Zürich'")
    assert rows(changing, "SELECT b, c FROM s") == [("ten bytes.", "Zürich")]


def test_a_prepared_statement_goes_on_with_the_columns_that_it_knows(changing: "taosws.Connection") -> None:
    def bind(value: int) -> None:
        columns = [taosws.millis_timestamps_to_column([T + value]), taosws.ints_to_column([value])]
        statement.bind([taosws.stmt2_bind_param_view(None, None, columns)])
        statement.execute()

    statement = changing.stmt2_statement()
    statement.prepare("INSERT INTO p VALUES (?, ?)")
    bind(1)
    changing.execute("ALTER TABLE p ADD COLUMN w INT")
    bind(2)
    assert rows(changing, "SELECT v, w FROM p ORDER BY ts") == [(1, None), (2, None)]


@pytest.mark.parametrize(
    "change",
    [
        "nothing ADD COLUMN x INT",
        "d0 ADD COLUMN x INT",
        "p ADD TAG x INT",
        "s ADD COLUMN v INT",
        "s ADD COLUMN t INT",
        "s ADD TAG t INT",
        "s ADD TAG v INT",
        "p ADD COLUMN v INT",
        "s DROP COLUMN nope",
        "s DROP COLUMN ts",
        "s DROP COLUMN t",
        "s DROP TAG v",
        "s DROP TAG nope",
        "p DROP COLUMN ts",
        "p DROP COLUMN v",
        "s MODIFY COLUMN b BINARY(4)",
        "s MODIFY COLUMN b NCHAR(64)",
        "s MODIFY COLUMN v BIGINT",
        "s MODIFY TAG nope BINARY(4)",
    ],
)
def test_a_change_that_may_not_be_is_refused(changing: "taosws.Connection", change: str) -> None:
    before = described(changing, "s"), described(changing, "p")
    with fails("0x"):
        changing.execute(f"ALTER TABLE {change}")
    assert (described(changing, "s"), described(changing, "p")) == before


# What only the emulator says


@pytest.mark.emulator_only
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT d + 1 FROM typed",
        "SELECT CASE WHEN d > 1 THEN d ELSE 1 END FROM typed",
        "SELECT j->'a' FROM typed",
        "CREATE TABLE t (ts TIMESTAMP, v MEDIUMBLOB)",
    ],
)
def test_what_the_emulator_has_not_learnt_of_a_type_it_says(tables: "taosws.Connection", sql: str) -> None:
    tables.execute("CREATE TABLE typed (ts TIMESTAMP, d DECIMAL(10,3)) TAGS (j JSON)")
    with fails(r"(?s)0x2600.*emulator 3\.3\.7\.5\.emulator.*understands"):
        tables.query(sql)


@pytest.mark.emulator_only
@pytest.mark.parametrize("tag", ["", " TAGS (t INT)"])
def test_where_a_table_is_too_wide_for_sqlite_it_says_so(tables: "taosws.Connection", tag: str) -> None:
    most = MOST_IN_SQLITE - (2 if tag else 1)
    tables.execute(f"CREATE TABLE wide (ts TIMESTAMP, {many(most)}){tag}")
    tables.query("SELECT * FROM wide")
    with fails(r"0x2600.*1998 columns and tags; SQLite holds 1997.*emulator"):
        tables.execute("ALTER TABLE wide ADD COLUMN one_more INT")
    with fails(r"0x2600.*too many columns in result set.*emulator"):
        tables.query(f"SELECT {', '.join(['ts'] * 2_001)} FROM wide")
    with fails(r"0x2600.*an expression too deep.*emulator"):
        tables.query(f"SELECT {'1+' * 5_000}1")


@pytest.mark.emulator_only
@pytest.mark.parametrize(
    ("type_name", "make"),
    [("DECIMAL(10,3)", taosws.decimal64_to_column), ("DECIMAL(30,3)", taosws.decimal_to_column)],
)
def test_the_emulator_takes_no_bound_decimal_since_tdengine_stores_another(
    tables: "taosws.Connection", type_name: str, make: Any
) -> None:
    tables.execute(f"CREATE TABLE typed (ts TIMESTAMP, d {type_name})")
    statement = tables.stmt2_statement()
    statement.prepare("INSERT INTO typed VALUES (?, ?)")
    columns = [taosws.millis_timestamps_to_column([T, T + 1]), make([None, Decimal("1.5")])]
    with fails(
        r"0x2600.*a bound DECIMAL, in whose place TDengine 3\.3\.7\.5 stores any other number.*emulator"
    ):
        statement.bind([taosws.stmt2_bind_param_view(None, None, columns)])
    assert rows(tables, "SELECT COUNT(*) FROM typed") == [(0,)]
