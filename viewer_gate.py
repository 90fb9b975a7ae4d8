"""What a viewer may ask, from where, and how much.

Perspective's engine trusts its clients: any of them may change the tables, and a malformed request ends the
process. `check_request` lets through only what a reader needs. `ViewerGate` decides who may connect at all.
`ViewerSession` is one viewer's conversation with the engine, `ViewerHandler` its WebSocket.
"""

import asyncio
import hmac
import ipaddress
import logging
import math
import re
import resource
import struct
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import perspective
import tornado.httputil
import tornado.ioloop
import tornado.iostream
import tornado.web
import tornado.websocket
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

import viewer_expressions

# Limits for one viewer; in brackets what a page with four viewers needs.
MAX_VIEWS = 20  # [4, for a moment 9 while they are rearranged]
MAX_SUBSCRIPTIONS = 64  # to updates and deletions; each is a message at every update [9]
MAX_REQUESTS = 400  # a second; beyond it they wait [150 while they are rearranged]
MAX_ENGINE_TIME = 0.25  # of each second; beyond it its requests wait, so that the others get their turn
MAX_VIEW_TIME = 0.1  # seconds a 1,000 rows, for all its views: an update costs up to thrice as much [0.013]
MAX_CELLS = 700_000  # in one answer: more would hold up the others for longer than a poll [6,000]
MAX_WAITING = 16 << 20  # bytes sent to it that it has not read yet [0.1 MB]
MAX_MESSAGE = 64 << 10  # bytes of a request [330]

# Limits for one request: what lies beyond would take the engine seconds, or end it.
MAX_LIST = 100  # columns, filters, sorts, aggregates, windows of a view, of each
MAX_PIVOTS = 6  # columns to group by, and to split by: each doubles the time
MAX_EXPRESSIONS = 10  # of a view
MAX_EXPRESSIONS_LENGTH = 2000  # characters of all of these: 1,000 rows then take up to 0.25 s
MAX_VIEW_NAME = 100  # characters; Perspective's own names have 21
MAX_ROW = 1 << 24  # rows and columns; beyond it the engine's arithmetic overflows
MAX_NUMBER = 1e15  # in a filter on numbers and dates; the engine crashes where a number makes no date

MAX_VIEWERS = 100  # at once; with the views of each there must be fewer than the engine has threads
MAX_KEPT = 16 << 20  # bytes of answers that are kept until the next update, for who asks the same
ENTRY_SIZE = 200  # bytes that Python needs to keep an answer, whatever its size
MAX_MEMORY_GROWTH = 64 << 20  # bytes, see renewal_due
MAX_LOG_LINES = 20  # of refusals, a minute: a viewer must not fill the disk

websocket_settings = {
    "websocket_max_message_size": MAX_MESSAGE,
    # Seconds. A dead connection is found within two of them; proxies end a silent one after 60.
    "websocket_ping_interval": 20,
    "websocket_ping_timeout": 20,
}
# For Application.listen: who connects and then says nothing is gone after 10 s. No request here has a body.
http_settings = {
    "idle_connection_timeout": 10,
    "body_timeout": 10,
    "max_body_size": 1024,
    "max_header_size": 16 << 10,
}

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
SECRET_PATHS = ("/health", "/layout", "/websocket")  # where a token is needed, if there is one

# Why a WebSocket is closed.
TEXT_FRAME, NOT_A_REQUEST, SERVICE_RESTART, TRY_AGAIN_LATER = 1003, 1007, 1012, 1013
VIEW_NOT_FOUND = 1  # a status code of Perspective's
AND = 0  # a way to join filters
COLUMN_TYPES = ("string", "date", "datetime", "integer", "float", "boolean")  # in their order there
OWN_QUESTION = 0xFFFFFFFF  # the message id of what the handler itself asks; clients draw theirs at random
OWN_SUBSCRIPTION = 0xFFFFFFFE  # the one of what it subscribes to
CHANGES = ("view_collapse", "view_expand", "view_depth")  # of a view, which is then one viewer's own

log = logging.getLogger("viewer_gate")

