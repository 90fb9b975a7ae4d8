"""What a poll costs follows what changed, not the size of the window or of the table."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest
from conftest import TDengine
from support import Process, python, wait_for
from test_end_to_end import Server, serving
from test_mirror import Copy, Source

from producer import insert_data, prepare
from tdengine_perspective import tdengine as reaching
from tdengine_perspective.mirror.reading import FULL_READ_INTERVAL, FULL_READ_SHARE

SECONDS = 12  # of measuring; the large window is read whole once or twice in that time


def source_of(tdengine: TDengine, database: str) -> reaching.TDengine:
    return reaching.TDengine(
        tdengine.host, tdengine.port, tdengine.user, tdengine.password, database, "meters"
    )


@contextmanager
def written_to(tdengine: TDengine, database: str) -> Iterator[None]:
    """A producer writes 1,000 rows/s; there are 100,000 rows of the last two hours already."""
    settings = tdengine.settings(database)
    with Process(python("producer.py", "--count", "1"), settings) as first:
        assert first.wait() == 0, first.output
    connection = tdengine.connect()
    connection.execute(f"USE {database}")
    start = int(time.time() * 1000) - 7_200_000
    history = [
        (meter, [start + i * 700 for i in range(10_000)], *[[meter] * 10_000] * 3) for meter in range(10)
    ]
    assert insert_data(prepare(connection, source_of(tdengine, database)), history) == 100_000
    with Process(python("producer.py"), settings):
        yield


def processor_time(server: Server) -> float:
    """Seconds that the server and its reader have used."""
    process = psutil.Process(server.process.pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(used.user + used.system for used in times)


def test_a_window_a_hundred_times_as_large_costs_less_than_three_times_as_much(
    tdengine: TDengine, database: str
) -> None:
    settings = tdengine.settings(database)
    with (
        written_to(tdengine, database),
        serving({**settings, "PERSPECTIVE_LIMIT": "1000"}) as small,
        serving({**settings, "PERSPECTIVE_LIMIT": "100000"}) as large,
    ):
        for server, rows in ((small, 1000), (large, 100_000)):
            server.wait_until_live(rows=rows)
        began = time.monotonic()
        before = processor_time(small), processor_time(large)
        polls = [server.health()["polls"] for server in (small, large)]
        wait_for(lambda: time.monotonic() > began + SECONDS, "the measuring to end", timeout=60)
        used = processor_time(small) - before[0], processor_time(large) - before[1]
        made = [server.health()["polls"] - count for server, count in zip((small, large), polls, strict=True)]
    print(f"processor time {used[0]:.2f} s and {used[1]:.2f} s, polls {made}")
    assert used[1] < 3 * used[0]


@pytest.fixture
def source(tdengine: TDengine) -> Iterator[Source]:
    source = Source(tdengine)
    yield source
    source.close()


def counted(copy: Copy) -> list[str]:
    """The queries that the reader makes from now on."""
    queries: list[str] = []
    connection = copy.connection

    class Counting:
        def query(self, sql: str) -> object:
            queries.append(sql)
            return connection.query(sql)

    copy.connection = Counting()
    return queries


def test_a_poll_asks_for_the_new_rows_alone(source: Source) -> None:
    copy = Copy(source, limit=100)
    start = source.clock() - 1000
    source.insert("d0", [(start - i, 1.0, i, 1.0) for i in range(100)])
    copy.poll()
    copy.poll_new()
    queries = counted(copy)
    copy.poll_new()
    assert len(queries) == 1
    assert f"WHERE `ts` > {start} ORDER BY `ts` DESC LIMIT 100" in queries[0]


def test_rows_from_the_future_are_not_read_again_at_each_poll(source: Source) -> None:
    """As when a producer at full speed ran ahead of the clock."""
    copy = Copy(source, limit=200)
    source.insert("d0", [(source.clock() + 60_000 + i, 1.0, i, 1.0) for i in range(100)])
    copy.poll()
    copy.poll_new()
    connection, rows = copy.connection, []

    class Counting:
        def query(self, sql: str) -> object:
            rows.append(len(list(connection.query(sql))))
            return connection.query(sql)

    copy.connection = Counting()
    source.insert("d1", [(source.clock(), 2.0, 2, 2.0)])
    source.insert("d0", [(source.clock() + 90_000, 2.0, 3, 2.0)])
    copy.poll_new()
    assert rows == [2]
    copy.connection = connection
    copy.poll(whole_window=True)
    copy.assert_exact()


def test_no_query_sorts_the_window_by_a_second_key(source: Source) -> None:
    copy = Copy(source, limit=10)
    queries = counted(copy)
    source.insert("d0", [(source.clock() + i, 1.0, i, 1.0) for i in range(50)])
    for whole_window in (True, False, True):
        copy.poll(whole_window)
    for query in queries:
        _, _, order = query.partition("ORDER BY ")
        assert order.startswith("`ts` DESC LIMIT") or "WHERE `ts` = " in query or not order


def test_reading_a_large_window_whole_takes_a_small_part_of_the_time(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes, here as if a query took a second."""
    source.insert("d0", [(source.clock(), 1.0, 1, 1.0)])
    copy = Copy(source)
    now = [1000.0]
    monkeypatch.setattr("tdengine_perspective.mirror.reader.time.monotonic", lambda: now[0])
    connection = copy.connection

    class Slow:
        def query(self, sql: str) -> object:
            now[0] += seconds
            return connection.query(sql)

    for seconds, at_least in ((0.001, FULL_READ_INTERVAL), (1.0, FULL_READ_SHARE)):
        copy.connection = Slow()
        began = now[0]
        copy.poll(whole_window=True)
        assert copy.reader.next_full_read - began >= at_least
        if seconds < 1:
            assert copy.reader.next_full_read - began <= 3


