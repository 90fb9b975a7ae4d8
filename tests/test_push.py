"""Rows that TDengine pushes: the table is as exact as with polls, which go on where they do not come."""

import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from typing import Any

import psutil
import pytest
import requests
import taosws
from conftest import TDengine
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from support import ROOT, Process, emulator, free_port, python, wait_for
from test_end_to_end import Server, serving
from test_latest import LatestCopy, LatestHistories, LatestSource
from test_mirror import HOUR, SHAPES, Copy, Histories, Shape, Source, drawn, meters, run_histories

from tdengine_perspective.mirror.messages import Poll
from tdengine_perspective.mirror.messages import Source as Told
from tdengine_perspective.mirror.polling import take_pushed
from tdengine_perspective.mirror.schema import Row
from tdengine_perspective.mirror.subscription import GATHERING, Subscription
from tdengine_perspective.mirror.topics import Topic, new_group
from tdengine_perspective.tdengine import TDengineError, errors_explained

REFUSED = ("0x03ED", "0x03C4")  # what TDengine does not do to a table while there is a topic of it
SUBSCRIBE = {"PERSPECTIVE_SUBSCRIBE": "yes"}


def topics_of(tdengine: TDengine, database: str) -> list[str]:
    connection = tdengine.connect()
    sql = f"SELECT topic_name FROM information_schema.ins_topics WHERE db_name = '{database}'"
    return [name for (name,) in connection.query(sql)]


class NearSubscription(Subscription):
    """As Subscription, without a process: the consumer is here, and asked when the test says so."""

    version = ""  # of TDengine

    def begin(self) -> None:
        self.topic, self.group = Topic.of(self.tdengine, self.schema), new_group()
        self.heard, self.seen_since, self.owed = math.inf, None, {}
        try:
            self.topic.make(self.tdengine)
            with errors_explained(self.tdengine):
                self.consumer = taosws.Consumer(
                    {
                        "td.connect.websocket.scheme": "ws",
                        "td.connect.ip": self.tdengine.host,
                        "td.connect.port": str(self.tdengine.port),
                        "td.connect.user": self.tdengine.user,
                        "td.connect.pass": self.tdengine.password,
                        "group.id": self.group,
                        "auto.offset.reset": "latest",
                        "enable.auto.commit": "false",
                    }
                )
                self.consumer.subscribe([self.topic.name])
        except TDengineError as error:
            self.sources.append(Told(False, str(error)))
            return
        self.process, self.is_pushing = Nothing(), True
        for _ in range(3):  # until TDengine has settled from where on it pushes
            self.receive(wait=0.3 if "emulator" not in self.version else 0.01)

    @property
    def pipe(self) -> Any:
        return Nothing()

    @pipe.setter
    def pipe(self, _: Any) -> None: ...

    def receive(self, wait: float = 0.05) -> list[Row]:
        rows: list[Row] = []
        try:
            with errors_explained(self.tdengine):
                while self.process is not None and (message := self.consumer.poll(timeout=wait)) is not None:
                    rows += [row for block in message for row in block.fetchall()]
        except TDengineError as error:
            self.give_up(str(error))
        return rows


class Nothing:
    """In the place of a process and its pipe."""

    def kill(self) -> None: ...

    join = close = kill

    def poll(self) -> bool:
        return True


class PushedSource(Source):
    """Whoever changes what TDengine does not change while there is a topic, drops that first."""

    is_other = False  # whether the table may be another one than the topic's

    def execute(self, statement: str) -> None:
        if statement.startswith(("DROP", "ALTER")):
            self.is_other = True
        try:
            super().execute(statement)
        except taosws.Error as error:
            if not any(code.lower() in str(error).lower() for code in REFUSED):
                raise
            for name in topics_of(self.server, self.database):
                super().execute(f"DROP TOPIC IF EXISTS FORCE {name}")
            super().execute(statement)

    def close(self) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {self.database}")
        self.connection.close()


