"""Plots as SVG: axes, curves, bands, points and what happened along the way. Text stays text.

A curve of any length becomes about POINTS points; of what falls together the least and the greatest value stay, so that
no spike is lost. What is drawn has classes and no colours: cockpit.reporting.palette has those.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from cockpit.abandoned import thinned
from cockpit.reporting.palette import PLOT_RULES, VARIABLES
from cockpit.reporting.safe import xml
from cockpit.series import Series
from cockpit.widgets import plot

POINTS = 2000
"""Of a curve at most, about."""
EVENTS = 300
"""Marks along the way at most."""
WIDE, NARROW = (960, 400), (470, 250)
"""Width and height of a plot."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 34, 46

Steps = tuple[np.ndarray, np.ndarray]
"""x and y of points, (n,) each."""


@dataclass(frozen=True)
class Curve:
    """A line through points."""

    x: np.ndarray
    y: np.ndarray
    style: str
    """A class of cockpit.reporting.palette.PLOT_RULES."""
    name: str = ""
    """In the key; empty: it has none."""
    dots: bool = False
    """Whether each point is to be seen as such."""


@dataclass(frozen=True)
class Band:
    """What a curve reaches from and to, (n,) each."""

    x: np.ndarray
    low: np.ndarray
    high: np.ndarray
    style: str
    name: str = ""


@dataclass(frozen=True)
class Mark:
    """Something that happened at a step."""

    step: float
    style: str
    """`saved`, `best`, `change`, `spike` or `stood`."""
    text: str


@dataclass(frozen=True)
class Picture:
    """All that is in one plot."""

    title: str
    layers: Sequence[Band | Curve]
    end: float
    """Last step of the horizontal axis; it begins at 0."""
    write: Callable[[float], str]
    """A value of the vertical axis in words."""
    size: tuple[int, int] = NARROW
    marks: Sequence[Mark] = ()
    levels: Sequence[tuple[str, float]] = ()
    """Horizontal lines with a name."""
    from_zero: bool = False
    clip: bool = False
    """Whether lone values far above the others may stick out, pointed at by an arrow."""
    lines: Sequence[tuple[float, str]] = field(default=())
    """Steps with a vertical line, and why."""


def raw(series: Series, band: str, line: str, name: str) -> list[Band | Curve]:
    """A curve as it is: a line where it has few points, else the band that it fills."""
    points = series.points(least=POINTS)
    if len(points.x) <= POINTS // 2:
        return [Curve(points.x, points.last, line, name)]
    x0, x1 = float(points.x[0]), float(points.x[-1])
    columns = POINTS // 2
    low, high = plot.envelope(points.x, points.low, x0, x1, columns, points.high)
    centres = x0 + (np.arange(columns) + 0.5) * (x1 - x0) / columns
    full = np.isfinite(low)
    return [Band(centres[full], low[full], high[full], band, name)]


def through(series: Series, style: str, name: str, *, dots: bool = False) -> Curve:
    """A curve as a line; of many points in one place the least and the greatest."""
    points = series.points(least=POINTS)
    x, y = thinned(points.x, points.last, POINTS)
    return Curve(x, y, style, name, dots)


def draw(picture: Picture) -> str:
    """A picture as an SVG element, without the rules that colour it."""
    return _Drawing(picture).svg()


def file_of(svg: str) -> str:
    """An SVG element as a file of its own, with its rules."""
    style = f"<style>\n{VARIABLES}{PLOT_RULES}.plot .ground {{ fill: var(--ground) }}\n</style>"
    head, end, rest = svg.partition(">")
    ground = '<rect class="ground" width="100%" height="100%"/>'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}{end}{style}{ground}{rest}\n'


