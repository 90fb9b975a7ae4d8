"""TDengine's SQL, as much of it as docs/emulator-sql.md lists: a statement's text in, its Result out.

sql.lark is the grammar. What it reads, Statement writes as SQLite's SQL, and has the Store do it.
"""

import re
import sqlite3
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from lark import Lark, Token, Transformer, Tree, UnexpectedInput, UnexpectedToken, v_args
from lark.visitors import Interpreter

from tdengine_emulator.store import (
    LONGEST_COLUMN_NAME,
    MISSING,
    TBNAME,
    VERSION,
    VIEWS,
    Result,
    Store,
    Table,
    TableName,
    not_understood,
    quoted,
    system_fields,
)
from tdengine_emulator.wire import MAX_INTEGER, TYPES, Column, TaosError, converted, refuse_if

MAX_LENGTH = 1024 * 1024
ESCAPED = re.compile(r"\\(.)|''|\"\"", re.DOTALL)
QUOTES = re.compile(r"""(`[^`]*+`?|'(?:[^'\\]|\\.)*+'?|"(?:[^"\\]|\\.)*+"?)|[^`'"]+""", re.DOTALL)
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "x": "\\x", "%": "\\%", "_": "\\_"}
NANOSECONDS = {"b": 1, "u": 1_000, "a": 1_000_000} | {
    unit: seconds * 1_000_000_000
    for unit, seconds in {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}.items()
}
BY_TIME = {"last", "last_row", "first"}
AGGREGATES = {"count", "avg", "min", "max", "sum"}
FUNCTIONS = {
    "avg": "the mean of numbers, DOUBLE",
    "cast": "a number, BOOL or TIMESTAMP as another type of those, a VARCHAR as VARBINARY",
    "count": "how many rows there are (`*`), or values that are not NULL",
    "database": "the name of the database in use",
    "first": "the oldest value that is not NULL",
    "last": "the newest value that is not NULL",
    "last_row": "the value, or with `*` all values, of the newest row",
    "max": "the highest value",
    "min": "the lowest value",
    "now": "the emulator's clock, TIMESTAMP; also without the parentheses",
    "server_version": "the emulator's version",
    "sum": "the sum of numbers",
    "timezone": "the time zone of the connection",
}
OF_ONE_ROW = ({"last", "last_row"}, {"first"}, {"min"}, {"max"})  # columns beside these are that row's
SCATTERING = {"OR", "NOT", "IN", "IS", "<>", "!="}  # what makes several ranges of one
COLUMNS = ("column", "tbname")
BYTES = ("VARBINARY", "GEOMETRY", "BLOB")
ANY = "'%'"
NO_TOPIC = re.compile(r"\b(?:distinct|group|partition|order|limit|union)\b", re.IGNORECASE)
INVALID_TOPIC = (0x2639, "Invalid topic query")
UNBOUND = (0x0236, "bind number out of range or not match")


def unnamed(kind: str, length: int = 0) -> Column:
    """A column of the type, as what an expression gives."""
    return Column("", kind, length or TYPES[kind].size)


BOOL, BIGINT, DOUBLE, TIMESTAMP = map(unnamed, ("BOOL", "BIGINT", "DOUBLE", "TIMESTAMP"))


class Term(NamedTuple):
    """A piece of SQLite's SQL; what it is in TDengine, named if it is a column; a literal's value."""

    text: str
    column: Column = BOOL
    value: Any = None


PLAIN = re.compile(
    r"""(-?[\d.][\d.e+-]*)|('(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")|([a-z]+)""", re.IGNORECASE | re.DOTALL
)
PLAIN_WORDS = {"null": Term("NULL"), "true": Term("", BOOL, True), "false": Term("", BOOL, False)}


class TableInsert(NamedTuple):
    """One table's part of an INSERT: the (super)table, the subtable's name, and the values.

    A parameter among them has the text "?".
    """

    table: Table
    name: str
    tag_columns: list[Column]
    tags: list[Term]
    columns: list[Column]
    rows: list[list[Term]]


def execute(
    store: Store,
    text: str,
    database: str | None,
    parameters: Sequence[Any] = (),
    zone: tzinfo | None = None,
) -> Result:
    """Do what a statement says, in the database and the time zone of its connection; raises TaosError."""
    with sqlite_errors_as_answers():
        tree = parse(text)
        with store.transaction():
            return Statement(store, text, database, parameters, zone).visit(tree) or Result()


