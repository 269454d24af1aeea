"""The doctor: what it has found as cards, and what each of them offers to do."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import BindingType
from textual.widget import Widget

from cockpit.doctor.diagnosis import Diagnosis
from cockpit.doctor.examination import RULES
from cockpit.doctor.rounds import Consultation, Opinion
from cockpit.screens.treat import silence, treat
from cockpit.screens.view import View
from cockpit.state import RunState
from cockpit.widgets.cards import Cards, Findings
from gpt.config import replace
from gpt.errors import ProfileError

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

SECONDS = 2.0
"""Between two examinations at least, while the cards are looked at."""
EVERY_STEPS = 100
LOOK = 0.05
"""Seconds between two looks whether an examination has come to its end."""


def doctor(app: CockpitApp) -> None:
    """Opens the cards."""
    app.open(DoctorView(app))


class DoctorView(View[None]):
    """All that was found now, notes too; examined anew as the run goes on, on a thread of its own."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("down,j", "move(1)", "down"), ("up,k", "move(-1)", "up"),
        ("pagedown", "page(1)", "page down"), ("pageup", "page(-1)", "page up"),
        ("home", "move(-1000)", "first"), ("end", "move(1000)", "last"),
        ("enter", "treat", "treat"), ("z", "silence", "silence"),
    ]  # fmt: skip

    def __init__(self, app: CockpitApp) -> None:
        super().__init__("doctor", [("↑ ↓", "card"), ("enter", "treat it"), ("z", "silence it")])
        self._cockpit = app
        self._consultation = Consultation(app.link.run_dir)
        self._asked: tuple[Any, ...] = ()
        self._asked_at = 0.0
        self._opinion: Opinion | None = None
        self.cards = Cards()

    def body(self) -> Iterable[Widget]:
        yield self.cards

    def show_body(self, state: RunState) -> bool:
        self._ask(state)
        if (opinion := self._consultation.opinion) is not None and opinion is not self._opinion:
            self._opinion = opinion
        self.cards.findings = self._findings(state)
        return self.cards.show(state)

    def _ask(self, state: RunState) -> None:
        """Begins an examination where there is something new."""
        evaluated = state.evaluation.step if state.evaluation else None
        settings = tuple(map(repr, self._cockpit.settings.items()))
        now = (evaluated, state.step // EVERY_STEPS, state.state, settings, state.started)
        if now == self._asked or time.monotonic() - self._asked_at < SECONDS * bool(self._asked):
            return
        try:
            profile = replace(self._cockpit.link.profile, self._cockpit.settings)
        except ProfileError:
            profile = self._cockpit.link.profile
        if not self._consultation.is_busy:
            self._asked, self._asked_at = now, time.monotonic()
            self._consultation.ask(profile, state)
            self.set_timer(LOOK, self._await)

    def _await(self) -> None:
        if self._consultation.is_busy:
            self.set_timer(LOOK, self._await)
        if not self._consultation.is_busy or self._consultation.opinion is not self._opinion:
            self.show(self.shows)

    def _findings(self, state: RunState) -> Findings | None:
        if self._opinion is None:
            return None
        evidence, found, broken = self._opinion
        entries = evidence.profile.doctor.silence if evidence.profile else []
        silenced = {rule: why.strip() for rule, _, why in (entry.partition(":") for entry in entries)}
        ill = {each.rule for each in found} | set(silenced) | set(broken)
        return Findings(
            found, {each.rule: each.step for each in state.checkup.findings},
            [rule for rule in RULES if rule.id not in ill], silenced, broken,
        )  # fmt: skip

    @property
    def chosen(self) -> Diagnosis | None:
        """The diagnosis of the chosen card."""
        return self.cards.chosen

    def on_cards_picked(self) -> None:
        """A click or the wheel has moved the cards."""
        self.show(self.shows)

    def action_move(self, by: int) -> None:
        """Another card."""
        self.cards.move(by)
        self.show(self.shows)

    def action_page(self, by: int) -> None:
        """Scrolls by a screenful."""
        self.cards.scroll(by * max(1, self.cards.size.height - 2))
        self.show(self.shows)

    def action_treat(self) -> None:
        """Shows what the chosen card's treatment would do, and does it if the pilot agrees."""
        if self.chosen is None:
            self._cockpit.say("there is nothing to treat")
        else:
            treat(self._cockpit, self, self.chosen)
        self.show(self.shows)

    def action_silence(self) -> None:
        """Asks why the chosen card's rule does not apply here, and silences it."""
        if self.chosen is None:
            self._cockpit.say("there is nothing to silence")
        else:
            silence(self._cockpit, self.chosen)
        self.show(self.shows)
