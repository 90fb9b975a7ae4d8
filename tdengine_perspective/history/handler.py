"""Owns what Perspective's virtual server asks of the look back, and what it is answered."""

import functools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from perspective.virtual_servers import VirtualServerHandler

from tdengine_perspective.history import flat, grouped
from tdengine_perspective.history.aggregates import AGGREGATES, BY_ANOTHER
from tdengine_perspective.history.arrow import to_arrow
from tdengine_perspective.history.expressions import find_types
from tdengine_perspective.history.filters import OPERATORS
from tdengine_perspective.history.grouped import Ask, Table
from tdengine_perspective.history.spans import Span
from tdengine_perspective.history.terms import NUMBERS, STRING, Facts
from tdengine_perspective.history.views import View, read_view
from tdengine_perspective.history.words import NotAnswered

Config = Mapping[str, Any]
INFINITE_KEEPS = 600.0  # seconds that a column is taken to have NaN in it


def in_words(method: Callable) -> Callable:
    """Notes in `failure` why a method had no answer: what Perspective makes of an exception is no words."""

    @functools.wraps(method)
    def answering(self: "History", *arguments: Any) -> Any:
        try:
            return method(self, *arguments)
        except NotAnswered as error:
            self.failure = str(error)
            raise
        except Exception as error:
            self.failure = f"the look back can't answer this ({type(error).__name__})"
            raise

    return answering


class Shown:
    """A view that is there: what it asks for, and what was found, which is good for a while."""

    def __init__(self, config: Config):
        self.config = config
        self.view: View
        self.found_at = float("-inf")
        self.table: Table | None = None  # of a grouped view
        self.rows = 0
        self.splits: list[tuple] = [()]
        self.page: tuple[int, int, Table] | None = None  # of a flat view: from, to


