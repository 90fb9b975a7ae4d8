"""Databases, tables and rows, kept in SQLite. Knows nothing of sockets or of TDengine's SQL.

A table is two of SQLite's: rows_N, by time and subtable, so that a watermark read and "newest first" both
walk along one index; and tags_N, with a row a subtable. A plain table is its own only subtable. Times are
integers in the database's precision; values.py says what is kept as text.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from tdengine_emulator.values import TYPES, Column, TaosError, quote, quote_text, refuse_if, storable

VERSION = "3.3.7.5.emulator"
MAX_HOURS = 12
MAX_ROWS = 2_000_000
ROWS_WHEN_THINNED = MAX_ROWS * 99 // 100
KEEP_SECONDS = 3650 * 86400
LAST_SECOND = 31_556_995_200
PRECISIONS = ("ms", "us", "ns")
WIDENED = ("VARCHAR", "NCHAR", "VARBINARY", "GEOMETRY")
KEYS = ("INT", "INT UNSIGNED", "BIGINT", "BIGINT UNSIGNED", "VARCHAR")
TBNAME = Column("#tbname", TYPES["VARCHAR"], 270)
SCHEMA = """
PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS databases (id INTEGER PRIMARY KEY, name UNIQUE, precision);
INSERT OR IGNORE INTO databases VALUES (1, 'information_schema', 'ms'), (2, 'performance_schema', 'ms');
CREATE TABLE IF NOT EXISTS tables
    (id INTEGER PRIMARY KEY, database, name, columns, tags, UNIQUE (database, name));
CREATE TABLE IF NOT EXISTS subtables
    (id INTEGER PRIMARY KEY, database, name, table_id, UNIQUE (database, name));
CREATE TEMP VIEW named AS
    SELECT s.database, s.name AS known_as, t.id, t.name, columns, tags, s.id AS subtable
    FROM subtables AS s JOIN tables AS t ON t.id = table_id
    UNION ALL SELECT database, name, id, name, columns, tags, NULL FROM tables WHERE tags <> '[]';
CREATE TEMP VIEW ins_databases AS SELECT name, precision FROM databases ORDER BY id;
CREATE TEMP VIEW ins_stables AS
    SELECT name AS stable_name, database AS db_name, json_array_length(columns) AS columns,
    json_array_length(tags) AS tags FROM tables WHERE tags <> '[]';
CREATE TEMP VIEW ins_tables AS
    SELECT s.name AS table_name, s.database AS db_name, iif(tags = '[]', NULL, t.name) AS stable_name,
    json_array_length(columns) AS columns, iif(tags = '[]', 'NORMAL_TABLE', 'CHILD_TABLE') AS type
    FROM subtables AS s JOIN tables AS t ON t.id = table_id;
"""
# Columns and lengths: 4 is an INT, all else a VARCHAR.
DESCRIBED = {"field": 325, "type": 20, "length": 4, "note": 16, "encode": 12, "compress": 12, "level": 12}
NAMES = {"table_name": 192, "db_name": 64, "stable_name": 192}
SYSTEM_TABLES = {
    "ins_databases": {"name": 64, "precision": 2},
    "ins_stables": {"stable_name": 192, "db_name": 64, "columns": 4, "tags": 4},
    "ins_tables": NAMES | {"columns": 4, "type": 21},
    "ins_tags": NAMES | {"tag_name": 64, "tag_type": 32, "tag_value": 16384},
}
TAG_TEXTS = {
    "?": "iif({0}, 'true', 'false')",
    "f": "printf('%.5f', {0})",
    "d": "printf('%.9f', {0})",
    "bytes": "'\\x' || hex({0})",
}
MISSING = (0x2603, "Table does not exist")
KEY_IS_FIXED = (0x267A, "composite primary key column can not be added, modified, and dropped")
KEY_PLACE = (0x2678, "composite primary key column must be second column")
KEY_TYPE = (0x2679, "composite primary key column must be of type int, uint, bigint, ubigint, and varchar")
ONLY_WIDER = (
    0x264B,
    "Only varbinary/binary/nchar/geometry column length could be modified, "
    "and the length can only be increased, not decreased",
)

Names = list[str] | None


class TableName(NamedTuple):
    name: str
    database: str | None


class Database(NamedTuple):
    name: str
    precision: str

    @property
    def number(self) -> int:
        """The precision's: 0 for ms, 1 for us, 2 for ns."""
        return PRECISIONS.index(self.precision)

    @property
    def per_second(self) -> int:
        return 1000 ** (self.number + 1)


