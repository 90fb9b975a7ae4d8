"""Looking back goes on apart: what is slow, hangs, ends or is hostile there harms nobody, and comes back."""

import asyncio
import contextlib
import multiprocessing
import pickle
import random
import re
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import perspective
import psutil
import pytest
from conftest import TDengine
from fuzzing import Fuzzer, client_requests, page_requests
from history_stand_in import serving_stand_in
from support import Process, emulator, free_port, python, wait_for
from test_end_to_end import COLUMNS as ALL_COLUMNS
from test_end_to_end import Server, serving, written_all_the_time, written_once
from test_hostile_viewers import RUBBISH
from test_looking_only import TOKEN, WRITES
from tornado.httpclient import HTTPClientError
from viewers import Beat, Viewer, answer, dumb_viewer, history_url, wait_until_closed

from tdengine_perspective.gate.protocol import Request
from tdengine_perspective.gate.sessions import MAX_CELLS, MAX_SUBSCRIPTIONS, MAX_VIEWS
from tdengine_perspective.history.asking import Asker, limited
from tdengine_perspective.history.messages import Begun, Learnt, Rows
from tdengine_perspective.history.questions import MAX_KEPT, Problem, Questions
from tdengine_perspective.history.words import NotAnswered
from tdengine_perspective.tdengine import TDengine as Reached
from tdengine_perspective.tdengine import ask_over_rest

TABLE = "meters_history"
SOON = "from tdengine_perspective.gate import websocket; websocket.MAX_WAITING = 1 << 20"
SPLIT = {"split_by": ["voltage"], "columns": {"columns": {"columns": ALL_COLUMNS}}}
EVERYTHING = {"columns": {"columns": {"columns": ALL_COLUMNS}}}
ENDED = "the process that looks back ended over this"
GROUPED = {"group_by": ["location"], "columns": ["voltage"], "aggregates": {"voltage": "max"}}


@pytest.fixture(scope="module")
def filled(tdengine: TDengine) -> Iterator[dict[str, str]]:
    """Settings for a database with 6,000 rows."""
    with written_once(tdengine, "test_history_apart", "--count", "20", "--interval", "50") as settings:
        yield settings


@pytest.fixture(scope="module")
def server(filled: dict[str, str]) -> Iterator[Server]:
    with serving(filled) as running:
        running.wait_until_live(rows=1000)
        yield running


@pytest.fixture(scope="module")
def slow(tdengine: TDengine) -> Iterator[tuple[dict[str, str], Reached]]:
    """Settings for a TDengine with a database of 300 rows where some queries are slow, and where it is."""
    name = "test_history_slow"
    with contextlib.ExitStack() as stack:
        if tdengine.is_emulator:
            port = free_port()
            stack.enter_context(emulator(port, program=["tests/slow_emulator.py"]))
            tdengine = TDengine(port, is_emulator=True)
        else:
            stack.callback(lambda: tdengine.connect().execute(f"DROP DATABASE IF EXISTS {name}"))
        settings = tdengine.settings(name)
        with Process(python("producer.py", "--count", "1", "--reset"), settings) as producer:
            assert producer.wait() == 0, producer.output
        yield (
            settings,
            Reached(tdengine.host, tdengine.port, tdengine.user, tdengine.password, name, "meters"),
        )


async def opened(viewer: Viewer) -> "perspective.AsyncTable":
    return await answer(viewer.client.open_table(TABLE))


def looking(server: Server, look: Callable[[Viewer, Any], Awaitable[Any]], time: str = "all") -> Any:
    """What `look` makes of a viewer and its table."""

    async def ask() -> Any:
        async with Viewer(history_url(server, time)) as viewer:
            return await look(viewer, await opened(viewer))

    return asyncio.run(ask())


def processes(server: Server) -> tuple[psutil.Process, list[psutil.Process]]:
    """The process that answers those who look back, and the workers that ask TDengine for it."""
    for child in psutil.Process(server.process.pid).children():
        workers = [each for each in child.children() if "spawn_main" in " ".join(each.cmdline())]
        if workers:
            return child, workers
    raise AssertionError("nobody looks back")