class History(VirtualServerHandler):
    """The table's rows of a span of time, under a name.

    ask(sql): a SELECT's rows; raises NotAnswered. `failure` is why the last request had no answer, in words,
    to be told in place of Perspective's answer, and to be taken back by who did.
    """

    def __init__(self, name: str, facts: Facts, span: Span, ask: Ask):
        self.name = name
        self.facts = facts
        self.span = span
        self.ask = ask
        self.failure: str | None = None
        self.views: dict[str, Shown] = {}
        self.size: tuple[float, int] | None = None  # when it was asked for, and what it was
        self.infinite: dict[str, tuple[float, bool]] = {}  # columns: when asked, whether there is NaN in them

    def get_features(self) -> dict[str, Any]:
        aggregates = {
            kind: [
                *names,
                *([[each, ["float"]] for each in BY_ANOTHER] if kind in (*NUMBERS, STRING) else []),
            ]
            for kind, names in AGGREGATES.items()
        }
        return {
            "group_by": True,
            "split_by": True,
            "sort": True,
            "expressions": True,
            "on_update": True,
            "group_rollup_mode": ["rollup", "flat", "total"],
            "filter_ops": OPERATORS,
            "aggregates": aggregates,
        }

    def get_hosted_tables(self) -> list[str]:
        return [self.name]

    @in_words
    def table_schema(self, table_name: str, config: Config | None = None) -> dict[str, str]:
        return dict(self.facts.schema.perspective)

    @in_words
    def table_size(self, table_name: str) -> int:
        now = time.monotonic()
        if self.size is None or now - self.size[0] > self.span.keeps:
            condition = self.span.condition(self.facts.schema.key, self.facts.schema.units)
            where = f" WHERE {condition}" if condition else ""
            rows = self.ask(f"SELECT COUNT(*) FROM {self.facts.table}{where}")
            self.size = (now, rows[0][0] if rows else 0)
        return self.size[1]

    def table_column_size(self, table_name: str) -> int:
        return len(self.facts.schema.perspective)

    @in_words
    def table_describe(self, table_name: str, config: Config) -> dict[str, Any]:
        types, wrong = find_types(config.get("expressions") or {}, self.facts)
        if wrong:
            return {"expression_schema": types, "expression_errors": wrong}
        try:
            view = read_view(config, self.facts, self.span)
        except NotAnswered as error:
            return {"config_error": str(error)}
        return {"expression_schema": types, "view_schema": view.kinds}

    @in_words
    def table_make_view(self, table_name: str, view_name: str, config: Config) -> None:
        shown = Shown(config)
        self.find(shown)
        self.views[view_name] = shown

    @in_words
    def view_delete(self, view_name: str) -> None:
        self.views.pop(view_name, None)

    @in_words
    def view_schema(self, view_name: str, config: Config) -> dict[str, str]:
        shown = self.up_to_date(view_name)
        if not shown.view.split_by:
            return shown.view.kinds
        if shown.table is not None:
            return {name: kind for name, (kind, _) in shown.table.columns.items()}
        return {
            name: kind
            for name, (kind, _) in flat.fetch(shown.view, shown.splits, 0, 0, self.ask).columns.items()
        }

    @in_words
    def view_size(self, view_name: str) -> int:
        return self.up_to_date(view_name).rows

    @in_words
    def view_column_size(self, view_name: str, config: Config | None = None) -> int:
        shown = self.up_to_date(view_name)
        if shown.table is not None:
            return len(shown.table.columns)
        return len(shown.splits) * len(shown.view.columns)

    @in_words
    def view_get_min_max(self, view_name: str, column_name: str, config: Config | None = None) -> tuple:
        """Of all rows but the grand total; of a split's columns together, under their common name."""
        shown = self.up_to_date(view_name)
        name, splits = column_name, len(shown.view.split_by)
        if name not in shown.view.columns and name.count("|") >= splits:
            name = name.split("|", splits)[-1]
        if name not in shown.view.columns:
            raise NotAnswered(f"there is no column {column_name}")
        if shown.table is None:
            term = shown.view.columns[name]
            doubtful = [term.column.label] if term.may_be_infinite else []
            return flat.min_max(shown.view, term, bool(self.find_infinite(doubtful)), self.ask)
        named = [column_name] if column_name in shown.table.columns else shown.table.columns_of(name)
        below = [place for place, path in enumerate(shown.table.paths) if path]
        values = [values[place] for _, values in map(shown.table.columns.get, named) for place in below]
        known = [value for value in values if value is not None]
        return (min(known, key=grouped.rank), max(known, key=grouped.rank)) if known else (None, None)

    @in_words
    def view_get_data(
        self,
        view_name: str,
        config: Config,
        schema: Mapping[str, str],
        viewport: Mapping[str, int],
        data: Any,
    ) -> None:
        shown = self.up_to_date(view_name)
        start = min(viewport.get("start_row") or 0, shown.rows)
        end = min(shown.rows if viewport.get("end_row") is None else viewport["end_row"], shown.rows)
        end = max(start, end)
        table, first = self.part_of(shown, start, end)
        names = list(table.columns)[viewport.get("start_col") or 0 : viewport.get("end_col")]
        cut = slice(start - first, end - first)
        paths = table.paths[cut]  # fewer, where some rows have gone since they were counted
        columns = self.path_columns(shown.view, paths)
        columns += [(name, table.columns[name][0], table.columns[name][1][cut]) for name in names]
        data.from_arrow_ipc(to_arrow(columns, len(paths)))

    def find_infinite(self, names: Iterable[str]) -> frozenset[str]:
        """The columns among these in which there is NaN or infinity.

        TDengine gives no sum of a subtable that has some, and leaves it out of the sum of all.
        """
        now = time.monotonic()
        old = [name for name in names if now - self.infinite.get(name, (float("-inf"),))[0] > self.span.keeps]
        if old:
            condition = self.span.condition(self.facts.schema.key, self.facts.schema.units)
            where = f" WHERE {condition}" if condition else ""
            by = " PARTITION BY tbname" if self.facts.schema.tags is not None else ""
            named = list(enumerate(self.facts.terms[name].sql for name in old))
            sums = ", ".join(f"SUM({sql}) s{place}, COUNT({sql}) c{place}" for place, sql in named)
            without = ", ".join(
                f"SUM(CASE WHEN s{place} IS NULL AND c{place} > 0 THEN 1 ELSE 0 END)" for place, _ in named
            )
            rows = self.ask(f"SELECT {without} FROM (SELECT {sums} FROM {self.facts.table}{where}{by})")
            for name, found in zip(old, rows[0] if rows else [0] * len(old), strict=True):
                self.infinite[name] = (now, bool(found))
        return frozenset(name for name in names if self.infinite[name][1])

    def path_columns(self, view: View, paths: list[tuple]) -> list[tuple[str, str, list[Any]]]:
        """What says of which group each row is."""
        depth = len(view.group_by)
        columns: list[tuple[str, str, list[Any]]] = []
        if depth and view.mode != "flat":
            ids = [(1 << (depth - len(path))) - 1 for path in paths]  # as SQL's GROUPING_ID
            columns.append(("__GROUPING_ID__", "whole", ids))
        for place, term in enumerate(view.group_by):
            values = [path[place] if place < len(path) else None for path in paths]
            columns.append((f"__ROW_PATH_{place}__", term.kind, values))
        return columns

    def part_of(self, shown: Shown, start: int, end: int) -> tuple[Table, int]:
        """What has these rows, and the place of its first one."""
        if shown.table is not None:
            return shown.table, 0
        if shown.page is None or not shown.page[0] <= start <= end <= shown.page[1]:
            shown.page = (
                start,
                end,
                flat.fetch(shown.view, shown.splits, start, end, self.ask),
            )
        return shown.page[2], shown.page[0]

    def up_to_date(self, name: str) -> Shown:
        """The view, asked anew where what was found is too old. Raises NotAnswered."""
        shown = self.views.get(name)
        if shown is None:
            raise NotAnswered("View not found")
        if time.monotonic() - shown.found_at > self.span.keeps:
            self.find(shown)
        return shown

    def find(self, shown: Shown) -> None:
        """Ask for what is shown, once more where it turns out that columns have NaN in them."""
        while True:
            view = self.read(shown.config, self.infinite_ones())
            if unknown := self.find_infinite(view.doubtful):
                view = self.read(shown.config, self.infinite_ones() | unknown)
            shown.view = view
            try:
                return self.ask_for(shown)
            except grouped.Infinite as found:
                self.infinite |= dict.fromkeys(found.names, (time.monotonic(), True))

    def read(self, config: Config, infinite: frozenset[str]) -> View:
        return read_view(config, replace(self.facts, infinite=infinite), self.span)

    def infinite_ones(self) -> frozenset[str]:
        """The columns in which there was NaN or infinity not long ago."""
        since = time.monotonic() - INFINITE_KEEPS
        return frozenset(name for name, (asked, found) in self.infinite.items() if found and asked > since)

    def ask_for(self, shown: Shown) -> None:
        view = shown.view
        if view.is_flat:
            shown.rows = flat.count_rows(view, self.ask)
            shown.splits = flat.ask_splits(view, self.ask)
            shown.page = None
        else:
            shown.table = grouped.make_table(view, self.ask)
            shown.rows = shown.table.rows
        shown.found_at = time.monotonic()
