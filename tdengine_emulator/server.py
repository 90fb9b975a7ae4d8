"""The emulator's connections: taosAdapter's WebSocket and REST, as taosws and taosrest speak them, over a Store."""

import base64
import json
import logging
import struct
import time
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import tornado.web
import tornado.websocket

from tdengine_emulator import wire
from tdengine_emulator.sql import Insert, Parameter, Statement, execute
from tdengine_emulator.store import (
    PRECISIONS,
    VERSION,
    Located,
    Result,
    Store,
    TableName,
    TaosError,
    Target,
    too_long,
)

USERS = {"root": "taosdata"}
LOGIN_TOKEN = "/KfeAzX/f9na8qdtNZmtONryp201ma04bEl8LcvLUd7a8qdtNZmtONryp201ma04"
ROWS_PER_BLOCK = 3072
MAX_MESSAGE = 100 * 1024 * 1024


def log_in(user: str, password: str) -> None:
    if user not in USERS:
        raise TaosError(0x0351, "Invalid user")
    if USERS[user] != password:
        raise TaosError(0x0357, "Authentication failure")


class Prepared:
    """A prepared statement, version 1 or 2: its text, and the tables (a SELECT: the parameters) bound so far."""

    def __init__(self, store: Store, text: str, database: str | None):
        self.store, self.text, self.database = store, text, database
        self.is_insert = text.lstrip()[:6].lower() == "insert"
        self.inserts: list[Insert] = []
        self.table, self.tags = "", []
        self.bound: list[tuple[Target, wire.BoundTable]] = []
        self.result: Result | None = None
        if self.is_insert:
            statement = Statement(store, text, database)
            statement.at = 1
            self.inserts = statement.inserts()

    def bind_rows(self, columns: list[tuple[wire.Type, list[Any]]]) -> None:
        """Version 1: rows for the table and with the tags that were set before."""
        tags = []
        if self.inserts and self.inserts[0].target.supertable:
            target = replace(self.inserts[0].target, table=TableName(self.table, self.database))
            located = self.store.locate(target)
            tags = [
                (wire.TYPES[tag.type], [self.store.converted(value, tag, located.database)])
                for tag, value in zip(located.tags, self.tags, strict=False)
            ]
        self.bind([wire.BoundTable(self.table, tags, columns)])

    def fields(self) -> list[dict[str, Any]] | None:
        """What an INSERT's parameters stand for, in their order."""
        if not self.is_insert:
            return None
        (insert,) = self.inserts
        if not insert.target.table.name and insert.target.supertable is None:
            return None
        located = self.store.locate(insert.target)
        precision = PRECISIONS[located.database.precision][0]
        fields = []
        if not insert.target.table.name:
            fields.append(bound_field("tbname", wire.TYPES["VARCHAR"], 271, 4))
        for kind, columns, values in ((2, located.tags, insert.tags), (1, located.columns, insert.rows[0])):
            for column, value in zip(columns, values, strict=False):
                if isinstance(value, Parameter):
                    field = column.field()
                    of_time = precision if column.type == "TIMESTAMP" else 0
                    fields.append(bound_field(column.name, field.type, field.block_bytes, kind, of_time))
        return fields

    def bind(self, tables: list[wire.BoundTable]) -> None:
        """Keep the tables for `execute`; raises TaosError where they do not fit."""
        if not self.is_insert:
            self.bound = [(Target(TableName("", None)), table) for table in tables]
            return
        (insert,) = self.inserts
        for table in tables:
            target = insert.target
            if not target.table.name:
                if not table.name:
                    raise TaosError(0x022B, "Stmt table name not set correctly")
                target = replace(target, table=TableName(table.name, target.table.database))
            try:
                located = self.store.locate(target)
            except TaosError as error:
                raise TaosError(0x022B, error.message) from None
            check(located, table)
            self.bound.append((target, table))

    def execute(self) -> int:
        """Do it with what is bound; returns the number of affected rows."""
        bound, self.bound = self.bound, []
        if not bound and self.is_insert:
            raise TaosError(0x0236, "bind number out of range or not match")
        if not self.is_insert:
            parameters = [values[0] for _, table in bound for _, values in table.columns]
            self.result = Statement(self.store, self.text, self.database, parameters).run()
            self.result.rows = iter(list(self.result.rows))
            return 0
        with self.store.transaction():
            return sum(
                self.store.upsert(
                    self.store.locate(target),
                    [values[0] for _, values in table.tags],
                    [values for _, values in table.columns],
                )
                for target, table in bound
            )


