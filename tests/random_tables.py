"""Owns random tables in TDengine, of every type that is shown: NULLs, NaN, ties, awkward names and texts.

A table is a value that `write` writes as often as one likes, so that a failure can be told and made smaller.
"""

import math
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import taosws

UNITS = {"ms": 1, "us": 1_000, "ns": 1_000_000}  # of a database's timestamps: so many make a millisecond
BIND_TIMES = {
    "ms": taosws.millis_timestamps_to_column,
    "us": taosws.micros_timestamps_to_column,
    "ns": taosws.nanos_timestamps_to_column,
}
KEEP = 106_000  # days: as many as a database in ns may keep
BEGIN = 1_795_000_000_000  # ms since 1970, in November 2026
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000

Draw = Callable[[random.Random], Any]

TEXTS = [
    *("", "a", "A", "b", "San Jose", "San Diego", "Campbell", "x|y", "|", "it's", 'say "hi"', "back\\slash"),
    *("100%", "a_b", "_", "%", "é", "É", "Zürich", "🙂", "a🙂b", " ", " a ", "true", "12", "-1.5e3", "1.5x"),
    *("line\nbreak", "tab\there", "[", "a.c", "abc", "^a", "`tick`", "--", "';--", "\\n", "日本", "%d"),
]
FLOATS = [0.0, 1.0, -1.0, 0.5, 1.5, -2.5, 2.0, 10.25, 230.0, 0.1, -0.1, 1e-7, 123456.789, 1e12]
NAMES = [
    *("current", "voltage", "phase", "Temp", "temp", "order", "value", "a b", "zähler", "a|b", "x%y", "o'c"),
    *('q"t', "back\\slash", "_c0", "count", "日本", "first", "row_path"),
]
TAG_NAMES = ["location", "groupid", "Site", "tags", "line no", "is_on", "point", "🙂"]


def integer(low: int, high: int) -> Draw:
    return lambda rng: rng.choice((rng.randint(0, 5), rng.randint(max(low, -9), 30), rng.choice((low, high))))


def double(rng: random.Random) -> float:
    others = (round(rng.uniform(-20, 20), 3), rng.choice((math.nan, math.inf, -math.inf)))
    return rng.choice((rng.choice(FLOATS), rng.choice(FLOATS), *others))


def single(rng: random.Random) -> float:
    return struct.unpack("f", struct.pack("f", double(rng)))[0]


def decimal(digits: int) -> Draw:
    return lambda rng: Decimal(rng.randint(-(10**digits), 10**digits)).scaleb(-3)


def text(rng: random.Random) -> str:
    return rng.choice(TEXTS)


def binary(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 3)))


def point(rng: random.Random) -> "Point":
    return Point(rng.randint(-2, 2) / 2, rng.randint(-2, 2) / 2)


def moment(rng: random.Random) -> int:
    """In ms."""
    near = BEGIN + rng.randrange(-3, 3) * HOUR + rng.randrange(5) * 1001
    return rng.choice((near, near, 0, -5001, rng.randrange(-(10**12), 2 * 10**12)))


@dataclass(frozen=True)
class Point:
    x: float
    y: float


@dataclass(frozen=True)
class Json:
    text: str


def json(rng: random.Random) -> Json:
    return Json(rng.choice(('{"a": 1}', '{"a": "x"}', '{"b": null}', "{}")))


