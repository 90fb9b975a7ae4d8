"""Owns flat views: the rows themselves, of which those are fetched that are looked at."""

from typing import Any

from tdengine_perspective.history.grouped import MOST_CELLS, Ask, Table, label_of, rank
from tdengine_perspective.history.terms import BOOLEAN, FLOAT, NUMBERS, UNGROUPABLE, Term, finite
from tdengine_perspective.history.views import View, narrowed
from tdengine_perspective.history.words import NotAnswered

MOST_SPLITS = 2000


def count_rows(view: View, ask: Ask) -> int:
    rows = ask(f"SELECT COUNT(*) FROM {view.facts.table}{view.where}")
    return rows[0][0] if rows else 0


def min_max(view: View, term: Term, is_infinite: bool, ask: Ask) -> tuple:
    """The least and the greatest of a column's values, in which there may be NaN or infinity."""
    if term.column and term.column.kind in UNGROUPABLE:
        return None, None
    key = view.facts.schema.key
    if term.name == key:  # whose ends TDengine finds without a look at all rows
        ends = f"CAST(FIRST({key}) AS BIGINT), CAST(LAST({key}) AS BIGINT)"
    else:
        sql = f"CAST({term.sql} AS INT)" if term.kind == BOOLEAN else term.sql
        sql = finite(sql) if is_infinite else sql
        ends = ", ".join(term.shown(f"{function}({sql})") for function in ("MIN", "MAX"))
    rows = ask(f"SELECT {ends} FROM {view.facts.table}{view.where}")
    return tuple(term.read(list(rows[0]))) if rows else (None, None)


def ask_splits(view: View, ask: Ask) -> list[tuple]:
    """The values that a flat view is split by, in the order of its columns. Raises NotAnswered."""
    if not view.split_by:
        return [()]
    listed = ", ".join(f"{term.shown()} g{place}" for place, term in enumerate(view.split_by))
    varying = [place for place, term in enumerate(view.split_by) if not term.is_constant]
    ordered = [place for place in varying if view.split_by[place].may_be_sorted]
    order = f"g{ordered[0]}" if ordered else "n"
    sql = f"SELECT {listed}, COUNT(*) n FROM {view.facts.table}{view.where}"
    if varying:
        by = ", ".join(view.split_by[place].name for place in varying)
        sql += f" GROUP BY {by} ORDER BY {order} LIMIT {MOST_SPLITS + 1}"
    rows = ask(sql)
    if len(rows) > MOST_SPLITS:
        raise NotAnswered(f"this view has more than {MOST_SPLITS:,} columns: split by less")
    found = set(read_columns(view.split_by, [row for row in rows if row[-1]]))
    return sorted(found, key=lambda split: tuple(map(rank, split)))


def fetch(view: View, splits: list[tuple], start: int, end: int, ask: Ask) -> Table:
    """Rows from one place to before another. Raises NotAnswered for too many."""
    if (end - start) * max(1, len(splits)) * max(1, len(view.columns)) > MOST_CELLS:
        raise NotAnswered(f"more than {MOST_CELLS:,} cells at once: choose a shorter time, or filter")
    if end <= start:
        rows = []
    elif is_by_time(view):
        rows = ask_by_time(view, start, end, ask)
    else:
        rows = ask(select_rows(view, start, end))
    shown, split_by = list(view.columns.items()), view.split_by
    values = [term.read([row[place] for row in rows]) for place, (_, term) in enumerate(shown)]
    table = Table([()] * len(rows))
    if not split_by:
        for (name, term), column in zip(shown, values, strict=True):
            table.columns[name] = (term.kind, column)
        return table
    of_rows = read_columns(split_by, [row[len(shown) :] for row in rows])
    for split in splits:
        for (name, term), column in zip(shown, values, strict=True):
            label = "|".join([*map(label_of, split, split_by), name])
            own: list[Any] = [
                value if split == other else None for value, other in zip(column, of_rows, strict=True)
            ]
            table.columns[label] = (term.kind, own)
    return table


def is_by_time(view: View) -> bool:
    """Whether the rows are in the order of their time, or in that turned round."""
    if not view.sorts:
        return True
    term = view.sorted_terms[view.sorts[0].name]
    return len(view.sorts) == 1 and term.name == view.facts.schema.key and term.units == 1


def ask_by_time(view: View, start: int, end: int, ask: Ask) -> list[tuple]:
    """Rows by time, those of one time in their own order.

    To sort by time and something else TDengine reads all rows; by time alone those that are asked for. So the
    times are asked for first, and then all rows of these.
    """
    descending = bool(view.sorts) and view.sorts[0].descending
    key, direction = view.facts.schema.key, " DESC" if descending else ""
    sql = f"SELECT CAST({key} AS BIGINT) FROM {view.facts.table}{view.where} ORDER BY {key}{direction}"
    times = ask(f"{sql} LIMIT {end - start}" + (f" OFFSET {start}" if start else ""))
    if not times:
        return []
    (first,), (last,) = times[0], times[-1]
    before = 0
    if start:
        earlier = narrowed(view.where, f"{key} {'>' if descending else '<'} {first}")
        counted = ask(f"SELECT COUNT(*) FROM {view.facts.table}{earlier}")
        before = counted[0][0] if counted else 0
    where = narrowed(view.where, f"{key} >= {min(first, last)} AND {key} <= {max(first, last)}")
    order = [key + direction, *(each for each in view.facts.order if each != key)]
    skipped = max(0, start - before)
    rows = ask(
        f"SELECT {', '.join(listed_of(view))} FROM {view.facts.table}{where} "
        f"ORDER BY {', '.join(order)} LIMIT {skipped + len(times)}"
    )
    return rows[skipped:]


def listed_of(view: View) -> list[str]:
    listed = [term.shown() for term in (*view.columns.values(), *view.split_by)]
    return listed or [view.facts.key.sql]


def read_columns(terms: list[Term], rows: list[tuple]) -> list[tuple]:
    columns = [term.read([row[place] for row in rows]) for place, term in enumerate(terms)]
    return list(zip(*columns, strict=True))


def select_rows(view: View, start: int, end: int) -> str:
    order = []
    for sort in view.sorts:
        term = view.sorted_terms[sort.name]
        if term.is_constant:
            continue
        sql = sorted_term(term, sort.absolute)
        order.append(sql + (" DESC" if sort.descending else ""))
    order += [each for each in view.facts.order if each not in order]
    return (
        f"SELECT {', '.join(listed_of(view))} FROM {view.facts.table}{view.where} "
        f"ORDER BY {', '.join(order)} LIMIT {end - start}" + (f" OFFSET {start}" if start else "")
    )


def sorted_term(term: Term, absolute: bool) -> str:
    if not term.may_be_sorted:
        term = Term(finite(term.sql), FLOAT)
    if absolute and term.kind in NUMBERS:
        number = f"CAST({term.sql} AS DOUBLE)"  # a TINYINT's ABS of -128 is -128, a DECIMAL has none
        return f"CASE WHEN {number} IS NULL THEN CAST(0 AS DOUBLE) ELSE ABS({number}) END"  # as in the engine
    return term.name if term.is_time_column and term.units == 1 else term.in_ms().sql
