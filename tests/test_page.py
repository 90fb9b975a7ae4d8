"""The page in a real Chromium, before the real server, producer and TDengine."""

import base64
import itertools
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import taosws
from conftest import TDengine
from support import ROOT, Process, answers, emulator, free_port, python, wait_for

CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_FLAGS = [
    *("--no-sandbox", "--disable-background-networking", "--enable-unsafe-swiftshader"),
    "--host-resolver-rules=MAP *.example.org 127.0.0.1",
]
CHARTS = ["Y Area", "Y Line", "Treemap"]
PATIENCE = (
    60  # seconds for a page to change; charts without a graphics card take all of a busy machine's time
)

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser for the module's pages. Where there is none the tests are skipped; under CI they fail."""
    if not CHROMIUM.exists():
        missing = (
            f"{CHROMIUM} is missing, so nothing tests the page; install it with: apt-get install chromium"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


# What Perspective's charts say where a viewer goes while its worker draws: of a drawing that nobody will see.
FAREWELLS = ("RendererTransport destroyed", "(reading 'port1')")


class Page:
    """The dashboard in a tab of its own, and what a test asks of it."""

    def __init__(self, tab: Any):
        self.tab = tab
        self.errors: list[str] = []
        tab.on("pageerror", lambda error: self.note(str(error)))
        tab.on("console", lambda said: said.type in ("error", "warning") and self.note(said.text))

    def note(self, error: str) -> None:
        if not any(text in error for text in FAREWELLS):
            self.errors.append(error)

    def open(self, port: int) -> None:
        """Go to the page of the server on the port, which is to be live, and wait until the page is, too."""
        wait_for(lambda: health(port)["status"] == "live", "the server's data")
        self.tab.goto(f"http://localhost:{port}/")
        self.wait_for_state("live")

    def state(self) -> str:
        """The state in a word: live, stale, connecting …"""
        return self.tab.get_attribute("#status", "data-status")

    def text(self, selector: str) -> str:
        return self.tab.text_content(selector)

    def wait_for_state(self, state: str) -> None:
        try:
            wait_for(lambda: self.state() == state, state, PATIENCE)
        except AssertionError:
            raise AssertionError(
                f"the page does not become {state}, it says {self.text('#state')!r}"
            ) from None

    def is_light(self) -> bool:
        background = self.tab.evaluate("getComputedStyle(document.body).backgroundColor")
        return background == "rgb(255, 255, 255)"

    def themes(self) -> set[str]:
        """Those of the viewers."""
        return {saved["theme"] for saved in self.all_saved()}

    def rows(self) -> int:
        return int(self.tab.get_attribute("#status", "data-rows") or 0)

    def newest(self) -> str:
        return self.tab.get_attribute("#status", "data-newest")

    def age(self) -> int:
        """Seconds since the newest row."""
        return int(re.search(r"(\d+) s ago", self.text("#newest"))[1])

    def timestamps(self) -> list[str]:
        """The datagrid's column of timestamps, as they stand there: month, day, time to the millisecond."""
        cells = self.tab.locator("perspective-viewer regular-table tbody td").all_text_contents()
        return [cell for cell in cells if re.fullmatch(r"\d\d/\d\d, \d\d:\d\d:\d\d\.\d{3}", cell)]

    def plugins(self) -> list[str]:
        """What the viewers show, in their order on the page."""
        return [saved["plugin"] for saved in self.all_saved()]

    def viewers(self) -> int:
        return self.tab.locator("perspective-viewer").count()

    def saved(self, viewer: int) -> dict[str, Any]:
        """A viewer's configuration."""
        return self.tab.locator("perspective-viewer").nth(viewer).evaluate("viewer => viewer.save()")

    def all_saved(self) -> list[dict[str, Any]]:
        save = "viewers => Promise.all(viewers.map((viewer) => viewer.save()))"
        return self.tab.locator("perspective-viewer").evaluate_all(save)

    def focus(self) -> str:
        """The element that has the keyboard's focus, in words that tell it from others."""
        return self.tab.evaluate(FOCUS)

    def toggle_settings(self, viewer: int, is_open: bool) -> None:
        where = self.tab.locator("perspective-viewer").nth(viewer)
        where.evaluate("(viewer, isOpen) => viewer.toggleConfig(isOpen)", is_open)

    def boxes(self) -> list[dict[str, float]]:
        """Where the viewers are, in their order on the page."""
        return [viewer.bounding_box() for viewer in self.tab.locator("perspective-viewer").all()]

    def arrange(self, viewer: int, changes: dict[str, Any]) -> None:
        """Change a viewer's configuration, as its user would."""
        where = self.tab.locator("perspective-viewer").nth(viewer)
        where.evaluate("(viewer, changes) => viewer.restore(changes)", changes)

    def plot(self, viewer: int) -> bytes:
        """A PNG of a viewer's chart, without the right edge, where its legend stands."""
        box = self.tab.locator("perspective-viewer").nth(viewer).bounding_box()
        return self.tab.screenshot(clip={**box, "width": box["width"] - 150})

    def coloured(self, png: bytes) -> float:
        """The share of coloured pixels in a plot: frame, grid and labels are grey, data are not."""
        blank = self.tab.context.new_page()
        share = blank.evaluate(COLOURED, f"data:image/png;base64,{base64.b64encode(png).decode()}")
        blank.close()
        return share


@dataclass
class Machines:
    """A table of a test's own: a connection that writes to it, and a server's settings to show it."""

    connection: taosws.Connection
    settings: dict[str, str]
    start: int  # timestamp of the oldest rows, ms since 1970
    columns = ("at", "ok", "note", "temperature", "pressure", "rpm", "tbname", "hall", "machine")


FOCUS = """() => {
  let element = document.activeElement;
  while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
  const { left, top } = element.getBoundingClientRect();
  return `${element.tagName} ${element.className} at ${left}, ${top}`;
}"""

CUT_OFF = """(element) => {
  const text = document.createRange();
  text.selectNodeContents(element);
  const inside = (box, frame) => box.right <= frame.right + 1 && box.bottom <= frame.bottom + 1;
  return !inside(text.getBoundingClientRect(), element.getBoundingClientRect());
}"""

COLOURED = """async (source) => {
  const picture = new Image();
  picture.src = source;
  await picture.decode();
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  let coloured = 0;
  for (let i = 0; i < data.length; i += 4) {
    const channels = data.slice(i, i + 3);
    if (Math.max(...channels) - Math.min(...channels) > 40) coloured++;
  }
  return coloured / (canvas.width * canvas.height);
}"""


@pytest.fixture
def page(chromium: Any) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1280, "height": 720})
    yield Page(context.new_page())
    context.close()


