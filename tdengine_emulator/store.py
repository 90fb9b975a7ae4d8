"""Databases, supertables and rows in SQLite, and what TDengine's statements mean there. Knows nothing of sockets.

A supertable is two SQLite tables, rows_N (key: timestamp and subtable) and tags_N (a row a subtable), joined by the view
meters_N. Times are integers in the database's precision. SQLite has no NaN: it is the text "NaN" there.
"""

import json
import math
import re
import sqlite3
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import repeat
from pathlib import Path
from typing import Any

from tdengine_emulator import sql
from tdengine_emulator.sql import Column, Expression, Select
from tdengine_emulator.wire import TYPES, BoundTable, Field, Type

VERSION = "3.3.7.5.emulator"
MAX_ROWS = 2_000_000
MAX_HOURS = 12
ROWS_TO_SPARE = MAX_ROWS // 100
PRECISIONS = {"ms": (0, 1_000), "us": (1, 1_000_000), "ns": (2, 1_000_000_000)}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
FRACTIONS = {"a": 1_000, "u": 1_000_000, "b": 1_000_000_000}
TYPE_ALIASES = {"BINARY": "VARCHAR", "INTEGER": "INT"}
LIBRARY_DATABASES = ("information_schema", "performance_schema")
NAME_LENGTH = 192
TBNAME_LENGTH = 270

BIGINT, INT, DOUBLE, VARCHAR, TIMESTAMP = (
    TYPES[name] for name in ("BIGINT", "INT", "DOUBLE", "VARCHAR", "TIMESTAMP")
)
INTEGERS = {
    name: type_
    for name, type_ in TYPES.items()
    if type_.code and type_.code in "bhiqBHIQ" and type_ != TIMESTAMP
}

SYSTEM_TABLES = {
    "ins_databases": {"name": 64, "create_time": 8, "ntables": 4, "precision": 2},
    "ins_stables": {"stable_name": 192, "db_name": 64, "create_time": 8, "columns": 4, "tags": 4},
    "ins_tables": {"table_name": 192, "db_name": 64, "columns": 4, "stable_name": 192, "type": 21},
    "ins_tags": {
        "table_name": 192,
        "db_name": 64,
        "stable_name": 192,
        "tag_name": 64,
        "tag_type": 32,
        "tag_value": 16384,
    },
}


class TaosError(Exception):
    """An error as TDengine gives it: its code and message."""

    def __init__(self, code: int, message: str):
        self.code, self.message = code, message
        super().__init__(f"[0x{code:04X}] {message}")


def not_understood(detail: str) -> TaosError:
    return TaosError(
        0x2600, f"{detail} (this is the emulator {VERSION}, not TDengine; it understands {sql.UNDERSTOOD})"
    )


@dataclass
class Result:
    """What a statement gives: rows with their fields (None: an update), or a number of affected rows."""

    fields: list[Field] | None = None
    rows: Iterable[Sequence[Any]] = ()
    affected: int = 0
    precision: int = 0
    use: str | None = None


@dataclass
class Supertable:
    """A supertable, or a plain table (no tags, and one subtable of its own name)."""

    id: int
    name: str
    columns: list[Column]
    tags: list[Column]
    created: int
    subtables: dict[str, int] = field(default_factory=dict)


@dataclass
class Database:
    name: str
    precision: str
    created: int
    tables: dict[str, Supertable] = field(default_factory=dict)
    subtables: dict[str, Supertable] = field(default_factory=dict)

    def per_second(self) -> int:
        return PRECISIONS[self.precision][1]


@dataclass
class Relation:
    """What a SELECT reads from: a piece of SQLite's FROM, its columns, those that * means, its timestamp."""

    source: str
    columns: dict[str, Field]
    star: list[str]
    time: str | None = None
    restriction: str | None = None
    only_tags: str | None = None
    tag_names: frozenset[str] = frozenset()
    database: Database | None = None


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def field_of(column: Column) -> Field:
    type_ = TYPES[column.type]
    return Field(column.name, type_, type_.size if type_.code else column.length or 0)


