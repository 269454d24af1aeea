"""Several charts in one widget, all over the same axis: the chosen measures, or one of them alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from textual.message import Message
from textual.strip import Strip

from cockpit.overlays import value_at
from cockpit.sanitize import clean_line
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.axes import label, ruler
from cockpit.widgets.chart import ChartWidget, ghost_words
from cockpit.widgets.drawing import AXIS, MARKERS, Outlook, draw
from cockpit.widgets.measures import LOSS, MEASURES, Measure
from cockpit.widgets.rows import Piece, fit, row, rule, width_of

NARROWEST = 34
LOWEST = 6
"""Cells and rows of a chart at least, its title included."""
GAP = 2
"""Cells between charts side by side."""
DEFAULT = ("loss", "lr", "grad_norm", "ms")
"""Measures that are shown at first."""


class Pane(NamedTuple):
    """Where a measure's chart is."""

    measure: Measure
    x: int
    y: int
    width: int
    height: int


def share_out(measures: list[Measure], width: int, height: int) -> list[Pane]:
    """Places for charts: the first across the top, the others in a grid below; as many as there is room for."""
    if not measures or height < 3:
        return []
    first, others = measures[0], measures[1:]
    top = max(LOWEST, round(height * (0.5 if len(others) < 4 else 0.4)))
    if not others or height - top < LOWEST:
        return [Pane(first, 0, 0, width, height)]
    most = max(1, (width + GAP) // (NARROWEST + GAP))
    lines = min(-(-len(others) // most), (height - top) // LOWEST)
    columns = min(most, -(-len(others) // lines))
    each, tall = (width - GAP * (columns - 1)) // columns, (height - top) // lines
    panes = [Pane(first, 0, 0, width, height - tall * lines)]
    for number, measure in enumerate(others[: columns * lines]):
        line, column = divmod(number, columns)
        x = column * (each + GAP)
        y = height - tall * (lines - line)
        panes.append(Pane(measure, x, y, width - x if column == columns - 1 else each, tall))
    return panes


class Board(ChartWidget):
    """Charts of the chosen measures. What is under the mouse has the crosshair; a click picks a chart."""

    DEFAULT_CSS = "Board { height: 1fr; }"

    class Picked(Message):
        """A chart was clicked."""

    def __init__(self, look: Outlook, *, id: str | None = None) -> None:
        super().__init__(look, id=id)
        self.chosen: list[str] = [*DEFAULT]
        """Ids of the measures shown."""
        self.focus_id = "loss"
        """The measure that keys are meant for."""
        self.alone = False
        """Whether only that one is shown, on all of the board."""
        self._key: tuple | None = None
        self._made: list[Strip] = []

    @property
    def measures(self) -> list[Measure]:
        """Those shown, in the order of MEASURES."""
        wanted = [self.focus_id] if self.alone else self.chosen
        return [measure for measure in MEASURES if measure.id in wanted]

    def toggle(self, measure: Measure) -> None:
        """Shows a measure, or hides it unless it is the only one."""
        if self.alone:
            self.alone = False
        if measure.id not in self.chosen:
            self.chosen.append(measure.id)
            self.focus_id = measure.id
        elif len(self.chosen) > 1:
            self.chosen.remove(measure.id)
            if self.focus_id == measure.id:
                self.focus_id = self.measures[0].id
        self.redraw()

    def next_pane(self) -> None:
        """Means the keys for the next chart."""
        ids = [measure.id for measure in MEASURES if measure.id in self.chosen]
        at = ids.index(self.focus_id) + 1 if self.focus_id in ids else 0
        self.focus_id = ids[at % len(ids)]
        self.redraw()

    def panes(self) -> list[Pane]:
        """Where each chart is now."""
        return share_out(self.measures, self.size.width, self.size.height)

    def plot_at(self, x: int, y: int) -> tuple[int, int] | None:
        for pane in self.panes():
            if pane.x <= x < pane.x + pane.width and pane.y <= y < pane.y + pane.height:
                return pane.x + AXIS, max(1, pane.width - AXIS)
        return None

    def hovered(self, place: float | None) -> None:
        if place is not None and len(self._state.loss):
            self.point_at(place)
            self.post_message(self.Picked())

    def clicked(self, x: int, y: int, place: float | None) -> None:
        for pane in self.panes():
            if pane.x <= x < pane.x + pane.width and pane.y <= y < pane.y + pane.height:
                self.focus_id = pane.measure.id
        super().clicked(x, y, place)
        self.redraw()
        self.post_message(self.Picked())

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        key = (
            len(state.loss), state.step, len(state.markers), len(state.val_loss), len(state.meters.rss), state.resumed,
            width, height, self.look.lens, self.look.overlays.key, tuple(self.chosen), self.focus_id, self.alone,
        )  # fmt: skip
        if key != self._key:
            self._key = key
            self._made = self._draw(state, width, height)
        return self._made

    def _draw(self, state: RunState, width: int, height: int) -> list[Strip]:
        parts: dict[int, list[tuple[int, Strip]]] = {y: [] for y in range(height)}
        panes = share_out(self.measures, width, height)
        for pane in panes:
            focused = pane.measure.id == self.focus_id and len(panes) > 1
            drawn = [self._title(state, pane, focused)]
            drawn += draw(state, pane.width, pane.height - 1, self.look, pane.measure)
            for number, strip in enumerate(drawn):
                parts[pane.y + number].append((pane.x, strip))
        return [_joined(line, width) for line in parts.values()]

    def _title(self, state: RunState, pane: Pane, focused: bool) -> Strip:
        measure, look = pane.measure, self.look
        curve, line = measure.curve(state), look.line(state, measure)
        cursor = look.lens.cursor
        value, smooth = (curve.last, line.last) if cursor is None else (value_at(curve, cursor), value_at(line, cursor))
        left: list[Piece] = [(measure.title, ink.BRIGHT if focused else ink.TEXT)]
        numbers = [("  ", value, ink.TEXT)]
        if look.lens.smoothing and measure.noisy and pane.width >= 50:
            numbers.append(("  smoothed ", smooth, measure.line))
        if measure.points and pane.width >= 50:
            points = measure.points(state)
            val = points.last if cursor is None else value_at(points, cursor)
            numbers.append(("  val ", val, ink.VALIDATION))
        for name, number, style in numbers:
            text = measure.write(None if number is None else number * measure.factor)
            left += [(name, ink.DIM), (f"{text:>6}", style)]
        left.append((f" {measure.unit}" if measure.unit else "", ink.FAINT))
        if measure is LOSS:
            for number, ghost in enumerate(look.overlays.ghosts):
                piece = [("   ", ink.TEXT), *ghost_words(state, ghost, number, look)]
                if width_of(left) + width_of(piece) < pane.width - 8:
                    left += piece
        if width_of(left) > pane.width - 6:
            left = fit(left, max(0, pane.width - 6))
        right: list[Piece] = []
        if measure is LOSS and (words := look.lens.words()):
            right = [(words, ink.DIM)] if width_of(left) + len(words) < pane.width - 9 else []
        return rule(pane.width, left, right)


def _joined(parts: list[tuple[int, Strip]], width: int) -> Strip:
    """Strips side by side, each at its column."""
    if len(parts) == 1 and parts[0][0] == 0 and parts[0][1].cell_length == width:
        return parts[0][1]
    strips: list[Strip] = []
    at = 0
    for x, strip in parts:
        if x > at:
            strips.append(Strip.blank(x - at))
        strips.append(strip)
        at = x + strip.cell_length
    if at < width:
        strips.append(Strip.blank(width - at))
    return Strip.join(strips)


def chooser(chosen: list[str], state: RunState, width: int) -> Strip:
    """The row of measures with the key of each; what is shown is bright."""
    pieces: list[Piece] = [(" ", ink.TEXT)]
    for measure in MEASURES:
        shown, known = measure.id in chosen, len(measure.curve(state)) > 0
        name = (f" {measure.title}  ", ink.TEXT if shown else ink.DIM if known else ink.FAINT)
        pieces += [(measure.key, ink.TRAIN if shown else ink.FAINT), name]
    if width_of(pieces) > width:
        short = [(f"{measure.key}", ink.TRAIN if measure.id in chosen else ink.FAINT) for measure in MEASURES]
        pieces = [(" panes ", ink.DIM), *short]
    return row(width, pieces)


def readout(state: RunState, look: Outlook, width: int) -> list[Strip]:
    """Two rows on the step under the crosshair: where it is on every axis and what happened there."""
    cursor = look.lens.cursor
    if cursor is None:
        return [
            row(width, [(" ← → or the mouse: values at a step", ink.FAINT)]), Strip.blank(width),
        ]  # fmt: skip
    pieces: list[Piece] = [(f" step {cursor:,.0f}", ink.CURSOR)]
    for axis in ("tokens", "time", "flops"):
        over = ruler(state, axis)
        if over.steps is not None:
            counted = float(over.of(_one(cursor))[0])
            unit = {"tokens": " tokens", "time": "", "flops": " FLOPs"}[axis]
            pieces += [("   ", ink.DIM), (label(axis, counted), ink.TEXT), (unit, ink.DIM)]
    for measure in MEASURES[1:]:
        value = value_at(measure.curve(state), cursor)
        if value is not None:
            text = measure.write(value * measure.factor)
            piece = [(f"   {measure.title} ", ink.DIM), (text, ink.TEXT), (f" {measure.unit}".rstrip(), ink.FAINT)]
            if width_of(pieces) + width_of(piece) < width:
                pieces += piece
    return [row(width, pieces), row(width, events_at(state, look, cursor))]


def events_at(state: RunState, look: Outlook, cursor: float) -> list[Piece]:
    """What happened at a step, or at the nearest one before and after it within a hundredth of what is shown."""
    first, last = look.lens.window or (0.0, float(max(1, state.step)))
    near = max(0.5, (last - first) / 100)
    there = [marker for marker in state.markers if abs(marker.step - cursor) <= near]
    there.sort(key=lambda marker: abs(marker.step - cursor))
    pieces: list[Piece] = []
    for marker in there[:4]:
        glyph, style, _ = MARKERS.get(marker.kind, ("●", ink.VALIDATION, ""))
        at = f"at {marker.step:,}: " if f"{marker.step:,}" not in marker.text and marker.step != cursor else ""
        pieces += [
            ("   " if pieces else " ", ink.TEXT),
            (f"{glyph} ", style),
            (f"{at}{clean_line(marker.text)}", ink.DIM),
        ]
    return pieces or [(" nothing happened near it but training", ink.FAINT)]


def _one(value: float) -> np.ndarray:
    return np.array([value])
