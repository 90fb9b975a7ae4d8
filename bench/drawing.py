"""Line drawings as SVG, by hand: a row of panels, each with a logarithmic x axis; growth, by two of them."""

import math
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 280, 200  # of a panel, px
LEFT, RIGHT, TOP, BOTTOM = 46, 16, 40, 34
CAPTION = 26  # its height, px
STYLE = """
text { fill: #57606a } .grid { stroke: #d0d7de }
polyline { stroke: #0a7ea4; stroke-width: 2; fill: none } circle { fill: #0a7ea4 }
.other polyline { stroke: #b35900 } .other circle { fill: #b35900 }
@media (prefers-color-scheme: dark) {
  text { fill: #9da7b1 } .grid { stroke: #3d444d } polyline { stroke: #4cb5d9 } circle { fill: #4cb5d9 }
  .other polyline { stroke: #f0a35e } .other circle { fill: #f0a35e }
}
"""


@dataclass(frozen=True)
class Panel:
    """One drawing: a title, what x is, what y is, and the points."""

    title: str
    x_label: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Growth:
    """A line of a drawing; `is_other` draws it in another colour, `is_below` its figures below it."""

    title: str
    points: list[tuple[float, float]]
    is_other: bool = False
    is_below: bool = False


def draw(panels: list[Panel], columns: int, caption: str) -> str:
    """The panels, so many in a row, as one SVG, for light and dark pages alike."""
    rows = math.ceil(len(panels) / columns)
    width, height = columns * WIDTH, rows * HEIGHT + CAPTION
    drawn = "".join(
        f'<g transform="translate({number % columns * WIDTH},{CAPTION + number // columns * HEIGHT})">'
        f"{draw_panel(panel)}</g>\n"
        for number, panel in enumerate(panels)
    )
    return svg(width, height, caption, drawn)


def draw_growth(lines: list[Growth], x_label: str, y_label: str, caption: str) -> str:
    """The lines as one SVG with logarithmic axes, each with its title at its end."""
    width, height, titles = 860, 420, 220
    points = [point for line in lines for point in line.points]
    (x_low, x_high), (y_low, y_high) = (
        (math.log10(min(values)), math.log10(max(values))) for values in zip(*points, strict=True)
    )
    y_low, y_high = math.floor(y_low), math.ceil(y_high)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (math.log10(x) - x_low) / (x_high - x_low or 1) * (width - LEFT - titles),
            height - BOTTOM - (math.log10(y) - y_low) / (y_high - y_low or 1) * (height - TOP - BOTTOM),
        )

    parts = [text(LEFT - 6, TOP - 8, y_label, 'text-anchor="end"')]
    for exponent in range(y_low, y_high + 1):
        _, at = place(10**x_low, 10**exponent)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{width - titles}" class="grid"/>')
        parts.append(text(LEFT - 6, at + 4, f"{10**exponent:g}", 'text-anchor="end"'))
    for x in sorted({x for x, _ in points}):
        parts.append(text(place(x, 1)[0], height - BOTTOM + 15, f"{x:,.0f}", 'text-anchor="middle"'))
    parts.append(text((LEFT + width - titles) / 2, height - 4, x_label, 'text-anchor="middle"'))
    parts += [draw_line(line, [place(*point) for point in line.points]) for line in lines]
    return svg(width, height, caption, "\n".join(parts))


def draw_line(line: Growth, places: list[tuple[float, float]]) -> str:
    along = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<polyline points="{along}"/>']
    for (x, y), (_, measured) in zip(places, line.points, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
        figure = f"{measured:.0f}" if measured >= 10 else f"{measured:.2g}"
        parts.append(text(x, y + 15 if line.is_below else y - 7, figure, 'text-anchor="middle"'))
    x, y = places[-1]
    parts.append(text(x + 8, y + 4, line.title, 'font-weight="bold"'))
    return f'<g class="{"other" if line.is_other else ""}">{"".join(parts)}</g>'


def svg(width: int, height: int, caption: str, drawn: str) -> str:
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