@contextmanager
def sqlite_errors_as_answers() -> Iterator[None]:
    """What SQLite or Python cannot do (a number too large, brackets too deep) is the client's error."""
    try:
        yield
    except RecursionError:
        raise not_understood("an expression too deep") from None
    except (sqlite3.Error, struct.error, ArithmeticError, ValueError) as error:
        raise not_understood(str(error)) from None


def parse(text: str) -> Tree:
    """The statement's tree, by the grammar's rules; raises TaosError."""
    refuse_if(len(text.encode()) > MAX_LENGTH, 0x0219, "SQL statement too long")
    try:
        return PARSER.parse(text)
    except UnexpectedInput as error:
        if isinstance(error, UnexpectedToken) and error.token.type == "$END" and text.strip():
            raise TaosError(0x2601, "Incomplete SQL statement") from None
        at = error.pos_in_stream or 0
        rest = without_case(text[at:].strip())
        if isinstance(error, ReservedWord) and is_inserted_into(text, at, error.token):
            raise TaosError(0x0216, f"syntax error near '{rest}' (table_name is expected)") from None
        is_plain = len(rest) == len(text.strip())
        if isinstance(error, ReservedWord):  # which may begin what TDengine understands, and the emulator not
            is_plain = not (rest.startswith(("case", "_")) or text.lstrip()[:4].lower() == "show")
        refuse_if(is_plain, 0x2600, f'syntax error near "{rest}"')
        raise not_understood(f'syntax error near "{rest}"') from None


def without_case(text: str) -> str:
    """SQL as TDengine repeats it: small, but for what stands in quotes."""
    return QUOTES.sub(lambda found: found[1] or found[0].lower(), text)


def is_inserted_into(text: str, at: int, word: str) -> bool:
    """Whether the word there is a whole table name in an INSERT."""
    is_insert = text.lstrip()[:6].lower() == "insert"
    return is_insert and text[:at].rstrip()[-1:] != "." != text[at + len(word) :].lstrip()[:1]


@v_args(inline=True)
class NamesAndTypes(Transformer):
    """Names, types and what is made of them: the rules that mean the same wherever they stand."""

    def option(self, word: Token, value: Token) -> tuple[str, Any]:
        """An option of a database: days for a duration."""
        if value.type == "DURATION":
            days = int(value[:-1]) * NANOSECONDS[value[-1].lower()] / NANOSECONDS["d"]
            return word.lower(), int(days) if days.is_integer() else str(value)
        if value.type == "NUMBER" and not value.isdigit():
            raise UnexpectedToken(value, ())
        return word.lower(), int(value) if value.type == "NUMBER" else unescaped(value)

    def if_needed(self) -> bool:
        return True

    key = if_needed

    def any_name(self, token: Token) -> str:
        return token.update("NAME", token[1:-1] if token.type == "QUOTED" else token.lower())

    def name(self, token: Token) -> str:
        if token.type == "WORD" and token.lower() in RESERVED_WORDS:
            raise ReservedWord(token, ())
        return self.any_name(token)

    def names(self, *names: Any) -> list[Any]:
        return list(names)

    columns = names

    def plain_row(self, row: Token) -> list["Term"]:
        """Literals alone, which have no text but of NULL: as a tree they would take ten times as long."""
        terms = []
        for number, string, word in PLAIN.findall(row):
            if number:
                terms.append(
                    Term("", BIGINT, int(number) if number.lstrip("-").isdigit() else Decimal(number))
                )
            elif string:
                terms.append(Term("", BOOL, unescaped(string)))
            else:
                terms.append(PLAIN_WORDS[word.lower()])
        return terms

    def table(self, first: str, second: str | None) -> TableName:
        return TableName(second, first) if second else TableName(first, None)

    def type(self, word: Token, unsigned: Token | None, *numbers: Token | None) -> Column:
        """An unnamed column of the type: its length counts bytes, for NCHAR characters."""
        kind = {"BINARY": "VARCHAR", "INTEGER": "INT"}.get(word.upper(), word.upper())
        kind += " UNSIGNED" if unsigned else ""
        size, scale = (int(number or 0) for number in numbers)
        if kind == "DECIMAL" and scale <= size <= 38 and size:
            return unnamed(kind if size > 18 else "DECIMAL64")._replace(precision=size, scale=scale)
        if kind not in TYPES or "DECIMAL" in kind or not (TYPES[kind].size or size):
            raise UnexpectedToken(word, ())
        return unnamed(kind, TYPES[kind].size or size)

    def defined(self, name: str, column: Column, is_key: bool | None) -> Column:
        return column._replace(name=name, is_key=bool(is_key))


