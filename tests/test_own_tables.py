"""Any table of TDengine can be shown: its types, names and precision; its columns may change under way."""

import asyncio
import base64
import json
import random
import struct
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import perspective
import pytest
from conftest import TDengine
from support import Process, python, wait_for
from test_cost import counted
from test_end_to_end import Server, serving
from test_faults import OUT_OF_UTF8, Proxy
from test_mirror import COMPOSITE, METER, TWO_TIMES, Copy, Shape, Source
from viewers import Viewer

from tdengine_perspective import tdengine as reaching
from tdengine_perspective.mirror.messages import Poll
from tdengine_perspective.mirror.reader import Reader
from tdengine_perspective.mirror.schema import Column, Schema, read_schema
from tdengine_perspective.mirror.table import Mirror
from tdengine_perspective.tables import TableSettings
from tdengine_perspective.tdengine import Refused


@pytest.fixture
def make(tdengine: TDengine) -> Iterator[Any]:
    """Makes Sources, which are gone afterwards."""
    made: list[Source] = []

    def make_source(shape: Shape, table: str = "meters") -> Source:
        made.append(Source(tdengine, shape, table))
        return made[-1]

    yield make_source
    for source in made:
        source.close()


def columns_shown(source: Source, limit: int = 100) -> dict[str, list]:
    """What a viewer gets of the table, in the order of the timestamps."""
    copy = Copy(source, limit)
    copy.poll()
    view = copy.mirror.table.view(sort=[[source.labels[0], "asc"]])
    columns = view.to_columns()
    view.delete()
    return columns


def single(value: float) -> float:
    """The nearest float of 32 bits."""
    return struct.unpack("f", struct.pack("f", value))[0]


TYPES = [  # TDengine's type; what is written, as SQL; Perspective's type; what is shown
    ("BOOL", ["true", "false"], "boolean", [True, False]),
    ("TINYINT", ["-128", "127"], "integer", [-128, 127]),
    ("SMALLINT", ["-32768", "32767"], "integer", [-(2**15), 2**15 - 1]),
    ("INT", ["-2147483648", "2147483647"], "integer", [-(2**31), 2**31 - 1]),
    ("TINYINT UNSIGNED", ["0", "255"], "integer", [0, 255]),
    ("SMALLINT UNSIGNED", ["0", "65535"], "integer", [0, 2**16 - 1]),
    ("INT UNSIGNED", ["0", "4294967295"], "float", [0.0, 2.0**32 - 1]),
    ("BIGINT", ["-9223372036854775807", "9007199254740993"], "float", [-(2.0**63), 2.0**53]),
    ("BIGINT", ["-9007199254740992", "9007199254740991"], "float", [-(2.0**53), 2.0**53 - 1]),
    ("BIGINT UNSIGNED", ["0", "18446744073709551615"], "float", [0.0, 2.0**64]),
    ("FLOAT", ["1.5", "-3.402823e38"], "float", [1.5, single(-3.402823e38)]),
    (
        "DOUBLE",
        ["2.2250738585072014e-308", "-1.7976931348623157e308"],
        "float",
        [2.2250738585072014e-308, -1.7976931348623157e308],
    ),
    ("DECIMAL(10, 3)", ["'-9999999.999'", "'0.001'"], "float", [-9999999.999, 0.001]),
    (
        "DECIMAL(38, 5)",
        ["'123456789012345678901234567890123.45678'", "'0'"],
        "float",
        [1.2345678901234568e32, 0.0],
    ),
    ("TIMESTAMP", ["0", "253402300799999"], "datetime", [0, 253_402_300_799_999]),
    ("TIMESTAMP", ["-62135596800000", "-1"], "datetime", [-62_135_596_800_000, -1]),
    ("TIMESTAMP", ["253402300800000", "-9223372036854775807"], "datetime", [None, None]),
    ("BINARY(20)", ["''", "'O\\'Hare'"], "string", ["", "O'Hare"]),
    ("VARCHAR(20)", ["'東京'", "'a\\\\b'"], "string", ["東京", "a\\b"]),
    ("NCHAR(8)", ["'\N{GRINNING FACE}'", "' '"], "string", ["\N{GRINNING FACE}", " "]),
    ("VARBINARY(8)", ["'\\x00ff'", "'a'"], "string", ["00ff", "61"]),
    (
        "GEOMETRY(50)",
        ["'POINT(1 2)'", "'POINT(0 0)'"],
        "string",
        ["0101000000000000000000f03f0000000000000040", "01010000000000000000000000" + "0" * 16],
    ),
    ("BLOB", ["'\\x00ff'", "'abc'"], "string", ["00ff", "616263"]),
]


