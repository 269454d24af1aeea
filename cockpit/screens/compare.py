"""Runs beside each other on the screen: their curves, where they stand at equal footing, and why."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from textual.binding import BindingType
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from cockpit import format as fmt
from cockpit.comparing import report
from cockpit.comparing.comparison import Comparison, compare
from cockpit.comparing.entry import AXES, WORDS, Axis, Entry
from cockpit.comparing.reading import read
from cockpit.comparing.story import paragraph
from cockpit.references import REFERENCES
from cockpit.runs import list_runs
from cockpit.sanitize import clean_line
from cockpit.screens.view import View
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.overlay import RUNS, Overlay
from cockpit.widgets.rows import Piece, RowsWidget, row
from gpt.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from cockpit.app import CockpitApp

LOOK = 0.1
"""Seconds between two looks at whether the logs have been read."""
MOST_WORDS = 0.45
"""Share of the rows that table and text may take."""
MOST = 5
"""Chosen at a time: as many as have a colour."""


def choose(app: CockpitApp) -> None:
    """Asks which runs to compare, this one among them, and shows them."""
    runs_dir, here = app.link.run_dir.parent, app.link.run

    def chosen(names: Sequence[str] | None) -> None:
        if names:
            show(app, runs_dir, names)

    app.open(ChooseView(app, runs_dir, here), chosen)


def show(app: CockpitApp, runs_dir: Path, names: Sequence[str]) -> None:
    """Opens the comparison of some runs or references by their names."""
    app.open(CompareView(app, runs_dir, names))


class ChooseView(View[Sequence[str]]):
    """Runs and references to mark; closes with their names, in the order of marking.

    Args:
        here: the run that is marked at first.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("up,k", "move(-1)", "up"), ("down,j", "move(1)", "down"), ("pageup", "move(-10)", "up"),
        ("pagedown", "move(10)", "down"), ("m", "mark", "mark"), ("enter,equals_sign", "done", "compare"),
    ]  # fmt: skip

    def __init__(self, app: CockpitApp, runs_dir: Path, here: str) -> None:
        super().__init__("compare which", [("↑↓", "move"), ("m", "mark"), ("enter", "compare")])
        self._cockpit = app
        names = [run.name for run in reversed(list_runs(runs_dir)) if run.name != here]
        self.list = _Candidates([here, *names], list(REFERENCES))
        self.list.marked = [here]

    def body(self) -> Iterable[Widget]:
        yield self.list

    def show_body(self, state: RunState) -> bool:
        return self.list.show(state)

    def action_move(self, by: int) -> None:
        """Moves the bar."""
        self.list.at = min(max(0, self.list.at + by), len(self.list.names) - 1)
        self.list.redraw()

    def action_mark(self) -> None:
        """Marks what is under the bar, or takes its mark away."""
        name, marked = self.list.names[self.list.at], self.list.marked
        self.list.marked = [each for each in marked if each != name] if name in marked else [*marked, name][-MOST:]
        self.action_move(1)

    def action_done(self) -> None:
        """Compares what is marked, and what is under the bar where that is only one."""
        name, marked = self.list.names[self.list.at], self.list.marked
        chosen = marked if len(marked) > 1 or name in marked else [*marked, name]
        if len(chosen) > 1:
            self.dismiss(tuple(chosen))
        else:
            self._cockpit.say("two at least: m marks what is under the bar", "warning")
            self._cockpit.frame(force=True)