@contextmanager
def producer(settings: dict[str, str]) -> Iterator[Process]:
    with Process(python("producer.py"), settings) as process:
        yield process


@contextmanager
def server(settings: dict[str, str], port: int) -> Iterator[Process]:
    """perspective_server.py on the port, once that answers."""
    with Process(python("perspective_server.py"), {**settings, "PERSPECTIVE_PORT": str(port)}) as process:
        try:
            wait_for(lambda: answers(port) or not process.running(), "the server")
            assert process.running()
            yield process
        finally:
            print(process.output)  # for the report of a test that fails


@pytest.fixture(scope="module")
def meters(tdengine: TDengine) -> Iterator[dict[str, str]]:
    """The settings of a database in which a producer writes all the time; it is dropped afterwards."""
    name = f"test_page_{os.getpid()}"
    settings = tdengine.settings(name)
    try:
        with producer(settings):
            yield settings
    finally:
        connection = tdengine.connect()
        connection.execute(f"DROP DATABASE IF EXISTS `{name}`")
        connection.close()


@pytest.fixture(scope="module")
def live(meters: dict[str, str]) -> Iterator[int]:
    """The port of a server with a full table."""
    port = free_port()
    with server(meters, port):
        wait_for(lambda: health(port)["rows"] == 1000, "1,000 rows")
        yield port


@pytest.fixture(scope="class")
def opened(chromium: Any, live: int) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1280, "height": 720})
    page = Page(context.new_page())
    page.tab.goto(f"http://localhost:{live}/")
    page.wait_for_state("live")
    yield page
    context.close()


@pytest.fixture
def dashboard(opened: Page) -> Iterator[Page]:
    """The page with live data; it stays open for the next test, and nothing may have gone wrong in it."""
    opened.tab.set_viewport_size({"width": 1280, "height": 720})
    yield opened
    assert opened.errors == []


def health(port: int) -> dict[str, Any]:
    import requests

    return requests.get(f"http://127.0.0.1:{port}/health", timeout=5).json()


