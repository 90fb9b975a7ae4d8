"""A crowd of viewers in one process, each with the view of a Datagrid, that costs little itself.

    python bench/crowd.py PORT VIEWERS SECONDS    prints what they saw as JSON, and stays until it is ended

No Perspective here: the frames are made ahead, and of the answers only the newest timestamp is read.
"""

import asyncio
import json
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from tdengine_perspective.gate.protocol import Request  # noqa: E402

COLUMNS = ["timestamp", "location", "groupid", "current", "voltage", "phase"]
ROWS_ON_SCREEN = 40
NEWEST = b'"timestamp":['  # what comes before it in an answer
DESCENDING = 2  # in a Sort
BINARY, CLOSE, PING, PONG = 2, 8, 9, 10  # kinds of WebSocket frames


def frame(content: bytes, kind: int = BINARY) -> bytes:
    """As a client sends it, masked with zeros (RFC 6455, section 5.3)."""
    size = len(content)
    head = struct.pack("!BB", 0x80 | kind, 0x80 | min(size, 126))
    return head + (struct.pack("!H", size) if size > 125 else b"") + bytes(4) + content


def number_of(answer: bytes) -> int:
    """The message id, with which each answer begins."""
    number = shift = 0
    for byte in answer[1:]:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    return number


class Viewer:
    """Asks for its screen at each update, and no more often than it gets its answers."""

    def __init__(self, port: int, name: str):
        self.port = port
        self.name = name
        self.asked = 0
        self.updates = 0
        self.bytes = 0
        self.ages: list[float] = []  # ms of the newest row, each time that the screen came

    def ask(self, name: str, **question: Any) -> int:
        self.asked += 1
        request = Request(msg_id=self.asked, entity_id=name, **question)
        self.writer.write(frame(request.SerializeToString()))
        return self.asked

    def ask_screen(self) -> int:
        self.ask(self.name, view_dimensions={})
        window = {"start_row": 0, "end_row": ROWS_ON_SCREEN, "start_col": 0, "end_col": len(COLUMNS)}
        return self.ask(self.name, view_to_columns={"viewport": window})

    async def answer(self) -> bytes:
        while True:
            kind, size = await self.reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            content = await self.reader.readexactly(size)
            self.bytes += size
            if kind & 15 == PING:
                self.writer.write(frame(content, PONG))
            elif kind & 15 == CLOSE:
                raise EOFError(content[2:].decode(errors="replace"))
            else:
                return content

    async def follow(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(
            f"GET /websocket HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        await self.reader.readuntil(b"\r\n\r\n")
        config = {
            "columns": {"columns": {"columns": COLUMNS}},
            "sort": [{"column": "timestamp", "op": DESCENDING}],
        }
        self.ask("meters_values", make_view={"view_id": self.name, "config": config})
        updates = self.ask(self.name, view_on_update={})
        screen, is_due = self.ask_screen(), False
        while True:
            answer = await self.answer()
            number = number_of(answer)
            if number == updates:
                self.updates += 1
                is_due = True
            elif number == screen:
                screen = 0
                at = answer.find(NEWEST) + len(NEWEST)
                if at >= len(NEWEST):
                    self.ages.append(time.time() * 1000 - int(answer[at : answer.index(b",", at)]))
            if is_due and not screen:
                screen, is_due = self.ask_screen(), False


async def watch(port: int, count: int, seconds: float) -> None:
    """Print what a crowd sees in that time, from when each has seen its first update."""
    viewers = [Viewer(port, f"crowd-{os.getpid()}-{number}") for number in range(count)]
    following = set()
    for viewer in viewers:
        following.add(asyncio.create_task(viewer.follow()))
        await asyncio.sleep(0.002)  # as people come: not in one moment
    while not all(viewer.updates for viewer in viewers):
        for task in following:
            if task.done():
                task.result()
        await asyncio.sleep(0.05)
    for viewer in viewers:
        viewer.updates, viewer.bytes, viewer.ages = 0, 0, []
    began, used = time.monotonic(), time.process_time()
    await asyncio.sleep(seconds)
    took, used = time.monotonic() - began, time.process_time() - used
    seen: dict[str, Any] = {
        "viewers": count,
        "seconds": took,
        "updates": [viewer.updates for viewer in viewers],
        "screens": [len(viewer.ages) for viewer in viewers],
        "ages": sorted(age for viewer in viewers for age in viewer.ages),
        "bytes": sum(viewer.bytes for viewer in viewers),
        "processor": used / took,
    }
    print(json.dumps(seen), flush=True)
    await asyncio.gather(*following)


if __name__ == "__main__":
    port, count, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    asyncio.run(watch(port, count, seconds))
