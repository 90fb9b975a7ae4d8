"""TDengine's SQL, as much of it as the demo and its tests use: a statement's text in, its Result out.

A recursive-descent parser that writes SQLite's SQL as it reads TDengine's and leaves all else to the Store. sqlglot was
tried first: of the statements here it reads only SELECT and DELETE, and those without durations (12h) and PARTITION BY.
"""

import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

from tdengine_emulator.store import (
    VERSION,
    Column,
    Relation,
    Result,
    Store,
    TableName,
    TaosError,
    Target,
    quote,
)
from tdengine_emulator.wire import TYPES, Field, Type

Item = TypeVar("Item")
TOKEN = re.compile(
    r"""\s*(?: (?P<duration>\d+[a-z]\b)
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)
    | (?P<string>'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*")
    | (?P<quoted>`[^`]+`)
    | (?P<word>[a-z_]\w*)
    | (?P<mark><=|>=|<>|!=|\S) | (?P<end>$))""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL | re.ASCII,
)
ESCAPED = re.compile(r"\\(.)|''|\"\"", re.DOTALL)
ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
CLAUSES = {
    "from",
    "where",
    "partition",
    "group",
    "order",
    "limit",
    "offset",
    "as",
    "and",
    "or",
    "asc",
    "desc",
}
TICKS_A_SECOND = {"a": 1_000, "u": 1_000_000, "b": 1_000_000_000}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
BOOL, BIGINT, DOUBLE, VARCHAR, TIMESTAMP = (
    TYPES[name] for name in ("BOOL", "BIGINT", "DOUBLE", "VARCHAR", "TIMESTAMP")
)
AGGREGATES = {"count", "avg", "min", "max", "sum", "last", "last_row", "first"}
PICKS = {"last": "DESC", "last_row": "DESC", "first": "ASC"}
UNDERSTOOD = (
    "CREATE, DROP and USE of databases, CREATE, DROP and DESCRIBE of tables, ALTER TABLE … SET TAG, SHOW, INSERT, DELETE, "
    "and SELECT with WHERE, PARTITION BY, GROUP BY, ORDER BY, LIMIT, "
    + ", ".join(sorted(AGGREGATES))
    + ", cast, now"
)


def not_understood(detail: str) -> TaosError:
    return TaosError(
        0x2600, f"{detail} (this is the emulator {VERSION}, not TDengine; it understands {UNDERSTOOD})"
    )


class Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


class Term(NamedTuple):
    """A piece of SQLite's SQL with the type and length that TDengine gives it; a literal's value."""

    text: str
    type: Type = BOOL
    length: int = 1
    value: Any = None


@dataclass
class Parameter:
    """A question mark among an INSERT's values."""


@dataclass
class Insert:
    """One table's part of an INSERT: where to, its tags, its rows."""

    target: Target
    tags: list[Any]
    rows: list[list[Any]]


class Statement:
    """One statement's text, read in the database that its connection uses."""

    def __init__(self, store: Store, text: str, database: str | None, parameters: Sequence[Any] = ()):
        self.store, self.text, self.current, self.parameters = store, text, database, iter(parameters)
        self.tokens = []
        position = 0
        while not self.tokens or self.tokens[-1].kind != "end":
            match = TOKEN.match(text, position)
            assert match and match.lastgroup
            position = match.end()
            self.tokens.append(Token(match.lastgroup, match[match.lastgroup], *match.span(match.lastgroup)))
        self.at = 0
        self.relation: Relation | None = None
        self.per_second = 1000
        self.alias = "o"
        self.called: set[str] = set()
        self.columns_used: set[str] = set()
        self.where_at = self.groups_at = 0

    def run(self) -> Result:
        """Do what the text says; raises TaosError."""
        verb = self.tokens[0].text.lower()
        do = getattr(self, f"run_{verb}", None) if self.tokens[0].kind == "word" else None
        if do is None:
            raise TaosError(0x2600, f'syntax error near "{self.text.strip().lower()}"')
        self.at = 1
        return do()

    # Words

    def problem(self) -> TaosError:
        return not_understood(f'syntax error near "{self.text[self.tokens[self.at].start :].lower()}"')

    def next_is(self, words: str) -> bool:
        expected = words.split()
        upcoming = self.tokens[self.at : self.at + len(expected)]
        return [token.text.lower() for token in upcoming if token.kind in ("word", "mark")] == expected

    def accept(self, words: str) -> bool:
        found = self.next_is(words)
        self.at += len(words.split()) if found else 0
        return found

    def expect(self, words: str) -> None:
        if not self.accept(words):
            raise self.problem()

    def take(self, *kinds: str) -> str:
        if self.tokens[self.at].kind not in kinds:
            raise self.problem()
        self.at += 1
        return self.tokens[self.at - 1].text

    def name(self) -> str:
        text = self.take("word", "quoted")
        return text[1:-1] if text[0] == "`" else text.lower()

    def integer(self) -> int:
        if not self.tokens[self.at].text.isdigit():
            raise self.problem()
        return int(self.take("number"))

    def string(self) -> str:
        def unescaped(found: re.Match[str]) -> str:
            return ESCAPES.get(found[1], found[1]) if found[1] else found[0][0]

        return ESCAPED.sub(unescaped, self.take("string")[1:-1])

    def listed(self, item: Callable[[], Item]) -> list[Item]:
        items = [item()]
        while self.accept(","):
            items.append(item())
        return items

    def in_brackets(self, item: Callable[[], Item]) -> list[Item]:
        self.expect("(")
        items = self.listed(item)
        self.expect(")")
        return items

    def table(self) -> TableName:
        first = self.name()
        return TableName(self.name(), first) if self.accept(".") else TableName(first, self.current)

    def end(self) -> None:
        self.accept(";")
        if self.tokens[self.at].kind != "end":
            raise self.problem()

    # Databases and tables

    def run_create(self) -> Result:
        if self.accept("database"):
            quietly, name, options = self.accept("if not exists"), self.name(), {}
            while self.tokens[self.at].kind == "word":
                option = self.name()
                is_text = self.tokens[self.at].kind == "string"
                options[option] = self.string() if is_text else self.take("number", "duration")
            self.end()
            return self.store.create_database(name, options.get("precision", "ms"), quietly)
        if not self.accept("stable"):
            self.expect("table")
        quietly, table = self.accept("if not exists"), self.table()
        if self.accept("using"):
            insert = self.using(table)
            self.end()
            return self.store.create_subtable(insert.target, self.converted_tags(insert), quietly)
        columns = self.in_brackets(self.column)
        tags = self.in_brackets(self.column) if self.accept("tags") else []
        self.end()
        return self.store.create_table(table, columns, tags, quietly)

    def column(self) -> Column:
        return Column(self.name(), *self.type(), self.accept("primary key"))

    def type(self) -> tuple[str, int]:
        name = self.name().upper()
        if self.accept("unsigned"):
            name += " UNSIGNED"
        length = self.in_brackets(self.integer)[0] if self.next_is("(") else 0
        name = {"BINARY": "VARCHAR", "INTEGER": "INT"}.get(name, name)
        if name not in TYPES:
            raise not_understood(f"unknown type {name}")
        return name, TYPES[name].size or length

    def run_drop(self) -> Result:
        if self.accept("database"):
            quietly, name = self.accept("if exists"), self.name()
            self.end()
            return self.store.drop_database(name, quietly)
        if not self.accept("stable"):
            self.expect("table")
        quietly, table = self.accept("if exists"), self.table()
        self.end()
        return self.store.drop_table(table, quietly)

    def run_use(self) -> Result:
        name = self.name()
        self.end()
        self.store.database(name)
        return Result(use=name)

    def run_describe(self) -> Result:
        table = self.table()
        self.end()
        return self.store.describe(table)

    run_desc = run_describe

    def run_show(self) -> Result:
        what, database = self.name(), self.current
        if self.accept("."):
            what, database = self.name(), what
        elif self.accept("from"):
            database = self.name()
        self.end()
        if what not in ("databases", "stables", "tables"):
            raise not_understood(f"unknown SHOW {what}")
        return self.store.show(what, database)

    def run_alter(self) -> Result:
        self.expect("table")
        table = self.table()
        self.expect("set tag")
        tag = self.name()
        self.expect("=")
        value = self.value()
        self.end()
        return self.store.set_tag(table, tag, value)

    # Writing

    def run_insert(self) -> Result:
        inserts = self.inserts()
        with self.store.transaction():
            return Result(affected=sum(self.insert(insert) for insert in inserts))

    def insert(self, insert: Insert) -> int:
        located = self.store.locate(insert.target)
        if any(len(row) != len(located.columns) for row in insert.rows):
            raise TaosError(0x263A, "Illegal number of columns")
        columns = [
            [self.store.converted(value, column, located.database) for value in values]
            for column, values in zip(located.columns, zip(*insert.rows, strict=True), strict=True)
        ]
        return self.store.upsert(located, self.converted_tags(insert), columns)

    def converted_tags(self, insert: Insert) -> list[Any]:
        located = self.store.locate(insert.target)
        if len(insert.tags) != len(located.tags):
            raise TaosError(0x260D, "Tags number not matched")
        return [
            self.store.converted(value, tag, located.database)
            for value, tag in zip(insert.tags, located.tags, strict=True)
        ]

    def inserts(self) -> list[Insert]:
        """The parts of INSERT INTO, one a table."""
        self.expect("into")
        inserts = []
        while not inserts or self.tokens[self.at].kind in ("word", "quoted"):
            table = TableName("", self.current) if self.accept("?") else self.table()
            columns = self.in_brackets(self.name) if self.next_is("(") else None
            insert = self.using(table) if self.accept("using") else Insert(Target(table), [], [])
            insert.target.column_names = self.in_brackets(self.name) if self.next_is("(") else columns
            self.expect("values")
            while not insert.rows or self.accept(",") or self.next_is("("):
                insert.rows.append(self.in_brackets(self.value))
            inserts.append(insert)
        self.end()
        return inserts

    def using(self, table: TableName) -> Insert:
        supertable = self.table()
        names = self.in_brackets(self.name) if self.next_is("(") else None
        self.expect("tags")
        return Insert(Target(table, supertable, names), self.in_brackets(self.value), [])

    def value(self) -> Any:
        """A constant among VALUES, TAGS or behind SET TAG."""
        if self.accept("?"):
            return Parameter()
        term = self.sum()
        if term.value is not None or term.text == "NULL":
            return term.value
        return next(self.store.rows(f"SELECT {term.text}"))[0]

    def run_delete(self) -> Result:
        self.expect("from")
        self.read_from()
        assert self.relation
        where = self.where()
        self.end()
        return self.store.delete(self.relation, where)

    # Reading

    def run_select(self) -> Result:
        distinct, items_at = self.accept("distinct"), self.at
        depth = 0
        while self.tokens[self.at].kind != "end" and (depth or not self.next_is("from")):
            depth += {"(": 1, ")": -1}.get(self.tokens[self.at].text, 0)
            self.at += 1
        from_at = self.at
        where, groups, is_partition = "", [], False
        if self.accept("from"):
            self.read_from()
            where = self.where()
            is_partition, groups = self.next_is("partition by"), self.groups()
        rest_at, self.at = self.at, items_at
        items = [item for items in self.listed(self.item) for item in items]
        if self.at != from_at:
            raise self.problem()
        self.at = rest_at
        order = self.listed(partial(self.sort_key, items)) if self.accept("order by") else []
        limit = self.limit() if self.accept("limit") else ""
        self.end()
        if is_partition and not self.called:
            raise not_understood("PARTITION BY without an aggregate")

        text = f"SELECT {'DISTINCT ' if distinct else ''}{', '.join(term.text for _, term in items)}"
        if relation := self.relation:
            source = relation.source
            if distinct and relation.tags_source and self.columns_used <= relation.tag_names:
                source = relation.tags_source
            if self.called and self.called <= PICKS.keys() and not groups:
                text += f" WHERE EXISTS (SELECT 1 FROM {source} AS o{where})"
            else:
                text += f" FROM {source} AS o{where}"
        text += f" GROUP BY {', '.join(groups)}" if groups else ""
        text += f" ORDER BY {', '.join(order)}" if order else ""
        fields = [Field(name, term.type, term.length) for name, term in items]
        return Result(
            fields, self.store.rows(text + limit), precision=self.relation.precision if self.relation else 0
        )

    def read_from(self) -> None:
        self.relation = self.store.relation(self.table())
        self.per_second = self.relation.per_second

    def where(self) -> str:
        """The WHERE clause for the rows that carry the alias, a subtable's restriction included."""
        self.where_at = self.at
        conditions = (
            [f"{self.alias}.{self.relation.restriction}"]
            if self.relation and self.relation.restriction
            else []
        )
        if self.accept("where"):
            conditions.append(self.expression().text)
        return f" WHERE {' AND '.join(conditions)}" if conditions else ""

    def groups(self) -> list[str]:
        self.groups_at = self.at
        terms = self.listed(self.expression) if self.accept("partition by") or self.accept("group by") else []
        return [term.text for term in terms]

    def limit(self) -> str:
        count, offset = self.integer(), 0
        if self.accept("offset"):
            offset = self.integer()
        elif self.accept(","):
            count, offset = self.integer(), count
        return f" LIMIT {count} OFFSET {offset}"

    def item(self) -> list[tuple[str, Term]]:
        """One item of the select list, * and LAST_ROW(*) written out: names and terms."""
        start = self.at
        if self.accept("*"):
            return [(name, self.column_term(name)) for name in (self.relation.star if self.relation else ())]
        call = self.tokens[self.at].text.lower()
        if call in PICKS and self.tokens[self.at + 1].text + self.tokens[self.at + 2].text == "(*":
            self.at += 3
            self.expect(")")
            names = (
                [name for name in self.relation.star if name not in self.relation.tag_names]
                if self.relation
                else []
            )
            return [(f"{call}({name})", self.pick(call, partial(self.column_term, name))) for name in names]
        term = self.expression()
        token = self.tokens[self.at]
        if (
            self.accept("as")
            or token.kind == "quoted"
            or (token.kind == "word" and token.text.lower() not in CLAUSES)
        ):
            return [(self.name(), term)]
        written = self.text[self.tokens[start].start : self.tokens[self.at - 1].end]
        return [(written.strip("`") if self.at - start == 1 and written[0] == "`" else written.lower(), term)]

    def sort_key(self, items: list[tuple[str, Term]]) -> str:
        names = [name for name, _ in items]
        name = self.tokens[self.at].text.strip("`")
        if name in names and not (self.relation and name in self.relation.columns):
            self.at += 1
            key = str(names.index(name) + 1)
        else:
            key = self.expression().text
        return key + (" DESC" if self.accept("desc") else "" if self.accept("asc") else "")

    # Expressions, the loosest binding first

    def expression(self) -> Term:
        return self.joined("or", partial(self.joined, "and", self.negation))

    def joined(self, word: str, operand: Callable[[], Term]) -> Term:
        term = operand()
        while self.accept(word):
            term = Term(f"({term.text} {word} {operand().text})")
        return term

    def negation(self) -> Term:
        return Term(f"(NOT {self.negation().text})") if self.accept("not") else self.comparison()

    def comparison(self) -> Term:
        left = self.sum()
        if self.accept("is not null"):
            return Term(f"({left.text} IS NOT NULL)")
        if self.accept("is null"):
            return Term(f"({left.text} IS NULL)")
        for mark in ("=", "<>", "!=", "<=", ">=", "<", ">"):
            if self.accept(mark):
                left, right = self.as_times(left, self.sum())
                return Term(f"({left.text} {mark} {right.text})")
        negated = "NOT " if self.accept("not") else ""
        if self.accept("in"):
            left, *others = self.as_times(left, *self.in_brackets(self.sum))
            return Term(f"({left.text} {negated}IN ({', '.join(other.text for other in others)}))")
        if self.accept("like"):
            return Term(f"({left.text} {negated}LIKE {self.sum().text} ESCAPE '\\')")
        if self.accept("between"):
            low = self.sum()
            self.expect("and")
            left, low, high = self.as_times(left, low, self.sum())
            return Term(f"({left.text} {negated}BETWEEN {low.text} AND {high.text})")
        if negated:
            raise self.problem()
        return left

    def as_times(self, *terms: Term) -> list[Term]:
        """The terms; where one of them is a time, texts become times."""
        if not any(term.type == TIMESTAMP for term in terms):
            return list(terms)
        return [
            Term(str(self.store.parse_time(term.value, self.per_second)), TIMESTAMP, 8)
            if isinstance(term.value, str)
            else term
            for term in terms
        ]

    def sum(self) -> Term:
        return self.calculation(("+", "-"), partial(self.calculation, ("*", "/", "%"), self.factor))

    def calculation(self, marks: tuple[str, ...], operand: Callable[[], Term]) -> Term:
        left = operand()
        while self.tokens[self.at].text in marks and self.tokens[self.at].kind == "mark":
            mark = self.take("mark")
            right = operand()
            is_time = TIMESTAMP in (left.type, right.type)
            text = (
                f"({left.text} {mark} {right.text})"
                if is_time
                else f"(1.0 * {left.text} {mark} {right.text})"
            )
            left = Term(text, TIMESTAMP if is_time else DOUBLE, 8)
        return left

    def factor(self) -> Term:
        kind, text, *_ = self.tokens[self.at]
        if self.accept("-"):
            term = self.factor()
            value = -term.value if isinstance(term.value, int | float) else None
            return Term(f"(-{term.text})", term.type, term.length, value)
        if self.accept("("):
            term = self.expression()
            self.expect(")")
            return term
        if self.accept("?"):
            try:
                return literal(next(self.parameters))
            except StopIteration:
                raise TaosError(0x0236, "bind number out of range or not match") from None
        if kind == "string":
            return literal(self.string())
        if kind == "number":
            self.at += 1
            return literal(int(text) if text.isdigit() else float(text))
        if kind == "duration":
            return self.duration()
        for word, value in (("null", None), ("true", True), ("false", False)):
            if self.accept(word):
                return literal(value)
        if kind == "word" and self.tokens[self.at + 1].text == "(":
            return self.call()
        if self.accept("now"):
            return self.now()
        if kind == "word" and text.lower() in CLAUSES:
            raise self.problem()
        name = self.name()
        return self.column_term(self.name() if self.accept(".") else name)

    def column_term(self, name: str) -> Term:
        if self.relation is None or name not in self.relation.columns:
            raise TaosError(0x2602, f"Invalid column name: {name}")
        self.columns_used.add(name)
        column = self.relation.columns[name]
        return Term(f"{self.alias}.{quote(column.name)}", column.type, column.length)

    def duration(self) -> Term:
        text = self.take("duration").lower()
        count, unit = int(text[:-1]), text[-1]
        if unit in SECONDS:
            return Term(str(count * SECONDS[unit] * self.per_second), BIGINT, 8)
        if unit in TICKS_A_SECOND:
            return Term(str(count * self.per_second // TICKS_A_SECOND[unit]), BIGINT, 8)
        raise not_understood(f"unknown unit in {text}")

    def now(self) -> Term:
        return Term(str(time.time_ns() * self.per_second // 1_000_000_000), TIMESTAMP, 8)

    def call(self) -> Term:
        name = self.name()
        self.expect("(")
        if name in PICKS:
            term = self.pick(name, self.expression)
        elif name == "cast":
            term = self.cast()
        elif name == "now":
            term = self.now()
        elif name == "server_version":
            term = literal(VERSION)
        elif name == "database":
            term = literal(self.current)
        elif name == "count":
            self.called.add(name)
            term = Term(f"COUNT({'*' if self.accept('*') else self.expression().text})", BIGINT, 8)
        elif name in AGGREGATES:
            self.called.add(name)
            term = self.aggregate(name, self.expression())
        else:
            raise not_understood(f"unknown function {name}")
        self.expect(")")
        return term

    def cast(self) -> Term:
        inner = self.expression()
        self.expect("as")
        name, length = self.type()
        type_ = TYPES[name]
        if not type_.code:
            length = length or 64
            return Term(f"substr(CAST({inner.text} AS TEXT), 1, {length})", type_, length)
        return Term(f"CAST({inner.text} AS {'REAL' if type_.code in 'fd' else 'INTEGER'})", type_, type_.size)

    def aggregate(self, name: str, inner: Term) -> Term:
        if inner.type == TIMESTAMP or not inner.type.code:
            raise TaosError(0x2802, f"Invalid parameter data type : {name}")
        text = f"{name.upper()}({inner.text})"
        if name == "avg" or (name == "sum" and inner.type.code in "fd"):
            return Term(text, DOUBLE, 8)
        return Term(text, BIGINT, 8) if name == "sum" else Term(text, inner.type, inner.length)

    def pick(self, name: str, inner: Callable[[], Term]) -> Term:
        """LAST, FIRST, LAST_ROW: the value at its group's newest or oldest row, which the key's index finds."""
        relation = self.relation
        if relation is None or relation.time is None:
            raise not_understood(f"{name} of a table without a timestamp")
        self.called.add(name)
        here, start = self.groups_again("o"), self.at
        self.alias = "i"
        term = inner()
        after = self.at
        self.at = self.where_at
        where = self.where()
        conditions = [f"{i} IS {o}" for i, o in zip(self.groups_again("i"), here, strict=True)]
        conditions += [f"{term.text} IS NOT NULL"] if name != "last_row" else []
        for condition in conditions:
            where += (" AND " if where else " WHERE ") + condition
        self.alias, self.at = "o", max(after, start)
        order = f"i.{quote(relation.time)} {PICKS[name]}"
        text = f"(SELECT {term.text} FROM {relation.source} AS i{where} ORDER BY {order} LIMIT 1)"
        return Term(text, term.type, term.length)

    def groups_again(self, alias: str) -> list[str]:
        """The GROUP BY terms, written with another alias."""
        at, before, self.at, self.alias = self.at, self.alias, self.groups_at, alias
        groups = self.groups()
        self.at, self.alias = at, before
        return groups


def execute(store: Store, text: str, database: str | None) -> Result:
    """Do what the text says; raises TaosError."""
    try:
        return Statement(store, text, database).run()
    except (sqlite3.Error, OverflowError, RecursionError) as error:
        raise not_understood(f"SQLite says: {error}") from None


def literal(value: Any) -> Term:
    if value is None:
        return Term("NULL", VARCHAR, 0)
    if isinstance(value, bool):
        return Term(str(int(value)), BOOL, 1, value)
    if isinstance(value, int | float):
        return Term(repr(value), DOUBLE if isinstance(value, float) else BIGINT, 8, value)
    return Term("'" + value.replace("'", "''") + "'", VARCHAR, len(value.encode()), value)
