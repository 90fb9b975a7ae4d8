"""What SQLite does not compute as TDengine does: functions and aggregates in Python that its SQL calls.

Their values are the store's: None is NULL, NaN the text "NaN", an integer above 2^63 its digits. A scalar
function of a NULL is NULL, unless it stands in OF_NULLS.
"""

import math
import operator
import re
import sqlite3
import struct
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache, wraps
from itertools import pairwise
from typing import Any

from tdengine_emulator.wire import DIGITS, MAX_INTEGER

NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?inf(?:inity)?|nan)", re.IGNORECASE)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FLOAT_TOLERANCE, DOUBLE_TOLERANCE = 4 * 2.0**-23, 4 * 2.0**-52
MOST_BINS = 500
SCALARS: dict[str, Callable[..., Any]] = {}
OF_NULLS: set[str] = set()
TO_CHAR = re.compile(
    r"""yyyy|yyy|yy|y|month|mon|mm|ddd|dd|day|dy|d|hh24|hh12|hh|mi|ss|ms|us|ns|am|pm|a\.m\.|p\.m\.|"[^"]*\"""",
    re.IGNORECASE,
)


def scalar(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let SQLite call it, by its name; a NULL among the arguments is the result."""

    @wraps(function)
    def of_no_null(*values: Any) -> Any:
        if None in values:
            return None
        try:
            return storable(function(*values))
        except (ArithmeticError, ValueError):
            return None

    SCALARS[function.__name__] = of_no_null
    return of_no_null


def install(sqlite: sqlite3.Connection) -> None:
    """Make all of it known to a connection."""
    for name, function in SCALARS.items():
        sqlite.create_function(name, -1, function, deterministic=True)
    for name, aggregate in AGGREGATES.items():
        sqlite.create_aggregate(name, -1, aggregate)


def storable(value: Any) -> Any:
    if isinstance(value, float):
        return value if value == value else "NaN"
    if isinstance(value, int) and value > MAX_INTEGER:
        return str(value)
    return value


# Numbers


def divided(a: float, b: float) -> float | None:
    return a / b if b else None


def remainder(a: float, b: float) -> float | None:
    """As C's fmod; NULL where that is no finite number."""
    result = math.fmod(a, b)
    return result if math.isfinite(result) else None


OPERATIONS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": divided,
    "%": remainder,
}


@scalar
def calculated(first: Any, *rest: Any) -> float | None:
    """Numbers with the marks of operations between them, done from the left."""
    value: float | None = float(first)
    for mark, number in zip(rest[::2], rest[1::2], strict=True):
        value = OPERATIONS[mark](value, float(number))
        if value is None:
            return None
    return value


@scalar
def modulo(a: Any, b: Any) -> float | None:
    return remainder(float(a), float(b))


@scalar
def number_of(text: str) -> float:
    """What a text begins with, as a number."""
    found = NUMBER.match(text)
    return float(found[1]) if found else 0.0


@scalar
def as_float(number: Any) -> float:
    """The nearest number of 32 bits."""
    try:
        return struct.unpack("<f", struct.pack("<f", float(number)))[0]
    except OverflowError:
        return math.copysign(math.inf, float(number))


@scalar
def whole(number: Any, bits: int, is_unsigned: int) -> int:
    """A number as an integer of so many bits: cut, and wrapped as a processor does it."""
    lowest = 0 if is_unsigned else -(2 ** (bits - 1))
    if isinstance(number, str) and number != "NaN":
        number = int(number)
    if not isinstance(number, int):
        widest = 64 if is_unsigned or bits == 64 else 32
        number = float(number)
        is_held = math.isfinite(number) and -(2 ** (widest - 1)) <= math.trunc(number) < 2 ** (widest - 1)
        number = math.trunc(number) if is_held else -(2 ** (widest - 1))
    return wrapped(number, bits, lowest)


def wrapped(number: int, bits: int, lowest: int) -> int:
    return (number - lowest) % 2**bits + lowest


@scalar
def rounded_decimal(number: str) -> int:
    return int(Decimal(number).to_integral_value(ROUND_HALF_UP))


@scalar
def absolute(number: Any) -> Any:
    number = float(number) if isinstance(number, str) else number
    return -number if number < 0 else number


