"""Databases, tables and rows, kept in SQLite. Knows nothing of sockets or of TDengine's SQL.

A supertable is two SQLite tables, rows_N (by time and subtable, so that a watermark read and "newest first"
both walk along one index) and tags_N (a row a subtable), and the view meters_N that joins them. Times are
integers in the database's precision. What SQLite has no number for is text, which sorts behind all numbers:
"NaN", and integers above 2^63; and so are DECIMALs.
"""

import json
import math
import re
import sqlite3
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from tdengine_emulator import wire
from tdengine_emulator.wire import TYPES, Field

VERSION = "3.3.7.5.emulator"
MAX_HOURS = 12
MAX_ROWS = 2_000_000
ROWS_WHEN_THINNED = MAX_ROWS * 99 // 100
KEEP_SECONDS = 3650 * 86400
LAST_SECOND = 31_556_995_200
PRECISIONS = {"ms": (0, 1_000), "us": (1, 1_000_000), "ns": (2, 1_000_000_000)}  # number, ticks a second
MAX_INTEGER = 2**63 - 1
BLOB_LENGTH = 4194304
JSON_LENGTH = 16382
KEY_TYPES = "composite primary key column must be of type"
KEY_IS_FIXED = "composite primary key column can not be added, modified, and dropped"
ONLY_WIDER = (
    "Only varbinary/binary/nchar/geometry column length could be modified, "
    "and the length can only be increased, not decreased"
)
WIDENED = ("VARCHAR", "NCHAR", "VARBINARY", "GEOMETRY")
KEYS = ("INT", "INT UNSIGNED", "BIGINT", "BIGINT UNSIGNED", "VARCHAR")
LIBRARY_DATABASES = ("information_schema", "performance_schema")
TBNAME = Field("#tbname", TYPES["VARCHAR"], 270)
SUBTABLE = '"#subtable"'
# Columns and lengths: 4 is an INT, 8 a TIMESTAMP, all else a VARCHAR.
DESCRIBED = {"field": 325, "type": 20, "length": 4, "note": 16, "encode": 12, "compress": 12, "level": 12}
NAMES = {"table_name": 192, "db_name": 64, "stable_name": 192}
SYSTEM_TABLES = {
    "ins_databases": {"name": 64, "create_time": 8, "ntables": 4, "precision": 2},
    "ins_stables": {"stable_name": 192, "db_name": 64, "create_time": 8, "columns": 4, "tags": 4},
    "ins_tables": NAMES | {"create_time": 8, "columns": 4, "type": 21},
    "ins_tags": NAMES | {"tag_name": 64, "tag_type": 32, "tag_value": 16384},
}


class TaosError(Exception):
    """An error as TDengine gives it: its code and message."""

    def __init__(self, code: int, message: str):
        self.code, self.message = code, message
        super().__init__(f"[0x{code:04X}] {message}")


class TableName(NamedTuple):
    name: str
    database: str | None


class Column(NamedTuple):
    """A column or tag; `length` in bytes, for NCHAR in characters; `is_key`: in the key beside the time."""

    name: str
    type: str
    length: int
    is_key: bool = False
    precision: int = 0
    scale: int = 0

    @property
    def type_name(self) -> str:
        return f"DECIMAL({self.precision}, {self.scale})" if self.precision else self.type

    def field(self) -> Field:
        length = BLOB_LENGTH if self.type == "BLOB" else self.length
        return Field(self.name, TYPES[self.type], length, self.precision, self.scale)


@dataclass
class Result:
    """What a statement gives: rows with their fields, or (no fields) the number of affected rows."""

    fields: list[Field] | None = None
    rows: Iterable[Sequence[Any]] = ()
    affected: int = 0
    precision: int = 0
    use: str | None = None


@dataclass
class Table:
    """A supertable and its subtables' numbers; or a plain table: no tags, one subtable of its own name."""

    id: int
    name: str
    columns: list[Column]
    tags: list[Column]
    created: int
    subtables: dict[str, int] = field(default_factory=dict)
    most_rows: int = 0

    @property
    def key(self) -> list[Column]:
        """The time, and the second column of a composite key."""
        return [column for column in self.columns if column.is_key or column is self.columns[0]]

    @property
    def key_names(self) -> str:
        return ", ".join([*(quote(column.name) for column in self.key), SUBTABLE])


