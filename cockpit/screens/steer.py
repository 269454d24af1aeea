"""How many steps to cool down over, or to add; and what becomes of the rate and the end with that many."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.widget import Widget

from cockpit import format as fmt
from cockpit.screens.foretelling import ForetellingBox
from cockpit.screens.modal import hints
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.lineinput import LineInput
from cockpit.widgets.rows import Piece
from gpt.commands import Command, Cooldown, Extend
from gpt.config import Profile, replace
from gpt.schedule import decay_span, floor_of, learning_rate
from gpt.steering import cooldown_changes, decay_has_begun, default_cooldown, extension_changes

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

_LONGEST = 9
"""Digits that can be typed."""


def cool_down(app: CockpitApp) -> None:
    """Asks over how many steps the rate shall fall, and shows where that ends."""
    _steer(app, CooldownScreen(replace(app.link.profile, app.settings), app.state.step))


def extend(app: CockpitApp) -> None:
    """Asks how much longer the run shall be, and shows where that ends."""
    _steer(app, ExtendScreen(replace(app.link.profile, app.settings)))


def _steer(app: CockpitApp, screen: SteerScreen) -> None:
    def agreed(command: Command | None) -> None:
        if command is not None:
            app.send(command)
            app.say("the schedule changes at the next step boundary")

    app.open(screen, agreed)


class SteerScreen(ForetellingBox[Command]):
    """Asks for a number of steps and foretells its effect; closes with the command, or None.

    Args:
        profile: the settings in force.
        steps: the number that stands there at first.
    """

    def __init__(self, title: str, agree: str, profile: Profile, steps: int) -> None:
        super().__init__(title, hints(("enter", agree), ("esc", "leave the run as it is")))
        self._profile, self._first = profile, steps

    def effect(self, step: int, steps: int) -> list[Piece]:
        """What `steps` would do after step `step`."""
        raise NotImplementedError

    def command(self, steps: int) -> Command:
        """What brings it about."""
        raise NotImplementedError

    def body(self) -> Iterable[Widget]:
        yield LineInput(
            str(self._first), id="steps", restrict=f"[0-9]{{0,{_LONGEST}}}", compact=True, select_on_focus=True
        )
        yield self.told

    def foretell(self, typed: str, state: RunState) -> list[Piece]:
        if not (steps := int(typed or 0)):
            return [("a whole number of steps, 1 at least", ink.WARNING)]
        return self.effect(state.step, steps)

    def on_input_submitted(self) -> None:
        if steps := int(self.typed or 0):
            self.dismiss(self.command(steps))


class CooldownScreen(SteerScreen):
    """Confirms that the rate shall fall from now on, and the run end with it."""

    def __init__(self, profile: Profile, step: int) -> None:
        super().__init__(
            "Cool down over so many steps, then end?", "cool down", profile, default_cooldown(profile, step)
        )

    def effect(self, step: int, steps: int) -> list[Piece]:
        after = replace(self._profile, cooldown_changes(self._profile, step, steps))
        now, then = _rate(after, step), floor_of(after.optim)
        fall = [*_change(now, then), (", evenly from the next step on", ink.DIM)] if then < now else _stays(now)
        return [*_label("rate"), *fall, ("\n", ink.DIM), *_end(self._profile, after)]

    def command(self, steps: int) -> Command:
        return Cooldown(steps=steps)


class ExtendScreen(SteerScreen):
    """Confirms that the run shall be longer."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(
            "Make the run longer by so many steps?", "extend", profile, max(1, profile.train.max_steps // 10)
        )

    def effect(self, step: int, steps: int) -> list[Piece]:
        before = self._profile
        after = replace(before, extension_changes(before, step, steps))
        (old, _), (new, end) = [decay_span(each.optim, each.train.max_steps) for each in (before, after)]
        now, last = _rate(before, step), after.train.max_steps
        what = ""
        if decay_has_begun(before, step) and step < end:
            what = f"goes on falling until step {min(end, last):,}"
            what += f", then {fmt.scientific(_rate(after, last))}" if end < last else ""
        elif new != old:
            what = f"begins to fall at step {old:,} → {new:,}"
        elif before.optim.schedule != "constant" and step < end:
            what = f"falls until step {before.optim.decay_steps or before.train.max_steps:,} → {end:,}"
        rate = [(f"{fmt.scientific(now)}, ", ink.BRIGHT), (what, ink.DIM)] if what else _stays(now)
        return [*_label("rate"), *rate, ("\n", ink.DIM), *_end(before, after)]

    def command(self, steps: int) -> Command:
        return Extend(steps=steps)


def _rate(profile: Profile, step: int) -> float:
    return learning_rate(step, profile.optim, profile.train.max_steps)


def _label(word: str) -> list[Piece]:
    return [(f"{word:<6}", ink.DIM)]


def _change(now: float, then: float) -> list[Piece]:
    return [(fmt.scientific(now), ink.TEXT), (" → ", ink.FAINT), (fmt.scientific(then), ink.BRIGHT)]


def _stays(now: float) -> list[Piece]:
    return [(f"{fmt.scientific(now)}, ", ink.BRIGHT), ("as it is", ink.DIM)]


def _end(before: Profile, after: Profile) -> list[Piece]:
    old, new = before.train.max_steps, after.train.max_steps
    return [*_label("end"), (f"step {old:,}", ink.TEXT), (" → ", ink.FAINT), (f"{new:,}", ink.BRIGHT)]
