"""The bytes of taosAdapter's WebSocket protocol: data types, blocks of rows, binary frames.

Learnt from recordings of a real TDengine (tests/recordings). All numbers are little-endian. This module knows
nothing of sockets, SQL or storage; what is malformed raises ValueError, IndexError or struct.error.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tdengine_emulator.values import DECIMALS, DIGITS, TYPES_BY_NUMBER, Column, Type

HEAD = 24
BIND, QUERY, FETCH, BIND2 = 2, 6, 7, 9


Values = tuple[Type, list[Any]]


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


def encode_block(fields: Sequence[Column], rows: Sequence[Sequence[Any]]) -> bytes:
    """Rows of values, as Python or the store has them, as a block; None is NULL."""
    parts = [encode_column(*column) for column in zip(fields, zip(*rows, strict=True), strict=True)]
    head = b"".join(struct.pack("<BI", column.type.number, column.block_bytes) for column in fields)
    lengths = b"".join(struct.pack("<I", len(data)) for _, data in parts)
    body = b"".join(index + data for index, data in parts)
    length = 28 + len(head) + len(lengths) + len(body) + 1
    start = struct.pack("<IIIIIQ", 1, length, len(rows), len(fields), 0x80000000, 0)
    return start + head + lengths + body + b"\0"


def encode_column(column: Column, values: Sequence[Any]) -> tuple[bytes, bytes]:
    """A column's NULL bitmap or offsets, and its data."""
    type_ = column.type
    if type_.code is None:
        offsets, data, position = [], [], 0
        for value in values:
            if value is None:
                offsets.append(-1)
                continue
            raw = value if isinstance(value, bytes) else str(value).encode(type_.encoding or "utf-8")
            offsets.append(position)
            data.append(struct.pack(length_code(type_), len(raw)) + raw)
            position += len(data[-1])
        return struct.pack(f"<{len(values)}i", *offsets), b"".join(data)
    bitmap = bytearray((len(values) + 7) // 8)
    if None in values:
        for row, value in enumerate(values):
            if value is None:
                bitmap[row >> 3] |= 0x80 >> (row & 7)
        values = [0 if value is None else value for value in values]
    if type_ in DECIMALS:
        whole = [int(Decimal(value).scaleb(column.scale, DIGITS)) for value in values]
        return bytes(bitmap), b"".join(number.to_bytes(type_.size, "little", signed=True) for number in whole)
    try:
        return bytes(bitmap), struct.pack(f"<{len(values)}{type_.code}", *values)
    except struct.error:  # the store keeps as text what SQLite has no number for
        number = float if type_.code in "fd" else int
        return bytes(bitmap), struct.pack(f"<{len(values)}{type_.code}", *map(number, values))


def length_code(type_: Type) -> str:
    """The struct format of the length before a variable-size value."""
    return "<I" if type_.name == "BLOB" else "<H"


def decode_block(block: bytes) -> list[Values]:
    """A block's columns: each its type and values."""
    _, _, rows, count, _, _ = struct.unpack_from("<IIIIIQ", block)
    types = [TYPES_BY_NUMBER.get(block[28 + 5 * column]) for column in range(count)]
    lengths = struct.unpack_from(f"<{count}I", block, 28 + 5 * count)
    position = 28 + 9 * count
    columns = []
    for type_, length in zip(types, lengths, strict=True):
        if type_ is None or type_ in DECIMALS:
            raise ValueError("unknown column type")
        if type_.code is None:
            offsets = struct.unpack_from(f"<{rows}i", block, position)
            data = exactly(block, position + 4 * rows, length)
            position += 4 * rows + length
            values = [None if offset < 0 else sized(data, offset, type_) for offset in offsets]
        else:
            bitmap = exactly(block, position, (rows + 7) // 8)
            position += len(bitmap)
            values = list(struct.unpack_from(f"<{rows}{type_.code}", block, position))
            position += rows * type_.size
            if any(bitmap):
                nulls = (bitmap[row >> 3] & 0x80 >> (row & 7) for row in range(rows))
                values = [None if null else value for null, value in zip(nulls, values, strict=True)]
        columns.append((type_, values))
    return columns


def sized(data: bytes, offset: int, type_: Type) -> str | bytes:
    """A variable-size value, led by its length."""
    code = length_code(type_)
    (length,) = struct.unpack_from(code, data, offset)
    return decoded(exactly(data, offset + struct.calcsize(code), length), type_.encoding)


def decoded(raw: bytes, encoding: str | None) -> str | bytes:
    """A variable-size value's text; bytes that are no text stay bytes."""
    try:
        return raw.decode(encoding) if encoding else raw
    except UnicodeDecodeError:
        return raw


def parse_bind2(frame: bytes) -> list[BoundTable]:
    """The tables of a BIND2 frame (prepared statement v2)."""
    data = frame[30:]  # where its offsets count from
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
    bound_tags = decode_values(data, tags_at, tables, tags)
    bound_columns = decode_values(data, columns_at, tables, columns)
    return [BoundTable(*table) for table in zip(names, bound_tags, bound_columns, strict=True)]


def decode_values(data: bytes, start: int, tables: int, count: int) -> list[list[Values]]:
    """For each table its `count` tags or columns: each a type and values."""
    if not start:
        return [[] for _ in range(tables)]
    if count * tables > len(data):
        raise ValueError("more values than bytes")
    position, values = start + 4 * tables, []
    for _ in range(tables * count):
        (length,) = struct.unpack_from("<I", data, position)
        values.append(decode_bound(exactly(data, position, length)))
        position += length
    return [values[table * count :][:count] for table in range(tables)]


def decode_bound(data: bytes) -> Values:
    """One tag's or column's values: type, a NULL flag a row, lengths for variable-size types, data."""
    _, number, rows = struct.unpack_from("<Iii", data)
    type_ = TYPES_BY_NUMBER.get(number)
    if type_ is None or rows < 0:
        raise ValueError(f"unknown type {number}")
    nulls = exactly(data, 12, rows)
    lengths: Sequence[int] = ()
    position = 13 + rows
    if data[position - 1]:
        lengths = struct.unpack_from(f"<{rows}i", data, position)
        position += 4 * rows
    (size,) = struct.unpack_from("<I", data, position)
    content = exactly(data, position + 4, size)
    if type_.code is None or type_ in DECIMALS:  # a DECIMAL comes as text
        values, at, encoding = [], 0, type_.encoding and "utf-8"
        for is_null, length in zip(nulls, lengths, strict=True):
            values.append(None if is_null else decoded(exactly(content, at, length), encoding))
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