def test_every_type_is_shown(make: Any) -> None:
    """With its lowest and highest values, and NULL."""
    listed = ", ".join(f"c{i} {kind}" for i, (kind, *_) in enumerate(TYPES))
    source = make(Shape("ms", f"ts TIMESTAMP, {listed}", None))
    start = source.clock()
    for row in range(2):
        values = ", ".join(written[row] for _, written, _, _ in TYPES)
        source.execute(f"INSERT INTO {source.database}.meters VALUES ({start + row}, {values})")
    nulls = ", ".join(["NULL"] * len(TYPES))
    source.execute(f"INSERT INTO {source.database}.meters VALUES ({start + 2}, {nulls})")
    found = columns_shown(source)
    assert found.pop("timestamp") == [start, start + 1, start + 2]
    for (kind, written, _, expected), values in zip(TYPES, found.values(), strict=True):
        assert values == [*expected, None], f"{kind}, of {written}"


def test_every_type_has_its_type_in_perspective(make: Any) -> None:
    listed = ", ".join(f"c{i} {kind}" for i, (kind, *_) in enumerate(TYPES))
    source = make(Shape("ms", f"ts TIMESTAMP, {listed}", None))
    copy = Copy(source)
    copy.poll()
    types = copy.mirror.table.schema()
    assert [types[f"c{i}"] for i in range(len(TYPES))] == [kind for _, _, kind, _ in TYPES]


def test_tags_of_every_type_are_columns(make: Any) -> None:
    tags = [
        ("TIMESTAMP", "1795520426735", 1795520426735),
        ("BOOL", "true", True),
        ("INT UNSIGNED", "4294967295", 4294967295.0),
        ("BIGINT", "-5", -5.0),
        ("DOUBLE", "0.1", 0.1),
        ("NCHAR(4)", "'東京'", "東京"),
        ("BINARY(4)", "NULL", None),
    ]
    listed = ", ".join(f"t{i} {kind}" for i, (kind, _, _) in enumerate(tags))
    source = make(Shape("ms", "ts TIMESTAMP, v INT", listed))
    values = ", ".join(value for _, value, _ in tags)
    table = f"{source.database}.meters"
    source.execute(f"INSERT INTO {source.database}.d0 USING {table} TAGS ({values}) VALUES (NOW, 1)")
    found = columns_shown(source)
    assert [found[f"t{i}"] for i in range(len(tags))] == [[value] for *_, value in tags]


def test_a_json_tag_is_text(make: Any) -> None:
    source = make(Shape("ms", "ts TIMESTAMP, v INT", "info JSON"))
    table = f"{source.database}.meters"
    for name, tag, ago in (("d0", """'{"a": 1}'""", 3), ("d1", "NULL", 2)):
        subtable = f"{source.database}.{name}"
        source.execute(f"INSERT INTO {subtable} USING {table} TAGS ({tag}) VALUES (NOW - {ago}s, 1)")
    first, second = columns_shown(source)["info"]
    assert (first.replace(" ", ""), second) == ('{"a":1}', None)


def test_nan_and_infinity_are_null(make: Any) -> None:
    source = make(Shape("ms", "ts TIMESTAMP, a FLOAT, b DOUBLE", None))
    start = source.clock() - 10
    for i, value in enumerate((float("nan"), float("inf"), float("-inf"), 0.5)):
        source.insert("meters", [(start + i, value, value)])
    found = columns_shown(source)
    assert found["a"] == found["b"] == [None, None, None, 0.5]


