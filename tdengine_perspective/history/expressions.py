"""Owns how expressions are computed by TDengine: the syntax tree that the gate reads, as SQL.

What NULL does in it is what it does in Perspective's engine: what is computed with it is NULL, what is
compared with it is false, a condition that it is is false.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import NoReturn

from tdengine_perspective.gate.expressions import MAX_LENGTH, UNIT, ExpressionError, Node, Reader
from tdengine_perspective.history import calendar, literals
from tdengine_perspective.history.terms import (
    BOOLEAN,
    DATE,
    DATETIME,
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
from tdengine_perspective.mirror.schema import SUBTABLE
from tdengine_perspective.settings import LONGEST_TABLE

WIDEST_TEXT = 16_384  # bytes, that an NCHAR can't have more of
MAX_SQL = 50_000  # characters of one expression: its parts may be written several times
COMPARING = {"==": "=", "=": "=", "!=": "<>", "<>": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
# The steps that the engine takes, by their unit.
STEPS = {
    "s": (1, 5, 10, 15, 20, 30),
    "m": (1, 5, 10, 15, 20, 30),
    "h": (1, 2, 3, 4, 6, 12),
    "D": (1,),
    "W": (1,),
    "M": (1, 2, 3, 4, 6),
}
SHORTEST_STEP = 10  # ms, that INTERVAL takes
LENGTHS = {"s": 1000, "m": 60_000, "h": 3_600_000}  # ms
DAYS = ("1 Sunday", "2 Monday", "3 Tuesday", "4 Wednesday", "5 Thursday", "6 Friday", "7 Saturday")
MONTHS = (
    *("01 January", "02 February", "03 March", "04 April", "05 May", "06 June", "07 July", "08 August"),
    *("09 September", "10 October", "11 November", "12 December"),
)

# Functions of one number, of which {0} is the number's SQL; without a value where the engine has none.
OF_ONE = {
    "ceil": "CEIL({0})",
    "floor": "FLOOR({0})",
    "round": "ROUND({0})",
    "trunc": "TRUNCATE({0}, 0)",
    "frac": "({0} - TRUNCATE({0}, 0))",
    "sgn": "SIGN({0})",
    "abs": "ABS({0})",
    "sqrt": "CASE WHEN {0} >= 0 THEN SQRT({0}) END",
    "exp": "EXP({0})",
    "expm1": "CASE WHEN ABS({0}) < 0.00001 THEN {0} + {0} * {0} / 2 ELSE EXP({0}) - 1 END",
    "log": "CASE WHEN {0} > 0 THEN LN({0}) END",
    "log10": "CASE WHEN {0} > 0 THEN LOG({0}, 10) END",
    "log2": "CASE WHEN {0} > 0 THEN LOG({0}, 2) END",
    "log1p": "CASE WHEN ABS({0}) < 0.00001 THEN {0} - {0} * {0} / 2 WHEN {0} > -1 THEN LN(1 + {0}) END",
    "deg2rad": "({0} * 0.017453292519943295)",
    "rad2deg": "({0} * 57.29577951308232)",
    "deg2grad": "({0} * 10 / 9)",
    "grad2deg": "({0} * 9 / 10)",
    "sin": "SIN({0})",
    "cos": "COS({0})",
    "tan": "TAN({0})",
    "cot": "CASE WHEN {0} <> 0 THEN 1 / TAN({0}) END",
    "sinc": "CASE WHEN {0} <> 0 THEN SIN({0}) / {0} WHEN {0} = 0 THEN CAST(1 AS DOUBLE) END",
    "asin": "CASE WHEN {0} BETWEEN -1 AND 1 THEN ASIN({0}) END",
    "acos": "CASE WHEN {0} BETWEEN -1 AND 1 THEN ACOS({0}) END",
    "atan": "ATAN({0})",
    "sinh": "CASE WHEN ABS({0}) < 0.00001 THEN {0} ELSE (EXP({0}) - EXP(-({0}))) / 2 END",
    "cosh": "((EXP({0}) + EXP(-({0}))) / 2)",
    "tanh": "CASE WHEN ABS({0}) > 20 THEN CAST(SIGN({0}) AS DOUBLE) WHEN ABS({0}) < 0.00001 THEN {0} "
    "ELSE (EXP(2 * {0}) - 1) / (EXP(2 * {0}) + 1) END",
    "asinh": "CASE WHEN ABS({0}) < 0.00001 THEN {0} ELSE SIGN({0}) * LN(ABS({0}) + SQRT({0} * {0} + 1)) END",
    "acosh": "CASE WHEN {0} >= 1 THEN LN({0} + SQRT({0} * {0} - 1)) END",
    "atanh": "CASE WHEN ABS({0}) < 0.00001 THEN {0} WHEN ABS({0}) < 1 THEN LN((1 + {0}) / (1 - {0})) / 2 END",
}
# Of two, {0} and {1}.
OF_TWO = {
    "+": "({0} + {1})",
    "-": "({0} - {1})",
    "*": "({0} * {1})",
    "/": "CASE WHEN {1} <> 0 THEN {0} / {1} END",
    "%": "CASE WHEN {1} <> 0 THEN MOD({0}, {1}) END",
    "^": "POW({0}, {1})",
    "root": "CASE WHEN {0} >= 0 AND {1} <> 0 THEN POW({0}, 1 / {1}) END",
    "logn": "CASE WHEN {0} > 0 AND {1} > 0 AND {1} <> 1 THEN LN({0}) / LN({1}) END",
    "percent_of": "CASE WHEN {1} <> 0 THEN {0} / {1} * 100 END",
}
OF_TWO |= {"mod": OF_TWO["%"], "pow": OF_TWO["^"]}
NOT_COMPUTED = {
    "random": "TDengine has no such numbers",
    "index": "TDengine does not number its rows",
    "erf": "TDengine does not know it",
    "erfc": "TDengine does not know it",
    "today": "it depends on where it is asked",
    "match": "TDengine's patterns are others; contains() can be had",
    "match_all": "TDengine's patterns are others; contains() can be had",
    "search": "TDengine's patterns are others",
    "replace": "TDengine's patterns are others",
}


class NotCompiled(NotAnswered):
    """An expression that can't be looked back at, and where: line and column, from 0."""

    def __init__(self, text: str, line: int = 0, column: int = 0):
        super().__init__(text)
        self.line = line
        self.column = column