def rounding(function: Callable[[float], float]) -> Callable[[Any], Any]:
    """To a whole number, of the argument's type."""

    def rounded(number: Any) -> Any:
        if isinstance(number, int) or number == "NaN" or math.isinf(number):
            return number
        return float(function(number)) + 0.0

    return rounded


@scalar
def ceiling(number: Any) -> Any:
    return rounding(math.ceil)(number)


@scalar
def floor(number: Any) -> Any:
    return rounding(math.floor)(number)


def half_away(number: float) -> float:
    return math.copysign(math.floor(abs(number) + 0.5), number)


@scalar
def rounded(number: Any, digits: int = 0) -> Any:
    if not digits:
        return rounding(half_away)(number)
    number = float(number) if isinstance(number, str) else number
    if not math.isfinite(number):
        return None
    factor = 10.0**digits
    result = half_away(number * factor) / factor
    return int(result) if isinstance(number, int) else result


@scalar
def truncated(number: Any, digits: int) -> Any:
    number = float(number) if isinstance(number, str) else number
    if not math.isfinite(number):
        return None
    factor = 10.0**digits
    result = math.copysign(math.trunc(number * factor) / factor, number)
    return int(result) if isinstance(number, int) else result


@scalar
def sign(number: Any) -> Any:
    number = float(number)
    return (number > 0) - (number < 0)


def finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def mathematical(name: str, function: Callable[..., float]) -> None:
    """A function of numbers, DOUBLE, NULL where it has no value."""

    def called(*numbers: Any) -> float | None:
        return finite(function(*map(float, numbers)))

    called.__name__ = name
    scalar(called)


for name in ("sin", "cos", "tan", "asin", "acos", "atan", "exp", "sqrt"):
    mathematical(name, getattr(math, name))


@scalar
def degrees(number: Any) -> float | None:
    return finite(float(number) * (1 / math.pi) * 180)


@scalar
def radians(number: Any) -> float | None:
    return finite(float(number) / 180 * math.pi)


@scalar
def ln(number: Any) -> float | None:
    return finite(math.log(float(number)))


@scalar
def logarithm(number: Any, base: Any = math.e) -> float | None:
    return finite(math.log(float(number)) / math.log(float(base)))


@scalar
def power(base: Any, exponent: Any) -> float | None:
    return finite(math.pow(float(base), float(exponent)))


@scalar
def highest(*values: Any) -> Any:
    return max(values, key=from_nan_on)


@scalar
def lowest(*values: Any) -> Any:
    return min(values, key=from_nan_on)


def from_nan_on(value: Any) -> float:
    number = float(value)
    return number if number == number else -math.inf


# Comparisons. NaN lies below all numbers, as ORDER BY has it.


def tolerance(has_float: int) -> float:
    return FLOAT_TOLERANCE if has_float else DOUBLE_TOLERANCE


@scalar
def less(a: Any, b: Any, has_float: int, has_integer: int) -> bool:
    """Whether one number lies below another. NaN does below all, but not below an INT."""
    a, b = float(a), float(b)
    if a != a or b != b:
        return not has_integer and a != a and b == b
    return a < b and not abs(a - b) <= tolerance(has_float)


@scalar
def not_more(a: Any, b: Any, has_float: int, has_integer: int) -> bool:
    """Whether a number is not above another. NaN is not above any, and no INT above it."""
    a, b = float(a), float(b)
    if a != a or b != b:
        return bool(has_integer) or a != a
    return not (a > b and not abs(a - b) <= tolerance(has_float))


@scalar
def same(a: Any, b: Any, has_float: int, has_integer: int) -> bool:
    """Whether two numbers are equal, or as near as their bits tell. Infinity never is; NaN is with an INT."""
    a, b = float(a), float(b)
    if a != a or b != b:
        return bool(has_integer) or (a != a and b != b)
    return abs(a - b) <= tolerance(has_float)


@scalar
def like(text: str, pattern: str) -> bool:
    return pattern_of(pattern).fullmatch(text) is not None


