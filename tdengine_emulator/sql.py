"""TDengine's SQL, as much of it as the demo and its tests use: a statement's text in, its Result out.

sql.lark is the grammar. What it reads, Statement writes as SQLite's SQL, and leaves all else to the Store.
"""

import re
import sqlite3
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from lark import Lark, Token, Transformer, Tree, UnexpectedInput, UnexpectedToken, v_args
from lark.visitors import Interpreter

from tdengine_emulator import values
from tdengine_emulator.store import MISSING, VERSION, Located, Relation, Result, Store, Table, TableName
from tdengine_emulator.values import DECIMALS, TYPES, Column, TaosError, quote, quote_text, refuse_if

MAX_LENGTH = 1024 * 1024
MAX_LENGTH_BUT_OF_INSERT = 20_000
ESCAPED = re.compile(r"\\(.)|''|\"\"", re.DOTALL)
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "x": "\\x", "%": "\\%", "_": "\\_"}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
UNITS_A_SECOND = {"a": 1_000, "u": 1_000_000, "b": 1_000_000_000}
PICKS = {"last": "DESC", "last_row": "DESC", "first": "ASC"}
AGGREGATES = ("count", "avg", "min", "max", "sum")
NO_TIME = (0x0216, "syntax error near 'null' (Primary timestamp column should not be null)")
NO_WINDOW = (0x2655, "The DELETE statement must only have a definite time window range")
UNBOUND = (0x0236, "bind number out of range or not match")
UNDERSTOOD = (
    "CREATE, DROP and USE DATABASE, CREATE, DROP, ALTER and DESCRIBE TABLE, SHOW, INSERT, DELETE, and SELECT "
    "with WHERE, PARTITION BY, GROUP BY, ORDER BY and LIMIT, COUNT, AVG, MIN, MAX, SUM, LAST, LAST_ROW, "
    "FIRST, CAST and NOW"
)


def nameless(type_name: str, length: int = 0) -> Column:
    """A column of the type, as what an expression gives."""
    return Column("", TYPES[type_name], length or TYPES[type_name].size)


BOOL, BIGINT, DOUBLE, TIMESTAMP = map(nameless, ("BOOL", "BIGINT", "DOUBLE", "TIMESTAMP"))


class Term(NamedTuple):
    """A piece of SQLite's SQL; what it is in TDengine, named if it is a column; a literal's value."""

    text: str
    kind: Column = BOOL
    value: Any = None
    exact: str = ""  # what gives the value unchanged, where `text` is fit only to calculate with


@dataclass
class Insert:
    """One table's part of an INSERT: the table (no name: a parameter), the supertable, the values.

    A parameter among the values is None.
    """

    table: TableName
    supertable: TableName | None
    tag_names: list[str] | None
    tags: list[Term | None]
    column_names: list[str] | None
    rows: list[list[Term | None]]

    def locate(self, store: Store, name: str = "") -> Located:
        """Where it writes; the name is the table's where its own is a parameter."""
        table = self.table._replace(name=self.table.name or name)
        return store.locate(table, self.supertable, self.tag_names, self.column_names)


def execute(store: Store, text: str, database: str | None, parameters: Sequence[Any] = ()) -> Result:
    """Do what a statement says, in the database that its connection uses; raises TaosError."""
    with beyond_understanding():
        return Statement(store, text, database, parameters).visit(parsed(text)) or Result()


def prepared_insert(store: Store, text: str, database: str | None) -> Insert:
    """The statement as an INSERT into one table, with parameters among its values; raises ValueError."""
    tree = parsed(text)
    if tree.data != "insert" or len(tree.children) != 1:
        raise ValueError("no INSERT into one table")
    return Statement(store, text, database).visit(tree.children[0])


@contextmanager
def beyond_understanding() -> Iterator[None]:
    """What SQLite or Python cannot do (a number too large, brackets too deep) is the client's error."""
    try:
        yield
    except (sqlite3.Error, struct.error, ArithmeticError, RecursionError, ValueError) as error:
        raise not_understood(str(error)) from None


def not_understood(detail: str) -> TaosError:
    suffix = f"(the emulator {VERSION} is not TDengine; it understands {UNDERSTOOD})"
    return TaosError(0x2600, f"{detail} {suffix}")


