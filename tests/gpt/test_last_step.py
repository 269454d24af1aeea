"""What is asked for in the last step, or after it: obeyed as far as it can be, and never passed over in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from piloted_runs import Pilot, Run, Tiny, at_step, of, together

from gpt import commands
from gpt import events as ev
from gpt.trainer import Trainer

LAST = 4


@pytest.fixture
def short(tiny: Tiny) -> Tiny:
    """A run of four steps, with nothing beside them but its end."""
    settings = {"train__max_steps": LAST, "train__eval_interval": 0, "checkpoint__interval": 0}
    return lambda **more: tiny(**settings | more)


def inside_the_last_step(*sent: commands.Command) -> Pilot:
    """Sends commands while the last step's first batch is read."""

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == LAST - 1:
            reader = trainer.snapshot.stepper.reader
            take = reader.take

            def sending(*args: Any) -> Any:
                reader.take = take
                for command in sent:
                    trainer.send(command)
                return take(*args)

            reader.take = sending

    return pilot


@pytest.mark.parametrize("accum", [1, 2])
def test_an_extension_in_the_last_step_extends(short: Tiny, run: Run, accum: int) -> None:
    """Of one micro-step nothing is obeyed inside; of several it is held back. Neither may drop it."""
    profile = short(train__grad_accum_steps=accum)
    events = run(profile, pilot=inside_the_last_step(commands.Extend(steps=3)))
    assert [e.step for e in of(events, ev.StepDone)] == list(range(1, LAST + 4))
    assert [(e.key, e.step) for e in of(events, ev.ConfigChanged)][-1] == ("train.max_steps", LAST)
    assert of(events, ev.Finished)[0].step == LAST + 3


def test_an_extended_run_ends_with_the_bits_of_one_that_was_as_long(short: Tiny, run: Run, tmp_path: Path) -> None:
    constant = {"optim__schedule": "constant"}
    run(short(train__max_steps=LAST + 2, **constant), "long")
    run(short(**constant), "extended", pilot=inside_the_last_step(commands.Extend(steps=2)))
    hashes = [
        json.loads((tmp_path / name / f"checkpoints/step-{LAST + 2:08d}/state.json").read_text())["files"]
        for name in ("long", "extended")
    ]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("accum", [1, 2])
def test_what_is_asked_for_in_the_last_step_is_done(short: Tiny, run: Run, accum: int) -> None:
    profile = short(train__grad_accum_steps=accum)
    events = run(profile, pilot=inside_the_last_step(
        commands.SetConfig(changes={"optim.learning_rate": 2e-3}), commands.Save(), commands.Sample(),
        commands.Evaluate(whole=True),
    ))  # fmt: skip
    changed = of(events, ev.ConfigChanged)[0]
    assert (changed.key, changed.step) == ("optim.learning_rate", LAST)
    assert next((e.step, e.reason) for e in of(events, ev.CheckpointSaved)) == (LAST, "asked")
    assert len(of(events, ev.SampleDone)) == 1
    assert [e.whole for e in of(events, ev.EvalDone)].count(True) == 1
    assert of(events, ev.Finished)[0].reason == "max_steps"


def test_a_stop_in_the_last_step_ends_the_run_as_it_says(short: Tiny, run: Run, tmp_path: Path) -> None:
    events = run(short(), pilot=inside_the_last_step(commands.Stop(save=False)))
    assert of(events, ev.Finished)[0].reason == "discarded"
    assert not (tmp_path / "run/checkpoints").exists()


def test_a_pause_in_the_last_step_holds_before_the_end(short: Tiny, run: Run) -> None:
    """Time to look, and to extend: the run ends once it is told to go on."""
    events = run(short(), pilot=together(
        inside_the_last_step(commands.Pause()),
        at_step(LAST, commands.Extend(steps=1), commands.Continue(), kind=ev.Paused),
    ))  # fmt: skip
    assert [e.step for e in of(events, ev.Paused)] == [e.step for e in of(events, ev.Continued)] == [LAST]
    assert of(events, ev.Finished)[0].step == LAST + 1


def test_one_step_more_than_there_is_says_so_and_stays_paused(short: Tiny, run: Run) -> None:
    events = run(short(), pilot=together(
        inside_the_last_step(commands.Pause()), at_step(LAST, commands.StepOnce(), commands.Continue(), kind=ev.Paused),
    ))  # fmt: skip
    assert any("no step is left" in line.text for line in of(events, ev.LogLine))
    assert of(events, ev.Continued) and of(events, ev.Finished)[0].step == LAST


def test_a_cooldown_without_a_length_finds_nothing_left_and_says_so(short: Tiny, run: Run) -> None:
    events = run(short(), pilot=inside_the_last_step(commands.Cooldown()))
    assert any("no step is left" in line.text for line in of(events, ev.LogLine))
    assert of(events, ev.Finished)[0].step == LAST and not of(events, ev.ConfigChanged)
    events = run(short(), "longer", pilot=inside_the_last_step(commands.Cooldown(steps=2)))
    assert of(events, ev.Finished)[0].step == LAST + 2


def test_an_extension_during_the_last_evaluation_extends(short: Tiny, run: Run) -> None:
    events = run(short(), pilot=at_step(LAST, commands.Extend(steps=2), kind=ev.EvalDone))
    assert [e.step for e in of(events, ev.EvalDone)] == [LAST, LAST + 2]
    assert of(events, ev.Finished)[0].step == LAST + 2


def test_a_last_step_that_is_known_late_is_heeded_all_the_same(short: Tiny, run: Run) -> None:
    """On a GPU a step's figures come one step later, those of the last one when the steps are over."""
    late = ev.SpikeDetected(step=LAST, kind="not finite", value=None, z=None, in_a_row=3, action="rewind")

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == LAST and not of(seen, ev.Resumed):
            drain = trainer.drain

            def drain_late() -> None:
                trainer.drain = drain
                trainer.watch.guard.demand = late

            trainer.drain = drain_late
        seen.append(event)

    seen: list[ev.Event] = []
    run(short(checkpoint__interval=LAST - 1), pilot=pilot)
    assert [e.step for e in of(seen, ev.Resumed)] == [LAST - 1]
    assert [e.step for e in of(seen, ev.StepDone)] == [1, 2, 3, 4, 4]
    assert of(seen, ev.Finished)[0].step == LAST


def test_what_comes_after_the_last_checkpoint_is_answered(short: Tiny, run: Run) -> None:
    sent = (commands.Extend(steps=2), commands.Sample(), commands.Leave())
    events = run(short(checkpoint__best=False), pilot=at_step(LAST, *sent, kind=ev.CheckpointSaved))
    late = [line.text for line in of(events, ev.LogLine) if line.level == "warning"]
    assert [text.split()[0] for text in late] == ["Extend", "Sample"] and all("too late" in text for text in late)
    assert of(events, ev.Finished)[0].step == LAST
    assert not of(events, ev.SampleDone)
