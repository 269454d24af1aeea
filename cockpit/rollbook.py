"""What is known of a run's ranks: what each one's steps took, and how often they were started anew."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np

from gpt import events as ev

KEPT = 12
"""Newest roll calls that are kept: enough to tell one slow rank from chance, however long a run is."""
MOST_RESTARTS = 20
"""Newest restarts that are kept."""


class Straggler(msgspec.Struct, frozen=True):
    """The rank that was the slowest most often of late. Figures are medians over the newest roll calls, ms a step."""

    rank: int
    calls: int
    """Of `of` roll calls it was the slowest in."""
    of: int
    own_ms: float
    """What it took before it waited for another rank; where that is unknown, its waiting for data."""
    others_ms: float
    """The median rank's."""
    waits_ms: float
    """Part of the difference that is waiting for data."""
    step_ms: float
    """The whole step's, of the median rank."""

    @property
    def excess(self) -> float:
        """The difference as a share of the step."""
        return (self.own_ms - self.others_ms) / self.step_ms if self.step_ms > 0 else 0.0


class RollBook(msgspec.Struct, frozen=True):
    """The newest roll calls and restarts, oldest first."""

    calls: tuple[ev.RanksTimed, ...] = ()
    restarts: tuple[ev.RanksRestarted, ...] = ()

    @property
    def newest(self) -> ev.RanksTimed | None:
        """The newest roll call; None of a run that one rank trains."""
        return self.calls[-1] if self.calls else None

    def take(self, event: ev.RanksTimed) -> RollBook:
        """One more roll call; with another number of ranks the earlier ones say nothing any more."""
        alike = self.calls if self.newest and self.newest.ranks == event.ranks else ()
        return RollBook((*alike[1 - KEPT :], event), self.restarts)

    def restarted(self, event: ev.RanksRestarted) -> RollBook:
        """All ranks were started anew: the slow one may not be slow any more."""
        return RollBook((), (*self.restarts[1 - MOST_RESTARTS :], event))

    def sat_down(self, event: ev.RunStarted) -> RollBook:
        """A sitting begins, perhaps on one rank alone."""
        return RollBook((), self.restarts)

    def straggler(self) -> Straggler | None:
        """The rank that was the slowest most often; None where nothing was told yet."""
        slowest = [call.slowest[0] for call in self.calls if call.slowest]
        if not slowest:
            return None
        rank, count = Counter(time.rank for time in slowest).most_common(1)[0]
        mine = [(call, call.slowest[0]) for call in self.calls if call.slowest and call.slowest[0].rank == rank]
        return Straggler(
            rank, count, len(self.calls), _median([time.slowness for _, time in mine]),
            _median([(call.own_ms or call.data_ms).median for call, _ in mine]),
            _median([time.data_ms - call.data_ms.median for call, time in mine]),
            _median([call.ms.median for call, _ in mine]),
        )  # fmt: skip


def restart_text(event: ev.RanksRestarted) -> str:
    """One line: which rank was lost and how, the restart's number, and where training goes on."""
    who = "a rank was lost" if event.rank is None else f"rank {event.rank} was lost"
    how = f" ({event.how})" if event.how else ""
    place = f"from the checkpoint of step {event.step:,}" if event.step else "from the beginning"
    return f"{who}{how}; restart {event.restart} of {event.most}, {place}"


def _median(values: list[float]) -> float:
    return float(np.median(values))
