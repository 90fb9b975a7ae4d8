"""Viewers that want the same view share one in the engine, and can't tell."""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable

import perspective
import pytest
from perspective.perspective import AsyncView

from tdengine_perspective.gate.protocol import Request
from tdengine_perspective.gate.sessions import ViewerSession
from tdengine_perspective.gate.viewers import Viewers

SORTED = {"columns": ["place", "value"], "sort": [["value", "desc"]]}
GROUPED = {"columns": ["value"], "group_by": ["place"], "aggregates": {"value": "sum"}}


class Host:
    """A table, and the sessions of its viewers, all in this process."""

    def __init__(self) -> None:
        self.server = perspective.Server()
        self.table = self.server.new_local_client().table({"place": "string", "value": "float"}, name="table")
        self.table.update({"place": ["a", "a", "b"], "value": [1, 2, 3]})
        self.viewers = Viewers(self.server)

    def shared_views(self) -> int:
        return len(self.viewers.shared_views.views)


class Guest:
    """A viewer: Perspective's own client, and the server's side of it."""

    def __init__(self, host: Host):
        self.client = perspective.AsyncClient(self.ask)
        self.session = ViewerSession(host.viewers, self.hear)
        self.underway: set[asyncio.Task] = set()

    async def ask(self, request: bytes) -> None:
        self.session.handle(bytes(request))

    def hear(self, answer: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self.client.handle_response(answer))
        self.underway.add(task)
        task.add_done_callback(self.underway.discard)

    async def view(self, config: dict[str, object]) -> AsyncView:
        return await (await self.client.open_table("table")).view(**config)


async def columns(view: AsyncView) -> dict[str, list]:
    return json.loads(await view.to_columns_string())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def told_of_updates(counts: dict[str, int], name: str) -> Callable[..., None]:
    def count(*_: object) -> None:
        counts[name] = counts.get(name, 0) + 1

    return count


def run(scene: Callable[[Host], Awaitable[None]]) -> None:
    asyncio.run(scene(Host()))


def test_the_engine_has_one_view_for_all_who_want_the_same() -> None:
    async def scene(host: Host) -> None:
        guests = [Guest(host) for _ in range(3)]
        same = [await guest.view(SORTED) for guest in guests]
        assert host.shared_views() == 1
        await guests[0].view(GROUPED)
        assert host.shared_views() == 2
        assert [await columns(view) for view in same] == [{"place": ["b", "a", "a"], "value": [3, 2, 1]}] * 3
        for guest in guests:
            guest.session.close()
        assert host.shared_views() == 0
        host.table.delete()  # the engine refuses that where a view is left

    run(scene)


def test_each_viewer_hears_of_an_update_and_sees_it() -> None:
    async def scene(host: Host) -> None:
        guests = [Guest(host) for _ in range(3)]
        views = [await guest.view(SORTED) for guest in guests]
        counts: dict[str, int] = {}
        for number, view in enumerate(views):
            await view.on_update(told_of_updates(counts, str(number)))
            assert await view.num_rows() == 3
        for step in range(1, 4):
            host.table.update({"place": ["c"], "value": [10.0 * step]})
            await until(lambda step=step: counts == {"0": step, "1": step, "2": step})
            for view in views:
                assert await view.num_rows() == 3 + step
                assert (await columns(view))["value"][0] == 10 * step
        for change in (host.table.clear, lambda: host.table.replace({"place": ["z"], "value": [7]})):
            change()
            assert await columns(views[1]) == json.loads(host.table.view(**SORTED).to_columns_string())

    run(scene)


