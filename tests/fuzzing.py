"""Hostile requests, and a process that has to bear them.

    PYTHONPATH=. venv/bin/python tests/fuzzing.py FRAMES [SEED]

feeds so many to it; the suite feeds it 20,000. They start from what the page sends, each different request
once, in page_requests.txt, and from what `client_requests` gets out of Perspective's own client.
"""

import argparse
import asyncio
import contextlib
import os
import random
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import perspective
from google.protobuf.message import DecodeError, Message

from tdengine_perspective.gate.protocol import Request
from tdengine_perspective.gate.sessions import ViewerSession
from tdengine_perspective.gate.viewers import Viewers
from tdengine_perspective.mirror.table import replace_rows

TABLE = "meters_values"
SCHEMA = {
    "timestamp": "datetime",
    "location": "string",
    "groupid": "integer",
    "current": "float",
    "voltage": "integer",
    "phase": "float",
}
HERE = Path(__file__).resolve().parent
PAGE_REQUESTS = HERE / "page_requests.txt"
FLUSH = 0xFFFFFFFF  # instead of a length
BATCH = 500  # frames
MAX_MEMORY = 4 << 30  # bytes of address space, most of it the stacks of the engine's threads
UPDATE_EVERY = 20  # frames
REPLACE_EVERY = 300
NEW_SESSION_EVERY = 1000
VIEWS = [f"view {number}" for number in range(5)]
NAMES = [
    *SCHEMA,
    "e",
    "f",
    "",
    "no such column",
    "é",
    "x" * 300,
    "psp_okey",
    "psp_pkey",
    "__ROW_PATH__",
    TABLE,
]
NUMBERS = [0, 1, 2, 5, 17, 255, 1000, 65535, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]
FLOATS = [0.0, -0.0, 1.0, 0.5, 215.0, -1.0, 1e-300, 1e15, 1e300, float("inf"), float("-inf"), float("nan")]
CHOICES = {
    "group_rollup_mode": 3,
    "split_rollup_mode": 2,
    "filter_op": 2,
    "mode": 1,
    "group_by_depth": 4,
    "op": 9,
}
OPERATORS = [
    *("==", "!=", ">", ">=", "<", "<=", "in", "not in", "is null", "is not null", "begins with"),
    *("ends with", "contains", "not contains", "matches", "", "no such operator"),
]
AGGREGATES = [
    *("sum", "abs sum", "avg", "mean", "median", "q1", "q3", "count", "distinct count", "unique", "dominant"),
    *(
        "first",
        "last",
        "first by index",
        "last by index",
        "max",
        "min",
        "high",
        "low",
        "high minus low",
        "any",
    ),
    *("join", "and", "or", "var", "stddev", "pct sum parent", "pct sum grand total", "weighted mean"),
    *("max by", "min by", "last minus first", "distinct leaf", "mean by count", "", "no such aggregate"),
]
WINDOW_AGGREGATES = [
    "sum",
    "avg",
    "count",
    "min",
    "max",
    "stddev",
    "var",
    "lag",
    "lead",
    "diff",
    "rate",
    "ema",
    "x",
]
TEXTS = [
    *("", "a", "'", '"', "\\", "[", "2024-01-01", "99999999-99-99", "1", "nan", "true", "null", "a" * 3000),
    *("\x00", "\u20ac", "%s%n", "-1e999", "12:00:00", "1d", "0d", "loc 1"),
]
EXPRESSIONS = [
    *(
        '"current" * 2',
        "1",
        "'text'",
        "true",
        "null",
        '"location"',
        '"timestamp"',
        "today()",
        "now()",
        "random()",
    ),
    *(
        "bucket(\"timestamp\", '1m')",
        "bucket(\"timestamp\", 'D')",
        "bucket(\"timestamp\", 'M')",
        'bucket("current", 0)',
    ),
    *(
        'upper("location")',
        'concat("location", \' \', "location")',
        'string("timestamp")',
        'length("location")',
    ),
    *("match(\"location\", '[a-c]+')", "replace(\"location\", 'a', 'b')", "search(\"location\", '(l)')"),
    *(
        'if ("current" > 5) 1; else 2',
        "var x := 1; x + 1",
        '"no such column"',
        "1 % 0",
        '"groupid" / 0',
        '"e" + 1',
    ),
    *(
        'integer("current")',
        "float('x')",
        "date(1, 2, 3)",
        "datetime(1e18)",
        "date(99999, 99, 99)",
        "day_of_week(now())",
    ),
    *(
        "for (var i := 0; i < 10; i += 1) { i }",
        "var v[2]; v[5]",
        "((((",
        "",
        "order(\"location\", 'a')",
        "index()",
    ),
    *(
        'order("location", "location")',
        "col('current')",
        "vlookup('current', 1)",
        'substring("location", -1, 100)',
    ),
    *(
        "percent_of(1, 0)",
        "min(1)",
        "max()",
        "is_null(1)",
        'inrange(1, "current", 5)',
        "contains(\"location\", 'loc')",
        "coalesce(\"location\", 'none')",
        'coalesce("current", 0)',
        'var x := "current"; x += 1; x',
        'if ("groupid" > 2) "groupid"; else "current"',
        "iclamp(1, 2, 3)",
        "month_of_year(datetime(-1e18))",
    ),
]


