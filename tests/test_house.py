"""The house shows itself: each room says what it owns, and imports run one way."""

import ast
import asyncio
import os
import re
import subprocess
from pathlib import Path

import pytest
import tornado.httpclient
from support import ROOT, free_port, python

import tdengine_perspective
from perspective_server import serve
from tdengine_perspective.engine import prepare_engine
from tdengine_perspective.settings import SettingError, Settings

PACKAGE = ROOT / "tdengine_perspective"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def name_of(module: Path) -> str:
    """As the map writes it, below the package: `gate.rules`."""
    return ".".join(module.relative_to(PACKAGE).with_suffix("").parts)


def rooms_on_the_map() -> list[str]:
    """The modules in the order of the package's docstring, those in a folder behind its name."""
    rooms, folder = [], ""
    for indent, name, slash in re.findall(
        r"^( {4}| {6})(\w+)(/?) {2,}", tdengine_perspective.__doc__ or "", re.MULTILINE
    ):
        if slash:
            folder = f"{name}."
        else:
            rooms.append((folder if len(indent) == 6 else "") + name)
    return rooms


def imported_rooms(module: Path) -> set[str]:
    """The package's modules that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tdengine_perspective"):
            below = (node.module or "").partition(".")[2]
            for alias in node.names:
                both = f"{below}.{alias.name}".strip(".")
                found.add(both if both in ROOMS else below)
    return found


ROOMS = rooms_on_the_map()


def test_every_module_is_on_the_map_and_the_other_way_round() -> None:
    assert sorted(ROOMS) == sorted(map(name_of, MODULES))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_imports_lead_from_the_bottom_of_the_map_to_its_top(module: Path) -> None:
    place = ROOMS.index(name_of(module))
    for room in imported_rooms(module):
        assert ROOMS.index(room) < place, f"{name_of(module)} imports {room}"


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_says_in_its_first_line_what_it_owns(module: Path) -> None:
    first = module.read_text().splitlines()[0]
    assert re.match(r'"""Owns .+(?:[.:]"""|[.:])?$', first), first


def test_the_package_reads_nothing_from_the_environment_when_it_is_imported() -> None:
    settings = {"TAOS_PORT": "no port", "PERSPECTIVE_LIMIT": "-1", "PERSPECTIVE_TOKEN": "?"}
    modules = ", ".join(f"tdengine_perspective.{room}" for room in ROOMS)
    done = subprocess.run(
        python("-c", f"import {modules}, producer, perspective_server"),
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_settings_can_be_given_as_arguments() -> None:
    assert Settings(perspective_port=1).perspective_port == 1
    assert Settings.from_environment({"PERSPECTIVE_PORT": "1"}) == Settings(perspective_port=1)
    assert Settings.from_environment({}) == Settings()


def test_a_setting_that_makes_no_sense_is_named() -> None:
    with pytest.raises(SettingError, match=r"^TAOS_PORT=0: must be a whole number from 1 to 65535$"):
        Settings.from_environment({"TAOS_PORT": "0"})


def test_two_servers_run_in_one_process() -> None:
    """Each with settings of its own."""
    nowhere = free_port()
    both = [
        Settings(taos_port=nowhere, perspective_port=free_port(), perspective_token=token)
        for token in ("", "for the second alone".replace(" ", "-"))
    ]

    async def ask(settings: Settings, path: str) -> int:
        client = tornado.httpclient.AsyncHTTPClient()
        url = f"http://127.0.0.1:{settings.perspective_port}{path}"
        return (await client.fetch(url, raise_error=False)).code

    async def run() -> list[tuple[int, int]]:
        stop = asyncio.Event()
        serving = [asyncio.create_task(serve(settings, stop)) for settings in both]
        try:
            await asyncio.sleep(0)  # they listen then, or have failed
            return [(await ask(settings, "/"), await ask(settings, "/health")) for settings in both]
        finally:
            stop.set()
            await asyncio.gather(*serving)

    prepare_engine()
    assert asyncio.run(run()) == [(200, 503), (200, 401)]
