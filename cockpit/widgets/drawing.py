"""A chart: raw envelope, smoothed line, points, what happened along the way, and what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.style import Style
from textual.strip import Strip

from cockpit.abandoned import Abandoned
from cockpit.lens import Lens
from cockpit.overlays import Ghost, Overlays
from cockpit.series import Series
from cockpit.smoothing import USUAL, Smoother
from cockpit.state import Marker, RunState
from cockpit.widgets import ink, plot
from cockpit.widgets.axes import UNITS, XAxis, ruler, x_axis
from cockpit.widgets.measures import LOSS, Measure
from cockpit.widgets.pens import PENS, Pen
from cockpit.widgets.plotframe import AXIS, axis_row, label_row, plot_row
from cockpit.widgets.rows import Piece, row

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
    "diagnosis": ("✚", ink.WARNING, "doctor"),
}
"""Kind of marker → glyph, style, word; a later kind hides an earlier one in the same cell."""
_BLANK, _RAW, _LINE, _POINT, _GRID, _OUTSIDE, _LABEL, _CURSOR, _REFERENCE, _ABANDONED, _GHOST = range(11)


@dataclass
class Outlook:
    """What a pilot has chosen to see, and what is kept between two drawings so that they stay cheap."""

    lens: Lens = field(default_factory=Lens)
    overlays: Overlays = field(default_factory=Overlays)
    smoother: Smoother = field(default_factory=Smoother)

    def line(self, state: RunState, measure: Measure) -> Series:
        """The smoothed curve of a measure; the raw one where smoothing would only lag behind it."""
        if not measure.noisy:
            return measure.curve(state)
        if measure is LOSS and self.lens.smoothing == USUAL:
            return state.smoothed_loss  # the reducer has it already
        return self.smoother.of(measure.id, measure.curve(state), self.lens.decay)

    def ghost_line(self, ghost: Ghost, measure: Measure) -> Series:
        """The same of an earlier run."""
        if not measure.noisy:
            return measure.curve(ghost.state)
        if measure is LOSS and self.lens.smoothing == USUAL:
            return ghost.state.smoothed_loss
        return self.smoother.of(f"{ghost.name}/{measure.id}", measure.curve(ghost.state), self.lens.decay)


def step_range(state: RunState) -> tuple[float, float]:
    """(first, last) step of the horizontal axis: it grows in strides, up to the last step of the run."""
    first = state.loss.first_x
    first = first - 1 if first is not None else float(state.start_step)
    done = max(1.0, max([state.step, *(left.end for left in state.abandoned)]) - first)
    last = first + max(20.0, plot.nice_ceiling(1.01 * done))
    if state.max_steps is not None and state.max_steps >= state.step:
        last = min(last, float(max(state.max_steps, first + 1)))
    return first, last


def draw(state: RunState, width: int, height: int, look: Outlook | None = None, measure: Measure = LOSS) -> list[Strip]:
    """A plot with its axes: `height` rows of `width` cells."""
    look = look or Outlook()
    lens = look.lens
    cells, plot_rows = width - AXIS, height - 2
    if cells < 4 or plot_rows < 1:
        return [Strip.blank(width)] * max(0, height)
    curve = measure.curve(state)
    if not len(curve) and not (measure.points and len(measure.points(state))):
        return _empty(state, measure, width, height)
    pen = PENS[lens.pen]
    columns = pen.across * cells
    axis = x_axis(state, lens, step_range(state))
    scene = _Scene(axis, pen, columns, plot_rows, measure.factor, lens.log_y)
    low, high = scene.envelope(curve)
    drawn = lens.smoothing or not measure.noisy
    line = scene.line(look.line(state, measure)) if drawn else np.full(columns, np.nan)
    ghosts = [scene.line(look.ghost_line(ghost, measure), _of(ghost, lens)) for ghost in look.overlays.ghosts]
    at, points = scene.points(measure.points(state) if measure.points else Series())
    lowest, highest = low, high
    for ghost in ghosts:
        lowest, highest = np.fmin(lowest, ghost), np.fmax(highest, ghost)
    scene.fit(lowest, highest, _settled(points, at, lens), lens)

    chars, styles = canvas(plot_rows, cells)
    labels = scene.grid(chars, styles)
    levels = look.overlays.levels if measure is LOSS else ()
    _reference_lines(chars, styles, scene, levels)
    if measure is LOSS:
        scene.abandoned(chars, styles, state.abandoned)
    scene.curve(chars, styles, low, high, _RAW)
    for number, ghost in enumerate(ghosts):
        scene.curve(chars, styles, ghost, ghost, _GHOST + number)
    scene.curve(chars, styles, line, line, _LINE)
    for number, ghost in enumerate(ghosts):
        scene.number(chars, styles, ghost, number)
    scene.dots(chars, styles, at, points)
    if lens.cursor is not None:
        _cursor(chars, styles, axis.place(lens.cursor))
    _outside(chars, styles, high, scene, measure)
    _reference_labels(chars, styles, scene, levels)
    inks = _inks(measure, len(ghosts))
    rows = [plot_row(labels.get(index), chars[index], styles[index], width, inks) for index in range(plot_rows)]
    ticks = axis.ticks(max(3, cells // 14))
    cursor = axis.place(lens.cursor) if lens.cursor is not None else None
    below = axis_row(ticks, cells, width, _happened(state.markers, axis, cells), cursor)
    return [*rows, below, label_row(ticks, UNITS[axis.kind], cells, width)]


class _Scene:
    """Curves on their way to rows and columns of dots."""

    def __init__(self, axis: XAxis, pen: Pen, columns: int, rows: int, factor: float, log: bool) -> None:
        self.axis, self.pen, self.columns, self.rows, self.factor, self.log = axis, pen, columns, rows, factor, log
        self.first, self.last = axis.steps()
        self.y0, self.y1 = 0.0, 1.0
        self.ticks: list[float] = []

    def values(self, y: np.ndarray) -> np.ndarray:
        """What a curve holds in the unit that is shown, as powers of ten on a logarithmic scale."""
        y = y * self.factor if self.factor != 1.0 else y
        if not self.log:
            return y
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(y > 0, np.log10(y), np.nan)

    def envelope(self, curve: Series) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) by column, without gaps."""
        axis, points = self.axis, curve.points(self.first, self.last, least=2 * self.columns)
        u, low = axis.u(points.x), self.values(points.low)
        high = None if points.high is points.low else self.values(points.high)
        return plot.joined(*plot.envelope(u, low, axis.u0, axis.u1, self.columns, high))

    def line(self, curve: Series, over: XAxis | None = None) -> np.ndarray:
        """A curve's value by column. `over`: its own ruler, where it is another run's."""
        axis = self.axis
        measure = (over or axis).ruler
        ends = (self.first, self.last)
        if over is not None:
            ends = tuple(measure.back(np.array([self._counted(axis.u0), self._counted(axis.u1)])).tolist())
        points = curve.points(ends[0], ends[1], least=2 * self.columns)
        u = measure.of(points.x)
        u = np.log10(np.maximum(u, 1e-9)) if self.axis.log else u
        return plot.line(u, self.values(points.last), axis.u0, axis.u1, self.columns)

    def _counted(self, u: float) -> float:
        return 10**u if self.axis.log else u

    def points(self, curve: Series) -> tuple[np.ndarray, np.ndarray]:
        """(place 0…1, value) of single points."""
        points = curve.points(self.first, self.last)
        places = (self.axis.u(points.x) - self.axis.u0) / (self.axis.u1 - self.axis.u0)
        return places, self.values(points.last)

    def fit(self, low: np.ndarray, high: np.ndarray, others: np.ndarray, lens: Lens) -> None:
        """Chooses the range and the grid."""
        if lens.clip and not lens.log_y:
            ends = plot.clipped_range(low, high, others, whole_run=lens.window is None and not lens.log_x)
        else:
            ends = plot.whole_range(low, high, others)
        scale = plot.log_scale if self.log else plot.scale
        self.y0, self.y1, self.ticks = scale(*ends, self.rows)
        if not self.log and not (low < 0).any():
            self.ticks = [tick for tick in self.ticks if tick >= 0]  # nothing is there to be read below

    def row(self, y: np.ndarray | float) -> np.ndarray:
        """Row of cells of a value, counted from the top; outside 0…rows - 1 where it is off the scale."""
        return plot.row_of(np.asarray(y, dtype=np.float64), self.y0, self.y1, 4 * self.rows) // 4

    def grid(self, chars: np.ndarray, styles: np.ndarray) -> dict[int, str]:
        """Draws a faint line at each tick; returns the labels by row."""
        labels = {}
        values = [10**tick for tick in self.ticks] if self.log else self.ticks
        for tick, label in zip(self.ticks, plot.tick_labels(values), strict=True):
            at = int(self.row(tick))
            if 0 <= at < self.rows and at not in labels:
                labels[at] = label
                chars[at], styles[at] = ord("┈"), _GRID
        return labels

    def curve(self, chars: np.ndarray, styles: np.ndarray, low: np.ndarray, high: np.ndarray, style: int) -> None:
        """Draws an envelope, or a line where low and high are one."""
        if low is high:
            low, high = plot.joined(low, high)
        pen = self.pen
        mask = plot.dots(low, high, self.y0, self.y1, 4 * self.rows, 4 // pen.down)
        pattern = pen.patterns(mask)
        drawn = pattern > 0
        chars[drawn] = (pen.bold if style == _LINE else pen.thin)[pattern[drawn]]
        styles[drawn] = style

    def abandoned(self, chars: np.ndarray, styles: np.ndarray, stretches: Sequence[Abandoned]) -> None:
        """Draws what the run went back from, dimmed: every other column of dots, for where there are no colours."""
        for left in stretches:
            u, y = self.axis.u(left.x), self.values(left.y)
            low, high = plot.joined(*plot.envelope(u, y, self.axis.u0, self.axis.u1, self.columns))
            mask = plot.dots(low, high, self.y0, self.y1, 4 * self.rows, 4 // self.pen.down)
            mask[:, 1::2] = False
            pattern = self.pen.patterns(mask)
            drawn = pattern > 0
            chars[drawn], styles[drawn] = self.pen.thin[pattern[drawn]], _ABANDONED

    def number(self, chars: np.ndarray, styles: np.ndarray, line: np.ndarray, number: int) -> None:
        """Writes an earlier run's number at the end of its line: colours alone do not tell lines apart."""
        known = np.flatnonzero(np.isfinite(line))
        if len(known):
            at, cell = int(self.row(line[known[-1]])), int(known[-1]) // self.pen.across
            if 0 <= at < self.rows:
                chars[at, cell], styles[at, cell] = ord("1") + number, _GHOST + number

    def dots(self, chars: np.ndarray, styles: np.ndarray, places: np.ndarray, values: np.ndarray) -> None:
        """Draws single points."""
        shown = np.isfinite(values) & (places >= 0) & (places <= 1)
        if not shown.any():
            return
        cells = chars.shape[1]
        at_row = self.row(values[shown])
        at_cell = np.minimum(places[shown] * cells, cells - 1).astype(int)
        inside = (at_row >= 0) & (at_row < self.rows)
        chars[at_row[inside].astype(int), at_cell[inside]] = ord("●")
        styles[at_row[inside].astype(int), at_cell[inside]] = _POINT


def _settled(points: np.ndarray, places: np.ndarray, lens: Lens) -> np.ndarray:
    """Points that must be within the range: those of the first columns are as far off it as the loss is there."""
    newest = float(places[-1]) if len(places) else 0.0
    return points[places >= newest / 12] if lens.window is None else points


def _of(ghost: Ghost, lens: Lens) -> XAxis:
    return XAxis(lens.axis, False, ruler(ghost.state, lens.axis), 0.0, 1.0)


def _inks(measure: Measure, ghosts: int) -> list[Style]:
    return [
        ink.TEXT, measure.raw, measure.line, ink.VALIDATION, ink.RULE, ink.WARNING, ink.FAINT, ink.CURSOR,
        ink.REFERENCE, ink.FAINT, *(ink.GHOSTS[number % len(ink.GHOSTS)] for number in range(ghosts)),
    ]  # fmt: skip


def _empty(state: RunState, measure: Measure, width: int, height: int) -> list[Strip]:
    told = "no step yet" if state.is_final else "waiting for the first step"
    if len(state.loss):
        told = f"nothing known of {measure.title} here"
    rows = [Strip.blank(width)] * height
    rows[height // 2] = row(width, [(f"{told:^{width}}", ink.DIM)])
    return rows


def canvas(rows: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, cells) characters as code points, and style numbers; blank."""
    return np.full((rows, cells), ord(" "), dtype=np.uint32), np.full((rows, cells), _BLANK, dtype=np.uint8)


def _cursor(chars: np.ndarray, styles: np.ndarray, place: float) -> None:
    """The crosshair: a line through whatever is free in its column."""
    cells = chars.shape[1]
    if 0 <= place <= 1:
        at = min(cells - 1, int(place * cells))
        free = (styles[:, at] == _BLANK) | (styles[:, at] == _GRID)
        chars[free, at] = ord("│")
        styles[free, at] = _CURSOR


def _reference_lines(chars: np.ndarray, styles: np.ndarray, scene: _Scene, levels: Sequence[tuple[str, float]]) -> None:
    for _, loss in levels:
        at = int(scene.row(scene.values(np.array(loss))))
        if 0 <= at < scene.rows:
            chars[at], styles[at] = ord("╌"), _REFERENCE


def _reference_labels(
    chars: np.ndarray, styles: np.ndarray, scene: _Scene, levels: Sequence[tuple[str, float]]
) -> None:
    """Names of the levels at the right; those off the scale at its edge, with an arrow."""
    taken: set[int] = set()
    cells = chars.shape[1]
    for name, loss in sorted(levels, key=lambda level: level[1]):
        at = int(scene.row(scene.values(np.array(loss))))
        arrow = "↑ " if at < 0 else "↓ " if at >= scene.rows else ""
        at = min(max(at, 0), scene.rows - 1)
        step = 1 if arrow == "↑ " else -1
        while at in taken and 0 <= at + step < scene.rows:
            at += step
        text = f" {arrow}{name} {loss:.2f} "
        if at in taken or len(text) > cells - 8:
            continue
        taken.add(at)
        chars[at, cells - len(text) :] = [ord(char) for char in text]
        styles[at, cells - len(text) :] = _REFERENCE


def _outside(chars: np.ndarray, styles: np.ndarray, high: np.ndarray, scene: _Scene, measure: Measure) -> None:
    """Points at what is above the range: an arrow at each stretch's summit, with the value where there is room."""
    cells = chars.shape[1]
    by_cell = high if scene.pen.across == 1 else np.fmax(high[0::2], high[1::2])
    above = np.flatnonzero(np.isfinite(by_cell) & (by_cell > scene.y1))
    if not len(above):
        return
    taken = -1
    for stretch in np.split(above, np.flatnonzero(np.diff(above) > 1) + 1):
        summit = int(stretch[np.argmax(by_cell[stretch])])
        value = float(by_cell[summit])
        value = 10**value if scene.log else value
        text = f"↑ {value:.2f}" if measure is LOSS else f"↑ {measure.write(value)}"
        if summit <= taken:
            continue
        length = len(text) if summit + len(text) < cells else 1
        chars[0, summit : summit + length] = [ord(char) for char in text[:length]]
        styles[0, summit : summit + length] = _LABEL
        styles[0, summit] = _OUTSIDE
        taken = summit + length


def _happened(markers: Sequence[Marker], axis: XAxis, cells: int) -> dict[int, Piece]:
    """By cell of the axis, the glyph of what happened there."""
    if not markers:
        return {}
    steps, ranks = _marked(markers)
    places = (axis.u(steps) - axis.u0) / (axis.u1 - axis.u0)
    shown = np.flatnonzero((places >= 0) & (places <= 1) & (ranks >= 0))
    at = np.minimum((places[shown] * cells).astype(int), cells - 1)
    topmost = np.full(cells, -1)
    np.maximum.at(topmost, at, ranks[shown])
    return {cell: _BY_RANK[int(topmost[cell])] for cell in np.flatnonzero(topmost >= 0).tolist()}


_BY_RANK = [MARKERS[kind][:2] for kind in MARKERS]
_RANKS = {kind: rank for rank, kind in enumerate(MARKERS)}
_newest_marked: tuple[Sequence[Marker], np.ndarray, np.ndarray] = ((), np.empty(0), np.empty(0))


def _marked(markers: Sequence[Marker]) -> tuple[np.ndarray, np.ndarray]:
    """Steps of markers, and the rank of each in MARKERS, -1 for none. Kept: a long run has thousands."""
    global _newest_marked
    if _newest_marked[0] is not markers:
        steps = np.array([marker.step for marker in markers], dtype=np.float64)
        _newest_marked = (markers, steps, np.array([_RANKS.get(marker.kind, -1) for marker in markers]))
    return _newest_marked[1:]
