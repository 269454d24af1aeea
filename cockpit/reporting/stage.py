"""The screen of a run that nobody looks at: drawn once, without a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rich.segment import Segment

from cockpit.app import CockpitApp
from cockpit.budget import FrameBudget
from cockpit.link.base import OnThisDisk, Unsteered
from cockpit.reporting.contents import Subject
from cockpit.stretch import Stretch
from gpt.commands import Command
from gpt.config import Profile
from gpt.events import Event

SIZE = (120, 35)
"""Columns and rows."""


class _Still(Unsteered, OnThisDisk):
    """A link to a run in which nothing happens any more."""

    alive = False

    def __init__(self, subject: Subject) -> None:
        self.run, self.run_dir = subject.run, Path(subject.run)
        self.profile = subject.in_force or Profile(name="unknown")

    def start(self) -> None:
        """Nothing begins."""

    def drain(self) -> Sequence[Event | Stretch]:
        """Nothing happens."""
        return []

    def send(self, command: Command) -> None:
        """Nobody is there."""


def screen_of(subject: Subject) -> list[list[Segment]]:
    """The main screen as it shows the run, rows of segments."""
    return asyncio.run(_drawn(subject))


async def _drawn(subject: Subject) -> list[list[Segment]]:
    app = CockpitApp(_Still(subject))
    app.budget = FrameBudget(1.0, wall=lambda: 0.0, cpu=lambda: 0.0)  # what it costs here says nothing
    async with app.run_test(size=SIZE) as pilot:
        app.show_moment(subject.state, {})
        await pilot.pause()
        return rows_of(app)


def rows_of(app: CockpitApp) -> list[list[Segment]]:
    """What is on an app's screen now. What is yet to be drawn stays so."""
    return [list(strip) for strip in app.screen._compositor.render_strips()]
