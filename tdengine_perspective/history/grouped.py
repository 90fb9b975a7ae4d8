"""Owns grouped views: the SELECTs of one, a grouping level each, and the rows and columns that they make."""

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tdengine_perspective.history.terms import BOOLEAN, DATE, DATETIME, FLOAT, Term
from tdengine_perspective.history.views import Sort, View
from tdengine_perspective.history.words import NotAnswered

MOST_GROUPS = 200_000  # that are fetched for a view
MOST_CELLS = 700_000  # of a view
Ask = Callable[[str], list[tuple]]
Path = tuple  # values that are grouped by, from the outermost on
Cells = tuple  # values of the measures

NARROW = "choose a shorter time, filter, or group by less"


@dataclass
class Table:
    """What a view shows: rows, each a path and its depth, and columns with a value a row."""

    paths: list[Path]
    columns: dict[str, tuple[str, list[Any]]] = field(default_factory=dict)  # name: type, values

    names: dict[str, str] = field(default_factory=dict)  # of columns, without their splits

    @property
    def rows(self) -> int:
        return len(self.paths)

    def columns_of(self, name: str) -> list[str]:
        """The columns of that name, one for each split."""
        return [column for column, plain in self.names.items() if plain == name]


@dataclass
class Level:
    """What one SELECT found: by path the splits, and by split the measures' values."""

    cells: dict[Path, dict[Path, Cells]] = field(default_factory=dict)


def make_table(view: View, ask: Ask) -> Table:
    """The rows of a view that groups. Raises NotAnswered."""
    groups = view.group_by
    if view.mode == "total":
        depths = [0]
    elif view.mode == "flat":
        depths = [len(groups)]
    else:
        depths = list(range(view.depth + 1))
    found = {depth: ask_level(view, groups[:depth], view.split_by, ask) for depth in depths}
    whole = found
    if view.sorts:  # groups by what they have in all splits, also those that are not shown themselves
        sorted_depths = range(1, len(groups) + 1) if view.mode == "flat" else depths
        again = [depth for depth in sorted_depths if view.split_by or depth not in found]
        whole = found | {depth: ask_level(view, groups[:depth], [], ask) for depth in again}
    order = order_of_paths(view, whole, depths)
    splits = order_of_splits(view, found[depths[0]] if view.mode != "flat" else found[depths[-1]], ask)
    if len(order) * max(1, len(splits)) * len(view.columns) > MOST_CELLS:
        raise NotAnswered(f"this view has more than {MOST_CELLS:,} cells: {NARROW} or split by less")
    table = Table(order)
    for split in splits:
        for place, name in enumerate(view.columns):
            kind = view.measures[place].kind
            label = "|".join([*map(label_of, split, view.split_by), name])
            nothing = (None,) * len(view.measures)
            values = [found[len(path)].cells.get(path, {}).get(split, nothing)[place] for path in order]
            table.columns[label] = (kind, values)
            table.names[label] = name
    return table


class Infinite(Exception):
    """There are NaN or infinities in columns, which have to be left out: all is to be asked once more."""

    def __init__(self, names: set[str]):
        super().__init__(*names)
        self.names = names


def ask_level(view: View, groups: Sequence[Term], splits: Sequence[Term], ask: Ask) -> Level:
    """Ask for the aggregates of the groups of one level. Raises NotAnswered, or Infinite."""
    terms = [*groups, *splits]
    items = [item for each in view.measures for item in each.items]
    rows = ask_groups(view, terms, items, ask)
    if names := infinite_columns(view, terms, rows):
        raise Infinite(names)
    keys = read_keys(view, terms, rows)
    if len(set(keys)) < len(keys):  # to TDengine there are two zeros
        terms = [
            replace(each, sql=f"({each.sql}) + 0", column=None) if each.kind == FLOAT else each
            for each in terms
        ]
        rows = ask_groups(view, terms, items, ask)
        keys = read_keys(view, terms, rows)
        if len(set(keys)) < len(keys):
            raise NotAnswered("there are values to group by that Perspective does not tell apart")
    size = len(terms) + 1 + len(items)
    found = {key: row[len(terms) : size] for key, row in zip(keys, rows, strict=True) if row[len(terms)]}
    if not terms and not found:
        found = {(): (0, *[None] * len(items))}
    by_values = {
        place: ask_values(view, terms, each.by_values, ask)
        for place, each in enumerate(view.measures)
        if each.by_values is not None
    }
    level = Level()
    for key, (count, *values) in found.items():
        cells, at = [], 0
        for place, each in enumerate(view.measures):
            taken = values[at : at + len(each.items)]
            if place in by_values:
                taken = [by_values[place].get(key, {})]
            at += len(each.items)
            cells.append(each.finish(taken, count))
        level.cells.setdefault(key[: len(groups)], {})[key[len(groups) :]] = tuple(cells)
    return level


