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
from typing import Any

import perspective
import pytest
import taosws
from conftest import TDengine
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from support import Process, emulator, free_port, wait_for
from test_end_to_end import Server, serving
from viewers import Viewer

import tdengine_connection
from perspective_server import ENGINE_THREADS, Mirror
from tdengine_connection import Refused, TDengineError
from tdengine_reader import COLUMNS, Poll, Reader
from viewer_gate import ViewerGate

LIMIT = 8  # rows of the window in most tests here: small, so that histories overflow it
HOUR = 3_600_000  # ms
WINDOW = 12 * HOUR
METERS = ("d0", "d1", "d2", "d3")
PLACES = ("San José", "東京", "", "O'Hare", "a\\b")

FIT = "(ts TIMESTAMP, current FLOAT, voltage INT, phase DOUBLE) TAGS (groupid INT, location NCHAR(16))"
MISFITS = (
    "(ts TIMESTAMP, current BINARY(8), voltage INT, phase FLOAT) TAGS (groupid INT, location NCHAR(16))",
    "(ts TIMESTAMP, current FLOAT, voltage BINARY(8), phase FLOAT) TAGS (groupid INT, location NCHAR(16))",
    "(ts TIMESTAMP, price INT) TAGS (name BINARY(8))",
)

Values = tuple[Any, ...]  # timestamp (ms since 1970), location, groupid, current, voltage, phase

perspective.set_num_cpus(ENGINE_THREADS)
_numbers = itertools.count()


def sql(value: object) -> str:
    """The value as TDengine's SQL writes it."""
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(value)


class Source:
    """A TDengine with a database of its own, and a connection to write with."""

    def __init__(self, tdengine: TDengine):
        self.server = tdengine
        self.database = f"mirror_{os.getpid()}_{next(_numbers)}"
        self.tdengine = tdengine_connection.TDengine(
            tdengine.host, tdengine.port, tdengine.user, tdengine.password, self.database, "meters"
        )
        self.connection = tdengine.connect()
        self.execute(f"CREATE DATABASE {self.database}")
        self.execute(f"CREATE TABLE {self.database}.meters {FIT}")

    def execute(self, statement: str) -> None:
        self.connection.execute(statement)

    def query(self, statement: str) -> list[tuple]:
        return list(self.connection.query(statement))

    def clock(self) -> int:
        """The server's time, ms since 1970."""
        return self.query("SELECT CAST(NOW() AS BIGINT)")[0][0]

    def insert(self, meter: str, rows: list[tuple], place: str = "here") -> None:
        """Rows of (timestamp, current, voltage, phase); the subtable is made where there is none.

        Through a prepared statement: TDengine's SQL can't write NaN and infinity.
        """
        timestamps, currents, voltages, phases = map(list, zip(*rows, strict=True))
        self.execute(f"USE {self.database}")
        statement = self.connection.stmt2_statement()
        statement.prepare("INSERT INTO ? USING meters (groupid, location) TAGS (?, ?) VALUES (?, ?, ?, ?)")
        columns = [
            taosws.millis_timestamps_to_column(timestamps),
            taosws.floats_to_column(currents),
            taosws.ints_to_column(voltages),
            taosws.doubles_to_column(phases),
        ]
        tags = [taosws.int_to_tag(METERS.index(meter)), taosws.nchar_to_tag(place)]
        statement.bind([taosws.stmt2_bind_param_view(meter, tags, columns)])
        statement.execute()
        statement.close()

    def rows(self) -> list[tuple[str, Values]]:
        """Subtable and values of every row of the last 12 hours, newest first, NaN and infinity as None."""
        return [
            (subtable, tuple(finite(value) for value in values))
            for subtable, *values in self.query(
                "SELECT tbname, CAST(ts AS BIGINT), location, groupid, current, voltage, phase "
                f"FROM {self.database}.meters WHERE ts >= NOW() - 12h ORDER BY ts DESC"
            )
        ]

    def close(self) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {self.database}")
        self.connection.close()


def finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Copy:
    """The reader and the server's Mirror in this process, polled by hand."""

    def __init__(self, source: Source, limit: int = LIMIT):
        self.source = source
        self.limit = limit
        self.mirror = Mirror(
            perspective.Server().new_local_client(), source.tdengine, ViewerGate("127.0.0.1", 8080)
        )
        self.reader = Reader(source.tdengine, limit)
        self.connection = source.server.connect()
        self.updates = 0
        self.view = self.mirror.table.view()
        self.view.on_update(self.count)

    def count(self, *_: object) -> None:
        self.updates += 1

    def poll(self, whole_window: bool = False) -> Poll:
        """As the reader's `run` does: after an error it connects anew and reads the whole window."""
        if whole_window:
            self.reader.next_window_read = -math.inf
        try:
            poll = self.reader.poll(self.connection)
        except Exception:
            self.reconnect()
            raise
        before = self.updates
        self.mirror.take(poll)
        assert self.updates - before <= 1, "a poll is at most one update for a viewer"
        assert poll.rows <= self.limit
        return poll

    def poll_new(self) -> Poll:
        """A poll that surely does not read the whole window, if the reader has seen rows before."""
        self.reader.next_window_read = math.inf
        return self.poll()

    def reconnect(self) -> None:
        self.connection = self.source.server.connect()
        self.reader.forget_time()

    def rows(self) -> list[Values]:
        columns = self.view.to_columns()
        names = ["timestamp", *list(COLUMNS)[1:]]
        return list(zip(*(columns[name] for name in names), strict=True))

    def assert_exact(self) -> None:
        """The table's rows are the newest `limit` of the window, any of those that tie at its old end."""
        truth = [values for _, values in self.source.rows()]
        window = truth[: self.limit]
        oldest = window[-1][0] if window else None
        left = Counter(self.rows())
        for values in window:
            if values[0] != oldest:
                assert left[values] > 0, f"{values} is missing"
                left[values] -= 1
        tied = Counter(values for values in truth if values[0] == oldest)
        surplus = left - tied
        assert not surplus, f"{surplus} should not be there"
        assert len(self.rows()) == len(window)

    def assert_quiet(self) -> None:
        """Nothing changed, so neither kind of poll sends anything."""
        before = self.updates
        for whole_window in (False, True, False):
            poll = self.poll(whole_window) if whole_window else self.poll_new()
            assert (poll.update, poll.whole) == (None, False)
        assert self.updates == before


currents = st.one_of(st.none(), st.just(math.nan), st.floats(-1e6, 1e6, width=32))
phases = st.one_of(st.none(), st.just(math.inf), st.floats(allow_nan=False, allow_infinity=False, width=64))
voltages = st.one_of(st.none(), st.integers(-(2**31) + 1, 2**31 - 1))
readings = st.tuples(currents, voltages, phases)
# ms before now; none near enough to the window's edge to cross it meanwhile
ages = st.one_of(st.integers(1, 50), st.integers(1, WINDOW - HOUR), st.integers(WINDOW + HOUR, 2 * WINDOW))


