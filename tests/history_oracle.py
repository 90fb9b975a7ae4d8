"""Owns the oracle: one view asked of the live engine, which holds all rows, and of the look back on TDengine.

    PYTHONPATH=. venv/bin/python tests/history_oracle.py VIEWS [SEED [page]]

asks so many random views, or such as the page's, of the TDengine, or emulator, at TEST_TAOS_PORT, and tells
each difference that is not among KNOWN, as small as it can be made. The suite asks 2,000 and 200 of these.

The views come of a seeded generator and not of Hypothesis: a table is made once for many views, a failure is
told by its seed and number whatever else was asked before, and a hundred thousand views take no longer than
their answers. What makes a view smaller is a dozen lines, as it has few parts.
"""

import copy
import itertools
import json
import math
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import perspective
import taosws
from random_tables import UNITS, RandomTable, random_table
from random_views import PageViews, View, Views

from tdengine_perspective import tdengine as reaching
from tdengine_perspective.gate.expressions import FLOAT, ExpressionError, Reader
from tdengine_perspective.gate.sessions import ViewerSession
from tdengine_perspective.gate.viewers import Viewers
from tdengine_perspective.history.handler import History
from tdengine_perspective.history.spans import Span
from tdengine_perspective.history.terms import Facts
from tdengine_perspective.mirror.schema import Row, read_schema
from tdengine_perspective.mirror.table import replace_rows

TABLE = "oracle"
_numbers = itertools.count()
VIEWS_A_TABLE = 50
MOST_SHRINKING = 10  # seconds
PATH = "__ROW_PATH__"
BAR = "¦"
INDEX = "the row's number"
RELATIVE = 1e-9  # what floats may differ by, as sums depend on their order
ABSOLUTE = 1e-12  # of the greatest number in a column

# Aggregates for which several rows may do.
CHOICES = ("any", "dominant", "first", "last", "last by index", "last minus first", "max by", "min by")


@dataclass
class Answer:
    """What a viewer gets of a view; `error` where it gets none."""

    error: str = ""
    schema: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    column_count: int = 0
    columns: dict[str, list] = field(default_factory=dict)
    part: dict[str, list] = field(default_factory=dict)  # of a window
    extremes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """One thing in which two answers differ."""

    what: str  # "error", "schema", "rows", "columns", "paths", "value", "part" or "extremes"
    column: str = ""  # the view's, without a split
    live: Any = None
    history: Any = None
    where: Any = None

    def __str__(self) -> str:
        where = f" at {self.where}" if self.where is not None else ""
        return f"{self.what} {self.column}{where}: live {self.live!r}, history {self.history!r}"


class Client:
    """Perspective's own client, with something that answers its requests at once."""

    def __init__(self, answer: Callable[[bytes], bytes]):
        self.answer = answer
        self.client = perspective.Client(self.ask)
        self.table = self.client.open_table(TABLE)

    def ask(self, request: bytes) -> None:
        for response in self.answer(bytes(request)):
            self.client.handle_response(response)

    def look(self, view: View, window: Mapping[str, int]) -> Answer:
        """All that a viewer may ask of a view; a part of its rows and columns where there is a window."""
        try:
            made = self.table.view(**copy.deepcopy(view))
        except Exception as error:
            return Answer(error=str(error).strip() or type(error).__name__)
        try:
            return Answer(
                schema=made.schema(),
                rows=made.num_rows(),
                column_count=made.num_columns(),
                columns=made.to_columns(),
                part=made.to_columns(**window) if window else {},
                extremes={name: made.get_min_max(name) for name in view["columns"][:2]},
            )
        except Exception as error:
            return Answer(error=str(error).strip() or type(error).__name__)
        finally:
            made.delete()


