"""The loss chart of the main screen, and the hands that every chart has: wheel, drag and click."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from textual.events import Leave, MouseDown, MouseMove, MouseScrollDown, MouseScrollUp, MouseUp
from textual.strip import Strip

from cockpit import format as fmt
from cockpit.overlays import Ghost, ahead, value_at
from cockpit.sanitize import clean_line
from cockpit.smoothing import USUAL
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.axes import XAxis, panned, ruler, x_axis, zoomed
from cockpit.widgets.drawing import AXIS, MARKERS, Outlook, draw, step_range
from cockpit.widgets.measures import LOSS
from cockpit.widgets.rows import Piece, RowsWidget, rule, width_of

ZOOM = 1.6
"""How much closer a turn of the wheel or a press of `+` goes."""

__all__ = ["AXIS", "MARKERS", "ChartWidget", "LossChart", "draw", "legend", "step_range"]


class ChartWidget(RowsWidget):
    """A widget with one or more charts over the same axis. The wheel zooms, dragging pans, a click sets the crosshair.

    Args:
        look: what the pilot has chosen to see; shared by all charts of an app.
    """

    def __init__(self, look: Outlook, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.look = look
        self._dragged: float | None = None
        self._moved = False

    def plot_at(self, x: int, y: int) -> tuple[int, int] | None:
        """(first cell, cells) of the plot in which a cell of the widget lies; None between plots."""
        return (AXIS, self.size.width - AXIS) if self.size.width > AXIS else None

    def axis(self) -> XAxis:
        """The axis that is shown."""
        return x_axis(self._state, self.look.lens, step_range(self._state))

    def zoom(self, factor: float, place: float) -> None:
        """Goes closer (factor above 1) or further away; what stands at a place of 0…1 stays there."""
        self.change(lens=zoomed(self.look.lens, self.axis(), factor, place, step_range(self._state)))

    def pan(self, share: float) -> None:
        """Looks further right by a share of what is shown."""
        self.change(lens=panned(self.look.lens, self.axis(), share, step_range(self._state)))

    def point_at(self, place: float | None) -> None:
        """Puts the crosshair at a place of 0…1, on a whole step up to the newest; None takes it away."""
        cursor = None if place is None else round(self.axis().step(min(1.0, max(0.0, place))))
        if cursor is not None:
            cursor = float(min(max(cursor, 1), max(1, self._state.step)))
        if cursor != self.look.lens.cursor:
            self.change(lens=replace(self.look.lens, cursor=cursor))

    def change(self, **what: object) -> None:
        """Looks otherwise from now on."""
        for name, value in what.items():
            setattr(self.look, name, value)
        self.redraw()

    def _place(self, x: int, y: int) -> float | None:
        plot = self.plot_at(x, y)
        return None if plot is None else (x - plot[0] + 0.5) / plot[1]

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        self._wheel(event, ZOOM)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        self._wheel(event, 1 / ZOOM)

    def _wheel(self, event: MouseScrollUp | MouseScrollDown, factor: float) -> None:
        place = self._place(event.x, event.y)
        if place is not None and 0 <= place <= 1 and len(self._state.loss):
            event.stop()
            self.zoom(factor, place)

    def on_mouse_down(self, event: MouseDown) -> None:
        self._dragged, self._moved = self._place(event.x, event.y), False
        self.capture_mouse()

    def on_mouse_move(self, event: MouseMove) -> None:
        place = self._place(event.x, event.y)
        if self._dragged is not None and place is not None and abs(place - self._dragged) > 1e-9:
            self._moved = True
            self.pan(self._dragged - place)
            self._dragged = place
        elif self._dragged is None:
            self.hovered(place if place is not None and 0 <= place <= 1 else None)

    def hovered(self, place: float | None) -> None:
        """The mouse is over a place; nothing here: on the main screen it takes a click."""

    def on_mouse_up(self, event: MouseUp) -> None:
        self.release_mouse()
        place = self._place(event.x, event.y)
        if not self._moved and self._dragged is not None and len(self._state.loss):
            self.clicked(event.x, event.y, place)
        self._dragged = None

    def clicked(self, x: int, y: int, place: float | None) -> None:
        """A press without a drag: sets the crosshair, or takes it away beside the plot."""
        self.point_at(place if place is not None and 0 <= place <= 1 else None)

    def on_leave(self, event: Leave) -> None:
        self._dragged = None


class LossChart(ChartWidget):
    """Loss in nats/token. All of the run is shown unless the pilot zooms; the scale moves in steps."""

    DEFAULT_CSS = "LossChart { height: 1fr; min-height: 4; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(Outlook(), id=id)
        self._key: tuple | None = None
        self._made: list[Strip] = []

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        key = (
            len(state.loss), state.loss.last, len(state.val_loss), len(state.markers), state.step, state.max_steps,
            state.resumed, len(state.abandoned), width, height, self.look.lens, self.look.overlays.key,
        )  # fmt: skip
        if key != self._key:
            self._key = key
            self._made = [legend(state, width, self.look), *draw(state, width, height - 1, self.look)]
        return self._made


def legend(state: RunState, width: int, look: Outlook | None = None) -> Strip:
    """The section's rule with each curve's glyph, name and newest value, or its value under the crosshair."""
    look = look or Outlook()
    cursor = look.lens.cursor
    evaluation = state.evaluation
    last, smooth = state.last.loss if state.last else None, state.smoothed_loss.last
    val = evaluation.val_loss if evaluation else None
    left: list[Piece] = [("loss", ink.TEXT)]
    if cursor is not None:
        left.append((f" at {cursor:,.0f}", ink.CURSOR))
        last, smooth = value_at(state.loss, cursor), value_at(look.line(state, measure=LOSS), cursor)
        val = value_at(state.val_loss, cursor)
    elif look.lens.smoothing != USUAL:
        smooth = look.line(state, measure=LOSS).last
    curves = [
        ("⣿", ink.RAW, "train", fmt.loss(last), ink.TEXT),
        ("━", ink.TRAIN, "smoothed", fmt.loss(smooth), ink.TRAIN),
        ("●", ink.VALIDATION, "val", fmt.loss(val), ink.VALIDATION),
    ]
    for glyph, glyph_style, name, value, style in curves:
        piece = [("   ", ink.TEXT), (glyph, glyph_style), (f" {name} ", ink.DIM), (f"{value:>6}", style)]
        if width_of(left) + width_of(piece) < width - 4:
            left += piece
    for number, ghost in enumerate(look.overlays.ghosts):
        words = ghost_words(state, ghost, number, look)
        # Where there is no room for all that, only its number, and by how much.
        for pieces, margin in ((words, 8), ([words[0], (" ", ink.TEXT), *words[2:3]], 4)):
            if width_of(left) + 3 + width_of(pieces) < width - margin:
                left += [("   ", ink.TEXT), *pieces]
                break
    right: list[Piece] = []
    if words := look.lens.words():
        right = [(words, ink.WARNING if look.lens.window else ink.DIM)]
        if width_of(left) + width_of(right) > width - 9:
            right = []
    for glyph, style, word in reversed(MARKERS.values()):
        if any(MARKERS.get(marker.kind, ("",))[0] == glyph for marker in state.markers):
            piece = [("  " if right else "", ink.TEXT), (glyph, style), (f" {word}", ink.DIM)]
            if width_of(left) + width_of(right) + width_of(piece) < width - 9:
                right += piece
    return rule(width, left, right)


def ghost_words(state: RunState, ghost: Ghost, number: int, look: Outlook) -> list[Piece]:
    """An earlier run's glyph and name, and how far this run is ahead of it at the same place of the axis."""
    style = ink.GHOSTS[number % len(ink.GHOSTS)]
    name = clean_line(ghost.name)
    name = name if len(name) <= 20 else f"{name[:19]}…"
    pieces: list[Piece] = [(f"━{number + 1}", style), (f" {name} ", ink.DIM)]
    lead = lead_over(state, ghost, look)
    if lead is None:
        ended = look.lens.cursor is None and ghost.state.step < state.step
        return [*pieces, (f"ended at {ghost.state.step:,}" if ended else "no step here", ink.FAINT)]
    style = ink.GOOD if lead >= 0 else ink.WARNING
    pieces.append((f"{'ahead' if lead >= 0 else 'behind'} {abs(lead):.3f}", style))
    if (way := way_ahead(state, ghost, look)) is not None and way * lead > 0:
        pieces.append((f" {_amount(abs(way), look.lens.axis)}", ink.DIM))
    return pieces


