"""Many runs in one widget: a row each, the columns that there is room for, sorted, filtered, marked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.cells import cell_len
from rich.style import Style
from textual.strip import Strip

from cockpit import format as fmt
from cockpit.glance import Glance
from cockpit.sanitize import clean_line
from cockpit.state import RunState
from cockpit.widgets import ink, plot
from cockpit.widgets.diagnosed import counted
from cockpit.widgets.rows import Piece, RowsWidget, fit, row, width_of

GAP = 2
SHORTEST_NAME, ENOUGH, LONGEST_NAME = 18, 26, 44
"""Cells of the column of names: at least, in favour of another column, and at most."""
OVERLAID = " overlaid"
_LOSS = 7


class Column(NamedTuple):
    """A column of the table."""

    id: str
    title: str
    width: int
    rank: int
    """The narrower the terminal, the lower is the highest rank that is shown."""
    key: Callable[[Glance], Any]
    """What it sorts by; None is unknown and comes last."""
    cell: Callable[[Glance, int], list[Piece]]
    """Its pieces for a run in so many cells."""
    descending: bool = True
    """Whether its first sorting has the greatest on top."""


def _figure(name: str) -> Callable[[Glance], Any]:
    return lambda glance: glance.figures[name]


def _right(text: str, width: int, style: Style = ink.TEXT) -> list[Piece]:
    return [(f"{text:>{width}}", style)]


def _state(glance: Glance, width: int) -> list[Piece]:
    word = glance.figures["state"]
    mark: Piece = ("● ", ink.GOOD) if glance.live else ("  ", ink.TEXT)
    return [mark, (word, Style(color=ink.STATE_COLORS.get(word, ink.WARNING_COLOR)))]


def _share(glance: Glance) -> float | None:
    step, last = glance.figures["step"], glance.figures["max_steps"]
    return step / last if last else None


def _loss(glance: Glance, width: int) -> list[Piece]:
    room = width - _LOSS - 1
    parts = np.array_split(np.array(glance.losses), min(room, len(glance.losses))) if glance.losses else []
    curve = plot.sparkline(np.array([part.mean() for part in parts]), room)
    return [(curve, ink.RAW), (f" {fmt.loss(glance.loss):>{_LOSS}}", ink.TRAIN)]


def _doctor(glance: Glance, width: int) -> list[Piece]:
    pieces = counted(glance.checkup) or counted(glance.checkup, ("note",)) or [(f"{fmt.UNKNOWN} ", ink.FAINT)]
    pieces[-1] = (pieces[-1][0].rstrip(), pieces[-1][1])
    return [(" " * (width - width_of(pieces)), ink.TEXT), *pieces]


def _severity(glance: Glance) -> tuple[int, int, int] | None:
    counts = glance.checkup.counts
    return (counts["critical"], counts["warning"], counts["note"]) if glance.checkup.findings else None


def size_text(size: int) -> str:
    """Bytes, by thousands: `32.5 MB`."""
    value, letter = fmt.count(size)
    return f"{value} {letter}B"


def age_of(glance: Glance) -> float:
    """Seconds since its newest event."""
    return max(0.0, time.time() - glance.touched)


def _age(glance: Glance, width: int) -> list[Piece]:
    seconds = age_of(glance)
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return _right(f"{int(seconds // length):,} {unit}", width, ink.DIM)
    return _right("now", width, ink.GOOD if glance.live else ink.DIM)


COLUMNS: tuple[Column, ...] = (
    Column("state", "state", 13, 0, lambda g: (not g.live, g.figures["state"]), _state, False),
    Column("step", "step", 9, 0, _figure("step"), lambda g, width: _right(fmt.number(g.figures["step"]), width)),
    Column("done", "done", 7, 5, _share, lambda g, width: _right(f"{fmt.percent(_share(g), 0)} %", width, ink.DIM)),
    Column("loss", "loss", 15, 0, lambda g: g.loss, _loss, False),
    Column("val", "val", _LOSS, 0, _figure("val_loss"),
           lambda g, width: _right(fmt.loss(g.figures["val_loss"]), width, ink.VALIDATION), False),
    Column("best", "best", _LOSS, 4, _figure("best_val_loss"),
           lambda g, width: _right(fmt.loss(g.figures["best_val_loss"]), width, ink.VALIDATION), False),
    Column("doctor", "doctor", 6, 3, _severity, _doctor),
    Column("ms", "ms/iter", 8, 6, _figure("ms_per_iter"),
           lambda g, width: _right(fmt.number(g.figures["ms_per_iter"], 1), width), False),
    Column("speed", "tokens/s", 9, 2, _figure("tokens_per_s"),
           lambda g, width: _right(fmt.number(g.figures["tokens_per_s"]), width)),
    Column("mfu", "MFU %", 6, 8, _figure("mfu"), lambda g, width: _right(fmt.percent(g.figures["mfu"]), width)),
    Column("parameters", "model", 7, 7, _figure("parameters"),
           lambda g, width: _right(" ".join(fmt.count(g.figures["parameters"])).strip(), width, ink.DIM)),
    Column("size", "size", 9, 1, lambda g: g.size, lambda g, width: _right(size_text(g.size), width, ink.DIM)),
    Column("age", "age", 5, 0, age_of, _age, False),
)  # fmt: skip
NAME = Column("run", "run", LONGEST_NAME, 0, lambda g: g.name, lambda g, width: [(clean_line(g.name), ink.TEXT)], False)
BY_ID = {column.id: column for column in (NAME, *COLUMNS)}
SORTS = tuple(BY_ID)
"""Columns in the order in which one key goes through them."""


def arranged(glances: Sequence[Glance], words: str, column: str, descending: bool) -> list[Glance]:
    """The runs in which every one of the words occurs, sorted; what is unknown comes last either way."""
    wanted = words.lower().split()
    found = [glance for glance in glances if all(word in _searched(glance) for word in wanted)]
    key = BY_ID[column].key
    known = [glance for glance in found if key(glance) is not None]
    return sorted(known, key=lambda glance: (key(glance), glance.name), reverse=descending) + [
        glance for glance in found if key(glance) is None
    ]


def _searched(glance: Glance) -> str:
    figures = glance.figures
    parts = (glance.name, figures["state"], figures["profile"], figures["device"], "live" if glance.live else "ended")
    return " ".join(str(part) for part in parts if part).lower()


class RunTable(RowsWidget):
    """The table. Its rows and its head can be clicked."""

    DEFAULT_CSS = "RunTable { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.items: list[Glance] = []
        """What is shown, in this order."""
        self.total, self.reading = 0, True
        self.marked: set[str] = set()
        self.overlaid: set[str] = set()
        self.here: str | None = None
        """Name of the run that the program shows or trains itself."""
        self.column, self.descending, self.words = "age", False, ""
        self.chosen: str | None = None
        """Name of the run under the bar."""
        self._top = 0

    @property
    def current(self) -> Glance | None:
        """The run under the bar."""
        return self.items[self._at] if self.items else None

    @property
    def _at(self) -> int:
        return next((number for number, item in enumerate(self.items) if item.name == self.chosen), 0)

    def take(self, glances: Sequence[Glance], *, reading: bool) -> None:
        """Takes in what there is, and draws it."""
        at = self._at
        self.items = arranged(glances, self.words, self.column, self.descending)
        self.total, self.reading = len(glances), reading
        if self.items and all(item.name != self.chosen for item in self.items):
            self.chosen = self.items[min(at, len(self.items) - 1)].name
        self.redraw()

    def move(self, by: int) -> None:
        """Moves the bar."""
        if self.items:
            self.chosen = self.items[min(len(self.items) - 1, max(0, self._at + by))].name
            self.redraw()

    @property
    def page(self) -> int:
        """Rows of runs that fit."""
        return max(1, self.size.height - 1)

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        columns, name = _fitting(width, self.items)
        head = [self._head(columns, name, width)]
        if not self.items:
            return [*head, row(width, [("  ", ink.TEXT), (self._empty(), ink.DIM)])]
        page, at = max(1, height - 1), self._at
        self._top = max(0, min(self._top, at, len(self.items) - page), at - page + 1)
        shown = self.items[self._top : self._top + page]
        return head + [self._row(number, item, columns, name, width) for number, item in enumerate(shown, self._top)]

    def _empty(self) -> str:
        if self.reading:
            return "reading …"
        return f"none of {self.total:,} runs has “{clean_line(self.words)}”" if self.words else "no runs here yet"

    def _head(self, columns: Sequence[Column], name: int, width: int) -> Strip:
        pieces: list[Piece] = [("   ", ink.TEXT)]
        for column in (NAME, *columns):
            cells = name if column is NAME else column.width
            sorted_by = column.id == self.column
            style = (ink.BRIGHT if sorted_by else ink.DIM) + Style(meta={"@click": f"screen.sort_by('{column.id}')"})
            arrow = ("↓" if self.descending else "↑") if sorted_by else ""
            left = column.id in ("run", "state")
            title = f"{'  ' if column.id == 'state' else ''}{column.title}{arrow}"
            pieces.append((f"{title:<{cells}}" if left else f"{title:>{cells}}", style))
            pieces.append((" " * GAP, ink.TEXT))
        return row(width, pieces)

    def _row(self, number: int, item: Glance, columns: Sequence[Column], name: int, width: int) -> Strip:
        here = item.name == self.chosen
        click = Style(meta={"@click": f"screen.pick({number})"})
        bar: Piece = ("▌", ink.TRAIN) if here else (" ", ink.TEXT)
        mark: Piece = ("◆ ", ink.TRAIN) if item.name in self.marked else ("  ", ink.TEXT)
        about = OVERLAID if item.name in self.overlaid else " this one" if item.name == self.here else ""
        label: list[Piece] = [(clean_line(item.name), ink.BRIGHT if here else ink.TEXT)]
        if about and width_of(label) + len(about) <= name:
            label.append((about, ink.FAINT))
        pieces: list[Piece] = [bar, mark, *fit(label, name)]
        for column in columns:
            pieces += [(" " * GAP, ink.TEXT), *fit(column.cell(item, column.width), column.width)]
        return row(width, [(text, style + click) for text, style in pieces])


def _fitting(width: int, items: Sequence[Glance]) -> tuple[list[Column], int]:
    """The columns that there is room for, and the cells of the names."""
    longest = max((cell_len(item.name) for item in items), default=SHORTEST_NAME)
    wanted = min(LONGEST_NAME, max(SHORTEST_NAME, longest + len(OVERLAID)))
    columns, left = list(COLUMNS), 0
    for rank in range(max(column.rank for column in COLUMNS), -1, -1):
        columns = [column for column in COLUMNS if column.rank <= rank]
        left = width - 3 - sum(column.width + GAP for column in columns)
        if left >= min(ENOUGH if rank else SHORTEST_NAME, wanted):
            break
    return columns, max(1, min(left, wanted))
