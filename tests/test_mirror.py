"""The table holds exactly what the window's query returns, after any history; a quiet poll sends nothing."""

import asyncio
import itertools
import math
import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import perspective
import pytest
import taosws
from conftest import TDengine
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support import Process, emulator, free_port, wait_for
from test_end_to_end import Server, serving
from viewers import Viewer

from tdengine_perspective import tdengine as reaching
from tdengine_perspective.engine import ENGINE_THREADS
from tdengine_perspective.mirror.messages import Poll
from tdengine_perspective.mirror.reader import Reader
from tdengine_perspective.mirror.table import Mirror
from tdengine_perspective.tables import TableSettings
from tdengine_perspective.tdengine import TDengineError

LIMIT = 8  # rows of the window in most tests here: small, so that histories overflow it
HOUR = 3_600_000  # ms
WINDOW = 12 * HOUR
METERS = ("d0", "d1", "d2", "d3")
UNITS = {"ms": 1, "us": 1_000, "ns": 1_000_000}  # of a database's timestamps: so many make a millisecond
CALENDAR = (
    -62_135_596_800_000,
    253_402_300_799_999,
)  # ms since 1970; beyond it there is no year of four digits


@dataclass(frozen=True)
class Shape:
    """A database's precision and a table in it: a supertable, or without tags a plain table."""

    precision: str
    columns: str
    tags: str | None


METER = Shape(
    "ms", "ts TIMESTAMP, current FLOAT, voltage INT, phase DOUBLE", "groupid INT, location NCHAR(16)"
)
COMPOSITE = Shape(
    "ns",
    "`ts` TIMESTAMP, seq INT PRIMARY KEY, `Value` DOUBLE, note VARCHAR(40)",
    "`order` BINARY(8), `on` BOOL",
)
TWO_TIMES = Shape(
    "us",
    "ts TIMESTAMP, `timestamp` TIMESTAMP, `Group` BIGINT UNSIGNED, raw VARBINARY(16), note NCHAR(10)",
    None,
)
NAMED = Shape("ms", "`When` TIMESTAMP, `precision` SMALLINT UNSIGNED, amount BIGINT", "`tags` TINYINT")
SHAPES = (METER, COMPOSITE, TWO_TIMES, NAMED)

Values = tuple[Any, ...]  # of a row as a viewer gets them, the time (ms since 1970) first
Reading = tuple[Any, ...]  # what a row has besides its timestamp, as TDengine has it

perspective.set_num_cpus(ENGINE_THREADS)
_numbers = itertools.count()


def sql(value: object) -> str:
    """The value as TDengine's SQL writes it."""
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(value)


def shown(kind: str, value: Any, units: int) -> Any:
    """What a viewer gets for a value of a type of TDengine's."""
    if value is None:
        return None
    if kind == "TIMESTAMP":
        milliseconds = value // units
        return milliseconds if CALENDAR[0] <= milliseconds <= CALENDAR[1] else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return (
        float(value) if isinstance(value, Decimal) or kind.startswith(("BIGINT", "INT UNSIGNED")) else value
    )


BINDING = {  # the functions of taosws that make a column, and a tag, of a type
    "BOOL": ("bools_to_column", "bool_to_tag"),
    "TINYINT": ("tiny_ints_to_column", "tiny_int_to_tag"),
    "INT": ("ints_to_column", "int_to_tag"),
    "BIGINT": ("big_ints_to_column", "big_int_to_tag"),
    "SMALLINT UNSIGNED": ("unsigned_small_ints_to_column", "unsigned_small_int_to_tag"),
    "BIGINT UNSIGNED": ("unsigned_big_ints_to_column", "unsigned_big_int_to_tag"),
    "FLOAT": ("floats_to_column", "float_to_tag"),
    "DOUBLE": ("doubles_to_column", "double_to_tag"),
    "VARCHAR": ("varchar_to_column", "varchar_to_tag"),
    "NCHAR": ("nchar_to_column", "nchar_to_tag"),
    "VARBINARY": ("varbinary_to_column", "varbinary_to_tag"),
}
TIMES = {
    1: "millis_timestamps_to_column",
    1_000: "micros_timestamps_to_column",
    1_000_000: "nanos_timestamps_to_column",
}