KINDS: dict[str, Draw] = {
    "BOOL": lambda rng: rng.random() < 0.5,
    "TINYINT": integer(-128, 127),
    "SMALLINT": integer(-(2**15), 2**15 - 1),
    "INT": integer(-(2**31), 2**31 - 1),
    "BIGINT": integer(-(2**53), 2**53),
    "TINYINT UNSIGNED": integer(0, 255),
    "SMALLINT UNSIGNED": integer(0, 2**16 - 1),
    "INT UNSIGNED": integer(0, 2**32 - 1),
    "BIGINT UNSIGNED": integer(0, 2**53),
    "FLOAT": single,
    "DOUBLE": double,
    "DECIMAL(10,3)": decimal(10),
    "DECIMAL(20,3)": decimal(15),
    "VARCHAR(40)": text,
    "NCHAR(20)": text,
    "VARBINARY(10)": binary,
    "GEOMETRY(60)": point,
    "TIMESTAMP": moment,
    "JSON": json,
}
COMMON = [  # drawn as often as all of them together
    *("FLOAT", "DOUBLE", "INT", "VARCHAR(40)", "NCHAR(20)", "BOOL", "BIGINT", "TIMESTAMP"),
    *("FLOAT", "DOUBLE", "INT", "VARCHAR(40)", "BOOL", "TINYINT", "SMALLINT UNSIGNED", "DECIMAL(10,3)"),
]
NO_COLUMNS = {"JSON"}
NO_TAGS = {"DECIMAL(10,3)", "DECIMAL(20,3)", "JSON"}  # a tag of JSON has to be the only one


@dataclass(frozen=True)
class RandomTable:
    precision: str
    key: str
    columns: dict[str, str]  # besides the key: name and type
    tags: dict[str, str] | None  # None: a plain table
    subtables: dict[str, tuple]  # the tags of each
    rows: list[tuple[str, int, tuple]]  # subtable, timestamp in the database's unit, values

    name = "t"

    def statements(self, database: str) -> Iterator[str]:
        """The SQL that makes it; NaN and infinity, which SQL can't write, are NULL here."""
        yield f"CREATE DATABASE `{database}` PRECISION '{self.precision}' KEEP {KEEP}d VGROUPS 2 BUFFER 3"
        columns = ", ".join(
            f"`{name}` {kind}" for name, kind in {self.key: "TIMESTAMP", **self.columns}.items()
        )
        if self.tags is None:
            yield f"CREATE TABLE `{database}`.`{self.name}` ({columns})"
        else:
            tags = ", ".join(f"`{name}` {kind}" for name, kind in self.tags.items())
            yield f"CREATE STABLE `{database}`.`{self.name}` ({columns}) TAGS ({tags})"
        for subtable, tags in self.subtables.items():
            values = self.written(self.tags or {}, tags)
            yield f"CREATE TABLE `{database}`.`{subtable}` USING `{database}`.`{self.name}` TAGS ({values})"
        for subtable, rows in self.rows_by_subtable().items():
            values = " ".join(f"({at}, {self.written(self.columns, row)})" for at, row in rows)
            yield f"INSERT INTO `{database}`.`{subtable}` VALUES {values}"

    def rows_by_subtable(self) -> dict[str, list[tuple[int, tuple]]]:
        found: dict[str, list[tuple[int, tuple]]] = {}
        for subtable, at, row in self.rows:
            found.setdefault(subtable, []).append((at, row))
        return found

    def written(self, kinds: dict[str, str], values: tuple) -> str:
        units = UNITS[self.precision]
        return ", ".join(
            literal(value * units if kind == "TIMESTAMP" and value is not None else value)
            for kind, value in zip(kinds.values(), values, strict=True)
        )

    def numbers_out_of_sql(self) -> Iterator[tuple[str, str, str, list[tuple[int, float]]]]:
        """Where NaN and infinity stand: subtable, column, type, then timestamps and values."""
        for subtable, rows in self.rows_by_subtable().items():
            for place, (name, kind) in enumerate(self.columns.items()):
                cells = [(at, row[place]) for at, row in rows if is_out_of_sql(row[place])]
                if cells:
                    yield subtable, name, kind, cells

    def write(self, connection: "taosws.Connection", database: str) -> None:
        for statement in self.statements(database):
            connection.execute(statement)
        for subtable, name, kind, cells in self.numbers_out_of_sql():
            statement = connection.stmt2_statement()
            statement.prepare(f"INSERT INTO `{database}`.`{subtable}` (`{self.key}`, `{name}`) VALUES (?, ?)")
            times, values = map(list, zip(*cells, strict=True))
            bind = taosws.floats_to_column if kind == "FLOAT" else taosws.doubles_to_column
            columns = [BIND_TIMES[self.precision](times), bind(values)]
            statement.bind([taosws.stmt2_bind_param_view(None, None, columns)])
            statement.execute()
            statement.close()

    def described(self) -> str:
        """What makes it, to be read."""
        odd = [f"-- {sub}.{name}: {cells}" for sub, name, _, cells in self.numbers_out_of_sql()]
        return "\n".join([*(f"{statement};" for statement in self.statements("oracle")), *odd])


