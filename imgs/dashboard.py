"""Takes the pictures of the dashboard in Chromium while producer, TDengine's emulator and server run.

    python imgs/dashboard.py [FOLDER]    where to put them; beside this script unless given

The recordings, dashboard.gif and lookback.gif, are what happened: each frame is shown for as long as it
lasted.
"""

import asyncio
import io
import math
import shutil
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests
from PIL import Image
from playwright.async_api import Browser, Locator, Page, async_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support import Process, emulator, free_port, python, wait_for  # noqa: E402

from producer import LOCATIONS, create_database, create_table, insert_data, prepare  # noqa: E402
from tdengine_perspective.settings import Settings  # noqa: E402
from tdengine_perspective.tdengine import TDengine, connect  # noqa: E402

SCREEN = {"width": 1280, "height": 720}
PHONE = {"width": 390, "height": 844}
WIDE = {"width": 1280, "height": 520}
RECORDED = {"width": 1000, "height": 700}  # small, but at its full size

FRAME = 0.15  # seconds from one frame to the next, where the machine keeps up
COLOURS = 255  # of the recording, 256 at most
NEARNESS = 16  # two colours that differ less (in the sum of red, green and blue) count as one
HEAD, TAIL = 1, 2  # seconds before the user does something, and afterwards
MOVE = 0.4  # seconds that the mouse takes from one place to the next
HOURS = 12  # of readings before those of now, in lookback.gif
STEP = 10_000  # ms from one of these to the next
PATIENCE = 0.3  # seconds in which a watcher sees what the user is about to do, or did

# A screenshot lacks the mouse pointer: an arrow that follows it.
POINTER = """() => {
  const pointer = document.createElement("div");
  pointer.style = `position: fixed; z-index: 1000; width: 18px; height: 26px; pointer-events: none;
    background: white; filter: drop-shadow(0 0 1px black) drop-shadow(0 0 1px black);
    clip-path: polygon(0 0, 0 80%, 24% 62%, 40% 100%, 56% 92%, 40% 56%, 70% 56%)`;
  document.body.append(pointer);
  addEventListener("mousemove", ({ clientX, clientY }) => {
    pointer.style.left = `${clientX}px`;
    pointer.style.top = `${clientY}px`;
  }, { capture: true });
}"""


def write_hours(port: int) -> None:
    """Readings of each meter for the hours before now, which go up and down."""
    tdengine = TDengine.of(Settings(taos_port=port))
    connection, _ = connect(tdengine)
    create_database(connection, tdengine)
    create_table(connection, tdengine, reset=False)
    statement = prepare(connection, tdengine)
    now = time.time_ns() // 1_000_000
    times = list(range(now - HOURS * 3_600_000, now, STEP))
    batch = []
    for meter in range(len(LOCATIONS)):
        waves = [math.sin((at - now) / 3_600_000 * (1 + meter / 7) + meter) for at in times]
        current, voltage = [110 + 60 * wave for wave in waves], [round(212 + 9 * wave) for wave in waves]
        batch.append((meter, times, current, voltage, [120 + 40 * wave for wave in waves]))
    insert_data(statement, batch)
    statement.close()


@contextmanager
def dashboard(producer: list[str], rows: int, hours: bool = False, **settings: str) -> Iterator[str]:
    """The whole program on ports of its own, with that producer; its address, once it has that many rows."""
    taos_port, port = free_port(), free_port()
    settings |= {"TAOS_HOST": "localhost", "TAOS_PORT": str(taos_port), "PERSPECTIVE_PORT": str(port)}
    address = f"http://localhost:{port}/"

    def is_full() -> bool:
        return requests.get(f"{address}health", timeout=5).json()["rows"] >= rows

    with emulator(taos_port), ExitStack() as programs:
        if hours:
            write_hours(taos_port)
        programs.enter_context(Process(python(*producer), settings))
        programs.enter_context(Process(python("perspective_server.py"), settings))
        wait_for(is_full, f"{rows} rows", 120)
        yield address