class PushedCopy(Copy):
    """As Copy, with what is pushed."""

    def __init__(self, *arguments: Any, **more: Any):
        super().__init__(*arguments, **more)
        self.subscription = NearSubscription(self.source.tdengine)
        self.subscription.version = "emulator" if self.source.server.is_emulator else ""

    def take_pushed(self, wait: float = 0.05) -> None:
        if not self.subscription.is_pushing:
            return
        rows = self.subscription.receive(wait)
        self.subscription.note_pushed(rows)
        change = self.reader.take_pushed(rows) if rows else None
        if change:
            before = self.updates
            self.mirror.take(change)
            assert self.updates - before <= 1
            assert change.rows <= self.limit

    def poll(self, whole_window: bool = False) -> Poll:
        """As the reader's `poll_on` does."""
        self.take_pushed()
        began = time.monotonic()
        poll = super().poll(whole_window)
        self.subscription.note_polled(began, self.reader.new)
        before = self.subscription.process
        self.subscription.retry_at = 0.0
        self.subscription.follow(self.reader.schema)
        while self.subscription.process is not before and self.subscription.is_pushing:
            self.source.is_other = False
            self.reader.forget_time()
            super().poll()
            before = self.subscription.process
            self.subscription.follow(self.reader.schema)
        return poll

    def poll_new(self) -> Any:
        """What is pushed alone, where that is all there can be."""
        if not self.subscription.is_pushing or self.source.is_other:
            return super().poll_new()
        self.take_pushed()
        return Poll(None, False, 0, None)

    def close(self) -> None:
        self.subscription.end()


class PushedHistories(Histories):
    make_source, make_copy = PushedSource, PushedCopy

    @initialize(shape=st.sampled_from(SHAPES), table=st.sampled_from(["meters", "meters", "d1"]))
    def begin(self, shape: Shape, table: str) -> None:
        super().begin(shape, table)
        self.it_settles()

    @rule(data=drawn, batch=st.dictionaries(meters, st.integers(1, 4), min_size=1))
    @precondition(lambda self: self.table)
    def rows_are_pushed(self, data: st.DataObject, batch: dict[int, int]) -> None:
        self.rows_in_order(data, batch)
        self.new_rows_are_read()

    @rule(data=drawn, batch=st.dictionaries(meters, st.integers(1, 4), min_size=1))
    @precondition(lambda self: self.table)
    def more_rows_are_pushed(self, data: st.DataObject, batch: dict[int, int]) -> None:
        self.rows_are_pushed(data, batch)

    @rule(data=drawn, which=st.integers(0, 11))
    @precondition(lambda self: self.table)
    def a_change_is_pushed(self, data: st.DataObject, which: int) -> None:
        self.a_row_is_overwritten(data, which)
        self.new_rows_are_read()

    def assert_fresh_rows_are_there(self) -> None:
        check = super().assert_fresh_rows_are_there

        def are_there() -> bool:
            try:
                check()
            except AssertionError:  # perhaps only because they come late
                self.copy.take_pushed()
                check()
            return True

        wait_for(are_there, "the rows that were pushed")

    def it_settles(self) -> None:
        """TDengine may push something yet that is out of date already; a read of the window heals it."""
        if self.server.is_emulator or not self.table:
            return super().it_settles()

        def settles() -> bool:
            self.copy.take_pushed(wait=0.3)
            Histories.it_settles(self)
            return True

        wait_for(settles, "an exact table")

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.copy.close()


class PushedLatestSource(PushedSource, LatestSource): ...


class PushedLatestCopy(PushedCopy, LatestCopy): ...


class PushedLatestHistories(PushedHistories, LatestHistories):
    make_source, make_copy = PushedLatestSource, PushedLatestCopy


def test_the_table_is_exact_after_any_history(tdengine: TDengine) -> None:
    count = int(os.environ.get("TEST_HISTORIES", 20 if tdengine.is_emulator else 4))
    run_histories(tdengine, None, count, PushedHistories)