def infinite_columns(view: View, terms: Sequence[Term], rows: Sequence[tuple]) -> set[str]:
    """The columns of which an answer shows that there are NaN or infinities in them."""
    found = {
        term.column.label
        for place, term in enumerate(terms)
        if term.may_be_infinite and any(is_infinite(row[place]) for row in rows)
    }
    if not view.watched or not any(each.items for each in view.measures):
        return found
    first = -2 * len(view.watched)  # each has its mean and its number of values at the end
    for at, name in enumerate(view.watched):
        if any(row[first + 2 * at + 1] and is_no_number(row[first + 2 * at]) for row in rows):
            found.add(name)
    return found


def is_infinite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def is_no_number(value: Any) -> bool:
    return value is None or is_infinite(value)


def ask_groups(view: View, terms: Sequence[Term], items: Sequence[str], ask: Ask) -> list[tuple]:
    """The groups' values, COUNT(*) and items, and what shows NaN. Raises NotAnswered for too many of them."""
    rows = ask(select_groups(view, terms, items))
    if len(rows) > MOST_GROUPS:
        raise NotAnswered(f"this view has more than {MOST_GROUPS:,} groups: {NARROW}")
    return rows


def select_groups(view: View, terms: Sequence[Term], items: Sequence[str]) -> str:
    """By INTERVAL where one of the terms is the time in steps: five times as fast as by an expression."""
    step = step_of(terms)
    listed = [
        f"{'CAST(_wstart AS BIGINT)' if place == step else each.shown()} g{place}"
        for place, each in enumerate(terms)
    ]
    varying = [place for place, each in enumerate(terms) if not each.is_constant]
    by = ", ".join(terms[place].name for place in varying if place != step)
    # Where just the first and the last rows are asked for, TDengine need not look at all of them.
    counts = not items or any(each.counts for each in view.measures)
    there = "COUNT(*)" if counts else f"LAST({view.facts.schema.key})"
    shows = (
        [f"{what}({each.sql})" for each in view.watched.values() for what in ("AVG", "COUNT")]
        if items
        else []
    )
    ordered = [place for place in varying if terms[place].may_be_sorted]
    order = f"g{ordered[0]}" if ordered else "n"
    if not ordered and varying:
        there += " n"
    sql = f"SELECT {', '.join([*listed, there, *items, *shows])} FROM {view.facts.table}{view.where}"
    if step is not None:
        sql += (f" PARTITION BY {by}" if by else "") + f" INTERVAL({terms[step].step})"
    elif by:
        sql += f" GROUP BY {by}"
    if varying:  # without an order, TDengine would limit something else
        sql += f" ORDER BY {order} LIMIT {MOST_GROUPS + 1}"
    return sql


def step_of(terms: Sequence[Term]) -> int | None:
    return next((place for place, each in enumerate(terms) if each.step), None)


def ask_values(view: View, terms: Sequence[Term], of: Term, ask: Ask) -> dict[Path, dict[Any, int]]:
    """How often which value occurs in which group."""
    found: dict[Path, dict[Any, int]] = defaultdict(dict)
    rows = ask_groups(view, [*terms, of], [], ask)
    for (*key, value), row in zip(read_keys(view, [*terms, of], rows), rows, strict=True):
        if row[len(terms) + 1]:
            counts = found[tuple(key)]
            counts[value] = counts.get(value, 0) + row[len(terms) + 1]
    return found


