"""A report of the run in view, with the screen as it is: written on a thread, so that no frame waits for it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cockpit.sanitize import clean_line
from gpt.errors import UserError

if TYPE_CHECKING:
    from textual.timer import Timer

    from cockpit.app import CockpitApp
    from cockpit.reporting.writing import Screen
    from cockpit.state import RunState
    from gpt.config import Profile

LOOK = 0.1
"""Seconds between two looks whether it is done."""
_KEY = "report"


def save_report(app: CockpitApp) -> None:
    """Begins to write a report; says where it is once it is there."""
    if app.state.started is None:
        app.say("there is nothing to report on yet", "warning")
    elif app.memory.get(_KEY):
        app.say("a report is being written", "warning")
    else:
        rows = [list(strip) for strip in app.screen._compositor.render_strips()]
        work = app.memory[_KEY] = _Work(app, rows)
        app.say("writing a report …", "answer")
        work.start()
        timer = app.set_interval(LOOK, lambda: _look(app, work, timer))


def _look(app: CockpitApp, work: _Work, timer: Timer) -> None:
    if work.said is not None:
        timer.stop()
        app.memory.pop(_KEY, None)
        app.say(*work.said)
        app.frame(force=True)


class _Work(threading.Thread):
    """Writes one report. No daemon: a program that is left meanwhile waits for it."""

    def __init__(self, app: CockpitApp, rows: Screen) -> None:
        super().__init__(name="report")
        self.said: tuple[str, str] | None = None
        """What there is to say at the end, and how grave it is."""
        self._rows = rows
        self._run, self._folder = app.link.run, app.link.run_dir
        self._state: RunState = app.state
        self._profile: Profile = app.link.profile
        self._settings = dict(app.settings)

    def run(self) -> None:
        try:
            self.said = self._write()
        except UserError as error:
            self.said = (str(error), "error")
        except Exception as error:  # whatever goes wrong with a report, the run and its screen go on
            self.said = (f"no report: {type(error).__name__}: {clean_line(str(error))}", "error")
            raise

    def _write(self) -> tuple[str, str]:
        from cockpit.reporting.gathering import of_state
        from cockpit.reporting.writing import write

        subject = of_state(self._run, self._folder, self._state, self._profile, self._settings)
        written = write(subject, self._folder, self._rows)
        return f"report: {'; '.join([clean_line(str(written.page)), *written.notes])}", "answer"
