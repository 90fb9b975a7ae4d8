"""The emulator's connections: taosAdapter's WebSocket and REST, as taosws and taosrest speak them."""

import base64
import inspect
import json
import logging
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import tornado.web
import tornado.websocket

from tdengine_emulator import sql, tmq, wire
from tdengine_emulator.aside import Asides
from tdengine_emulator.store import MISSING, VERSION, Result, Store, not_understood
from tdengine_emulator.topics import Topics
from tdengine_emulator.wire import BoundTable, Column, TaosError, Values, converted, refuse_if, too_long

USERS = {"root": "taosdata"}
# What taosAdapter's /rest/login gives for root and taosdata.
LOGIN_TOKEN = "/KfeAzX/f9na8qdtNZmtONryp201ma04bEl8LcvLUd7a8qdtNZmtONryp201ma04"
USER_OF_REST = "root"  # the only one
ROWS_PER_BLOCK = 3072
MAX_MESSAGE = 100 * 1024 * 1024
ADAPTER_ERROR = 0xFFFF
ACTIONS = {
    wire.QUERY: "binary_query",
    wire.FETCH: "fetch_raw_block",
    wire.BIND: "bind",
    wire.BIND2: "stmt2_bind",
}
MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error)
STATUSES = {
    3: 401,
    4357: 401,
    4358: 400,
    4388: 401,
    ADAPTER_ERROR: 400,
}  # of REST, by its errors' codes; all others have 200

logging.getLogger("tornado.general").setLevel(logging.ERROR)


def make_app(store: Store) -> tornado.web.Application:
    login = "/rest/login/([^/]+)/([^/]+)"
    routes = [("/ws", Socket), ("/rest/sql(?:/([^/]+))?", Sql), (login, Login), ("/-/ping", Ping)]
    common = {"store": store, "asides": Asides(store)}
    consumers = ("/rest/tmq", tmq.Consumer, {"topics": Topics(store), "log_in": log_in})
    return tornado.web.Application(
        [*((path, handler, common) for path, handler in routes), consumers],
        websocket_max_message_size=MAX_MESSAGE,
        log_function=lambda handler: None,
    )


def log_in(user: str, password: str) -> None:
    refuse_if(user not in USERS, 0x0351, "Invalid user")
    refuse_if(USERS[user] != password, 0x0357, "Authentication failure")


