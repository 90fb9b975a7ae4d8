"""One server keeps several tables, each by a reader of its own: what stops one leaves the others alone."""

import contextlib
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import TDengine
from support import Process, emulator, free_port, python, wait_for
from test_end_to_end import Server, serving
from test_mirror import Source

PLANT = """
[meters_values]
table = "{database}.meters"
limit = 60

[meters_latest]
table = "{database}.meters"
rows = "latest"

[strong]
query = "SELECT ts, voltage, location FROM {database}.meters WHERE voltage > 7"
refresh_rate = 200

[wrong]
query = "SELECT nothing FROM {database}.meters"
"""


class Plant:
    """A table in TDengine, and a server that keeps the four tables."""

    def __init__(self, source: Source, server: Server):
        self.source = source
        self.server = server

    def tables(self) -> dict[str, Any]:
        return self.server.health()["tables"]

    def readers(self) -> list[psutil.Process]:
        """The readers' processes."""
        children = psutil.Process(self.server.process.pid).children()
        return [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]


@contextmanager
def plant(tdengine: TDengine, folder: Path) -> Iterator[Plant]:
    source = Source(tdengine)
    now = source.clock()
    source.insert("d0", [(now + number, 1.0, number, 1.0) for number in range(10)])
    source.insert("d1", [(now, 1.0, 9, 1.0)])
    file = folder / "plant.toml"
    file.write_text(PLANT.format(database=source.database))
    try:
        with serving({**tdengine.settings(source.database), "PERSPECTIVE_TABLES": str(file)}) as server:
            yield Plant(source, server)
    finally:
        source.close()


def rows_in(plant: Plant) -> dict[str, int]:
    return {name: table["rows"] for name, table in plant.tables().items()}


def test_each_table_is_kept_and_what_is_wrong_with_one_is_said_of_that_one(
    tdengine: TDengine, tmp_path: Path
) -> None:
    with plant(tdengine, tmp_path) as here:
        expected = {"meters_values": 11, "meters_latest": 2, "strong": 3, "wrong": 0}
        wait_for(lambda: rows_in(here) == expected, f"the rows {expected}")
        here.source.insert("d2", [(here.source.clock() + 100, 1.0, 9, 1.0)])
        expected = {"meters_values": 12, "meters_latest": 3, "strong": 4, "wrong": 0}
        wait_for(lambda: rows_in(here) == expected, f"the rows {expected}")

        status, _, body = here.server.get("/health")
        health = json.loads(body)
        assert status == 503, "one of them isn't live"
        assert health["status"] == "live", "the first one is"
        assert list(health["tables"]) == ["meters_values", "meters_latest", "strong", "wrong"]
        assert "nothing" in health["tables"]["wrong"]["last_error"]
        assert health["tables"]["strong"]["errors"] == 0
        assert here.server.shown("meters_latest", ["tbname", "voltage"]) == {
            ("d0", 9): 1,
            ("d1", 9): 1,
            ("d2", 9): 1,
        }


def test_a_reader_that_hangs_leaves_the_other_tables_at_their_beat(
    tdengine: TDengine, tmp_path: Path
) -> None:
    with plant(tdengine, tmp_path) as here:

        def stale() -> list[str]:
            return [name for name, table in here.tables().items() if table["status"] == "stale"]

        wait_for(lambda: rows_in(here)["strong"] == 3, "the query's rows")
        for reader in here.readers():  # that of the wrong query has nothing that could be stale
            reader.suspend()
            with contextlib.suppress(AssertionError):
                wait_for(stale, "a stale table", timeout=8)
                break
            reader.resume()
        [hung] = stale()
        before = here.tables()
        others = [name for name in before if name not in (hung, "wrong")]
        for name in others:
            wait_for(lambda name=name: here.tables()[name]["polls"] > before[name]["polls"] + 5, "polls")
        wait_for(lambda: here.tables()[hung]["status"] == "live", "the table to come back", timeout=60)
        restarts = {name: here.tables()[name]["reader_restarts"] for name in [hung, *others]}
        assert restarts == {hung: 1, **dict.fromkeys(others, 0)}


@pytest.mark.emulator_only
@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_all_tables_come_back_by_themselves_after_tdengine_was_away(tmp_path: Path, how: str) -> None:
    port = free_port()
    data = str(tmp_path / "data")
    process = [emulator(port, "--data", data)]
    try:
        tdengine = TDengine(port, is_emulator=True)
        with plant(tdengine, tmp_path) as here:
            names = ["meters_values", "meters_latest", "strong"]

            def statuses() -> list[str]:
                tables = here.tables()
                return [tables[name]["status"] for name in names]

            wait_for(lambda: statuses() == ["live"] * 3, "live tables")
            if how == "killed":
                process[0].kill()
            else:
                process[0].signal(signal.SIGSTOP)
            wait_for(lambda: statuses() == ["stale"] * 3, "stale tables", timeout=60)
            assert rows_in(here) == {"meters_values": 11, "meters_latest": 2, "strong": 3, "wrong": 0}
            if how == "killed":
                process[0] = emulator(port, "--data", data)
            else:
                process[0].signal(signal.SIGCONT)
            wait_for(lambda: statuses() == ["live"] * 3, "live tables", timeout=60)
            here.source.connection = tdengine.connect()
            here.source.insert("d2", [(here.source.clock() + 100, 1.0, 9, 1.0)])
            expected = {"meters_values": 12, "meters_latest": 3, "strong": 4, "wrong": 0}
            wait_for(lambda: rows_in(here) == expected, f"the rows {expected}")
    finally:
        process[0].kill()


@pytest.mark.parametrize("change", ["ADD COLUMN extra DOUBLE", "DROP COLUMN phase"])
def test_other_columns_reach_the_tables_that_have_them(
    tdengine: TDengine, tmp_path: Path, change: str
) -> None:
    with plant(tdengine, tmp_path) as here:
        wait_for(lambda: rows_in(here)["strong"] == 3, "the query's rows")
        here.source.alter(change)
        column = change.split()[2]
        is_there = change.startswith("ADD")

        def columns(table: str) -> list[str]:
            _, _, body = here.server.get(f"/tables/{table}.csv")
            return body.decode().splitlines()[0].replace('"', "").split(",")

        for table in ("meters_values", "meters_latest"):
            wait_for(lambda table=table: (column in columns(table)) == is_there, f"{table}'s columns")
        assert set(columns("strong")) == {"ts", "voltage", "location"}


def test_the_servers_readers_end_with_it(tdengine: TDengine, tmp_path: Path) -> None:
    with plant(tdengine, tmp_path) as here:
        wait_for(lambda: rows_in(here)["strong"] == 3, "the query's rows")
        readers = here.readers()
        assert len(readers) == 4
        here.server.process.signal(15)
        assert here.server.process.wait() == 0
        assert not any(reader.is_running() for reader in readers)


def test_a_file_that_makes_no_sense_is_one_line_and_ends_the_server(tmp_path: Path) -> None:
    file = tmp_path / "plant.toml"
    file.write_text("[latest]\ntable = 'a.b'\nrows = 'last'\n")
    with Process(python("perspective_server.py"), {"PERSPECTIVE_TABLES": str(file)}) as process:
        assert process.wait() == 1
        [line] = process.lines
    assert line.startswith(f"perspective_server: PERSPECTIVE_TABLES: {file}: [latest]: rows must be")
