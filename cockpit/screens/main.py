"""The main screen: everything about the run."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.layout import Layout
from textual.screen import Screen
from textual.widget import Widget

from cockpit.actions import ACTIONS, bindings
from cockpit.compositor import SpanCompositor
from cockpit.places import PANES, WIDE, Placed, heights, places
from cockpit.state import RunState
from cockpit.widgets.chart import LossChart
from cockpit.widgets.diagnosed import DiagnosisLine
from cockpit.widgets.header import Header
from cockpit.widgets.instruments import Instruments
from cockpit.widgets.keybar import KeyBar
from cockpit.widgets.notice import Notice, outcome
from cockpit.widgets.panes import LogPane, SamplePane, ScrolledPane
from cockpit.widgets.rows import RowsWidget
from cockpit.widgets.timebar import TimeBar

THIN_CHART_EVERY = 15.0
"""Seconds between two pictures of the chart with --thin."""

__all__ = ["WIDE", "MainScreen", "heights"]


class MainScreen(Screen):
    """Everything about the run on one screen.

    Args:
        profile, run: names for the header.
        thin: send the terminal less: no curves beside numbers, and the chart as it is every few seconds.
    """

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "whole", "all panes")]

    def __init__(self, profile: str, run: str, *, thin: bool = False) -> None:
        super().__init__()
        self._compositor = SpanCompositor()
        for binding in bindings():  # here, not with the class: the keymap may have moved them
            self._bindings.key_to_bindings[binding.key] = [binding]
        self._placed = Placed()
        self.header = Header(profile, run, id="header")
        self.chart = LossChart(id="chart")
        self.instruments = Instruments(id="instruments")
        self.instruments.curves = not thin
        self._thin = thin
        self._chart_drawn = float("-inf")
        self.time = TimeBar(id="time")
        self.sample = SamplePane(id="sample")
        self.log_pane = LogPane(id="log")
        self.doctor = DiagnosisLine(id="doctor")
        self.notice = Notice(id="notice")
        self.keys = self.make_keys()
        self._below = tuple(self.below())
        self.panes: dict[str, RowsWidget] = dict(
            zip(PANES, (self.chart, self.instruments, self.time, self.sample, self.log_pane), strict=True)
        )
        self.hidden: set[str] = set()
        """Panes that are not shown."""
        self.zoomed: str | None = None
        """The pane that has the room of all of them."""
        self._log_in_front = False
        self._state = RunState()

    @property
    def layout(self) -> Layout:
        """Each part where `places` puts it."""
        return self._placed

    def compose(self) -> ComposeResult:
        yield self.header
        yield from self.panes.values()
        yield self.doctor
        yield self.notice
        yield from self._below
        yield self.keys

    def make_keys(self) -> KeyBar:
        """The key bar."""
        return KeyBar(id="keys")

    def below(self) -> Iterable[Widget]:
        """What stands between the notice and the keys, each with an id."""
        return ()

    def rows_below(self, height: int) -> int:
        """Rows that it takes of a terminal of so many."""
        return 0

    def keys_told(self) -> tuple[tuple[str, str, str], ...]:
        """(key, name, what it does) of all that it obeys, for the help; no key where only the palette leads there."""
        return tuple((action.key_label, action.label, action.help) for action in ACTIONS)

    def takes(self, action: str) -> bool:
        """Whether this screen does an action itself, in its own way; if so, it has."""
        return False

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

    def toggle(self, pane: str) -> bool:
        """Hides a pane, or shows it again; True where it is now shown."""
        self.hidden ^= {pane}
        self.zoomed = None
        self.share_out()
        return pane not in self.hidden

    def show_all(self) -> None:
        """Shows every pane."""
        self.hidden.clear()
        self.zoomed = None
        self.share_out()

    def zoom(self, pane: str | None) -> None:
        """Gives a pane the room of all of them, or, None, each its own again."""
        self.zoomed = pane
        if pane in ("sample", "log"):
            self._log_in_front = pane == "log"
        self.share_out()

    def action_whole(self) -> None:
        """Shows all panes again, after one has filled the screen."""
        self.zoom(None)

    def scroll(self, by: int) -> None:
        """Moves the log, or the sample where that fills the screen or hides the log; below zero: to what was before.

        Args:
            by: screenfuls.
        """
        pane: ScrolledPane = self.log_pane
        if self.zoomed == "sample" or not self.log_pane.display:
            pane = self.sample
        pane.scroll_rows(by * max(1, pane.size.height - 2))

    def on_click(self, event: events.Click) -> None:
        """A click on the first row of a pane gives it all the room, and another one takes it back."""
        for name, region in self._placed.places.items():
            if name in PANES and region.contains_point(event.screen_offset) and event.screen_y == region.y:
                self.zoom(None if self.zoomed else name)
                return

    def show(self, state: RunState, *, numbers: bool = True) -> bool:
        """Draws a state; True where anything changed.

        Args:
            numbers: whether the numbers may change as well, or only the sample and the log.
        """
        before, self._state = self._state, state
        says = outcome(before) != outcome(state)
        if says or self.doctor.height_for(before) != self.doctor.height_for(state):  # what stays gets the rows it needs
            self.share_out()
        parts: list[RowsWidget] = [self.sample, self.log_pane, self.doctor, self.notice]
        if numbers:
            parts += [self.header, self.instruments, self.time, self.keys]
            now = time.monotonic()
            if not self._thin or now - self._chart_drawn >= THIN_CHART_EVERY or state.state != before.state:
                self._chart_drawn = now
                parts.append(self.chart)
        return any([part.show(state) for part in parts])

    def _places(self, zoomed: str | None, size: Size) -> dict[str, Region]:
        width, height = size
        placed = places(
            width, height, notice=self.notice.height_for(self._state, width),
            doctor=self.doctor.height_for(self._state), hidden=self.hidden,
            front="log" if self._log_in_front else "sample", zoomed=zoomed, below=self.rows_below(height),
        )  # fmt: skip
        if room := placed.pop("below", None):
            placed |= {part.id or "": room for part in self._below}
        return placed

    def _refresh_layout(self, size: Size | None = None, scroll: bool = False) -> None:
        # Textual lays a screen out anew, without a word to it, when the terminal changes while something is in front.
        if self._place(size or self.app.size):
            self._clear_arrangement_cache()
        super()._refresh_layout(size, scroll)

    def _place(self, size: Size) -> bool:
        """Gives every part its place on a terminal of this size; True where any has moved."""
        placed = self._places(self.zoomed, size)
        panes = {"sample", "log"} - self.hidden
        tabbed = len(panes) == 2 and len(panes & set(placed)) == 1 and self.zoomed is None
        self.sample.tabbed = self.log_pane.tabbed = tabbed
        moved = placed != self._placed.places
        self._placed.places = placed
        for part in self.children:
            shown = (part.id or "") in placed
            if part.display != shown:
                part.display = shown
        return moved

    def share_out(self) -> None:
        """Gives every part its place, for the size of the terminal and for what the notice has to say."""
        if self._place(self.app.size):
            self._clear_arrangement_cache()  # Textual does that where a child asks, not where the screen itself does
            self.refresh(layout=True)
        for part in (self.sample, self.log_pane):
            part.redraw()

    def places_of_panes(self) -> dict[str, Region]:
        """Where each pane stands while none fills the screen; two of which one hides the other share its place."""
        placed = {name: region for name, region in self._places(None, self.app.size).items() if name in PANES}
        shown = [name for name in ("sample", "log") if name in placed]
        if len(shown) == 1 and not self.hidden & {"sample", "log"}:
            room = placed[shown[0]]
            half = room.width // 2
            placed["sample"], placed["log"] = room.shrink((0, room.width - half, 0, 0)), room.shrink((0, 0, 0, half))
        return placed
