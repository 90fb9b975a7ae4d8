"""Owns the views that viewers share, so that the engine computes each of them once."""

import uuid
from collections.abc import Collection

import perspective
from google.protobuf.message import Message

from tdengine_perspective.gate.conversation import EngineSession, EngineTime, View, make_view
from tdengine_perspective.gate.copies import Copies
from tdengine_perspective.gate.protocol import OWN_QUESTION, OWN_SUBSCRIPTION, Request

MAX_KEPT = 16 << 20  # bytes of answers that are kept until the next update, for who asks the same
ENTRY_SIZE = 200  # bytes that Python needs to keep an answer, whatever its size


class SharedViews(EngineSession):
    """The views that viewers share: however many want the same one, the engine computes it once an update,
    and each answer from it once. A viewer that is about to change its view gets one of its own instead.
    """

    def __init__(
        self,
        server: perspective.Server,
        engine_time: EngineTime,
        columns_with_nulls: Collection[str] = (),
    ):
        super().__init__(server, engine_time)
        self.copies = Copies(self, columns_with_nulls)
        self.views: dict[bytes, View] = {}  # by what they show
        self.computed: dict[str, float] = {}  # all views that the engine computes, own ones too: seconds
        self.kept = 0  # bytes of answers
        self.updates = 0

    def join(self, request: Message, null_sources: frozenset[str] = frozenset()) -> View | bytes:
        """The view that a viewer asks for; the engine's answer, without its number, where it makes none."""
        shown = content_key(request)
        if shown not in self.views:
            making = Request()
            making.CopyFrom(request)
            making.make_view.view_id = uuid.uuid4().hex
            made = make_view(self, making, is_shared=True)
            if isinstance(made, bytes):
                return made
            made.null_sources = null_sources
            self.views[shown] = made
            self.computed[made.name] = made.seconds
            self.watch(made)
        view = self.views[shown]
        view.viewers += 1
        return view

    def has(self, request: Message) -> bool:
        """Whether the view that a viewer asks for is there already."""
        return content_key(request) in self.views

    def watch(self, view: View) -> None:
        """Hear of the updates that a view has."""
        self.ask(Request(msg_id=OWN_SUBSCRIPTION, entity_id=view.name, view_on_update={}))

    def leave(self, view: View) -> None:
        view.viewers -= 1
        if view.viewers == 0:
            del self.views[content_key(view.request)]
            del self.computed[view.name]
            self.copies.forget(view)
            self.ask_own(Request(entity_id=view.name, view_delete={}))

    def answer(self, view: View, request: Message) -> bytes:
        """The answer to a request that leaves the view as it is, without its number."""
        request.entity_id = self.copies.name_now(view)
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


def content_key(request: Message) -> bytes:
    """What two requests for a view have in common when the views are the same."""
    shown = Request(entity_id=request.entity_id, make_view={"config": request.make_view.config})
    return shown.SerializeToString(deterministic=True)