class _Candidates(RowsWidget):
    DEFAULT_CSS = "_Candidates { height: 1fr; }"

    def __init__(self, runs: Sequence[str], references: Sequence[str]) -> None:
        super().__init__()
        self.names = [*runs, *references]
        self.marked: list[str] = []
        self.at = min(1, len(self.names) - 1)
        self._runs = len(runs)

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        shown = [(number, name) for number, name in enumerate(self.names)]
        first = max(0, min(self.at - height // 2, len(shown) - height))
        return [self._row(number, name, width) for number, name in shown[first : first + height]]

    def _row(self, number: int, name: str, width: int) -> Strip:
        under, marked = number == self.at, name in self.marked
        order = f"{self.marked.index(name) + 1}" if marked else " "
        about = "this run" if not number else REFERENCES[name].about if number >= self._runs else ""
        style = ink.BRIGHT if under else ink.TEXT
        return row(width, [
            (" ▸ " if under else "   ", ink.TRAIN), (f"{order} ", ink.TRAIN), (clean_line(name), style),
            (f"  {about}", ink.FAINT),
        ])  # fmt: skip


class CompareView(View[None]):
    """The curves of some runs along one axis, a table at equal footing, and the paragraph of a pair.

    The logs are read once, on a thread; `r` reads them again.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("right", "turn(1)", "axis"), ("left", "turn(-1)", "axis"), ("l", "logarithmic", "log"),
        ("tab", "pair", "next pair"), ("up,k", "scroll(-1)", "up"), ("down,j", "scroll(1)", "down"),
        ("pageup", "scroll(-8)", "up"), ("pagedown", "scroll(8)", "down"), ("r", "read", "read again"),
    ]  # fmt: skip

    def __init__(self, app: CockpitApp, runs_dir: Path, names: Sequence[str]) -> None:
        keys = [("←→", "steps, tokens, FLOPs, seconds"), ("l", "log"), ("tab", "pair"), ("↑↓", "text"), ("r", "read")]
        super().__init__("compare", keys)
        self.plot, self.words = Overlay(), _Reasons()
        self._cockpit, self._runs_dir, self._names = app, runs_dir, list(dict.fromkeys(names))
        self._entries: list[Entry] = []
        self._errors: list[str] = []
        self._reading: threading.Thread | None = None
        self._timer: Timer | None = None

    def body(self) -> Iterable[Widget]:
        yield self.plot
        yield self.words

    def on_mount(self) -> None:
        self.action_read()

    def show_body(self, state: RunState) -> bool:
        rows = max(4, min(self.words.wanted(self.size.width), round(MOST_WORDS * self.size.height)))
        if self.words.styles.height is None or self.words.styles.height.cells != rows:
            self.words.styles.height = rows  # the plot has the rest
        return any([self.plot.show(state), self.words.show(state)])

    @property
    def is_reading(self) -> bool:
        """Whether it waits for the logs."""
        return self._reading is not None

    def action_read(self) -> None:
        """Reads the logs, beside the screen."""
        if self._reading and self._reading.is_alive():
            return
        self.plot.waiting = f"reading {len(self._names)} logs …"
        self._reading = threading.Thread(target=self._read, name="compare", daemon=True)
        self._reading.start()
        self._timer = self.set_interval(LOOK, self._look)

    def _read(self) -> None:
        entries, errors = [], []
        for name in self._names:
            try:
                entries.append(read(name, self._runs_dir))
            except (UserError, OSError) as error:
                errors.append(clean_line(str(error)))
        self._entries, self._errors = entries, errors

    def _look(self) -> None:
        if self._reading is None or self._reading.is_alive():
            return
        if self._timer:
            self._timer.stop()
        self._reading = None
        if len(self._entries) > 1:
            self.plot.comparison = self.words.comparison = compare(self._entries)
        self.plot.waiting = "; ".join(self._errors) or "nothing to compare"
        if self._errors:
            self._cockpit.say(self._errors[0], "warning")
        self._cockpit.frame(force=True)

    def action_turn(self, by: int) -> None:
        """Along another axis."""
        self.plot.axis = AXES[(AXES.index(self.plot.axis) + by) % len(AXES)]
        self.words.axis = self.plot.axis
        self.show(self.shows)

    def action_logarithmic(self) -> None:
        """The horizontal axis logarithmic, or not."""
        self.plot.logarithmic = not self.plot.is_logarithmic
        self.show(self.shows)

    def action_pair(self) -> None:
        """The paragraph of the first and another one."""
        self.words.pair += 1
        self.words.top = 0
        self.show(self.shows)

    def action_scroll(self, by: int) -> None:
        """Moves the text."""
        self.words.scroll(by)
        self.show(self.shows)


class _Reasons(RowsWidget):
    """At equal footing, then why, then the sittings: as much as there is room for, the rest by scrolling."""

    DEFAULT_CSS = "_Reasons { height: 45%; }"

    def __init__(self) -> None:
        super().__init__()
        self.comparison: Comparison | None = None
        self.axis: Axis = "tokens"
        self.pair = 0
        """Which of the others is explained beside the first."""
        self.top = 0
        self._key: tuple | None = None
        self._made: list[Strip] = []

    def scroll(self, by: int) -> None:
        """Moves by so many rows, not beyond the ends."""
        self.top = min(max(0, self.top + by), max(0, len(self._made) - self.size.height))

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        return self._all(width)[self.top : self.top + height]

    def wanted(self, width: int) -> int:
        """Rows that all of it takes."""
        return len(self._all(width)) if self.comparison else round(MOST_WORDS * self.app.size.height)

    def _all(self, width: int) -> list[Strip]:
        key = (self.comparison, self.axis, self.pair, width)
        if key != self._key:
            self._key, self._made = key, [row(width, line) for line in self._lines(width)]
        return self._made

    def _lines(self, width: int) -> list[list[Piece]]:
        found = self.comparison
        if found is None:
            return []
        made = (
            _table(report.at_common_ends(found), WORDS[self.axis], len(found.entries), width)
            if found.standing.ranked
            else []
        )
        if found.standing.why:
            made += _text(found.standing.why, ink.WARNING, width)
        first, *others = found.entries
        other = others[self.pair % len(others)]
        number = 1 + found.entries.index(other)
        made.append([(" 1", RUNS[0]), (" and ", ink.FAINT), (f"{number}", RUNS[(number - 1) % len(RUNS)])])
        made += _text(paragraph(first, other), ink.TEXT, width)
        for line in filter(None, map(report.sittings, found.entries)):
            made += [piece for each in line.split("\n") for piece in _text(each, ink.DIM, width)]
        return made


def _table(table: list[list[str]], word: str, entries: int, width: int) -> list[list[Piece]]:
    """The row of the axis that is drawn is bright. Where it is too wide, only the differences keep their errors; then
    the places their words, which the row's name has too, and the names of differences their second half."""
    lines = report.aligned(table).split("\n") if table else []
    if lines and max(map(len, lines)) >= width:
        losses = range(2, 2 + entries)
        table = [[cell.split(" ± ")[0] if column in losses else cell for column, cell in enumerate(each)]
                 for each in table]  # fmt: skip
        lines = report.aligned(table).split("\n")
    if lines and max(map(len, lines)) >= width:
        head, *rows = table
        head = [cell if " − " not in cell else f"{cell.split(' − ')[0]} − 1" for cell in head]
        rows = [[each[0], each[1].removesuffix(f" {each[0]}").removesuffix(" of training"), *each[2:]] for each in rows]
        lines = report.aligned([head, *rows]).split("\n")
    return [[(f" {clean_line(line)}", ink.DIM if not number else ink.BRIGHT if line.startswith(word) else ink.TEXT)]
            for number, line in enumerate(lines)]  # fmt: skip


def _text(text: str, style: Style, width: int) -> list[list[Piece]]:
    return [[(f" {line}", style)] for line in fmt.wrapped(clean_line(text), max(20, width - 2))]
