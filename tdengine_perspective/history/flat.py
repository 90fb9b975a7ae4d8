"""Owns flat views: the rows themselves, of which those are fetched that are looked at."""

from typing import Any

from tdengine_perspective.history.grouped import MOST_CELLS, Ask, Table, is_infinite, label_of, rank
from tdengine_perspective.history.terms import BOOLEAN, DATETIME, Term
from tdengine_perspective.history.views import View
from tdengine_perspective.history.words import NotAnswered

MOST_SPLITS = 2000


def count_rows(view: View, ask: Ask) -> tuple[int, frozenset[str]]:
    """How many rows there are, and by which of the sorted names NaN or infinity would be sorted."""
    doubtful = [name for name, term in view.sorted_terms.items() if term.may_be_infinite]
    items = ["COUNT(*)", *(f"SUM({view.sorted_terms[name].sql})" for name in doubtful)]
    rows = ask(f"SELECT {', '.join(items)} FROM {view.facts.table}{view.where}")
    if not rows:
        return 0, frozenset()
    count, *sums = rows[0]
    return count, frozenset(name for name, total in zip(doubtful, sums, strict=True) if is_infinite(total))


def min_max(view: View, name: str, ask: Ask) -> tuple:
    """The least and the greatest of a column's values."""
    term = view.columns[name].guarded()
    sql = f"CAST({term.sql} AS INT)" if term.kind == BOOLEAN else term.sql
    rows = ask(f"SELECT MIN({sql}), MAX({sql}) FROM {view.facts.table}{view.where}")
    return tuple(term.read(list(rows[0]))) if rows else (None, None)


def ask_splits(view: View, ask: Ask) -> list[tuple]:
    """The values that a flat view is split by, in the order of its columns. Raises NotAnswered."""
    if not view.split_by:
        return [()]
    listed = ", ".join(f"{term.sql} g{place}" for place, term in enumerate(view.split_by))
    by = ", ".join(term.name for term in view.split_by)
    rows = ask(
        f"SELECT {listed}, COUNT(*) FROM {view.facts.table}{view.where} GROUP BY {by} "
        f"ORDER BY g0 LIMIT {MOST_SPLITS + 1}"
    )
    if len(rows) > MOST_SPLITS:
        raise NotAnswered(f"this view has more than {MOST_SPLITS:,} columns: split by less")
    found = set(read_columns(view.split_by, [row for row in rows if row[-1]]))
    return sorted(found, key=lambda split: tuple(map(rank, split)))


def fetch(view: View, splits: list[tuple], guarded: frozenset[str], start: int, end: int, ask: Ask) -> Table:
    """Rows from one place to before another. Raises NotAnswered for too many."""
    if (end - start) * max(1, len(splits)) * max(1, len(view.columns)) > MOST_CELLS:
        raise NotAnswered(f"more than {MOST_CELLS:,} cells at once: choose a shorter time, or filter")
    rows = ask(select_rows(view, guarded, start, end)) if end > start else []
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


def read_columns(terms: list[Term], rows: list[tuple]) -> list[tuple]:
    columns = [term.read([row[place] for row in rows]) for place, term in enumerate(terms)]
    return list(zip(*columns, strict=True))


def select_rows(view: View, guarded: frozenset[str], start: int, end: int) -> str:
    listed = [*(term.sql for term in view.columns.values()), *(term.sql for term in view.split_by)]
    order = []
    for sort in view.sorts:
        term = view.sorted_terms[sort.name]
        sql = sorted_term(term.guarded() if sort.name in guarded else term, sort.absolute)
        order.append(sql + (" DESC" if sort.descending else ""))
    order += [each for each in view.facts.order if each not in order]
    return (
        f"SELECT {', '.join(listed) or view.facts.key.sql} FROM {view.facts.table}{view.where} "
        f"ORDER BY {', '.join(order)} LIMIT {end - start}" + (f" OFFSET {start}" if start else "")
    )


def sorted_term(term: Term, absolute: bool) -> str:
    if absolute and term.kind in ("integer", "float"):
        return f"ABS({term.sql})"
    return term.name if term.kind == DATETIME else term.sql