@dataclass
class Database:
    name: str
    precision: str
    created: int
    tables: dict[str, Table] = field(default_factory=dict)
    subtables: dict[str, Table] = field(default_factory=dict)

    @property
    def per_second(self) -> int:
        return PRECISIONS[self.precision][1]


@dataclass
class Located:
    """Where an INSERT writes: the subtable by name, for it may be new; the tags and columns it is given."""

    database: Database
    table: Table
    name: str
    tags: list[Column]
    columns: list[Column]


@dataclass
class Relation:
    """What a SELECT reads: SQLite's source for it, its columns by name, which of them * means."""

    source: str
    columns: dict[str, Field]
    star: list[str]
    database: Database | None = None
    table: Table | None = None
    subtable: int | None = None

    @property
    def time(self) -> str | None:
        return self.table.columns[0].name if self.table else None

    @property
    def tag_names(self) -> set[str]:
        return {"tbname", *(tag.name for tag in self.table.tags)} if self.table else set()


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Store:
    """The data of one emulator: in memory, or in a directory's SQLite file, where every commit is durable."""

    def __init__(self, directory: Path | None = None):
        path = directory / "tdengine.sqlite" if directory else ":memory:"
        self.sqlite = sqlite3.connect(path, timeout=0, isolation_level=None)
        self.sqlite.executescript(
            """PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
            CREATE TABLE IF NOT EXISTS databases (name PRIMARY KEY, precision, created);
            CREATE TABLE IF NOT EXISTS tables
            (id INTEGER PRIMARY KEY, owner, name, columns, tags, created);"""
        )
        self.undo: list[Callable[[], object]] = []
        self.databases = {row[0]: Database(*row) for row in self.rows("SELECT * FROM databases")}
        for number, owner, name, *texts, created in list(self.rows("SELECT * FROM tables")):
            columns, tags = ([Column(*column) for column in json.loads(text)] for text in texts)
            table = Table(number, name, columns, tags, created, most_rows=MAX_ROWS)
            table.subtables = dict(self.rows(f"SELECT {quote(TBNAME.name)}, {SUBTABLE} FROM tags_{number}"))
            self.databases[owner].tables[name] = table
            self.databases[owner].subtables |= dict.fromkeys(table.subtables, table)

    def close(self) -> None:
        self.sqlite.close()

    def rows(self, text: str) -> Iterator[Sequence[Any]]:
        return self.sqlite.execute(text)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: where an exception passes, subtables that were new are forgotten too."""
        self.undo = []
        self.sqlite.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.sqlite.execute("COMMIT")
        except BaseException:
            if self.sqlite.in_transaction:
                self.sqlite.execute("ROLLBACK")
            for undo in self.undo:
                undo()
            raise

    # Names

    def database(self, name: str | None) -> Database:
        if name is None:
            raise TaosError(0x2616, "Database not specified")
        if name in LIBRARY_DATABASES:
            return Database(name, "ms", 0)
        if name not in self.databases:
            raise TaosError(0x0388, "Database not exist")
        return self.databases[name]

    def table(self, name: TableName) -> tuple[Database, Table, int | None]:
        """The table, its database, and the number of the subtable that was named (None: a supertable was)."""
        database = self.database(name.database)
        if table := database.subtables.get(name.name):
            return database, table, table.subtables[name.name]
        if table := database.tables.get(name.name):
            return database, table, None
        raise TaosError(0x2603, "Table does not exist")

    # Definitions; `quietly` is IF EXISTS or IF NOT EXISTS

    def create_database(self, name: str, precision: str, quietly: bool) -> None:
        if name in self.databases or name in LIBRARY_DATABASES:
            if quietly:
                return
            raise TaosError(0x0381, "Database already exists")
        if precision not in PRECISIONS:
            raise TaosError(0x2617, f"Invalid option precision: {precision}")
        database = Database(name, precision, now_ms())
        self.sqlite.execute("INSERT INTO databases VALUES (?, ?, ?)", (name, precision, database.created))
        self.databases[name] = database

    def drop_database(self, name: str, quietly: bool) -> None:
        if quietly and name not in self.databases:
            return
        tables = self.database(name).tables
        with self.transaction():
            for table in tables.values():
                self.drop_storage(table)
            self.sqlite.execute("DELETE FROM databases WHERE name = ?", (name,))
        self.databases.pop(name, None)

    def create_table(self, name: TableName, columns: list[Column], tags: list[Column], quietly: bool) -> None:
        database = self.database(name.database)
        if existing := database.tables.get(name.name) or database.subtables.get(name.name):
            if quietly:
                return
            if existing.tags and existing.name == name.name:
                raise TaosError(0x0360, "STable already exists")
            raise TaosError(0x0603, "Table already exists")
        if columns[0].type != "TIMESTAMP":
            raise TaosError(0x2641, "First column must be timestamp")
        if len(columns) < 2:
            raise TaosError(0x263F, "Illegal number of columns")
        if len({column.name for column in [*columns, *tags]}) < len(columns) + len(tags):
            raise TaosError(0x263C, "Duplicated column names")
        if any(column.is_key for column in [*columns[:1], *columns[2:], *tags]):
            raise TaosError(0x2678, "composite primary key column must be second column")
        if columns[1].is_key and columns[1].type not in KEYS:
            raise TaosError(0x2679, f"{KEY_TYPES} int, uint, bigint, ubigint, and varchar")
        check_types(columns, tags)
        about = (database.name, name.name, json.dumps(columns), json.dumps(tags), now_ms())
        with self.transaction():
            cursor = self.sqlite.execute("INSERT INTO tables VALUES (NULL, ?, ?, ?, ?, ?)", about)
            table = Table(cursor.lastrowid or 0, name.name, columns, tags, about[-1])
            self.make_storage(table)
            self.make_view(table)
            if not tags:
                self.add_subtable(database, table, name.name, [])
        database.tables[name.name] = table

    def make_storage(self, table: Table) -> None:
        columns, tags = ([quote(column.name) for column in part] for part in (table.columns, table.tags))
        rows = [*columns, SUBTABLE, f"PRIMARY KEY ({table.key_names})"]
        tags = [f"{SUBTABLE} INTEGER PRIMARY KEY", quote(TBNAME.name), *tags]
        self.sqlite.execute(f"CREATE TABLE rows_{table.id} ({', '.join(rows)}) WITHOUT ROWID")
        self.sqlite.execute(f"CREATE TABLE tags_{table.id} ({', '.join(tags)})")

    def make_view(self, table: Table) -> None:
        selected = [f"r.{SUBTABLE}", f"t.{quote(TBNAME.name)}"]
        selected += [f"r.{quote(column.name)}" for column in table.columns]
        selected += [f"t.{quote(tag.name)}" for tag in table.tags]
        self.sqlite.execute(
            f"CREATE VIEW meters_{table.id} AS SELECT {', '.join(selected)} "
            f"FROM rows_{table.id} AS r CROSS JOIN tags_{table.id} AS t ON r.{SUBTABLE} = t.{SUBTABLE}"
        )

    def drop_storage(self, table: Table) -> None:
        for what in ("VIEW meters", "TABLE rows", "TABLE tags"):
            self.sqlite.execute(f"DROP {what}_{table.id}")
        self.sqlite.execute("DELETE FROM tables WHERE id = ?", (table.id,))

    def create_subtable(self, located: Located, tags: list[Any], quietly: bool) -> None:
        if located.name not in located.database.subtables:
            with self.transaction():
                self.upsert(located, tags, [])
        elif not quietly:
            raise TaosError(0x0603, "Table already exists")

    def drop_table(self, name: TableName, quietly: bool, only_supertable: bool) -> None:
        database = self.database(name.database)
        table = database.tables.get(name.name)
        if table is None or (only_supertable and not table.tags):
            table = None if only_supertable else database.subtables.get(name.name)
        if table is None:
            if quietly:
                return
            raise (
                TaosError(0x0362, "STable not exist")
                if only_supertable
                else TaosError(0x2603, "Table does not exist")
            )
        is_whole = table.name == name.name
        with self.transaction():
            if is_whole:
                self.drop_storage(table)
            else:
                for part in ("rows", "tags"):
                    number = table.subtables[name.name]
                    self.sqlite.execute(f"DELETE FROM {part}_{table.id} WHERE {SUBTABLE} = ?", (number,))
        if is_whole:
            del database.tables[table.name]
        for subtable in list(table.subtables) if is_whole else [name.name]:
            del database.subtables[subtable], table.subtables[subtable]

    def set_tag(self, name: TableName, tag_name: str, value: Any) -> None:
        database, table, number = self.table(name)
        tag = next((tag for tag in table.tags if tag.name == tag_name), None)
        if number is None:
            raise TaosError(0x2649, "Set tag value only available for child table")
        if tag is None:
            raise TaosError(0x2649, f"Invalid tag name: {tag_name}")
        text = f"UPDATE tags_{table.id} SET {quote(tag_name)} = ? WHERE {SUBTABLE} = ?"
        stored = storable([converted(value, tag, database.per_second)], tag)
        self.sqlite.execute(text, (*stored, number))

    def alter_table(self, name: TableName, action: str, is_tag: bool, column: Column, new_name: str) -> None:
        """ADD, DROP, MODIFY or RENAME a column or tag: of `column` DROP and RENAME need its name alone."""
        _, table, number = self.table(name)
        if (number is not None and table.tags) or (is_tag and not table.tags):
            raise TaosError(0x2649, "Invalid alter table statement")
        mine, named = (table.tags if is_tag else table.columns), column.name
        before = next((known for known in mine if known.name == named), column)
        check_change(table, action, is_tag, before, column, new_name)
        changes = {
            "add": ([column], f"ADD COLUMN {quote(named)}"),
            "drop": ([], f"DROP COLUMN {quote(named)}"),
            "modify": ([before._replace(length=column.length)], ""),
            "rename": (
                [before._replace(name=new_name)],
                f"RENAME COLUMN {quote(named)} TO {quote(new_name)}",
            ),
        }
        replacement, change = changes[action]
        at = mine.index(before) if before in mine else len(mine)
        lists = {"columns": table.columns, "tags": table.tags}
        lists["tags" if is_tag else "columns"] = [*mine[:at], *replacement, *mine[at + 1 :]]
        with self.transaction():
            self.sqlite.execute(f"DROP VIEW meters_{table.id}")
            if change:
                self.sqlite.execute(f"ALTER TABLE {'tags' if is_tag else 'rows'}_{table.id} {change}")
            texts = [json.dumps(columns) for columns in lists.values()]
            self.sqlite.execute("UPDATE tables SET columns = ?, tags = ? WHERE id = ?", (*texts, table.id))
            self.make_view(replace(table, **lists))
        table.columns, table.tags = lists["columns"], lists["tags"]

    # Descriptions

    def describe(self, name: TableName) -> Result:
        _, table, _ = self.table(name)
        rows = []
        for column in table.columns:
            note, how = "COMPOSITE KEY" if column.is_key else "", TYPES[column.type]
            length = column.field().block_bytes if column.type == "BLOB" else column.length
            rows.append((column.name, column.type_name, length, note, how.encode, how.compress, "medium"))
        rows += [(*tag[:3], "TAG", "disabled", "disabled", "disabled") for tag in table.tags]
        return Result(list(system_fields(DESCRIBED).values()), rows)

    def show(self, what: str, database: str | None) -> Result:
        """SHOW DATABASES, STABLES or TABLES."""
        if what == "databases":
            names, heading, length = [*LIBRARY_DATABASES, *self.databases], "name", 64
        elif what == "stables":
            tables = self.database(database).tables.values()
            names, heading, length = [table.name for table in tables if table.tags], "stable_name", 192
        else:
            names, heading, length = list(self.database(database).subtables), "table_name", 192
        return Result([Field(heading, TYPES["VARCHAR"], length)], [(name,) for name in names])

    def system_table(self, name: str) -> Relation:
        """A table of information_schema, made anew as a temporary SQLite table."""
        if name not in SYSTEM_TABLES:
            raise TaosError(0x2603, "Table does not exist")
        fields = system_fields(SYSTEM_TABLES[name])
        rows = [row for database in self.databases.values() for row in getattr(self, name)(database)]
        self.sqlite.execute(f"DROP TABLE IF EXISTS temp.{name}")
        self.sqlite.execute(f"CREATE TEMP TABLE {name} ({', '.join(map(quote, fields))})")
        self.sqlite.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(fields))})", rows)
        return Relation(name, fields, list(fields))

    def ins_databases(self, database: Database) -> Iterator[tuple[Any, ...]]:
        yield database.name, database.created, len(database.subtables), database.precision

    def ins_stables(self, database: Database) -> Iterator[tuple[Any, ...]]:
        for table in database.tables.values():
            if table.tags:
                yield table.name, database.name, table.created, len(table.columns), len(table.tags)

    def ins_tables(self, database: Database) -> Iterator[tuple[Any, ...]]:
        for name, table in database.subtables.items():
            supertable, kind = (table.name, "CHILD_TABLE") if table.tags else (None, "NORMAL_TABLE")
            yield name, database.name, supertable, table.created, len(table.columns), kind

    def ins_tags(self, database: Database) -> Iterator[tuple[Any, ...]]:
        for table in database.tables.values():
            for _, subtable, *values in self.rows(f"SELECT * FROM tags_{table.id}"):
                for tag, value in zip(table.tags, values, strict=True):
                    type_ = (
                        tag.type
                        if TYPES[tag.type].code
                        else f"{tag.type}({JSON_LENGTH if tag.type == 'JSON' else tag.length})"
                    )
                    yield subtable, database.name, table.name, tag.name, type_, tag_text(tag, value)

    # Writing

    def locate(
        self,
        name: TableName,
        supertable: TableName | None,
        tag_names: list[str] | None,
        column_names: list[str] | None,
    ) -> Located:
        """Where an INSERT writes that names a table, a supertable (USING), tags and columns (None: all)."""
        database, table, number = self.table(supertable or name)
        if (number is None) != (supertable is not None):
            raise TaosError(0x2603, "Table does not exist")
        tags = named(table.tags, tag_names) if supertable else []
        return Located(database, table, name.name, tags, named(table.columns, column_names))

    def upsert(self, located: Located, tags: Sequence[Any], columns: Sequence[Sequence[Any]]) -> int:
        """Write rows, given as columns, over those of the same subtable and time; returns their number.

        A new subtable gets the tags; one that exists keeps its own. The caller holds the transaction.
        """
        database, table = located.database, located.table
        number = table.subtables.get(located.name)
        if number is None:
            if located.name in database.subtables:
                raise TaosError(0x2618, "Corresponding super table not in this db")
            given = dict(zip(located.tags, tags, strict=True))
            number = self.add_subtable(database, table, located.name, [given.get(tag) for tag in table.tags])
        if not columns or not columns[0]:
            return 0
        given = dict(zip(located.columns, columns, strict=True))
        for column, complaint in zip(
            table.key, ("timestamp column should not be null", "key column should not be none"), strict=False
        ):
            if column not in given:
                raise TaosError(0x0200, f"Primary {complaint}")
        keys = [given[column] for column in table.key]
        if any(None in values for values in keys):
            raise TaosError(0x267B, "Primary key column should not be null")
        oldest = (time.time() - KEEP_SECONDS) * database.per_second
        if not oldest <= min(keys[0]) <= max(keys[0]) <= LAST_SECOND * database.per_second:
            raise TaosError(0x060B, "Timestamp data out of range")
        names = [*(quote(column.name) for column in located.columns), SUBTABLE]
        text = f"INTO rows_{table.id} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        if len(located.columns) == len(table.columns):
            text = f"INSERT OR REPLACE {text}"
        else:
            changes = ", ".join(f"{name} = excluded.{name}" for name in names)
            text = f"INSERT {text} ON CONFLICT ({table.key_names}) DO UPDATE SET {changes}"
        stored = [storable(values, column) for column, values in given.items()]
        self.sqlite.executemany(text, zip(*stored, repeat(number), strict=False))
        self.let_the_oldest_go(database, table, len(columns[0]))
        return len(set(zip(*keys, strict=True)))

    def add_subtable(self, database: Database, table: Table, name: str, tags: Sequence[Any]) -> int:
        marks = ", ".join("?" * (2 + len(tags)))
        stored = [storable([value], tag)[0] for value, tag in zip(tags, table.tags, strict=True)]
        cursor = self.sqlite.execute(f"INSERT INTO tags_{table.id} VALUES ({marks})", (None, name, *stored))
        number = cursor.lastrowid or 0
        database.subtables[name], table.subtables[name] = table, number
        self.undo.append(lambda: (database.subtables.pop(name), table.subtables.pop(name)))
        return number

    def let_the_oldest_go(self, database: Database, table: Table, written: int) -> None:
        """Delete what is 12 hours older than the newest row (or than now) or beyond the 2 millionth.

        Rows are counted only when they could have become too many; then one in a hundred goes, so that counts
        stay rare.
        """
        rows, moment, hour = f"rows_{table.id}", quote(table.columns[0].name), 3600 * database.per_second
        ((newest,),) = self.rows(f"SELECT MAX({moment}) FROM {rows}")
        horizon = min(newest, int(time.time() * database.per_second)) - MAX_HOURS * hour
        self.sqlite.execute(f"DELETE FROM {rows} WHERE {moment} < ?", (horizon,))
        table.most_rows += written
        if table.most_rows > MAX_ROWS:
            ((count,),) = self.rows(f"SELECT COUNT(*) FROM {rows}")
            if count > MAX_ROWS:
                surplus = count - ROWS_WHEN_THINNED
                first = f"SELECT {moment} FROM {rows} ORDER BY {moment} LIMIT 1 OFFSET {surplus}"
                count -= self.sqlite.execute(f"DELETE FROM {rows} WHERE {moment} < ({first})").rowcount
            table.most_rows = count

    # Reading

    def relation(self, name: TableName) -> Relation:
        if name.database == "information_schema":
            return self.system_table(name.name)
        database, table, number = self.table(name)
        columns = {column.name: column.field() for column in [*table.columns, *table.tags]} | {
            "tbname": TBNAME
        }
        star = [column.name for column in [*table.columns, *(table.tags if number is None else [])]]
        return Relation(f"meters_{table.id}", columns, star, database, table, number)

    def delete(self, relation: Relation, where: str) -> int:
        """Delete the rows that SQLite's WHERE clause about the alias o chooses; returns their number."""
        if relation.table is None:
            raise TaosError(0x2603, "Table does not exist")
        key = relation.table.key_names
        chosen = f"SELECT {key} FROM {relation.source} AS o{where}"
        return self.sqlite.execute(
            f"DELETE FROM rows_{relation.table.id} WHERE ({key}) IN ({chosen})"
        ).rowcount