def time_zone(name: str) -> tzinfo:
    """The zone of that name; UTC where there is none, as in TDengine."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return UTC


class Socket(tornado.websocket.WebSocketHandler):
    """One client: its user, its database, its prepared statements and its unread results.

    Actions are the methods do_… here and in Prepared, called with the message's arguments; what they return
    goes into the answer, and where they return None there is none.
    """

    failure = None

    def initialize(self, store: Store, asides: Asides) -> None:
        self.store, self.asides = store, asides
        self.user: str | None = None
        self.database: str | None = None
        self.zone: tzinfo | None = None
        self.number = 0  # in the list of connections
        self.result_numbers = self.statement_numbers = 0
        self.prepared: dict[int, Prepared] = {}
        self.results: dict[int, deque[bytes]] = {}

    def open(self) -> None:
        self.set_nodelay(True)

    def on_close(self) -> None:
        self.store.remove_connection(self.number)

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:
        """Answer; the next message waits until that is done."""
        self.started = time.perf_counter_ns()
        with suppress(tornado.websocket.WebSocketClosedError):  # the client left before its answer
            if isinstance(message, str):
                return self.on_text(message)
            if len(message) >= wire.HEAD:
                return self.on_frame(message)
            self.close(1002, "message length is too short")
        return None

    def on_text(self, message: str) -> Awaitable[None] | None:
        try:
            content = json.loads(message)
            action, arguments = content.get("action", ""), dict(content.get("args") or {})
            request, statement = arguments.pop("req_id", 0), arguments.pop("stmt_id", None)
            if not isinstance(action, str) or not isinstance(request, int):
                raise ValueError("no action")
        except (ValueError, TypeError, AttributeError, RecursionError):
            self.answer("", 0, code=ADAPTER_ERROR, message="unmarshal request error")
            return None
        return self.respond(action, request, statement, arguments)

    def on_frame(self, frame: bytes) -> Awaitable[None] | None:
        request, subject, number = struct.unpack_from("<QQQ", frame)
        statement = subject if number in (wire.BIND, wire.BIND2) else None
        return self.respond(ACTIONS.get(number, f"binary {number}"), request, statement, {"frame": frame})

    def respond(
        self, action: str, request: int, number: Any, arguments: dict[str, Any]
    ) -> Awaitable[None] | None:
        """Do the action, on the prepared statement of the number if there is one; errors are answers, too."""
        subject: Any = self
        try:
            if self.user is None and action not in ("version", "conn"):
                raise TaosError(ADAPTER_ERROR, "server not connected" if action else "request no action")
            if number is not None:
                refuse_if(number not in self.prepared, ADAPTER_ERROR, "stmt is nil")
                subject = self.prepared[number]
            do = getattr(subject, f"do_{action}", None)
            if do is None:
                raise TaosError(ADAPTER_ERROR, f"unknown action {action}")
            if subject.failure and "close" not in action:
                raise subject.failure
            reply = do(**arguments)
        except TaosError as error:
            subject.failure = None if subject is self else error
            reply = {"code": error.code, "message": error.message}
        except MALFORMED as error:
            reply = {"code": ADAPTER_ERROR, "message": f"malformed {action} message: {error}"}
        if inspect.isawaitable(reply):
            return self.respond_later(action, request, reply)
        if isinstance(reply, bytes):
            self.send(reply)
        elif reply is not None:
            self.answer(action, request, **({} if number is None else {"stmt_id": number}), **reply)
        return None

    async def respond_later(self, action: str, request: int, pending: Awaitable[dict[str, Any]]) -> None:
        try:
            reply = await pending
        except TaosError as error:
            reply = {"code": error.code, "message": error.message}
        with suppress(tornado.websocket.WebSocketClosedError):
            self.answer(action, request, **reply)

    def timing(self) -> int:
        return time.perf_counter_ns() - self.started

    def answer(self, action: str, request: int, **more: Any) -> None:
        head = {"code": 0, "message": "", "action": action, "req_id": request, "timing": self.timing()}
        self.send(json.dumps(head | more))

    def send(self, message: str | bytes) -> None:
        sent = self.write_message(message, binary=isinstance(message, bytes))
        sent.add_done_callback(lambda sent: sent.cancelled() or sent.exception())  # the client may have left

    def do_version(self) -> dict[str, Any]:
        """The version, before or after the login."""
        return {"version": VERSION}

    def do_conn(self, user: str, password: str, db: str = "", tz: str = "", **_: Any) -> dict[str, Any]:
        """Log in, and use a database if one is named."""
        refuse_if(self.user is not None, ADAPTER_ERROR, "duplicate connections")
        log_in(user, password)
        if db:
            self.store.precision_of(db)
        self.user, self.database, self.zone = user, db or None, time_zone(tz) if tz else None
        host, client_port, *_ = self.request.connection.context.address
        self.number = self.store.add_connection(user, f"{host}:{client_port}")
        return {"version": VERSION}

    def do_binary_query(self, frame: bytes) -> dict[str, Any] | Awaitable[dict[str, Any]]:
        """Execute a statement."""
        text = wire.parse_query(frame)

        def work() -> tuple[Result, deque[bytes]]:
            result = sql.execute(self.store, text, self.database, zone=self.zone)
            blocks = packed(result)
            result.rows = ()
            return result, blocks

        host, client_port, *_ = self.request.connection.context.address
        asker = (self.user or "", f"{host}:{client_port}", self.number)
        found = self.asides.answer(text, asker, work)
        return self.answer_later(found) if inspect.isawaitable(found) else self.answer_to_query(*found)

    async def answer_later(self, pending: Awaitable[tuple[Result, deque[bytes]]]) -> dict[str, Any]:
        return self.answer_to_query(*await pending)

    def answer_to_query(self, result: Result, blocks: deque[bytes]) -> dict[str, Any]:
        self.database = result.use or self.database
        head = {"is_update": result.fields is None, "affected_rows": result.affected}
        lengths = [column.length for column in result.fields or ()]
        return head | self.answer_with_result(result, blocks, lengths)

    def answer_with_result(self, result: Result, blocks: deque[bytes], lengths: list[int]) -> dict[str, Any]:
        """A result as the answer gives it: its number (0 for an update) and its fields.

        Its rows stay for the fetches to come.
        """
        fields = result.fields
        if fields is not None:
            self.result_numbers += 1
            self.results[self.result_numbers] = blocks
        return {
            "id": self.result_numbers if fields else 0,
            "fields_count": len(fields or ()),
            "fields_names": fields and [column.name for column in fields],
            "fields_types": fields and [column.type.number for column in fields],
            "fields_lengths": fields and lengths,
            "precision": result.precision,
            "fields_precisions": fields and [column.precision for column in fields],
            "fields_scales": fields and [column.scale for column in fields],
        }

    def do_fetch_raw_block(self, frame: bytes) -> bytes:
        """The next block of a result's rows."""
        request, number, _ = struct.unpack_from("<QQQ", frame)
        refuse_if(number not in self.results, ADAPTER_ERROR, "result is nil")
        blocks = self.results[number]
        return wire.encode_fetched(request, number, blocks.popleft() if blocks else None, self.timing())

    def do_free_result(self, id: int) -> None:
        """Forget a result."""
        self.results.pop(id, None)

    def do_init(self, **_: Any) -> dict[str, Any]:
        """Begin a prepared statement."""
        self.statement_numbers += 1
        self.prepared[self.statement_numbers] = Prepared(self, self.statement_numbers)
        return {"stmt_id": self.statement_numbers}

    do_stmt2_init = do_init


