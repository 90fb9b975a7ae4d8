"""The emulator's connections: taosAdapter's WebSocket and REST, as taosws and taosrest speak them."""

import base64
import json
import logging
import struct
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from typing import Any

import tornado.web
import tornado.websocket

from tdengine_emulator import wire
from tdengine_emulator.sql import (
    Insert,
    beyond_understanding,
    execute,
    not_understood,
    prepared_insert,
)
from tdengine_emulator.store import MISSING, VERSION, Located, Result, Store
from tdengine_emulator.values import (
    DECIMALS,
    TYPES,
    Column,
    TaosError,
    Type,
    as_json_tag,
    converted,
    too_long,
)

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


class Prepared:
    """A prepared statement, version 1 or 2: its text and the tables (a SELECT: the parameters) bound so far.

    As in TDengine, one that has failed goes on failing; the client prepares a new one.
    """

    def __init__(self, store: Store, text: str, database: str | None):
        self.store, self.text, self.database = store, text, database
        self.is_insert = text.lstrip()[:6].lower() == "insert"
        self.table, self.tags = "", []
        self.bound: list[wire.BoundTable] = []
        self.result: Result | None = None
        self.failure: TaosError | None = None

    @cached_property
    def insert(self) -> Insert:
        """The statement's INSERT; it goes on to mean the columns that its table has now."""
        try:
            insert = prepared_insert(self.store, self.text, self.database)
            with suppress(TaosError):
                located = insert.locate(self.store)
                insert.column_names = [column.name for column in located.columns]
                insert.tag_names = [tag.name for tag in located.tags]
            return insert
        except (TaosError, ValueError, RecursionError):
            raise TaosError(0x0216, "Syntax error in SQL") from None

    def fields(self) -> list[dict[str, Any]] | None:
        """What an INSERT's parameters stand for, in their order; None for a SELECT."""
        if not self.is_insert:
            if "?" not in self.text:
                raise TaosError(0x2600, "syntax error near")
            return None
        insert = self.insert
        try:
            located = insert.locate(self.store)
        except TaosError as error:
            code = 0x022B if error.code == MISSING[0] else error.code
            raise TaosError(code, error.message.partition(":")[0]) from None
        precision = located.table.database.number
        fields = [] if insert.table.name else [bound_field("tbname", TYPES["VARCHAR"], 271, 4)]
        for kind, columns, values in ((2, located.tags, insert.tags), (1, located.columns, insert.rows[0])):
            for column, value in zip(columns, values, strict=False):
                if value is None:
                    of_time = precision if column.type.name == "TIMESTAMP" else 0
                    size = column.type.size if column.precision else column.block_bytes
                    fields.append(bound_field(column.name, column.type, size, kind, of_time))
        return fields

    def bind(self, tables: list[wire.BoundTable]) -> None:
        """Keep the tables for `execute`; raises TaosError where they do not fit."""
        if self.failure:
            raise self.failure
        for table in tables if self.is_insert else ():
            try:
                check(self.insert.locate(self.store, table.name or ""), table)
            except TaosError as error:
                if error.code != MISSING[0]:  # a table that is gone shows when it comes to execute
                    self.failure = error
                    raise
        self.bound += tables

    def bind_rows(self, columns: list[wire.Values]) -> None:
        """Version 1: rows for the table, with the tags, that were set before."""
        located = self.insert.locate(self.store, self.table)
        per_second = located.table.database.per_second
        tags = [
            (tag.type, [converted(value, tag, per_second)])
            for tag, value in zip(located.tags, self.tags, strict=False)
        ]
        self.bind([wire.BoundTable(self.table, tags, columns)])

    def execute(self) -> int:
        """Do it with what is bound; returns the number of affected rows."""
        if self.failure:
            raise self.failure
        bound, self.bound = self.bound, []
        if not self.is_insert:
            parameters = [values[0] for table in bound for _, values in table.columns]
            self.result = execute(self.store, self.text, self.database, parameters)
            self.result.rows = list(self.result.rows)
            return 0
        if not bound:
            raise TaosError(0x022A, "Stmt API usage error")
        try:
            with beyond_understanding(), self.store.transaction():
                return sum(self.write(table) for table in bound)
        except TaosError:
            self.failure = TaosError(0x0117, "Invalid pointer")
            raise

    def write(self, table: wire.BoundTable) -> int:
        tags = [values[0] for _, values in table.tags]
        columns = [values for _, values in table.columns]
        return self.store.upsert(self.insert.locate(self.store, table.name or ""), tags, columns)


