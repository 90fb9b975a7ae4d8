"""Databases, tables and rows, kept in SQLite. Knows nothing of sockets or of TDengine's SQL.

A supertable is two SQLite tables, rows_N (by time and subtable, so that a watermark read and "newest first"
both walk along one index) and tags_N (a row a subtable), and the view meters_N that joins them. Times are
integers in the database's precision. SQLite turns NaN into NULL, so NaN is the text "NaN" there.
"""

import json
import math
import re
import sqlite3
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from tdengine_emulator.wire import TYPES, Field

VERSION = "3.3.7.5.emulator"
MAX_HOURS = 12
MAX_ROWS = 2_000_000
ROWS_WHEN_THINNED = MAX_ROWS * 99 // 100
KEEP_SECONDS = 3650 * 86400
LAST_SECOND = 31_556_995_200
PRECISIONS = {"ms": (0, 1_000), "us": (1, 1_000_000), "ns": (2, 1_000_000_000)}  # number, ticks a second
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
        about = (database.name, name.name, json.dumps(columns), json.dumps(tags), now_ms())
        with self.transaction():
            cursor = self.sqlite.execute("INSERT INTO tables VALUES (NULL, ?, ?, ?, ?, ?)", about)
            table = Table(cursor.lastrowid or 0, name.name, columns, tags, about[-1])
            self.make_storage(table)
            if not tags:
                self.add_subtable(database, table, name.name, [])
        database.tables[name.name] = table

    def make_storage(self, table: Table) -> None:
        columns, tags = ([quote(column.name) for column in part] for part in (table.columns, table.tags))
        selected = [
            f"r.{SUBTABLE}",
            f"t.{quote(TBNAME.name)}",
            *(f"r.{c}" for c in columns),
            *(f"t.{t}" for t in tags),
        ]
        rows = [*columns, SUBTABLE, f"PRIMARY KEY ({table.key_names})"]
        tags = [f"{SUBTABLE} INTEGER PRIMARY KEY", quote(TBNAME.name), *tags]
        self.sqlite.execute(f"CREATE TABLE rows_{table.id} ({', '.join(rows)}) WITHOUT ROWID")
        self.sqlite.execute(f"CREATE TABLE tags_{table.id} ({', '.join(tags)})")
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
        self.sqlite.execute(text, (converted(value, tag, database.per_second), number))

    # Descriptions

    def describe(self, name: TableName) -> Result:
        _, table, _ = self.table(name)
        rows = []
        for column in table.columns:
            note, how = "COMPOSITE KEY" if column.is_key else "", TYPES[column.type]
            rows.append((*column[:3], note, how.encode, how.compress, "medium"))
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
                    type_ = tag.type if TYPES[tag.type].code else f"{tag.type}({tag.length})"
                    text = None if value is None else str(value)
                    yield subtable, database.name, table.name, tag.name, type_, text

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
        if any(column not in given for column in table.key):
            raise TaosError(0x0200, "Primary timestamp column should not be null")
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
        stored = [
            with_nan_as_text(values) if TYPES[column.type].code in ("f", "d") else values
            for column, values in given.items()
        ]
        self.sqlite.executemany(text, zip(*stored, repeat(number), strict=False))
        self.let_the_oldest_go(database, table, len(columns[0]))
        return len(set(zip(*keys, strict=True)))

    def add_subtable(self, database: Database, table: Table, name: str, tags: Sequence[Any]) -> int:
        marks = ", ".join("?" * (2 + len(tags)))
        cursor = self.sqlite.execute(f"INSERT INTO tags_{table.id} VALUES ({marks})", (None, name, *tags))
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


def converted(value: Any, column: Column, per_second: int) -> Any:
    """A value that came as text, number or boolean, as the column's type; raises TaosError."""
    code, kind = TYPES[column.type].code, column.type.lower()
    try:
        if value is None:
            return None
        if code is None:
            if too_long(str(value), column):
                raise TaosError(0x2653, f"Value too long for column/tag: {column.name}")
            return str(value)
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


def with_nan_as_text(values: Sequence[Any]) -> Sequence[Any]:
    if None not in values and not math.isnan(sum(values)):
        return values
    return ["NaN" if value is not None and value != value else value for value in values]
