"""Owns aggregates: which there are for which type, spelled as the engine does, and each one's SQL."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tdengine_perspective.history.terms import (
    BOOLEAN,
    FLOAT,
    INTEGER,
    NUMBERS,
    STRING,
    TIMES,
    UNGROUPABLE,
    Facts,
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
AT_THE_ENDS = ["first", "last", "last by index", "last minus first"]
BY_ANOTHER = ["max by", "min by"]
LOWEST = ("low", "min", "min by")
HIGHEST = ("high", "max", "max by")
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

    items: in SQL, beside COUNT(*); finish: makes the result of their values, one group's, and of its number
    of rows; kind: Perspective's type of the result. by_values: the term whose values, each with how often it
    occurs, are taken instead, as `finish`'s first. watched: columns in which NaN or infinity would matter.
    counts: whether all rows are looked at anyway, so that to count them costs nothing.
    """

    items: tuple[str, ...]
    finish: Callable[[Values, int], Any]
    kind: str
    by_values: Term | None = None
    watched: tuple[Term, ...] = ()
    counts: bool = True


def default(term: Term) -> str:
    return DEFAULTS.get(term.kind, "count")


def kind_of(aggregate: str, term: Term) -> str:
    """The type of an aggregate's result."""
    if aggregate in COUNTS:
        return INTEGER
    return FLOAT if aggregate in MEANS else term.kind


def measure(name: str, term: Term, aggregate: str, facts: Facts, other: Term | None = None) -> Measure:
    """An aggregate of a column or expression of that name. Raises NotAnswered where there is none such."""
    offered = BY_ANOTHER if other else AGGREGATES[term.kind]
    if aggregate not in offered:
        raise NotAnswered(f"there is no {aggregate!r} of {name}, which is a {term.kind}, in the look back")
    if aggregate == "count":
        return Measure((), lambda values, count: count, INTEGER)
    for each in (term, other):
        if each and each.column and each.column.kind in UNGROUPABLE:
            raise NotAnswered(
                f"{name} is of the type {each.column.kind}, of which there is only a count in the look back"
            )
    kind = kind_of(aggregate, term)
    if end := end_of_time(term, aggregate, facts, other):
        return at_the_ends(term, end, facts.schema.key)
    if aggregate in BY_VALUES:
        return Measure((), FROM_VALUES[aggregate](kind), kind, by_values=term.in_ms())
    if aggregate in AT_THE_ENDS:
        return at_the_ends(term, aggregate, facts.schema.key)
    if other:
        found, watched = by_another(term, aggregate, other, facts), other
    else:
        found, watched = of_all(facts.of_rows(term), aggregate, kind), term
    return replace(found, watched=(watched,)) if watched.may_be_infinite else found


def by_another(term: Term, aggregate: str, other: Term, facts: Facts) -> Measure:
    """The value in the row with the highest or lowest one of another; NULL is less than all else."""
    function = "MAX" if aggregate == "max by" else "MIN"
    ordered = other.sql if other.kind == STRING else f"CAST({other.sql} AS DOUBLE)"
    least = "''" if other.kind == STRING else "-1.7976931348623157e308"
    by = f"CASE WHEN ({other.sql}) IS NULL THEN {least} ELSE {ordered} END"
    by = facts.of_rows(Term(by, STRING, may_be_of_no_row=True)).sql
    item = f"COLS({function}({by}), {term.shown()})"
    return Measure((item,), lambda values, count: term.read(values)[0], term.kind)


def end_of_time(term: Term, aggregate: str, facts: Facts, other: Term | None) -> str | None:
    """At which end of time an extreme of it is: TDengine finds that without a look at all rows."""
    if (other or term).column is None or (other or term).name != facts.schema.key:
        return None
    return {**dict.fromkeys(LOWEST, "first"), **dict.fromkeys(HIGHEST, "last")}.get(aggregate)


def at_the_ends(term: Term, aggregate: str, key: str) -> Measure:
    """What the first and the last row have, which may be no value; TDengine's FIRST and LAST look for one."""
    first, last = (f"COLS({function}({key}), {term.shown()})" for function in ("FIRST", "LAST"))
    if aggregate == "last minus first":
        return Measure((last, first), lambda values, count: minus(term.read(values)), term.kind, counts=False)
    item = first if aggregate == "first" else last
    return Measure((item,), lambda values, count: term.read(values)[0], term.kind, counts=False)


