"""What each rank's steps take is told together: bounded for any number of ranks, and only where there are several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from gpt import events as ev
from gpt.ranks import ALONE, Ranks
from gpt.rollcall import SLOWEST_TOLD, RollCall, summary
from gpt.stepclock import StepResult


class Pair(Ranks):
    """The first of two ranks; the other one says what is given."""

    size = 2

    def __init__(self, other: Sequence[float] = (40.0, 1.0, 30.0)) -> None:
        self.other = list(other)

    def collect(self, figures: Sequence[float]) -> list[list[float]]:
        return [list(figures), self.other]


def result(step: int, own: float | None = 0.02) -> StepResult:
    return StepResult(step, 3.0, 0.5, 1e-3, 0.04, 0.002, True, own_seconds=own)


def called(ranks: Ranks, steps: int, interval: int, **more: Any) -> list[Any]:
    told: list[Any] = []
    roll = RollCall(told.append, ranks)
    for step in range(1, steps + 1):
        roll.take_in(result(step, **more))
        roll.maybe_call(step, interval)
    return told


def test_ranks_are_called_at_each_interval_and_told_as_means() -> None:
    """Of 40 ms a step this rank's own are 20, the other's 30."""
    told = called(Pair(), steps=25, interval=10)
    assert [(event.step, event.steps, event.ranks) for event in told] == [(10, 10, 2), (20, 10, 2)]
    assert told[0].own_ms == ev.Spread(20.0, 25.0, 30.0) and told[0].data_ms == ev.Spread(1.0, 1.5, 2.0)
    assert [time.rank for time in told[0].slowest] == [1, 0]


def test_a_rank_alone_says_nothing() -> None:
    assert called(ALONE, steps=20, interval=10) == []


def test_where_ranks_meet_all_along_the_wait_for_data_tells_them_apart() -> None:
    told = called(Pair((40.0, 9.0, math.nan)), steps=10, interval=10, own=None)
    assert told[0].own_ms is None
    assert told[0].slowest[0] == ev.RankTime(1, 40.0, 9.0, None) and told[0].slowest[0].slowness == 9.0


def test_256_ranks_make_an_event_as_small_as_four() -> None:
    by_rank = [[50.0, 0.1, 30.0 + rank / 100] for rank in range(256)]
    by_rank[200] = [50.0, 0.1, 45.0]
    event = summary(1000, 10, by_rank)
    assert event.ranks == 256 and len(event.slowest) == SLOWEST_TOLD
    assert [time.rank for time in event.slowest] == [200, 255, 254, 253]
    assert event.own_ms is not None and event.own_ms.median == pytest.approx(31.275, abs=0.02)
    assert len(ev.encode(event)) < 350 and ev.decode(ev.encode(event)) == event