# The part of perspective.proto that a reader needs, as perspective-python 5.6.1 speaks it.
READER_PROTO = """
message Nothing {}
message Subscribe { bool subscribe = 1; }
message Subscription { uint32 id = 1; }
message Updates { optional uint32 mode = 1; }
message Row { uint32 row_index = 1; }
message Depth { uint32 depth = 1; }
message Column { string column_name = 1; }
message Columns { optional uint32 start_col = 1; optional uint32 end_col = 2; }

message Viewport {
    optional uint32 start_row = 1; optional uint32 start_col = 2;
    optional uint32 end_row = 3; optional uint32 end_col = 4;
    optional bool emit_legacy_row_path_names = 5;
}
message Csv { Viewport viewport = 1; }
message Arrow { Viewport viewport = 1; optional string compression = 2; }
message Json {
    Viewport viewport = 1; optional bool id = 2; optional bool index = 3; optional bool formatted = 4;
}

message Scalar { oneof scalar { bool bool = 1; double float = 4; string string = 6; uint32 null = 7; } }
message Filter { string column = 1; string op = 2; repeated Scalar value = 3; }
message Sort { string column = 1; uint32 op = 2; }
message Aggregate { repeated string aggregations = 1; }
message Order { string column = 1; bool desc = 2; }
message Window {
    string column = 2; string aggregate = 3; repeated string partition_by = 4; Order order_by = 5;
    oneof frame { uint32 rows = 6; double range = 7; uint32 cumulative = 8; }
    optional uint32 offset = 9; optional double alpha = 10;
}
message ColumnNames { repeated string columns = 1; }
message ViewColumns { oneof which { uint32 default_columns = 1; ColumnNames columns = 2; } }
message ViewConfig {
    repeated string group_by = 1; repeated string split_by = 2; ViewColumns columns = 3;
    repeated Filter filter = 4; repeated Sort sort = 5;
    map<string,string> expressions = 6; map<string,Aggregate> aggregates = 7;
    uint32 filter_op = 8; optional uint32 group_by_depth = 9; optional uint32 group_rollup_mode = 10;
    map<string,Window> windows = 11; optional uint32 split_rollup_mode = 12;
}
message MakeView { string view_id = 1; ViewConfig config = 2; }
message Describe { ViewConfig config = 1; }
message Validate { map<string,string> expressions = 1; }

message Request {
    uint32 msg_id = 1;
    string entity_id = 2;
    oneof request {
        Nothing features = 3; Nothing system_info = 17;
        Subscribe hosted_tables = 4; Subscription remove_hosted_tables = 37;

        MakeView make_view = 6; Nothing table_schema = 7; Nothing table_size = 8;
        Validate validate = 9; Describe describe = 41;
        Nothing table_on_delete = 29; Subscription table_remove_delete = 30; Nothing make_port = 5;

        Columns view_column_paths = 10; Nothing view_delete = 11; Nothing view_dimensions = 12;
        Nothing view_expression_schema = 13; Nothing view_config = 14; Nothing view_schema = 15;
        Row view_collapse = 18; Row view_expand = 19; Column view_min_max = 20; Depth view_depth = 23;
        Arrow view_to_arrow = 16; Json view_to_columns = 24; Csv view_to_csv = 25; Json view_to_rows = 26;
        Json view_to_ndjson = 36;
        Updates view_on_update = 21; Subscription view_remove_update = 22;
        Nothing view_on_delete = 34; Subscription view_remove_delete = 35;
        Nothing view_on_remove = 39; Subscription view_remove_remove = 40;
    }
}

message Port { uint32 port_id = 1; }
message SchemaColumn { string name = 1; uint32 type = 2; }
message SchemaColumns { repeated SchemaColumn schema = 1; }
message Schema { SchemaColumns schema = 1; }
message Size { uint32 size = 2; }
message WrongExpression { string message = 1; uint32 line = 2; uint32 column = 3; }
message WrongExpressions { map<string,WrongExpression> expression_errors = 2; }
message HostedTable { string entity_id = 1; }
message HostedTables { repeated HostedTable table_infos = 1; }
message Dimensions { uint32 rows = 3; uint32 columns = 4; }
message Made { string view_id = 1; }
message ServerError { string message = 1; uint32 status_code = 2; }
message Response {
    uint32 msg_id = 1;
    string entity_id = 2;
    oneof response {
        HostedTables hosted_tables = 4; Port make_port = 5; Made make_view = 6; Schema table_schema = 7;
        Size table_size = 8; WrongExpressions validate = 9; Nothing view_delete = 11;
        Dimensions view_dimensions = 12; Nothing view_on_delete = 34; WrongExpressions describe = 41;
        ServerError error = 50;
    }
}
"""
WRITES = {27: "table", 28: "delete", 31: "remove", 32: "replace", 33: "update", 38: "join"}


def build_messages(proto: str) -> dict[str, type[Message]]:
    """The message classes of a .proto file, as far as READER_PROTO uses that language."""
    file = descriptor_pb2.FileDescriptorProto(name="reader.proto", package="reader", syntax="proto3")
    names_and_bodies = re.split(r"^message (\w+) ", proto, flags=re.MULTILINE)[1:]
    for name, body in zip(names_and_bodies[::2], names_and_bodies[1::2], strict=True):
        describe_message(file.message_type.add(name=name), body)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"reader.{message.name}"))
        for message in file.message_type
    }


