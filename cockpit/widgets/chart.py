"""The loss chart: raw envelope, smoothed line, validation points, and what happened along the way."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from cockpit import format as fmt
from cockpit.abandoned import Abandoned
from cockpit.state import Marker, RunState
from cockpit.widgets import ink, plot
from cockpit.widgets.rows import Piece, RowsWidget, row, rule, width_of

AXIS = 8
"""Cells left of the plot: a label, a space and the axis."""

MARKERS: dict[str, tuple[str, Style, str]] = {
    "sample": ("▪", ink.DIM, "sample"),
    "pause": ("‖", ink.PAUSED, "paused"),
    "resume": ("»", ink.TEXT, "resumed"),
    "checkpoint": ("◇", ink.TRAIN, "saved"),
    "best": ("◆", ink.TRAIN, "best"),
    "refused": ("△", ink.WARNING, "refused"),
    "config": ("▲", ink.WARNING, "changed"),
    "rewind": ("«", ink.WARNING, "rewound"),
    "spike": ("!", ink.WARNING, "spike"),
}
"""Kind of marker → glyph, style, word; a later kind hides an earlier one in the same cell."""

_STYLES = (ink.TEXT, ink.RAW, ink.TRAIN, ink.VALIDATION, ink.RULE, ink.WARNING, ink.FAINT, ink.FAINT)
_BLANK, _RAW, _SMOOTHED, _VALIDATION, _GRID, _OUTSIDE, _LABEL, _ABANDONED = range(8)


class LossChart(RowsWidget):
    """Loss in nats/token over steps. All of the run is shown; the scale moves in steps, not with every point."""

    DEFAULT_CSS = "LossChart { height: 1fr; min-height: 4; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._key: tuple | None = None
        self._made: list[Strip] = []

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        key = (
            len(state.loss), state.loss.last, len(state.val_loss), len(state.markers), state.step, state.max_steps,
            state.resumed, len(state.abandoned), width, height,
        )  # fmt: skip
        if key != self._key:
            self._key = key
            self._made = [legend(state, width), *draw(state, width, height - 1)]
        return self._made


def legend(state: RunState, width: int) -> Strip:
    """The section's rule with each curve's glyph, name and newest value."""
    evaluation = state.evaluation
    last = state.last.loss if state.last else None
    left: list[Piece] = [("loss", ink.TEXT)]
    curves = [
        ("⣿", ink.RAW, "train", fmt.loss(last), ink.TEXT),
        ("━", ink.TRAIN, "smoothed", fmt.loss(state.smoothed_loss.last), ink.TRAIN),
        ("●", ink.VALIDATION, "val", fmt.loss(evaluation.val_loss if evaluation else None), ink.VALIDATION),
    ]
    for glyph, glyph_style, name, value, style in curves:
        piece = [("   ", ink.TEXT), (glyph, glyph_style), (f" {name} ", ink.DIM), (f"{value:>6}", style)]
        if width_of(left) + width_of(piece) < width - 4:
            left += piece
    right: list[Piece] = []
    for glyph, style, word in reversed(MARKERS.values()):
        if any(MARKERS.get(marker.kind, ("",))[0] == glyph for marker in state.markers):
            piece = [("  " if right else "", ink.TEXT), (glyph, style), (f" {word}", ink.DIM)]
            if width_of(left) + width_of(right) + width_of(piece) < width - 9:
                right += piece
    return rule(width, left, right)


def draw(state: RunState, width: int, height: int) -> list[Strip]:
    """The plot with its axes: `height` rows of `width` cells."""
    cells, plot_rows = width - AXIS, height - 2
    if cells < 4 or plot_rows < 1:
        return [Strip.blank(width)] * max(0, height)
    if not len(state.loss) and not len(state.val_loss):
        waiting = "no step yet" if state.is_final else "waiting for the first step"
        rows = [Strip.blank(width)] * height
        rows[height // 2] = row(width, [(f"{waiting:^{width}}", ink.DIM)])
        return rows
    x0, x1 = step_range(state)
    low, high = plot.joined(*plot.envelope(state.loss.x, state.loss.y, x0, x1, 2 * cells))
    smooth = plot.line(state.smoothed_loss.x, state.smoothed_loss.y, x0, x1, 2 * cells)
    val_x, val_y = state.val_loss.x, state.val_loss.y
    # Validation points of the first columns are as far off the range as the training loss is there.
    settled = val_y[val_x >= x0 + (state.step - x0) / 12]
    y0, y1, values = plot.scale(*plot.loss_range(low, high, settled), plot_rows)

    chars, styles = canvas(plot_rows, cells)
    labels = _grid(chars, styles, values, y0, y1)
    _abandoned(chars, styles, state.abandoned, (x0, x1), (y0, y1))
    _curves(chars, styles, low, high, smooth, y0, y1)
    _points(chars, styles, val_x, val_y, (x0, x1), (y0, y1))
    _outside(chars, styles, low, high, y1)
    rows = [_strip(labels.get(index), chars[index], styles[index], width) for index in range(plot_rows)]
    steps = plot.ticks(x0, x1, max(2, cells // 14), whole=True)
    return [*rows, _axis(state.markers, steps, x0, x1, cells, width), _step_labels(steps, x0, x1, cells, width)]


def step_range(state: RunState) -> tuple[float, float]:
    """(first, last) step of the horizontal axis: it grows in strides, up to the last step of the run."""
    first = float(state.loss.x[0] - 1) if len(state.loss) else float(state.start_step)
    reached = max(state.step, *(stretch.end for stretch in state.abandoned)) if state.abandoned else state.step
    done = max(1.0, reached - first)
    last = first + max(20.0, plot.nice_ceiling(1.01 * done))
    if state.max_steps is not None and state.max_steps >= state.step:
        last = min(last, float(max(state.max_steps, first + 1)))
    return first, last


def canvas(rows: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, cells) characters as code points, and style numbers; blank."""
    return np.full((rows, cells), ord(" "), dtype=np.uint32), np.full((rows, cells), _BLANK, dtype=np.uint8)


