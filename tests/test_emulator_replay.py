"""The emulator answers what a real TDengine answered: recorded conversations are played to it again.

Every answer has to be the recorded one, JSON value for value and block byte for byte, but for times, the
version and what EXCEPTIONS lists. recordings/README.md says what they are.
"""

import asyncio
import json
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import taosws
from support import emulator, free_port
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tdengine_emulator.store import VERSION
from tdengine_emulator.wire import decode_block

pytestmark = pytest.mark.emulator_only

RECORDINGS = Path(__file__).parent / "recordings"
PUSHED = 8  # the action of a message of a topic
RECORDED_VERSION = "3.3.7.5.alpha"
REST_ROWS_BEFORE = 140_100

ANY_ORDER = (
    "rows come in any order without ORDER BY, TDengine sends them a vgroup a block: compared as sets of rows"
)
UNREAD = (
    "TDengine's sorted blocks have a number of the last group, bits behind the last row's in NULL bitmaps "
    "and texts of skipped rows, which nobody reads: compared without these"
)
EXCEPTIONS = {
    "SELECT SERVER_VERSION()": "the emulator gives its own version, which is longer",
    "SELECT NOW()": "the clock has moved on",
    "SELECT tbname, ts, voltage FROM meters WHERE ts > ?": ANY_ORDER,
    "SELECT DISTINCT tbname, groupid, location FROM meters": ANY_ORDER,
    "SELECT LAST_ROW(ts), LAST_ROW(current), location FROM meters PARTITION BY tbname": ANY_ORDER,
    "SELECT * FROM power.meters LIMIT 2": "without ORDER BY any two rows are right",
    "SELECT 'all' l, AVG(current) FROM readings UNION ALL SELECT location, AVG(current) FROM readings "
    "GROUP BY location": ANY_ORDER,
    "11-history": UNREAD,
}
# Of a topic: the vgroups' numbers, and offsets in their logs, which count more than what was written.
OF_A_CLUSTER = {"vgroup_id", "offset", "begin", "end"}
PLAYED_BEFORE = {"05-queries": "04-stmt2"}  # it reads what the other wrote


@pytest.fixture
def port() -> Iterator[int]:
    """The port of an emulator without any data."""
    number = free_port()
    with emulator(number):
        yield number


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDINGS / f"{name}.jsonl").read_text().splitlines()]


class Conversation:
    """One recording's frames, played to the emulator; keeps which SQL each result belongs to."""

    def __init__(self, port: int, has_unread: bool = False):
        self.port, self.has_unread = port, has_unread
        self.connections: dict[int, WebSocketClientConnection] = {}
        self.asked: dict[tuple[int, int], str] = {}  # by connection and request
        self.results: dict[tuple[int, int], str] = {}  # by connection and result
        self.prepared: dict[tuple[int, int], str] = {}  # by connection and statement
        self.rows: dict[str, tuple[set[Any], set[Any]]] = {}  # recorded and answered, where the order is free
        self.compared = 0

    async def play(self, recording: list[dict[str, Any]]) -> None:
        for line in recording:
            number = line["conn"]
            if number not in self.connections:
                self.connections[number] = await websocket_connect(
                    f"ws://127.0.0.1:{self.port}{line['path']}"
                )
            connection = self.connections[number]
            content = line["text"] if "text" in line else bytes.fromhex(line["hex"])
            if line["from"] == "client":
                self.note(number, content)
                await connection.write_message(content, binary=isinstance(content, bytes))
            else:
                answered = await asyncio.wait_for(connection.read_message(), 10)
                assert type(answered) is type(content), answered
                if isinstance(content, str):
                    self.compare_json(number, json.loads(content), json.loads(answered))
                else:
                    self.compare_fetched(number, content, answered)
                self.compared += 1
        for connection in self.connections.values():
            connection.close()
        for sql, (recorded, answered) in self.rows.items():
            assert answered == recorded, sql

    def note(self, number: int, content: str | bytes) -> None:
        """Remember the SQL of a query or a prepared statement."""
        if isinstance(content, bytes):
            request, _, action = struct.unpack_from("<QQQ", content)
            if action == 6:
                self.asked[number, request] = content[30:].decode()
        elif "sql" in (arguments := json.loads(content).get("args", {})):
            self.prepared[number, arguments["stmt_id"]] = arguments["sql"]

    def compare_json(self, number: int, recorded: dict[str, Any], answered: dict[str, Any]) -> None:
        sql = self.asked.get((number, recorded["req_id"])) or self.prepared.get(
            (number, recorded.get("stmt_id", 0))
        )
        if recorded.get("id"):
            self.results[number, recorded["id"]] = sql or ""
        for answer in (recorded, answered):
            del answer["timing"]
        if "version" in recorded:
            assert (recorded.pop("version"), answered.pop("version")) == (RECORDED_VERSION, VERSION)
        if sql == "SELECT SERVER_VERSION()":
            lengths = recorded.pop("fields_lengths"), answered.pop("fields_lengths")
            assert lengths == ([len(RECORDED_VERSION)], [len(VERSION)])
        assert without_numbers(answered) == without_numbers(recorded), sql

    def compare_fetched(self, number: int, recorded: bytes, answered: bytes) -> None:
        if recorded[8] == PUSHED:
            without_time_and_offsets = slice(0, 18), slice(26, 62), slice(70, 71), slice(79, None)
            for part in without_time_and_offsets:
                assert answered[part] == recorded[part]
            return
        without_time = slice(0, 18), slice(26, None)
        (result,) = struct.unpack_from("<Q", recorded, 42)
        sql = self.results[number, result]
        if self.has_unread and sql not in EXCEPTIONS and not recorded[50]:
            recorded, answered = (frame[:51] + read(frame[55:]) for frame in (recorded, answered))
        if sql not in EXCEPTIONS:
            assert [answered[part] for part in without_time] == [recorded[part] for part in without_time], sql
            return
        if EXCEPTIONS[sql] == ANY_ORDER:
            for rows, frame in zip(
                self.rows.setdefault(sql, (set(), set())), (recorded, answered), strict=True
            ):
                rows.update(rows_of(frame))
            return
        assert answered[26:51] == recorded[26:51], sql
        if sql == "SELECT NOW()":
            assert all(abs(now / 1000 - time.time()) < 60 for (now,) in rows_of(answered))
        elif sql == "SELECT SERVER_VERSION()":
            assert rows_of(recorded) in ([], [(RECORDED_VERSION,)])
            assert rows_of(answered) in ([], [(VERSION,)])


