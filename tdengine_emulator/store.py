"""Databases, tables and rows, kept in SQLite. Knows nothing of sockets or of TDengine's SQL.

A table is two of SQLite's: rows_N, by time and subtable, so that a watermark read and "newest first" both
walk along one index; and tags_N, with a row a subtable. A plain table is its own only subtable. Times are
integers in the database's precision.
"""

import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from tdengine_emulator import computing
from tdengine_emulator.wire import TYPES, Column, TaosError, refuse_if, storable

log = logging.getLogger("tdengine_emulator")
VERSION = "3.3.7.5.emulator"
MAX_ROWS = 2_000_000
ROWS_WHEN_THINNED = MAX_ROWS * 99 // 100
MAX_COLUMNS, MAX_TAGS = 4096, 128
MOST_IN_SQLITE = 1997  # of its 2,000 columns, since tables have some of the store's own
MAX_ROW_BYTES, MAX_TAG_BYTES = 65531, 16384
LONGEST_TEXT, LONGEST_TAG, LONGEST_COLUMN_NAME = 65517, 16382, 64
LONGEST_TABLE_NAME, LONGEST_DATABASE_NAME = 192, 64
KEEP_DAYS = 3650
LAST_SECOND = 31_556_995_200
MARKED = re.compile(r"[A-Z#^]")
PRECISIONS = ["ms", "us", "ns"]
MISSING = (0x2603, "Table does not exist")
TBNAME = Column("tbname", "VARCHAR", 270)
SCHEMA = """
PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS databases (id INTEGER PRIMARY KEY, name UNIQUE, precision);
INSERT OR IGNORE INTO databases (id, name, precision)
    VALUES (1, 'information_schema', 'ms'), (2, 'performance_schema', 'ms');
CREATE TABLE IF NOT EXISTS tables
    (id INTEGER PRIMARY KEY, database, name, columns, tags, UNIQUE (database, name));
CREATE TABLE IF NOT EXISTS subtables
    (id INTEGER PRIMARY KEY, database, name, table_id, UNIQUE (database, name));
CREATE TABLE IF NOT EXISTS topics
    (id INTEGER PRIMARY KEY AUTOINCREMENT, name UNIQUE, database, table_id, subtable, created, text, fields,
    used);
CREATE TEMP TABLE subscriptions
    (topic_name, consumer_group, vgroup_id, consumer_id, user, fqdn, offset, rows);
CREATE TEMP VIEW ins_topics AS
    SELECT name AS topic_name, database AS db_name, created AS create_time, text AS sql, fields AS schema,
    'no' AS meta, 'column' AS type FROM topics ORDER BY id;
CREATE TEMP VIEW ins_subscriptions AS SELECT * FROM subscriptions;
CREATE TEMP VIEW tables_by_name AS
    SELECT s.database, s.name AS known_as, t.id, t.name, columns, tags, s.id AS subtable
    FROM subtables AS s JOIN tables AS t ON t.id = table_id
    UNION ALL SELECT database, name, id, name, columns, tags, NULL FROM tables WHERE tags <> '[]';
CREATE TEMP VIEW ins_databases AS SELECT name, precision FROM databases ORDER BY id;
CREATE TEMP VIEW ins_stables AS
    SELECT name AS stable_name, database AS db_name, created AS create_time,
    json_array_length(columns) AS columns, json_array_length(tags) AS tags FROM tables WHERE tags <> '[]';
CREATE TEMP VIEW ins_tables AS
    SELECT known_as AS table_name, database AS db_name, iif(tags = '[]', NULL, name) AS stable_name,
    json_array_length(columns) AS columns, iif(tags = '[]', 'NORMAL_TABLE', 'CHILD_TABLE') AS type
    FROM tables_by_name WHERE subtable;
CREATE TEMP VIEW ins_indexes AS
    SELECT tags ->> '$[0][0]' || '_' || name AS index_name, database AS db_name, name AS table_name,
    NULL AS vgroup_id, created AS create_time, tags ->> '$[0][0]' AS column_name, 'tag_index' AS index_type
    FROM tables WHERE tags <> '[]';
CREATE TEMP TABLE ins_dnodes (id, endpoint, vnodes, support_vnodes, status, create_time, reboot_time, note);
CREATE TEMP TABLE connections (conn_id INTEGER PRIMARY KEY, user, end_point, login_time);
CREATE TEMP TABLE queries (kill_id PRIMARY KEY, query_id, conn_id, user, end_point, create_time, sql);
CREATE TEMP VIEW perf_queries AS
    SELECT kill_id, query_id, conn_id, 'taosadapter' AS app, {process} AS pid, user, end_point, create_time,
    (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) - create_time) * 1000 AS exec_usec,
    1 AS stable_query, 0 AS sub_query, 1 AS sub_num, '1:EXECUTING' AS sub_status, sql, '' AS user_app,
    '127.0.0.1' AS user_ip FROM queries;
CREATE TEMP VIEW perf_connections AS
    SELECT conn_id, user, 'taosadapter' AS app, {process} AS pid, end_point, login_time,
    CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) AS last_access, '' AS user_app,
    '127.0.0.1' AS user_ip FROM connections;
"""
# Columns of the system's tables and of what DESCRIBE and SHOW VIEWS give: a type, or a VARCHAR's length.
DESCRIBED = {"field": 325, "type": 20, "length": "INT", "note": 16, "encode": 12, "compress": 12, "level": 12}
VIEWS = {"view_name": 192, "db_name": 64, "effective_user": 24, "create_time": "TIMESTAMP", "type": 128}
VIEWS |= {"query_sql": 2048, "parameters": 2048, "default_values": 2048, "target_table": 192}
LONGEST_LISTED = 2048  # bytes of a statement in the list of queries
INFORMATION_SCHEMA = {
    "ins_databases": {"name": 64, "precision": 2},
    "ins_stables": {
        "stable_name": 192,
        "db_name": 64,
        "create_time": "TIMESTAMP",
        "columns": "INT",
        "tags": "INT",
    },
    "ins_tables": {"table_name": 192, "db_name": 64, "stable_name": 192, "columns": "INT", "type": 21},
    "ins_indexes": {
        "index_name": 192,
        "db_name": 64,
        "table_name": 192,
        "vgroup_id": "INT",
        "create_time": "TIMESTAMP",
        "column_name": 192,
        "index_type": 192,
    },
    "ins_topics": {
        "topic_name": 192,
        "db_name": 64,
        "create_time": "TIMESTAMP",
        "sql": 2048,
        "schema": 65517,
        "meta": 4,
        "type": 8,
    },
    "ins_subscriptions": {
        "topic_name": 205,
        "consumer_group": 193,
        "vgroup_id": "INT",
        "consumer_id": 256,
        "user": 24,
        "fqdn": 128,
        "offset": 64,
        "rows": "BIGINT",
    },
    "ins_dnodes": {
        "id": "INT",
        "endpoint": 134,
        "vnodes": "SMALLINT",
        "support_vnodes": "SMALLINT",
        "status": 10,
        "create_time": "TIMESTAMP",
        "reboot_time": "TIMESTAMP",
        "note": 256,
    },
}
PERFORMANCE_SCHEMA = {
    "perf_queries": {
        "kill_id": 26,
        "query_id": "BIGINT UNSIGNED",
        "conn_id": "INT UNSIGNED",
        "app": 24,
        "pid": "INT",
        "user": 24,
        "end_point": 22,
        "create_time": "TIMESTAMP",
        "exec_usec": "BIGINT",
        "stable_query": "BOOL",
        "sub_query": "BOOL",
        "sub_num": "INT",
        "sub_status": 1000,
        "sql": LONGEST_LISTED,
        "user_app": 24,
        "user_ip": 22,
    },
    "perf_connections": {
        "conn_id": "INT UNSIGNED",
        "user": 24,
        "app": 24,
        "pid": "INT UNSIGNED",
        "end_point": 134,
        "login_time": "TIMESTAMP",
        "last_access": "TIMESTAMP",
        "user_app": 24,
        "user_ip": 22,
    },
}
SYSTEM_TABLES = {"information_schema": INFORMATION_SCHEMA, "performance_schema": PERFORMANCE_SCHEMA}
WITHOUT_EFFECT = {"buffer", "vgroups", "wal_retention_period", "wal_retention_size"}  # options of a database
SHORTEST_KEEP, LONGEST_KEEP = 30, 365_000
MOST_TOPICS = 20
HAS_TOPIC = (0x03ED, "Topic must be dropped first")
KEYS = ("INT", "INT UNSIGNED", "BIGINT", "BIGINT UNSIGNED", "VARCHAR")
WIDENED = ("VARCHAR", "NCHAR", "VARBINARY", "GEOMETRY")