def test_a_nul_in_a_text_hides_nothing(make: Any) -> None:
    source = make(Shape("ms", "ts TIMESTAMP, note VARCHAR(10), wide NCHAR(10)", None))
    source.insert("meters", [(source.clock() - 10, "a\0b", "a\0b")])
    found = columns_shown(source)
    assert found["note"] == found["wide"] == ["a\N{REPLACEMENT CHARACTER}b"]


def write_bytes(source: Source, sql: bytes) -> None:
    """Have TDengine execute a statement with text in it that is not UTF-8, as its REST interface takes it."""
    request = urllib.request.Request(f"{source.server.rest_url}/rest/sql", sql)
    login = base64.b64encode(f"{source.server.user}:{source.server.password}".encode()).decode()
    request.add_header("Authorization", f"Basic {login}")
    with urllib.request.urlopen(request, timeout=10) as response:
        assert json.load(response)["code"] == 0


NOTED = Shape("ms", "ts TIMESTAMP, note VARCHAR(20), v INT, `QQQQ` INT", "place BINARY(20), wide NCHAR(9)")
REPLACED = OUT_OF_UTF8.decode(errors="replace")


def test_text_that_is_not_utf_8_is_shown_with_replacement_characters(make: Any) -> None:
    """Values, tags, subtables' names: all else is as it is, and the log says it once.

    A column whose name is not UTF-8 is left out. What makes text so is on the way, so that it is the same
    everywhere.
    """
    source = make(NOTED)
    start = source.clock() - 1000
    write = (
        f"INSERT INTO {{}} USING {source.database}.meters TAGS ('{{}}', '東京') VALUES ({{}}, '{{}}', 1, 2)"
    )

    def insert(subtable: str, place: str, after: int, note: str) -> None:
        source.execute(write.format(f"{source.database}.{subtable}", place, start + after, note))

    with Proxy(source.server) as proxy:
        proxy.now("out of UTF-8")
        settings = {**source.server.settings(source.database), "TAOS_PORT": str(proxy.port)}
        insert("d0", "hére", 0, "good")
        with serving(settings) as server:
            shown = [("good", 1, "hére", "東京")]

            def is_shown() -> bool:
                return server.shown(columns=["note", "v", "place", "wide"]) == Counter(shown)

            wait_for(is_shown, "the first row")
            for after, (subtable, place, note, seen) in enumerate(
                [
                    ("d0", "hére", "from QQQQ on", (f"from {REPLACED} on", 1, "hére", "東京")),
                    ("d1", "QQQQ", "gööd", ("gööd", 1, REPLACED, "東京")),
                    ("dQQQQ", "there", "", ("", 1, "there", "東京")),
                ],
                start=1,
            ):
                insert(subtable, place, after, note)
                shown.append(seen)
                wait_for(is_shown, note or subtable)
            source.execute(
                f"INSERT INTO {source.database}.d2 USING {source.database}.meters TAGS (NULL, NULL) "
                f"VALUES ({start + 9}, NULL, NULL, NULL)"
            )
            shown.append((None, None, None, None))
            wait_for(is_shown, "NULLs as they are")
            for line in (
                "not all text in note is UTF-8",
                "not all text in place is UTF-8",
                "left out the column ����, whose name is not UTF-8",
            ):
                server.process.wait_for_line(line)
                assert server.process.output.count(line) == 1
            assert server.health()["errors"] == 0, server.process.output


def test_a_text_that_becomes_a_number_costs_no_poll_where_texts_are_read_as_bytes(make: Any) -> None:
    source = make(Shape("ms", "ts TIMESTAMP, note VARCHAR(20), v INT", None))
    copy = Copy(source)
    copy.reader.as_bytes = True
    source.insert("meters", [(source.clock() - 1000, "here", 1)])
    copy.poll()
    source.alter("DROP COLUMN note")
    source.alter("ADD COLUMN note INT")
    source.execute(f"INSERT INTO {source.database}.meters VALUES (NOW, 2, 3)")
    copy.poll_new()  # would be an error if it took the columns for what they were
    assert copy.mirror.table.schema()["note"] == "integer"


