"""The emulator's connections: taosAdapter's WebSocket and REST, as taosws and taosrest speak them."""

import base64
import json
import logging
import struct
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import tornado.web
import tornado.websocket

from tdengine_emulator import wire
from tdengine_emulator.prepared import Prepared
from tdengine_emulator.sql import beyond_understanding, execute
from tdengine_emulator.store import VERSION, Result, Store
from tdengine_emulator.values import DECIMALS, Column, TaosError, Type

USERS = {"root": "taosdata"}
# What taosAdapter's /rest/login gives for root and taosdata.
LOGIN_TOKEN = "/KfeAzX/f9na8qdtNZmtONryp201ma04bEl8LcvLUd7a8qdtNZmtONryp201ma04"
ROWS_PER_BLOCK = 3072
MAX_MESSAGE = 100 * 1024 * 1024
ADAPTER_ERROR = 0xFFFF
MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error)

logging.getLogger("tornado.general").setLevel(logging.ERROR)


def make_app(store: Store) -> tornado.web.Application:
    settings = {"store": store}
    return tornado.web.Application(
        [
            ("/ws", Socket, settings),
            ("/rest/sql", Sql, settings),
            ("/rest/sql/([^/]+)", Sql, settings),
            ("/rest/login/([^/]+)/([^/]+)", Login, settings),
            ("/-/ping", Ping),
        ],
        websocket_max_message_size=MAX_MESSAGE,
        log_function=lambda handler: None,
    )


def log_in(user: str, password: str) -> None:
    if user not in USERS:
        raise TaosError(0x0351, "Invalid user")
    if USERS[user] != password:
        raise TaosError(0x0357, "Authentication failure")


