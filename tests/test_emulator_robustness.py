"""Whatever bytes come in: an error answer or a closed connection, no crash, no harm to another client.

Frames that clients sent in the recordings are changed, and sent by a client that has logged in.
"""

import asyncio
import json
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import taosws
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import Process, emulator, free_port
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

pytestmark = pytest.mark.emulator_only

RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.jsonl"))
LONGEST_FRAME = 1_000
FRAMES_AN_EXAMPLE = 50
EXAMPLES = 400
NUMBERS = [0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
VALUES = [None, True, -1, 0, 2**64, 1.5, "", "x", "'", [], [[]], {}, {"x": 1}]
PIECES = [
    "",
    "'",
    "(",
    ")",
    ",",
    "?",
    "*",
    "`",
    ".",
    "9",
    " NULL ",
    "\0",
    "é",
    " FROM ",
    " NOW() ",
    " ORDER BY ",
]
QUERY, FETCH = 6, 7
HEAD = 24
SQL = "INSERT INTO ? USING meters (groupid, location) TAGS (?, ?) VALUES (?, ?, ?, ?)"

Frame = str | bytes


def recorded_frames() -> list[Frame]:
    """What the clients sent, but for binds of thousands of rows, which are no other kind of frame."""
    frames: set[Frame] = set()
    for path in RECORDINGS:
        for line in path.read_text().splitlines():
            frame = json.loads(line)
            if frame.get("from") == "client":
                frames.add(frame["text"] if "text" in frame else bytes.fromhex(frame["hex"]))
    return sorted((frame for frame in frames if len(frame) < LONGEST_FRAME), key=repr)


FRAMES = recorded_frames()
BINARY = [frame for frame in FRAMES if isinstance(frame, bytes)]


def changed_bytes(frame: bytes, random: Random) -> bytes:
    """A binary frame with a number, a byte or a length of it changed, or the end of another frame."""
    changed = bytearray(frame)
    for _ in range(random.randint(1, 3)):
        at = random.randint(0, len(changed))
        match random.choice(["number", "byte", "cut", "drop", "insert", "join"]):
            case "number":
                changed[at : at + 4] = struct.pack("<I", random.choice(NUMBERS))
            case "byte":
                changed[at : at + 1] = random.randbytes(1)
            case "cut":
                del changed[at:]
            case "drop":
                del changed[at : at + random.randint(1, 16)]
            case "insert":
                changed[at:at] = random.randbytes(random.randint(1, 16))
            case "join":
                changed[at:] = random.choice(BINARY)[at:]
    if len(changed) < HEAD and random.random() < 0.8:  # too short for anything but a closed connection
        changed += random.randbytes(HEAD)
    return bytes(changed)


def changed_sql(frame: bytes, random: Random) -> bytes:
    """A query whose SQL is changed, its length right again."""
    sql = frame[30:].decode()
    for _ in range(random.randint(1, 3)):
        at = random.randint(0, len(sql))
        sql = sql[:at] + random.choice(PIECES) + sql[at + random.randint(0, 4) :]
    return query_frame(1, sql)


def changed_text(frame: str, random: Random) -> str:
    """A text frame with a value of it changed or left out, or with its characters changed."""
    content = json.loads(frame)
    part = random.choice([content, content.get("args", content)])
    name = random.choice([*part, "stmt_id", "id"])
    match random.choice(["value", "omission", "characters"]):
        case "value":
            part[name] = random.choice(VALUES)
        case "omission":
            part.pop(name, None)
        case "characters":
            at = random.randint(0, len(frame))
            return frame[:at] + chr(random.randint(1, 0xD7FF)) + frame[at + random.randint(0, 8) :]
    return json.dumps(content)


def changed(seed: int) -> Frame:
    """One of the recorded frames, changed as the seed says."""
    random = Random(seed)
    frame = random.choice(FRAMES)
    if random.random() < 0.05:
        return random.randbytes(random.randint(20, 80))
    if isinstance(frame, str):
        return changed_text(frame, random)
    if frame[16] == QUERY and random.random() < 0.7:
        return changed_sql(frame, random)
    return changed_bytes(frame, random)


def query_frame(request: int, sql: str) -> bytes:
    text = sql.encode()
    return struct.pack("<QQQHI", request, 0, QUERY, 1, len(text)) + text


frames = st.integers(0, 2**32).map(changed)


class Client:
    """A logged-in client that has a statement of each version prepared."""

    def __init__(self, connection: WebSocketClientConnection):
        self.connection = connection
        self.requests = 2**40

    @classmethod
    async def connect(cls, port: int) -> "Client":
        client = cls(await websocket_connect(f"ws://127.0.0.1:{port}/ws"))
        login = {"action": "conn", "args": {"req_id": 1, "user": "root", "password": "taosdata"}}
        client.connection.write_message(json.dumps(login))
        for sql in (
            "CREATE DATABASE IF NOT EXISTS power",
            "USE power",
            "CREATE TABLE IF NOT EXISTS meters (ts TIMESTAMP, current FLOAT, voltage INT, phase FLOAT) "
            "TAGS (groupid INT, location BINARY(16))",
        ):
            client.connection.write_message(query_frame(2, sql), binary=True)
        for number, (init, prepare) in enumerate([("stmt2_init", "stmt2_prepare"), ("init", "prepare")], 1):
            client.connection.write_message(json.dumps({"action": init, "args": {"req_id": 3}}))
            arguments = {"req_id": 4, "stmt_id": number, "sql": SQL}
            client.connection.write_message(json.dumps({"action": prepare, "args": arguments}))
        assert await client.answers(["SELECT 1"]) == 1
        return client

    async def answers(self, asked: list[Frame]) -> int:
        """Send the frames, a question after each; returns how many of these were answered before the end.

        All that comes in must be well-formed.
        """
        first = self.requests + 1
        try:
            for frame in asked:
                self.requests += 1
                self.connection.write_message(frame, binary=isinstance(frame, bytes))
                question = {"action": "version", "args": {"req_id": self.requests}}
                self.connection.write_message(json.dumps(question))
        except WebSocketClosedError:
            pass
        expected = first
        async with asyncio.timeout(60):
            while expected <= self.requests and (message := await self.connection.read_message()) is not None:
                if isinstance(message, bytes):
                    assert message[:10] == b"\xff" * 8 + b"\x07\0", message
                    continue
                answer = json.loads(message)
                assert {"code", "message", "action", "req_id", "timing"} <= answer.keys()
                if answer["req_id"] == expected and answer["action"] == "version":
                    assert answer["code"] == 0, answer
                    expected += 1
        return expected - first


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Process, int]]:
    port = free_port()
    with emulator(port) as process:
        yield process, port


