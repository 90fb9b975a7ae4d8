"""The emulator's consumers: taosAdapter's WebSocket at /rest/tmq, as the driver's Consumer speaks it."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

import tornado.ioloop
import tornado.websocket

from tdengine_emulator.store import VERSION
from tdengine_emulator.topics import Member, Topics, Write, encode_message
from tdengine_emulator.wire import TaosError, refuse_if

ADAPTER_ERROR = 0xFFFF
LONGEST_WAIT = 60_000  # ms
NOTHING = {"topic": "", "database": "", "vgroup_id": 0, "message_type": 0, "message_id": 0, "offset": 0}
DATA = 1  # the type of a message with rows

numbers = count(1)


class Consumer(tornado.websocket.WebSocketHandler):
    """One consumer. Actions are the methods do_…, called with the message's arguments; what they return goes
    into the answer, and where they return None it comes later.
    """

    def initialize(self, topics: Topics, log_in: Callable[[str, str], None]) -> None:
        self.topics, self.log_in = topics, log_in
        self.member: Member | None = None
        self.messages = 0
        self.message: list[Write] = []  # the last one
        self.polled: tuple[int, int, object] | None = None  # a request that waits: since when, until when

    def open(self) -> None:
        self.set_nodelay(True)

    def on_close(self) -> None:
        self.end_wait()
        if self.member:
            self.member.leave()

    def on_message(self, message: str | bytes) -> None:
        started = time.perf_counter_ns()
        try:
            content = json.loads(message)
            action, arguments = content["action"], dict(content.get("args") or {})
            request = arguments.pop("req_id", 0)
            if not isinstance(action, str) or not isinstance(request, int):
                raise ValueError("no action")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self.answer("", 0, started, code=ADAPTER_ERROR, message="unmarshal request error")
            return
        self.request_number, self.started = request, started
        try:
            do = getattr(self, f"do_{action}", None)
            if do is None:
                raise TaosError(ADAPTER_ERROR, f"unknown action {action}")
            is_first = action in ("version", "subscribe")
            refuse_if(not is_first and self.member is None, ADAPTER_ERROR, "tmq not init")
            reply = do(**arguments)
        except TaosError as error:
            reply = {"code": error.code, "message": error.message}
        except (ValueError, TypeError, KeyError, LookupError, AttributeError) as error:
            reply = {"code": ADAPTER_ERROR, "message": f"malformed {action} message: {error}"}
        if isinstance(reply, bytes):
            self.send(reply)
        elif reply is not None:
            self.answer(action, request, started, **reply)

    def answer(self, action: str, request: int, started: int, **more: Any) -> None:
        timing = time.perf_counter_ns() - started
        head = {"code": 0, "message": "", "action": action, "req_id": request, "timing": timing}
        self.send(json.dumps(head | more))

    def send(self, message: str | bytes) -> None:
        with suppress(tornado.websocket.WebSocketClosedError):
            sent = self.write_message(message, binary=isinstance(message, bytes))
            sent.add_done_callback(lambda sent: sent.cancelled() or sent.exception())

    def do_version(self) -> dict[str, Any]:
        """The version."""
        return {"version": VERSION}

    def do_subscribe(
        self, user: str, password: str, group_id: str, topics: list[str], **options: Any
    ) -> dict[str, Any]:
        """Log in, and become one of a group that reads a topic from its latest or its earliest rows on."""
        self.log_in(user, password)
        refuse_if(self.member is not None, ADAPTER_ERROR, "tmq should have unsubscribed first")
        start = options.get("offset_reset") or options.get("offset_rest") or "latest"
        refuse_if(not group_id, ADAPTER_ERROR, "Invalid parameter: group.id")
        number = f"0x{next(numbers):016x}"
        self.member = Member(self.topics, number, group_id, list(topics), start == "earliest")
        return {"version": VERSION}

    def do_unsubscribe(self, **_: Any) -> dict[str, Any]:
        """Leave the group."""
        self.member.leave()
        self.member = None
        return {}

    def do_poll(self, blocking_time: int, **_: Any) -> dict[str, Any] | None:
        """Wait for so many ms for the next message, and tell whether there is one."""
        self.end_wait()
        if found := self.next_message():
            return found
        seconds = min(max(0, blocking_time), LONGEST_WAIT) / 1000
        timer = tornado.ioloop.IOLoop.current().call_later(seconds, self.come_back, True)
        self.polled = self.request_number, self.started, timer
        self.topics.listeners.add(self.come_back)
        return None

    def come_back(self, is_late: bool = False) -> None:
        """Answer the poll that waits, if there is a message by now or it is too late."""
        try:
            reply = self.next_message()
        except TaosError as error:
            reply = {"code": error.code, "message": error.message}
        if self.polled and (reply or is_late):
            request, started, _ = self.polled
            self.end_wait()
            self.answer("poll", request, started, **(reply or {"have_message": False} | NOTHING))

    def end_wait(self) -> None:
        if self.polled:
            tornado.ioloop.IOLoop.current().remove_timeout(self.polled[2])
            self.polled = None
            self.topics.listeners.discard(self.come_back)

    def next_message(self) -> dict[str, Any] | None:
        found = self.member.next() if self.member else None
        if found is None:
            return None
        database, topic, vgroup, self.message = found
        self.messages += 1
        place = {"topic": topic, "database": database, "vgroup_id": vgroup}
        about = {"message_type": DATA, "message_id": self.messages, "offset": self.message[0].offset}
        return {"have_message": True} | place | about

    def do_fetch_raw_data(self, message_id: int) -> bytes:
        """The last message."""
        refuse_if(message_id != self.messages or not self.message, ADAPTER_ERROR, "message is nil")
        timing = time.perf_counter_ns() - self.started
        return encode_message(self.request_number, message_id, self.message, timing)

    def do_commit(self, message_id: int = 0, **_: Any) -> dict[str, Any]:
        """Have the group go on behind what was polled."""
        self.member.commit()
        return {"message_id": message_id}

    def do_assignment(self, topic: str) -> dict[str, Any]:
        """The vgroups that are this consumer's, with the offsets that there are."""
        assigned = []
        for number, _, name, vgroup in self.member.places():
            if name == topic:
                log = self.topics.log(number, vgroup)
                offsets = {"offset": self.member.offset(number, vgroup), "begin": log.begin, "end": log.end}
                assigned.append({"vgroup_id": vgroup} | offsets)
        return {"assignment": assigned}