class Source:
    """A TDengine with a database of its own, a table in it that is shown, and a connection to write with."""

    def __init__(self, tdengine: TDengine, shape: Shape = METER, table: str = "meters"):
        self.server = tdengine
        self.database = f"mirror_{os.getpid()}_{next(_numbers)}"
        self.tdengine = reaching.TDengine(
            tdengine.host, tdengine.port, tdengine.user, tdengine.password, self.database, table
        )
        self.connection = tdengine.connect()
        self.create_database(shape)

    def create_database(self, shape: Shape) -> None:
        self.execute(f"CREATE DATABASE {self.database} PRECISION '{shape.precision}'")
        self.units = UNITS[shape.precision]
        self.create_table(shape)

    def create_table(self, shape: Shape) -> None:
        """The table that is shown, as a supertable or its subtable or a plain one."""
        self.is_plain = shape.tags is None
        if self.is_plain:
            self.execute(f"CREATE TABLE {self.database}.{self.tdengine.table} ({shape.columns})")
            return
        self.execute(f"CREATE TABLE {self.database}.meters ({shape.columns}) TAGS ({shape.tags})")
        if self.tdengine.table != "meters":
            nulls = ", ".join(["NULL"] * len(self.tags))
            subtable = f"{self.database}.{self.tdengine.table}"
            self.execute(f"CREATE TABLE {subtable} USING {self.database}.meters TAGS ({nulls})")

    @property
    def meters(self) -> tuple[str, ...]:
        """The tables that rows can be written into."""
        return (self.tdengine.table,) if self.is_plain else METERS

    @property
    def altered(self) -> str:
        """The table whose columns can be changed."""
        return self.tdengine.table if self.is_plain else "meters"

    def alter(self, change: str) -> None:
        self.execute(f"ALTER TABLE {self.database}.{self.altered} {change}")

    def drop_table(self) -> None:
        self.execute(f"DROP TABLE {self.database}.{self.altered}")

    def execute(self, statement: str) -> None:
        self.connection.execute(statement)

    def query(self, statement: str) -> list[tuple]:
        return list(self.connection.query(statement))

    def describe(self, table: str | None = None) -> list[tuple[str, str, str]]:
        """Name, type and note of each column."""
        rows = self.query(f"DESCRIBE {self.database}.{table or self.tdengine.table}")
        return [(name, kind.partition("(")[0], note) for name, kind, _, note, *_ in rows]

    @property
    def columns(self) -> dict[str, str]:
        """Name and type of what a row has besides its timestamp and its tags."""
        return {name: kind for name, kind, note in self.describe(self.altered)[1:] if note != "TAG"}

    @property
    def tags(self) -> dict[str, str]:
        return {name: kind for name, kind, note in self.describe(self.altered) if note == "TAG"}

    @property
    def is_composite(self) -> bool:
        return self.describe()[1][2] == "COMPOSITE KEY"

    shows_subtables = False  # always, and not only where the rows need it

    @property
    def labels(self) -> list[str]:
        """What the columns are called in the table that viewers see."""
        described = self.describe()
        names = [name for name, _, _ in described]
        labels = ["timestamp" if name == "ts" and "timestamp" not in names else name for name in names]
        if self.shows_subtable:
            labels.insert(self.first_tag, "tbname")
        return labels

    @property
    def first_tag(self) -> int:
        """The place of the first tag among the columns, and so that of the subtable's name."""
        notes = [note for _, _, note in self.describe()]
        return notes.index("TAG") if "TAG" in notes else len(notes)

    @property
    def shows_subtable(self) -> bool:
        """Whether the subtable's name is a column: a supertable's, unless its columns are the meters' six."""
        names = {name for name, _, _ in self.describe()}
        is_supertable = not self.is_plain and self.tdengine.table == self.altered
        meters = {"ts", "current", "voltage", "phase", "groupid", "location"}
        return self.shows_subtables or (is_supertable and names != meters)

    @property
    def key(self) -> str:
        return f"`{self.describe()[0][0]}`"

    def clock(self) -> int:
        """The server's time, in the database's unit."""
        return self.query("SELECT CAST(NOW() AS BIGINT)")[0][0] * self.units

    def insert(self, meter: str, rows: list[tuple], tags: tuple | None = None) -> None:
        """Rows of a timestamp and a reading; the subtable is made where there is none.

        Through a prepared statement: TDengine's SQL can't write NaN and infinity.
        """
        kinds = self.tags
        if tags is None:
            tags = (
                (METERS.index(meter), "here")
                if list(kinds) == ["groupid", "location"]
                else (None,) * len(kinds)
            )
        bound = [
            getattr(taosws, BINDING[kind][1])(tag) for kind, tag in zip(kinds.values(), tags, strict=True)
        ]
        timestamps, *others = map(list, zip(*rows, strict=True))
        columns = [getattr(taosws, TIMES[self.units])(timestamps)]
        for kind, values in zip(self.columns.values(), others, strict=True):
            bind = TIMES[self.units] if kind == "TIMESTAMP" else BINDING[kind][0]
            columns.append(getattr(taosws, bind)(values))
        values = f"VALUES ({', '.join('?' * len(columns))})"
        names, marks = ", ".join(f"`{name}`" for name in kinds), ", ".join("?" * len(kinds))
        if self.is_plain:
            statement = f"INSERT INTO {meter} {values}"
            bound_rows = taosws.stmt2_bind_param_view(None, [], columns)
        else:
            statement = f"INSERT INTO ? USING meters ({names}) TAGS ({marks}) {values}"
            bound_rows = taosws.stmt2_bind_param_view(meter, bound, columns)
        try:
            self.write(statement, bound_rows)
        except taosws.Error:  # where a table is new or altered, TDengine may go by what it was before
            self.connection = self.server.connect()
            self.execute("RESET QUERY CACHE")
            self.write(statement, bound_rows)

    def write(self, sql: str, rows: "taosws.PyStmt2BindParam") -> None:
        self.execute(f"USE {self.database}")
        statement = self.connection.stmt2_statement()
        statement.prepare(sql)
        statement.bind([rows])
        statement.execute()
        statement.close()

    def rows(self, since: str = " >= NOW() - 12h") -> list[tuple[str, int, Values]]:
        """Of the last 12 hours, newest first: subtable, timestamp (in the database's unit), values."""
        described = self.describe()
        names = [f"`{name}`" for name, _, _ in described]
        kinds = [kind for _, kind, _ in described]
        if self.shows_subtable:
            names.insert(self.first_tag, "tbname")
            kinds.insert(self.first_tag, "VARCHAR")
        columns = ", ".join(
            f"CAST({name} AS BIGINT)" if kind == "TIMESTAMP" else name
            for name, kind in zip(names, kinds, strict=True)
        )
        return [
            (
                subtable,
                values[0],
                tuple(shown(kind, value, self.units) for kind, value in zip(kinds, values, strict=True)),
            )
            for subtable, *values in self.query(
                f"SELECT tbname, {columns} FROM {self.database}.{self.tdengine.table} "
                f"WHERE {self.key}{since} ORDER BY {self.key} DESC"
            )
        ]

    def close(self) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {self.database}")
        self.connection.close()


