"""Owns the spans of time that can be looked back at, and the condition for them in SQL."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from tdengine_perspective.settings import LONGEST_SPAN

# Seconds. TDengine has the same letters.
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
STEPS = 300  # an answer may be this part of its span old
SHORTEST, LONGEST = 2.0, 60.0  # seconds from one question to the next
UNCHANGING = 30.0  # seconds that what is known of a span from one time to another is good for
SUCH = "such as 15m, 24h, 7d, all or 2026-11-24T08:00Z/2026-11-24T09:30Z"


@dataclass(frozen=True)
class Span:
    """The newest `length` seconds, or from one time to before another (ms since 1970), or all."""

    text: str
    length: int | None = None
    first: int | None = None
    end: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `15m`, any number with s, m, h, d or w; `all`; or FROM/TO in ISO 8601, in UTC unless it says.

        Raises ValueError with one line.
        """
        if text == "all":
            return cls(text)
        if found := re.fullmatch(r"([0-9]{1,9})([smhdw])", text, re.ASCII):
            length = int(found[1]) * UNITS[found[2]]
            if not 1 <= length <= LONGEST_SPAN * UNITS["d"]:
                raise ValueError(f"a span can have 1s to {LONGEST_SPAN}d, not {text}")
            return cls(text, length=length)
        first, slash, end = text.partition("/")
        if not slash:
            raise ValueError(f"{text[:80]!r} is no span of time: it has to be {SUCH}")
        span = cls(text, first=read_time(first), end=read_time(end))
        if span.first >= span.end:
            raise ValueError(f"{text} ends before it begins")
        return span

    @property
    def is_relative(self) -> bool:
        """Whether it moves on with the time."""
        return self.length is not None

    @property
    def interval(self) -> float | None:
        """Seconds after which it is worth asking again; None: what it has stays."""
        if self.length is not None:
            return min(max(self.length / STEPS, SHORTEST), LONGEST)
        return LONGEST if self.first is None else None

    @property
    def keeps(self) -> float:
        """Seconds that an answer may be given again."""
        return UNCHANGING if self.interval is None else self.interval / 2

    def condition(self, key: str, units: int = 1) -> str:
        """The SQL condition for the key's column, of so many units a ms; empty for all."""
        if self.length is not None:
            return f"{key} >= NOW() - {self.text}"
        if self.first is None:
            return ""
        return f"{key} >= {self.first * units} AND {key} < {self.end * units}"


def read_time(text: str) -> int:
    """Milliseconds since 1970 of a time in ISO 8601. Raises ValueError with one line."""
    shape = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2})?"
    try:
        if not re.fullmatch(shape, text, re.ASCII):
            raise ValueError
        read = datetime.fromisoformat(padded(text))
        since = (read if read.tzinfo else read.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:80]!r} is no time: it has to be such as 2026-11-24T08:00Z") from None
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def padded(text: str) -> str:
    """With three digits behind the point, as all of Python's versions read it."""
    return re.sub(r"\.(\d{1,3})", lambda found: "." + found[1].ljust(3, "0"), text)
