"""Every key, and how to read the screen. Rows like all that is drawn often: as tables it took 140 ms to open."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from textual import events
from textual.strip import Strip
from textual.widget import Widget

from cockpit.screens.view import View
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.chart import MARKERS
from cockpit.widgets.panes import WHEEL_ROWS
from cockpit.widgets.rows import Piece, RowsWidget, columns, row, rule, width_of
from cockpit.widgets.timebar import PHASES

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

_READING: tuple[tuple[str, str], ...] = (
    ("loss", "Nats per token. The band reaches from the least to the greatest loss in each column, so that a spike of "
     "one step stays visible; ↑ points at what is above the scale."),
    ("val loss", "Estimated with dropout off; ± is its standard error. perplexity = e^val loss."),
    ("ms/iter", "Median of the newest steps: training and waiting for data, nothing else."),
    ("MFU", "Share of the device's peak that the model's arithmetic uses (6N + 12·L·H·Q·T per token). Where no "
     "datasheet gives the peak, it is measured with a large matrix product, and says so."),
    ("goodput", "Share of all time spent training."),
    ("screen", "CPU time of this screen; it draws less often before it takes more than screen.cpu_budget."),
    ("–", "Unknown."),
)  # fmt: skip


TITLE = "Keys, and how to read the screen"
_KEY = 11
"""Cells of a key and the space behind it."""
_GAP = 4
_TWO_COLUMNS = 150
"""Columns from which the entries stand in two."""

Told = tuple[str, str, str]
"""A key, or nothing where the palette alone knows the way; the name of what it does; and what that is."""
Entry = list[list[Piece]]
"""A key or a word and what it means: its rows."""
Line = tuple[list[Piece], ...]
"""A row: its cells."""


def show_help(app: CockpitApp) -> None:
    """Opens the help."""
    app.open(HelpScreen(app.main.keys_told()))


class HelpScreen(View[None]):
    """Keys, markers, patterns and words.

    Args:
        told: (key, name, what it does) of all that the screen below obeys.
    """

    BINDINGS: ClassVar = [
        ("question_mark,enter,space", "close", "close"),
        ("down,j", "scroll(1)", "down"),
        ("up,k", "scroll(-1)", "up"),
        ("pagedown", "page(1)", "page down"),
        ("pageup", "page(-1)", "page up"),
        ("home", "page(-1000)", "to the top"),
        ("end", "page(1000)", "to the end"),
    ]

    def __init__(self, told: tuple[Told, ...]) -> None:
        super().__init__(TITLE, [("↑ ↓", "scroll"), ("page ↑ ↓", "by pages")])
        self._pages = _Pages(told)

    def body(self) -> Iterable[Widget]:
        yield self._pages

    def show_body(self, state: RunState) -> bool:
        return self._pages.show(state)

    def action_scroll(self, by: int) -> None:
        """Moves the text by rows."""
        self._pages.scroll_rows(by)

    def action_page(self, by: int) -> None:
        """Moves the text by pages."""
        self._pages.scroll_rows(by * max(1, self._pages.size.height - 2))


class _Pages(RowsWidget):
    """All entries; the last row says how many rows come below."""

    DEFAULT_CSS = "_Pages { height: 1fr; }"
    at_once = True

    def __init__(self, told: tuple[Told, ...]) -> None:
        super().__init__()
        self._told = told
        self._top = 0
        self._place: tuple[int, int, int] | None = None
        self._shown: list[Strip] = []

    def scroll_rows(self, by: int) -> None:
        """Moves by so many rows."""
        most = max(0, len(self._lines(self.size.width)) - self.size.height + 1)
        self._top = max(0, min(most, self._top + by))
        self.redraw()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_rows(-WHEEL_ROWS)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_rows(WHEEL_ROWS)

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        place = (width, height, self._top)
        if place != self._place:
            self._place, self._shown = place, self._strips(width, height)
        return self._shown

    def _strips(self, width: int, height: int) -> list[Strip]:
        lines = self._lines(width)
        if len(lines) <= height:
            return [_strip(line, width) for line in lines]
        shown = lines[self._top : self._top + height - 1]
        left = len(lines) - self._top - len(shown)
        more = rule(width, [], [(f"↓ {left} more rows", ink.DIM)] if left else [])
        return [*(_strip(line, width) for line in shown), more]

    def _lines(self, width: int) -> list[Line]:
        return lines(width, self._told)


@lru_cache(maxsize=2)
def lines(width: int, told: tuple[Told, ...]) -> list[Line]:
    """Everything there is to say, laid out in a width: of each row its cells, one or two. Only what is in view is made
    a strip of: that takes longer than all the rest.

    Args:
        told: the keys, as HelpScreen has them.
    """
    count = _count(width)
    each = _each(width)
    entries = [_entry(key or "ctrl+p", f"{name}. ", does, each) for key, name, does in told]
    curves = [("⣿", ink.RAW, "train"), ("━", ink.TRAIN, "smoothed"), ("●", ink.VALIDATION, "val")]
    phases = [(glyph, style, word) for word, glyph, style in PHASES.values()]
    glyphs = [*_glyphs("chart", [*curves, *MARKERS.values()], each), *_glyphs("time bar", phases, each)]
    words = [_entry(word, "", meaning, each) for word, meaning in _READING]
    reading: Entry = [[], *glyphs, [], *(line for entry in words for line in entry)]
    listed = [line for entry in entries for line in entry]
    if count == 1:
        return [(line,) for line in [[], *listed, *reading]]
    half = (len(listed) + len(reading)) / 2
    split = 0
    for entry in entries:  # an entry stays whole
        if split < half:
            split += len(entry)
    left, right = [[], *listed[:split]], [[], *listed[split:], *reading]
    left += [[]] * (len(right) - len(left))
    right += [[]] * (len(left) - len(right))
    return [*zip(left, right, strict=True)]


def _count(width: int) -> int:
    """Columns in which the entries stand."""
    return 2 if width >= _TWO_COLUMNS else 1


def _each(width: int) -> int:
    """Cells of one of them."""
    return (width - 2 - _GAP * (_count(width) - 1)) // _count(width)


def _strip(line: Line, width: int) -> Strip:
    if len(line) == 1:
        return row(width, [(" ", ink.TEXT), *line[0]])
    return columns([(cell, _each(width)) for cell in line], width, _GAP)


def _entry(word: str, name: str, meaning: str, width: int) -> Entry:
    """A word, its name and what it means; the text stands to the right of the word in all rows."""
    rows = _wrapped(name + meaning, max(20, width - _KEY))
    first: list[Piece] = [(f"{word:<{_KEY}}", ink.BRIGHT), (name, ink.TEXT), (rows[0][len(name) :], ink.DIM)]
    return [first, *([(" " * _KEY, ink.TEXT), (text, ink.DIM)] for text in rows[1:])]


def _wrapped(text: str, width: int) -> list[str]:
    """Words in lines of `width` characters; a longer word has a line of its own. A tenth of what textwrap takes."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _glyphs(word: str, items: Iterable[tuple[str, Style, str]], width: int) -> Entry:
    """What each glyph stands for, as many to a row as fit."""
    rows: Entry = [[(f"{word:<{_KEY}}", ink.BRIGHT)]]
    for glyph, style, name in items:
        piece: list[Piece] = [(glyph, style), (f" {name}  ", ink.DIM)]
        if width_of(rows[-1]) + width_of(piece) > width:
            rows.append([(" " * _KEY, ink.TEXT)])
        rows[-1] += piece
    return rows