def compile_all(texts: Mapping[str, str], facts: Facts) -> tuple[dict[str, Term], set[str]]:
    """The expressions of a view by their names, and the columns that are in them. Raises NotAnswered."""
    terms, columns = {}, set()
    for name, text in texts.items():
        try:
            terms[name], named = compile_one(text, facts)
        except NotCompiled as error:
            raise NotAnswered(f"{name}: {error}") from None
        columns |= named
    return terms, columns


def find_types(
    texts: Mapping[str, str], facts: Facts
) -> tuple[dict[str, str], dict[str, dict[str, str | int]]]:
    """The types of expressions, and what is wrong with one that can't be had and where, by name."""
    types: dict[str, str] = {}
    wrong: dict[str, dict[str, str | int]] = {}
    for name, text in texts.items():
        try:
            types[name] = compile_one(text, facts)[0].kind
        except NotCompiled as error:
            wrong[name] = {"error_message": str(error), "line": error.line, "column": error.column}
    return types, wrong


def compile_one(text: str, facts: Facts) -> tuple[Term, set[str]]:
    """An expression as a term, and the columns in it. Raises NotCompiled."""
    try:
        if len(text) > MAX_LENGTH:
            raise ExpressionError(f"an expression can have {MAX_LENGTH:,} characters here")
        reader = Reader(text, facts.schema.perspective)
        tree = reader.read_tree()
        term = Compiler(facts, reader).value(tree)
        if tree[1] == "column" and is_float(facts.terms[tree[3]]):  # as it is, it takes half of the time
            return facts.terms[tree[3]], reader.named
        term = replace(term, as_bytes=facts.schema.as_bytes and term.kind == STRING)
        if not reader.named and facts.schema.key not in term.sql:
            return replace(term, is_constant=True, may_be_of_no_row=True), set()
        if reader.named <= facts.tags and "CASE " in term.sql:  # TDengine groups by no such CASE
            term = replace(term, sql=f"CASE WHEN {facts.schema.key} IS NOT NULL THEN {term.sql} END")
        elif reader.named <= facts.tags or "CASE " in term.sql:
            term = replace(term, may_be_of_no_row=True)
        return term, reader.named
    except NotCompiled:
        raise
    except ExpressionError as error:
        before = text[: error.place]
        line = before.count("\n")
        column = len(before) - (before.rfind("\n") + 1)
        raise NotCompiled(str(error), line, column) from None
    except NotAnswered as error:
        raise NotCompiled(str(error)) from None