def read(block: bytes) -> bytes:
    """What is read of a block: its numbers of rows and columns, their types, and the values."""
    columns = struct.unpack_from("<I", block, 12)[0]
    return block[8:20] + block[28 : 28 + 5 * columns] + repr(decode_block(block)).encode()


def without_numbers(answer: Any) -> Any:
    """An answer with the cluster's own numbers told apart by nothing but whether they are 0."""
    if isinstance(answer, list):
        return [without_numbers(part) for part in answer]
    if not isinstance(answer, dict):
        return answer
    own = {key: value > 0 for key, value in answer.items() if key == "vgroup_id"}
    kept = {key: without_numbers(value) for key, value in answer.items() if key not in OF_A_CLUSTER}
    return kept | own | dict.fromkeys(answer.keys() & OF_A_CLUSTER - own.keys())


def rows_of(fetched: bytes) -> list[tuple[Any, ...]]:
    """The rows in the answer to a fetch; none where it says that the result is finished."""
    is_finished = fetched[50]
    return (
        [] if is_finished else list(zip(*(values for _, values in decode_block(fetched[55:])), strict=True))
    )


@pytest.mark.parametrize(
    "name",
    [
        "01-connect",
        "02-ddl",
        "03-stmt",
        "04-stmt2",
        "05-queries",
        "06-blocks",
        "07-tmq",
        "09-types",
        "10-tables",
        "11-history",
        "12-words",
    ],
)
def test_a_recorded_conversation_gets_the_recorded_answers(name: str, port: int) -> None:
    async def play() -> int:
        if name in PLAYED_BEFORE:
            await Conversation(port).play(lines(PLAYED_BEFORE[name]))
        conversation = Conversation(port, has_unread=name in EXCEPTIONS)
        await conversation.play(lines(name))
        return conversation.compared

    assert asyncio.run(play()) == sum(line["from"] == "server" for line in lines(name))


def seed_for_rest(port: int) -> None:
    """Lay what was in the recorded TDengine before: databases, and rows of one more meter."""
    connection = taosws.connect(f"taosws://root:taosdata@127.0.0.1:{port}")
    for name in ("tq", "bench", "benchx", "power"):
        connection.execute(f"CREATE DATABASE {name}")
    connection.execute("USE power")
    connection.execute(
        "CREATE TABLE meters (ts TIMESTAMP, current FLOAT, voltage INT, phase FLOAT) "
        "TAGS (groupid INT, location BINARY(16))"
    )
    statement = connection.stmt2_statement()
    statement.prepare("INSERT INTO ? USING meters (groupid, location) TAGS (?, ?) VALUES (?, ?, ?, ?)")
    count = REST_ROWS_BEFORE
    columns = [
        taosws.millis_timestamps_to_column(list(range(1700000000001, 1700000000001 + count))),
        taosws.floats_to_column([30.029093] * count),
        taosws.ints_to_column([204] * count),
        taosws.floats_to_column([37.873184] * count),
    ]
    tags = [taosws.int_to_tag(7), taosws.varchar_to_tag("City 7")]
    statement.bind([taosws.stmt2_bind_param_view("d_7", tags, columns)])
    assert statement.execute() == count


def comparable(answer: str) -> str:
    """A REST answer with one version and no time."""
    answer = answer.replace(RECORDED_VERSION, VERSION).replace('"VARCHAR",13', '"VARCHAR",16')
    return re.sub(r'"timing":\d+', '"timing":0', answer)


def test_recorded_rest_requests_get_the_recorded_answers(port: int) -> None:
    seed_for_rest(port)
    for line in lines("08-rest"):
        auth = tuple(line["auth"]) if line["auth"] else None
        body = line["body"].encode() if line["body"] else None
        url = f"http://127.0.0.1:{port}{line['path']}"
        answer = requests.request(line["method"], url, data=body, auth=auth, timeout=10)
        assert answer.status_code == line["status"], line
        assert answer.headers.get("Content-Type") == line["content_type"], line
        if line["body"] in EXCEPTIONS and "LIMIT" in line["body"]:
            recorded, answered = json.loads(line["answer"]), answer.json()
            assert len(answered.pop("data")) == len(recorded.pop("data"))
            assert answered == recorded
        else:
            assert comparable(answer.text) == comparable(line["answer"]), line