class Pair:
    """A random table, written into TDengine and into the engine, and a client of either side."""

    def __init__(self, table: RandomTable, connection: "taosws.Connection", port: int, database: str):
        self.table = table
        self.database = database
        self.connection = connection
        connection.execute(f"DROP DATABASE IF EXISTS `{database}`")
        table.write(connection, database)
        connection.execute(f"USE `{database}`")
        self.asked: list[str] = []
        self.without_number: dict[str, set[int]] = {}  # by the text of an expression: rows
        self.overflowing: dict[str, bool] = {}  # likewise
        tdengine = reaching.TDengine("localhost", port, "root", "taosdata", database, table.name)
        schema = read_schema(connection, tdengine, UNITS[table.precision])
        self.schema = replace(schema, shows_subtable=schema.may_show_subtable)
        self.rows = self.read_rows(tdengine)
        self.fill_engine()
        self.history = History(TABLE, Facts(tdengine.table_sql, self.schema), Span.parse("all"), self.ask)
        self.server = perspective.VirtualServer(self.history)
        self.back = Client(lambda request: [self.server.handle_request(request)])

    def read_rows(self, tdengine: reaching.TDengine) -> list[Row]:
        rows = self.connection.query(f"SELECT {self.schema.select} FROM {tdengine.table_sql}")
        # In the order of the look back: by time, subtable and the second key.
        return sorted(rows, key=lambda row: row[:2])

    def fill_engine(self) -> None:
        """As the mirror does."""
        engine = perspective.Server()
        table = engine.new_local_client().table(self.schema.perspective, name=TABLE)
        self.columns: dict[str, list] = {name: [] for name in self.schema.perspective}
        if self.rows:
            self.columns = json.loads(self.schema.as_json(self.rows, list(range(len(self.rows)))))
            replace_rows(table, self.columns)
        viewers = Viewers(engine)
        viewers.note_nulls([name for name, values in self.columns.items() if None in values])
        self.answers: list[bytes] = []
        self.session = ViewerSession(viewers, self.answers.append)
        self.engine, self.engine_table = engine, table

        def answer(request: bytes) -> list[bytes]:
            self.answers.clear()
            self.session.handle(request)
            return list(self.answers)

        self.live = Client(answer)

    def rows_without_number(self, text: str) -> set[int]:
        """In which a part of an expression is NaN or infinite: not NULL, and not shown either."""
        if text not in self.without_number:
            parts = {part for part in parts_of(text) if is_float(part, self.schema.perspective)}
            expressions = {}
            for number, part in enumerate(sorted(parts)):
                expressions |= {f"v{number}": part, f"n{number}": f"is_null({part})"}
            columns = self.computed(expressions)
            self.without_number[text] = {
                place
                for number in range(len(parts))
                for place, pair in enumerate(zip(columns[f"v{number}"], columns[f"n{number}"], strict=True))
                if pair == (None, False)
            }
        return self.without_number[text]

    def overflows(self, text: str) -> bool:
        """Whether an expression is another in some row where its integers are floats."""
        if text not in self.overflowing:
            exact = text
            for name, kind in self.schema.perspective.items():
                if kind == "integer":
                    exact = exact.replace(f'"{name}"', f'float("{name}")')
            columns = self.computed({"as it is": text, "exact": exact}) if exact != text else {}
            self.overflowing[text] = bool(columns) and columns["as it is"] != columns["exact"]
        return self.overflowing[text]

    def computed(self, expressions: dict[str, str]) -> dict[str, list]:
        """The values of expressions in all rows; none where the engine takes one of them for wrong."""
        try:
            view = self.engine_table.view(columns=list(expressions), expressions=expressions)
        except Exception:
            return {}
        columns = view.to_columns()
        view.delete()
        return columns

    def ask(self, sql: str) -> list[tuple]:
        self.asked.append(sql)
        try:
            return list(self.connection.query(sql))
        except taosws.Error as error:
            raise taosws.QueryError(f"{error} at {sql}") from None

    def close(self) -> None:
        self.session.close()
        self.connection.execute(f"DROP DATABASE IF EXISTS `{self.database}`")

    def values(self) -> dict[str, list]:
        """What stands in the columns, for filters to compare with."""
        shown = {name: list(dict.fromkeys(values))[:20] for name, values in self.columns.items()}
        for name, kind in self.schema.perspective.items():
            if kind == "float":
                shown[name] = [None if value is None else float(value) for value in shown[name]]
        return shown

    def answers_to(self, view: View, window: Mapping[str, int]) -> tuple[Answer, Answer]:
        self.asked.clear()
        self.history.failure = None
        live = self.live.look(view, window)
        history = self.back.look(view, window)
        if self.history.failure:
            history = Answer(error=f"{self.history.failure} {history.error[:2000]}")
        return live, history