def packed(result: Result) -> deque[bytes]:
    """A result's rows as blocks."""
    rows, blocks = iter(result.rows), deque()
    with sql.sqlite_errors_as_answers():
        while chunk := list(islice(rows, ROWS_PER_BLOCK)):
            blocks.append(wire.encode_block(result.fields or (), chunk))
    return blocks


class Prepared:
    """A prepared statement, version 1 or (stmt2) 2, and the tables (a SELECT: the parameters) bound to it.

    As in TDengine, one that has failed goes on failing; the client prepares a new one.
    """

    def __init__(self, socket: Socket, number: int):
        self.socket, self.number = socket, number
        self.table, self.tags = "", []
        self.bound: list[BoundTable] = []
        self.result: Result | None = None
        self.failure: TaosError | None = None

    def do_prepare(self, **arguments: str) -> dict[str, Any]:
        """Take the text of a prepared statement, version 1."""
        self.text, self.database = arguments["sql"], self.socket.database
        self.is_insert = self.text.lstrip()[:6].lower() == "insert"
        if self.is_insert:
            self.tree = sql.parse(self.text)
            refuse_if(len(self.tree.children) != 1, 0x0216, "Syntax error in SQL")
        return {"is_insert": self.is_insert}

    def insert_for(self, name: str = "") -> sql.TableInsert:
        """What the INSERT means for the table, whose columns it does not know if they are new."""
        statement = sql.Statement(self.socket.store, self.text, self.database)
        statement.subtable = name
        insert = statement.visit(self.tree.children[0])
        tag_columns = insert.tag_columns[: len(insert.tags)]
        return insert._replace(tag_columns=tag_columns, columns=insert.columns[: len(insert.rows[0])])

    def do_stmt2_prepare(self, get_fields: bool = False, **arguments: str) -> dict[str, Any]:
        """Take the text of a prepared statement, version 2, and tell its parameters if asked."""
        reply = self.do_prepare(**arguments)
        if not get_fields:
            return reply
        if not self.is_insert:
            return reply | {"fields": None, "fields_count": self.text.count("?")}
        try:
            insert = self.insert_for()
        except TaosError as error:
            raise TaosError(0x022B if error.code == MISSING[0] else error.code, error.message) from None
        fields = [] if insert.name else [bound_field(Column("tbname", "VARCHAR", 269), 4, 0)]
        values = [(2, *tag) for tag in zip(insert.tag_columns, insert.tags, strict=False)]
        values += [(1, *value) for value in zip(insert.columns, insert.rows[0], strict=False)]
        precision = insert.table.precision
        fields += [bound_field(column, kind, precision) for kind, column, term in values if term.text == "?"]
        return reply | {"fields": fields, "fields_count": len(fields)}

    def do_set_table_name(self, name: str) -> dict[str, Any]:
        """Name the table that the next rows are for (version 1)."""
        self.insert_for(name)
        self.table = name
        return {}

    def do_set_tags(self, tags: list[Any]) -> dict[str, Any]:
        """Set that table's tags (version 1)."""
        self.tags = tags
        return {}

    def do_add_batch(self) -> dict[str, Any]:
        """End a batch, which is all the same here (version 1)."""
        return {}

    def do_bind(self, frame: bytes) -> dict[str, Any]:
        """Take rows for the table, with the tags, that were set before (version 1)."""
        insert = self.insert_for(self.table)
        known, per_second = zip(insert.tag_columns, self.tags, strict=False), insert.table.per_second
        zone = self.socket.zone
        tags = [(tag.kind, [converted(value, tag, per_second, zone)]) for tag, value in known]
        return self.bind([BoundTable(self.table, tags, wire.decode_block(frame[wire.HEAD :]))])

    def do_stmt2_bind(self, frame: bytes) -> dict[str, Any]:
        """Take tables with their tags and rows, or a SELECT's parameters (version 2)."""
        return self.bind(wire.parse_bind2(frame))

    def bind(self, tables: list[BoundTable]) -> dict[str, Any]:
        """Keep the tables for exec; raises TaosError where they do not fit."""
        for table in tables if self.is_insert else ():
            try:
                refuse_unfit(self.insert_for(table.name or ""), table)
            except TaosError as error:
                if error.code != MISSING[0]:  # a table that is gone shows when it comes to exec
                    raise
        self.bound += tables
        return {}

    def do_exec(self) -> dict[str, Any]:
        """Write what was bound, or execute the SELECT."""
        bound, self.bound = self.bound, []
        if not self.is_insert:
            parameters = [values[0] for table in bound for _, values in table.columns]
            self.result = sql.execute(
                self.socket.store, self.text, self.database, parameters, self.socket.zone
            )
            self.result.rows = list(self.result.rows)
            return {"affected": 0}
        refuse_if(not bound, 0x022A, "Stmt API usage error")
        with sql.sqlite_errors_as_answers(), self.socket.store.transaction():
            return {"affected": sum(map(self.write_table, bound))}

    do_stmt2_exec = do_exec

    def write_table(self, table: BoundTable) -> int:
        insert = self.insert_for(table.name or "")
        tags = {tag: values[0] for tag, (_, values) in zip(insert.tag_columns, table.tags, strict=True)}
        columns = {column: values for column, (_, values) in zip(insert.columns, table.columns, strict=True)}
        return self.socket.store.upsert(insert.table, insert.name, tags, columns)

    def do_stmt2_result(self) -> dict[str, Any]:
        """The result of a prepared SELECT."""
        result = self.result
        if result is None:
            raise TaosError(ADAPTER_ERROR, "result is nil")
        lengths = [column.block_bytes for column in result.fields or ()]
        return self.socket.answer_with_result(result, packed(result), lengths)

    def do_close(self) -> None:
        """End the prepared statement (version 1, which gets no answer)."""
        self.socket.prepared.pop(self.number)

    def do_stmt2_close(self) -> dict[str, Any]:
        """End the prepared statement (version 2)."""
        self.do_close()
        return {}