def history(server: Server) -> dict[str, int]:
    return next(iter(server.health()["history"].values()))


async def histories(server: Server) -> dict[str, int]:
    return await asyncio.to_thread(history, server)


async def until(condition: Callable[[], Any], what: str, timeout: float = 30) -> Any:
    """`wait_for` while viewers go on."""
    return await asyncio.to_thread(wait_for, condition, what, timeout)


def running(reached: Reached, part: str = " slow ") -> list[str]:
    """The statements that TDengine is at."""
    found = ask_over_rest(reached, "SELECT `sql`, kill_id FROM performance_schema.perf_queries")
    return [text for row in found for text in row if part in text]


# Looking


def test_a_viewer_finds_all_of_the_table_under_a_name_of_its_own(server: Server) -> None:
    async def look(viewer: Viewer, table: Any) -> None:
        assert await answer(viewer.client.get_hosted_table_names()) == [TABLE]
        assert await answer(table.size()) == 6000
        view = await answer(table.view(**GROUPED))
        assert await answer(view.num_rows()) == 11
        assert max((await answer(view.to_columns()))["voltage"]) > 200
        assert len(await answer(view.to_arrow())) > 100
        assert viewer.errors == []
        assert all(0 <= each["seconds"] < 30 for each in viewer.told)
        assert viewer.told

    looking(server, look)


def test_a_view_of_no_columns_has_all_as_on_the_live_side(server: Server) -> None:
    async def look(viewer: Viewer, table: Any) -> None:
        view = await answer(table.view(expressions={"double": '"current" * 2'}))
        assert set(await answer(view.schema())) == {*ALL_COLUMNS, "double"}

    looking(server, look)


def test_the_example_prints_each_hours_means(server: Server) -> None:
    url = f"ws://127.0.0.1:{server.port}/history"
    with Process(python("-m", "examples.history", url)) as example:
        assert example.wait() == 0, example.output
    assert 10 <= len(example.lines) <= 20  # ten meters, in one hour or two
    for line in example.lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:00:00 [A-Z][A-Za-z ]+( \d+\.\d+){2}", line), line


@pytest.mark.parametrize("write", WRITES)
def test_a_viewer_that_looks_back_cannot_write(server: Server, write: str) -> None:
    async def attempt(viewer: Viewer, table: Any) -> list[str]:
        with pytest.raises(perspective.PerspectiveError, match=r"read-only|at once|not available"):
            await answer(WRITES[write](viewer.client, table))
        return await answer(viewer.client.get_hosted_table_names())

    assert looking(server, attempt) == [TABLE]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 101),
        ({"Origin": "http://localhost:8081"}, 101),
        ({"Origin": "https://evil.example"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Host": "rebound.example:8080"}, 403),
    ],
)
def test_only_this_machines_pages_may_look_back(server: Server, headers: dict[str, str], status: int) -> None:
    assert asyncio.run(handshake(history_url(server), headers)) == status


def test_a_token_is_asked_for(filled: dict[str, str]) -> None:
    with serving({**filled, "PERSPECTIVE_TOKEN": TOKEN}) as server:
        assert asyncio.run(handshake(history_url(server))) == 401
        assert asyncio.run(handshake(history_url(server) + "&token=wrong-token")) == 401
        assert asyncio.run(handshake(history_url(server) + f"&token={TOKEN}")) == 101
        assert TOKEN not in server.process.output


async def handshake(url: str, headers: dict[str, str] | None = None) -> int:
    try:
        async with Viewer(url, headers):
            return 101
    except HTTPClientError as error:
        return error.code


async def closed_with(url: str) -> tuple[int | None, str | None]:
    async with Viewer(url) as viewer:
        with contextlib.suppress(ConnectionError):
            await viewer.ask(viewer.client.get_hosted_table_names())
        return await answer(viewer.closed), viewer.socket.close_reason