class Comparison:
    """What differs in the two answers to a view."""

    def __init__(self, pair: Pair, view: View, window: Mapping[str, int]):
        self.pair = pair
        self.view = view
        self.window = window
        self.live, self.history = pair.answers_to(view, window)
        self.sql = list(pair.asked)

    @property
    def differences(self) -> list[Difference]:
        live, history = self.live, self.history
        if live.error or history.error:
            if live.error and history.error:
                return []
            return [Difference("error", "", live.error, history.error)]
        found: list[Difference] = []
        for name in self.view["columns"]:
            kinds = {kind for label, kind in history.schema.items() if self.column_of(label) == name}
            if kinds - {live.schema.get(name)}:
                found.append(Difference("schema", name, live.schema.get(name), kinds))
        if live.rows != history.rows:
            found.append(Difference("rows", "", live.rows, history.rows))
        if not self.view.get("sort") and live.column_count != history.column_count:
            found.append(Difference("columns", "", live.column_count, history.column_count))
        if found:
            return found
        found = self.compare_columns("value", live.columns, history.columns)
        if not found:
            found = self.compare_columns("part", live.part, history.part)
        for name, mine in live.extremes.items():
            other = history.extremes.get(name)
            if not self.are_close(name, mine, other) and not self.are_close(
                name, self.own_extremes(name), other
            ):
                found.append(Difference("extremes", name, mine, other))
        return found

    def own_extremes(self, name: str) -> Any:
        """The extremes of what the look back has in a column, but for the grand total."""
        columns = self.history.columns
        places = (
            [place for place, path in enumerate(columns.get(PATH, [])) if path] if self.is_grouped else None
        )
        values = [
            values[place]
            for label, values in columns.items()
            if label != PATH and self.column_of(label) == name
            for place in (range(len(values)) if places is None else places)
        ]
        known = [value for value in values if value is not None]
        if known and isinstance(known[0], str):
            return min(known, key=str.encode), max(known, key=str.encode)
        return (min(known), max(known)) if known else (None, None)

    def are_rows_as_good(self, what: str, live: dict, history: dict) -> bool:
        """Whether only such rows stand elsewhere as are alike in what they are sorted by.

        The engine leaves these in the order of time for some sorts, and in none for others. Of a part of the
        rows it is enough that the look back has them so among all.
        """
        if what == "part" and not self.window:
            return True
        if what == "part":
            first, end = self.window["start_row"], self.window["end_row"]
            own = self.history.columns
            return all(values == own[label][first:end] for label, values in history.items())
        names = [name for name, _ in self.view["sort"]]
        orders = dict(self.view["sort"])
        plain = {name: value for name, value in self.view.items() if name != "split_by"}
        keys = self.pair.live.look({**plain, "columns": names}, {}).columns
        count = self.live.rows
        ranks = [
            [rank(keys[name][place], "abs" in orders[name]) for name in names if name in keys]
            for place in range(count)
        ]
        begin = 0
        for place in range(1, count + 1):
            if place < count and ranks[place] == ranks[begin]:
                continue
            mine, other = (
                sorted(
                    repr([self.plain(values[at]) for values in columns.values()])
                    for at in range(begin, place)
                )
                for columns in (live, history)
            )
            if mine != other:
                return False
            begin = place
        return True

    def plain(self, value: Any) -> Any:
        """The same for numbers but for their last bits, and for the engine's zeros in a split's columns."""
        if self.view.get("split_by") and not value:
            return None
        return float(f"{value:.9g}") if is_number(value) else value

    def is_order_as_good(self, mine: list, other: list) -> bool:
        """Whether only such groups stand elsewhere as are sorted by numbers alike but for their last bits."""
        if len(mine) != len(other) or same_paths(mine, other):
            return False
        sorted_by = [name for name, _ in self.view["sort"]]
        plain = {name: value for name, value in self.view.items() if name != "split_by"}
        columns = self.pair.live.look({**plain, "columns": sorted_by}, {}).columns
        keys = {}
        for place, path in enumerate(columns.get(PATH, [])):
            keys[as_key(path)] = [(name, columns[name][place]) for name in sorted_by if name in columns]
        return all(
            len(one) == len(two)
            and as_key(two) in keys
            and all(
                self.are_close(name, value, known)
                for (name, value), (_, known) in zip(keys[as_key(one)], keys[as_key(two)], strict=True)
            )
            for one, two in zip(mine, other, strict=True)
        )

    def kind_of(self, difference: Difference) -> str:
        """What differences of one cause are likely to have in common."""
        if difference.what == "error":
            return f"error: {difference.live or difference.history}"[:120]
        kind = self.pair.schema.perspective.get(difference.column, "expression")
        return f"{difference.what} {self.aggregate(difference.column)} {kind}"

    def column_of(self, label: str) -> str:
        """The view's column that a column with a split's values before it is of."""
        fitting = [name for name in self.view["columns"] if label == name or label.endswith(f"|{name}")]
        return max(fitting, key=len, default=label)

    def compare_columns(self, what: str, live: dict, history: dict) -> list[Difference]:
        if list(map(without_bars, live)) == list(map(without_bars, history)):
            live = dict(zip(history, live.values(), strict=True))
        if list(live) != list(history):
            return [Difference("columns", "", list(live), list(history))]
        if live.get(PATH) != history.get(PATH):
            mine, other = live.get(PATH, []), history.get(PATH, [])
            if what == "value" and self.view.get("sort") and self.is_order_as_good(mine, other):
                return []
            if not same_paths(mine, other):
                return [Difference("paths" if what == "value" else "part", PATH, mine, other)]
        if self.view.get("sort") and not self.is_grouped and self.are_rows_as_good(what, live, history):
            return []
        found = []
        for label, values in live.items():
            if label == PATH:
                continue
            column = self.column_of(label)
            for place, (mine, other) in enumerate(zip(values, history[label], strict=False)):
                where = live[PATH][place] if PATH in live else place
                if not self.are_close(column, mine, other) and not self.may_be(label, where, other):
                    found.append(Difference(what, column, mine, other, (label, where)))
            if len(values) != len(history[label]):
                found.append(Difference(what, column, len(values), len(history[label]), "length"))
        return found

    def aggregate(self, column: str) -> Any:
        """The name of a column's aggregate, "" where rows are shown."""
        if not self.is_grouped:
            return ""
        asked = self.view.get("aggregates", {}).get(column)
        return asked[0] if isinstance(asked, list) else asked or "default"

    @property
    def is_grouped(self) -> bool:
        return bool(self.view.get("group_by")) or self.view.get("group_rollup_mode") == "total"

    def are_close(self, column: str, mine: Any, other: Any) -> bool:
        if isinstance(mine, tuple | list) and isinstance(other, tuple | list):
            return len(mine) == len(other) and all(
                self.are_close(column, one, two) for one, two in zip(mine, other, strict=True)
            )
        if mine == other and (mine is None) == (other is None):
            return isinstance(mine, bool) == isinstance(other, bool)
        if not is_number(mine) or not is_number(other):
            return False
        if math.isclose(mine, other, rel_tol=RELATIVE):
            return True
        greatest = self.greatest(column)
        match self.aggregate(column):
            case "var":
                return abs(mine - other) <= ABSOLUTE * greatest**2
            case "stddev":
                return abs(mine - other) <= math.sqrt(ABSOLUTE) * greatest
            case _:
                return abs(mine - other) <= ABSOLUTE * greatest * len(self.pair.rows)

    def greatest(self, column: str) -> float:
        numbers = [abs(value) for value in self.column_values(column) if is_number(value)]
        return max((value for value in numbers if math.isfinite(value)), default=0.0)

    def all_values(self, column: str) -> list:
        """A column of all rows, also of those that the view leaves out."""
        text = self.view.get("expressions", {}).get(column)
        return self.pair.computed({column: text}).get(column, []) if text else self.pair.columns[column]

    def column_values(self, column: str) -> list:
        return self.flat([column])[column]

    def flat(self, names: Sequence[str]) -> dict[str, list]:
        """Columns of the rows that the view is of, in the order of time."""
        plain = {
            name: self.view[name] for name in ("filter", "filter_op", "expressions") if name in self.view
        }
        plain = copy.deepcopy(plain)
        plain["expressions"] = {**plain.get("expressions", {}), INDEX: "index()"}
        view = self.pair.live.table.view(columns=list(dict.fromkeys([*names, INDEX])), **plain)
        try:
            return view.to_columns()
        finally:
            view.delete()

    def may_be(self, label: str, path: Any, value: Any) -> bool:
        """Whether another row may have been chosen, where Perspective takes one of several."""
        column = self.column_of(label)
        aggregate = self.aggregate(column)
        if aggregate not in CHOICES:
            return False
        values = self.rows_of(label, path, column)
        if aggregate == "last minus first":
            ends = [(last, first) for last in chosen("last", values) for first in chosen("first", values)]
            return any(self.are_close(column, difference(*end), value) for end in ends)
        return any(self.are_close(column, one, value) for one in chosen(aggregate, values))

    def rows_of(self, label: str, path: Any, column: str) -> list[tuple]:
        """Of a cell's rows: their time, what its aggregate goes by, and the column's value."""
        asked = self.view.get("aggregates", {}).get(column)
        other = asked[1][0] if isinstance(asked, list) else column
        flat, places = self.cell(label, path, column, other)
        keys = [self.pair.rows[at][0] for at in flat[INDEX]]
        return [(keys[place], flat[other][place], flat[column][place]) for place in places]

    def cell(self, label: str, path: Any, *columns: str) -> tuple[dict[str, list], list[int]]:
        """Columns of the rows, and the places of those that are in a cell."""
        groups, splits = self.view.get("group_by", []), self.view.get("split_by", [])
        flat = self.flat([*groups, *splits, *columns])
        path = path if isinstance(path, list) else []
        found = []
        for place in range(len(flat[INDEX])):
            own = [flat[name][place] for name in groups[: len(path)]]
            if own != path:
                continue
            parts = [label_of(self.kind(name), flat[name][place]) for name in splits]
            if without_bars("|".join([*parts, columns[0]])) == without_bars(label):
                found.append(place)
        return flat, found

    def touching(self, difference: Difference) -> set[str]:
        """The names that a difference may come from: all by which rows are chosen and put in order."""
        view = self.view
        names = {*view.get("group_by", []), *view.get("split_by", []), difference.column}
        names |= {one[0] for part in ("filter", "sort") for one in view.get(part, [])}
        asked = view.get("aggregates", {}).get(difference.column)
        return names | ({asked[1][0]} if isinstance(asked, list) else set())

    def names_without_number(self) -> set[str]:
        """The expressions of which a part is NaN or infinite in some row."""
        return {
            name
            for name, text in self.view.get("expressions", {}).items()
            if self.pair.rows_without_number(text)
        }

    def kind(self, name: str) -> str:
        if name in self.pair.schema.perspective:
            return self.pair.schema.perspective[name]
        return Reader(self.view["expressions"][name], self.pair.schema.perspective).read()


