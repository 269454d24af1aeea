"""Rows of cells: how every widget of the cockpit draws.

A widget makes a list of Strips and hands it to `RowsWidget.show`, which repaints only the rows that changed: a repaint
costs CPU time that the trainer needs, and bytes on the line.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from cockpit.state import RunState
from cockpit.widgets import ink

SPAN_GAP = 12
"""Unchanged cells that are cheaper to send again than to jump over: moving the cursor takes about as many bytes."""

Piece = tuple[str, Style]
"""A text and its style. The text must be clean (cockpit.sanitize)."""


def width_of(pieces: Iterable[Piece]) -> int:
    """Cells that the pieces take."""
    return sum(cell_len(text) for text, _ in pieces)


def fit(pieces: Iterable[Piece], width: int) -> list[Piece]:
    """The pieces cut or padded to exactly `width` cells; where something is cut, the last cell says `…`."""
    fitted: list[Piece] = []
    left = width
    for text, style in pieces:
        length = cell_len(text)
        if length > left:
            cut = set_cell_size(text, left - 1) + "…" if left > 0 else ""
            fitted.append((cut, style))
            return [piece for piece in fitted if piece[0]]
        fitted.append((text, style))
        left -= length
    if left:
        fitted.append((" " * left, ink.TEXT))
    return fitted


def row(width: int, left: Iterable[Piece], right: Iterable[Piece] = ()) -> Strip:
    """A row with pieces at its left and its right end; where both do not fit, the left one is cut."""
    right = list(right)
    room = max(0, width - width_of(right))
    pieces = fit(left, room) + right
    return Strip([Segment(text, style) for text, style in fit(pieces, width)], width)


def rule(width: int, left: Iterable[Piece] = (), right: Iterable[Piece] = ()) -> Strip:
    """A dim line across, with words set into it: how sections begin."""
    left, right = list(left), list(right)
    if left:
        left = [("─ ", ink.RULE), *left, (" ", ink.RULE)]
    if right:
        right = [(" ", ink.RULE), *right, (" ─", ink.RULE)]
    line = width - width_of(left) - width_of(right)
    return row(width, [*left, ("─" * max(0, line), ink.RULE)], right)


def columns(cells: Iterable[tuple[list[Piece], int]], width: int, gap: int) -> Strip:
    """A row of cells, each with its own width, `gap` cells apart, one cell from the edge."""
    pieces: list[Piece] = [(" ", ink.TEXT)]
    for number, (cell, cell_width) in enumerate(cells):
        if number:
            pieces.append((" " * gap, ink.TEXT))
        pieces += fit(cell, cell_width)
    return row(width, pieces)


def changed_spans(old: Strip | None, new: Strip | None, width: int) -> list[tuple[int, int]]:
    """(start, end) cells in which two rows differ. Rows of the same build are compared piece by piece, others from
    their two ends; where there is only one row, all of it differs."""
    if old is None or new is None:
        return [(0, width)]
    before, after = list(old), list(new)
    if [len(segment.text) for segment in before] == [len(segment.text) for segment in after]:
        spans: list[tuple[int, int]] = []
        at = 0
        for one, other in zip(before, after, strict=True):
            end = at + other.cell_length
            if one != other:
                near = spans and at - spans[-1][1] < SPAN_GAP
                spans[-1:] = [(spans[-1][0], end)] if near else [*spans[-1:], (at, end)]
            at = end
        return spans
    start, end = 0, width
    for one, other in zip(before, after, strict=False):
        if one != other:
            break
        start += other.cell_length
    for one, other in zip(reversed(before), reversed(after), strict=False):
        if one != other or end - other.cell_length <= start:
            break
        end -= other.cell_length
    return [(start, end)]


class RowsWidget(Widget):
    """A widget that is a list of rows. Subclasses say what the rows are; this one repaints what changed of them."""

    DEFAULT_CSS = "RowsWidget { height: 1; width: 1fr; }"
    at_once: ClassVar[bool] = False
    """Whether its rows can be made when it is first painted; otherwise it is blank until it has heard of its size."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: list[Strip] = []
        self._state = RunState()
        self._drawn_size = Size(0, 0)
        self._ground: Style | None = None

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        """The rows for a state, at most `height` of them, each `width` cells wide."""
        raise NotImplementedError

    def begin(self, state: RunState) -> None:
        """Says what it is to show when it is first painted."""
        self._state = state

    def show(self, state: RunState) -> bool:
        """Draws a state; True where anything looks different from before."""
        self._state = state
        return self.redraw()

    def redraw(self) -> bool:
        """Makes the rows anew and repaints those that changed; True where there are any."""
        width, height = self.size
        if not (width and height and self.display):
            return False
        before, self._rows = self._rows, self._rows_at_this_size()
        if self._drawn_size != self.size:
            self._drawn_size = self.size
            self._ground = None
            self.refresh()
            return True
        changed = [
            Region(start, y, end - start, 1)
            for y, (old, new) in enumerate(zip_longest(before, self._rows))
            for start, end in changed_spans(old, new, width)
        ]
        if changed:
            self.refresh(*changed)
        return bool(changed)

    def _rows_at_this_size(self) -> list[Strip]:
        width, height = self.size
        return self.rows(self._state, width, height)[:height] if width > 1 else []

    def on_resize(self) -> None:
        self.redraw()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._ground = None

    def render_line(self, y: int) -> Strip:
        """A row as it was made last, on the widget's ground."""
        if self.at_once and self._drawn_size != self.size:
            self._rows, self._drawn_size, self._ground = self._rows_at_this_size(), self.size, None
        if self._ground is None:
            self._ground = self.rich_style  # walks up the tree of widgets, too slow for every row
        strip = self._rows[y] if y < len(self._rows) else Strip.blank(self.size.width)
        return strip.apply_style(self._ground)
