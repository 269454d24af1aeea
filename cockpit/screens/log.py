"""The whole log of the run in view, and its console: scrolled, searched, filtered by level, followed at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from textual.binding import BindingType
from textual.strip import Strip
from textual.widget import Widget

from cockpit import format as fmt
from cockpit.logbook import LEVELS, LONGEST, Line, LogBook, console_lines, event_lines
from cockpit.runs import Run
from cockpit.sanitize import clean, clean_line
from cockpit.screens.typing import TypingView
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.panes import LEVEL_GLYPHS, wrap
from cockpit.widgets.rows import Piece, RowsWidget, row

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

LOOK = 0.1
"""Seconds between two looks at what the threads have found."""
GROWN = 0.5
"""Seconds between two drawings of a log that grows."""
FOUND = Style(color=ink.ON_COLOR, bgcolor=ink.WARNING_COLOR)
FOUND_HERE = Style(color=ink.ON_COLOR, bgcolor=ink.GOOD_COLOR, bold=True)
MOST_ROWS = 40
"""Rows of a single line at most."""


def show_log(app: CockpitApp) -> None:
    """Opens the log of the run in view; of a replay at its moment, otherwise at its end."""
    app.open(LogView(Run(app.link.run_dir), moment=None if app.link.alive else app.state.last_time))


class LogView(TypingView[None]):
    """The log's lines, or with tab the console's.

    Args:
        moment: Unix time to begin at; None: at the end, which is followed.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("up,k", "scroll(-1)", "up"), ("down,j", "scroll(1)", "down"),
        ("pageup,b", "page(-1)", "page up"), ("pagedown,d", "page(1)", "page down"),
        ("home,g", "ends(False)", "beginning"), ("end,G,f", "ends(True)", "end"),
        ("n", "next(True)", "next"), ("N", "next(False)", "the one before"),
        ("l", "level(1)", "level"), ("L", "level(-1)", "level"), ("tab", "other", "console"),
    ]  # fmt: skip

    def __init__(self, run: Run, *, moment: float | None = None) -> None:
        super().__init__("log", [
            ("↑ ↓", "scroll"), ("/", "search"), ("n N", "next"), ("l", "level"), ("tab", "console"), ("f", "follow"),
            ("g", "beginning"),
        ])  # fmt: skip
        self.books = (LogBook(run.events_path, event_lines), LogBook(run.console_path, console_lines))
        self.lines, self.about = LogLines(self.books[0]), _About()
        self.make_field("search")
        self._run, self._moment = run, moment
        self._drawn = (0, -1.0)
        self._found: list[tuple[int, int | None]] = []
        self._searches = 0

    def body(self) -> Iterable[Widget]:
        yield self.about
        yield self.lines
        yield self.field

    def on_mount(self) -> None:
        for book in self.books:
            book.start()
        self.set_interval(LOOK, self._look)

    def on_unmount(self) -> None:
        for book in self.books:
            book.close()

    def show_body(self, state: RunState) -> bool:
        self.lines.first_time = state.first_time
        return False  # the log itself says when there is more to show

    def _look(self) -> None:
        book, now = self.lines.book, time.monotonic()
        while self._found:
            self._go(*self._found.pop(0))
        if self._moment is not None and self.books[0].complete:
            self.lines.top, self._moment = self.books[0].number_at(self._moment, self.lines.level), None
            self._redraw()
        if book.version != self._drawn[0] and now - self._drawn[1] >= GROWN:
            self._drawn = (book.version, now)
            self._redraw()

    def _redraw(self) -> None:
        self.lines.redraw()
        self.about.tell(self.lines, console=self.lines.book is self.books[1])

    # Moving

    def action_scroll(self, by: int) -> None:
        """Moves by lines."""
        self.lines.scroll_lines(by)
        self._redraw()

    def action_page(self, by: int) -> None:
        """Moves by a screenful, less a line."""
        self.action_scroll(by * max(1, self.lines.shown - 1))

    def action_ends(self, last: bool) -> None:
        """Goes to the beginning, or to the end and follows it."""
        self.lines.top = None if last else 0
        self._redraw()

    def on_mouse_scroll_down(self) -> None:
        self.action_scroll(3)

    def on_mouse_scroll_up(self) -> None:
        self.action_scroll(-3)

    # What is shown

    def action_level(self, by: int) -> None:
        """Shows fewer or more kinds of lines, and stays where it is in time."""
        lines, book = self.lines, self.books[0]
        at = book.lines(lines.top, lines.top + 1, lines.level) if lines.top and lines.book is book else []
        lines.level = (lines.level + by) % len(LEVELS)
        lines.match = None
        if lines.top is not None:
            lines.top = book.number_at(at[0].time, lines.level) if at else 0
        self._redraw()

    def action_other(self) -> None:
        """Shows the console's own file, or the log again."""
        self.lines.book = self.books[1 if self.lines.book is self.books[0] else 0]
        self.lines.top = self.lines.match = None
        self._redraw()

    # Searching

    def words_changed(self, words: str) -> None:
        self.lines.words, self.lines.match = words, None
        self._redraw()

    def words_entered(self, words: str) -> None:
        """Searches backwards where the end is in view, as what is sought lies before it; else forwards."""
        if words:
            following = self.lines.top is None
            start = self.lines.book.count(self.lines.level) if following else (self.lines.top or 0) - 1
            self._search(start, forward=not following)

    def action_next(self, forward: bool) -> None:
        """Goes to the next line with the words, or to the one before."""
        lines = self.lines
        if lines.words:
            self._search(lines.match if lines.match is not None else lines.first, forward=forward)

    def _search(self, start: int, *, forward: bool) -> None:
        self._searches += 1
        number, lines = self._searches, self.lines

        def seek(book: LogBook, words: str, level: int) -> None:
            self._found.append((number, book.find(words, start, level, forward=forward)))

        threading.Thread(target=seek, args=(lines.book, lines.words, lines.level), name="search", daemon=True).start()

    def _go(self, search: int, found: int | None) -> None:
        if search != self._searches:
            return  # another one was begun since
        self.lines.match = found
        if found is not None:
            self.lines.show_line(found)
        self.about.missing = found is None
        self._redraw()


