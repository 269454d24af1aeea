"""Evaluations that are too noisy, or take too long."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from stories import evidence, played, profile

from cockpit.doctor import evaluations
from cockpit.doctor.evidence import Evidence


def slow(step: float) -> float:
    """A loss that hardly moves any more."""
    return 3.3 - step * 2e-6


def story(eval_steps: int = 2, **told: Any) -> Evidence:
    settings = profile("fineweb_124m", train__eval_steps=eval_steps)
    return evidence(settings, played(settings, **{"steps": 3000, "loss": slow, "every": 10, **told}))


def test_an_error_wider_than_what_is_read_gives_the_batches_for_a_smaller_one() -> None:
    seen = story(stderr=0.08, gap=lambda step: 0.0)
    (one,) = evaluations.find_noisy(seen)
    wanted, batches = one.evidence["wanted_stderr"], one.evidence["eval_steps_wanted"]
    assert isinstance(wanted, float) and one.evidence["val_stderr"] == 0.08
    assert batches == math.ceil(2 * (0.08 / wanted) ** 2)
    assert one.treatment is not None and one.treatment.changes == {"train.eval_steps": batches}
    assert f"train.eval_steps = {batches:,}" in one.advice


def test_more_batches_than_the_split_holds_become_the_whole_split() -> None:
    settings = profile("fineweb_124m", train__eval_steps=2)
    told = played(
        settings, steps=3000, loss=slow, every=10, stderr=0.08, gap=lambda step: 0.0, facts={"val_tokens": 50_000}
    )
    (one,) = evaluations.find_noisy(evidence(settings, told))
    assert one.treatment is not None and one.treatment.changes == {"train.eval_steps": 0}


def test_a_somewhat_coarse_error_is_a_note() -> None:
    (one,) = evaluations.find_noisy(story(stderr=0.04, gap=lambda step: 0.0))
    assert one.severity == "note"


def test_a_single_batch_has_no_error_of_its_own_but_cannot_be_better_than_its_tokens() -> None:
    """3.3 nats a token over 200 tokens: the spread of single tokens is about as large as their mean."""
    settings = profile("fineweb_124m", train__eval_steps=1)
    state = played(settings, steps=3000, loss=slow, every=10, stderr=0.08, gap=lambda step: 0.0)
    assert state.evaluation is not None
    lone = msgspec.structs.replace(state.evaluation, val_stderr=None, val_tokens=200)
    (one,) = evaluations.find_noisy(evidence(settings, msgspec.structs.replace(state, evaluation=lone)))
    assert one.title.startswith("evaluation is at least ± 0.23")


def test_progress_that_shows_on_the_same_windows_is_left_alone() -> None:
    """Every evaluation reads the same windows: their error shifts the curve, but does not make it waver."""
    settings = profile("fineweb_124m", train__eval_steps=2)
    state = played(settings, steps=3000, loss=lambda step: 3.4 - step * 5e-5, every=10, stderr=0.001)
    assert state.evaluation is not None
    coarse = msgspec.structs.replace(state.evaluation, val_stderr=0.05)
    assert not list(evaluations.find_noisy(evidence(settings, msgspec.structs.replace(state, evaluation=coarse))))


def test_a_fall_of_many_errors_shows_also_in_the_first_few_evaluations() -> None:
    """Five evaluations are too few to tell how one wavers about the next: more than their error it cannot be."""
    early = story(stderr=0.08, steps=1250, loss=lambda step: 9 - step / 250, gap=lambda step: 0.0)
    assert len(early.state.val_loss) == 5
    assert not list(evaluations.find_noisy(early))


def test_an_error_that_hides_no_progress_but_every_comparison_is_a_note_and_asks_for_more_batches() -> None:
    """4 % of the loss, while the loss falls by many times that."""
    falling = story(eval_steps=40, stderr=0.14, loss=lambda step: 9 - step / 500, gap=lambda step: 0.0)
    (one,) = evaluations.find_noisy(falling)
    assert one.severity == "note" and "not how it stands to another" in one.title
    wanted = one.evidence["eval_steps_wanted"]
    assert isinstance(wanted, int) and wanted > 40


@pytest.mark.parametrize(
    "told",
    [
        {"stderr": 0.004, "loss": lambda step: 3.3, "gap": lambda step: 0.0},
        {"stderr": 0.05, "gap": lambda step: 0.9},
        {"stderr": 0.05, "loss": lambda step: 9 - step / 1000},
        {"stderr": 0.08, "steps": 500},
    ],
    ids=["fine", "the gap is wide", "it falls fast", "too early"],
)
def test_noise_that_hides_nothing_is_passed_over(told: dict[str, Any]) -> None:
    assert not list(evaluations.find_noisy(story(**told)))


def test_a_tenth_of_the_time_gives_the_exact_interval() -> None:
    """60 s every 250 steps of 1 s are 19 %; a twentieth of the time takes 60 · 19 steps of 1 s between two."""
    (one,) = evaluations.find_costly(story(evaluate_s=60.0))
    assert one.title == "evaluation takes 19 % of the time"
    assert one.evidence["eval_interval_for_10_percent"] == 540
    assert one.treatment is not None and one.treatment.changes == {"train.eval_interval": 1200}
    assert not list(evaluations.find_costly(story(evaluate_s=25.0)))


def test_seconds_are_not_worth_words() -> None:
    assert not list(evaluations.find_costly(story(evaluate_s=0.6, ms=10.0, steps=3000)))