def of_all(term: Term, aggregate: str, kind: str) -> Measure:
    """What aggregate functions of TDengine give of all rows."""

    def read(value: Any) -> Any:
        return term.read([value])[0]

    def reading(item: str) -> Measure:
        return Measure((item,), lambda values, count: read(values[0]), kind)

    whole = int if term.kind == INTEGER else float
    real = Term("", FLOAT)
    known = f"COUNT({term.name})"
    match aggregate:
        case "sum" | "sum or zero" | "abs sum" | "sum abs":

            def add_up(values: Values, count: int) -> Any:
                total = real.read(values)[0]
                if total is None:
                    return whole(0) if aggregate == "sum or zero" else None
                return whole(abs(total) if "abs" in aggregate else total)

            def add_up_integers(values: Values, count: int) -> Any:
                total = 0 if values[0] is None and aggregate == "sum or zero" else values[0]
                return None if total is None else int(abs(total) if "abs" in aggregate else total)

            add = add_up_integers if term.kind == INTEGER else add_up
            inner = f"ABS(CAST({term.sql} AS DOUBLE))" if aggregate == "sum abs" else term.sql
            return Measure((f"SUM({inner})",), add, kind)
        case "avg" | "mean" if term.column and term.column.kind == "DECIMAL":

            def divide(values: Values, count: int) -> Any:  # TDengine's AVG is not right of several parts
                return float(values[0] / values[1]) if values[1] else None

            return Measure((f"SUM({term.sql})", known), divide, kind)
        case "avg" | "mean":
            return Measure((f"AVG({term.sql})",), lambda values, count: real.read(values)[0], kind)
        case "stddev" | "var":  # as a float, since it overflows for integers
            power = 2 if aggregate == "var" else 1

            def deviate(values: Values, count: int) -> Any:
                deviation = real.read(values[:1])[0]
                return None if deviation is None or values[1] < 2 else deviation**power

            return Measure((f"STDDEV(CAST({term.sql} AS DOUBLE))", known), deviate, kind)
        case "max" | "high" | "low":
            return reading(f"{'MIN' if aggregate == 'low' else 'MAX'}({term.sql})")
        case "min":  # the engine takes NULL as the least

            def least(values: Values, count: int) -> Any:
                return read(values[0]) if values[1] == count else None

            return Measure((f"MIN({term.sql})", known), least, kind)
        case "high minus low":
            items = (f"MAX({term.sql})", f"MIN({term.sql})")
            return Measure(items, lambda values, count: minus(term.read(values)), kind)
        case "any":
            item = f"FIRST({term.name})"
            return reading(f"CAST({item} AS BIGINT)" if term.is_time_column else term.shown(item))
    raise NotAnswered(f"there is no {aggregate!r} in the look back")


def minus(values: Values) -> Any:
    return None if None in values else values[0] - values[1]


def at_rank(part: float) -> Callable[[str], Callable[[Values, int], Any]]:
    """The value that so many of the others are below; none counts as the lowest.

    The one in the middle of an even number of floats is the mean of two.
    """

    def finder(kind: str) -> Callable[[Values, int], Any]:
        def find(values: Values, count: int) -> Any:
            ordered = sorted(values[0].items(), key=lambda pair: (pair[0] is not None, pair[0] or 0, ""))
            total = sum(values[0].values())
            if not total:
                return None
            place = min(math.floor(total * part), total - 1)
            found = value_at(ordered, place)
            if kind == FLOAT and part == 0.5 and total % 2 == 0:
                below = value_at(ordered, place - 1)
                return None if below is None or found is None else (below + found) / 2
            return found

        return find

    return finder


def value_at(ordered: Sequence[tuple[Any, int]], place: int) -> Any:
    for value, times in ordered:
        place -= times
        if place < 0:
            return value
    return None


def most_frequent(values: Values, count: int) -> Any:
    """The lowest of those that occur most often."""
    known = [(-times, value) for value, times in values[0].items() if value is not None]
    return min(known)[1] if known else None


def only_one(values: Values, count: int) -> Any:
    return next(iter(values[0])) if len(values[0]) == 1 else None


FROM_VALUES: dict[str, Callable[[str], Callable[[Values, int], Any]]] = {
    "distinct count": lambda kind: lambda values, count: len(values[0]),
    "dominant": lambda kind: most_frequent,
    "unique": lambda kind: only_one,
    "median": at_rank(0.5),
    "q1": at_rank(0.25),
    "q3": at_rank(0.75),
}