def not_understood(detail: str) -> TaosError:
    is_what = f"the emulator {VERSION} is not TDengine; it understands CREATE, ALTER, DROP, DESCRIBE, SHOW, "
    return TaosError(0x2600, f"{detail} ({is_what}INSERT, DELETE and SELECT as far as its grammar sql.lark)")


class TooLong(Exception):
    """A question takes longer than others can wait."""


class TableName(NamedTuple):
    name: str
    database: str | None


class Table(NamedTuple):
    """A supertable; or, where `subtable` is not None, one of its subtables, or a plain table.

    `precision` is 0 for ms, 1 for us, 2 for ns. The id is 0 for a table of information_schema.
    """

    database: str
    precision: int
    id: int
    name: str
    columns: list[Column]
    tags: list[Column]
    subtable: int | None

    @property
    def per_second(self) -> int:
        return 1000 ** (self.precision + 1)

    @property
    def key(self) -> list[Column]:
        """The time, and the second column of a composite key."""
        return [column for column in self.columns if column.is_key or column is self.columns[0]]

    @property
    def key_names(self) -> str:
        return f'{quoted(*names_of(self.key))}, "#subtable"'

    @property
    def source(self) -> str:
        """SQLite's FROM for it: its rows with their tags."""
        joined = f'rows_{self.id} CROSS JOIN {self.source_of_tags} ON "#subtable" = "#id"'
        return f"(SELECT * FROM {joined})" if self.id else self.name

    @property
    def source_of_tags(self) -> str:
        of_subtable = "" if self.subtable is None else f' WHERE "#id" = {self.subtable}'
        return f"(SELECT * FROM tags_{self.id}{of_subtable})"

    @property
    def is_subtable(self) -> bool:
        return self.subtable is not None and bool(self.tags)