class Compiler:
    """Makes SQL of one syntax tree, from its leaves up."""

    def __init__(self, facts: Facts, reader: Reader):
        self.facts = facts
        self.reader = reader
        self.variables: dict[str, Term] = {}

    def value(self, node: Node) -> Term:
        """A part as a term. Raises ExpressionError, or NotAnswered for a text that can't stand in SQL."""
        kind, what, _, parts = node
        method = getattr(self, f"value_of_{what}", None) if what.isidentifier() else None
        if method is not None:
            term = method(node)
        elif what in NOT_COMPUTED:
            self.fail(node, f"{what}() can't be looked back at: {NOT_COMPUTED[what]}")
        elif what in COMPARING or what in CONDITIONS:
            sql = f"CASE WHEN {self.condition(node)} THEN true ELSE false END"
            term = Term(sql, BOOLEAN)
        elif what in OF_ONE:
            term = Term(OF_ONE[what].format(self.operand(parts[0])), kind)
        elif what in OF_TWO:
            term = Term(OF_TWO[what].format(*map(self.operand, parts)), kind)
        else:
            self.fail(node, f"{what}() can't be looked back at")
        if len(term.sql) > MAX_SQL:
            self.fail(node, "this is too much to be looked back at")
        return term

    def fail(self, node: Node, text: str) -> NoReturn:
        raise ExpressionError(text, self.reader.place_of(node[2]))

    def operand(self, node: Node) -> str:
        """A part's SQL where it may stand within a formula."""
        sql = self.value(node).sql
        return sql if sql.isalnum() or sql.startswith("`") else f"({sql})"

    def condition(self, node: Node) -> str:
        """What is true where the part is, and false or NULL elsewhere."""
        kind, what, _, parts = node
        if what == "constant":
            return literals.always(self.facts.schema.key) if parts else literals.never(self.facts.schema.key)
        if what in COMPARING:
            return self.comparison(node)
        if what in CONDITIONS:
            return CONDITIONS[what](*(f"({self.condition(part)})" for part in parts))
        if what == "is_null":
            return self.nothing(parts[0])
        if what == "is_not_null":
            return negated(f"({self.nothing(parts[0])})")
        sql = self.operand(node)
        return f"{sql} = true" if kind == BOOLEAN else f"{sql} <> 0"

    def nothing(self, node: Node) -> str:
        """Whether a part has no value."""
        if node[0] == BOOLEAN and node[1] not in ("column", "variable", "inrange", "contains"):
            return literals.never(self.facts.schema.key)
        term = self.value(node)
        return f"{term.name} IS NULL" if term.column else f"({term.sql}) IS NULL"

    def comparison(self, node: Node) -> str:
        _, sign, _, (left, right) = node
        one, other = self.operand(left), self.operand(right)
        sql = COMPARING[sign]
        if sql == "=":
            return f"{one} = {other} OR ({one} IS NULL AND {other} IS NULL)"
        if sql == "<>":
            either = f"({one} IS NULL AND {other} IS NOT NULL) OR ({one} IS NOT NULL AND {other} IS NULL)"
            return f"{one} <> {other} OR {either}"
        is_plain = any(part[1] in ("number", "text") for part in (left, right))
        if sql in ("<", ">") or is_plain:
            return f"{one} {sql} {other}"
        return f"{one} {sql} {other} OR ({one} IS NULL AND {other} IS NULL)"

    def value_of_number(self, node: Node) -> Term:
        return Term(literals.number(float(node[3])), FLOAT)

    def value_of_pi(self, node: Node) -> Term:
        return Term("3.141592653589793", FLOAT)

    def value_of_text(self, node: Node) -> Term:
        text = node[3][1:-1]
        if "\\" in text:
            self.fail(node, "a text with a backslash can't be looked back at")
        return Term(literals.text(text), STRING)

    def value_of_constant(self, node: Node) -> Term:
        return Term("true" if node[3] else "false", BOOLEAN)

    def value_of_column(self, node: Node) -> Term:
        term = self.facts.terms[node[3]]
        if term.column and term.column.kind in UNGROUPABLE:
            self.fail(node, f"{node[3]} is of the type {term.column.kind}, with which nothing is computed")
        if term.column and term.column.kind == "NCHAR":  # its functions count and change other letters
            return Term(f"CAST({term.sql} AS VARCHAR({WIDEST_TEXT}))", STRING)
        if term.sql == SUBTABLE:  # a name, which some functions take for longer than a text can be
            return Term(f"CAST({term.sql} AS VARCHAR({LONGEST_TABLE}))", STRING)
        if term.as_double != term.sql:  # DOUBLE is what all else is computed in
            return Term(term.as_double, FLOAT)
        return term.in_ms()

    def value_of_variable(self, node: Node) -> Term:
        return self.variables[node[3]]

    def value_of_sequence(self, node: Node) -> Term:
        return [self.value(part) for part in node[3]][-1]

    def value_of_assign(self, node: Node) -> Term:
        name, value = node[3]
        self.variables[name] = self.value(value)
        return self.variables[name]

    def value_of_negative(self, node: Node) -> Term:
        return Term(f"-({self.value(node[3][0]).sql})", node[0])

    def value_of_if(self, node: Node) -> Term:
        """A choice; variables that are set in one of its branches are then chosen among, too."""
        condition, one, other = node[3]
        chosen = self.condition(condition)
        before = dict(self.variables)
        first = self.value(one)
        after_first, self.variables = self.variables, dict(before)
        second = self.value(other)
        after_second = self.variables
        for name in after_first.keys() | after_second.keys():
            here, there = after_first.get(name), after_second.get(name)
            if here is None or there is None:  # set in one branch alone: the engine has 0 elsewhere
                self.variables[name] = here or there
            elif here != there:
                self.variables[name] = self.choose(node, chosen, here, there)
        return self.choose(node, chosen, first, second)

    def choose(self, node: Node, condition: str, one: Term, other: Term) -> Term:
        first, second = (
            (as_double(one.sql), as_double(other.sql)) if one.kind == FLOAT else (one.sql, other.sql)
        )
        if one.kind == INTEGER:
            first, second = f"CAST({first} AS BIGINT)", f"CAST({second} AS BIGINT)"
        sql = f"CASE WHEN {condition} THEN {first} ELSE {second} END"
        if len(sql) > MAX_SQL:
            self.fail(node, "this is too much to be looked back at")
        return Term(sql, one.kind)

    def value_of_is_null(self, node: Node) -> Term:
        return Term(f"CASE WHEN {self.condition(node)} THEN true ELSE false END", BOOLEAN)

    value_of_is_not_null = value_of_is_null

    def value_of_min(self, node: Node) -> Term:
        return self.extreme(node, "<")

    def value_of_max(self, node: Node) -> Term:
        return self.extreme(node, ">")

    def extreme(self, node: Node, sign: str) -> Term:
        """As the engine goes from one to the next: NULL stays where it comes first."""
        found = as_double(self.value(node[3][0]).sql)
        for part in node[3][1:]:
            other = as_double(self.value(part).sql)
            found = f"CASE WHEN {other} {sign} {found} THEN {other} ELSE {found} END"
            if len(found) > MAX_SQL:
                self.fail(node, "this is too much to be looked back at")
        return Term(found, node[0])

    def value_of_sum(self, node: Node) -> Term:
        return Term("(" + " + ".join(map(self.operand, node[3])) + ")", node[0])

    def value_of_mul(self, node: Node) -> Term:
        return Term("(" + " * ".join(map(self.operand, node[3])) + ")", node[0])

    def value_of_avg(self, node: Node) -> Term:
        total = self.value_of_sum(node)
        return Term(f"({total.sql} / {len(node[3])})", node[0])

    def value_of_clamp(self, node: Node) -> Term:
        low, number, high = map(self.operand, node[3])
        return Term(
            f"CASE WHEN {number} IS NULL OR {number} < {low} THEN {as_double(low)} "
            f"WHEN {number} > {high} THEN {as_double(high)} ELSE {as_double(number)} END",
            FLOAT,
        )

    def value_of_iclamp(self, node: Node) -> Term:
        low, number, high = map(self.operand, node[3])
        return Term(
            f"CASE WHEN {number} <= {low} OR {number} >= {high} THEN {as_double(number)} "
            f"WHEN 2 * {number} <= {low} + {high} THEN {as_double(low)} "
            f"WHEN {number} IS NOT NULL THEN {as_double(high)} END",
            FLOAT,
        )

    def value_of_inrange(self, node: Node) -> Term:
        low, number, high = map(self.operand, node[3])
        return Term(
            f"CASE WHEN {low} IS NULL OR {number} IS NULL OR {high} IS NULL THEN NULL "
            f"WHEN {number} >= {low} AND {number} <= {high} THEN true ELSE false END",
            BOOLEAN,
        )

    def value_of_coalesce(self, node: Node) -> Term:
        *first, last = [self.value(part).sql for part in node[3]]
        if node[0] == FLOAT:
            *first, last = map(as_double, [*first, last])
        tried = " ".join(f"WHEN ({sql}) IS NOT NULL THEN {sql}" for sql in first)
        return Term(f"CASE {tried} ELSE {last} END", node[0])

    def value_of_integer(self, node: Node) -> Term:
        return Term(f"CAST(TRUNCATE({self.number(node)}, 0) AS BIGINT)", INTEGER)

    def value_of_float(self, node: Node) -> Term:
        return Term(as_double(self.number(node)), FLOAT)

    def number(self, node: Node) -> str:
        """What a conversion to a number takes, as one."""
        part = node[3][0]
        if part[0] in (STRING, DATE):
            self.fail(node, f"{node[1]}() of a {part[0]} can't be looked back at")
        if part[0] == BOOLEAN:
            sql = self.operand(part)
            return f"CASE WHEN {sql} = true THEN 1 WHEN {sql} = false THEN 0 END"
        return self.operand(part)

    def value_of_boolean(self, node: Node) -> Term:
        part = node[3][0]
        if part[0] in (BOOLEAN, *NUMBERS):
            condition = self.condition(part)
        elif part[0] in TIMES:
            condition = f"{self.operand(part)} <> 0"
        else:
            condition = negated(f"({self.nothing(part)})")
        return Term(f"CASE WHEN {condition} THEN true ELSE false END", BOOLEAN)

    def value_of_string(self, node: Node) -> Term:
        part = node[3][0]
        sql = self.operand(part)
        if part[0] == STRING:
            return Term(f"CASE WHEN {sql} <> '' THEN {sql} END", STRING)
        if part[0] == BOOLEAN:
            return Term(f"CASE WHEN {sql} = true THEN 'true' WHEN {sql} = false THEN 'false' END", STRING)
        if part[0] != INTEGER:
            self.fail(node, f"string() of a {part[0]} can't be looked back at")
        return Term(f"CAST({sql} AS VARCHAR(20))", STRING)

    def value_of_date(self, node: Node) -> Term:
        numbers = [plain(part) for part in node[3]]
        if None in numbers:
            self.fail(node, "date() of what is not plain numbers can't be looked back at")
        year, month, day = map(int, numbers)
        if not (1 <= year <= 9999 and 1 <= month <= 12 and 1 <= day <= 31):
            self.fail(node, "there is no such date")
        days = (date(year, month, 1) + timedelta(days=day - 1) - date(1970, 1, 1)).days
        return Term(str(days * calendar.DAY), DATE)

    def value_of_datetime(self, node: Node) -> Term:
        number = node[3][0]
        return Term(f"CAST(TRUNCATE({self.operand(number)}, 0) AS BIGINT)", DATETIME, step=self.step(number))

    def step(self, node: Node) -> str | None:
        """As INTERVAL takes it, where a part is the key's time in steps of ms, as the page writes it."""
        if node[1] != "bucket" or node[3][0][1] != "float":
            return None
        (_, _, _, (what,)), width = node[3]
        length = plain(width) or 0
        is_key = what[1] == "column" and self.facts.terms[what[3]].name == self.facts.schema.key
        return f"{int(length)}a" if is_key and length.is_integer() and length >= SHORTEST_STEP else None

    def value_of_now(self, node: Node) -> Term:
        units = self.facts.schema.units
        return Term(f"CAST(CAST(NOW() AS BIGINT) / {units} AS BIGINT)", DATETIME)

    def value_of_hour_of_day(self, node: Node) -> Term:
        time = self.operand(node[3][0])
        return Term(f"FLOOR(({time} - {calendar.day(time)} * {calendar.DAY}) / 3600000)", FLOAT)

    def value_of_day_of_week(self, node: Node) -> Term:
        days = calendar.day(self.operand(node[3][0]))
        return Term(chosen_by(f"{days} + 4 - FLOOR(({days} + 4) / 7) * 7", DAYS, 0), STRING)

    def value_of_month_of_year(self, node: Node) -> Term:
        days = calendar.day(self.operand(node[3][0]))
        return Term(chosen_by(calendar.month(days), MONTHS, 1), STRING)

    def value_of_length(self, node: Node) -> Term:
        return Term(f"CAST(LENGTH({self.operand(node[3][0])}) AS DOUBLE)", FLOAT)

    def value_of_upper(self, node: Node) -> Term:
        return self.of_text("UPPER", node)

    def value_of_lower(self, node: Node) -> Term:
        return self.of_text("LOWER", node)

    def of_text(self, function: str, node: Node) -> Term:
        """What it gives of an empty text is none."""
        text = self.operand(node[3][0])
        return Term(f"CASE WHEN {text} <> '' THEN {function}({text}) END", STRING)

    def value_of_concat(self, node: Node) -> Term:
        if len(node[3]) == 1:
            return self.value(node[3][0])
        return Term(f"CONCAT({', '.join(self.value(part).sql for part in node[3])})", STRING)

    def value_of_order(self, node: Node) -> Term:
        text, *listed = map(self.operand, node[3])
        cases = " ".join(f"WHEN {text} = {each} THEN {place}" for place, each in enumerate(listed))
        found = f"CASE {cases} WHEN {text} IS NOT NULL THEN {len(listed)} END"
        return Term(as_double(found), FLOAT)

    def value_of_substring(self, node: Node) -> Term:
        text, *parts = node[3]
        numbers = [plain(part) for part in parts]
        if None in numbers or not 1 <= len(numbers) <= 2 or min(numbers) < 0:
            self.fail(node, "substring() takes plain numbers here")
        first, *length = map(int, numbers)
        sql = self.operand(text)
        part = f"SUBSTR({', '.join([sql, str(first + 1), *map(str, length)])})"
        least = first + (length[0] if length else 1)
        return Term(f"CASE WHEN LENGTH({sql}) >= {least} THEN {part} END", STRING)

    def value_of_contains(self, node: Node) -> Term:
        text, part = map(self.operand, node[3])
        found = f"POSITION({part} IN {text}) > 0"
        return Term(f"CASE WHEN {found} THEN true WHEN {text} IS NOT NULL THEN false END", BOOLEAN)

    def value_of_replace_all(self, node: Node) -> Term:
        text, pattern, new = node[3]
        if not pattern[3][1:-1].replace(" ", "").isalnum():
            self.fail(pattern, "replace_all() takes letters and digits here, no pattern")
        before, *others = map(self.operand, (text, pattern, new))
        replaced = f"REPLACE({', '.join((before, *others))})"
        return Term(f"CASE WHEN {before} <> '' THEN {replaced} END", STRING)  # as of_text

    def value_of_bucket(self, node: Node) -> Term:
        what, width = node[3]
        if what[0] in (INTEGER, FLOAT):
            return self.bucket_of_number(self.operand(what), float(width[3]))
        found = UNIT.fullmatch(width[3])
        count, unit = int(width[3][1:-2] or 1), width[3][-2]
        if not found or count not in STEPS.get(unit, (count,)) or not 1 <= count <= 10_000:
            such = ", ".join(f"{step}{unit}" for step in STEPS.get(unit, ()))
            self.fail(width, f"there is no step of {width[3]}: it can be {such}")
        time = self.operand(what)
        if unit in LENGTHS:
            if what[0] == DATE:
                return self.value(what)
            is_key = what[1] == "column" and self.facts.terms[what[3]].name == self.facts.schema.key
            whole = f"CAST({time} / {LENGTHS[unit]} AS BIGINT)"  # towards 1970, as the engine does
            multiple = whole if count == 1 else f"CAST(FLOOR({whole} / {count}) AS BIGINT) * {count}"
            sql = f"{multiple} * {LENGTHS[unit]}"
            return Term(sql, DATETIME, step=f"{count}{unit}" if is_key else None)
        days = calendar.day(time)
        if unit == "W":
            days = f"(FLOOR(({days} + 3) / 7) * 7 - 3)"  # Monday
        elif unit in "MY":
            days = calendar.start(days, count, by_year=unit == "Y")
        return Term(f"CAST({days} * {calendar.DAY} AS BIGINT)", DATE)

    def bucket_of_number(self, sql: str, width: float) -> Term:
        if width == 0:
            return Term("CAST(NULL AS DOUBLE)", FLOAT)
        step = literals.number(width)
        return Term(f"(FLOOR({sql} / {step}) * {step})", FLOAT)


