"""Several runs' losses in one plot, along steps, tokens, FLOPs or seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from rich.style import Style
from textual.strip import Strip

from cockpit import format as fmt
from cockpit.comparing.causes import name
from cockpit.comparing.comparison import Comparison
from cockpit.comparing.entry import WORDS, Axis, Entry
from cockpit.comparing.standing import standing
from cockpit.state import RunState
from cockpit.widgets import ink, plot
from cockpit.widgets.plotframe import AXIS, axis_row, cell_at, label_row, plot_row
from cockpit.widgets.rows import Piece, RowsWidget, row, rule, width_of

FAR = 5.0
"""Times as far as another from which on the horizontal axis is logarithmic, unless asked otherwise."""
RUNS: tuple[Style, ...] = (ink.TRAIN, *ink.GHOSTS)
"""Of each curve; more than these begin again, told apart by their numbers."""
_DOTS = 0x2800  # braille's first pattern
_FIXED = (ink.TEXT, ink.RULE)
_BLANK, _GRID = range(2)


@dataclass(frozen=True, eq=False)
class Line:
    """A curve to be drawn: (n,) places, transformed, and losses. Without a place it is a level."""

    x: np.ndarray
    y: np.ndarray
    is_level: bool


class Overlay(RowsWidget):
    """The curves of a comparison. Made anew only when it, the axis or the size is another."""

    DEFAULT_CSS = "Overlay { height: 1fr; min-height: 5; }"

    def __init__(self) -> None:
        super().__init__()
        self.comparison: Comparison | None = None
        self.axis: Axis = "tokens"
        self.logarithmic: bool | None = None
        """None: where one goes FAR times as far as another."""
        self.waiting = ""
        """What is said while there is nothing to draw."""
        self._key: tuple | None = None
        self._made: list[Strip] = []

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        key = (self.comparison, self.axis, self.logarithmic, self.waiting, width, height)
        if key != self._key:
            self._key = key
            if self.comparison is None:
                blank = [Strip.blank(width)] * height
                blank[height // 2] = row(width, [(f"{self.waiting:^{width}}", ink.DIM)])
                self._made = blank
            else:
                logarithmic = self.is_logarithmic
                self._made = [
                    legend(self.comparison, width),
                    *draw(self.comparison, self.axis, logarithmic, width, height - 1),
                ]
        return self._made

    @property
    def is_logarithmic(self) -> bool:
        """Whether the horizontal axis is."""
        if self.logarithmic is not None or self.comparison is None:
            return bool(self.logarithmic)
        reached = [end for each in self.comparison.entries if (end := self.comparison.reach(each, self.axis))]
        return len(reached) > 1 and max(reached) > FAR * min(reached)


def legend(comparison: Comparison, width: int) -> Strip:
    """The rule above: each curve's number, name and best loss."""
    unit = comparison.standing.unit
    pieces: list[Piece] = [("validation loss" if comparison.measure == "val_loss" else "training loss", ink.TEXT)]
    for number, entry in enumerate(comparison.entries):
        best = comparison.best(entry)
        style = RUNS[number % len(RUNS)]
        piece: list[Piece] = [
            ("   ", ink.TEXT), (f"{number + 1} ", style), (name(entry), ink.TEXT),
            (f" {fmt.loss(best[0].loss) if best else fmt.UNKNOWN}", style),
            ("" if drawable(comparison, entry) else " not drawn", ink.FAINT),
        ]  # fmt: skip
        if width_of(pieces) + width_of(piece) < width - 4:
            pieces += piece
    return rule(width, pieces, [(unit, ink.FAINT)] if width_of(pieces) + len(unit) < width - 10 else [])


def lines(comparison: Comparison, axis: Axis, logarithmic: bool) -> list[Line]:
    """What is drawn of each entry, in order."""
    made = []
    for entry in comparison.entries:
        if not drawable(comparison, entry):
            made.append(Line(np.empty(0), np.empty(0), True))
            continue
        curve = comparison.curve(entry)
        x, y = entry.places(curve, axis), curve.loss * comparison.factor(entry)
        known = np.isfinite(x) & np.isfinite(y) & (x > 0 if logarithmic else True)
        if not known.any():
            best = comparison.best(entry)
            level = [best[0].loss] if best else []
            made.append(Line(np.empty(0), np.array(level), True))
        else:
            made.append(Line(np.log10(x[known]) if logarithmic else x[known], y[known], False))
    return made


def drawable(comparison: Comparison, entry: Entry) -> bool:
    """Whether its losses say something beside the first one's, on one scale."""
    first = comparison.entries[0]
    together = standing([first, entry])
    return entry is first or (together.ranked and together.unit == comparison.standing.unit)