def test_bytes_that_are_not_utf_8_in_tdengine_itself_are_shown(make: Any) -> None:
    source = make(Shape("ms", "ts TIMESTAMP, note VARCHAR(20), v INT", "place BINARY(20)"))
    if source.server.is_emulator:
        pytest.skip("the emulator keeps UTF-8 alone")
    for subtable, place, note in ((b"d0", b"here", b"good"), (b"d1", b"\xb1\xb1", b"\xb1\xb1\xbe\xa9")):
        table = source.database.encode()
        write_bytes(
            source,
            b"INSERT INTO %b.%b USING %b.meters TAGS ('%b') VALUES (NOW, '%b', 1)"
            % (table, subtable, table, place, note),
        )
    with serving(source.server.settings(source.database)) as server:
        server.wait_until_live(rows=2)
        seen = [("good", 1, "here"), (REPLACED, 1, REPLACED[:2])]
        assert server.shown(columns=["note", "v", "place"]) == Counter(seen)


@pytest.mark.parametrize("precision", ["us", "ns"])
def test_times_finer_than_a_millisecond_are_shown_in_ms_and_kept_in_order(make: Any, precision: str) -> None:
    """Also before 1970, and where the window ends within a millisecond."""
    source = make(Shape(precision, "ts TIMESTAMP, at TIMESTAMP, v INT", None))
    start = source.clock() - 1000 * source.units
    rows = [(start + i, -1 - i * source.units, i) for i in range(30)]
    random.Random(7).shuffle(rows)
    source.insert("meters", rows)
    found = columns_shown(source, limit=20)
    assert set(found["timestamp"]) == {start // source.units}
    assert sorted(found["v"]) == list(range(10, 30)), "the newest 20, all of one millisecond"
    assert sorted(found["at"]) == [-1 - i for i in range(29, 9, -1)]


def test_new_rows_are_found_within_a_millisecond(make: Any) -> None:
    source = make(Shape("ns", "ts TIMESTAMP, v INT", None))
    copy = Copy(source)
    start = source.clock() - 1000 * source.units
    source.insert("meters", [(start, 0)])
    copy.poll()
    for i in range(1, 6):
        source.insert("meters", [(start + i, i)])
        assert copy.poll_new().rows == i + 1
    copy.assert_exact()
    copy.assert_quiet()


@pytest.mark.parametrize("precision", ["ms", "us", "ns"])
def test_a_poll_asks_for_the_new_rows_alone(make: Any, precision: str) -> None:
    source = make(Shape(precision, "ts TIMESTAMP, v INT", None))
    copy = Copy(source)
    newest = source.clock() - 1000 * source.units
    source.insert("meters", [(newest - i, i) for i in range(5)])
    copy.poll()
    copy.poll_new()
    queries = counted(copy)
    copy.poll_new()
    (query,) = queries
    assert f"WHERE `ts` > {newest} ORDER BY `ts` DESC" in query


def test_rows_that_differ_only_in_the_second_key_are_different_rows(make: Any) -> None:
    source = make(COMPOSITE)
    copy = Copy(source, limit=5)
    start = source.clock() - source.units
    source.insert("d0", [(start, seq, seq / 2, "a") for seq in range(4)])
    source.insert("d1", [(start, seq, seq / 2, "b") for seq in range(4)])
    copy.poll()
    assert len(copy.rows()) == 5
    copy.assert_exact()
    for _ in range(3):
        copy.assert_quiet()


@pytest.mark.parametrize(
    ("columns", "labels"),
    [
        ("ts TIMESTAMP, v INT", ["timestamp", "v"]),
        ("ts TIMESTAMP, `timestamp` INT", ["ts", "timestamp"]),
        ("`TS` TIMESTAMP, v INT", ["TS", "v"]),
        ("at TIMESTAMP, ts TIMESTAMP", ["at", "ts"]),
        (
            '`order` TIMESTAMP, `Two Words` INT, `it\'s "so"` INT, `sélect` INT',
            ["order", "Two Words", 'it\'s "so"', "sélect"],
        ),
    ],
)
def test_names_stay_but_for_ts(make: Any, columns: str, labels: list[str]) -> None:
    source = make(Shape("ms", columns, None))
    others = "".join([", 1"] * (len(labels) - 1))
    source.execute(f"INSERT INTO {source.database}.meters VALUES (NOW - 1s{others})")
    copy = Copy(source)
    copy.poll()
    assert copy.mirror.table.columns() == labels
    assert copy.poll_new().rows == 1


@pytest.mark.parametrize("table", ["Order", "precision", "it's"])
def test_tables_and_databases_with_odd_names_are_shown(tdengine: TDengine, table: str) -> None:
    database = f"Own {table} {random.randrange(10**6)}"
    connection = tdengine.connect()
    target = reaching.TDengine(
        tdengine.host, tdengine.port, tdengine.user, tdengine.password, database, table
    )
    connection.execute(f"CREATE DATABASE `{database}`")
    try:
        connection.execute(f"CREATE TABLE `{database}`.`{table}` (ts TIMESTAMP, v INT)")
        connection.execute(f"INSERT INTO `{database}`.`{table}` VALUES (NOW, 1)")
        assert Reader(target, "12h", 10).poll(connection).rows == 1
    finally:
        connection.execute(f"DROP DATABASE `{database}`")


class Described:
    """A connection to a TDengine whose table has these columns: name, type and note."""

    def __init__(self, *columns: tuple[str, str, str]):
        self.columns = columns

    def query(self, sql: str) -> list[tuple]:
        assert sql.startswith("DESCRIBE ")
        return [(name, kind, 8, note, "", "", "") for name, kind, note in self.columns]


def described(source: Source, *columns: tuple[str, str, str]) -> Schema:
    return read_schema(Described(*columns), source.tdengine, 1)


def test_columns_that_can_not_be_shown_are_left_out_with_a_line(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    source = make(METER)
    schema = described(
        source,
        ("ts", "TIMESTAMP", ""),
        ("shape", "HOLOGRAM(3)", ""),
        ("my_psp_x", "INT", ""),
        ("__INDEX__", "INT", "TAG"),
        ("v", "INT", ""),
    )
    assert schema.perspective == {"timestamp": "datetime", "v": "integer"}
    copy = Copy(source)
    for _ in range(2):
        copy.mirror.take(Poll(None, False, 0, None, schema))
    lines = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(lines) == 3, "one each"
    assert all(line.startswith(f"{source.database}.meters: left out the column ") for line in lines)
    assert "shape, of the type HOLOGRAM" in lines[0]
    assert "my_psp_x, a name that Perspective keeps for itself" in lines[1]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ([("name", "VARCHAR", ""), ("v", "INT", "")], "its first column, name, is no TIMESTAMP"),
        ([("psp_ts", "TIMESTAMP", ""), ("v", "INT", "")], "its key is psp_ts, a name"),
        (
            [("ts", "TIMESTAMP", ""), ("psp_no", "INT", "COMPOSITE KEY"), ("v", "INT", "")],
            "its key is psp_no, a name",
        ),
    ],
)
def test_a_table_that_can_not_be_shown_is_refused_in_a_line(
    make: Any, columns: list[tuple[str, str, str]], reason: str
) -> None:
    with pytest.raises(Refused, match=f"can't be shown: {reason}"):
        described(make(METER), *columns)


