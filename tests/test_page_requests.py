"""What the page asks of the server when its user does all that the settings panel offers."""

# ruff: noqa: F811, the fixtures are test_page's

import os
import time
from collections import Counter
from typing import Any

import pytest
from conftest import TDengine
from fuzzing import page_requests, record_page_requests
from support import Process, python, wait_for
from test_end_to_end import serving_with
from test_page import Page, chromium, health, live, meters, page  # noqa: F401
from viewers import url

from tdengine_perspective.gate.protocol import VIEW_NOT_FOUND, Request, Response
from tdengine_perspective.gate.sessions import MAX_SUBSCRIPTIONS, MAX_VIEWS
from tdengine_perspective.gate.websocket import MAX_REQUESTS

pytestmark = pytest.mark.browser


class Conversation:
    """What goes over the page's WebSocket."""

    def __init__(self, page: Page):
        self.sent: list[tuple[float, bytes]] = []
        self.errors: list[str] = []
        page.tab.on("websocket", self.listen)

    def listen(self, socket: Any) -> None:
        socket.on("framesent", lambda frame: self.sent.append((time.monotonic(), bytes(frame))))
        socket.on("framereceived", self.received)

    def received(self, frame: bytes) -> None:
        response = Response.FromString(frame)
        # A viewer may ask once more about a view that it has just deleted, and takes the answer calmly.
        if response.HasField("error") and response.error.status_code != VIEW_NOT_FOUND:
            self.errors.append(response.error.message)

    def kinds(self) -> Counter:
        return Counter(Request.FromString(frame).WhichOneof("request") for _, frame in self.sent)

    def busiest_second(self) -> int:
        times = [at for at, _ in self.sent]
        return max(sum(first <= at < first + 1 for at in times) for first in times)

    def most_at_once(self) -> tuple[int, int]:
        """The most views and subscriptions that the viewer had at a moment."""
        views: set[str] = set()
        subscriptions: dict[int, str] = {}
        most = (0, 0)
        for _, frame in self.sent:
            request = Request.FromString(frame)
            kind = request.WhichOneof("request")
            if kind == "make_view":
                views.add(request.make_view.view_id)
            elif kind == "view_delete":
                views.discard(request.entity_id)
                subscriptions = {n: of for n, of in subscriptions.items() if of != request.entity_id}
            elif "_on_" in kind or request.hosted_tables.subscribe:
                subscriptions[request.msg_id] = request.entity_id
            elif "_remove_" in kind:
                subscriptions.pop(getattr(request, kind).id, None)
            most = max(most[0], len(views)), max(most[1], len(subscriptions))
        return most


# One step after the other, for the Datagrid, and what is then seen of it.
ARRANGEMENTS: dict[str, dict[str, Any]] = {
    "group": {"group_by": ["location", "groupid"], "group_rollup_mode": "rollup", "columns": ["current"]},
    "depth": {"group_by_depth": 1},
    "split": {"group_by": ["location"], "split_by": ["groupid"], "group_by_depth": None},
    "filter": {
        "filter": [
            ["current", ">", 1],
            ["location", "in", ["Campbell", "Cupertino"]],
            ["voltage", "is not null"],
        ]
    },
    "filter by time": {"filter": [["timestamp", ">", "2020-01-01 00:00:00"]]},
    "filter by nothing yet": {"filter": [["location", "in", []]]},
    "sort": {"filter": [], "split_by": [], "sort": [["current", "desc"]]},
    "expression": {
        "expressions": {"double": '"current" * 2', "when": "bucket(\"timestamp\", '1m')"},
        "columns": ["double", "current"],
    },
    "aggregate": {"aggregates": {"double": "median", "current": ["weighted mean", ["voltage"]]}},
    "total": {"group_rollup_mode": "total"},
    "flat": {"group_rollup_mode": "rollup", "group_by": [], "sort": [["timestamp", "desc"]]},
}
SAVED_AS_GIVEN = {"group_by", "split_by", "columns", "sort", "expressions", "aggregates"}
EXPORTS = [
    "csv",
    "csv-all",
    "json",
    "json-all",
    "ndjson",
    "arrow",
    "arrow-all",
    "arrow-lz4",
    "arrow-zstd",
    "html",
]
EXPORT = """async (viewer, method) => {
  const exported = await viewer.export({ method });
  return exported.byteLength ?? exported.length ?? JSON.stringify(exported).length;
}"""
BOTH_WAYS = """async (viewer) => {
  const view = await viewer.getView();
  const rows = [await view.num_rows()];
  await view.collapse(0);
  rows.push(await view.num_rows());
  await view.expand(0);
  rows.push(await view.num_rows());
  return rows;
}"""