class Socket(tornado.websocket.WebSocketHandler):
    """One client: its user, its database, its prepared statements and its unread results.

    Actions are the methods do_…, called with the message's arguments; what they return goes into the answer,
    and where they return None there is none.
    """

    def initialize(self, store: Store) -> None:
        self.store = store
        self.user: str | None = None
        self.database: str | None = None
        self.result_numbers = self.statement_numbers = 0
        self.prepared: dict[int, Prepared | None] = {}
        self.results: dict[int, deque[bytes]] = {}

    def open(self) -> None:
        self.set_nodelay(True)

    def on_message(self, message: str | bytes) -> None:
        self.started = time.perf_counter_ns()
        with suppress(tornado.websocket.WebSocketClosedError):  # the client left before its answer
            if isinstance(message, str):
                self.on_text(message)
            elif len(message) < wire.HEAD:
                self.close(1002, "message length is too short")
            else:
                self.on_frame(message)

    def on_text(self, message: str) -> None:
        try:
            content = json.loads(message)
            action, arguments = content.get("action", ""), dict(content.get("args") or {})
            request = arguments.pop("req_id", 0)
            if not isinstance(action, str) or not isinstance(request, int):
                raise ValueError("no action")
        except (ValueError, TypeError, AttributeError, RecursionError):
            self.answer("", 0, code=ADAPTER_ERROR, message="unmarshal request error")
            return
        statement = {"stmt_id": arguments["stmt_id"]} if "stmt_id" in arguments else {}
        do = getattr(self, f"do_{action}", None)
        self.respond(action, request, statement, do and (lambda: do(**arguments)))

    def on_frame(self, message: bytes) -> None:
        request, subject, number = wire.parse_head(message)
        actions: dict[int, tuple[str, Callable[[], Any]]] = {
            wire.QUERY: ("binary_query", lambda: self.query(wire.parse_query(message))),
            wire.FETCH: ("fetch_raw_block", lambda: self.fetch(request, subject)),
            wire.BIND: ("bind", lambda: self.statement(subject).bind_rows(wire.parse_bind(message))),
            wire.BIND2: ("stmt2_bind", lambda: self.statement(subject).bind(wire.parse_bind2(message))),
        }
        action, do = actions.get(number, (f"binary {number}", None))
        statement = {"stmt_id": subject} if number in (wire.BIND, wire.BIND2) else {}
        self.respond(action, request, statement, do)

    def respond(
        self, action: str, request: int, statement: dict[str, int], do: Callable[[], Any] | None
    ) -> None:
        """Do the action, and answer with what it gives; what goes wrong is an answer too."""
        try:
            if self.user is None and action not in ("version", "conn"):
                raise TaosError(ADAPTER_ERROR, "server not connected" if action else "request no action")
            if do is None:
                raise TaosError(ADAPTER_ERROR, f"unknown action {action}")
            reply = do()
        except TaosError as error:
            reply = {"code": error.code, "message": error.message}
        except MALFORMED as error:
            reply = {"code": ADAPTER_ERROR, "message": f"malformed {action} message: {error}"}
        if isinstance(reply, bytes):
            self.write_message(reply, binary=True)
        elif reply is not None:
            self.answer(action, request, **statement | reply)

    def timing(self) -> int:
        return time.perf_counter_ns() - self.started

    def answer(self, action: str, request: int, **more: Any) -> None:
        head = {"code": 0, "message": "", "action": action, "req_id": request, "timing": self.timing()}
        self.write_message(json.dumps(head | more))

    # Connecting

    def do_version(self) -> dict[str, Any]:
        return {"version": VERSION}

    def do_conn(self, user: str, password: str, db: str = "", **_: Any) -> dict[str, Any]:
        if self.user is not None:
            raise TaosError(ADAPTER_ERROR, "duplicate connections")
        log_in(user, password)
        if db:
            self.store.database(db)
        self.user, self.database = user, db or None
        return {"version": VERSION}

    # Queries

    def query(self, text: str) -> dict[str, Any]:
        result = execute(self.store, text, self.database)
        self.database = result.use or self.database
        head = {"id": self.keep(result), "is_update": result.fields is None, "affected_rows": result.affected}
        return head | described(result, [column.length for column in result.fields or ()])

    def keep(self, result: Result) -> int:
        """Pack the result's rows for the fetches to come; returns the result's number, 0 for an update."""
        if result.fields is None:
            return 0
        self.result_numbers += 1
        rows, blocks = iter(result.rows), deque()
        with beyond_understanding():
            while chunk := list(islice(rows, ROWS_PER_BLOCK)):
                blocks.append(wire.encode_block(result.fields, chunk))
        self.results[self.result_numbers] = blocks
        return self.result_numbers

    def fetch(self, request: int, number: int) -> bytes:
        if number not in self.results:
            return wire.encode_fetched(request, number, None, self.timing(), ADAPTER_ERROR, "result is nil")
        blocks = self.results[number]
        return wire.encode_fetched(request, number, blocks.popleft() if blocks else None, self.timing())

    def do_free_result(self, id: int) -> None:
        self.results.pop(id, None)

    # Prepared statements: first what both versions have, then version 1, then version 2

    def do_init(self, **_: Any) -> dict[str, Any]:
        self.statement_numbers += 1
        self.prepared[self.statement_numbers] = None
        return {"stmt_id": self.statement_numbers}

    do_stmt2_init = do_init

    def statement(self, number: int) -> Prepared:
        prepared = self.prepared.get(number)
        if prepared is None:
            raise TaosError(ADAPTER_ERROR, "stmt is nil")
        return prepared

    def do_prepare(self, stmt_id: int, sql: str) -> dict[str, Any]:
        if stmt_id not in self.prepared:
            raise TaosError(ADAPTER_ERROR, "stmt is nil")
        if (before := self.prepared[stmt_id]) and before.failure:
            raise before.failure
        prepared = self.prepared[stmt_id] = Prepared(self.store, sql, self.database)
        return {"is_insert": prepared.is_insert}

    def do_exec(self, stmt_id: int) -> dict[str, Any]:
        return {"affected": self.statement(stmt_id).execute()}

    do_stmt2_exec = do_exec

    def do_set_table_name(self, stmt_id: int, name: str) -> dict[str, Any]:
        return self.statement(stmt_id).set_table(name)

    def do_set_tags(self, stmt_id: int, tags: list[Any]) -> dict[str, Any]:
        self.statement(stmt_id).tags = tags
        return {}

    def do_add_batch(self, stmt_id: int) -> dict[str, Any]:
        self.statement(stmt_id)
        return {}

    def do_close(self, stmt_id: int) -> None:
        self.prepared.pop(stmt_id, None)

    def do_stmt2_prepare(self, stmt_id: int, sql: str, get_fields: bool = False) -> dict[str, Any]:
        reply = self.do_prepare(stmt_id, sql)
        if get_fields:
            fields = self.statement(stmt_id).fields()
            reply |= {"fields": fields, "fields_count": sql.count("?") if fields is None else len(fields)}
        return reply

    def do_stmt2_result(self, stmt_id: int) -> dict[str, Any]:
        result = self.statement(stmt_id).result
        if result is None:
            raise TaosError(ADAPTER_ERROR, "result is nil")
        lengths = [column.block_bytes for column in result.fields or ()]
        return {"id": self.keep(result)} | described(result, lengths)

    def do_stmt2_close(self, stmt_id: int) -> dict[str, Any]:
        self.prepared.pop(stmt_id, None)
        return {}