def test_health_says_that_a_table_can_not_be_shown(tdengine: TDengine, database: str) -> None:
    connection = tdengine.connect()
    connection.execute(f"CREATE DATABASE {database}")
    connection.execute(f"CREATE TABLE {database}.meters (psp_ts TIMESTAMP, v INT)")
    with serving(tdengine.settings(database)) as server:
        name = "psp_ts, a name that Perspective keeps for itself"
        line = f"{database}.meters can't be shown: its key is {name}"
        server.process.wait_for_line(line)
        wait_for(lambda: server.health()["errors"] > 2, "further attempts")
        health = server.health()
        assert (health["status"], health["last_error"]) == ("waiting", line)
        assert server.process.output.count(line) == 1


@pytest.mark.parametrize(
    ("database_asked", "table_asked", "said"),
    [
        (str.upper, "meters", "has no database {DB}, but {db}: set TAOS_DATABASE={db}"),
        (str.upper, "METERS", "has no database {DB}, but {db}: set TAOS_DATABASE={db}"),
        (str, "Meters", "has no table {db}.Meters, but {db}.meters: set TAOS_TABLENAME=meters"),
        (str, "D_0", "has no table {db}.D_0, but {db}.d_0: set TAOS_TABLENAME=d_0"),
        (str, "metersX", "has no table {db}.metersX yet"),
        (str, "mete_s", "has no table {db}.mete_s yet"),
        (lambda name: f"{name}x", "meters", "has no database {db}x yet"),
    ],
)
def test_a_name_that_is_there_in_other_letters_is_told(
    make: Any, database_asked: Any, table_asked: str, said: str
) -> None:
    source = make(METER)
    source.execute(f"CREATE TABLE {source.database}.d_0 USING {source.database}.meters TAGS (1, 'here')")
    asked = database_asked(source.database)
    settings = {**source.server.settings(asked), "TAOS_TABLENAME": table_asked}
    with serving(settings) as server:
        line = said.format(db=source.database, DB=source.database.upper())
        wait_for(lambda: (server.health()["last_error"] or "").endswith(line), line)
        assert server.process.wait_for_line(line)