def difference(last: Any, first: Any) -> Any:
    return None if last is None or first is None else last - first


def parts_of(text: str) -> set[str]:
    """An expression, and whatever in it stands in brackets, with the name of its function."""
    found = {text}
    for opened in re.finditer(r"(\b[a-z_0-9]+)?\(", text):
        depth = 0
        for at in range(opened.end() - 1, len(text)):
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            if depth == 0:
                found.add(text[opened.start() : at + 1])
                break
    return found


def is_float(text: str, columns: Mapping[str, str]) -> bool:
    try:
        return Reader(text, columns).read() == FLOAT
    except ExpressionError:
        return False


def chosen(aggregate: str, rows: list[tuple]) -> list:
    """The values that an aggregate may have, of rows in the order of time."""
    if not rows:
        return []
    values = [value for _, _, value in rows]
    present = [value for value in values if value is not None]
    match aggregate:
        case "any":
            return present or [None]
        case "dominant":
            counted = Counter(present)
            return [value for value, count in counted.items() if count == max(counted.values())]
        case "max by" | "min by":
            choose = max if aggregate == "max by" else min
            best = choose((other for _, other, _ in rows), key=lambda other: (other is not None, other))
            return [value for _, other, value in rows if other == best]
        case _:
            end = (min if aggregate == "first" else max)(at for at, _, _ in rows)
            return [value for at, _, value in rows if at == end]