def test_the_latest_rows_are_exact_after_any_history(tdengine: TDengine) -> None:
    count = int(os.environ.get("TEST_HISTORIES", 12 if tdengine.is_emulator else 3))
    run_histories(tdengine, None, count, PushedLatestHistories)


# A server that is pushed to


@pytest.fixture
def source(tdengine: TDengine) -> Iterator[PushedSource]:
    source = PushedSource(tdengine)
    yield source
    source.close()


def wait_for_source(server: Server, source: str) -> dict[str, Any]:
    def said() -> dict[str, Any] | None:
        health = server.health()
        return health if health["source"] == source else None

    return wait_for(said, f"the source {source}", timeout=60)


def subscribing_process(server: Server) -> psutil.Process:
    """The reader's child."""
    return wait_for(
        lambda: next(
            process
            for child in psutil.Process(server.process.pid).children()
            for process in child.children()
            if "resource_tracker" not in " ".join(process.cmdline())
        ),
        "the process that subscribes",
    )


def end(server: Server) -> None:
    server.process.signal(signal.SIGTERM)
    assert server.process.wait() == 0, server.process.output


RARELY = {**SUBSCRIBE, "PERSPECTIVE_REFRESH_RATE": "3600000"}  # no poll brings what these tests wait for


@pytest.mark.parametrize("rows", ["newest", "latest"])
def test_new_rows_are_shown_without_a_poll(source: PushedSource, rows: str, tmp_path: Any) -> None:
    file = tmp_path / "tables.toml"
    file.write_text(f'[shown]\ntable = "{source.database}.meters"\nrows = "{rows}"\n')
    settings = {**source.server.settings(source.database), **RARELY, "PERSPECTIVE_TABLES": str(file)}
    start = source.clock()
    source.insert("d0", [(start, 1.0, 1, 1.0)])
    with serving(settings) as server:
        server.wait_until_live(rows=1)
        wait_for_source(server, "push")
        wait_for(lambda: server.health()["polls"] > 1, "the read after it subscribed")
        for number in range(1, 4):
            source.insert("d0", [(start + number, 1.0, number, 1.0)])
            source.insert("d1", [(start - number, 2.0, number, 2.0)])  # late
            truth = {"newest": 1 + 2 * number, "latest": 2}[rows]
            seen = {"newest": number, "latest": number}[rows]

            def are_shown(count: int = truth, voltage: int = seen) -> bool:
                shown = server.shown("shown", ["timestamp", "voltage"])
                return shown.total() == count and (start + voltage, voltage) in shown

            wait_for(are_shown, "the rows")
        assert server.health()["pushes"] > 0
        server.process.wait_for_line("pushes new rows of")


def test_what_a_write_does_not_name_is_not_shown_as_nothing(source: PushedSource) -> None:
    """TDengine keeps it, and pushes NULL for it."""
    copy = PushedCopy(source)
    start = source.clock()
    source.insert("d0", [(start, 1.0, 1, 1.0)])
    copy.poll()
    assert copy.subscription.is_pushing
    source.execute(f"INSERT INTO {source.database}.d0 (ts, current) VALUES ({start}, 2.0)")
    source.insert("d0", [(start + 1, 3.0, 3, 3.0)])

    def is_shown() -> bool:
        copy.take_pushed()
        return len(copy.rows()) == 2

    wait_for(is_shown, "the second row")
    assert (start, 1.0, 1, 1.0, 0, "here") in copy.rows()
    copy.poll(whole_window=True)
    copy.assert_exact()
    copy.close()


def test_rows_that_are_too_old_for_the_window_are_not_shown(source: PushedSource) -> None:
    copy = PushedCopy(source)
    now = source.clock()
    source.insert("d0", [(now, 1.0, 1, 1.0)])
    copy.poll()
    source.insert("d0", [(now - 13 * HOUR, 2.0, 2, 2.0), (now + 1, 3.0, 3, 3.0)])

    def is_shown() -> bool:
        copy.take_pushed()
        return len(copy.rows()) == 2

    wait_for(is_shown, "the new row")
    copy.assert_exact()
    copy.close()


