"""Owns the views that the engine does not keep true to the table: of these it makes copies anew.

Perspective 5.6.1 brings a grouped view up to date with what changed in a row, and makes mistakes there.
Where an expression had no value in a row and has one now, it counts the row in the group without a value,
too. And it takes a row that was not there for one full of NULLs: where a filter lets such a row through, as
`!=` does, a new row that the filter keeps out is taken away from the others. And what an expression makes of
now it computes of a row when that changes, and never again. A view that is made of the rows as they are has
none of these.
"""

import json
import re
import uuid
from collections.abc import Collection, Mapping

from google.protobuf.message import Message

from tdengine_perspective.gate.conversation import EngineSession, View, make_view
from tdengine_perspective.gate.expressions import sources_of_null
from tdengine_perspective.gate.protocol import OR, Request

ALWAYS = ""  # among the sources of NULLs, beside columns: there may be no value although all columns have one
NOW = re.compile(r"\b(?:now|today)\s*\(")
PASSED_BY_NULLS = ("is null", "!=", "not in", "not contains", "not begins with", "not ends with")


def null_sources(config: Message, columns: Mapping[str, str]) -> frozenset[str]:
    """The columns in which a NULL makes the engine lose track of a view, and ALWAYS where it needs none."""
    pivots = {*config.group_by, *config.split_by}
    sources: set[str] = set()
    for name in pivots & config.expressions.keys():
        named, is_partial = sources_of_null(config.expressions[name], columns)
        sources |= named | ({ALWAYS} if is_partial else set())
    passing = [term.op in PASSED_BY_NULLS for term in config.filter]
    if pivots and passing and (any(passing) if config.filter_op == OR else all(passing)):
        sources.add(ALWAYS)
    if any(NOW.search(text) for text in config.expressions.values()):
        sources.add(ALWAYS)
    return frozenset(sources)


class Copies:
    """The copies that are made in a session which hears of all updates and counts them: `session.updates`."""

    def __init__(self, session: EngineSession, columns_with_nulls: Collection[str]):
        self.session = session
        self.columns_with_nulls = columns_with_nulls

    def are_needed(self, view: View) -> bool:
        return ALWAYS in view.null_sources or not view.null_sources.isdisjoint(self.columns_with_nulls)

    def name_now(self, view: View) -> str:
        """The engine's name of what is to be asked about a view: itself, or a copy that is up to date."""
        if not self.are_needed(view):
            return view.name
        if not view.copy or view.copied_at != self.session.updates:
            self.forget(view)
            making = Request()
            making.CopyFrom(view.request)
            making.make_view.view_id = uuid.uuid4().hex
            made = make_view(self.session, making, is_shared=False)
            if isinstance(made, bytes):
                return view.name
            view.copy, view.copied_at = made.name, self.session.updates
            for kind, what in view.changes:
                self.change(view.copy, kind, what)
        return view.copy

    def forget(self, view: View) -> None:
        if view.copy:
            self.session.ask_own(Request(entity_id=view.copy, view_delete={}))
            view.copy = ""

    def note_change(self, view: View, kind: str, request: Message) -> None:
        """Remember which rows a viewer closes and opens, and how deep, for the copies to come."""
        if kind == "view_depth":
            view.changes = [(kind, request.view_depth.depth)]
            return
        paths = self.paths(self.name_now(view))
        row = getattr(request, kind).row_index
        if row < len(paths):
            view.changes = [change for change in view.changes if change[1] != paths[row]]
            view.changes.append((kind, paths[row]))

    def change(self, name: str, kind: str, what: int | list) -> None:
        if kind == "view_depth":
            self.session.ask_own(Request(entity_id=name, view_depth={"depth": what}))
        elif what in (paths := self.paths(name)):
            self.session.ask_own(Request(entity_id=name, **{kind: {"row_index": paths.index(what)}}))

    def paths(self, name: str) -> list[list]:
        """What a view's rows are grouped by, each from the outermost group in."""
        request = Request(entity_id=name, view_to_columns={"viewport": {"start_col": 0, "end_col": 1}})
        columns = json.loads(self.session.ask_own(request).view_to_columns.json_string or "{}")
        return columns.get("__ROW_PATH__", [])
