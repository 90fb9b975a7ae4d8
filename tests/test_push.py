"""Rows that TDengine pushes: the table is as exact as with polls, and whatever is wrong with pushing is no more
than a poll's interval.
"""

import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import Pipe
from typing import Any

import psutil
import pytest
import requests
import taosws
from conftest import TDengine
from support import ROOT, Process, emulator, free_port, python, wait_for
from test_end_to_end import Server, serving
from test_latest import LatestCopy, LatestHistories, LatestSource
from test_mirror import METER, Copy, Histories, Source, run_histories

from tdengine_perspective.mirror import subscription as subscribing
from tdengine_perspective.mirror.messages import Poll, Source as Told
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
        self.receive()

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
        if self.subscription.process is not before and self.subscription.is_pushing:
            self.source.is_other = False
            self.reader.forget_time()
            super().poll()
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

    def assert_fresh_rows_are_there(self) -> None:
        if self.server.is_emulator:
            return super().assert_fresh_rows_are_there()

        def are_there() -> bool:
            self.copy.take_pushed()
            Histories.assert_fresh_rows_are_there(self)
            return True

        wait_for(are_there, "the rows that were pushed")

    def it_settles(self) -> None:
        """TDengine may push something yet that is out of date already; the window read after that heals it."""
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
