"""How much one viewer may take: what lies beyond is refused or waits, and the others do not notice."""

import asyncio
import contextlib
import itertools
import socket
import statistics
import time
from collections.abc import Iterator
from typing import Any

import perspective
import psutil
import pytest
from conftest import TDengine
from support import Process, python, wait_for
from test_end_to_end import Server, serving, serving_with, written_all_the_time
from tornado.httpclient import HTTPClientError
from viewers import Beat, Viewer, answer, dumb_viewer, is_closed, url, wait_until_closed

from tdengine_perspective.gate.protocol import Request
from tdengine_perspective.gate.rules import MAX_EXPRESSIONS_LENGTH
from tdengine_perspective.gate.sessions import MAX_CELLS, MAX_SUBSCRIPTIONS, MAX_VIEWS, ViewerSession
from tdengine_perspective.gate.viewers import Viewers
from tdengine_perspective.gate.websocket import MAX_ENGINE_TIME, MAX_MESSAGE, MAX_REQUESTS, MAX_WAITING

ROWS = 1000
SEATS = 30


@pytest.fixture(scope="module")
def filled(tdengine: TDengine) -> Iterator[dict[str, str]]:
    with written_all_the_time(tdengine, "test_viewer_limits") as settings:
        yield settings


@pytest.fixture(scope="module")
def server(filled: dict[str, str]) -> Iterator[Server]:
    with serving(filled) as running:
        running.wait_until_live(rows=ROWS)
        yield running


async def opened(viewer: Viewer) -> "perspective.AsyncTable":
    return await viewer.client.open_table("meters_values")


def test_a_message_can_have_64_kb_and_no_more(server: Server) -> None:
    async def send() -> int | None:
        async with Viewer(url(server)) as viewer, Viewer(url(server)) as witness:
            largest = Request(entity_id="x" * (MAX_MESSAGE - 20), table_size={}).SerializeToString()
            assert MAX_MESSAGE - 20 < len(largest) <= MAX_MESSAGE
            await viewer.socket.write_message(largest, binary=True)
            assert await answer(viewer.client.get_hosted_table_names()) == ["meters_values"]
            with contextlib.suppress(OSError):
                await viewer.socket.write_message(bytes(MAX_MESSAGE + 1), binary=True)
            code = await answer(viewer.closed)
            assert await answer(witness.client.get_hosted_table_names()) == ["meters_values"]
            return code

    assert asyncio.run(send()) in (1009, None)  # None: the connection was reset before the reason was read


def test_requests_beyond_so_many_a_second_wait_and_nobody_waits_with_them(server: Server) -> None:
    async def hurry() -> tuple[float, list[float]]:
        async with Viewer(url(server)) as viewer, Viewer(url(server)) as witness:
            table, other = await opened(viewer), await opened(witness)
            began = time.monotonic()
            burst = asyncio.gather(*(table.size() for _ in range(3 * MAX_REQUESTS)))
            waits = []
            while not burst.done():
                asked = time.monotonic()
                await answer(other.size())
                waits.append(time.monotonic() - asked)
                await asyncio.sleep(0.01)
            assert set(await burst) == {ROWS}
            return time.monotonic() - began, waits

    seconds, waits = asyncio.run(hurry())
    assert seconds > 1.9  # the requests of the first second are saved up, the others take two
    assert statistics.median(waits) < seconds / 4


def test_a_viewer_gets_its_share_of_the_servers_time_and_no_more(server: Server) -> None:
    process = psutil.Process(server.process.pid)

    def used() -> float:
        times = process.cpu_times()
        return times.user + times.system

    async def export_on_and_on() -> float:
        async with Viewer(url(server)) as viewer:
            view = await (await opened(viewer)).view(split_by=["voltage"])
            for row in range(30):  # what was saved up is spent
                await answer(view.to_csv(start_row=row))  # each time another answer: none is at hand
            began, before = time.monotonic(), used()
            for row in range(30, 90):
                await answer(view.to_csv(start_row=row))
            return (used() - before) / (time.monotonic() - began)

    assert asyncio.run(export_on_and_on()) < 2 * MAX_ENGINE_TIME


def test_a_viewer_can_have_twenty_views(server: Server) -> None:
    async def look() -> None:
        async with Viewer(url(server)) as viewer, Viewer(url(server)) as other:
            table = await opened(viewer)
            views = [await table.view() for _ in range(MAX_VIEWS)]
            with pytest.raises(perspective.PerspectiveError, match=f"a viewer can have {MAX_VIEWS} views"):
                await table.view()
            assert await (await (await opened(other)).view()).num_rows() == ROWS
            await views[0].delete()
            assert await (await table.view()).num_rows() == ROWS

    asyncio.run(look())


