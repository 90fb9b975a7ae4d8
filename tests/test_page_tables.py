"""The page in Chromium before tables that are nobody's meters: what it calls them, shows, and leaves out."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import taosws
import test_page
from conftest import TDengine
from support import free_port, wait_for
from test_page import Page, health, server

pytestmark = pytest.mark.browser
chromium, page = test_page.chromium, test_page.page  # fixtures

DAY = 86_400_000  # ms
LONG_AGO = 1_500_000_000_000  # ms since 1970: where TDengine's own load generator begins


class Table:
    """A table of a test's own, and the settings of a server that shows it."""

    def __init__(self, tdengine: TDengine, database: str):
        self.database = database
        self.connection: taosws.Connection = tdengine.connect()
        self.execute(f"CREATE DATABASE `{database}`")
        self.execute(f"USE `{database}`")
        self.settings = tdengine.settings(database)

    def execute(self, statement: str) -> None:
        self.connection.execute(statement)

    def presses(self, devices: int, tags: Callable[[int], str] = lambda device: "1") -> None:
        """A supertable whose devices differ in their values, each with a minute's rows up to now."""
        self.settings["TAOS_TABLENAME"] = "presses"
        self.execute("CREATE TABLE presses (ts TIMESTAMP, v FLOAT) TAGS (groupid INT, hall NCHAR(9))")
        start = int(time.time() * 1000) - 60_000
        for device in range(devices):
            rows = " ".join(f"({start + step * 1000}, {device})" for step in range(61))
            self.execute(f"INSERT INTO p{device} USING presses TAGS ({tags(device)}, NULL) VALUES {rows}")

    def meters(self, devices: int, rows: int, start: int, step: int) -> None:
        """What TDengine's load generator makes."""
        self.execute(
            "CREATE TABLE meters (ts TIMESTAMP, current FLOAT, voltage INT, phase FLOAT) "
            "TAGS (groupid INT, location BINARY(24))"
        )
        for first in range(0, devices, 100):
            values = " ".join(
                f"({start + row * step}, {10 + row % 3}, {210 + row % 9}, 146)" for row in range(rows)
            )
            self.execute(
                "INSERT INTO "
                + " ".join(
                    f"d{device} USING meters TAGS ({device % 10 + 1}, 'place {device % 10}') VALUES {values}"
                    for device in range(first, min(devices, first + 100))
                )
            )


@pytest.fixture
def table(tdengine: TDengine, database: str) -> Iterator[Table]:
    table = Table(tdengine, database)
    yield table
    table.connection.close()


def titles(page: Page) -> list[str]:
    return [saved["title"] for saved in page.all_saved()]


def split_of(page: Page) -> list[str]:
    return page.saved(1)["split_by"]


# What a table is called


@pytest.mark.parametrize(
    ("given", "title"), [({}, None), ({"PERSPECTIVE_TABLE_NAME": "My presses"}, "My presses")]
)
def test_a_table_is_called_what_it_is_called_in_tdengine_or_by_the_setting(
    table: Table, page: Page, given: dict[str, str], title: str | None
) -> None:
    table.presses(1)
    port = free_port()
    with server({**table.settings, **given}, port):
        page.open(port)
        expected = title or f"{table.database}.presses"
        assert page.text("h1") == expected
        assert page.tab.title() == f"{expected}, live from TDengine"


# Devices that nothing but their names tell apart


@pytest.mark.parametrize(
    ("devices", "hall", "split"),
    [
        (5, lambda device: "NULL", ["tbname"]),
        (5, lambda device: "'A'", ["tbname"]),
        (6, lambda device: f"'{device % 3}'", ["hall"]),
        (12, lambda device: "NULL", ["tbname"]),
        (13, lambda device: "NULL", []),
        (13, lambda device: f"'{device % 3}'", ["hall"]),
        (1, lambda device: "NULL", []),
    ],
)
def test_devices_with_the_same_tags_have_a_line_each(
    table: Table, page: Page, devices: int, hall: Callable[[int], str], split: list[str]
) -> None:
    """Unless a tag tells them apart in fewer words, or there are too many for lines of their own."""
    table.presses(devices)
    for device in range(devices):
        table.execute(f"ALTER TABLE p{device} SET TAG hall = {hall(device)}")
    port = free_port()
    with server(table.settings, port):
        page.open(port)
        wait_for(lambda: split_of(page) == split, f"a split by {split}")
        by = f" by {split[0]}" if split else ""
        assert titles(page)[1] == f"Mean v{by}, last 1 min"
        assert page.saved(0)["columns"] == ["timestamp", "v", "tbname", "groupid", "hall"]


