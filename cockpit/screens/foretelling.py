"""A box with one line to type in, and below it what that will do; told anew as the run behind it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from rich.text import Text
from textual.widgets import Static

from cockpit.screens.modal import LineBox, text
from cockpit.state import RunState
from cockpit.widgets.rows import Piece

Result = TypeVar("Result")


class ForetellingBox(LineBox[Result]):
    """`body` yields the one Input and `told`, in whatever order."""

    def __init__(self, title: str, foot: Text) -> None:
        super().__init__(title, foot)
        self.told = Static(id="effect")
        """Where `foretell` is shown."""

    def foretell(self, typed: str, state: RunState) -> Sequence[Piece]:
        """What will be done if the line is taken as it is now, and what comes of it; or why it cannot be."""
        raise NotImplementedError

    def on_mount(self) -> None:
        super().on_mount()
        self._tell()

    def show_run(self, state: RunState) -> None:
        super().show_run(state)
        self._tell()

    def on_input_changed(self) -> None:
        self._tell()

    def _tell(self) -> None:
        self.told.update(text(*self.foretell(self.typed, self.shows or RunState())))