def bound_field(name: str, type_: wire.Type, size: int, kind: int, precision: int = 0) -> dict[str, Any]:
    return {
        "name": name,
        "field_type": type_.number,
        "precision": precision,
        "scale": 0,
        "bytes": size,
        "bind_type": kind,
    }


def check(located: Located, table: wire.BoundTable) -> None:
    """Raise TaosError where the bound tags and columns are not those of the table."""
    if len(table.columns) != len(located.columns) or len(table.tags) != len(located.tags):
        raise TaosError(0x0236, "bind number out of range or not match")
    for tag, (type_, values) in zip(located.tags, table.tags, strict=True):
        if wire.TYPES[tag.type] != type_:
            raise TaosError(0x0200, "column type mis-match with buffer type")
        if not type_.code and too_long(values[0], tag):
            raise TaosError(0x0200, "tag length is too big")
    for column, (type_, values) in zip(located.columns, table.columns, strict=True):
        if len(values) != len(table.columns[0][1]):
            raise TaosError(0x0200, "row number in each bind param should be the same")
        if wire.TYPES[column.type] != type_:
            raise TaosError(0x0200, "column type mis-match with buffer type")
        if not type_.code and any(too_long(value, column) for value in values):
            raise TaosError(0x0200, "column length is too big")
    if None in table.columns[0][1]:
        raise TaosError(0x267B, "Primary key column should not be null")