class ReservedWord(UnexpectedToken):
    """A name that has to stand in backquotes."""


RESERVED_WORDS = frozenset(Path(__file__).with_name("reserved-words.txt").read_text().lower().split())
GRAMMAR = Path(__file__).with_name("sql.lark").read_text()
TABLES = Path(__file__).with_name("__pycache__") / "sql.lark"  # made from it once, since that takes a while
PARSER = Lark(GRAMMAR, parser="lalr", transformer=NamesAndTypes(), cache=str(TABLES))


@v_args(inline=True)
class Statement(Interpreter):
    """One statement. Its methods are named for the grammar's rules; SQLite writes the others as TDengine."""

    def __init__(
        self,
        store: Store,
        text: str,
        database: str | None,
        parameters: Sequence[Any] = (),
        zone: tzinfo | None = None,
    ):
        self.store, self.text, self.database, self.parameters = store, text, database, list(parameters)
        self.zone = zone
        self.nanoseconds = time.time_ns()
        self.subtable: str | None = None  # the table of a prepared INSERT
        self.table: Table | None = None  # what is read or written
        self.columns: dict[str, Column] = {}  # its columns and tags, once one was asked for
        self.aliases: set[str] = set()

    def __default__(self, tree: Tree) -> Term:
        return Term(self.text_of(tree.children))

    def term_of(self, part: Tree | Token) -> Term:
        return Term(str(part)) if isinstance(part, Token) else self.visit(part)

    def text_of(self, parts: Sequence[Tree | Token | None]) -> str:
        return " ".join(self.term_of(part).text for part in parts if part)

    def with_database(self, name: TableName) -> TableName:
        return name if name.database else name._replace(database=self.database)

    # Databases and tables

    def definition(self, tree: Tree) -> Result | None:
        """What the store does by itself, under the rule's name."""
        parts = [self.with_database(part) if isinstance(part, TableName) else part for part in tree.children]
        return getattr(self.store, tree.data)(*parts)

    def create_subtable(self, if_needed: bool | None, name: TableName, using: Tree) -> None:
        insert = self.insert_into_table(name, None, using, None)
        if self.store.is_free(self.with_database(name), if_needed):
            self.write(insert)

    def create_topic(self, if_needed: bool | None, name: str, select: Tree) -> None:
        fields, table = self.visit(select).fields, self.table
        words = " ".join(part[0] for part in QUOTES.finditer(self.text) if not part[1])
        refuse_if(table is None or not table.id or NO_TOPIC.search(words) is not None, *INVALID_TOPIC)
        called = {call.children[0].lower() for call in select.find_data("call")}
        refuse_if(not called.isdisjoint(BY_TIME | AGGREGATES), *INVALID_TOPIC)
        used = {str(part) for column in select.find_data("column") for part in column.children if part}
        self.store.create_topic(if_needed, name, table, without_case(self.text), fields, used)

    def set_tag(self, name: TableName, tag: str, value: Tree) -> None:
        self.table = table = self.store.existing(self.with_database(name))
        tags = [known for known in table.tags if known.name == tag and table.is_subtable]
        refuse_if(not tags, 0x2649, f"Invalid tag name: {tag}")
        self.store.set_tag(table, tags[0], *self.column_values([self.visit(value)], tags))

    def show_databases(self, whose: Token | None) -> Result:
        are = "IN" if whose and whose.type == "SYSTEM" else "NOT IN"
        where = f"WHERE name {are} ('information_schema', 'performance_schema')" if whose else ""
        return self.of_system(f"SELECT name FROM information_schema.ins_databases {where}")

    def show_stables(self, database: str | None, like: Token | None) -> Result:
        return self.tables_of(database, "ins_stables", "stable_name", f"stable_name LIKE {like or ANY}")

    def show_tables(self, kind: Token | None, database: str | None, like: Token | None) -> Result:
        of_kind = f" AND type = '{kind.upper()}_TABLE'" if kind else ""
        where = f"table_name LIKE {like or ANY}{of_kind}"
        return self.tables_of(database, "ins_tables", "table_name", where)

    def tables_of(self, database: str | None, table: str, name: str, where: str) -> Result:
        """The names in a table of information_schema, of the database or the one in use."""
        database = database or self.database
        refuse_if(database is None, 0x2600, "database not specified")
        self.store.precision_of(database)
        where = f"db_name = {literal(str(database)).text} AND {where}"
        return self.of_system(f"SELECT {name} FROM information_schema.{table} WHERE {where}")

    def show_views(self, _database: str | None) -> Result:
        return Result(system_fields(VIEWS))

    def show_dnodes(self) -> Result:
        return self.of_system("SELECT * FROM information_schema.ins_dnodes")

    def show_connections(self) -> Result:
        return self.of_system("SELECT * FROM performance_schema.perf_connections")

    def of_system(self, text: str) -> Result:
        return Statement(self.store, text, None).visit(parse(text))

    # Writing

    def insert(self, *parts: Tree) -> Result:
        return Result(affected=sum(self.write(self.visit(part)) for part in parts))

    def insert_into_table(
        self, name: Any, before: Any, using: Tree | None, after: Any, *rows: Tree
    ) -> TableInsert:
        """One table's part of an INSERT; a table that is a parameter is `self.subtable`."""
        if isinstance(name, Token):
            refuse_if(self.subtable is None, *UNBOUND)
            name = TableName(self.subtable, None)
        supertable, tag_names, tags = using.children if using else (None, [], None)
        self.table = table = self.store.existing(self.with_database(supertable or name))
        refuse_if((table.subtable is None) != (using is not None), *MISSING)
        tag_columns, columns = (
            columns_named(table.tags, tag_names),
            columns_named(table.columns, after or before),
        )
        terms, *rows = [row if isinstance(row, list) else self.visit(row) for row in (tags or [], *rows)]
        return TableInsert(table, name.name, tag_columns, terms, columns, rows)

    def row(self, *terms: Tree) -> list[Term]:
        return [self.visit(term) for term in terms]

    def write(self, insert: TableInsert) -> int:
        table, rows = insert.table, [self.column_values(row, insert.columns) for row in insert.rows]
        columns = dict(zip(insert.columns, zip(*rows, strict=True), strict=False))
        complaint = "syntax error near 'null' (Primary timestamp column should not be null)"
        refuse_if(None in columns.get(table.columns[0], ()), 0x0216, complaint)
        tags = dict(zip(insert.tag_columns, self.column_values(insert.tags, insert.tag_columns), strict=True))
        return self.store.upsert(table, insert.name, tags, columns)

    def column_values(self, terms: list[Term], columns: list[Column]) -> list[Any]:
        """What stands among VALUES, TAGS or behind SET TAG, as values of the columns' types."""
        found = []
        refuse_if(len(terms) != len(columns), 0x0216, "syntax error near ')' (values number not matched)")
        for term, column in zip(terms, columns, strict=True):
            value = term.value
            if value is None and term.text != "NULL":
                ((value,),) = self.store.rows(f"SELECT {term.text}")
            found.append(converted(value, column, self.per_second, self.zone))
        return found

    def delete(self, name: TableName, where: Tree | None) -> Result:
        self.table = table = self.store.existing(self.with_database(name))
        key = table.columns[0].name
        is_window = column_names_in(where) <= {key, *(tag.name for tag in table.tags)}
        is_window = is_window and not is_scattered(where, key)
        complaint = "The DELETE statement must only have a definite time window range"
        refuse_if(not is_window, 0x2655, complaint)
        chosen = f"SELECT {table.key_names} FROM {table.source} AS o {self.text_of([where])}"
        text = f"DELETE FROM rows_{table.id} WHERE ({table.key_names}) IN ({chosen})"
        return Result(affected=self.store.rows(text).rowcount)

    # Reading

    def select(self, *parts: Any) -> Result:
        distinct, items, name, where, groups, order, limit = parts
        self.table = table = self.store.existing(self.with_database(name)) if name else None
        called = {call.children[0].lower() for call in items.find_data("call")}
        picks, aggregates = called & BY_TIME, called & (BY_TIME | AGGREGATES)
        if groups and groups.children[0].type == "PARTITION" and not aggregates:
            raise not_understood("PARTITION BY without an aggregate")
        is_one_row = any(aggregates <= alike for alike in OF_ONE_ROW)
        is_mixed = not (groups or is_one_row) and has_bare_column(items)
        refuse_if(is_mixed, 0x260C, "Not a single-group group function")
        chosen = [pair for item in items.children for pair in self.visit(item)]
        fields = [term.column._replace(name=name) for name, term in chosen]
        has_json = any(field.kind == "JSON" for field in fields)
        refuse_if(bool(distinct) and has_json, 0x072E, "Json not support in group/partition by")

        written = [f"{term.text} AS {quoted(name)}" for name, term in chosen]
        if aggregates:
            # One more tells whether there was a row: of none TDengine gives nothing but a COUNT. If it is the
            # newest time, SQLite takes from that row the columns that stand by themselves.
            proof = "1" if "count" in aggregates else "COUNT(*)"
            if picks:
                end = "first" if picks == {"first"} else "last"
                proof = self.value_by_time(end, self.of_column(table.columns[0])).text
            written.append(proof)
        text = f"SELECT {distinct or ''} {', '.join(written)}"
        if table:
            used = column_names_in(items, where, groups, order)
            only_tags = distinct and used <= {"#tbname", *(tag.name for tag in table.tags)}
            text += f" FROM {table.source_of_tags if only_tags else table.source} AS o"
        text = f"{text} {self.text_of([where, groups])}"
        self.aliases = {name for name, _ in chosen}
        text = f"{text} {self.text_of([order, limit])}"
        rows = self.store.rows(text)
        if aggregates:
            rows = (row[:-1] for row in rows if row[-1])
        return Result(fields, rows, precision=table.precision if table else 0)

    def groups(self, _word: Token, *keys: Tree) -> Term:
        return Term(f"GROUP BY {', '.join(self.visit(key).text for key in keys)}")

    def item(self, what: Tree | Token, name: str | None) -> list[tuple[str, Term]]:
        """The names and terms of a part of the select list; * and LAST_ROW(*) are several."""
        if isinstance(what, Token):
            tags = self.table.tags if self.table.subtable is None else []
            return [(column.name, self.of_column(column)) for column in [*self.table.columns, *tags]]
        if what.data == "call" and what.children[0].lower() in BY_TIME and what.children[2] == "*":
            name = what.children[0].lower()
            terms = map(self.of_column, self.table.columns)
            return [(f"{name}({term.column.name})", self.value_by_time(name, term)) for term in terms]
        term = self.visit(what)
        tokens = list(what.scan_values(lambda part: isinstance(part, Token)))
        written = without_case(self.text[tokens[0].start_pos : tokens[-1].end_pos])[:LONGEST_COLUMN_NAME]
        return [(name or term.column.name or written, term)]

    # Expressions

    def sort_key(self, tree: Tree, *direction: Token) -> Term:
        return Term(" ".join([comparable(self.visit(tree)), *direction]))

    def boolean(self, *parts: Tree | Token) -> Term:
        """Comparisons and what joins them; a text beside a time becomes a time, and beside bytes bytes."""
        terms = [self.term_of(part) for part in parts]
        for column in [term.column for term in terms if term.column.kind in ("TIMESTAMP", *BYTES)]:
            for at, term in enumerate(terms):
                if isinstance(term.value, str):
                    column = column._replace(length=MAX_LENGTH)
                    terms[at] = literal(converted(term.value, column, self.per_second, self.zone))
        texts = [*map(comparable, terms)]
        if (
            chained_by(parts)
            and isinstance(parts[0], Tree)
            and chained_by(parts[0].children) == chained_by(parts)
        ):
            texts[0] = texts[0][1:-1]  # SQLite's parser bears no deep brackets
        return Term(f"({' '.join(texts)})")

    def like(self, *parts: Tree | Token) -> Term:
        return Term(f"({self.text_of(parts)} ESCAPE '\\')")

    def calculation(self, left: Tree, mark: Token, right: Tree) -> Term:
        first, second = self.visit(left), self.visit(right)
        is_long = left.data == "calculation" and (mark in "+-" or left.children[1] not in "+-")
        begin = first.text[1:-1] if is_long else f"1.0 * {first.text}"
        if "TIMESTAMP" in (first.column.kind, second.column.kind):
            return Term(f"({first.text} {mark} {second.text})", TIMESTAMP)
        return Term(f"({begin} {mark} {second.text})", DOUBLE)

    def negative(self, _minus: Token, tree: Tree) -> Term:
        term = self.visit(tree)
        is_number = isinstance(term.value, int | Decimal)
        return literal(-term.value) if is_number else Term(f"(-1.0 * {term.text})", DOUBLE)

    def literal(self, token: Token) -> Term:
        if token.type == "NUMBER":
            return literal(int(token) if token.isdigit() else Decimal(token))
        if token.type == "STRING":
            return literal(unescaped(token))
        if token.type == "DURATION":
            nanoseconds = int(token[:-1]) * NANOSECONDS[token[-1].lower()]
            return Term(str(nanoseconds * self.per_second // 1_000_000_000), BIGINT)
        return literal({"NULL": None, "TRUE": True, "FALSE": False}[token.type])

    def parameter(self, _mark: Token) -> Term:
        return literal(self.parameters.pop(0)) if self.parameters else Term("?")

    def now(self, *_: Token) -> Term:
        return Term(str(self.nanoseconds * self.per_second // 1_000_000_000), TIMESTAMP)

    @property
    def per_second(self) -> int:
        return self.table.per_second if self.table else 1000

    def column(self, _table: str | None, name: str) -> Term:
        if self.table and not self.columns:
            self.columns = {column.name: column for column in [*self.table.columns, *self.table.tags]}
        if column := self.columns.get(str(name)):
            return self.of_column(column)
        refuse_if(name not in self.aliases, 0x2602, f"Invalid column name: {name}")
        return Term(quoted(name))

    def tbname(self, _table: str | None, _word: Token) -> Term:
        refuse_if(self.table is None, 0x2602, "Invalid column name: tbname")
        return Term('o."#tbname"', TBNAME)

    def of_column(self, column: Column) -> Term:
        return Term(f"o.{quoted(column.name)}", column)

    def cast(self, _cast: Token, _open: Token, tree: Tree, _as: Token, column: Column, _close: Token) -> Term:
        term = self.visit(tree)
        refuse_if(term.column.kind in BYTES, 0x2802, "Invalid parameter data type : cast")
        is_refused = column.kind == "VARBINARY" and (term.column.kind == "NCHAR" or "INT" in term.column.kind)
        refuse_if(is_refused, 0x2802, "Invalid function para type")
        if (term.column.kind, column.kind) == ("VARCHAR", "VARBINARY"):
            content = f"CAST({term.text} AS BLOB)"  # of which SUBSTR is NULL where it is empty
            return Term(f"COALESCE(SUBSTR({content}, 1, {column.length}), {content})", column)
        is_float = column.kind in ("FLOAT", "DOUBLE")
        if not column.type.code or (term.column.precision and not is_float):
            raise not_understood(f"CAST from {term.column.kind} to {column.kind}")
        return Term(f"CAST({term.text} AS {'REAL' if is_float else 'INTEGER'})", column)

    def call(self, word: Token, _open: Token, argument: Tree | Token | None, _close: Token) -> Term:
        name = word.lower()
        if name in ("server_version", "database") and argument is None:
            return literal(VERSION if name == "server_version" else self.database)
        if name == "timezone" and argument is None:
            return literal(f"{datetime.now(self.zone).astimezone(self.zone):{self.zone or '%Z'} (%Z, %z)}")
        if name == "count" and argument:
            return Term(f"COUNT({self.term_of(argument).text})", BIGINT)
        if name not in BY_TIME | AGGREGATES or not isinstance(argument, Tree):
            is_known = name in FUNCTIONS
            raise not_understood(f"{name} of that" if is_known else f"unknown function {name}")
        term = self.visit(argument)
        return self.value_by_time(name, term) if name in BY_TIME else aggregate(name, term)

    def value_by_time(self, name: str, term: Term) -> Term:
        """LAST, FIRST, LAST_ROW: the value at the newest or oldest time."""
        if not (self.table and self.table.id):
            raise not_understood(f"{name} of a table without a timestamp")
        moment = self.of_column(self.table.columns[0]).text
        text = f"newest({'-' if name == 'first' else ''}{moment}, {term.text})"
        if term.text == moment:  # which the index finds
            text = f"{'MIN' if name == 'first' else 'MAX'}({moment})"
        elif name != "last_row":
            text += f" FILTER (WHERE {term.text} IS NOT NULL)"
        return Term(text, term.column._replace(name=""))


def chained_by(parts: Sequence[Tree | Token]) -> str:
    """AND or OR where that joins the parts; empty where it does not."""
    word = parts[1].upper() if len(parts) == 3 and isinstance(parts[1], Token) else ""
    return word if word in ("AND", "OR") else ""


def unescaped(quoted_text: str) -> str:
    return ESCAPED.sub(lambda found: ESCAPES.get(found[1], found[1]) or found[0][0], quoted_text[1:-1])


def aggregate(name: str, term: Term) -> Term:
    text, column = f"{name.upper()}({comparable(term)})", term.column._replace(name="")
    is_number = bool(column.type.code or column.precision)
    is_wrong = column.kind == "TIMESTAMP" or (name in ("avg", "sum") and not is_number)
    refuse_if(is_wrong, 0x2802, f"Invalid parameter data type : {name}")
    if name in ("min", "max"):
        return Term(text, column)
    if column.precision:
        raise not_understood(f"{name} of DECIMAL")
    if name == "sum" and column.kind not in ("FLOAT", "DOUBLE"):
        return Term(text, unnamed("BIGINT UNSIGNED") if "UNSIGNED" in column.kind else BIGINT)
    # As in TDengine, one NaN or infinity makes the result NULL: SQLite's 0 * infinity is NULL.
    text = f"{name.upper()}(iif({term.text} = 'NaN', 9e999, {term.text}))"
    return Term(f"({text} + 0 * {text})", DOUBLE)


def comparable(term: Term) -> str:
    """The term as SQLite can compare it: DECIMALs, which are text there, as numbers."""
    return f"CAST({term.text} AS REAL)" if term.column.precision else term.text


def literal(value: Any) -> Term:
    if value is None:
        return Term("NULL", unnamed("VARCHAR"))
    if isinstance(value, bool):
        return Term(str(int(value)), BOOL, value)
    if isinstance(value, int):
        return Term(f"'{value}'" if MAX_INTEGER < value < 2**64 else str(value), BIGINT, value)
    if isinstance(value, float | Decimal):
        return Term(repr(float(value)), DOUBLE, value)
    if isinstance(value, bytes):
        return Term(f"X'{value.hex()}'", unnamed("VARBINARY", len(value)), value)
    return Term("'" + value.replace("'", "''") + "'", unnamed("VARCHAR", len(value.encode())), value)


def column_names_in(*trees: Tree | None) -> set[str]:
    """The names of all columns there; "*" where that stands for them."""
    parts = [part for tree in trees if tree for part in tree.iter_subtrees()]
    stars = {"*" for part in parts if part.data == "item" and part.children[0] == "*"}
    names = {
        "#tbname" if part.data == "tbname" else part.children[-1] for part in parts if part.data in COLUMNS
    }
    return stars | names


def is_scattered(where: Tree | None, key: str) -> bool:
    """Whether the times for which a condition holds may be no single range."""
    parts = where.iter_subtrees() if where else ()
    return any(
        part.data == "boolean"
        and key in column_names_in(part)
        and not SCATTERING.isdisjoint(str(word).upper() for word in part.children)
        for part in parts
    )


def has_bare_column(tree: Tree) -> bool:
    """Whether a column stands there outside of all calls."""
    inner = [part for part in tree.children if isinstance(part, Tree) and part.data != "call"]
    return tree.data in COLUMNS or any(map(has_bare_column, inner))


def columns_named(columns: list[Column], names: list[str] | None) -> list[Column]:
    """The columns of those names in their order; all where there are no names."""
    by_name = {column.name: column for column in columns}
    for name in names or ():
        refuse_if(name not in by_name, 0x2602, f"Invalid column name: {name}")
    return columns if names is None else [by_name[name] for name in names]
