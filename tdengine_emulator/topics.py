"""Topics: what is written into their tables, as the blocks that are pushed, until it is too much to keep.

A database has two vgroups here, which its subtables share. A vgroup's offsets count the writes.
"""

import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from tdengine_emulator import sql, wire
from tdengine_emulator.store import Store, Table, TableName, Written, names_of, quoted
from tdengine_emulator.wire import Column, TaosError, refuse_if, storable

MOST_KEPT = 100_000  # rows of a topic and a vgroup
MOST_ROWS = 4096  # of the writes that go into one message, unless a single one has more
LOG, SCHEMA_FLAGS = 0x11, 0  # an offset in the log, with the version that TDengine gives it


class Write(NamedTuple):
    """What one write into one table brought: its place, the number of rows, and their encoded block."""

    offset: int
    rows: int
    block: bytes


class Log:
    """One topic's writes in one vgroup."""

    def __init__(self) -> None:
        self.writes: deque[Write] = deque()
        self.rows = self.end = 0

    @property
    def begin(self) -> int:
        return self.writes[0].offset if self.writes else self.end

    def add(self, rows: int, block: bytes) -> None:
        self.writes.append(Write(self.end, rows, block))
        self.end += 1
        self.rows += rows
        while self.rows > MOST_KEPT and len(self.writes) > 1:
            self.rows -= self.writes.popleft().rows

    def since(self, offset: int) -> list[Write]:
        """The next writes from there on that fit into one message."""
        found, rows = [], 0
        for write in self.writes:
            if write.offset >= offset:
                if found and rows + write.rows > MOST_ROWS:
                    break
                found.append(write)
                rows += write.rows
        return found


class Topics:
    """The logs of all topics of a store. `listeners` are called after each write that may be in one."""

    def __init__(self, store: Store):
        self.store = store
        self.logs: dict[tuple[int, int], Log] = {}  # by topic and vgroup
        self.committed: dict[tuple[int, str, int], int] = {}  # the offset, by topic, group and vgroup
        self.trees: dict[str, Any] = {}  # of the topics' statements
        self.listeners: set[Callable[[], None]] = set()
        store.listener = self.take

    def log(self, topic: int, vgroup: int) -> Log:
        return self.logs.setdefault((topic, vgroup), Log())

    def vgroups(self, database: str) -> tuple[int, int]:
        ((number,),) = self.store.rows("SELECT id FROM databases WHERE name = ?", database)
        return 2 * number, 2 * number + 1

    def take(self, written: Sequence[Written]) -> None:
        """Put what was written into the logs of the topics of its tables."""
        for write in written:
            found = self.store.rows(
                "SELECT id, database, text FROM topics WHERE table_id = ? AND coalesce(subtable, ?) = ?",
                *(write.table.id, write.subtable, write.subtable),
            )
            for topic, database, text in found.fetchall():
                fields, rows = self.select(text, write)
                if rows:
                    vgroup = self.vgroups(database)[write.subtable % 2]
                    self.log(topic, vgroup).add(len(rows), encode_rows(fields, rows))
        for listener in list(self.listeners):
            listener()

    def select(self, text: str, write: Written) -> tuple[list[Column], list[Sequence[Any]]]:
        """What the topic's SELECT makes of these rows alone; columns that were not written are NULL."""
        if text not in self.trees:
            self.trees[text] = sql.parse(text).children[-1]
        columns = write.table.columns
        stored = [storable(write.rows[column], column) for column in columns if column in write.rows]
        names = quoted(*(column.name for column in columns if column in write.rows))
        self.store.rows("DROP TABLE IF EXISTS temp.written")
        self.store.rows(f'CREATE TEMP TABLE written ({quoted(*names_of(columns))}, "#subtable")')
        marks = ", ".join("?" * len(stored))
        self.store.sqlite.executemany(
            f'INSERT INTO written ({names}, "#subtable") VALUES ({marks}, {write.subtable})',
            zip(*stored, strict=True),
        )
        statement = sql.Statement(OnlyWritten(self.store), text, write.table.database)
        result = statement.visit(self.trees[text])
        return list(result.fields or ()), list(result.rows)


class WrittenTable(Table):
    """A table of which only the rows in `written` are read."""

    @property
    def source(self) -> str:
        tags = f'{self.source_of_tags} ON "#subtable" = "#id"'
        return f"(SELECT * FROM temp.written CROSS JOIN {tags})"


class OnlyWritten:
    """The store, as a SELECT sees it that reads the rows in `written` alone."""

    def __init__(self, store: Store):
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def existing(self, name: TableName) -> Table:
        return WrittenTable(*self.store.existing(name))