@lru_cache(500)
def pattern_of(pattern: str) -> re.Pattern[str]:
    """LIKE's pattern; one of VARCHARs has a surrogate for each byte beyond ASCII."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    forms = {"%": ".*", "_": "."}
    text = "".join(
        forms.get(part) or re.escape(part[1:] if part[0] == "\\" and part[1:] in "%_\\" else part)
        for part in parts
    )
    return re.compile(text, re.DOTALL | re.IGNORECASE | re.ASCII)


@scalar
def like_bytes(text: str, pattern: str) -> bool:
    """LIKE of VARCHARs, in which _ is a byte."""
    if text.isascii():
        return pattern_of(pattern).fullmatch(text) is not None
    return pattern_of(bytewise(pattern)).fullmatch(bytewise(text)) is not None


def bytewise(text: str) -> str:
    return text.encode().decode("latin-1")


@scalar
def matches(text: str, pattern: str) -> bool:
    return expression_of(pattern).search(text) is not None


def is_expression(pattern: Any) -> bool:
    """Whether MATCH can have it as its pattern."""
    try:
        return not isinstance(pattern, str) or expression_of(pattern) is not None
    except re.error:
        return False


@lru_cache(500)
def expression_of(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


# Texts


@scalar
def upper(text: str) -> str:
    return "".join(character.upper() if character.isascii() else character for character in text)


@scalar
def lower(text: str) -> str:
    return "".join(character.lower() if character.isascii() else character for character in text)


@scalar
def bytes_in(text: Any) -> int:
    return len(text if isinstance(text, bytes) else text.encode())


@scalar
def bytes_in_nchar(text: str) -> int:
    return 4 * len(text)


@scalar
def characters_in(text: str) -> int:
    return len(text)


@scalar
def part_of(text: str, start: int, length: int = MAX_INTEGER) -> str:
    """SUBSTR: from 1, or from the end where it is below 0."""
    start = start - 1 if start > 0 else max(len(text) + start, 0) if start < 0 else len(text)
    return text[start : start + max(length, 0)]


@scalar
def index_part(text: str, delimiter: str, count: int) -> str:
    """SUBSTRING_INDEX: what stands before the count-th delimiter, or behind it from the end."""
    if not delimiter or not count:
        return ""
    parts = text.split(delimiter)
    return delimiter.join(parts[:count] if count > 0 else parts[count:])


@scalar
def replaced(text: str, old: str, new: str) -> str:
    return text.replace(old, new) if old else text


@scalar
def place_of(part: str, text: str) -> int:
    return text.find(part) + 1


@scalar
def left_trimmed(text: str) -> str:
    return text.lstrip(" ")


@scalar
def right_trimmed(text: str) -> str:
    return text.rstrip(" ")


@scalar
def trimmed(text: str) -> str:
    return text.strip(" ")


@scalar
def repeated(text: str, count: int) -> str:
    return text * max(count, 0)


@scalar
def joined(*texts: str) -> str:
    return "".join(texts)


@scalar
def joined_with(separator: str, *texts: str) -> str:
    return separator.join(texts)


@scalar
def code_of(text: str) -> int:
    return text.encode()[0] if text else 0


@scalar
def as_text(value: Any, kind: str) -> str:
    """A value as CAST to a VARCHAR writes it."""
    if kind == "BOOL":
        return "true" if value else "false"
    if kind in ("FLOAT", "DOUBLE"):
        return f"{float(value):.{7 if kind == 'FLOAT' else 15}g}"
    return str(value)


@scalar
def cut_bytes(text: str, length: int) -> str:
    return text.encode()[:length].decode(errors="ignore")


@scalar
def cut_characters(text: str, length: int) -> str:
    return text[:length]


# Times, each with how many units of it are in a second


def moment_of(time: int, per_second: int) -> datetime:
    seconds, fraction = divmod(time, per_second)
    return EPOCH + timedelta(seconds=seconds, microseconds=fraction * 1_000_000 // per_second)


@scalar
def calendar_window(time: int, per_second: int, months: int) -> int:
    """The start of the window of so many months that a time lies in."""
    moment = moment_of(time, per_second)
    count = (moment.year - 1970) * 12 + moment.month - 1
    return first_of_month(count - count % months, per_second)


@scalar
def calendar_window_end(time: int, per_second: int, months: int) -> int:
    moment = moment_of(time, per_second)
    return first_of_month((moment.year - 1970) * 12 + moment.month - 1 + months, per_second)


def first_of_month(count: int, per_second: int) -> int:
    first = datetime(1970 + count // 12, count % 12 + 1, 1, tzinfo=UTC)
    return int((first - EPOCH).total_seconds()) * per_second


@scalar
def day_of_week(time: int, per_second: int, base: int) -> int:
    """Counted from 0 on Monday (WEEKDAY, base 0), or from 1 on Sunday (DAYOFWEEK, base 1)."""
    day = time // (86400 * per_second) + 3
    return day % 7 if not base else (day + 1) % 7 + 1


@scalar
def written_time(time: int, per_second: int, form: str) -> str:
    """TO_CHAR."""
    moment = moment_of(time, per_second)
    nanoseconds = time % per_second * (1_000_000_000 // per_second)
    half = "am" if moment.hour < 12 else "pm"
    year, month, day = f"{moment.year:04d}", moment.strftime("%B"), moment.strftime("%A")
    forms = {
        "yyyy": year,
        "yyy": year[1:],
        "yy": year[2:],
        "y": year[3:],
        "mm": f"{moment.month:02d}",
        "ddd": f"{moment.timetuple().tm_yday:03d}",
        "dd": f"{moment.day:02d}",
        "d": str(moment.isoweekday() % 7 + 1),
        "hh24": f"{moment.hour:02d}",
        "hh12": f"{(moment.hour + 11) % 12 + 1:02d}",
        "hh": f"{(moment.hour + 11) % 12 + 1:02d}",
        "mi": f"{moment.minute:02d}",
        "ss": f"{moment.second:02d}",
        "ms": f"{nanoseconds // 1_000_000:03d}",
        "us": f"{nanoseconds // 1_000:06d}",
        "ns": f"{nanoseconds:09d}",
    }
    named = {"month": month.ljust(9), "mon": month[:3], "day": day.ljust(9), "dy": day[:3]}

    def written(found: re.Match[str]) -> str:
        part = found[0]
        if part[0] == '"':
            return part[1:-1]
        small = part.lower()
        if small in named:
            name = named[small]
            return name.upper() if part.isupper() else name if part[0].isupper() else name.lower()
        if small in forms:
            return forms[small]
        text = half if "." not in part else f"{half[0]}.m."
        return text.upper() if part.isupper() else text

    return TO_CHAR.sub(written, form)


# Aggregates


class ValueAt:
    """value_at(key, value): the value where the key is highest, the first of several.

    value_at(key, value, second): of these the one with the highest second key.
    """

    def __init__(self) -> None:
        self.key = self.value = None

    def step(self, key: Any, value: Any, *second: Any) -> None:
        if key is not None and (self.key is None or (key, *second) > self.key):
            self.key, self.value = (key, *second), value

    def finalize(self) -> Any:
        return self.value


class ValueAtLowest(ValueAt):
    """value_at_lowest(key, value): the same where the key is lowest."""

    def step(self, key: Any, value: Any, *second: Any) -> None:
        if key is not None and (self.key is None or (key, *second) < self.key):
            self.key, self.value = (key, *second), value


class WrappedSum:
    """wrapped_sum(value, is_unsigned): the sum of integers of 64 bits, as these wrap."""

    def __init__(self) -> None:
        self.sum: int | None = None
        self.lowest = 0

    def step(self, value: Any, is_unsigned: int) -> None:
        if value is not None:
            self.lowest = 0 if is_unsigned else -(2**63)
            self.sum = (self.sum or 0) + int(value)

    def finalize(self) -> Any:
        return None if self.sum is None else storable(wrapped(self.sum, 64, self.lowest))


class DecimalSum:
    """decimal_sum(number, scale), decimal_mean(number, scale): of DECIMALs, with so many digits."""

    def __init__(self) -> None:
        self.sum, self.count, self.scale = Decimal(0), 0, 0

    def step(self, value: str | None, scale: int) -> None:
        if value is not None:
            self.sum = DIGITS.add(self.sum, Decimal(value))
            self.count, self.scale = self.count + 1, scale

    def of(self, number: Decimal) -> str:
        return format(number.quantize(Decimal(1).scaleb(-self.scale), ROUND_HALF_UP, DIGITS), "f")

    def finalize(self) -> str | None:
        return self.of(self.sum) if self.count else None


class DecimalMean(DecimalSum):
    def finalize(self) -> str | None:
        return self.of(DIGITS.divide(self.sum, Decimal(self.count))) if self.count else None


class FiniteSum:
    """finite_sum(number): the sum; NULL where one is NaN or infinite."""

    def __init__(self) -> None:
        self.sum, self.count = 0.0, 0

    def step(self, value: Any) -> None:
        if value is not None:
            self.sum += float(value)
            self.count += 1

    def finalize(self) -> float | None:
        return self.sum if self.count and math.isfinite(self.sum) else None


class FiniteMean(FiniteSum):
    """finite_mean(number): the mean likewise."""

    def finalize(self) -> float | None:
        total = super().finalize()
        return None if total is None else total / self.count


class Deviation:
    """deviation(value, bits): STDDEV; integers' squares wrap at so many bits, 0 for none."""

    def __init__(self) -> None:
        self.count, self.sum, self.squares = 0, 0, 0

    def step(self, value: Any, bits: int) -> None:
        if value is None:
            return
        self.count += 1
        if bits:
            value = int(value)
            self.squares += wrapped(value * value, bits, -(2 ** (bits - 1)))
        else:
            value = float(value)
            self.squares += value * value
        self.sum += value

    def finalize(self) -> float | None:
        if not self.count:
            return None
        squares = wrapped(self.squares, 64, -(2**63)) if isinstance(self.squares, int) else self.squares
        total = wrapped(self.sum, 64, -(2**63)) if isinstance(self.sum, int) else self.sum
        average = total / self.count
        result = math.sqrt(abs(squares / self.count - average * average))
        return result if math.isfinite(result) else None