def system_fields(lengths: dict[str, int]) -> dict[str, Field]:
    types = {4: TYPES["INT"], 8: TYPES["TIMESTAMP"]}
    return {name: Field(name, types.get(size, TYPES["VARCHAR"]), size) for name, size in lengths.items()}


def named(columns: list[Column], names: list[str] | None) -> list[Column]:
    """The columns of those names in their order; all where there are no names."""
    by_name = {column.name: column for column in columns}
    for name in names or ():
        if name not in by_name:
            raise TaosError(0x2602, f"Invalid column name: {name}")
    return columns if names is None else [by_name[name] for name in names]


def check_types(columns: list[Column], tags: list[Column]) -> None:
    """Raise TaosError where a type stands where it may not."""
    types, tag_types = ([column.type for column in part] for part in (columns, tags))
    if types.count("BLOB") > 1:
        raise TaosError(0x6306, "only one blob column allowed")
    if "JSON" in types:
        raise TaosError(0x2652, "Only tag can be json type")
    if "JSON" in tag_types and len(tags) > 1:
        raise TaosError(0x2633, "Only one tag if there is a json tag")
    if "BLOB" in tag_types:
        raise TaosError(0x6301, "Blob type not support on tag")
    if any(type_.startswith("DECIMAL") for type_ in tag_types):
        raise TaosError(0x2602, "Decimal type is not allowed for tag")