@contextmanager
def file_server(folder: Path = ROOT) -> Iterator[str]:
    """The folder's files from `python -m http.server`; yields the page's address there."""
    port = free_port()
    with Process(python("-m", "http.server", str(port), "--bind", "127.0.0.1"), cwd=folder):
        wait_for(lambda: answers(port), "the file server")
        yield f"http://localhost:{port}/prsp-viewer.html"


@contextmanager
def reverse_proxy(server_port: int, *options: str, port: int | None = None) -> Iterator[str]:
    """Passes requests below /meters/ on to the server; yields the page's address there."""
    port = port or free_port()
    with Process(python("tests/reverse_proxy.py", str(port), str(server_port), *options)):
        wait_for(lambda: answers(port), "the proxy")
        yield f"http://localhost:{port}/meters/"


def check_that_all_is_live(page: Page) -> None:
    page.wait_for_state("live")
    assert page.plugins() == ["Datagrid", *CHARTS]
    wait_for(lambda: page.rows() == 1000, "1,000 rows")
    wait_for(lambda: page.text("#rows") == "1,000 rows", "the count of rows in plain words")

    first = wait_for(page.timestamps, "timestamps in the datagrid")
    assert len(first) == 10
    wait_for(lambda: min(page.timestamps(), default="") > max(first), "timestamps that move on")
    for viewer, chart in enumerate(CHARTS, start=1):
        drawn = page.plot(viewer)
        assert page.coloured(drawn) > 0.003, f"{chart} shows nothing"
        wait_for(lambda viewer=viewer, drawn=drawn: page.plot(viewer) != drawn, f"a {chart} that moves")


def test_the_page_from_the_server_shows_four_live_viewers_over_one_websocket(live: int, page: Page) -> None:
    sockets = []
    page.tab.on("websocket", lambda socket: sockets.append(socket.url))
    page.tab.goto(f"http://localhost:{live}/")
    check_that_all_is_live(page)
    assert page.errors == []
    assert sockets == [f"ws://localhost:{live}/websocket"]


def test_the_page_from_a_file_server_shows_four_live_viewers(live: int, page: Page) -> None:
    with file_server() as address:
        page.tab.goto(f"{address}?server=localhost:{live}")
        check_that_all_is_live(page)
        assert page.errors == []


def test_the_page_below_a_path_of_a_proxy_shows_four_live_viewers(live: int, page: Page) -> None:
    asked = []
    page.tab.on("request", lambda request: asked.append(request.url))
    page.tab.on("websocket", lambda socket: asked.append(socket.url))
    with reverse_proxy(live) as address:
        page.tab.goto(address)
        check_that_all_is_live(page)
        assert page.errors == []
    outside = [url for url in asked if not url.startswith(("blob:", "data:"))]
    outside = [url for url in outside if not url.partition(":")[2].startswith(address.partition(":")[2])]
    assert outside == [], "all that the page asks for is below its own path"


def test_a_proxys_password_and_a_token_at_once_let_a_page_in(meters: dict[str, str], chromium: Any) -> None:
    port, token = free_port(), "look-but-only-look"
    login = {"username": "me", "password": "mine"}
    context = chromium.new_context(viewport={"width": 1280, "height": 720}, http_credentials=login)
    page = Page(context.new_page())
    with (
        server({**meters, "PERSPECTIVE_TOKEN": token}, port) as process,
        reverse_proxy(port, "--login", "me:mine") as address,
    ):
        page.tab.goto(address)
        page.wait_for_state("locked")
        page.tab.fill("input[name=token]", token)
        page.tab.keyboard.press("Enter")
        check_that_all_is_live(page)
        page.tab.click("#times [data-time='5m']")
        page.wait_for_state("past")
        assert page.errors == []
        assert token not in process.output
    context.close()


def test_a_proxy_that_passes_no_websockets_on_is_told(live: int, page: Page) -> None:
    port = free_port()
    with reverse_proxy(live, "--no-upgrade", port=port) as address:
        page.tab.goto(address)
        page.wait_for_state("blocked")
        said = "answers, but no WebSocket comes through to it: a proxy has to pass on the headers Upgrade"
        assert f"{address} {said}" in page.text("#notice p")
    with reverse_proxy(live, port=port):
        page.wait_for_state("live")


