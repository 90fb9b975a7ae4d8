"""Owns a viewer that looks back: its views, its share of the answering process, and its answers in words."""

import json
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import perspective
from google.protobuf.message import DecodeError, Message

from tdengine_perspective.gate.allowance import Allowance
from tdengine_perspective.gate.protocol import (
    OWN_QUESTION,
    VIEW_NOT_FOUND,
    Request,
    Response,
    error_response,
    response,
)
from tdengine_perspective.gate.refusals import RefusalLog
from tdengine_perspective.gate.rules import Refused, check_at_most, check_request, check_size_of_expressions
from tdengine_perspective.gate.sessions import (
    MAX_CELLS,
    MAX_SUBSCRIPTIONS,
    MAX_VIEWS,
    answer_port_request,
    clip,
)
from tdengine_perspective.history.messages import Answered, Closed, Rubbish, Told
from tdengine_perspective.history.questions import Problem, Questions
from tdengine_perspective.history.spans import Span
from tdengine_perspective.history.terms import Facts
from tdengine_perspective.history.words import NotAnswered

MAX_LANES = 4  # views of one viewer that are worked at side by side [4]
MAX_TIME = 0.5  # of each second, of processor time; beyond it a viewer's lanes wait
MAX_SHOWN = 100  # views, of each of which a virtual server keeps the columns, also once it is deleted
LAST_SORT = 8  # of the ways to sort, which have numbers
NOT_BACK_THEN = ("validate", "view_collapse", "view_expand", "view_depth", "system_info")

Ask = Callable[[str], list[tuple]]
MakeHandler = Callable[[str, Facts, Span, Ask], Any]

refusals = RefusalLog()


class Session:
    """One viewer. Its requests come on one thread, and are answered on those of its lanes.

    tell: takes what the server is to hear, on any thread.
    """

    def __init__(
        self,
        viewer: int,
        table: str,
        table_sql: str,
        span: Span,
        questions: Questions,
        make_handler: MakeHandler,
        tell: Callable[[object], None],
    ):
        self.viewer = viewer
        self.table = table
        self.table_sql = table_sql
        self.span = span
        self.questions = questions
        self.make_handler = make_handler
        self.tell = tell
        self.lanes: list[Lane] = []
        self.views: dict[str, Lane] = {}
        self.subscriptions: dict[str, dict[int, str]] = {}  # by view or table: number and kind
        self.time = Allowance(MAX_TIME)
        self.problem: str | None = None
        self.lock = threading.Lock()
        questions.come(viewer)

    def handle(self, number: int, frame: bytes) -> None:
        """Answer a request, in time."""
        try:
            request = Request.FromString(frame)
        except DecodeError:
            return self.tell(Rubbish(self.viewer))
        try:
            kind = check_request(request)
            answers = self.answer_at_once(request, kind)
            if answers is None:
                return self.lane_for(request, kind).put(number, request, kind)
            self.tell(Answered(self.viewer, number, answers))
        except Refused as error:
            self.refuse(number, request, str(error), error.status_code)
        except Exception as error:  # the others are not to miss their answers for that
            self.refuse(number, request, explain(error))

    def refuse(self, number: int, request: Message, text: str, status_code: int = 0) -> None:
        answer = error_response(request, text, status_code)
        self.tell(Answered(self.viewer, number, (answer,), refusal=text))

    def answer_at_once(self, request: Message, kind: str) -> tuple[bytes, ...] | None:
        """The answers to what needs no handler; None for the rest. Raises Refused for what there is not."""
        name = request.entity_id
        if kind.startswith("view_") and name not in self.views:
            raise Refused("View not found", VIEW_NOT_FOUND)
        is_tables = kind.startswith("table_") or kind in ("make_view", "describe", "validate")
        if is_tables and name != self.table:
            raise Refused("Table not found")
        if kind in NOT_BACK_THEN:
            raise Refused("this is not available when looking back")
        if kind in ("make_view", "describe"):
            check_config(getattr(request, kind).config)
        if kind == "make_port":
            return (answer_port_request(request),)
        if "_on_" in kind or request.hosted_tables.subscribe:
            self.subscribe(request, kind)
            return ()
        if "_remove_" in kind or kind == "remove_hosted_tables":
            self.subscriptions.get(name, {}).pop(getattr(request, kind).id, None)
            # An answer to this has the same form as the question.
            return (Request(msg_id=request.msg_id, entity_id=name, **{kind: {}}).SerializeToString(),)
        return None

    def subscribe(self, request: Message, kind: str) -> None:
        if sum(map(len, self.subscriptions.values())) >= MAX_SUBSCRIPTIONS:
            raise Refused(f"a viewer can have {MAX_SUBSCRIPTIONS} subscriptions")
        self.subscriptions.setdefault(request.entity_id, {})[request.msg_id] = kind

    def lane_for(self, request: Message, kind: str) -> "Lane":
        """The lane that a request belongs to: its view's, or the one with the least to do."""
        with self.lock:
            if kind.startswith("view_"):
                return self.views[request.entity_id]
            if kind == "make_view":
                name = request.make_view.view_id
                if len(self.views) >= MAX_VIEWS:
                    raise Refused(f"a viewer can have {MAX_VIEWS} views")
                if not name or name in self.views or name == self.table:
                    raise Refused("there is a view or a table of this name")
            lane = min(self.lanes, key=lambda lane: lane.load, default=None)
            if lane is None or (lane.load and len(self.lanes) < MAX_LANES):
                lane = Lane(self)
                self.lanes.append(lane)
            if kind == "make_view":
                self.views[name] = lane
            return lane

    def forget_view(self, name: str) -> list[bytes]:
        """Returns what those are told who wanted to hear of its end."""
        with self.lock:
            self.views.pop(name, None)
        subscriptions = self.subscriptions.pop(name, {})
        return [
            response(number, name, view_on_delete={})
            for number, kind in subscriptions.items()
            if kind == "view_on_delete"
        ]

    def ask(self, sql: str) -> list[tuple]:
        """What TDengine answers to a SELECT. Raises NotAnswered."""
        try:
            rows, seconds = self.questions.ask(self.viewer, sql, self.span.keeps)
        except Problem as error:
            self.note_problem(str(error))
            raise
        if seconds is not None:
            self.tell(Told(self.viewer, json.dumps({"seconds": round(seconds, 3)})))
            self.note_problem(None)
        return rows

    def note_problem(self, problem: str | None) -> None:
        if problem != self.problem:
            self.problem = problem
            self.tell(Told(self.viewer, json.dumps({"problem": problem})))

    def close(self) -> None:
        self.questions.leave(self.viewer)
        for lane in self.lanes:
            lane.end()