def test_a_device_that_comes_later_gets_a_line_of_its_own(table: Table, page: Page) -> None:
    table.presses(1)
    port = free_port()
    with server(table.settings, port):
        page.open(port)
        assert split_of(page) == []
        table.execute("INSERT INTO p1 USING presses TAGS (1, NULL) VALUES (NOW, 1)")
        wait_for(lambda: split_of(page) == ["tbname"], "a line for each")


# Rows that lie ahead of the clock


def test_a_row_ahead_of_the_clock_is_told_and_leaves_the_charts_of_use(table: Table, page: Page) -> None:
    table.presses(3)
    table.execute("INSERT INTO p1 VALUES (NOW + 400d, 7)")
    port = free_port()
    with server(table.settings, port):
        page.open(port)
        newest = health(port)["newest"]
        told = r"newest (\d{4}-\d\d-\d\d) \d\d:\d\d:\d\d, 400 d ahead; up to now .*\d\d:\d\d:\d\d, \d+ s ago"
        assert re.fullmatch(told, page.text("#newest"))[1][:7] == newest[:7]
        assert page.text("#rows") == "184 rows, 1 ahead"
        assert page.text("#notices") == "", "there is room enough"
        rows, chart, *_ = page.all_saved()
        assert chart["title"] == "Mean v by tbname, last 1 min, without rows ahead"
        assert chart["group_by"] == ["timestamp, steps of 2 s"]
        assert page.coloured(page.plot(1)) > 0.001
        assert rows["filter"] == []
        cells = page.tab.locator("regular-table tbody td").all_text_contents()
        assert any(re.match(rf"\d\d/\d\d/{newest[:4]}, ", cell) for cell in cells), "with its year"

        drawn = page.plot(1)
        for device in range(3):
            table.execute(f"INSERT INTO p{device} VALUES (NOW, {9 + device})")
        wait_for(lambda: page.text("#rows") == "187 rows, 1 ahead", "rows of now")
        wait_for(lambda: page.plot(1) != drawn, "a chart that moves on")

        table.execute("DELETE FROM presses WHERE ts > NOW() + 10s")
        wait_for(lambda: page.saved(1)["filter"] == [], "all rows in the chart")
        assert titles(page)[1].startswith("Mean v by tbname, last 1")
        assert titles(page)[1].endswith(" min")
        assert page.text("#rows") == "186 rows"
        assert page.errors == []


def test_the_meters_dashboard_leaves_out_rows_ahead_in_every_viewer_and_says_so(
    table: Table, page: Page
) -> None:
    table.meters(10, 100, int(time.time() * 1000) - 100_000, 1000)
    table.execute("INSERT INTO d3 VALUES (NOW + 400d, 99, 230, 99)")
    port = free_port()
    with server(table.settings, port):
        page.open(port)
        assert all(title.endswith(", without rows ahead") for title in titles(page)), titles(page)
        assert len({json.dumps(saved["filter"]) for saved in page.all_saved()}) == 1
        year = health(port)["newest"][:4]
        cells = page.tab.locator("perspective-viewer").first.locator("tbody td").all_text_contents()
        assert len([cell for cell in cells if re.match(r"\d\d/\d\d/\d{4}", cell)]) == 10
        assert not any(f"/{year}, " in cell for cell in cells)


def test_what_a_user_arranged_does_not_stop_where_a_row_ahead_was(table: Table, page: Page) -> None:
    """The rows left out are those ahead of now, also in a viewer that is its user's; in a file none are."""
    table.presses(2)
    table.execute("INSERT INTO p1 VALUES (NOW + 400d, 7)")
    port = free_port()
    with server(table.settings, port):
        page.open(port)
        page.arrange(1, {"plugin": "Y Bar"})
        (first,) = page.saved(1)["filter"]
        table.execute("INSERT INTO p0 VALUES (NOW + 300d, 7)")
        wait_for(lambda: page.saved(1)["filter"][0][2] < first[2], "the filter of the new row ahead")
        assert (page.saved(1)["plugin"], len(page.saved(1)["filter"])) == ("Y Bar", 1)
        with page.tab.expect_download() as download:
            page.tab.click("#download")
        layout = json.loads(Path(download.value.path()).read_text())
        assert [viewer["filter"] for viewer in layout] == [[]] * len(layout)
        assert layout[1]["title"].endswith(", without rows ahead")

        page.arrange(1, {"filter": []})
        wait_for(lambda: page.saved(1)["title"] == "Mean v by tbname", "a title without a promise")
        table.execute("DELETE FROM presses WHERE ts > NOW() + 10s")
        wait_for(lambda: page.saved(2)["filter"] == [], "all rows")
        assert page.saved(1)["filter"] == []