def _grid(chars: np.ndarray, styles: np.ndarray, values: Sequence[float], y0: float, y1: float) -> dict[int, str]:
    """Draws a faint line at each tick; returns the labels by row."""
    rows = chars.shape[0]
    spacing = values[1] - values[0] if len(values) > 1 else 1.0
    digits = max(0, -int(np.floor(np.log10(spacing) + 1e-9)))
    labels = {}
    for value in values:
        at = int(plot.row_of(np.array(value), y0, y1, 4 * rows)) // 4
        labels[at] = f"{value:.{digits}f}"
        chars[at], styles[at] = ord("┈"), _GRID
    return labels


def _curves(
    chars: np.ndarray, styles: np.ndarray, low: np.ndarray, high: np.ndarray, smooth: np.ndarray, y0: float, y1: float
) -> None:
    """Draws the envelope, and the smoothed line in cells of its own on top of it."""
    rows = 4 * chars.shape[0]
    raw = plot.braille(plot.dots(low, high, y0, y1, rows))
    smoothed = plot.braille(plot.dots(*plot.joined(smooth, smooth), y0, y1, rows))
    for pattern, style in ((raw, _RAW), (smoothed, _SMOOTHED)):
        drawn = pattern > 0
        chars[drawn] = 0x2800 + pattern[drawn].astype(np.uint32)
        styles[drawn] = style


def _abandoned(
    chars: np.ndarray,
    styles: np.ndarray,
    stretches: Sequence[Abandoned],
    xs: tuple[float, float],
    ys: tuple[float, float],
) -> None:
    """What the run went back from, dimmed: every other column of dots, so that it is told apart without colour too."""
    rows, cells = chars.shape
    for stretch in stretches:
        low, high = plot.joined(*plot.envelope(stretch.x, stretch.y, *xs, 2 * cells))
        dots = plot.dots(low, high, *ys, 4 * rows)
        dots[:, 1::2] = False
        pattern = plot.braille(dots)
        drawn = pattern > 0
        chars[drawn] = 0x2800 + pattern[drawn].astype(np.uint32)
        styles[drawn] = _ABANDONED


