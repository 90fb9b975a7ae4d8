"""The bytes of taosAdapter's WebSocket protocol: data types, blocks of rows, binary frames.

Learnt from recordings of a real TDengine (tests/recordings). All numbers are little-endian. This module knows
nothing of sockets, SQL or storage; what is malformed raises ValueError, IndexError or struct.error.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

HEAD = 24
BIND, QUERY, FETCH, BIND2 = 2, 6, 7, 9
TIMESTAMP_TYPE = 9
NCHAR_TYPE = 10


@dataclass(frozen=True)
class Type:
    """A data type: name, number, struct code and size (variable: None and 0), what DESCRIBE says of it."""

    name: str
    number: int
    code: str | None
    size: int
    encode: str = "simple8b"
    compress: str = "lz4"


TYPES = {
    type_.name: type_
    for type_ in (
        Type("BOOL", 1, "?", 1, encode="bit-packing", compress="zstd"),
        Type("TINYINT", 2, "b", 1),
        Type("SMALLINT", 3, "h", 2),
        Type("INT", 4, "i", 4),
        Type("BIGINT", 5, "q", 8),
        Type("FLOAT", 6, "f", 4, encode="delta-d"),
        Type("DOUBLE", 7, "d", 8, encode="delta-d"),
        Type("VARCHAR", 8, None, 0, encode="disabled", compress="zstd"),
        Type("TIMESTAMP", TIMESTAMP_TYPE, "q", 8, encode="delta-i"),
        Type("NCHAR", NCHAR_TYPE, None, 0, encode="disabled", compress="zstd"),
        Type("TINYINT UNSIGNED", 11, "B", 1),
        Type("SMALLINT UNSIGNED", 12, "H", 2),
        Type("INT UNSIGNED", 13, "I", 4),
        Type("BIGINT UNSIGNED", 14, "Q", 8),
    )
}
TYPES_BY_NUMBER = {type_.number: type_ for type_ in TYPES.values()}


Values = tuple[Type, list[Any]]


@dataclass(frozen=True)
class Field:
    """A column of a result: `length` counts bytes, for NCHAR characters."""

    name: str
    type: Type
    length: int

    @property
    def block_bytes(self) -> int:
        """The size that a block's header gives: variable-size types count two length bytes too."""
        if self.type.code:
            return self.type.size
        return (self.length * 4 if self.type.number == NCHAR_TYPE else self.length) + 2


@dataclass(frozen=True)
class BoundTable:
    """One table of a bind: its name (None: it has none), tags and columns, each a type and values."""

    name: str | None
    tags: list[Values]
    columns: list[Values]


def parse_head(frame: bytes) -> tuple[int, int, int]:
    """What a client's binary frame begins with: request, result or statement, action."""
    return struct.unpack_from("<QQQ", frame)


def parse_query(frame: bytes) -> str:
    """The SQL of a QUERY frame."""
    (length,) = struct.unpack_from("<I", frame, 26)
    return exactly(frame, 30, length).decode(errors="replace")


def parse_bind(frame: bytes) -> list[Values]:
    """The columns of a BIND frame (prepared statement v1), each a type and values."""
    return decode_block(frame[HEAD:])


def parse_bind2(frame: bytes) -> list[BoundTable]:
    """The tables of a BIND2 frame (prepared statement v2)."""
    return decode_tables(frame[30:])


def exactly(data: bytes, start: int, length: int) -> bytes:
    """`length` bytes from `start`; struct.error where there are fewer."""
    return struct.unpack_from(f"<{length}s", data, start)[0]


def encode_fetched(
    request: int, result: int, block: bytes | None, time: int, code: int = 0, message: str = ""
) -> bytes:
    """The answer to a fetch; without a block it says that the result is finished."""
    text = message.encode()
    head = struct.pack("<QQHQQII", 2**64 - 1, FETCH, 1, time, request, code, len(text))
    tail = struct.pack("<QB", result, block is None)
    return head + text + tail + (b"" if block is None else struct.pack("<I", len(block)) + block)


def encode_block(fields: Sequence[Field], rows: Sequence[Sequence[Any]]) -> bytes:
    """Rows of Python values as a block; None is NULL, "NaN" in a FLOAT or DOUBLE column is not a number."""
    parts = []
    for column, values in zip(fields, zip(*rows, strict=True), strict=True):
        parts.append(encode_column(column.type, values))
    head = b"".join(struct.pack("<BI", column.type.number, column.block_bytes) for column in fields)
    lengths = b"".join(struct.pack("<I", len(data)) for _, data in parts)
    body = b"".join(index + data for index, data in parts)
    length = 28 + len(head) + len(lengths) + len(body) + 1
    return (
        struct.pack("<IIIIIQ", 1, length, len(rows), len(fields), 0x80000000, 0)
        + head
        + lengths
        + body
        + b"\0"
    )