def parsed(text: str) -> Tree:
    """The statement's tree, by the grammar's rules; raises TaosError."""
    refuse_if(len(text) > MAX_LENGTH, 0x021D, "SQL statement too long, check maxSQLLength config")
    if len(text) > MAX_LENGTH_BUT_OF_INSERT and text.lstrip()[:6].lower() != "insert":
        raise not_understood("statement too long")
    try:
        return PARSER.parse(text)
    except UnexpectedInput as error:
        if isinstance(error, UnexpectedToken) and error.token.type == "$END" and text.strip():
            raise TaosError(0x2601, "Incomplete SQL statement") from None
        rest = text[error.pos_in_stream or 0 :].lower()
        if len(rest.strip()) == len(text.strip()):
            raise TaosError(0x2600, f'syntax error near "{rest.strip()}"') from None
        raise not_understood(f'syntax error near "{rest}"') from None


@v_args(inline=True)
class Parts(Transformer):
    """Names, types and what is made of them: the rules that mean the same wherever they stand."""

    def quietly(self) -> bool:
        return True

    key = quietly

    def name(self, token: Token) -> str:
        return token.update("NAME", token[1:-1] if token.type == "QUOTED" else token.lower())

    def names(self, *names: Any) -> list[Any]:
        return list(names)

    columns = names

    def table(self, first: str, second: str | None) -> TableName:
        return TableName(second, first) if second else TableName(first, None)

    def option(self, word: Token, value: Token) -> tuple[str, str]:
        return word.lower(), value.strip("'\"")

    def type(self, word: Token, unsigned: Token | None, *numbers: Token | None) -> Column:
        """A nameless column of the type: its length counts bytes, for NCHAR characters."""
        name = {"BINARY": "VARCHAR", "INTEGER": "INT"}.get(word.upper(), word.upper())
        name += " UNSIGNED" if unsigned else ""
        size, scale = (int(number or 0) for number in numbers)
        if name == "DECIMAL" and size:
            if not scale <= size <= 38:
                written = ",".join(filter(None, numbers))
                raise TaosError(
                    0x2602, f"Invalid column type DECIMAL({written}) , invalid precision or scale"
                )
            return nameless(name if size > 18 else "DECIMAL64")._replace(precision=size, scale=scale)
        if name not in TYPES or "DECIMAL" in name or not (TYPES[name].size or size):
            raise UnexpectedToken(word, ())
        return nameless(name, TYPES[name].size or size)

    def defined(self, name: str, column: Column, is_key: bool | None) -> Column:
        return column._replace(name=name, is_key=bool(is_key))


GRAMMAR = Path(__file__).with_name("sql.lark").read_text()
TABLES = Path(__file__).with_name("__pycache__") / "sql.lark"  # made from it once, since that takes a while
PARSER = Lark(GRAMMAR, parser="lalr", lexer="basic", transformer=Parts(), cache=str(TABLES))