def test_names_that_differ_in_case_alone_may_both_be_there(make: Any) -> None:
    source = make(METER)
    source.execute(f"CREATE TABLE {source.database}.`Meters` (ts TIMESTAMP, v INT)")
    source.execute(f"INSERT INTO {source.database}.`Meters` VALUES (NOW, 1)")
    for table, rows in (("Meters", 1), ("meters", 0)):
        target = replace(source.tdengine, table=table)
        assert Reader(target, "12h", 10).poll(source.connection).rows == rows


def test_before_the_columns_are_known_there_is_no_table(tdengine: TDengine, database: str) -> None:
    async def look(server: Server) -> list[str]:
        async with Viewer(f"ws://127.0.0.1:{server.port}/websocket") as viewer:
            return await viewer.client.get_hosted_table_names()

    with serving(tdengine.settings(database)) as server:
        server.process.wait_for_line("has no database")
        assert asyncio.run(look(server)) == []
        connection = tdengine.connect()
        connection.execute(f"CREATE DATABASE {database}")
        connection.execute(f"CREATE TABLE {database}.meters (ts TIMESTAMP, v INT)")
        wait_for(lambda: asyncio.run(look(server)) == ["meters_values"], "the table")


@pytest.mark.parametrize("table", ["meters", "d1"])
def test_viewers_come_again_when_the_columns_change(make: Any, table: str) -> None:
    """And then see the table as it is; a text that gets longer sends nobody away."""
    source = make(METER, table)
    source.insert("d1", [(source.clock() - 1000, 1.5, 1, 0.5)])
    subtable = ["tbname"] if table == "meters" else []  # once the columns are not the meters' own any more
    changes = [
        (
            "ADD COLUMN extra BINARY(4)",
            ["timestamp", "current", "voltage", "phase", "extra", *subtable, "groupid", "location"],
        ),
        (
            "ADD TAG more INT",
            ["timestamp", "current", "voltage", "phase", "extra", *subtable, "groupid", "location", "more"],
        ),
        (
            "DROP COLUMN phase",
            ["timestamp", "current", "voltage", "extra", *subtable, "groupid", "location", "more"],
        ),
        ("DROP TAG location", ["timestamp", "current", "voltage", "extra", *subtable, "groupid", "more"]),
    ]

    async def look(server: Server) -> None:
        url = f"ws://127.0.0.1:{server.port}/websocket"
        for change, columns in changes:
            async with Viewer(url) as viewer:
                opened = await viewer.client.open_table("meters_values")
                view = await opened.view(group_by=["groupid"])
                await view.on_update(lambda *_: None)
                await asyncio.to_thread(source.alter, change)
                assert await asyncio.wait_for(viewer.closed, 30) == 1012
                assert viewer.socket.close_reason == "the table's columns have changed"
            async with Viewer(url) as viewer:
                opened = await viewer.client.open_table("meters_values")
                assert await opened.columns() == columns
                assert await opened.size() == 1
        async with Viewer(url) as viewer:
            opened = await viewer.client.open_table("meters_values")
            await asyncio.to_thread(source.alter, "MODIFY COLUMN extra BINARY(16)")
            text = "'longer than four'"
            values = f"({source.clock()}, 2.5, 2, {text})"
            await asyncio.to_thread(source.execute, f"INSERT INTO {source.database}.d1 VALUES {values}")
            view = await opened.view(columns=["extra"])

            async def shown() -> bool:
                return "longer than four" in (await view.to_columns())["extra"]

            while not await asyncio.wait_for(shown(), 30):
                await asyncio.sleep(0.05)
            assert not viewer.closed.done()

    settings = {**source.server.settings(source.database), "TAOS_TABLENAME": table}
    with serving(settings) as server:
        server.wait_until_live(rows=1)
        asyncio.run(asyncio.wait_for(look(server), 120))
        wait_for(lambda: server.health()["status"] == "live", "a live table")
        health = server.health()
        assert health["errors"] == 0, server.process.output