class Unread:
    """A reader that must not be given rows."""

    schema = "of other columns"

    def take_pushed(self, rows: Any) -> None:
        raise AssertionError(rows)


def test_rows_with_other_columns_than_the_last_read_are_left_to_the_next() -> None:
    """As where a poll failed after it had met them, and so the subscription is still the one before."""
    subscription = Subscription.__new__(Subscription)
    subscription.process, subscription.is_pushing, subscription.sources = Nothing(), True, []
    subscription.schema, subscription.owed = "of these columns", {}
    subscription.pipe, end = Pipe()
    end.send([(1, "d0", 2.0)])
    told, server = Pipe()
    assert not take_pushed(told, Unread(), subscription, 0.0)
    assert not server.poll()


def test_updates_are_gathered() -> None:
    """A row a ms makes an update in ten ms, and no row is lost or comes in another order."""
    subscription = Subscription.__new__(Subscription)
    subscription.process, subscription.is_pushing, subscription.sources = Nothing(), True, []
    subscription.pipe, end = Pipe()
    count = 500

    def write() -> None:
        for number in range(count):
            end.send([(number,)])
            time.sleep(0.001)

    writer = threading.Thread(target=write)
    began = time.monotonic()
    writer.start()
    rows, updates, not_before = [], 0, 0.0
    while len(rows) < count:
        rows += subscription.gather(not_before)
        not_before = time.monotonic() + GATHERING
        updates += 1
    took = time.monotonic() - began
    writer.join()
    assert rows == [(number,) for number in range(count)]
    assert updates <= took / GATHERING + 1


def test_the_end_of_a_server_leaves_nothing_in_tdengine(source: PushedSource) -> None:
    with serving({**source.server.settings(source.database), **SUBSCRIBE}) as server:
        wait_for_source(server, "push")
        assert len(topics_of(source.server, source.database)) == 1
        end(server)
    assert topics_of(source.server, source.database) == []


def test_what_a_killed_server_leaves_is_dropped_when_asked_or_at_the_next_start(
    source: PushedSource,
) -> None:
    settings = {**source.server.settings(source.database), **SUBSCRIBE}

    def start_and_kill() -> None:
        with serving(settings) as server:
            wait_for_source(server, "push")
        assert len(topics_of(source.server, source.database)) == 1  # `serving` kills all its processes

    def drop() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            python("perspective_server.py", "--drop-topics"),
            cwd=ROOT,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
        )

    def is_dropped() -> bool:
        done = drop()
        return done.returncode == 0 and topics_of(source.server, source.database) == []

    start_and_kill()
    wait_for(is_dropped, "the end of what it left")
    start_and_kill()
    with serving(settings) as server:
        wait_for_source(server, "push")
        in_use = drop()
        (topic,) = topics_of(source.server, source.database)
        assert in_use.returncode == 1
        assert f"the topic {topic} of {source.database} is in use" in in_use.stderr
        end(server)
    connection = source.server.connect()
    groups = "SELECT consumer_group FROM information_schema.ins_subscriptions "
    assert list(connection.query(f"{groups} WHERE topic_name = '{topic}'")) == []
    assert topics_of(source.server, source.database) == []


def test_reset_says_which_topic_is_in_its_way(tdengine: TDengine, database: str) -> None:
    settings = tdengine.settings(database)
    write = python("producer.py", "--count", "1")
    assert Process(write, settings).wait() == 0
    with serving({**settings, **SUBSCRIBE}) as server:
        wait_for_source(server, "push")
        (topic,) = topics_of(tdengine, database)
        with Process([*write, "--reset"], settings) as producer:
            assert producer.wait() == 1
            assert f"can't be dropped while a topic reads it ({topic})" in producer.output
            assert "--drop-topics" in producer.output
        end(server)
    assert Process([*write, "--reset"], settings).wait() == 0