@v_args(inline=True)
class Statement(Interpreter):
    """Its methods are named for the grammar's rules."""

    def __init__(self, store: Store, text: str, database: str | None, parameters: Sequence[Any] = ()):
        self.store, self.text, self.database, self.parameters = store, text, database, parameters
        self.nanoseconds = time.time_ns()
        # What a SELECT reads, and how a column's name is meant at the moment:
        self.relation = Relation("", {}, [])
        self.condition: Tree | None = None
        self.groups: list[Tree] = []
        self.per_second = 1000
        self.alias = "o"
        self.bare_means_last_row = False

    def full(self, name: TableName) -> TableName:
        return name if name.database else name._replace(database=self.database)

    # Databases and tables

    def create_database(self, quietly: bool | None, name: str, *options: tuple[str, str]) -> None:
        self.store.create_database(name, dict(options).get("precision", "ms"), quietly)

    def drop_database(self, quietly: bool | None, name: str) -> None:
        self.store.drop_database(name, quietly)

    def use(self, name: str) -> Result:
        return Result(use=self.store.database(name).name)

    def create_table(self, quietly: bool | None, name: TableName, columns: list[Column], tags: Any) -> None:
        if not self.is_there(self.full(name), quietly):
            self.store.create_table(self.full(name), columns, tags or [])

    def create_subtable(self, quietly: bool | None, name: TableName, using: Tree) -> None:
        insert = Insert(self.full(name), *self.visit(using), None, [])
        located = insert.locate(self.store)
        if not self.is_there(insert.table, quietly):
            with self.store.transaction():
                self.store.upsert(located, self.converted(insert.tags, located.tags, located.table), [])

    def is_there(self, name: TableName, quietly: bool | None) -> bool:
        """Whether there is a table of this name; TaosError where there may not be."""
        is_taken = self.store.is_taken(name)
        if is_taken and not quietly:
            refuse_if(self.store.table(name).subtable is None, 0x0360, "STable already exists")
            raise TaosError(0x0603, "Table already exists")
        return is_taken

    def drop_tables(self, *parts: Any) -> None:
        only_supertable = isinstance(parts[0], Token)
        for quietly, short in (tree.children for tree in parts[only_supertable:]):
            name = self.full(short)
            is_taken = self.store.is_taken(name)
            if is_taken and not (only_supertable and self.store.table(name).subtable is not None):
                self.store.drop_table(name)
            elif self.store.database(name.database) and not quietly:
                raise TaosError(*((0x0362, "STable not exist") if only_supertable else MISSING))

    def alter_table(self, name: TableName, change: Tree) -> None:
        action, kind, column = change.children
        column = BOOL._replace(name=column) if isinstance(column, str) else column
        self.store.alter_table(self.full(name), action.lower(), kind.lower(), column)

    def set_tag(self, name: TableName, tag: str, value: Tree) -> None:
        table = self.store.table(self.full(name))
        tags = [known for known in table.tags if known.name == tag and table.subtable is not None]
        refuse_if(not tags, 0x2649, f"Invalid tag name: {tag}")
        self.store.set_tag(table, tags[0], *self.converted([self.visit(value)], tags, table))

    def describe(self, name: TableName) -> Result:
        return self.store.describe(self.full(name))

    def show(self, *words: Any) -> Result:
        *path, last = words
        first = path[0][1:-1] if path[0].type == "QUOTED" else path[0].lower()
        what, database = path[-1].lower(), last or (first if path[1:] else self.database)
        if what not in ("databases", "stables", "tables"):
            raise not_understood(f"unknown SHOW {what}")
        heading, where = "name", ""
        if what != "databases":
            known = quote_text(self.store.database(database).name)
            heading, where = f"{what[:-1]}_name", f" WHERE db_name = {known}"
        relation = self.store.relation(TableName(f"ins_{what}", "information_schema"))
        rows = self.store.rows(f"SELECT {heading} FROM {relation.source}{where}")
        return Result([relation.columns[heading]], rows)

    # Writing

    def insert(self, *parts: Tree) -> Result:
        inserts = [self.visit(part) for part in parts]
        with self.store.transaction():
            return Result(affected=sum(self.write(insert) for insert in inserts))

    def part(self, name: Any, before: Any, using: Tree | None, after: Any, *rows: Tree) -> Insert:
        """One table's part of an INSERT; a table that is a parameter has no name."""
        table = self.full(name) if isinstance(name, TableName) else TableName("", self.database)
        if table.database:
            self.per_second = self.store.database(table.database).per_second
        supertable = self.visit(using) if using else (None, None, [])
        return Insert(table, *supertable, after or before, [self.visit(row) for row in rows])

    def using(self, name: TableName, names: list[str] | None, row: Tree) -> tuple[Any, ...]:
        return self.full(name), names, self.visit(row)

    def row(self, *terms: Tree) -> list[Term | None]:
        return [None if term.data == "parameter" else self.visit(term) for term in terms]

    def write(self, insert: Insert) -> int:
        located = insert.locate(self.store)
        is_even = all(len(row) == len(located.columns) for row in insert.rows)
        refuse_if(not is_even, 0x0216, "syntax error near ')' (, expected)")
        rows = [self.converted(row, located.columns, located.table) for row in insert.rows]
        columns = list(zip(*rows, strict=True))
        refuse_if(None in columns[0], *NO_TIME)
        return self.store.upsert(located, self.converted(insert.tags, located.tags, located.table), columns)

    def converted(self, terms: Sequence[Term | None], columns: list[Column], table: Table) -> list[Any]:
        """The values of what stands among VALUES, TAGS or behind SET TAG, as their columns' types."""
        found = []
        refuse_if(len(terms) != len(columns), 0x0216, "syntax error near ')' (Tags number not matched)")
        for term, column in zip(terms, columns, strict=True):
            if term is None:
                raise TaosError(*UNBOUND)
            value = term.value
            if value is None and term.text != "NULL":
                ((value,),) = self.store.rows(f"SELECT {term.text}")
            found.append(values.converted(value, column, table.database.per_second))
        return found

    def delete(self, source: Tree, condition: Tree | None) -> Result:
        self.relation, self.condition = self.visit(source), condition
        table, chosen = self.relation.table, self.where()
        if table is None:
            raise TaosError(*MISSING)
        used = columns_in(condition)
        refuse_if("tbname" in used, 0x264C, "Invalid tbname pseudo column")
        refuse_if(not used <= {table.columns[0].name, *(tag.name for tag in table.tags)}, *NO_WINDOW)
        return Result(affected=self.store.delete(table, chosen))

    # Reading

    def select(self, *parts: Any) -> Result:
        fields, text = self.selected(*parts)
        database = self.relation.database
        return Result(fields, self.store.rows(text), precision=database.number if database else 0)

    def selected(self, *parts: Any) -> tuple[list[Column], str]:
        """A SELECT's fields, and SQLite's SQL for it."""
        distinct, items, source, condition, groups, order, limit = parts
        if source:
            self.relation, self.condition = self.visit(source), condition
        where, table = self.where(), self.relation.table
        is_partition = groups is not None and isinstance(groups.children[0], Token)
        self.groups = groups.children[is_partition:] if groups else []
        grouped = self.grouped()
        called = {call.children[0].lower() for call in items.find_data("call")} & {*PICKS, *AGGREGATES}
        if is_partition and not called:
            raise not_understood("PARTITION BY without an aggregate")
        is_mixed = bool(called & {"count", "sum", "avg"}) and not grouped and has_bare_column(items)
        refuse_if(is_mixed, 0x260C, "Not a single-group group function")
        only_picks = self.bare_means_last_row = bool(called) and called <= PICKS.keys() and not grouped
        chosen = self.items(items)
        has_json = any(term.kind.type.name == "JSON" for _, term in chosen)
        refuse_if(bool(distinct) and has_json, 0x072E, "Json not support in group/partition by")
        names = {name for name, _ in chosen}
        keys = [self.sort_key(names, *key.children) for key in order.children] if order else []

        written = ", ".join(f"{term.exact or term.text} AS {quote(name)}" for name, term in chosen)
        text = f"SELECT {'DISTINCT ' if distinct else ''}{written}"
        used = {name for part in (items, condition, groups, order) for name in columns_in(part)}
        only_tags = distinct and table and used <= {"tbname", *(tag.name for tag in table.tags)}
        read = f"{f'tags_{table.id}' if table and only_tags else self.relation.source} AS o{where}"
        if only_picks:
            text += f" WHERE EXISTS (SELECT 1 FROM {read})"
        elif source:
            if called and "count" not in called:
                grouped = grouped or ["NULL"]  # without a row TDengine gives no row, but for COUNT
            text += f" FROM {read}" + (f" GROUP BY {', '.join(grouped)}" if grouped else "")
        text += f" ORDER BY {', '.join(keys)}" if keys else ""
        text += f" {' '.join(limit.children)}" if limit else ""
        return [term.kind._replace(name=name) for name, term in chosen], text

    def source(self, read: TableName | Tree, _alias: str | None) -> Relation:
        """A table, or a SELECT in brackets; an alias is not needed where there is but one."""
        if isinstance(read, TableName):
            relation = self.store.relation(self.full(read))
        else:
            inner = Statement(self.store, self.text, self.database, self.parameters)
            fields, text = inner.selected(*read.children)
            columns = {column.name: column for column in fields}
            relation = Relation(f"({text})", columns, list(columns), inner.relation.database)
        self.per_second = relation.database.per_second if relation.database else 1000
        return relation

    def where(self) -> str:
        """The WHERE clause, a subtable's restriction included, about the rows that carry the alias."""
        table, conditions = self.relation.table, []
        if table and table.subtable is not None:
            conditions.append(f'{self.alias}."#id" = {table.subtable}')
        if self.condition:
            conditions.append(self.visit(self.condition).text)
        return f" WHERE {' AND '.join(conditions)}" if conditions else ""

    def grouped(self) -> list[str]:
        return [self.visit(tree).text for tree in self.groups]

    def items(self, items: Tree) -> list[tuple[str, Term]]:
        """The select list's names and terms, * and LAST_ROW(*) written out."""
        chosen = []
        for tree, name in (item.children for item in items.children):
            if isinstance(tree, Token):
                chosen += [(known, self.of_column(known)) for known in self.relation.star]
                continue
            call = tree.children[0].lower() if tree.data == "call" and tree.children[2] == "*" else ""
            if call in PICKS and self.relation.table:
                picked = [column.name for column in self.relation.table.columns]
                chosen += [(f"{call}({known})", self.pick(call, known)) for known in picked]
                continue
            term = self.visit(tree)
            tokens = sorted(tree.scan_values(lambda part: isinstance(part, Token)), key=lambda t: t.start_pos)
            written = self.text[tokens[0].start_pos : tokens[-1].end_pos].lower()
            chosen.append((name or term.kind.name or written, term))
        return chosen

    def sort_key(self, names: set[str], tree: Tree, descending: Token | None) -> str:
        name = tree.children[-1] if tree.data == "column" else None
        is_alias = name in names and name not in self.relation.columns
        key = quote(name) if is_alias else self.visit(tree).text
        return f"{key} DESC" if descending else key

    # Expressions

    def compound(self, *parts: Tree | Token) -> Term:
        """Comparisons and what joins them; beside a time texts become times, and beside bytes bytes."""
        terms = [Term(part) if isinstance(part, Token) else self.visit(part) for part in parts]
        types = {term.kind.type.name for term in terms}
        return Term(f"({' '.join(self.beside(types, term) for term in terms)})")

    def beside(self, types: set[str], term: Term) -> str:
        if isinstance(term.value, str) and "TIMESTAMP" in types:
            return str(values.parse_time(term.value, self.per_second))
        if isinstance(term.value, str) and types & {"VARBINARY", "GEOMETRY", "BLOB"}:
            return f"X'{values.as_bytes(term.value, BOOL).hex()}'"
        return term.text

    def like(self, *parts: Tree | Token) -> Term:
        return Term(f"({self.compound(*parts).text[1:-1]} ESCAPE '\\')")

    def calculation(self, left: Tree, mark: Token, right: Tree) -> Term:
        first, second = self.visit(left), self.visit(right)
        if TIMESTAMP.type in (first.kind.type, second.kind.type):
            return Term(f"({first.text} {mark} {second.text})", TIMESTAMP)
        return Term(f"(1.0 * {first.text} {mark} {second.text})", DOUBLE)

    def bracketed(self, _open: Token, tree: Tree, _close: Token) -> Term:
        term = self.visit(tree)
        return term._replace(kind=term.kind._replace(name=""))

    def negative(self, _minus: Token, tree: Tree) -> Term:
        term = self.visit(tree)
        if isinstance(term.value, int | Decimal):
            return literal(-term.value)
        return Term(f"(-1.0 * {term.text})", DOUBLE)

    def number(self, token: Token) -> Term:
        return literal(int(token) if token.isdigit() else Decimal(token))

    def string(self, token: Token) -> Term:
        def unescaped(found: re.Match[str]) -> str:
            return ESCAPES.get(found[1], found[1]) if found[1] else found[0][0]

        return literal(ESCAPED.sub(unescaped, token[1:-1]))

    def constant(self, token: Token) -> Term:
        return literal({"null": None, "true": True, "false": False}[token.lower()])

    def parameter(self, token: Token) -> Term:
        before = sum(known.type == "PARAMETER" for known in PARSER.lex(self.text[: token.start_pos]))
        refuse_if(before >= len(self.parameters), *UNBOUND)
        return literal(self.parameters[before])

    def duration(self, token: Token) -> Term:
        count, unit = int(token[:-1]), token[-1].lower()
        if unit in SECONDS:
            return Term(str(count * SECONDS[unit] * self.per_second), BIGINT)
        if unit in UNITS_A_SECOND:
            return Term(str(count * self.per_second // UNITS_A_SECOND[unit]), BIGINT)
        raise not_understood(f"unknown unit in {token}")

    def now(self, *_: Token) -> Term:
        return Term(str(self.nanoseconds * self.per_second // 1_000_000_000), TIMESTAMP)

    def column(self, _table: str | None, name: str) -> Term:
        return self.of_column(name)

    def of_column(self, name: str) -> Term:
        refuse_if(name not in self.relation.columns, 0x2602, f"Invalid column name: {name}")
        if self.bare_means_last_row and self.alias == "o":
            term = self.pick("last_row", name)
            return term._replace(kind=term.kind._replace(name=name))
        column = self.relation.columns[name]
        text = exact = f"{self.alias}.{quote(column.name)}"
        if column.type in DECIMALS:
            text = f"CAST({exact} AS REAL)"
        return Term(text, column._replace(name=name), None, exact)

    def cast(self, _cast: Token, _open: Token, tree: Tree, _as: Token, kind: Column, _close: Token) -> Term:
        inner = self.visit(tree)
        refuse_if(inner.kind.type.holds_bytes, 0x2802, "Invalid parameter data type : cast")
        if kind.type.holds_bytes or (inner.kind.type in DECIMALS and not kind.type.is_float):
            raise not_understood(f"CAST from {inner.kind.type.name} to {kind.type.name}")
        if kind.type.code:
            return Term(f"CAST({inner.text} AS {'REAL' if kind.type.is_float else 'INTEGER'})", kind)
        return Term(f"substr(CAST({inner.text} AS TEXT), 1, {kind.length})", kind)

    def call(self, word: Token, _open: Token, argument: Tree | Token | None, _close: Token) -> Term:
        name = word.lower()
        if name in PICKS and isinstance(argument, Tree):
            return self.pick(name, argument)
        if name == "count" and isinstance(argument, Token):
            return Term("COUNT(*)", BIGINT)
        if name in AGGREGATES and isinstance(argument, Tree):
            return self.aggregate(name, argument)
        if name in ("server_version", "database") and argument is None:
            return literal(VERSION if name == "server_version" else self.database)
        raise not_understood(f"unknown function {name}")

    def aggregate(self, name: str, argument: Tree) -> Term:
        inner = self.visit(argument)
        text, type_ = f"{name.upper()}({inner.text})", inner.kind.type
        if name == "count":
            return Term(text, BIGINT)
        is_wrong = type_ == TIMESTAMP.type or (name in ("avg", "sum") and not type_.code)
        refuse_if(is_wrong, 0x2802, f"Invalid parameter data type : {name}")
        if name in ("min", "max"):
            return Term(text, inner.kind._replace(name=""))
        if type_ in DECIMALS:
            raise not_understood(f"{name} of DECIMAL")
        if name == "sum" and not type_.is_float:
            return Term(text, nameless("BIGINT UNSIGNED") if "UNSIGNED" in type_.name else BIGINT)
        # As in TDengine, one NaN or infinity makes the result NULL: SQLite's 0 * infinity is NULL.
        text = f"{name.upper()}(iif({inner.text} = 'NaN', 9e999, {inner.text}))"
        return Term(f"({text} + 0 * {text})", DOUBLE)

    def pick(self, name: str, argument: Tree | str) -> Term:
        """LAST, FIRST, LAST_ROW: the value at its group's newest or oldest row, which the index finds."""
        if self.relation.table is None:
            raise not_understood(f"{name} of a table without a timestamp")
        outer = self.grouped()
        self.alias = "i"
        term = self.of_column(argument) if isinstance(argument, str) else self.visit(argument)
        conditions = [f"{i} IS {o}" for i, o in zip(self.grouped(), outer, strict=True)]
        conditions += [f"{term.text} IS NOT NULL"] if name != "last_row" else []
        where = self.where() or (" WHERE 1" if conditions else "")
        self.alias = "o"
        read = f"{self.relation.source} AS i{' AND '.join([where, *conditions])}"
        order = f"i.{quote(self.relation.table.columns[0].name)} {PICKS[name]}"
        text = f"(SELECT {term.exact or term.text} FROM {read} ORDER BY {order} LIMIT 1)"
        return Term(text, term.kind._replace(name=""))


def columns_in(tree: Tree | None) -> set[str]:
    """The names of all columns there; "*" where that stands for them."""
    if tree is None:
        return set()
    star = {"*" for item in tree.find_data("item") if item.children[0] == "*"}
    return star | {column.children[-1] for column in tree.find_data("column")}


def has_bare_column(tree: Tree) -> bool:
    """Whether a column stands there outside of all calls."""
    inner = [part for part in tree.children if isinstance(part, Tree) and part.data != "call"]
    return tree.data == "column" or any(map(has_bare_column, inner))


def literal(value: Any) -> Term:
    if value is None:
        return Term("NULL", nameless("VARCHAR"))
    if isinstance(value, bool):
        return Term(str(int(value)), BOOL, value)
    if isinstance(value, int):
        return Term(f"'{value}'" if values.MAX_INTEGER < value < 2**64 else str(value), BIGINT, value)
    if isinstance(value, float | Decimal):
        return Term(repr(float(value)), DOUBLE, value)
    return Term(quote_text(value), nameless("VARCHAR", len(value.encode())), value)
