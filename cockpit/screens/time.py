"""Where the time went: over the whole run, over its last minutes, and through time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from textual.binding import BindingType
from textual.strip import Strip
from textual.widget import Widget

from cockpit import format as fmt
from cockpit.rollbook import RollBook, restart_text
from cockpit.screens.view import View
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.rows import Piece, RowsWidget, row, rule, width_of
from cockpit.widgets.timebar import PHASES, shares

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

SPANS = (60.0, 300.0, 900.0, 3600.0)
"""Seconds that `the last minutes` can be."""
LEAST = 0.05
"""Share of a column of the strips from which on a phase has a cell in it."""
NAME, SECONDS, SHARE = 9, 11, 8
"""Cells of a phase's name, of a duration, and of a share with its unit."""
RANK, MS = 11, 11
"""Cells of a rank's name, and of a time in ms."""


def show_time(app: CockpitApp) -> None:
    """Opens the view."""
    app.open(TimeView())


class TimeView(View[None]):
    """The ledger twice, and two strips of phases."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("left,minus", "span(-1)", "shorter"), ("right,plus", "span(1)", "longer"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__("time", [("← →", "fewer or more minutes"), ("space", "pause")])
        self._ledger = Ledger()

    def body(self) -> Iterable[Widget]:
        yield self._ledger

    def show_body(self, state: RunState) -> bool:
        return self._ledger.show(state)

    def action_span(self, by: int) -> None:
        """Looks back over less or more."""
        self._ledger.span = max(0, min(len(SPANS) - 1, self._ledger.span + by))
        self._ledger.redraw()


class Ledger(RowsWidget):
    """A row a phase, and the strips below them in what room there is."""

    DEFAULT_CSS = "Ledger { height: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self.span = 1
        """Which of SPANS."""

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        whole, wall = state.ledger, sum(state.ledger.values())
        if wall <= 0:
            return [row(width, [(" nothing has been timed yet", ink.FAINT)])]
        seconds = min(SPANS[self.span], wall)
        recent = state.timeline.since(seconds, whole)
        minutes = f"last {fmt.duration(seconds)}"
        lines = [row(width, []), *table(whole, recent, minutes, width)]
        if state.ranks.newest:
            lines += [row(width, []), *ranks_table(state.ranks, width)]
        lines.append(row(width, []))
        room = height - len(lines)
        strips = [("the whole run", 0.0), (f"the {minutes}", wall - seconds)]
        for place, (title, start) in enumerate(strips):
            share = room // 2 - 2 if place == 0 else room - (room // 2) - 2
            if share >= 1:
                lines += strip(state, title, start, wall, width, min(share, 12))
        return lines


def table(
    whole: Mapping[str, float], recent: Mapping[str, float], minutes: str, width: int
) -> list[Strip]:  # fmt: skip
    """A row for each phase that took any time: seconds and share, over the run and of late, and its bar."""
    wall, late = sum(whole.values()), sum(recent.values())
    numbers = 2 + NAME + 2 * (SECONDS + SHARE) + 4
    room = width - numbers - 2
    head: list[Piece] = [
        (" " * (2 + NAME), ink.DIM), (f"{'whole run':>{SECONDS + SHARE}}", ink.DIM), ("    ", ink.DIM),
        (f"{minutes:>{SECONDS + SHARE}}", ink.DIM),
    ]  # fmt: skip
    lines = [row(width, head)]
    for phase, (word, glyph, style) in PHASES.items():
        if whole.get(phase, 0.0) <= 0:
            continue
        pieces: list[Piece] = [(f" {glyph}", style), (f" {word:<{NAME - 1}}", ink.TEXT)]
        pieces += _amount(whole[phase], wall, ink.TEXT)
        pieces += [("    ", ink.TEXT), *_amount(recent.get(phase, 0.0), late, ink.BRIGHT)]
        if room >= 10:
            cells = min(room, round(recent.get(phase, 0.0) / late * room)) if late > 0 else 0
            pieces += [("  ", ink.TEXT), (glyph * cells, style), ("·" * (room - cells), ink.RULE)]
        lines.append(row(width, pieces))
    total: list[Piece] = [(" " * 2, ink.TEXT), (f"{'all':<{NAME}}", ink.DIM)]
    total += [*_amount(wall, wall, ink.TEXT), ("    ", ink.TEXT), *_amount(late, late, ink.BRIGHT)]
    goodput: list[Piece] = [("goodput ", ink.DIM), (fmt.percent(whole.get("train", 0.0) / wall), ink.TEXT)]
    goodput += [(" %, of late ", ink.DIM), (fmt.percent(recent.get("train", 0.0) / late if late else None), ink.BRIGHT)]
    goodput += [(" % ", ink.DIM)]
    if width_of(total) + width_of(goodput) + 2 <= width:
        return [*lines, row(width, total, goodput)]
    return [*lines, row(width, total), row(width, [(" ", ink.TEXT), *goodput])]


def _amount(seconds: float, of: float, style: Style) -> list[Piece]:
    share = fmt.percent(seconds / of if of > 0 else None)
    return [(f"{fmt.duration(seconds):>{SECONDS}}", style), (f"{share:>{SHARE - 2}}", style), (" %", ink.FAINT)]


def ranks_table(book: RollBook, width: int) -> list[Strip]:
    """What the ranks' steps took: the spread over all, then the slowest one by one; as many as there are, few rows."""
    newest = book.newest
    if newest is None:
        return []
    own = newest.own_ms
    heads = ["step", "data", "own"] if own else ["step", "data"]
    title = f"{newest.ranks:,} ranks, mean of {newest.steps:,} steps, ms"
    words = [("own: before it waits for another rank ", ink.DIM)] if own and width >= 90 else []
    lines = [rule(width, [(title, ink.TEXT)], words)]
    lines.append(row(width, [(" " * RANK, ink.DIM), *((f"{head:>{MS}}", ink.DIM) for head in heads)]))
    spreads = [newest.ms, newest.data_ms, *([own] if own else [])]
    for name in ("least", "median", "greatest"):
        figures = [fmt.number(getattr(spread, name), 1) for spread in spreads]
        pieces: list[Piece] = [(f" {name:<{RANK - 1}}", ink.TEXT)]
        lines.append(row(width, pieces + [(f"{figure:>{MS}}", ink.TEXT) for figure in figures]))
    slow = book.straggler()
    for time in newest.slowest:
        figures = [fmt.number(figure, 1) for figure in (time.ms, time.data_ms, time.own_ms)[: len(heads)]]
        pieces = [(f" {f'rank {time.rank}':<{RANK - 1}}", ink.DIM)]
        pieces += [(f"{figure:>{MS}}", ink.BRIGHT) for figure in figures]
        if slow and slow.rank == time.rank:
            pieces.append((f"  slowest in {slow.calls} of the last {slow.of}", ink.DIM))
        lines.append(row(width, pieces))
    if book.restarts:
        lines.append(row(width, [(f" {restart_text(book.restarts[-1])}", ink.DIM)]))
    return lines


