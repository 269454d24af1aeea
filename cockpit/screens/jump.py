"""A letter on each pane of the main screen; pressing it gives that pane the whole screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.geometry import Region
from textual.strip import Strip

from cockpit.screens.letters import Lettered
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.rows import RowsWidget, row

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

LETTERS = {"chart": "c", "instruments": "i", "time": "t", "sample": "s", "log": "l"}
"""Pane → its letter."""


def jump(app: CockpitApp) -> None:
    """Asks for a pane by its letter; where one has the screen, its letter gives the others their room back."""
    main = app.main

    def chosen(pane: str | None) -> None:
        if pane is not None:
            main.zoom(None if main.zoomed == pane else pane)
        app.frame(force=True)

    app.push_screen(JumpScreen(main.places_of_panes()), chosen)


class JumpScreen(Lettered):
    """The letters, each on its pane; closes with the name of a pane, or None for any other key.

    Args:
        places: where the panes stand.
    """

    DEFAULT_CSS = """
    _Letter { width: 17; position: absolute; }
    """

    def __init__(self, places: Mapping[str, Region]) -> None:
        super().__init__(places, {pane: LETTERS[pane] for pane in places})

    def compose(self) -> ComposeResult:
        for pane, region in self.places.items():
            letter = _Letter(pane)
            letter.styles.offset = (region.x + max(0, region.width - 17) // 2, region.y + region.height // 2)
            yield letter


class _Letter(RowsWidget):
    def __init__(self, pane: str) -> None:
        super().__init__()
        self._pane = pane

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        return [row(width, [(f" {LETTERS[self._pane]} ", ink.on(ink.TRAIN_COLOR)), (f" {self._pane}", ink.BRIGHT)])]