class Store:
    """The data of one emulator; in memory, or in the directory's SQLite file with every commit durable."""

    def __init__(self, directory: Path | None = None):
        path = ":memory:" if directory is None else str(directory / "tdengine_emulator.sqlite")
        self.sqlite = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.sqlite.executescript(
            """PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA case_sensitive_like = ON;
            CREATE TABLE IF NOT EXISTS databases (name PRIMARY KEY, precision, created);
            CREATE TABLE IF NOT EXISTS tables (id INTEGER PRIMARY KEY, "database", name, columns, tags, created);"""
        )
        self.databases = {
            name: Database(name, precision, created)
            for name, precision, created in self.sqlite.execute(
                "SELECT name, precision, created FROM databases"
            )
        }
        for number, database, name, columns, tags, created in self.sqlite.execute(
            "SELECT * FROM tables"
        ).fetchall():
            loaded = [[Column(*column) for column in json.loads(text)] for text in (columns, tags)]
            table = Supertable(number, name, *loaded, created)
            table.subtables = dict(self.sqlite.execute(f'SELECT "#tbname", "#subtable" FROM tags_{number}'))
            owner = self.databases[database]
            owner.tables[name] = table
            owner.subtables.update(dict.fromkeys(table.subtables, table))

    def close(self) -> None:
        self.sqlite.close()

    # Names

    def database(self, name: str | None) -> Database:
        if name is None:
            raise TaosError(0x2616, "Database not specified")
        if name not in self.databases:
            raise TaosError(0x0388, "Database not exist")
        return self.databases[name]

    def has_database(self, name: str) -> bool:
        return name in self.databases or name in LIBRARY_DATABASES

    def table(self, name: sql.Table, database: str | None) -> tuple[Database, Supertable, int | None]:
        """The table of that name: its database, its supertable, and its subtable number (None: a supertable)."""
        owner = self.database(name.database or database)
        if name.name in owner.subtables:
            table = owner.subtables[name.name]
            return owner, table, table.subtables[name.name]
        if name.name in owner.tables:
            return owner, owner.tables[name.name], None
        raise TaosError(0x2603, "Table does not exist")

    # Statements

    def execute(self, text: str, database: str | None) -> Result:
        """Do what the text says, in the database that the connection uses; raises TaosError."""
        try:
            statement = sql.parse(text)
        except sql.SyntaxProblem as problem:
            detail = f'syntax error near "{problem.near}"'
            raise (not_understood(detail) if problem.known else TaosError(0x2600, detail)) from None
        return self.run(statement, database)

    def run(self, statement: sql.Statement, database: str | None, parameters: Sequence[Any] = ()) -> Result:
        do = getattr(self, re.sub("(?<!^)([A-Z])", r"_\1", type(statement).__name__).lower())
        try:
            if isinstance(statement, Select):
                return self.select(statement, database, parameters)
            return do(statement, database)
        except (sqlite3.Error, OverflowError) as error:
            raise not_understood(f"SQLite says: {error}") from None

    def transaction(self) -> "Transaction":
        return Transaction(self.sqlite)

    def create_database(self, statement: sql.CreateDatabase, _: str | None) -> Result:
        if self.has_database(statement.name):
            if statement.if_not_exists:
                return Result()
            raise TaosError(0x0381, "Database already exists")
        precision = statement.options.get("precision", "ms")
        if precision not in PRECISIONS:
            raise not_understood(f"Invalid option precision: {precision}")
        created = int(time.time() * 1000)
        self.sqlite.execute("INSERT INTO databases VALUES (?, ?, ?)", (statement.name, precision, created))
        self.databases[statement.name] = Database(statement.name, precision, created)
        return Result()

    def drop_database(self, statement: sql.DropDatabase, _: str | None) -> Result:
        if statement.name not in self.databases:
            if statement.if_exists:
                return Result()
            raise TaosError(0x0388, "Database not exist")
        with self.transaction():
            for table in self.databases[statement.name].tables.values():
                self.forget_table(table)
            self.sqlite.execute("DELETE FROM databases WHERE name = ?", (statement.name,))
        del self.databases[statement.name]
        return Result()

    def use(self, statement: sql.Use, _: str | None) -> Result:
        if not self.has_database(statement.name):
            raise TaosError(0x0388, "Database not exist")
        return Result(use=statement.name)

    def create_table(self, statement: sql.CreateTable, database: str | None) -> Result:
        owner = self.database(statement.table.database or database)
        name = statement.table.name
        if name in owner.tables or name in owner.subtables:
            if statement.if_not_exists:
                return Result()
            if name in owner.tables and owner.tables[name].tags:
                raise TaosError(0x0360, "STable already exists")
            raise TaosError(0x2605, "Table already exists")
        columns, tags = (
            [self.checked(column) for column in part] for part in (statement.columns, statement.tags)
        )
        if columns[0].type != "TIMESTAMP":
            raise TaosError(0x2600, "Invalid first column type, must be timestamp")
        created = int(time.time() * 1000)
        with self.transaction():
            cursor = self.sqlite.execute(
                'INSERT INTO tables ("database", name, columns, tags, created) VALUES (?, ?, ?, ?, ?)',
                (owner.name, name, *(self.as_json(part) for part in (columns, tags)), created),
            )
            table = Supertable(cursor.lastrowid or 0, name, columns, tags, created)
            self.make_table(table)
            if not tags:
                self.add_subtable(owner, table, name, [])
        owner.tables[name] = table
        return Result()

    def checked(self, column: Column) -> Column:
        name = TYPE_ALIASES.get(column.type, column.type)
        if name not in TYPES:
            raise not_understood(f"unknown type {column.type}")
        if not TYPES[name].code and not column.length:
            raise TaosError(0x2600, f"Invalid column/tag length: {column.name}")
        return Column(column.name, name, column.length, column.is_key)

    def as_json(self, columns: list[Column]) -> str:
        return json.dumps([(column.name, column.type, column.length, column.is_key) for column in columns])

    def make_table(self, table: Supertable) -> None:
        """Lay a table's two SQLite tables and the view that joins them."""
        key = [table.columns[0].name, *(column.name for column in table.columns[1:] if column.is_key)]
        columns = "".join(f"{quote(column.name)}, " for column in table.columns)
        tags = "".join(f", {quote(column.name)}" for column in table.tags)
        n = table.id
        self.sqlite.execute(
            f'CREATE TABLE rows_{n} ({columns}"#subtable" INTEGER, '
            f'PRIMARY KEY ({", ".join(map(quote, key[:1]))}, "#subtable"{"".join(", " + quote(k) for k in key[1:])})) '
            "WITHOUT ROWID"
        )
        self.sqlite.execute(
            f'CREATE TABLE tags_{n} ("#subtable" INTEGER PRIMARY KEY, "#tbname" UNIQUE, "#created"{tags})'
        )
        selected = "".join(f", r.{quote(column.name)}" for column in table.columns)
        selected += "".join(f", t.{quote(column.name)}" for column in table.tags)
        self.sqlite.execute(
            f'CREATE VIEW meters_{n} AS SELECT r."#subtable" AS "#subtable", t."#tbname" AS "#tbname"{selected} '
            f'FROM rows_{n} AS r CROSS JOIN tags_{n} AS t ON r."#subtable" = t."#subtable"'
        )

    def forget_table(self, table: Supertable) -> None:
        self.sqlite.execute(f"DROP VIEW meters_{table.id}")
        self.sqlite.execute(f"DROP TABLE rows_{table.id}")
        self.sqlite.execute(f"DROP TABLE tags_{table.id}")
        self.sqlite.execute("DELETE FROM tables WHERE id = ?", (table.id,))

    def create_subtables(self, statement: sql.CreateSubtables, database: str | None) -> Result:
        with self.transaction():
            for part in statement.parts:
                owner, name = self.database(part.table.database or database), part.table.name
                if name in owner.subtables:
                    if statement.if_not_exists:
                        continue
                    raise TaosError(0x2605, "Table already exists")
                self.subtable(part, name, database)
        return Result()

    def drop_table(self, statement: sql.DropTable, database: str | None) -> Result:
        try:
            owner, table, subtable = self.table(statement.table, database)
        except TaosError as error:
            if statement.if_exists and error.code == 0x2603:
                return Result()
            raise
        with self.transaction():
            if subtable is None or not table.tags:
                self.forget_table(table)
            else:
                self.sqlite.execute(f'DELETE FROM rows_{table.id} WHERE "#subtable" = ?', (subtable,))
                self.sqlite.execute(f'DELETE FROM tags_{table.id} WHERE "#subtable" = ?', (subtable,))
        if subtable is None or not table.tags:
            del owner.tables[table.name]
            for name in table.subtables:
                del owner.subtables[name]
        else:
            del owner.subtables[statement.table.name], table.subtables[statement.table.name]
        return Result()

    def describe(self, statement: sql.Describe, database: str | None) -> Result:
        _, table, _ = self.table(statement.table, database)
        rows = []
        for column in [*table.columns, *table.tags]:
            type_ = TYPES[column.type]
            length = type_.size or column.length
            if column in table.tags:
                rows.append((column.name, column.type, length, "TAG", "disabled", "disabled", "disabled"))
            else:
                note = "COMPOSITE KEY" if column.is_key else ""
                rows.append((column.name, column.type, length, note, type_.encode, type_.compress, "medium"))
        lengths = {
            "field": 325,
            "type": 20,
            "length": 4,
            "note": 16,
            "encode": 12,
            "compress": 12,
            "level": 12,
        }
        types = {name: TYPES["INT"] if name == "length" else VARCHAR for name in lengths}
        return Result([Field(name, types[name], length) for name, length in lengths.items()], rows)

    def show(self, statement: sql.Show, database: str | None) -> Result:
        if statement.what == "databases":
            names = [*LIBRARY_DATABASES, *self.databases]
            return Result([Field("name", VARCHAR, 64)], [(name,) for name in names])
        owner = self.database(statement.database or database)
        if statement.what == "stables":
            names = [name for name, table in owner.tables.items() if table.tags]
            return Result([Field("stable_name", VARCHAR, NAME_LENGTH)], [(name,) for name in names])
        return Result([Field("table_name", VARCHAR, NAME_LENGTH)], [(name,) for name in owner.subtables])

    def set_tag(self, statement: sql.SetTag, database: str | None) -> Result:
        owner, table, subtable = self.table(statement.table, database)
        tag = next((tag for tag in table.tags if tag.name == statement.tag), None)
        if tag is None:
            raise TaosError(0x2602, f"Invalid column name: {statement.tag}")
        if subtable is None:
            raise not_understood("SET TAG needs a subtable")
        value = self.value(statement.value, tag, owner)
        self.sqlite.execute(
            f'UPDATE tags_{table.id} SET {quote(tag.name)} = ? WHERE "#subtable" = ?', (value, subtable)
        )
        return Result()

    def delete(self, statement: sql.Delete, database: str | None) -> Result:
        owner, table, subtable = self.table(statement.table, database)
        relation = self.relation(statement.table, database)
        translator = Translator(relation, "o", owner.per_second())
        conditions = [relation.restriction] if relation.restriction else []
        if statement.where:
            conditions.append(translator.condition(statement.where))
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        key = ", ".join(quote(c.name) for c in table.columns if c.is_key or c is table.columns[0])
        cursor = self.sqlite.execute(
            f'DELETE FROM rows_{table.id} WHERE ({key}, "#subtable") IN '
            f'(SELECT {key}, "#subtable" FROM {relation.source} AS o{where})'
        )
        return Result(affected=cursor.rowcount)

    # Writing

    def insert(self, statement: sql.Insert, database: str | None) -> Result:
        affected = 0
        with self.transaction():
            for part in statement.parts:
                owner, table, number = self.subtable(part, part.table.name, database)
                columns = self.named(table.columns, part.columns)
                if any(len(row) != len(columns) for row in part.rows):
                    raise TaosError(0x2600, "Illegal number of columns")
                rows = [
                    [self.value(value, column, owner) for value, column in zip(row, columns, strict=True)]
                    for row in part.rows
                ]
                affected += self.write(owner, table, number, columns, list(zip(*rows, strict=True)))
        return Result(affected=affected)

    def subtable(
        self, part: sql.InsertInto, name: str, database: str | None, tags: Sequence[Any] | None = None
    ) -> tuple[Database, Supertable, int]:
        """The subtable an INSERT means, made with the tags given (or those of the statement) where it is new."""
        if part.using is None:
            table_name = sql.Table(name, part.table.database if part.table else None)
            owner, table, number = self.table(table_name, database)
            if number is None:
                raise TaosError(0x2603, "Table does not exist")
            return owner, table, number
        owner, table, number = self.table(part.using, database)
        if number is not None or not table.tags:
            raise TaosError(0x2603, "Table does not exist")
        if part.table and part.table.database:
            owner = self.database(part.table.database)
        if name in owner.subtables:
            table = owner.subtables[name]
            return owner, table, table.subtables[name]
        named = self.named(table.tags, part.tag_names)
        if tags is None:
            tags = [self.value(value, tag, owner) for value, tag in zip(part.tags, named, strict=False)]
        if len(tags) != len(named):
            raise TaosError(0x2600, "Tags number not matched")
        values = dict(zip((tag.name for tag in named), tags, strict=True))
        number = self.add_subtable(owner, table, name, [values.get(tag.name) for tag in table.tags])
        return owner, table, number

    def add_subtable(self, owner: Database, table: Supertable, name: str, tags: Sequence[Any]) -> int:
        marks = ", ?" * (3 + len(tags) - 1)
        created = int(time.time() * 1000)
        cursor = self.sqlite.execute(
            f"INSERT INTO tags_{table.id} VALUES (?{marks})", (None, name, created, *tags)
        )
        number = cursor.lastrowid or 0
        table.subtables[name] = number
        owner.subtables[name] = table
        return number

    def named(self, columns: list[Column], names: list[str] | None) -> list[Column]:
        if names is None:
            return columns
        by_name = {column.name: column for column in columns}
        unknown = next((name for name in names if name not in by_name), None)
        if unknown:
            raise TaosError(0x2602, f"Invalid column name: {unknown}")
        return [by_name[name] for name in names]

    def value(self, expression: Expression, column: Column, owner: Database) -> Any:
        """The value that an INSERT's or SET TAG's expression gives the column."""
        if expression.kind == "literal":
            value = expression.value
        else:
            translated, _, _ = Translator(None, "o", owner.per_second()).translate(expression)
            (value,) = self.sqlite.execute(f"SELECT {translated}").fetchone()
        type_ = TYPES[column.type]
        try:
            return convert(value, type_, owner.per_second()) if type_.code else self.fitting(value, column)
        except (ValueError, struct.error):
            raise TaosError(
                0x2600, f'syntax error near "{expression.text}" (invalid {column.type.lower()} data)'
            ) from None

    def fitting(self, value: Any, column: Column) -> str | None:
        if value is None:
            return None
        text = str(value)
        size = len(text) if column.type == "NCHAR" else len(text.encode())
        if size > (column.length or 0):
            raise TaosError(0x2653, f"Value too long for column/tag: {column.name}")
        return text

    def write(
        self,
        owner: Database,
        table: Supertable,
        number: int,
        columns: list[Column],
        values: Sequence[Sequence[Any]],
    ) -> int:
        """Upsert rows given as columns of values; returns their number. The caller holds the transaction."""
        if not values or not values[0]:
            return 0
        if columns[0] is not table.columns[0]:
            raise TaosError(0x2600, "Primary timestamp column should not be null")
        names = [*(quote(column.name) for column in columns), '"#subtable"']
        marks = ", ".join("?" * len(names))
        if len(columns) == len(table.columns):
            statement = f"INSERT OR REPLACE INTO rows_{table.id} ({', '.join(names)}) VALUES ({marks})"
        else:
            key = [quote(c.name) for c in table.columns if c.is_key or c is table.columns[0]]
            changes = ", ".join(f"{name} = excluded.{name}" for name in names[:-1])
            statement = (
                f"INSERT INTO rows_{table.id} ({', '.join(names)}) VALUES ({marks}) "
                f'ON CONFLICT ({", ".join(key)}, "#subtable") DO UPDATE SET {changes}'
            )
        stored = [
            without_nan(column) if TYPES[about.type].code in ("f", "d") else column
            for about, column in zip(columns, values, strict=True)
        ]
        self.sqlite.executemany(statement, zip(*stored, repeat(number), strict=False))
        return len(values[0])

    # Prepared statements

    def bind_fields(self, statement: sql.Insert, database: str | None) -> list[dict[str, Any]] | None:
        """What the parameters of a prepared INSERT stand for, in their order; None where its table is unknown."""
        (part,) = statement.parts
        name = part.using or part.table
        if name is None:
            return None
        owner, table, _ = self.table(name, database)
        fields = []
        if part.table is None:
            fields.append(bind_field("tbname", VARCHAR, 271, 4))
        if part.using:
            tags = zip(part.tags, self.named(table.tags, part.tag_names), strict=False)
            fields += [
                bind_field(tag.name, *sized(tag), 2) for value, tag in tags if value.kind == "parameter"
            ]
        columns = zip(part.rows[0], self.named(table.columns, part.columns), strict=False)
        for value, column in columns:
            if value.kind == "parameter":
                fields.append(bind_field(column.name, *sized(column), 1, PRECISIONS[owner.precision][0]))
        return fields

    def execute_bound(
        self, statement: sql.Statement, bound: Sequence[BoundTable], database: str | None
    ) -> Result:
        """Execute a prepared statement with what is bound: rows to insert, or a SELECT's parameters."""
        if isinstance(statement, Select):
            values = [column[0] for table in bound[-1:] for _, column in table.columns]
            return self.run(statement, database, values)
        if not isinstance(statement, sql.Insert):
            return self.run(statement, database)
        if not bound:
            raise TaosError(0x0236, "Stmt bind data is empty")
        (part,) = statement.parts
        affected = 0
        with self.transaction():
            for given in bound:
                name = given.name or (part.table.name if part.table else None)
                if name is None:
                    raise TaosError(0x0217, "Table name not set")
                tags = [values[0] for _, values in given.tags]
                owner, table, number = self.subtable(part, name, database, tags if part.using else None)
                columns = self.named(table.columns, part.columns)
                check_bound(columns, given.columns)
                affected += self.write(owner, table, number, columns, [values for _, values in given.columns])
        return Result(affected=affected)

    # Reading

    def relation(self, name: sql.Table, database: str | None) -> Relation:
        if (name.database or database) == "information_schema":
            return self.information_schema(name.name)
        owner, table, subtable = self.table(name, database)
        columns = {column.name: field_of(column) for column in [*table.columns, *table.tags]}
        columns["tbname"] = Field("#tbname", VARCHAR, TBNAME_LENGTH)
        star = [column.name for column in table.columns]
        if subtable is None:
            star += [column.name for column in table.tags]
        return Relation(
            f"meters_{table.id}",
            columns,
            star,
            time=table.columns[0].name,
            restriction=f'"#subtable" = {subtable}' if subtable is not None else None,
            only_tags=f"tags_{table.id}",
            tag_names=frozenset(["tbname", *(tag.name for tag in table.tags)]),
            database=owner,
        )

    def information_schema(self, name: str) -> Relation:
        """A table of information_schema, made anew as a temporary SQLite table."""
        if name not in SYSTEM_TABLES:
            raise TaosError(0x2603, "Table does not exist")
        columns = SYSTEM_TABLES[name]
        fields = {
            column: Field(column, INT if length == 4 else TIMESTAMP if length == 8 else VARCHAR, length)
            for column, length in columns.items()
        }
        rows = list(getattr(self, f"rows_of_{name}")())
        self.sqlite.execute(f"DROP TABLE IF EXISTS temp.{name}")
        self.sqlite.execute(f"CREATE TEMP TABLE {name} ({', '.join(map(quote, columns))})")
        self.sqlite.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(columns))})", rows)
        return Relation(name, fields, list(columns))

    def rows_of_ins_databases(self) -> Iterator[tuple[Any, ...]]:
        for owner in self.databases.values():
            yield owner.name, owner.created, len(owner.subtables), owner.precision

    def rows_of_ins_stables(self) -> Iterator[tuple[Any, ...]]:
        for owner in self.databases.values():
            for table in owner.tables.values():
                if table.tags:
                    yield table.name, owner.name, table.created, len(table.columns), len(table.tags)

    def rows_of_ins_tables(self) -> Iterator[tuple[Any, ...]]:
        for owner in self.databases.values():
            for name, table in owner.subtables.items():
                kind = "CHILD_TABLE" if table.tags else "NORMAL_TABLE"
                yield name, owner.name, len(table.columns), table.name if table.tags else None, kind

    def rows_of_ins_tags(self) -> Iterator[tuple[Any, ...]]:
        for owner in self.databases.values():
            for table in owner.tables.values():
                for row in self.sqlite.execute(f"SELECT * FROM tags_{table.id}").fetchall():
                    for tag, value in zip(table.tags, row[3:], strict=True):
                        type_ = tag.type if TYPES[tag.type].code else f"{tag.type}({tag.length})"
                        text = None if value is None else str(value)
                        yield row[1], owner.name, table.name, tag.name, type_, text

    def select(self, statement: Select, database: str | None, parameters: Sequence[Any] = ()) -> Result:
        relation = self.relation(statement.table, database) if statement.table else None
        owner = relation.database if relation else None
        per_second = owner.per_second() if owner else 1000
        translator = Translator(relation, "o", per_second, database, parameters)
        fields, text = translator.select(statement)
        precision = PRECISIONS[owner.precision][0] if owner else 0
        return Result(fields, self.sqlite.execute(text), precision=precision)


