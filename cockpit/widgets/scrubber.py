"""Where a replay is in its log: a track to click on, the moment in figures, and the keys that move it."""

from __future__ import annotations

from datetime import datetime

from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip

from cockpit import format as fmt
from cockpit.link.replay import ReplayLink
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.chart import MARKERS
from cockpit.widgets.keybar import KeyBar
from cockpit.widgets.rows import Piece, RowsWidget, row, width_of

EDGE = 14
"""Cells left of the track."""

_MARKS = ("pause", "resume", "config", "spike")
"""What is set into the track; a later one hides an earlier one."""
_DONE = Style(color=ink.TRAIN_COLOR)
_UNREAD = ink.RULE


class Scrubber(RowsWidget):
    """Two rows: playing or not, how fast, and the track; below, where in the run that is."""

    DEFAULT_CSS = "Scrubber { height: 2; }"

    class Moved(Message):
        """The track was clicked on, or the mouse drawn along it.

        Args:
            share: how far along, 0…1.
        """

        def __init__(self, share: float) -> None:
            super().__init__()
            self.share = share

    def __init__(self, link: ReplayLink, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._link = link

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        cells = width - EDGE - 1
        if cells < 10:
            return [row(width, self._where(state, width))]
        return [row(width, [*self._speed(), *self._track(cells)]), row(width, self._where(state, width))][:height]

    def _speed(self) -> list[Piece]:
        link = self._link
        if link.at_end and link.followed:
            return [(" ● ", ink.GOOD), (f"{'following':<{EDGE - 3}}", ink.TEXT)]
        glyph: Piece = (" ▶ ", ink.GOOD) if link.playing else (" ‖ ", ink.PAUSED)
        return [glyph, (f"{link.speed:>5,}×", ink.BRIGHT), (" " * (EDGE - 9), ink.TEXT)]

    def _track(self, cells: int) -> list[Piece]:
        link = self._link
        read = cells * link.share_read
        whole = link.length / link.share_read if link.share_read else 0.0
        at = cells - 1 if link.at_end and link.complete else _cell(link.position, whole, cells)
        ahead: list[Piece] = [("─", ink.FAINT if number < read else _UNREAD) for number in range(at, cells)]
        glyphs: list[Piece] = [*[("━", _DONE)] * at, *ahead]
        marks = sorted((m for m in list(link.marks) if m.kind in _MARKS), key=lambda mark: _MARKS.index(mark.kind))
        for mark in marks:
            glyphs[_cell(mark.clock, whole, cells)] = MARKERS[mark.kind][:2]
        glyphs[at] = ("●", ink.BRIGHT)
        return glyphs

    def _where(self, state: RunState, width: int) -> list[Piece]:
        link = self._link
        total = f" / {state.max_steps:,}" if state.max_steps is not None else ""
        digits = len(f"{state.max_steps:,}") if state.max_steps is not None else 1
        pieces: list[Piece] = [(" step ", ink.DIM), (f"{state.step:>{digits},}", ink.BRIGHT), (total, ink.DIM)]
        parts: list[list[Piece]] = [
            [("   ", ink.DIM), (fmt.clock(link.position), ink.TEXT), (f" of {fmt.clock(link.length)}", ink.DIM)],
            [("   ", ink.DIM), (_date(state.last_time), ink.TEXT)],
        ]
        if not link.complete:
            parts.insert(0, [(f"   reading {100 * link.share_read:3.0f} %", ink.WARNING)])
        if link.unreadable:
            parts.append([(f"   {link.unreadable:,} lines are no events", ink.WARNING)])
        for part in parts:
            if width_of([*pieces, *part]) <= width:
                pieces += part
        return pieces

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self.capture_mouse()
        self._move(event)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if event.button:
            self._move(event)

    def on_mouse_up(self) -> None:
        self.release_mouse()

    def _move(self, event: events.MouseEvent) -> None:
        cells = self.size.width - EDGE - 1
        if cells >= 10:
            self.post_message(self.Moved(min(1.0, max(0.0, (event.x - EDGE) / max(1, cells - 1)))))


class ReplayKeys(KeyBar):
    """The keys that move a replay."""

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        left: list[Piece] = []
        leave: list[Piece] = [(" q ", ink.BRIGHT), ("leave ", ink.DIM)]
        for key, what in (
            ("space", "play"), ("← →", "1 %"), (", .", "step"), ("e", "evaluation"), ("- +", "speed"), (":", "to step"),
            ("home end", ""), ("v", "log"), ("R", "runs"), ("?", "help"),
        ):  # fmt: skip
            piece: list[Piece] = [(f" {key} ", ink.BRIGHT), (f"{what} " if what else "", ink.DIM)]
            if width_of([*left, *piece, *leave]) <= width:
                left += piece
        return [row(width, [*left, *leave], [])]


def _cell(clock: float, whole: float, cells: int) -> int:
    return min(cells - 1, max(0, int(clock / whole * cells))) if whole else 0


def _date(time: float | None) -> str:
    return fmt.UNKNOWN if time is None else f"{datetime.fromtimestamp(time):%Y-%m-%d %H:%M:%S}"
