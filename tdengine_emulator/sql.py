"""TDengine's SQL, as much of it as the demo and its tests use: a statement's text in, its Result out.

A recursive-descent parser that writes SQLite's SQL while it reads TDengine's, and leaves all else to the
Store. sqlglot was tried first: of the statements here it reads SELECT and DELETE, without durations (12h) and
PARTITION BY.
"""

import re
import sqlite3
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple, TypeVar

from tdengine_emulator import store as storage
from tdengine_emulator.store import VERSION, Column, Relation, Result, Store, TableName, TaosError, quote
from tdengine_emulator.wire import DECIMALS, TYPES, Field, Type

MAX_LENGTH = 1024 * 1024
MAX_TOKENS_BUT_IN_INSERT = 10_000
TOKEN = re.compile(
    r"""\s*(?: (?P<duration>\d+[abdhmnsuwy]\b)
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)
    | (?P<string>'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*")
    | (?P<quoted>`[^`]+`) | (?P<unterminated>['"`].*)
    | (?P<word>[a-z_]\w*)
    | (?P<mark><=|>=|<>|!=|\S) | (?P<end>$))""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL | re.ASCII,
)
ESCAPED = re.compile(r"\\(.)|''|\"\"", re.DOTALL)
ESCAPES = {"n": "\n", "t": "\t", "r": "\r"} | {kept: f"\\{kept}" for kept in "x%_"}
RESERVED_WORDS = """
    add all alter and as asc bigint binary blob bool by cache case cast column comment composite count
    create database databases decimal delete desc describe distinct double drop end every exists fill
    first float from full geometry group having host if in index inner insert int interval into is join
    json keep key last last_row left like limit modify nchar not offset on or order outer partition port
    precision primary query rename right select session set show slimit smallint soffset stable stables
    start state stream table tables tag tags then timestamp tinyint topic union unsigned use user using
    value values varbinary varchar view when where window with
"""
RESERVED = frozenset(RESERVED_WORDS.split())
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
UNITS_A_SECOND = {"a": 1_000, "u": 1_000_000, "b": 1_000_000_000}
FIXED_LENGTHS = {"JSON": 4095, "BLOB": storage.BLOB_LENGTH}
AGGREGATES = {"count", "avg", "min", "max", "sum", "last", "last_row", "first"}
PICKS = {"last": "DESC", "last_row": "DESC", "first": "ASC"}
UNDERSTOOD = (
    "CREATE, DROP and USE DATABASE, CREATE, DROP, ALTER and DESCRIBE TABLE, SHOW, INSERT, "
    "DELETE, and SELECT with WHERE, PARTITION BY, GROUP BY, ORDER BY and LIMIT, COUNT, AVG, MIN, MAX, SUM, "
    "LAST, LAST_ROW, FIRST, CAST and NOW"
)
BOOL, BIGINT, DOUBLE, VARCHAR, TIMESTAMP, VARBINARY = (
    TYPES[name] for name in ("BOOL", "BIGINT", "DOUBLE", "VARCHAR", "TIMESTAMP", "VARBINARY")
)
Item = TypeVar("Item")


def execute(store: Store, text: str, database: str | None, parameters: Sequence[Any] = ()) -> Result:
    """Do what a statement says, in the database that its connection uses; raises TaosError."""
    with beyond_understanding():
        return Statement(store, text, database, parameters).run()


@contextmanager
def beyond_understanding() -> Iterator[None]:
    """What SQLite or Python cannot do (a number too large, brackets too deep) is the client's error."""
    try:
        yield
    except (sqlite3.Error, struct.error, ArithmeticError, RecursionError, ValueError) as error:
        raise not_understood(str(error)) from None


def not_understood(detail: str) -> TaosError:
    return TaosError(
        0x2600, f"{detail} (the emulator {VERSION} is not TDengine; it understands {UNDERSTOOD})"
    )


class Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


class Term(NamedTuple):
    """A piece of SQLite's SQL; its type and length in TDengine; a literal's value, a column's name."""

    text: str
    type: Type = BOOL
    length: int = 1
    value: Any = None
    column: str = ""
    exact: str = ""  # what to give for it as a result, where that is not the text to calculate with
    precision: int = 0
    scale: int = 0

    @property
    def result(self) -> str:
        return self.exact or self.text

    def field(self, name: str) -> Field:
        return Field(name, self.type, self.length, self.precision, self.scale)


class Parameter:
    """A question mark among an INSERT's values."""


@dataclass
class Insert:
    """One table's part of an INSERT: the table (no name: a parameter), the supertable, the values."""

    table: TableName
    supertable: TableName | None = None
    tag_names: list[str] | None = None
    tags: list[Any] = field(default_factory=list)
    column_names: list[str] | None = None
    rows: list[list[Any]] = field(default_factory=list)

    def locate(self, store: Store, name: str = "") -> storage.Located:
        """Where it writes; the name is the table's where its own is a parameter."""
        table = self.table._replace(name=self.table.name or name)
        return store.locate(table, self.supertable, self.tag_names, self.column_names)


class Statement:
    def __init__(self, store: Store, text: str, database: str | None, parameters: Sequence[Any] = ()):
        self.store, self.text, self.database, self.parameters = store, text, database, parameters
        self.nanoseconds = time.time_ns()
        if len(text) > MAX_LENGTH:
            raise TaosError(0x021D, "SQL statement too long, check maxSQLLength config")
        self.tokens: list[Token] = []
        position = 0
        while not self.tokens or self.tokens[-1].kind != "end":
            match = TOKEN.match(text, position)
            assert match is not None
            kind, position = match.lastgroup or "", match.end()
            self.tokens.append(Token(kind, match[kind], *match.span(kind)))
        self.at = 0
        # What a SELECT reads, and what was met in it so far:
        self.relation: Relation | None = None
        self.per_second = 1000
        self.alias = "o"
        self.called: set[str] = set()
        self.used: set[str] = set()
        self.where_at = self.groups_at = 0
        self.takes_parameters = False
        self.in_aggregate = self.has_bare_column = self.bare_means_last_row = False

    def run(self) -> Result:
        verb = self.tokens[0].text.lower()
        do = getattr(self, f"run_{verb}", None) if self.tokens[0].kind == "word" else None
        if do is None:
            raise TaosError(0x2600, f'syntax error near "{self.text.strip().lower()}"')
        if len(self.tokens) > MAX_TOKENS_BUT_IN_INSERT and verb != "insert":
            raise not_understood("statement too long")
        self.at = 1
        return do()

    def prepared_insert(self) -> Insert:
        """The statement as an INSERT into one table, with parameters among its values."""
        self.at, self.takes_parameters = 1, True
        (insert,) = self.inserts()
        return insert

    # Words

    def problem(self) -> TaosError:
        if self.tokens[self.at].kind == "end":
            return TaosError(0x2601, "Incomplete SQL statement")
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
        kind, text, *_ = self.tokens[self.at]
        if kind == "word" and text.lower() in RESERVED:
            raise self.problem()
        self.take("word", "quoted")
        return text[1:-1] if kind == "quoted" else text.lower()

    def word(self) -> str:
        return self.take("word").lower()

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

    def names(self) -> list[str] | None:
        return self.in_brackets(self.name) if self.next_is("(") else None

    def table(self) -> TableName:
        first = self.name()
        return TableName(self.name(), first) if self.accept(".") else TableName(first, self.database)

    def end(self) -> None:
        self.accept(";")
        if self.tokens[self.at].kind != "end":
            raise self.problem()

    # Databases and tables

    def run_create(self) -> Result:
        if self.accept("database"):
            quietly, name, options = self.accept("if not exists"), self.name(), {}
            while self.tokens[self.at].kind == "word":
                option = self.word()
                is_text = self.tokens[self.at].kind == "string"
                options[option] = self.string() if is_text else self.take("number", "duration")
            self.end()
            self.store.create_database(name, options.get("precision", "ms"), quietly)
            return Result()
        if not self.accept("stable"):
            self.expect("table")
        quietly, table = self.accept("if not exists"), self.table()
        if self.accept("using"):
            insert = self.using(table)
            self.end()
            located = insert.locate(self.store)
            self.store.create_subtable(located, self.tags(insert, located), quietly)
            return Result()
        columns = self.in_brackets(self.column)
        tags = self.in_brackets(self.column) if self.accept("tags") else []
        self.end()
        self.store.create_table(table, columns, tags, quietly)
        return Result()

    def column(self) -> Column:
        column = self.type(self.name())
        return column._replace(is_key=self.accept("primary key") or self.accept("composite key"))

    def type(self, column: str = "") -> Column:
        """A column of the type that comes next: its length counts bytes, for NCHAR characters."""
        name = self.word().upper()
        name = {"BINARY": "VARCHAR", "INTEGER": "INT"}.get(name, name)
        name += " UNSIGNED" if self.accept("unsigned") else ""
        sizes = self.in_brackets(self.integer) if self.next_is("(") else []
        if name == "DECIMAL" and sizes:
            precision, scale = (*sizes, 0)[:2]
            if not scale <= precision <= 38 or not precision:
                written = ",".join(map(str, sizes))
                raise TaosError(
                    0x2602, f"Invalid column type DECIMAL({written}) , invalid precision or scale"
                )
            type_ = TYPES[name if precision > 18 else "DECIMAL64"]
            return Column(column, type_.name, type_.size, False, precision, scale)
        if name not in TYPES or name == "DECIMAL":
            raise self.problem()
        length = TYPES[name].size or FIXED_LENGTHS.get(name) or (sizes[0] if sizes else 0)
        if not length:
            raise self.problem()
        return Column(column, name, length)

    def run_drop(self) -> Result:
        if self.accept("database"):
            quietly, name = self.accept("if exists"), self.name()
            self.end()
            self.store.drop_database(name, quietly)
            return Result()
        only_supertable = self.accept("stable")
        if not only_supertable:
            self.expect("table")
        tables = self.listed(lambda: (self.accept("if exists"), self.table()))
        self.end()
        for quietly, table in tables:
            self.store.drop_table(table, quietly, only_supertable)
        return Result()

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
        what, database = self.word(), self.database
        if self.accept("."):
            what, database = self.word(), what
        elif self.accept("from"):
            database = self.name()
        self.end()
        if what not in ("databases", "stables", "tables"):
            raise not_understood(f"unknown SHOW {what}")
        return self.store.show(what, database)

    def run_alter(self) -> Result:
        if not self.accept("stable"):
            self.expect("table")
        table, action = self.table(), self.word()
        is_tag = self.accept("tag")
        if action == "set" and is_tag:
            tag = self.name()
            self.expect("=")
            value = self.value()
            self.end()
            self.store.set_tag(table, tag, value)
            return Result()
        if action not in ("add", "drop", "modify", "rename"):
            self.at -= 1
            raise self.problem()
        if not is_tag:
            self.expect("column")
        column = self.column() if action in ("add", "modify") else Column(self.name(), "", 0)
        new_name = self.name() if action == "rename" else ""
        self.end()
        self.store.alter_table(table, action, is_tag, column, new_name)
        return Result()

    # Writing

    def run_insert(self) -> Result:
        inserts = self.inserts()
        with self.store.transaction():
            return Result(affected=sum(self.insert(insert) for insert in inserts))

    def insert(self, insert: Insert) -> int:
        located = insert.locate(self.store)
        if any(len(row) != len(located.columns) for row in insert.rows):
            raise TaosError(0x0216, "syntax error near ')' (, expected)")
        columns = converted(zip(*insert.rows, strict=True), located.columns, located)
        if None in columns[0]:
            raise TaosError(0x0216, "syntax error near 'null' (Primary timestamp column should not be null)")
        return self.store.upsert(located, self.tags(insert, located), columns)

    def tags(self, insert: Insert, located: storage.Located) -> list[Any]:
        if len(insert.tags) != len(located.tags):
            raise TaosError(0x0216, "syntax error near ')' (Tags number not matched)")
        return [tag for (tag,) in converted(zip(insert.tags, strict=True), located.tags, located)]

    def inserts(self) -> list[Insert]:
        """The parts of INSERT INTO, one a table; a table that is a parameter has no name."""
        self.expect("into")
        inserts: list[Insert] = []
        while not inserts or self.tokens[self.at].kind in ("word", "quoted"):
            table = TableName("", self.database) if self.accept("?") else self.table()
            if database := self.store.databases.get(table.database or ""):
                self.per_second = database.per_second
            columns = self.names()
            insert = self.using(table) if self.accept("using") else Insert(table)
            insert.column_names = self.names() or columns
            self.expect("values")
            while not insert.rows or self.accept(",") or self.next_is("("):
                insert.rows.append(self.in_brackets(self.value))
            inserts.append(insert)
        self.end()
        return inserts

    def using(self, table: TableName) -> Insert:
        supertable, names = self.table(), self.names()
        self.expect("tags")
        return Insert(table, supertable, names, self.in_brackets(self.value))

    def value(self) -> Any:
        """A constant among VALUES, TAGS or behind SET TAG."""
        if self.takes_parameters and self.accept("?"):
            return Parameter()
        term = self.sum()
        if term.value is not None or term.text == "NULL":
            return term.value
        ((value,),) = self.store.rows(f"SELECT {term.text}")
        return value

    def run_delete(self) -> Result:
        self.expect("from")
        relation = self.read_from()
        where = self.where()
        self.end()
        if "tbname" in self.used:
            raise TaosError(0x264C, "Invalid tbname pseudo column")
        if not self.used <= {*relation.tag_names, relation.time}:
            raise TaosError(0x2655, "The DELETE statement must only have a definite time window range")
        return Result(affected=self.store.delete(relation, where))

    # Reading

    def run_select(self) -> Result:
        fields, text, precision = self.select()
        self.end()
        return Result(fields, self.store.rows(text), precision=precision)

    def select(self) -> tuple[list[Field], str, int]:
        """A SELECT's fields, SQLite's SQL for it and the precision of its times.

        FROM, WHERE and GROUP BY are read before the select list, since they say what its names mean.
        """
        distinct, items_at, depth = self.accept("distinct"), self.at, 0
        while self.tokens[self.at].kind != "end" and (depth or not self.next_is("from")):
            depth += {"(": 1, ")": -1}.get(self.tokens[self.at].text, 0)
            self.at += 1
        from_at, relation = self.at, Relation("", {}, [])
        where, groups, is_partition = "", [], False
        if self.accept("from"):
            relation, where = self.read_from(), self.where()
            is_partition, groups = self.next_is("partition by"), self.groups()
        after = self.at
        items = self.items(items_at, from_at)
        only_picks = bool(self.called) and self.called <= PICKS.keys() and not groups
        if self.has_bare_column and only_picks:
            self.bare_means_last_row = True
            items = self.items(items_at, from_at)
        elif self.has_bare_column and not groups and self.called & {"count", "sum", "avg"}:
            raise TaosError(0x260C, "Not a single-group group function")
        self.at = after
        order = self.listed(partial(self.sort_key, items)) if self.accept("order by") else []
        limit = self.limit() if self.accept("limit") else ""
        if is_partition and not self.called:
            raise not_understood("PARTITION BY without an aggregate")

        selected = ", ".join(f"{term.result} AS {quote(name)}" for name, term in items)
        text = f"SELECT {'DISTINCT ' if distinct else ''}{selected}"
        only_tags = distinct and relation.table and self.used <= relation.tag_names
        source = f"{f'tags_{relation.table.id}' if only_tags else relation.source} AS o{where}"
        if only_picks:
            text += f" WHERE EXISTS (SELECT 1 FROM {source})"
        elif self.relation:
            text += f" FROM {source}"
            if self.called and "count" not in self.called:
                groups = groups or ["NULL"]  # without a row TDengine gives no row, but for COUNT
            text += f" GROUP BY {', '.join(groups)}" if groups else ""
        text += f" ORDER BY {', '.join(order)}" if order else ""
        precision = storage.PRECISIONS[relation.database.precision][0] if relation.database else 0
        return [term.field(name) for name, term in items], text + limit, precision

    def read_from(self) -> Relation:
        self.relation = self.subquery() if self.accept("(") else self.store.relation(self.table())
        self.per_second = self.relation.database.per_second if self.relation.database else 1000
        if self.tokens[self.at].kind == "word" and self.tokens[self.at].text.lower() not in RESERVED:
            self.at += 1  # an alias, which only one table does not need
        return self.relation

    def subquery(self) -> Relation:
        """A SELECT in brackets, as what another one reads."""
        self.expect("select")
        inner = Statement(self.store, self.text, self.database, self.parameters)
        inner.at = self.at
        fields, text, _ = inner.select()
        self.at = inner.at
        self.expect(")")
        columns = {column.name: column for column in fields}
        database = inner.relation.database if inner.relation else None
        return Relation(f"({text})", columns, list(columns), database)

    def where(self) -> str:
        """The WHERE clause, a subtable's restriction included, about the rows that carry the alias."""
        self.where_at, conditions = self.at, []
        if self.relation and self.relation.subtable:
            conditions.append(f"{self.alias}.{storage.SUBTABLE} = {self.relation.subtable}")
        if self.accept("where"):
            conditions.append(self.expression().text)
        return f" WHERE {' AND '.join(conditions)}" if conditions else ""

    def groups(self) -> list[str]:
        self.groups_at = self.at
        is_grouped = self.accept("partition by") or self.accept("group by")
        groups = [term.text for term in self.listed(self.expression)] if is_grouped else []
        self.has_bare_column = False
        return groups

    def limit(self) -> str:
        count, offset = self.integer(), 0
        if self.accept("offset"):
            offset = self.integer()
        elif self.accept(","):
            count, offset = self.integer(), count
        return f" LIMIT {count} OFFSET {offset}"

    def items(self, start: int, end: int) -> list[tuple[str, Term]]:
        """The select list between two tokens: names and terms."""
        self.at = start
        items = [item for items in self.listed(self.item) for item in items]
        if self.at != end:
            raise self.problem()
        return items

    def item(self) -> list[tuple[str, Term]]:
        """One item of the select list, with * and LAST_ROW(*) written out."""
        star = self.relation.star if self.relation else []
        start, call = self.at, self.tokens[self.at].text.lower()
        if self.accept("*"):
            return [(name, self.column_term(name)) for name in star]
        if call in PICKS and self.accept(f"{call} ( * )"):
            tags = self.relation.tag_names if self.relation else ()
            picked = [name for name in star if name not in tags]
            return [(f"{call}({name})", self.pick(call, partial(self.column_term, name))) for name in picked]
        term = self.expression()
        kind, text, *_ = self.tokens[self.at]
        if self.accept("as") or kind == "quoted" or (kind == "word" and text.lower() not in RESERVED):
            return [(self.name(), term)]
        written = self.text[self.tokens[start].start : self.tokens[self.at - 1].end]
        return [(term.column or written.lower(), term)]

    def sort_key(self, items: list[tuple[str, Term]]) -> str:
        names, name = [name for name, _ in items], self.tokens[self.at].text.strip("`")
        if name in names and not (self.relation and name in self.relation.columns):
            self.at += 1
            key = str(names.index(name) + 1)
        else:
            key = self.expression().text
        if self.accept("desc"):
            return f"{key} DESC"
        self.accept("asc")
        return key

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
        for words in ("is not null", "is null"):
            if self.accept(words):
                return Term(f"({left.text} {words})")
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
        """The terms; beside a time, texts become times, and beside bytes bytes."""
        types = {term.type for term in terms}
        return [
            term
            if not isinstance(term.value, str)
            else Term(str(storage.parse_time(term.value, self.per_second)), TIMESTAMP, 8)
            if TIMESTAMP in types
            else Term(f"X'{storage.as_bytes(term.value, Column('', '', 0)).hex()}'", VARBINARY)
            if VARBINARY in types
            else term
            for term in terms
        ]

    def sum(self) -> Term:
        return self.calculation("+-", partial(self.calculation, "*/%", self.factor))

    def calculation(self, marks: str, operand: Callable[[], Term]) -> Term:
        left = operand()
        while self.tokens[self.at].kind == "mark" and self.tokens[self.at].text in marks:
            mark, right = self.take("mark"), operand()
            if TIMESTAMP in (left.type, right.type):
                left = Term(f"({left.text} {mark} {right.text})", TIMESTAMP, 8)
            else:
                left = Term(f"(1.0 * {left.text} {mark} {right.text})", DOUBLE, 8)
        return left

    def factor(self) -> Term:
        kind, text, *_ = self.tokens[self.at]
        if self.accept("-"):
            term = self.factor()
            if isinstance(term.value, int | Decimal):
                return literal(-term.value)
            return Term(f"(-1.0 * {term.text})", DOUBLE, 8)
        if self.accept("("):
            term = self.expression()
            self.expect(")")
            return term._replace(column="")
        if self.accept("?"):
            number = sum(token.text == "?" for token in self.tokens[: self.at])
            if number > len(self.parameters):
                raise TaosError(0x0236, "bind number out of range or not match")
            return literal(self.parameters[number - 1])
        if kind == "string":
            return literal(self.string())
        if kind == "number":
            self.at += 1
            return literal(int(text) if text.isdigit() else Decimal(text))
        if kind == "duration":
            return self.duration()
        for word, value in (("null", None), ("true", True), ("false", False)):
            if self.accept(word):
                return literal(value)
        if kind == "word" and self.tokens[self.at + 1].text == "(":
            return self.call()
        if self.accept("now"):
            return self.now()
        name = self.name()
        return self.column_term(self.name() if self.accept(".") else name)

    def column_term(self, name: str) -> Term:
        if self.relation is None or name not in self.relation.columns:
            raise TaosError(0x2602, f"Invalid column name: {name}")
        if self.bare_means_last_row and self.alias == "o":
            return self.pick("last_row", partial(self.column_term, name))._replace(column=name)
        self.used.add(name)
        if self.alias == "o" and not self.in_aggregate:
            self.has_bare_column = True
        column = self.relation.columns[name]
        text = exact = f"{self.alias}.{quote(column.name)}"
        if column.type in DECIMALS:
            text = f"CAST({exact} AS REAL)"
        return Term(text, column.type, column.length, None, name, exact, column.precision, column.scale)

    def duration(self) -> Term:
        text = self.take("duration").lower()
        count, unit = int(text[:-1]), text[-1]
        if unit in SECONDS:
            return Term(str(count * SECONDS[unit] * self.per_second), BIGINT, 8)
        if unit in UNITS_A_SECOND:
            return Term(str(count * self.per_second // UNITS_A_SECOND[unit]), BIGINT, 8)
        raise not_understood(f"unknown unit in {text}")

    def now(self) -> Term:
        return Term(str(self.nanoseconds * self.per_second // 1_000_000_000), TIMESTAMP, 8)

    def call(self) -> Term:
        name = self.word()
        self.expect("(")
        if name in PICKS:
            term = self.pick(name, self.expression)
        elif name in AGGREGATES:
            term = self.aggregate(name)
        elif name == "cast":
            term = self.cast()
        elif name == "now":
            term = self.now()
        elif name == "server_version":
            term = literal(VERSION)
        elif name == "database":
            term = literal(self.database)
        else:
            raise not_understood(f"unknown function {name}")
        self.expect(")")
        return term

    def cast(self) -> Term:
        inner = self.expression()
        self.expect("as")
        column = self.type()
        type_, length = TYPES[column.type], column.length
        is_rounded = inner.type in DECIMALS and type_.code not in ("f", "d")
        if is_rounded or type_ in DECIMALS or not (type_.code or type_.encoding):
            raise not_understood(f"CAST from {inner.type.name} to {type_.name}")
        if not type_.code:
            return Term(f"substr(CAST({inner.text} AS TEXT), 1, {length})", type_, length)
        return Term(f"CAST({inner.text} AS {'REAL' if type_.code in 'fd' else 'INTEGER'})", type_, length)

    def aggregate(self, name: str) -> Term:
        self.called.add(name)
        if name == "count" and self.accept("*"):
            return Term("COUNT(*)", BIGINT, 8)
        self.in_aggregate = True
        inner = self.expression()
        self.in_aggregate = False
        text = f"{name.upper()}({inner.text})"
        if name == "count":
            return Term(text, BIGINT, 8)
        if inner.type == TIMESTAMP or (name in ("avg", "sum") and not inner.type.code):
            raise TaosError(0x2802, f"Invalid parameter data type : {name}")
        if name in ("min", "max"):
            return inner._replace(text=text, column="", exact="")
        if inner.type in DECIMALS:
            raise not_understood(f"{name} of DECIMAL")
        if name == "sum" and inner.type.code not in ("f", "d"):
            return Term(text, BIGINT, 8)
        # As in TDengine, one NaN or infinity makes the result NULL: SQLite's 0 * infinity is NULL.
        text = f"{name.upper()}(iif({inner.text} = 'NaN', 9e999, {inner.text}))"
        return Term(f"({text} + 0 * {text})", DOUBLE, 8)

    def pick(self, name: str, inner: Callable[[], Term]) -> Term:
        """LAST, FIRST, LAST_ROW: the value at its group's newest or oldest row, which the index finds."""
        relation = self.relation
        if relation is None or relation.time is None:
            raise not_understood(f"{name} of a table without a timestamp")
        self.called.add(name)
        bare, outer = self.has_bare_column, self.again(self.groups_at, self.groups)
        self.alias = "i"
        term = inner()
        where = self.again(self.where_at, self.where)
        conditions = [
            f"{i} IS {o}" for i, o in zip(self.again(self.groups_at, self.groups), outer, strict=True)
        ]
        conditions += [f"{term.text} IS NOT NULL"] if name != "last_row" else []
        for condition in conditions:
            where += (" AND " if where else " WHERE ") + condition
        self.alias, self.has_bare_column = "o", bare
        order = f"i.{quote(relation.time)} {PICKS[name]}"
        text = f"(SELECT {term.result} FROM {relation.source} AS i{where} ORDER BY {order} LIMIT 1)"
        return term._replace(text=text, column="", exact="")

    def again(self, at: int, read: Callable[[], Item]) -> Item:
        """Read another place of the statement once more, now that the alias is another one."""
        here, self.at = self.at, at
        result = read()
        self.at = here
        return result


def literal(value: Any) -> Term:
    if value is None:
        return Term("NULL", VARCHAR, 0)
    if isinstance(value, bool):
        return Term(str(int(value)), BOOL, 1, value)
    if isinstance(value, int):
        text = f"'{value}'" if storage.MAX_INTEGER < value < 2**64 else str(value)
        return Term(text, BIGINT, 8, value)
    if isinstance(value, float | Decimal):
        return Term(repr(float(value)), DOUBLE, 8, value)
    return Term("'" + value.replace("'", "''") + "'", VARCHAR, len(value.encode()), value)


def converted(
    values: Iterable[Iterable[Any]], columns: list[Column], located: storage.Located
) -> list[list[Any]]:
    """Columns of an INSERT's values as the columns' types."""
    per_second = located.database.per_second
    return [
        [storage.converted(value, column, per_second) for value in of_column]
        for of_column, column in zip(values, columns, strict=True)
    ]