def test_a_layout_whose_titles_tell_the_time_leaves_out_rows_ahead(
    table: Table, page: Page, tmp_path: Path
) -> None:
    table.presses(2)
    table.execute("INSERT INTO p1 VALUES (NOW + 400d, 7)")
    file = tmp_path / "layout.json"
    own = {"plugin": "Datagrid", "title": "My rows", "columns": ["v", "timestamp"]}
    file.write_text(json.dumps([own, {**own, "title": "Others, last 5 s", "filter": [["v", "<", 5]]}]))
    port = free_port()
    with server({**table.settings, "PERSPECTIVE_LAYOUT": str(file)}, port):
        page.open(port)
        ahead = int(health_time(port, "ahead_from"))
        wait_for(lambda: titles(page) == ["My rows", "Others, last 1 min, without rows ahead"], "the titles")
        assert [saved["filter"] for saved in page.all_saved()] == [
            [],
            [["v", "<", 5], ["timestamp", "<", ahead]],
        ]


def health_time(port: int, field: str) -> float:
    """A time of /health, ms since 1970."""
    from datetime import datetime

    return round(datetime.fromisoformat(health(port)[field]).timestamp() * 1000)


def test_rows_ahead_that_take_the_whole_window_are_told_with_what_shows_those_of_now(
    table: Table, page: Page
) -> None:
    """Both ways that the message names do it."""
    table.presses(2)
    start = int(time.time() * 1000) + 2 * DAY
    rows = " ".join(f"({start + row * 1000}, 1)" for row in range(60))
    table.execute(f"INSERT INTO p1 VALUES {rows}")
    port = free_port()
    with server({**table.settings, "PERSPECTIVE_LIMIT": "50"}, port):
        page.open(port)
        assert page.text("#rows") == "50 rows, 50 ahead"
        assert titles(page)[1] == "Mean v, last 49 s, all ahead"
        notice = page.text("#notices")
        assert f"60 rows of {table.database}.presses lie ahead of TDengine's clock" in notice
        assert "take 50 of 50 places" in notice
        limit = re.search(r"PERSPECTIVE_LIMIT=(\d+)", notice)[1]
        remove = re.search(r"DELETE FROM .*", notice)[0]
    with server({**table.settings, "PERSPECTIVE_LIMIT": limit}, port):
        page.open(port)
        assert page.text("#notices") == ""
        assert re.search(r", 60 ahead$", page.text("#rows"))
        assert titles(page)[1].endswith("without rows ahead")
    with server({**table.settings, "PERSPECTIVE_LIMIT": "50"}, port):
        page.open(port)
        table.execute(remove)
        wait_for(lambda: page.text("#rows") == "50 rows", "the rows of now")
        assert page.text("#notices") == ""


def test_clocks_that_differ_by_seconds_are_no_news(table: Table, page: Page) -> None:
    """Those of who writes and of TDengine; and that of the browser may be wrong altogether."""
    table.presses(2)
    port = free_port()
    page.tab.clock.install(time=time.time() - 300)
    page.tab.clock.resume()
    with server(table.settings, port):
        table.execute("INSERT INTO p1 VALUES (NOW + 8s, 7)")
        page.open(port)
        assert re.fullmatch(r"newest .*\d\d:\d\d:\d\d, \d s ago", page.text("#newest"))
        assert "old" not in (page.tab.get_attribute("#newest", "class") or "")
        assert page.text("#rows") == "123 rows"


# Rows that are too old for the window