async def open_page(browser: Browser, address: str, size: dict[str, int], theme: str) -> Page:
    """The live page in a window of its own, in the theme, "dark" or "light"."""
    page = await browser.new_page(viewport=size)
    await page.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    await page.goto(address)
    await page.wait_for_selector('#status[data-status="live"]')
    await page.mouse.move(size["width"] / 2, 10)
    await page.wait_for_timeout(2000)  # a few updates, so that the charts have moved
    return page


async def take_page(browser: Browser, address: str, path: Path, size: dict[str, int], theme: str) -> None:
    page = await open_page(browser, address, size, theme)
    await page.screenshot(path=path)
    await page.close()


async def take_viewers(browser: Browser, address: str, names: dict[str, Path]) -> None:
    """A picture of each viewer alone whose plugin is named."""
    page = await open_page(browser, address, SCREEN, "dark")
    for viewer in await page.locator("perspective-viewer").all():
        plugin = await viewer.evaluate("async (viewer) => (await viewer.save()).plugin")
        if plugin in names:
            await viewer.screenshot(path=names[plugin])
    await page.close()


class Recorder:
    """Takes frames at a steady pace."""

    def __init__(self, page: Page):
        self.page = page
        self.frames: list[bytes] = []
        self.times: list[float] = []
        self.stopping = asyncio.Event()

    async def record(self) -> None:
        """Take frames until `stopping` is set."""
        while not self.stopping.is_set():
            due = time.monotonic() + FRAME
            self.times.append(time.monotonic())
            self.frames.append(await self.page.screenshot())
            await asyncio.sleep(due - time.monotonic())
        self.times.append(time.monotonic())

    def save(self, path: Path) -> None:
        """Save as a GIF: one palette, and of each frame only what is new."""
        pictures = [Image.open(io.BytesIO(frame)).convert("RGB") for frame in self.frames]
        palette = common_palette(pictures)
        first, *others = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
        durations = [
            round((after - before) * 100) * 10
            for before, after in zip(self.times, self.times[1:], strict=False)
        ]
        first.save(path, save_all=True, append_images=others, duration=durations, loop=0, optimize=True)


def common_palette(pictures: list[Image.Image]) -> Image.Image:
    """A picture with the palette of the most frequent colours, as different ones as a dashboard's."""
    counts: Counter[tuple[int, ...]] = Counter()
    for picture in pictures:
        counts.update({colour: count for count, colour in picture.getcolors(1 << 24)})
    chosen: list[tuple[int, ...]] = []
    for colour, _ in counts.most_common():
        if all(sum(abs(a - b) for a, b in zip(colour, other, strict=True)) >= NEARNESS for other in chosen):
            chosen.append(colour)
        if len(chosen) == COLOURS:
            break
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for colour in chosen for channel in colour])
    return palette


class User:
    """Someone at the dashboard who moves the mouse, clicks and types at a human pace."""

    def __init__(self, page: Page, x: float, y: float):
        self.page = page
        self.x, self.y = x, y  # of the mouse

    async def click(self, target: Locator) -> None:
        await target.scroll_into_view_if_needed()
        box = await target.bounding_box()
        await self.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        await asyncio.sleep(PATIENCE)
        await self.page.mouse.click(self.x, self.y)
        await asyncio.sleep(PATIENCE)

    async def move(self, x: float, y: float) -> None:
        """Move the mouse there, in as many steps as the machine makes in MOVE seconds."""
        start_x, start_y, start = self.x, self.y, time.monotonic()
        way = 0.0
        while way < 1:
            way = min(1, (time.monotonic() - start) / MOVE)
            self.x, self.y = start_x + (x - start_x) * way, start_y + (y - start_y) * way
            await self.page.mouse.move(self.x, self.y)

    async def choose(self, menu: Locator, option: str) -> None:
        await self.click(menu)
        await self.type(option[0])
        await self.page.keyboard.press("Enter")
        await asyncio.sleep(PATIENCE)

    async def type(self, text: str) -> None:
        for key in text:
            await self.page.keyboard.press(key)
            await asyncio.sleep(PATIENCE / 3)