def check_change(
    table: Table, action: str, is_tag: bool, before: Column, column: Column, new_name: str
) -> None:
    """Raise TaosError where ALTER TABLE may not do that to the column or tag, `before` as it is now."""
    kind, taken = ("tag" if is_tag else "column"), new_name if action == "rename" else column.name
    if action in ("add", "rename"):
        if not table.tags and any(known.name == taken for known in table.columns):
            raise TaosError(0x263C, "Duplicated column names")
        if any(known.name == taken for known in table.columns):
            raise TaosError(0x036B, "Column already exists")
        if any(known.name == taken for known in table.tags):
            raise TaosError(0x0369, "Tag already exists")
    if action == "add":
        check_types(
            [*table.columns, column] if not is_tag else table.columns,
            [*table.tags, column] if is_tag else table.tags,
        )
        if column.is_key:
            raise TaosError(0x267A, KEY_IS_FIXED)
        return
    if before not in (table.tags if is_tag else table.columns):
        if before.name in {known.name for known in [*table.columns, *table.tags]} or (
            is_tag and action == "rename"
        ):
            raise TaosError(0x036A if is_tag else 0x036C, f"{kind.title()} does not exist")
        raise TaosError(0x260E if is_tag else 0x2602, f"Invalid {kind} name: {before.name}")
    if action == "rename" and table.tags and not is_tag:
        raise TaosError(0x2649, "Rename column only available for normal table")
    if action == "modify" and (
        before.type != column.type or before.type not in WIDENED or column.length <= before.length
    ):
        raise TaosError(0x264B, ONLY_WIDER)
    if action == "drop":
        if not is_tag and not table.tags and len(table.columns) == 2:
            raise TaosError(0x2651, "No columns can be dropped")
        if before is table.columns[0]:
            if table.tags:
                raise TaosError(0x03C2, "Invalid stable alter options")
            raise TaosError(0x264A, "Primary timestamp column cannot be dropped")
        if before.is_key:
            raise TaosError(0x267A, KEY_IS_FIXED)
        if is_tag and len(table.tags) == 1:
            raise TaosError(0x2649, "the only tag cannot be dropped")
        if not is_tag and len(table.columns) == 2:
            raise TaosError(0x2651, "No columns can be dropped")