def lead_over(state: RunState, ghost: Ghost, look: Outlook) -> float | None:
    """How much lower our smoothed loss is than an earlier run's at the same place of the axis (step, token, second or
    FLOP): the crosshair's, or the newest. nats/token; below 0 where ours is higher, None where one is unknown."""
    step = look.lens.cursor if look.lens.cursor is not None else state.step
    line = look.line(state, LOSS)
    ours = line.last if look.lens.cursor is None else value_at(line, step)
    counted = ruler(state, look.lens.axis).of(np.array([float(step)]))
    theirs = float(ruler(ghost.state, look.lens.axis).back(counted)[0])
    return ahead(ours, value_at(look.ghost_line(ghost, LOSS), theirs))


def way_ahead(state: RunState, ghost: Ghost, look: Outlook) -> float | None:
    """How much longer than we the earlier run took to come as low as we are at the same place, in what the axis counts
    (steps, tokens, seconds or FLOPs); below 0 where it was there sooner. None where it never was, or was from its
    first step on."""
    step = look.lens.cursor if look.lens.cursor is not None else state.step
    line = look.line(state, LOSS)
    ours = line.last if look.lens.cursor is None else value_at(line, step)
    points = look.ghost_line(ghost, LOSS).points(least=4096)
    low = np.flatnonzero(points.last <= (math.nan if ours is None else ours))
    if not len(low) or low[0] == 0:
        return None
    axis = look.lens.axis
    place = ruler(state, axis).of(np.array([float(step)]))
    theirs = ruler(ghost.state, axis).of(points.x[low[:1]])
    return float(theirs[0] - place[0])


def _amount(value: float, axis: str) -> str:
    """Of an axis, in a few characters."""
    match axis:
        case "step":
            return f"{value:,.0f} steps"
        case "time":
            return fmt.duration(value)
        case _:
            return f"{' '.join(fmt.count(value)).strip()} {'tokens' if axis == 'tokens' else 'FLOPs'}"
