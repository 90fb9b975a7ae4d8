"""The spans of time that can be looked back at."""

import pytest

from tdengine_perspective.history.spans import Span


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("5m", "`ts` >= NOW() - 5m"),
        ("24h", "`ts` >= NOW() - 24h"),
        ("7d", "`ts` >= NOW() - 7d"),
        ("2w", "`ts` >= NOW() - 2w"),
        ("90s", "`ts` >= NOW() - 90s"),
        ("all", ""),
        ("2023-11-14T22:00/2023-11-14T23:00", "`ts` >= 1699999200000 AND `ts` < 1700002800000"),
        ("2023-11-14T22:00Z/2023-11-14T22:00:00.5Z", "`ts` >= 1699999200000 AND `ts` < 1699999200500"),
        ("2023-11-14T23:00+01:00/2023-11-14T18:00-05:00", "`ts` >= 1699999200000 AND `ts` < 1700002800000"),
        ("1969-12-31T23:59:59.999/1970-01-01T00:00", "`ts` >= -1 AND `ts` < 0"),
    ],
)
def test_a_span_is_a_condition(text: str, condition: str) -> None:
    assert Span.parse(text).condition("`ts`") == condition


def test_times_are_in_the_precision_of_the_database() -> None:
    span = Span.parse("1970-01-01T00:00:01/1970-01-01T00:00:02")
    assert span.condition("`t`", units=1_000_000) == "`t` >= 1000000000 AND `t` < 2000000000"


@pytest.mark.parametrize(
    "text",
    [
        *("", "live", "5", "m", "5M", "-5m", "0m", "5 m", "5m ", "٥m", "999999999w", "ALL", "1.5h"),
        *("/", "2023-11-14T22:00", "2023-11-14T22:00/", "/2023-11-14T22:00", "2023-11-14/2023-11-15"),
        *("2023-11-14T22:00/2023-11-14T22:00", "2023-11-14T23:00/2023-11-14T22:00"),
        *("2023-13-14T22:00/2024-11-14T22:00", "2023-11-14T22:00/2023-11-14T23:00/2023-11-14T23:30"),
        *("2023-11-14 22:00/2023-11-14T23:00", "1 OR 1=1/2", "2023-11-14T22:00'/2023-11-14T23:00"),
    ],
)
def test_what_is_no_span_is_said_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        Span.parse(text)


def test_only_a_span_that_moves_on_is_relative() -> None:
    texts = ("15m", "all", "2023-11-14T22:00/2023-11-14T23:00")
    assert [Span.parse(text).is_relative for text in texts] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "interval", "keeps"),
    [
        ("5m", 2, 1),
        ("1h", 12, 6),
        ("7d", 60, 30),
        ("all", 60, 30),
        ("2023-11-14T22:00/2023-11-14T23:00", None, 30),
    ],
)
def test_a_longer_span_is_asked_for_less_often(text: str, interval: float | None, keeps: float) -> None:
    assert (Span.parse(text).interval, Span.parse(text).keeps) == (interval, keeps)
