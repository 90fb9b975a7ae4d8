"""The producer loses nothing: each row that it reports as written is there once, whatever happened."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from conftest import TDengine
from support import Process, free_port, python, wait_for
from test_faults import (
    JUMPING_CLOCK,
    RUBBISH,
    STALL,
    Emulator,
    Proxy,
    Scenario,
    alive,
    emulator_only,
    running,  # noqa: F401  (a fixture)
)

BATCHES, ROWS, INTERVAL = 200, 50, 50


class World:
    """A producer that writes BATCHES batches into a database, one each INTERVAL ms if it can."""

    def __init__(self, producer: Process, tdengine: TDengine, database: str):
        self.producer = producer
        self.tdengine = tdengine
        self.database = database

    def execute(self, statement: str) -> None:
        connection = self.tdengine.connect()
        connection.execute(statement)
        connection.close()

    def query(self, sql: str) -> list[tuple]:
        connection = self.tdengine.connect()
        return list(connection.query(sql))

    def count(self, what: str = "COUNT(*)") -> int:
        return self.query(f"SELECT {what} FROM {self.database}.meters")[0][0]

    def wait_for_batches(self, count: int) -> None:
        """Wait until so many more batches are there, or all are."""
        before = self.count()

        def written() -> bool:
            return self.count() >= before + count * ROWS or not self.producer.running()

        try:
            wait_for(written, f"{count} more batches")
        except AssertionError as error:
            raise AssertionError(f"{error}; its output:\n{self.producer.output}") from None

    def assert_says(self, *texts: str) -> None:
        wait_for(lambda: any(text in self.producer.output for text in texts), f"one of {texts}", timeout=40)

    def writer(self) -> psutil.Process:
        return wait_for(
            lambda: next(
                child
                for child in psutil.Process(self.producer.pid).children()
                if "resource_tracker" not in " ".join(child.cmdline())
            ),
            "the writing process",
        )

    def written(self) -> int:
        """The rows that the producer, once ended, says it wrote."""
        word, count, *_ = self.producer.lines[-1].split()
        assert word == "wrote", self.producer.output
        for line in self.producer.lines[:-1]:
            assert line.startswith("producer: "), self.producer.output
        return int(count)

    def assert_all_is_there_once(self) -> None:
        assert self.producer.wait(timeout=60) == 0, self.producer.output
        assert self.written() == BATCHES * ROWS
        assert self.count() == BATCHES * ROWS
        self.assert_batches_kept_the_beat()

    def assert_batches_kept_the_beat(self) -> None:
        """Each began at a multiple of the interval, also after an outage."""
        timestamps = self.query(f"SELECT CAST(ts AS BIGINT) FROM {self.database}.meters")
        steps = Counter(timestamp // INTERVAL for (timestamp,) in timestamps)
        assert set(steps.values()) == {ROWS}


@contextmanager
def producing(tdengine: TDengine, port: int | None = None, **settings: str) -> Iterator[World]:
    database = f"produced_{os.getpid()}_{free_port()}"
    addressed = {**tdengine.settings(database), **settings}
    if port:
        addressed["TAOS_PORT"] = str(port)
    arguments = ("--interval", str(INTERVAL), "--rows", str(ROWS), "--count", str(BATCHES))
    with Process(python("producer.py", *arguments), addressed) as producer:
        here = World(producer, tdengine, database)
        try:
            wait_for(here.count, "the first rows")
            yield here
        finally:
            producer.kill()
            if not tdengine.is_emulator:
                here.execute(f"DROP DATABASE IF EXISTS {database}")


def tdengine_is_killed_and_restarted(_: TDengine, directory: Path) -> None:
    with Emulator(directory) as mortal, producing(mortal.tdengine) as here:
        for _ in range(4):
            mortal.kill()
            here.assert_says("nothing answers at localhost", "is gone or too slow")
            mortal.start()
            here.wait_for_batches(3)
        here.assert_all_is_there_once()


def tdengine_stalls(_: TDengine, directory: Path) -> None:
    with Emulator(directory) as mortal, producing(mortal.tdengine) as here:
        mortal.process.signal(signal.SIGSTOP)
        stopped = time.monotonic()
        here.assert_says("is gone or too slow")
        wait_for(lambda: time.monotonic() > stopped + STALL, "the stall to last", timeout=STALL + 5)
        mortal.process.signal(signal.SIGCONT)
        here.wait_for_batches(3)
        here.assert_all_is_there_once()


def the_password_is_changed_under_way(_: TDengine, directory: Path) -> None:
    with Emulator(directory) as mortal, producing(mortal.tdengine) as here:
        mortal.kill()
        mortal.start_with_password("another")
        here.assert_says("refuses user root: check TAOS_USER and TAOS_PASSWORD")
        mortal.kill()
        mortal.start()
        here.wait_for_batches(3)
        here.assert_all_is_there_once()


def the_port_answers_with_rubbish(tdengine: TDengine, _: Path) -> None:
    with Proxy(tdengine) as proxy, producing(tdengine, proxy.port) as here:
        for rubbish in list(RUBBISH.values())[::2]:
            proxy.now("answer", rubbish)
            told = len(here.producer.lines)
            wait_for(lambda before=told: len(here.producer.lines) > before, "a line about it")
            proxy.now("pass")
            here.wait_for_batches(3)
        here.assert_all_is_there_once()


def answers_are_lost_and_connections_cut(tdengine: TDengine, _: Path) -> None:
    """TDengine then has all of a batch, some of it or nothing, and the producer can't know."""
    with Proxy(tdengine) as proxy, producing(tdengine, proxy.port) as here:
        for _ in range(2):
            proxy.now("no answers")
            before = here.count()
            time.sleep(proxy.chance.uniform(0, 0.15))  # any moment of a batch will do
            proxy.now("pass")
            wait_for(lambda now=before: here.count() > now + 2 * ROWS, "more batches")
        here.assert_all_is_there_once()