class Table(NamedTuple):
    """A supertable; or, where `subtable` is not None, one of its subtables, or a plain table."""

    database: Database
    id: int
    name: str
    columns: list[Column]
    tags: list[Column]
    subtable: int | None

    @property
    def key(self) -> list[Column]:
        """The time, and the second column of a composite key."""
        return [column for column in self.columns if column.is_key or column is self.columns[0]]

    @property
    def key_names(self) -> str:
        return ", ".join([*(quote(column.name) for column in self.key), '"#subtable"'])


@dataclass
class Result:
    """What a statement gives: rows with their fields, or (no fields) the number of affected rows."""

    fields: list[Column] | None = None
    rows: Iterable[Sequence[Any]] = ()
    affected: int = 0
    precision: int = 0
    use: str | None = None


class Located(NamedTuple):
    """Where an INSERT writes: the subtable by name, for it may be new; the tags and columns it is given."""

    table: Table
    name: str
    tags: list[Column]
    columns: list[Column]


class Relation(NamedTuple):
    """What a SELECT reads: SQLite's source for it, its columns by name, which of them * means."""

    source: str
    columns: dict[str, Column]
    star: list[str]
    database: Database | None = None
    table: Table | None = None


@lru_cache
def columns_of(text: str) -> list[Column]:
    return [Column(name, TYPES[type_], *more) for name, type_, *more in json.loads(text)]


def text_of(columns: list[Column]) -> str:
    return json.dumps([(name, type_.name, *more) for name, type_, *more in columns])


