"""What to see behind the run: earlier runs and published losses, chosen from a list."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.events import Click
from textual.strip import Strip
from textual.widget import Widget

from cockpit import format as fmt
from cockpit.overlays import MOST_GHOSTS, Overlays, Reading, earlier_runs
from cockpit.references import REFERENCES
from cockpit.runs import Run
from cockpit.sanitize import clean_line
from cockpit.screens.modal import Box, hints
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.chart import ChartWidget
from cockpit.widgets.rows import Piece, RowsWidget, row

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

_LOOK_SECONDS = 0.1
"""Time between two looks whether a log has been read."""


def choose_overlays(app: CockpitApp) -> None:
    """Lists earlier runs and references; each is shown or hidden by a key."""
    charts = app.screen.query(ChartWidget)
    if charts:
        app.open(OverlaysScreen(charts.first().look.overlays, earlier_runs(app.link.run_dir)))


class OverlaysScreen(Box[None]):
    """A list to tick. What is ticked is drawn at once; escape goes back to it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up"), Binding("down,j", "move(1)", "down"),
        Binding("space,enter,x", "tick", "show or hide"), Binding("o,q", "close", "close"),
    ]  # fmt: skip

    def __init__(self, overlays: Overlays, runs: list[Run]) -> None:
        super().__init__(
            "Behind the loss", hints(("↑ ↓", "choose"), ("space", "show or hide"), ("esc", "back to the chart"))
        )
        self._overlays = overlays
        self._list = _Choices(overlays, runs)

    def body(self) -> Iterable[Widget]:
        yield self._list

    def on_mount(self) -> None:
        super().on_mount()
        self._list.styles.height = len(self._list.lines)
        self.set_interval(_LOOK_SECONDS, self._look)
        self.call_after_refresh(self._list.redraw)

    def _look(self) -> None:
        if self._list.take_in():
            self._list.redraw()

    def action_move(self, by: int) -> None:
        """To another line."""
        self._list.move(by)
        self.query_one("#box-body").scroll_to(y=max(0, self._list.at - 3), animate=False)

    def action_tick(self) -> None:
        """Shows or hides what the line names."""
        self._list.tick()


class _Choices(RowsWidget):
    """Earlier runs, then references, one a line."""

    def __init__(self, overlays: Overlays, runs: list[Run]) -> None:
        super().__init__()
        self._overlays = overlays
        self._runs = {run.name: run for run in runs}
        self._readings: list[Reading] = []
        self._errors: dict[str, str] = {}
        self.lines: list[tuple[str, str]] = [("head", "earlier runs")]
        """(`head`, `none`, `run` or `reference`; name) by line."""
        self.lines += [("run", run.name) for run in runs] or [("none", "none in this folder yet")]
        self.lines += [("head", "published losses"), *(("reference", name) for name in REFERENCES)]
        self.at = next(number for number, (kind, _) in enumerate(self.lines) if kind in ("run", "reference"))

    def move(self, by: int) -> None:
        """To the next line that can be ticked."""
        places = [number for number, (kind, _) in enumerate(self.lines) if kind in ("run", "reference")]
        self.at = places[(places.index(self.at) + by) % len(places)]
        self.redraw()

    def tick(self) -> None:
        """Shows or hides what the line names; a run's log is read first."""
        kind, name = self.lines[self.at]
        if kind == "reference":
            self._overlays.toggle_reference(name)
        elif not self._overlays.drop_ghost(name) and not any(reading.name == name for reading in self._readings):
            if len(self._overlays.ghosts) + len(self._readings) >= MOST_GHOSTS:
                self._errors[name] = f"{MOST_GHOSTS} at a time: hide another one first"
            else:
                self._errors.pop(name, None)
                self._readings.append(Reading(self._runs[name]))
        self.redraw()

    def take_in(self) -> bool:
        """Takes in what has been read meanwhile; True where there was anything."""
        done = [reading for reading in self._readings if reading.done]
        self._readings = [reading for reading in self._readings if not reading.done]
        for reading in done:
            if reading.ghost:
                self._overlays.ghosts.append(reading.ghost)
            else:
                self._errors[reading.name] = reading.error or ""
        return bool(done)

    def on_click(self, event: Click) -> None:
        if event.y < len(self.lines) and self.lines[event.y][0] in ("run", "reference"):
            self.at = event.y
            self.tick()

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        return [row(width, self._line(number, *line, width)) for number, line in enumerate(self.lines)]

    def _line(self, number: int, kind: str, name: str, width: int) -> list[Piece]:
        if kind in ("head", "none"):
            return [(name if kind == "head" else f"    {name}", ink.DIM if kind == "head" else ink.FAINT)]
        here = number == self.at
        pieces: list[Piece] = [("▸ " if here else "  ", ink.TRAIN)]
        name_style = ink.BRIGHT if here else ink.TEXT
        if kind == "reference":
            shown = name in self._overlays.references
            known = REFERENCES[name]
            return [
                *pieces, ("● " if shown else "· ", ink.REFERENCE if shown else ink.FAINT), (f"{name:<22}", name_style),
                (f"{known.loss:<8g}", ink.TEXT), (known.about, ink.FAINT),
            ]  # fmt: skip
        names = [ghost.name for ghost in self._overlays.ghosts]
        style = ink.GHOSTS[names.index(name) % len(ink.GHOSTS)] if name in names else ink.FAINT
        pieces += [("● " if name in names else "· ", style), (f"{clean_line(name):<22}", name_style)]
        if name in self._errors:
            return [*pieces, (clean_line(self._errors[name]), ink.WARNING)]
        if any(reading.name == name for reading in self._readings):
            return [*pieces, ("reading its log …", ink.DIM)]
        if name in names:
            ghost = self._overlays.ghosts[names.index(name)].state
            return [*pieces, (f"step {ghost.step:,}, best val {fmt.loss(ghost.best_val_loss)}", ink.DIM)]
        return [*pieces, (_touched(self._runs[name]), ink.FAINT)]


def _touched(run: Run) -> str:
    """How long ago a run's log was last written."""
    try:
        return f"{fmt.duration(max(0.0, time.time() - run.events_path.stat().st_mtime))} ago"
    except OSError:
        return "no log"