def test_a_column_that_is_dropped_costs_no_poll(make: Any) -> None:
    source = make(METER)
    copy = Copy(source)
    source.insert("d0", [(source.clock() - 1000, 1.5, 1, 0.5)])
    copy.poll()
    source.alter("DROP COLUMN voltage")
    copy.poll_new()  # would be an error if it took the columns for what they were
    copy.assert_exact()


def test_rows_older_than_the_window_are_not_shown(make: Any) -> None:
    source = make(TWO_TIMES)
    now = source.clock()
    rows = [(now - age * 1000 * source.units, 0, age, b"x", "here") for age in (1, 50, 70, 7200)]
    source.insert("meters", rows)
    for span, ages in (
        ("1m", [1, 50]),
        ("90s", [1, 50, 70]),
        ("100000a", [1, 50, 70]),
        ("1d", [1, 50, 70, 7200]),
    ):
        reader = Reader(source.tdengine, span, 100)
        reader.poll(source.connection)
        assert sorted(row[3] for row in reader.held.rows.values()) == ages


WRITE_NEW_TEXTS = """
import psutil, perspective
from tdengine_perspective import engine
from tdengine_perspective.mirror.messages import Poll
from tdengine_perspective.mirror.schema import Column, Schema
from tdengine_perspective.mirror.table import Mirror
from tdengine_perspective.tables import TableSettings

engine.MAX_MEMORY_GROWTH = 8 << 20
engine.prepare_engine()
mirror = Mirror(perspective.Server().new_local_client(), TableSettings())
columns = (Column("ts", "timestamp", "TIMESTAMP"), Column("note", "note", "VARCHAR"))
schema = Schema(columns, left_out=(), key_size=2, units=1)
mirror.take(Poll(None, True, 300, 1, schema))
for poll in range(400):
    rows = [(i, "meters", f"{poll} {i} " + "x" * 1500) for i in range(300)]
    update = schema.as_json(rows, list(range(300)))
    try:
        mirror.take(Poll(update, False, 300, 1))
    except perspective.PerspectiveError:  # a renewal failed, and so the server has everything read again
        mirror.take(Poll(update, True, 300, 1))
    if poll % 3 == 0:  # the server does it every second, and polls three times in that
        mirror.renew_table_when_due()
    print(psutil.Process().memory_info().rss)
assert mirror.table.size() == 300
"""


