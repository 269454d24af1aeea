"""The clock of a run: every second belongs to exactly one phase, and the phases add up to wall time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from gpt.events import PHASES


class TimeLedger:
    """Gives each moment to the phase that is on, from construction to the last `update`.

    Phases nest: entering one suspends the one around it, so nothing is counted twice. Used by one thread.

    Args:
        phase: the phase that is on at first.
        seconds: totals carried over from an earlier session of the same run.
        clock: a monotonic clock, seconds.
    """

    def __init__(
        self,
        phase: str = "startup",
        *,
        seconds: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        for key, value in (seconds or {}).items():
            self.seconds[key if key in self.seconds else "other"] += value
        self.carries_over = bool(seconds)
        """Whether it was given the totals of an earlier session."""
        self._clock = clock
        self._phase = phase
        self._since = clock()

    @property
    def phase(self) -> str:
        """The phase that is on."""
        return self._phase

    @property
    def wall(self) -> float:
        """Seconds given out so far: the sum of all phases."""
        return sum(self.seconds.values())

    @property
    def goodput(self) -> float | None:
        """Share of wall time spent in `train`, 0…1."""
        return self.seconds["train"] / self.wall if self.wall > 0 else None

    def update(self) -> None:
        """Gives the time since the last change to the phase that is on."""
        now = self._clock()
        self.seconds[self._phase] += now - self._since
        self._since = now

    def switch(self, phase: str) -> str:
        """Makes `phase` the one that is on; returns the one before. Raises KeyError for an unknown phase."""
        if phase not in self.seconds:
            raise KeyError(phase)
        self.update()
        before, self._phase = self._phase, phase
        return before

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """`phase` inside the block, the phase before it again afterwards."""
        before = self.switch(phase)
        try:
            yield
        finally:
            self.switch(before)
