"""What signals, and a time that is up, do to a run: an orderly end, or a run without a screen."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gpt.commands import Command, Stop

MORE_TO_DO = 75
"""Exit code of a run that was saved because its time is up: EX_TEMPFAIL of sysexits.h, "start me again"."""

_TIME_IS_UP = (signal.SIGUSR1, signal.SIGALRM)
"""What Slurm sends ahead of its limit where --signal asks for it, and our own alarm clock."""
_ENDS = (signal.SIGINT, signal.SIGTERM, *_TIME_IS_UP)


class AtOnce(KeyboardInterrupt):
    """A second SIGINT: the process is to end while its threads are at work. A third one is not heard."""


class Signals:
    """Turns signals into an orderly stop; a second SIGINT ends at once, without saving. SIGHUP ends only the screen.

    Args:
        send: takes commands to the run; called from handlers, so it must not block.
    """

    def __init__(self, send: Callable[[Command], None]) -> None:
        self._send = send
        self._before: dict[int, Any] = {}
        self.received = 0
        """The signal that ends the run; 0: none has come."""
        self.has_hung_up = False
        """Whether SIGHUP has come: the terminal is gone."""
        self.app: Any = None
        """The screen, while there is one."""

    @property
    def exit_code(self) -> int:
        """Of a run that has ended in order: 75 where its time was up, else 128 and the signal, or 0."""
        if self.received in _TIME_IS_UP:
            return MORE_TO_DO
        return 128 + self.received if self.received else 0

    @contextmanager
    def installed(self, deadline: float | None = None) -> Iterator[None]:
        """Hears signals inside the block.

        Args:
            deadline: time.monotonic() at which the run's time is up; None: never.
        """
        self._before = {number: signal.signal(number, self._stop) for number in _ENDS}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: its output is still wanted
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hang_up)
        if deadline is not None:
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, deadline - time.monotonic()))
        try:
            yield
        finally:
            if deadline is not None:
                signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: object) -> None:
        if number == signal.SIGINT and self.received and self.received not in _TIME_IS_UP:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a third would cut the terminal's restoring short
            self._before.pop(signal.SIGINT, None)
            raise AtOnce
        if self.received not in _TIME_IS_UP:  # what a scheduler sends after its warning changes nothing
            self.received = number
        if self.app is not None:
            self.app.terminate()
        else:
            self._send(Stop(save=True))

    def _hang_up(self, number: int, frame: object) -> None:
        self.has_hung_up = True
        if self.app is not None:
            self.app.hang_up("the terminal was closed (SIGHUP)")