class Socket(tornado.websocket.WebSocketHandler):
    """One client: its user, its database, its prepared statements and its unread results."""

    def initialize(self, store: Store) -> None:
        self.store = store
        self.user: str | None = None
        self.database: str | None = None
        self.numbers = 0
        self.statement_numbers = 0
        self.prepared: dict[int, Prepared | None] = {}
        self.results: dict[int, deque[bytes]] = {}

    def on_message(self, message: str | bytes) -> None:
        self.started = time.perf_counter_ns()
        try:
            if isinstance(message, bytes):
                self.on_frame(wire.parse_frame(message))
            else:
                self.on_action(json.loads(message))
        except (ValueError, KeyError, TypeError, AttributeError, struct.error):
            self.close(1002, "not understood")

    def timing(self) -> int:
        return time.perf_counter_ns() - self.started

    def answer(self, action: str, request: int, **more: Any) -> None:
        head = {"code": 0, "message": "", "action": action, "req_id": request, "timing": self.timing()}
        self.write_message(json.dumps(head | more))

    def on_action(self, message: dict[str, Any]) -> None:
        action, arguments = message["action"], message.get("args") or {}
        request = arguments.get("req_id", 0)
        handler = getattr(self, f"do_{action}", None)
        try:
            if handler is None:
                raise TaosError(0xFFFF, f"unknown action {action}")
            if self.user is None and action not in ("version", "conn"):
                raise TaosError(0xFFFF, "server not connected")
            reply = handler(**{name: value for name, value in arguments.items() if name != "req_id"})
        except TaosError as error:
            more = {"stmt_id": arguments["stmt_id"]} if "stmt_id" in arguments else {}
            self.answer(action, request, code=error.code, message=error.message, **more)
            return
        if reply is not None:
            self.answer(action, request, **reply)

    def on_frame(self, frame: wire.Query | wire.Fetch | wire.Bind | wire.Bind2) -> None:
        if isinstance(frame, wire.Fetch):
            self.fetch(frame)
            return
        action = {wire.Query: "binary_query", wire.Bind: "bind", wire.Bind2: "stmt2_bind"}[type(frame)]
        try:
            if self.user is None:
                raise TaosError(0xFFFF, "server not connected")
            reply = {wire.Query: self.query, wire.Bind: self.bind, wire.Bind2: self.bind2}[type(frame)](frame)
        except TaosError as error:
            more = {"stmt_id": frame.statement} if not isinstance(frame, wire.Query) else {}
            self.answer(action, frame.request, code=error.code, message=error.message, **more)
            return
        self.answer(action, frame.request, **reply)

    # Queries

    def query(self, frame: wire.Query) -> dict[str, Any]:
        result = execute(self.store, frame.sql, self.database)
        if result.use:
            self.database = result.use
        return {
            "id": self.keep(result),
            "is_update": result.fields is None,
            "affected_rows": result.affected,
        } | (described(result))

    def keep(self, result: Result) -> int:
        """Pack the result's rows for the fetches to come; returns the result's id, 0 without rows."""
        if result.fields is None:
            return 0
        self.numbers += 1
        rows = list(result.rows)
        self.results[self.numbers] = deque(
            wire.encode_block(result.fields, rows[at : at + ROWS_PER_BLOCK])
            for at in range(0, len(rows), ROWS_PER_BLOCK)
        )
        return self.numbers

    def fetch(self, frame: wire.Fetch) -> None:
        blocks = self.results.get(frame.result)
        code, message = (0, "") if blocks is not None else (0xFFFF, "result is nil")
        block = blocks.popleft() if blocks else None
        reply = wire.encode_fetched(frame.request, frame.result, block, self.timing(), code, message)
        self.write_message(reply, binary=True)

    def do_free_result(self, id: int) -> None:
        self.results.pop(id, None)

    # Connecting

    def do_version(self) -> dict[str, Any]:
        return {"version": VERSION}

    def do_conn(self, user: str, password: str, db: str = "", **_: Any) -> dict[str, Any]:
        log_in(user, password)
        if db and not self.store.has_database(db):
            raise TaosError(0x0388, "Database not exist")
        self.user, self.database = user, db or None
        return {"version": VERSION}

    # Prepared statements: first what both versions have, then version 1, then version 2

    def do_init(self, **_: Any) -> dict[str, Any]:
        self.statement_numbers += 1
        self.prepared[self.statement_numbers] = None
        return {"stmt_id": self.statement_numbers}

    do_stmt2_init = do_init

    def statement(self, number: int) -> Prepared:
        if self.prepared.get(number) is None:
            raise TaosError(0xFFFF, "stmt is nil")
        return self.prepared[number]

    def do_prepare(self, stmt_id: int, sql: str) -> dict[str, Any]:
        if stmt_id not in self.prepared:
            raise TaosError(0xFFFF, "stmt is nil")
        prepared = self.prepared[stmt_id] = Prepared(self.store, sql, self.database)
        return {"stmt_id": stmt_id, "is_insert": prepared.is_insert}

    def do_exec(self, stmt_id: int) -> dict[str, Any]:
        return {"stmt_id": stmt_id, "affected": self.statement(stmt_id).execute()}

    do_stmt2_exec = do_exec

    def do_close(self, stmt_id: int) -> None:
        self.prepared.pop(stmt_id, None)

    def do_set_table_name(self, stmt_id: int, name: str) -> dict[str, Any]:
        self.statement(stmt_id).table = name
        return {"stmt_id": stmt_id}

    def do_set_tags(self, stmt_id: int, tags: list[Any]) -> dict[str, Any]:
        self.statement(stmt_id).tags = tags
        return {"stmt_id": stmt_id}

    def bind(self, frame: wire.Bind) -> dict[str, Any]:
        prepared = self.statement(frame.statement)
        prepared.bind_rows(frame.columns)
        return {"stmt_id": frame.statement}

    def do_add_batch(self, stmt_id: int) -> dict[str, Any]:
        self.statement(stmt_id)
        return {"stmt_id": stmt_id}

    def do_stmt2_prepare(self, stmt_id: int, sql: str, get_fields: bool = False) -> dict[str, Any]:
        reply = self.do_prepare(stmt_id, sql)
        if get_fields:
            fields = self.statement(stmt_id).fields()
            reply |= {"fields": fields, "fields_count": sql.count("?") if fields is None else len(fields)}
        return reply

    def bind2(self, frame: wire.Bind2) -> dict[str, Any]:
        self.statement(frame.statement).bind(frame.tables)
        return {"stmt_id": frame.statement}

    def do_stmt2_result(self, stmt_id: int) -> dict[str, Any]:
        result = self.statement(stmt_id).result
        if result is None:
            raise TaosError(0xFFFF, "result is nil")
        return {"stmt_id": stmt_id, "id": self.keep(result)} | described(result)

    def do_stmt2_close(self, stmt_id: int) -> dict[str, Any]:
        self.prepared.pop(stmt_id, None)
        return {"stmt_id": stmt_id}