def test_a_page_whose_origin_is_not_allowed_says_so_and_what_allows_it(
    meters: dict[str, str], page: Page
) -> None:
    """Behind a proxy that hides from the server by which name it is called; then behind one that does not."""
    port, proxy_port = free_port(), free_port()
    origin = f"http://meters.example.org:{proxy_port}"
    with server(meters, port), reverse_proxy(port, "--host", "127.0.0.1", port=proxy_port):
        page.tab.goto(f"{origin}/meters/")
        page.wait_for_state("refused")
        assert page.text("#notice p") == (
            f"the data are not for pages of {origin}: start the server with "
            f"PERSPECTIVE_ALLOWED_ORIGINS={origin}"
        )
    allowed = {**meters, "PERSPECTIVE_ALLOWED_ORIGINS": origin}
    with server(allowed, port), reverse_proxy(port, "--host", "$host", port=proxy_port):
        page.wait_for_state("live")


def test_a_page_from_elsewhere_that_is_not_allowed_says_so_and_what_allows_it(
    meters: dict[str, str], page: Page
) -> None:
    port = free_port()
    with file_server() as address:
        origin = address.rpartition("/")[0].replace("localhost", "pages.example.org")
        page.tab.goto(f"{origin}/prsp-viewer.html?server=data.example.org:{port}")
        page.wait_for_state("connecting")
        with server(meters, port):
            page.wait_for_state("refused")
            said = page.text("#notice p")
            assert said.startswith(f"http://data.example.org:{port}/ does not answer pages of {origin}: ")
            both = re.search(r"PERSPECTIVE_ALLOWED_ORIGINS=([^ ,]+,[^ ,]+)", said)[1]
        assert both == f"{origin},http://data.example.org:{port}"
        with server({**meters, "PERSPECTIVE_ALLOWED_ORIGINS": both}, port):
            page.wait_for_state("live")


def test_a_page_that_waits_fills_no_console(tdengine: TDengine, database: str, page: Page) -> None:
    asked = []
    page.tab.on("response", lambda response: asked.append(response.url) if "health" in response.url else None)
    port = free_port()
    with server(tdengine.settings(database), port):
        page.tab.goto(f"http://localhost:{port}/")
        page.wait_for_state("waiting")
        before = len(asked)
        wait_for(lambda: page.state() and len(asked) > before + 2, "questions that go on")
        assert page.errors == []


def test_a_page_among_very_many_seldom_asks_how_the_server_is(live: int, page: Page) -> None:
    asked = []

    def answer(route: Any) -> None:
        asked.append(route.request.url)
        route.fulfill(json={**route.fetch().json(), "viewers": 100_000})

    page.tab.route("**/health?*", answer)
    page.tab.goto(f"http://localhost:{live}/")
    page.wait_for_state("live")
    assert len(asked) < 3
    before, polls = len(asked), health(live)["polls"]
    wait_for(lambda: page.state() and health(live)["polls"] > polls + 10, "ten polls")
    assert len(asked) == before


def test_the_page_says_so_when_its_modules_are_missing(clone: Path, page: Page) -> None:
    (clone / "page" / "state.js").unlink()
    with file_server(clone) as address:
        page.tab.goto(address)
        assert page.state() == "failed"
        assert "page/" in page.text("#notice p")