class LogLines(RowsWidget):
    """A stretch of a log book; at the end it follows it."""

    DEFAULT_CSS = "LogLines { height: 1fr; }"

    def __init__(self, book: LogBook) -> None:
        super().__init__()
        self.book = book
        self.level = LEVELS.index("info")
        self.top: int | None = None
        """Number of the first line shown; None: the end is shown, and followed."""
        self.words = ""
        """What is marked."""
        self.match: int | None = None
        """Number of the line that a search went to."""
        self.first_time: float | None = None
        self.first, self.shown = 0, 0
        """Number of the first line on the screen, and how many there are."""

    def scroll_lines(self, by: int) -> None:
        """Moves; the end, once reached, is followed."""
        if self.top is None and by > 0:
            return
        self.top = max(0, (self.first if self.top is None else self.top) + by)
        if by > 0 and self._reaches_end():
            self.top = None

    def show_line(self, number: int) -> None:
        """Brings a line onto the screen, with some of what stands before it, unless it is there."""
        if not self.first <= number < self.first + self.shown:
            self.top = max(0, number - max(1, self.size.height // 3))
            if self._reaches_end():
                self.top = None
        elif self.top is None:
            self.top = self.first  # it stays where it is while more is written

    def _reaches_end(self) -> bool:
        """Whether all lines from `top` on fit on the screen."""
        width, height = self.size
        top = self.top or 0
        if self.book.count(self.level) - top > height:
            return False
        lines = self.book.lines(top, top + height, self.level)
        return sum(len(self._rows_of(line, 0, width)) for line in lines) <= height

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        count = self.book.count(self.level)
        if not count:
            self.first = self.shown = 0
            what = "no such lines" if self.book.complete else "reading …"
            return [row(width, [(f"  {what}", ink.DIM)])]
        if self.top is None:
            return self._from_end(count, width, height)
        self.first = min(self.top, count - 1)
        rows: list[Strip] = []
        self.shown = 0
        for number, line in enumerate(self.book.lines(self.first, self.first + height, self.level), self.first):
            if len(rows) >= height:
                break
            rows += self._rows_of(line, number, width)
            self.shown += 1
        return rows[:height] if len(rows) >= height or not self.first else self._from_end(count, width, height)

    def _from_end(self, count: int, width: int, height: int) -> list[Strip]:
        start = max(0, count - height)
        rows: list[Strip] = []
        self.first = count
        for number, line in reversed(list(enumerate(self.book.lines(start, count, self.level), start))):
            more = self._rows_of(line, number, width)
            if rows and len(rows) + len(more) > height:
                break
            rows = more + rows
            self.first = number
        self.shown = count - self.first
        return rows[-height:]

    def _rows_of(self, line: Line, number: int, width: int) -> list[Strip]:
        """A line's rows: the text wraps below itself."""
        glyph, style = LEVEL_GLYPHS.get(line.level, (" ", ink.DIM if line.level == "steps" else ink.TEXT))
        if line.source == "console":
            glyph, style = (glyph if glyph != " " else "›"), (style if glyph != " " else ink.DIM)
        head: list[Piece] = [(" ", ink.TEXT)]
        if line.time:
            since = line.time - self.first_time if self.first_time is not None else None
            head.append((f"{fmt.clock(since):>8} ", ink.FAINT))
        head.append((f"{glyph} ", style))
        indent = sum(len(text) for text, _ in head)
        text = clean(line.text[:LONGEST]).rstrip("\n") + ("…" if len(line.text) > LONGEST else "")
        here = FOUND_HERE if number == self.match else FOUND
        wrapped = wrap(marked(text, self.words, style, here), max(8, width - indent - 1))[:MOST_ROWS]
        below: list[Piece] = [(" " * indent, ink.TEXT)]
        return [row(width, [*(below if at else head), *pieces]) for at, pieces in enumerate(wrapped)]


def marked(text: str, words: str, style: Style, found: Style) -> list[Piece]:
    """A text in which every occurrence of the words, whatever their case, has another style."""
    needle, lower = words.lower(), text.lower()
    if not needle or len(lower) != len(text):  # a letter whose small form is longer would shift the rest
        return [(text, style)]
    pieces: list[Piece] = []
    at = 0
    while (hit := lower.find(needle, at)) >= 0:
        pieces += [(text[at:hit], style), (text[hit : hit + len(needle)], found)]
        at = hit + len(needle)
    return [piece for piece in (*pieces, (text[at:], style)) if piece[0]]


class _About(RowsWidget):
    """Which file, which levels, and where in it."""

    DEFAULT_CSS = "_About { height: 1; }"

    def __init__(self) -> None:
        super().__init__()
        self.missing = False
        """The newest search found nothing."""
        self._pieces: list[Piece] = []

    def tell(self, lines: LogLines, *, console: bool) -> None:
        """Says what is shown."""
        count = lines.book.count(lines.level)
        self._pieces = [("  ", ink.TEXT)]
        for name, chosen in (("events", not console), ("console.log", console)):
            self._pieces += [(f" {name}", ink.BRIGHT if chosen else ink.FAINT)]
        shown = {"steps": "all, steps too", "info": "all but steps", "warning": "warnings, errors", "error": "errors"}
        self._pieces += [("   level ", ink.DIM), (shown[LEVELS[lines.level]], ink.TEXT), ("   lines ", ink.DIM)]
        last = min(count, lines.first + lines.shown)
        self._pieces += [(f"{min(count, lines.first + 1):,}–{last:,}", ink.BRIGHT), (f" of {count:,}", ink.DIM)]
        if not lines.book.complete:
            self._pieces.append(("   reading …", ink.WARNING))
        if lines.top is None:
            self._pieces.append(("   following", ink.GOOD))
        if lines.words:
            none = self.missing and lines.match is None
            found = f"   no “{clean_line(lines.words)}”" if none else f"   “{clean_line(lines.words)}”"
            self._pieces.append((found, ink.WARNING if none else ink.TEXT))
        self.redraw()

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        return [row(width, self._pieces)]
