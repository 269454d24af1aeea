"""Overfitting, and what looks like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from stories import evidence, played, profile

from cockpit.doctor import overfitting
from cockpit.doctor.diagnosis import Diagnosis
from gpt.config import Profile
from gpt.events import Event, Finished

SHAKESPEARE = profile("shakespeare_char", train__eval_interval=250)


def learns(step: float) -> float:
    return 0.9 + 3.3 * (1 + step / 100) ** -0.7


def found(gap: Callable[[float], float], settings: Profile = SHAKESPEARE, **story: Any) -> list[Diagnosis]:
    state = played(
        settings,
        **{"steps": 3500, "rows": 65, "loss": learns, "train_tokens": 1_003_854, "every": 10, **story},
        gap=gap,
    )
    return list(overfitting.find(evidence(settings, state, vocab_size=65)))


def since(begin: float, per_step: float = 2e-4) -> Callable[[float], float]:
    return lambda step: 0.05 + max(0.0, step - begin) * per_step


def level_with(per_step: float) -> Callable[[float], float]:
    """Validation stands still from step 1,500 on, but for so much a step, while training falls."""
    return lambda step: 0.05 + (learns(1500) - learns(step) + (step - 1500) * per_step if step > 1500 else 0.0)


def test_a_rise_gives_the_best_step_and_the_epochs() -> None:
    (one,) = found(since(1500))
    assert one.severity == "critical"
    assert one.evidence["best_step"] in (1500, 1750, 2000)
    assert one.evidence["epochs"] == pytest.approx(3500 * 16384 / 1_003_854)
    assert one.treatment is not None and one.treatment.action == "quit"
    assert f"train.max_steps = {one.evidence['best_step']:,}" in one.advice


def test_after_the_end_it_offers_a_run_that_ends_where_this_was_best() -> None:
    (one,) = found(since(1500), steps=5000, extra=ending_at(5000))
    assert one.treatment is not None and one.treatment.kind == "profile"
    assert one.treatment.changes["train.max_steps"] == one.evidence["best_step"]


def ending_at(last: int) -> Callable[[int], list[Event]]:
    from gpt.events import StateChanged

    return lambda step: (
        [Finished(step=step, reason="max_steps"), StateChanged(state="finished")] if step == last else []
    )


def test_a_gap_that_speaks_for_itself_needs_no_rise() -> None:
    """Shakespeare 0.6224 / 1.7044, in one line of a log."""
    (one,) = found(lambda step: 1.082, steps=5000, every=5000, loss=lambda step: 0.6224, noise=0.0, stderr=0.0)
    assert one.title == "overfitting: validation 1.7044 against training 0.6224" and one.severity == "critical"
    assert one.treatment is not None and one.treatment.changes == {"train.eval_interval": 250}
    (one,) = found(lambda step: 1.5 - step * 2e-4, loss=lambda step: 0.6, stderr=0.001)
    assert one.severity == "note" and one.treatment is None  # validation still falls


def test_luck_is_no_rise() -> None:
    """A best evaluation is partly a lucky one: those after it lie above it in a curve that only wavers."""
    for seed in range(20):

        def gap(step: float, seed: int = seed) -> float:
            return level_with(0.0)(step) + 0.04 * np.random.default_rng([seed, int(step)]).normal()

        assert not found(gap, stderr=0.0, steps=4500, every=50)


@pytest.mark.parametrize(
    ("gap", "story"),
    [
        (lambda step: 0.05, {}),
        (since(3300), {}),
        (level_with(1e-6), {"stderr": 0.0}),
        (lambda step: 0.05, {"loss": lambda step: learns(min(step, 1500)) + max(0, step - 1500) * 2e-4}),
        (lambda step: 1.0, {"train_tokens": 10**9, "loss": lambda step: 0.6, "stderr": 0.0}),
    ],
    ids=["a steady gap", "too few evaluations", "a rise of nothing", "training rises too", "under an epoch"],
)
def test_it_is_silent(gap: Callable[[float], float], story: dict[str, Any]) -> None:
    assert not found(gap, **story)
