"""The first two rows: which run, on what, how far, and in letters to read from across the room what it is doing."""

from __future__ import annotations

from rich.style import Style
from textual.strip import Strip

from cockpit import format as fmt
from cockpit.places import LOWEST, NARROWEST
from cockpit.sanitize import clean_line
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.diagnosed import counted
from cockpit.widgets.instruments import short_dtype
from cockpit.widgets.rows import Piece, RowsWidget, fit, row, width_of


class Header(RowsWidget):
    """Profile and run, device, state, step and time left; below, a line that fills up.

    Args:
        profile: the profile's name.
        run: the run's name.
    """

    DEFAULT_CSS = "Header { height: 2; }"

    def __init__(self, profile: str, run: str, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._profile, self._run = clean_line(profile), clean_line(run)
        self.standing = ""
        """How this screen stands to the run, where it does not simply steer it."""

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        if height == 1 and (self.app.size.height < LOWEST or self.app.size.width < NARROWEST):
            return [one_line(state, width)]
        right = self._right(state, width)
        left = self._left(state, width - width_of(right) - 2)
        return [row(width, left, right), progress(state, width)]

    def _left(self, state: RunState, room: int) -> list[Piece]:
        name: list[Piece] = [(" ", ink.TEXT), (self._profile, ink.BRIGHT)]
        run: list[Piece] = [(" · ", ink.FAINT), (self._run, ink.TEXT)]
        device: list[Piece] = []
        if state.started:
            parts = [clean_line(state.started.device), short_dtype(state.started.dtype)]
            parts += ["compiled"] if state.started.compiled else []
            device = [("   " + "  ".join(parts), ink.DIM)]
        for pieces in ([*name, *run, *device], [*name, *run], name):
            if width_of(pieces) <= room:
                return pieces
        return fit(name, room)

    def _right(self, state: RunState, width: int) -> list[Piece]:
        word: list[Piece] = [(f" {state.state.upper()} ", state_style(state.state))]
        detail = clean_line(state.detail)
        note: list[Piece] = [(f"{detail}  ", ink.DIM)] if detail and not state.is_final else []
        standing = clean_line(self.standing)
        what, _, _ = standing.partition(" · ")  # where there is no room for who steers, too: the step matters more
        word = [*counted(state.checkup), *word]
        in_brief = [(f"{what}  ", ink.WARNING), *word] if what else word
        word = [(f"{standing}  ", ink.WARNING), *word] if standing else word
        total = f" / {state.max_steps:,}" if state.max_steps is not None else ""
        digits = len(f"{state.max_steps:,}") if state.max_steps is not None else 6
        step: list[Piece] = [("  step ", ink.DIM), (f"{state.step:>{digits},}", ink.BRIGHT), (total, ink.DIM)]
        share = state.step / state.max_steps if state.max_steps else None
        done: list[Piece] = [(f"  {fmt.percent(share):>5}", ink.TEXT), (" %", ink.FAINT)]
        left = None if state.is_final else state.eta_seconds()
        eta: list[Piece] = [("  ETA ", ink.DIM), (f"{fmt.duration(left):>9} ", ink.TEXT)]
        if state.is_final:
            eta = [("  took ", ink.DIM), (f"{fmt.duration(state.wall or None):>8} ", ink.TEXT)]
        for pieces in (
            [*note, *word, *step, *done, *eta],
            [*word, *step, *done, *eta],
            [*word, *step, *done],
            [*in_brief, *step, *done, *eta],
            [*in_brief, *step, *done],
            [*in_brief, *step[1:]],
        ):
            if width_of(pieces) <= width * 0.8:
                return pieces
        return in_brief


def one_line(state: RunState, width: int) -> Strip:
    """All that a line can say of a run, the most wanted first."""
    total = f"/{state.max_steps:,}" if state.max_steps is not None else ""
    val = state.evaluation.val_loss if state.evaluation else None
    left = None if state.is_final else state.eta_seconds()
    parts: list[list[Piece]] = [
        [(state.state.upper(), state_style(state.state))],
        [(f" {state.step:,}", ink.BRIGHT), (total, ink.DIM)],
        [(" loss ", ink.DIM), (fmt.loss(state.smoothed_loss.last), ink.TRAIN)],
        [(" val ", ink.DIM), (fmt.loss(val), ink.VALIDATION)],
        [(" ETA ", ink.DIM), (fmt.duration(left), ink.TEXT)],
        [(f" {fmt.number(state.median_ms(), 1)}", ink.TEXT), (" ms/iter", ink.FAINT)],
    ]
    pieces: list[Piece] = []
    for part in parts:
        if pieces and width_of(pieces) + width_of(part) > width:
            break
        pieces += part
    return row(width, pieces)


def state_style(state: str) -> Style:
    """Letters on the state's colour."""
    return ink.on(ink.STATE_COLORS.get(state, ink.DIM_COLOR))


def progress(state: RunState, width: int) -> Strip:
    """A line across the screen, bright as far as the run has come."""
    share = min(1.0, state.step / state.max_steps) if state.max_steps else 0.0
    filled = int(share * width)
    return row(
        width, [("━" * filled, Style(color=ink.STATE_COLORS.get(state.state))), ("─" * (width - filled), ink.RULE)]
    )