def describe_message(message: descriptor_pb2.DescriptorProto, body: str) -> None:
    oneof = re.search(r"oneof (\w+) \{.*?\}", body, re.DOTALL)
    if oneof:
        message.oneof_decl.add(name=oneof[1])
    for found in re.finditer(r"(?:(optional|repeated) )?(?:map<string,(\w+)>|(\w+)) (\w+) = (\d+);", body):
        label, map_kind, kind, name, number = found.groups()
        if map_kind:  # on the wire a list of pairs
            entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
            entry.options.map_entry = True
            add_field(entry, "string", "key", 1)
            add_field(entry, map_kind, "value", 2)
            label, kind = "repeated", f"{message.name}.{entry.name}"
        field = add_field(message, kind, name, int(number))
        if label == "repeated":
            field.label = field.LABEL_REPEATED
        elif label == "optional":  # on the inside a oneof with one choice; these come after the real one
            field.proto3_optional = True
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{name}")
        elif oneof and oneof.start() < found.start() < oneof.end():
            field.oneof_index = 0


def add_field(
    message: descriptor_pb2.DescriptorProto, kind: str, name: str, number: int
) -> descriptor_pb2.FieldDescriptorProto:
    field = message.field.add(name=name, number=number, label="LABEL_OPTIONAL")
    if kind in ("uint32", "bool", "double", "string"):
        field.type = field.Type.Value(f"TYPE_{kind.upper()}")
    else:
        field.type = field.TYPE_MESSAGE
        field.type_name = f".reader.{kind}"
    return field


MESSAGES = build_messages(READER_PROTO)
Request = MESSAGES["Request"]
Response = MESSAGES["Response"]
OWN_NUMBER = Response(msg_id=OWN_QUESTION).SerializeToString()


class Refused(Exception):
    """A request that the engine does not get; the client's promise rejects with this text."""

    def __init__(self, text: str, status_code: int = 0):
        super().__init__(text)
        self.status_code = status_code


def check_request(request: Message) -> str:
    """What a request asks, by its name in READER_PROTO. Afterwards there is nothing else in it.

    Raises Refused for everything that is no reader's request or that the engine does not bear.
    """
    unknown = [field.field_number for field in UnknownFieldSet(request)]
    if unknown:
        write = WRITES.get(unknown[0])
        if write:
            raise Refused(f"read-only: this server's tables can't be changed ({write})")
        raise Refused(f"this server does not answer requests of kind {unknown[0]}")
    request.DiscardUnknownFields()
    kind = request.WhichOneof("request")
    if kind is None:
        raise Refused("a request that asks nothing")
    if b"psp_" in request.SerializeToString():  # as a column it ends the process
        raise Refused("names with psp_ are the engine's own")
    content = getattr(request, kind)
    for limited in ("row_index", "depth"):
        if hasattr(content, limited):
            check_at_most(MAX_ROW, getattr(content, limited), limited)
    if kind == "make_view":
        check_at_most(MAX_VIEW_NAME, len(content.view_id), "the length of a view's name")
    if kind in ("make_view", "describe"):
        check_view(content.config)
    return kind


def check_view(config: Message) -> None:
    for name in ("filter", "sort", "aggregates", "windows"):
        check_at_most(MAX_LIST, len(getattr(config, name)), name)
    check_at_most(MAX_LIST, len(config.columns.columns.columns), "columns")
    check_at_most(MAX_PIVOTS, len(config.group_by), "group_by")
    check_at_most(MAX_PIVOTS, len(config.split_by), "split_by")
    check_at_most(MAX_PIVOTS, config.group_by_depth, "group_by_depth")
    check_at_most(2, config.group_rollup_mode, "group_rollup_mode")
    check_at_most(1, config.split_rollup_mode, "split_rollup_mode")
    check_at_most(1, config.filter_op, "filter_op")
    for term in config.filter:
        # The engine reads the value that is not there, and the process ends.
        if not term.value and term.op not in ("in", "not in"):
            raise Refused(f"a filter without a value ({term.column} {term.op})")
        for value in term.value:
            if value.WhichOneof("scalar") is None:
                raise Refused(f"a filter without a value ({term.column} {term.op})")
            check_at_most(MAX_NUMBER, abs(value.float), "a number in a filter")
    leave_out_nulls(config)
    for window in config.windows.values():
        check_at_most(MAX_ROW, max(window.rows, window.offset), "rows and offset of a window")
        check_at_most(MAX_NUMBER, abs(window.range), "range of a window")


def leave_out_nulls(config: Message) -> None:
    """Let a view by several columns have only the rows with a value in each of them.

    Where there is none, the engine fails in the midst of an update, and no viewer hears of that update.
    """
    pivots = dict.fromkeys([*config.group_by, *config.split_by])
    if len(pivots) < 2:
        return
    if len(config.filter) > 1 and config.filter_op != AND:
        raise Refused("filters joined by or do not go together with several columns to group or split by")
    config.filter_op = AND
    for column in pivots:
        config.filter.add(column=column, op="is not null").value.add(null=0)


def check_aggregates(config: Message, types: dict[str, str]) -> None:
    """Raises Refused for a mean of what is no number, with which the process ends."""
    for column, aggregate in config.aggregates.items():
        kind = types.get(column, viewer_expressions.NUMBER)
        if kind != viewer_expressions.NUMBER and not {"avg", "mean"}.isdisjoint(aggregate.aggregations):
            raise Refused(f"there is no mean of {column}, which is a {kind}")


