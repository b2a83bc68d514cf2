"""Line charts as SVG, side by side and sharing their legend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

__all__ = ["Chart", "draw"]

COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")
WIDTH, HEIGHT = 380, 150
LEFT, TOP, RIGHT, BOTTOM = 46, 26, 14, 32
LEGEND = 30


@dataclass(frozen=True)
class Chart:
    """One chart: lines by name, each a value for every ``step`` on the horizontal axis."""

    title: str
    unit: str
    step: float
    lines: Mapping[str, Sequence[float]]


def draw(path: Path, rows: Sequence[Sequence[Chart]]) -> None:
    """Write the charts, row by row. A line has the same colour in all of them."""
    names = list(dict.fromkeys(name for row in rows for chart in row for name in chart.lines))
    colors = {name: COLORS[number % len(COLORS)] for number, name in enumerate(names)}
    across, down = LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM
    width, height = across * max(map(len, rows)), down * len(rows) + LEGEND
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="11" fill="#333">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, name in enumerate(names):
        x = LEFT + number * 140
        parts.append(f'<path d="M{x} 16h24" stroke="{colors[name]}" stroke-width="2"/>')
        parts.append(_text(x + 30, 20, name))
    for down_at, row in enumerate(rows):
        for across_at, chart in enumerate(row):
            x, y = across_at * across + LEFT, down_at * down + LEGEND + TOP
            parts.append(f'<g transform="translate({x} {y})">{_chart(chart, colors)}</g>')
    path.write_text("\n".join((*parts, "</svg>", "")))


def _chart(chart: Chart, colors: Mapping[str, str]) -> str:
    longest = max(len(line) for line in chart.lines.values()) * chart.step
    highest = max(max(line) for line in chart.lines.values()) or 1.0
    parts = [_text(0, -9, f"{chart.title} ({chart.unit})")]
    for value in _ticks(highest):
        y = HEIGHT * (1 - value / highest)
        parts.append(f'<path d="M0 {y:.1f}h{WIDTH}" stroke="#ddd"/>')
        parts.append(_text(-6, y + 4, f"{value:g}", "end"))
    for value in _ticks(longest):
        parts.append(_text(WIDTH * value / longest, HEIGHT + 16, f"{value:g} s", "middle"))
    for name, line in chart.lines.items():
        points = " ".join(
            f"{WIDTH * number * chart.step / longest:.1f},{HEIGHT * (1 - value / highest):.1f}"
            for number, value in enumerate(line, 1)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colors[name]}"/>')
    return "\n".join(parts)


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _ticks(highest: float) -> list[float]:
    """Round numbers from 0 to ``highest``: three to six of them."""
    step = 10 ** math.floor(math.log10(highest))
    step = next(step * part for part in (0.2, 0.5, 1, 2) if highest / (step * part) <= 5.5)
    return [number * step for number in range(math.floor(highest / step) + 1)]
