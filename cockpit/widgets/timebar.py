"""The time ledger as a stacked bar: where every second of the run has gone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from rich.style import Style
from textual.strip import Strip

from cockpit import format as fmt
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.rows import Piece, RowsWidget, row, width_of

PHASES: dict[str, tuple[str, str, Style]] = {
    "train": ("train", "█", ink.WORK),
    "data": ("data", "▒", ink.WARNING),
    "evaluate": ("eval", "▓", Style(color=ink.VALIDATION_COLOR)),
    "checkpoint": ("save", "▚", Style(color=ink.TRAIN_COLOR)),
    "sample": ("sample", "░", Style(color=ink.TRAIN_COLOR)),
    "paused": ("paused", "‖", ink.PAUSED),
    "compile": ("compile", "≡", ink.DIM),
    "startup": ("start", "▖", ink.DIM),
    "other": ("other", "·", ink.DIM),
}
"""Phase of gpt.events.PHASES → word, pattern, style. The patterns differ, so that the bar reads without colour."""


class TimeBar(RowsWidget):
    """Two rows: the bar with goodput, and the phases with seconds and per cent."""

    DEFAULT_CSS = "TimeBar { height: 2; }"

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        goodput: list[Piece] = [
            ("  goodput ", ink.DIM),
            (f"{fmt.percent(state.goodput):>5}", ink.TEXT),
            (" % ", ink.FAINT),
        ]
        label: list[Piece] = [
            (" time ", ink.DIM),
            (f"{fmt.duration(state.wall or None):>9}", ink.TEXT),
            ("  ", ink.TEXT),
        ]
        room = width - width_of(label) - width_of(goodput)
        if room < 10:
            return [row(width, [*label, *goodput])]
        return [row(width, [*label, *bar(state.ledger, room)], goodput), row(width, legend(state.ledger, width))]


def bar(seconds: Mapping[str, float], width: int) -> list[Piece]:
    """The phases side by side on exactly `width` cells; a phase of half a per cent or more gets a cell of its own."""
    return [
        (PHASES[phase][1] * cells, PHASES[phase][2]) for phase, cells in shares(seconds, width).items() if cells
    ] or [("─" * width, ink.RULE)]


def shares(seconds: Mapping[str, float], width: int, least: float = 0.005) -> dict[str, int]:
    """Cells of each phase; they add up to `width` (largest remainders), or to 0 where nothing has been measured.

    Args:
        least: share from which on a phase gets a cell, however narrow it is.
    """
    total = sum(seconds.get(phase, 0.0) for phase in PHASES)
    if total <= 0:
        return {}
    exact = np.array([seconds.get(phase, 0.0) / total * width for phase in PHASES])
    cells = np.floor(exact).astype(int)
    cells[(cells == 0) & (exact >= least * width)] = 1
    while cells.sum() < width:
        cells[np.argmax(exact - cells)] += 1
    while cells.sum() > width:
        cells[np.argmax(cells)] -= 1
    return dict(zip(PHASES, cells.tolist(), strict=True))


def legend(seconds: Mapping[str, float], width: int) -> list[Piece]:
    """Pattern, word, per cent and time of each phase that took any, as in the bar; shorter where there is less room."""
    total = sum(seconds.values())
    present = [phase for phase in PHASES if seconds.get(phase, 0.0) > 0]
    if total <= 0:
        return []
    for digits, unit, with_seconds in ((1, " %", True), (1, " %", False), (0, "", False)):
        shown: list[Piece] = [(" ", ink.TEXT)]
        for phase in present:
            word, glyph, style = PHASES[phase]
            share = fmt.percent(seconds[phase] / total, digits)
            spent = f"  {fmt.duration(seconds[phase])}   " if with_seconds else "  "
            shown += [(glyph, style), (f" {word} ", ink.DIM), (share, ink.TEXT), (unit + spent, ink.FAINT)]
        shown[-1] = (shown[-1][0].rstrip() or " %", ink.FAINT)
        if width_of(shown) <= width:
            break
    return shown