class TestDashboard:
    """The page with the meters, one for all these tests; it is closed afterwards."""

    def test_the_page_fits_a_screen_and_a_phone(self, dashboard: Page) -> None:
        size = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        assert dashboard.tab.evaluate(size) == [1280, 720]

        for width, height in [(390, 844), (844, 390)]:
            dashboard.tab.set_viewport_size({"width": width, "height": height})
            boxes = dashboard.boxes()
            assert dashboard.tab.evaluate(size)[0] == width
            assert all(box["width"] > width - 10 and 250 < box["height"] < height for box in boxes)
            assert all(
                above["y"] + above["height"] <= below["y"] for above, below in itertools.pairwise(boxes)
            )

    def test_open_settings_leave_room_for_the_data_on_a_phone(self, dashboard: Page) -> None:
        dashboard.tab.set_viewport_size({"width": 390, "height": 844})
        dashboard.toggle_settings(0, True)
        first, second, *_ = dashboard.boxes()
        assert 844 > first["height"] > 700 > second["height"]
        dashboard.toggle_settings(0, False)
        assert dashboard.boxes()[0]["height"] == second["height"]

    def test_nothing_promises_that_data_can_be_edited(self, dashboard: Page) -> None:
        dashboard.toggle_settings(0, True)
        button = dashboard.tab.locator("#psp-column-edit-buttons th.psp-menu-enabled span").first
        wait_for(
            lambda: button.evaluate("it => getComputedStyle(it, '::before').content") == '"Style"', "Style"
        )
        dashboard.toggle_settings(0, False)

    def test_titles_say_what_is_shown_in_which_units(self, dashboard: Page) -> None:
        shown = dashboard.tab.locator("perspective-viewer-tab .psp-tab-title").all_text_contents()
        assert shown[0] == "Latest reading by location and group"
        assert re.fullmatch(r"Current by location \(A\), stacked, last [\d.]+ m?s", shown[1])
        means = r"Mean voltage \(V\), current \(A\), phase \(°\) by location, last [\d.]+ m?s"
        assert re.fullmatch(means, shown[2])
        assert shown[3] == "Latest voltage by location (V)"
        regions = dashboard.tab.locator("section")
        assert [regions.nth(index).get_attribute("aria-label") for index in range(4)] == shown

        headers = dashboard.tab.locator("regular-table thead th").all_text_contents()
        assert {"current (A)", "voltage (V)", "phase (°)"} <= set(headers)
        assert dashboard.saved(2)["columns"] == ["voltage", "current", "phase"]
        assert "timestamp" in dashboard.saved(1)["group_by"][0]

    def test_the_page_is_dark_whatever_the_system_is(self, dashboard: Page) -> None:
        for scheme in ("light", "dark", "no-preference"):
            dashboard.tab.emulate_media(color_scheme=scheme)
            assert dashboard.themes() == {"Pro Dark"}
            assert not dashboard.is_light()

    def test_a_button_switches_to_light_and_back_and_the_browser_remembers(self, dashboard: Page) -> None:
        """Also by keyboard, and in another tab; a theme that somebody chose for a viewer stays."""
        tab = dashboard.tab
        dashboard.arrange(3, {"theme": "Solarized"})
        other = Page(tab.context.new_page())
        other.tab.goto(tab.url)
        other.wait_for_state("live")
        for theme, label in [("light", "Switch to the dark theme"), ("dark", "Switch to the light theme")]:
            tab.focus("#theme")
            tab.keyboard.press("Enter")
            mine = {f"Pro {theme.capitalize()}"}
            wait_for(lambda mine=mine: dashboard.themes() == mine | {"Solarized"}, theme)
            wait_for(lambda mine=mine: other.themes() == mine, f"{theme} in the other tab")
            for page in (dashboard, other):
                assert page.is_light() == (theme == "light")
                assert (
                    page.tab.get_by_role("button", name=label).inner_text() == label.split()[3].capitalize()
                )
            other.tab.reload()
            other.wait_for_state("live")
            assert other.themes() == mine
            assert other.is_light() == (theme == "light")
        other.tab.close()
        dashboard.arrange(3, {"theme": "Pro Dark"})

    @pytest.mark.parametrize("theme", ["dark", "light"])
    def test_the_page_is_never_drawn_in_the_wrong_theme(self, dashboard: Page, theme: str) -> None:
        """Here its modules do not arrive, so that it stays as it is drawn at first."""
        context = dashboard.tab.context.browser.new_context(color_scheme="light")
        context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
        if theme == "dark":
            context.add_init_script("localStorage.clear()")
        first = Page(context.new_page())
        first.tab.route("**/page/main.js", lambda route: None)
        first.tab.goto(dashboard.tab.url, wait_until="commit")
        first.tab.wait_for_selector("h1")
        assert first.is_light() == (theme == "light")
        assert first.tab.evaluate("getComputedStyle(document.documentElement).colorScheme") == theme
        context.close()

    def test_a_keyboard_is_enough(self, dashboard: Page) -> None:
        keyboard = dashboard.tab.keyboard
        for _ in range(20):
            keyboard.press("Tab")
            if "psp-tab-settings" in dashboard.focus():
                break
        outline = "element => getComputedStyle(element, '::after').borderTopWidth"
        assert dashboard.tab.locator("section").first.evaluate(outline) == "2px"

        def open_settings() -> None:
            keyboard.press("Enter")
            wait_for(lambda: dashboard.saved(0)["settings"], "settings that Enter opens")
            wait_for(lambda: "SELECT" in dashboard.focus(), "the focus, in the settings")

        def close_settings() -> None:
            keyboard.press("Escape")
            wait_for(lambda: not dashboard.saved(0)["settings"], "settings that Escape closes")
            wait_for(lambda: "psp-tab-settings" in dashboard.focus(), "the focus, back on the button")

        open_settings()
        close_settings()

        open_settings()
        focused = set()
        for _ in range(6):
            keyboard.press("Tab")
            focused.add(dashboard.focus())
        assert len(focused) > 2, "Tab does not get on within the settings"
        close_settings()

        open_settings()
        dashboard.tab.locator("#split_by input").first.click()
        keyboard.type("loc")  # which has suggestions shown
        close_settings()

        for label in ["#plugin_tabbar_tab", "#query_tabbar_tab"]:
            open_settings()
            dashboard.tab.locator(label).click()
            assert dashboard.focus().startswith("BODY"), "a label takes no focus"
            close_settings()


