"""What the screen knows and shows of ranks: two or 256 of them take the same few cells."""

from __future__ import annotations

from played_runs import run_started
from textual.strip import Strip

from cockpit.reducer import reduce, reduce_all
from cockpit.rollbook import KEPT, RollBook
from cockpit.screens.time import Ledger
from cockpit.state import RunState
from cockpit.widgets.instruments import Instruments
from gpt import events as ev
from gpt.rollcall import summary


def call(step: int, size: int = 256, slow: int = 200, own: float = 45.0) -> ev.RanksTimed:
    return summary(step, 10, [[50.0, 0.1, own if rank == slow else 30.0 + rank / 1000] for rank in range(size)])


def stepped(step: int) -> ev.StepDone:
    return ev.StepDone(step=step, loss=3.0, lr=1e-3, grad_norm=0.5, ms=50.0, tokens=step, tokens_per_s=1.0)


def of_many(*more: ev.Event, size: int = 256) -> RunState:
    ledger = ev.LedgerUpdated(seconds={"train": 90.0, "data": 10.0}, wall=100.0)
    calls = [call(step, size, slow=size - 1) for step in range(10, 210, 10)]
    return reduce_all(RunState(), [run_started(), ledger, *map(stepped, range(1, 9)), *calls, *more])


def text(strips: list[Strip]) -> str:
    return "\n".join(strip.text.rstrip() for strip in strips)


def test_only_the_newest_calls_are_kept_however_long_a_run_is() -> None:
    state = of_many()
    assert len(state.ranks.calls) == KEPT and [call.step for call in state.ranks.calls] == list(range(90, 210, 10))
    slow = state.ranks.straggler()
    assert slow is not None and (slow.rank, slow.calls, slow.of) == (255, KEPT, KEPT)


def test_calls_between_steps_are_read_in_stretches_with_the_same_result() -> None:
    events = [run_started(), *(event for step in range(1, 60) for event in (stepped(step), call(step, size=4)))]
    one_by_one = RunState()
    for event in events:
        one_by_one = reduce(one_by_one, event)
    assert reduce_all(RunState(), events).ranks == one_by_one.ranks != RollBook()


def test_the_time_view_shows_256_ranks_in_as_many_rows_as_four() -> None:
    many, four = (text(Ledger().rows(of_many(size=size), 120, 40)) for size in (256, 4))
    assert "256 ranks, mean of 10 steps, ms" in many and "rank 255" in many and "slowest in 12 of the last 12" in many
    assert many.count(" rank ") == four.count(" rank ") and len(many.splitlines()) == len(four.splitlines())
    assert "rank" not in text(Ledger().rows(reduce_all(RunState(), [run_started(), stepped(1)]), 120, 40))


def test_the_instruments_name_the_slowest_rank_where_there_are_several() -> None:
    """(45 - 30.1) / 50 = 30 %."""
    for width, label in ((120, "256  rank 255 +30 %"), (240, "256  slowest 255, +30 % of a step")):
        several = text(Instruments().rows(of_many(), width, 4))
        assert label in several
        alone = text(Instruments().rows(reduce_all(RunState(), [run_started(), stepped(1)]), width, 4))
        assert "ranks" not in alone


def test_a_restart_is_a_line_of_the_log_and_takes_the_failure_away() -> None:
    failed = ev.Failed(step=31, phase="train", error="rank 0 lost another rank")
    lost = ev.RanksRestarted(step=30, restart=1, most=3, rank=1, how="signal SIGKILL")
    state = of_many(failed, ev.StateChanged(state="failed", step=31), lost)
    line = "rank 1 was lost (signal SIGKILL); restart 1 of 3, from the checkpoint of step 30"
    assert state.log[-1].text == line and state.log[-1].level == "warning"
    assert state.failed is None and state.state == "starting" and state.ranks.newest is None
    paused = of_many(ev.StateChanged(state="paused", step=30), ev.Paused(step=30))
    assert paused.stands_still and not reduce(paused, lost).stands_still, "those started anew train"
    unknown = reduce(RunState(), ev.RanksRestarted(step=0, restart=2, most=3))
    assert unknown.log[-1].text == "a rank was lost; restart 2 of 3, from the beginning"