def test_a_viewer_can_have_sixty_four_subscriptions() -> None:
    server = perspective.Server()
    server.new_local_client().table({"voltage": [215]}, name="meters")
    session = ViewerSession(Viewers(server), lambda answer: None)
    numbers = itertools.count(1)

    def ask(name: str = "meters", **what: Any) -> str | None:
        """Why it was refused, if it was. Perspective's client does not tell that of a subscription."""
        return session.handle(Request(msg_id=next(numbers), entity_id=name, **what).SerializeToString())

    for view in ("one", "two"):
        assert ask(make_view={"view_id": view}) is None
    assert ask(table_on_delete={}) is None
    assert ask("", hosted_tables={"subscribe": True}) is None
    for _ in range(MAX_SUBSCRIPTIONS // 2 - 1):
        assert ask("one", view_on_update={}) is None
        assert ask("two", view_on_delete={}) is None
    for refused in (
        ask("one", view_on_update={}),
        ask("two", view_on_delete={}),
        ask(table_on_delete={}),
        ask("", hosted_tables={"subscribe": True}),
    ):
        assert refused == f"a viewer can have {MAX_SUBSCRIPTIONS} subscriptions"
    assert ask("", hosted_tables={}) is None

    assert ask(table_remove_delete={"id": 3}) is None
    assert ask("one", view_on_update={}) is None
    assert ask("one", view_on_update={}) is not None
    assert ask("two", view_delete={}) is None
    for _ in range(MAX_SUBSCRIPTIONS // 2 - 1):
        assert ask("one", view_on_update={}) is None
    assert ask("one", view_on_update={}) is not None


async def refusal(promise: Any) -> str:
    with pytest.raises(perspective.PerspectiveError) as refused:
        await answer(promise)
    return str(refused.value)


def test_a_view_that_takes_too_long_is_refused_and_leaves_nothing_behind(server: Server) -> None:
    everything = ["timestamp", "location", "groupid", "current", "voltage", "phase"]

    async def look() -> None:
        async with Viewer(url(server)) as viewer:
            table = await opened(viewer)
            said = await refusal(table.view(group_by=everything, split_by=everything))
            assert "is too much for this server" in said
            for _ in range(MAX_VIEWS):
                await table.view()

    asyncio.run(look())


def test_the_views_of_a_viewer_together_may_take_so_long(server: Server) -> None:
    everything = ["timestamp", "location", "groupid", "current", "voltage", "phase"]

    async def look() -> None:
        async with Viewer(url(server)) as viewer:
            table = await opened(viewer)
            first = await table.view(group_by=everything)
            more = asyncio.gather(*(table.view(group_by=everything) for _ in range(1, MAX_VIEWS)))
            assert "is too much for this server" in await refusal(more)
            await first.delete()
            await table.view(group_by=everything)

    asyncio.run(look())


def test_an_answer_can_have_so_many_cells(server: Server) -> None:
    async def look() -> None:
        async with Viewer(url(server)) as viewer:
            view = await (await opened(viewer)).view(split_by=["timestamp"])
            said = await refusal(view.to_csv())
            assert f"gives out {MAX_CELLS:,} at once" in said
            assert len(await answer(view.to_csv(start_row=0, end_row=10, start_col=0, end_col=10))) > 10

    asyncio.run(look())


def test_the_expressions_of_a_view_can_have_so_many_characters(server: Server) -> None:
    half = "+".join(["1"] * (MAX_EXPRESSIONS_LENGTH // 4))

    async def look() -> None:
        async with Viewer(url(server)) as viewer:
            table = await opened(viewer)
            await (await table.view(expressions={"one": half})).delete()
            for ask in (table.view, table.validate_expressions):
                said = await refusal(ask(expressions={"one": half, "two": half, "three": half}))
                assert "characters of expressions" in said

    asyncio.run(look())


def test_so_many_viewers_find_a_seat_and_one_more_is_told_there_is_none(filled: dict[str, str]) -> None:
    async def crowd(server: Server) -> None:
        async with contextlib.AsyncExitStack() as seats:
            viewers = [Viewer(url(server)) for _ in range(SEATS)]
            for viewer in viewers:
                await seats.enter_async_context(viewer)
            with pytest.raises(HTTPClientError) as refused:
                async with Viewer(url(server)):
                    pass
            assert refused.value.code == 503
            health = await asyncio.to_thread(server.health)
            assert health["viewers"] == SEATS
            assert all(await asyncio.gather(*(viewer.client.get_hosted_table_names() for viewer in viewers)))
            viewers[0].socket.close()
            await asyncio.to_thread(wait_for, lambda: server.health()["viewers"] == SEATS - 1, "a free seat")
            async with Viewer(url(server)) as next_one:
                assert await next_one.client.get_hosted_table_names() == ["meters_values"]

    with serving_with(filled, f"viewers.MAX_VIEWERS = {SEATS}") as server:
        asyncio.run(crowd(server))
        wait_for(lambda: server.health()["viewers"] == 0, "all to be gone")
        server.process.wait_for_line(f"refused a viewer at 127.0.0.1: there are {SEATS}")


@pytest.fixture(scope="module")
def impatient(filled: dict[str, str]) -> Iterator[Server]:
    """The server, with a second of patience instead of 20 for a pong and 10 for a request."""
    changes = (
        "websocket.websocket_settings['websocket_ping_interval'] /= 20",
        "websocket.websocket_settings['websocket_ping_timeout'] /= 20",
        "web.http_settings['idle_connection_timeout'] /= 10",
        "web.http_settings['body_timeout'] /= 10",
    )
    with serving_with(filled, "; ".join(changes)) as running:
        yield running


def test_a_dead_connection_is_ended_and_a_living_one_is_not(impatient: Server) -> None:
    async def live_on(dead: socket.socket) -> None:
        async with Viewer(url(impatient)) as viewer:
            await asyncio.to_thread(wait_for, lambda: impatient.health()["viewers"] == 2, "two viewers")
            await asyncio.to_thread(wait_until_closed, dead)
            await asyncio.to_thread(wait_for, lambda: impatient.health()["viewers"] == 1, "one viewer")
            assert await answer(viewer.client.get_hosted_table_names()) == ["meters_values"]
            assert not viewer.closed.done()

    with dumb_viewer(impatient) as dead:  # it never says a word, not even a pong
        asyncio.run(live_on(dead))


@pytest.mark.parametrize("word", ["", "GET / HTTP/1.1\r\nHost: ", "POST / HTTP/1.1\r\nContent-Length: 9"])
def test_who_connects_and_does_not_come_to_the_point_is_gone(impatient: Server, word: str) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port)) as idle:
        idle.sendall(word.encode())

        def is_gone() -> bool:
            with contextlib.suppress(OSError):
                idle.send(b"a" if word else b"")  # a letter now and then does not help
            return is_closed(idle)

        wait_for(is_gone, "the end of the connection")
    impatient.health()


def test_a_viewer_that_stops_reading_is_closed_and_twenty_others_keep_their_beat(server: Server) -> None:
    process = psutil.Process(server.process.pid)

    async def ask_and_not_listen(slow: Viewer, view: Any) -> int:
        """Ask for more and more until the server is tired of it. Returns the peak of its memory."""
        promises, peak = [], 0
        while not any("it does not read what it asked for" in line for line in server.process.lines):
            promises.append(asyncio.ensure_future(view.to_arrow()))
            await asyncio.sleep(0.05)
            peak = max(peak, process.memory_info().rss)
        return peak

    async def crowd() -> None:
        async with Beat(server, 20) as beat, Viewer(url(server)) as slow:
            view = await (await opened(slow)).view(split_by=["voltage"])
            await answer(view.to_arrow())
            memory = process.memory_info().rss
            beat.start()
            await beat.polls(10)
            before = beat.taken()

            slow.reading.clear()
            beat.start()
            peak = await ask_and_not_listen(slow, view)
            slow.reading.set()
            assert await answer(slow.closed) == 1013
            meanwhile = beat.taken()
            print(f"{before} before, {meanwhile} meanwhile, memory {memory >> 20} MB, {peak >> 20} MB")
            assert meanwhile.seen > before.seen / 2
            assert meanwhile.pace > before.pace / 4
            assert peak - memory < 2 * MAX_WAITING + (32 << 20)
            assert server.health()["viewers"] == 20

    asyncio.run(crowd())


# The page's views, without their looks.
NEWEST = ["max by", ["timestamp"]]
DASHBOARD: list[dict[str, Any]] = [
    {
        "group_by": ["location", "groupid"],
        "group_rollup_mode": "flat",
        "aggregates": {name: NEWEST for name in ("location", "groupid", "current", "voltage", "phase")},
    },
    {
        "group_by": ["time"],
        "split_by": ["location"],
        "columns": ["current"],
        "expressions": {"time": 'datetime(bucket(float("timestamp"), 50))'},
        "aggregates": {"current": "avg"},
    },
    {"group_by": ["location"], "columns": ["voltage", "current", "phase"]},
    {"group_by": ["location"], "columns": ["voltage"], "aggregates": {"voltage": NEWEST}},
]


def test_a_large_window_has_room_for_the_dashboard_and_its_export(tdengine: TDengine, database: str) -> None:
    settings = {**tdengine.settings(database), "PERSPECTIVE_LIMIT": "20000"}

    async def look(server: Server) -> None:
        async with Viewer(url(server)) as viewer:
            table = await opened(viewer)
            for config in DASHBOARD:
                view = await table.view(**config)
                assert await view.num_rows() > 0
            everything = await table.view()
            assert len((await answer(everything.to_csv())).splitlines()) == 20_001

    with Process(python("producer.py", "--count", "1", "--rows", "20000"), settings) as producer:
        assert producer.wait() == 0, producer.output
    with serving(settings) as server:
        server.wait_until_live(rows=20_000)
        asyncio.run(look(server))
