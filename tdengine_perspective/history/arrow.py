"""Owns how a result is handed over: as Arrow, a stream of one batch."""

import io
from array import array
from collections.abc import Sequence
from typing import Any

import nanoarrow
from nanoarrow import ipc

from tdengine_perspective.history.terms import BOOLEAN, DATE, DATETIME, FLOAT, INTEGER, STRING

# Perspective's types in Arrow's words, and the code of their values in an `array`.
TYPES = {
    STRING: (nanoarrow.string(), "i"),
    FLOAT: (nanoarrow.float64(), "d"),
    INTEGER: (nanoarrow.int32(), "i"),
    BOOLEAN: (nanoarrow.bool_(), "B"),
    DATE: (nanoarrow.date32(), "i"),
    DATETIME: (nanoarrow.timestamp("ms"), "q"),
    "whole": (nanoarrow.int64(), "q"),
}
INT32 = 2**31


def to_arrow(columns: Sequence[tuple[str, str, Sequence[Any]]], rows: int) -> bytes:
    """Columns, each a name, a type and its values, None for none, as a stream in Arrow's IPC format."""
    children = [to_array(kind, values) for _, kind, values in columns]
    fields = {name: child.schema for (name, _, _), child in zip(columns, children, strict=True)}
    batch = nanoarrow.c_array_from_buffers(nanoarrow.struct(fields), rows, [None], children=children)
    stream = io.BytesIO()
    with ipc.StreamWriter.from_writable(stream) as writer:
        writer.write_stream(nanoarrow.c_array_stream(batch))
    return stream.getvalue()


def to_array(kind: str, values: Sequence[Any]) -> Any:
    arrow_type, code = TYPES[kind]
    missing = sum(value is None for value in values)
    validity = to_bits([value is not None for value in values]) if missing else None
    if kind == STRING:
        encoded = [b"" if value is None else value.encode() for value in values]
        offsets, end = array("i", [0]), 0
        for text in encoded:
            end += len(text)
            offsets.append(end)
        buffers = [validity, offsets, b"".join(encoded)]
    elif kind == BOOLEAN:
        buffers = [validity, to_bits([bool(value) for value in values])]
    elif kind == INTEGER and any(value and not -INT32 <= value < INT32 for value in values):
        return to_array(FLOAT, values)  # a sum, which browsers take better so than in 64 bits
    else:
        buffers = [validity, array(code, [value or 0 for value in values])]
    return nanoarrow.c_array_from_buffers(arrow_type, len(values), buffers, null_count=missing)


def to_bits(flags: Sequence[bool]) -> bytes:
    """One bit a flag, the lowest first."""
    written = "".join("1" if flag else "0" for flag in reversed(flags))
    return int(written or "0", 2).to_bytes((len(flags) + 7) // 8, "little")