def the_websocket_is_silent_while_rest_answers(tdengine: TDengine, _: Path) -> None:
    with Proxy(tdengine) as proxy, producing(tdengine, proxy.port) as here:
        proxy.now("rest only")
        here.assert_says("hangs")
        proxy.now("pass")
        here.wait_for_batches(3)
        here.assert_all_is_there_once()


def the_writing_process_is_killed(tdengine: TDengine, _: Path) -> None:
    with producing(tdengine) as here:
        for _ in range(3):
            killed = here.writer()
            killed.kill()
            wait_for(lambda dead=killed: here.writer() != dead, "another")
            here.wait_for_batches(3)
        here.assert_all_is_there_once()


def the_writing_process_is_stopped(tdengine: TDengine, _: Path) -> None:
    with producing(tdengine) as here:
        stopped = here.writer()
        stopped.suspend()
        wait_for(lambda: not alive(stopped), "it to be replaced", timeout=60)
        here.wait_for_batches(3)
        here.assert_all_is_there_once()


def the_clock_jumps_an_hour(tdengine: TDengine, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "sitecustomize.py").write_text(JUMPING_CLOCK)
    jump = directory / "jump"
    jump.write_text("0")
    with producing(tdengine, PYTHONPATH=str(directory), CLOCK_JUMP=str(jump)) as here:
        for seconds in (3600, -3600, 0):
            jump.write_text(str(seconds))
            here.wait_for_batches(10)
        here.assert_all_is_there_once()


def the_table_and_the_database_are_dropped(tdengine: TDengine, _: Path) -> None:
    """What was there is gone; all that it writes from then on is there."""
    with producing(tdengine) as here:
        for what in (f"TABLE {here.database}.meters", f"DATABASE {here.database}"):
            here.execute(f"DROP {what}")

            def resumed() -> bool:
                return here.count() > 3 * ROWS

            wait_for(resumed, "batches in the new table")
        first = here.count("CAST(FIRST(ts) AS BIGINT)")
        assert here.producer.wait(timeout=60) == 0, here.producer.output
        assert here.written() == BATCHES * ROWS
        assert here.count("CAST(FIRST(ts) AS BIGINT)") == first
        assert here.count() % ROWS == 0, "whole batches"


def ctrl_c_ends_it_during_any_fault(tdengine: TDengine, _: Path) -> None:
    def writer_stopped(here: World, _: Proxy) -> None:
        here.writer().suspend()

    def behind(mode: str, *texts: str) -> Callable[[World, Proxy], None]:
        def happen(here: World, proxy: Proxy) -> None:
            proxy.now(mode)
            if texts:
                here.assert_says(*texts)

        return happen

    for happen in (
        writer_stopped,
        behind("silent"),
        behind("silent", "is gone or too slow"),
        behind("rest only"),
        behind("answer", "nothing answers", "is gone or too slow"),
    ):
        with Proxy(tdengine) as proxy, producing(tdengine, proxy.port) as here:
            happen(here, proxy)
            children = psutil.Process(here.producer.pid).children(recursive=True)
            asked = time.monotonic()
            here.producer.signal(signal.SIGINT)
            assert here.producer.wait() == 0, here.producer.output
            took = time.monotonic() - asked
            assert took < STALL / 2, "it waits for TDengine"
            wait_for(lambda those=children: not any(alive(child) for child in those), "its child to end")
            assert here.written() <= here.count() <= here.written() + ROWS


SCENARIOS = [
    answers_are_lost_and_connections_cut,
    the_websocket_is_silent_while_rest_answers,
    the_writing_process_is_stopped,
    ctrl_c_ends_it_during_any_fault,
    pytest.param(tdengine_stalls, marks=emulator_only),
    pytest.param(tdengine_is_killed_and_restarted, marks=emulator_only),
    pytest.param(the_password_is_changed_under_way, marks=emulator_only),
    the_port_answers_with_rubbish,
    the_writing_process_is_killed,
    the_clock_jumps_an_hour,
    the_table_and_the_database_are_dropped,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_every_row_is_there_once_though(scenario: Scenario, running: dict[Scenario, Future]) -> None:  # noqa: F811
    running[scenario].result()