def is_float(term: Term) -> bool:
    return term.column is not None and term.column.kind == "FLOAT"


def negated(condition: str) -> str:
    """What is true where a condition is false or NULL."""
    return f"CASE WHEN {condition} THEN 0 ELSE 1 END = 1"


CONDITIONS: dict[str, Callable[..., str]] = {
    "and": lambda one, other: f"{one} AND {other}",
    "or": lambda one, other: f"{one} OR {other}",
    "nand": lambda one, other: negated(f"{one} AND {other}"),
    "nor": lambda one, other: negated(f"{one} OR {other}"),
    "xor": lambda one, other: f"CASE WHEN {one} THEN 1 ELSE 0 END <> CASE WHEN {other} THEN 1 ELSE 0 END",
    "not": lambda one: negated(one),
}


def as_double(sql: str) -> str:
    """Where it matters: FLOAT is compared as if it were less exact, CASE takes its first result's type."""
    return sql if sql.startswith("CAST(") and sql.endswith(" AS DOUBLE)") else f"CAST({sql} AS DOUBLE)"


def plain(node: Node) -> float | None:
    """The number that a part is, where it is written as one."""
    if node[1] == "number":
        return float(node[3])
    if node[1] == "negative" and (number := plain(node[3][0])) is not None:
        return -number
    return None


def chosen_by(sql: str, texts: Sequence[str], first: int) -> str:
    cases = " ".join(f"WHEN {place} THEN {literals.text(text)}" for place, text in enumerate(texts, first))
    return f"CASE {sql} {cases} END"