def table_rows(rows: int, step: int) -> dict[str, list[Any]]:
    """Meter readings in columns; each step they are others."""
    numbers = range(rows)
    return {
        "__INDEX__": list(numbers),
        "timestamp": [1_700_000_000_000 + 100 * number + step for number in numbers],
        "location": [f"loc {number % 10}" if number % 7 else None for number in numbers],
        "groupid": [number % 10 for number in numbers],
        "current": [number * 0.37 % 10 if (number + step) % 11 else None for number in numbers],
        "voltage": [200 + (number + step) % 40 for number in numbers],
        "phase": [number * 0.11 % 1 for number in numbers],
    }


class Target:
    """The engine with a table, and a viewer's session before it."""

    def __init__(self, rows: int = 100):
        self.rows = rows
        self.frames = 0
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
        perspective.set_num_cpus(64)
        self.server = perspective.Server()
        self.client = self.server.new_local_client()
        self.table = self.client.table(SCHEMA, name=TABLE)
        replace_rows(self.table, table_rows(rows, 0))
        self.viewers = Viewers(self.server)
        self.viewers.note_nulls(["location", "current"])
        self.answers = 0
        self.updates = 0
        self.witness = self.table.view(columns=["voltage"])
        self.witness.on_update(self.updated)
        self.session = self.new_session()

    def new_session(self) -> ViewerSession:
        return ViewerSession(self.viewers, self.heard)

    def updated(self, port: int) -> None:
        self.updates += 1

    def heard(self, answer: bytes) -> None:
        self.answers += 1

    def feed(self, frame: bytes) -> None:
        self.frames += 1
        try:
            refusal = self.session.handle(frame)
            assert "bad_alloc" not in (refusal or ""), "the engine wanted more than MAX_MEMORY"
        except DecodeError:
            pass
        if self.frames % UPDATE_EVERY == 0:
            self.update()
        if self.frames % NEW_SESSION_EVERY == 0:
            self.session.close()
            assert self.table.size() == self.rows, f"{self.table.size()} rows"
            assert self.client.get_hosted_table_names() == [TABLE]
            self.session = self.new_session()

    def update(self) -> None:
        """Change the table as the server does; whoever looks must hear of it."""
        columns = table_rows(self.rows, self.frames)
        before = self.updates
        if self.frames % REPLACE_EVERY == 0:
            self.table.clear()
            replace_rows(self.table, columns)
        else:
            self.table.update({name: values[:: 1 + self.frames % 3] for name, values in columns.items()})
        assert self.updates > before, "an update failed"


