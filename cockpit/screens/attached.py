"""The main screen of a run that another process trains."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from cockpit.link.socket import SocketLink
from cockpit.runs import Run
from cockpit.screens.main import MainScreen
from cockpit.visit import visit
from gpt.config import flatten

if TYPE_CHECKING:
    from cockpit.app import CockpitApp


SHORT_PATIENCE = 0.5
"""Seconds for which another screen may stand still for it."""


class AttachedScreen(MainScreen):
    """Ends its link when it goes."""

    def __init__(self, link: SocketLink, *, thin: bool = False) -> None:
        super().__init__(link.profile.name, link.run, thin=thin)
        self._link = link

    def takes(self, action: str) -> bool:
        """A fork is made by the program that goes on as it."""
        if action != "fork":
            return False
        from cockpit.app import CockpitApp

        assert isinstance(self.app, CockpitApp)
        profile = Run(self._link.run_dir).resume_arguments()[0]
        command = shlex.join(["gpt-cockpit", profile, "--fork", self._link.run])
        self.app.say(f"an attached screen cannot become a fork; on its machine: {command}", "warning")
        return True

    def on_unmount(self) -> None:
        self._link.close()


def visit_live(app: CockpitApp, run: Run) -> None:
    """Attaches to a live run of the same folder, in front of what is on the screen.

    Raises LinkError where its process lets nobody in.
    """
    link = SocketLink.attach(run, patience=SHORT_PATIENCE)
    visit(app, link, AttachedScreen(link, thin=app.options.thin), flatten(link.profile))
