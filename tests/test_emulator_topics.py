"""Topics mean on the emulator what they mean on TDengine: what is pushed, and what they keep in place."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
import taosws
from conftest import TDengine
from support import wait_for
from test_emulator_meaning import fails
from tornado.websocket import websocket_connect

from tdengine_perspective.mirror.topics import new_group

COLUMNS = "(ts TIMESTAMP, current FLOAT, voltage INT) TAGS (groupid INT, location BINARY(16))"
SELECT = "SELECT CAST(ts AS BIGINT), tbname, current, voltage, location FROM meters"
START = 1_790_000_000_000


@pytest.fixture
def meters(tdengine: TDengine, database: str) -> Iterator["taosws.Connection"]:
    """A connection to a database with a supertable."""
    connection = tdengine.connect()
    connection.execute(f"CREATE DATABASE {database}")
    connection.execute(f"USE {database}")
    connection.execute(f"CREATE TABLE meters {COLUMNS}")
    yield connection
    connection.close()


@pytest.fixture
def topic(meters: "taosws.Connection", database: str) -> Iterator[str]:
    """The name of a topic of the supertable, that is dropped afterwards."""
    name = f"topic_{database}"
    meters.execute(f"CREATE TOPIC {name} AS {SELECT}")
    yield name
    meters.execute(f"DROP TOPIC IF EXISTS FORCE {name}")


class Listener:
    """A consumer in a group of its own."""

    def __init__(self, tdengine: TDengine, topic: str, group: str = "", start: str = "latest"):
        self.consumer = taosws.Consumer(
            {
                "td.connect.websocket.scheme": "ws",
                "td.connect.ip": tdengine.host,
                "td.connect.port": str(tdengine.port),
                "td.connect.user": tdengine.user,
                "td.connect.pass": tdengine.password,
                "group.id": group or new_group(),
                "auto.offset.reset": start,
                "enable.auto.commit": "false",
            }
        )
        self.consumer.subscribe([topic])
        self.rows: list[tuple] = []
        self.poll()

    def poll(self) -> list[tuple]:
        """All rows until now."""
        while (message := self.consumer.poll(timeout=0.1)) is not None:
            self.rows += [row for block in message for row in block.fetchall()]
            self.message = message
        return self.rows

    def hears(self, *rows: tuple) -> None:
        wait_for(lambda: sorted(map(repr, self.poll())) == sorted(map(repr, rows)), f"{rows}")


def write(connection: "taosws.Connection", meter: str, values: str, columns: str = "") -> None:
    tags = f"USING meters TAGS (1, '{meter}')"
    connection.execute(f"INSERT INTO {meter} {tags} {columns} VALUES {values}")


def test_each_write_is_pushed_late_rows_and_overwritten_ones_too(
    tdengine: TDengine, meters: "taosws.Connection", topic: str
) -> None:
    listener = Listener(tdengine, topic)
    write(meters, "d0", f"({START}, 1.5, 1) ({START + 1}, 2.5, NULL)")
    write(meters, "d1", f"({START - 1000}, 1, 2)")
    write(meters, "d0", f"({START}, 3, 3)")
    first = [(START, "d0", 1.5, 1, "d0"), (START + 1, "d0", 2.5, None, "d0")]
    listener.hears(*first, (START - 1000, "d1", 1.0, 2, "d1"), (START, "d0", 3.0, 3, "d0"))


def test_columns_that_a_write_does_not_name_are_pushed_as_null(
    tdengine: TDengine, meters: "taosws.Connection", topic: str
) -> None:
    listener = Listener(tdengine, topic)
    write(meters, "d0", f"({START}, 1)", "(ts, current)")
    write(meters, "d0", f"({START}, 2)", "(ts, voltage)")
    listener.hears((START, "d0", 1.0, None, "d0"), (START, "d0", None, 2, "d0"))
    assert list(meters.query("SELECT current, voltage FROM meters")) == [(1.0, 2)]


def test_a_topic_of_a_subtable_has_its_rows_alone(
    tdengine: TDengine, meters: "taosws.Connection", topic: str
) -> None:
    write(meters, "d0", f"({START}, 1, 1)")
    name = f"{topic}_d0"
    meters.execute(f"CREATE TOPIC {name} AS SELECT tbname, current FROM d0")
    try:
        listener = Listener(tdengine, name)
        write(meters, "d1", f"({START}, 2, 2)")
        write(meters, "d0", f"({START + 1}, 3, 3)")
        listener.hears(("d0", 3.0))
    finally:
        meters.execute(f"DROP TOPIC IF EXISTS FORCE {name}")


def test_each_group_hears_all_and_goes_on_where_it_committed(
    tdengine: TDengine, meters: "taosws.Connection", topic: str
) -> None:
    first, second = Listener(tdengine, topic, "first"), Listener(tdengine, topic, "second")
    write(meters, "d0", f"({START}, 1, 1)")
    row = (START, "d0", 1.0, 1, "d0")
    first.hears(row)
    second.hears(row)
    first.consumer.commit(first.message)
    first.consumer.unsubscribe()
    write(meters, "d0", f"({START + 1}, 2, 2)")

    def again() -> bool:
        third = Listener(tdengine, topic, "first", "earliest")
        return third.rows == [(START + 1, "d0", 2.0, 2, "d0")]

    wait_for(again, "what came after the commit")


def test_what_is_subscribed_to_stays(tdengine: TDengine, meters: "taosws.Connection", topic: str) -> None:
    listener = Listener(tdengine, topic, "some")
    with fails("0x03EB.*Topic subscribed cannot be dropped"):
        meters.execute(f"DROP TOPIC {topic}")
    with fails("0x03EC.*Consumer group being used by some consumer"):
        meters.execute(f"DROP CONSUMER GROUP some ON {topic}")
    meters.execute(f"DROP CONSUMER GROUP IF EXISTS FORCE some ON {topic}")

    def is_gone() -> bool:
        try:
            listener.poll()
            return False
        except taosws.Error as error:
            return "0x03E6" in str(error)

    wait_for(is_gone, "the consumer's end")
    meters.execute(f"DROP CONSUMER GROUP IF EXISTS some ON {topic}")


def test_what_a_topic_reads_is_not_dropped(meters: "taosws.Connection", database: str, topic: str) -> None:
    for what in ("TABLE meters", f"DATABASE {database}"):
        with fails("0x03ED.*Topic must be dropped first"):
            meters.execute(f"DROP {what}")
    with fails("0x03C4.*Field used by topic"):
        meters.execute("ALTER TABLE meters DROP COLUMN voltage")
    meters.execute("ALTER TABLE meters ADD COLUMN more INT")
    write(meters, "d0", f"({START}, 1, 1, 1)")
    meters.execute("DROP TABLE d0")
    meters.execute(f"DROP TOPIC {topic}")
    meters.execute("DROP TABLE meters")


def test_topics_have_names_of_their_own(tdengine: TDengine, meters: "taosws.Connection", topic: str) -> None:
    with fails("0x03E0.*Topic already exists"):
        meters.execute(f"CREATE TOPIC {topic} AS {SELECT}")
    meters.execute(f"CREATE TOPIC IF NOT EXISTS {topic} AS {SELECT}")
    with fails("0x03E1.*Topic not exist"):
        meters.execute("DROP TOPIC no_such_topic")
    known = meters.query("SELECT topic_name, type FROM information_schema.ins_topics")
    assert (topic, "column") in list(known)
    with fails("Topic not exist"):
        Listener(tdengine, "no_such_topic")


def test_a_topic_is_refused_that_has_more_than_rows(meters: "taosws.Connection") -> None:
    for query in ("SELECT COUNT(*) FROM meters", "SELECT ts FROM meters ORDER BY ts", "SELECT 1"):
        with fails("0x2639"):
            meters.execute(f"CREATE TOPIC topic_of_more AS {query}")


def test_a_consumer_that_unsubscribed_leaves_the_topic_free(
    tdengine: TDengine, meters: "taosws.Connection", topic: str
) -> None:
    """As the driver's consumer ends by closing its connection, this one speaks for itself."""

    async def leave() -> dict[str, Any]:
        socket = await websocket_connect(f"ws://{tdengine.host}:{tdengine.port}/rest/tmq")
        login = {"user": tdengine.user, "password": tdengine.password, "req_id": 1}
        asked = {"subscribe": {**login, "group_id": "g", "topics": [topic]}, "unsubscribe": {"req_id": 2}}
        for action, arguments in asked.items():
            await socket.write_message(json.dumps({"action": action, "args": arguments}))
            answer = json.loads(await asyncio.wait_for(socket.read_message(), 20))
        return answer

    answer = asyncio.run(leave())
    assert (answer["code"], answer["action"], answer["req_id"]) == (0, "unsubscribe", 2)
    wait_for(lambda: meters.execute(f"DROP TOPIC {topic}") == 0, "the topic's end")