def sized(column: Column) -> tuple[Type, int]:
    """A column's type, and the bytes that it takes in a block."""
    found = field_of(column)
    return found.type, found.block_bytes


def bind_field(name: str, type_: Type, size: int, kind: int, precision: int = 0) -> dict[str, Any]:
    return {
        "name": name,
        "field_type": type_.number,
        "precision": precision if type_ == TIMESTAMP else 0,
        "scale": 0,
        "bytes": size,
        "bind_type": kind,
    }


def check_bound(columns: list[Column], given: Sequence[tuple[Type, Sequence[Any]]]) -> None:
    """Raise TaosError where the bound columns do not fit the table's."""
    if len(columns) != len(given):
        raise TaosError(0x0200, "stmt bind column number not matched")
    for column, (type_, values) in zip(columns, given, strict=True):
        if TYPES[column.type] != type_:
            raise TaosError(0x0200, "column type mis-match with buffer type")
        if len(values) != len(given[0][1]):
            raise TaosError(0x0200, "row number in each bind param should be the same")
    if None in given[0][1]:
        raise TaosError(0x267B, "Primary timestamp column should not be null")


class Transaction:
    """BEGIN to COMMIT, or ROLLBACK where an exception passes."""

    def __init__(self, connection: sqlite3.Connection):
        self.connection = connection

    def __enter__(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.connection.execute("ROLLBACK" if kind else "COMMIT")


def without_nan(column: Sequence[Any]) -> Sequence[Any]:
    """The column with "NaN" for each not-a-number."""
    if None not in column and not math.isnan(sum(column)):
        return column
    return ["NaN" if value is not None and value != value else value for value in column]


def convert(value: Any, type_: Type, per_second: int) -> Any:
    """A value in the fixed-size type, as SQLite holds it; ValueError or struct.error where it has no such value."""
    if value is None:
        return None
    if type_ == TIMESTAMP:
        return parse_time(value, per_second) if isinstance(value, str) else int(value)
    if type_.name == "BOOL":
        return int(value.lower() == "true" if isinstance(value, str) else bool(value))
    number = float(value) if type_.code in ("f", "d") else int(value)
    (number,) = struct.unpack(f"<{type_.code}", struct.pack(f"<{type_.code}", number))
    return number


def parse_time(text: str, per_second: int) -> int:
    """ISO 8601 text as a time in the precision; without a zone it is local time."""
    moment = datetime.fromisoformat(text)
    whole = int(moment.replace(microsecond=0).timestamp())
    fraction = re.search(r"\.(\d+)", text)
    digits = fraction.group(1)[:9].ljust(9, "0") if fraction else "0"
    return whole * per_second + int(digits) * per_second // 1_000_000_000


class Translator:
    """A SELECT as SQLite's, and the fields of its result. Column references carry the alias `o` (or `i` in a LAST)."""

    AGGREGATES = frozenset("count avg min max sum last last_row first".split())
    PICKS = {"last": "DESC", "last_row": "DESC", "first": "ASC"}

    def __init__(
        self,
        relation: Relation | None,
        alias: str,
        per_second: int,
        database: str | None = None,
        parameters: Sequence[Any] = (),
    ):
        self.relation, self.alias, self.per_second, self.database = relation, alias, per_second, database
        self.parameters = iter(parameters)
        self.statement: Select | None = None
        self.groups: list[Expression] = []
        self.source = relation.source if relation else ""

    def select(self, statement: Select) -> tuple[list[Field], str]:
        self.statement = statement
        self.groups = [*statement.partition, *statement.group]
        items = list(self.expanded(statement.items))
        calls = [call for item, _ in items for call in aggregates(item)]
        if self.groups and not calls and not statement.group:
            raise not_understood("PARTITION BY needs an aggregate")
        used = [name for item, _ in items for name in columns_in(item)]
        relation = self.relation
        if (
            relation
            and statement.distinct
            and relation.only_tags
            and all(n in relation.tag_names for n in used)
        ):
            self.source = relation.only_tags
        picks_only = bool(calls) and not self.groups and all(call.value in self.PICKS for call in calls)
        fields, selected = [], []
        for item, name in items:
            if picks_only and not aggregates(item):
                item = Expression("call", "last_row", (item,), item.text)
            text, type_, length = self.translate(item)
            selected.append(text)
            fields.append(Field(name or label(item), type_, length))
        text = f"SELECT {'DISTINCT ' if statement.distinct else ''}{', '.join(selected)}"
        if relation:
            where = self.where()
            if picks_only:
                return fields, f"{text} WHERE EXISTS (SELECT 1 FROM {self.source} AS {self.alias}{where})"
            text += f" FROM {self.source} AS {self.alias}{where}"
        if self.groups:
            text += f" GROUP BY {', '.join(self.translate(group)[0] for group in self.groups)}"
        if statement.order:
            names = {name: number for number, (_, name) in enumerate(items, 1) if name}
            keys = [self.order_key(key, names) + (" DESC" if down else "") for key, down in statement.order]
            text += f" ORDER BY {', '.join(keys)}"
        if statement.limit:
            text += " LIMIT {} OFFSET {}".format(*statement.limit)
        return fields, text

    def expanded(self, items: list[tuple[Expression, str | None]]) -> Iterator[tuple[Expression, str | None]]:
        """The select list with * and LAST_ROW(*) written out."""
        for item, name in items:
            stars = self.relation.star if self.relation else []
            if item.kind == "star":
                for column in stars:
                    yield Expression("column", column, text=f"`{column}`"), name
            elif (
                item.kind == "call"
                and item.value in self.PICKS
                and item.arguments[:1] == (Expression("star", text="*"),)
            ):
                for column in stars:
                    if self.relation and column not in self.relation.tag_names:
                        inner = Expression("column", column, text=column)
                        yield Expression("call", item.value, (inner,), f"{item.value}({column})"), name
            else:
                yield item, name

    def order_key(self, key: Expression, names: dict[str, int]) -> str:
        if (
            key.kind == "column"
            and key.value in names
            and not (self.relation and key.value in self.relation.columns)
        ):
            return str(names[key.value])
        return self.translate(key)[0]

    def where(self) -> str:
        conditions = []
        if self.relation and self.relation.restriction:
            conditions.append(f"{self.alias}.{self.relation.restriction}")
        if self.statement and self.statement.where:
            conditions.append(self.condition(self.statement.where))
        return f" WHERE {' AND '.join(conditions)}" if conditions else ""

    def condition(self, expression: Expression) -> str:
        return f"({self.translate(expression)[0]})"

    def translate(self, expression: Expression) -> tuple[str, Type, int]:
        """An expression as SQLite's, its type and length."""
        return getattr(self, f"translate_{expression.kind}")(expression)

    def translate_column(self, expression: Expression) -> tuple[str, Type, int]:
        name = expression.value
        if self.relation is None or name not in self.relation.columns:
            raise TaosError(0x2602, f"Invalid column name: {name}")
        found = self.relation.columns[name]
        return f"{self.alias}.{quote(found.name)}", found.type, found.length

    def translate_literal(self, expression: Expression) -> tuple[str, Type, int]:
        value = expression.value
        if value is None:
            return "NULL", VARCHAR, 0
        if isinstance(value, bool):
            return str(int(value)), TYPES["BOOL"], 1
        if isinstance(value, int):
            return str(value), BIGINT, 8
        if isinstance(value, float):
            return repr(value), DOUBLE, 8
        return "'" + value.replace("'", "''") + "'", VARCHAR, len(value.encode())

    def translate_parameter(self, expression: Expression) -> tuple[str, Type, int]:
        try:
            value = next(self.parameters)
        except StopIteration:
            raise TaosError(0x0200, "a parameter without a value") from None
        return self.translate_literal(Expression("literal", value))

    def translate_duration(self, expression: Expression) -> tuple[str, Type, int]:
        count, unit = expression.value
        if unit in SECONDS:
            ticks = count * SECONDS[unit] * self.per_second
        elif unit in FRACTIONS:
            ticks = count * self.per_second // FRACTIONS[unit]
        else:
            raise not_understood(f"unknown unit in {expression.text}")
        return str(ticks), BIGINT, 8

    def translate_star(self, expression: Expression) -> tuple[str, Type, int]:
        raise not_understood("* in an unexpected place")

    def translate_operator(self, expression: Expression) -> tuple[str, Type, int]:
        name, operands = expression.value, expression.arguments
        translated = [self.translate(operand) for operand in operands]
        if any(type_ == TIMESTAMP for _, type_, _ in translated):
            translated = [
                (str(self.moment(operand.value)), TIMESTAMP, 8)
                if operand.kind == "literal" and isinstance(operand.value, str)
                else found
                for operand, found in zip(operands, translated, strict=True)
            ]
        texts = [text for text, _, _ in translated]
        if name in ("+", "-", "*", "/", "%"):
            is_time = any(type_ == TIMESTAMP for _, type_, _ in translated)
            left = texts[0] if name != "/" else f"CAST({texts[0]} AS REAL)"
            return f"({left} {name} {texts[1]})", TIMESTAMP if is_time else DOUBLE, 8
        if name == "negative":
            return f"(-{texts[0]})", DOUBLE, 8
        boolean = TYPES["BOOL"]
        if name == "not":
            return f"(NOT {texts[0]})", boolean, 1
        if name.startswith("is"):
            return f"({texts[0]} {name})", boolean, 1
        if name.endswith("in"):
            return f"({texts[0]} {name} ({', '.join(texts[1:])}))", boolean, 1
        if name.endswith("between"):
            return f"({texts[0]} {name} {texts[1]} AND {texts[2]})", boolean, 1
        return f"({texts[0]} {name} {texts[1]})", boolean, 1

    def moment(self, text: str) -> int:
        try:
            return parse_time(text, self.per_second)
        except ValueError:
            raise TaosError(0x2600, f"Invalid timestamp format: {text}") from None

    def translate_cast(self, expression: Expression) -> tuple[str, Type, int]:
        name, length = expression.value
        name = TYPE_ALIASES.get(name, name)
        inner, _, _ = self.translate(expression.arguments[0])
        type_ = TYPES.get(name)
        if type_ is None:
            raise not_understood(f"unknown type {name}")
        if type_.code is None:
            return f"substr(CAST({inner} AS TEXT), 1, {length or 64})", type_, length or 64
        target = "REAL" if type_.code in "fd" else "INTEGER"
        return f"CAST({inner} AS {target})", type_, type_.size

    def translate_call(self, expression: Expression) -> tuple[str, Type, int]:
        name, arguments = expression.value, expression.arguments
        if name == "now" and not arguments:
            return str(time.time_ns() * self.per_second // 1_000_000_000), TIMESTAMP, 8
        if name == "server_version" and not arguments:
            return f"'{VERSION}'", VARCHAR, len(VERSION)
        if name == "database" and not arguments:
            return self.translate_literal(Expression("literal", self.database))
        if name not in self.AGGREGATES or len(arguments) != 1:
            raise not_understood(f"unknown function {name}")
        if name == "count":
            inner = "*" if arguments[0].kind == "star" else self.translate(arguments[0])[0]
            return f"COUNT({inner})", BIGINT, 8
        if name in self.PICKS:
            return self.pick(name, arguments[0])
        inner, type_, length = self.translate(arguments[0])
        if type_ == TIMESTAMP or not type_.code:
            raise TaosError(0x2802, f"Invalid parameter data type : {name}")
        if name == "avg" or (name == "sum" and type_.code in "fd"):
            type_, length = DOUBLE, 8
        elif name == "sum":
            type_, length = BIGINT, 8
        return f"{name.upper()}({inner})", type_, length

    def pick(self, name: str, argument: Expression) -> tuple[str, Type, int]:
        """LAST, FIRST or LAST_ROW: the value at the newest or oldest row of the group, which the index finds."""
        relation = self.relation
        if relation is None or relation.time is None:
            raise not_understood(f"{name} needs a table with a timestamp")
        inner = Translator(relation, "i", self.per_second)
        inner.statement = self.statement
        text, type_, length = inner.translate(argument)
        where = inner.where()
        conditions = [f"{inner.translate(group)[0]} IS {self.translate(group)[0]}" for group in self.groups]
        if name != "last_row":
            conditions.append(f"{text} IS NOT NULL")
        for condition in conditions:
            where += (" AND " if where else " WHERE ") + condition
        order = f"i.{quote(relation.time)} {self.PICKS[name]}"
        return f"(SELECT {text} FROM {relation.source} AS i{where} ORDER BY {order} LIMIT 1)", type_, length


def aggregates(expression: Expression) -> Iterator[Expression]:
    if expression.kind == "call" and expression.value in Translator.AGGREGATES:
        yield expression
    for argument in expression.arguments:
        yield from aggregates(argument)


def columns_in(expression: Expression) -> Iterator[str]:
    if expression.kind == "column":
        yield expression.value
    for argument in expression.arguments:
        yield from columns_in(argument)


def label(expression: Expression) -> str:
    """The name that TDengine gives a column of the result that has no alias."""
    return expression.value if expression.kind == "column" else expression.text.lower()