def check_at_most(limit: float, value: float, what: str) -> None:
    if math.isnan(value) or value > limit:
        raise Refused(f"{what}: at most {limit:g}, not {value:g}")


class ViewerGate:
    """Who may connect, and who is connected at the moment.

    allowed_origins: a comma list of origins besides the local ones, such as "https://meters.example.org";
    "null" stands for pages without one (from a file). token: what viewers must know, if anything. Raises
    ValueError, in one line, for what makes no sense.
    """

    def __init__(self, host: str, port: int, allowed_origins: str = "", token: str = ""):
        self.host = host
        self.port = port
        self.token = token
        self.is_local = is_loopback(host)
        self.viewers: set[ViewerHandler] = set()
        self.view_names: set[str] = set()  # of all viewers' views
        self.shared_views: SharedViews | None = None
        self.allowed_origins = {
            read_origin(origin) for origin in allowed_origins.split(",") if origin.strip()
        }
        self.allowed_hosts = {urlsplit(origin).netloc for origin in self.allowed_origins} | {f"{host}:{port}"}
        self.memory = memory_in_use()
        self.minute = 0.0
        self.lines = 0
        if not re.fullmatch(r"[A-Za-z0-9._~-]*", token):
            raise ValueError("PERSPECTIVE_TOKEN: only letters, digits and . _ ~ - can be in it")
        if token and len(token) < 8:
            raise ValueError("PERSPECTIVE_TOKEN: at least 8 characters, or whoever tries finds it")

    @property
    def who_can_read(self) -> str:
        """For the log at start: who gets to see the table."""
        if not self.is_local:
            who = f"everyone who can reach {self.host}:{self.port}"
        elif self.allowed_origins:
            who = f"this machine and pages of {', '.join(sorted(self.allowed_origins))}"
        else:
            who = "this machine only"
        return f"{who}, with the token" if self.token else who

    @property
    def is_full(self) -> bool:
        return len(self.viewers) >= MAX_VIEWERS

    def check(self, request: tornado.httputil.HTTPServerRequest) -> None:
        """Raises HTTPError 403 or 401 for a request that is not admitted; takes the token out of its uri."""
        tokens = [
            header[7:] for header in request.headers.get_list("Authorization") if header[:7] == "Bearer "
        ]
        tokens += [token.decode("latin-1") for token in request.query_arguments.get("token", [])]
        request.uri = request.path  # Tornado logs it
        if not self.allows_host(request.host.lower()):
            self.refuse(request, HTTPStatus.FORBIDDEN, f"for the host {request.host[:100]!r}")
        if request.path not in SECRET_PATHS:
            return
        if "Origin" in request.headers and not self.allows_origin(request):
            self.refuse(request, HTTPStatus.FORBIDDEN, f"from the origin {request.headers['Origin'][:100]!r}")
        # A browser asks with OPTIONS, and without the token, whether it may send the token.
        if self.token and request.method != "OPTIONS":
            matches = [hmac.compare_digest(token.encode(), self.token.encode()) for token in tokens]
            if not any(matches):
                self.refuse(
                    request, HTTPStatus.UNAUTHORIZED, "with a wrong token" if tokens else "without a token"
                )

    def allows_host(self, host: str) -> bool:
        """Whether a Host header names this server; a page whose name was rebound to us gives its own."""
        found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[^\[\]:@/\\]+)(?::\d+)?", host)
        if not found:
            return False
        name = found[1]
        # No name leads to an address, so that no other page's name can be behind it.
        return name in LOCAL_NAMES or host in self.allowed_hosts or (not self.is_local and is_address(name))

    def allows_origin(self, request: tornado.httputil.HTTPServerRequest) -> bool:
        """Whether the page that the request comes from may read the answer."""
        origin = request.headers.get("Origin", "").lower()
        if origin in self.allowed_origins:
            return True
        scheme, _, host = origin.partition("://")
        name = re.sub(r":\d+$", "", host)
        is_own = host == request.host.lower() or (self.is_local and name in LOCAL_NAMES)
        return scheme in ("http", "https") and is_own

    def refuse(self, request: tornado.httputil.HTTPServerRequest, status: HTTPStatus, why: str) -> None:
        self.note(f"refused {request.path[:100]!r} to {request.remote_ip} {why}")
        raise tornado.web.HTTPError(status)

    def note(self, text: str) -> None:
        """Log a refusal, unless there were too many of them in this minute."""
        if time.monotonic() - self.minute > 60:
            self.minute, self.lines = time.monotonic(), 0
        self.lines += 1
        if self.lines <= MAX_LOG_LINES:
            log.warning(text)
        elif self.lines == MAX_LOG_LINES + 1:
            log.warning("more refusals in this minute are not logged")

    def send_away(self, reason: str) -> None:
        """Close all viewers' WebSockets, so that nothing in the engine is theirs; they may come again."""
        for viewer in list(self.viewers):
            viewer.close(SERVICE_RESTART, reason)
            viewer.end_session()

    def renewal_due(self) -> bool:
        """Whether the table should be replaced by what it holds, which frees memory.

        The engine keeps all text that an expression ever made, and all text and patterns in expressions,
        until the table is replaced. Never due where the system does not tell how much memory the process has.
        """
        memory = memory_in_use()
        self.memory = min(self.memory, memory)
        return memory - self.memory > MAX_MEMORY_GROWTH

    def renewed(self) -> None:
        """Begin anew with what is left after the renewal."""
        self.memory = memory_in_use()