def bound_field(name: str, type_: Type, size: int, kind: int, precision: int = 0) -> dict[str, Any]:
    about = {"name": name, "field_type": type_.number, "precision": precision, "scale": 0}
    return about | {"bytes": size, "bind_type": kind}


def check(located: Located, table: wire.BoundTable) -> None:
    """Raise TaosError where the bound tags and columns are not those of the table."""
    if len(table.columns) != len(located.columns) or len(table.tags) != len(located.tags):
        raise TaosError(ADAPTER_ERROR, "stmt column count not match")
    rows = len(table.columns[0][1])
    if not rows:
        raise TaosError(0x0236, "bind number out of range or not match")
    for tag, (type_, values) in zip(located.tags, table.tags, strict=True):
        is_json = tag.type.name == "JSON" and type_.name in ("JSON", "VARCHAR")
        if not (is_json or tag.type == type_) or len(values) != 1:
            raise TaosError(0x0200, "column type mis-match with buffer type")
        if too_long(values[0], tag):
            if tag.type.name == "VARCHAR":
                raise TaosError(0x0200, "tag length is too big")
            raise TaosError(0x2653, "Value too long for column/tag")
        if is_json:
            values[0] = as_json_tag(values[0])
    for column, (type_, values) in zip(located.columns, table.columns, strict=True):
        if len(values) != rows:
            raise TaosError(0x0200, "row number in each bind param should be the same")
        if column.type != type_:
            raise TaosError(0x0200, "column type mis-match with buffer type")
        if type_ in DECIMALS:
            raise not_understood("a bound DECIMAL")
        if not type_.code and any(too_long(value, column) for value in values):
            raise TaosError(0x2653, f"Value too long for column/tag: {column.name}")
    if None in table.columns[0][1]:
        raise TaosError(0x267B, "Primary key column should not be null")


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
        try:
            if isinstance(message, str):
                self.on_text(message)
            elif len(message) < wire.HEAD:
                self.close(1002, "message length is too short")
            else:
                self.on_frame(message)
        except tornado.websocket.WebSocketClosedError:
            pass  # the client left before its answer

    def on_text(self, message: str) -> None:
        try:
            content = json.loads(message)
            action, arguments = content.get("action", ""), content.get("args") or {}
            request = arguments.get("req_id", 0)
            if not isinstance(action, str) or not isinstance(request, int):
                raise ValueError("no action")
        except (ValueError, AttributeError, RecursionError):
            self.answer("", 0, code=ADAPTER_ERROR, message="unmarshal request error")
            return
        do = getattr(self, f"do_{action}", None)
        try:
            if self.user is None and action not in ("version", "conn"):
                raise TaosError(ADAPTER_ERROR, "server not connected" if action else "request no action")
            if do is None:
                raise TaosError(ADAPTER_ERROR, f"unknown action {action}")
            reply = do(**{name: value for name, value in arguments.items() if name != "req_id"})
        except TaosError as error:
            statement = {"stmt_id": arguments["stmt_id"]} if "stmt_id" in arguments else {}
            self.answer(action, request, code=error.code, message=error.message, **statement)
        except MALFORMED:
            self.answer(action, request, code=ADAPTER_ERROR, message=f"unmarshal {action} request error")
        else:
            if reply is not None:
                self.answer(action, request, **reply)

    def on_frame(self, message: bytes) -> None:
        request, subject, number = wire.parse_head(message)
        action, do = {
            wire.QUERY: ("binary_query", self.query),
            wire.FETCH: ("fetch_raw_block", self.fetch),
            wire.BIND: ("bind", self.bind),
            wire.BIND2: ("stmt2_bind", self.bind2),
        }.get(number, ("unknown", None))
        try:
            if self.user is None:
                raise TaosError(ADAPTER_ERROR, "server not connected")
            if do is None:
                raise TaosError(ADAPTER_ERROR, f"unknown binary action {number}")
            reply = do(request, subject, message)
        except TaosError as error:
            statement = {"stmt_id": subject} if number in (wire.BIND, wire.BIND2) else {}
            self.answer(action, request, code=error.code, message=error.message, **statement)
        except MALFORMED as error:
            self.answer(action, request, code=ADAPTER_ERROR, message=f"malformed message: {error}")
        else:
            if isinstance(reply, bytes):
                self.write_message(reply, binary=True)
            else:
                self.answer(action, request, **reply)

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

    def query(self, _request: int, _subject: int, message: bytes) -> dict[str, Any]:
        result = execute(self.store, wire.parse_query(message), self.database)
        self.database = result.use or self.database
        head = {"id": self.keep(result), "is_update": result.fields is None, "affected_rows": result.affected}
        return head | described(result)

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

    def fetch(self, request: int, number: int, _message: bytes) -> bytes:
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
        return {"stmt_id": stmt_id, "is_insert": prepared.is_insert}

    def do_exec(self, stmt_id: int) -> dict[str, Any]:
        return {"stmt_id": stmt_id, "affected": self.statement(stmt_id).execute()}

    do_stmt2_exec = do_exec

    def do_set_table_name(self, stmt_id: int, name: str) -> dict[str, Any]:
        prepared = self.statement(stmt_id)
        prepared.insert.locate(self.store, name)
        prepared.table = name
        return {"stmt_id": stmt_id}

    def do_set_tags(self, stmt_id: int, tags: list[Any]) -> dict[str, Any]:
        self.statement(stmt_id).tags = tags
        return {"stmt_id": stmt_id}

    def bind(self, _request: int, stmt_id: int, message: bytes) -> dict[str, Any]:
        self.statement(stmt_id).bind_rows(wire.parse_bind(message))
        return {"stmt_id": stmt_id}

    def do_add_batch(self, stmt_id: int) -> dict[str, Any]:
        self.statement(stmt_id)
        return {"stmt_id": stmt_id}

    def do_close(self, stmt_id: int) -> None:
        self.prepared.pop(stmt_id, None)

    def do_stmt2_prepare(self, stmt_id: int, sql: str, get_fields: bool = False) -> dict[str, Any]:
        reply = self.do_prepare(stmt_id, sql)
        if get_fields:
            fields = self.statement(stmt_id).fields()
            reply |= {"fields": fields, "fields_count": sql.count("?") if fields is None else len(fields)}
        return reply

    def bind2(self, _request: int, stmt_id: int, message: bytes) -> dict[str, Any]:
        self.statement(stmt_id).bind(wire.parse_bind2(message))
        return {"stmt_id": stmt_id}

    def do_stmt2_result(self, stmt_id: int) -> dict[str, Any]:
        result = self.statement(stmt_id).result
        if result is None:
            raise TaosError(ADAPTER_ERROR, "result is nil")
        about = described(result)
        about["fields_lengths"] = result.fields and [column.block_bytes for column in result.fields]
        return {"stmt_id": stmt_id, "id": self.keep(result)} | about

    def do_stmt2_close(self, stmt_id: int) -> dict[str, Any]:
        self.prepared.pop(stmt_id, None)
        return {"stmt_id": stmt_id}


def described(result: Result) -> dict[str, Any]:
    """A result's fields as the answer to a query gives them."""
    fields = result.fields
    return {
        "fields_count": len(fields or ()),
        "fields_names": fields and [column.name for column in fields],
        "fields_types": fields and [column.type.number for column in fields],
        "fields_lengths": fields and [column.length for column in fields],
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
