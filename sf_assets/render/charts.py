"""Sparklines and SVG charts.

pygal draws the charts: pure Python, about 130 kB, a few milliseconds per chart (matplotlib is 60
MB). It is imported only when a chart is drawn.
"""

from __future__ import annotations

import base64
import math
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any

BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None]) -> str:
    """Values as a line of block characters, with a dot for None."""
    figures = [value for value in values if value is not None]
    if not figures:
        return ""
    low, high = min(figures), max(figures)
    step = (high - low) / (len(BLOCKS) - 1)
    return "".join(
        "·" if value is None else BLOCKS[round((value - low) / step) if step else 3]
        for value in values
    )


# Colours that also differ in lightness, readable on white and on near black.
COLOURS = ("#3987e5", "#d95926", "#199e70", "#c98500", "#d55181", "#9085e9")

_SHAPE = """
text { stroke: none; fill: INK; font: 11px system-ui, sans-serif; }
.background, .showable, .tooltip, .text-overlay, .nofill, .guide.line, .overlay { fill: none; }
.tooltip, .crosshairs { display: none; }
.axis.x text { text-anchor: middle; } .axis.y text { text-anchor: end; }
.legends text { font-size: 12px; }
.axis .line { stroke: GRID; fill: none; }
.horizontal .axis.y .guide.line, .vertical .axis.x .guide.line { opacity: 0; }
.line-graph .series path { fill: none; stroke-width: 2.2; stroke-linecap: round; stroke-linejoin: round; }
.bar-graph .rect, .stackedbar-graph .rect { stroke-width: 0; }
.lighter { opacity: .4; }
"""  # noqa: E501


_NOT_OURS = re.compile(
    r"<!--.*?-->|<script.*?</script>|<style.*?</style>|<title>.*?</title>|<desc.*?</desc>",
    re.DOTALL,
)


def chart_css(ink: str, grid: str, colours: Sequence[str]) -> str:
    """The CSS of every chart; `ink`, `grid` and `colours` may be CSS variables."""
    return _SHAPE.replace("INK", ink).replace("GRID", grid) + "".join(
        f".color-{number} {{ stroke: {colour}; fill: {colour}; }}\n"
        for number, colour in enumerate(colours)
    )