def without_bars(label: str) -> str:
    """A column's name to compare: a bar in a split's value is shown otherwise in the look back."""
    return label.replace("|", BAR)


def label_of(kind: str, value: Any) -> str:
    """A value as a split's column has it in its name."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if kind in ("date", "datetime"):
        moment = datetime(1970, 1, 1) + timedelta(milliseconds=value)
        return f"{moment:%Y-%m-%d}" if kind == "date" else f"{moment:%Y-%m-%d %H:%M:%S.%f}"[:-3]
    return f"{value:g}" if isinstance(value, float) else str(value)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def same_paths(mine: list, other: list) -> bool:
    """Whether paths are the same but for a float's last bits."""
    return len(mine) == len(other) and all(
        len(one) == len(two) and all(map(same_value, one, two)) for one, two in zip(mine, other, strict=True)
    )


def rank(value: Any, is_absolute: bool) -> Any:
    """What a row is sorted by: an absolute value takes NULL for 0."""
    if not is_absolute or isinstance(value, str):
        return value
    return abs(value or 0)


def as_key(path: list) -> str:
    return repr([float(value) if is_number(value) else value for value in path])


def same_value(one: Any, two: Any) -> bool:
    if is_number(one) and is_number(two):
        return math.isclose(one, two, rel_tol=RELATIVE, abs_tol=1e-300)
    return one == two and type(one) is type(two)


def is_nothing_as_zero(difference: Difference) -> bool:
    """Whether there is no value, for which the engine has a zero."""
    return difference.what in ("value", "part") and difference.history is None and not difference.live


def is_zero_in_split(comparison: Comparison, difference: Difference) -> bool:
    """Rows that are sorted are compared by `plain`, for which both are the same."""
    view, column = comparison.view, difference.column
    if comparison.is_grouped or not view.get("split_by") or not is_nothing_as_zero(difference):
        return False
    if view.get("sort"):
        return True
    label, place = difference.where
    place += comparison.window["start_row"] if difference.what == "part" else 0
    flat, own = comparison.cell(label, None, column)
    return place in own and flat[column][place] is None


def is_any_of_nothing(comparison: Comparison, difference: Difference) -> bool:
    return comparison.aggregate(difference.column) == "any" and is_nothing_as_zero(difference)


def is_of_no_rows(comparison: Comparison, difference: Difference) -> bool:
    """Of dates, the engine's nothing is the year 0."""
    is_none = difference.what in ("value", "part") and difference.history is None
    return is_none and comparison.is_grouped and not comparison.rows_of(*difference.where, difference.column)


def is_step_before_1970(comparison: Comparison, difference: Difference) -> bool:
    """The engine cuts such times towards 1970, to the second, minute or hour, and then to the step."""
    key = comparison.pair.schema.columns[0].label
    expressions = comparison.view.get("expressions", {})
    return any(
        re.fullmatch(rf"""bucket\("{key}", '[0-9]*[smh]'\)""", expressions.get(name, ""))
        and any(value is not None and value < 0 for value in comparison.pair.columns[key])
        for name in comparison.touching(difference)
    )


def is_of_empty_text(comparison: Comparison, difference: Difference) -> bool:
    """The engine has no value of upper and lower of an empty text, and compares it as one all the same."""
    expressions = comparison.view.get("expressions", {})
    texts = "".join(expressions.get(name, "") for name in comparison.touching(difference))
    empty = any("" in values for values in comparison.pair.columns.values())
    return empty and bool(re.search(r"\b(upper|lower|substring)\(", texts))


def is_of_names_alike(comparison: Comparison, difference: Difference) -> bool:
    """Values of a split that are written alike: the engine has a column for each, under one name."""
    labels = [label for label in comparison.live.columns if label != PATH]
    return bool(comparison.view.get("split_by")) and comparison.live.column_count > len(labels)


def is_integer_overflow(comparison: Comparison, difference: Difference) -> bool:
    """The engine computes with integers of 32 bits."""
    expressions = comparison.view.get("expressions", {})
    return any(
        comparison.pair.overflows(expressions[name])
        for name in comparison.touching(difference) & expressions.keys()
    )


def is_type_without_zero(comparison: Comparison, difference: Difference) -> bool:
    """The engine leaves out `+ 0` and the like, and takes what is left for what it is."""
    text = comparison.view.get("expressions", {}).get(difference.column, "")
    types = (difference.live, difference.history)
    return (
        difference.what == "schema"
        and types == ("integer", {"float"})
        and bool(re.search(r"\+ 0\b|- 0\b|[*/^] 1\b", text))
    )


def is_order_by_quartile(comparison: Comparison, difference: Difference) -> bool:
    sorted_by = [name for name, _ in comparison.view.get("sort", [])]
    return any(
        comparison.aggregate(name) in ("q1", "median", "q3") and comparison.kind(name) == "float"
        for name in sorted_by
    ) and are_only_in_another_order(difference)


def is_order_by_end(comparison: Comparison, difference: Difference) -> bool:
    ends = ("first", "last", "last by index", "last minus first")
    sorted_by = [name for name, _ in comparison.view.get("sort", [])]
    is_by_end = any(comparison.aggregate(name) in ends for name in sorted_by)
    return is_by_end and are_only_in_another_order(difference)