class Fuzzer:
    """Makes up requests that are nearly right: from the fields of READER_PROTO, or out of recorded ones."""

    def __init__(self, random: random.Random, recorded: list[bytes]):
        self.random = random
        self.recorded = [self.renamed(frame) for frame in recorded]

    def frame(self) -> bytes:
        """A request; one in three is damaged."""
        kind = self.random.random()
        frame = self.random.choice(self.recorded) if kind < 0.3 else self.request().SerializeToString()
        if kind < 0.2 or kind > 0.9:
            frame = self.damaged(frame)
        return frame

    def renamed(self, frame: bytes) -> bytes:
        """A recorded request as if for one of the views that are made here."""
        request = Request.FromString(frame)
        kind = request.WhichOneof("request") or ""
        if kind.startswith("view_"):
            request.entity_id = self.random.choice(VIEWS)
        elif request.entity_id:
            request.entity_id = TABLE
        if kind == "make_view":
            request.make_view.view_id = self.random.choice(VIEWS)
        return request.SerializeToString()

    def damaged(self, frame: bytes) -> bytes:
        data = bytearray(frame)
        for _ in range(self.random.choice((1, 1, 2, 3, 10))):
            at = self.random.randrange(len(data) + 1)
            match self.random.randrange(7):
                case 0:
                    data[at : at + 1] = bytes([self.random.randrange(256)])
                case 1:
                    del data[at : at + self.random.choice((1, 1, 2, 8))]
                case 2:
                    data[at:at] = self.random.randbytes(self.random.choice((1, 1, 2, 8)))
                case 3:
                    data[at:at] = data[: self.random.randrange(len(data) + 1)]
                case 4:
                    data[at:at] = b"\xff\xff\xff\xff\x0f"
                case 5:
                    del data[at:]
                case 6:
                    other = self.random.choice(self.recorded)
                    data[at:] = other[self.random.randrange(len(other)) :]
        return bytes(data[:5000])

    def request(self) -> Message:
        """One with contents that make sense often enough to get far."""
        request = Request(msg_id=self.random.randrange(100))
        fields = [field for field in Request.DESCRIPTOR.fields if field.containing_oneof]
        field = self.random.choice(fields)
        if self.random.random() < 0.25:
            field = Request.DESCRIPTOR.fields_by_name["make_view"]
        elif field.name == "view_delete" and self.random.random() < 0.5:
            field = Request.DESCRIPTOR.fields_by_name["view_to_rows"]
        is_views = field.name.startswith("view_")
        request.entity_id = self.random.choice(VIEWS) if is_views else TABLE
        if self.random.random() < 0.02:
            request.entity_id = self.random.choice(NAMES)
        content = getattr(request, field.name)
        content.SetInParent()
        self.fill(content)
        if field.name == "make_view":
            content.view_id = self.random.choice(VIEWS)
        return request

    def fill(self, message: Message) -> None:
        for field in message.DESCRIPTOR.fields:
            # Each view is to have a few settings, not all of them.
            if self.random.random() < (0.8 if message.DESCRIPTOR.name == "ViewConfig" else 0.3):
                continue
            value = getattr(message, field.name)
            if field.is_repeated and field.message_type and field.message_type.GetOptions().map_entry:
                self.fill_map(value, field.message_type.fields_by_name["value"])
            elif field.is_repeated and field.message_type:
                for _ in range(self.random.randrange(4)):
                    self.fill(value.add())
            elif field.is_repeated:
                value.extend(self.scalar(field) for _ in range(self.random.randrange(4)))
            elif field.message_type:
                value.SetInParent()
                self.fill(value)
            else:
                setattr(message, field.name, self.scalar(field))

    def fill_map(self, values: Any, field: Any) -> None:
        for _ in range(self.random.randrange(4)):
            name = self.random.choice(NAMES)
            if field.message_type:
                self.fill(values[name])
            else:
                values[name] = self.random.choice(EXPRESSIONS)

    def scalar(self, field: Any) -> Any:
        choices: Iterable[Any]
        if field.type == field.TYPE_BOOL:
            choices = (False, True)
        elif field.type == field.TYPE_DOUBLE:
            choices = FLOATS
        elif field.type == field.TYPE_UINT32:
            choices = NUMBERS if self.random.random() < (0.02 if field.name in CHOICES else 0.5) else range(8)
            choices = choices if len(choices) > 8 else range(CHOICES.get(field.name, 8))
        elif field.name == "op":  # of a filter; a sort's is a number
            choices = OPERATORS
        elif field.name in ("aggregations", "aggregate"):
            choices = WINDOW_AGGREGATES if field.name == "aggregate" else [*AGGREGATES, "current"]
        elif field.name == "compression":
            choices = ("lz4", "zstd", "none", "")
        elif field.name == "string":
            choices = TEXTS
        else:
            choices = NAMES[:7] if self.random.random() < 0.95 else NAMES
        return self.random.choice(list(choices))