@pytest.mark.parametrize("span", ["", "yesterday", "0s", "2026-11-24/2026-11-23", "ü" * 200, "%ff%00"])
def test_a_wrong_time_closes_the_socket_with_a_line(server: Server, span: str) -> None:
    code, reason = asyncio.run(closed_with(history_url(server, span)))
    assert code == 1008
    assert reason
    assert "\n" not in reason


def test_looking_back_can_be_switched_off(filled: dict[str, str]) -> None:
    with serving({**filled, "PERSPECTIVE_HISTORY_WORKERS": "0"}) as server:
        code, reason = asyncio.run(closed_with(history_url(server)))
        assert (code, "PERSPECTIVE_HISTORY_WORKERS" in (reason or "")) == (1013, True)
        assert history(server)["workers"] == 0


def test_without_a_table_the_socket_is_closed_with_the_reason(tdengine: TDengine, database: str) -> None:
    with serving(tdengine.settings(database)) as server:
        code, reason = asyncio.run(closed_with(history_url(server)))
        assert (code, f"no database {database}" in (reason or "")) == (1013, True)


# Limits


def test_a_viewer_can_have_so_many_views_and_subscriptions(server: Server) -> None:
    async def look(viewer: Viewer, table: Any) -> None:
        views = [await answer(table.view(**GROUPED)) for _ in range(MAX_VIEWS)]
        with pytest.raises(perspective.PerspectiveError, match=f"a viewer can have {MAX_VIEWS} views"):
            await answer(table.view(**GROUPED))
        await answer(views[0].delete())
        await answer(table.view(**GROUPED))
        for number in range(MAX_SUBSCRIPTIONS + 1):
            frame = Request(msg_id=number + 1, entity_id=TABLE, table_on_delete={})
            await viewer.socket.write_message(frame.SerializeToString(), binary=True)
        await answer(table.size())
        assert viewer.errors[-1] == f"a viewer can have {MAX_SUBSCRIPTIONS} subscriptions"

    looking(server, look)


def test_no_more_cells_are_given_out_at_once_than_a_server_bears(server: Server) -> None:
    async def look(viewer: Viewer, table: Any) -> None:
        view = await answer(table.view(split_by=["voltage"], columns=ALL_COLUMNS))
        with pytest.raises(perspective.PerspectiveError, match=r"cells are too many; .* take fewer rows"):
            await answer(view.to_columns())
        assert len(await answer(view.to_columns(end_row=5, end_col=3))) == 3
        making = Request(msg_id=1, entity_id=TABLE, make_view={"view_id": "mine", "config": SPLIT})
        asking = Request(msg_id=2, entity_id="mine", view_to_columns={"viewport": {"end_row": 1 << 31}})
        for request in (making, asking):
            await viewer.socket.write_message(request.SerializeToString(), binary=True)
        await until(lambda: len(viewer.errors) > 1, "the refusal")
        assert f"this server gives out {MAX_CELLS:,} at once" in viewer.errors[-1]

    looking(server, look)


def test_an_answer_of_tdengines_is_held_up_to_so_many_cells_and_texts() -> None:
    assert limited(iter([(1, "a")] * 1000)) == [(1, "a")] * 1000
    with pytest.raises(NotAnswered, match=r"too much at once: more than 750,0.. rows; take a"):
        limited((number, None) for number in range(10**9))
    with pytest.raises(NotAnswered, match="too much at once"):
        limited(("a" * (1 << 20),) for _ in range(10**9))


# Turns


class Desk:
    """Questions, of which the test says when they are answered."""

    def __init__(self) -> None:
        self.questions = Questions(timeout=1)
        self.threads = ThreadPoolExecutor(50)

    def ask(self, viewer: int, sql: str, keeps: float = 0) -> "Future[Any]":
        self.questions.come(viewer)
        before = self.waiting()
        asking = self.threads.submit(self.questions.ask, viewer, sql, keeps)
        wait_for(lambda: asking.done() or self.waiting() > before or self.joined(sql), "the question")
        return asking

    def joined(self, sql: str) -> bool:
        return sql in self.questions.open and self.questions.open[sql].viewers.total() > 1

    def waiting(self) -> int:
        return sum(map(len, self.questions.waiting.values()))

    def take(self) -> Any:
        return self.threads.submit(self.questions.take).result(10)

    def answer(self, question: Any) -> None:
        self.questions.answer(question, pickle.dumps([(question.sql,)]), 0.5)
        self.questions.stopped(question)

    def close(self) -> None:
        """Let nobody wait any more."""
        for question in list(self.questions.open.values()):
            self.questions.fail(question, NotAnswered("the test has ended"))
        self.threads.shutdown()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


