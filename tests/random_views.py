"""Owns random views: what a viewer may ask of a table with these columns, expressions included.

A view is a dict, the arguments of Perspective's `Table.view`.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from tdengine_perspective.gate.expressions import (
    BOOLEAN,
    DATE,
    DATETIME,
    FLOAT,
    INTEGER,
    MATHEMATICS,
    MATHEMATICS_OF_FLOATS,
    STRING,
    ExpressionError,
    Reader,
)

NUMERIC = ("integer", "float")
ROLLUP, FLAT, TOTAL = "rollup", "flat", "total"
SORTS = ("asc", "desc", "asc abs", "desc abs")
COLUMN_SORTS = ("col asc", "col desc", "col asc abs", "col desc abs")
WITH_COLUMN = ("max by", "min by", "weighted mean")  # aggregates that name a second column
ENDS = ("first", "last", "last by index", "last minus first")
CHOICES = ("any", "dominant", "high", "low")  # with several right values, or one of the engine's own
REFUSED_HERE = ("high minus low",)  # by the gate, since they end the engine
TIME_STEPS = [
    *("s", "5s", "15s", "30s", "m", "5m", "15m", "30m", "h", "2h", "3h", "6h", "12h", "D", "W", "M", "2M"),
    *("3M", "6M", "Y"),
]
PATTERNS = ["San", "^a", "a$", "[a-z]+", ".*", "o.*e", "x", "[0-9]", "(a|b)", "%", "_"]
WORDS = ["San", "a", "b", "A", "x", " ", "1", "Campbell", "%", "_"]  # not true, which the engine makes True
TEXTS = [*WORDS, "true", "", "é", "🙂", "it's", "x|y", "back\\slash", "San Jose", "[", ".*", "zzz"]

Random = random.Random
View = dict[str, Any]


class Expressions:
    """Makes expressions over columns, by the type that is wanted."""

    def __init__(self, rng: Random, columns: Mapping[str, str]):
        self.rng = rng
        self.columns = columns
        self.named = {
            kind: [
                f'"{name}"' for name, its in columns.items() if its == kind and not set(name) & set("'\"\\")
            ]
            for kind in (FLOAT, INTEGER, BOOLEAN, STRING, DATETIME)
        }

    def expression(self) -> str:
        """One that the gate takes."""
        while True:
            kind = self.rng.choice((FLOAT, FLOAT, FLOAT, INTEGER, BOOLEAN, STRING, STRING, DATETIME, DATE))
            text = getattr(self, kind)(self.rng.choice((1, 1, 2, 2, 3)))
            try:
                Reader(text, self.columns).read()
            except ExpressionError:  # where a step of the language's rules is not known here
                continue
            if (
                any(name in text for names in self.named.values() for name in names)
                or self.rng.random() < 0.05
            ):
                return text

    def pick(self, *texts: str) -> str:
        return self.rng.choice(texts)

    def column(self, kind: str, otherwise: str) -> str:
        return self.rng.choice(self.named[kind] or [otherwise])

    def number(self, depth: int) -> str:
        return self.float(depth) if self.rng.random() < 0.6 else self.integer(depth)

    def constant(self) -> str:
        return self.pick("0", "1", "2", "10", "0.5", "1.5", "100", "3")

    def float(self, depth: int) -> str:
        if depth <= 0:
            return self.column(FLOAT, self.constant()) if self.rng.random() < 0.75 else self.constant()
        down = depth - 1
        match self.rng.randrange(16):
            case 0 | 1 | 2:
                return f"({self.number(down)} {self.pick('+', '-', '*', '/')} {self.number(down)})"
            case 3:
                return f"({self.number(down)} {self.pick('%', '^')} {self.pick('2', '3', '0.5', '10')})"
            case 4:
                number = self.number(down)
                if self.rng.random() < 0.7:  # where each function has a value
                    number = f"min(1.5 + abs(float({number})), 20)"
                return f"{self.pick(*MATHEMATICS)}({number})"
            case 5:
                number = self.float(down)
                if self.rng.random() < 0.7:
                    number = f"(sin({number}) / 2)"
                return f"{self.pick(*MATHEMATICS_OF_FLOATS)}({number})"
            case 6:
                name = self.pick("min", "max", "avg", "sum", "mul")
                return f"{name}({self.number(down)}, {self.number(down)})"
            case 7:
                name = self.pick("pow", "root", "logn", "mod", "percent_of")
                return f"{name}({self.number(down)}, {self.pick('2', '3', '10')})"
            case 8:
                return f"{self.pick('clamp', 'iclamp')}(0, float({self.column(FLOAT, 'pi')}), 10)"
            case 9:
                return f"coalesce({self.number(down)}, {self.constant()})"
            case 10:
                return f"float({self.any(down)})"
            case 11:
                return f"hour_of_day({self.datetime(down)})"
            case 12:
                return f"length({self.string(down)})"
            case 13:
                return f"order({self.string(down)}, 'San Jose', 'a', 'x')"
            case 14:
                width = self.pick("1", "5", "0.5", "10", "2.5")
                return f"bucket({self.column(FLOAT, 'float(1)')}, {width})"
            case _:
                return self.chosen(self.float, down)

    def integer(self, depth: int) -> str:
        if depth <= 0:
            return self.column(INTEGER, "integer(3)")
        down = depth - 1
        match self.rng.randrange(4):
            case 0:
                return f"integer({self.any(down)})"
            case 1:
                return f"{self.pick('trunc', 'sgn')}({self.number(down)})"
            case 2:
                return f"-{self.integer(0)}"
            case _:
                return self.integer(0)

    def boolean(self, depth: int) -> str:
        if depth <= 0:
            return self.column(BOOLEAN, "true")
        down = depth - 1
        match self.rng.randrange(10):
            case 0 | 1 | 2:
                sign = self.pick("==", "!=", "<", "<=", ">", ">=")
                kind = self.pick("number", "number", STRING, DATETIME, BOOLEAN)
                make = getattr(self, kind)
                other = self.constant if kind == "number" and self.rng.random() < 0.6 else lambda: make(down)
                return f"({make(down)} {sign} {other()})"
            case 3 | 4:
                sign = self.pick("and", "or", "xor", "nand", "nor")
                return f"({self.boolean(down)} {sign} {self.boolean(down)})"
            case 5:
                return f"not({self.boolean(down)})"
            case 6:
                return f"{self.pick('is_null', 'is_not_null')}({self.any(down)})"
            case 7:
                return f"inrange(0, {self.number(down)}, 10)"
            case 8:
                name = self.pick("contains", "match", "match_all")
                pattern = self.pick(*(WORDS if name == "contains" else PATTERNS))
                return f"{name}({self.column(STRING, 'string(1)')}, '{pattern}')"
            case _:
                return f"boolean({self.any(down)})"

    def string(self, depth: int) -> str:
        if depth <= 0:
            return self.column(STRING, "'abc'")
        down = depth - 1
        match self.rng.choice((*range(9), 0, 1, 1, 3, 7, 8)):
            case 0:
                return f"{self.pick('upper', 'lower')}({self.string(down)})"
            case 1:
                return f"concat({self.string(down)}, '{self.pick(*WORDS)}')"
            case 2:
                return f"string({self.any(down)})"
            case 3:
                return f"{self.pick('day_of_week', 'month_of_year')}({self.datetime(down)})"
            case 4:
                return f"substring({self.column(STRING, 'string(1)')}, {self.pick('0', '1', '2')})"
            case 5:
                return (
                    f"search({self.column(STRING, 'string(1)')}, '{self.pick('(San)', '([a-z]+)', '(a)b')}')"
                )
            case 6:
                name = self.pick("replace", "replace_all")
                return f"{name}({self.column(STRING, 'string(1)')}, '{self.pick(*WORDS)}', '+')"
            case 7:
                return f"coalesce({self.string(down)}, 'none')"
            case _:
                return self.chosen(self.string, down)

    def datetime(self, depth: int) -> str:
        if depth <= 0:
            return self.column(DATETIME, "datetime(1795000000000)")
        match self.rng.randrange(4):
            case 0 | 1:
                step = self.pick(*(step for step in TIME_STEPS if step[-1] in "smh"))
                return f"bucket({self.datetime(0)}, '{step}')"
            case 2:
                return f"datetime(float({self.datetime(0)}) + {self.pick('1000', '3600000', '60500')})"
            case _:
                return self.datetime(0)

    def date(self, depth: int) -> str:
        if depth <= 1 or self.rng.random() < 0.8:
            # Steps of months and years make statements of many pages, which take the emulator seconds.
            units = "DW" if self.rng.random() < 0.9 else "MY"
            step = self.pick(*(step for step in TIME_STEPS if step[-1] in units))
            return f"bucket({self.datetime(0)}, '{step}')"
        return f"date(2026, {self.pick('1', '11', '12')}, {self.pick('1', '28')})"

    def any(self, depth: int) -> str:
        return getattr(self, self.pick(FLOAT, FLOAT, INTEGER, BOOLEAN, STRING, DATETIME))(depth)

    def chosen(self, make: Any, depth: int) -> str:
        if self.rng.random() < 0.5:
            return f"({self.boolean(depth)} ? {make(depth)} : {make(depth)})"
        return f"if ({self.boolean(depth)}) {{ {make(depth)} }} else {{ {make(depth)} }}"


class Views:
    """Makes views of a table.

    columns: the table's, with their types. aggregates and operators: what is offered for each type; an
    aggregate is a name, or a list of a name and a column's type. has_ties: whether rows have the same time.
    """

    def __init__(
        self,
        rng: Random,
        columns: Mapping[str, str],
        values: Mapping[str, Sequence[Any]],
        aggregates: Mapping[str, Sequence[str]],
        operators: Mapping[str, Sequence[str]],
        has_ties: bool,
    ):
        self.rng = rng
        self.choices = CHOICES + (ENDS if has_ties else ())
        self.table = dict(columns)
        self.values = values
        self.aggregates = aggregates
        self.operators = operators

    def view(self) -> View:
        rng = self.rng
        self.types = dict(self.table)
        expressions = {}
        for number in range(rng.choice((0, 0, 0, 1, 1, 2))):
            name = rng.choice(("e", "new", "a + b", "é")) + "xyz"[number]
            expressions[name] = Expressions(rng, self.table).expression()
            self.types[name] = self.type_of(expressions[name])
        names = list(self.types)
        view: View = {}
        if expressions:
            view["expressions"] = expressions
        groups = rng.choice((0, 0, 1, 1, 1, 2, 2, 3, rng.randint(0, 6)))
        if groups:
            view["group_by"] = self.sample(names, groups)
            mode = rng.choice((ROLLUP, ROLLUP, FLAT, TOTAL))
            if mode != ROLLUP:
                view["group_rollup_mode"] = mode
        elif rng.random() < 0.1:
            view["group_rollup_mode"] = TOTAL
        if rng.random() < 0.25:
            view["split_by"] = self.sample(names, rng.choice((1, 1, 2)))
        view["columns"] = self.sample(names, rng.choice((1, 1, 1, 2, 2, 2, 3, 3, len(names))))
        if expressions and rng.random() < 0.7:
            view["columns"] = list(dict.fromkeys([*view["columns"], *expressions]))
        if rng.random() < 0.5:
            view["sort"] = [self.sort(view, names) for _ in range(rng.choice((1, 1, 2)))]
            view["sort"] = list({one[0]: one for one in view["sort"] if one}.values())
        if rng.random() < 0.5:
            terms = [self.filter(rng.choice(names)) for _ in range(rng.choice((1, 1, 2, 3)))]
            view["filter"] = [term for term in terms if term]
            if len(terms) > 1 and rng.random() < 0.5:
                view["filter_op"] = "or"
        if groups or view.get("split_by") or "group_rollup_mode" in view:
            touched = {*view["columns"], *(sort[0] for sort in view.get("sort", []))}
            chosen = {name: self.aggregate(name) for name in names if name in touched and rng.random() < 0.7}
            if chosen := {name: value for name, value in chosen.items() if value}:
                view["aggregates"] = chosen
            view["sort"] = [
                [name, order.replace(" abs", "") if self.is_text(view, name) else order]
                for name, order in view.get("sort", [])
                if not self.is_choice(view, name)
            ]
        return {name: value for name, value in view.items() if value or name == "columns"}

    def is_choice(self, view: View, column: str) -> bool:
        """Whether a column's aggregate has not just one right value, to sort by."""
        aggregate = view.get("aggregates", {}).get(column)
        return isinstance(aggregate, list) or aggregate in self.choices

    def is_text(self, view: View, name: str) -> bool:
        """Whether what is sorted by has no absolute value."""
        aggregate = view.get("aggregates", {}).get(name, "count")
        is_counted = "count" in aggregate and name not in view.get("group_by", [])
        return self.types[name] not in NUMERIC and not is_counted

    def sample(self, names: Sequence[str], count: int) -> list[str]:
        return self.rng.sample(list(names), min(count, len(names)))

    def type_of(self, text: str) -> str:
        return Reader(text, self.table).read().replace("number", "float")

    def sort(self, view: View, names: Sequence[str]) -> list[str] | None:
        rng = self.rng
        if view.get("split_by") and rng.random() < 0.4:
            return [rng.choice(view["columns"]), rng.choice(COLUMN_SORTS)]
        name = rng.choice(view["columns"] if rng.random() < 0.6 else list(names))
        is_grouped = "group_by" in view
        numeric = self.types[name] in NUMERIC and not is_grouped
        return [name, rng.choice(SORTS if numeric or (is_grouped and rng.random() < 0.3) else SORTS[:2])]

    def aggregate(self, name: str) -> Any:
        offered = self.aggregates.get(self.types[name], ())
        chosen = self.rng.choice(offered) if offered else None
        if chosen in REFUSED_HERE:
            return None
        if chosen in WITH_COLUMN:
            others = [other for other, kind in self.types.items() if kind == "float"]
            return [chosen, [self.rng.choice(others)]] if others else None
        return chosen

    def filter(self, name: str) -> list[Any] | None:
        rng, kind = self.rng, self.types[name]
        if not self.operators.get(kind):
            return None
        operator = rng.choice(self.operators[kind])
        if operator in ("is null", "is not null"):
            return [name, operator, None]
        if operator in ("in", "not in"):
            return [name, operator, [self.value(name, kind) for _ in range(rng.choice((0, 1, 2, 3)))]]
        if operator in ("matches", "not matches"):
            return [name, operator, rng.choice(PATTERNS)]
        value = self.value(name, kind)
        if kind == STRING and value and operator not in ("==", "!=") and rng.random() < 0.5:
            value = value[: rng.randint(0, len(value))]
        return [name, operator, value]

    def value(self, name: str, kind: str) -> Any:
        """One that a filter compares the column with, often one of the column's own."""
        rng = self.rng
        own = [value for value in self.values.get(name, ()) if value is not None]
        if kind in NUMERIC:
            own = [value for value in own if abs(value) < 1e14]
        if own and rng.random() < 0.7:
            return rng.choice(own)
        match kind:
            case "integer":
                return rng.choice((0, 1, 2, 5, -1, 1.5, 30))
            case "float":
                return rng.choice((0, 1, 0.5, -2.5, 10, 100))
            case "boolean":
                return rng.random() < 0.5
            case "string":
                return rng.choice(TEXTS)
            case "date":
                return rng.choice(("2026-11-01", "2026-11-20", "1970-01-01"))
            case _:
                return rng.choice((1_795_000_000_000, 0, "2026-11-19 00:00:00", "2026-11-18T12:00:00.000Z"))


