"""Choosing the colours, with everything shown in each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from cockpit.screens.modal import Box, hints
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.rows import Piece, RowsWidget, row
from cockpit.widgets.themes import LOOKS, Look

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

_SWATCH = (ink.TRAIN, ink.VALIDATION, ink.GOOD, ink.WARNING, ink.CRITICAL, ink.PAUSED)


def choose(app: CockpitApp) -> None:
    """Lets the pilot choose; escape brings back what was."""
    if app.no_color:
        app.say("NO_COLOR is set: there are no colours to choose from", "warning")
        return
    before = app.look

    def chosen(look: Look | None) -> None:
        app.wear(look or before)
        if look:
            app.recall.theme = look.name
            app.recall.keep()
            app.say(f"theme {look.name}: {look.about}")

    app.open(ThemeScreen(app.wear, before), chosen)


class ThemeScreen(Box["Look"]):
    """The themes; the one under the bar is worn at once, and enter keeps it.

    Args:
        wear: shows everything in a theme.
        worn: the one that is worn now.
    """

    BINDINGS: ClassVar = [
        ("up,k", "move(-1)", "up"),
        ("down,j,tab", "move(1)", "down"),
        ("enter,space", "keep", "keep"),
    ]

    def __init__(self, wear: Callable[[Look], None], worn: Look) -> None:
        super().__init__("Theme", hints(("↑ ↓", "try"), ("enter", "keep"), ("esc", "as it was")))
        self._wear = wear
        self._list = ThemeList(list(LOOKS.values()).index(worn))

    def body(self) -> Iterable[Widget]:
        yield self._list

    def action_move(self, by: int) -> None:
        """Moves the bar."""
        self.action_try((self._list.chosen + by) % len(LOOKS))

    def action_try(self, number: int) -> None:
        """Moves the bar to a theme and wears it."""
        self._list.chosen = number
        self._list.redraw()
        self._wear(self._list.look)

    def action_keep(self) -> None:
        """Keeps the theme under the bar."""
        self.dismiss(self._list.look)


class ThemeList(RowsWidget):
    """A row for each theme, with a bar at the one that is worn."""

    DEFAULT_CSS = f"ThemeList {{ height: {len(LOOKS) + 2}; }}"

    def __init__(self, chosen: int) -> None:
        super().__init__()
        self.chosen = chosen

    @property
    def look(self) -> Look:
        """The theme under the bar."""
        return list(LOOKS.values())[self.chosen]

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        rows: list[Strip] = []
        for number, look in enumerate(LOOKS.values()):
            click = Style(meta={"@click": f"screen.try({number})"})
            here = number == self.chosen
            mark: Piece = ("▌ ", ink.TRAIN) if here else ("  ", ink.TEXT)
            name = (f"{look.name:<12}", (ink.BRIGHT if here else ink.TEXT) + click)
            rows.append(row(width, [mark, name, (look.about, ink.DIM + click)]))
        swatch: list[Piece] = [(word, style) for word, style in zip(_WORDS, _SWATCH, strict=True)]
        return [*rows, Strip.blank(width), row(width, [("  ", ink.TEXT), *swatch])]


_WORDS = ("━ train  ", "● val  ", "■ good  ", "! warning  ", "× failed  ", "‖ paused")
