"""Owns the calendar in SQL: TDengine's own functions go by the time zone of whoever asks, these by UTC.

In years from 1901 to 2099, in which each fourth one is a leap year.
"""

DAY = 86_400_000  # ms
FIRST, LAST = -25_202, 47_481  # of the days, since 1970
SINCE_1900 = 25_508  # days from 1900-03-01 to 1970-01-01
BEFORE_MONTH = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)  # days of a year, without a leap day


def day(time: str) -> str:
    """The days since 1970 of a time in ms."""
    return f"FLOOR({time} / {DAY})"


def month(days: str) -> str:
    """1 to 12."""
    return within(
        days, f"({month_from_march(days)} + CASE WHEN {month_from_march(days)} < 10 THEN 3 ELSE -9 END)"
    )


def start(days: str, count: int, by_year: bool) -> str:
    """The first day, in days since 1970, of so many months of a year, or so many years."""
    in_january = f"CASE WHEN {month_from_march(days)} < 10 THEN 0 ELSE 1 END"
    year = f"({year_from_march(days)} + 1900 + {in_january})"
    if by_year:
        return within(days, first_of(f"(FLOOR({year} / {count}) * {count})"))
    chosen = f"(FLOOR(({month(days)} - 1) / {count}) * {count})"
    before = " ".join(f"WHEN {place} THEN {length}" for place, length in enumerate(BEFORE_MONTH))
    leap_day = f"CASE WHEN {chosen} > 1 AND FLOOR({year} / 4) * 4 = {year} THEN 1 ELSE 0 END"
    return within(days, f"({first_of(year)} + CASE {chosen} {before} END + {leap_day})")


def first_of(year: str) -> str:
    return f"(365 * ({year} - 1970) + FLOOR(({year} - 1969) / 4))"


def year_from_march(days: str) -> str:
    """Years since March 1900."""
    return f"FLOOR((4 * ({days} + {SINCE_1900}) + 3) / 1461)"


def month_from_march(days: str) -> str:
    """0 for March to 11 for February."""
    of_year = f"({days} + {SINCE_1900} - FLOOR(1461 * {year_from_march(days)} / 4))"
    return f"FLOOR((5 * {of_year} + 2) / 153)"


def within(days: str, value: str) -> str:
    return f"CASE WHEN {days} BETWEEN {FIRST} AND {LAST} THEN {value} END"