@pytest.fixture
def machines(tdengine: TDengine, database: str) -> Iterator[Machines]:
    """A supertable like nobody's meters: six machines' readings of the last 90 s."""
    connection = tdengine.connect()
    connection.execute(f"CREATE DATABASE `{database}`")
    connection.execute(f"USE `{database}`")
    connection.execute(
        "CREATE STABLE `machines` (`at` TIMESTAMP, ok BOOL, note VARCHAR(20), temperature DOUBLE, "
        "pressure FLOAT, rpm INT) TAGS (hall NCHAR(10), machine INT)"
    )
    start = int(time.time() * 1000) - 90_000
    for machine in range(6):
        rows = " ".join(
            f"({start + step * 1000}, true, 'note {machine}.{step}', {60 + step % 7}, 2.5, {1400 + step})"
            for step in range(91)
        )
        hall = "ABC"[machine % 3]
        connection.execute(
            f"INSERT INTO m{machine} USING `machines` TAGS ('hall {hall}', {machine}) VALUES {rows}"
        )
    settings = {
        **tdengine.settings(database),
        "TAOS_TABLENAME": "machines",
        "PERSPECTIVE_TABLE_NAME": "machines",
    }
    yield Machines(connection, settings, start)
    connection.close()


def test_another_table_is_shown_by_what_its_columns_are(machines: Machines, page: Page) -> None:
    port = free_port()
    with server(machines.settings, port):
        page.open(port)
        assert page.text("h1") == "machines"
        rows, *charts = page.all_saved()
        assert (rows["plugin"], rows["title"]) == ("Datagrid", "All columns, newest rows first")
        assert rows["columns"] == list(machines.columns)
        assert rows["sort"] == [["at", "desc"]]
        shown = page.timestamps()
        assert len(shown) > 5
        assert shown == sorted(shown, reverse=True)

        assert [chart["plugin"] for chart in charts] == ["Y Line"] * 3
        assert [chart["columns"] for chart in charts] == [["temperature"], ["pressure"], ["rpm"]]
        assert [chart["split_by"] for chart in charts] == [["hall"]] * 3, "the text that has few values"
        assert charts[0]["title"] == "Mean temperature by hall, last 1.5 min"
        assert charts[0]["group_by"] == ["at, steps of 5 s"]
        assert page.coloured(page.plot(1)) > 0.001

        page.arrange(2, {"plugin": "Y Bar"})
        machines.connection.execute(
            f"INSERT INTO m0 VALUES ({machines.start - 30_000}, true, 'late', 60, 2.5, 1400)"
        )
        for number, name in enumerate(["temperature", "pressure", "rpm"], start=1):
            title = f"Mean {name} by hall, last 2 min"
            wait_for(lambda at=number, title=title: page.saved(at)["title"] == title, title)
        assert page.saved(2)["plugin"] == "Y Bar"

        for machine in range(1, 6):
            machines.connection.execute(f"DELETE FROM m{machine}")
        for sign in "<>":  # TDengine deletes one span of time at once
            machines.connection.execute(f"DELETE FROM m0 WHERE at {sign} {machines.start}")
        wait_for(lambda: page.text("#rows") == "1 row", "the one row that is left")
        wait_for(lambda: page.saved(1)["plugin"] == "Y Scatter", "a chart that can show a single moment")
        wait_for(lambda: page.coloured(page.plot(1)) > 0, "its point")
        assert page.saved(1)["title"] == "Mean temperature by hall"
        assert page.saved(2)["plugin"] == "Y Bar"

        machines.connection.execute(f"INSERT INTO m0 VALUES ({machines.start + 1}, true, '', 60, 2.5, 1400)")
        wait_for(lambda: page.saved(1)["plugin"] == "Y Line", "lines again")
        configured = ["plugin_config", "group_by", "split_by", "columns", "aggregates"]
        assert {name: page.saved(1)[name] for name in configured} == {
            **{name: charts[0][name] for name in configured},
            "group_by": ["at, steps of 1 ms"],
        }
        assert page.errors == []