def strip(state: RunState, title: str, start: float, end: float, width: int, height: int) -> list[Strip]:
    """Phases through time: each column is a stretch of the run, filled from below as its bar would be from the left."""
    room = width - 2
    stretches = state.timeline.columns(max(0.0, start), end, room)
    filled = [_stack(stretch, height) for stretch in stretches]
    lines = [rule(width, [(title, ink.TEXT)])]
    for line in range(height - 1, -1, -1):
        pieces: list[Piece] = [(" ", ink.TEXT)]
        for stack in filled:
            glyph, style = stack[line]
            if len(pieces) > 1 and pieces[-1][1] is style:
                pieces[-1] = (pieces[-1][0] + glyph, style)
            else:
                pieces.append((glyph, style))
        lines.append(row(width, pieces))
    left, right = fmt.clock(max(0.0, start)), fmt.clock(end)
    middle = fmt.clock((max(0.0, start) + end) / 2)
    gap = (room - len(left) - len(right) - len(middle)) // 2
    axis = f" {left}{' ' * gap}{middle}".ljust(width - 1 - len(right)) + right
    lines.append(row(width, [(axis, ink.FAINT)]))
    return lines


def _stack(stretch: Mapping[str, float], height: int) -> list[Piece]:
    """Glyph and style of each cell of a column, from below; `train` lies at the bottom."""
    cells = [
        (PHASES[phase][1], PHASES[phase][2])
        for phase, count in shares(stretch, height, LEAST).items()
        for _ in range(count)
    ]
    return cells or [("·", ink.RULE)] * height