class Most:
    """most(value): MODE, the value that comes most often; of several the last to be so."""

    def __init__(self) -> None:
        self.counts: Counter[Any] = Counter()

    def step(self, value: Any) -> None:
        if value is not None:
            self.counts[value] += 1

    def finalize(self) -> Any:
        return max(reversed(self.counts), key=self.counts.__getitem__) if self.counts else None


class Distinct:
    """distinct_count(value): HYPERLOGLOG, exact here."""

    def __init__(self) -> None:
        self.values: set[Any] = set()

    def step(self, value: Any) -> None:
        if value is not None:
            self.values.add(value)

    def finalize(self) -> int:
        return len(self.values)


class Percentile:
    """percentile(value, percent): APERCENTILE by TDengine's histogram, of a bin for each value."""

    def __init__(self) -> None:
        self.counts: Counter[float] = Counter()
        self.percent = 0.0

    def step(self, value: Any, percent: float) -> None:
        self.percent = percent
        if value is not None:
            self.counts[float(value)] += 1

    def finalize(self) -> float | None:
        bins = sorted(self.counts.items())
        if not bins:
            return None
        wanted, total = self.counts.total() * self.percent / 100, 0
        for (value, count), (next_value, next_count) in pairwise(bins):
            total += count
            if total <= wanted < total + next_count:
                return between(value, count, next_value, next_count, wanted - total)
        return bins[0][0] if wanted < bins[0][1] else bins[-1][0]