def test_a_downloaded_layout_is_what_the_next_server_shows(
    machines: Machines, page: Page, tmp_path: Path
) -> None:
    file = tmp_path / "layout.json"
    port = free_port()
    with server(machines.settings, port):
        page.open(port)
        page.arrange(0, {"columns": ["rpm", "at"], "title": "Speed"})
        page.arrange(1, {"plugin": "Treemap", "group_by": ["hall"], "split_by": []})
        with page.tab.expect_download() as download:
            page.tab.click("#download")
        download.value.save_as(file)
        arranged = page.all_saved()
        assert json.loads(file.read_text()) == arranged

    file.write_text(json.dumps(arranged[:2]))
    with server({**machines.settings, "PERSPECTIVE_LAYOUT": str(file)}, port):
        page.open(port)
        assert page.all_saved() == arranged[:2]
        left, right = page.boxes()
        assert left["height"] == right["height"] > 600
        assert left["x"] + left["width"] <= right["x"]


def test_other_columns_leave_what_still_fits_of_an_arrangement(machines: Machines, page: Page) -> None:
    sockets = []
    page.tab.on("websocket", lambda socket: sockets.append(socket.url))
    page.tab.clock.install()
    port = free_port()
    with server(machines.settings, port):
        page.open(port)
        page.arrange(
            1,
            {
                "title": "Mine",
                "group_by": ["hall", "ok"],
                "split_by": ["pressure"],
                "expressions": {"double": '"temperature" * 2', "half": '"pressure" / 2'},
                "columns": ["double", "half", "rpm"],
                "sort": [["half", "desc"], ["rpm", "asc"]],
                "filter": [["pressure", ">", 0], ["rpm", ">", 5]],
                "aggregates": {"double": "avg", "half": "max", "rpm": ["max by", ["at"]]},
            },
        )
        page.arrange(2, {"columns": ["pressure"], "title": "Pressed"})
        page.tab.clock.pause_at(time.time() + 1)
        machines.connection.execute("ALTER STABLE `machines` DROP COLUMN pressure")
        wait_for(lambda: page.state() and len(sockets) == 2, "a WebSocket that no timer delays")
        page.tab.clock.resume()

        columns = ["at", "ok", "note", "temperature", "rpm", "tbname", "hall", "machine"]
        wait_for(lambda: page.all_saved()[0]["columns"] == columns, "the new columns")
        page.wait_for_state("live")
        saved = page.all_saved()
        kept = {
            "title": "Mine",
            "group_by": ["hall", "ok"],
            "split_by": [],
            "expressions": {"double": '"temperature" * 2'},
            "columns": ["double", "rpm"],
            "sort": [["rpm", "asc"]],
            "filter": [["rpm", ">", 5]],
            "aggregates": {"double": "avg", "rpm": ["max by", ["at"]]},
        }
        assert {name: saved[1][name] for name in kept} == kept
        assert saved[2]["columns"] == ["rpm"], "of what the user made of it nothing is left"
        assert saved[3]["columns"] == ["machine"]
        assert page.errors == []


def test_a_server_restart_leaves_the_layout_as_the_user_arranged_it(
    meters: dict[str, str], page: Page
) -> None:
    port = free_port()
    with server(meters, port):
        page.tab.goto(f"http://localhost:{port}/")
        page.wait_for_state("live")
        page.arrange(0, {"sort": [["voltage", "desc"]]})
        page.arrange(1, {"plugin": "Y Bar", "title": "Mine"})
        arranged = page.all_saved()
    wait_for(lambda: page.state() != "live", "the page to notice")
    before = max(wait_for(page.timestamps, "the last data, still on display"))

    with server(meters, port):
        page.wait_for_state("live")
        wait_for(lambda: min(page.timestamps(), default="") > before, "timestamps that move on")
        wait_for(lambda: page.all_saved() == arranged, "the same layout")


