"""Fixtures: the TDengine under test, and a database of a test's own in it."""

import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import taosws
from support import ROOT, emulator, free_port, make_venv_of_links

from tdengine_perspective.tdengine import DRIVER_OPTIONS

_numbers = itertools.count()


@dataclass(frozen=True)
class TDengine:
    """Where a TDengine answers, and whether it is the emulator (which tests may stop and kill)."""

    port: int
    is_emulator: bool
    host: str = "localhost"
    user: str = "root"
    password: str = "taosdata"

    @property
    def url(self) -> str:
        return f"taosws://{self.user}:{self.password}@{self.host}:{self.port}"

    @property
    def rest_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def settings(self, database: str) -> dict[str, str]:
        """The environment that points the scripts at this TDengine and the database."""
        return {"TAOS_HOST": self.host, "TAOS_PORT": str(self.port), "TAOS_DATABASE": database}

    def connect(self, **options: str) -> "taosws.Connection":
        return taosws.connect(self.url, **{**DRIVER_OPTIONS, **options})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    spread_browser_tests(items)
    if os.environ.get("TEST_TAOS_PORT"):
        skip = pytest.mark.skip(reason="needs the emulator; TEST_TAOS_PORT names another TDengine")
        for item in items:
            if item.get_closest_marker("emulator_only"):
                item.add_marker(skip)


def spread_browser_tests(items: list[pytest.Item]) -> None:
    """Put files for the browser, which takes all of a machine's time, between others, which mostly wait."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    busy = [file for file in files.values() if any(item.get_closest_marker("browser") for item in file)]
    others = [file for file in files.values() if file not in busy]
    busy.sort(key=len, reverse=True)
    ordered = []
    while busy or others:
        ordered += [*busy[:1], *others[:2]]
        del busy[:1], others[:2]
    items[:] = [item for file in ordered for item in file]


@pytest.fixture(scope="session")
def tdengine() -> Iterator[TDengine]:
    """The TDengine that answers on TEST_TAOS_PORT, or else an emulator of the session's own."""
    port = os.environ.get("TEST_TAOS_PORT")
    if port:
        yield TDengine(int(port), is_emulator=False)
        return
    own = free_port()
    with emulator(own):
        yield TDengine(own, is_emulator=True)


@pytest.fixture
def database(tdengine: TDengine) -> Iterator[str]:
    """The name of a database that does not exist yet; it is dropped afterwards."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    yield name
    connection = tdengine.connect()
    connection.execute(f"DROP DATABASE IF EXISTS `{name}`")
    connection.close()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the project with the set-up done."""
    folder = tmp_path / "clone"
    shutil.copytree(
        ROOT, folder, ignore=shutil.ignore_patterns("venv", ".*", "tests", "bench", "__pycache__")
    )
    make_venv_of_links(folder)
    return folder
