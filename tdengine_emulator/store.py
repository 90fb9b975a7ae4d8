"""Databases, tables and rows, kept in SQLite. Knows nothing of sockets or of TDengine's SQL.

A supertable is two SQLite tables, rows_N (by time and subtable, so that a watermark read and "newest first" both
walk along one index) and tags_N (one row a subtable), and the view meters_N that joins them. Times are integers
in the database's precision. SQLite turns NaN into NULL, so NaN is the text "NaN" there.
"""

import json
import math
import re
import sqlite3
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from tdengine_emulator.wire import TYPES, Field

VERSION = "3.3.7.5.emulator"
MAX_HOURS = 12
MAX_ROWS = 2_000_000
KEPT_WHEN_FULL = MAX_ROWS * 99 // 100
KEEP_DAYS = 3650
LAST_SECOND = 31_556_995_200
PRECISIONS = {"ms": (0, 1_000), "us": (1, 1_000_000), "ns": (2, 1_000_000_000)}
LIBRARY_DATABASES = ("information_schema", "performance_schema")
SUBTABLE = '"#subtable"'
TBNAME = Field("#tbname", TYPES["VARCHAR"], 270)
SYSTEM_TABLES = {
    "ins_databases": {"name": 64, "create_time": 8, "ntables": 4, "precision": 2},
    "ins_stables": {"stable_name": 192, "db_name": 64, "create_time": 8, "columns": 4, "tags": 4},
    "ins_tables": {
        "table_name": 192,
        "db_name": 64,
        "create_time": 8,
        "columns": 4,
        "stable_name": 192,
        "type": 21,
    },
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


class TableName(NamedTuple):
    name: str
    database: str | None


class Column(NamedTuple):
    """A column or tag; `length` in bytes, for NCHAR in characters; `is_key`: part of the key beside the time."""

    name: str
    type: str
    length: int
    is_key: bool = False

    def field(self) -> Field:
        return Field(self.name, TYPES[self.type], self.length)


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
    """A supertable with its subtables' numbers; or a plain table: no tags, and one subtable of its own name."""

    id: int
    name: str
    columns: list[Column]
    tags: list[Column]
    created: int
    subtables: dict[str, int] = field(default_factory=dict)
    unchecked: int = 0

    @property
    def key(self) -> list[Column]:
        """The time, and the second column of a composite key."""
        return [column for column in self.columns if column.is_key or column is self.columns[0]]

    @property
    def key_names(self) -> list[str]:
        return [*(quote(column.name) for column in self.key), SUBTABLE]


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
class Target:
    """Where an INSERT writes, by name: table, supertable (USING), tags and columns (None: all)."""

    table: TableName
    supertable: TableName | None = None
    tag_names: list[str] | None = None
    column_names: list[str] | None = None


@dataclass
class Located:
    """A Target found: the subtable's name, the tags and columns that it is given."""

    database: Database
    table: Table
    name: str
    tags: list[Column]
    columns: list[Column]


@dataclass
class Relation:
    """What a SELECT reads: SQLite's source for it, its columns by name, which of them * means, its time."""

    source: str
    columns: dict[str, Field]
    star: list[str]
    time: str | None = None
    table: Table | None = None
    restriction: str | None = None
    tags_source: str | None = None
    tag_names: frozenset[str] = frozenset()
    precision: int = 0
    per_second: int = 1000


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Store:
    """The data of one emulator: in memory, or in a directory's SQLite file, where every commit is durable."""

    def __init__(self, directory: Path | None = None):
        self.sqlite = sqlite3.connect(
            directory / "tdengine.sqlite" if directory else ":memory:", isolation_level=None
        )
        self.sqlite.executescript(
            """PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
            CREATE TABLE IF NOT EXISTS databases (name PRIMARY KEY, precision, created);
            CREATE TABLE IF NOT EXISTS tables (id INTEGER PRIMARY KEY, owner, name, columns, tags, created);"""
        )
        self.undo: list[Callable[[], object]] = []
        self.databases = {row[0]: Database(*row) for row in self.rows("SELECT * FROM databases")}
        for number, owner, name, *columns, created in list(self.rows("SELECT * FROM tables")):
            table = Table(
                number, name, *([Column(*c) for c in json.loads(text)] for text in columns), created
            )
            table.subtables = dict(self.rows(f"SELECT {quote(TBNAME.name)}, {SUBTABLE} FROM tags_{number}"))
            table.unchecked = MAX_ROWS
            self.databases[owner].tables[name] = table
            self.databases[owner].subtables |= dict.fromkeys(table.subtables, table)

    def close(self) -> None:
        self.sqlite.close()

    def rows(self, text: str) -> Iterator[Sequence[Any]]:
        return self.sqlite.execute(text)

    def transaction(self) -> "Transaction":
        return Transaction(self)

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
        if name.name in database.tables:
            return database, database.tables[name.name], None
        raise TaosError(0x2603, "Table does not exist")

    # Definitions

    def create_database(self, name: str, precision: str, quietly: bool) -> Result:
        if name in self.databases or name in LIBRARY_DATABASES:
            if quietly:
                return Result()
            raise TaosError(0x0381, "Database already exists")
        if precision not in PRECISIONS:
            raise TaosError(0x2617, f"Invalid option precision: {precision}")
        database = Database(name, precision, now_ms())
        self.sqlite.execute("INSERT INTO databases VALUES (?, ?, ?)", (name, precision, database.created))
        self.databases[name] = database
        return Result()

    def drop_database(self, name: str, quietly: bool) -> Result:
        if quietly and name not in self.databases:
            return Result()
        database = self.database(name)
        with self.transaction():
            for table in database.tables.values():
                self.drop_storage(table)
            self.sqlite.execute("DELETE FROM databases WHERE name = ?", (name,))
        del self.databases[name]
        return Result()

    def create_table(
        self, name: TableName, columns: list[Column], tags: list[Column], quietly: bool
    ) -> Result:
        database = self.database(name.database)
        existing = database.tables.get(name.name) or database.subtables.get(name.name)
        if existing:
            if quietly:
                return Result()
            is_supertable = name.name in database.tables and existing.tags
            raise (
                TaosError(0x0360, "STable already exists")
                if is_supertable
                else TaosError(0x0603, "Table already exists")
            )
        if columns[0].type != "TIMESTAMP":
            raise TaosError(0x2641, "First column must be timestamp")
        if len(columns) < 2:
            raise TaosError(0x263F, "Illegal number of columns")
        if len({column.name for column in [*columns, *tags]}) < len(columns) + len(tags):
            raise TaosError(0x263C, "Duplicated column names")
        with self.transaction():
            about = (database.name, name.name, json.dumps(columns), json.dumps(tags), now_ms())
            cursor = self.sqlite.execute("INSERT INTO tables VALUES (NULL, ?, ?, ?, ?, ?)", about)
            table = Table(cursor.lastrowid or 0, name.name, columns, tags, about[-1])
            self.make_storage(table)
            if not tags:
                self.add_subtable(database, table, name.name, [])
        database.tables[name.name] = table
        return Result()

    def make_storage(self, table: Table) -> None:
        columns, tags = ([quote(column.name) for column in part] for part in (table.columns, table.tags))
        selected = ", ".join([*(f"r.{name}" for name in columns), *(f"t.{name}" for name in tags)])
        n = table.id
        self.sqlite.execute(
            f"CREATE TABLE rows_{n} ({', '.join([*columns, SUBTABLE])}, PRIMARY KEY ({', '.join(table.key_names)})) WITHOUT ROWID"
        )
        self.sqlite.execute(
            f"CREATE TABLE tags_{n} ({', '.join([f'{SUBTABLE} INTEGER PRIMARY KEY', quote(TBNAME.name), *tags])})"
        )
        self.sqlite.execute(
            f"CREATE VIEW meters_{n} AS SELECT r.{SUBTABLE}, t.{quote(TBNAME.name)}, {selected} "
            f"FROM rows_{n} AS r CROSS JOIN tags_{n} AS t ON r.{SUBTABLE} = t.{SUBTABLE}"
        )

    def drop_storage(self, table: Table) -> None:
        for kind, name in (("VIEW", "meters"), ("TABLE", "rows"), ("TABLE", "tags")):
            self.sqlite.execute(f"DROP {kind} {name}_{table.id}")
        self.sqlite.execute("DELETE FROM tables WHERE id = ?", (table.id,))

    def create_subtable(self, located: "Located", tags: list[Any], quietly: bool) -> Result:
        if located.name in located.database.subtables:
            if quietly:
                return Result()
            raise TaosError(0x0603, "Table already exists")
        with self.transaction():
            self.upsert(located, tags, [])
        return Result()

    def drop_table(self, name: TableName, quietly: bool, only_supertable: bool) -> Result:
        database = self.database(name.database)
        is_supertable = name.name in database.tables and bool(database.tables[name.name].tags)
        if not is_supertable and (only_supertable or name.name not in database.subtables):
            if quietly:
                return Result()
            missing = (0x0362, "STable not exist") if only_supertable else (0x2603, "Table does not exist")
            raise TaosError(*missing)
        _, table, number = self.table(name)
        with self.transaction():
            if number is None or not table.tags:
                self.drop_storage(table)
                dropped = set(table.subtables)
                del database.tables[table.name]
            else:
                for part in ("rows", "tags"):
                    self.sqlite.execute(f"DELETE FROM {part}_{table.id} WHERE {SUBTABLE} = ?", (number,))
                dropped = {name.name}
        for subtable in dropped:
            del database.subtables[subtable], table.subtables[subtable]
        return Result()

    def set_tag(self, name: TableName, tag_name: str, value: Any) -> Result:
        database, table, number = self.table(name)
        tag = next((tag for tag in table.tags if tag.name == tag_name), None)
        if number is None:
            raise TaosError(0x2649, "Set tag value only available for child table")
        if tag is None:
            raise TaosError(0x2649, f"Invalid tag name: {tag_name}")
        text = f"UPDATE tags_{table.id} SET {quote(tag_name)} = ? WHERE {SUBTABLE} = ?"
        self.sqlite.execute(text, (self.converted(value, tag, database), number))
        return Result()

    # Descriptions

    def describe(self, name: TableName) -> Result:
        _, table, _ = self.table(name)
        rows = []
        for column in table.columns:
            note = "COMPOSITE KEY" if column.is_key else ""
            about = TYPES[column.type]
            rows.append(
                (column.name, column.type, column.length, note, about.encode, about.compress, "medium")
            )
        for tag in table.tags:
            rows.append((tag.name, tag.type, tag.length, "TAG", "disabled", "disabled", "disabled"))
        lengths = {
            "field": 325,
            "type": 20,
            "length": 4,
            "note": 16,
            "encode": 12,
            "compress": 12,
            "level": 12,
        }
        return Result(list(system_fields(lengths).values()), iter(rows))

    def show(self, what: str, database: str | None) -> Result:
        if what == "databases":
            names, heading, length = [*LIBRARY_DATABASES, *self.databases], "name", 64
        elif what == "stables":
            tables = self.database(database).tables.values()
            names, heading, length = [table.name for table in tables if table.tags], "stable_name", 192
        else:
            names, heading, length = list(self.database(database).subtables), "table_name", 192
        return Result([Field(heading, TYPES["VARCHAR"], length)], iter([(name,) for name in names]))

    def system_table(self, name: str) -> Relation:
        """A table of information_schema, made anew as a temporary SQLite table."""
        if name not in SYSTEM_TABLES:
            raise TaosError(0x2603, "Table does not exist")
        fields = system_fields(SYSTEM_TABLES[name])
        self.sqlite.execute(f"DROP TABLE IF EXISTS temp.{name}")
        self.sqlite.execute(f"CREATE TEMP TABLE {name} ({', '.join(map(quote, fields))})")
        marks = ", ".join("?" * len(fields))
        self.sqlite.executemany(f"INSERT INTO {name} VALUES ({marks})", list(getattr(self, name)()))
        return Relation(name, fields, list(fields))

    def ins_databases(self) -> Iterator[tuple[Any, ...]]:
        for database in self.databases.values():
            yield database.name, database.created, len(database.subtables), database.precision

    def ins_stables(self) -> Iterator[tuple[Any, ...]]:
        for database in self.databases.values():
            for table in database.tables.values():
                if table.tags:
                    yield table.name, database.name, table.created, len(table.columns), len(table.tags)

    def ins_tables(self) -> Iterator[tuple[Any, ...]]:
        for database in self.databases.values():
            for name, table in database.subtables.items():
                supertable, kind = (table.name, "CHILD_TABLE") if table.tags else (None, "NORMAL_TABLE")
                yield name, database.name, table.created, len(table.columns), supertable, kind

    def ins_tags(self) -> Iterator[tuple[Any, ...]]:
        for database in self.databases.values():
            for table in database.tables.values():
                for _, subtable, *values in self.rows(f"SELECT * FROM tags_{table.id}"):
                    for tag, value in zip(table.tags, values, strict=True):
                        type_ = tag.type if TYPES[tag.type].code else f"{tag.type}({tag.length})"
                        text = None if value is None else str(value)
                        yield subtable, database.name, table.name, tag.name, type_, text

    # Writing

    def locate(self, target: Target) -> Located:
        """Find what a Target names; the subtable itself may not exist yet where a supertable is given."""
        database, table, number = self.table(target.supertable or target.table)
        if (number is None) != bool(target.supertable):
            raise TaosError(0x2603, "Table does not exist")
        tags = named(table.tags, target.tag_names) if target.supertable else []
        return Located(database, table, target.table.name, tags, named(table.columns, target.column_names))

    def upsert(self, located: Located, tags: Sequence[Any], columns: Sequence[Sequence[Any]]) -> int:
        """Write rows, given as columns, over those of the same subtable and time; returns how many keys were given.

        A new subtable gets the tags; one that exists keeps its own. The caller holds the transaction.
        """
        database, table = located.database, located.table
        number = table.subtables.get(located.name)
        if number is None:
            if located.name in database.subtables:
                raise TaosError(0x2618, "Corresponding super table not in this db")
            given = dict(zip((tag.name for tag in located.tags), tags, strict=True))
            number = self.add_subtable(
                database, table, located.name, [given.get(tag.name) for tag in table.tags]
            )
        if not columns or not columns[0]:
            return 0
        by_column = dict(zip(located.columns, columns, strict=True))
        if any(column not in by_column for column in table.key):
            raise TaosError(0x0200, "Primary timestamp column should not be null")
        keys = [by_column[column] for column in table.key]
        if any(None in values for values in keys):
            raise TaosError(0x267B, "Primary key column should not be null")
        oldest = (time.time() - KEEP_DAYS * 86400) * database.per_second
        if not oldest <= min(keys[0]) <= max(keys[0]) <= LAST_SECOND * database.per_second:
            raise TaosError(0x060B, "Timestamp data out of range")
        names = [quote(column.name) for column in located.columns] + [SUBTABLE]
        changes = ", ".join(f"{name} = excluded.{name}" for name in names)
        text = f"INTO rows_{table.id} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        if len(located.columns) == len(table.columns):
            text = f"INSERT OR REPLACE {text}"
        else:
            text = f"INSERT {text} ON CONFLICT ({', '.join(table.key_names)}) DO UPDATE SET {changes}"
        stored = [
            with_nan_as_text(values) if TYPES[column.type].code in ("f", "d") else values
            for column, values in zip(located.columns, columns, strict=True)
        ]
        self.sqlite.executemany(text, zip(*stored, repeat(number), strict=False))
        self.bound(database, table, len(columns[0]))
        return len(set(zip(*keys, strict=True)))

    def add_subtable(self, database: Database, table: Table, name: str, tags: Sequence[Any]) -> int:
        marks = ", ".join("?" * (2 + len(tags)))
        cursor = self.sqlite.execute(f"INSERT INTO tags_{table.id} VALUES ({marks})", (None, name, *tags))
        number = cursor.lastrowid or 0
        database.subtables[name], table.subtables[name] = table, number
        self.undo.append(lambda: (database.subtables.pop(name), table.subtables.pop(name)))
        return number

    def bound(self, database: Database, table: Table, written: int) -> None:
        """Let the oldest rows go: those 12 hours before the newest (or before now), and those beyond 2 million.

        Rows are counted only when those written since the last count could have made it 2 million; a full table then
        loses one in a hundred, so that counts stay rare.
        """
        name, time_name = f"rows_{table.id}", quote(table.columns[0].name)
        ((newest,),) = self.rows(f"SELECT MAX({time_name}) FROM {name}")
        horizon = min(newest, int(time.time() * database.per_second)) - MAX_HOURS * 3600 * database.per_second
        self.sqlite.execute(f"DELETE FROM {name} WHERE {time_name} < ?", (horizon,))
        table.unchecked += written
        if table.unchecked > MAX_ROWS:
            ((count,),) = self.rows(f"SELECT COUNT(*) FROM {name}")
            if count > MAX_ROWS:
                oldest = f"SELECT {time_name} FROM {name} ORDER BY {time_name} LIMIT 1 OFFSET {count - KEPT_WHEN_FULL}"
                self.sqlite.execute(f"DELETE FROM {name} WHERE {time_name} < ({oldest})")
                ((count,),) = self.rows(f"SELECT COUNT(*) FROM {name}")
            table.unchecked = count

    def converted(self, value: Any, column: Column, database: Database) -> Any:
        """A value that came as text, number or boolean, as the column's type; raises TaosError."""
        type_ = TYPES[column.type]
        if value is None:
            return None
        try:
            if column.type == "TIMESTAMP" and isinstance(value, str):
                return self.parse_time(value, database.per_second)
            if column.type == "BOOL":
                return int(value.lower() == "true" if isinstance(value, str) else bool(value))
            if type_.code:
                number = value if isinstance(value, int) and type_.code not in "fd" else float(value)
                if not math.isfinite(number):
                    raise ValueError
                if isinstance(number, float) and type_.code not in "fd":
                    number = math.floor(number + 0.5)
                return struct.unpack(f"<{type_.code}", struct.pack(f"<{type_.code}", number))[0]
        except ValueError:
            raise TaosError(
                0x0216, f"syntax error near '{value}' (invalid {column.type.lower()} data)"
            ) from None
        except (OverflowError, struct.error):
            raise TaosError(
                0x0216, f"syntax error near '{value}' ({column.type.lower()} data overflow)"
            ) from None
        text = str(value)
        if too_long(text, column):
            raise TaosError(0x2653, f"Value too long for column/tag: {column.name}")
        return text

    def parse_time(self, text: str, per_second: int) -> int:
        """ISO 8601 text as a time in the precision; without a zone it is local time."""
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise TaosError(0x0127, "Invalid timestamp format") from None
        fraction = re.search(r"\.(\d+)", text)
        digits = fraction[1][:9].ljust(9, "0") if fraction else "0"
        return (
            int(moment.replace(microsecond=0).timestamp()) * per_second
            + int(digits) * per_second // 1_000_000_000
        )

    # Reading

    def relation(self, name: TableName) -> Relation:
        if name.database == "information_schema":
            return self.system_table(name.name)
        database, table, number = self.table(name)
        precision, per_second = PRECISIONS[database.precision]
        tag_names = [tag.name for tag in table.tags]
        return Relation(
            source=f"meters_{table.id}",
            columns={c.name: c.field() for c in [*table.columns, *table.tags]} | {"tbname": TBNAME},
            star=[column.name for column in table.columns] + (tag_names if number is None else []),
            time=table.columns[0].name,
            table=table,
            restriction=f"{SUBTABLE} = {number}" if number is not None else None,
            tags_source=f"tags_{table.id}",
            tag_names=frozenset([*tag_names, "tbname"]),
            precision=precision,
            per_second=per_second,
        )

    def delete(self, relation: Relation, where: str) -> Result:
        if relation.table is None:
            raise TaosError(0x2603, "Table does not exist")
        key = ", ".join(relation.table.key_names)
        selected = f"SELECT {key} FROM {relation.source} AS o{where}"
        cursor = self.sqlite.execute(f"DELETE FROM rows_{relation.table.id} WHERE ({key}) IN ({selected})")
        return Result(affected=cursor.rowcount)


class Transaction:
    """BEGIN to COMMIT; where an exception passes, ROLLBACK, and the subtables that were new are forgotten."""

    def __init__(self, store: Store):
        self.store = store

    def __enter__(self) -> None:
        self.store.undo = []
        self.store.sqlite.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type | None, *_: object) -> None:
        if not kind:
            try:
                self.store.sqlite.execute("COMMIT")
                return
            except sqlite3.Error:
                self.roll_back()
                raise
        self.roll_back()

    def roll_back(self) -> None:
        self.store.sqlite.execute("ROLLBACK")
        for undo in self.store.undo:
            undo()


def system_fields(lengths: dict[str, int]) -> dict[str, Field]:
    """Fields of the texts, INT (4 bytes) and TIMESTAMP (8) that DESCRIBE and information_schema give."""
    types = {4: TYPES["INT"], 8: TYPES["TIMESTAMP"]}
    return {
        name: Field(name, types.get(length, TYPES["VARCHAR"]), length) for name, length in lengths.items()
    }


def named(columns: list[Column], names: list[str] | None) -> list[Column]:
    """The columns of those names in their order; all where there are no names."""
    if names is None:
        return columns
    by_name = {column.name: column for column in columns}
    for name in names:
        if name not in by_name:
            raise TaosError(0x2602, f"Invalid column name: {name}")
    return [by_name[name] for name in names]


def too_long(value: Any, column: Column) -> bool:
    """Whether a text has more bytes than its column holds, for NCHAR more characters."""
    if value is None or TYPES[column.type].code:
        return False
    return (
        len(value if column.type == "NCHAR" or isinstance(value, bytes) else value.encode()) > column.length
    )


def with_nan_as_text(values: Sequence[Any]) -> Sequence[Any]:
    if None not in values and not math.isnan(sum(values)):
        return values
    return ["NaN" if value is not None and value != value else value for value in values]
