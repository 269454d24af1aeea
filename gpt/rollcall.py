"""What the steps of each rank took, told together: a few floats by rank, gathered every train.log_interval steps.

Ranks that share a step end it together, so their step times are alike, whoever was slow. What tells them apart is the
time before a rank first waits for the others (data, all forward passes, all backward passes but the last), and how long
each waited for its data. With sharded weights ranks meet in every layer: there only the waiting for data is a rank's
own.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from gpt import events as ev
from gpt.ranks import Ranks
from gpt.stepclock import StepResult

SLOWEST_TOLD = 4
"""Ranks that are told one by one; of the others only the spread."""


class RollCall:
    """Calls the ranks of one run. Alone it does nothing.

    Args:
        emit: takes each event; must not block.
    """

    def __init__(self, emit: Callable[[ev.Event], None], ranks: Ranks) -> None:
        self._emit, self._ranks = emit, ranks
        self._results: list[StepResult] = []

    def take_in(self, result: StepResult) -> None:
        """Notes what a step of this rank took."""
        if self._ranks.size > 1:
            self._results.append(result)

    def maybe_call(self, step: int, interval: int) -> None:
        """At every `interval`-th step: gathers what the steps since took, and tells it. All ranks come here alike."""
        if self._ranks.size == 1 or step % interval:
            return
        results, self._results = self._results, []
        # On a device that lags the newest result may be of the step before; how many there are is alike on all ranks.
        by_rank = self._ranks.collect(_means(results))
        if results:
            self._emit(summary(step, len(results), by_rank))


def summary(step: int, steps: int, by_rank: Sequence[Sequence[float]]) -> ev.RanksTimed:
    """The event of what each rank's steps took.

    Args:
        steps: how many the means are over.
        by_rank: for each rank means of step time, waiting for data and own time, ms; own time NaN where it is unknown.
    """
    times = [
        ev.RankTime(rank, ms, data_ms, None if math.isnan(own_ms) else own_ms)
        for rank, (ms, data_ms, own_ms) in enumerate(by_rank)
    ]
    own = [time.own_ms for time in times if time.own_ms is not None]
    slowest = sorted(times, key=lambda time: -time.slowness)[:SLOWEST_TOLD]
    return ev.RanksTimed(
        step=step, steps=steps, ranks=len(times), ms=_spread([time.ms for time in times]),
        data_ms=_spread([time.data_ms for time in times]), own_ms=_spread(own) if own else None, slowest=slowest,
    )  # fmt: skip


def _means(results: Sequence[StepResult]) -> list[float]:
    """Means of step time, waiting for data and own time, ms; NaN where it is unknown."""
    if not results:
        return [math.nan] * 3
    own = [math.nan if result.own_seconds is None else result.own_seconds for result in results]
    sums = [sum(result.seconds for result in results), sum(result.data_seconds for result in results), sum(own)]
    return [round(1e3 * total / len(results), 3) for total in sums]  # µs are the last that mean anything


def _spread(values: Sequence[float]) -> ev.Spread:
    return ev.Spread(min(values), statistics.median(values), max(values))