def draw(comparison: Comparison, axis: Axis, logarithmic: bool, width: int, height: int) -> list[Strip]:
    """The plot with its axes: `height` rows of `width` cells."""
    cells, plot_rows = width - AXIS, height - 2
    if cells < 4 or plot_rows < 1:
        return [Strip.blank(width)] * max(0, height)
    drawn = lines(comparison, axis, logarithmic)
    placed = [line for line in drawn if not line.is_level]
    if not placed:
        said = f"nothing is known along {WORDS[axis]}"
        return [row(width, [(f"{said:^{width}}", ink.DIM)]), *[Strip.blank(width)] * (height - 1)]
    x0, x1 = _range(placed, logarithmic)
    y0, y1, values = plot.scale(*_losses(drawn, x0, x1), plot_rows)
    chars = np.full((plot_rows, cells), ord(" "), dtype=np.uint32)
    styles = np.full((plot_rows, cells), _BLANK, dtype=np.uint8)
    losses = _grid(chars, styles, values, y0, y1)
    for number, line in enumerate(drawn):
        _draw_line(chars, styles, line, number, (x0, x1), (y0, y1))
    for number, line in enumerate(drawn):
        _number(chars, styles, line, number, (x0, x1), (y0, y1))
    inks = (*_FIXED, *RUNS)
    rows = [plot_row(losses.get(index), chars[index], styles[index], width, inks) for index in range(plot_rows)]
    at = _ticks(axis, x0, x1, logarithmic, cells)
    labels = plot.distinct([value for _, value in at], [_label(axis, value) for _, value in at])
    ticks = [((place - x0) / (x1 - x0), label) for (place, _), label in zip(at, labels, strict=True)]
    return [*rows, axis_row(ticks, cells, width), label_row(ticks, WORDS[axis], cells, width)]


def _range(placed: list[Line], logarithmic: bool) -> tuple[float, float]:
    x1 = max(float(line.x[-1]) for line in placed)
    x0 = min(float(line.x[0]) for line in placed) if logarithmic else 0.0
    return (x0, x1) if x1 > x0 else (x0 - 1, x1 + 1)


def _losses(drawn: list[Line], x0: float, x1: float) -> tuple[float, float]:
    """(least, greatest) loss to show: without the first twelfth, in which all fall from ln(vocabulary)."""
    late = np.concatenate([line.y if line.is_level else line.y[line.x >= x0 + (x1 - x0) / 12] for line in drawn])
    values = late if len(late) else np.concatenate([line.y for line in drawn])
    bottom, top = float(values.min()), float(values.max())
    span = max(top - bottom, 1e-3 * max(1.0, abs(bottom)))
    return bottom - 0.03 * span, bottom + 1.03 * span


def _grid(chars: np.ndarray, styles: np.ndarray, values: list[float], y0: float, y1: float) -> dict[int, str]:
    rows = chars.shape[0]
    digits = max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9)) if len(values) > 1 else 2
    labels = {}
    for value in values:
        at = int(plot.row_of(np.array(value), y0, y1, 4 * rows)) // 4
        labels[at] = f"{value:.{digits}f}"
        chars[at], styles[at] = ord("┈"), _GRID
    return labels


def _draw_line(
    chars: np.ndarray, styles: np.ndarray, line: Line, number: int, xs: tuple[float, float], ys: tuple[float, float]
) -> None:
    rows, cells = chars.shape
    if line.is_level:
        if len(line.y) and 0 <= (at := int(plot.row_of(line.y[0], *ys, 4 * rows)) // 4) < rows:
            chars[at, ::2], styles[at, ::2] = ord("╌"), len(_FIXED) + number % len(RUNS)
        return
    middle = plot.line(line.x, line.y, *xs, 2 * cells)
    pattern = plot.braille(plot.dots(*plot.joined(middle, middle), *ys, 4 * rows))
    drawn = pattern > 0
    known = chars[drawn]
    others = np.where(
        known >= _DOTS, known - _DOTS, 0
    )  # of curves that share the cell; it takes the later one's colour
    chars[drawn] = _DOTS + (others | pattern[drawn].astype(np.uint32))
    styles[drawn] = len(_FIXED) + number % len(RUNS)


def _number(
    chars: np.ndarray, styles: np.ndarray, line: Line, number: int, xs: tuple[float, float], ys: tuple[float, float]
) -> None:
    """Each curve's number at its end: what tells them apart without colour."""
    rows, cells = chars.shape
    if not len(line.y):
        return
    at = min(max(0, int(plot.row_of(line.y[-1], *ys, 4 * rows)) // 4), rows - 1)  # at the edge where it is beyond
    cell = cells - 1 - 2 * number if line.is_level else cell_at((float(line.x[-1]) - xs[0]) / (xs[1] - xs[0]), cells)
    if 0 <= cell < cells:
        chars[at, cell], styles[at, cell] = ord(str((number + 1) % 10)), len(_FIXED) + number % len(RUNS)


def _ticks(axis: Axis, x0: float, x1: float, logarithmic: bool, cells: int) -> list[tuple[float, float]]:
    """(where on the axis, what it stands for) of each tick."""
    most = max(2, cells // 14)
    if not logarithmic:
        return [(at, at) for at in plot.ticks(x0, x1, most, whole=axis == "step")]
    powers = range(math.floor(x0), math.ceil(x1) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        found = [digit * 10.0**power for power in powers for digit in digits]
        inside = [(math.log10(value), value) for value in found if x0 <= math.log10(value) <= x1]
        if len(inside) <= most:
            return inside
    return inside[:: -(-len(inside) // most)]


def _label(axis: Axis, value: float) -> str:
    match axis:
        case "step":
            return f"{value:,.0f}"
        case "tokens":
            number, unit = fmt.count(value)
            return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}".strip()
        case "flops":
            return f"{value:.0e}".replace("e+", "e")
        case "seconds":
            return fmt.duration(value)
