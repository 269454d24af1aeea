"""One pure function builds what the screen knows."""

from __future__ import annotations

import msgspec
import pytest
from played_runs import finished_story, run_started, step_done, story

from cockpit.reducer import reduce, reduce_all
from cockpit.series import Series
from cockpit.state import RunState
from cockpit.widgets.notice import outcome
from gpt import events as ev


def losses(*values: float | None) -> RunState:
    return reduce_all(RunState(), [run_started(), *(step_done(i + 1, value) for i, value in enumerate(values))])


def as_plain(state: RunState) -> dict:
    """A state as values that can be compared; the curves as lists."""
    return {
        name: (value.x.tolist(), value.y.tolist()) if isinstance(value, Series) else value
        for struct in (state, state.meters)
        for name, value in msgspec.structs.asdict(struct).items()
        if name != "meters"
    }


def test_no_event_changes_the_state_it_is_given() -> None:
    state = reduce_all(RunState(), story(250))
    before = as_plain(state)
    for event in finished_story():
        reduce(state, event)
    assert as_plain(state) == before


def test_smoothed_loss_starts_at_the_first_loss() -> None:
    assert losses(5.0).smoothed_loss.last == 5.0
    assert 3.0 < losses(5.0, 3.0).smoothed_loss.last < 5.0
    assert losses(*[9.0] * 3, *[2.0] * 300).smoothed_loss.last == pytest.approx(2.0, abs=0.01)


def test_a_loss_that_is_not_a_number_is_kept_and_leaves_the_smoothed_one_alone() -> None:
    state = losses(4.0, None, 4.0)
    assert len(state.loss) == 3 and state.smoothed_loss.y.tolist() == [4.0, 4.0, 4.0]
    assert losses(None).smoothed_loss.last is None


def test_resuming_drops_what_came_after_the_checkpoint() -> None:
    state = reduce_all(RunState(), [*story(900), ev.Resumed(step=450, exact=True)])
    for curve in (state.loss, state.smoothed_loss, state.lr, state.grad_norm, state.ms, state.tokens_per_s, state.mfu):
        assert curve.x[-1] == 450
    assert state.val_loss.x.tolist() == [200, 400]
    assert (state.best_step, state.step) == (400, 450)
    assert all(marker.step <= 450 for marker in state.markers)
    assert state.samples == ()
    assert state.checkpoint is None  # the newest known one was of a later step


@pytest.mark.parametrize("end", [ev.Continued(step=3), run_started(), ev.StateChanged(state="stopped", step=3)])
def test_a_pause_lasts_through_what_is_done_in_it_to_its_end(end: ev.Event) -> None:
    state = reduce_all(losses(5.0, 4.0, 3.0), [ev.Paused(step=3), ev.StateChanged(state="paused", step=3)])
    assert state.stands_still
    for beside in ("saving", "paused", "sampling", "running"):  # the last for a single step
        state = reduce(state, ev.StateChanged(state=beside, step=3))
        assert state.stands_still
    assert not reduce(state, end).stands_still


def test_samples_that_grow_side_by_side_keep_their_order_and_texts() -> None:
    state = reduce_all(RunState(), [
        *(ev.SampleStarted(sample=number, step=5, prompt=f"{number}?") for number in (1, 2, 3)),
        ev.SampleText(sample=3, text="c"), ev.SampleText(sample=1, text="a"), ev.SampleText(sample=1, text="b"),
        ev.SampleDone(sample=2, step=5, prompt="2?", text="all", tokens=3, seconds=0.1),
    ])  # fmt: skip
    assert [(s.number, s.text, s.done) for s in state.samples] == [(1, "ab", False), (2, "all", True), (3, "c", False)]


def test_an_evaluation_that_stands_aside_is_told_but_no_point_of_the_curve() -> None:
    usual = ev.EvalDone(step=10, train_loss=2.0, val_loss=2.5, seconds=1.0, best=True)
    aside = ev.EvalDone(
        step=12, train_loss=1.5, val_loss=1.9, seconds=9.0, best=False, whole=True, aside=True, val_tokens=12345
    )
    state = reduce_all(RunState(), [usual, aside])
    assert state.val_loss.x.tolist() == [10] and (state.best_val_loss, state.best_step) == (2.5, 10)
    assert state.evaluation == aside and "val 1.9000 on all 12,345 tokens" in state.log[-1].text


def test_epochs_are_the_tokens_seen_over_those_of_a_pass_or_unknown() -> None:
    state = reduce_all(RunState(), [run_started(tokens_per_epoch=4096 * 8), step_done(12, 3.0)])
    assert state.epochs == 1.5
    assert losses(3.0).epochs is None and RunState().epochs is None


def test_resuming_what_was_not_exact_says_why() -> None:
    state = reduce(RunState(), ev.Resumed(step=10, exact=False, why="2 threads, then 4"))
    assert "continued, not exact: 2 threads, then 4" in state.log[-1].text