def test_without_a_server_viewers_can_be_resized_and_their_layout_still_be_had(
    meters: dict[str, str], page: Page
) -> None:
    port = free_port()
    with server(meters, port):
        page.open(port)
        page.arrange(1, {"title": "Mine"})
        wait_for(page.timestamps, "readings")
    wait_for(lambda: page.state() != "live", "the page to notice")
    width = page.boxes()[0]["width"]
    page.tab.set_viewport_size({"width": 1000, "height": 640})
    wait_for(lambda: page.boxes()[0]["width"] < width, "narrower viewers")
    page.tab.locator("perspective-viewer").first.hover()
    page.tab.mouse.wheel(0, 300)

    with page.tab.expect_download() as download:
        page.tab.click("#download")
    layout = json.loads(Path(download.value.path()).read_text())
    assert [viewer["plugin"] for viewer in layout] == ["Datagrid", *CHARTS]
    assert layout[1]["title"] == "Mine"
    assert page.timestamps(), "the last data stay"
    assert not [error for error in page.errors if "ERR_CONNECTION_REFUSED" not in error]


def test_a_page_without_a_server_says_so_and_comes_alive_with_it(meters: dict[str, str], page: Page) -> None:
    port = free_port()
    with file_server() as address:
        page.tab.goto(f"{address}?server=localhost:{port}")
        wait_for(lambda: f"http://localhost:{port}" in page.text("#notice p"), "what the page waits for")
        assert page.state() == "connecting"
        with server(meters, port):
            page.wait_for_state("live")
            assert page.plugins() == ["Datagrid", *CHARTS]


def test_a_token_is_asked_for_and_a_wrong_one_refused(meters: dict[str, str], page: Page) -> None:
    port = free_port()
    with server({**meters, "PERSPECTIVE_TOKEN": "look-but-only-look"}, port):
        page.tab.goto(f"http://localhost:{port}/")
        page.wait_for_state("locked")
        assert page.errors == []
        assert page.text("#notice p") == f"http://localhost:{port}/ asks for a token"

        refused = f"http://localhost:{port}/ does not take this token"
        page.tab.fill("input[name=token]", "some other token")
        page.tab.keyboard.press("Enter")
        wait_for(lambda: page.text("#notice p") == refused, "the refusal")

        page.tab.fill("input[name=token]", "look-but-only-look")
        page.tab.keyboard.press("Enter")
        page.wait_for_state("live")


def test_a_stalled_server_is_told_and_survived(meters: dict[str, str], page: Page) -> None:
    port = free_port()
    with server(meters, port) as process:
        page.tab.goto(f"http://localhost:{port}/")
        page.wait_for_state("live")
        process.signal(signal.SIGSTOP)
        page.wait_for_state("silent")
        process.signal(signal.SIGCONT)
        page.wait_for_state("live")


@pytest.mark.emulator_only
def test_the_page_is_stale_while_tdengine_is_away(page: Page) -> None:
    tdengine = TDengine(free_port(), is_emulator=True)
    settings = tdengine.settings("power")
    port = free_port()
    with emulator(tdengine.port) as process, producer(settings), server(settings, port):
        page.tab.goto(f"http://localhost:{port}/")
        page.wait_for_state("live")
        assert "TDengine emulator" in page.text("#source")

        process.kill()
        page.wait_for_state("stale")
        assert "stale since" in page.text("#state")
        assert not page.tab.locator("#state").evaluate(CUT_OFF), "the reason has to be in sight"
        before = max(wait_for(page.timestamps, "the last data, still on display"))
        assert page.errors == []

        with emulator(tdengine.port):
            page.wait_for_state("live")
            wait_for(lambda: min(page.timestamps(), default="") > before, "timestamps that move on")


def test_without_a_producer_the_newest_row_ages(tdengine: TDengine, database: str, page: Page) -> None:
    settings = tdengine.settings(database)
    with Process(python("producer.py", "--count", "2"), settings) as process:
        assert process.wait() == 0, process.output
    port = free_port()
    with server(settings, port):
        page.tab.goto(f"http://localhost:{port}/")
        page.wait_for_state("live")
        newest = page.newest()
        age = page.age()
        wait_for(lambda: page.age() > age, "a newest row that ages")
        assert page.newest() == newest
        assert page.state() == "live"


def test_bad_addresses_get_a_clear_line(page: Page) -> None:
    file = (ROOT / "prsp-viewer.html").as_uri()
    for address, server_address in [
        (file, "http://localhost:8080/"),
        (f"{file}?server=here:90", "http://here:90/"),
    ]:
        page.tab.goto(address)
        assert page.text("#notice p") == f"open this page over http, such as {server_address}"
    with file_server() as address:
        page.tab.goto(f"{address}?server=localhost:http")
        assert "host:port" in page.text("#notice p")