# What goes wrong


@pytest.mark.emulator_only
def test_it_polls_where_there_may_be_no_more_topics_and_is_pushed_to_once_there_may(tmp_path: Any) -> None:
    port = free_port()
    with emulator(port):
        source = PushedSource(TDengine(port, is_emulator=True))
        source.insert("d0", [(source.clock(), 1.0, 1, 1.0)])
        for number in range(20):
            source.execute(f"CREATE TOPIC topic_{number} AS SELECT ts FROM {source.database}.meters")
        with serving({**source.server.settings(source.database), **SUBSCRIBE}) as server:
            server.wait_until_live(rows=1)
            server.process.wait_for_line("does not push new rows of")
            assert "Topic num out of range" in server.health()["not_pushed"]
            source.insert("d0", [(source.clock(), 2.0, 2, 2.0)])
            server.wait_until_live(rows=2)
            source.execute("DROP TOPIC topic_0")
            assert wait_for_source(server, "push")["not_pushed"] is None
            assert server.process.output.count("does not push") == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_it_polls_after_the_subscription_ended_or_hung_and_subscribes_again(
    source: PushedSource, number: int
) -> None:
    with serving({**source.server.settings(source.database), **SUBSCRIBE}) as server:
        wait_for_source(server, "push")
        subscribing_process(server).send_signal(number)
        wait_for_source(server, "poll")
        source.insert("d0", [(source.clock(), 1.0, 1, 1.0)])
        server.wait_until_live(rows=1)
        server.process.wait_for_line("does not push new rows of")
        wait_for_source(server, "push")
        assert server.health()["reader_restarts"] == 0


def test_a_topic_of_a_table_that_was_dropped_is_made_anew(source: PushedSource) -> None:
    """TDengine drops a subtable in spite of the topic, which then pushes nothing."""
    source.insert("d0", [(source.clock(), 1.0, 1, 1.0)])
    settings = {**source.server.settings(source.database), **SUBSCRIBE, "TAOS_TABLENAME": "d0"}
    with serving(settings) as server:
        server.wait_until_live(rows=1)
        wait_for_source(server, "push")
        source.execute(f"DROP TABLE {source.database}.d0")
        source.insert("d0", [(source.clock(), 1.0, 1, 1.0)])
        before = server.health()["pushes"]

        def is_pushed_to() -> bool:
            source.insert("d0", [(source.clock(), 2.0, 2, 2.0)])
            return server.health()["pushes"] > before

        wait_for(is_pushed_to, "rows that are pushed", timeout=60)


def test_text_that_is_not_utf8_is_pushed_as_bytes(tdengine: TDengine, database: str) -> None:
    connection = tdengine.connect()
    connection.execute(f"CREATE DATABASE {database}")
    connection.execute(f"CREATE TABLE {database}.notes (ts TIMESTAMP, note VARCHAR(20))")
    settings = {**tdengine.settings(database), **SUBSCRIBE, "TAOS_TABLENAME": "notes"}
    with serving(settings) as server:
        wait_for_source(server, "push")

        def write(note: str) -> None:
            requests.post(
                f"{tdengine.rest_url}/rest/sql",
                f"INSERT INTO {database}.notes VALUES (NOW, '{note}')".encode("latin-1"),
                auth=(tdengine.user, tdengine.password),
                timeout=10,
            )

        write("\xb1\xb1")
        wait_for(lambda: server.shown(columns=["note"]) == {("��",): 1}, "the text", timeout=60)

        def is_pushed() -> bool:
            before = server.health()["pushes"]
            write("\xe9t\xe9")
            wait_for(lambda: server.health()["pushes"] > before, "a push", timeout=2)
            return server.health()["source"] == "push"

        wait_for(is_pushed, "pushes again", timeout=60)
        assert ("�t�",) in server.shown(columns=["note"])
        end(server)
