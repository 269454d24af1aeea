"""Every key, and how to read the screen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from rich.table import Table
from textual.widget import Widget
from textual.widgets import Static

from cockpit.actions import ACTIONS
from cockpit.screens.modal import Box, hints, text
from cockpit.widgets import ink
from cockpit.widgets.chart import MARKERS
from cockpit.widgets.rows import Piece
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


def show_help(app: CockpitApp) -> None:
    """Opens the help."""
    app.open(HelpScreen())


class HelpScreen(Box[None]):
    """Keys, markers, patterns and words."""

    BINDINGS: ClassVar = [
        ("question_mark,q,enter,space", "close", "close"),
        ("down,j", "scroll(1)", "down"),
        ("up,k", "scroll(-1)", "up"),
        ("pagedown", "scroll(10)", "page down"),
        ("pageup", "scroll(-10)", "page up"),
    ]

    def __init__(self) -> None:
        super().__init__(TITLE, hints(("↑ ↓", "scroll"), ("esc", "close")))

    def body(self) -> Iterable[Widget]:
        keys = [(action.key_label or "ctrl+p", action.label, action.help) for action in ACTIONS]
        yield Static(_table([(key, [(f"{label}. ", ink.TEXT), (what, ink.DIM)]) for key, label, what in keys]))
        curves = [("⣿", ink.RAW, "train"), ("━", ink.TRAIN, "smoothed"), ("●", ink.VALIDATION, "val")]
        phases = [(glyph, style, word) for word, glyph, style in PHASES.values()]
        glyphs = [("chart", _glyphs([*curves, *MARKERS.values()])), ("time bar", _glyphs(phases))]
        yield Static(_table(glyphs), classes="heading")
        yield Static(_table([(word, [(meaning, ink.DIM)]) for word, meaning in _READING]), classes="heading")

    def action_scroll(self, by: int) -> None:
        """Moves the text."""
        self.query_one("#box-body").scroll_relative(y=by, animate=False)


def _table(entries: Iterable[tuple[str, list[Piece]]]) -> Table:
    """Words and what they stand for, in two columns."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=9)
    table.add_column()
    for word, meaning in entries:
        table.add_row(text((word, ink.BRIGHT)), text(*meaning))
    return table


def _glyphs(items: Iterable[tuple[str, Style, str]]) -> list[Piece]:
    pieces: list[Piece] = []
    for glyph, style, word in items:
        pieces += [(glyph, style), (f" {word}  ", ink.DIM)]
    return pieces