class Copy:
    """The reader and the server's Mirror in this process, polled by hand."""

    def __init__(self, source: Source, limit: int = LIMIT):
        self.source = source
        self.limit = limit
        client = perspective.Server().new_local_client()
        settings = TableSettings(taos_database=source.database, taos_tablename=source.tdengine.table)
        self.mirror = Mirror(client, settings, send_viewers_away=lambda reason: self.leave())
        self.reader = self.make_reader()
        self.connection = source.server.connect()
        self.updates = 0
        self.view: perspective.View | None = None

    def make_reader(self) -> Any:
        return Reader(self.source.tdengine, "12h", self.limit)

    def leave(self) -> None:
        self.view.delete()
        self.view = None

    def count(self, *_: object) -> None:
        self.updates += 1

    def poll(self, whole_window: bool = False) -> Poll:
        """As the reader's `run` does: after an error it connects anew and reads the whole window."""
        if whole_window:
            self.reader.next_full_read = -math.inf
        try:
            poll = self.reader.poll(self.connection)
        except Exception:
            self.reconnect()
            raise
        before = self.updates
        self.mirror.take(poll)
        assert self.updates - before <= 1, "a poll is at most one update for a viewer"
        assert poll.rows <= self.limit
        if self.view is None:
            self.view = self.mirror.table.view()
            self.view.on_update(self.count)
        return poll

    def poll_new(self) -> Poll:
        """A poll that surely does not read the whole window, if the reader has seen rows before."""
        self.reader.next_full_read = math.inf
        return self.poll()

    def reconnect(self) -> None:
        self.connection = self.source.server.connect()
        self.reader.forget_time()

    def rows(self) -> list[Values]:
        columns = self.view.to_columns()
        return list(zip(*columns.values(), strict=True))

    def assert_exact(self) -> None:
        """The table's rows are the newest `limit` of the window, any of those that tie at its old end."""
        assert list(self.view.to_columns()) == self.source.labels
        truth = self.source.rows()
        window = truth[: self.limit]
        oldest = window[-1][1] if window else None
        left = Counter(self.rows())
        for _, timestamp, values in window:
            if timestamp != oldest:
                assert left[values] > 0, f"{values} is missing"
                left[values] -= 1
        tied = Counter(values for _, timestamp, values in truth if timestamp == oldest)
        surplus = left - tied
        assert not surplus, f"{surplus} should not be there"
        assert len(self.rows()) == len(window)

    def assert_quiet(self) -> None:
        """Nothing changed, so neither kind of poll sends anything."""
        before = self.updates
        for whole_window in (False, True, False):
            poll = self.poll(whole_window) if whole_window else self.poll_new()
            assert (poll.update, poll.whole, poll.schema) == (None, False, None)
        assert self.updates == before


