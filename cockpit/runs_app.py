"""The list of runs as a program of its own: no run behind it."""

from __future__ import annotations

from pathlib import Path

from cockpit.actions import Action
from cockpit.app import CockpitApp
from cockpit.link.base import OnThisDisk, Unsteered
from cockpit.screens.runs import RunsView
from cockpit.screens.runs_boxes import StartNext
from gpt.commands import Command
from gpt.config import Profile
from gpt.events import Event


class NoLink(Unsteered, OnThisDisk):
    """Leads to no run."""

    alive = False

    def __init__(self, runs_dir: Path) -> None:
        self.run, self.run_dir, self.profile = "", runs_dir / "none", Profile(name="gpt-cockpit")

    def start(self) -> None:
        """Nothing begins."""

    def drain(self) -> list[Event]:
        """Nothing happens."""
        return []

    def send(self, command: Command) -> None:
        """Nobody is there."""


class RunsApp(CockpitApp):
    """Shows the runs of a folder; with them, it is left."""

    def __init__(self, runs_dir: Path) -> None:
        super().__init__(NoLink(runs_dir))
        self.start_next: StartNext | None = None
        """What was asked for there."""
        self._runs_dir = runs_dir

    def may(self, action: Action) -> bool:
        """Nothing, where the list has just been closed: there is no run behind it."""
        return self.screen is not self.screen_stack[0] and super().may(action)

    def on_mount(self) -> None:
        self.open(RunsView(self._runs_dir, can_start=True), self._done)

    def _done(self, start_next: StartNext | None) -> None:
        self.start_next = start_next
        self.exit(None)
