"""A pilot goes back to a checkpoint: all is as it was there, and nothing of the way that is left is lost."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import pytest
from piloted_runs import Pilot, Run, Tiny, at_step, files, of, together

from gpt import checkpoint, commands
from gpt import events as ev
from gpt.config import replace
from gpt.steering import rate_changes, settings_then
from gpt.trainer import Trainer


def steps_in(folder: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in folder.glob("step-*"))


@pytest.mark.parametrize("accum", [1, 3])
def test_without_a_change_the_same_steps_follow_again(tiny: Tiny, run: Run, tmp_path: Path, accum: int) -> None:
    profile = tiny(train__grad_accum_steps=accum)
    quiet = run(profile, "quiet")
    events = run(profile, "back", pilot=at_step(10, commands.Rewind(step=4)))
    resumed = of(events, ev.Resumed)[0]
    assert (resumed.step, resumed.exact, resumed.left, resumed.why) == (4, True, 10, "")
    losses = [step.loss for step in of(quiet, ev.StepDone)]
    taken = of(events, ev.StepDone)
    assert [step.step for step in taken] == [*range(1, 11), *range(5, 13)]
    assert [step.loss for step in taken] == losses[:10] + losses[4:]
    assert files(tmp_path / "back", 12) == files(tmp_path / "quiet", 12)


def test_the_present_is_saved_first_and_what_is_left_is_kept_aside(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    events = run(tiny(), pilot=at_step(10, commands.Rewind(step=4)))
    (safety,) = [event for event in of(events, ev.CheckpointSaved) if event.reason == "safety"]
    assert safety.step == 10 and events.index(safety) < events.index(of(events, ev.Resumed)[0])
    parent = tmp_path / "run/checkpoints"
    assert steps_in(parent) == [4, 8, 12] and steps_in(parent / "abandoned/1") == [8, 10]
    assert all(checkpoint.verify(path) for path in (parent / "abandoned/1").iterdir())
    assert (parent / "latest").resolve().name == "step-00000012"
    assert any("abandoned/1" in line.text for line in of(events, ev.LogLine))


def test_a_second_rewind_gets_a_folder_of_its_own(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    first, second = at_step(10, commands.Rewind(step=4)), at_step(11, commands.Rewind(step=8))
    run(tiny(), pilot=together(first, second))
    parent = tmp_path / "run/checkpoints"
    assert [folder.name for folder in checkpoint.abandoned(parent)] == ["1", "2"]
    assert [steps_in(folder) for folder in checkpoint.abandoned(parent)] == [[8, 10], [11]]


def test_nothing_is_deleted_however_few_checkpoints_are_kept(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    """The one that the run goes back to is the oldest that `keep` has left: saving the present must not delete it."""
    profile = tiny(checkpoint__keep=1, checkpoint__best=False, train__max_steps=11)
    events = run(profile, pilot=at_step(10, commands.Rewind(step=8)))
    assert of(events, ev.Resumed)[0].step == 8
    assert steps_in(tmp_path / "run/checkpoints/abandoned/1") == [10]


def test_settings_changed_on_the_way_that_is_left_are_taken_back(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    profile = tiny()
    change = commands.SetConfig(changes={"optim.learning_rate": 5.0, "sample.max_new_tokens": 3})
    changing, back = at_step(6, change), at_step(9, commands.Rewind(step=4))
    events = run(profile, "back", pilot=together(changing, back))
    assert of(events, ev.Resumed)[0].exact
    changed = [(event.step, event.key, event.new) for event in of(events, ev.ConfigChanged)]
    assert changed == [
        (6, "optim.learning_rate", "5.0"), (6, "sample.max_new_tokens", "3"), (4, "optim.learning_rate", "0.01"),
    ]  # fmt: skip
    run(profile, "quiet")
    assert files(tmp_path / "back", 12) == files(tmp_path / "quiet", 12)


def test_the_settings_of_now_can_be_kept_and_others_asked_for(tiny: Tiny, run: Run) -> None:
    changing = at_step(6, commands.SetConfig(changes={"optim.grad_clip": 0.5}))
    back = at_step(9, commands.Rewind(step=4, changes={"optim.learning_rate": 1e-3, "model.n_layer": 9}, as_then=False))
    events = run(tiny(), pilot=together(changing, back))
    resumed = of(events, ev.Resumed)[0]
    assert not resumed.exact and "optim.grad_clip 1.0 → 0.5" in resumed.why and "optim.learning_rate" in resumed.why
    assert [(e.step, e.key) for e in of(events, ev.ConfigChanged)] == [
        (6, "optim.grad_clip"),
        (4, "optim.learning_rate"),
    ]
    assert [e.key for e in of(events, ev.ConfigRefused)] == ["model.n_layer"]


def test_a_run_that_stands_still_inside_a_step_gives_it_up_and_goes_back(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    profile = tiny(train__grad_accum_steps=4)
    run(profile, "quiet")
    steps_when_back: list[int] = []

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == 6 and not steps_when_back:
            stepper: Any = trainer.snapshot.stepper
            add_gradient = stepper.add_gradient

            def pausing(*args: Any) -> Any:  # both come during the next step's first micro-step
                stepper.add_gradient = add_gradient
                trainer.send(commands.Pause())
                trainer.send(commands.Rewind(step=4))
                return add_gradient(*args)

            stepper.add_gradient = pausing
        if isinstance(event, ev.Resumed):
            steps_when_back.append(event.step)
            threading.Timer(0.05, trainer.send, [commands.Continue()]).start()

    events = run(profile, "back", pilot=pilot)
    assert steps_when_back == [4] and of(events, ev.Resumed)[0].left == 6
    assert [e.step for e in of(events, ev.Continued)] == [4]
    assert files(tmp_path / "back", 12) == files(tmp_path / "quiet", 12)


@pytest.mark.parametrize("spoil", ["missing", "damaged", "disk"])
def test_where_it_cannot_go_back_it_says_why_and_goes_on_as_if_nothing_had_been(
    tiny: Tiny, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    profile = tiny(train__grad_accum_steps=2)
    run(profile, "quiet")
    write = checkpoint.write
    back = at_step(10, commands.Rewind(step=5 if spoil == "missing" else 4))

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == 9:
            if spoil == "damaged":
                path = tmp_path / "back/checkpoints/step-00000004/model.safetensors"
                path.write_bytes(path.read_bytes()[:-1] + b"?")
            if spoil == "disk":
                monkeypatch.setattr(checkpoint, "write", refuse)
        if isinstance(event, ev.StepDone) and event.step == 11:
            monkeypatch.setattr(checkpoint, "write", write)
        back(trainer, event)

    def refuse(*args: Any, **keywords: Any) -> int:
        raise OSError(28, "No space left on device")

    events = run(profile, "back", pilot=pilot)
    assert not of(events, ev.Resumed)
    (said,) = [line.text for line in of(events, ev.LogLine) if line.text.startswith("not rewound")]
    assert {"missing": "no checkpoint of step 5", "damaged": "damaged", "disk": "No space left"}[spoil] in said
    assert files(tmp_path / "back", 12) == files(tmp_path / "quiet", 12)


def test_a_run_that_is_spoilt_goes_back_though_the_present_cannot_be_saved(
    tiny: Tiny, run: Run, tmp_path: Path
) -> None:
    profile = replace(tiny(), {"guard.policy": "off"})
    run(profile, "quiet")
    back, spoilt = at_step(10, commands.Rewind(step=8)), [9]

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.RunStarted):

            def spoil(gradient: Any) -> Any:
                return gradient * math.nan if spoilt and trainer.step + 1 == 9 and spoilt.pop() else gradient

            trainer.snapshot.model.transformer.wte.weight.register_hook(spoil)
        back(trainer, event)

    events = run(profile, "back", pilot=pilot)
    assert "not finite" in of(events, ev.CheckpointFailed)[0].error
    assert of(events, ev.Resumed)[0].step == 8 and of(events, ev.Finished)
    assert files(tmp_path / "back", 12) == files(tmp_path / "quiet", 12)


def test_a_run_stopped_after_a_rewind_goes_on_from_the_new_way(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    def pilot(trainer: Trainer, event: ev.Event) -> None:
        back(trainer, event)
        if isinstance(event, ev.CheckpointSaved) and event.reason == "rewind":
            trainer.send(commands.Stop(save=False))

    back = at_step(10, commands.Rewind(step=4, changes={"optim.learning_rate": 1e-3}))
    run(tiny(), pilot=pilot)
    path, state, _ = checkpoint.newest(tmp_path / "run/checkpoints")
    assert (path.name, state["profile"]["optim"]["learning_rate"]) == ("step-00000004", 1e-3)
    slower = replace(tiny(), {"optim.learning_rate": 1e-3})
    assert of(run(slower, resume="latest"), ev.Resumed)[0].exact


def test_a_whole_evaluation_of_the_way_that_was_left_is_forgotten(tiny: Tiny, run: Run) -> None:
    evaluating, back = at_step(6, commands.Evaluate(whole=True)), at_step(7, commands.Rewind(step=4))

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        evaluating(trainer, event)
        back(trainer, event)
        if isinstance(event, ev.Resumed):
            again.append(at_step(6, commands.Evaluate(whole=True)))
        for each in again:
            each(trainer, event)

    again: list[Pilot] = []
    events = run(tiny(), pilot=pilot)
    assert [e.step for e in of(events, ev.EvalDone) if e.whole] == [6, 6]


def test_a_run_does_not_end_where_it_had_ended_at_that_step(tiny: Tiny) -> None:
    then = tiny(train__max_steps=8)
    now = replace(then, {"train.max_steps": 12, "optim.grad_clip": 0.5})
    assert settings_then(now, then, 8) == {"optim.grad_clip": 1.0}
    assert settings_then(now, then, 4) == {"optim.grad_clip": 1.0, "train.max_steps": 8}


def test_a_factor_moves_the_floor_with_the_rate(tiny: Tiny) -> None:
    assert rate_changes(tiny(), 0.5) == {"optim.learning_rate": 0.005}
    assert rate_changes(tiny(optim__min_lr=1e-3), 0.5) == {"optim.learning_rate": 0.005, "optim.min_lr": 5e-4}