@pytest.mark.parametrize("ago", ["13h", "30d", None])
def test_an_empty_page_says_when_the_newest_row_is_and_what_shows_it(
    table: Table, page: Page, ago: str | None
) -> None:
    """Also long ago, as the rows of TDengine's own load generator are."""
    start = (
        LONG_AGO if ago is None else int(time.time() * 1000) - (13 * DAY // 24 if ago == "13h" else 30 * DAY)
    )
    table.meters(20, 20, start - 19, 1)
    port = free_port()
    with server(table.settings, port):
        page.tab.goto(f"http://localhost:{port}/")
        page.wait_for_state("waiting")

        def told() -> str | None:
            """Where the page waits, and then, where it shows all rows, beside these."""
            texts = (page.text("#state"), page.text("#notices"))
            return next((text for text in texts if "its newest is of" in text), None)

        said = wait_for(told, "the newest row's time")
        assert f"{table.database}.meters has no rows of the last 12h (PERSPECTIVE_WINDOW)" in said
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(start // 1000))
        assert f"its newest is of {moment}.{start % 1000:03} UTC" in said
        window = re.search(r"PERSPECTIVE_WINDOW=(\d+[hd]) shows it", said)[1]
    with server({**table.settings, "PERSPECTIVE_WINDOW": window}, port):
        page.open(port)
        wait_for(lambda: page.text("#rows") == "400 rows", "the rows")
        day = time.strftime("%Y-%m-%d ", time.localtime(start // 1000))
        today = time.strftime("%Y-%m-%d ")
        assert page.text("#newest").startswith("newest " + ("" if day == today else day))
        assert page.coloured(page.plot(1)) > 0.003


def test_a_table_that_is_emptied_says_so(table: Table, page: Page) -> None:
    """And not still how new its newest row was."""
    table.presses(1)
    port = free_port()
    with server(table.settings, port):
        page.open(port)
        table.execute("DELETE FROM presses")
        wait_for(lambda: page.text("#rows") == "0 rows", "an empty table")
        why = "has no rows of the last 12h (PERSPECTIVE_WINDOW), nor any older ones"
        wait_for(lambda: why in page.text("#notices"), "why there is nothing")
        assert page.text("#newest") == ""


def test_many_devices_of_one_moment_are_shown(table: Table, page: Page) -> None:
    """As what the load generator makes: its newest 1,000 rows are all of one millisecond."""
    table.meters(1200, 1, LONG_AGO, 1)
    port = free_port()
    with server({**table.settings, "PERSPECTIVE_WINDOW": "36500d"}, port):
        page.open(port)
        wait_for(lambda: page.plugins()[1] == "Y Bar", "bars, for an area has no width")
        for viewer in (1, 3):
            wait_for(lambda viewer=viewer: page.coloured(page.plot(viewer)) > 0.003, "a chart")


# More columns than a view may have


def test_a_table_of_more_columns_than_are_shown_says_so(table: Table, page: Page) -> None:
    """And the subtable's name is among those that are."""
    columns = ", ".join(f"c{number} INT" for number in range(120))
    table.execute(f"CREATE TABLE wide (ts TIMESTAMP, {columns}) TAGS (line INT)")
    for device in range(2):
        values = ", ".join(str(device + number) for number in range(120))
        table.execute(
            f"INSERT INTO w{device} USING wide TAGS (1) VALUES (NOW - 1s, {values}) (NOW, {values})"
        )
    port = free_port()
    with server({**table.settings, "TAOS_TABLENAME": "wide"}, port):
        page.open(port)
        assert titles(page)[0] == "100 of 123 columns, newest rows first"
        shown = page.saved(0)["columns"]
        assert len(shown) == 100
        assert "tbname" in shown
        assert page.errors == []


def test_a_column_that_is_left_out_is_told(table: Table, page: Page) -> None:
    table.execute("CREATE TABLE odd (ts TIMESTAMP, v INT, my_psp_x INT)")
    table.execute("INSERT INTO odd VALUES (NOW, 1, 2)")
    port = free_port()
    with server({**table.settings, "TAOS_TABLENAME": "odd"}, port):
        page.open(port)
        assert (
            page.text("#notices") == "left out the column my_psp_x, a name that Perspective keeps for itself"
        )


def test_the_load_generators_table_is_shown_by_the_command_that_the_documents_give(
    table: Table, page: Page
) -> None:
    """But for the database's name, and without a producer, as it is where another table is named."""
    document = (Path(__file__).parent.parent / "docs" / "own-tables.md").read_text()
    (command,) = re.findall(r"^(.*TAOS_DATABASE=test .*)sh run\.sh$", document, re.MULTILINE)
    given = dict(word.split("=") for word in command.split())
    table.meters(30, 30, LONG_AGO, 1)
    port = free_port()
    with server({**table.settings, **given, "TAOS_DATABASE": table.database}, port):
        page.open(port)
        assert page.text("#rows") == "900 rows"
        assert page.text("h1") == f"{table.database}.meters"
