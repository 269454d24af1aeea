"""The learning-rate range test: its loss by rate as it is made, and the rate that it suggests."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from cockpit import format as fmt
from cockpit.rangetest import RangeTestRecord
from cockpit.screens.view import View
from cockpit.state import RunState
from cockpit.widgets import ink, plot
from cockpit.widgets.rows import Piece, RowsWidget, row
from gpt.commands import BreakOff, RangeTest, SetConfig
from gpt.config import Profile, replace
from gpt.schedule import learning_rate
from gpt.steering import rate_changes

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

STEPS = (20, 50, 100, 200, 500)
"""Lengths of a test to choose from."""

_AXIS = 8
_MARK = Style(color=ink.WARNING_COLOR, bold=True)


def range_test(app: CockpitApp) -> None:
    """Shows the newest range test and offers another."""
    app.open(RangeTestView(app))


class RangeTestView(View[None]):
    """Starts a range test, draws it, and takes its suggestion."""

    BINDINGS: ClassVar = [
        ("enter", "begin", "begin"),
        ("up,k,right", "steps(1)", "longer"),
        ("down,j,left", "steps(-1)", "shorter"),
        ("x", "break_off", "give up"),
        ("y", "take", "take"),
    ]

    def __init__(self, app: CockpitApp) -> None:
        keys = [("enter", "begin"), ("↑ ↓", "steps"), ("x", "give up"), ("y", "take the suggestion")]
        super().__init__("learning-rate range test", keys)
        self._app = app
        self.length = STEPS.index(100)
        self._curve, self._words = _Curve(), _Words(self)

    def body(self) -> Iterable[Widget]:
        yield self._curve
        yield self._words

    def show_body(self, state: RunState) -> bool:
        return any([self._curve.show(state), self._words.show(state)])

    @property
    def now(self) -> Profile:
        """The settings in force."""
        return replace(self._app.link.profile, self._app.settings)

    def action_begin(self) -> None:
        """Begins a test, where none is under way and the run goes on."""
        test = self.shows.range_test
        if self._app.state.is_final:
            self._say("the run has ended", "warning")
        elif test and test.done is None and self._app.state.state == "testing":
            self._say("a test is under way: x gives it up", "warning")
        else:
            self._app.send(RangeTest(steps=STEPS[self.length]))
            self._say("testing from the next step boundary on")

    def action_steps(self, by: int) -> None:
        """Another length for the next test."""
        self.length = min(max(0, self.length + by), len(STEPS) - 1)
        self.show(self.shows)

    def action_break_off(self) -> None:
        """Gives up the test that is under way."""
        if self._app.state.state == "testing":
            self._app.send(BreakOff())
            self._say("giving up after this step")
        else:
            self._say("no test is under way", "warning")

    def action_take(self) -> None:
        """Trains on with what the newest test suggests, from the next step on."""
        test = self.shows.range_test
        if test is None or test.done is None or test.done.suggestion is None:
            self._say("there is no suggestion to take", "warning")
            return
        now = self.now
        changes = rate_changes(now, test.done.suggestion / now.optim.learning_rate)
        self._app.send(SetConfig(changes=changes | {"optim.learning_rate": test.done.suggestion}))
        self._say(f"optim.learning_rate → {test.done.suggestion:.1e} from the next step on")

    def _say(self, text: str, level: str = "info") -> None:
        self._app.say(text, level)
        self.show(self._app.state)


class _Words(RowsWidget):
    """What a test will do or has done, and what the suggestion means for this run."""

    DEFAULT_CSS = "_Words { height: 6; }"

    def __init__(self, view: RangeTestView) -> None:
        super().__init__()
        self._view = view

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        lines = [*self._result(state), self._plan(state)]
        return [Strip.blank(width), *(row(width, [(" ", ink.TEXT), *line]) for line in lines)]

    def _plan(self, state: RunState) -> list[Piece]:
        now, steps, median = self._view.now.optim.learning_rate, STEPS[self._view.length], state.median_ms()
        takes = f", about {fmt.duration(steps * median / 1e3)} at most" if median else ""
        span = f"{fmt.scientific(now / 100)} … {fmt.scientific(now * 100)}"
        return [*_label("next"), (f"{steps} steps", ink.BRIGHT), (f", {span}{takes}; the run waits", ink.DIM)]

    def _result(self, state: RunState) -> list[list[Piece]]:
        test = state.range_test
        if test is None:
            why = "each step at a higher rate, on other data, until the loss diverges; then all is put back"
            return [[*_label("test"), (why, ink.DIM)]]
        where: list[Piece] = [*_label("test"), (f"at step {test.started.step:,}", ink.TEXT)]
        if test.done is None:
            rate = f", {len(test.loss)} of {test.started.steps} steps, now at {fmt.scientific(test.last_rate)}"
            return [[*where, (rate, ink.DIM)]]
        done = test.done
        ending = f"diverged at {fmt.scientific(done.diverged_at)}" if done.diverged_at else "did not diverge"
        took = f", {done.points} steps in {fmt.duration(done.seconds)}; the loss {ending}"
        first = [*where, (took, ink.DIM)]
        if done.suggestion is None:
            return [first, [*_label("suggests"), ("nothing: ", ink.WARNING), (done.rule, ink.DIM)]]
        words: list[Piece] = [(fmt.scientific(done.suggestion), ink.BRIGHT), (f" by {done.rule}", ink.DIM)]
        return [first, [*_label("suggests"), *words], [*_label(""), *self._meaning(state, done.suggestion)]]

    def _meaning(self, state: RunState, suggestion: float) -> list[Piece]:
        """What the suggestion would change."""
        now = self._view.now
        after = replace(now, rate_changes(now, suggestion / now.optim.learning_rate))
        rate = learning_rate(state.step, after.optim, after.train.max_steps)
        here = fmt.scientific(now.optim.learning_rate)
        pieces: list[Piece] = [("it is ", ink.DIM), (here, ink.TEXT), (" now", ink.DIM)]
        if not math.isclose(rate, suggestion, rel_tol=1e-3):
            pieces.append((f"; the schedule makes of the suggestion {fmt.scientific(rate)}", ink.DIM))
        return pieces


def _label(word: str) -> list[Piece]:
    return [(f"{word:<10}", ink.DIM)]


class _Curve(RowsWidget):
    """Loss by the logarithm of the rate."""

    DEFAULT_CSS = "_Curve { height: 1fr; min-height: 4; }"

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        test = state.range_test
        if test is None or not len(test.loss):
            words = "enter begins a test" if test is None else "waiting for the first step"
            rows = [Strip.blank(width)] * height
            rows[height // 2] = row(width, [(f"{words:^{width}}", ink.DIM)])
            return rows
        return draw(test, width, height)


def draw(test: RangeTestRecord, width: int, height: int) -> list[Strip]:
    """The plot with its axes: `height` rows of `width` cells."""
    cells, plot_rows = width - _AXIS, height - 2
    if cells < 8 or plot_rows < 1:
        return [Strip.blank(width)] * max(0, height)
    x0, x1 = math.log10(test.started.low), math.log10(test.started.high)
    low, high = plot.joined(*plot.envelope(np.log10(test.loss.x), test.loss.y, x0, x1, 2 * cells))
    smooth = plot.line(np.log10(test.smoothed.x), test.smoothed.y, x0, x1, 2 * cells)
    y0, y1, values = plot.scale(*_loss_range(test), plot_rows)
    chars = np.full((plot_rows, cells), " ")
    styles = np.full((plot_rows, cells), None, dtype=object)
    styles[:] = ink.TEXT
    labels: dict[int, str] = {}
    digits = max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9)) if len(values) > 1 else 2
    for value in values:
        at = int(plot.row_of(np.array(value), y0, y1, 4 * plot_rows)) // 4
        labels[at] = f"{value:.{digits}f}"
        chars[at], styles[at] = "┈", ink.RULE
    for rate, style, _ in _places(test):
        at = _cell(math.log10(rate), x0, x1, cells)
        chars[:, at], styles[:, at] = "┊", style
    raw = plot.braille(plot.dots(low, high, y0, y1, 4 * plot_rows))
    smoothed = plot.braille(plot.dots(*plot.joined(smooth, smooth), y0, y1, 4 * plot_rows))
    for pattern, style in ((raw, ink.RAW), (smoothed, ink.TRAIN)):
        for at in zip(*np.nonzero(pattern), strict=True):
            chars[at], styles[at] = chr(0x2800 + int(pattern[at])), style
    rows = [_strip(labels.get(number), chars[number], styles[number], width) for number in range(plot_rows)]
    return [*rows, _axis(test, x0, x1, cells, width), _labels(test, x0, x1, cells, width)]


def _loss_range(test: RangeTestRecord) -> tuple[float, float]:
    """From the least loss to a nat above the greatest smoothed one before it diverges: what is higher is cut off."""
    y = test.loss.y[np.isfinite(test.loss.y)]
    smoothed = test.smoothed.y[np.isfinite(test.smoothed.y)]
    if not len(y) or not len(smoothed):
        return 0.0, 1.0
    bottom, top = float(min(y.min(), smoothed.min())), float(smoothed.max())
    span = max(top - bottom, 0.05)
    return bottom - 0.05 * span, bottom + 1.15 * span


def _places(test: RangeTestRecord) -> list[tuple[float, Style, str]]:
    """(rate, style, word) of what is marked, within the range."""
    done = test.done
    places: list[tuple[float | None, Style, str]] = [
        (test.started.present, ink.DIM, "now"),
        (done.diverged_at if done else None, ink.CRITICAL, "diverged"),
        (done.suggestion if done else None, _MARK, "suggested"),
    ]
    low, high = test.started.low, test.started.high
    return [(rate, style, word) for rate, style, word in places if rate is not None and low <= rate <= high]


def _cell(x: float, x0: float, x1: float, cells: int) -> int:
    return min(cells - 1, max(0, int((x - x0) / (x1 - x0) * cells)))


def _strip(label: str | None, chars: Any, styles: Any, width: int) -> Strip:
    segments = [Segment(f"{label or '':>{_AXIS - 2}} ", ink.FAINT), Segment("┤" if label else "│", ink.RULE)]
    start = 0
    for at in range(1, len(chars) + 1):
        if at == len(chars) or styles[at] is not styles[start]:
            segments.append(Segment("".join(chars[start:at]), styles[start]))
            start = at
    return Strip(segments, width)


def _axis(test: RangeTestRecord, x0: float, x1: float, cells: int, width: int) -> Strip:
    glyphs: list[Piece] = [("─", ink.RULE)] * cells
    for power in range(math.ceil(x0 - 1e-9), math.floor(x1 + 1e-9) + 1):
        glyphs[_cell(power, x0, x1, cells)] = ("┬", ink.RULE)
    for rate, style, word in _places(test):
        glyphs[_cell(math.log10(rate), x0, x1, cells)] = ("▲" if word == "suggested" else "△", style)
    return row(width, [(" " * (_AXIS - 1) + "└", ink.RULE), *glyphs])


def _labels(test: RangeTestRecord, x0: float, x1: float, cells: int, width: int) -> Strip:
    """The marks' words, and powers of ten where there is room beside them."""
    text, styles = [" "] * width, [ink.FAINT] * width
    powers = range(math.ceil(x0 - 1e-9), math.floor(x1 + 1e-9) + 1)
    unit = "rate"
    text[width - len(unit) - 1 : width - 1] = unit
    named = [(math.log10(rate), style, word) for rate, style, word in reversed(_places(test))]
    for x, style, word in [*named, *((float(power), ink.FAINT, f"1e{power}") for power in powers)]:
        centre = _AXIS + _cell(x, x0, x1, cells)
        start = min(max(0, centre - len(word) // 2), width - len(word) - 1)
        if all(char == " " for char in text[max(0, start - 1) : start + len(word) + 1]):
            text[start : start + len(word)] = word
            styles[start : start + len(word)] = [style] * len(word)
    return row(width, [(char, style) for char, style in zip(text, styles, strict=True)])
