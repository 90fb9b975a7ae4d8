"""Nothing that a viewer sends ends the server, holds the others up, or stays in its memory."""

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator
from typing import Any

import perspective
import psutil
import pytest
from conftest import TDengine
from fuzzing import SCHEMA, TABLE, Fuzzer, Victim, client_requests, page_requests, table_rows
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support import ROOT, Process, python, wait_for
from test_end_to_end import Server, serving, serving_with, written_all_the_time
from viewers import Beat, Viewer, answer, dumb_viewer, url, wait_until_closed

from tdengine_perspective.gate.protocol import Request
from tdengine_perspective.gate.sessions import ViewerSession
from tdengine_perspective.gate.viewers import Viewers

RECORDED = Fuzzer(random.Random(1), page_requests() + client_requests()).recorded

# What the bytes of a request become.
CHANGES = {
    "replace": lambda data, at, new: data[:at] + new + data[at + len(new) :],
    "insert": lambda data, at, new: data[:at] + new + data[at:],
    "cut out": lambda data, at, new: data[:at] + data[at + len(new) :],
    "cut off": lambda data, at, new: data[:at],
    "repeat": lambda data, at, new: data + data[at:],
    "enormous length": lambda data, at, new: data[:at] + b"\xff\xff\xff\xff\x0f" + data[at:],
    "bury": lambda data, at, new: (data[:at] + new) * 20,
}
change = st.tuples(st.sampled_from(sorted(CHANGES)), st.integers(0, 300), st.binary(min_size=1, max_size=4))


@st.composite
def changed_requests(draw: st.DrawFn) -> bytes:
    data = draw(st.sampled_from(RECORDED))
    for name, at, new in draw(st.lists(change, min_size=1, max_size=3)):
        data = CHANGES[name](data, at % (len(data) + 1), new)
    return data[:5000]