def test_each_viewer_has_its_turn_however_much_the_others_ask(desk: Desk) -> None:
    for number in range(5):
        desk.ask(1, f"first {number}")
    desk.ask(2, "second")
    desk.ask(3, "third")
    order = []
    for _ in range(7):
        question = desk.take()
        order.append(question.sql)
        desk.answer(question)
    assert order == ["first 0", "second", "third", "first 1", "first 2", "first 3", "first 4"]


def test_who_has_a_question_running_comes_after_those_who_have_none(desk: Desk) -> None:
    desk.ask(1, "long")
    long = desk.take()
    desk.ask(1, "next")
    desk.ask(2, "other")
    assert desk.take().sql == "other"
    desk.answer(long)
    assert desk.take().sql == "next"


def test_equal_questions_are_asked_once_and_kept_as_long_as_the_viewer_takes_them(desk: Desk) -> None:
    both = [desk.ask(viewer, "same") for viewer in (1, 2)]
    assert desk.waiting() == 1
    desk.answer(desk.take())
    assert [each.result(10) for each in both] == [([("same",)], 0.5)] * 2
    assert desk.ask(3, "same", keeps=30).result(10) == ([("same",)], None)
    desk.ask(3, "same", keeps=0)
    assert desk.waiting() == 1
    assert desk.questions.asked == 1


def test_what_nobody_waits_for_any_more_is_not_asked(desk: Desk) -> None:
    alone, shared, other = desk.ask(1, "alone"), desk.ask(1, "shared"), desk.ask(2, "shared")
    desk.questions.leave(1)
    with pytest.raises(NotAnswered):
        alone.result(10)
    question = desk.take()
    assert question.sql == "shared"
    desk.answer(question)
    assert other.result(10) == shared.result(10) == ([("shared",)], 0.5)
    assert desk.waiting() == 0


def test_a_question_does_not_wait_for_its_turn_for_ever(desk: Desk) -> None:
    desk.questions.timeout = 0
    with pytest.raises(Problem, match="too many look back"):
        desk.ask(1, "SELECT 1").result(10)


