"""The main screen: what is where at which size."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.screen import Screen

from cockpit.actions import bindings
from cockpit.compositor import SpanCompositor
from cockpit.state import RunState
from cockpit.widgets.chart import LossChart
from cockpit.widgets.header import Header
from cockpit.widgets.instruments import Instruments
from cockpit.widgets.keybar import KeyBar
from cockpit.widgets.notice import Notice, outcome
from cockpit.widgets.panes import LogPane, SamplePane
from cockpit.widgets.timebar import TimeBar

WIDE = 100
"""Columns from which sample and log stand side by side."""


class Heights(NamedTuple):
    """Rows of each part; 0 leaves it out. The chart gets the rest."""

    header: int
    chart: int
    instruments: int
    time: int
    panes: int
    notice: int
    keys: int
    gap: int
    """Empty rows above the instruments and above the time bar."""
    wide_gap: int
    """Empty rows above the panes."""


def heights(width: int, height: int, notice: int = 1) -> Heights:
    """How the rows of a terminal are shared out. What matters least goes first where there are few.

    Args:
        notice: rows that the notice needs.
    """
    keys = 1 if height >= 3 else 0
    header = 2 if height >= 10 else 1
    notice = min(notice, max(0, height - 8)) if height >= 9 else 0
    instruments = 4 if height >= 20 else 3 if height >= 16 else 2 if height >= 12 else 0
    time = 2 if height >= 20 else 1 if height >= 14 else 0
    gap = 1 if height >= 30 else 0
    panes = 0 if height < 18 else 4 if height < 22 else 5 if height < 28 else max(7, round(0.28 * height))
    wide_gap = 1 if height >= 40 else 0
    left = height - header - keys - notice - instruments - time - panes - 2 * gap - wide_gap
    if left < 5 and panes:
        panes, left = max(0, panes - (5 - left)), max(left, 5)
    return Heights(header, max(0, left), instruments, time, panes, notice, keys, gap, wide_gap)


class MainScreen(Screen):
    """Everything about the run on one screen.

    Args:
        profile, run: names for the header.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings()]

    def __init__(self, profile: str, run: str) -> None:
        super().__init__()
        self._compositor = SpanCompositor()
        self.header = Header(profile, run, id="header")
        self.chart = LossChart(id="chart")
        self.instruments = Instruments(id="instruments")
        self.time = TimeBar(id="time")
        self.sample = SamplePane(id="sample")
        self.log_pane = LogPane(id="log")
        self.notice = Notice(id="notice")
        self.keys = KeyBar(id="keys")
        self._log_in_front = False
        self._panes = Horizontal(self.sample, self.log_pane, id="panes")
        self._heights: Heights | None = None
        self._state = RunState()

    def compose(self) -> ComposeResult:
        yield self.header
        yield self.chart
        yield self.instruments
        yield self.time
        yield self._panes
        yield self.notice
        yield self.keys

    def on_mount(self) -> None:
        self.share_out()

    def on_resize(self) -> None:
        self.share_out()

    def switch_pane(self) -> None:
        """On a narrow screen, brings the other one of sample and log to the front."""
        self._log_in_front = not self._log_in_front
        self.share_out()

    def front_sample(self) -> None:
        """Brings the sample to the front."""
        if self._log_in_front:
            self.switch_pane()

    def show(self, state: RunState, *, numbers: bool = True) -> bool:
        """Draws a state; True where anything changed.

        Args:
            numbers: whether the numbers may change as well, or only the sample and the log.
        """
        before, self._state = self._state, state
        if outcome(before) != outcome(state):  # what stays on screen gets the rows it needs
            self.share_out()
        parts = [self.sample, self.log_pane, self.notice]
        if numbers:
            parts += [self.header, self.chart, self.instruments, self.time, self.keys]
        return any([part.show(state) for part in parts])

    def share_out(self) -> None:
        """Gives every part its rows, for the size of the terminal and for what the notice has to say."""
        width, height = self.app.size
        rows = heights(width, height, self.notice.height_for(self._state, width))
        narrow = width < WIDE
        self.sample.tabbed = self.log_pane.tabbed = narrow and rows.panes > 0
        self.sample.display = not narrow or not self._log_in_front
        self.log_pane.display = not narrow or self._log_in_front
        if rows != self._heights:
            self._heights = rows
            for part, size in (
                (self.header, rows.header), (self.chart, rows.chart), (self.instruments, rows.instruments),
                (self.time, rows.time), (self._panes, rows.panes), (self.notice, rows.notice), (self.keys, rows.keys),
            ):  # fmt: skip
                part.display = size > 0
                part.styles.height = max(1, size)
                part.styles.min_height = 0
            for part in (self.instruments, self.time):
                part.styles.margin = (rows.gap, 0, 0, 0)
            self._panes.styles.margin = (rows.wide_gap, 0, 0, 0)
        for part in (self.sample, self.log_pane):
            part.redraw()