class Lane:
    """A thread with a virtual server of its own, and those of a viewer's views that are in it.

    So no view waits for another's query, and none hears of the others.
    """

    def __init__(self, session: Session):
        self.session = session
        self.requests: SimpleQueue[tuple[int, Message, str] | None] = SimpleQueue()
        self.busy_since: float | None = None  # while it computes, and asks nothing
        self.server: perspective.VirtualServer | None = None
        self.handler: Guarded | None = None
        self.columns: list[str] = []  # of the table
        self.views: set[str] = set()
        self.shown = 0  # views, by this server
        self.is_at_work = False
        self.is_ending = False
        threading.Thread(target=self.work, daemon=True).start()

    @property
    def load(self) -> int:
        """Requests that have no answer yet."""
        return self.requests.qsize() + self.is_at_work

    def put(self, number: int, request: Message, kind: str) -> None:
        self.requests.put((number, request, kind))

    def end(self) -> None:
        self.is_ending = True
        self.requests.put(None)

    def work(self) -> None:
        while (asked := self.requests.get()) is not None and not self.is_ending:
            began = time.thread_time()
            self.is_at_work, self.busy_since = True, time.monotonic()
            self.attend_to(*asked)
            self.is_at_work, self.busy_since = False, None
            time.sleep(min(1.0, self.session.time.spend(time.thread_time() - began)))
        if self.server is not None:
            self.server.close()

    def attend_to(self, number: int, request: Message, kind: str) -> None:
        session = self.session
        viewer, name = session.viewer, request.entity_id
        made = request.make_view.view_id if kind == "make_view" else None
        try:
            if self.server is None:
                self.open()
            is_views = kind.startswith("view_")
            if is_views and name not in self.views:  # it was not made, or has just been deleted
                raise Refused("View not found", VIEW_NOT_FOUND)
            self.prepare(request, kind)
            answer = self.answer(request)
        except NotAnswered as error:  # there is nothing to look at
            return session.tell(Closed(viewer, str(error)))
        except Exception as error:
            if made:
                session.forget_view(made)
            text = str(error) if isinstance(error, Refused) else explain(error)
            return session.refuse(number, request, text, getattr(error, "status_code", 0))
        if made:
            self.views.add(made)
            self.shown += 1
        if kind == "view_delete":
            self.views.discard(name)
            self.renew()
            ends = session.forget_view(name)
            return session.tell(Answered(viewer, number, (*ends, answer), deleted=name))
        session.tell(Answered(viewer, number, (answer,), made=made))

    def open(self) -> None:
        """Make the server, for which the table's columns have to be known. Raises NotAnswered."""
        session = self.session
        schema = self.waiting_for(session.questions.learn, session.viewer)
        self.columns = list(schema.perspective)
        facts = Facts(session.table_sql, schema)
        handler = session.make_handler(session.table, facts, session.span, self.ask)
        self.handler = Guarded(handler)
        self.server = perspective.VirtualServer(self.handler)

    def renew(self) -> None:
        """Have the next view made by a new server, now and then when there are none."""
        if not self.views and self.shown >= MAX_SHOWN:
            self.server.close()
            self.server, self.shown = None, 0

    def ask(self, sql: str) -> list[tuple]:
        return self.waiting_for(self.session.ask, sql)

    def waiting_for(self, question: Callable[[Any], Any], about: Any) -> Any:
        self.busy_since = None
        try:
            return question(about)
        finally:
            self.busy_since = time.monotonic()

    def prepare(self, request: Message, kind: str) -> None:
        """Say what the client leaves out: all columns, or the part of a view, of what there is.

        Raises Refused where that is too much.
        """
        if kind in ("make_view", "describe"):
            config = getattr(request, kind).config
            if not config.columns.HasField("columns"):
                config.columns.columns.columns.extend([*self.columns, *sorted(config.expressions)])
        if not kind.startswith("view_to_") and kind != "view_column_paths":
            return
        question = Request(msg_id=OWN_QUESTION, entity_id=request.entity_id, view_dimensions={})
        size = Response.FromString(self.answer(question)).view_dimensions
        columns = size.columns
        if kind == "view_column_paths":
            clip(request.view_column_paths, "start_col", "end_col", columns)
            return
        window = getattr(request, kind).viewport
        window.SetInParent()
        for start, end in (("start_row", "end_row"), ("start_col", "end_col")):
            setattr(window, start, getattr(window, start))
            if not window.HasField(end):
                setattr(window, end, size.rows if "row" in end else columns)
        rows = clip(window, "start_row", "end_row", size.rows)
        cells = rows * clip(window, "start_col", "end_col", columns)
        if cells > MAX_CELLS:
            raise Refused(
                f"{cells:,} cells are too many; this server gives out {MAX_CELLS:,} at once: "
                "take fewer rows, groups, or a filter"
            )

    def answer(self, request: Message) -> bytes:
        """Raises Refused where the handler does not answer, with its reason."""
        self.handler.failure = None
        try:
            answer = bytes(self.server.handle_request(request.SerializeToString(deterministic=True)))
        except BaseException as error:  # a panic of Perspective's is no Exception
            raise Refused(self.handler.failure or explain(error)) from None
        if self.handler.failure:
            raise Refused(self.handler.failure)
        error = Response.FromString(answer).error.message
        if error:  # Perspective could do nothing with what the handler said
            raise Refused(explain(RuntimeError(error)))
        return answer


class Guarded:
    """A handler whose exceptions are lines of text: Perspective would hand them on with their traceback."""

    def __init__(self, handler: Any):
        self.handler = handler
        self.failure: str | None = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.handler, name)

        def call(*arguments: Any) -> Any:
            try:
                return method(*arguments)
            except Exception as error:
                self.failure = self.failure or explain(error)
                raise

        return call


def check_config(config: Message) -> None:
    """Raises Refused for what is too much, and for what ends a virtual server."""
    check_size_of_expressions(config.expressions)
    for sort in config.sort:
        check_at_most(LAST_SORT, sort.op, "a way to sort")
    for column, aggregate in config.aggregates.items():
        if not aggregate.aggregations:
            raise Refused(f"an aggregate without a name ({column})")


def explain(error: BaseException) -> str:
    """Why there is no answer, for the viewer; what nobody thought of is logged besides."""
    if isinstance(error, NotAnswered):
        return str(error)
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f" ({where.tb_frame.f_code.co_name}, line {where.tb_lineno})" if where else ""
    text = " ".join(str(error).split())[:200]
    refusals.note(f"refused a view that looks back, please report it: {type(error).__name__}: {text}{place}")
    return "this can't be computed when looking back"