def between(value: float, count: int, next_value: float, next_count: int, delta: float) -> float:
    """The value behind which `delta` more of the next bin's lie."""
    if abs(delta) < 1e-7:
        return value
    change = next_count - count
    if not change:
        return value + delta * (next_value - value) / next_count
    part = (-2 * count + math.sqrt(4 * count * count + 8 * change * delta)) / (2 * change)
    return value + (next_value - value) * part


class ExactPercentile:
    """exact_percentile(value, percent): PERCENTILE, between the values on both sides."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.percent = 0.0

    def step(self, value: Any, percent: float) -> None:
        self.percent = percent
        if value is not None:
            self.values.append(float(value))

    def finalize(self) -> float | None:
        if not self.values:
            return None
        self.values.sort()
        place = (len(self.values) - 1) * self.percent / 100
        low = math.floor(place)
        high = min(low + 1, len(self.values) - 1)
        return (1 - (place - low)) * self.values[low] + (place - low) * self.values[high]


AGGREGATES = {
    "value_at": ValueAt,
    "value_at_lowest": ValueAtLowest,
    "wrapped_sum": WrappedSum,
    "decimal_sum": DecimalSum,
    "decimal_mean": DecimalMean,
    "finite_sum": FiniteSum,
    "finite_mean": FiniteMean,
    "deviation": Deviation,
    "most": Most,
    "distinct_count": Distinct,
    "percentile": Percentile,
    "exact_percentile": ExactPercentile,
}
