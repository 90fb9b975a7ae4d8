"""Expressions as SQLite's SQL: columns, literals, conditions, arithmetic, CASE, functions and aggregates."""

import math
import re
import time
from collections.abc import Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple

from lark import Token, Tree

from tdengine_emulator import functions
from tdengine_emulator.computing import as_float, is_expression, number_of
from tdengine_emulator.functions import BYTES, FLOATS, is_null, is_number, is_text, wrong_type
from tdengine_emulator.grammar import (
    BIGINT,
    BOOL,
    DOUBLE,
    MAX_LENGTH,
    NANOSECONDS,
    TIMESTAMP,
    Term,
    literal,
    unescaped,
    unnamed,
    without_case,
)
from tdengine_emulator.store import TBNAME, VERSION, Store, Table, not_understood, quoted
from tdengine_emulator.wire import Column, TaosError, converted, refuse_if

BY_TIME = {"last", "last_row", "first"}
AGGREGATES = {
    "apercentile": "the value below which that percentage lies, by a histogram of up to 500 bins",
    "avg": "the mean of numbers, DOUBLE",
    "count": "how many rows there are (`*`), or values that are not NULL",
    "first": "the oldest value that is not NULL",
    "hyperloglog": "how many distinct values there are, here exactly",
    "last": "the newest value that is not NULL",
    "last_row": "the value, or with `*` all values, of the newest row",
    "max": "the highest value",
    "min": "the lowest value",
    "mode": "the value that comes most often",
    "spread": "the highest number less the lowest, DOUBLE",
    "stddev": "the deviation of numbers from their mean, DOUBLE",
    "sum": "the sum of numbers",
}
OTHER_FUNCTIONS = {
    "cast": "a value as one of another type",
    "cols": "columns of the row that a FIRST, LAST, LAST_ROW, MAX or MIN picks",
    "database": "the name of the database in use",
    "now": "the emulator's clock, TIMESTAMP; also without the parentheses",
    "position": "where a text stands in another, 0 where it does not",
    "server_version": "the emulator's version",
    "timezone": "the time zone of the connection",
    "today": "the beginning of this day, TIMESTAMP",
}
FUNCTIONS = AGGREGATES | OTHER_FUNCTIONS | {name: f.gives for name, f in functions.SCALARS.items()}
CALCULATED = "calculated("
DEEPEST, DEEPEST_CONDITION = 5, 9  # brackets in each other
SIGNED = ["TINYINT", "SMALLINT", "INT", "BIGINT"]
LONGEST_NUMBER = 63  # where it has to become a text
MOST_ARGUMENTS = 120  # SQLite takes 127
COLUMNS = ("column", "tbname")
CONDITIONS = ("boolean", "compared", "is_null", "among", "between", "like", "match", "literal")
BRACKETS = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|[()]""")
BRACKETS_OF_TEXT = re.compile(r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`[^`]*`|[()]""", re.DOTALL)
NAN = "'NaN'"
UNITS_OF_ANY_LENGTH = ("n", "y")