class _Drawing:
    """One plot under way."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._width, self._height = picture.size
        self._low, self._high = limits(picture)
        self._end = picture.end if picture.end > 0 else 1.0

    def svg(self) -> str:
        picture, width, height = self._picture, self._width, self._height
        parts = [*self._grid()]
        for step, text in picture.lines:
            x = f"{self._x(step):.1f}"
            parts.append(f'<line class="event" x1="{x}" x2="{x}" y1="{_TOP}" y2="{height - _BOTTOM}">'
                         f"<title>{xml(text)}</title></line>")  # fmt: skip
        inside = "inside-" + re.sub(r"[^a-z]+", "-", picture.title.lower())
        parts.append(f'<clipPath id="{inside}"><rect x="{_LEFT - 4}" y="{_TOP}" width="{width - _LEFT - _RIGHT + 8}" '
                     f'height="{height - _TOP - _BOTTOM}"/></clipPath><g clip-path="url(#{inside})">')  # fmt: skip
        for layer in picture.layers:
            parts += self._band(layer) if isinstance(layer, Band) else self._curve(layer)
        parts += ["</g>", *self._levels(), *self._outside(), *self._marks(), *self._key()]
        label = xml(picture.title)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-label="{label}">\n' + "\n".join(parts) + "\n</svg>"
        )

    def _x(self, step: float) -> float:
        return _LEFT + step / self._end * (self._width - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        share = (min(self._high, max(self._low, value)) - self._low) / (self._high - self._low)
        return self._height - _BOTTOM - share * (self._height - _BOTTOM - _TOP)

    def _places(self, x: np.ndarray, y: np.ndarray) -> list[str]:
        across = _LEFT + x / self._end * (self._width - _LEFT - _RIGHT)
        span = self._high - self._low
        share = (np.clip(y, self._low - span, self._high + span) - self._low) / span  # what is outside is cut off
        down = self._height - _BOTTOM - share * (self._height - _BOTTOM - _TOP)
        return [f"{a:.1f} {d:.1f}" for a, d in zip(across.tolist(), down.tolist(), strict=True)]

    def _grid(self) -> list[str]:
        right, bottom = self._width - _RIGHT, self._height - _BOTTOM
        wide = self._width > NARROW[0]
        parts = []
        for value in plot.ticks(self._low, self._high, 8 if wide else 5):
            y = self._y(value)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
                         f"{xml(self._picture.write(value))}</text>")  # fmt: skip
        for step in plot.ticks(0, self._end, 9 if wide else 5, whole=True):
            x = self._x(step)
            anchor = "end" if x > right - 20 else "middle"
            parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
            parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 30}" text-anchor="{anchor}">{step:,.0f}</text>')
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{bottom + 30}" text-anchor="end">step</text>')
        return parts

    def _band(self, band: Band) -> list[str]:
        if not len(band.x):
            return []
        there, back = self._places(band.x, band.high), self._places(band.x[::-1], band.low[::-1])
        return [f'<path class="{band.style}" d="M{"L".join(there + back)}Z"/>']

    def _curve(self, curve: Curve) -> list[str]:
        finite = np.isfinite(curve.y)
        gaps = np.flatnonzero(np.diff(finite.astype(np.int8)))
        parts = []
        for stretch in np.split(np.arange(len(curve.x)), gaps + 1):
            if len(stretch) and finite[stretch[0]]:
                places = self._places(curve.x[stretch], curve.y[stretch])
                parts.append("M" + "L".join(places if len(places) > 1 else [*places, *places]))
        drawn = [f'<path class="{curve.style}" d="{"".join(parts)}"/>'] if parts else []
        if curve.dots and int(finite.sum()) <= 200:
            for x, y in zip(curve.x[finite].tolist(), curve.y[finite].tolist(), strict=True):
                drawn.append(f'<circle class="dot" cx="{self._x(x):.1f}" cy="{self._y(y):.1f}" r="3.4">'
                             f"<title>{xml(f'{curve.name} {self._picture.write(y)} at step {x:,.0f}')}</title>"
                             "</circle>")  # fmt: skip
        return drawn

    def _levels(self) -> list[str]:
        parts, above = [], -math.inf
        for name, value in sorted(self._picture.levels, key=lambda level: -level[1]):
            if not self._low <= value <= self._high:
                continue
            y, right = self._y(value), self._width - _RIGHT
            label = above = max(y - 4, above + 13)
            parts.append(f'<line class="level" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{right}" y="{label:.1f}" text-anchor="end">'
                         f"{xml(f'{name} {self._picture.write(value)}')}</text>")  # fmt: skip
        return parts

    def _outside(self) -> list[str]:
        """An arrow at the summit of what is above the range."""
        found, parts = [], []
        for layer in self._picture.layers:
            y = layer.high if isinstance(layer, Band) else layer.y
            if np.isfinite(y).any():
                at = int(np.nanargmax(y))
                found += [(float(y[at]), float(layer.x[at]))] if y[at] > self._high else []
        for value, step in sorted(found, reverse=True)[:1]:
            x = self._x(step)
            side, shift = ("end", -6) if x > self._width * 0.8 else ("start", 6)
            parts.append(f'<path class="change" d="M{x:.1f} {_TOP - 6}l4 7h-8z"/>')
            parts.append(f'<text x="{x + shift:.1f}" y="{_TOP + 8}" text-anchor="{side}">'
                         f"↑ {xml(self._picture.write(value))}</text>")  # fmt: skip
        return parts

    def _marks(self) -> list[str]:
        marks = list(self._picture.marks)
        if len(marks) > EVENTS:
            marks = [*marks[:: math.ceil(len(marks) / EVENTS)], marks[-1]]
        y, parts = self._height - _BOTTOM + 11, []
        for mark in marks:
            x = self._x(mark.step)
            shape = _SHAPES[mark.style].format(x=x, y=y)
            parts.append(f'<path class="{mark.style}" d="{shape}"><title>{xml(mark.text)}</title></path>')
        return parts

    def _key(self) -> list[str]:
        """The title, and what each style stands for, from the right."""
        parts = [f'<text class="title" x="{_LEFT}" y="17">{xml(self._picture.title)}</text>']
        right = float(self._width - _RIGHT)
        kinds = {mark.style: _NAMES[mark.style] for mark in self._picture.marks}
        entries = [(layer.style, layer.name, isinstance(layer, Curve) and layer.dots)
                   for layer in self._picture.layers if layer.name]  # fmt: skip
        entries += [("event", "resumed or rewound", False)] if self._picture.lines else []
        entries = list(dict.fromkeys([*entries, *((style, name, False) for style, name in kinds.items())]))
        for style, name, dots in reversed(entries):
            right -= 7.2 * len(name)
            parts.append(f'<text class="key" x="{right:.1f}" y="17">{xml(name)}</text>')
            right -= 6
            if style in _SHAPES:
                parts.append(f'<path class="{style}" d="{_SHAPES[style].format(x=right - 4, y=13)}"/>')
                right -= 8
            elif dots:
                parts.append(f'<circle class="dot" cx="{right - 4:.1f}" cy="13" r="3.4"/>')
                right -= 8
            else:
                height = 8 if style in ("band", "spread") else 0
                parts.append(f'<path class="{style}" d="M{right - 16:.1f} {13 + height / 2}h16v{-height}h-16z"/>')
                right -= 16
            right -= 14
        return parts


_SHAPES = {
    "saved": "M{x:.1f} {y:.1f}m0 -4l4 4l-4 4l-4 -4z", "best": "M{x:.1f} {y:.1f}m0 -4l4 4l-4 4l-4 -4z",
    "change": "M{x:.1f} {y:.1f}m0 -4l4.5 8h-9z", "spike": "M{x:.1f} {y:.1f}m-1.5 -5h3l-.5 6h-2zm.3 7.5h2.4v2.4h-2.4z",
    "stood": "M{x:.1f} {y:.1f}m-3.5 -4h2.4v8h-2.4zm4.6 0h2.4v8h-2.4z",
}  # fmt: skip
_NAMES = {"saved": "saved", "best": "best", "change": "changed", "spike": "spike", "stood": "paused"}


def limits(picture: Picture) -> tuple[float, float]:
    """The range of the vertical axis, with a little room at both ends."""
    lows = [layer.low if isinstance(layer, Band) else layer.y for layer in picture.layers]
    highs = [layer.high if isinstance(layer, Band) else layer.y for layer in picture.layers]
    low = np.concatenate([_finite(y) for y in lows]) if lows else np.empty(0)
    high = np.concatenate([_finite(y) for y in highs]) if highs else np.empty(0)
    if not len(low) or not len(high):
        return 0.0, 1.0
    least, most = float(low.min()), float(high.max())
    if picture.clip:
        usual = float(np.quantile(high, 0.97))
        if most - least > 1.4 * (usual - least):
            most = least + 1.15 * (usual - least)
    if picture.from_zero:
        least = min(0.0, least)
    room = 0.05 * (most - least) or 0.05 * abs(most) or 0.5
    return (least if picture.from_zero and least == 0 else least - room), most + room


def _finite(y: np.ndarray) -> np.ndarray:
    return y[np.isfinite(y)]