class Histories(RuleBasedStateMachine):
    """What can happen to a table that somebody else writes to."""

    server: TDengine  # set by each test
    restart: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.source = Source(self.server)
        self.copy = Copy(self.source)
        self.restarts = 0
        self.last_in_order = 0
        self.fresh: set[tuple[str, Values]] = set()  # written in order since the mirror was exact
        self.gone = False  # whether rows left since then, which only a read of the whole window can tell
        self.table = self.fits = True

    @rule(batch=st.dictionaries(st.sampled_from(METERS), st.lists(readings, min_size=1, max_size=4)))
    @precondition(lambda self: self.table and self.fits)
    def rows_in_order(self, batch: dict[str, list[tuple]]) -> None:
        start = max(self.source.clock(), self.last_in_order + 1)
        for meter, rows in batch.items():
            self.source.insert(meter, [(start + i, *row) for i, row in enumerate(rows)])
            self.last_in_order = max(self.last_in_order, start + len(rows) - 1)
        self.fresh |= {(name, row) for name, row in self.source.rows() if name in batch and row[0] >= start}

    @rule(meter=st.sampled_from(METERS), count=st.integers(LIMIT, 3 * LIMIT))
    @precondition(lambda self: self.table and self.fits)
    def more_rows_than_the_window_holds(self, meter: str, count: int) -> None:
        self.rows_in_order({meter: [(float(i), i, None) for i in range(count)]})

    @rule(meter=st.sampled_from(METERS), age=ages, reading=readings, place=st.sampled_from(PLACES))
    @precondition(lambda self: self.table and self.fits)
    def a_late_row(self, meter: str, age: int, reading: tuple, place: str) -> None:
        self.fresh.clear()
        self.source.insert(meter, [(self.source.clock() - age, *reading)], place)

    @rule(meter=st.sampled_from(METERS), ahead=st.integers(HOUR // 60, 48 * HOUR), count=st.integers(1, 12))
    @precondition(lambda self: self.table and self.fits)
    def rows_from_the_future(self, meter: str, ahead: int, count: int) -> None:
        start = self.source.clock() + ahead
        self.source.insert(meter, [(start + i, 1.5, i, 0.5) for i in range(count)])

    @rule(which=st.integers(0, 11), reading=readings)
    @precondition(lambda self: self.table and self.fits)
    def a_row_is_overwritten(self, which: int, reading: tuple) -> None:
        if rows := self.source.rows():
            meter, values = rows[which % len(rows)]
            self.fresh.clear()
            self.source.insert(meter, [(values[0], *reading)])

    @rule(age=st.integers(0, 3), reading=readings, meters=st.permutations(METERS))
    @precondition(lambda self: self.table and self.fits)
    def all_meters_at_one_timestamp(self, age: int, reading: tuple, meters: list[str]) -> None:
        timestamp = self.source.clock() - age * HOUR
        self.fresh.clear()
        for meter in meters:
            self.source.insert(meter, [(timestamp, *reading)])

    @rule(which=st.integers(0, 11), how=st.sampled_from(["one", "newer", "older", "all"]))
    @precondition(lambda self: self.table and self.fits)
    def rows_are_deleted(self, which: int, how: str) -> None:
        if rows := self.source.rows():
            meter, values = rows[which % len(rows)]
            where = {"one": f"ts = {values[0]}", "newer": f"ts >= {values[0]}", "older": f"ts <= {values[0]}"}
            self.gone = True
            condition = f" WHERE {where[how]}" if how in where else ""
            table = meter if how == "one" else "meters"
            self.source.execute(f"DELETE FROM {self.source.database}.{table}{condition}")

    @rule(meter=st.sampled_from(METERS), place=st.sampled_from([*PLACES, None]))
    @precondition(lambda self: self.table and self.fits)
    def a_tag_is_changed(self, meter: str, place: str | None) -> None:
        if any(name == meter for name, _ in self.source.rows()):
            self.fresh.clear()
            self.source.execute(f"ALTER TABLE {self.source.database}.{meter} SET TAG location = {sql(place)}")

    @rule()
    @precondition(lambda self: self.table)
    def the_table_is_dropped(self) -> None:
        self.gone = True
        self.source.execute(f"DROP TABLE {self.source.database}.meters")
        self.table = False

    @rule(columns=st.sampled_from([FIT, FIT, FIT, *MISFITS]), seen=st.booleans())
    @precondition(lambda self: not self.table)
    def the_table_is_created_again(self, columns: str, seen: bool) -> None:
        if seen:
            self.new_rows_are_read()
        self.source.execute(f"CREATE TABLE {self.source.database}.meters {columns}")
        self.table, self.fits = True, columns == FIT
        if columns in MISFITS[:2]:  # a read of new rows alone would meet these
            self.source.execute(
                f"INSERT INTO {self.source.database}.d0 USING {self.source.database}.meters "
                f"TAGS (1, 'x') VALUES ({self.source.clock() + HOUR}, '1', '2', 3)"
            )

    @rule(seen=st.booleans())
    def the_database_is_dropped_and_created_again(self, seen: bool) -> None:
        self.gone = True
        self.source.execute(f"DROP DATABASE {self.source.database}")
        if seen:
            self.table = False
            self.new_rows_are_read()
        self.source.execute(f"CREATE DATABASE {self.source.database}")
        self.source.execute(f"CREATE TABLE {self.source.database}.meters {FIT}")
        self.table = self.fits = True

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
            assert self.copy.mirror.table.size() <= LIMIT
            return
        held = Counter(self.copy.rows())
        if self.fresh and not self.gone:
            window = self.source.rows()[:LIMIT]
            oldest = window[-1][1][0]
            for key in self.fresh & {row for row in window if row[1][0] > oldest}:
                assert held[key[1]], f"{key} was written in order and is not there"

    @rule()
    def it_settles(self) -> None:
        if not self.table or not self.fits:
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
        if not self.table or not self.fits:
            self.source.execute(f"DROP TABLE IF EXISTS {self.source.database}.meters")
            self.source.execute(f"CREATE TABLE {self.source.database}.meters {FIT}")
            self.table = self.fits = True
        try:
            self.it_settles()
        finally:
            self.source.close()


def run_histories(server: TDengine, restart: Any, count: int) -> None:
    class Here(Histories):
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
    assert sorted(copy.rows()) == sorted(values for _, values in source.rows())


@pytest.mark.parametrize("columns", MISFITS[:2])
def test_rows_of_a_table_made_anew_with_other_types_are_not_shown(source: Source, columns: str) -> None:
    copy = Copy(source)
    source.insert("d0", [(source.clock(), 1.0, 1, 1.0)])
    copy.poll()
    before = copy.rows()
    source.execute(f"DROP TABLE {source.database}.meters")
    source.execute(f"CREATE TABLE {source.database}.meters {columns}")
    source.execute(
        f"INSERT INTO {source.database}.d0 USING {source.database}.meters (groupid) TAGS (1) "
        f"VALUES ({source.clock() + 1}, '7', '7', 7)"
    )
    with pytest.raises(Refused, match="no table of meter readings"):
        copy.poll_new()
    assert copy.rows() == before


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
    gate = ViewerGate("127.0.0.1", 8080)
    monkeypatch.setattr(gate, "renewal_due", lambda: True)
    mirror = Mirror(perspective.Server().new_local_client(), source.tdengine, gate)
    mirror.take(Reader(source.tdengine, 1000).poll(source.connection))
    view = mirror.table.view(columns=["voltage", "current", "phase"])
    newest_first = list(range(50))[::-1]  # each row in its slot, where the next update looks for it
    assert view.to_columns() == {"voltage": newest_first, "current": [1.5] * 50, "phase": [None] * 50}
    view.delete()
    mirror.table.delete()  # raises PerspectiveError while there are views of it