def is_out_of_sql(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def literal(value: Any) -> str:
    """A value as TDengine's SQL writes it."""
    if value is None or is_out_of_sql(value):
        return "NULL"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Json):
        return quoted(value.text)
    if isinstance(value, bytes):
        return "'\\x" + value.hex() + "'" if value else "''"
    if isinstance(value, Point):
        return f"'POINT({value.x} {value.y})'"
    if isinstance(value, Decimal):
        return f"'{value}'"
    return repr(value) if isinstance(value, float) else str(value)


def quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def random_table(rng: random.Random) -> RandomTable:
    precision = rng.choice(("ms", "ms", "us", "ns"))
    names = rng.sample(NAMES, rng.randint(3, 8))
    columns = {
        name: rng.choice(COMMON + [kind for kind in KINDS if kind not in NO_COLUMNS]) for name in names
    }
    tags, subtables = None, {}
    if rng.random() < 0.85:
        kinds = [kind for kind in (*COMMON, *KINDS) if kind not in NO_TAGS]
        tags = {name: rng.choice(kinds) for name in rng.sample(TAG_NAMES, rng.randint(1, 4))}
        if rng.random() < 0.1:
            tags = {"info": "JSON"}
        pools = [pool(rng, kind, rng.randint(1, 3)) for kind in tags.values()]
        for number in range(rng.randint(1, 6)):
            values = tuple(rng.choice(values) for values in pools)
            subtables[f"d{number}" if rng.random() < 0.8 else f"Dev {number}"] = values
    pools = [pool(rng, kind, rng.choice((1, 2, 4, 8, 30))) for kind in columns.values()]
    rows = [
        (subtable, at, tuple(rng.choice(values) for values in pools))
        for subtable, at in sorted(
            times(rng, precision, list(subtables) or [RandomTable.name]), key=lambda x: (x[1], x[0])
        )
    ]
    key = rng.choice(("ts", "ts", "timestamp", "When"))
    return RandomTable(precision, key, columns, tags, subtables, rows)


def pool(rng: random.Random, kind: str, size: int) -> list[Any]:
    """The values that a column's are drawn from; few, so that there are ties and groups."""
    values = [KINDS[kind](rng) for _ in range(size)]
    share = rng.choice((0, 0, 0.2, 0.5, 1))
    return values + [None] * round(share * size + (0.3 if share else 0))


def times(rng: random.Random, precision: str, subtables: list[str]) -> set[tuple[str, int]]:
    """Subtables and timestamps: steps of all lengths, some of them at one time in several subtables."""
    units = UNITS[precision]
    found = set()
    count = rng.choice((0, 1, 3, 12, 40, 40, 90))
    step = rng.choice((1, 1000, MINUTE, HOUR, DAY, 31 * DAY))
    begin = rng.choice((BEGIN, BEGIN, BEGIN, BEGIN + 12_345, 0, -20 * DAY))
    for _ in range(count):
        at = begin + rng.randrange(max(1, count)) * step
        fine = rng.randrange(units) if rng.random() < 0.2 else 0
        for subtable in rng.sample(subtables, rng.choice((1, 1, 1, len(subtables)))):
            found.add((subtable, at * units + fine))
    return found
