"""A letter on each number of the main screen; pressing it opens what there is to say about that number."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from rich.table import Table
from textual.app import ComposeResult
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from cockpit.doctor.evidence import Evidence, Host
from cockpit.explaining.explanation import Explanation
from cockpit.explaining.numbers import NUMBERS, explain
from cockpit.sanitize import clean, clean_line
from cockpit.screens.letters import Lettered
from cockpit.screens.modal import Box, hints, text
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.rows import Piece, RowsWidget, row, width_of
from gpt.config import replace

if TYPE_CHECKING:
    from cockpit.app import CockpitApp
    from cockpit.screens.main import MainScreen


def choose_number(app: CockpitApp) -> None:
    """Asks for a number by its letter, and explains it."""

    def chosen(number: str | None) -> None:
        if number is not None:
            app.open(ExplanationBox(app, number))
        app.frame(force=True)

    app.push_screen(LettersScreen(tiles(app.main)), chosen)


def tiles(main: MainScreen) -> dict[str, Region]:
    """Where each number stands on the screen, by its id."""
    found: dict[str, Region] = {}
    if main.instruments.display:
        at = main.instruments.region.offset
        found |= {number: place.translate(at) for number, place in main.instruments.tiles().items()}
    for widget, word, number in ((main.header, "ETA ", "eta"), (main.time, "goodput ", "goodput")):
        for y in range(widget.size.height if widget.display else 0):
            x = widget.render_line(y).text.find(word)
            if x > 0:
                found[number] = Region(x, y, widget.size.width - x, 1).translate(widget.region.offset)
    return found


def evidence_of(app: CockpitApp) -> Evidence:
    """All that is known of the run on the screen, with the settings in force."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Evidence(replace(app.link.profile, app.settings), app.state, host=Host(cores=cores))


class LettersScreen(Lettered):
    """The letters, each before its number; closes with the id of a number, or None for any other key.

    Args:
        places: where the numbers stand. Those that stand nowhere are named in the last row.
    """

    DEFAULT_CSS = """
    _Letter { width: 1; height: 1; position: absolute; }
    _Others { dock: bottom; }
    """

    def __init__(self, places: Mapping[str, Region]) -> None:
        known = {number: region for number, region in places.items() if number in NUMBERS}
        super().__init__(known, {number: each.letter for number, each in NUMBERS.items()})

    def compose(self) -> ComposeResult:
        for number, region in self.places.items():
            letter = _Letter(NUMBERS[number].letter)
            letter.styles.offset = (region.x - 1, region.y)
            yield letter
        yield _Others([number for number in NUMBERS if number not in self.places])


class _Letter(Static):
    def __init__(self, letter: str) -> None:
        super().__init__(text((letter, ink.on(ink.TRAIN_COLOR))))


class _Others(RowsWidget):
    """What the letters are for, and those of numbers that have no place on the screen."""

    def __init__(self, numbers: list[str]) -> None:
        super().__init__()
        self._numbers = numbers

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        pieces: list[Piece] = [(" a letter explains its number", ink.BRIGHT), ("  ", ink.DIM)]
        for number in self._numbers:
            more = [(f" {NUMBERS[number].letter}", ink.TRAIN), (f" {number.replace('_', ' ')} ", ink.DIM)]
            if width_of(pieces) + width_of(more) <= width:
                pieces += more
        return [row(width, pieces)]


class ExplanationBox(Box[None]):
    """What there is to say about one number; left and right lead to the others."""

    BINDINGS: ClassVar = [
        ("q,x,enter,space", "close", "close"),
        ("right,l,tab", "turn(1)", "next"),
        ("left,h,shift+tab", "turn(-1)", "previous"),
        ("down,j", "scroll(1)", "down"),
        ("up,k", "scroll(-1)", "up"),
        ("pagedown", "scroll(10)", "page down"),
        ("pageup", "scroll(-10)", "page up"),
    ]

    def __init__(self, app: CockpitApp, number: str) -> None:
        self._cockpit, self._number = app, number
        self._told = explain(evidence_of(app), number)
        super().__init__(_title(self._told), hints(("← →", "other numbers"), ("↑ ↓", "scroll"), ("esc", "close")))

    def body(self) -> Iterable[Widget]:
        yield Static(_table(self._told), id="explained")

    def action_turn(self, by: int) -> None:
        """Explains the next number, as it is by now."""
        numbers = list(NUMBERS)
        self._number = numbers[(numbers.index(self._number) + by) % len(numbers)]
        self._told = explain(evidence_of(self._cockpit), self._number)
        self.query_one("#box-title", Static).update(text((_title(self._told), ink.BRIGHT)))
        self.query_one("#explained", Static).update(_table(self._told))
        self.query_one("#box-body").scroll_home(animate=False)

    def action_scroll(self, by: int) -> None:
        """Moves the text."""
        self.query_one("#box-body").scroll_relative(y=by, animate=False)


def _title(told: Explanation) -> str:
    return clean_line(f"{told.name}  {told.value}")


def _table(told: Explanation) -> Table:
    """Headings and texts in two columns, a blank row between."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=15)
    table.add_column()
    for heading, said in told.sections:
        style = ink.TEXT if heading in ("computed", "this value") else ink.DIM
        if table.row_count:
            table.add_row("", "")
        table.add_row(text((heading, ink.BRIGHT)), text((clean(said), style)))
    return table
