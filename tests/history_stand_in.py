"""A look back that misbehaves when it is asked to: in place of the real one, by `serving_stand_in`.

What it is to do stands in a view's expressions, such as `expressions={"slow": "1"}`.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import ROOT, python
from test_end_to_end import Server, serving

from tdengine_perspective.history import answering
from tdengine_perspective.history.handler import History

# TDengine sorts 8,640,000 rows for it, which takes long; see slow_emulator.py, too.
SLOW = (
    "SELECT COUNT(*) FROM (SELECT _wstart w, COUNT(*) slow FROM {} WHERE ts >= NOW() - 1d AND ts < NOW() "
    "INTERVAL(10a) FILL(VALUE, 0) ORDER BY slow , w DESC)"
)
answering.BUSY = 2  # seconds


class StandIn(History):
    def table_make_view(self, table_name: str, view_name: str, config: dict[str, Any]) -> None:
        for name, text in config["expressions"].items():
            getattr(self, name)(text.strip("'"))
        columns = [name for name in config["columns"] if name not in config["expressions"]]
        config = {**config, "expressions": {}, "columns": columns or ["voltage"]}
        super().table_make_view(table_name, view_name, config)

    def slow(self, which: str) -> None:
        self.ask(f"{SLOW.format(self.facts.table)} LIMIT {which}")

    def hang(self, _: str) -> None:
        while True:
            pass

    def end(self, file: str) -> None:
        """End the process, once."""
        if Path(file).exists():
            Path(file).unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    def end_always(self, _: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def fail(self, _: str) -> None:
        raise ValueError(f"secret of {ROOT}")

    def many(self, rows: str) -> None:
        self.ask(f"SELECT ts, current, voltage FROM {self.facts.table} LIMIT {rows}")


@contextmanager
def serving_stand_in(settings: dict[str, str], change: str = "pass") -> Iterator[Server]:
    """The real server with that handler; `change` is a line of Python, for its process."""
    code = (
        "import history_stand_in; from tdengine_perspective.history import process; "
        f"process.History = history_stand_in.StandIn; {change}; "
        "import perspective_server; perspective_server.main()"
    )
    path = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    with serving({**settings, **path}, python("-c", code)) as running:
        running.wait_until_live()
        yield running