def tag_text(tag: Column, value: Any) -> str | None:
    """A tag's value as information_schema writes it."""
    match value, TYPES[tag.type].code:
        case None, _:
            return None
        case bytes(), _:
            return f"\\x{value.hex().upper()}"
        case _, "?":
            return "true" if value else "false"
        case _, ("f" | "d") as code:
            return f"{float(value):.{5 if code == 'f' else 9}f}"
    return str(value)


def converted(value: Any, column: Column, per_second: int) -> Any:
    """A value that came as text, number or boolean, as the column's type; raises TaosError."""
    code, kind = TYPES[column.type].code, column.type.lower()
    try:
        if value is None:
            return None
        if column.type.startswith("DECIMAL"):
            return as_decimal(value, column)
        if code is None:
            value = {"VARBINARY": as_bytes, "BLOB": as_bytes, "GEOMETRY": as_geometry, "JSON": as_json}.get(
                column.type, lambda value, _: str(value)
            )(value, column)
            if too_long(value, column):
                raise TaosError(0x2653, f"Value too long for column/tag: {column.name}")
            return value
        if column.type == "TIMESTAMP" and isinstance(value, str):
            return parse_time(value, per_second)
        if column.type == "BOOL":
            return int(value.lower() == "true" if isinstance(value, str) else bool(value))
        if code in "fd" or not isinstance(value, int):
            value = float(value)
            if not math.isfinite(value):
                raise ValueError
        if code not in "fd":
            value = math.floor(value + 0.5) if isinstance(value, float) else value
        return struct.unpack(f"<{code}", struct.pack(f"<{code}", value))[0]
    except ValueError:
        raise TaosError(0x0216, f"syntax error near '{value}' (invalid {kind} data)") from None
    except (OverflowError, struct.error):
        raise TaosError(0x0216, f"syntax error near '{value}' ({kind} data overflow)") from None


