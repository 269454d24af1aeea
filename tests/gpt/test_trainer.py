"""The loop: what a run says, and how it obeys."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from piloted_runs import Run, Tiny, at_step, of

from gpt import commands
from gpt import events as ev
from gpt.schedule import learning_rate
from gpt.trainer import Trainer


def test_a_run_steps_evaluates_saves_and_ends(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    events = run(tiny())
    steps = of(events, ev.StepDone)
    assert [step.step for step in steps] == list(range(1, 13))
    assert [e.step for e in of(events, ev.EvalDone)] == [0, 4, 8, 12]
    assert {4, 8, 12} <= {e.step for e in of(events, ev.CheckpointSaved)}
    assert of(events, ev.Finished)[0].reason == "max_steps"
    assert of(events, ev.StateChanged)[-1].state == "finished"
    assert (tmp_path / "run/checkpoints/latest").resolve().name == "step-00000012"


def test_the_loss_starts_near_that_of_guessing_and_falls(tiny: Tiny, run: Run) -> None:
    evals = of(run(tiny(train__max_steps=60)), ev.EvalDone)
    assert evals[0].val_loss == pytest.approx(math.log(256), abs=0.3)
    assert evals[-1].val_loss < evals[0].val_loss - 1.5


def test_a_step_reports_its_rate_tokens_and_mfu(tiny: Tiny, run: Run) -> None:
    profile = tiny()
    events = run(profile)
    started, steps = of(events, ev.RunStarted)[0], of(events, ev.StepDone)
    for step in steps:
        assert step.lr == learning_rate(step.step - 1, profile.optim, profile.train.max_steps)
        assert step.tokens == step.step * 4 * 16
        assert step.mfu == pytest.approx(started.flops_per_token * 64 / (step.ms / 1e3) / 1e12)
        assert step.data_ms <= step.ms
    assert started.train_tokens - 2 * 16 <= started.tokens_per_epoch < started.train_tokens


def test_accumulated_micro_steps_give_the_loss_and_gradient_of_one_large_batch(tiny: Tiny, run: Run) -> None:
    whole = of(run(tiny(model__dropout=0.0, train__micro_batch_size=8), "whole"), ev.StepDone)
    halves = tiny(model__dropout=0.0, train__micro_batch_size=2, train__grad_accum_steps=4)
    parts = of(run(halves, "parts"), ev.StepDone)
    for one, other in zip(whole, parts, strict=True):
        assert one.loss == pytest.approx(other.loss, abs=1e-4)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-2)


def test_the_ledger_adds_up_to_the_time_the_run_took(tiny: Tiny, run: Run) -> None:
    events = run(tiny(train__max_steps=40))
    ledger = of(events, ev.LedgerUpdated)[-1]
    took = events[-1].time - events[0].time
    assert sum(ledger.seconds.values()) == pytest.approx(ledger.wall)
    assert ledger.wall == pytest.approx(took, rel=0.01, abs=0.02)


def test_evaluation_is_not_counted_in_the_step_after_it(tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The 4,447 ms story: an evaluation made slow on purpose must not show in any step's ms."""
    import time

    from gpt import evaluate

    def slow(*args: Any, **keywords: Any) -> Any:
        time.sleep(0.5)
        return estimate(*args, **keywords)

    estimate = evaluate.estimate_loss
    monkeypatch.setattr(evaluate, "estimate_loss", slow)
    events = run(tiny())
    assert all(step.ms < 500 for step in of(events, ev.StepDone))
    assert all(done.seconds > 1 for done in of(events, ev.EvalDone))
    assert of(events, ev.LedgerUpdated)[-1].seconds["evaluate"] > 4