def test_changed_frames_harm_nobody(running: tuple[Process, int]) -> None:
    process, port = running
    sent = 0
    witness = taosws.connect(f"taosws://root:taosdata@127.0.0.1:{port}")
    for sql in ("CREATE DATABASE witness", "USE witness", "CREATE TABLE t (ts TIMESTAMP, v INT)"):
        witness.execute(sql)
    witness.execute("INSERT INTO t VALUES (NOW, 7)")

    client: Client | None = None

    async def attack(frames: list[Frame]) -> None:
        nonlocal sent, client
        while frames:
            client = client or await Client.connect(port)
            survived = await client.answers(frames)
            sent += min(survived + 1, len(frames))
            if survived < len(frames):  # the next one made the emulator close the connection
                client = None
            frames = frames[survived + 1 :]

    with asyncio.Runner() as runner:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(frames, min_size=FRAMES_AN_EXAMPLE, max_size=FRAMES_AN_EXAMPLE))
        def attack_with(frames: list[Frame]) -> None:
            runner.run(attack(frames))
            assert list(witness.query("SELECT v FROM t")) == [(7,)]

        attack_with()
    assert sent >= 20_000
    assert process.running(), process.output
    assert "Traceback" not in process.output, process.output


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT '" + "\\'" * 400_000,
        "SELECT " + "(" * 500_000,
        "SELECT " + "9" * 500_000,
        "SELECT " + "1+" * 200_000 + "1",
        "INSERT INTO t VALUES " + "(" * 100_000,
        "SELECT CAST(300 AS TINYINT)",
        "SELECT SUM(v) FROM (SELECT 1)",
        "SELECT * FROM (" * 2_000 + "SELECT 1" + ")" * 2_000,
        "SELECT " + "CASE WHEN 1 = 1 THEN 1 ELSE " * 2_000 + "0" + " END" * 2_000,
        "SELECT " + "ABS(" * 5_000 + "1" + ")" * 5_000,
        "SELECT 1 UNION ALL " * 2_000 + "SELECT 1",
        "SELECT REPEAT('x', 1000000000)",
        "SELECT COUNT(*) FROM meters INTERVAL(99999999999999999999s)",
        "SELECT COUNT(*) FROM meters INTERVAL(0n)",
        "SELECT voltage FROM meters WHERE location MATCH '(x+x+)+y'",
        "SELECT GREATEST(" + ", ".join(["voltage"] * 500) + ") FROM meters",
        "SELECT " + ", ".join(["SUM(phase * 2)"] * 3_000) + " FROM meters",
        "x" * 2_000_000,
    ],
    ids=lambda sql: sql[:20],
)
def test_statements_without_end_or_sense_get_an_error(running: tuple[Process, int], sql: str) -> None:
    process, port = running

    async def send() -> None:
        client = await Client.connect(port)
        prepare = {
            "action": "stmt2_prepare",
            "args": {"req_id": 1, "stmt_id": 1, "sql": sql, "get_fields": True},
        }
        assert await client.answers([query_frame(1, sql), json.dumps(prepare)]) == 2
        client.connection.close()

    asyncio.run(send())
    assert "Traceback" not in process.output, process.output