def memory_in_use() -> int:
    """Bytes that this process has; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def read_origin(text: str) -> str:
    origin = text.strip().rstrip("/").lower()
    if origin != "null" and not re.fullmatch(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d+)?", origin):
        raise ValueError(
            f"PERSPECTIVE_ALLOWED_ORIGINS: {text.strip()!r} is no origin; write scheme, host, port, such as "
            "https://meters.example.org or http://10.0.0.5:8080, and commas between several"
        )
    return origin


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host.strip("[]")).is_loopback)


class Allowance:
    """So much a second, saved up for a second at most."""

    def __init__(self, rate: float):
        self.rate = rate
        self.left = rate
        self.at = time.monotonic()

    def spend(self, amount: float) -> float:
        """Seconds to wait until as much as that will have been allowed."""
        now = time.monotonic()
        self.left = min(self.rate, self.left + (now - self.at) * self.rate) - amount
        self.at = now
        return max(0.0, -self.left / self.rate)


class EngineSession:
    """A conversation with the engine.

    Everything happens on the thread on which the table is updated, too: the engine calls `hear` from within
    an update.
    """

    def __init__(self, server: perspective.Server):
        self.engine = server.new_session(self.hear)
        self.answers: list[bytes] | None = None  # while the engine works on a request

    def ask(self, request: Message) -> list[bytes]:
        """Pass a request on. Returns what the engine says in this session meanwhile."""
        self.answers = []
        try:
            self.engine.handle_request(request.SerializeToString(deterministic=True))
            return self.answers
        finally:
            self.answers = None

    def ask_own(self, request: Message) -> Message:
        """The engine's answer to a question of the session's own."""
        return Response.FromString(self.answer_to(request))

    def answer_to(self, request: Message) -> bytes:
        """The same as it came, but without its number."""
        request.msg_id = OWN_QUESTION
        own = b""
        for answer in self.ask(request):
            if answer.startswith(OWN_NUMBER):
                own = answer.removeprefix(OWN_NUMBER)
            else:  # an update that was due
                self.tell(answer)
        return own

    def hear(self, answer: bytes) -> None:
        """The engine calls this, in `ask` or when a table that this session looks at was updated."""
        if self.answers is not None:
            self.answers.append(answer)
        else:
            self.tell(answer)

    def tell(self, answer: bytes) -> None:
        """Take what the engine says of its own accord."""
        raise NotImplementedError


@dataclass
class View:
    """A view in the engine, one viewer's own or shared."""

    name: str  # in the engine
    request: Message  # by which it was made
    seconds: float  # that it took to compute it
    is_shared: bool
    viewers: int = 0  # that share it
    answers: dict[bytes, bytes] = field(default_factory=dict)  # since the last update, by request

    @property
    def is_split(self) -> bool:
        return bool(self.request.make_view.config.split_by)


class SharedViews(EngineSession):
    """The views that viewers share: however many want the same one, the engine computes it once an update,
    and each answer from it once. A viewer that is about to change its view gets one of its own instead.
    """

    def __init__(self, server: perspective.Server):
        super().__init__(server)
        self.views: dict[bytes, View] = {}  # by what they show
        self.kept = 0  # bytes of answers
        self.updates = 0

    def join(self, request: Message) -> View | bytes:
        """The view that a viewer asks for; the engine's answer, without its number, where it makes none."""
        shown = what_it_shows(request)
        if shown not in self.views:
            making = Request()
            making.CopyFrom(request)
            making.make_view.view_id = uuid.uuid4().hex
            made = make_view(self, making, is_shared=True)
            if isinstance(made, bytes):
                return made
            self.views[shown] = made
            self.ask(Request(msg_id=OWN_SUBSCRIPTION, entity_id=made.name, view_on_update={}))
        view = self.views[shown]
        view.viewers += 1
        return view

    def leave(self, view: View) -> None:
        view.viewers -= 1
        if view.viewers == 0:
            del self.views[what_it_shows(view.request)]
            self.ask_own(Request(entity_id=view.name, view_delete={}))

    def answer(self, view: View, request: Message) -> bytes:
        """The answer to a request that leaves the view as it is, without its number."""
        request.msg_id = OWN_QUESTION
        question = request.SerializeToString(deterministic=True)
        answer = view.answers.get(question)
        if answer is None:
            updates = self.updates
            answer = self.answer_to(request)
            size = len(question) + len(answer) + ENTRY_SIZE
            if self.kept + size > MAX_KEPT:
                self.forget_answers()
            if self.updates == updates and size <= MAX_KEPT:
                view.answers[question] = answer
                self.kept += size
        return answer

    def tell(self, answer: bytes) -> None:
        """There is an update."""
        self.updates += 1
        self.forget_answers()

    def forget_answers(self) -> None:
        self.kept = 0
        for view in self.views.values():
            view.answers.clear()


