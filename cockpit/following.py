"""A run without a screen, followed to its end: in lines for as long as somebody can read them, then in silence."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cockpit.headless import HeadlessReporter
from cockpit.link.local import LocalLink
from cockpit.reducer import reduce
from cockpit.signals import Signals
from cockpit.state import Past, RunState
from cockpit.stretch import Stretch
from cockpit.terminal import Outside
from gpt.commands import Save
from gpt.events import Event

POLL_SECONDS = 0.1
"""How often it looks for events to print."""


class Follower:
    """Takes in a run's events until the trainer has ended. Nothing that goes wrong here reaches the run.

    Args:
        state: what is known of the run already.
        since: Unix time before which events are those of earlier sittings: taken in, not printed again.
        silent: print nothing before the end.
    """

    def __init__(
        self, link: LocalLink, reporter: HeadlessReporter, outside: Outside, *, state: RunState, since: float,
        silent: bool,
    ) -> None:  # fmt: skip
        self._link, self._reporter, self._outside = link, reporter, outside
        self._since, self._silent = since, silent
        self._has_failed = False
        reporter.state = state
        link.known = lambda: reporter.state

    def follow(self, signals: Signals, once_begun: Callable[[], None] | None = None) -> None:
        """Returns once all that there was to say has been said.

        Args:
            once_begun: called when the trainer has its model and data, and goes on alone.
        """
        ended = False
        while not ended:
            ended = self._link.join(POLL_SECONDS)
            if signals.has_hung_up and not self._outside.is_let_go:
                self._fall_silent("the terminal was closed (SIGHUP)")
            for event in self._link.drain():
                with self._unharmed():
                    self._take(event)
            begun = self._reporter.state.started
            if once_begun and begun and begun.time >= self._since:
                self._reporter.to_file()  # its bar would stand before what is said now
                once_begun()
                once_begun, self._silent = None, True
        with self._unharmed():
            self._link.conclude(self._reporter.state)
        for event in self._link.drain():
            with self._unharmed():
                self._take(event)
        with self._unharmed():
            self._reporter.close()

    def _take(self, event: Event | Stretch | Past) -> None:
        if self._has_failed:
            return
        if self._silent or isinstance(event, Stretch | Past) or event.time < self._since:
            self._reporter.state = reduce(self._reporter.state, event)
        else:
            self._reporter.show(event)

    @contextmanager
    def _unharmed(self) -> Iterator[None]:
        """A reader that has gone, or a mistake of ours in what is said of a run, is no reason to end it."""
        try:
            yield
        except OSError:
            self._fall_silent("what its lines went to was closed")
        except Exception:
            traceback.print_exc()  # into console.log
            self._has_failed = self._silent = True

    def _fall_silent(self, why: str) -> None:
        self._silent = True
        if self._outside.is_let_go:
            return  # console.log cannot be written: the link says so of the whole folder
        self._reporter.to_file()  # first: the bar has hidden the cursor of a terminal that may still be there
        self._outside.let_go()
        if self._link.alive:
            note_departure(self._link, why)


def note_departure(link: LocalLink, why: str) -> None:
    """Writes into the log why nobody sees the run any more, and has it saved at its next step boundary."""
    link.tell("warning", f"{why}; the run goes on without a screen")
    link.send(Save())