def test_pause_holds_until_continue_and_one_step_takes_one(tiny: Tiny, run: Run) -> None:
    """Each answer is sent when its cause has been seen, so what is counted is what the trainer did in between."""

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == 3:
            trainer.send(commands.Pause())
        if isinstance(event, ev.StateChanged) and event.state == "paused":
            seen.append(trainer.step)
            answer = commands.StepOnce() if len(seen) < 3 else commands.Continue()
            threading.Timer(0.05, trainer.send, [answer]).start()

    seen: list[int] = []
    events = run(tiny(train__eval_interval=0, checkpoint__interval=0), pilot=pilot)
    assert seen == [3, 4, 5]
    assert [e.step for e in of(events, ev.Paused)] == [3]
    assert [e.step for e in of(events, ev.Continued)] == [5]
    assert of(events, ev.LedgerUpdated)[-1].seconds["paused"] >= 0.1


def test_live_settings_apply_at_the_next_step_and_the_rest_is_refused_with_a_reason(tiny: Tiny, run: Run) -> None:
    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == 5:
            trainer.send(commands.SetConfig(changes={
                "optim.learning_rate": 5e-3, "optim.schedule": "constant", "model.n_layer": 3, "train.max_steps": 8,
                "optim.grad_clip": -1.0, "optim.lerning_rate": 1, "optim": {},
                "device.peak_tflops": 0.0,
            }))  # fmt: skip

    events = run(tiny(), pilot=pilot)
    changed = {e.key: (e.step, e.old, e.new) for e in of(events, ev.ConfigChanged)}
    assert changed == {
        "optim.learning_rate": (5, "0.01", "0.005"), "optim.schedule": (5, '"cosine"', '"constant"'),
        "train.max_steps": (5, "12", "8"),
    }  # fmt: skip
    refused = {e.key: e.reason for e in of(events, ev.ConfigRefused)}
    assert refused.keys() == {"model.n_layer", "optim.grad_clip", "optim.lerning_rate", "optim", "device.peak_tflops"}
    assert "new run" in refused["model.n_layer"] and "unknown key optim" in refused["optim"]
    assert refused["optim.grad_clip"] == "optim.grad_clip must be a number ≥ 0; got -1.0"
    assert refused["optim.lerning_rate"] == "unknown key optim.lerning_rate; did you mean learning_rate?"
    steps = of(events, ev.StepDone)
    assert [step.step for step in steps] == list(range(1, 9))
    assert {step.lr for step in steps if step.step > 5} == {5e-3}


