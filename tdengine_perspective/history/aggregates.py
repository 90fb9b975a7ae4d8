"""Owns aggregates: which there are for which type, spelled as the engine does, and each one's SQL."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tdengine_perspective.history.terms import (
    BOOLEAN,
    FLOAT,
    INTEGER,
    NUMBERS,
    STRING,
    TIMES,
    UNGROUPABLE,
    Term,
)
from tdengine_perspective.history.words import NotAnswered

# What is found from how often each value occurs, so by a question of its own.
BY_VALUES = ["distinct count", "dominant", "unique", "median", "q1", "q3"]
OF_ALL = ["any", "count", "distinct count", "dominant", "first", "last", "last by index", "unique"]
OF_TIMES = ["high", "low", "max", "median", "min", "q1", "q3"]
OF_NUMBERS = [
    *("abs sum", "avg", "high", "high minus low", "last minus first", "low", "max", "mean", "median", "min"),
    *("q1", "q3", "stddev", "sum", "sum abs", "sum or zero", "var"),
]
BY_ANOTHER = ["max by", "min by"]
AGGREGATES = {
    **dict.fromkeys(NUMBERS, sorted([*OF_ALL, *OF_NUMBERS])),
    **dict.fromkeys(TIMES, sorted([*OF_ALL, *OF_TIMES])),
    STRING: OF_ALL,
    BOOLEAN: OF_ALL,
}
# As the engine has them where a view does not say.
DEFAULTS = {INTEGER: "sum", FLOAT: "sum"}
COUNTS = ["count", "distinct count"]
MEANS = ["avg", "mean", "stddev", "var"]

Values = Sequence[Any]


@dataclass(frozen=True)
class Measure:
    """An aggregate of a column: what it takes in a SELECT, and what is made of that.

    items: in SQL, beside COUNT(*); finish: makes the result of their values, one group's; kind: Perspective's
    type of the result; sums: whether items hold what NaN or infinity in the rows would show up in.
    by_values: the term whose values, each with how often it occurs, are taken instead, as `finish`'s first.
    """

    items: tuple[str, ...]
    finish: Callable[[Values, int], Any]
    kind: str
    by_values: Term | None = None


def default(term: Term) -> str:
    return DEFAULTS.get(term.kind, "count")


def kind_of(aggregate: str, term: Term) -> str:
    """The type of an aggregate's result."""
    if aggregate in COUNTS:
        return INTEGER
    return FLOAT if aggregate in MEANS else term.kind


def measure(name: str, term: Term, aggregate: str, other: Term | None = None) -> Measure:
    """An aggregate of a column or expression, of the name. Raises NotAnswered where there is none such."""
    if (other is None and aggregate not in AGGREGATES[term.kind]) or (other and aggregate not in BY_ANOTHER):
        raise NotAnswered(f"there is no {aggregate!r} of {name}, which is a {term.kind}, in the look back")
    kind = kind_of(aggregate, term)
    if aggregate == "count":
        return Measure((), lambda values, count: count, kind)
    if term.column and term.column.kind in UNGROUPABLE:
        raise NotAnswered(
            f"{name} is of the type {term.column.kind}, of which there is only a count in the look back"
        )
    if aggregate in BY_VALUES:
        return Measure((), FROM_VALUES[aggregate], kind, by_values=term)
    if other is not None:
        return by_another(term, aggregate, other, kind)

    def read(value: Any) -> Any:
        return term.read([value])[0]

    def reading(item: str) -> Measure:
        return Measure((item,), lambda values, count: read(values[0]), kind)

    whole = int if term.kind == INTEGER else float
    real = Term("", FLOAT)
    match aggregate:
        case "sum" | "sum or zero" | "abs sum" | "sum abs":
            inner = f"ABS({term.sql})" if aggregate == "sum abs" else term.sql

            def add_up(values: Values, count: int) -> Any:
                total = real.read(values)[0]
                if total is None:
                    return whole(0) if aggregate == "sum or zero" else None
                return whole(abs(total) if aggregate == "abs sum" else total)

            return Measure((f"SUM({inner})",), add_up, kind)
        case "avg" | "mean":
            return Measure((f"AVG({term.sql})",), lambda values, count: real.read(values)[0], kind)
        case "stddev":  # as a float, since it overflows for integers
            return Measure((deviation(term),), lambda values, count: real.read(values)[0], kind)
        case "var":
            return Measure((deviation(term),), lambda values, count: square(real.read(values)[0]), kind)
        case "max" | "high" | "min" | "low":
            return reading(extreme(term, aggregate in ("max", "high")))
        case "high minus low":
            items = (extreme(term, True), extreme(term, False))
            return Measure(items, lambda values, count: minus(term.read(values)), kind)
        case "any":
            return reading(as_read(term, f"FIRST({term.name})"))
        case "first":
            return reading(at_the_end(term, "FIRST"))
        case "last" | "last by index":
            return reading(at_the_end(term, "LAST"))
        case "last minus first":
            items = (at_the_end(term, "LAST"), at_the_end(term, "FIRST"))
            return Measure(items, lambda values, count: minus(term.read(values)), kind)
    raise NotAnswered(f"there is no {aggregate!r} in the look back")


def as_read(term: Term, sql: str) -> str:
    """A time as a number."""
    return f"CAST({sql} AS BIGINT)" if term.column and term.column.kind == "TIMESTAMP" else sql


def deviation(term: Term) -> str:
    return f"STDDEV(CAST({term.sql} AS DOUBLE))"


def extreme(term: Term, highest: bool) -> str:
    return f"{'MAX' if highest else 'MIN'}({term.sql})"


def at_the_end(term: Term, function: str) -> str:
    """The value in the first or last row, which may be none, unlike what FIRST and LAST give."""
    return f"{function}({term.name})"


def by_another(term: Term, aggregate: str, other: Term, kind: str) -> Measure:
    function = "MAX" if aggregate == "max by" else "MIN"
    item = f"COLS({function}({other.sql}), {term.sql})"
    return Measure((item,), lambda values, count: term.read(values)[0], kind)


def minus(values: Values) -> Any:
    return None if None in values else values[0] - values[1]


def square(value: float | None) -> float | None:
    return value if value is None else value * value


def at_rank(part: float) -> Callable[[Values, int], Any]:
    """The value that so many of the others are below; none counts as the lowest."""

    def find(values: Values, count: int) -> Any:
        known = sorted((value, times) for value, times in values[0].items() if value is not None)
        total = sum(times for _, times in known)
        if not total:
            return None
        place = min(math.floor(total * part), total - 1)
        for value, times in known:
            place -= times
            if place < 0:
                return value
        return None

    return find


def most_frequent(values: Values, count: int) -> Any:
    """The lowest of those that occur most often."""
    known = [(-times, value) for value, times in values[0].items() if value is not None]
    return min(known)[1] if known else None


def only_one(values: Values, count: int) -> Any:
    return next(iter(values[0])) if len(values[0]) == 1 else None


FROM_VALUES: dict[str, Callable[[Values, int], Any]] = {
    "distinct count": lambda values, count: len(values[0]),
    "dominant": most_frequent,
    "unique": only_one,
    "median": at_rank(0.5),
    "q1": at_rank(0.25),
    "q3": at_rank(0.75),
}
