"""Where the time went, through time: the run's clock at moments of the run. Bounded, and pure.

The clock of gpt.ledger only grows, so the seconds of any stretch are the difference of two of its readings. All of the
run is kept coarsely, its last minutes finely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import msgspec

from gpt.events import PHASES

MOMENTS = 512
"""Readings kept of the whole run; when there are more, every other one goes."""
RECENT_SECONDS = 3600.0
"""What the fine readings reach back."""
FINE = 900
"""Fine readings at most."""


class Reading(msgspec.Struct, frozen=True, array_like=True):
    """The clock at a moment."""

    wall: float
    """Seconds since the run began, all sittings together: the sum of the phases."""
    seconds: tuple[float, ...]
    """By phase, in the order of PHASES."""


class Timeline(msgspec.Struct, frozen=True):
    """Readings of the clock, oldest first."""

    coarse: tuple[Reading, ...] = ()
    """Of the whole run."""
    spacing: float = 0.0
    """Seconds between two of them at least."""
    fine: tuple[Reading, ...] = ()
    """Of its last minutes."""
    newest: Reading | None = None

    def take(self, *readings: Mapping[str, float]) -> Timeline:
        """The timeline after more readings, seconds by phase, one after the other."""
        coarse, fine, spacing = [*self.coarse], [*self.fine], self.spacing
        before = self.newest.wall if self.newest else 0.0
        for seconds in readings:
            wall = sum(seconds.values())
            if wall < before:  # the clock was set back: a sitting began without what the one before had counted
                coarse = [r for r in coarse if r.wall <= wall]
                fine = [r for r in fine if r.wall <= wall]
            before = wall
            if not coarse or wall - coarse[-1].wall >= spacing:
                coarse.append(_reading(wall, seconds))
                if len(coarse) > MOMENTS:
                    del coarse[1::2]
                    spacing = max(2 * spacing, (coarse[-1].wall - coarse[0].wall) / MOMENTS)
            if not fine or wall - fine[-1].wall >= RECENT_SECONDS / FINE / 4:
                fine.append(_reading(wall, seconds))
                if len(fine) > FINE:  # the older half gets half as fine
                    del fine[1 : FINE // 2 : 2]
                while fine[0].wall < wall - RECENT_SECONDS:
                    del fine[0]
        newest = _reading(before, readings[-1]) if readings else self.newest
        return Timeline(tuple(coarse), spacing, tuple(fine), newest)

    def since(self, seconds: float, ledger: Mapping[str, float]) -> dict[str, float]:
        """Seconds by phase of the last `seconds` of a run whose clock says `ledger`; less where it is younger."""
        wall = sum(ledger.values())
        before = _at(self.fine, wall - seconds)
        return {phase: max(0.0, ledger.get(phase, 0.0) - then) for phase, then in zip(PHASES, before, strict=True)}

    def columns(self, start: float, end: float, count: int) -> list[dict[str, float]]:
        """Seconds by phase in each of `count` stretches between two moments of the run, seconds since its beginning."""
        readings = self.fine if self.fine and self.fine[0].wall <= start else self.coarse
        if self.newest and readings:
            readings = (*readings, self.newest)
        edges = [start + (end - start) * n / count for n in range(count + 1)]
        at = [_at(readings, edge) for edge in edges]
        return [
            {phase: max(0.0, b - a) for phase, a, b in zip(PHASES, one, other, strict=True)}
            for one, other in pairwise(at)
        ]


def _reading(wall: float, seconds: Mapping[str, float]) -> Reading:
    return Reading(wall, tuple([seconds.get(phase, 0.0) for phase in PHASES]))


def _at(readings: Sequence[Reading], wall: float) -> tuple[float, ...]:
    """The clock at a moment, between two readings as if time had gone evenly; all zero before the run."""
    if not readings or wall <= 0:
        return (0.0,) * len(PHASES)
    low, high = 0, len(readings)
    while low < high:
        middle = (low + high) // 2
        if readings[middle].wall <= wall:
            low = middle + 1
        else:
            high = middle
    after = readings[low] if low < len(readings) else readings[-1]
    before = readings[low - 1] if low else Reading(0.0, (0.0,) * len(PHASES))
    span = after.wall - before.wall
    share = min(1.0, (wall - before.wall) / span) if span > 0 else 1.0
    return tuple(a + share * (b - a) for a, b in zip(before.seconds, after.seconds, strict=True))
