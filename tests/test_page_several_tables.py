"""The page with several tables: each viewer of the one that its layout names, and which are not live."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import TDengine
from support import ROOT, Process, python, wait_for
from test_end_to_end import Server, serving
from test_page import Page, chromium, page  # noqa: F401

TITLES = ["Latest reading of each meter", "Newest rows", "Mean current by the minute (A), last hour"]


@pytest.fixture
def plant(tdengine: TDengine, database: str, tmp_path: Path) -> Iterator[Server]:
    """The example's tables, and one whose query is wrong."""
    settings = tdengine.settings(database)
    file = tmp_path / "plant.toml"
    text = (ROOT / "examples" / "plant.toml").read_text().replace("power.meters", f"{database}.meters")
    file.write_text(f'{text}\n[wrong]\nquery = "SELECT nothing FROM {database}.meters"\n')
    own = {"PERSPECTIVE_TABLES": str(file), "PERSPECTIVE_LAYOUT": str(ROOT / "examples" / "plant.json")}
    with Process(python("producer.py", "--count", "3"), settings) as producer:
        assert producer.wait() == 0, producer.output
    with serving({**settings, **own}) as running:
        wait_for(lambda: running.health()["tables"]["load_per_minute"]["rows"] > 0, "the query's rows")
        yield running


def test_each_viewer_is_of_its_table_and_a_table_that_is_not_live_is_named(
    plant: Server,
    page: Page,  # noqa: F811
) -> None:
    page.tab.goto(f"http://localhost:{plant.port}/")
    for title in TITLES:
        page.tab.wait_for_selector(f'section[aria-label="{title}"] perspective-viewer:not(.arriving)')
    tables = page.tab.evaluate(
        "Promise.all([...document.querySelectorAll('perspective-viewer')].map(async (viewer) => "
        "(await viewer.save()).table))"
    )
    assert tables == ["meters_latest", "meters_values", "load_per_minute"]
    page.wait_for_state("stale")
    said = page.text("#state")
    assert "wrong is waiting" in said
    assert "nothing" in said, "the reason"


def test_the_downloaded_layout_names_each_viewers_table(
    plant: Server,
    page: Page,  # noqa: F811
) -> None:
    page.tab.goto(f"http://localhost:{plant.port}/")
    page.tab.wait_for_selector(f'section[aria-label="{TITLES[2]}"] perspective-viewer:not(.arriving)')
    page.tab.wait_for_selector("#download:not([hidden])")
    with page.tab.expect_download() as download:
        page.tab.click("#download")
    layout = json.loads(Path(download.value.path()).read_text())
    assert [viewer["table"] for viewer in layout] == ["meters_latest", "meters_values", "load_per_minute"]
    assert [viewer["title"] for viewer in layout] == TITLES