def serve() -> None:
    """Bear what comes on stdin.

    Frames, each led by its length as four bytes, big-endian. Each FLUSH is answered with the number of frames
    so far, so that whoever feeds it knows that it lives.
    """
    target = Target()
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    # The engine prints of its own accord; that is not for whoever reads stdout.
    stdout = os.fdopen(os.dup(stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    while header := stdin.read(4):
        (length,) = struct.unpack(">I", header)
        if length == FLUSH:
            stdout.write(struct.pack(">I", target.frames))
            stdout.flush()
        else:
            target.feed(stdin.read(length))


class Victim:
    """The process that serves; `with Victim() as victim: victim.feed(frames)`."""

    def __enter__(self) -> "Victim":
        self.fed = 0
        self.start()
        return self

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "fuzzing.py"), "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        )
        self.borne = 0

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def feed(self, frames: list[bytes]) -> None:
        """Raises AssertionError when it did not bear one of them."""
        if self.process.poll() is not None:
            self.start()
        self.fed += len(frames)
        packed = b"".join(struct.pack(">I", len(frame)) + frame for frame in frames)
        try:
            self.process.stdin.write(packed + struct.pack(">I", FLUSH))
            self.process.stdin.flush()
            answer = self.process.stdout.read(4)
        except BrokenPipeError:
            answer = b""
        assert answer, f"it ended with status {self.process.wait()} at one of the last {len(frames)} requests"
        self.borne += len(frames)
        assert struct.unpack(">I", answer) == (self.borne,)


def page_requests() -> list[bytes]:
    lines = PAGE_REQUESTS.read_text().splitlines()
    return [bytes.fromhex(line.split()[1]) for line in lines]


def record_page_requests(frames: Iterable[bytes]) -> None:
    """Write what a page sent to PAGE_REQUESTS, each request once, whatever its number, view and rows."""
    different = {}
    for frame in frames:
        request = Request.FromString(frame)
        kind = request.WhichOneof("request")
        content = getattr(request, kind)
        request.msg_id = 1
        if kind.startswith("view_"):
            request.entity_id = "view"
        if kind == "make_view":
            content.view_id = "view"
        if "_remove_" in kind:
            content.id = 1
        for part in (content, getattr(content, "viewport", None)):
            for name in ("start_row", "end_row", "start_col", "end_col"):
                if hasattr(part, name) and part.HasField(name):
                    setattr(part, name, 3)
        different[request.SerializeToString(deterministic=True)] = kind
    lines = sorted(f"{kind} {frame.hex()}\n" for frame, kind in different.items())
    PAGE_REQUESTS.write_text("".join(lines))


def client_requests() -> list[bytes]:
    """What Perspective's own client sends when it is asked for all that it can do, writes included."""
    requests: list[bytes] = []

    async def converse() -> None:
        server = perspective.Server()
        server.new_local_client().table(SCHEMA, name=TABLE).update(table_rows(100, 0))
        answers: list[bytes] = []
        session = server.new_session(answers.append)

        async def send(request: bytes) -> None:
            requests.append(bytes(request))
            session.handle_request(bytes(request))
            while answers:
                await client.handle_response(answers.pop(0))

        client = perspective.AsyncClient(send)
        await client.on_hosted_tables_update(lambda: None)
        await client.system_info()
        table = await client.open_table(TABLE)
        await table.size()
        await table.on_delete(lambda: None)
        await table.validate_expressions({"double": '"current" * 2'})
        view = await table.view(
            group_by=["location"],
            split_by=["groupid"],
            columns=["voltage", "double"],
            filter=[["voltage", ">", 100], ["location", "in", ["loc 1", "loc 2"]]],
            sort=[["voltage", "desc"]],
            expressions={"double": '"current" * 2'},
            aggregates={"voltage": "avg", "double": ["max by", ["timestamp"]]},
        )
        await view.on_update(lambda *_: None)
        await view.on_delete(lambda: None)
        for ask in (view.num_rows, view.schema, view.expression_schema, view.get_config, view.dimensions):
            await ask()
        for ask in (view.to_columns, view.to_json, view.to_csv, view.to_arrow):
            await ask(start_row=0, end_row=20)
        await view.to_ndjson()
        await view.get_min_max("voltage")
        await view.column_paths({"start_col": 0, "end_col": 2})
        await view.collapse(0)
        await view.expand(0)
        await view.delete()
        await table.update([{"voltage": 1}])
        await table.replace([{"voltage": 1}])
        with contextlib.suppress(perspective.PerspectiveError):  # both have the same columns
            await client.join(table, table, "voltage", name="joined")
        await table.clear()
        await table.make_port()
        with contextlib.suppress(perspective.PerspectiveError):
            await table.remove([1])
        await client.table({"a": "integer"}, name="another")

    asyncio.run(converse())
    return requests


def main() -> None:
    parser = argparse.ArgumentParser(description="Feed hostile requests to the viewers' gate and the engine.")
    parser.add_argument("frames", type=int, nargs="?", default=1_000_000, help="how many [1,000,000]")
    parser.add_argument("seed", type=int, nargs="?", default=time.time_ns(), help="for the same ones again")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve()
    print(f"seed {arguments.seed}")
    fuzzer = Fuzzer(random.Random(arguments.seed), page_requests() + client_requests())
    with Victim() as victim:
        while victim.fed < arguments.frames:
            victim.feed([fuzzer.frame() for _ in range(BATCH)])
            if victim.fed % 100_000 == 0:
                print(f"{victim.fed:,} frames", flush=True)


if __name__ == "__main__":
    main()