def are_only_in_another_order(difference: Difference) -> bool:
    """Whether these are the same groups or columns."""
    if difference.what not in ("paths", "columns") or not isinstance(difference.live, list):
        return False
    mine, other = (
        Counter(as_key(one) if isinstance(one, list) else without_bars(one) for one in each)
        for each in (difference.live, difference.history)
    )
    return mine == other


def is_product_with_zero(comparison: Comparison, difference: Difference) -> bool:
    expressions = comparison.view.get("expressions", {})
    texts = [expressions.get(name, "") for name in comparison.touching(difference)]
    return any(re.search(r"\(0 \*|\* 0\)", text) for text in texts)


def is_order_of_nothing(comparison: Comparison, difference: Difference) -> bool:
    """The engine takes NULL for 0, an empty text or false there, but not in all its comparisons."""
    view = comparison.view
    if comparison.is_grouped:
        is_absolute = any("col" in order and "abs" in order for _, order in view.get("sort", []))
        return difference.what == "columns" and is_absolute and are_only_in_another_order(difference)
    if difference.what not in ("value", "part"):
        return False
    names = [name for name, order in view.get("sort", []) if view.get("split_by") or "abs" in order]
    mine, other = (
        Counter(
            repr([comparison.plain(value) for value in row]) for row in zip(*columns.values(), strict=True)
        )
        for columns in (comparison.live.columns, comparison.history.columns)
    )
    return mine == other and any(None in comparison.column_values(name) for name in names)


def is_negative_zero(comparison: Comparison, difference: Difference) -> bool:
    if difference.what != "columns" or not isinstance(difference.live, list):
        return False
    mine, other = (
        [re.sub(r"(^|\|)-0(?=\|)", r"\g<1>0", without_bars(label).replace(BAR, "|")) for label in labels]
        for labels in (difference.live, difference.history)
    )
    return mine == other


def is_sum_of_least_integer(comparison: Comparison, difference: Difference) -> bool:
    """The least integer of 32 bits has no absolute value in 32 bits."""
    if difference.what not in ("value", "part"):
        sorted_by = [
            name for name, _ in comparison.view.get("sort", []) if comparison.aggregate(name) == "sum abs"
        ]
        is_met = any(-(2**31) in comparison.column_values(name) for name in sorted_by)
        return is_met and are_only_in_another_order(difference)
    if comparison.aggregate(difference.column) != "sum abs":
        return False
    values = [value for _, _, value in comparison.rows_of(*difference.where, difference.column)]
    right = sum(abs(value) for value in values if value is not None)
    return -(2**31) in values and comparison.are_close(difference.column, right, difference.history)


def is_extreme_of_dates(comparison: Comparison, difference: Difference) -> bool:
    """The engine packs year, month and day into one number."""
    return difference.what == "extremes" and comparison.kind(difference.column) == "date"


def is_extreme_of_bytes(comparison: Comparison, difference: Difference) -> bool:
    kinds = {column.label: column.kind for column in comparison.pair.schema.columns}
    is_of_bytes = kinds.get(difference.column) in ("VARBINARY", "GEOMETRY", "JSON")
    return difference.what == "extremes" and is_of_bytes and difference.history == (None, None)


def is_count_of_no_rows(comparison: Comparison, difference: Difference) -> bool:
    """The engine has no grand total of a table without rows, and a 0 of a filter that lets none through."""
    return not comparison.pair.rows and difference.live is None and difference.history == 0


def is_quartile_of_floats(comparison: Comparison, difference: Difference) -> bool:
    aggregate = comparison.aggregate(difference.column)
    if aggregate not in ("q1", "median", "q3") or difference.what not in ("value", "part"):
        return False
    values = [value for _, _, value in comparison.rows_of(*difference.where, difference.column)]
    ordered = sorted(values, key=lambda value: (value is not None, value))
    place = len(ordered) * {"q1": 1, "median": 2, "q3": 3}[aggregate] // 4
    if aggregate == "median" and ordered and len(ordered) % 2 == 0 and ordered[place - 1] is not None:
        middle = (ordered[place - 1] + ordered[place]) / 2
        return comparison.are_close(difference.column, middle, difference.history)
    return bool(ordered) and comparison.are_close(difference.column, ordered[place], difference.history)


def is_nearer_than_it_tells(comparison: Comparison, difference: Difference) -> bool:
    """TDengine takes numbers for the same that differ by so little."""
    chosen_by = {one[0] for part in ("filter", "sort") for one in comparison.view.get(part, [])}
    for name in chosen_by:
        if comparison.kind(name) != "float":
            continue
        numbers = sorted({value for value in comparison.all_values(name) if is_number(value)} | {0})
        if any(high - low < 1e-15 for low, high in itertools.pairwise(numbers)):
            return True
    return False