async def group_and_filter(user: User) -> None:
    """In the datagrid: one row a location, not a meter; a row for their total; only some of the locations."""
    viewer = user.page.locator("perspective-viewer").first
    await user.click(viewer.locator(".psp-tab-settings"))
    await user.click(viewer.locator("#group_by .row_close").nth(1))
    await user.choose(viewer.locator("#group_rollup_mode_selector"), "Rollup")
    await user.click(viewer.locator("#filter input"))
    await user.type("loc")
    await asyncio.sleep(PATIENCE)
    await user.page.keyboard.press("Enter")
    await user.choose(viewer.locator("#filter select"), "begins with")
    await user.click(viewer.locator("#filter input.string-filter"))
    await user.type("S")
    await user.click(viewer.locator("#settings_close_button"))
    saved = await viewer.evaluate("(viewer) => viewer.save()")
    wanted = (["location"], "rollup", [["location", "begins with", "S"]])
    assert (saved["group_by"], saved["group_rollup_mode"], saved["filter"]) == wanted, saved


async def look_back(user: User) -> None:
    """At the last hour, at all there is, and live again."""
    for name, status in (("1 h", "past"), ("All", "past"), ("Live", "live")):
        await user.click(user.page.get_by_role("button", name=name, exact=True))
        await user.page.wait_for_selector(f'#status[data-status="{status}"]')
        await asyncio.sleep(TAIL)


async def record(browser: Browser, address: str, path: Path, act: Callable[[User], Awaitable[None]]) -> None:
    page = await open_page(browser, address, RECORDED, "dark")
    await page.evaluate(POINTER)
    user = User(page, RECORDED["width"] * 0.45, RECORDED["height"] * 0.5)
    await user.move(user.x, user.y)
    recorder = Recorder(page)
    recording = asyncio.create_task(recorder.record())
    await asyncio.sleep(HEAD)
    await act(user)
    await asyncio.sleep(TAIL)
    recorder.stopping.set()
    await recording
    recorder.save(path)
    await page.close()
    print(f"{path.name}: {len(recorder.frames)} frames in {recorder.times[-1] - recorder.times[0]:.1f} s")


async def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    chromium = shutil.which("chromium")
    if not chromium:
        raise SystemExit("imgs/dashboard.py: there is no Chromium; install it (apt install chromium)")
    weather = {
        "TAOS_DATABASE": "weather",
        "TAOS_TABLENAME": "stations",
        "PERSPECTIVE_TABLE_NAME": "weather",
        "PERSPECTIVE_LAYOUT": "examples/weather.json",
    }
    plant = {"PERSPECTIVE_TABLES": "examples/plant.toml", "PERSPECTIVE_LAYOUT": "examples/plant.json"}
    async with async_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking", "--enable-unsafe-swiftshader"]
        browser = await playwright.chromium.launch(executable_path=chromium, args=flags)
        with dashboard(["producer.py"], 1000) as address:
            await take_page(browser, address, folder / "dashboard-light.png", SCREEN, "light")
            await take_page(browser, address, folder / "phone.png", PHONE, "dark")
            plugins = ("Datagrid", "Y Area", "Y Line", "Treemap")
            stills = {plugin: folder / f"{plugin.rpartition(' ')[2].lower()}.png" for plugin in plugins}
            await take_viewers(browser, address, stills)
            await record(browser, address, folder / "dashboard.gif", group_and_filter)
        with dashboard(["producer.py", "--append"], 1000, hours=True) as address:
            await record(browser, address, folder / "lookback.gif", look_back)
        with dashboard(["producer.py"], 10, **plant) as address:
            await take_page(browser, address, folder / "plant.png", SCREEN, "dark")
        with dashboard(["-m", "examples.weather"], 60, **weather) as address:
            await take_page(browser, address, folder / "weather.png", WIDE, "dark")
        with dashboard(["producer.py"], 60_000, PERSPECTIVE_LIMIT="60000") as address:
            await take_viewers(browser, address, {"Y Area": folder / "minute.png"})
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