def read_keys(view: View, terms: Sequence[Term], rows: Sequence[tuple]) -> list[Path]:
    if not terms:
        return [()] * len(rows)
    step = step_of(terms)
    read = [
        Term("", DATETIME, units=view.facts.schema.units) if place == step else term
        for place, term in enumerate(terms)
    ]
    columns = [term.read([row[place] for row in rows]) for place, term in enumerate(read)]
    return list(zip(*columns, strict=True))


def order_of_paths(view: View, levels: dict[int, Level], depths: Sequence[int]) -> list[Path]:
    """The rows: each group before those in it, siblings sorted, or else by their values."""
    if view.mode == "total":
        return [()]
    children: dict[Path, set[Path]] = defaultdict(set)
    for path in levels[depths[-1]].cells:
        for depth in range(len(path)):
            children[path[:depth]].add(path[: depth + 1])
    order: list[Path] = []

    def walk(path: Path) -> None:
        if len(path) in depths:
            order.append(path)
        ordered = sorted(children.get(path, ()), key=lambda child: rank(child[-1]))
        for sort in reversed(view.sorts):
            ordered = sort_by(ordered, sort, functools.partial(value_of, levels, sort))
        for child in ordered:
            walk(child)

    walk(())
    return order


def value_of(levels: dict[int, Level], sort: Sort, path: Path) -> Any:
    cells = levels.get(len(path))
    if cells is None or path not in cells.cells:
        return None
    return cells.cells[path].get((), (None,) * (sort.place + 1))[sort.place]


def sort_by(paths: list[Path], sort: Sort, value: Callable[[Path], Any]) -> list[Path]:
    return sorted(paths, key=lambda path: rank(value(path), sort.absolute), reverse=sort.descending)


def rank(value: Any, absolute: bool = False) -> tuple:
    """What values are ordered by: none before all others, texts by their bytes."""
    if value is None:  # which counts as 0 where signs do not matter, as in the engine
        return (1, 0) if absolute else (0, 0)
    if isinstance(value, str):
        return (1, value.encode())
    return (1, abs(value) if absolute else value)


def order_of_splits(view: View, level: Level, ask: Ask) -> list[Path]:
    """The splits as columns: those of one value of an outer split stand together, sorted at each level."""
    if not view.split_by:
        return [()]
    children: dict[Path, set[Path]] = defaultdict(set)
    for cells in level.cells.values():
        for split in cells:
            for depth in range(len(split)):
                children[split[:depth]].add(split[: depth + 1])
    totals: dict[Path, Cells] = {}
    if view.column_sorts:
        for depth in range(1, len(view.split_by) + 1):
            totals |= ask_level(view, [], view.split_by[:depth], ask).cells.get((), {})
    nothing = (None,) * len(view.measures)
    order: list[Path] = []

    def walk(split: Path) -> None:
        if len(split) == len(view.split_by):
            order.append(split)
            return
        ordered = sorted(children[split], key=lambda child: rank(child[-1]))
        for sort in reversed(view.column_sorts):
            place = sort.place
            ordered = sort_by(ordered, sort, lambda child, place=place: totals.get(child, nothing)[place])
        for child in ordered:
            walk(child)

    walk(())
    return order


def label_of(value: Any, term: Term) -> str:
    """A value in a column's name, as the engine writes it; a bar would look as if it began the next part."""
    if value is None:
        return "null"
    if term.kind == BOOLEAN:
        return "true" if value else "false"
    if term.kind == FLOAT:
        return f"{value:g}"
    if term.kind in (DATE, DATETIME):
        return written_time(value, term.kind)
    return str(value).replace("|", "¦")


def written_time(value: int, kind: str) -> str:
    if kind == DATE:
        return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=value):%Y-%m-%d}"
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value):%Y-%m-%d %H:%M:%S.%f}"[:-3]