def as_decimal(value: Any, column: Column) -> str:
    """The number with the column's digits behind the point, rounded; text that is no number is 0."""
    try:
        number = Decimal(str(value))
        rounded = number.quantize(Decimal(1).scaleb(-column.scale), ROUND_HALF_UP, wire.DIGITS)
    except InvalidOperation:
        rounded = Decimal(0).scaleb(-column.scale) if isinstance(value, str) else Decimal("Infinity")
    if len(rounded.as_tuple().digits) > column.precision or not rounded.is_finite():
        raise TaosError(0x013D, "Decimal value overflow")
    return format(rounded, "f")


def as_bytes(value: Any, column: Column) -> bytes:
    """Text as its bytes, or written as hexadecimal behind \\x."""
    try:
        return bytes.fromhex(value[2:]) if value[:2].lower() == "\\x" else value.encode()
    except (ValueError, TypeError, AttributeError):
        raise TaosError(0x266A, f"Invalid varbinary value: {column.name}") from None


def as_geometry(value: Any, _column: Column) -> bytes:
    """The Well-Known Binary of a POINT, which is all that the emulator knows of geometry's texts."""
    found = re.fullmatch(r"\s*POINT\s*\(\s*(\S+)\s+(\S+?)\s*\)\s*", str(value), re.IGNORECASE)
    try:
        return struct.pack("<BIdd", 1, 1, float(found[1]), float(found[2]))
    except (TypeError, ValueError):
        complaint = "Invalid function para value; the emulator knows POINT(x y) alone"
        raise TaosError(0x0216, f"syntax error near '{value}' ({complaint})") from None