# None empty: TDengine refuses to bind a batch whose texts are all empty.
texts = st.sampled_from(["here", "東京", "O'Hare", "a\\b"])
VALUES = {  # by TDengine's type
    "BOOL": st.booleans(),
    "TINYINT": st.integers(-128, 127),
    "INT": st.one_of(st.integers(-(2**31) + 1, 2**31 - 1)),
    "BIGINT": st.integers(-(2**63) + 1, 2**63 - 1),
    "SMALLINT UNSIGNED": st.integers(0, 2**16 - 1),
    "BIGINT UNSIGNED": st.integers(0, 2**64 - 1),
    "FLOAT": st.one_of(st.just(math.nan), st.floats(-1e6, 1e6, width=32)),
    "DOUBLE": st.one_of(st.just(math.inf), st.just(math.nan), st.floats(width=64)),
    "VARCHAR": texts,
    "NCHAR": texts,
    "VARBINARY": st.binary(min_size=1, max_size=8),
    "TIMESTAMP": st.one_of(st.integers(-(10**18), 4 * 10**18), st.just(0)),
}


class Data:
    """Draws values that fit the table's columns as they are at the moment."""

    def __init__(self, data: st.DataObject, source: Source):
        self.data = data
        self.source = source
        self.columns = source.columns
        self.is_composite = source.is_composite

    def reading(self) -> Reading:
        strategies = [st.one_of(st.none(), VALUES[kind]) for kind in self.columns.values()]
        if self.is_composite:
            strategies[0] = st.integers(0, 2)
        return self.data.draw(st.tuples(*strategies))

    def tags(self) -> tuple:
        return self.data.draw(
            st.tuples(*(st.one_of(st.none(), VALUES[kind]) for kind in self.source.tags.values()))
        )


meters = st.integers(0, 3)
# ms before now; none near enough to the window's edge to cross it meanwhile
ages = st.one_of(st.integers(1, 50), st.integers(1, WINDOW - HOUR), st.integers(WINDOW + HOUR, 2 * WINDOW))
drawn = st.data()


