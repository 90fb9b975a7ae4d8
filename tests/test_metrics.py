"""What /metrics counts, in Prometheus' text format."""

import asyncio

import pytest
from conftest import TDengine
from prometheus_client.parser import text_string_to_metric_families
from support import Process, python, wait_for
from test_end_to_end import Server, serving, serving_with, written_once
from viewers import Viewer, dumb_viewer

TOKEN = "a-token-of-the-test"


def metrics(server: Server, **headers: str) -> dict[tuple[str, ...], float]:
    """Values by the sample's name and its labels' values, in the order of the labels' names."""
    status, answered, body = server.get("/metrics", **headers)
    assert status == 200
    assert answered["Content-Type"].startswith("text/plain; version=")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_polls_rows_viewers_and_what_was_refused_are_counted(tdengine: TDengine, database: str) -> None:
    settings = {**tdengine.settings(database), "PERSPECTIVE_REFRESH_RATE": "50"}

    async def look(server: Server) -> None:
        async with Viewer(f"ws://127.0.0.1:{server.port}/websocket") as viewer:
            table = await viewer.client.open_table("meters_values")
            view = await table.view(group_by=["location"])
            await view.to_columns()
            with pytest.raises(Exception, match="read-only"):
                await table.update([{"groupid": 1}])
            found = await asyncio.to_thread(metrics, server)
            assert found["perspective_viewers",] == 1
            assert found["perspective_views",] == 1
            assert found["perspective_refusals_total", "request"] == 1
            assert found["perspective_sent_bytes_total",] >= viewer.received > 0

    with serving(settings) as server:
        assert metrics(server)["perspective_table_status", "waiting", "meters_values"] == 1
        with Process(python("producer.py", "--count", "3", "--interval", "50"), settings) as producer:
            assert producer.wait() == 0
        server.wait_until_live(rows=900)
        asyncio.run(look(server))
        found = metrics(server)
        assert found["perspective_table_status", "live", "meters_values"] == 1
        assert found["perspective_table_status", "waiting", "meters_values"] == 0
        assert found["perspective_table_rows", "meters_values"] == 900
        assert 0 < found["perspective_table_newest_age_seconds", "meters_values"] < 3600
        polls = found["tdengine_poll_seconds_count", "meters_values"]
        assert polls > 0
        assert found["tdengine_poll_seconds_sum", "meters_values"] > 0
        assert found["tdengine_poll_seconds_bucket", "+Inf", "meters_values"] == polls
        assert found["perspective_table_pushed", "meters_values"] == 0
        assert found["process_resident_memory_bytes",] > 1 << 20
        wait_for(lambda: metrics(server)["tdengine_poll_seconds_count", "meters_values"] > polls, "polls")


def test_looking_back_is_counted(tdengine: TDengine) -> None:
    """At the next sign of life of the process that does it."""

    async def look(server: Server) -> None:
        async with Viewer(f"ws://127.0.0.1:{server.port}/history?time=all") as viewer:
            table = await viewer.client.open_table("meters_history")
            assert await table.size() == 600
            found: dict[tuple[str, ...], float] = {}
            while not found.get(("tdengine_queries_total", "meters_history")):
                found = await asyncio.to_thread(metrics, server)
            assert found["tdengine_query_seconds_total", "meters_history"] > 0
            assert found["tdengine_query_timeouts_total", "meters_history"] == 0
            assert found["tdengine_query_restarts_total", "meters_history"] == 0
            assert found["perspective_viewers_looking_back", "meters_history"] == 1

    with written_once(tdengine, "test_metrics", "--count", "2") as settings, serving(settings) as server:
        server.wait_until_live(rows=600)
        assert metrics(server)["tdengine_queries_total", "meters_history"] == 0
        asyncio.run(asyncio.wait_for(look(server), 60))


def test_errors_are_counted_by_their_kind() -> None:
    with serving({"TAOS_PORT": "1"}) as server:
        wait_for(
            lambda: metrics(server)["tdengine_errors_total", "OutOfReach", "meters_values"] > 1, "errors"
        )


def test_the_token_guards_them(tdengine: TDengine, database: str) -> None:
    with serving({**tdengine.settings(database), "PERSPECTIVE_TOKEN": TOKEN}) as server:
        assert server.get("/metrics")[0] == 401
        found = metrics(server, Authorization=f"Bearer {TOKEN}")
        assert found["perspective_refusals_total", "unauthorized"] == 1


def test_a_viewer_too_many_is_counted(tdengine: TDengine, database: str) -> None:
    settings = tdengine.settings(database)
    with Process(python("producer.py", "--count", "1"), settings) as producer:
        assert producer.wait() == 0
    with serving_with(settings, "viewers.MAX_VIEWERS = 1") as server:
        first = dumb_viewer(server)
        wait_for(lambda: metrics(server)["perspective_viewers",] == 1, "the first viewer")
        with pytest.raises(AssertionError):
            dumb_viewer(server)
        assert metrics(server)["perspective_refusals_total", "viewer"] == 1
        first.close()
