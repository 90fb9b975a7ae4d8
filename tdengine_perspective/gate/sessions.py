"""Owns a viewer's conversation with the engine: its views, its subscriptions, and how much it may have."""

from collections.abc import Callable

import perspective
from google.protobuf.message import Message

from tdengine_perspective.gate.conversation import EngineSession, View, make_view
from tdengine_perspective.gate.copies import null_sources
from tdengine_perspective.gate.expressions import find_types
from tdengine_perspective.gate.protocol import (
    COLUMN_TYPES,
    MESSAGES,
    VIEW_NOT_FOUND,
    Request,
    Response,
    end_of_subscription,
    error_response,
    number_field,
    response,
)
from tdengine_perspective.gate.rules import (
    Refused,
    check_aggregates,
    check_request,
    check_size_of_expressions,
    check_what_ends_the_engine,
    mend_filters,
)
from tdengine_perspective.gate.viewers import Viewers

# Limits for one viewer; in brackets what a page with four viewers needs.
MAX_VIEWS = 20  # [4, for a moment 9 while they are rearranged]
MAX_SUBSCRIPTIONS = 64  # to updates and deletions; each is a message at every update [9]
MAX_VIEW_TIME = 0.1  # seconds a 1,000 rows, for all its views: an update costs up to thrice as much [0.013]
MAX_CELLS = 700_000  # in one answer: more would hold up the others for longer than a poll [6,000]
CHANGES = ("view_collapse", "view_expand", "view_depth")  # of a view, which is then one viewer's own


class ViewerSession(EngineSession):
    """A viewer's conversation with the engine: its views, its subscriptions, and what it may ask.

    `send` takes the answers.
    """

    def __init__(self, viewers: Viewers, send: Callable[[bytes], None]):
        super().__init__(viewers.engine, viewers.engine_time)
        self.viewers = viewers
        self.send = send
        self.shared_views = viewers.shared_views
        self.copies = viewers.shared_views.copies
        self.all_names = viewers.view_names
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
            return self.send(answer_port_request(request))
        has_deltas = request.view_on_update.HasField("mode")
        if kind == "view_depth" or has_deltas:
            self.refuse_split(name)
        if kind in CHANGES or has_deltas:
            self.make_own(name)
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
        is_subscription = "_on_" in kind or "_remove_" in kind
        if kind in CHANGES:
            self.copies.note_change(view, kind, request)
        request.entity_id = view.name if is_subscription else self.copies.name_now(view)
        if kind.startswith("view_to_"):
            self.clip(view, request.entity_id, getattr(request, kind).viewport)
        if kind == "view_column_paths":
            self.clip(view, request.entity_id, request.view_column_paths)
        if view.is_shared and not is_subscription:
            return self.send(number_field(number) + self.shared_views.answer(view, request))
        for answer in self.ask(request):
            self.send(answer)

    def check_types(self, request: Message, kind: str) -> bool:
        """Whether wrong expressions have been answered already. Raises Refused where a view has them."""
        content = getattr(request, kind)
        texts = content.expressions if kind == "validate" else content.config.expressions
        check_size_of_expressions(texts)
        types, wrong = find_types(texts, self.columns(request.entity_id))
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
            check_what_ends_the_engine(content.config)
            mend_filters(content.config, types)
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
        if not name or name in self.all_names or name in self.table_names():
            raise Refused("there is a view or a table of this name")
        size = self.ask_own(Request(entity_id=request.entity_id, table_size={})).table_size.size
        self.viewers.check_room(size, request)
        made = self.shared_views.join(
            request, null_sources(request.make_view.config, self.columns(request.entity_id))
        )
        if isinstance(made, bytes):
            return self.send(number_field(request.msg_id) + made)
        allowed = MAX_VIEW_TIME * max(1, size / 1000) - sum(view.seconds for view in self.views.values())
        if made.seconds > allowed:
            self.shared_views.leave(made)
            raise Refused(f"a view that takes {made.seconds * 1000:.0f} ms is too much for this server")
        self.views[name] = made
        self.all_names.add(name)
        self.send(response(request.msg_id, request.entity_id, make_view={"view_id": name}))

    def make_own(self, name: str) -> None:
        """Make a view the viewer's own, since it is about to change."""
        shared = self.views[name]
        if not shared.is_shared:
            return
        table = shared.request.entity_id
        self.viewers.check_room(self.ask_own(Request(entity_id=table, table_size={})).table_size.size)
        making = Request()
        making.CopyFrom(shared.request)
        making.make_view.view_id = name
        made = make_view(self, making, is_shared=False)
        if isinstance(made, bytes):
            raise Refused(Response.FromString(made).error.message)
        self.shared_views.computed[name] = made.seconds
        made.null_sources = shared.null_sources
        self.shared_views.watch(made)
        for number, kind in self.subscriptions.get(name, {}).items():
            self.ask(Request(msg_id=number, entity_id=name, **{kind: {}}))
        self.leave(name)
        self.views[name] = made

    def leave(self, name: str) -> None:
        """Give up a view in the engine, or this viewer's part in it."""
        view = self.views.pop(name)
        if not view.is_shared:
            del self.shared_views.computed[view.name]
            self.copies.forget(view)
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
        self.all_names.discard(name)

    def subscribe(self, request: Message, kind: str) -> None:
        if sum(map(len, self.subscriptions.values())) >= MAX_SUBSCRIPTIONS:
            raise Refused(f"a viewer can have {MAX_SUBSCRIPTIONS} subscriptions")
        self.subscriptions.setdefault(request.entity_id, {})[request.msg_id] = kind

    def clip(self, view: View, name: str, window: Message) -> None:
        """Limit the part of a view that is asked for to what there is: the engine allocates what is asked.

        Raises Refused when it has too many cells.
        """
        question = Request(entity_id=name, view_dimensions={})
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


def clip(window: Message, start: str, end: str, size: int) -> int:
    """Limit a range to `size`. Returns how much is in it."""
    first = min(getattr(window, start), size)
    last = min(getattr(window, end), size) if window.HasField(end) else size
    if window.HasField(start):
        setattr(window, start, first)
    if window.HasField(end):
        setattr(window, end, max(first, last))
    return max(0, last - first)


def answer_port_request(request: Message) -> bytes:
    """The answer for a viewer that wants a port of its own to write through.

    Each <perspective-viewer> asks for one before it shows anything. It gets a number, no port.
    """
    # 0 is the one that the server writes through.
    return response(request.msg_id, request.entity_id, make_port={"port_id": 1})