def bound_field(column: Column, kind: int, precision: int) -> dict[str, Any]:
    size = column.length if column.precision else column.block_bytes
    precision = precision if column.kind == "TIMESTAMP" else 0
    about = {"name": column.name, "field_type": column.type.number, "precision": precision, "scale": 0}
    return about | {"bytes": size, "bind_type": kind}


def refuse_unfit(insert: sql.TableInsert, table: BoundTable) -> None:
    """Raise TaosError where the bound tags and columns are not those of the table."""
    counts, known = (len(table.tags), len(table.columns)), (len(insert.tag_columns), len(insert.columns))
    refuse_if(counts != known, ADAPTER_ERROR, "stmt column count not match")
    rows = len(table.columns[0][1])
    refuse_if(not rows, *sql.UNBOUND)
    refuse_unfit_values(insert.tag_columns, table.tags, 1, (0x0200, "tag length is too big"))
    refuse_unfit_values(insert.columns, table.columns, rows, (0x2653, "Value too long for column/tag"))
    refuse_if(None in table.columns[0][1], 0x267B, "Primary key column should not be null")


def refuse_unfit_values(
    columns: list[Column], bound: list[Values], rows: int, complaint: tuple[int, str]
) -> None:
    for column, (kind, values) in zip(columns, bound, strict=True):
        refuse_if(len(values) != rows, 0x0200, "row number in each bind param should be the same")
        is_right = kind == column.kind or (kind, column.kind) == ("VARCHAR", "JSON")
        refuse_if(not is_right, 0x0200, "column type mis-match with buffer type")
        if column.precision and any(value is not None for value in values):
            raise not_understood("a bound DECIMAL, in whose place TDengine 3.3.7.5 stores any other number")
        refuse_if(not column.type.code and any(too_long(value, column) for value in values), *complaint)
        if column.kind == "JSON":
            values[:] = [converted(value, column, 0) for value in values]


