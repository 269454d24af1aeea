"""Notices a run that stands still without having been told to: the stacks of its threads, and an event that says where.

It only listens to what the run says anyway. Whatever is going on says something every half second (a micro-step, a
batch of an evaluation, a token, a pause), so a long silence means that something hangs: a disk, a collective operation
of several ranks, a driver. A thread looks at the clock once a second; the thread that trains pays for a note of the
time an event. No torch.
"""

from __future__ import annotations

import collections
import faulthandler
import threading
import time
from collections.abc import Callable
from typing import Protocol

from gpt.config import Profile
from gpt.events import Event, Stalled, StallEnded, StepDone
from gpt.ledger import TimeLedger

STEPS = 10
"""Times the longest of the newest steps, below which a silence in a step is none: a neighbour on the machine, or a card
that is throttled, makes them a few times as long, never ten times for a minute on end."""
NEWEST = 20
"""How many steps are the newest."""
POLL_SECONDS = 1.0
PATIENCE = {"startup": 10, "compile": 30, "evaluate": 2, "sample": 2, "checkpoint": 10, "other": 5}
"""How many times train.stalled_after a phase may be silent, where that is not once. Texts are made into tokens and
weights fetched at the start; a compiler says nothing for minutes; a checkpoint that is written at once goes to a disk
as slow as it is; the first batch of an evaluation may be compiled anew."""
_SELDOM = 5.0
"""Least silence that is one outside of steps, seconds: in a pause something is said every two."""
_STACKS_TO = 2  # the descriptor: console.log, wherever that has been led to


class Run(Protocol):
    """What is looked at here of a run."""

    profile: Profile
    step: int
    ledger: TimeLedger


class Watchdog:
    """Watches one run, between `start` and `close`.

    Args:
        emit: takes each event, from any thread; must not block.
        clock: a monotonic clock, seconds.
    """

    def __init__(self, run: Run, emit: Callable[[Event], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._emit, self._clock = run, emit, clock
        self._steps: collections.deque[float] = collections.deque(maxlen=NEWEST)
        self._heard = self._looked = clock()
        self._stalled_since: float | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def hear(self, event: Event) -> None:
        """Passes on what the run says; all of it is a sign of life."""
        self._heard = self._clock()
        if isinstance(event, StepDone):
            self._steps.append(event.ms / 1e3)
        self._emit(event)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def close(self) -> None:
        """Ends the thread. A second call does nothing."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Says that the run stands still, once, and later that it goes on again."""
        now, heard = self._clock(), self._heard
        late, self._looked = now - self._looked, now
        run, phase = self._run, self._run.ledger.phase
        if self._stalled_since is not None:
            if heard > self._stalled_since:
                stood = heard - self._stalled_since
                self._stalled_since = None
                self._emit(StallEnded(step=run.step, phase=phase, seconds=stood))
            return
        if late > 2 * POLL_SECONDS + 1:  # the whole process stood still, by ctrl+z or a machine that slept
            self._heard = max(heard, now)
            return
        limit = self.limit(phase)
        if limit is not None and now - heard > limit:
            self._stalled_since = heard
            faulthandler.dump_traceback(file=_STACKS_TO, all_threads=True)
            self._emit(Stalled(step=run.step, phase=phase, seconds=now - heard))

    def limit(self, phase: str) -> float | None:
        """Seconds of silence in a phase from which on the run stands still; None: never."""
        least = self._run.profile.train.stalled_after
        if not least:
            return None
        if phase in ("train", "data"):
            return max(least, STEPS * max(tuple(self._steps), default=0.0))
        return max(least * PATIENCE.get(phase, 1), _SELDOM)

    def _watch(self) -> None:
        while not self._closing.wait(min(POLL_SECONDS, (self._run.profile.train.stalled_after or 4) / 4)):
            self.look()
