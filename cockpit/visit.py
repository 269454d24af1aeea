"""Visiting another run from the screen of this one: it comes in front, with its own link, and goes again.

What was in view goes on behind it: its events are taken in, and signals still reach the run that is trained here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cockpit.pilotage import from_toml
from cockpit.reducer import reduce
from cockpit.state import Past, RunState
from gpt.config import Profile, flatten
from gpt.events import ConfigChanged

if TYPE_CHECKING:
    from cockpit.app import CockpitApp
    from cockpit.link.base import Link
    from cockpit.screens.main import MainScreen
    from cockpit.writeback import WriteBack

ENDED = RunState(state="finished")
"""What can be done now can be done with a run that nobody trains here."""


class Sight:
    """All that an app shows of one run."""

    def __init__(self, app: CockpitApp) -> None:
        self.link: Link = app.link
        self.state: RunState = app.state
        self.settings: dict[str, Any] = app.settings
        self.reload_profile: Callable[[], Profile] | None = app.reload_profile
        self.file: WriteBack | None = app.file
        self.main: MainScreen = app._main

    def keep_up(self) -> None:
        """Takes in what has happened meanwhile."""
        for event in self.link.drain():
            self.state = reduce(self.state, event)
            if isinstance(event, ConfigChanged):
                self.settings[event.key] = from_toml(event.new)
            elif isinstance(event, Past):
                self.settings = flatten(self.link.profile) | event.changed_settings

    def restore(self, app: CockpitApp) -> None:
        """Puts it in view again."""
        app.link, app.state, app.settings, app._main = self.link, self.state, self.settings, self.main
        app.reload_profile, app.file = self.reload_profile, self.file


def attend(app: CockpitApp, link: Link) -> None:
    """Lets a link begin, and has drawn at once what becomes of it, on whichever thread it learns that."""

    def look() -> None:
        with suppress(RuntimeError):  # the screen has just been left, and its loop closed
            app.call_later(app.frame)

    link.when_standing_changes(look)
    link.start()


def visit(app: CockpitApp, link: Link, main: MainScreen, settings: dict[str, Any]) -> None:
    """Shows another run until its screen is left."""
    drawn, there = app._main.chart.look.overlays, main.chart.look.overlays
    there.ghosts = [ghost for ghost in drawn.ghosts if ghost.name != link.run]
    there.references = list(drawn.references)
    app.homes.append(Sight(app))
    app.link, app.state, app.settings, app._main = link, RunState(), settings, main
    app.reload_profile, app.file, app.is_reading = None, None, True
    app.push_screen(main)
    attend(app, link)


def leave(app: CockpitApp) -> None:
    """Goes back to what was in view before the run that is visited."""
    visited = app._main
    while app.screen is not visited:
        app.pop_screen()
    app.pop_screen()
    app.homes.pop().restore(app)
    app.frame(force=True)


def leave_all(app: CockpitApp) -> None:
    """Lets the app stand for the run it was opened for, whatever is on its screen."""
    if app.homes:
        app.homes[0].restore(app)
        app.homes.clear()