def many(examples: int) -> settings:
    """The same examples at each run: new ones are looked for by hand, see fuzzing.py."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # looking for a smaller one would start a server for each try
        suppress_health_check=list(HealthCheck),
    )


def test_the_server_bears_six_thousand_changed_requests() -> None:
    with Victim() as victim:

        @many(200)
        @given(st.lists(changed_requests(), min_size=30, max_size=30))
        def feed(requests: list[bytes]) -> None:
            victim.feed(requests)

        feed()
        assert victim.fed >= 6_000


def test_the_server_bears_fourteen_thousand_made_up_requests() -> None:
    with Victim() as victim:

        @many(140)
        @given(st.randoms(use_true_random=True))
        def feed(chance: random.Random) -> None:
            fuzzer = Fuzzer(chance, RECORDED)
            victim.feed([fuzzer.frame() for _ in range(100)])

        feed()
        assert victim.fed >= 14_000


@pytest.fixture(scope="module")
def settings_filled(tdengine: TDengine) -> Iterator[dict[str, str]]:
    with written_all_the_time(tdengine, "test_hostile_viewers") as settings:
        yield settings


@pytest.fixture(scope="module")
def server(settings_filled: dict[str, str]) -> Iterator[Server]:
    with serving(settings_filled) as running:
        running.wait_until_live(rows=1000)
        yield running


def request(name: str = TABLE, **what: Any) -> bytes:
    return Request(msg_id=1, entity_id=name, **what).SerializeToString()


def view(**config: Any) -> bytes:
    return request(make_view={"view_id": "mine", "config": config})


SPLIT = view(split_by=["location"])
GROUPED = view(group_by=["location"])
DEADLY = {
    "a filter without a value": [view(filter=[{"column": "voltage", "op": ">"}])],
    "a filter with an empty value": [view(filter=[{"column": "voltage", "op": ">", "value": [{}]}])],
    "a filter on a date past all dates": [
        view(filter=[{"column": "timestamp", "op": ">", "value": [{"float": 1e300}]}])
    ],
    "the mean of text": [view(group_by=["voltage"], aggregates={"location": {"aggregations": ["avg"]}})],
    "a span of no rows": [
        view(
            group_by=["location"],
            aggregates={"current": {"aggregations": ["high minus low"]}},
            filter=[{"column": "current", "op": "<", "value": [{"float": -1e9}]}],
        ),
        request("mine", view_to_columns={}),
    ],
    "a split's columns sorted by one that is not shown": [
        view(
            group_by=["voltage"],
            split_by=["location"],
            columns={"columns": {"columns": ["current"]}},
            sort=[{"column": "phase", "op": 4}],
        )
    ],
    "a new depth for a split view": [SPLIT, request("mine", view_depth={"depth": 1})],
    "changes of a split view": [SPLIT, request("mine", view_on_update={"mode": 1})],
    **{
        f"one of the engine's own columns ({place})": [view(**config)]
        for place, config in {
            "columns": {"columns": {"columns": {"columns": ["psp_okey"]}}},
            "group": {"group_by": ["psp_okey"]},
            "split": {"split_by": ["psp_pkey"]},
            "sort": {"sort": [{"column": "psp_pkey", "op": 1}]},
            "filter": {"filter": [{"column": "psp_okey", "op": "==", "value": [{"string": "x"}]}]},
            "aggregate": {"aggregates": {"psp_okey": {"aggregations": ["sum"]}}},
            "aggregate by": {"aggregates": {"voltage": {"aggregations": ["max by", "psp_okey"]}}},
            "expression": {"expressions": {"e": '"psp_okey"'}},
            "expression's name": {"expressions": {"psp_okey": "1"}},
            "expression's col()": {"expressions": {"e": "col('psp_okey')"}},
        }.items()
    },
    "a row far beyond the last": [GROUPED, request("mine", view_expand={"row_index": 0xFFFFFFFF})],
    "an enormous depth": [GROUPED, request("mine", view_depth={"depth": 0xFFFFFFFF})],
    "a view in the place of another": [GROUPED, SPLIT],
    "an expression that never ends": [view(expressions={"e": "while (true) { 1 }"})],
    "an expression that reaches anywhere": [view(expressions={"e": "var v[2]; v[100000000]"})],
    "an expression of two types": [view(expressions={"e": "if (\"voltage\" > 1) 'a'; else 1"})],
}


@pytest.mark.parametrize("what", DEADLY)
def test_what_would_end_the_engine_is_refused(server: Server, what: str) -> None:
    async def send() -> None:
        async with Viewer(url(server)) as viewer, Viewer(url(server)) as witness:
            for frame in DEADLY[what]:
                await viewer.socket.write_message(frame, binary=True)
            assert await answer(viewer.client.get_hosted_table_names()) == [TABLE]
            assert await answer((await witness.client.open_table(TABLE)).size()) == 1000
        assert viewer.errors
        assert "Abort" not in viewer.errors[-1]  # it is the gate that says no

    asyncio.run(send())
    polls = server.health()["polls"]
    wait_for(lambda: server.health()["polls"] > polls + 1, "polls that go on")


COMPARE_TEXTS = """
import asyncio
from test_nulls import ROWS, Plant
from test_shared_views import Guest

async def look():
    plant = Plant(seed=9)
    filters = [["place", how, text] for how in ("==", "!=") for text in ("a", "b", "c")]
    shown = {"group_by": ["area"], "columns": ["value"]}
    views = [await Guest(plant).view({**shown, "filter": [one]}) for one in filters]
    for _ in range(200):
        plant.change(1, whole=True)
        while len(plant.rows) < ROWS:
            plant.grow(plant.random.randrange(1, 4))
            for view in views:
                await view.num_rows()

asyncio.run(look())
"""


def test_views_that_compare_texts_bear_every_update() -> None:
    """Perspective's engine, left to itself, ends in nearly every such run."""
    with Process(python("-c", COMPARE_TEXTS), {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}) as process:
        assert process.wait(120) == 0, process.output