def encode_column(type_: Type, values: Sequence[Any]) -> tuple[bytes, bytes]:
    """A column's NULL bitmap or offsets, and its data."""
    if type_.code is None:
        encoding = "utf-32-le" if type_.number == NCHAR_TYPE else "utf-8"
        offsets, data, position = [], [], 0
        for value in values:
            if value is None:
                offsets.append(-1)
                continue
            raw = value if isinstance(value, bytes) else str(value).encode(encoding)
            offsets.append(position)
            data.append(struct.pack("<H", len(raw)) + raw)
            position += len(data[-1])
        return struct.pack(f"<{len(values)}i", *offsets), b"".join(data)
    bitmap = bytearray((len(values) + 7) // 8)
    if None in values:
        for row, value in enumerate(values):
            if value is None:
                bitmap[row >> 3] |= 0x80 >> (row & 7)
        values = [0 if value is None else value for value in values]
    if type_.code in "fd" and "NaN" in values:
        values = [float(value) for value in values]
    return bytes(bitmap), struct.pack(f"<{len(values)}{type_.code}", *values)


def decode_block(block: bytes) -> list[Values]:
    """A block's columns: each its type and values."""
    _, _, rows, count, _, _ = struct.unpack_from("<IIIIIQ", block)
    types = [TYPES_BY_NUMBER.get(block[28 + 5 * column]) for column in range(count)]
    lengths = struct.unpack_from(f"<{count}I", block, 28 + 5 * count)
    position = 28 + 9 * count
    columns = []
    for type_, length in zip(types, lengths, strict=True):
        if type_ is None:
            raise ValueError("unknown column type")
        if type_.code is None:
            offsets = struct.unpack_from(f"<{rows}i", block, position)
            data = exactly(block, position + 4 * rows, length)
            position += 4 * rows + length
            encoding = "utf-32-le" if type_.number == NCHAR_TYPE else "utf-8"
            values = [
                None if offset < 0 else decode_text(sized(data, offset), encoding) for offset in offsets
            ]
        else:
            bitmap = exactly(block, position, (rows + 7) // 8)
            position += len(bitmap)
            values = list(struct.unpack_from(f"<{rows}{type_.code}", block, position))
            position += rows * type_.size
            if any(bitmap):
                values = [
                    None if bitmap[row >> 3] & 0x80 >> (row & 7) else value
                    for row, value in enumerate(values)
                ]
        columns.append((type_, values))
    return columns


def sized(data: bytes, offset: int) -> bytes:
    (length,) = struct.unpack_from("<H", data, offset)
    return exactly(data, offset + 2, length)


def decode_text(raw: bytes, encoding: str = "utf-8") -> str | bytes:
    """A VARCHAR's or NCHAR's text; bytes that are no text stay bytes."""
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return raw


def decode_tables(data: bytes) -> list[BoundTable]:
    """The tables of a stmt2 bind; `data` starts where its offsets count from."""
    _, tables, tags, columns, names_at, tags_at, columns_at = struct.unpack_from("<7I", data)
    if tables * 2 > len(data):
        raise ValueError("more tables than bytes")
    names: list[str | None] = [None] * tables
    if names_at:
        lengths = struct.unpack_from(f"<{tables}H", data, names_at)
        position = names_at + 2 * tables
        for table, length in enumerate(lengths):
            names[table] = exactly(data, position, length).rstrip(b"\0").decode()
            position += length
    tag_lists = decode_values(data, tags_at, tables, tags)
    column_lists = decode_values(data, columns_at, tables, columns)
    return [BoundTable(*table) for table in zip(names, tag_lists, column_lists, strict=True)]


def decode_values(data: bytes, start: int, tables: int, count: int) -> list[list[Values]]:
    """For each table its `count` tags or columns: each a type and values."""
    if not start:
        return [[] for _ in range(tables)]
    position = start + 4 * tables
    if count * tables > len(data):
        raise ValueError("more values than bytes")
    result = []
    for _ in range(tables):
        values = []
        for _ in range(count):
            (length,) = struct.unpack_from("<I", data, position)
            values.append(decode_bound(exactly(data, position, length)))
            position += length
        result.append(values)
    return result


def decode_bound(data: bytes) -> Values:
    """One tag's or column's values: type, a NULL flag a row, lengths for variable-size types, data."""
    _, number, rows = struct.unpack_from("<Iii", data)
    type_ = TYPES_BY_NUMBER.get(number)
    if type_ is None or rows < 0:
        raise ValueError(f"unknown type {number}")
    nulls = exactly(data, 12, rows)
    position = 12 + rows
    has_lengths = data[position]
    position += 1
    lengths: Sequence[int] = ()
    if has_lengths:
        lengths = struct.unpack_from(f"<{rows}i", data, position)
        position += 4 * rows
    (size,) = struct.unpack_from("<I", data, position)
    content = exactly(data, position + 4, size)
    if type_.code is None:
        values, at = [], 0
        for is_null, length in zip(nulls, lengths, strict=True):
            values.append(None if is_null else decode_text(exactly(content, at, length)))
            at += 0 if is_null else length
        return type_, values
    if not content:
        if not all(nulls):
            raise ValueError("values are missing")
        return type_, [None] * rows
    values = list(struct.unpack_from(f"<{rows}{type_.code}", content))
    if any(nulls):
        values = [None if is_null else value for is_null, value in zip(nulls, values, strict=True)]
    return type_, values