def as_json(value: Any, _column: Column) -> str | None:
    """A JSON tag's text as TDengine keeps it: one flat object, its keys in order; an empty one is NULL."""
    try:
        content = json.loads(value) if value else {}
    except ValueError:
        raise TaosError(0x0216, f"syntax error near '{value}' (json parse error)") from None
    except TypeError:
        content = value
    if not isinstance(content, dict):
        raise TaosError(0x0216, f"syntax error near '{value}' (json error invalide value)")
    if any(isinstance(part, list | dict) for part in content.values()):
        raise TaosError(0x0216, f"syntax error near '{value}' (invalidate json value)")
    whole = {
        key: int(part) if isinstance(part, float) and part.is_integer() else part
        for key, part in content.items()
    }
    text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text if content else None


def parse_time(text: str, per_second: int) -> int:
    """ISO 8601 text as a time in the precision; without a zone it is local time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise TaosError(0x0127, "Invalid timestamp format") from None
    fraction = re.search(r"\.(\d+)", text)
    nanoseconds = int(fraction[1][:9].ljust(9, "0")) if fraction else 0
    return int(moment.replace(microsecond=0).timestamp()) * per_second + nanoseconds * per_second // 10**9


def too_long(value: Any, column: Column) -> bool:
    """Whether a text has more bytes than its column holds, for NCHAR more characters."""
    if value is None or TYPES[column.type].code:
        return False
    size = len(value if column.type == "NCHAR" or isinstance(value, bytes) else value.encode())
    return size > column.length


def storable(values: Sequence[Any], column: Column) -> Sequence[Any]:
    """The values of a column as SQLite can keep them."""
    code = TYPES[column.type].code
    if code in ("f", "d") and (None in values or math.isnan(sum(values))):
        return ["NaN" if value is not None and value != value else value for value in values]
    if code == "Q":
        return [str(value) if value and value > MAX_INTEGER else value for value in values]
    return values
