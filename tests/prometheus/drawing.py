"""Series as text and as SVG: what Grafana would draw of a panel, near enough to judge it. Asks nobody anything."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

COLOURS: Final = (
    "#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#b877d9", "#f2495c", "#56a64b", "#8ab8ff", "#fade2a", "#c4162a",
)  # fmt: skip
_SPARKS: Final = " ▁▂▃▄▅▆▇█"
_SPARK_WIDTH: Final = 48


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its legend, and `values` at equal steps, NaN where there is none."""

    legend: str
    values: Sequence[float]

    @property
    def there(self) -> list[float]:
        """The values that are numbers."""
        return [value for value in self.values if math.isfinite(value)]

    @property
    def last(self) -> float:
        """The last number, NaN without any."""
        return self.there[-1] if self.there else math.nan


def shown(value: float, unit: str) -> str:
    """A number as Grafana writes it in this unit."""
    if not math.isfinite(value):
        return "-"
    match unit:
        case "percentunit":
            return f"{value * 100:.3g} %"
        case "s":
            return _duration(value)
        case "reqps":
            return f"{_short(value)} req/s"
        case "ops":
            return f"{_short(value)} ops/s"
        case "Bps":
            return f"{_short(value)}B/s"
        case _:
            return _short(value)


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _duration(value: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if abs(value) >= size:
            return f"{value / size:.3g} {name}"
    return f"{value * 1000:.3g} ms"


def spark(values: Sequence[float]) -> str:
    """A line of blocks; a dot where there is no value."""
    size = max(1, math.ceil(len(values) / _SPARK_WIDTH))
    groups = [[v for v in values[at : at + size] if math.isfinite(v)] for at in range(0, len(values), size)]
    top = max((max(group) for group in groups if group), default=0.0) or 1.0
    return "".join(_SPARKS[min(8, max(0, round(8 * max(group) / top)))] if group else "·" for group in groups)


def lines(series: Sequence[Series], width: int, height: int, unit: str, *, stacked: bool) -> str:
    """An SVG of lines or stacked areas."""
    left, bottom = 78, 16
    drawn = _stacked(series) if stacked else [(one.values, None) for one in series]
    top = max((v for values, _ in drawn for v in values if math.isfinite(v)), default=0.0) or 1.0

    def points(values: Sequence[float]) -> list[str]:
        wide, high = width - left - 6, height - bottom - 8
        count = max(1, len(values) - 1)
        return [
            f"{left + wide * at / count:.1f},{8 + high * (1 - value / top):.1f}" if math.isfinite(value) else ""
            for at, value in enumerate(values)
        ]

    parts = [f'<svg width="{width}" height="{height}">']
    for share in (0.0, 0.5, 1.0):
        y = 8 + (height - bottom - 8) * (1 - share)
        parts.append(f'<line x1="{left}" x2="{width - 6}" y1="{y:.0f}" y2="{y:.0f}" stroke="#2c3235"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{shown(top * share, unit)}</text>')
    for number, (values, below) in enumerate(drawn):
        colour = COLOURS[number % len(COLOURS)]
        for piece in _pieces(points(values)):
            parts.append(
                f'<polyline points="{" ".join(piece)}" fill="none" stroke="{colour}" stroke-width="1.3"/>'
            )
            if len(piece) == 1:
                centre = 'cx="{}" cy="{}"'.format(*piece[0].split(","))
                parts.append(f'<circle {centre} r="1.5" fill="{colour}"/>')
        if below is not None:
            outline = [*points(values), *reversed(points(below))]
            parts.append(f'<polygon points="{" ".join(outline)}" fill="{colour}" fill-opacity="0.25"/>')
    return "".join([*parts, "</svg>"])


def _stacked(series: Sequence[Series]) -> list[tuple[list[float], list[float]]]:
    found: list[tuple[list[float], list[float]]] = []
    below: list[float] = []
    for one in series:
        values = [value if math.isfinite(value) else 0.0 for value in one.values]
        below = below or [0.0] * len(values)
        above = [a + b for a, b in zip(below, values, strict=True)]
        found.append((above, below))
        below = above
    return found


def _pieces(points: Sequence[str]) -> list[list[str]]:
    pieces: list[list[str]] = [[]]
    for point in points:
        if point:
            pieces[-1].append(point)
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def states(series: Sequence[Series], width: int, *, zero_is_bad: bool) -> str:
    """An SVG of bars of states: green where all is well, red where it is not."""
    left, high = 250, 20
    parts = [f'<svg width="{width}" height="{high * max(1, len(series)) + 4}">']
    for row, one in enumerate(series):
        parts.append(f'<text x="4" y="{row * high + 14}">{html.escape(one.legend)}</text>')
        wide = (width - left - 6) / max(1, len(one.values))
        for at, value in enumerate(one.values):
            if math.isfinite(value):
                good = value > 0 if zero_is_bad else value == 0
                colour = "#37872d" if good else "#c4162a"
                place = (
                    f'x="{left + at * wide:.1f}" y="{row * high + 2}" width="{wide + 0.5:.1f}" height="{high - 4}"'
                )
                parts.append(f'<rect {place} fill="{colour}"/>')
    return "".join([*parts, "</svg>"])
