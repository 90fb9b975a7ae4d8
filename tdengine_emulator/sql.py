"""TDengine's SQL, as much of it as docs/emulator-sql.md lists: a statement's text in, its Result out.

A statement is parsed by grammar.py, written as SQLite's SQL (expressions.py, functions.py, selection.py) and
done by the Store.
"""

import re
import sqlite3
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import tzinfo
from typing import Any, NamedTuple

from lark import Token, Tree

from tdengine_emulator.expressions import AGGREGATES, Expressions
from tdengine_emulator.grammar import (
    MAX_LENGTH,
    QUOTES,
    RESERVED_WORDS,
    Term,
    literal,
    parse,
    unescaped,
    without_case,
)
from tdengine_emulator.selection import column_names_in, parts_of, selected
from tdengine_emulator.store import (
    MISSING,
    VIEWS,
    Result,
    Store,
    Table,
    TableName,
    TooLong,
    not_understood,
    system_fields,
)
from tdengine_emulator.wire import Column, converted, refuse_if

__all__ = ["MAX_LENGTH", "RESERVED_WORDS", "UNBOUND", "Statement", "TableInsert", "execute", "parse"]
SCATTERING = {"OR", "NOT", "IN", "IS", "<>", "!="}  # what makes several ranges of one
CONDITIONS = ("boolean", "compared", "is_null", "among", "between", "like", "match")
DEEPEST = 5000  # calls in each other
ANY = "'%'"
NO_TOPIC = re.compile(r"\b(?:distinct|group|partition|order|limit|union)\b", re.IGNORECASE)
INVALID_TOPIC = (0x2639, "Invalid topic query")
UNBOUND = (0x0236, "bind number out of range or not match")


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
    sys.setrecursionlimit(DEEPEST)
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
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname == "SQLITE_INTERRUPT":
            raise TooLong from None
        raise not_understood(str(error)) from None
    except (sqlite3.Error, struct.error, ArithmeticError, ValueError) as error:
        raise not_understood(str(error)) from None


class Statement(Expressions):
    """One statement. Its methods are named for the grammar's rules; SQLite writes the others as TDengine."""

    def __init__(
        self,
        store: Store,
        text: str,
        database: str | None,
        parameters: Sequence[Any] = (),
        zone: tzinfo | None = None,
    ):
        super().__init__(store, text, database, list(parameters), zone)
        self.subtable: str | None = None  # the table of a prepared INSERT

    def with_database(self, name: TableName) -> TableName:
        return name if name.database else name._replace(database=self.database)

    def opened(self, name: TableName) -> Table:
        """The table, which is that of the statement from now on."""
        self.table = table = self.store.existing(self.with_database(name))
        self.per_second, self.columns = table.per_second, {}
        return table

    # Databases and tables

    def definition(self, tree: Tree) -> Result | None:
        """What the store does by itself, under the rule's name."""
        parts = [self.with_database(part) if isinstance(part, TableName) else part for part in tree.children]
        return getattr(self.store, tree.data)(*parts)

    def create_subtable(self, if_needed: bool | None, name: TableName, using: Tree) -> None:
        insert = self.insert_into_table(name, None, using, None)
        if self.store.is_free(self.with_database(name), if_needed):
            self.write(insert)

    def create_topic(self, if_needed: bool | None, name: str, query: Tree) -> None:
        fields = selected(self, query).fields
        words = " ".join(part[0] for part in QUOTES.finditer(self.text) if not part[1])
        sources = list(query.find_pred(lambda part: part.data == "select"))
        source = parts_of(sources[0])[2]
        is_of_table = len(sources) == 1 and isinstance(source, TableName)
        refuse_if(not is_of_table or NO_TOPIC.search(words) is not None, *INVALID_TOPIC)
        table = self.opened(source)
        called = {call.children[0].lower() for call in query.find_data("call")}
        refuse_if(not table.id or not called.isdisjoint(AGGREGATES), *INVALID_TOPIC)
        used = {str(part) for column in query.find_data("column") for part in column.children if part}
        self.store.create_topic(if_needed, name, table, without_case(self.text), fields, used)

    def set_tag(self, name: TableName, tag: str, value: Tree) -> None:
        table = self.opened(name)
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

    def show_queries(self) -> Result:
        return self.of_system("SELECT * FROM performance_schema.perf_queries")

    def kill_query(self, _kill: Token, number: Token) -> None:
        self.store.kill_query(unescaped(number))

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
        table = self.opened(supertable or name)
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
        table = self.opened(name)
        key = table.columns[0].name
        is_window = column_names_in(where) <= {key, *(tag.name for tag in table.tags)}
        is_window = is_window and not is_scattered(where, key)
        complaint = "The DELETE statement must only have a definite time window range"
        refuse_if(not is_window, 0x2655, complaint)
        chosen = f"SELECT {table.key_names} FROM {table.source} AS o {self.text_of([where])}"
        text = f"DELETE FROM rows_{table.id} WHERE ({table.key_names}) IN ({chosen})"
        return Result(affected=self.store.rows(text).rowcount)

    # Reading

    def query(self, *parts: Tree | None) -> Result:
        found = selected(self, Tree("query", list(parts)))
        return Result(found.fields, self.store.rows(found.text), precision=found.precision)


def is_scattered(where: Tree | None, key: str) -> bool:
    """Whether the times for which a condition holds may be no single range."""
    parts = where.iter_subtrees() if where else ()
    return any(
        part.data in CONDITIONS
        and key in column_names_in(part)
        and not SCATTERING.isdisjoint(str(word).upper() for word in part.children)
        for part in parts
    )


def columns_named(columns: list[Column], names: list[str] | None) -> list[Column]:
    """The columns of those names in their order; all where there are no names."""
    by_name = {column.name: column for column in columns}
    for name in names or ():
        refuse_if(name not in by_name, 0x2602, f"Invalid column name: {name}")
    return columns if names is None else [by_name[name] for name in names]