class PageViews(Views):
    """Views such as the page's: its steps of time, columns under other names, what is newest in a group."""

    def view(self) -> View:
        rng = self.rng
        view = super().view()
        key = next(name for name, kind in self.table.items() if kind == DATETIME)  # the first one is the key
        step = rng.choice(("5", "10", "1000", "15000", "60000", "86400000", "0.5"))
        expressions = {"step": f'datetime(bucket(float("{key}"), {step}))'}
        plain = [name for name in self.table if not set(name) & set("'\"\\")]
        if floats := [name for name in plain if self.table[name] == FLOAT]:
            expressions["renamed"] = f'"{rng.choice(floats)}"'
        view["expressions"] = {**view.get("expressions", {}), **expressions}
        if rng.random() < 0.7:
            part = rng.choice(("group_by", "group_by", "split_by"))
            view[part] = [*view.get(part, [])[:1], "step"] if rng.random() < 0.5 else ["step"]
        view["columns"] = list(dict.fromkeys([*view["columns"], *list(expressions)[1:], key]))
        if "group_by" in view or "split_by" in view or "group_rollup_mode" in view:
            newest = [rng.choice(("max by", "min by")), [key]]
            shown = {name: newest for name in view["columns"] if name != key and rng.random() < 0.6}
            ends = {key: rng.choice(("max", "min", "high", "low", "count"))}
            view["aggregates"] = {**view.get("aggregates", {}), **shown, **ends}
            view["sort"] = []  # which of the rows of one time is the newest is not said
        return view
