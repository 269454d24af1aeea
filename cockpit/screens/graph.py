"""The charts on a screen of their own, with every way to look at them; and the keys that the main chart has too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.strip import Strip
from textual.widget import Widget

from cockpit.screens.view import View
from cockpit.smoothing import DECAYS
from cockpit.state import RunState
from cockpit.widgets.axes import UNITS
from cockpit.widgets.board import Board, chooser, readout
from cockpit.widgets.chart import ZOOM, ChartWidget
from cockpit.widgets.drawing import Outlook
from cockpit.widgets.measures import MEASURES
from cockpit.widgets.rows import RowsWidget

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

_PAN = 0.25
_KEYS = (
    ("g", "one/all"), ("tab", "next"), ("x", "axis"), ("X y", "log"), ("[ ]", "smooth"), ("+ -", "zoom"),
    (", .", "pan"), ("a", "all"), ("← →", "values"), ("k", "clip"), ("m", "marks"), ("o", "overlays"),
)  # fmt: skip


def open_graph(app: CockpitApp) -> None:
    """Opens the charts; in them, one of them on the whole screen or all again."""
    app.open(GraphView(app.screen.query_one(ChartWidget).look))


def smoother(app: CockpitApp) -> None:
    """Smooths the curves more."""
    _smooth(app, +1)


def rougher(app: CockpitApp) -> None:
    """Smooths the curves less."""
    _smooth(app, -1)


def _smooth(app: CockpitApp, by: int) -> None:
    charts = app.screen.query(ChartWidget)
    if not charts:
        return
    chart = charts.first()
    chart.change(lens=chart.look.lens.smoother(by))
    decay = chart.look.lens.decay
    at_end = f"; no {'more' if by > 0 else 'less'} than that" if decay in (DECAYS[0], DECAYS[-1]) else ""
    app.say(f"the line forgets all but {decay:g} of itself a step{at_end}" if decay else "no smoothing")


class GraphView(View[None]):
    """Charts of several measures over one axis.

    Args:
        look: what the main chart shows and how; both change together.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(measure.key, f"pane('{measure.id}')", measure.title) for measure in MEASURES),
        Binding("g,enter,f", "alone", "one"), Binding("tab", "next", "next chart"),
        Binding("x", "axis", "axis"), Binding("X", "log_x", "log x"), Binding("y", "log_y", "log y"),
        Binding("k", "clip", "clip"), Binding("m", "pen", "marks"),
        Binding("plus,equals_sign", "zoom(1)", "closer"), Binding("minus", "zoom(-1)", "further"),
        Binding("comma,shift+left", "pan(-1)", "left"), Binding("full_stop,shift+right", "pan(1)", "right"),
        Binding("a,home", "whole", "whole run"),
        Binding("left", "walk(-1)", "back"), Binding("right", "walk(1)", "on"),
        Binding("ctrl+left", "walk(-10)", "far back"), Binding("ctrl+right", "walk(10)", "far on"),
        Binding("escape", "out", "back"),
    ]  # fmt: skip

    def __init__(self, look: Outlook) -> None:
        super().__init__("charts", _KEYS)
        self.board = Board(look)
        self._chooser = _Chooser(self.board)
        self._readout = _Readout(look)

    def body(self) -> Iterable[Widget]:
        yield self._chooser
        yield self.board
        yield self._readout

    def show_body(self, state: RunState) -> bool:
        return any([self._chooser.show(state), self.board.show(state), self._readout.show(state)])

    def on_board_picked(self) -> None:
        self.show_body(self.shows)

    def _look(self, **changes: object) -> None:
        self.board.change(lens=replace(self.board.look.lens, **changes))
        self.show_body(self.shows)

    def action_pane(self, measure_id: str) -> None:
        """Shows or hides a measure."""
        self.board.toggle(next(measure for measure in MEASURES if measure.id == measure_id))
        self.show_body(self.shows)

    def action_alone(self) -> None:
        """One chart on the whole screen, or all of them again."""
        self.board.alone = not self.board.alone
        self.show_body(self.shows)

    def action_next(self) -> None:
        """Means the keys for the next chart."""
        self.board.next_pane()

    def action_axis(self) -> None:
        """Over steps, tokens, time or FLOPs."""
        lens = self.board.look.lens.next_axis()
        self._look(axis=lens.axis)
        self.notice.say(f"over {UNITS[lens.axis]}", "info")

    def action_log_x(self) -> None:
        """A logarithmic horizontal axis."""
        self._look(log_x=not self.board.look.lens.log_x)

    def action_log_y(self) -> None:
        """A logarithmic vertical axis."""
        self._look(log_y=not self.board.look.lens.log_y)

    def action_clip(self) -> None:
        """Whether lone spikes stick out."""
        self._look(clip=not self.board.look.lens.clip)

    def action_pen(self) -> None:
        """Braille, half blocks, or letters."""
        self._look(pen=self.board.look.lens.next_pen().pen)

    def action_zoom(self, turn: int) -> None:
        """Closer to the crosshair, or to the newest step; or away from it."""
        axis = self.board.axis()
        cursor = self.board.look.lens.cursor
        at = axis.place(cursor if cursor is not None else self.shows.step)
        self.board.zoom(ZOOM**turn, min(1.0, max(0.0, at)))
        self.show_body(self.shows)

    def action_pan(self, turn: int) -> None:
        """Left or right by a quarter of what is shown."""
        self.board.pan(turn * _PAN)
        self.show_body(self.shows)

    def action_whole(self) -> None:
        """The whole run."""
        self._look(window=None)

    def action_walk(self, cells: int) -> None:
        """Moves the crosshair by cells of the widest chart, at least by a step."""
        board = self.board
        cursor, axis = board.look.lens.cursor, board.axis()
        if cursor is None:
            first, last = axis.steps()
            cursor = float(min(max(self.shows.step, first), last))
            board.change(lens=replace(board.look.lens, cursor=round(cursor)))
        else:
            plot = board.plot_at(0, 0)
            there = axis.step(axis.place(cursor) + cells / (plot[1] if plot else 100))
            there = max(there, cursor + cells) if cells > 0 else min(there, cursor + cells)
            board.point_at(axis.place(there))
        self.show_body(self.shows)

    def action_out(self) -> None:
        """Takes the crosshair away, or leaves."""
        if self.board.look.lens.cursor is not None:
            self._look(cursor=None)
        else:
            self.action_close()


class _Chooser(RowsWidget):
    """Which measures there are and which are shown."""

    def __init__(self, board: Board) -> None:
        super().__init__()
        self._board = board

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        return [chooser([measure.id for measure in self._board.measures], state, width)]


class _Readout(RowsWidget):
    """What is under the crosshair."""

    DEFAULT_CSS = "_Readout { height: 2; }"

    def __init__(self, look: Outlook) -> None:
        super().__init__()
        self._look = look

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        return readout(state, self._look, width)