class Store:
    """The data of one emulator: in memory, or in a directory's SQLite file, where every commit is durable."""

    def __init__(self, directory: Path | None = None):
        path = directory / "emulator.sqlite" if directory else ":memory:"
        self.sqlite = sqlite3.connect(path, timeout=0, isolation_level=None)
        self.sqlite.executescript(SCHEMA)
        self.most_rows: dict[int, int] = {}  # how many a table may have, until they are counted again

    def close(self) -> None:
        self.sqlite.close()

    def rows(self, text: str, *parameters: Any) -> sqlite3.Cursor:
        return self.sqlite.execute(text, parameters)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        self.rows("BEGIN IMMEDIATE")
        try:
            yield
            self.rows("COMMIT")
        finally:
            if self.sqlite.in_transaction:
                self.rows("ROLLBACK")

    # Names

    def database(self, name: str | None) -> Database:
        refuse_if(name is None, 0x2616, "Database not specified")
        for found in self.rows("SELECT name, precision FROM databases WHERE name = ?", name):
            return Database(*found)
        raise TaosError(0x0388, "Database not exist")

    def table(self, name: TableName) -> Table:
        database = self.database(name.database)
        found = "SELECT id, name, columns, tags, subtable FROM named WHERE database = ? AND known_as = ?"
        for number, known, columns, tags, subtable in self.rows(found, database.name, name.name):
            return Table(database, number, known, columns_of(columns), columns_of(tags), subtable)
        raise TaosError(*MISSING)

    def is_taken(self, name: TableName) -> bool:
        return bool(self.rows("SELECT 1 FROM named WHERE known_as = ? AND database = ?", *name).fetchall())

    # Definitions

    def create_database(self, name: str, precision: str, quietly: bool | None) -> None:
        refuse_if(precision not in PRECISIONS, 0x2617, f"Invalid option precision: {precision}")
        text = "INSERT OR IGNORE INTO databases (name, precision) VALUES (?, ?)"
        is_new = self.rows(text, name, precision).rowcount
        refuse_if(not (is_new or quietly), 0x0381, "Database already exists")

    def drop_database(self, name: str, quietly: bool | None) -> None:
        if not quietly:
            self.database(name)
        with self.transaction():
            for (number,) in self.rows("SELECT id FROM tables WHERE database = ?", name).fetchall():
                self.drop_storage(number)
            self.rows("DELETE FROM databases WHERE name = ? AND id > 2", name)

    def create_table(self, name: TableName, columns: list[Column], tags: list[Column]) -> None:
        check_definition(columns, tags)
        lists = [text_of(part) for part in (columns, tags)]
        with self.transaction():
            text = "INSERT INTO tables (name, database, columns, tags) VALUES (?, ?, ?, ?)"
            number = self.rows(text, *name, *lists).lastrowid
            table = Table(self.database(name.database), number or 0, name.name, columns, tags, None)
            rows, named = (
                ", ".join([quote(column.name) for column in part]) for part in (columns, [TBNAME, *tags])
            )
            key = f'"#subtable", PRIMARY KEY ({table.key_names})'
            self.rows(f"CREATE TABLE rows_{number} ({rows}, {key}) WITHOUT ROWID")
            self.rows(f'CREATE TABLE tags_{number} ("#id" INTEGER PRIMARY KEY, {named})')
            if not tags:
                self.add_subtable(table, name.name, [])

    def drop_storage(self, number: int) -> None:
        self.rows(f"DROP TABLE rows_{number}")
        self.rows(f"DROP TABLE tags_{number}")
        self.rows("DELETE FROM subtables WHERE table_id = ?", number)
        self.rows("DELETE FROM tables WHERE id = ?", number)

    def drop_table(self, name: TableName) -> None:
        table = self.table(name)
        with self.transaction():
            if table.name == name.name:
                self.drop_storage(table.id)
            else:
                self.rows(f'DELETE FROM rows_{table.id} WHERE "#subtable" = ?', table.subtable)
                self.rows(f'DELETE FROM tags_{table.id} WHERE "#id" = ?', table.subtable)
                self.rows("DELETE FROM subtables WHERE id = ?", table.subtable)

    def alter_table(self, name: TableName, action: str, kind: str, column: Column) -> None:
        """add, drop or modify a column or a tag (the kind); drop needs only the name of `column`."""
        table = self.table(name)
        is_subtable = bool(table.tags) and table.subtable is not None
        refuse_if(is_subtable or (kind == "tag" and not table.tags), 0x2649, "Invalid alter table statement")
        storage, known = ("tags", table.tags) if kind == "tag" else ("rows", table.columns)
        before = next((old for old in known if old.name == column.name), None)
        check_change(table, action, kind, before, column)
        at = known.index(before) if before else len(known)
        changed = [*known[:at], *([] if action == "drop" else [column]), *known[at + 1 :]]
        with self.transaction():
            if action != "modify":
                self.rows(f"ALTER TABLE {storage}_{table.id} {action} COLUMN {quote(column.name)}")
            self.rows(f"UPDATE tables SET {kind}s = ? WHERE id = ?", text_of(changed), table.id)

    def set_tag(self, table: Table, tag: Column, value: Any) -> None:
        text = f'UPDATE tags_{table.id} SET {quote(tag.name)} = ? WHERE "#id" = ?'
        self.rows(text, *storable([value], tag), table.subtable)

    def describe(self, name: TableName) -> Result:
        table, rows = self.table(name), []
        for column in table.columns:
            how, note = column.type, "COMPOSITE KEY" if column.is_key else ""
            type_name = f"DECIMAL({column.precision}, {column.scale})" if column.precision else how.name
            length = column.block_bytes if how.name == "BLOB" else column.length
            rows.append((column.name, type_name, length, note, how.encode, how.compress, "medium"))
        rows += [(tag.name, tag.type.name, tag.length, "TAG", *["disabled"] * 3) for tag in table.tags]
        return Result(list(system_fields(DESCRIBED).values()), rows)

    # Writing

    def locate(
        self, name: TableName, supertable: TableName | None, tag_names: Names, column_names: Names
    ) -> Located:
        """Where an INSERT writes that names a table, a supertable (USING), tags and columns (None: all)."""
        table = self.table(supertable or name)
        refuse_if((table.subtable is None) != (supertable is not None), *MISSING)
        tags = named(table.tags, tag_names) if supertable else []
        return Located(table, name.name, tags, named(table.columns, column_names))

    def upsert(self, located: Located, tags: Sequence[Any], columns: Sequence[Sequence[Any]]) -> int:
        """Write rows, given as columns, over those of the same subtable and time; returns their number.

        A new subtable gets the tags; one that exists keeps its own. The caller holds the transaction.
        """
        table, per_second = located.table, located.table.database.per_second
        known = "SELECT id, table_id FROM subtables WHERE database = ? AND name = ?"
        number, owner = self.rows(known, table.database.name, located.name).fetchone() or (None, table.id)
        refuse_if(owner != table.id, 0x2618, "Corresponding super table not in this db")
        if number is None:
            given = dict(zip(located.tags, tags, strict=True))
            number = self.add_subtable(table, located.name, [given.get(tag) for tag in table.tags])
        if not columns or not columns[0]:
            return 0
        given = dict(zip(located.columns, columns, strict=True))
        refuse_if(table.columns[0] not in given, 0x0200, "Primary timestamp column should not be null")
        refuse_if(not given.keys() >= {*table.key}, 0x0200, "Primary key column should not be none")
        keys = [given[column] for column in table.key]
        refuse_if(any(None in values for values in keys), 0x267B, "Primary key column should not be null")
        oldest, newest = (time.time() - KEEP_SECONDS) * per_second, LAST_SECOND * per_second
        is_in_time = oldest <= min(keys[0]) <= max(keys[0]) <= newest
        refuse_if(not is_in_time, 0x060B, "Timestamp data out of range")
        names = [*(quote(column.name) for column in located.columns), '"#subtable"']
        text = f"INTO rows_{table.id} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        if len(located.columns) == len(table.columns):
            text = f"INSERT OR REPLACE {text}"
        else:
            changes = ", ".join(f"{name} = excluded.{name}" for name in names)
            text = f"INSERT {text} ON CONFLICT ({table.key_names}) DO UPDATE SET {changes}"
        stored = [storable(values, column) for column, values in given.items()]
        self.sqlite.executemany(text, zip(*stored, repeat(number), strict=False))
        self.let_the_oldest_go(table, len(columns[0]))
        return len(set(zip(*keys, strict=True)))

    def add_subtable(self, table: Table, name: str, tags: Sequence[Any]) -> int:
        text = "INSERT INTO subtables (database, name, table_id) VALUES (?, ?, ?)"
        number = self.rows(text, table.database.name, name, table.id).lastrowid or 0
        stored = [storable([value], tag)[0] for value, tag in zip(tags, table.tags, strict=True)]
        self.rows(f"INSERT INTO tags_{table.id} VALUES (?, ?{', ?' * len(tags)})", number, name, *stored)
        return number

    def let_the_oldest_go(self, table: Table, written: int) -> None:
        """Delete what is 12 hours older than the newest row (or than now) or beyond the 2 millionth.

        Rows are counted only when they could have become too many; then one in a hundred goes, so that counts
        stay rare.
        """
        rows, moment = f"rows_{table.id}", quote(table.columns[0].name)
        ticks, seconds = table.database.per_second, MAX_HOURS * 3600
        ((newest,),) = self.rows(f"SELECT MAX({moment}) FROM {rows}")
        horizon = min(newest, int(time.time() * ticks)) - seconds * ticks
        self.rows(f"DELETE FROM {rows} WHERE {moment} < ?", horizon)
        most = self.most_rows.get(table.id, MAX_ROWS) + written
        if most > MAX_ROWS:
            ((most,),) = self.rows(f"SELECT COUNT(*) FROM {rows}")
            if most > MAX_ROWS:
                surplus = most - ROWS_WHEN_THINNED
                first = f"SELECT {moment} FROM {rows} ORDER BY {moment} LIMIT 1 OFFSET {surplus}"
                most -= self.rows(f"DELETE FROM {rows} WHERE {moment} < ({first})").rowcount
        self.most_rows[table.id] = most

    def delete(self, table: Table, where: str) -> int:
        """Delete the rows that SQLite's WHERE clause about the alias o chooses; returns their number."""
        chosen = f"SELECT {table.key_names} FROM {source_of(table)} AS o{where}"
        return self.rows(f"DELETE FROM rows_{table.id} WHERE ({table.key_names}) IN ({chosen})").rowcount

    # Reading

    def relation(self, name: TableName) -> Relation:
        if name.database == "information_schema" and name.name in SYSTEM_TABLES:
            fields = system_fields(SYSTEM_TABLES[name.name])
            return Relation(self.ins_tags() if name.name == "ins_tags" else name.name, fields, list(fields))
        table = self.table(name)
        columns = {column.name: column for column in [*table.columns, *table.tags]} | {"tbname": TBNAME}
        star = [column.name for column in [*table.columns, *(table.tags if table.subtable is None else [])]]
        return Relation(source_of(table), columns, star, table.database, table)

    def ins_tags(self) -> str:
        """information_schema's list of all tags, as a SELECT in brackets."""
        parts = [f"SELECT {', '.join(f'NULL AS {name}' for name in SYSTEM_TABLES['ins_tags'])} WHERE 0"]
        for number, *names, tags in self.rows("SELECT id, database, name, tags FROM tables"):
            for tag in columns_of(tags):
                constants = ", ".join(map(quote_text, (*names, tag.name, tag.tag_type)))
                kind, column = "bytes" if tag.type.holds_bytes else tag.type.code, quote(tag.name)
                text = TAG_TEXTS.get(kind or "", "CAST({0} AS TEXT)").format(column)
                value = f"iif({column} IS NULL, NULL, {text})"
                parts.append(f'SELECT "#tbname", {constants}, {value} FROM tags_{number}')
        return f"({' UNION ALL '.join(parts)})"