class Written(NamedTuple):
    """Rows that were written, given as columns, and the number of the subtable that they are in."""

    table: Table
    subtable: int
    rows: dict[Column, Any]


@dataclass
class Result:
    """What a statement gives: rows with their fields, or (no fields) the number of affected rows."""

    fields: list[Column] | None = None
    rows: Iterable[Sequence[Any]] = ()
    affected: int = 0
    precision: int = 0
    use: str | None = None


class Store:
    """The data of one emulator: in memory, or in a directory's SQLite file, where every commit is durable."""

    def __init__(self, directory: Path | None = None):
        path = directory / "emulator.sqlite" if directory else ":memory:"
        self.sqlite = sqlite3.connect(path, timeout=0, isolation_level=None)
        self.sqlite.executescript(SCHEMA.replace("{process}", str(os.getpid())))
        with self.transaction():
            self.add_later_columns()
            self.mark_names()
            row = (1, "localhost:6030", 0, 256, "ready", *[milliseconds()] * 2, "")
            self.rows("INSERT INTO ins_dnodes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *row)
        computing.install(self.sqlite)
        self.killers: dict[str, Callable[[], None]] = {}  # what ends a query of the list
        self.queries = 0
        self.most_rows: dict[int, int] = {}  # how many a table may have, until they are counted again
        self.thinned: set[int] = set()  # the tables of which the log has said that rows leave
        self.written: list[Written] = []  # by the transaction under way, into tables with topics
        self.listener: Callable[[list[Written]], None] = lambda written: None  # is told of it afterwards

    def close(self) -> None:
        self.sqlite.close()

    def add_later_columns(self) -> None:
        """Give the tables of the store what they did not have in the first emulators."""
        for table, column in (("databases", f"keep_days DEFAULT {KEEP_DAYS}"), ("tables", "created")):
            known = [name for _, name, *_ in self.rows(f"PRAGMA table_info({table})")]
            if column.split()[0] not in known:
                self.rows(f"ALTER TABLE {table} ADD COLUMN {column}")

    def mark_names(self) -> None:
        """Mark the columns' names in a file of an emulator that did not tell them apart by their case."""
        ((version,),) = self.rows("PRAGMA user_version")
        for number, *lists in (
            self.rows("SELECT id, columns, tags FROM tables").fetchall() if not version else ()
        ):
            for storage, text in zip(("rows", "tags"), lists, strict=True):
                for name, *_ in json.loads(text):
                    if MARKED.search(name):
                        old = name.replace('"', '""')
                        change = f'RENAME COLUMN "{old}" TO {quoted(name)}'
                        self.rows(f"ALTER TABLE {storage}_{number} {change}")
        self.rows("PRAGMA user_version = 1")

    def rows(self, text: str, *parameters: Any) -> sqlite3.Cursor:
        return self.sqlite.execute(text, parameters)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        self.written = []
        with self.sqlite:
            self.rows("BEGIN IMMEDIATE")
            yield
        if self.written:
            self.listener(self.written)

    def add_connection(self, user: str, address: str) -> int:
        """Have the list of connections show one more; returns its number."""
        text = "INSERT INTO connections (user, end_point, login_time) VALUES (?, ?, ?)"
        return self.rows(text, user, address, milliseconds()).lastrowid or 0

    def remove_connection(self, number: int) -> None:
        self.rows("DELETE FROM connections WHERE conn_id = ?", number)

    # Queries that take long

    @contextmanager
    def patient_until(self, deadline: float, steps: int) -> Iterator[None]:
        """What is asked of SQLite meanwhile raises TooLong once it is later than that."""
        self.sqlite.set_progress_handler(lambda: time.monotonic() > deadline, steps)
        try:
            yield
        finally:
            self.sqlite.set_progress_handler(None, 0)

    def add_query(self, text: str, asker: tuple[str, str, int], kill: Callable[[], None]) -> str:
        """Have the list of queries show one more, until it is removed; returns its number."""
        self.queries += 1
        user, address, connection = asker
        number = f"{connection:x}:{self.queries:x}"
        listed = text.lower().encode()[: LONGEST_LISTED - 1].decode(errors="ignore")
        row = (number, self.queries, connection, user, address, milliseconds(), listed)
        self.rows("INSERT INTO queries VALUES (?, ?, ?, ?, ?, ?, ?)", *row)
        self.killers[number] = kill
        return number

    def remove_query(self, number: str) -> None:
        self.rows("DELETE FROM queries WHERE kill_id = ?", number)
        self.killers.pop(number, None)

    def kill_query(self, number: str) -> None:
        """End a query of the list; raises TaosError where the number can't be one."""
        refuse_if(":" not in number, 0x030C, "Invalid query id")
        refuse_if(number not in self.killers, 0x030E, "Invalid connection id")
        self.killers[number]()

    def keep_log(self, is_kept: bool) -> None:
        """Have the file of what was written left as it is, as long as copies of the emulator read it."""
        self.rows(f"PRAGMA wal_autocheckpoint = {0 if is_kept else 1000}").fetchall()

    # Tables. Whoever changes something holds the transaction.

    def precision_of(self, database: str | None) -> int:
        """The database's precision as a number; raises TaosError where there is no such database."""
        refuse_if(database is None, 0x2616, "Database not specified")
        for (precision,) in self.rows("SELECT precision FROM databases WHERE name = ?", database):
            return PRECISIONS.index(precision)
        raise TaosError(0x0388, "Database not exist")

    def table(self, name: TableName) -> Table | None:
        """The table, if there is one; raises TaosError where there is not even its database."""
        precision, database = self.precision_of(name.database), name.database or ""
        if fields := SYSTEM_TABLES.get(database, {}).get(name.name):
            return Table(database, precision, 0, name.name, system_fields(fields), [], None)
        found = (
            "SELECT id, name, columns, tags, subtable FROM tables_by_name WHERE database = ? AND known_as = ?"
        )
        for number, known, *lists, subtable in self.rows(found, database, name.name):
            columns, tags = ([Column(*column) for column in json.loads(text)] for text in lists)
            return Table(database, precision, number, known, columns, tags, subtable)
        return None

    def existing(self, name: TableName) -> Table:
        if table := self.table(name):
            return table
        if name.database in SYSTEM_TABLES:
            raise not_understood(f"no table {name.name} in {name.database}")
        raise TaosError(*MISSING)

    def is_free(self, name: TableName, if_needed: bool | None) -> bool:
        """Whether there is no table of this name; TaosError where there has to be none or can be none."""
        refuse_if(
            len(name.name.encode()) > LONGEST_TABLE_NAME, 0x2617, f"Invalid identifier name: {name.name}"
        )
        table = self.table(name)
        if table and not if_needed:
            refuse_if(table.subtable is None, 0x0360, "STable already exists")
            raise TaosError(0x0603, "Table already exists")
        return not table

    # Definitions, named for the grammar's rules

    def create_database(self, if_needed: bool | None, name: str, *options: tuple[str, Any]) -> None:
        """Options are those that TDengine has and their values; KEEP counts days."""
        given = {"precision": "ms", "keep": KEEP_DAYS} | dict(options)
        precision, keep = given.pop("precision"), given.pop("keep")
        for option, value in given.items():
            if option not in WITHOUT_EFFECT or not isinstance(value, int):
                raise not_understood(f'syntax error near "{option} {value}"')
        refuse_if(len(name.encode()) > LONGEST_DATABASE_NAME, 0x2617, f"Invalid identifier name: {name}")
        refuse_if(precision not in PRECISIONS, 0x2619, f"Invalid option precision: {precision}")
        is_kept = isinstance(keep, int) and SHORTEST_KEEP <= keep <= LONGEST_KEEP
        refuse_if(
            not is_kept, 0x2619, f"Invalid option keep: {keep}, days from {SHORTEST_KEEP} to {LONGEST_KEEP}"
        )
        text = "INSERT OR IGNORE INTO databases (name, precision, keep_days) VALUES (?, ?, ?)"
        is_new = self.rows(text, name, precision, keep).rowcount
        refuse_if(not (is_new or if_needed), 0x0381, "Database already exists")

    def drop_database(self, if_needed: bool | None, name: str) -> None:
        if not if_needed:
            self.precision_of(name)
        refuse_if(self.has_topic("database", name), *HAS_TOPIC)
        for (number,) in self.rows("SELECT id FROM tables WHERE database = ?", name).fetchall():
            self.drop_storage(number)
        self.rows("DELETE FROM databases WHERE name = ? AND id > 2", name)

    def has_topic(self, column: str, value: Any) -> bool:
        """Whether there is a topic with that value: its name, its database or the number of its table."""
        return self.rows(f"SELECT 1 FROM topics WHERE {column} = ?", value).fetchone() is not None

    def create_topic(
        self, if_needed: bool | None, name: str, table: Table, text: str, fields: list[Column], used: set[str]
    ) -> None:
        """Have rows of the table be pushed, as the statement `text` selects them; it has these fields."""
        if self.has_topic("name", name):
            refuse_if(not if_needed, 0x03E0, "Topic already exists")
            return
        ((count,),) = self.rows("SELECT COUNT(*) FROM topics")
        refuse_if(count >= MOST_TOPICS, 0x03E2, "Topic num out of range")
        schema = [{"name": field.name, "type": field.kind, "length": field.length} for field in fields]
        insert = "INSERT INTO topics (name, database, table_id, subtable, created, text, fields, used)"
        values = (name, table.database, table.id, table.subtable, milliseconds(), text)
        self.rows(
            f"{insert} VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *values, json.dumps(schema), json.dumps([*used])
        )

    def drop_topic(self, if_needed: bool | None, force: Any, name: str) -> None:
        is_there = self.has_topic("name", name)
        refuse_if(not (is_there or if_needed), 0x03E1, "Topic not exist")
        used = "SELECT 1 FROM subscriptions WHERE topic_name = ? AND consumer_id IS NOT NULL"
        is_used = self.rows(used, name).fetchone() is not None
        refuse_if(is_used and not force, 0x03EB, "Topic subscribed cannot be dropped")
        self.rows("DELETE FROM topics WHERE name = ?", name)
        self.rows("DELETE FROM subscriptions WHERE topic_name = ?", name)

    def drop_group(self, if_needed: bool | None, force: Any, group: str, topic: str) -> None:
        found = "SELECT consumer_id FROM subscriptions WHERE topic_name = ? AND consumer_group = ?"
        members = self.rows(found, topic, group).fetchall()
        refuse_if(not (members or if_needed), 0x03E8, "Subscribe not exist")
        is_used = any(member is not None for (member,) in members)
        refuse_if(is_used and not force, 0x03EC, "Consumer group being used by some consumer")
        self.rows("DELETE FROM subscriptions WHERE topic_name = ? AND consumer_group = ?", topic, group)

    def use(self, name: str) -> Result:
        self.precision_of(name)
        return Result(use=name)

    def create_table(
        self, if_needed: bool | None, name: TableName, columns: list[Column], tags: list[Column] | None
    ) -> None:
        if not self.is_free(name, if_needed):
            return
        check_definition(columns, tags := tags or [])
        text = "INSERT INTO tables (name, database, columns, tags, created) VALUES (?, ?, ?, ?, ?)"
        number = self.rows(text, *name, json.dumps(columns), json.dumps(tags), milliseconds()).lastrowid or 0
        table = Table(name.database or "", 0, number, name.name, columns, tags, None)
        rows, named = quoted(*names_of(columns)), ", ".join(['"#tbname"', *map(quoted, names_of(tags))])
        key = f'"#subtable", PRIMARY KEY ({table.key_names})'
        self.rows(f"CREATE TABLE rows_{number} ({rows}, {key}) WITHOUT ROWID")
        self.rows(f'CREATE TABLE tags_{number} ("#id" INTEGER PRIMARY KEY, {named})')
        if not tags:
            self.add_subtable(table, name.name, [])

    def drop_storage(self, number: int) -> None:
        """Drop a supertable or a plain table."""
        self.rows(f"DROP TABLE rows_{number}")
        self.rows(f"DROP TABLE tags_{number}")
        self.rows("DELETE FROM subtables WHERE table_id = ?", number)
        self.rows("DELETE FROM tables WHERE id = ?", number)
        self.rows("UPDATE topics SET table_id = NULL WHERE table_id = ?", number)

    def drop_tables(self, what: str, *parts: Any) -> None:
        for if_needed, name in zip(parts[::2], parts[1::2], strict=True):
            table = self.table(name)
            if table and table.is_subtable:
                self.rows(f'DELETE FROM rows_{table.id} WHERE "#subtable" = ?', table.subtable)
                self.rows(f'DELETE FROM tags_{table.id} WHERE "#id" = ?', table.subtable)
                self.rows("DELETE FROM subtables WHERE id = ?", table.subtable)
            elif table:
                refuse_if(bool(table.tags) and self.has_topic("table_id", table.id), *HAS_TOPIC)
                self.drop_storage(table.id)
            elif not if_needed:
                raise TaosError(*(MISSING if what.upper() == "TABLE" else (0x0362, "STable not exist")))

    def alter_table(self, name: TableName, word: str, what: str, changed: Column | str) -> None:
        """ADD, DROP or MODIFY a COLUMN or a TAG."""
        table, action, is_tag = self.existing(name), word.upper(), what.upper() == "TAG"
        storage, known = ("tags", table.tags) if is_tag else ("rows", table.columns)
        column = changed if isinstance(changed, Column) else Column(changed, "BOOL", 1)
        names = names_of(known)
        refuse_if(action != "ADD" and column.name not in names, 0x2602, f"Invalid column name: {column.name}")
        used = "SELECT 1 FROM topics, json_each(used) WHERE table_id = ? AND value = ?"
        is_used = action != "ADD" and self.rows(used, table.id, column.name).fetchone() is not None
        refuse_if(is_used, 0x03C4, "Field used by topic")
        at = len(names) if action == "ADD" else names.index(column.name)
        is_first_or_last_tag = is_tag and len(known) == (1 if action == "DROP" else 0)
        is_wrong = table.is_subtable or is_first_or_last_tag
        if action == "MODIFY":
            is_wider = known[at].kind == column.kind in WIDENED and known[at].length < column.length
            is_wrong = is_wrong or not is_wider
        if is_wrong:
            raise not_understood("a change that may not be")
        known[at : at + 1] = [] if action == "DROP" else [column]
        check_definition(table.columns, table.tags)
        if action != "MODIFY":
            self.rows(f"ALTER TABLE {storage}_{table.id} {action} COLUMN {quoted(column.name)}")
        lists = json.dumps(table.columns), json.dumps(table.tags)
        self.rows("UPDATE tables SET columns = ?, tags = ? WHERE id = ?", *lists, table.id)

    def add_subtable(self, table: Table, name: str, tags: Sequence[Any]) -> int:
        check_table_name(name)
        text = "INSERT INTO subtables (database, name, table_id) VALUES (?, ?, ?)"
        number = self.rows(text, table.database, name, table.id).lastrowid or 0
        stored = [storable([value], tag)[0] for value, tag in zip(tags, table.tags, strict=True)]
        self.rows(f"INSERT INTO tags_{table.id} VALUES (?, ?{', ?' * len(tags)})", number, name, *stored)
        return number

    def set_tag(self, table: Table, tag: Column, value: Any) -> None:
        text = f'UPDATE tags_{table.id} SET {quoted(tag.name)} = ? WHERE "#id" = ?'
        self.rows(text, *storable([value], tag), table.subtable)

    def describe(self, name: TableName) -> Result:
        table, rows = self.existing(name), []
        for column in table.columns:
            how, note = column.type, "COMPOSITE KEY" if column.is_key else ""
            kind = f"DECIMAL({column.precision}, {column.scale})" if column.precision else column.kind
            length = column.block_bytes if column.kind == "BLOB" else column.length
            rows.append((column.name, kind, length, note, how.encode, how.compress, "medium"))
        rows += [(tag.name, tag.kind, tag.length, "TAG", *["disabled"] * 3) for tag in table.tags]
        return Result(system_fields(DESCRIBED), rows)

    # Rows

    def upsert(self, table: Table, name: str, tags: dict[Column, Any], rows: dict[Column, Any]) -> int:
        """Write rows, given as columns, over those of the same subtable and time; returns their number.

        A new subtable gets the tags; one that exists keeps its own.
        """
        known = "SELECT id, table_id FROM subtables WHERE database = ? AND name = ?"
        number, owner = self.rows(known, table.database, name).fetchone() or (None, table.id)
        refuse_if(owner != table.id, 0x2618, "Corresponding super table not in this db")
        if number is None:
            number = self.add_subtable(table, name, [tags.get(tag) for tag in table.tags])
        if not rows:
            return 0
        refuse_if(not rows.keys() >= {*table.key}, 0x0200, "Primary key column should not be none")
        keys = [rows[column] for column in table.key]
        count = len(keys[0])
        refuse_if(any(None in values for values in keys), 0x267B, "Primary key column should not be null")
        ((keep,),) = self.rows("SELECT keep_days FROM databases WHERE name = ?", table.database)
        oldest, newest = (time.time() - keep * 86400) * table.per_second, LAST_SECOND * table.per_second
        is_in_time = oldest <= min(keys[0]) <= max(keys[0]) <= newest
        refuse_if(not is_in_time, 0x060B, "Timestamp data out of range")
        names = [*map(quoted, names_of(rows)), '"#subtable"']
        text = f"INTO rows_{table.id} ({', '.join(names)}) VALUES (?{', ?' * len(rows)})"
        if len(rows) == len(table.columns):
            text = f"INSERT OR REPLACE {text}"
        else:
            changes = ", ".join(f"{name} = excluded.{name}" for name in names)
            text = f"INSERT {text} ON CONFLICT ({table.key_names}) DO UPDATE SET {changes}"
        stored = [storable(values, column) for column, values in rows.items()]
        self.sqlite.executemany(text, zip(*stored, repeat(number, count), strict=True))
        if self.has_topic("table_id", table.id):
            self.written.append(Written(table, number, rows))
        self.let_the_oldest_go(table, count)
        return len(set(zip(*keys, strict=True)))

    def let_the_oldest_go(self, table: Table, written: int) -> None:
        """Delete the oldest rows beyond the 2 millionth; the log says so once.

        Rows are counted only when they could have become too many; then one in a hundred goes, so that counts
        stay rare.
        """
        rows, moment = f"rows_{table.id}", quoted(table.columns[0].name)
        most = self.most_rows.get(table.id, MAX_ROWS) + written
        if most > MAX_ROWS:
            ((most,),) = self.rows(f"SELECT COUNT(*) FROM {rows}")
            if most > MAX_ROWS:
                surplus = most - ROWS_WHEN_THINNED
                first = f"SELECT {moment} FROM {rows} ORDER BY {moment} LIMIT 1 OFFSET {surplus}"
                most -= self.rows(f"DELETE FROM {rows} WHERE {moment} < ({first})").rowcount
                self.log_that_rows_leave(table)
        self.most_rows[table.id] = most

    def log_that_rows_leave(self, table: Table) -> None:
        if table.id not in self.thinned:
            name = f"{table.database}.{table.name}"
            log.warning(
                "%s has more than %s rows: the oldest leave, now and from now on", name, f"{MAX_ROWS:,}"
            )
            self.thinned.add(table.id)


def quoted(*names: str) -> str:
    """The names as SQLite's SQL writes them, with commas between.

    SQLite's names do not differ by case alone, and those that begin with # are the store's own: before a
    capital and a # stands a ^, and two for one.
    """
    marked = [MARKED.sub(r"^\g<0>", name) for name in names]
    return ", ".join('"' + name.replace('"', '""') + '"' for name in marked)


def names_of(columns: Iterable[Column]) -> list[str]:
    return [column.name for column in columns]


def system_fields(fields: dict[str, int | str]) -> list[Column]:
    return [
        Column(name, kind, TYPES[kind].size) if isinstance(kind, str) else Column(name, "VARCHAR", kind)
        for name, kind in fields.items()
    ]


def milliseconds() -> int:
    return int(time.time() * 1000)


def check_table_name(name: str) -> None:
    refuse_if(len(name.encode()) > LONGEST_TABLE_NAME, 0x2617, f"Invalid identifier name: {name}")


def check_definition(columns: list[Column], tags: list[Column]) -> None:
    """Raise TaosError where there can be no table with these columns and tags."""
    kinds, tag_kinds = ([column.kind for column in part] for part in (columns, tags))
    names, keys = names_of([*columns, *tags]), [column.is_key for column in columns]
    refuse_if(kinds[0] != "TIMESTAMP", 0x2641, "First column must be timestamp")
    check_sizes(columns, tags)
    refuse_if(len(set(names)) < len(names), 0x263C, "Duplicated column names")
    is_key_wrong = any(keys[:1] + keys[2:]) or (any(keys) and kinds[1] not in KEYS)
    is_tag_wrong = {"BLOB", "DECIMAL", "DECIMAL64"} & {*tag_kinds} or ("JSON" in tag_kinds and len(tags) > 1)
    if len(columns) < 2 or is_key_wrong or is_tag_wrong or "JSON" in kinds or kinds.count("BLOB") > 1:
        raise not_understood("a type that may not be at its place")


def check_sizes(columns: list[Column], tags: list[Column]) -> None:
    """Raise TaosError where columns, tags or their names are more or longer than may be."""
    count = len(columns) + len(tags)
    for column in [*columns, *tags]:
        is_long = len(column.name.encode()) > LONGEST_COLUMN_NAME
        refuse_if(is_long, 0x2617, f"Invalid identifier name: {column.name}")
    refuse_if(len(tags) > MAX_TAGS, 0x2643, "Invalid number of tag columns")
    refuse_if(count > MAX_COLUMNS, 0x2640, "Too many columns")
    if count > MOST_IN_SQLITE:
        raise not_understood(f"{count} columns and tags; SQLite holds {MOST_IN_SQLITE} of a table's")
    for part, longest in ((columns, LONGEST_TEXT), (tags, LONGEST_TAG)):
        is_long = any(column.kind in WIDENED and column.row_bytes - 2 > longest for column in part)
        refuse_if(is_long, 0x2642, "Invalid column length for var length type")
    for part, longest, error in ((tags, MAX_TAG_BYTES, 0x263D), (columns, MAX_ROW_BYTES, 0x263E)):
        what = "Tags" if part is tags else "Row"
        is_long = sum(column.row_bytes for column in part if column.kind != "JSON") > longest
        refuse_if(is_long, error, f"{what} length exceeds max length {longest}")
