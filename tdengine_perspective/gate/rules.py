"""Owns the rules of a single request: what a reader may ask, and what the engine does not bear."""

import math
import re
from collections.abc import Mapping

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from tdengine_perspective.gate.expressions import NUMBER, STRING

# What lies beyond would take the engine seconds, or end it.
MAX_LIST = 100  # columns, filters, sorts, aggregates, windows of a view, of each
MAX_PIVOTS = 6  # columns to group by, and to split by: each doubles the time
MAX_EXPRESSIONS = 20  # of a view
MAX_EXPRESSIONS_LENGTH = 2000  # characters of all of these: 1,000 rows then take up to 0.25 s
MAX_VIEW_NAME = 100  # characters; Perspective's own names have 21
MAX_ROW = 1 << 24  # rows and columns; beyond it the engine's arithmetic overflows
MAX_NUMBER = 1e15  # in a filter on numbers and dates; the engine crashes where a number makes no date

ENGINES_OWN = b"psp_"
TEXT = re.compile(r"'(?:[^'\\]|\\.)*'", re.DOTALL)  # in an expression
SAME_FOR_TEXTS = {"==": "in", "!=": "not in"}
SORTS_OF_COLUMNS = (3, 4, 7, 8)  # col asc, col desc, col asc abs, col desc abs
WRITES = {27: "table", 28: "delete", 31: "remove", 32: "replace", 33: "update", 38: "join"}


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
    # As a column it ends the process. In a text that rows are compared with it does nothing.
    if ENGINES_OWN in request.SerializeToString() and ENGINES_OWN in names_alone(request, kind):
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


def names_alone(request: Message, kind: str) -> bytes:
    """A request as bytes, without filters' values and the texts in expressions.

    The one text that names a column, in `col('…')`, is held to the table's columns with the rest of the
    expression.
    """
    copy = type(request)()
    copy.CopyFrom(request)
    content = getattr(copy, kind)
    if kind in ("make_view", "describe"):
        content = content.config
        for term in content.filter:
            term.ClearField("value")
    expressions = getattr(content, "expressions", {})
    for name, text in list(expressions.items()):
        expressions[name] = TEXT.sub("''", text)
    return copy.SerializeToString()


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
    for window in config.windows.values():
        check_at_most(MAX_ROW, max(window.rows, window.offset), "rows and offset of a window")
        check_at_most(MAX_NUMBER, abs(window.range), "range of a window")


def check_what_ends_the_engine(config: Message) -> None:
    """Raises Refused for views in whose midst the engine ends: it reads what is not there."""
    for column, aggregate in config.aggregates.items():
        if "high minus low" in aggregate.aggregations:
            raise Refused(f"high minus low of {column} can't be had here: show the high and the low")
    if not config.split_by or not config.columns.HasField("columns"):  # all are shown
        return
    for sort in config.sort:
        if sort.op in SORTS_OF_COLUMNS and sort.column not in config.columns.columns.columns:
            raise Refused(f"the columns of a split can be sorted by what is shown, not by {sort.column}")


def check_size_of_expressions(expressions: Mapping[str, str]) -> None:
    check_at_most(MAX_EXPRESSIONS, len(expressions), "expressions")
    length = sum(map(len, expressions.values()))
    check_at_most(MAX_EXPRESSIONS_LENGTH, length, "characters of expressions")


def check_aggregates(config: Message, types: dict[str, str]) -> None:
    """Raises Refused for a mean of what is no number, with which the process ends."""
    for column, aggregate in config.aggregates.items():
        kind = types.get(column, NUMBER)
        if kind != NUMBER and not {"avg", "mean"}.isdisjoint(aggregate.aggregations):
            raise Refused(f"there is no mean of {column}, which is a {kind}")


def mend_filters(config: Message, types: dict[str, str]) -> None:
    """Compare texts in a way that the engine bears, which finds the same.

    Where it brings several views with == or != up to date, in threads of its own, they write into the same
    list of texts, and the process ends. Joined by or, == finds no text, and != every one.
    """
    for term in config.filter:
        if types.get(term.column) == STRING and term.op in SAME_FOR_TEXTS:
            term.op = SAME_FOR_TEXTS[term.op]


def check_at_most(limit: float, value: float, what: str) -> None:
    if math.isnan(value) or value > limit:
        raise Refused(f"{what}: at most {limit:g}, not {value:g}")
