"""Line drawings as SVG, by hand: a row of panels, each with a logarithmic x axis."""

import math
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 280, 200  # of a panel, px
LEFT, RIGHT, TOP, BOTTOM = 46, 16, 40, 34
CAPTION = 26  # its height, px
STYLE = """
text { fill: #57606a } .grid { stroke: #d0d7de }
polyline { stroke: #0a7ea4; stroke-width: 2; fill: none } circle { fill: #0a7ea4 }
@media (prefers-color-scheme: dark) {
  text { fill: #9da7b1 } .grid { stroke: #3d444d } polyline { stroke: #4cb5d9 } circle { fill: #4cb5d9 }
}
"""


@dataclass(frozen=True)
class Panel:
    """One drawing: a title, what x is, what y is, and the points."""

    title: str
    x_label: str
    points: list[tuple[float, float]]


def draw(panels: list[Panel], columns: int, caption: str) -> str:
    """The panels, so many in a row, as one SVG, for light and dark pages alike."""
    rows = math.ceil(len(panels) / columns)
    width, height = columns * WIDTH, rows * HEIGHT + CAPTION
    drawn = "".join(
        f'<g transform="translate({number % columns * WIDTH},{CAPTION + number // columns * HEIGHT})">'
        f"{draw_panel(panel)}</g>\n"
        for number, panel in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">\n'
        f"<style>{STYLE}</style>\n{text(LEFT, 18, caption, '')}\n{drawn}</svg>\n"
    )


def draw_panel(panel: Panel) -> str:
    exponents = [math.log10(x) for x, _ in panel.points]
    low, span = exponents[0], (exponents[-1] - exponents[0]) or 1
    top = round_up(1.1 * max(y for _, y in panel.points))

    def place(exponent: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (exponent - low) / span * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM),
        )

    parts = [text(LEFT, 18, panel.title, 'font-weight="bold"')]
    for y in (0, top / 2, top):
        _, height = place(low, y)
        parts.append(f'<path d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}" class="grid"/>')
        parts.append(text(LEFT - 6, height + 4, f"{y:g}", 'text-anchor="end"'))
    places = [place(exponent, y) for exponent, (_, y) in zip(exponents, panel.points, strict=True)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts.append(f'<polyline points="{line}"/>')
    for (x, y), (value, measured) in zip(places, panel.points, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
        # The first point stands on the axis, whose own numbers are to its left.
        parts.append(text(x, y - 7, f"{measured:.3g}", f'text-anchor="{"start" if x == LEFT else "middle"}"'))
        parts.append(text(x, HEIGHT - BOTTOM + 15, f"{value:,.0f}", 'text-anchor="middle"'))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, panel.x_label, 'text-anchor="middle"'))
    return "".join(parts)


def text(x: float, y: float, content: str, attributes: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(content)}</text>'


def round_up(value: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(value)) if value > 0 else 1
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)
