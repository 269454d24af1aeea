"""One slow rank of several is named; ranks that take turns at being slowest are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from machines import find_one, on_card
from stories import START

from cockpit.doctor import ranks
from gpt import events as ev
from gpt.rollcall import summary

SIZE = 8


def calls(own: Callable[[int, int], float | None], *, data: float = 1.0, count: int = 8) -> list[ev.Event]:
    """Roll calls of 8 ranks whose steps take 1,000 ms; `own` is a rank's own time at a call, ms, None: unknown."""
    told: list[ev.Event] = []
    for call in range(count):
        by_rank = [[1000.0, data, own(rank, call) or float("nan")] for rank in range(SIZE)]
        event = summary(10 * call + 10, 10, by_rank)
        told.append(ev.RanksTimed(**{name: getattr(event, name) for name in event.__struct_fields__} | {"time": START}))
    return told


def slow(rank: int, by: float) -> Callable[[int, int], float]:
    return lambda number, call: 600.0 + (by if number == rank else number / 10)


def test_a_rank_that_is_always_slower_is_named_with_its_figures() -> None:
    """750 of its own where the median of the others is 600.4: 15 % of a step."""
    found = find_one(ranks.RULE, on_card(beside=calls(slow(5, 150.0))))
    assert found is not None and found.severity == "warning"
    assert found.title == "Rank 5 takes 750 ms a step by itself, the others 600: all wait for it"
    assert found.evidence["share_of_step"] == pytest.approx(0.15, abs=0.001)
    assert "nvidia-smi" in found.advice


@pytest.mark.parametrize(
    "own",
    [slow(5, 60.0), lambda rank, call: 600.0 + (150.0 if rank == call % 4 else 0.0)],
    ids=["by 6 % of a step", "each in turn"],
)
def test_small_differences_and_turns_are_as_they_should_be(own: Callable[[int, int], float]) -> None:
    assert find_one(ranks.RULE, on_card(beside=calls(own))) is None


def test_a_few_calls_are_not_enough() -> None:
    assert find_one(ranks.RULE, on_card(beside=calls(slow(5, 150.0), count=5))) is None
    assert find_one(ranks.RULE, on_card()) is None


def test_after_a_restart_it_is_judged_anew() -> None:
    restarted = ev.RanksRestarted(time=START, step=80, restart=1, most=3)
    assert find_one(ranks.RULE, on_card(beside=[*calls(slow(5, 150.0)), restarted])) is None


def test_a_rank_that_waits_for_its_data_is_sent_to_its_disk() -> None:
    """Sharded weights: ranks meet in every layer, and only the waiting for data is known of each."""
    told: list[ev.Event] = []
    for call in range(8):
        by_rank = [[1000.0, 300.0 if rank == 2 else 4.0, float("nan")] for rank in range(SIZE)]
        told.append(summary(10 * call + 10, 10, by_rank))
    found = find_one(ranks.RULE, on_card(beside=told))
    assert found is not None and found.title.startswith("Rank 2 waits 300 ms a step by itself, the others 4")
    assert "local disk" in found.advice and "nvidia-smi" not in found.advice