def test_one_viewers_collapsed_rows_are_not_anothers() -> None:
    async def scene(host: Host) -> None:
        one, other = Guest(host), Guest(host)
        mine, theirs = await one.view(GROUPED), await other.view(GROUPED)
        counts: dict[str, int] = {}
        await mine.on_update(told_of_updates(counts, "mine"))
        await theirs.on_update(told_of_updates(counts, "theirs"))
        await mine.collapse(0)
        assert (await mine.num_rows(), await theirs.num_rows()) == (1, 3)
        host.table.update({"place": ["c"], "value": [4]})
        await until(lambda: counts == {"mine": 1, "theirs": 1})
        assert (await mine.num_rows(), await theirs.num_rows()) == (1, 4)
        assert (await columns(mine))["value"] == [10]
        await mine.expand(0)
        assert await columns(mine) == await columns(theirs)
        await mine.delete()
        await theirs.delete()
        assert host.shared_views() == 0
        host.table.delete()  # the engine refuses that where a view is left

    run(scene)


def test_a_viewer_that_wants_to_know_which_rows_changed_has_its_own_view() -> None:
    async def scene(host: Host) -> None:
        one, other = Guest(host), Guest(host)
        mine, theirs = await one.view(SORTED), await other.view(SORTED)
        changed: list[tuple[object, ...]] = []
        await mine.on_update(lambda *update: changed.append(update), mode="row")
        host.table.update({"place": ["c"], "value": [4]})
        await until(lambda: bool(changed))
        assert (await columns(mine)) == (await columns(theirs))

    run(scene)


@pytest.mark.parametrize("leaving", ["deletes its view", "goes away"])
def test_a_viewer_leaves_the_others_their_view(leaving: str) -> None:
    async def scene(host: Host) -> None:
        one, other = Guest(host), Guest(host)
        mine, theirs = await one.view(SORTED), await other.view(SORTED)
        counts: dict[str, int] = {}
        deleted: list[None] = []
        await mine.on_update(told_of_updates(counts, "mine"))
        await mine.on_delete(lambda: deleted.append(None))
        await theirs.on_update(told_of_updates(counts, "theirs"))
        if leaving == "goes away":
            one.session.close()
        else:
            await mine.delete()
            await until(lambda: bool(deleted))
            with pytest.raises(perspective.PerspectiveError, match="View not found"):
                await mine.num_rows()
        host.table.update({"place": ["c"], "value": [4]})
        await until(lambda: "theirs" in counts)
        assert counts == {"theirs": 1}
        assert await theirs.num_rows() == 4

    run(scene)


def test_no_viewer_can_ask_a_view_by_the_engines_name_for_it() -> None:
    async def scene(host: Host) -> None:
        one, other = Guest(host), Guest(host)
        await one.view(SORTED)
        (shared,) = one.session.views.values()
        request = Request(msg_id=1, entity_id=shared.name, view_dimensions={})
        assert other.session.handle(request.SerializeToString()) == "View not found"

    run(scene)


def test_fifty_viewers_of_one_view_cost_an_update_little_more_than_one() -> None:
    async def cost(views: list[dict[str, object]]) -> float:
        host = Host()
        guests = [Guest(host) for _ in views]
        for guest, config in zip(guests, views, strict=True):
            view = await guest.view(config)
            await view.on_update(lambda *_: None)
        times = []
        for step in range(30):
            began = time.process_time()
            host.table.update({"place": ["c"] * 300, "value": [step] * 300})
            times.append(time.process_time() - began)
        return statistics.median(times)  # the process may have something else to do at times

    def limited(number: int) -> dict[str, object]:
        return {**SORTED, "filter": [["value", "<", 1000 + number]]}

    same = asyncio.run(cost([limited(0)] * 50))
    different = asyncio.run(cost([limited(number) for number in range(50)]))
    assert 3 * same < different


def test_what_is_made_of_now_is_computed_at_each_update_also_of_rows_that_did_not_change() -> None:
    async def look() -> None:
        host = Host()
        view = await Guest(host).view({"columns": ["now"], "expressions": {"now": "float(now())"}})
        before = (await columns(view))["now"]
        await until(lambda: time.time() * 1000 > max(before) + 1)
        host.table.update({"place": ["c"], "value": [4]})
        after = (await columns(view))["now"]
        assert len(after) == len(before) + 1
        assert min(after) > max(before)

    asyncio.run(look())
