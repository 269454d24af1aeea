"""The form of all settings: a list of keys and values, and what there is to say of the one under the bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from textual import events
from textual.message import Message
from textual.strip import Strip

from cockpit.effects import Forecast, forecast
from cockpit.pilotage import Change
from cockpit.sanitize import clean_line
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.panes import wrap
from cockpit.widgets.rows import Piece, RowsWidget, fit, row, rule
from cockpit.widgets.schedule import schedule_rows
from gpt.config import Profile, as_toml
from gpt.errors import ProfileError
from gpt.keys import Key, all_keys, section_docs

NAME = 26
"""Cells of a key's name, and of its value."""
FIRST = "optim.learning_rate"
"""Where the bar stands at first: it is what is changed most."""
EVERY = 200
"""A forecast is made anew when the run is so many times further on its way to its end."""


class Sheet(NamedTuple):
    """What the form shows of a moment."""

    settings: Mapping[str, Any]
    """In force, by dotted key."""
    drafts: Mapping[str, Any]
    """Changed in the form, and not applied."""
    changed: Mapping[str, Change]
    """Changed while the run went on."""
    before: Profile
    typed: Profile | ProfileError | None
    """With the drafts and what is being typed; why that will not do; None where nothing differs."""
    is_typing: bool


class KeyList(RowsWidget):
    """Sections and keys, with a bar; scrolls with it."""

    DEFAULT_CSS = "KeyList { height: 1fr; }"

    class Picked(Message):
        """A key was clicked."""

        def __init__(self, again: bool) -> None:
            super().__init__()
            self.again = again
            """Whether the bar was there already."""

    class Moved(Message):
        """The value under the bar stands somewhere else on the screen."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.sheet: Sheet | None = None
        self._place: tuple[int, int, int] | None = None
        self._shown = list(all_keys())
        self._at = next(number for number, key in enumerate(self._shown) if key.key == FIRST)
        self._top = 0

    @property
    def chosen(self) -> Key | None:
        """The key under the bar; None where the filter leaves none."""
        return self._shown[self._at] if self._shown else None

    def move(self, by: int) -> None:
        """Moves the bar by so many keys."""
        self._at = max(0, min(len(self._shown) - 1, self._at + by))

    def filter(self, text: str) -> None:
        """Lists only the keys that hold a text in their name or in what is said of them."""
        now, wanted = self.chosen, text.strip().lower()
        named = [key for key in all_keys() if wanted in key.key.lower()]
        self._shown = named or [key for key in all_keys() if wanted in key.doc.lower()]
        self._at = self._shown.index(now) if now in self._shown else 0

    def value_place(self) -> tuple[int, int, int]:
        """(x, y, width) of the value under the bar, in cells of the screen."""
        x, y = self.region.offset
        return x + 3 + NAME, y + self._line_of(self._at) - self._top, self.size.width - NAME - 4

    def on_click(self, event: events.Click) -> None:
        line = self._lines()[self._top + event.y : self._top + event.y + 1]
        if line and line[0] is not None:
            again, self._at = line[0] == self._at, line[0]
            self.post_message(self.Picked(again))

    def on_mouse_scroll_down(self) -> None:
        self.move(3)
        self.post_message(self.Picked(False))

    def on_mouse_scroll_up(self) -> None:
        self.move(-3)
        self.post_message(self.Picked(False))

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        if self.sheet is None:
            return []
        lines = self._lines()
        if not lines:
            return [row(width, [("   no key holds that", ink.DIM)])]
        line = self._line_of(self._at)
        least = line - height + 2 if line + 1 < len(lines) else line - height + 1
        self._top = max(0, least, min(self._top, line - 1))
        if (place := self.value_place()) != self._place:
            self._place = place
            self.post_message(self.Moved())
        made = []
        for number in range(self._top, min(len(lines), self._top + height)):
            index = lines[number]
            made.append(self._heading(number, width) if index is None else self._row(index, self.sheet, width))
        return made

    def _lines(self) -> list[int | None]:
        """What stands on each line: the number of a key, or None for a section's heading."""
        lines: list[int | None] = []
        for number, key in enumerate(self._shown):
            if not number or key.section != self._shown[number - 1].section:
                lines.append(None)
            lines.append(number)
        return lines

    def _line_of(self, number: int) -> int:
        return self._lines().index(number) if self._shown else 0

    def _heading(self, line: int, width: int) -> Strip:
        following = self._lines()[line + 1]
        assert following is not None
        section = self._shown[following].section
        if not section:
            return row(width, [(" profile", ink.BRIGHT)])
        return row(width, [(f" [{section}] ", ink.BRIGHT), (section_docs()[section], ink.FAINT)])

    def _row(self, number: int, sheet: Sheet, width: int) -> Strip:
        key = self._shown[number]
        here = number == self._at
        live = key.fixed is None
        mark: Piece = ("▌", ink.TRAIN) if here else (" ", ink.TEXT)
        name = ink.BRIGHT if here else ink.TEXT if live else ink.DIM
        pieces: list[Piece] = [mark, ("  ", ink.TEXT), *fit([(key.name, name)], NAME)]
        value = _shown_value(sheet.settings.get(key.key))
        if key.key in sheet.drafts:
            pieces += [(value, ink.DIM), (" → ", ink.FAINT), (_shown_value(sheet.drafts[key.key]), ink.WARNING)]
        else:
            pieces.append((value, (ink.BRIGHT if here else ink.TEXT) if live else ink.DIM))
        if key.unit and sheet.settings.get(key.key) is not None:
            pieces.append((f" {key.unit}", ink.FAINT))
        return row(width, pieces, self._right(key, sheet, width))

    def _right(self, key: Key, sheet: Sheet, width: int) -> list[Piece]:
        """What becomes of the key: not applied, changed at a step, fixed; and its range where there is room."""
        if key.key in sheet.drafts:
            return [(" △ not applied ", ink.WARNING)]
        if change := sheet.changed.get(key.key):
            return [(" ▲ ", ink.WARNING), (f"step {change.step:,} ", ink.DIM)]
        if key.fixed:
            return [(" fixed ", ink.FAINT)]
        return [(f" {key.range} ", ink.FAINT)] if width >= 2 * NAME + 44 else []