class Rest(tornado.web.RequestHandler):
    """Its errors are answers of their own form, some with a status."""

    def initialize(self, store: Store, asides: Asides) -> None:
        self.store, self.asides = store, asides
        self.started = time.perf_counter_ns()

    def reply(self, content: dict[str, Any]) -> None:
        self.set_status(STATUSES.get(content["code"], 200))
        self.set_header("Content-Type", "application/json; charset=utf-8")
        try:
            self.finish(json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
        except ValueError:
            self.finish()  # JSON has no NaN and no infinity: taosAdapter answers without a body

    def fail(self, code: int, message: str) -> None:
        self.reply({"code": code, "desc": message, "timing": time.perf_counter_ns() - self.started})


class Ping(Rest):
    """GET /-/ping: an empty answer."""

    def get(self) -> None:
        self.clear_header("Content-Type")


class Login(Rest):
    """GET /rest/login/user/password: a token for /rest/sql."""

    def get(self, user: str, password: str) -> None:
        if USERS.get(user) == password:
            self.reply({"code": 0, "desc": LOGIN_TOKEN})
        else:
            self.fail(3, "Authentication failure")


class Sql(Rest):
    """POST /rest/sql or /rest/sql/database: execute the statement that is the body."""

    async def post(self, database: str | None = None) -> None:
        try:
            refuse_if("Authorization" not in self.request.headers, 4357, "no auth info input")
            refuse_if(not self.request.body, 4358, "request is empty")
            kind, _, content = self.request.headers["Authorization"].partition(" ")
            if (kind, content) != ("Taosd", LOGIN_TOKEN):
                log_in(*base64.b64decode(content, validate=True).decode().split(":", 1))
            zone = self.get_query_argument("tz", "")
            is_unknown = zone != "" and str(time_zone(zone)) != zone
            refuse_if(is_unknown, ADAPTER_ERROR, f"unknown time zone {zone}")
            text = self.request.body.decode(errors="replace")

            def work() -> dict[str, Any]:
                with sql.sqlite_errors_as_answers():
                    return rest_answer(sql.execute(self.store, text, database), time_zone(zone))

            found = self.asides.answer(text, (USER_OF_REST, str(self.request.remote_ip), 0), work)
            self.reply(await found if inspect.isawaitable(found) else found)
        except TaosError as error:
            self.fail(error.code, error.message)
        except (ValueError, TypeError):
            self.fail(4388, "invalid basic Authorization")


def rest_answer(result: Result, zone: tzinfo) -> dict[str, Any]:
    fields, rows = result.fields, result.rows
    if fields is None:
        fields, rows = [Column("affected_rows", "INT", 4)], [[result.affected]]
    kinds = [f"DECIMAL({c.precision},{c.scale})" if c.precision else c.kind for c in fields]
    meta = [[column.name, kind, column.length] for column, kind in zip(fields, kinds, strict=True)]
    columns = [(column, result.precision, zone) for column in fields]
    data = [[as_json(value, *column) for value, column in zip(row, columns, strict=True)] for row in rows]
    return {"code": 0, "column_meta": meta, "data": data, "rows": len(data)}


def as_json(value: Any, column: Column, precision: int, zone: tzinfo) -> Any:
    """A value as taosAdapter's REST writes it: ISO times in the zone, FLOAT in the fewest digits."""
    if value is None:
        return None
    if column.kind == "TIMESTAMP":
        digits = 3 * (precision + 1)
        seconds, fraction = divmod(value, 10**digits)
        moment = datetime.fromtimestamp(seconds, zone).isoformat()
        return f"{moment[:19]}.{fraction:0{digits}d}{moment[19:].replace('+00:00', 'Z')}"
    if column.kind in ("FLOAT", "DOUBLE"):
        number = float(value)
        return wire.fewest_digits(shortest(number) if column.kind == "FLOAT" else number)
    if isinstance(value, bytes):
        return value.hex()
    forms: dict[str, Callable[[Any], Any]] = {"BOOL": bool, "JSON": json.loads, "BIGINT UNSIGNED": int}
    return forms[column.kind](value) if column.kind in forms else value


def shortest(number: float) -> float:
    """The number with the fewest decimal digits that is the same in 32 bits."""
    shorter = (float(f"{number:.{digits}g}") for digits in range(6, 10))
    return next((short for short in shorter if struct.pack("<f", short) == struct.pack("<f", number)), number)