def source_of(table: Table) -> str:
    """SQLite's FROM for a table: its rows with their tags."""
    return f'(SELECT * FROM rows_{table.id} CROSS JOIN tags_{table.id} ON "#subtable" = "#id")'


def system_fields(lengths: dict[str, int]) -> dict[str, Column]:
    types = {4: TYPES["INT"]}
    return {name: Column(name, types.get(size, TYPES["VARCHAR"]), size) for name, size in lengths.items()}


def named(columns: list[Column], names: Names) -> list[Column]:
    """The columns of those names in their order; all where there are no names."""
    by_name = {column.name: column for column in columns}
    for name in names or ():
        refuse_if(name not in by_name, 0x2602, f"Invalid column name: {name}")
    return columns if names is None else [by_name[name] for name in names]


def check_definition(columns: list[Column], tags: list[Column]) -> None:
    """Raise TaosError where there can be no table with these columns and tags."""
    types, tag_types = ([column.type.name for column in part] for part in (columns, tags))
    names, keys = [column.name for column in [*columns, *tags]], [*columns[:1], *columns[2:], *tags]
    refuse_if(types[0] != "TIMESTAMP", 0x2641, "First column must be timestamp")
    refuse_if(len(columns) < 2, 0x263F, "Illegal number of columns")
    refuse_if(len(set(names)) < len(names), 0x263C, "Duplicated column names")
    refuse_if(any(column.is_key for column in keys), *KEY_PLACE)
    refuse_if(columns[1].is_key and types[1] not in KEYS, *KEY_TYPE)
    refuse_if(types.count("BLOB") > 1, 0x6306, "only one blob column allowed")
    refuse_if("JSON" in types, 0x2652, "Only tag can be json type")
    refuse_if("JSON" in tag_types and len(tags) > 1, 0x2633, "Only one tag if there is a json tag")
    refuse_if("BLOB" in tag_types, 0x6301, "Blob type not support on tag")
    refuse_if(any("DECIMAL" in name for name in tag_types), 0x2602, "Decimal type is not allowed for tag")