class ViewerSession(EngineSession):
    """A viewer's conversation with the engine: its views, its subscriptions, and what it may ask.

    `send` takes the answers.
    """

    def __init__(self, server: perspective.Server, gate: ViewerGate, send: Callable[[bytes], None]):
        super().__init__(server)
        self.gate = gate
        self.send = send
        if gate.shared_views is None:
            gate.shared_views = SharedViews(server)
        self.shared_views = gate.shared_views
        self.views: dict[str, View] = {}
        self.subscriptions: dict[str, dict[int, str]] = {}  # by view or table: number and kind

    def tell(self, answer: bytes) -> None:
        self.send(answer)

    def handle(self, frame: bytes) -> str | None:
        """Answer a request. Returns why it was refused, if it was; raises DecodeError where it is none."""
        request = Request.FromString(frame)
        try:
            self.perform(request)
        except (Refused, perspective.PerspectiveError) as error:
            self.send(error_response(request, str(error), getattr(error, "status_code", 0)))
            return str(error)
        return None

    def perform(self, request: Message) -> None:
        """Have the engine answer a request; raises Refused when it is not to get it."""
        kind = check_request(request)
        name = request.entity_id
        if kind.startswith("view_") and name not in self.views:
            raise Refused("View not found", VIEW_NOT_FOUND)  # or another viewer's
        if kind.startswith("table_") and name not in self.table_names():
            raise Refused("Table not found")
        if kind in ("make_view", "describe", "validate") and self.check_types(request, kind):
            return None
        if kind == "make_view":
            return self.make_view(request)
        if kind == "make_port":
            return self.send(pretended_port(request))
        has_deltas = request.view_on_update.HasField("mode")
        if kind == "view_depth" or has_deltas:
            self.refuse_split(name)
        if kind in CHANGES or has_deltas:
            self.part(name)
        if "_on_" in kind or request.hosted_tables.subscribe:
            self.subscribe(request, kind)
        elif "_remove_" in kind or kind == "remove_hosted_tables":
            self.subscriptions.get(name, {}).pop(getattr(request, kind).id, None)
        if name in self.views:
            return self.ask_view(request, kind)
        for answer in self.ask(request):
            self.send(answer)

    def ask_view(self, request: Message, kind: str) -> None:
        """Have a request answered that is about one of the viewer's views."""
        name, number = request.entity_id, request.msg_id
        view = self.views[name]
        if kind == "view_delete":
            for subscription, subscribed in self.subscriptions.get(name, {}).items():
                if subscribed == "view_on_delete":
                    self.send(response(subscription, name, view_on_delete={}))
            self.forget_view(name)
            return self.send(response(number, name, view_delete={}))
        request.entity_id = view.name
        if kind.startswith("view_to_"):
            self.clip(view, getattr(request, kind).viewport)
        if kind == "view_column_paths":
            self.clip(view, request.view_column_paths)
        if view.is_shared and "_on_" not in kind and "_remove_" not in kind:
            return self.send(number_field(number) + self.shared_views.answer(view, request))
        for answer in self.ask(request):
            self.send(answer)

    def check_types(self, request: Message, kind: str) -> bool:
        """Whether wrong expressions have been answered already. Raises Refused where a view has them."""
        content = getattr(request, kind)
        expressions = content.expressions if kind == "validate" else content.config.expressions
        check_at_most(MAX_EXPRESSIONS, len(expressions), "expressions")
        length = sum(map(len, expressions.values()))
        check_at_most(MAX_EXPRESSIONS_LENGTH, length, "characters of expressions")
        columns = self.columns(request.entity_id)
        types = {name: viewer_expressions.COLUMN_TYPES.get(kind, kind) for name, kind in columns.items()}
        wrong = {}
        for name, text in expressions.items():
            try:
                types[name] = viewer_expressions.check(text, columns)
            except viewer_expressions.ExpressionError as error:
                wrong[name] = str(error)
        if wrong and kind == "make_view":
            raise Refused("; ".join(f"{name}: {error}" for name, error in wrong.items()))
        if wrong:
            errors = {name: {"message": error} for name, error in wrong.items()}
            answer = Response(msg_id=request.msg_id, entity_id=request.entity_id)
            getattr(answer, kind).MergeFrom(MESSAGES["WrongExpressions"](expression_errors=errors))
            self.send(answer.SerializeToString())
            return True
        if kind != "validate":
            check_aggregates(content.config, types)
        return False

    def columns(self, table: str) -> dict[str, str]:
        """A table's columns and their types."""
        schema = self.ask_own(Request(entity_id=table, table_schema={})).table_schema.schema.schema
        return {column.name: COLUMN_TYPES[column.type] for column in schema}

    def make_view(self, request: Message) -> None:
        name = request.make_view.view_id
        if len(self.views) >= MAX_VIEWS:
            raise Refused(f"a viewer can have {MAX_VIEWS} views")
        # The engine would put the view in the place of the other one, and the next update would end it.
        if not name or name in self.gate.view_names or name in self.table_names():
            raise Refused("there is a view or a table of this name")
        made = self.shared_views.join(request)
        if isinstance(made, bytes):
            return self.send(number_field(request.msg_id) + made)
        size = self.ask_own(Request(entity_id=request.entity_id, table_size={})).table_size.size
        allowed = MAX_VIEW_TIME * max(1, size / 1000) - sum(view.seconds for view in self.views.values())
        if made.seconds > allowed:
            self.shared_views.leave(made)
            raise Refused(f"a view that takes {made.seconds * 1000:.0f} ms is too much for this server")
        self.views[name] = made
        self.gate.view_names.add(name)
        self.send(response(request.msg_id, request.entity_id, make_view={"view_id": name}))

    def part(self, name: str) -> None:
        """Make a view the viewer's own, since it is about to change."""
        shared = self.views[name]
        if not shared.is_shared:
            return
        making = Request()
        making.CopyFrom(shared.request)
        making.make_view.view_id = name
        made = make_view(self, making, is_shared=False)
        if isinstance(made, bytes):
            raise Refused(Response.FromString(made).error.message)
        for number, kind in self.subscriptions.get(name, {}).items():
            self.ask(Request(msg_id=number, entity_id=name, **{kind: {}}))
        self.leave(name)
        self.views[name] = made

    def leave(self, name: str) -> None:
        """Give up a view in the engine, or this viewer's part in it."""
        view = self.views.pop(name)
        if not view.is_shared:
            self.ask_own(Request(entity_id=view.name, view_delete={}))
            return
        for number, kind in self.subscriptions.get(name, {}).items():
            self.ask_own(end_of_subscription(view.name, number, kind))
        self.shared_views.leave(view)

    def refuse_split(self, view: str) -> None:
        """Raises Refused where a view has split_by: there the engine bears neither a new depth nor deltas."""
        if self.views[view].is_split:
            raise Refused("this is not available for a view with split_by")

    def forget_view(self, name: str) -> None:
        self.leave(name)
        self.subscriptions.pop(name, None)
        self.gate.view_names.discard(name)

    def subscribe(self, request: Message, kind: str) -> None:
        if sum(map(len, self.subscriptions.values())) >= MAX_SUBSCRIPTIONS:
            raise Refused(f"a viewer can have {MAX_SUBSCRIPTIONS} subscriptions")
        self.subscriptions.setdefault(request.entity_id, {})[request.msg_id] = kind

    def clip(self, view: View, window: Message) -> None:
        """Limit the part of a view that is asked for to what there is: the engine allocates what is asked.

        Raises Refused when it has too many cells.
        """
        question = Request(entity_id=view.name, view_dimensions={})
        asked = self.shared_views.answer(view, question) if view.is_shared else self.answer_to(question)
        size = Response.FromString(asked).view_dimensions
        rows = clip(window, "start_row", "end_row", size.rows) if hasattr(window, "end_row") else 1
        columns = clip(window, "start_col", "end_col", size.columns)
        if rows * columns > MAX_CELLS:
            raise Refused(
                f"{rows:,} × {columns:,} cells are too many; this server gives out {MAX_CELLS:,} at once"
            )

    def table_names(self) -> set[str]:
        tables = self.ask_own(Request(hosted_tables={})).hosted_tables.table_infos
        return {table.entity_id for table in tables}

    def close(self) -> None:
        """The engine forgets the viewer, its views and its subscriptions; it would keep some of these."""
        for name in list(self.views):
            self.forget_view(name)
        for name, subscriptions in self.subscriptions.items():
            for number, kind in subscriptions.items():
                self.ask_own(end_of_subscription(name, number, kind))
        self.engine.close()