def described(result: Result) -> dict[str, Any]:
    """A result's fields, as the answers to a query and to stmt2_result give them."""
    fields = result.fields
    return {
        "fields_count": len(fields or ()),
        "fields_names": fields and [column.name for column in fields],
        "fields_types": fields and [column.type.number for column in fields],
        "fields_lengths": fields and [column.length for column in fields],
        "precision": result.precision,
        "fields_precisions": fields and [0] * len(fields),
        "fields_scales": fields and [0] * len(fields),
    }


class RestHandler(tornado.web.RequestHandler):
    def initialize(self, store: Store) -> None:
        self.store = store
        self.started = time.perf_counter_ns()

    def reply(self, content: dict[str, Any], status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(content, ensure_ascii=False, separators=(",", ":")))

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
        try:
            user, password = self.credentials()
        except ValueError:
            self.fail(4357, "no auth info input", 401)
            return
        try:
            log_in(user, password)
            result = execute(self.store, self.request.body.decode(), database)
        except TaosError as error:
            self.fail(error.code, error.message)
            return
        if result.fields is None:
            meta, rows = [["affected_rows", "INT", 4]], [[result.affected]]
        else:
            meta = [[column.name, column.type.name, column.length] for column in result.fields]
            types = [column.type for column in result.fields]
            rows = [
                [as_json(value, type_) for value, type_ in zip(row, types, strict=True)]
                for row in result.rows
            ]
        self.reply({"code": 0, "column_meta": meta, "data": rows, "rows": len(rows)})

    def credentials(self) -> tuple[str, str]:
        """User and password of the Authorization header; ValueError where it has none."""
        kind, _, content = self.request.headers.get("Authorization", "").partition(" ")
        if kind == "Taosd" and content == LOGIN_TOKEN:
            return "root", USERS["root"]
        if kind != "Basic":
            raise ValueError("no auth info")
        user, separator, password = base64.b64decode(content, validate=True).decode().partition(":")
        if not separator:
            raise ValueError("no password")
        return user, password


def as_json(value: Any, type_: wire.Type) -> Any:
    """A value as taosAdapter's REST writes it: ISO times, FLOAT in the fewest digits, no NaN or infinity."""
    if value is None:
        return None
    if type_.name == "TIMESTAMP":
        moment = datetime.fromtimestamp(value / 1000, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value % 1000:03d}Z"
    if type_.name == "BOOL":
        return bool(value)
    if type_.code in ("f", "d"):
        number = float(value)
        if number != number or number in (float("inf"), float("-inf")):
            return None
        return number if type_.code == "d" else shortest(number)
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def shortest(number: float) -> float:
    """The float with the fewest digits that is the same 32-bit number."""
    for digits in range(6, 10):
        short = float(f"{number:.{digits}g}")
        if struct.pack("<f", short) == struct.pack("<f", number):
            return short
    return number


def make_app(store: Store) -> tornado.web.Application:
    return tornado.web.Application(
        [
            ("/ws", Socket, {"store": store}),
            ("/rest/sql", Sql, {"store": store}),
            ("/rest/sql/([^/]+)", Sql, {"store": store}),
            ("/rest/login/([^/]+)/([^/]+)", Login, {"store": store}),
            ("/-/ping", Ping),
        ],
        websocket_max_message_size=MAX_MESSAGE,
        log_function=lambda handler: None,
    )


logging.getLogger("tornado.general").setLevel(logging.ERROR)