def test_steps_after_a_resume_are_drawn_anew() -> None:
    state = reduce_all(losses(5.0, 4.0, 3.0), [ev.Resumed(step=1, exact=True), step_done(2, 4.5)])
    assert state.loss.y.tolist() == [5.0, 4.5]


def test_sample_grows_as_it_is_written_and_is_whole_when_done() -> None:
    state = reduce_all(
        RunState(),
        [
            ev.SampleStarted(sample=1, step=5, prompt="a"),
            ev.SampleText(sample=1, text="b"),
            ev.SampleText(sample=1, text="c"),
        ],
    )
    assert (state.samples[-1].text, state.samples[-1].done) == ("bc", False)
    state = reduce(state, ev.SampleDone(sample=1, step=5, prompt="a", text="bcd", tokens=3, seconds=0.1))
    assert [(sample.text, sample.done) for sample in state.samples] == [("bcd", True)]


def test_best_is_the_lowest_validation_loss() -> None:
    def evaluated(step: int, loss: float, best: bool) -> ev.EvalDone:
        return ev.EvalDone(step=step, train_loss=loss, val_loss=loss, seconds=1.0, best=best)

    state = reduce_all(RunState(), [evaluated(1, 3.0, True), evaluated(2, 2.0, True), evaluated(3, 2.5, False)])
    assert (state.best_val_loss, state.best_step) == (2.0, 2)
    assert state.evaluation is not None and state.evaluation.val_loss == 2.5


def test_failed_save_is_remembered_until_one_succeeds() -> None:
    state = reduce(RunState(), ev.CheckpointFailed(step=1, error="disk full"))
    assert state.checkpoint_error is not None and state.log[-1].level == "error"
    saved = ev.CheckpointSaved(step=2, path="checkpoints/x", size=1, seconds=0.1, reason="asked")
    assert reduce(state, saved).checkpoint_error is None


def test_a_changed_last_step_moves_the_goal() -> None:
    state = reduce(losses(3.0), ev.ConfigChanged(step=1, key="train.max_steps", old="2000", new="500"))
    assert state.max_steps == 500


def test_eta_counts_evaluations_and_checkpoints_in() -> None:
    state = losses(*[3.0] * 100)
    assert state.eta_seconds() == pytest.approx(1900 * 0.076)
    busy = dict.fromkeys(ev.PHASES, 0.0) | {"train": 90.0, "data": 10.0, "evaluate": 20.0, "paused": 500.0}
    state = reduce(state, ev.LedgerUpdated(seconds=busy, wall=620.0))
    assert state.eta_seconds() == pytest.approx(1900 * 0.076 * 1.2)
    assert RunState().eta_seconds() is None


def test_final_states_are_final() -> None:
    assert reduce_all(RunState(), finished_story()).is_final
    assert not reduce_all(RunState(), story(10)).is_final


def spike(step: int, **changes: object) -> ev.SpikeDetected:
    event = ev.SpikeDetected(step=step, kind="loss", value=9.25, z=14.2, action="skipped")
    return msgspec.structs.replace(event, **changes)


def test_spikes_and_the_noise_scale_are_kept_and_dropped_with_the_steps_that_a_rewind_undoes() -> None:
    state = losses(*[4.0] * 8)
    for step in (4, 7):
        state = reduce(state, spike(step, z=None if step == 7 else 14.2))
        state = reduce(state, ev.NoiseScaleEstimated(
            step=step, sequences=12.0, tokens=768.0 + step, tokens_per_step=64, gradient_square=1.0, noise_trace=12.0,
            measurements=step,
        ))  # fmt: skip
    assert (state.spikes.x.tolist(), state.noise_tokens.y.tolist()) == ([4, 7], [772.0, 775.0])
    assert state.log[-1].level == "warning" and state.spike and state.spike.step == 7
    rewound = reduce(state, ev.Resumed(step=5, exact=False, why="rewound from step 7"))
    assert (rewound.spikes.x.tolist(), rewound.noise_tokens.x.tolist(), rewound.step) == ([4], [4], 5)
    assert rewound.spike is None and rewound.noise is None
    assert [marker.step for marker in rewound.markers if marker.kind == "spike"] == [4]
    assert any("14.2 deviations above" in record.text for record in rewound.log)


def test_a_run_that_hangs_is_a_warning_that_stays_until_it_moves() -> None:
    hung = reduce(losses(4.0), ev.Stalled(step=1, phase="data", seconds=61.0))
    words = "".join(text for text, _ in outcome(hung))
    assert "no sign of life for 1 m 01 s in phase data" in words and "console.log" in words
    assert hung.log[-1].level == "warning"
    moving = reduce(hung, ev.StallEnded(step=1, phase="train", seconds=90.0))
    assert outcome(moving) == [] and "moves again" in moving.log[-1].text
    assert reduce(hung, run_started()).stalled is None, "the next sitting begins without it"