def draw(
    kind: str,
    labels: Sequence[date],
    series: Mapping[str, Sequence[float | None]],
    *,
    width: int = 760,
    height: int = 280,
    css: str = "",
    y_from_zero: bool = False,
    unit: str = "",
    lighter: Mapping[str, Collection[date]] | None = None,
    marks: Sequence[int] = (),
) -> str:
    """A chart as SVG text: `kind` is a class of pygal, `labels` are days, one value per day.

    Without `css`, the page around it must include `chart_css`. `lighter` has the days, per series,
    whose values and adjacent lines are drawn lighter. `marks` are indexes of labels that get a
    vertical line.
    """
    pygal = _pygal()
    every = max(1, -(-len(labels) // max(3, width // 110)))
    chart = getattr(pygal, kind)(
        width=width,
        height=height,
        js=[],
        css=[],
        pretty_print=False,
        disable_xml_declaration=True,
        no_prefix=True,
        show_legend=len(series) > 1,
        legend_at_bottom=True,
        legend_at_bottom_columns=min(len(series), 3 if width > 500 else 2),
        legend_box_size=10,
        truncate_legend=24,
        # A single day between days without a figure would be a line of no length.
        show_dots=any(map(_stands_alone, series.values())),
        dots_size=3,
        show_minor_x_labels=False,
        x_labels_major_every=every,
        truncate_label=-1,
        margin=6,
        spacing=8,
        value_formatter=lambda value: f"{value:,.10g}{unit}",
        max_scale=8,
        min_scale=3,
        include_x_axis=y_from_zero,
        allow_interruptions=True,
    )
    chart.x_labels = [f"{day:%b} {day.day}" for day in labels]
    if not unit:
        chart.y_labels = _whole_numbers(kind, series)
    pale: list[tuple[int, list[float | None]]] = []
    for number, (name, values) in enumerate(series.items()):
        days = [day in (lighter or {}).get(name, ()) for day in labels]
        chart.add(name, [None if light else v for v, light in zip(values, days, strict=True)])
        if any(days):
            adjacent = [any(days[max(0, at - 1) : at + 2]) for at in range(len(days))]
            pale.append(
                (number, [v if light else None for v, light in zip(values, adjacent, strict=True)])
            )
    for _, values in pale:
        chart.add(None, values)  # a series without a name is not in the legend
    svg = str(chart.render(is_unicode=True))
    for at, (number, _) in enumerate(pale, start=len(series)):
        svg = svg.replace(f"serie-{at} color-{at}", f"serie-{at} color-{number} lighter")
    # Remove pygal's own styles, scripts, tooltips and links.
    svg = _NOT_OURS.sub("", svg).replace(' id=""', "", 1)
    if marks and len(labels) > 1:
        svg = _PLOT.sub(lambda plot: plot[0] + _marks(plot, marks, len(labels) - 1), svg, count=1)
    svg = re.sub(r"\d+\.\d{2,}", lambda found: f"{float(found[0]):.1f}", svg)
    return svg.replace("<defs>", f"<style>{css}</style><defs>", 1) if css else svg


_PLOT = re.compile(
    r'class="plot"><rect x="0" y="0" width="([0-9.]+)" height="([0-9.]+)" class="background" />'
)


def _marks(plot: re.Match[str], marks: Sequence[int], last: int) -> str:
    """Vertical lines at these labels of a line chart, which has 2 % of its width on each side."""
    width, height = float(plot[1]), float(plot[2])
    positions = (width * (at / last + 0.02) / 1.04 for at in marks)
    return "".join(f'<path class="mark" d="M{x:.1f} 0V{height:.1f}"/>' for x in positions)


def _stands_alone(values: Sequence[float | None]) -> bool:
    """Whether a value has no neighbour to draw a line to, as in a list that is read weekly."""
    around = [None, *values, None]
    return any(
        value is not None and around[at] is None and around[at + 2] is None
        for at, value in enumerate(values)
    )


def _pygal() -> Any:
    """Import pygal and remove the import finder of its map plugins.

    The finder uses an old protocol, so every later import of anything would warn.
    """
    import pygal

    sys.meta_path[:] = [
        finder for finder in sys.meta_path if type(finder).__module__ != pygal.__name__
    ]
    return pygal


def _whole_numbers(kind: str, series: Mapping[str, Sequence[float | None]]) -> list[int] | None:
    """Whole-number labels for the y axis: accounts are whole."""
    columns = [[value or 0 for value in column] for column in zip(*series.values(), strict=True)]
    if kind.startswith("Stacked"):
        low = min((sum(v for v in column if v < 0) for column in columns), default=0)
        high = max((sum(v for v in column if v > 0) for column in columns), default=0)
    else:
        figures = [value for values in series.values() for value in values if value is not None]
        if not figures:
            return None
        low, high = min(figures), max(figures)
    steps = (first * 10**power for power in range(12) for first in (1, 2, 5))
    step = next(step for step in steps if (high - low) / step <= 6)
    return list(range(math.floor(low / step) * step, math.ceil(high / step) * step + 1, step))


def as_markdown_image(svg: str, meaning: str) -> str:
    """An SVG as an image inside Markdown. Scripts in an image do not run.

    `meaning` is the alternative text, without Markdown.
    """
    # Without a size, the image would be as wide as the text above it.
    view = re.search(r'viewBox="0 0 (\d+) (\d+)"', svg)
    if view:
        svg = svg.replace("<svg ", f'<svg width="{view[1]}" height="{view[2]}" ', 1)
    data = base64.b64encode(svg.encode()).decode()
    return f"![{meaning}](data:image/svg+xml;base64,{data})"
