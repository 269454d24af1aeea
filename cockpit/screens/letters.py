"""Letters in front of what is on the screen; pressing one chooses what it stands at."""

from __future__ import annotations

from collections.abc import Mapping

from textual import events
from textual.geometry import Region, Size
from textual.screen import ModalScreen

from cockpit.screens.modal import LeftOnce


class Lettered(LeftOnce[str], ModalScreen[str]):
    """Closes with the name whose letter is pressed or whose place is clicked, with None for anything else.

    Args:
        places: where what can be chosen stands, by its name.
        letters: its letter, by its name; there may be some for what stands nowhere.
    """

    def __init__(self, places: Mapping[str, Region], letters: Mapping[str, str]) -> None:
        super().__init__()
        self.places, self._names = dict(places), {letter: name for name, letter in letters.items()}
        self._drawn_for: Size | None = None

    def on_key(self, event: events.Key) -> None:
        """A letter chooses."""
        event.stop()
        self.dismiss(self._names.get(event.key))

    def on_click(self, event: events.Click) -> None:
        """So does a click."""
        at = event.screen_offset
        self.dismiss(next((name for name, region in self.places.items() if region.contains_point(at)), None))

    def on_resize(self, event: events.Resize) -> None:
        """Where things have moved, the letters are of no use any more."""
        if self._drawn_for not in (None, event.size):
            self.dismiss(None)
        self._drawn_for = event.size
