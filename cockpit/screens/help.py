"""Every key, and how to read the screen."""

from __future__ import annotations

from collections.abc import Iterable

from textual.widget import Widget
from textual.widgets import Static

from cockpit.actions import ACTIONS
from cockpit.screens.modal import Box, hints, text
from cockpit.widgets import ink
from cockpit.widgets.chart import MARKERS
from cockpit.widgets.rows import Piece
from cockpit.widgets.timebar import PHASES

_READING: tuple[tuple[str, str], ...] = (
    ("loss", "Nats per token. The shaded band reaches from the least to the greatest loss in each column, so that a spike "
     "of one step stays visible; ↑ points at what is above the scale."),
    ("val loss", "Estimated with dropout off; ± is its standard error. perplexity = e^val loss."),
    ("ms/iter", "Median of the newest steps: training and waiting for data, nothing else."),
    ("MFU", "Share of the device's peak that the model's arithmetic uses (6N + 12·L·H·Q·T per token). Where the datasheet's peak is "
     "unknown it is measured with a large matrix product, and says so."),
    ("goodput", "Share of all time spent training."),
    ("screen", "CPU time of this screen; it draws less often before it takes more than screen.cpu_budget."),
    ("–", "Unknown."),
)  # fmt: skip


class HelpScreen(Box[None]):
    """Keys, markers, patterns and words."""

    BINDINGS = [
        ("question_mark,q,enter,space", "close", "close"),
        ("down,j", "scroll(1)", "down"),
        ("up,k", "scroll(-1)", "up"),
        ("pagedown", "scroll(10)", "page down"),
        ("pageup", "scroll(-10)", "page up"),
    ]

    def __init__(self) -> None:
        super().__init__("Keys, and how to read the screen", hints(("↑ ↓", "scroll"), ("esc", "close")))

    def body(self) -> Iterable[Widget]:
        for action in ACTIONS:
            keys = (action.key_name or action.keys.replace(",", " ")).split()
            yield _entry(keys[0], action.label, action.help)
        yield Static(text(("on the chart  ", ink.DIM), *_glyphs(_chart_glyphs())), classes="heading")
        time = [(glyph, style, word) for word, glyph, style in PHASES.values()]
        yield Static(text(("in the time bar  ", ink.DIM), *_glyphs(time)), classes="heading")
        yield Static("", classes="heading")
        for word, meaning in _READING:
            yield _entry(word, "", meaning)

    def action_scroll(self, by: int) -> None:
        """Moves the text."""
        self.query_one("#box-body").scroll_relative(y=by, animate=False)


def _entry(key: str, label: str, meaning: str) -> Static:
    head: list[Piece] = [(f"{key:<10}", ink.BRIGHT)]
    if label:
        head.append((f"{label}. ", ink.TEXT))
    return Static(text(*head, (meaning, ink.DIM)), classes="entry")


def _chart_glyphs() -> list[tuple]:
    curves = [("⣿", ink.RAW, "train"), ("━", ink.TRAIN, "smoothed"), ("●", ink.VALIDATION, "val")]
    return [*curves, *MARKERS.values()]


def _glyphs(items: list[tuple]) -> list[Piece]:
    pieces: list[Piece] = []
    for glyph, style, word in items:
        pieces += [(glyph, style), (f" {word}   ", ink.DIM)]
    return pieces
