"""The ways out of a run that goes on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from cockpit.sanitize import clean_line
from cockpit.screens.modal import Box, hints
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.rows import Piece, RowsWidget, row

QuitChoice = Literal["stop", "discard", "detach"]

Choices = tuple[tuple[str, QuitChoice | None, str, str], ...]
"""Key, what it leads to (None: nothing), words, consequence; the first is taken where nobody chooses."""

CHOICES: Choices = (
    ("s", "stop", "save and stop", "finish the step and write a checkpoint; --resume goes on from it"),
    ("x", "discard", "stop without saving", "what came after the last checkpoint is lost"),
    ("d", "detach", "leave it running", "goes on without a screen; gpt-cockpit attach shows it again"),
    ("c", None, "cancel", "back to the screen"),
)

ATTACHED: Choices = (
    ("d", "detach", "leave it running", "the run goes on as it is; gpt-cockpit attach comes back to it"),
    ("s", "stop", "save and stop the run", "finish the step and write a checkpoint; --resume goes on from it"),
    ("x", "discard", "stop the run without saving", "what came after the last checkpoint is lost"),
    ("c", None, "cancel", "back to the screen"),
)
"""The ways out for a screen that is attached."""

STOPPING = ("stop", "discard")
"""Choices that end the run."""


class QuitScreen(Box[QuitChoice]):
    """Asks how to leave; closes with the choice, or None for staying.

    Args:
        refused: why the run cannot be ended from here; empty: it can.
    """

    BINDINGS: ClassVar = [
        ("up,k", "move(-1)", "up"),
        ("down,j,tab", "move(1)", "down"),
        ("enter,space", "choose", "choose"),
        ("ctrl+c", "pick(0)", "the first way"),
        *[(key, f"pick_key('{key}')", words) for key, _, words, _ in dict.fromkeys((*CHOICES, *ATTACHED))],
    ]

    def __init__(self, choices: Choices = CHOICES, *, refused: str = "") -> None:
        super().__init__("Leave the cockpit?", hints(("↑ ↓ enter", "choose"), ("esc", "stay")))
        self._choices = choices
        self._list = ChoiceList(choices, refused, id="choices")
        self._offered = [number for number, choice in enumerate(choices) if not refused or choice[1] not in STOPPING]
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
            self.dismiss(self._choices[number][1])

    def action_pick_key(self, key: str) -> None:
        """Takes the choice of a key, if there is one."""
        for number, choice in enumerate(self._choices):
            if choice[0] == key:
                self.action_pick(number)


class ChoiceList(RowsWidget):
    """The choices, each on two rows, with a bar at the one that enter takes."""

    DEFAULT_CSS = f"ChoiceList {{ height: {2 * len(CHOICES)}; }}"

    def __init__(self, choices: Choices, refused: str, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._choices, self._refused = choices, clean_line(refused)
        self.chosen = 0
        self.offered: list[int] = list(range(len(choices)))

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        rows: list[Strip] = []
        for number, (key, _, words, consequence) in enumerate(self._choices):
            if number not in self.offered:
                refused = [("  ", ink.TEXT), (f"{key}  {words}", ink.FAINT)]
                rows += [row(width, refused), row(width, [(f"     {self._refused}", ink.FAINT)])]
                continue
            click = Style(meta={"@click": f"screen.pick({number})"})
            mark = ("▌ ", ink.TRAIN) if number == self.chosen else ("  ", ink.TEXT)
            style = ink.BRIGHT if number == self.chosen else ink.TEXT
            head: list[Piece] = [mark, (f"{key}  ", ink.BRIGHT + click), (words, style + click)]
            rows += [row(width, head), row(width, [mark, ("   ", ink.TEXT), (consequence, ink.DIM + click)])]
        return rows