def _points(
    chars: np.ndarray,
    styles: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    xs: tuple[float, float],
    ys: tuple[float, float],
) -> None:
    rows, cells = chars.shape
    shown = np.isfinite(y) & (x >= xs[0]) & (x <= xs[1])
    at_row = plot.row_of(y[shown], *ys, 4 * rows) // 4
    at_cell = np.minimum((x[shown] - xs[0]) / (xs[1] - xs[0]) * cells, cells - 1).astype(int)
    inside = (at_row >= 0) & (at_row < rows)
    chars[at_row[inside].astype(int), at_cell[inside]] = ord("●")
    styles[at_row[inside].astype(int), at_cell[inside]] = _VALIDATION


def _outside(chars: np.ndarray, styles: np.ndarray, low: np.ndarray, high: np.ndarray, y1: float) -> None:
    """Points at what is above the range: an arrow at each stretch's summit, with the value where there is room."""
    cells = chars.shape[1]
    by_cell = np.fmax(high[0::2], high[1::2])
    above = np.flatnonzero(np.isfinite(by_cell) & (by_cell > y1))
    if not len(above):
        return
    taken = -1
    for stretch in np.split(above, np.flatnonzero(np.diff(above) > 1) + 1):
        summit = int(stretch[np.argmax(by_cell[stretch])])
        text = f"↑ {by_cell[summit]:.2f}"
        if summit <= taken:
            continue
        length = len(text) if summit + len(text) < cells else 1
        chars[0, summit : summit + length] = [ord(char) for char in text[:length]]
        styles[0, summit : summit + length] = _LABEL
        styles[0, summit] = _OUTSIDE
        taken = summit + length


def _strip(label: str | None, chars: np.ndarray, styles: np.ndarray, width: int) -> Strip:
    segments = [Segment(f"{label or '':>{AXIS - 2}} ", ink.FAINT), Segment("┤" if label else "│", ink.RULE)]
    starts = [0, *(np.flatnonzero(np.diff(styles)) + 1), len(styles)]
    text = chars.tobytes().decode("utf-32-le")
    segments += [Segment(text[start:end], _STYLES[styles[start]]) for start, end in pairwise(starts)]
    return Strip(segments, width)


def _axis(markers: Sequence[Marker], steps: Sequence[float], x0: float, x1: float, cells: int, width: int) -> Strip:
    """The horizontal axis; what happened is set into it."""
    glyphs: list[Piece] = [("─", ink.RULE)] * cells
    for step in steps:
        glyphs[_cell(step, x0, x1, cells)] = ("┬", ink.RULE)
    order = list(MARKERS)
    for marker in sorted((m for m in markers if m.kind in MARKERS), key=lambda m: order.index(m.kind)):
        if x0 <= marker.step <= x1:
            glyphs[_cell(marker.step, x0, x1, cells)] = MARKERS[marker.kind][:2]
    pieces: list[Piece] = [(" " * (AXIS - 1) + "└", ink.RULE)]
    for glyph, style in glyphs:
        if pieces[-1][1] is style:
            pieces[-1] = (pieces[-1][0] + glyph, style)
        else:
            pieces.append((glyph, style))
    return row(width, pieces)


def _step_labels(steps: Sequence[float], x0: float, x1: float, cells: int, width: int) -> Strip:
    text = [" "] * width
    unit = "step"
    text[width - len(unit) - 1 : width - 1] = unit
    for step in steps:
        label = f"{int(step):,}"
        centre = AXIS + _cell(step, x0, x1, cells)
        start = min(max(0, centre - len(label) // 2), width - len(label) - 1)
        if all(char == " " for char in text[max(0, start - 1) : start + len(label) + 1]):
            text[start : start + len(label)] = label
    return row(width, [("".join(text), ink.FAINT)])


def _cell(step: float, x0: float, x1: float, cells: int) -> int:
    return min(cells - 1, max(0, int((step - x0) / (x1 - x0) * cells)))
