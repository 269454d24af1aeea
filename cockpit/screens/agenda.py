"""What the run is to do later: a line to type it, what has been understood, and what waits already."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.widget import Widget
from textual.widgets import Input

from cockpit import format as fmt
from cockpit.effects import forecast
from cockpit.orders import EXAMPLES, Order, parse
from cockpit.sanitize import clean_line
from cockpit.screens.foretelling import ForetellingBox
from cockpit.screens.modal import hints
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.keyform import foretold
from cockpit.widgets.lineinput import LineInput
from cockpit.widgets.rows import Piece
from gpt.commands import At, SetConfig
from gpt.config import Profile, replace
from gpt.errors import ProfileError

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

_ROOM = 70
"""Cells of a line in the box."""


def agenda(app: CockpitApp) -> None:
    """Opens the box."""
    app.open(AgendaScreen(app))


class AgendaScreen(ForetellingBox[None]):
    """Schedules commands, lists those that wait, and cancels them; stays open until escape."""

    def __init__(self, app: CockpitApp) -> None:
        super().__init__("To be done later", hints(("enter", "schedule"), ("esc", "close")))
        self._cockpit = app

    def body(self) -> Iterable[Widget]:
        yield LineInput(id="order", compact=True, placeholder=EXAMPLES[0])
        yield self.told

    def on_input_submitted(self) -> None:
        try:
            order = self._order()
        except ProfileError:
            return  # it is told below the line
        self._cockpit.send(order.command)
        self.query_one(Input).value = ""

    def _order(self) -> Order:
        state = self.shows or RunState()
        return parse(self.typed, self._profile, step=state.step, wall=state.wall, agenda=state.pilotage.agenda)

    @property
    def _profile(self) -> Profile:
        return replace(self._cockpit.link.profile, self._cockpit.settings)

    def foretell(self, typed: str, state: RunState) -> list[Piece]:
        """What has been understood, or what can be typed; and what waits already."""
        return [*self._understood(typed, state), ("\n\n", ink.TEXT), *_waiting(state)]

    def _understood(self, typed: str, state: RunState) -> list[Piece]:
        if not typed:
            return [("or: ", ink.DIM), *(piece for example in EXAMPLES[1:] for piece in _example(example))]
        try:
            return self._effect(self._order(), state)
        except ProfileError as error:
            return [(clean_line(str(error)), ink.WARNING)]

    def _effect(self, order: Order, state: RunState) -> list[Piece]:
        """What has been understood, when that will be, and what it does."""
        pieces: list[Piece] = [("▸ ", ink.GOOD), (clean_line(order.words), ink.BRIGHT)]
        command = order.command
        if not isinstance(command, At):
            return pieces
        if ms := state.median_ms():
            pieces.append((f"  in about {fmt.duration((command.step - state.step) * ms / 1e3)}", ink.DIM))
        if state.max_steps is not None and command.step > state.max_steps:
            pieces.append((f"\n! the run ends before, at step {state.max_steps:,}", ink.WARNING))
        if isinstance(command.what, SetConfig):
            after = replace(self._profile, command.what.changes)
            for line in foretold(forecast(self._profile, after, state, command.step), _ROOM):
                pieces += [("\n", ink.TEXT), *line]
        return pieces


def _example(example: str) -> list[Piece]:
    return [("\n    ", ink.TEXT), (example, ink.TEXT)]


def _waiting(state: RunState) -> list[Piece]:
    """What waits, a line each, with its number."""
    items = state.pilotage.agenda
    if not items:
        return [("nothing waits", ink.DIM)]
    pieces: list[Piece] = [("waits", ink.DIM)]
    for item in items:
        left = f"  in {item.at_step - state.step:,} steps" if item.at_step is not None else ""
        pieces += [
            (f"\n{item.item:>3}  ", ink.BRIGHT), (clean_line(f"{item.when}: {item.what}"), ink.TEXT), (left, ink.DIM),
        ]  # fmt: skip
    return pieces
