"""Bytes and values: TDengine's data types, and how taosAdapter's WebSocket carries them in frames and blocks.

Learnt from recordings of a real TDengine (tests/recordings). All numbers are little-endian. This module knows
nothing of sockets, SQL or storage; what is malformed raises KeyError, ValueError, IndexError or struct.error.

SQLite has no number for NaN and for integers above 2^63: in the store they are text, which sorts behind all
numbers. So are DECIMALs, for their digits' sake.
"""

import json
import math
import re
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any, NamedTuple

HEAD = 24
BIND, QUERY, FETCH, BIND2 = 2, 6, 7, 9
MAX_INTEGER = 2**63 - 1
DIGITS = Context(prec=40)


class TaosError(Exception):
    """An error as TDengine gives it: its code and message."""

    def __init__(self, code: int, message: str):
        self.code, self.message = code, message
        super().__init__(f"[0x{code:04X}] {message}")

    def __reduce__(self) -> tuple[type, tuple[int, str]]:
        return TaosError, (self.code, self.message)


def refuse_if(is_wrong: bool, code: int, message: str) -> None:
    if is_wrong:
        raise TaosError(code, message)


class Type(NamedTuple):
    """A data type's number, struct code ("" where each value has a size of its own) and size in bytes (0: a
    column says it), a text's encoding, and what DESCRIBE says of it.
    """

    number: int
    code: str
    size: int
    encoding: str = ""
    encode: str = "disabled"
    compress: str = "zstd"


TYPES = {
    "BOOL": Type(1, "?", 1, encode="bit-packing"),
    "TINYINT": Type(2, "b", 1, "", "simple8b", "zlib"),
    "SMALLINT": Type(3, "h", 2, "", "simple8b", "zlib"),
    "INT": Type(4, "i", 4, "", "simple8b", "lz4"),
    "BIGINT": Type(5, "q", 8, "", "simple8b", "lz4"),
    "FLOAT": Type(6, "f", 4, "", "delta-d", "lz4"),
    "DOUBLE": Type(7, "d", 8, "", "delta-d", "lz4"),
    "VARCHAR": Type(8, "", 0, "utf-8"),
    "TIMESTAMP": Type(9, "q", 8, "", "delta-i", "lz4"),
    "NCHAR": Type(10, "", 0, "utf-32-le"),
    "TINYINT UNSIGNED": Type(11, "B", 1, "", "simple8b", "zlib"),
    "SMALLINT UNSIGNED": Type(12, "H", 2, "", "simple8b", "zlib"),
    "INT UNSIGNED": Type(13, "I", 4, "", "simple8b", "lz4"),
    "BIGINT UNSIGNED": Type(14, "Q", 8, "", "simple8b", "lz4"),
    "JSON": Type(15, "", 4095, "utf-8"),
    "VARBINARY": Type(16, "", 0),
    "DECIMAL": Type(17, "", 16, "utf-8"),
    "BLOB": Type(18, "", 4194304, compress="lz4"),
    "GEOMETRY": Type(20, "", 0, compress="lz4"),
    "DECIMAL64": Type(21, "", 8, "utf-8"),
}
KINDS = {type_.number: kind for kind, type_ in TYPES.items()}


class Column(NamedTuple):
    """A column or tag of a table, or of a result.

    `kind` is its type's name; `length` counts bytes, for NCHAR characters; `is_key`: it is in the key beside
    the time; `precision` and `scale` are a DECIMAL's.
    """

    name: str
    kind: str
    length: int
    is_key: bool = False
    precision: int = 0
    scale: int = 0

    @property
    def type(self) -> Type:
        return TYPES[self.kind]

    @property
    def row_bytes(self) -> int:
        """What it takes of the longest row."""
        return self.length if self.precision else self.block_bytes

    @property
    def block_bytes(self) -> int:
        """The size that a block's header gives: most variable-size types count two length bytes too."""
        if self.precision:
            return self.length << 24 | self.precision << 8 | self.scale
        of_kind = {"NCHAR": 4 * self.length + 2, "JSON": 16384, "BLOB": 5}
        return of_kind.get(self.kind) or (self.length if self.type.code else self.length + 2)


def converted(value: Any, column: Column, per_second: int, zone: tzinfo | None = None) -> Any:
    """A value that came as text, number or boolean, as its column holds it; raises TaosError.

    A text's time without a zone is in the zone, or where there is none in that of the emulator.
    """
    if value is None:
        return None
    code, near = column.type.code, f"syntax error near '{value}'"
    try:
        if column.precision:
            return as_decimal(value, column)
        if not code:
            forms = {"VARBINARY": as_bytes, "BLOB": as_bytes, "GEOMETRY": as_geometry, "JSON": as_json_tag}
            value = forms[column.kind](value, column) if column.kind in forms else str(value)
            refuse_if(too_long(value, column), 0x2653, f"Value too long for column/tag: {column.name}")
            return value
        if column.kind == "TIMESTAMP" and isinstance(value, str):
            return parse_time(value, per_second, zone)
        if column.kind == "BOOL":
            return int(value.lower() == "true" if isinstance(value, str) else bool(value))
        if code in "fd" or not isinstance(value, int):
            value = float(value)
            if not math.isfinite(value):
                raise ValueError(value)
        if code not in "fd" and isinstance(value, float):
            value = math.floor(value + 0.5)
        return struct.unpack(f"<{code}", struct.pack(f"<{code}", value))[0]
    except ValueError:
        data = "" if column.kind == "TIMESTAMP" else " data"
        raise TaosError(0x0216, f"{near} (invalid {column.kind.lower()}{data})") from None
    except (OverflowError, struct.error):
        raise TaosError(0x0216, f"{near} ({column.kind.lower()} data overflow)") from None


