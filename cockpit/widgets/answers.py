"""The texts that a question in the sample console led to, as they are written; those of a checkpoint beside them."""

from __future__ import annotations

from textual.strip import Strip

from cockpit.gallery import Shot
from cockpit.sanitize import clean
from cockpit.state import RunState, SampleRecord
from cockpit.widgets import ink
from cockpit.widgets.panes import wrap
from cockpit.widgets.rows import Piece, RowsWidget, columns, row, rule
from cockpit.widgets.tokens import head, layout, legend

GAP = 3
LONGEST = 20_000
"""Characters that are laid out of a text that is being written: its end is what shows."""


class Answers(RowsWidget):
    """Follows the end while something is written, and shows the beginning once it is done, until it is scrolled."""

    DEFAULT_CSS = "Answers { height: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self.since: int | None = None
        """Samples up to this number are not shown; None: the newest alone is."""
        self.prompt: str | None = None
        """What is asked to be continued: what is drawn by itself meanwhile is left out. None: nothing was asked yet."""
        self.scores = True
        """Whether tokens have the colour of their probability, where that is known."""
        self._top: int | None = None  # first row shown; None: it is not scrolled
        self._first = 0  # the first row that was shown last
        self._page = 1
        self._laid: dict[tuple, list[list[Piece]]] = {}

    def scroll(self, pages: int) -> None:
        """Moves the texts by pages."""
        self._top = self._first + pages * max(1, self._page - 1)
        self.redraw()

    def follow(self, since: int, prompt: str) -> None:
        """Shows what comes after sample number `since` and continues a prompt."""
        self.since, self.prompt, self._top = since, prompt, None
        self.redraw()

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        since = self.since
        if since is None:
            since = state.samples[-1].number - 1 if state.samples else 0
        asked = [sample for sample in state.samples if sample.number > since]
        samples = [sample for sample in asked if self.prompt is None or sample.prompt == self.prompt]
        if not samples:
            return [rule(width), row(width, [(" enter samples; what is written comes here", ink.FAINT)])]
        shots = {s.number: s for shots in state.gallery.by_prompt.values() for s in shots}
        pairs = _pairs(samples)
        each = (width - 2 - GAP) // 2 if any(other for _, other in pairs) else width - 2
        lines: list[Strip] = []
        for one, other in pairs:
            texts = [self._text(sample, shots.get(sample.number), each) for sample in (one, other) if sample]
            lines.append(rule(width))
            for number in range(max(len(text) for text in texts)):
                cells = [(text[number] if number < len(text) else [], each) for text in texts]
                lines.append(columns(cells, width, GAP))
        is_scored = self.scores and any(s.number in shots and shots[s.number].scored for s in samples)
        foot = [legend(width)] if is_scored and height > 6 else []
        self._page = max(1, height - len(foot))
        last = max(0, len(lines) - self._page)
        wanted = self._top if self._top is not None else 0 if all(sample.done for sample in samples) else last
        self._first = max(0, min(wanted, last))
        shown = lines[self._first : self._first + self._page]
        shown += [row(width, [])] * (self._page - len(shown))
        return [*shown, *foot]

    def _text(self, sample: SampleRecord, shot: Shot | None, width: int) -> list[list[Piece]]:
        """Head and lines of a sample, done or not."""
        if shot is None or not sample.done:
            about = [(f"  step {sample.step:,}", ink.TEXT), (f"  sample {sample.number}  ", ink.FAINT)]
            written = [(clean(sample.prompt), ink.DIM), (clean(sample.text[-LONGEST:]), ink.TEXT), ("▌", ink.TRAIN)]
            return [about, [("  writing", ink.TRAIN)], *wrap(written, width)]
        key = (sample.number, width, self.scores, bool(shot.scored))
        if key not in self._laid:
            if len(self._laid) > 64:
                self._laid.clear()
            lines = layout(sample.prompt, shot, width, colored=self.scores, cursor=None)
            self._laid[key] = [head(shot, False, 0), head(shot, False, 1), *lines]
        return self._laid[key]


def _pairs(samples: list[SampleRecord]) -> list[tuple[SampleRecord, SampleRecord | None]]:
    """Each sample by the present weights, and the one by a checkpoint that belongs to it."""
    beside = {sample.beside: sample for sample in samples if sample.beside is not None}
    return [(sample, beside.get(sample.number)) for sample in samples if sample.beside is None]
