"""The examples of other programs that look at the tables: each does what it says."""

from collections.abc import Iterator

import pytest
from conftest import TDengine
from support import Process, free_port, python, wait_for
from test_end_to_end import Server, serving
from test_mirror import Source


@pytest.fixture
def source(tdengine: TDengine) -> Iterator[Source]:
    source = Source(tdengine)
    yield source
    source.close()


@pytest.fixture
def server(source: Source) -> Iterator[Server]:
    source.insert("d0", [(source.clock(), 3.0, 220, 0.5)])
    with serving(source.server.settings(source.database)) as running:
        running.wait_until_live(rows=1)
        yield running


def test_new_readings_above_a_threshold_are_printed(source: Source, server: Server) -> None:
    address = f"ws://127.0.0.1:{server.port}/websocket"
    with Process(python("-m", "examples.follow", "10", address)) as following:
        wait_for(lambda: server.health()["viewers"] == 1, "the program to connect")
        current = 20.0

        def printed() -> bool:
            nonlocal current
            current += 1
            source.insert("d1", [(source.clock(), current, 220, 0.5)])
            source.insert("d0", [(source.clock(), 9.0, 220, 0.5)])
            return bool(following.lines)

        wait_for(printed, "a line")
        assert "A" in following.lines[0]
        assert following.lines[0].startswith("here, group 1: 2")
        assert not [line for line in following.lines if ": 9.00 A" in line or ": 3.00 A" in line]
        following.signal(2)
        assert following.wait() == 0


def test_without_a_server_there_is_one_line() -> None:
    address = f"ws://127.0.0.1:{free_port()}/websocket"
    with Process(python("-m", "examples.follow", "10", address)) as following:
        assert following.wait() == 1
        assert following.lines == [f"follow: nothing answers at {address}"]