class Member:
    """One consumer in its group: what it has read of each vgroup that is its own.

    Its places in the store's list of subscriptions are taken from it when its group is dropped.
    """

    def __init__(self, topics: Topics, number: str, group: str, names: list[str], earliest: bool):
        self.topics, self.store, self.number, self.group = topics, topics.store, number, group
        self.earliest = earliest
        self.subscribed = [self.subscribe(name) for name in names]
        self.read: dict[tuple[int, int], int] = {}  # the next offset, by topic and vgroup

    def subscribe(self, name: str) -> tuple[int, str, str]:
        """Take the places in the group that are free; one of another's where none is."""
        found = self.store.rows("SELECT id, database FROM topics WHERE name = ?", name).fetchone()
        if not found:
            raise TaosError(0x03E1, "Topic not exist")
        topic, database = found
        of_group = "topic_name = ? AND consumer_group = ?"
        known = self.store.rows(f"SELECT 1 FROM subscriptions WHERE {of_group}", name, self.group).fetchone()
        if not known:
            for vgroup in self.topics.vgroups(database):
                offset = f"wal:{self.topics.log(topic, vgroup).end}"
                self.store.rows(
                    "INSERT INTO subscriptions VALUES (?, ?, ?, NULL, 'root', 'localhost', ?, 0)",
                    *(name, self.group, vgroup, offset),
                )
        is_free = f"{of_group} AND consumer_id IS NULL"
        take = f"UPDATE subscriptions SET consumer_id = ? WHERE {is_free}"
        if not self.store.rows(take, self.number, name, self.group).rowcount:
            last = f"SELECT MAX(vgroup_id) FROM subscriptions WHERE {of_group}"
            self.store.rows(
                f"UPDATE subscriptions SET consumer_id = ? WHERE {of_group} AND vgroup_id = ({last})",
                *(self.number, name, self.group, name, self.group),
            )
        return topic, database, name

    def places(self) -> Iterator[tuple[int, str, str, int]]:
        """Topic, its database and name, and vgroup of what is its own. Raises TaosError."""
        for topic, database, name in self.subscribed:
            found = self.store.rows(
                "SELECT vgroup_id, consumer_id FROM subscriptions WHERE topic_name = ? "
                "AND consumer_group = ? ORDER BY vgroup_id",
                *(name, self.group),
            ).fetchall()
            refuse_if(not found, 0x03E6, "Consumer not exist")
            yield from ((topic, database, name, vgroup) for vgroup, owner in found if owner == self.number)

    def offset(self, topic: int, vgroup: int) -> int:
        """What it reads next there."""
        if (topic, vgroup) not in self.read:
            log = self.topics.log(topic, vgroup)
            start = log.begin if self.earliest else log.end
            self.read[topic, vgroup] = self.topics.committed.get((topic, self.group, vgroup), start)
        return self.read[topic, vgroup]

    def next(self) -> tuple[str, str, int, list[Write]] | None:
        """Database, topic, vgroup and writes of the next message; None while there is nothing."""
        message = None
        for topic, database, name, vgroup in self.places():
            offset = self.offset(topic, vgroup)
            writes = self.topics.log(topic, vgroup).since(offset) if message is None else []
            if writes:
                self.read[topic, vgroup] = writes[-1].offset + 1
                message = database, name, vgroup, writes
        return message

    def commit(self) -> None:
        """Have the group go on from here."""
        for topic, _, name, vgroup in self.places():
            offset = self.offset(topic, vgroup)
            self.topics.committed[topic, self.group, vgroup] = offset
            self.store.rows(
                "UPDATE subscriptions SET offset = ? WHERE topic_name = ? AND consumer_group = ? "
                "AND vgroup_id = ?",
                *(f"wal:{offset}", name, self.group, vgroup),
            )

    def leave(self) -> None:
        self.store.rows("UPDATE subscriptions SET consumer_id = NULL WHERE consumer_id = ?", self.number)


def encode_rows(fields: Sequence[Column], rows: Sequence[Sequence[Any]]) -> bytes:
    """A block of pushed rows, and the schema behind it."""
    block = b"\2" + wire.encode_block(fields, rows)[1:]  # the version that blocks of a topic have
    content = struct.pack("<Q", 1) + struct.pack(">Q", len(rows)) + b"\0\0" + block
    schema = [varint(2 * len(fields)), varint(0)]
    for number, column in enumerate(fields, 1):
        name = column.name.encode() + b"\0"
        schema.append(struct.pack("<BB", column.type.number, SCHEMA_FLAGS))
        schema += [varint(2 * column.block_bytes), varint(2 * number), varint(len(name)), name]
    return varint(len(content)) + content + b"".join(schema)


def encode_message(request: int, number: int, writes: Sequence[Write], time: int) -> bytes:
    """The answer to the fetch of a message: the raw data of TDengine's own clients."""
    offsets = b"".join(struct.pack("<BQ", LOG, at) for at in (writes[0].offset, writes[-1].offset + 1))
    head = struct.pack("<BI", 100, len(offsets)) + offsets
    blocks = b"".join(write.block for write in writes)
    raw = head + struct.pack("<IBB", len(writes), 0, 1) + blocks + bytes(8)
    start = struct.pack("<QQHQQIIQ", 2**64 - 1, 8, 1, time, request, 0, 0, number)
    return start + struct.pack("<HI", 2, len(raw)) + raw


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; signed numbers come doubled."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
