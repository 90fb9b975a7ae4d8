"""A stand-in for /history: the real server with a WebSocket whose rows an engine has, made by rule.

    python tests/engine_handler.py [FAULT…]     with perspective_server.py's settings in the environment

It speaks as /history does: a table a span, no updates of its own, text frames beside the answers. What it is
asked goes into the lines that it prints. Faults: `refuses-medians`; `away`, the problem that TDengine is out
of reach. POST /drop loses all looks back.
"""

import asyncio
import contextlib
import json
import math
import re
import sys
import time
from datetime import datetime
from typing import Any

import perspective
import tornado.web
import tornado.websocket
from fuzzing import SCHEMA as COLUMNS

import perspective_server
from tdengine_perspective.gate.protocol import Request, Response, error_response

LOCATIONS = ["Campbell", "Cupertino", "Los Angeles", "Palo Alto", "San Jose"]
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
ALL = 400 * 86_400  # seconds
STEPS = 1000  # of a span, each with a row for each location


def span_of(text: str) -> tuple[float, float | None]:
    """Its beginning and its end, in seconds since 1970; None is now. Raises ValueError."""
    if text == "all":
        return time.time() - ALL, None
    if re.fullmatch(r"\d+[smhdw]", text):
        return time.time() - int(text[:-1]) * UNITS[text[-1]], None
    first, last = (datetime.fromisoformat(part).timestamp() for part in text.split("/"))
    return first, last


def rows(first: float, last: float, step: float) -> dict[str, list]:
    made: dict[str, list] = {name: [] for name in COLUMNS}
    for number in range(math.ceil(first / step), math.floor(last / step)):
        for place, location in enumerate(LOCATIONS):
            wave = math.sin(number / 40 + place)
            measured = 10 + wave, round(220 + 9 * wave), 146 + wave
            values = number * step * 1000, location, place % 3 + 1, *measured
            for name, value in zip(COLUMNS, values, strict=True):
                made[name].append(value)
    return made


class StandIn(tornado.websocket.WebSocketHandler):
    """One viewer's look at one span."""

    faults: frozenset[str] = frozenset()
    all: set["StandIn"] = set()  # noqa: RUF012, shared on purpose

    def initialize(self, admission: Any) -> None:
        self.admission = admission

    def prepare(self) -> None:
        self.admission.check(self.request)

    def check_origin(self, origin: str) -> bool:
        return self.admission.allows_origin(self.request)

    def open(self) -> None:
        text = self.get_query_argument("time")
        print("history", text, flush=True)
        self.all.add(self)
        try:
            first, last = span_of(text)
        except ValueError:
            self.close(1008, f"time={text}: no span")
            return
        self.step = ((last or time.time()) - first) / STEPS
        self.last = last or time.time()
        self.moves = last is None
        self.server = perspective.Server()
        client = self.server.new_local_client()
        self.table = client.table(COLUMNS, name="meters_history")
        self.table.update(rows(first, self.last, self.step))
        self.subscriptions: set[int] = set()
        self.session = self.server.new_session(self.answer)
        if "away" in self.faults:
            self.write_message(json.dumps({"problem": "TDengine at localhost:6041 does not answer"}))

    async def on_message(self, frame: bytes) -> None:
        request = Request.FromString(frame)
        kind = request.WhichOneof("request")
        print("asked", kind, flush=True)
        if kind == "view_on_update":
            self.subscriptions.add(request.msg_id)
        if kind == "table_size" and self.moves:
            self.move_on()
        if kind == "make_view":
            aggregates = [how.aggregations[0] for how in request.make_view.config.aggregates.values()]
            if "refuses-medians" in self.faults and "median" in aggregates:
                text = "there is no median when looking back"
                await self.write_message(error_response(request, text), binary=True)
                return
            await self.write_message(json.dumps({"seconds": 0.021}))
        self.session.handle_request(frame)

    def move_on(self) -> None:
        now = time.time()
        new = rows(self.last, now, self.step)
        if new["timestamp"]:
            self.table.update(new)
            self.last = now

    def answer(self, answer: bytes) -> None:
        response = Response.FromString(answer)
        if response.msg_id in self.subscriptions and response.WhichOneof("response") is None:
            return  # an update, which a virtual server can't push
        asyncio.get_running_loop().create_task(self.send(answer))

    async def send(self, answer: bytes) -> None:
        with contextlib.suppress(tornado.websocket.WebSocketClosedError):
            await self.write_message(answer, binary=True)

    def on_close(self) -> None:
        self.all.discard(self)
        print("closed", self.get_query_argument("time"), flush=True)


class Drop(tornado.web.RequestHandler):
    """Loses all looks back."""

    def post(self) -> None:
        for look in StandIn.all:
            look.close()


def main() -> None:
    StandIn.faults = frozenset(sys.argv[1:])
    sys.argv[1:] = []
    make_app = perspective_server.make_app

    def make_app_with_history(*parts: Any, **more: Any) -> tornado.web.Application:
        app = make_app(*parts, **more)
        admission = next(part for part in parts if type(part).__name__ == "Admission")
        app.add_handlers(".*", [(r"/history", StandIn, {"admission": admission}), (r"/drop", Drop)])
        return app

    perspective_server.make_app = make_app_with_history
    perspective_server.main()


if __name__ == "__main__":
    main()