def is_no_number(comparison: Comparison, difference: Difference) -> bool:
    """Anywhere, where rows are chosen, grouped or sorted by it; else in a row of that cell."""
    view, without = comparison.view, comparison.names_without_number()
    names = without & comparison.touching(difference)
    choosing = {*view.get("group_by", []), *view.get("split_by", [])}
    choosing |= {one[0] for part in ("filter", "sort") for one in view.get(part, [])}
    if names & choosing or (names and difference.what == "extremes"):
        return True
    if not names or difference.what not in ("value", "part") or difference.where == "length":
        return False
    label, where = difference.where
    flat, places = comparison.cell(label, where, difference.column)
    if not comparison.is_grouped:
        places = [where + (comparison.window["start_row"] if difference.what == "part" else 0)]
    rows = {flat[INDEX][place] for place in places}
    return any(rows & comparison.pair.rows_without_number(view["expressions"][name]) for name in names)


def is_null_as_zero(comparison: Comparison, difference: Difference) -> bool:
    aggregate = comparison.aggregate(difference.column)
    if aggregate not in ("low", "high") or difference.what not in ("value", "part"):
        return False
    values = [value for _, _, value in comparison.rows_of(*difference.where, difference.column)]
    present = [value for value in values if value is not None]
    extreme = (min if aggregate == "low" else max)(present, default=None)
    return None in values and comparison.are_close(difference.column, extreme, difference.history)


# What differs and is to differ, in the words of docs/history.md, and where it applies.
Known = tuple[str, Callable[[Comparison, Difference], bool]]
KNOWN: list[Known] = [
    ("a row's NULL in the column of a split", is_zero_in_split),
    ("`any` of no values", is_any_of_nothing),
    ("aggregates of no rows", is_of_no_rows),
    ("counts of an empty table's total", is_count_of_no_rows),
    ("`low` and `high` of a group with a NULL", is_null_as_zero),
    ("`median`, `q1` and `q3` of floats", is_quartile_of_floats),
    ("what is sorted by these", is_order_by_quartile),
    ("rows sorted by absolute values or split, where what they are sorted by is NULL", is_order_of_nothing),
    ("values of a split that are written alike", is_of_names_alike),
    ("zeros in the names of a split's columns", is_negative_zero),
    ("`bucket` of the rows' times before 1970, by seconds, minutes or hours", is_step_before_1970),
    ("`upper`, `lower` and `substring` of an empty text, compared", is_of_empty_text),
    ("integers of more than 32 bits within an expression", is_integer_overflow),
    ("`sum abs` of -2147483648", is_sum_of_least_integer),
    ("the type of an integer `+ 0` or `* 1`", is_type_without_zero),
    ("`0 *` nothing", is_product_with_zero),
    ("groups sorted by `first` or `last`", is_order_by_end),
    ("NaN and infinity within an expression", is_no_number),
    ("numbers that differ by less than 0.000000000000001, compared or sorted", is_nearer_than_it_tells),
    ("the extremes of dates, on a chart's axis", is_extreme_of_dates),
    ("the extremes of JSON, VARBINARY and GEOMETRY", is_extreme_of_bytes),
]
# What else differs, and is not met here: it is refused, taken for right by `chosen`, or not asked for.
NOT_MET = [
    "`last` of a total",
    "which of several rows of one time is `first` or `last`; `max by`, `min by`, `any`, `dominant` where "
    "several are the same",
    "which row is last",
    "the order of rows that are alike in what they are sorted by",
    "texts and times sorted by absolute values",
    "the name of a column of a split by texts with a bar",
    "`substring`, and letters beyond ASCII",
    "`bucket` by months and years",
    "columns of JSON, VARBINARY and GEOMETRY",
    "`high minus low`",
    "the columns of a split without groups",
    "the text `'true'` joined with others in an expression",
]


def reason(comparison: Comparison, difference: Difference) -> str:
    """Why a difference is known; "" where it isn't."""
    return next((text for text, applies in KNOWN if applies(comparison, difference)), "")