def test_memory_stays_bounded_where_no_text_comes_twice() -> None:
    """Perspective keeps every text that it has seen, until its table is renewed: here 180 MB of it."""
    with Process(python("-c", WRITE_NEW_TEXTS)) as process:
        assert process.wait(60) == 0, process.output
    memory = [int(line) for line in process.lines]
    assert max(memory) - memory[0] < 120e6


def test_renewals_leave_each_row_as_it_is_whoever_looks() -> None:
    """1,500 of them. As Arrow with the slots, which is read on several threads, one in thousands failed."""
    mirror = Mirror(perspective.Server().new_local_client(), TableSettings())
    kinds = {"ts": "TIMESTAMP", "note": "VARCHAR", "f": "DOUBLE", "i": "INT", "b": "BOOL", "at": "TIMESTAMP"}
    columns = tuple(Column(name, name, kind) for name, kind in kinds.items())
    schema = Schema(columns, left_out=(), key_size=2, units=1)
    chance = random.Random(1)

    def row(slot: int) -> tuple:
        values = [
            f'{chance.random()} é "\\',
            chance.random() * 10.0 ** chance.randrange(-300, 300),
            chance.randrange(-(2**31) + 1, 2**31),
            chance.random() < 0.5,
            chance.randrange(-(10**13), 10**13),
        ]
        return (slot, "meters", *(None if chance.random() < 0.2 else value for value in values))

    class Watching:
        """The table, and in which form it gets rows."""

        def __init__(self, table: perspective.Table):
            self.table = table
            self.forms: set[type] = set()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.table, name)

        def replace(self, content: object, **form: str) -> None:
            self.forms.add(type(content))
            self.table.replace(content, **form)

    rows = {slot: row(slot) for slot in range(20)}
    mirror.take(Poll(schema.as_json(list(rows.values()), list(rows)), True, 20, 1, schema))
    mirror.table = Watching(mirror.table)
    mirror.memory.has_grown = lambda: True
    views: list[perspective.View] = []
    for _ in range(1500):
        new = {slot: row(slot) for slot in chance.sample(range(20), chance.randrange(1, 20))}
        rows |= new
        mirror.take(Poll(schema.as_json(list(new.values()), list(new)), False, 20, 1))
        views.append(mirror.table.view(group_by=chance.choice([["note"], ["b", "i"], []]), columns=["f"]))
        if len(views) > 5:
            views.pop(chance.randrange(5)).delete()
        mirror.renew_table_when_due()
        assert mirror.failed_renewal is None
    everything = mirror.table.view(columns=[*kinds, "slot"], expressions={"slot": "index()"}).to_columns()
    slots = everything.pop("slot")
    shown = dict(zip(slots, zip(*everything.values(), strict=True), strict=True))
    assert shown == {slot: (first, *others) for slot, (first, _, *others) in rows.items()}
    assert mirror.table.forms == {str}, "no Arrow"


def test_a_renewal_that_fails_has_everything_read_again() -> None:
    client = perspective.Server().new_local_client()
    mirror = Mirror(client, TableSettings())
    mirror.memory.has_grown = lambda: True
    columns = (Column("ts", "timestamp", "TIMESTAMP"), Column("note", "note", "VARCHAR"))
    schema = Schema(columns, left_out=(), key_size=2, units=1)
    update = schema.as_json([(1, "t", "here")], [0])
    mirror.take(Poll(update, True, 1, 1, schema))
    table = mirror.table

    class Failing:
        """The table, but for one thing."""

        def __getattr__(self, name: str) -> Any:
            return getattr(table, name)

        def replace(self, content: str, **form: str) -> None:
            table.replace("[1]", **form)

    mirror.table = Failing()
    mirror.renew_table_when_due()
    mirror.table = table
    with pytest.raises(perspective.PerspectiveError):
        mirror.take(Poll(None, False, 1, 1))
    mirror.take(Poll(update, True, 1, 1))
    assert table.size() == 1
    table.delete()  # which a view that was left behind would not let happen