def test_a_text_that_rows_are_compared_with_may_have_any_characters(server: Server) -> None:
    """Also those that begin the names of the engine's own columns."""

    async def look() -> None:
        async with Viewer(url(server)) as viewer:
            table = await viewer.client.open_table(TABLE)
            for operator, value, rows in (
                ("==", "psp_okey", 0),
                ("in", ["psp_okey", "psp_pkey"], 0),
                ("!=", "psp_", 1000),
                ("not in", ["psp_"], 1000),
            ):
                view = await table.view(columns=["voltage"], filter=[["location", operator, value]])
                assert await view.num_rows() == rows, operator
                await view.delete()
            view = await table.view(
                columns=["mine"], expressions={"mine": "if (\"location\" == 'psp_okey') 1; else 0"}
            )
            assert set((await view.to_columns())["mine"]) == {0}
            found = await table.validate_expressions({"mine": "\"location\" == 'psp_'"})
            assert found["errors"] == {}
        assert viewer.errors == []

    asyncio.run(look())


ENORMOUS = [
    view(columns={"columns": {"columns": ["voltage"]}}),
    request(
        "mine", view_to_columns={"viewport": {"start_row": 0, "end_row": 0xFFFFFFFF, "end_col": 0xFFFFFFFF}}
    ),
    request("mine", view_to_csv={"viewport": {"start_row": 0xFFFFFFFE, "end_row": 0xFFFFFFFF}}),
    request("mine", view_to_arrow={"viewport": {"start_col": 0xFFFFFFFF}}),
    request("mine", view_column_paths={"start_col": 5, "end_col": 0xFFFFFFFF}),
]


def test_an_enormous_part_of_a_view_is_no_more_than_the_view(server: Server) -> None:
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss

    async def ask() -> None:
        async with Viewer(url(server)) as viewer:
            for frame in ENORMOUS:
                await viewer.socket.write_message(frame, binary=True)
            assert await answer(viewer.client.get_hosted_table_names()) == [TABLE]
            assert viewer.received < 1 << 20
            assert viewer.errors == []

    asyncio.run(ask())
    assert process.memory_info().rss < before + (64 << 20)


def frame(first: int, length: bytes, rest: bytes = b"") -> bytes:
    """A WebSocket frame: flags and kind, the byte or bytes that tell its length, mask and content."""
    return bytes([first]) + length + rest


MASK = b"\x01\x02\x03\x04"
RUBBISH = {
    "a frame of 2⁶³ bytes": frame(0x82, b"\xff\x7f" + b"\xff" * 7, MASK),
    "a message in frames without end": frame(0x02, b"\xfe\xff\xff", MASK + b"x" * 65535) * 3,
    "reserved flags": frame(0xF2, b"\x81", MASK + b"x"),
    "an unknown kind of frame": frame(0x8B, b"\x81", MASK + b"x"),
    "a long ping": frame(0x89, b"\xfe\x10\x00", MASK + b"x" * 4096),
    "text that is no text": frame(0x81, b"\x82", MASK + b"\xfe\xfd"),
    "a continuation of nothing": frame(0x80, b"\x81", MASK + b"x"),
    "no WebSocket at all": bytes(range(256)) * 16,
}


@pytest.mark.parametrize("what", RUBBISH)
def test_a_broken_frame_ends_its_own_connection_alone(server: Server, what: str) -> None:
    async def watch() -> None:
        async with Viewer(url(server)) as witness:
            with dumb_viewer(server) as attacker:
                attacker.sendall(RUBBISH[what])
                await asyncio.to_thread(wait_until_closed, attacker)
            assert await answer(witness.client.get_hosted_table_names()) == [TABLE]
            assert not witness.closed.done()

    asyncio.run(watch())
    assert "Traceback" not in server.process.output


COLUMNS = list(SCHEMA)
LONG = "a" * 1800
SLOW: list[dict[str, Any]] = [
    {"group_by": COLUMNS, "sort": [[column, "desc"] for column in COLUMNS]},
    {"group_by": COLUMNS, "split_by": COLUMNS},
    {"split_by": ["timestamp"]},
    {"group_by": ["timestamp", "current"], "aggregates": dict.fromkeys(COLUMNS, "join")},
    {"filter": [["location", "contains", "a"]] * 100},
    {"filter": [["location", "in", [f"l{number}" for number in range(70)]]] * 100},
    {"expressions": {"e": "concat(" + ", ".join(['string("timestamp")'] * 90) + ")"}},
    {"expressions": {f"e{number}": f"concat(string(random()), '{number}')" for number in range(20)}},
    {"expressions": {"e": f"replace_all(\"location\", '.', '{LONG}')"}},
    {"expressions": {"e": "+".join(['sin("current")'] * 130)}},
    {"expressions": {"e": 'order("location", ' + ", ".join(f"'{number}'" for number in range(250)) + ")"}},
    {"expressions": {"e": 'match("location", \'' + "(.*)*" * 300 + "x')"}},
]