def as_decimal(value: Any, column: Column) -> str:
    """The number with the column's digits behind the point, rounded."""
    try:
        rounded = Decimal(str(value)).quantize(Decimal(1).scaleb(-column.scale), ROUND_HALF_UP, DIGITS)
    except InvalidOperation:
        raise ValueError(value) from None
    is_over = len(rounded.as_tuple().digits) > column.precision or not rounded.is_finite()
    refuse_if(is_over, 0x013D, "Decimal value overflow")
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
    if not found:
        raise ValueError("no POINT(x y)")
    return struct.pack("<BIdd", 1, 1, float(found[1]), float(found[2]))


def as_json_tag(value: Any, _column: Column) -> str | None:
    """A JSON tag's text as TDengine keeps it: one flat object, its keys in order; an empty one is NULL."""
    content = json.loads(str(value or "{}"), parse_float=lambda text: fewest_digits(float(text)))
    if not isinstance(content, dict) or any(isinstance(part, list | dict) for part in content.values()):
        raise ValueError("no flat object")
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text if content else None


def fewest_digits(number: float) -> float | int:
    """The number as JSON has it in TDengine, whole where it can be."""
    return int(number) if abs(number) < 1e21 and number.is_integer() else number


TIME = re.compile(
    r"(\d{4})-(\d\d?)-(\d\d?)(?:[ T](\d\d?):(\d\d?):(\d\d?)(?:\.(\d+))?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)


def parse_time(text: str, per_second: int, zone: tzinfo | None) -> int:
    """ISO 8601 text as a time in the precision; ValueError or, where its zone skips the time, TaosError."""
    found = TIME.fullmatch(text.strip())
    if not found:
        raise ValueError(text)
    moment = datetime(*(int(part or 0) for part in found.groups()[:6]))
    if found[8]:
        moment = datetime.fromisoformat(f"{moment.isoformat()}{found[8]}")
    else:
        moment = moment.replace(tzinfo=zone)
        there = moment.astimezone(UTC).astimezone(zone)
        refuse_if(there.replace(tzinfo=zone) != moment, 0x060B, "Timestamp data out of range")
    nanoseconds = int((found[7] or "")[:9].ljust(9, "0"))
    return int(moment.timestamp()) * per_second + nanoseconds * per_second // 10**9


def too_long(value: Any, column: Column) -> bool:
    """Whether a text has more bytes than its column holds, for NCHAR more characters."""
    if value is None or column.type.code:
        return False
    size = len(value if column.kind == "NCHAR" or isinstance(value, bytes) else value.encode())
    return size > column.length


def storable(values: Sequence[Any], column: Column) -> Sequence[Any]:
    """The values of a column as SQLite can keep them."""
    code = column.type.code
    if code in ("f", "d") and (None in values or math.isnan(sum(values))):
        return ["NaN" if value is not None and value != value else value for value in values]
    if code == "Q":
        return [str(value) if value and value > MAX_INTEGER else value for value in values]
    return values


# Blocks and frames, written


def encode_fetched(request: int, result: int, block: bytes | None, time: int) -> bytes:
    """The answer to a fetch; without a block it says that the result is finished."""
    head = struct.pack("<QQHQQIIQB", 2**64 - 1, FETCH, 1, time, request, 0, 0, result, block is None)
    return head if block is None else head + struct.pack("<I", len(block)) + block


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
    if not (type_.code or column.precision):
        offsets, data, position = [], [], 0
        for value in values:
            if value is None:
                offsets.append(-1)
                continue
            raw = value if isinstance(value, bytes) else str(value).encode(type_.encoding or "utf-8")
            offsets.append(position)
            data.append(struct.pack(f"<{length_code(column.kind)}", len(raw)) + raw)
            position += len(data[-1])
        return struct.pack(f"<{len(values)}i", *offsets), b"".join(data)
    bitmap = bytearray((len(values) + 7) // 8)
    if None in values:
        for row, value in enumerate(values):
            if value is None:
                bitmap[row >> 3] |= 0x80 >> (row & 7)
        values = [0 if value is None else value for value in values]
    if column.precision:
        whole = [int(Decimal(value).scaleb(column.scale, DIGITS)) for value in values]
        return bytes(bitmap), b"".join(number.to_bytes(type_.size, "little", signed=True) for number in whole)
    try:
        return bytes(bitmap), struct.pack(f"<{len(values)}{type_.code}", *values)
    except struct.error:  # the store keeps as text what SQLite has no number for
        number = float if type_.code in "fd" else int
        return bytes(bitmap), struct.pack(f"<{len(values)}{type_.code}", *map(number, values))


def length_code(kind: str) -> str:
    """The struct format of the length before a variable-size value."""
    return "I" if kind == "BLOB" else "H"


# Blocks and frames, read

Values = tuple[str, list[Any]]  # the type's name, and the values


class BoundTable(NamedTuple):
    """One table of a bind: its name (None: it has none), tags and columns, each a type and values."""

    name: str | None
    tags: list[Values]
    columns: list[Values]


class Reader:
    """A place in a frame, behind what was read of it last; struct.error where the frame ends too early."""

    def __init__(self, data: bytes, at: int = 0):
        self.data, self.at = data, at

    def take(self, form: str) -> tuple[Any, ...]:
        """The values of a struct format."""
        values = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values

    def raw(self, length: int) -> bytes:
        return self.take(f"{length}s")[0]


def parse_query(frame: bytes) -> str:
    """The SQL of a QUERY frame."""
    reader = Reader(frame, 26)
    (length,) = reader.take("I")
    return reader.raw(length).decode(errors="replace")


def decode_block(block: bytes) -> list[Values]:
    """A block's columns."""
    reader = Reader(block)
    _, _, rows, count, _, _ = reader.take("IIIIIQ")
    kinds = [KINDS[reader.take("BI")[0]] for _ in range(count)]
    columns: list[Values] = []
    for kind, length in zip(kinds, reader.take(f"{count}I"), strict=True):
        if code := TYPES[kind].code:
            bitmap = reader.raw((rows + 7) // 8)
            nulls = [bitmap[row >> 3] & 0x80 >> (row & 7) for row in range(rows)] if any(bitmap) else []
            columns.append((kind, with_nulls(reader.take(f"{rows}{code}"), nulls)))
        else:
            offsets, data = reader.take(f"{rows}i"), reader.raw(length)
            columns.append(
                (kind, [None if at < 0 else decode_sized(Reader(data, at), kind) for at in offsets])
            )
    return columns


def decode_sized(reader: Reader, kind: str) -> str | bytes:
    """A variable-size value, led by its length."""
    raw = reader.raw(*reader.take(length_code(kind)))
    return raw.decode(TYPES[kind].encoding) if TYPES[kind].encoding else raw


def with_nulls(values: Sequence[Any], nulls: Sequence[int]) -> list[Any]:
    """The values with None where the flag beside is not zero; no flags: none is NULL."""
    if not any(nulls):
        return list(values)
    return [None if is_null else value for is_null, value in zip(nulls, values, strict=True)]


def parse_bind2(frame: bytes) -> list[BoundTable]:
    """The tables of a BIND2 frame (prepared statement v2)."""
    reader = Reader(frame[30:])  # where its offsets count from
    _, tables, tags, columns, names_at, tags_at, columns_at = reader.take("7I")
    if tables * 2 > len(frame):
        raise ValueError("more tables than bytes")
    names: list[str | None] = [None] * tables
    if names_at:
        reader.at = names_at
        lengths = reader.take(f"{tables}H")
        names = [reader.raw(length).rstrip(b"\0").decode() for length in lengths]
    bound_tags = decode_tables(reader, tags_at, tables, tags)
    bound_columns = decode_tables(reader, columns_at, tables, columns)
    return [BoundTable(*table) for table in zip(names, bound_tags, bound_columns, strict=True)]


def decode_tables(reader: Reader, start: int, tables: int, count: int) -> list[list[Values]]:
    """For each table its `count` tags or columns."""
    reader.at = start + 4 * tables
    return [[decode_bound(reader) for _ in range(count if start else 0)] for _ in range(tables)]


def decode_bound(reader: Reader) -> Values:
    """One tag's or column's values: type, a NULL flag a row, lengths for variable-size types, data."""
    end = reader.at
    length, number, rows = reader.take("Iii")
    end += length
    nulls, has_lengths = reader.take(f"{rows}s?")
    lengths = reader.take(f"{rows}i") if has_lengths else ()
    (size,) = reader.take("I")
    kind = KINDS[number]
    if not TYPES[kind].code:  # texts come in UTF-8, NCHARs and DECIMALs too
        sizes = zip(nulls, lengths, strict=True)
        values = [None if is_null else reader.raw(length) for is_null, length in sizes]
        if TYPES[kind].encoding:
            values = [value if value is None else value.decode() for value in values]
    elif size:
        values = with_nulls(reader.take(f"{rows}{TYPES[kind].code}"), nulls)
    else:
        values = [None] * rows
    if reader.at != end:
        raise ValueError("a wrong length")
    return kind, values
