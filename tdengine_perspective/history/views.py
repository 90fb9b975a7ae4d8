"""Owns what a view's configuration asks for, in the terms of the table, or why it can't be had."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tdengine_perspective.history.aggregates import BY_ANOTHER, Measure, default, measure
from tdengine_perspective.history.expressions import compile_all
from tdengine_perspective.history.filters import condition
from tdengine_perspective.history.spans import Span
from tdengine_perspective.history.terms import NUMBERS, Facts, Term, check_groupable, check_sortable
from tdengine_perspective.history.words import NotAnswered

MOST_GROUPED = 6  # columns, in either direction
SORTS = {
    "none",
    *("asc", "desc", "asc abs", "desc abs"),
    *("col asc", "col desc", "col asc abs", "col desc abs"),
}


@dataclass(frozen=True)
class Sort:
    """How rows are sorted, or a split's columns: by which name, and its place among the measures."""

    name: str
    descending: bool
    absolute: bool
    place: int = 0


@dataclass(frozen=True)
class View:
    """What is asked for. In a flat view `columns` are shown as they are; else `measures`, one each, and more
    of them behind, by which it is sorted.
    """

    facts: Facts
    where: str  # the conditions, with WHERE, or nothing
    columns: dict[str, Term]  # by the names that are shown
    group_by: list[Term]
    split_by: list[Term]
    mode: str  # rollup, flat or total
    depth: int  # so many levels are shown
    measures: list[Measure]
    sorts: list[Sort]
    column_sorts: list[Sort]
    sorted_terms: dict[str, Term] = field(default_factory=dict)  # of a flat view
    # Columns that may have NaN in them: where this has to be known before, and where an answer shows it.
    doubtful: list[str] = field(default_factory=list)
    watched: dict[str, Term] = field(default_factory=dict)

    @property
    def is_flat(self) -> bool:
        """Whether it shows the rows themselves."""
        return not self.group_by and self.mode != "total"

    @property
    def kinds(self) -> dict[str, str]:
        """What is shown, without the split, and of which type."""
        if self.is_flat:
            return {name: term.kind for name, term in self.columns.items()}
        return {name: each.kind for name, each in zip(self.columns, self.measures, strict=False)}


def read_view(config: Mapping[str, Any], facts: Facts, span: Span) -> View:
    """The view that a configuration asks for. Raises NotAnswered."""
    if config.get("windows"):
        raise NotAnswered("there are no window functions in the look back")
    if config.get("split_rollup_mode", "flat") not in ("flat", None):
        raise NotAnswered("there are no totals of a split in the look back")
    expressions, computed_with = compile_all(config.get("expressions") or {}, facts)
    terms = {**facts.terms, **expressions}

    def term(name: str) -> Term:
        if name not in terms:
            raise NotAnswered(f"there is no column {name}")
        return terms[name]

    mode = config.get("group_rollup_mode") or "rollup"
    if mode not in ("rollup", "flat", "total"):
        raise NotAnswered(f"there is no {mode} in the look back")
    group_by = grouping(config.get("group_by") or [], term)
    split_by = grouping(config.get("split_by") or [], term)
    names = [name for name in (config.get("columns") or []) if name is not None]
    columns = {name: term(name) for name in names}
    sorts, column_sorts, sorted_names = read_sorts(config.get("sort") or [], names)
    depth = config.get("group_by_depth")
    view = View(
        facts,
        conditions(config, facts, span, term),
        columns,
        group_by,
        split_by,
        mode,
        len(group_by) if depth is None else min(depth, len(group_by)),
        [],
        sorts,
        column_sorts,
        {name: term(name) for name in sorted_names},
    )
    if view.is_flat and column_sorts and split_by:
        raise NotAnswered(
            "the columns of rows that are split have one order: group the rows, or sort by others"
        )
    if view.is_flat:
        for name, each in view.sorted_terms.items():
            check_sortable(each, name)
    else:
        grouped_alone = [name for name in config.get("group_by") or [] if name not in columns]
        asked = {
            **(config.get("aggregates") or {}),
            **dict.fromkeys(grouped_alone, "unique"),
        }  # as the engine
        hidden = [name for name in sorted_names if name not in columns]
        places = {name: place for place, name in enumerate([*names, *hidden])}
        view.measures.extend(read_measure(name, term, asked.get(name), facts) for name in places)
        for name in sorted_names:
            if asked.get(name) == "abs sum":  # which is sorted by the sum itself
                places[name] = len(view.measures)
                view.measures.append(read_measure(name, term, "sum", facts))
        for each in (view.sorts, view.column_sorts):
            each[:] = [placed(sort, places[sort.name], view.measures) for sort in each]
    before = {*computed_with, *(name for name, *_ in config.get("filter") or [])}
    view.doubtful.extend(name for name in facts.terms if name in before and terms[name].may_be_infinite)
    for each in view.measures:
        for other in each.watched:
            if other.column.label not in before:
                view.watched[other.column.label] = other
    return view