def test_a_client_may_leave_before_its_answer() -> None:
    port = free_port()
    rows = " ".join(f"({1700000000000 + row}, '{'x' * 16_000}')" for row in range(60))
    login = {"action": "conn", "args": {"req_id": 1, "user": "root", "password": "taosdata"}}

    async def leave() -> None:
        client = await websocket_connect(f"ws://127.0.0.1:{port}/ws")
        client.write_message(json.dumps(login))
        for request in range(40):
            client.write_message(query_frame(request, "SELECT * FROM `left`.wide"), binary=True)
            fetch = struct.pack("<QQQH", request, request + 1, FETCH, 1)
            client.write_message(fetch, binary=True)
        await asyncio.sleep(0.05)
        client.stream.close()

    with emulator(port) as process:
        witness = taosws.connect(f"taosws://root:taosdata@127.0.0.1:{port}")
        witness.execute("CREATE DATABASE `left`")
        witness.execute("CREATE TABLE `left`.wide (ts TIMESTAMP, v VARCHAR(16000))")
        witness.execute(f"INSERT INTO `left`.wide VALUES {rows}")
        for _ in range(5):
            asyncio.run(leave())
        assert list(witness.query("SELECT COUNT(*) FROM `left`.wide")) == [(60,)]
        process.signal(signal.SIGTERM)  # what was not retrieved is logged at the end at the latest
        assert process.wait() == 0
        assert len(process.lines) == 1, process.output


@pytest.mark.parametrize(
    "content",
    [
        b"\0" * 1000,
        b"GET /ws HTTP/1.1\r\n\r\n",
        b"POST /rest/sql HTTP/1.1\r\nAuthorization: Basic !\r\nContent-Length: 1\r\n\r\nx",
        b"POST /rest/sql HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /rest/login/%00/%ff HTTP/1.1\r\n\r\n",
        b"x" * 100_000,
    ],
)
def test_other_bytes_harm_nobody(running: tuple[Process, int], content: bytes) -> None:
    process, port = running
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        try:
            while connection.recv(65536):
                pass
        except ConnectionResetError:
            pass
    asyncio.run(Client.connect(port))
    assert "Traceback" not in process.output, process.output