def test_answers_are_kept_within_bounds(desk: Desk) -> None:
    for number in range(20):
        desk.ask(1, f"{number}")
        question = desk.take()
        desk.questions.answer(question, bytes(MAX_KEPT // 5), 0.1)
        desk.questions.stopped(question)
    assert (
        desk.questions.kept_size == sum(len(each.rows) for each in desk.questions.kept.values()) <= MAX_KEPT
    )
    assert list(desk.questions.kept) == ["15", "16", "17", "18", "19"]


def test_equal_views_of_several_viewers_are_asked_of_tdengine_once(server: Server) -> None:
    async def asked_for(viewers: int) -> int:
        """How many questions so many viewers of the same cost."""
        async with contextlib.AsyncExitStack() as stack:
            looking = [await stack.enter_async_context(Viewer(history_url(server))) for _ in range(viewers)]
            tables = [await opened(viewer) for viewer in looking]
            before = await asyncio.to_thread(settled, server)
            config = {**GROUPED, "filter": [["current", ">", random.random()]]}
            views = await asyncio.gather(*(answer(table.view(**config)) for table in tables))
            found = [await answer(view.to_columns()) for view in views]
            assert all(each == found[0] for each in found)
            return await asyncio.to_thread(settled, server) - before

    alone = asyncio.run(asked_for(1))
    assert 0 < asyncio.run(asked_for(4)) <= 2 * alone  # what is asked more rarely may be due just then


def settled(server: Server) -> int:
    """How many questions were asked, once the server has heard of all: it does every second."""
    counts = [-1, history(server)["questions"]]

    def is_the_same_for_long() -> bool:
        counts.append(history(server)["questions"])
        return len(counts) > 100 and len(set(counts[-100:])) == 1  # two seconds and more

    wait_for(is_the_same_for_long, "the count")
    return counts[-1]


# What is slow


def test_a_query_over_its_time_is_ended_in_tdengine_too_and_the_viewer_keeps_what_it_shows(
    slow: tuple[dict[str, str], Reached],
) -> None:
    settings, reached = slow
    with serving_stand_in({**settings, "PERSPECTIVE_QUERY_TIMEOUT": "3"}) as server:

        async def look(viewer: Viewer, table: Any) -> None:
            view = await answer(table.view(**GROUPED))
            shown = await answer(view.to_columns())
            asking = asyncio.ensure_future(table.view(expressions={"slow": "91"}))
            await until(lambda: running(reached, "limit 91"), "the query")
            assert await answer(view.to_columns()) == shown  # another view does not wait for it
            with pytest.raises(perspective.PerspectiveError, match=r"longer than 3 s .*QUERY_TIMEOUT"):
                await answer(asking)
            assert "longer than 3 s" in next(each for each in viewer.told if "problem" in each)["problem"]
            await until(lambda: not running(reached, "limit 91"), "the end of the query", 60)
            assert await answer(view.to_columns()) == shown
            await answer(table.view(**{**GROUPED, "filter": [["voltage", ">", 1]]}))
            problems = [each["problem"] for each in viewer.told if "problem" in each]
            assert len(problems) == 2
            assert problems[1] is None

        looking(server, look)
        health = wait_for(lambda: history(server)["timeouts"] and history(server), "the count")
        assert (health["timeouts"], health["viewers"]) == (1, 0)
        assert running(reached, "limit 91") == []


def test_a_viewer_that_goes_takes_its_queries_along(slow: tuple[dict[str, str], Reached]) -> None:
    settings, reached = slow
    with serving_stand_in(settings) as server:

        async def look(viewer: Viewer, table: Any) -> None:
            asking = asyncio.ensure_future(table.view(expressions={"slow": "92"}))
            await until(lambda: running(reached, "limit 92"), "the query")
            asking.cancel()

        looking(server, look)
        wait_for(lambda: not running(reached, "limit 92"), "the end of the query", 60)
        assert history(server)["timeouts"] == 0
        assert looking(server, lambda viewer, table: answer(table.size())) == 300


def test_the_end_of_the_server_ends_its_queries(slow: tuple[dict[str, str], Reached]) -> None:
    settings, reached = slow
    with serving_stand_in(settings) as server:

        async def look(viewer: Viewer, table: Any) -> None:
            asking = asyncio.ensure_future(table.view(expressions={"slow": "93"}))
            await until(lambda: running(reached, "limit 93"), "the query")
            server.process.signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.process.wait) == 0
            asking.cancel()

        looking(server, look)
        wait_for(lambda: not running(reached, "limit 93"), "the end of the query", 60)


# What ends or hangs


def test_a_worker_that_is_killed_is_replaced_without_a_word(server: Server) -> None:
    async def look(viewer: Viewer, table: Any) -> None:
        view = await answer(table.view(**GROUPED))
        restarts = (await histories(server))["restarts"]
        for worker in processes(server)[1]:
            worker.kill()
        await answer(table.view(**{**GROUPED, "filter": [["voltage", ">", random.random()]]}))
        assert await answer(view.num_rows()) == 11
        assert viewer.errors == []
        await until(lambda: history(server)["restarts"] > restarts, "the count")

    looking(server, look)


def test_a_worker_that_hangs_is_replaced(filled: dict[str, str]) -> None:
    with serving({**filled, "PERSPECTIVE_QUERY_TIMEOUT": "1", "PERSPECTIVE_HISTORY_WORKERS": "1"}) as server:

        async def look(viewer: Viewer, table: Any) -> None:
            assert await answer(table.size()) == 6000
            (worker,) = processes(server)[1]
            worker.suspend()
            with pytest.raises(perspective.PerspectiveError, match=r"no answer from|longer than 1 s"):
                await answer(table.view(**GROUPED), 60)
            view = await answer(table.view(**GROUPED), 60)
            assert await answer(view.num_rows()) == 11
            assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE

        looking(server, look)


def test_when_the_answering_process_ends_its_viewers_views_are_made_again(server: Server) -> None:
    async def look(viewer: Viewer, table: Any) -> None:
        grouped = await answer(table.view(**GROUPED))
        rows = await answer(table.view(columns=["voltage"], filter=[["location", "==", "Campbell"]]))
        deleted = await answer(table.view(**GROUPED))
        await answer(deleted.delete())
        before = await answer(grouped.to_columns()), await answer(rows.to_columns())
        restarts = (await histories(server))["restarts"]
        processes(server)[0].kill()
        assert (await answer(grouped.to_columns()), await answer(rows.to_columns())) == before
        await until(lambda: history(server)["restarts"] == restarts + 1, "the count")
        with pytest.raises(perspective.PerspectiveError, match="View not found"):
            await answer(deleted.num_rows())
        assert not viewer.closed.done()

    looking(server, look)
    server.process.wait_for_line("the process that looks back ended or hung and was started again")


def test_a_request_that_ends_the_process_once_is_answered_by_the_next_one(
    filled: dict[str, str], tmp_path: Path
) -> None:
    with serving_stand_in(filled) as server:
        once = tmp_path / "once"
        once.touch()

        async def look(viewer: Viewer, table: Any) -> None:
            view = await answer(table.view(expressions={"end": f"'{once}'"}))
            assert await answer(view.num_rows()) == 6000

        looking(server, look)


@pytest.mark.parametrize("what", ["end_always", "hang"])
def test_a_request_that_ends_each_process_is_given_up_and_the_others_go_on(
    filled: dict[str, str], what: str
) -> None:
    with serving_stand_in(filled) as server:

        async def look(viewer: Viewer, table: Any) -> None:
            async with Viewer(history_url(server)) as other:
                shown = await answer((await opened(other)).view(**GROUPED))
                with pytest.raises(perspective.PerspectiveError, match=ENDED):
                    await answer(table.view(expressions={what: "1"}), 90)
                assert await answer(shown.num_rows(), 60) == 11
                assert await answer(table.size(), 60) == 6000
                assert not other.closed.done()
                assert other.errors == []

        looking(server, look)
        assert server.health()["status"] == "live"


def test_an_error_that_nobody_thought_of_tells_nothing_of_the_inside(
    filled: dict[str, str],
) -> None:
    with serving_stand_in(filled) as server:

        async def look(viewer: Viewer, table: Any) -> str:
            with pytest.raises(perspective.PerspectiveError) as error:
                await answer(table.view(expressions={"fail": "1"}))
            assert await answer(table.size()) == 6000
            return str(error.value)

        assert looking(server, look).endswith("this can't be computed when looking back")
        server.process.wait_for_line("refused a view that looks back, please report it: ValueError")


def test_tdengine_may_go_and_come_back(tmp_path: Path) -> None:
    """What is shown stays; what is asked meanwhile gets a line."""
    port = free_port()
    settings = TDengine(port, is_emulator=True).settings("power")
    with contextlib.ExitStack() as stack:
        tdengine = emulator(port, "--data", str(tmp_path))
        stack.callback(lambda: tdengine.kill())
        with Process(python("producer.py", "--count", "2", "--reset"), settings) as producer:
            assert producer.wait() == 0, producer.output
        server = stack.enter_context(serving(settings))
        server.wait_until_live()

        async def look(viewer: Viewer, table: Any) -> None:
            nonlocal tdengine
            view = await answer(table.view(**GROUPED))
            await asyncio.to_thread(tdengine.kill)
            with pytest.raises(perspective.PerspectiveError, match=r"nothing answers at|gone or too slow"):
                await answer(table.view(columns=["voltage"]))
            assert [each for each in viewer.told if each.get("problem")]
            tdengine = await asyncio.to_thread(emulator, port, "--data", str(tmp_path))
            back = await answer(table.view(columns=["voltage"]), 60)
            assert await answer(back.num_rows()) == 600
            assert await answer(view.num_rows()) == 11
            assert {"problem": None} in viewer.told

        looking(server, look, "24h")


def test_the_columns_are_learnt_though_the_first_who_asked_has_left(
    tdengine: TDengine, filled: dict[str, str]
) -> None:
    """What it was told was told to nobody: it is told again, and not only where it is new."""
    reached = Reached(
        tdengine.host, tdengine.port, tdengine.user, tdengine.password, "test_history_apart", "meters"
    )
    told, other_end = multiprocessing.Pipe(duplex=False)
    asker = Asker(reached, False, 10, other_end)
    for _ in range(2):
        assert isinstance(asker.answer(""), Rows)
        learnt = [told.recv() for _ in range(2)]  # and that it begins
        assert [type(each) for each in learnt] == [Learnt, Begun]
        assert "voltage" in learnt[0].schema.perspective


def test_when_the_columns_change_viewers_have_to_come_again(tdengine: TDengine, database: str) -> None:
    settings = tdengine.settings(database)
    with Process(python("producer.py", "--count", "1"), settings) as producer:
        assert producer.wait() == 0, producer.output
    with serving(settings) as server:
        server.wait_until_live()

        async def look(viewer: Viewer, table: Any) -> None:
            connection = tdengine.connect()
            connection.execute(f"ALTER TABLE {database}.meters ADD COLUMN power FLOAT")
            deadline = time.monotonic() + 60
            while not viewer.closed.done():  # the next question but a few finds it
                assert time.monotonic() < deadline
                with contextlib.suppress(perspective.PerspectiveError, ConnectionError):
                    filter = [["voltage", ">", random.random()]]
                    await viewer.ask(table.view(filter=filter, **GROUPED))
            assert (viewer.closed.result(), viewer.socket.close_reason) == (
                1012,
                "the table's columns have changed",
            )

        looking(server, look)
        schema = looking(server, lambda viewer, table: answer(table.schema()))
        assert schema["power"] == "float"


# What is hostile


@pytest.mark.parametrize("what", RUBBISH)
def test_a_broken_frame_ends_its_own_connection_alone(server: Server, what: str) -> None:
    async def watch(witness: Viewer, table: Any) -> None:
        with dumb_viewer(server, "/history?time=all") as attacker:
            attacker.sendall(RUBBISH[what])
            await asyncio.to_thread(wait_until_closed, attacker)
        assert await answer(table.size()) == 6000
        assert not witness.closed.done()

    looking(server, watch)


def test_what_is_no_request_closes_the_socket(server: Server) -> None:
    async def send(viewer: Viewer, table: Any) -> int:
        await viewer.socket.write_message(b"\xff\xff\xff", binary=True)
        return await answer(viewer.closed)

    async def tell(viewer: Viewer, table: Any) -> int:
        await viewer.socket.write_message("hello")
        return await answer(viewer.closed)

    assert looking(server, send) == 1007
    assert looking(server, tell) == 1003


def test_hostile_requests_do_not_end_the_answering_process(filled: dict[str, str]) -> None:
    """Each thousand in a new connection, while another viewer looks."""
    name = b"abcde_history"  # as long as the one that the frames have
    chosen = {"PERSPECTIVE_QUERY_TIMEOUT": "2", "PERSPECTIVE_TABLE_NAME": "abcde_values"}
    with serving({**filled, **chosen}) as server:
        fuzzer = Fuzzer(random.Random(16), page_requests() + client_requests())

        def frame() -> bytes:
            return fuzzer.frame().replace(b"meters_values", name)

        async def attack() -> None:
            async with Viewer(history_url(server)) as witness:
                table = await answer(witness.client.open_table(name.decode()))
                view = await answer(table.view(**GROUPED))
                for _ in range(4):
                    async with Viewer(history_url(server)) as attacker:
                        for _ in range(250):
                            if attacker.closed.done():
                                break
                            with contextlib.suppress(Exception):
                                await attacker.socket.write_message(frame(), binary=True)
                        with contextlib.suppress(ConnectionError, TimeoutError):
                            await answer(attacker.ask(attacker.client.get_hosted_table_names()), 60)
                    assert await answer(view.num_rows(), 60) == 11
                assert witness.errors == []

        asyncio.run(attack())
        assert history(server)["restarts"] == 0
        assert server.health()["status"] == "live"
        assert "Traceback" not in server.process.output


def test_who_reads_nothing_is_sent_away_and_nobody_waits_for_it(filled: dict[str, str]) -> None:
    with serving_stand_in(filled, SOON) as server:

        async def look(viewer: Viewer, table: Any) -> None:
            with dumb_viewer(server, "/history?time=all") as silent:
                silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                making = Request(
                    msg_id=1, entity_id=TABLE, make_view={"view_id": "mine", "config": EVERYTHING}
                )
                reading = Request(msg_id=2, entity_id="mine", view_to_columns={})
                silent.sendall(masked(making.SerializeToString()))
                for _ in range(100):
                    silent.sendall(masked(reading.SerializeToString()))
                await until(lambda: history(server)["viewers"] == 1, "the end of the one that does not read")
            assert await answer(table.size()) == 6000

        looking(server, look)


def masked(content: bytes) -> bytes:
    """A short WebSocket frame of a client's."""
    return bytes([0x82, 0x80 | len(content), 0, 0, 0, 0]) + content


# The live side


def test_live_viewers_keep_up_while_four_look_back_again_and_again(
    tdengine: TDengine,
) -> None:
    with written_all_the_time(tdengine, "test_history_beat") as settings, serving(settings) as server:
        server.wait_until_live(rows=1000)

        async def look_back(counted: list[int]) -> None:
            async with Viewer(history_url(server)) as viewer:
                table = await opened(viewer)
                while True:
                    filter = [["current", ">", random.random()]]  # each time another question
                    view = await answer(table.view(filter=filter, **GROUPED))
                    await answer(view.to_arrow())
                    await answer(view.delete())
                    counted[0] += 1

        async def compare() -> None:
            async with Beat(server, 3) as beat:
                beat.start()
                await beat.polls(20)
                before, counted = beat.taken(), [0]
                looking_back = [asyncio.create_task(look_back(counted)) for _ in range(4)]
                while counted[0] < 4:
                    assert not any(task.done() for task in looking_back), looking_back
                    await asyncio.sleep(0.02)
                beat.start()
                await beat.polls(40)
                meanwhile = beat.taken()
                for task in looking_back:
                    task.cancel()
                await asyncio.gather(*looking_back, return_exceptions=True)
            print(f"{before} before, {meanwhile} meanwhile, {counted[0]} views")
            assert meanwhile.seen > before.seen / 2

        asyncio.run(compare())


# The end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_no_process_is_left_when_the_server_ends(filled: dict[str, str], number: int) -> None:
    with serving(filled) as server:

        async def look(viewer: Viewer, table: Any) -> list[psutil.Process]:
            await answer(table.view(**GROUPED))
            return psutil.Process(server.process.pid).children(recursive=True)

        descendants = looking(server, look)
        assert len(descendants) >= 3
        server.process.signal(number)
        server.process.wait()
        wait_for(lambda: not any(map(is_alive, descendants)), "the end of all processes")


def is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def test_the_processes_end_when_nobody_has_looked_back_for_a_while(filled: dict[str, str]) -> None:
    with serving_stand_in(filled, "process.IDLE = 0.5") as server:
        assert looking(server, lambda viewer, table: answer(table.size())) == 6000
        wait_for(lambda: len(psutil.Process(server.process.pid).children(recursive=True)) <= 2, "their end")
        assert history(server)["restarts"] == 0
        assert looking(server, lambda viewer, table: answer(table.size())) == 6000
