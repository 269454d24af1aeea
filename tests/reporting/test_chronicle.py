"""What is remembered of sittings, evaluations, checkpoints, changes and returns."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "cockpit"))
from played_runs import run_started, story

from cockpit.chronicle import MOST
from cockpit.reducer import reduce, reduce_all
from cockpit.state import RunState
from gpt import events as ev


def test_a_resume_forgets_what_it_has_undone_and_begins_another_sitting() -> None:
    state = reduce_all(RunState(), story())
    assert [each.step for each in state.chronicle.evaluations] == [200, 400, 600, 800]
    assert [each.key for each in state.chronicle.changes] == ["optim.grad_clip"]
    again = reduce_all(state, [ev.Resumed(step=400, exact=True), run_started(step=400)])
    told = again.chronicle
    assert [each.step for each in told.evaluations] == [each.step for each in told.saves] == [200, 400]
    assert told.changes == () and told.returns == ()
    assert [each.resumed is not None for each in told.sittings] == [False, True]


def test_a_rewind_is_remembered_and_keeps_the_changes_before_it() -> None:
    state = reduce_all(RunState(), [*story(), ev.Resumed(step=400, exact=False, why="spike", left=900)])
    told = state.chronicle
    assert [each.step for each in told.evaluations] == [200, 400]
    assert [(each.left, each.step) for each in told.returns] == [(900, 400)]
    assert len(told.changes) == 1 and len(told.sittings) == 1


def test_a_sitting_ends_when_its_run_does() -> None:
    state = reduce_all(RunState(), [run_started(), ev.Finished(time=5.0, step=1, reason="stopped")])
    assert state.chronicle.sittings[0].end == 5.0


def test_of_very_many_evaluations_the_first_and_the_newest_stay() -> None:
    state = RunState()
    for step in range(3 * MOST):
        state = reduce(state, ev.EvalDone(step=step, train_loss=1.0, val_loss=1.0, seconds=1.0, best=False))
    kept = [each.step for each in state.chronicle.evaluations]
    assert len(kept) <= MOST and kept[0] == 0 and kept[-MOST // 2 :] == list(range(3 * MOST - MOST // 2, 3 * MOST))