def test_the_page_can_do_all_that_the_settings_panel_offers(live: int, page: Page) -> None:
    conversation = Conversation(page)
    page.open(live)
    viewer = page.tab.locator("perspective-viewer").first
    for name, changes in ARRANGEMENTS.items():
        polls = health(live)["polls"]
        page.arrange(0, changes)
        # A user sees an update after each step; what a quick machine can do in a second is not the question.
        wait_for(lambda polls=polls: health(live)["polls"] > polls + 1, "two polls")
        saved = page.saved(0)
        for setting in SAVED_AS_GIVEN & changes.keys():
            assert saved[setting] == changes[setting], name
        if name == "group":
            locations = page.tab.locator("perspective-viewer regular-table tbody th")
            wait_for(lambda locations=locations: "Campbell" in locations.all_text_contents(), "groups")
    page.arrange(0, {"group_by": ["location"], "expressions": {}, "columns": ["current"], "aggregates": {}})
    assert viewer.evaluate(BOTH_WAYS) == [11, 1, 11]
    for kind in EXPORTS:
        size = viewer.evaluate(EXPORT, kind)
        assert size > 100, kind
    viewer.evaluate("viewer => viewer.copy('csv').catch(() => null)")  # the clipboard may be shut
    viewer.evaluate("viewer => viewer.toggleConfig(true)")
    wrong = viewer.evaluate(
        """async (viewer) => {
          const table = await viewer.getTable();
          const result = await table.validate_expressions({ good: '"current" + 1', bad: 'nothing(' });
          return Object.keys(result.errors);
        }"""
    )
    assert wrong == ["bad"]
    viewer.evaluate("viewer => viewer.toggleConfig(false)")
    viewer.evaluate("viewer => viewer.reset(true)")
    assert conversation.errors == []

    views, subscriptions = conversation.most_at_once()
    longest = max(len(frame) for _, frame in conversation.sent)
    print(
        f"{len(conversation.sent)} requests, {conversation.busiest_second()} in a second, longest {longest}"
    )
    print(f"at once {views} views, {subscriptions} subscriptions; {conversation.kinds()}")
    assert 2 * conversation.busiest_second() < MAX_REQUESTS
    assert 2 * views <= MAX_VIEWS
    assert 2 * subscriptions <= MAX_SUBSCRIPTIONS
    if os.environ.get("RECORD"):
        record_page_requests(frame for _, frame in conversation.sent)
    known = {Request.FromString(frame).WhichOneof("request") for frame in page_requests()}
    assert conversation.kinds().keys() <= known, "run this with RECORD=1: the page asks for more"


def test_a_page_for_which_there_is_no_seat_says_so_and_gets_the_next(
    tdengine: TDengine, database: str, page: Page
) -> None:
    settings = tdengine.settings(database)
    with Process(python("producer.py", "--count", "2"), settings) as producer:
        assert producer.wait() == 0, producer.output

    with serving_with(settings, "viewers.MAX_VIEWERS = 1") as server:
        with Process(python("-c", SITTING, url(server))) as other:
            other.wait_for_line("seated")
            page.tab.goto(f"http://localhost:{server.port}/")
            page.wait_for_state("full")
            assert "takes no more viewers" in page.text("#notice p")
        page.wait_for_state("live")


SITTING = """
import asyncio, sys
from tornado.websocket import websocket_connect

async def sit():
    socket = await websocket_connect(sys.argv[1])
    print("seated")
    await asyncio.sleep(60)

asyncio.run(sit())
"""
