"""A thousand viewers of the same dashboard on one server, which computes it once for all of them."""

import json

from conftest import TDengine
from support import Process, python, wait_for
from test_end_to_end import serving, written_all_the_time

from tdengine_perspective.gate.viewers import MAX_VIEWERS

CROWDS = 4  # processes


def test_a_thousand_viewers_see_the_updates_and_none_starves(tdengine: TDengine) -> None:
    with (
        written_all_the_time(tdengine, "test_thousand") as settings,
        serving({**settings, "PERSPECTIVE_REFRESH_RATE": "1000"}) as server,
    ):
        server.wait_until_live(rows=1000)
        command = python("bench/crowd.py", str(server.port), str(MAX_VIEWERS // CROWDS), "3")
        crowds = [Process(command) for _ in range(CROWDS)]
        try:
            for crowd in crowds:
                wait_for(lambda crowd=crowd: crowd.lines or not crowd.running(), "a crowd's report", 120)
                assert crowd.running(), crowd.output
            assert server.health()["viewers"] == MAX_VIEWERS == 1000
            screens = [each for crowd in crowds for each in json.loads(crowd.lines[-1])["screens"]]
        finally:
            for crowd in crowds:
                crowd.kill()
        assert len(screens) == MAX_VIEWERS
        assert min(screens) > 0, "a viewer that saw nothing"
        wait_for(lambda: server.health()["viewers"] == 0, "all to be gone")