def check_change(table: Table, action: str, kind: str, before: Column | None, column: Column) -> None:
    """Raise TaosError where ALTER TABLE may not do that to the column or tag, `before` as it is now."""
    columns, tags = ({known.name for known in part} for part in (table.columns, table.tags))
    if action == "add":
        refuse_if(column.name in columns and not tags, 0x263C, "Duplicated column names")
        refuse_if(column.name in columns, 0x036B, "Column already exists")
        refuse_if(column.name in tags, 0x0369, "Tag already exists")
        lists = {"column": table.columns, "tag": table.tags}
        lists[kind] = [*lists[kind], column]
        check_definition(*lists.values())
    elif before is None:
        missing = 0x036A if kind == "tag" else 0x036C
        refuse_if(column.name in columns | tags, missing, f"{kind.title()} does not exist")
        raise TaosError(0x260E if kind == "tag" else 0x2602, f"Invalid {kind} name: {column.name}")
    elif action == "modify":
        is_wider = column.length > before.length and before.type == column.type
        refuse_if(before.type.name not in WIDENED or not is_wider, *ONLY_WIDER)
    else:
        refuse_if(kind == "tag" and len(tags) == 1, 0x2649, "the only tag cannot be dropped")
        refuse_if(not tags and len(columns) == 2, 0x2651, "No columns can be dropped")
        is_time = before is table.columns[0]
        refuse_if(is_time and bool(tags), 0x03C2, "Invalid stable alter options")
        refuse_if(is_time, 0x264A, "Primary timestamp column cannot be dropped")
        refuse_if(before.is_key, *KEY_IS_FIXED)
