"""A run that is made to end sooner or later: what happens to its rate, and that it is logged, kept and resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from piloted_runs import Run, Tiny, at_step, state_of, together

from gpt import commands
from gpt import events as ev
from gpt.config import Profile, decode, replace
from gpt.schedule import learning_rate
from gpt.steering import cooldown_changes, default_cooldown, extension_changes
from gpt.trainer import Trainer


def profile_with(**optim: Any) -> Profile:
    """1,000 steps at 1.0, down to 0.1, with a warm-up of 100."""
    settings = {"learning_rate": 1.0, "min_lr": 0.1, "warmup_steps": 100} | optim
    return decode({"data": {"name": "python-stdlib"}, "train": {"max_steps": 1000}, "optim": settings})


def rate(profile: Profile, step: int) -> float:
    return learning_rate(step, profile.optim, profile.train.max_steps)


# -- cooldown ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "wsd"])
@pytest.mark.parametrize("decay_steps", [None, 1000, 1500])
@pytest.mark.parametrize("step", [100, 400, 950, 999])
def test_a_cooldown_falls_evenly_from_the_rate_in_force_to_the_floor_and_ends_the_run(
    schedule: str, decay_steps: int | None, step: int
):
    before = profile_with(schedule=schedule, decay_steps=decay_steps)
    after = replace(before, cooldown_changes(before, step, 50))
    now = rate(before, step)
    assert after.train.max_steps == step + 50
    assert rate(after, step) == pytest.approx(now, rel=1e-12)
    assert rate(after, step + 25) == pytest.approx((now + 0.1) / 2)
    assert rate(after, step + 50) == pytest.approx(0.1)


@pytest.mark.parametrize("step", [0, 3, 50, 99])
def test_a_cooldown_in_the_warm_up_never_raises_the_rate(step: int):
    before = profile_with()
    after = replace(before, cooldown_changes(before, step, 20))
    rates = [rate(after, at) for at in range(step, step + 21)]
    assert rates[0] == rate(before, step)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == min(0.1, rates[0])


def test_a_floor_that_was_not_set_stays_a_tenth_of_the_peak():
    before = profile_with(min_lr=None)
    after = replace(before, cooldown_changes(before, 800, 20))
    assert rate(after, 820) == pytest.approx(0.1)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
def test_where_the_rate_has_fallen_already_only_the_end_moves(schedule: str):
    """With a floor of 0 there would be no rate left to fall from."""
    before = profile_with(schedule=schedule, decay_steps=500, min_lr=0.0)
    assert cooldown_changes(before, 600, 20) == {"train.max_steps": 620}


def test_a_cooldown_begun_anew_half_way_goes_on_along_the_same_line():
    profile = profile_with()
    first = replace(profile, cooldown_changes(profile, 400, 100))
    again = replace(first, cooldown_changes(first, 450))
    assert again.train.max_steps == 500
    for step in range(450, 501):
        assert rate(again, step) == pytest.approx(rate(first, step))


@pytest.mark.parametrize(
    ("step", "cooldown_steps", "expected"),
    [(400, None, 100), (4, None, 1), (0, None, 1), (900, None, 100), (999, None, 1), (400, 30, 30), (990, 30, 10)],
)
def test_a_cooldown_takes_a_fifth_of_the_run_it_ends_and_never_lengthens_it(
    step: int, cooldown_steps: int | None, expected: int
):
    profile = profile_with(cooldown_steps=cooldown_steps)
    assert default_cooldown(profile, step) == expected
    assert cooldown_changes(profile, step) == cooldown_changes(profile, step, expected)


# -- extension ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "wsd"])
@pytest.mark.parametrize("decay_steps", [None, 600, 1000, 1500])
@pytest.mark.parametrize("step", [0, 50, 100, 300, 599, 700, 850, 999])
def test_an_extension_adds_its_steps_and_leaves_the_rate_in_force(schedule: str, decay_steps: int | None, step: int):
    before = profile_with(schedule=schedule, decay_steps=decay_steps)
    after = replace(before, extension_changes(before, step, 400))
    assert after.train.max_steps == 1400
    assert rate(after, step) == rate(before, step)


def test_before_its_decay_the_stable_part_of_wsd_grows():
    before = profile_with(schedule="wsd", cooldown_steps=200)
    after = replace(before, extension_changes(before, 790, 400))
    assert [rate(after, step) for step in (800, 1200, 1300, 1400)] == pytest.approx([1.0, 1.0, 0.55, 0.1])


def test_an_end_of_the_decay_that_was_set_moves_with_the_run():
    before = profile_with(schedule="wsd", cooldown_steps=200, decay_steps=1000)
    assert extension_changes(before, 500, 400) == {"optim.decay_steps": 1400, "train.max_steps": 1400}


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
def test_a_decay_that_has_begun_ends_where_it_would_have(schedule: str):
    before = profile_with(schedule=schedule)
    after = replace(before, extension_changes(before, 900, 400))
    assert [rate(after, at) for at in range(900, 1001)] == [rate(before, at) for at in range(900, 1001)]
    assert {rate(after, at) for at in range(1000, 1400)} == {0.1}


# -- in a run ----------------------------------------------------------------------------------------------------------


def lrs(events: list[ev.Event]) -> dict[int, float]:
    return {event.step: event.lr for event in events if isinstance(event, ev.StepDone)}


def test_a_cooldown_ends_a_run_and_is_logged_as_changes_of_settings(tiny: Tiny, run: Run, tmp_path: Path):
    profile = tiny(train__max_steps=1000, train__eval_interval=0)
    events = run(profile, pilot=at_step(6, commands.Cooldown(steps=4)))
    changed = {e.key: (e.step, e.new) for e in events if isinstance(e, ev.ConfigChanged)}
    now = learning_rate(6, profile.optim, 1000)
    assert changed == {
        "optim.schedule": (6, '"wsd"'), "optim.learning_rate": (6, repr(now)), "optim.min_lr": (6, "0.001"),
        "optim.cooldown_steps": (6, "4"), "train.max_steps": (6, "10"),
    }  # fmt: skip
    assert [e.step for e in events if isinstance(e, ev.Finished)] == [10]
    fall = (now - 1e-3) / 4
    assert [lrs(events)[step] for step in (7, 8, 10)] == pytest.approx([now, now - fall, now - 3 * fall])
    state = json.loads((tmp_path / "run/checkpoints/latest/state.json").read_text())
    assert {entry["key"] for entry in state["config_log"]} == changed.keys()


def test_an_extension_makes_a_run_longer(tiny: Tiny, run: Run):
    events = run(tiny(optim__schedule="wsd"), pilot=at_step(6, commands.Extend(steps=8)))
    assert [e.step for e in events if isinstance(e, ev.Finished)] == [20]
    assert [lrs(events)[step] for step in range(3, 18)] == pytest.approx([1e-2] * 15)
    assert lrs(events)[20] < 1e-2


def test_steering_from_inside_a_step_waits_for_its_end_and_a_save_after_it_too(tiny: Tiny, run: Run):
    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == 3:
            reader = trainer.snapshot.stepper.reader
            take = reader.take

            def sending(*args: Any) -> Any:  # while the fourth step's first batch is read
                reader.take = take
                for command in (commands.Extend(steps=5), commands.Cooldown(steps=2), commands.Save()):
                    trainer.send(command)
                return take(*args)

            reader.take = sending

    events = run(tiny(train__grad_accum_steps=3, train__eval_interval=0, checkpoint__interval=0), pilot=pilot)
    assert {e.step for e in events if isinstance(e, ev.ConfigChanged)} == {4}
    assert [e.step for e in events if isinstance(e, ev.CheckpointSaved) and e.reason == "asked"] == [4]
    assert [e.step for e in events if isinstance(e, ev.Finished)] == [6]


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_cooldown_survives_a_stop_and_a_resume_bit_for_bit(tiny: Tiny, run: Run, tmp_path: Path, name: str):
    """The process that goes on has the settings of the checkpoint, as the command line's resume takes them."""
    profile = tiny(optim__name=name, train__eval_interval=0)
    steer = (commands.Extend(steps=9), commands.Cooldown(steps=5))
    run(profile, "whole", pilot=at_step(5, *steer))
    run(profile, "parted", pilot=together(at_step(5, *steer), at_step(7, commands.Stop())))
    kept = decode(state_of(tmp_path / "parted")["profile"])
    (resumed,) = [e for e in run(kept, "parted", resume="latest") if isinstance(e, ev.Resumed)]
    assert (resumed.step, resumed.exact) == (7, True)
    states = [state_of(tmp_path / which) for which in ("whole", "parted")]
    assert states[0]["step"] == states[1]["step"] == 10
    assert states[0]["files"] == states[1]["files"]
    assert states[0]["config_log"] == states[1]["config_log"] != []
