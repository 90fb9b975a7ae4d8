"""A table that is a SELECT's result holds what the SELECT answers, after each of its reads."""

import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
from test_mirror import Copy, Source, shown

from tdengine_perspective.mirror.query import QueryReader
from tdengine_perspective.mirror.result import millisecond, schema_of
from tdengine_perspective.tdengine import Refused

DAY = 86_400_000  # ms


class QueryCopy(Copy):
    """As Copy, of a query's result; `{table}` in the query is the source's table."""

    def __init__(self, source: Source, query: str, key: tuple[str, ...] = (), limit: int = 1000):
        self.query = query.format(table=f"{source.database}.{source.tdengine.table}")
        self.key = key
        super().__init__(source, limit)

    def make_reader(self) -> Any:
        return QueryReader(self.source.tdengine, self.query, self.key, self.limit)

    def assert_still(self) -> None:
        """Nothing changed, so a read sends nothing."""
        poll = self.poll()
        assert (poll.update, poll.whole, poll.schema) == (None, False, None)

    def assert_exact(self) -> None:
        result = self.source.connection.query(self.query)
        kinds = [field.type() for field in result.fields]
        rows = [
            tuple(
                millisecond(value) if kind == "TIMESTAMP" and value else shown(kind, value, 1)
                for kind, value in zip(kinds, row, strict=True)
            )
            for row in result
        ]
        assert sorted(map(repr, self.rows())) == sorted(map(repr, rows))


@pytest.fixture
def source(tdengine: Any) -> Iterator[Source]:
    source = Source(tdengine)
    yield source
    source.close()


QUERIES = [
    ("SELECT ts, current, voltage, location FROM {table} ORDER BY ts DESC LIMIT 5", ()),
    ("SELECT ts, current, voltage, location FROM {table} ORDER BY ts DESC LIMIT 5", ("ts", "location")),
    ("SELECT voltage, location FROM {table} WHERE voltage > 1", ()),
    ("SELECT COUNT(*) FROM {table}", ()),
]


@pytest.mark.parametrize(("query", "key"), QUERIES)
def test_the_table_is_the_querys_result_after_each_read(
    source: Source, query: str, key: tuple[str, ...]
) -> None:
    chance = random.Random(7)
    source.insert("d0", [(source.clock() - DAY, 1.5, 1, 1.0)])
    copy = QueryCopy(source, query, key)
    for number in range(25):
        match chance.randrange(5):
            case 0 if rows := source.rows(" > 0"):
                source.execute(f"DELETE FROM {source.database}.meters WHERE ts = {chance.choice(rows)[1]}")
            case 1 if rows := source.rows(" > 0"):
                meter, timestamp, _ = chance.choice(rows)
                source.insert(meter, [(timestamp, chance.choice([math.nan, None, 2.5]), number % 3, 1.0)])
            case _:
                meter = chance.choice(["d0", "d1"])
                reading = (chance.choice([math.nan, math.inf, None, 1.5]), chance.choice([None, 1, 2]), 0.5)
                source.insert(meter, [(source.clock() - chance.randrange(4) * 1000, *reading)])
        copy.poll()
        copy.assert_exact()
        copy.assert_still()


def test_a_querys_columns_may_change_under_way(source: Source) -> None:
    source.insert("d0", [(source.clock(), 1.5, 1, 1.0)])
    copy = QueryCopy(source, "SELECT * FROM {table}")
    copy.poll()
    source.alter("ADD COLUMN extra DOUBLE")
    source.connection = source.server.connect()
    copy.poll()
    copy.assert_exact()
    assert "extra" in copy.view.to_columns()


def test_a_key_that_is_no_column_is_said(source: Source) -> None:
    source.insert("d0", [(source.clock(), 1.5, 1, 1.0)])
    reader = QueryReader(source.tdengine, f"SELECT ts FROM {source.database}.meters", ("minute",), 10)
    with pytest.raises(Refused, match="has no column minute"):
        reader.poll(source.connection)


def test_rows_beyond_the_limit_are_said(source: Source) -> None:
    start = source.clock()
    source.insert("d0", [(start + i, 1.5, i, 1.0) for i in range(9)])
    copy = QueryCopy(source, "SELECT ts, voltage FROM {table}", limit=5)
    copy.poll()
    assert len(copy.rows()) == 5
    assert "has more rows than are shown" in copy.mirror.state.notices[0]


def test_a_column_without_a_name_that_perspective_bears_gets_one() -> None:
    fields = [
        ("", "INT"),
        ("psp_x", "INT"),
        ("a", "INT"),
        ("a", "DOUBLE"),
        ("x" * 200, "VARCHAR"),
        ("g", "?"),
    ]
    schema = schema_of(fields)
    assert schema.perspective == {
        "column 1": "integer",
        "column 2": "integer",
        "a": "integer",
        "a (4)": "float",
        "column 5": "string",
    }
    assert schema.left_out == ("g, of the type ?, which is not known here",)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01 00:00:00 +00:00", 0),
        ("1970-01-01 01:00:00.001 +01:00", 1),
        ("2026-11-24 05:55:37.024999999 +00:00", 1795499737024),
        ("1969-12-31 23:59:59.999 +00:00", -1),
        ("+262142-12-31 23:59:59 +00:00", None),
    ],
)
def test_timestamps_as_the_driver_writes_them(text: str, milliseconds: int | None) -> None:
    assert millisecond(text) == milliseconds