def described(result: Result, lengths: list[int]) -> dict[str, Any]:
    """A result's fields as the answer to a query gives them."""
    fields = result.fields
    return {
        "fields_count": len(fields or ()),
        "fields_names": fields and [column.name for column in fields],
        "fields_types": fields and [column.type.number for column in fields],
        "fields_lengths": fields and lengths,
        "precision": result.precision,
        "fields_precisions": fields and [column.precision for column in fields],
        "fields_scales": fields and [column.scale for column in fields],
    }


class RestHandler(tornado.web.RequestHandler):
    def initialize(self, store: Store) -> None:
        self.store = store
        self.started = time.perf_counter_ns()

    def reply(self, content: dict[str, Any], status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        try:
            self.finish(json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
        except ValueError:
            self.finish()  # JSON has no NaN and no infinity: taosAdapter answers without a body

    def fail(self, code: int, message: str, status: int = 200) -> None:
        self.reply({"code": code, "desc": message, "timing": time.perf_counter_ns() - self.started}, status)


class Ping(tornado.web.RequestHandler):
    def get(self) -> None:
        self.clear_header("Content-Type")


class Login(RestHandler):
    def get(self, user: str, password: str) -> None:
        try:
            log_in(user, password)
        except TaosError:
            self.fail(3, "Authentication failure", 401)
        else:
            self.reply({"code": 0, "desc": LOGIN_TOKEN})


class Sql(RestHandler):
    def post(self, database: str | None = None) -> None:
        if "Authorization" not in self.request.headers:
            return self.fail(4357, "no auth info input", 401)
        if not self.request.body:
            return self.fail(4358, "request is empty", 400)
        try:
            user, password = self.credentials()
        except ValueError:
            return self.fail(4388, "invalid basic Authorization", 401)
        try:
            log_in(user, password)
            result = execute(self.store, self.request.body.decode(errors="replace"), database)
            with beyond_understanding():
                answer = self.answer(result)
        except TaosError as error:
            return self.fail(error.code, error.message)
        self.reply(answer)

    def credentials(self) -> tuple[str, str]:
        """User and password of the Authorization header; ValueError where it has none."""
        kind, _, content = self.request.headers["Authorization"].partition(" ")
        if kind == "Taosd" and content == LOGIN_TOKEN:
            return "root", USERS["root"]
        user, password = base64.b64decode(content, validate=True).decode().split(":", 1)
        return user, password

    def answer(self, result: Result) -> dict[str, Any]:
        if result.fields is None:
            meta, rows = [["affected_rows", "INT", 4]], [[result.affected]]
        else:
            meta = [[column.name, type_name(column), column.length] for column in result.fields]
            columns = [
                [as_json(value, column.type, result.precision) for value in values]
                for column, values in zip(result.fields, zip(*result.rows, strict=True), strict=False)
            ]
            rows = [list(row) for row in zip(*columns, strict=True)]
        return {"code": 0, "column_meta": meta, "data": rows, "rows": len(rows)}


def type_name(column: Column) -> str:
    is_decimal = column.type in DECIMALS
    return f"DECIMAL({column.precision},{column.scale})" if is_decimal else column.type.name


def as_json(value: Any, type_: Type, precision: int) -> Any:
    """A value as taosAdapter's REST writes it: ISO times, FLOAT in the fewest digits."""
    if value is None:
        return None
    if type_.name == "TIMESTAMP":
        digits = 3 * (precision + 1)
        seconds, fraction = divmod(value, 10**digits)
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{fraction:0{digits}d}Z"
    if type_.name == "BOOL":
        return bool(value)
    if type_.name == "JSON":
        return json.loads(value)
    if type_.code == "Q":
        return int(value)
    if isinstance(value, bytes) and not type_.encoding:
        return value.hex()
    if type_.code in ("f", "d"):
        number = float(value) if type_.code == "d" else shortest(float(value))
        return int(number) if abs(number) < 1e21 and number.is_integer() else number
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def shortest(number: float) -> float:
    """The number with the fewest decimal digits that is the same in 32 bits."""
    shorter = (float(f"{number:.{digits}g}") for digits in range(6, 10))
    return next((short for short in shorter if struct.pack("<f", short) == struct.pack("<f", number)), number)
