"""Feeds a tracker beside training, on a thread of its own: neither its speed nor its failure reaches the run."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable

from cockpit.sanitize import clean_line
from cockpit.trackers import Tracker
from gpt.events import EvalDone, Event, LogLine, NoiseScaleEstimated, Resumed, StepDone

FEED_SECONDS = 1.0
"""Time between two portions."""

PATIENCE_SECONDS = 30.0
"""Longest that the end of a run waits for a tracker to send its last."""

MAX_WAITING = 100_000
"""Events that may wait, some tens of megabytes; a tracker that falls behind further is given up."""

_MIRRORED = (StepDone, EvalDone, NoiseScaleEstimated, Resumed)


class Mirror:
    """Hands events to one tracker. The first thing that goes wrong is told once, as a warning, and ends it.

    Args:
        name: of the tracker, for the warning.
        make: makes the tracker, at its first event: a run that never takes a step leaves no trace elsewhere.
        emit: takes the warning, from this mirror's thread or the caller's of `close`.
    """

    def __init__(self, name: str, make: Callable[[], Tracker], emit: Callable[[Event], None]) -> None:
        self._name, self._make, self._emit = name, make, emit
        self._queue: collections.deque[Event] = collections.deque()
        self._closing = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._feed_on, name=f"mirror {name}", daemon=True)
        self._thread.start()

    def take(self, event: Event) -> None:
        """Takes an event, from any thread. Never blocks and never raises."""
        if isinstance(event, _MIRRORED) and not self._failed:
            self._queue.append(event)

    def close(self) -> None:
        """Waits, within limits, until the tracker has everything."""
        self._closing.set()
        self._thread.join(PATIENCE_SECONDS)
        if self._thread.is_alive():
            self._fail(f"it was not done {PATIENCE_SECONDS:.0f} s after the run's end")

    def _feed_on(self) -> None:
        tracker: Tracker | None = None
        try:
            closing = False
            while not closing and not self._failed:
                closing = self._closing.wait(FEED_SECONDS)
                if len(self._queue) > MAX_WAITING:
                    raise TimeoutError(f"it fell {len(self._queue):,} events behind")
                if not self._queue:
                    continue
                tracker = tracker or self._make()
                while self._queue:  # one reader, so what is there stays there
                    tracker.take(self._queue.popleft())
                tracker.flush()
            if tracker:
                tracker.close()
        except BaseException as error:  # whatever a foreign package throws, SystemExit among it, is not ours to die of
            self._fail(f"{error}" or type(error).__name__)

    def _fail(self, why: str) -> None:
        if not self._failed:
            self._failed = True
            self._queue.clear()
            text = f"{self._name} gets no more of this run: {clean_line(why)[:300]}; training goes on"
            self._emit(LogLine(level="warning", text=text))