class KeyDetail(RowsWidget):
    """Of the key under the bar: its words, range, default, why it is fixed; and what a change would do."""

    DEFAULT_CSS = "KeyDetail { height: 10; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.sheet: Sheet | None = None
        self.key: Key | None = None
        self._forecast: tuple[tuple, Forecast] | None = None

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        key, sheet = self.key, self.sheet
        if key is None or sheet is None:
            return [rule(width)]
        strips = [rule(width, [(key.key, ink.BRIGHT)], self._title(key, sheet))]
        lines = self._words(key, sheet, width)
        if isinstance(sheet.typed, Profile):
            lines = lines[:2] if height < 12 else lines
            lines += foretold(self._foretell(sheet.before, sheet.typed, state), width - 2)
            room = height - 1 - len(lines)
            if self._foretell(sheet.before, sheet.typed, state).moves_rate and room >= 3:
                chart = schedule_rows(sheet.before, sheet.typed, state.step, width - 2, min(room, 10))
                lines += chart
        return strips + [row(width, [(" ", ink.TEXT), *line]) for line in lines[: height - 1]]

    def _title(self, key: Key, sheet: Sheet) -> list[Piece]:
        if sheet.is_typing:
            choose = "↑ ↓ chooses, " if key.choices else ""
            return [(f"{choose}enter takes it, esc leaves it", ink.DIM)]
        if key.fixed is not None:
            return [("fixed while the run goes on", ink.DIM)]
        return [("live", ink.GOOD)]

    def _words(self, key: Key, sheet: Sheet, width: int) -> list[list[Piece]]:
        lines = wrap([(clean_line(key.doc.replace("`", "")), ink.TEXT)], width - 2) if key.doc else []
        unset = " or unset" if key.can_be_unset else ""
        unit = f", {key.unit}" if key.unit else ""
        facts: list[Piece] = [(f"{key.range}{unset}{unit}", ink.DIM), ("   default ", ink.FAINT)]
        lines += wrap([*facts, (_shown_value(key.default), ink.DIM)], width - 2)
        if change := sheet.changed.get(key.key):
            was = clean_line(change.old)
            lines.append([("▲ ", ink.WARNING), (f"changed after step {change.step:,}; it was {was}", ink.TEXT)])
        if isinstance(sheet.typed, ProfileError):
            lines += wrap([("! ", ink.WARNING), (clean_line(str(sheet.typed)), ink.WARNING)], width - 2)
        elif key.fixed is not None:
            lines += wrap([("△ ", ink.WARNING), (key.fixed, ink.TEXT)], width - 2)
        return lines

    def _foretell(self, before: Profile, after: Profile, state: RunState) -> Forecast:
        """The forecast, made anew only where it can look different."""
        key = (before, after, state.step * EVERY // max(1, before.train.max_steps))
        if self._forecast is None or self._forecast[0] != key:
            self._forecast = (key, forecast(before, after, state))
        return self._forecast[1]


def foretold(what: Forecast, width: int) -> list[list[Piece]]:
    """A forecast as lines, in two columns where they fit; without any effect, that it has none."""
    cells: list[list[Piece]] = [
        [
            (f"{effect.label:<20}", ink.DIM), (effect.old, ink.TEXT), (" → ", ink.FAINT), (effect.new, ink.BRIGHT),
            (f" {effect.unit}" if effect.unit else "", ink.FAINT),
        ]
        for effect in what.effects
    ]  # fmt: skip
    many = 2 if width >= 100 else 1
    lines = [
        [piece for cell in cells[start : start + many] for piece in fit(cell, width // many)]
        for start in range(0, len(cells), many)
    ]
    if what.risk:
        lines += wrap([("◇ ", ink.TRAIN), (f"a checkpoint is made first: {what.risk}", ink.DIM)], width)
    return lines


def _shown_value(value: Any) -> str:
    return clean_line(as_toml(value))
