"""Several dashboards: a folder of layouts, each at an address of its own, read anew when it changes."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import TDengine
from support import Process, python, wait_for
from test_end_to_end import Server, serving
from test_page import Page, chromium, page  # noqa: F401

from tdengine_perspective.dashboards import Dashboards
from tdengine_perspective.settings import SettingError


def layout(title: str) -> str:
    return json.dumps([{"title": title, "plugin": "Datagrid", "columns": ["location", "voltage"]}])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plant.json").write_text(layout("The plant"))
    (tmp_path / "grid.json").write_text(layout("The grid"))
    (tmp_path / "health.json").write_text(layout("No name for a dashboard"))
    (tmp_path / "notes.txt").write_text("no dashboard")
    return tmp_path


@pytest.fixture
def server(tdengine: TDengine, database: str, folder: Path) -> Iterator[Server]:
    settings = tdengine.settings(database)
    with Process(python("producer.py", "--count", "2"), settings) as producer:
        assert producer.wait() == 0, producer.output
    with serving({**settings, "PERSPECTIVE_LAYOUT": str(folder)}) as running:
        running.wait_until_live()
        yield running


def answer(server: Server, path: str) -> tuple[int, Any]:
    status, _, body = server.get(path)
    return status, json.loads(body)


def test_each_file_of_the_folder_is_a_dashboard_at_its_name(server: Server) -> None:
    assert server.health()["dashboards"] == ["grid", "plant"]
    assert answer(server, "/layout")[1][0]["title"] == "The grid"
    assert answer(server, "/layout?name=plant")[1][0]["title"] == "The plant"
    assert answer(server, "/layout?name=health")[0] == 404
    assert server.get("/plant")[0] == server.get("/grid")[0] == 200
    assert server.get("/other")[0] == 404
    assert "left out health.json" in server.process.output


def test_a_file_is_read_anew_and_a_broken_one_says_so_in_its_place(server: Server, folder: Path) -> None:
    file = folder / "plant.json"
    file.write_text("{")
    os.utime(file, (1, 1))
    status, said = answer(server, "/layout?name=plant")
    assert status == 500
    assert said["problem"].startswith(f"PERSPECTIVE_LAYOUT: {file} is no JSON")
    assert answer(server, "/layout?name=grid")[0] == 200
    file.write_text(layout("Mended"))
    os.utime(file, (2, 2))
    assert answer(server, "/layout?name=plant")[1][0]["title"] == "Mended"
    (folder / "new.json").write_text(layout("New"))
    assert server.health()["dashboards"] == ["grid", "new", "plant"]


def test_without_a_folder_there_is_one_dashboard(tmp_path: Path) -> None:
    assert Dashboards("").names == [""]
    assert Dashboards("").layout("") == "null"
    file = tmp_path / "layout.json"
    file.write_text(layout("One"))
    one = Dashboards(str(file))
    assert one.names == [""]
    assert json.loads(one.layout(""))[0]["title"] == "One"


def test_a_folder_without_a_dashboard_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="has no file"):
        Dashboards(str(tmp_path))


def test_the_page_has_a_menu_and_shows_the_one_of_its_address(
    server: Server,
    folder: Path,
    page: Page,  # noqa: F811
) -> None:
    page.tab.goto(f"http://localhost:{server.port}/plant#time=all")
    page.tab.wait_for_selector('section[aria-label="The plant"]')
    menu = page.tab.locator("#dashboards a")
    assert menu.all_text_contents() == ["grid", "plant"]
    assert page.tab.locator("#dashboards [aria-current]").text_content() == "plant"
    menu.first.click()
    page.tab.wait_for_selector('section[aria-label="The grid"]')
    assert page.tab.url.endswith("/grid#time=all")
    (folder / "grid.json").write_text("[")
    page.tab.reload()
    wait_for(lambda: "is no JSON" in page.tab.locator("body").text_content(), "what is wrong with the file")
    (folder / "grid.json").write_text(layout("The grid"))
    page.tab.wait_for_selector('section[aria-label="The grid"]')