class ViewerHandler(tornado.websocket.WebSocketHandler):
    """One viewer's WebSocket, which takes no more of the server's time and memory than its share."""

    def initialize(self, perspective_server: perspective.Server, gate: ViewerGate) -> None:
        self.perspective_server = perspective_server
        self.gate = gate
        self.session: ViewerSession | None = None
        self.requests = Allowance(MAX_REQUESTS)
        self.engine_time = Allowance(MAX_ENGINE_TIME)
        self.waiting = 0  # bytes
        self.noted: set[str] = set()

    def prepare(self) -> None:
        self.gate.check(self.request)
        if self.gate.is_full:
            self.gate.note(f"refused a viewer at {self.request.remote_ip}: there are {MAX_VIEWERS}")
            raise tornado.web.HTTPError(HTTPStatus.SERVICE_UNAVAILABLE)

    def check_origin(self, origin: str) -> bool:
        return self.gate.allows_origin(self.request)

    def open(self) -> None:
        self.gate.viewers.add(self)
        self.session = ViewerSession(self.perspective_server, self.gate, self.send)

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:
        """Answer a request. The viewer's next one is read only when what this returns is done."""
        if self.session is None:
            return None
        if isinstance(message, str):
            return self.close(TEXT_FRAME, "requests are binary")
        started = time.process_time()
        try:
            refusal = self.session.handle(message)
        except DecodeError:
            self.note("what is no request at all")
            return self.close(NOT_A_REQUEST, "this is no request")
        if refusal:
            self.note(f"a request: {refusal}")
        pause = max(self.requests.spend(1), self.engine_time.spend(time.process_time() - started))
        return asyncio.sleep(pause) if pause > 0 else None

    def send(self, answer: bytes) -> None:
        if self.session is None:
            return
        if len(answer) > MAX_WAITING:
            answer = error_response(Response.FromString(answer), "the answer is too large for this server")
        if self.waiting + len(answer) > MAX_WAITING:
            self.note("more: it does not read what it asked for")
            self.close(TRY_AGAIN_LATER, "too much is waiting for you")
            # The engine may be at work for this session just now.
            tornado.ioloop.IOLoop.current().add_callback(self.end_session)
            return
        connection = self.ws_connection
        if connection is None or connection.is_closing():
            return
        # What write_message does besides costs as much as the rest of an answer.
        try:
            written = connection.stream.write(binary_frame(answer))
        except tornado.iostream.StreamClosedError:
            return
        if not written.done():
            self.waiting += len(answer)
            written.add_done_callback(lambda written: self.sent(len(answer), written))

    def sent(self, size: int, written: asyncio.Future) -> None:
        self.waiting -= size
        if not written.cancelled():
            written.exception()  # the viewer has gone, and on_close is called

    def on_close(self) -> None:
        self.end_session()

    def end_session(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            self.gate.viewers.discard(self)
            session.close()

    def note(self, what: str) -> None:
        """Log a refusal, each kind once for each viewer."""
        if what not in self.noted and len(self.noted) < MAX_LOG_LINES:
            self.noted.add(what)
            self.gate.note(f"refused the viewer at {self.request.remote_ip} {what}")


def binary_frame(content: bytes) -> bytes:
    """A WebSocket frame as a server sends it (RFC 6455, section 5.2)."""
    size = len(content)
    if size < 126:
        head = struct.pack("!BB", 0x82, size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x82, 126, size)
    else:
        head = struct.pack("!BBQ", 0x82, 127, size)
    return head + content


def clip(window: Message, start: str, end: str, size: int) -> int:
    """Limit a range to `size`. Returns how much is in it."""
    first = min(getattr(window, start), size)
    last = min(getattr(window, end), size) if window.HasField(end) else size
    if window.HasField(start):
        setattr(window, start, first)
    if window.HasField(end):
        setattr(window, end, max(first, last))
    return max(0, last - first)


def make_view(session: EngineSession, request: Message, is_shared: bool) -> View | bytes:
    """A new view, or the engine's answer, without its number, where it makes none."""
    started = time.process_time()
    answer = session.answer_to(request)
    seconds = time.process_time() - started
    if Response.FromString(answer).HasField("error"):
        return answer
    return View(request.make_view.view_id, request, seconds, is_shared)


def what_it_shows(request: Message) -> bytes:
    """What two requests for a view have in common when the views are the same."""
    shown = Request(entity_id=request.entity_id, make_view={"config": request.make_view.config})
    return shown.SerializeToString(deterministic=True)


def end_of_subscription(name: str, number: int, kind: str) -> Message:
    """The request that ends a subscription of that kind to a view or table."""
    end = "remove_hosted_tables" if kind == "hosted_tables" else kind.replace("_on_", "_remove_")
    return Request(entity_id=name, **{end: {"id": number}})


def number_field(number: int) -> bytes:
    """The beginning of a message with this number."""
    return Response(msg_id=number).SerializeToString()


def response(number: int, name: str, **content: object) -> bytes:
    return Response(msg_id=number, entity_id=name, **content).SerializeToString()


def error_response(message: Message, text: str, status_code: int = 0) -> bytes:
    """What Perspective answers when a request fails."""
    error = {"message": text, "status_code": status_code}
    return response(message.msg_id, message.entity_id, error=error)


def pretended_port(request: Message) -> bytes:
    """The answer for a viewer that wants a port of its own to write through.

    Each <perspective-viewer> asks for one before it shows anything. It gets a number, no port.
    """
    # 0 is the one that the server writes through.
    return response(request.msg_id, request.entity_id, make_port={"port_id": 1})
