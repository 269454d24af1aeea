"""A run that is played from its log: the main screen, and a row below to move in time."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.widget import Widget
from textual.widgets import Static

from cockpit.actions import ACTIONS, BY_ID, Action, bindings
from cockpit.link.replay import Moment, ReplayLink
from cockpit.runs import Run
from cockpit.screens.main import MainScreen
from cockpit.screens.modal import LineBox, hints, text
from cockpit.state import RunState
from cockpit.visit import ENDED, visit
from cockpit.widgets import ink
from cockpit.widgets.keybar import KeyBar
from cockpit.widgets.lineinput import LineInput
from cockpit.widgets.scrubber import ReplayKeys, Scrubber
from gpt.config import flatten

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

TICK = 0.1
"""Seconds between two movements."""
GENTLE = 0.2
"""Share of a core that reading a log takes while a run is trained here."""

_MOVES: tuple[tuple[str, str], ...] = (
    ("space", "play"), ("left", "shift(-0.01)"), ("right", "shift(0.01)"),
    ("shift+left", "shift(-0.1)"), ("shift+right", "shift(0.1)"),
    ("comma", "steps(-1)"), ("full_stop", "steps(1)"), ("less_than_sign", "steps(-10)"),
    ("greater_than_sign", "steps(10)"), ("home", "to(0)"), ("end", "to(1)"), ("e,n", "mark('evaluate', True)"),
    ("E,N", "mark('evaluate', False)"), ("plus,up,equals_sign", "faster(1)"), ("minus,down", "faster(-1)"),
    ("colon", "ask_step"),
)  # fmt: skip
_TOLD = (
    ("space", "play", "Let time go on, or stand still."),
    ("← →", "1 %", "Back or on by a hundredth of the log; with shift by a tenth. A click on the track goes there."),
    (", .", "step", "One step back or on, and stand still there; < and > ten."),
    ("e E", "evaluation", "To the next evaluation, or the one before; n and N too."),
    ("- +", "speed", "Slower or faster: 1 to 1,000 times as fast as it was."),
    (":", "to step", "To a step; where a run went back, to when it was taken for the last time."),
    ("home end", "ends", "To the beginning, or to the end, where a run that goes on is followed."),
)
"""What those keys are told as."""


def visit_run(app: CockpitApp, run: Run) -> None:
    """Opens a run of the same folder in front of what is on the screen: all of it, as its log has it."""
    link = ReplayLink(run, at_end=True, share=GENTLE if app.link.alive else 1.0)
    visit(app, link, ReplayScreen(link), flatten(link.profile))


def _is_for_logs(action: Action) -> bool:
    """Whether an action needs no more than a log."""
    return not action.is_steering and action.id != "fork" and action.when(ENDED)


class ReplayScreen(MainScreen, inherit_bindings=False):
    """The main screen of a log. What would command a trainer moves in time instead, or does nothing."""

    def __init__(self, link: ReplayLink) -> None:
        self.scrubber = Scrubber(link, id="scrubber")
        self.link = link
        super().__init__(link.profile.name, link.run)
        keys = self._bindings.key_to_bindings
        keys.clear()
        moves = Binding.make_bindings([*((key, action, "") for key, action in _MOVES), ("escape", "back", "")])
        for binding in (*bindings(action for action in ACTIONS if _is_for_logs(action)), *moves):
            keys[binding.key] = [binding]  # what moves in time has its key before what has it elsewhere

    def keys_told(self) -> tuple[tuple[str, str, str], ...]:
        taken = {key for keys, _ in _MOVES for key in keys.split(",")}
        others = [action for action in ACTIONS if _is_for_logs(action)]
        return (
            *_TOLD,
            *(("" if taken.issuperset(action.bound_keys) else action.key_label, action.label, action.help)
              for action in others),
        )  # fmt: skip

    def make_keys(self) -> KeyBar:
        return ReplayKeys(id="keys")

    def below(self) -> Iterable[Widget]:
        yield self.scrubber

    def rows_below(self, height: int) -> int:
        return 2 if height >= 12 else 1 if height >= 4 else 0

    def show(self, state: RunState, *, numbers: bool = True) -> bool:
        drawn = super().show(state, numbers=numbers)
        return self.scrubber.show(state) or drawn

    def takes(self, action: str) -> bool:
        """Space plays and halts wherever it works. What steers, and a fork, is for the program that has the run."""
        if action == "pause":
            self.action_play()
        elif not _is_for_logs(BY_ID[action]):
            self.cockpit.say(f"this is a replay: {BY_ID[action].label} does nothing here", "warning")
        else:
            return False
        return True

    def on_mount(self) -> None:
        self.set_interval(TICK, self._tick)
        if self.link.complaint:
            self.cockpit.say(f"the profile it kept is not readable: {self.link.complaint}", "warning")

    def on_unmount(self) -> None:
        self.link.close()

    @property
    def cockpit(self) -> CockpitApp:
        """The app, as what it is."""
        from cockpit.app import CockpitApp

        assert isinstance(self.app, CockpitApp)
        return self.app

    def _tick(self) -> None:
        """Lets time go on, while this run is the one in view."""
        if self.cockpit.link is not self.link:
            return
        before = (self.link.position, self.link.length)
        self._show(self.link.tick(time.monotonic()))
        if self.app.screen is self and before != (self.link.position, self.link.length):
            self.scrubber.redraw()

    def _show(self, moment: Moment | None) -> None:
        if moment is not None:
            self.cockpit.show_moment(moment.state, moment.changes)

    def _moved(self) -> None:
        self.scrubber.redraw()
        self.cockpit.budget.hurry()

    # What its keys do

    def action_back(self) -> None:
        """Shows all panes again, or else leaves."""
        if self.zoomed:
            self.action_whole()
        else:
            self.cockpit.do_quit()

    def action_play(self) -> None:
        """Plays, or stands still."""
        self._show(self.link.toggle())
        self._moved()

    def action_shift(self, share: float) -> None:
        """Goes on or back by a share of the whole."""
        here = self.link.length if self.link.at_end else self.link.position
        self._show(self.link.seek(here + share * self.link.length))
        self._moved()

    def action_to(self, share: float) -> None:
        """Goes to the beginning, the end, or between."""
        self._show(self.link.seek(share * self.link.length))
        self._moved()

    def action_steps(self, by: int) -> None:
        """Goes some steps on or back, and stands still there."""
        self.link.playing = False
        self._show(self.link.shift_step(by, self.cockpit.state.step))
        self._moved()

    def action_mark(self, kind: str, forward: bool) -> None:
        """Goes to the next evaluation, or the one before."""
        moment = self.link.seek_mark(kind, forward=forward)
        if moment is None:
            word = "further" if forward else "earlier"
            self.cockpit.say(f"no {word} evaluation in {'the log' if self.link.complete else 'what has been read'}")
        self._show(moment)
        self._moved()

    def action_faster(self, by: int) -> None:
        """Plays faster or slower."""
        self.link.faster(by)
        self._moved()

    def action_ask_step(self) -> None:
        """Asks for a step to go to."""

        def go(step: int | None) -> None:
            if step is not None:
                self._show(self.link.seek_step(step))
                self._moved()

        self.cockpit.open(StepScreen(self.cockpit.state.step), go)

    def on_scrubber_moved(self, event: Scrubber.Moved) -> None:
        share = event.share * self.link.length / max(1e-9, self.link.share_read)
        self._show(self.link.seek(self.link.length if event.share >= 1 else share))
        self._moved()


class StepScreen(LineBox[int]):
    """Asks for a step."""

    def __init__(self, step: int) -> None:
        super().__init__("Go to which step?", hints(("enter", "go"), ("esc", "stay")))
        self._step = step

    def body(self) -> Iterable[Widget]:
        yield LineInput(str(self._step), id="step", restrict="[0-9]{0,12}", compact=True, select_on_focus=True)
        yield Static(text(("where it was taken for the last time, if a run went back", ink.DIM)))

    def on_input_submitted(self) -> None:
        self.dismiss(int(self.typed or 0))
