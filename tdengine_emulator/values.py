"""TDengine's data types, and their values: as statements write them, as SQLite keeps them.

What SQLite has no number for is text there, which sorts behind all numbers: "NaN", and integers above 2^63.
So are DECIMALs, for their digits' sake.
"""

import json
import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any, NamedTuple

MAX_INTEGER = 2**63 - 1
DIGITS = Context(prec=40)


class TaosError(Exception):
    """An error as TDengine gives it: its code and message."""

    def __init__(self, code: int, message: str):
        self.code, self.message = code, message
        super().__init__(f"[0x{code:04X}] {message}")


def refuse_if(is_wrong: bool, code: int, message: str) -> None:
    if is_wrong:
        raise TaosError(code, message)


@dataclass(frozen=True)
class Type:
    """A data type: name, number, struct code and size (None where each value has its own size; then the most
    that it may be, 0 where a column says it), and what DESCRIBE says of it.
    """

    name: str
    number: int
    code: str | None
    size: int
    encode: str = "disabled"
    compress: str = "zstd"
    encoding: str | None = None  # of a text

    @property
    def holds_bytes(self) -> bool:
        return not (self.code or self.encoding)

    @property
    def is_float(self) -> bool:
        return self.code in ("f", "d")


TYPES = {
    type_.name: type_
    for type_ in (
        Type("BOOL", 1, "?", 1, "bit-packing"),
        Type("TINYINT", 2, "b", 1, "simple8b", "zlib"),
        Type("SMALLINT", 3, "h", 2, "simple8b", "zlib"),
        Type("INT", 4, "i", 4, "simple8b", "lz4"),
        Type("BIGINT", 5, "q", 8, "simple8b", "lz4"),
        Type("FLOAT", 6, "f", 4, "delta-d", "lz4"),
        Type("DOUBLE", 7, "d", 8, "delta-d", "lz4"),
        Type("VARCHAR", 8, None, 0, encoding="utf-8"),
        Type("TIMESTAMP", 9, "q", 8, "delta-i", "lz4"),
        Type("NCHAR", 10, None, 0, encoding="utf-32-le"),
        Type("TINYINT UNSIGNED", 11, "B", 1, "simple8b", "zlib"),
        Type("SMALLINT UNSIGNED", 12, "H", 2, "simple8b", "zlib"),
        Type("INT UNSIGNED", 13, "I", 4, "simple8b", "lz4"),
        Type("BIGINT UNSIGNED", 14, "Q", 8, "simple8b", "lz4"),
        Type("JSON", 15, None, 4095, encoding="utf-8"),
        Type("VARBINARY", 16, None, 0),
        Type("DECIMAL", 17, "16s", 16),
        Type("BLOB", 18, None, 4194304, compress="lz4"),
        Type("GEOMETRY", 20, None, 0, compress="lz4"),
        Type("DECIMAL64", 21, "8s", 8),
    )
}
TYPES_BY_NUMBER = {type_.number: type_ for type_ in TYPES.values()}
DECIMALS = (TYPES["DECIMAL"], TYPES["DECIMAL64"])


class Column(NamedTuple):
    """A column or tag of a table, or of a result.

    `length` counts bytes, for NCHAR characters; `is_key`: it is in the key beside the time; `precision`: the
    digits of a DECIMAL.
    """

    name: str
    type: Type
    length: int
    is_key: bool = False
    precision: int = 0
    scale: int = 0

    @property
    def block_bytes(self) -> int:
        """The size that a block's header gives: most variable-size types count two length bytes too."""
        if self.precision:
            return self.type.size << 24 | self.precision << 8 | self.scale
        of_type = {"NCHAR": 4 * self.length + 2, "JSON": 16384, "BLOB": 5}
        return of_type.get(self.type.name) or (self.length if self.type.code else self.length + 2)

    @property
    def tag_type(self) -> str:
        """The type as information_schema writes it."""
        length = 16382 if self.type.name == "JSON" else self.length
        return self.type.name if self.type.code else f"{self.type.name}({length})"


def converted(value: Any, column: Column, per_second: int) -> Any:
    """A value that came as text, number or boolean, as the column's type; raises TaosError."""
    code, kind = column.type.code, column.type.name.lower()
    try:
        if value is None:
            return None
        if column.type in DECIMALS:
            return as_decimal(value, column)
        if code is None:
            forms = {"VARBINARY": as_bytes, "BLOB": as_bytes, "GEOMETRY": as_geometry, "JSON": as_json_tag}
            form = forms.get(column.type.name)
            value = form(value, column) if form else str(value)
            refuse_if(too_long(value, column), 0x2653, f"Value too long for column/tag: {column.name}")
            return value
        if column.type.name == "TIMESTAMP" and isinstance(value, str):
            return parse_time(value, per_second)
        if column.type.name == "BOOL":
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
        rounded = number.quantize(Decimal(1).scaleb(-column.scale), ROUND_HALF_UP, DIGITS)
    except InvalidOperation:
        rounded = Decimal(0).scaleb(-column.scale) if isinstance(value, str) else Decimal("Infinity")
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
    try:
        return struct.pack("<BIdd", 1, 1, float(found[1]), float(found[2]))
    except (TypeError, ValueError):
        complaint = "Invalid function para value; the emulator knows POINT(x y) alone"
        raise TaosError(0x0216, f"syntax error near '{value}' ({complaint})") from None


def as_json_tag(value: Any, _column: Column | None = None) -> str | None:
    """A JSON tag's text as TDengine keeps it: one flat object, its keys in order; an empty one is NULL."""
    near = f"syntax error near '{value}'"
    try:
        content = json.loads(str(value or "{}"), parse_float=fewest_digits)
    except ValueError:
        raise TaosError(0x0216, f"{near} (json parse error)") from None
    if not isinstance(content, dict):
        raise TaosError(0x0216, f"{near} (json error invalide value)")
    is_nested = any(isinstance(part, list | dict) for part in content.values())
    refuse_if(is_nested, 0x0216, f"{near} (invalidate json value)")
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text if content else None


def fewest_digits(text: str) -> float | int:
    """The number, whole where it can be."""
    return int(float(text)) if float(text).is_integer() else float(text)


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
    if value is None or column.type.code:
        return False
    size = len(value if column.type.name == "NCHAR" or isinstance(value, bytes) else value.encode())
    return size > column.length


def quote(name: str) -> str:
    """A name in SQLite's SQL."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """A text in SQLite's SQL."""
    return "'" + text.replace("'", "''") + "'"


def storable(values: Sequence[Any], column: Column) -> Sequence[Any]:
    """The values of a column as SQLite can keep them."""
    code = column.type.code
    if code in ("f", "d") and (None in values or math.isnan(sum(values))):
        return ["NaN" if value is not None and value != value else value for value in values]
    if code == "Q":
        return [str(value) if value and value > MAX_INTEGER else value for value in values]
    return values