def test_beats_missed_during_a_long_poll_are_left_out(tdengine: TDengine, database: str) -> None:
    """A pause stands for a poll that takes long: afterwards the polls do not come faster than before."""
    settings = {**tdengine.settings(database), "PERSPECTIVE_REFRESH_RATE": "500"}
    with serving(settings) as server:
        with Process(python("producer.py", "--count", "1"), settings) as producer:
            assert producer.wait() == 0, producer.output
        server.wait_until_live(rows=300)
        reader = next(
            child
            for child in psutil.Process(server.process.pid).children()
            if "resource_tracker" not in " ".join(child.cmdline())
        )
        reader.suspend()
        stopped = time.monotonic()
        wait_for(lambda: time.monotonic() > stopped + 5, "the pause to end")
        reader.resume()
        before, resumed = server.health()["polls"], time.monotonic()
        wait_for(lambda: server.health()["polls"] >= before + 4, "four polls")
        assert time.monotonic() - resumed > 3 * 0.5 * 0.5, "it made up for the missed polls"


def many_meters(source: Source, meters: int, timestamp: Callable[[int], int]) -> None:
    for first in range(0, meters, 500):
        source.execute(
            f"INSERT INTO {source.database}.m{first} USING {source.database}.meters TAGS ({first}, 'x') "
            f"VALUES ({timestamp(first)}, 1, 1, 1) "
            + " ".join(
                f"{source.database}.m{i} USING {source.database}.meters TAGS ({i}, 'x') "
                f"VALUES ({timestamp(i)}, 1, 1, 1)"
                for i in range(first + 1, first + 500)
            )
        )


def test_it_keeps_up_with_ten_thousand_meters(source: Source) -> None:
    start = source.clock() - 60_000
    many_meters(source, 10_000, lambda meter: start + meter)
    settings = source.server.settings(source.database)
    with serving({**settings, "PERSPECTIVE_LIMIT": "20000"}) as server:
        server.wait_until_live(rows=10_000)
        for batch in range(3):
            before = server.health()["rows"]
            now = source.clock()
            source.execute(
                f"INSERT INTO {source.database}.m{batch} VALUES "
                + " ".join(f"({now + i}, 2, 2, 2)" for i in range(300))
            )
            server.wait_until_live(rows=before + 300)
        health = server.health()
        assert health["errors"] == 0, health