def grouping(names: Sequence[str], term: Any) -> list[Term]:
    if len(names) > MOST_GROUPED:
        raise NotAnswered(f"it can be grouped by {MOST_GROUPED} columns, not {len(names)}")
    found = [term(name) for name in names]
    for name, each in zip(names, found, strict=True):
        check_groupable(each, name)
    return [each.in_ms() for each in found]


def placed(sort: Sort, place: int, measures: Sequence[Measure]) -> Sort:
    """With its place among the measures; there are absolute values of numbers alone."""
    is_absolute = sort.absolute and measures[place].kind in NUMBERS
    return replace(sort, absolute=is_absolute, place=place)


def read_measure(name: str, term: Any, asked: Any, facts: Facts) -> Measure:
    """The aggregate of a column that a configuration names: `"avg"`, or `["max by", ["voltage"]]`."""
    own = term(name)
    if asked is None:
        return measure(name, own, default(own), facts)
    if isinstance(asked, str):
        return measure(name, own, asked, facts)
    aggregate, *rest = asked
    others = rest[0] if rest and not isinstance(rest[0], str) else rest
    if not others:
        return measure(name, own, aggregate, facts)
    if aggregate not in BY_ANOTHER or len(others) != 1:
        raise NotAnswered(f"there is no {aggregate!r} in the look back")
    return measure(name, own, aggregate, facts, term(others[0]))


def read_sorts(asked: Sequence[Any], shown: Sequence[str]) -> tuple[list[Sort], list[Sort], list[str]]:
    """The sorts of rows, those of a split's columns, and all names that are sorted by."""
    rows, columns, names = [], [], []
    for name, order in asked:
        if order not in SORTS:
            raise NotAnswered(f"there is no order {order!r}")
        if order == "none":
            continue
        if name not in names:
            names.append(name)
        sort = Sort(name, "desc" in order, "abs" in order)
        if not order.startswith("col "):
            rows.append(sort)
        elif name in shown:
            columns.append(sort)
        else:
            raise NotAnswered(f"the columns of a split can be sorted by what is shown, not by {name}")
    return rows, columns, names


def conditions(config: Mapping[str, Any], facts: Facts, span: Span, term: Any) -> str:
    """WHERE with the span's condition and the filters, or nothing."""
    key = facts.schema.key
    filters = [
        f"({condition(name, term(name), operator, value[0] if value else None, key)})"
        for name, operator, *value in config.get("filter") or []
    ]
    if config.get("filter_op") == "or" and len(filters) > 1:
        filters = [f"({' OR '.join(filters)})"]
    within = span.condition(key, facts.schema.units)
    whole = " AND ".join([within, *filters] if within else filters)
    return f" WHERE {whole}" if whole else ""


def narrowed(where: str, condition: str) -> str:
    """The conditions and one more."""
    return f"{where} AND {condition}" if where else f" WHERE {condition}"