def test_slow_views_of_one_viewer_do_not_slow_down_the_others(server: Server) -> None:
    async def attack() -> int:
        """Make each of the views as soon as the server lets us. Returns how many it made."""
        made = 0
        async with Viewer(url(server)) as attacker:
            table = await attacker.client.open_table(TABLE)
            for config in SLOW[::2]:
                with contextlib.suppress(perspective.PerspectiveError):
                    slow = await answer(table.view(**config))
                    made += 1
                    await answer(slow.to_csv())
                    await answer(slow.delete())
        return made

    async def look() -> None:
        async with Beat(server, 3) as beat:
            beat.start()
            await beat.polls(10)
            before = beat.taken()
            beat.start()
            assert await attack() > 1
            meanwhile = beat.taken()
        print(f"{before} before, {meanwhile} meanwhile")
        assert meanwhile.seen > before.seen / 2
        assert meanwhile.pace > before.pace / 8

    asyncio.run(look())


def test_no_view_takes_much_longer_than_grouping_by_all_columns() -> None:
    engine = perspective.Server()
    engine.new_local_client().table(SCHEMA, name=TABLE).update(table_rows(1000, 0))
    answers: list[bytes] = []
    session = ViewerSession(Viewers(engine), answers.append)
    used: list[float] = []  # processor time, which does not depend on what else the machine does

    async def send(request: bytes) -> None:
        began = time.process_time()
        session.handle(bytes(request))
        used.append(time.process_time() - began)
        while answers:
            await client.handle_response(answers.pop(0))

    client = perspective.AsyncClient(send)

    async def seconds(config: dict[str, Any]) -> float:
        table = await client.open_table(TABLE)
        used.clear()
        with contextlib.suppress(perspective.PerspectiveError):
            await (await table.view(**config)).delete()
        return max(used)

    async def measure() -> None:
        usual = min([await seconds({"group_by": COLUMNS}) for _ in range(3)])
        for config in SLOW:
            taken = await seconds(config)
            print(f"{taken / usual:.1f} times as long: {str(config)[:90]}")
            assert taken < 12 * usual

    asyncio.run(measure())


def test_memory_that_a_viewer_took_comes_back_also_while_nothing_is_written(
    tdengine: TDengine, database: str
) -> None:
    chosen = tdengine.settings(database)
    with Process(python("producer.py", "--count", "4"), chosen) as producer:
        assert producer.wait() == 0, producer.output

    async def waste(server: Server) -> None:
        """Have the engine keep texts, of which it forgets none by itself: about 5 MB a view."""
        async with Viewer(url(server)) as viewer:
            table = await viewer.client.open_table(TABLE)
            for number in range(12):
                text = f"{number}{LONG}"
                with contextlib.suppress(perspective.PerspectiveError):  # on a busy machine it takes too long
                    wasteful = await table.view(expressions={"e": f"concat(string(random()), '{text}')"})
                    await wasteful.delete()

    with serving_with(chosen, "engine.MAX_MEMORY_GROWTH = 8 << 20") as server:
        process = psutil.Process(server.process.pid)
        before = process.memory_info().rss
        asyncio.run(waste(server))
        wait_for(lambda: process.memory_info().rss < before + (20 << 20), "the memory to come back", 10)
        assert server.shown().total() == 1000


def test_a_table_renewed_again_and_again_has_each_row_once(settings_filled: dict[str, str]) -> None:
    with serving_with(settings_filled, "engine.MAX_MEMORY_GROWTH = -1 << 40") as server:
        polls = server.wait_until_live(rows=1000)["polls"]
        for number in range(1, 4):  # more than one renewal, and many polls
            wait_for(lambda number=number: server.health()["polls"] > polls + 10 * number, "the next polls")
            rows = server.shown()
            assert rows.total() == len(rows) == 1000
