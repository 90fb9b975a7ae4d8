"""NULLs in what a view goes by are groups of their own, exact after each update, and no viewer misses one."""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import perspective
import pytest
from test_shared_views import Guest, told_of_updates, until

from tdengine_perspective.engine import ENGINE_THREADS
from tdengine_perspective.gate.protocol import OWN_QUESTION, Request
from tdengine_perspective.gate.viewers import Viewers
from tdengine_perspective.mirror.messages import Poll
from tdengine_perspective.mirror.schema import Column, Schema
from tdengine_perspective.mirror.table import Mirror
from tdengine_perspective.tables import TableSettings

perspective.set_num_cpus(ENGINE_THREADS)

KINDS = {  # a column of each of Perspective's types that the mirror makes, and the values that it has here
    "timestamp": ("TIMESTAMP", None),
    "place": ("NCHAR", ["a", "b", "c"]),
    "area": ("VARCHAR", ["x", "y", ""]),
    "number": ("INT", [0, 1, 2]),
    "level": ("DOUBLE", [0.0, 0.5, -1.5]),
    "is_on": ("BOOL", [True, False]),
    "since": ("TIMESTAMP", [0, 1_700_000_000_000, 1_700_086_400_000]),
    "value": ("DOUBLE", [1.0, 2.0, 4.0, 8.0]),
}
SCHEMA = Schema(
    tuple(Column(name, name, kind) for name, (kind, _) in KINDS.items()), left_out=(), key_size=2, units=1
)
ROWS = 12
DAY = 86_400_000
EXPRESSIONS = {  # what a viewer computes, and the same in Python; NULL where a column of it is
    "upper": ('upper("place")', lambda row: row["place"] and row["place"].upper()),
    "next": ('"number" + 1', lambda row: None if row["number"] is None else row["number"] + 1),
    "day": ("bucket(\"since\", 'D')", lambda row: row["since"] and row["since"] // DAY * DAY),
    "found": ("search(\"place\", '(a|b)')", lambda row: row["place"] if row["place"] in ("a", "b") else None),
    "or none": ("coalesce(\"place\", 'none')", lambda row: row["place"] or "none"),
    "steps": ('datetime(bucket(float("timestamp"), 5))', lambda row: row["timestamp"] // 5 * 5),
}
PIVOTS = [
    *([name] for name in KINDS if name != "value"),
    *([name] for name in EXPRESSIONS),
    ["place", "area"],
    ["number", "is_on", "since"],
    ["upper", "area"],
    ["place", "found"],
]

Row = dict[str, Any]


class Plant:
    """A mirror whose rows change, and what they are."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.engine = perspective.Server()
        self.viewers = Viewers(self.engine)
        self.mirror = Mirror(
            self.engine.new_local_client(),
            TableSettings(perspective_table_name="table"),
            note_nulls=self.viewers.note_nulls,
        )
        self.server = self.engine  # as the guests of test_shared_views know it
        self.rows: dict[int, Row] = {}
        self.change(ROWS, whole=True)

    def change(self, number: int, whole: bool = False) -> None:
        """As a poll does: new rows in the place of others, or in the place of all."""
        self.put(list(range(number)) if whole else self.random.sample(range(ROWS), number), whole)

    def grow(self, number: int) -> None:
        """New rows beside those that there are."""
        self.put(list(range(len(self.rows), len(self.rows) + number)), whole=False)

    def put(self, slots: list[int], whole: bool) -> None:
        rows = [self.row() for _ in slots]
        update = SCHEMA.as_json([(row["timestamp"], "t", *list(row.values())[1:]) for row in rows], slots)
        if whole:
            self.rows.clear()
        self.rows.update(zip(slots, rows, strict=True))
        schema = None if self.mirror.schema else SCHEMA
        self.mirror.take(Poll(update, whole, len(self.rows), 1, schema))

    def row(self) -> Row:
        row: Row = {"timestamp": self.random.randrange(20)}
        for name, (_, values) in KINDS.items():
            if values:
                row[name] = None if self.random.random() < 0.3 else self.random.choice(values)
        return row

    def groups(
        self, pivots: list[str], passes: Callable[[Row], bool] = lambda row: True
    ) -> dict[tuple, tuple[float, int]]:
        """The sum of the values, and how many rows there are, for each combination of values."""
        groups: dict[tuple, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
        for row in filter(passes, self.rows.values()):
            path = tuple(EXPRESSIONS[name][1](row) if name in EXPRESSIONS else row[name] for name in pivots)
            total, count = groups[path]
            groups[path] = (total + (row["value"] or 0.0), count + 1)
        return dict(groups)


def config(group_by: list[str], split_by: list[str] = ()) -> dict[str, Any]:
    return {
        "group_by": group_by,
        "split_by": list(split_by),
        "group_rollup_mode": "flat",
        "columns": ["value", "timestamp"],
        "aggregates": {"value": "sum", "timestamp": "count"},
        "expressions": {name: EXPRESSIONS[name][0] for name in [*group_by, *split_by] if name in EXPRESSIONS},
    }


def groups_of(columns: dict[str, list]) -> dict[tuple, tuple[float, int]]:
    """What a view by nothing but rows shows, in the form of Plant.groups; each group once."""
    rows = list(zip(columns["__ROW_PATH__"], columns["value"], columns["timestamp"], strict=True))
    groups = {tuple(path): (total or 0.0, count) for path, total, count in rows if count}
    assert len(groups) == len([count for *_, count in rows if count]), "a group stands there twice"
    return groups


def split(groups: dict[tuple, tuple[float, int]], at: int) -> dict[tuple, dict[str, int]]:
    """Of each row's path the counts, by the text of the column's path."""
    rows: dict[tuple, dict[str, int]] = defaultdict(dict)
    for path, (_, count) in groups.items():
        column = "|".join("null" if part is None else str(part) for part in path[at:])
        rows[path[:at]][column] = rows[path[:at]].get(column, 0) + count
    return dict(rows)


def split_of(columns: dict[str, list]) -> dict[tuple, dict[str, int]]:
    rows: dict[tuple, dict[str, int]] = {}
    for number, path in enumerate(columns["__ROW_PATH__"]):
        counts: dict[str, int] = defaultdict(int)
        for name, values in columns.items():
            column, _, what = name.rpartition("|")
            if what == "timestamp" and values[number]:
                counts[column] += values[number]
        if counts:
            assert tuple(path) not in rows, "a group stands there twice"
            rows[tuple(path)] = dict(counts)
    return rows


def changes(plant: Plant) -> Iterator[None]:
    """Some rows change, again and again, at times all; and at times the table is empty or renewed."""
    for step in range(40):
        if step % 13 == 12:
            plant.mirror.take(Poll(None, True, 0, None))
            plant.rows.clear()
            plant.change(ROWS)
        elif step % 7 == 6:
            plant.change(plant.random.randrange(1, ROWS), whole=True)
            plant.change(ROWS)
        else:
            plant.change(plant.random.randrange(1, ROWS))
        if step % 5 == 4:
            plant.mirror.memory.has_grown = lambda: True
            plant.mirror.renew_table_when_due()
            assert plant.mirror.failed_renewal is None
        yield


@pytest.mark.parametrize("pivots", PIVOTS, ids="-".join)
def test_each_row_is_in_its_group(pivots: list[str]) -> None:
    async def look() -> None:
        plant = Plant(seed=len(pivots))
        view = await Guest(plant).view(config(pivots))
        for _ in changes(plant):
            assert groups_of(json.loads(await view.to_columns_string())) == plant.groups(pivots)

    asyncio.run(look())


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (["place"], ["area"]),
        (["steps"], ["place"]),
        (["number"], ["is_on"]),
        (["level", "place"], ["area", "is_on"]),
        (["since"], ["upper"]),
        (["found"], ["number"]),
    ],
    ids=str,
)
def test_each_row_is_in_its_group_and_column(rows: list[str], columns: list[str]) -> None:
    async def look() -> None:
        plant = Plant(seed=3)
        view = await Guest(plant).view(config(rows, columns))
        for _ in changes(plant):
            expected = plant.groups([*rows, *columns])
            shown = split_of(json.loads(await view.to_columns_string()))
            assert {path: sum(counts.values()) for path, counts in shown.items()} == {
                path: sum(counts.values()) for path, counts in split(expected, len(rows)).items()
            }
            if set(columns) <= {"place", "area", "number", "upper"}:  # the others' texts are the engine's
                assert shown == split(expected, len(rows))

    asyncio.run(look())


def test_all_viewers_hear_of_each_update_whatever_they_go_by() -> None:
    async def look() -> None:
        plant = Plant(seed=4)
        counts: dict[str, int] = {}
        guests = []
        for number, pivots in enumerate(PIVOTS):
            guest = Guest(plant)
            guests.append(guest)
            view = await guest.view(config(pivots, ["area"] if number % 2 else []))
            await view.on_update(told_of_updates(counts, str(number)))
        for update in range(1, 60):
            plant.change(plant.random.randrange(1, ROWS))
            everybody = dict.fromkeys(map(str, range(len(PIVOTS))), update)
            await until(lambda everybody=everybody: counts == everybody)
        for guest in guests:
            guest.session.close()
        plant.mirror.table.delete()  # the engine refuses that where a view is left

    asyncio.run(look())


EITHER = {  # filters joined by or, and what they let through
    "a text, or no number": (
        [["place", "==", "a"], ["number", "is null", None]],
        lambda row: row["place"] == "a" or row["number"] is None,
    ),
    "another text, or a number": (
        [["number", ">", 1], ["place", "!=", "a"]],
        lambda row: (row["number"] or 0) > 1 or row["place"] != "a",
    ),
    "a computed text, or that it is on": (
        [["upper", "==", "B"], ["is_on", "==", True]],
        lambda row: row["place"] == "b" or row["is_on"],
    ),
}


@pytest.mark.parametrize("filters", EITHER)
def test_filters_joined_by_or_go_with_several_columns(filters: str) -> None:
    terms, passes = EITHER[filters]

    async def look() -> None:
        plant = Plant(seed=5)
        asked = {**config(["place", "area"]), "filter": terms, "filter_op": "or"}
        asked["expressions"] = {"upper": EXPRESSIONS["upper"][0]}
        view = await Guest(plant).view(asked)
        for _ in changes(plant):
            shown = groups_of(json.loads(await view.to_columns_string()))
            assert shown == plant.groups(["place", "area"], passes)

    asyncio.run(look())


def test_the_highest_and_the_order_of_rows_do_not_depend_on_when_a_null_came() -> None:
    async def look() -> None:
        plant = Plant(seed=6)
        guest = Guest(plant)
        highest = await guest.view(
            {"group_by": ["timestamp"], "columns": ["value"], "aggregates": {"value": "max"}}
        )
        ordered = await guest.view({"columns": ["value"], "sort": [["value", "asc"]]})
        for _ in changes(plant):
            values = [row["value"] for row in plant.rows.values()]
            known = [value for value in values if value is not None]
            total, *_ = json.loads(await highest.to_columns_string())["value"]
            assert total == max(known, default=None)
            shown = json.loads(await ordered.to_columns_string())["value"]
            assert shown == [None] * (len(values) - len(known)) + sorted(known)

    asyncio.run(look())


CLOSING = {
    "columns": (["place", "area"], {}),
    "an expression": (["found", "area"], {}),
    "a filter": (["place", "area"], {"filter": [["number", "!=", 7]]}),
}


@pytest.mark.parametrize("what", CLOSING)
def test_rows_stay_closed_and_exact_while_others_come(what: str) -> None:
    pivots, filters = CLOSING[what]

    async def look() -> None:
        plant = Plant(seed=7)
        guest = Guest(plant)
        asked = {**config(pivots), **filters, "group_rollup_mode": "rollup"}
        view, deep, other = [await guest.view(asked) for _ in range(3)]
        await view.collapse(0)
        for _ in range(20):
            plant.change(plant.random.randrange(1, ROWS))
            assert await view.num_rows() == 1
            assert json.loads(await view.to_columns_string())["timestamp"] == [ROWS]
        await view.expand(0)
        outer = {path for (path, *_) in plant.groups(pivots)}
        assert await view.num_rows() == 1 + len(outer)
        _, name, _ = guest.session.views
        for depth in (0, 1):
            deeper = Request(msg_id=OWN_QUESTION, entity_id=name, view_depth={"depth": depth})
            assert guest.session.handle(deeper.SerializeToString()) is None
            for _ in range(10):
                plant.change(plant.random.randrange(1, ROWS))
                shown = json.loads(await deep.to_columns_string())
                rows = zip(shown["__ROW_PATH__"], shown["timestamp"], strict=True)
                inner = {tuple(path): count for path, count in rows if len(path) == depth + 1 and count}
                expected = plant.groups(pivots[: depth + 1])
                assert inner == {path: count for path, (_, count) in expected.items()}
        assert shown == json.loads(await other.to_columns_string())
        guest.session.close()
        assert plant.viewers.shared_views.views == {}
        plant.mirror.table.delete()  # the engine refuses that where a view is left

    asyncio.run(look())


COPIED = {  # which views are made anew at each update, at more cost
    "the page's steps of time": (["steps"], {}, False),
    "a column with NULLs": (["place"], {}, False),
    "an expression of it": (["upper"], {}, True),
    "an expression that may have no value": (["found"], {}, True),
    "a filter that keeps NULLs out": (["place"], {"filter": [["number", ">", 0]]}, False),
    "a filter that lets NULLs in": (["place"], {"filter": [["number", "!=", 0]]}, True),
    "another filter beside it": (["place"], {"filter": [["number", "!=", 0], ["level", "<", 9]]}, False),
    "no groups": ([], {"filter": [["number", "!=", 0]]}, False),
}


@pytest.mark.parametrize("what", COPIED)
def test_what_the_engine_keeps_true_is_computed_once(what: str) -> None:
    pivots, filters, is_copied = COPIED[what]

    async def look() -> None:
        plant = Plant(seed=8)
        guest = Guest(plant)
        view = await guest.view({**config(pivots), **filters})
        await view.num_rows()
        (made,) = plant.viewers.shared_views.views.values()
        assert bool(made.copy) == is_copied

    asyncio.run(look())


def test_new_rows_that_a_filter_keeps_out_take_nothing_away() -> None:
    """Where the window grows; rows in the place of others never did."""

    async def look() -> None:
        plant = Plant(seed=9)
        filters = {"filter": [["place", "!=", "a"]]}
        view = await Guest(plant).view({**config(["area"]), **filters})
        for _ in range(30):
            plant.change(1, whole=True)
            while len(plant.rows) < ROWS:
                plant.grow(plant.random.randrange(1, 4))
                shown = groups_of(json.loads(await view.to_columns_string()))
                assert shown == plant.groups(["area"], lambda row: row["place"] != "a")

    asyncio.run(look())