class Oracle:
    """Asks views, and keeps count."""

    def __init__(
        self, connection: "taosws.Connection", port: int, seed: int, kind_of_views: type[Views] = Views
    ):
        self.connection = connection
        self.kind_of_views = kind_of_views
        self.port = port
        self.seed = seed
        self.asked = 0
        self.refused: Counter[str] = Counter()  # by the look back, by what it said
        self.refused_live: Counter[str] = Counter()
        self.known: Counter[str] = Counter()
        self.unknown: dict[str, str] = {}  # one a kind
        self.failed = 0  # views

    def ask(self, views: int, most_kinds: int = 5) -> None:
        """Ask so many views, or fewer where so many kinds of differences were found before."""
        number = 0
        while self.asked < views and len(self.unknown) < most_kinds:
            rng = random.Random(f"{self.seed}/{number}")
            # Each has a name of its own: TDengine ends where it takes a new table for the one before it.
            database = f"oracle_{os.getpid()}_{next(_numbers)}"
            pair = Pair(random_table(rng), self.connection, self.port, database)
            try:
                self.ask_of(pair, rng, min(VIEWS_A_TABLE, views - self.asked), f"{self.seed}/{number}")
            finally:
                pair.close()
            number += 1

    def ask_of(self, pair: Pair, rng: random.Random, count: int, name: str) -> None:
        features = pair.history.get_features()
        aggregates = {
            kind: [one if isinstance(one, str) else one[0] for one in offered]
            for kind, offered in features["aggregates"].items()
        }
        has_ties = len({row[0] for row in pair.rows}) < len(pair.rows)
        operators = features["filter_ops"]
        views = self.kind_of_views(
            rng, pair.schema.perspective, pair.values(), aggregates, operators, has_ties
        )
        for number in range(count):
            view = views.view()
            comparison = Comparison(pair, view, random_window(rng) if rng.random() < 0.5 else {})
            self.asked += 1
            self.note(comparison, f"{name}/{number}")

    def note(self, comparison: Comparison, name: str) -> None:
        live, history = comparison.live, comparison.history
        if live.error:
            self.refused_live[live.error[:100]] += 1
            return
        if history.error and is_refusal(history.error):
            self.refused[generalised(history.error)] += 1
            return
        unknown = []
        for difference in comparison.differences:
            text = reason(comparison, difference)
            if text:
                self.known[text] += 1
            else:
                unknown.append(difference)
        if unknown:
            self.failed += 1
            kind = comparison.kind_of(unknown[0])
            if kind not in self.unknown:
                self.unknown[kind] = told(smallest(comparison, kind), name, kind)

    def report(self) -> str:
        lines = [f"{self.asked} views, seed {self.seed}: {self.failed} with unknown differences"]
        for title, counted in (
            ("refused by the look back", self.refused),
            ("refused by the engine or the gate", self.refused_live),
            ("known differences", self.known),
        ):
            lines.append(f"{title}: {counted.total()}")
            lines += [f"  {count:6} {text}" for text, count in counted.most_common()]
        return "\n".join(lines)


def is_refusal(text: str) -> bool:
    """Whether an error is one in words, and no failure."""
    return not text.startswith("the look back can't answer this") and "TDengine" not in text[:9]


def generalised(text: str) -> str:
    """What the look back said, without the column's name and what Perspective made of it."""
    text = text.partition(" Abort(")[0]
    return re.sub(r"^.*?(?=is of the type|search\(|[a-z_]+\(\))", "… ", text)[:110]


def random_window(rng: random.Random) -> dict[str, int]:
    first, column = rng.choice((0, 0, 1, 5)), rng.choice((0, 0, 0, 1))
    return {
        "start_row": first,
        "end_row": first + rng.choice((1, 3, 50)),
        "start_col": column,
        "end_col": column + rng.choice((1, 2, 50)),
    }


def unknown_in(comparison: Comparison) -> list[Difference]:
    if comparison.live.error or (comparison.history.error and is_refusal(comparison.history.error)):
        return []
    return [one for one in comparison.differences if not reason(comparison, one)]


def smallest(comparison: Comparison, kind: str) -> Comparison:
    """The same difference in a view with as few parts as it can be had with."""
    pair = comparison.pair
    is_smaller, until = True, time.monotonic() + MOST_SHRINKING
    while is_smaller and time.monotonic() < until:
        is_smaller = False
        for view in smaller(comparison.view):
            other = Comparison(pair, view, comparison.window)
            if time.monotonic() > until:
                break
            if any(other.kind_of(one) == kind for one in unknown_in(other)):
                comparison, is_smaller = other, True
                break
    return comparison


def smaller(view: View) -> Iterator[View]:
    for part in ("filter_op", "group_rollup_mode", "split_by", "filter", "sort", "aggregates", "expressions"):
        if part in view:
            yield {name: value for name, value in view.items() if name != part}
    for part in ("columns", "sort", "filter", "group_by", "split_by"):
        for place in range(len(view.get(part, []))):
            rest = [*view[part][:place], *view[part][place + 1 :]]
            if rest or part == "columns":
                yield {**view, part: rest}
            else:
                yield {name: value for name, value in view.items() if name != part}
    for part in ("aggregates", "expressions"):
        for name in view.get(part, {}):
            yield {**view, part: {one: value for one, value in view[part].items() if one != name}}


def told(comparison: Comparison, name: str, kind: str) -> str:
    """All that is needed to see a difference again."""
    pair = comparison.pair
    lines = [
        f"=== view {name}: {kind}",
        *(str(one)[:600] for one in unknown_in(comparison)[:4]),
        f"view: {json.dumps(comparison.view, ensure_ascii=False)}",
        f"window: {comparison.window}",
        *(f"asked: {sql}" for sql in comparison.sql),
        f"live:    {str(comparison.live)[:1500]}",
        f"history: {str(comparison.history)[:1500]}",
        pair.table.described()[:3000],
    ]
    return "\n".join(lines)


def main() -> None:
    views = int(sys.argv[1])
    report = os.fdopen(os.dup(1), "w")  # on stdout Perspective tells each error, with its traceback
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 10**6
    port = int(os.environ["TEST_TAOS_PORT"])
    connection = taosws.connect(f"taosws://root:taosdata@localhost:{port}", read_timeout="30")
    oracle = Oracle(connection, port, seed, PageViews if sys.argv[3:] == ["page"] else Views)
    began = time.monotonic()
    oracle.ask(views, int(os.environ.get("HISTORY_FAILURES", "5")))
    print("\n\n".join(oracle.unknown.values()), file=report)
    print(oracle.report(), file=report)
    print(f"{time.monotonic() - began:.1f} s", file=report)


if __name__ == "__main__":
    main()
