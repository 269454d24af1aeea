"""The ways out of a run that goes on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from cockpit.screens.modal import Box, hints
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.rows import Piece, RowsWidget, row

QuitChoice = Literal["stop", "discard", "detach"]

CHOICES: tuple[tuple[str, QuitChoice | None, str, str], ...] = (
    ("s", "stop", "save and stop", "finish the step and write a checkpoint; --resume goes on from it"),
    ("x", "discard", "stop without saving", "what came after the last checkpoint is lost"),
    ("d", "detach", "go on without a screen", "training continues in this terminal and prints its progress"),
    ("c", None, "cancel", "back to the screen"),
)

STOPPING = ("stop", "discard")
"""Choices that end the run."""


class QuitScreen(Box[QuitChoice]):
    """Asks how to leave; closes with the choice, or None for staying."""

    BINDINGS: ClassVar = [
        ("up,k", "move(-1)", "up"),
        ("down,j,tab", "move(1)", "down"),
        ("enter,space", "choose", "choose"),
        ("ctrl+c", "pick(0)", "save and stop"),
        *[(key, f"pick({number})", words) for number, (key, _, words, _) in enumerate(CHOICES)],
    ]

    def __init__(self, *, readonly: bool = False) -> None:
        super().__init__("Leave the cockpit?", hints(("↑ ↓ enter", "choose"), ("esc", "stay")))
        self._list = ChoiceList(id="choices")
        self._offered = [number for number, choice in enumerate(CHOICES) if not readonly or choice[1] not in STOPPING]
        self._list.chosen = self._offered[0]
        self._list.offered = self._offered

    def body(self) -> Iterable[Widget]:
        yield self._list

    def action_move(self, by: int) -> None:
        """Moves the bar."""
        at = (self._offered.index(self._list.chosen) + by) % len(self._offered)
        self._list.chosen = self._offered[at]
        self._list.redraw()

    def action_choose(self) -> None:
        """Takes the choice under the bar."""
        self.action_pick(self._list.chosen)

    def action_pick(self, number: int) -> None:
        """Takes a choice by its number, if it is offered."""
        if number in self._offered:
            self.dismiss(CHOICES[number][1])


class ChoiceList(RowsWidget):
    """The choices, each on two rows, with a bar at the one that enter takes."""

    DEFAULT_CSS = f"ChoiceList {{ height: {2 * len(CHOICES)}; }}"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.chosen = 0
        self.offered: list[int] = list(range(len(CHOICES)))

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        rows: list[Strip] = []
        for number, (key, _, words, consequence) in enumerate(CHOICES):
            if number not in self.offered:
                refused = [("  ", ink.TEXT), (f"{key}  {words}", ink.FAINT)]
                rows += [row(width, refused), row(width, [("     not with --readonly, which only watches", ink.FAINT)])]
                continue
            click = Style(meta={"@click": f"screen.pick({number})"})
            mark = ("▌ ", ink.TRAIN) if number == self.chosen else ("  ", ink.TEXT)
            style = ink.BRIGHT if number == self.chosen else ink.TEXT
            head: list[Piece] = [mark, (f"{key}  ", ink.BRIGHT + click), (words, style + click)]
            rows += [row(width, head), row(width, [mark, ("   ", ink.TEXT), (consequence, ink.DIM + click)])]
        return rows
