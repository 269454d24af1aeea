"""The schedule of the rate, and the rate itself."""

from __future__ import annotations

from typing import Any

import pytest
from stories import PROFILES, evidence, played, profile

from cockpit import profile as profiles
from cockpit.doctor import rates, schedule
from cockpit.doctor.diagnosis import Diagnosis
from gpt import events as ev


def of(find: Any, steps: int = 0, file: str = "fineweb_124m", **changes: Any) -> list[Diagnosis]:
    settings = profile(file, **changes)
    rows = 65 if "shakespeare_char" in file else 50304
    state = played(settings, steps=steps, every=100) if steps else None
    return list(find(evidence(settings, state, vocab_size=rows)))


def test_a_decay_that_ends_long_before_the_run_wastes_what_is_left() -> None:
    (one,) = of(schedule.find_decay, optim__decay_steps=10_000)
    assert one.title == "the rate is at its floor for the last 9,073 steps" and one.severity == "warning"
    assert one.treatment is not None and one.treatment.changes == {"optim.decay_steps": 19_073}
    (late,) = of(schedule.find_decay, 12_000, optim__decay_steps=10_000)
    assert late.treatment is None and late.advice.startswith("Stop here")  # a longer decay would raise it again


def test_a_decay_that_overshoots_the_end_never_reaches_its_floor() -> None:
    (one,) = of(schedule.find_decay, optim__decay_steps=600_000)
    assert one.title == "the run ends at a rate 10.0 times its floor"
    assert one.treatment is not None and one.treatment.changes == {"optim.decay_steps": 19_073}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optim__decay_steps": 18_500},
        {"optim__decay_steps": 20_000},
        {"optim__schedule": "constant", "optim__decay_steps": 100},
        {"optim__schedule": "wsd", "optim__cooldown_steps": 3000},
        {"optim__decay_steps": 22_000},  # beyond, but near its floor by then
    ],
)
def test_a_decay_that_ends_about_with_the_run_is_sound(changes: dict[str, Any]) -> None:
    assert not of(schedule.find_decay, **changes)


def test_a_run_that_was_made_longer_is_held_against_its_new_end() -> None:
    settings = profile("fineweb_124m", optim__decay_steps=19_073)

    def extend(step: int) -> list[ev.Event]:
        change = {"key": "train.max_steps", "old": "19073", "new": "40000"}
        return [ev.ConfigChanged(time=1.0, step=step, **change)] if step == 1000 else []

    (one,) = schedule.find_decay(evidence(settings, played(settings, steps=2000, every=100, extra=extend)))
    assert one.evidence["max_steps"] == 40_000


def test_a_warm_up_as_long_as_the_run_is_critical_and_a_third_of_it_a_warning() -> None:
    (whole,) = of(schedule.find_warmup, train__max_steps=500)
    (third,) = of(schedule.find_warmup, train__max_steps=2000)
    assert (whole.severity, third.severity) == ("critical", "warning")
    assert whole.title == "the warm-up takes 700 of 500 steps"
    assert third.treatment is not None and third.treatment.changes == {"optim.warmup_steps": 40}
    assert not of(schedule.find_warmup, train__max_steps=5000)


def test_no_warm_up_matters_where_the_rate_is_the_usual_one() -> None:
    (one,) = of(schedule.find_warmup, optim__warmup_steps=0)
    assert one.title == "no warm-up at a rate of 0.0006" and one.severity == "warning"
    assert one.treatment is not None and one.treatment.changes == {"optim.warmup_steps": 381}
    (later,) = of(schedule.find_warmup, 2000, optim__warmup_steps=0)
    assert later.severity == "note" and later.treatment is None  # it has stood its beginning


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("fineweb_124m", {"optim__learning_rate": 1e-4, "optim__min_lr": 1e-5}),
        ("finetune_shakespeare", {}),
        ("shakespeare_char_cpu", {}),
    ],
)
def test_no_warm_up_is_sound_at_a_low_rate_from_trained_weights_and_in_a_tiny_model(
    file: str, changes: dict[str, Any]
) -> None:
    assert not of(schedule.find_warmup, file=file, optim__warmup_steps=0, **changes)


def test_a_floor_far_from_a_tenth_is_told() -> None:
    (flat,) = of(schedule.find_floor, optim__min_lr=6e-4)
    assert flat.severity == "warning" and flat.title == "min_lr is 100 % of the rate, not about 10 %"
    assert flat.treatment is not None and flat.treatment.changes == {"optim.min_lr": 6e-5}
    (low,) = of(schedule.find_floor, optim__min_lr=1e-6)
    assert low.severity == "note"


@pytest.mark.parametrize(
    "changes",
    [
        {"optim__min_lr": 1.2e-4},
        {"optim__min_lr": None},
        {"optim__min_lr": 0.0, "optim__schedule": "linear"},
        {"optim__min_lr": 6e-4, "optim__schedule": "constant"},
    ],
)
def test_a_floor_near_a_tenth_or_of_another_schedule_is_sound(changes: dict[str, Any]) -> None:
    assert not of(schedule.find_floor, **changes)


@pytest.mark.parametrize(("width", "rate"), [(768, 6e-4), (1024, 3e-4), (2048, 2e-4), (12288, 0.6e-4), (384, 1e-3)])
def test_the_usual_rate_is_gpt3s_and_nanogpts(width: int, rate: float) -> None:
    """Brown et al. 2020, table 2.1; nanoGPT's config/train_shakespeare_char.py."""
    assert rates.usual_rate(width) == pytest.approx(rate)


def test_a_rate_far_from_the_usual_is_told_with_the_one_to_put_in() -> None:
    (high,) = of(rates.find, optim__learning_rate=6e-3)
    assert high.title == "learning rate 0.006, 10 times the usual 0.0006 at width 768"
    assert high.treatment is not None
    assert high.treatment.changes == {"optim.learning_rate": 6e-4}
    (low,) = of(rates.find, optim__learning_rate=1e-5, optim__min_lr=1e-6)
    assert low.treatment is not None
    assert low.treatment.changes == {"optim.learning_rate": 6e-4, "optim.min_lr": 6e-5}  # the old floor is too low
    assert low.title == "learning rate 1e-05, 1/60 of the usual 0.0006 at width 768"
    (stood,) = of(rates.find, 2000, optim__learning_rate=6e-3)
    assert stood.severity == "note"
    (never,) = of(rates.find, 2000, optim__learning_rate=3e-2)
    assert never.severity == "warning"


def test_training_on_from_weights_wants_a_low_rate() -> None:
    (one,) = of(rates.find, file="finetune_shakespeare", optim__learning_rate=6e-4)
    assert one.treatment is not None and one.treatment.changes == {"optim.learning_rate": 6e-5}
    assert not of(rates.find, file="finetune_shakespeare")


@pytest.mark.parametrize("rate", [1.8e-3, 1e-4])
def test_a_rate_some_times_above_or_below_is_sound(rate: float) -> None:
    assert not of(rates.find, optim__learning_rate=rate)


@pytest.mark.parametrize("file", sorted(PROFILES.glob("*.toml")), ids=lambda file: file.stem)
def test_every_shipped_profile_has_a_sound_schedule(file: Any) -> None:
    settings = profiles.load(file).profile
    finds = (schedule.find_decay, schedule.find_warmup, schedule.find_floor, rates.find)
    assert not [one.title for find in finds for one in find(evidence(settings, vocab_size=65))]
