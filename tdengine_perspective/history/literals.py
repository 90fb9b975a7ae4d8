"""Owns how a viewer's texts and numbers stand in SQL: as literals, and as nothing else."""

import math
import re
from datetime import UTC, datetime

from tdengine_perspective.history.words import NotAnswered
from tdengine_perspective.tdengine import quote_text

MOST = 9_007_199_254_740_992  # as far as every whole number is a float


def never(key: str) -> str:
    """A condition that no row meets, of a column that is never NULL.

    Not by that alone: joined by OR with other conditions, TDengine takes it for the time to look at.
    """
    return f"CASE WHEN {key} IS NULL THEN 1 ELSE 0 END = 1"


def always(key: str) -> str:
    """A condition that all rows meet."""
    return f"CASE WHEN {key} IS NULL THEN 1 ELSE 0 END = 0"


def text(value: str) -> str:
    """A text in quotes. Raises NotAnswered for one that has no place in a statement."""
    if "\0" in value:
        raise NotAnswered("a text with a NUL in it can't be asked for")
    return quote_text(value)


def pattern(value: str) -> str:
    """A text as part of a pattern of LIKE that stands for itself, still without quotes."""
    return re.sub(r"([\\%_])", r"\\\1", value)


def number(value: float) -> str:
    """A number to its last bit. Raises NotAnswered for NaN and infinity."""
    if not math.isfinite(value):
        raise NotAnswered("there is no such number")
    return str(int(value)) if value == int(value) and abs(value) < MOST else repr(float(value))


def moment(value: object) -> int:
    """The ms since 1970 of a filter's value: a number, or a time as text. Raises NotAnswered."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise NotAnswered(f"{value!r} is no time")
    if not isinstance(value, str):
        return math.floor(value)
    try:
        read = datetime.fromisoformat(value.strip())
    except ValueError:
        raise NotAnswered(f"{value[:40]!r} is no time") from None
    since = (read if read.tzinfo else read.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