class Histories(RuleBasedStateMachine):
    """What can happen to a table that somebody else writes to."""

    server: TDengine  # set by each test
    restart: Any = None

    make_source, make_copy = Source, Copy

    @initialize(shape=st.sampled_from(SHAPES), table=st.sampled_from(["meters", "meters", "d1"]))
    def begin(self, shape: Shape, table: str) -> None:
        self.source = self.make_source(self.server, shape, table)
        self.copy = self.make_copy(self.source)
        self.restarts = 0
        self.last_in_order = 0
        self.fresh: set[tuple[str, int, Values]] = set()  # written in order since the mirror was exact
        self.gone = False  # whether rows left since then, which only a read of the whole window can tell
        self.table = True

    def meter(self, number: int) -> str:
        return self.source.meters[number % len(self.source.meters)]

    @rule(data=drawn, batch=st.dictionaries(meters, st.integers(1, 4)))
    @precondition(lambda self: self.table)
    def rows_in_order(self, data: st.DataObject, batch: dict[int, int]) -> None:
        values = Data(data, self.source)
        start = max(self.source.clock(), self.last_in_order + 1)
        written = set()
        for number, count in batch.items():
            meter = self.meter(number)
            if meter in written:
                continue
            written.add(meter)
            self.source.insert(meter, [(start + i, *values.reading()) for i in range(count)])
            self.last_in_order = max(self.last_in_order, start + count - 1)
        rows = self.source.rows()
        self.fresh |= {row for row in rows if row[0] in written and start <= row[1] <= self.last_in_order}

    @rule(data=drawn, number=meters, count=st.integers(LIMIT, 3 * LIMIT))
    @precondition(lambda self: self.table)
    def more_rows_than_the_window_holds(self, data: st.DataObject, number: int, count: int) -> None:
        self.rows_in_order(data, {number: count})

    @rule(data=drawn, number=meters, age=ages)
    @precondition(lambda self: self.table)
    def a_late_row(self, data: st.DataObject, number: int, age: int) -> None:
        values = Data(data, self.source)
        self.fresh.clear()
        timestamp = self.source.clock() - age * self.source.units
        self.source.insert(self.meter(number), [(timestamp, *values.reading())], values.tags())

    @rule(data=drawn, number=meters, ahead=st.integers(HOUR // 60, 48 * HOUR), count=st.integers(1, 12))
    @precondition(lambda self: self.table)
    def rows_from_the_future(self, data: st.DataObject, number: int, ahead: int, count: int) -> None:
        values = Data(data, self.source)
        start = self.source.clock() + ahead * self.source.units
        self.source.insert(self.meter(number), [(start + i, *values.reading()) for i in range(count)])

    @rule(data=drawn, which=st.integers(0, 11))
    @precondition(lambda self: self.table)
    def a_row_is_overwritten(self, data: st.DataObject, which: int) -> None:
        if rows := self.source.rows():
            meter, timestamp, _ = rows[which % len(rows)]
            self.fresh.clear()
            self.source.insert(meter, [(timestamp, *Data(data, self.source).reading())])

    @rule(data=drawn, age=st.integers(0, 3), order=st.permutations(range(4)))
    @precondition(lambda self: self.table)
    def all_meters_at_one_timestamp(self, data: st.DataObject, age: int, order: list[int]) -> None:
        values = Data(data, self.source)
        timestamp = self.source.clock() - age * HOUR * self.source.units
        self.fresh.clear()
        for number in order:
            for _ in range(1 + values.is_composite):
                self.source.insert(self.meter(number), [(timestamp, *values.reading())])

    @rule(which=st.integers(0, 11), how=st.sampled_from(["one", "newer", "older", "all"]))
    @precondition(lambda self: self.table)
    def rows_are_deleted(self, which: int, how: str) -> None:
        if rows := self.source.rows():
            meter, timestamp, _ = rows[which % len(rows)]
            key = self.source.key
            where = {
                "one": f" WHERE {key} = {timestamp}",
                "newer": f" WHERE {key} >= {timestamp}",
                "older": f" WHERE {key} <= {timestamp}",
            }
            self.gone = True
            table = meter if how == "one" else self.source.tdengine.table
            self.source.execute(f"DELETE FROM {self.source.database}.{table}{where.get(how, '')}")

    @rule(data=drawn, number=meters)
    @precondition(lambda self: self.table and not self.source.is_plain)
    def a_tag_is_changed(self, data: st.DataObject, number: int) -> None:
        meter = self.meter(number)
        if any(name == meter for name, _, _ in self.source.rows()):
            self.fresh.clear()
            name, value = list(zip(self.source.tags, Data(data, self.source).tags(), strict=True))[-1]
            self.source.execute(f"ALTER TABLE {self.source.database}.{meter} SET TAG `{name}` = {sql(value)}")

    @rule(how=st.sampled_from(["column", "tag", "wider"]), seen=st.booleans())
    @precondition(lambda self: self.table)
    def the_columns_are_changed(self, how: str, seen: bool) -> None:
        """A column or a tag comes or, where it is there, goes; or a text gets longer."""
        if how == "tag" and self.source.is_plain:
            return
        found = {**self.source.columns, **self.source.tags}
        if how == "column":
            change = "DROP COLUMN extra" if "extra" in found else "ADD COLUMN extra DOUBLE"
        elif how == "tag":
            change = "DROP TAG more" if "more" in found else "ADD TAG more NCHAR(8)"
        elif "note" in found:
            kind = found["note"]
            self.width += 1
            change = f"MODIFY COLUMN note {kind}({self.width})"
        else:
            return
        self.fresh.clear()
        self.gone = True
        self.source.alter(change)
        if seen:
            self.new_rows_are_read()

    width = 40

    @rule()
    @precondition(lambda self: self.table)
    def the_table_is_dropped(self) -> None:
        self.gone = True
        self.fresh.clear()
        self.source.drop_table()
        self.table = False

    @rule(shape=st.sampled_from(SHAPES), data=drawn, seen=st.booleans())
    @precondition(lambda self: not self.table)
    def the_table_is_created_again(self, shape: Shape, data: st.DataObject, seen: bool) -> None:
        """Perhaps with other columns, and with rows that a read of new rows alone would meet."""
        if seen:
            self.new_rows_are_read()
        self.source.create_table(shape)
        self.table = True
        if seen:
            self.rows_from_the_future(data, 1, HOUR, 2)

    @rule(shape=st.sampled_from(SHAPES), seen=st.booleans())
    def the_database_is_dropped_and_created_again(self, shape: Shape, seen: bool) -> None:
        """Perhaps with another precision."""
        self.gone = True
        self.fresh.clear()
        self.last_in_order = 0
        self.source.execute(f"DROP DATABASE {self.source.database}")
        if seen:
            self.table = False
            self.new_rows_are_read()
        self.source.create_database(shape)
        self.table = True

    @rule(seen=st.booleans())
    @precondition(lambda self: self.restart and self.restarts < 1)
    def the_server_restarts(self, seen: bool) -> None:
        self.restarts += 1
        self.restart()
        self.source.connection = self.source.server.connect()
        if not seen:
            self.copy.reconnect()

    @rule()
    def new_rows_are_read(self) -> None:
        try:
            self.copy.poll_new()
        except self.errors():
            assert self.copy.mirror.table is None or self.copy.mirror.table.size() <= LIMIT
            return
        if self.fresh and not self.gone:
            self.assert_fresh_rows_are_there()

    def assert_fresh_rows_are_there(self) -> None:
        held = Counter(self.copy.rows())
        window = self.source.rows()[:LIMIT]
        oldest = window[-1][1]
        for row in self.fresh & {row for row in window if row[1] > oldest}:
            assert held[row[2]], f"{row} was written in order and is not there"

    @rule()
    def it_settles(self) -> None:
        if not self.table:
            with pytest.raises(self.errors()):
                self.copy.poll(whole_window=True)
            return
        try:
            self.copy.poll(whole_window=True)
        except self.errors():  # a restart that the reader had not met yet
            self.copy.poll(whole_window=True)
        self.copy.assert_exact()
        self.copy.assert_quiet()
        self.fresh.clear()
        self.gone = False

    def errors(self) -> tuple[type[Exception], ...]:
        """What the reader's `run` takes for an outage."""
        return TDengineError, taosws.Error

    def teardown(self) -> None:
        try:
            if not self.table:
                self.source.create_table(METER)
                self.table = True
            self.it_settles()
        finally:
            self.source.close()


def run_histories(server: TDengine, restart: Any, count: int, machine: type[Histories] = Histories) -> None:
    class Here(machine):
        pass

    Here.server, Here.restart = server, staticmethod(restart) if restart else None
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=count,
            stateful_step_count=25,
            deadline=None,
            database=None,
            print_blob=False,
            phases=[Phase.generate],  # shrinking takes minutes
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_table_is_exact_after_any_history(tdengine: TDengine) -> None:
    run_histories(tdengine, None, int(os.environ.get("TEST_HISTORIES", 30 if tdengine.is_emulator else 12)))


@pytest.mark.emulator_only
def test_the_table_is_exact_after_histories_with_restarts() -> None:
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        process: list[Process] = [emulator(port, "--data", directory)]

        def restart() -> None:
            process[0].kill()
            process[0] = emulator(port, "--data", directory)

        try:
            server = TDengine(port, is_emulator=True)
            run_histories(server, restart, int(os.environ.get("TEST_HISTORIES", 6)))
        finally:
            process[0].kill()


@pytest.fixture
def source(tdengine: TDengine) -> Iterator[Source]:
    source = Source(tdengine)
    yield source
    source.close()


@pytest.mark.parametrize("ahead", [-HOUR, HOUR])
def test_tied_rows_at_the_windows_old_end_do_not_come_and_go(source: Source, ahead: int) -> None:
    copy = Copy(source, limit=3)
    source.insert("d0", [(source.clock() - 2 * HOUR, 1.0, 1, 1.0)])
    copy.poll(whole_window=True)
    for number, order in enumerate(itertools.permutations(METERS)):
        timestamp = source.clock() + ahead + number
        for meter in order:
            source.insert(meter, [(timestamp, 1.0, METERS.index(meter), 1.0)])
            copy.poll_new()
        copy.poll(whole_window=True)  # brings what was written behind the watermark
        copy.assert_quiet()
        copy.assert_exact()


def test_floats_are_shown_to_the_last_bit(source: Source) -> None:
    copy = Copy(source, limit=300)
    chance = random.Random(5)
    start = source.clock()
    source.insert("d0", [(start + i, chance.uniform(0, 500), i, chance.uniform(0, 105)) for i in range(300)])
    copy.poll()
    assert sorted(copy.rows()) == sorted(values for *_, values in source.rows())


def test_viewers_hear_nothing_while_nothing_changes_and_of_each_change_once(source: Source) -> None:
    """Counts the bytes that reach a viewer which has two views on the screen, as the page has."""
    start = source.clock()
    source.insert("d0", [(start + i, 1.0, i, 1.0) for i in range(50)])
    settings = {**source.server.settings(source.database), "PERSPECTIVE_REFRESH_RATE": "50"}

    async def look(server: Server) -> None:
        async def polls(count: int) -> None:
            before = (await asyncio.to_thread(server.health))["polls"]

            def made() -> bool:
                return server.health()["polls"] >= before + count

            await asyncio.to_thread(wait_for, made, f"{count} polls")

        updates = []
        async with Viewer(f"ws://127.0.0.1:{server.port}/websocket") as viewer:
            table = await viewer.client.open_table("meters_values")
            flat = await table.view()
            grouped = await table.view(group_by=["location"])
            for view in (flat, grouped):
                await view.on_update(lambda *_: updates.append(None))
            await polls(2)
            received = viewer.received
            await polls(100)  # 5 seconds and so at least one read of the whole window
            assert (viewer.received, updates) == (received, [])
            await asyncio.to_thread(source.insert, "d1", [(source.clock() + 1000, 2.0, 2, 2.0)])
            await polls(60)
            assert viewer.received > received
            assert len(updates) == 2, "one for each view"

    with serving(settings) as server:
        server.wait_until_live(rows=50)
        asyncio.run(look(server))


def test_the_table_is_replaced_also_under_dozens_of_grouped_views(source: Source) -> None:
    start = source.clock()
    source.insert("d0", [(start + i, 1.0, i, 1.0) for i in range(50)])

    async def look(server: Server) -> None:
        async with AsyncExitStack() as stack:
            views = []
            for _ in range(4):  # viewers, each with ten views
                viewer = Viewer(f"ws://127.0.0.1:{server.port}/websocket")
                await stack.enter_async_context(viewer)
                table = await viewer.client.open_table("meters_values")
                views += [await table.view(group_by=["location", "voltage"]) for _ in range(10)]
            for _ in range(3):
                source.execute(f"DELETE FROM {source.database}.meters WHERE ts >= {start + 40}")
                await asyncio.to_thread(server.wait_until_live, rows=40)
                source.insert("d0", [(start + i, 1.0, i, 1.0) for i in range(40, 50)])
                await asyncio.to_thread(server.wait_until_live, rows=50)
            for view in views:
                assert await view.num_rows() == 1 + 1 + 50  # the total, the location, its voltages

    with serving(source.server.settings(source.database)) as server:
        server.wait_until_live(rows=50)
        asyncio.run(look(server))


def test_a_renewed_table_holds_the_same_and_leaves_no_view_behind(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = source.clock()
    source.insert("d0", [(start + i, 1.5, i, None) for i in range(50)])
    mirror = Mirror(perspective.Server().new_local_client(), TableSettings())
    monkeypatch.setattr(mirror.memory, "has_grown", lambda: True)
    mirror.take(Reader(source.tdengine, "12h", 1000).poll(source.connection))
    mirror.renew_table_when_due()
    view = mirror.table.view(columns=["voltage", "current", "phase"])
    newest_first = list(range(50))[::-1]  # each row in its slot, where the next update looks for it
    assert view.to_columns() == {"voltage": newest_first, "current": [1.5] * 50, "phase": [None] * 50}
    view.delete()
    mirror.table.delete()  # raises PerspectiveError while there are views of it