def test_stop_without_saving_leaves_no_checkpoint(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    events = run(tiny(), pilot=at_step(2, commands.Stop(save=False)))
    assert of(events, ev.Finished)[0].reason == "discarded"
    assert not (tmp_path / "run/checkpoints").exists()


def test_a_full_disk_fails_the_save_and_not_the_run(tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpt import checkpoint

    def full(parent: Path, step: int, *rest: Any) -> int:
        if step == 8:
            raise OSError(28, "No space left on device")
        return write(parent, step, *rest)

    write = checkpoint.write
    monkeypatch.setattr(checkpoint, "write", full)
    events = run(tiny())
    assert of(events, ev.CheckpointFailed)[0].error.startswith("No space left on device")
    assert of(events, ev.Finished)[0].step == 12


def test_a_token_outside_the_vocabulary_is_the_users_error(tiny: Tiny, run: Run) -> None:
    failed = of(run(tiny(model__vocab_size=100)), ev.Failed)[0]
    assert failed.user_error
    assert "\n" not in failed.error


def test_a_diverged_model_still_answers_a_sample(tiny: Tiny, run: Run) -> None:
    def poison(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == 2:
            with torch.no_grad():
                trainer.snapshot.model.transformer.wte.weight.fill_(float("nan"))
            trainer.send(commands.Sample())

    events = run(tiny(train__eval_interval=0, checkpoint__interval=0), pilot=poison)
    assert of(events, ev.SampleDone)
    assert of(events, ev.StepDone)[-1].loss is None
    assert all(ev.decode(ev.encode(event)) == event for event in events)


def test_a_setting_sent_inside_a_step_waits_for_the_next_one(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    """And so does a save that was asked for after it: what it says must be what the step was taken with."""

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == 3:
            reader = trainer.snapshot.stepper.reader
            take = reader.take

            def sending(*args: Any) -> Any:  # while the fourth step's first batch is read
                reader.take = take
                trainer.send(commands.SetConfig(changes={"optim.learning_rate": 2e-3, "optim.schedule": "constant"}))
                trainer.send(commands.Save())
                return take(*args)

            reader.take = sending

    profile = tiny(train__grad_accum_steps=4, train__eval_interval=0, checkpoint__interval=3)
    events = run(profile, pilot=pilot)
    assert {e.step for e in of(events, ev.ConfigChanged)} == {4}
    steps = {e.step: e.lr for e in of(events, ev.StepDone)}
    assert steps[4] == learning_rate(3, profile.optim, 12) and steps[5] == 2e-3
    assert [e.step for e in of(events, ev.CheckpointSaved) if e.reason == "asked"] == [4]


def test_a_stop_at_a_saved_step_keeps_what_has_changed_since(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.CheckpointSaved) and event.step == 4 and event.reason == "interval":
            trainer.send(commands.SetConfig(changes={"optim.learning_rate": 2e-3}))
            trainer.send(commands.Stop(save=True))

    run(tiny(train__eval_interval=0), pilot=pilot)
    state = json.loads((tmp_path / "run/checkpoints/latest/state.json").read_text())
    assert (state["step"], state["profile"]["optim"]["learning_rate"]) == (4, 2e-3)


def test_a_rate_and_its_floor_change_together(tiny: Tiny, run: Run) -> None:
    lower = commands.SetConfig(changes={"optim.learning_rate": 1e-4, "optim.min_lr": 1e-5})
    events = run(tiny(optim__min_lr=1e-3), pilot=at_step(3, lower))
    assert {e.key for e in of(events, ev.ConfigChanged)} == {"optim.learning_rate", "optim.min_lr"}
    assert not of(events, ev.ConfigRefused)


def test_a_run_that_fails_between_two_steps_saves_the_last_whole_one(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    from gpt.errors import DataError

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == 6:

            def shrunk(*args: Any) -> Any:
                raise DataError("train.bin has become shorter")

            trainer.snapshot.stepper.reader.take = shrunk

    events = run(tiny(checkpoint__interval=0, train__eval_interval=0), pilot=pilot)
    assert of(events, ev.Failed)[0].user_error
    assert (tmp_path / "run/checkpoints/latest").resolve().name == "step-00000006"


def test_a_prompt_that_cannot_be_encoded_breaks_off_the_sample_only(
    tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpt.errors import DataError
    from gpt.tokenizer import ByteTokenizer

    def missing(*args: Any, **options: Any) -> Any:
        raise DataError("the vocabulary is not here")

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == 3:
            monkeypatch.setattr(ByteTokenizer, "encode", missing)
            trainer.send(commands.Sample(prompt="1"))

    events = run(tiny(), pilot=pilot)
    assert of(events, ev.SampleDone) and of(events, ev.Finished)[0].step == 12


def test_a_step_faster_than_the_measured_peak_makes_it_doubtful(
    tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peak was measured while something else had the machine; it must not read over 100 %, nor stay so."""
    from gpt import device, reporter

    monkeypatch.setattr(device, "measure_matmul", lambda *_, **__: 1.0)
    monkeypatch.setattr(reporter, "measure_matmul", lambda *_, **__: 1e15)
    events = run(tiny(device__peak_tflops=None))
    shares = {e.step: e.mfu for e in of(events, ev.StepDone)}
    assert shares[1] is None and shares[4] is None
    assert shares[5] is not None and shares[12] is not None


def test_a_real_full_disk_fails_the_save_and_not_the_run(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    """A limit on the size of files is what a test can have of a full disk without being root."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))

        def mend(trainer: Trainer, event: ev.Event) -> None:
            if isinstance(event, ev.StepDone) and event.step == 11:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)

        events = run(tiny(), pilot=mend)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert of(events, ev.CheckpointFailed)
    assert of(events, ev.Finished)[0].step == 12
    assert (tmp_path / "run/checkpoints/latest").resolve().name == "step-00000012"