class Expressions:
    """Writes expressions. Its methods are named for the grammar's rules, get their parts, and give Terms."""

    def __init__(
        self,
        store: Store,
        text: str,
        database: str | None,
        parameters: list[Any],
        zone: tzinfo | None = None,
    ):
        self.store, self.text, self.database, self.parameters = store, text, database, parameters
        self.bound: dict[int, Any] = {}  # parameters that were met, by their places
        self.zone = zone
        self.nanoseconds = time.time_ns()
        self.table: Table | None = None  # what is read or written
        self.per_second = 1000
        self.columns: dict[str, Column] = {}  # its columns and tags, once one was asked for
        self.moment: Column | None = None  # its rows' time
        self.aliases: dict[str, Term] = {}
        self.only_rows = ""  # the condition for what is a row of the table, where there are others
        self.window: Window | None = None
        self.hoisted: dict[str, Term] | None = None  # by the texts that a name stands for
        self.is_filter = False  # whether it is WHERE that is written, and not what stands in NOT or CASE

    def visit(self, tree: Tree) -> Any:
        """What the rule's method gives; a row's value that lies too deep becomes a column by a name.

        SQLite's parser bears some 20 brackets in each other.
        """
        rule = getattr(self, tree.data, None)
        found = rule(*tree.children) if rule else Term(self.text_of(tree.children))
        if self.hoisted is None or not isinstance(found, Term) or len(found.text) < 60:
            return found
        deepest = DEEPEST_CONDITION if tree.data in CONDITIONS else DEEPEST
        if depth_of(found.text) < deepest or tree.data == "where" or has_aggregate(tree):
            return found
        known = self.hoisted.setdefault(found.text, Term(f'o."#{len(self.hoisted)}"', found.column))
        return known

    def with_hoisted(self, source: str) -> str:
        """The source with the columns that stand for what lies too deep."""
        steps = [
            f"h{at + 1} AS (SELECT *, {text} AS {term.text[2:]} FROM {f'h{at}' if at else source} AS o)"
            for at, (text, term) in enumerate((self.hoisted or {}).items())
        ]
        self.hoisted = None if self.hoisted is None else {}
        return f"(WITH {', '.join(steps)} SELECT * FROM h{len(steps)})" if steps else source

    def term_of(self, part: Tree | Token) -> Term:
        return Term(str(part)) if isinstance(part, Token) else self.visit(part)

    def text_of(self, parts: Sequence[Tree | Token | None]) -> str:
        return " ".join(self.term_of(part).text for part in parts if part)

    def where(self, _word: Token, condition: Tree) -> Term:
        self.is_filter = self.is_where = True
        text = self.visit(condition).text
        self.is_filter = self.is_where = False
        return Term(f"WHERE {text}")

    # Conditions: what is NULL in SQLite is false in TDengine, which only shows in NOT and as a value

    def value_of(self, tree: Tree) -> Term:
        """The term of an expression that is not a part of a condition."""
        before, self.is_filter = self.is_filter, False
        term = self.visit(tree)
        self.is_filter = before
        return without_null(tree, term)

    def boolean(self, *parts: Tree | Token) -> Term:
        """AND, OR and NOT."""
        for part in parts:
            if isinstance(part, Tree) and part.data not in CONDITIONS:
                raise not_understood(f"AND, OR and NOT of what is no condition: {self.written(part)}")
        if len(parts) == 2:
            return Term(f"(NOT {self.value_of(parts[1]).text})")
        texts = [self.term_of(part).text for part in parts]
        first = parts[0]
        if isinstance(first, Tree) and chained_by(first.children) == chained_by(parts):
            texts[0] = texts[0][1:-1]  # SQLite's parser bears no deep brackets
        return Term(f"({' '.join(texts)})")

    def operands(self, *parts: Tree) -> list[Term]:
        """What is compared: a text beside a time becomes a time, beside bytes bytes, beside a number one."""
        terms = [self.visit(part) for part in parts]
        for column in [term.column for term in terms if term.column.kind in ("TIMESTAMP", *BYTES)]:
            for at, term in enumerate(terms):
                if isinstance(term.value, str):
                    column = column._replace(length=MAX_LENGTH)
                    terms[at] = literal(converted(term.value, column, self.per_second, self.zone))
        if any(is_number(term.column) or term.column.kind == "BOOL" for term in terms):
            with_bool = any(term.column.kind == "BOOL" for term in terms)
            terms = [number_term(term, with_bool) if is_text(term.column) else term for term in terms]
        return terms

    def compared(self, left: Tree, mark: Token, right: Tree) -> Term:
        a, b = self.operands(left, right)
        refuse_if(a.column == TBNAME and b.value == "", 0x0118, "Invalid parameters")
        is_plain = self.is_filter and left.data == "column" and right.data in ("literal", "negative")
        return Term(f"({comparison(a, str(mark), b, is_plain)})")

    def is_null(self, *parts: Tree | Token) -> Term:
        return Term(f"({self.text_of(parts)})")

    def among(self, what: Tree, *parts: Tree | Token) -> Term:
        values = [part for part in parts if isinstance(part, Tree)]
        is_not = " NOT" if str(parts[0]).upper() == "NOT" else ""
        first, *others = self.operands(what, *values)
        if is_not and any(map(is_null, others)):
            return Term("(0)")
        texts = [comparable(term) for term in others if not is_null(term)]
        return Term(f"({comparable(first)}{is_not} IN ({', '.join(texts)}))")

    def between(self, what: Tree, *parts: Tree | Token) -> Term:
        low, high = (part for part in parts if isinstance(part, Tree))
        value, least, most = self.operands(what, low, high)
        is_plain = self.is_filter and what.data == "column"
        text = f"{comparison(value, '>=', least, is_plain)} AND {comparison(value, '<=', most, is_plain)}"
        return Term(f"(NOT ({text}))" if str(parts[0]).upper() == "NOT" else f"({text})")

    def like(self, what: Tree, *parts: Tree | Token) -> Term:
        term, pattern = self.visit(what), self.visit(parts[-1])
        refuse_if(not is_text(term.column), 0x0200, "Invalid operation")
        name = "like" if term.column.kind == "NCHAR" else "like_bytes"
        is_not = "NOT " if str(parts[0]).upper() == "NOT" else ""
        return Term(f"({is_not}{name}({term.text}, {pattern.text}))")

    def match(self, what: Tree, word: Token, pattern: Tree) -> Term:
        term, by = self.visit(what), self.visit(pattern)
        refuse_if(not is_text(term.column), 0x0200, "Invalid operation")
        refuse_if(not is_expression(by.value), 0x2681, "Syntax error in regular expression")
        is_not = "NOT " if word.upper() == "NMATCH" else ""
        return Term(f"({is_not}matches({term.text}, {by.text}))")

    # Arithmetic

    def calculation(self, left: Tree, mark: Token, right: Tree) -> Term:
        first, second = self.visit(left), self.visit(right)
        kinds = first.column.kind, second.column.kind
        if "TIMESTAMP" in kinds and mark in "+-":
            return self.time_calculation(first, str(mark), second)
        if any(kind in FLOATS for kind in kinds):
            first, second = (
                Term(comparable(term), DOUBLE) if term.column.precision else term for term in (first, second)
            )
        for term in (first, second):
            if term.column.precision or term.column.kind in (*BYTES, "JSON"):
                raise not_understood(f"arithmetic of {term.column.kind}")
        first, second = (
            number_term(term, False) if is_text(term.column) else term for term in (first, second)
        )
        if mark in "+-*" and is_finite(first) and is_finite(second):
            is_long = left.data == "calculation" and (mark in "+-" or left.children[1] not in "+-")
            begin = first.text[1:-1] if is_long and first.text[0] == "(" else f"1.0 * {first.text}"
            return Term(f"({begin} {mark} {second.text})", DOUBLE)
        return Term(calculated(first, mark, second, left.data == "calculation"), DOUBLE)

    def time_calculation(self, first: Term, mark: str, second: Term) -> Term:
        is_both = first.column.kind == second.column.kind
        refuse_if(is_both, 0x0200, "Invalid operation")
        if any(term.column.kind in FLOATS for term in (first, second)):
            return Term(calculated(first, mark, second, False), DOUBLE)
        return Term(f"({first.text} {mark} {second.text})", TIMESTAMP)

    def negative(self, _minus: Token, tree: Tree) -> Term:
        term = self.visit(tree)
        if isinstance(term.value, int | Decimal) and not isinstance(term.value, bool):
            return literal(-term.value)
        refuse_if(not is_number(term.column) and term.column.kind != "BOOL", 0x0200, "Invalid operation")
        if is_finite(term):
            return Term(f"(0.0 - {term.text})", DOUBLE)
        return Term(calculated(Term("0"), "-", term, False), DOUBLE)

    def positive(self, _plus: Token, tree: Tree) -> Term:
        return self.visit(tree)

    # Values

    def literal(self, token: Token) -> Term:
        if token.type == "NUMBER":
            return literal(int(token) if token.isdigit() else Decimal(token))
        if token.type == "STRING":
            return literal(unescaped(token))
        if token.type == "DURATION":
            if token[-1].lower() in UNITS_OF_ANY_LENGTH:
                raise not_understood(f"{token}, whose length varies")
            nanoseconds = int(token[:-1]) * NANOSECONDS[token[-1].lower()]
            return Term(str(nanoseconds * self.per_second // 1_000_000_000), BIGINT, unit=str(token))
        return literal({"NULL": None, "TRUE": True, "FALSE": False}[token.type])

    def parameter(self, mark: Token) -> Term:
        at = int(mark.start_pos or 0)
        if at not in self.bound and self.parameters:
            self.bound[at] = self.parameters.pop(0)
        return literal(self.bound[at]) if at in self.bound else Term("?")

    def now(self, *_: Token) -> Term:
        return Term(str(self.nanoseconds * self.per_second // 1_000_000_000), TIMESTAMP)

    def today(self, *_: Token) -> Term:
        day = NANOSECONDS["d"]
        return Term(str(self.nanoseconds // day * day * self.per_second // 1_000_000_000), TIMESTAMP)

    def known_columns(self) -> dict[str, Column]:
        if self.table and not self.columns:
            self.columns = {column.name: column for column in [*self.table.columns, *self.table.tags]}
        return self.columns

    def column(self, _table: str | None, name: str) -> Term:
        if column := self.known_columns().get(str(name)):
            return self.of_column(column)
        refuse_if(name not in self.aliases, 0x2602, f"Invalid column name: {name}")
        return self.aliases[str(name)]

    def tbname(self, _table: str | None, _word: Token) -> Term:
        if self.table is None and "tbname" in self.columns:
            return self.of_column(self.columns["tbname"])
        refuse_if(self.table is None, 0x2602, "Invalid column name: tbname")
        return Term('o."#tbname"', TBNAME)

    def of_column(self, column: Column) -> Term:
        return Term(f"o.{quoted(column.name)}", column)

    def pseudo(self, token: Token) -> Term:
        if self.window is None:
            complaint = "_WSTART, _WEND and _WDURATION can only be used in window query"
            raise TaosError(0x2658, complaint)
        return self.window.of_name(token.lower())

    def cast(self, _cast: Token, _open: Token, tree: Tree, _as: Token, column: Column, _close: Token) -> Term:
        term = self.value_of(tree)
        if is_text(term.column) and isinstance(term.value, str) and column.kind == "TIMESTAMP":
            return literal(converted(term.value, column, self.per_second, self.zone))._replace(column=column)
        return functions.cast(term, column)

    def case(self, *parts: Tree | Token | None) -> Term:
        """CASE: its type is the widest of its values'."""
        subject, whens = parts[1], [part for part in parts if isinstance(part, Tree) and part.data == "when"]
        other = parts[-2] if isinstance(parts[-2], Tree) and parts[-2].data != "when" else None
        texts, values = [], []
        for when in whens:
            condition, value = when.children
            if subject is None:
                texts.append(self.value_of(condition).text)
            else:
                a, b = self.operands(subject, condition)
                texts.append(f"({comparison(a, '=', b, False)}) IS TRUE")
            values.append(self.value_of(value))
        values.append(self.value_of(other) if other else Term("NULL", unnamed("VARCHAR")))
        column = common_type(values)
        *results, last = (as_type(value, column).text for value in values)
        branches = " ".join(f"WHEN {text} THEN {result}" for text, result in zip(texts, results, strict=True))
        return Term(f"(CASE {branches} ELSE {last} END)", column)

    def position(self, _word: Token, _open: Token, part: Tree, _in: Token, text: Tree, _close: Token) -> Term:
        terms = [self.visit(part), self.visit(text)]
        functions.check("position", terms, is_text)
        return Term(functions.called("place_of", terms), BIGINT)

    # Functions

    def call(self, word: Token, _open: Token, *parts: Tree | Token | None) -> Term:
        name, arguments = word.lower(), [part for part in parts if isinstance(part, Tree) or part == "*"]
        if name in AGGREGATES:
            refuse_if(self.is_within_aggregate, 0x2627, "Aggregate functions do not support nesting")
            refuse_if(self.is_filter or self.is_where, 0x2608, "There mustn't be aggregation")
        if name == "count" and arguments:
            refuse_if(len(arguments) > 1, 0x2801, "Invalid number of parameters : count")
            text = self.within_aggregate(arguments[0]).text
            if self.only_rows:
                counted = "1" if arguments[0] == "*" else text
                return Term(f"COUNT(CASE WHEN {self.only_rows} IS NOT NULL THEN {counted} END)", BIGINT)
            return Term(self.aggregated(f"COUNT({text})"), BIGINT)
        if name in AGGREGATES and arguments and isinstance(arguments[0], Tree):
            return self.aggregate(name, arguments)
        if name in functions.SCALARS and all(isinstance(part, Tree) for part in arguments):
            return functions.scalar(name, [self.value_of(part) for part in arguments], self.per_second)
        if name in ("server_version", "database") and not arguments:
            return literal(VERSION if name == "server_version" else self.database)
        if name == "timezone" and not arguments:
            return literal(f"{datetime.now(self.zone).astimezone(self.zone):{self.zone or '%Z'} (%Z, %z)}")
        return self.refused(name)

    def refused(self, name: str) -> Term:
        if name == "percentile":
            is_whole = self.table is None or self.table.subtable is None
            refuse_if(is_whole, 0x265F, "percentile is only supported in single table query")
        if name == "unique":
            complaint = "unique function is not supported in window query or group query"
            refuse_if(self.is_grouped, 0x264F, complaint)
        if name in FUNCTIONS:
            raise not_understood(f"{name} of that")
        refuse_if(name not in functions.OTHERS, 0x0374, "Func not exists")
        raise not_understood(f"unknown function {name}")

    is_grouped = is_within_aggregate = is_where = False

    def within_aggregate(self, part: Tree | Token) -> Term:
        if isinstance(part, Token):
            return self.term_of(part)
        self.is_within_aggregate = True
        term = self.value_of(part)
        self.is_within_aggregate = False
        return term

    def aggregated(self, text: str, condition: str = "") -> str:
        """An aggregate of those rows for which a condition holds."""
        return f"{text} FILTER (WHERE {condition})" if condition else text

    def aggregate(self, name: str, arguments: list[Tree]) -> Term:
        if len(arguments) > (2 if name == "apercentile" else 1):
            raise not_understood(f"{name} of several")
        term = self.within_aggregate(arguments[0])
        text, column = comparable(term), term.column._replace(name="")
        if name in BY_TIME:
            return self.value_by_time(name, term)
        is_time = column.kind == "TIMESTAMP"
        if name in ("min", "max"):
            is_wrong = column.kind in ("TIMESTAMP", "BOOL", "JSON", *BYTES)
            refuse_if(is_wrong, 0x2802, f"Invalid parameter data type : {name}")
            if column.precision:
                pick = "value_at_lowest" if name == "min" else "value_at"
                return Term(self.aggregated(f"{pick}({text}, {term.text})"), column)
            condition = f"{text} <> {NAN}" if column.kind in FLOATS else ""
            if is_null(term):
                column = BIGINT
            return Term(self.aggregated(f"{name.upper()}({text})", condition), column)
        if name == "mode":
            return Term(self.aggregated(f"most({text})"), column)
        if name == "hyperloglog":
            return Term(self.aggregated(f"distinct_count({text})"), BIGINT)
        if column.precision and name in ("sum", "avg"):
            return self.of_decimals(name, term)
        if not (is_number(column) or is_null(term) or (name == "spread" and is_time)):
            raise wrong_type(name)
        if name == "apercentile":
            percent = self.visit(arguments[1]).text if len(arguments) > 1 else "NULL"
            return Term(self.aggregated(f"percentile({text}, {percent})"), DOUBLE)
        if name == "spread":
            known = f"{text} <> {NAN}" if column.kind in FLOATS else ""
            ends = [self.aggregated(f"{end}({text})", known) for end in ("MAX", "MIN")]
            return Term(f"({ends[0]} - 1.0 * {ends[1]})", DOUBLE)
        if name == "stddev":
            return self.deviation(text, column)
        return self.sum_or_mean(name, text, column)

    def of_decimals(self, name: str, term: Term) -> Term:
        """A sum has the digits behind the point of its column, a mean 6 at least."""
        scale = term.column.scale if name == "sum" else max(term.column.scale, 6)
        text = f"decimal_{'sum' if name == 'sum' else 'mean'}({term.text}, {scale})"
        return Term(self.aggregated(text), unnamed("DECIMAL")._replace(precision=38, scale=scale))

    def sum_or_mean(self, name: str, text: str, column: Column) -> Term:
        if column.kind not in FLOATS:
            is_unsigned = "UNSIGNED" in column.kind
            result = (unnamed("BIGINT UNSIGNED") if is_unsigned else BIGINT) if name == "sum" else DOUBLE
            if name == "sum" and column.kind.startswith("BIGINT"):
                return Term(self.aggregated(f"wrapped_sum({text}, {int(is_unsigned)})"), result)
            return Term(self.aggregated(f"{name.upper()}({text})"), result)
        if "(" in text:  # which is not to be computed several times
            return Term(self.aggregated(f"finite_{'sum' if name == 'sum' else 'mean'}({text})"), DOUBLE)
        # As in TDengine, one NaN or infinity makes the result NULL: SQLite's 0 * infinity is NULL.
        text = self.aggregated(f"{name.upper()}(iif({text} = {NAN}, 9e999, {text}))")
        return Term(f"({text} + 0 * {text})", DOUBLE)

    def deviation(self, text: str, column: Column) -> Term:
        bits = 0 if column.kind in FLOATS else 64 if column.kind.startswith("BIGINT") else 32
        return Term(self.aggregated(f"deviation({text}, {bits})"), DOUBLE)

    def value_by_time(self, name: str, term: Term) -> Term:
        """LAST, FIRST, LAST_ROW: the value at the newest or oldest time."""
        if self.table and not self.table.id:
            raise not_understood(f"{name} of a table without a timestamp")
        refuse_if(self.moment is None, 0x2674, "Valid primary timestamp required")
        moment = self.of_column(self.moment).text
        pick = "value_at_lowest" if name == "first" else "value_at"
        second = (
            "".join(f", {self.of_column(column).text}" for column in self.table.key[1:]) if self.table else ""
        )
        text, condition = f"{pick}({moment}, {term.text}{second})", ""
        if term.text == moment:  # which the index finds
            return Term(f"{'MIN' if name == 'first' else 'MAX'}({moment})", term.column._replace(name=""))
        if name != "last_row":
            condition = f"{term.text} IS NOT NULL"
        return Term(self.aggregated(text, condition), term.column._replace(name=""))

    def written(self, tree: Tree) -> str:
        """How TDengine repeats an expression: with the brackets around it, which the tree has not."""
        tokens = list(tree.scan_values(lambda part: isinstance(part, Token)))
        start, end = tokens[0].start_pos, tokens[-1].end_pos
        start = len(self.text[:start].rstrip("( \t\r\n"))
        start += len(self.text[start:]) - len(self.text[start:].lstrip())
        marks = BRACKETS_OF_TEXT.findall(self.text[start:end])
        for _ in range(marks.count("(") - marks.count(")")):
            end = self.text.index(")", end) + 1
        return without_case(self.text[start:end])


class Window(NamedTuple):
    """INTERVAL's windows: the term of the start and end of that which a row is in."""

    start: str
    end: str

    def of_name(self, name: str) -> Term:
        if name == "_wduration":
            return Term(f"({self.end} - {self.start})", BIGINT)
        return Term(self.start if name == "_wstart" else self.end, TIMESTAMP)


def calculated(first: Term, mark: str, second: Term, may_go_on: bool) -> str:
    """An operation in Python; one on another's result joins it, since SQLite bears no depth."""
    is_long = first.text.count(",") > MOST_ARGUMENTS
    if may_go_on and first.text.startswith(CALCULATED) and not is_long:
        return f"{first.text[:-1]}, '{mark}', {second.text})"
    return f"{CALCULATED}{first.text}, '{mark}', {second.text})"


def depth_of(text: str) -> int:
    """How many brackets lie in each other."""
    depth = deepest = 0
    for mark in BRACKETS.findall(text):
        depth += 1 if mark == "(" else -1 if mark == ")" else 0
        deepest = max(deepest, depth)
    return deepest


def has_aggregate(tree: Tree) -> bool:
    if str(tree.data) == "call" and tree.children[0].lower() in AGGREGATES:
        return True
    return any(has_aggregate(part) for part in tree.children if isinstance(part, Tree))


def chained_by(parts: Sequence[Tree | Token]) -> str:
    """AND or OR where that joins the parts; empty where it does not."""
    word = parts[1].upper() if len(parts) == 3 and isinstance(parts[1], Token) else ""
    return word if word in ("AND", "OR") else ""


def without_null(tree: Tree, term: Term) -> Term:
    """A condition as a value: what is NULL in SQLite is false."""
    is_condition = tree.data in CONDITIONS and tree.data not in ("literal", "is_null")
    return term._replace(text=f"({term.text} IS TRUE)", column=BOOL) if is_condition else term


def number_term(term: Term, with_bool: bool) -> Term:
    """A text as the number that it begins with; beside a BOOL, `true` is 1."""
    if is_null(term):
        return term
    if isinstance(term.value, str):
        if with_bool and term.value.lower() in ("true", "false"):
            return literal(int(term.value.lower() == "true"))
        return literal(Decimal(repr(number_of(term.value))))
    return Term(f"number_of({term.text})", DOUBLE)


def is_finite(term: Term) -> bool:
    """Whether its value is neither NaN nor infinite, nor kept as text."""
    kind = term.column.kind
    if term.value is not None or is_null(term):
        return True
    return (kind not in FLOATS and kind != "BIGINT UNSIGNED") or term.text.startswith(("(1.0 *", "(0.0 -"))


def comparison(a: Term, mark: str, b: Term, is_plain: bool) -> str:
    """Two terms compared; `is_plain`: as WHERE compares a column with a literal, for which NaN is lowest."""
    if is_null(a) or is_null(b):
        return "0"
    first, second = comparable(a), comparable(b)
    if "DOUBLE" in (a.column.kind, b.column.kind):  # as which a BIGINT is compared, too
        first, second = (
            f"1.0 * {text}" if term.column.kind == "BIGINT" and term.value is None else text
            for text, term in ((first, a), (second, b))
        )
    if not any(term.column.kind in FLOATS and term.value is None for term in (a, b)):
        return f"{first} {mark} {second}"
    kinds = (a.column.kind, b.column.kind)
    has_float, has_integer = "FLOAT" in kinds, any("INT" in kind for kind in kinds)
    if has_float:
        first, second = single(a), single(b)
    how = f"{int(has_float)}, {int(has_integer)}"
    if mark in ("=", "<>", "!="):
        if is_plain and not has_float:
            return f"{first} = {second}" if mark == "=" else f"{first} <> {second} AND {first} <> {NAN}"
        known = f" AND {first} <> {NAN}" if is_plain and has_integer else ""
        same = f"same({first}, {second}, {how})"
        return f"{same}{known}" if mark == "=" else f"NOT {same}"
    if is_plain:
        return f"iif({first} = {NAN}, -9e999, {first}) {mark} {second}"
    if mark in (">", ">="):
        first, second = second, first
    return f"{'not_more' if '=' in mark else 'less'}({first}, {second}, {how})"


def single(term: Term) -> str:
    """A term beside a FLOAT: a literal as the FLOAT that is nearest."""
    if isinstance(term.value, int | Decimal):
        number = as_float(term.value)
        return repr(number) if math.isfinite(number) else term.text
    return comparable(term)


def common_type(terms: list[Term]) -> Column:
    """The type that CASE gives: that of all terms or the widest of whole or other numbers, else a text."""
    columns = [term.column for term in terms if not is_null(term)]
    if not columns:
        return unnamed("VARCHAR")
    kinds = [column.kind for column in columns]
    if any(column.precision for column in columns):
        raise not_understood("CASE of DECIMAL")
    if len(set(kinds)) == 1:
        longest = max(columns, key=lambda column: column.length)._replace(name="")
        return longest._replace(length=max(longest.length, 2)) if is_text(longest) else longest
    if set(kinds) <= {"FLOAT", "DOUBLE"}:
        return DOUBLE
    if set(kinds) <= {"BOOL", *SIGNED}:
        return unnamed(max(kinds, key=["BOOL", *SIGNED].index))
    length = max(column.length if is_text(column) else LONGEST_NUMBER for column in columns)
    return unnamed("NCHAR" if "NCHAR" in kinds else "VARCHAR", length)


def as_type(term: Term, column: Column) -> Term:
    """The term as a value of the type."""
    if is_null(term) or term.column.kind == column.kind:
        return term
    if is_text(term.column) and is_text(column):
        return term
    return functions.cast(term, column)


def comparable(term: Term) -> str:
    """The term as SQLite can compare it: DECIMALs, which are text there, as numbers."""
    return f"CAST({term.text} AS REAL)" if term.column.precision else term.text
