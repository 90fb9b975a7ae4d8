"""Draws architecture.svg and architecture-dark.svg, with names and numbers out of the programs' own sources.

python imgs/architecture.py [FOLDER]    where to put them; beside this script unless given
"""

import re
import sys
from html import escape
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import producer  # noqa: E402
from tdengine_perspective.mirror.reading import FULL_READ_INTERVAL  # noqa: E402
from tdengine_perspective.settings import Settings  # noqa: E402

WIDTH, HEIGHT = 800, 400  # px
SMALL, LARGE = 12.5, 15  # font sizes
LINE_HEIGHT = 18

LIGHT = {
    "box": "#f6f8fa",
    "edge": "#8c959f",
    "text": "#1f2328",
    "muted": "#57606a",
    "accent": "#0a6c8f",
    "group": "#eaf4f8",
}
DARK = {
    "box": "#21262d",
    "edge": "#6e7681",
    "text": "#e6edf3",
    "muted": "#9ea7b1",
    "accent": "#58b6d8",
    "group": "#132a35",
}


def facts() -> dict[str, str]:
    """What the drawing says that could change: every name and number in it."""
    with patch.object(sys, "argv", ["producer.py"]):
        arguments = producer.parse_arguments()
    settings = Settings()  # the defaults, whatever the environment says
    return {
        "meters": f"{len(producer.LOCATIONS)} meters",
        "rows": f"{arguments.rows} rows",
        "interval": f"{arguments.interval} ms",
        "adapter": f"taosAdapter :{settings.taos_port}",
        "supertable": f"{settings.taos_database}.{settings.taos_tablename}",
        "poll": f"{settings.perspective_refresh_rate} ms",
        "window poll": f"{FULL_READ_INTERVAL} s",
        "window": f"newest {settings.perspective_limit:,} rows of the last {settings.perspective_window}",
        "table": settings.perspective_table_name,
        "server": f"Tornado :{settings.perspective_port}",
    }


def viewers() -> list[str]:
    """What the page's four viewers show, by the names of Perspective's plugins."""
    page = (ROOT / "prsp-viewer.html").read_text()
    # Each stands on a line of its own, and the meters' dashboard comes first.
    return re.findall(r'^ +plugin: "([^"]+)",$', page, re.MULTILINE)[:4]


class Drawing:
    """An SVG in the making, in one palette."""

    def __init__(self, palette: dict[str, str]):
        self.palette = palette
        self.parts: list[str] = []

    def box(self, x: int, y: int, width: int, height: int, title: str, lines: list[str]) -> None:
        """A box with a bold title and lines below it."""
        fill, edge = self.palette["box"], self.palette["edge"]
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{fill}" stroke="{edge}"/>'
        )
        self.text(x + width / 2, y + 26, title, "text", LARGE, bold=True)
        for number, line in enumerate(lines):
            self.text(x + width / 2, y + 48 + number * LINE_HEIGHT, line, "muted", SMALL)

    def tile(self, x: int, y: int, width: int, height: int, title: str) -> None:
        edge = self.palette["edge"]
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="none" stroke="{edge}"/>'
        )
        self.text(x + width / 2, y + height / 2 + 4, title, "muted", SMALL)

    def group(self, x: int, y: int, width: int, height: int, title: str) -> None:
        """What belongs together, with its title at the lower edge."""
        fill, edge = self.palette["group"], self.palette["accent"]
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="12" fill="{fill}" stroke="{edge}" '
            'stroke-dasharray="5 4"/>'
        )
        self.text(x + width / 2, y + height - 11, title, "accent", SMALL)

    def arrow(self, x: int, y: int, to_x: int, to_y: int, both_ways: bool = False) -> None:
        start = ' marker-start="url(#head)"' if both_ways else ""
        self.parts.append(
            f'<path d="M{x} {y}L{to_x} {to_y}" stroke="{self.palette["accent"]}" stroke-width="2" '
            f'marker-end="url(#head)"{start}/>'
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        colour: str,
        size: float,
        bold: bool = False,
        anchor: str = "middle",
    ) -> None:
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" fill="{self.palette[colour]}" font-size="{size}"{weight} '
            f'text-anchor="{anchor}">{escape(text)}</text>'
        )

    def svg(self, description: str) -> str:
        head = (
            '<marker id="head" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="8" markerHeight="8" '
            'orient="auto-start-reverse" markerUnits="userSpaceOnUse">'
            f'<path d="M0 0L10 5L0 10z" fill="{self.palette["accent"]}"/></marker>'
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
            f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">\n'
            f"<title>{escape(description)}</title>\n<defs>{head}</defs>\n"
            + "\n".join(self.parts)
            + "\n</svg>\n"
        )


def draw(palette: dict[str, str]) -> str:
    """The way of a reading: along the top into TDengine, and back along the bottom to the page."""
    fact = facts()
    drawing = Drawing(palette)

    drawing.box(
        16, 16, 210, 96, "producer.py", [f"{fact['rows']} of {fact['meters']}", f"every {fact['interval']}"]
    )
    drawing.arrow(226, 64, 570, 64)
    drawing.text(398, 52, "one prepared statement (stmt2),", "text", SMALL)
    drawing.text(398, 84, f"all {fact['meters']} in one bind", "text", SMALL)
    drawing.box(574, 16, 210, 96, "TDengine", [f"supertable {fact['supertable']}", fact["adapter"]])

    drawing.group(282, 206, 510, 178, "python perspective_server.py, and the child process that it starts")
    drawing.arrow(679, 112, 679, 222)
    drawing.text(664, 144, f"every {fact['poll']}: the rows that may be new", "text", SMALL, anchor="end")
    drawing.text(664, 164, f"every {fact['window poll']}: the {fact['window']}", "text", SMALL, anchor="end")
    drawing.box(
        574,
        226,
        210,
        118,
        "mirror/reader.py",
        ["child process", "keeps the window, finds", "what changed in it"],
    )
    drawing.arrow(574, 285, 504, 285)
    drawing.text(539, 273, "pipe:", "text", SMALL)
    drawing.text(539, 304, "changes", "text", SMALL)
    drawing.box(
        290,
        226,
        210,
        118,
        "perspective_server.py",
        [fact["server"], f"table {fact['table']}", "the gate: look,", "don't touch"],
    )
    drawing.arrow(286, 285, 198, 285, both_ways=True)
    drawing.text(239, 273, "WebSocket,", "text", SMALL)
    drawing.text(239, 304, "one a page", "text", SMALL)
    drawing.box(16, 226, 178, 118, "prsp-viewer.html", [])
    for number, plugin in enumerate(viewers()):
        drawing.tile(24 + number % 2 * 82, 264 + number // 2 * 38, 80, 36, plugin)
    return drawing.svg("How a reading comes from producer.py by way of TDengine to the page")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    (folder / "architecture.svg").write_text(draw(LIGHT))
    (folder / "architecture-dark.svg").write_text(draw(DARK))


if __name__ == "__main__":
    main()
