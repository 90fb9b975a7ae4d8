"""Owns filters: which there are for which type, and each as a condition in SQL."""

from collections.abc import Sequence
from typing import Any

from tdengine_perspective.history import literals
from tdengine_perspective.history.terms import (
    BOOLEAN,
    DATE,
    DATETIME,
    FLOAT,
    INTEGER,
    STRING,
    UNGROUPABLE,
    Term,
)
from tdengine_perspective.history.words import NotAnswered

# As the engine spells them. It has `matches`, too, whose patterns are others than TDengine's.
NULLS = ["is not null", "is null"]
COMPARISONS = ["==", "!=", ">", ">=", "<", "<="]
PARTS = ["begins with", "not begins with", "contains", "not contains", "ends with", "not ends with"]
SETS = ["in", "not in"]
OPERATORS = {
    **{kind: [*COMPARISONS, *NULLS] for kind in (INTEGER, FLOAT, DATE, DATETIME)},
    STRING: [*COMPARISONS, *PARTS, *SETS, *NULLS],
    BOOLEAN: ["==", "!=", *NULLS],
}


def condition(name: str, term: Term, operator: str, value: Any, key: str) -> str:
    """A filter in SQL: what it is true for, also where there is no value. Raises NotAnswered.

    `key` is a column that is never NULL, of which what is always or never true is made.
    """
    if term.column and term.column.kind in UNGROUPABLE and operator not in NULLS:
        raise NotAnswered(f"{name} is of the type {term.column.kind}, which TDengine does not compare")
    if operator not in OPERATORS[term.kind]:
        raise NotAnswered(
            f"there is no filter {operator!r} of {name}, which is a {term.kind}, in the look back"
        )
    if operator in NULLS:
        return is_null(term, key) if operator == "is null" else is_not_null(term, key)
    if operator in SETS:
        values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        return among(term, operator == "in", [of_kind(name, term, each) for each in values], key)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if len(value) == 1 else None
    wanted = of_kind(name, term, value)
    if operator in PARTS:
        return part(term, operator, wanted)
    if term.kind in (DATE, DATETIME):
        return compare_times(term, operator, wanted, key)
    if operator in ("==", "!="):
        return among(term, operator == "==", [wanted], key)
    if term.kind == STRING:
        if term.sql == "tbname" and not wanted:  # see `among`
            return literals.always(key) if ">" in operator else literals.never(key)
        return f"{term.sql} {operator} {literals.text(wanted)}"
    return f"{term.as_double} {operator} {literals.number(wanted)}"


def of_kind(name: str, term: Term, value: Any) -> Any:
    """A filter's value in the type of what it is compared with. Raises NotAnswered where it has none."""
    wrong = NotAnswered(
        f"a filter of {name}, which is a {term.kind}, can't have the value {str(value)[:40]!r}"
    )
    if value is None:
        raise wrong
    if term.kind in (DATE, DATETIME):
        return literals.moment(value)
    if term.kind == STRING:
        if not isinstance(value, str):
            raise wrong
        return value
    if term.kind == BOOLEAN:
        if not isinstance(value, bool):
            raise wrong
        return value
    try:
        number = float(value)
        return int(number) if term.kind == INTEGER else number
    except (TypeError, ValueError, OverflowError):
        raise wrong from None


def is_null(term: Term, key: str = "") -> str:
    if term.name == key:
        return literals.never(key)
    return f"{term.name} IS NULL" if term.column else f"({term.sql}) IS NULL"


def is_not_null(term: Term, key: str = "") -> str:
    if term.name == key:
        return literals.always(key)
    return f"{term.name} IS NOT NULL" if term.column else f"({term.sql}) IS NOT NULL"


def among(term: Term, inside: bool, values: list[Any], key: str) -> str:
    """Whether it is one of some values: by IN, since `=` of a FLOAT is true for what is near, too."""
    if not values:
        return literals.never(key) if inside else literals.always(key)
    if term.kind == BOOLEAN:
        same = f"{term.sql} = {'true' if values[0] else 'false'}"
        other = f"({term.sql} = {'false' if values[0] else 'true'} OR {is_null(term)})"
        return same if inside else other
    if term.sql == "tbname":  # a subtable always has a name, and TDengine does not bear to be asked for ''
        values = [value for value in values if value]
        if not values:
            return literals.never(key) if inside else literals.always(key)
    write = literals.text if term.kind == STRING else literals.number
    listed = ", ".join(map(write, values))
    sql = term.as_double if term.column and term.column.kind == "DECIMAL" else term.sql
    if inside:
        return f"{sql} IN ({listed})"
    return f"({sql} NOT IN ({listed}) OR {is_null(term)})"


def part(term: Term, operator: str, value: str) -> str:
    """Whether it has a text in it, in capital or small letters: so the engine does it, and LIKE."""
    if not value:  # which every text has in it
        return f"{is_null(term)} AND {is_not_null(term)}" if "not" in operator else is_not_null(term)
    kept = literals.pattern(value)
    before = "" if "begins" in operator else "%"
    after = "" if "ends" in operator else "%"
    negated = "NOT " if operator.startswith("not") else ""
    return f"{term.sql} {negated}LIKE {literals.text(before + kept + after)}"


def compare_times(term: Term, operator: str, value: int, key: str) -> str:
    """In ms, as on the live side, where a ms has several units, too.

    Up to the unit before, and not below a unit: of `ts < 5 OR ts >= 6` TDengine takes 5 for a part.
    But for the rows' own time as numbers: TDengine's index of a tag takes times before 1970 for the greatest.
    """
    if term.column is None:
        sign = {"==": "=", "!=": "<>"}.get(operator, operator)
        compared = f"{term.sql} {sign} {value}"
        return f"({compared} OR {term.sql} IS NULL)" if operator == "!=" else compared
    first, last = value * term.units, (value + 1) * term.units - 1
    name = term.name if term.name == key else f"CAST({term.name} AS BIGINT)"
    if operator == "==":
        return f"({name} >= {first} AND {name} <= {last})"
    if operator == "!=":
        outside = f"{name} <= {first - 1} OR {name} >= {last + 1}"
        return f"({outside})" if name == key else f"({outside} OR {is_null(term)})"
    return {
        ">": f"{name} >= {last + 1}",
        ">=": f"{name} >= {first}",
        "<": f"{name} <= {first - 1}",
        "<=": f"{name} <= {last}",
    }[operator]
