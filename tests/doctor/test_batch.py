"""Tokens per step: against the size, and against the measured noise scale."""

from __future__ import annotations

from typing import Any

import pytest
from machines import find_one, on_card, on_cpu
from stories import START, evidence, profile

from cockpit.doctor import batch
from cockpit.doctor.diagnosis import Diagnosis
from gpt import events as ev
from gpt.config import Profile, replace


def noise(tokens: float | None, measurements: int = 30, step: int = 100) -> list[ev.Event]:
    """So many measurements, all alike."""
    return noises([tokens] * measurements, step)


def noises(measured: list[float | None], step: int = 100) -> list[ev.Event]:
    """Measurements one after the other."""
    return [
        ev.NoiseScaleEstimated(
            time=START, step=step + at, sequences=tokens and tokens / 1024, tokens=tokens, tokens_per_step=1,
            gradient_square=1.0, noise_trace=1.0, measurements=at + 1,
        )
        for at, tokens in enumerate(measured)
    ]  # fmt: skip


def small_steps(settings: Profile | None = None, **facts: Any) -> Diagnosis | None:
    """124M with nanoGPT's micro-batch of 12 and no accumulation: 12,288 tokens a step."""
    settings = settings or profile(
        "gpt2_124m", train__micro_batch_size=12, train__grad_accum_steps=1, train__max_steps=19_000
    )
    return find_one(batch.RULE, on_card(settings, ms=40.0, facts={"micro_batch_size": 12} | facts))


@pytest.mark.parametrize(
    ("parameters", "tokens"), [(124e6, 0.5e6), (760e6, 0.5e6), (1.3e9, 1e6), (13e9, 2e6), (1e12, 3.2e6)]
)
def test_gpt3s_batches_by_size(parameters: float, tokens: float) -> None:
    """Brown et al. 2020, table 2.1."""
    assert batch.wanted_tokens(parameters) == pytest.approx(tokens, rel=0.01)
    assert 0.5e6 < batch.wanted_tokens(1e9) < 1e6  # between its rows


def test_accumulation_is_given_exactly_for_the_micro_batch_that_fits() -> None:
    """Half a million tokens on 139 GiB: 64 × 8 × 1,024 = 524,288."""
    found = small_steps()
    assert found is not None and found.severity == "warning"
    assert found.title == "12,288 tokens a step, 41 times fewer than the 500,000 of models of this size"
    assert "micro_batch_size = 64, grad_accum_steps = 8" in found.advice and "max_steps = 445" in found.advice
    assert found.treatment is not None
    better = replace(profile("gpt2_124m"), dict(found.treatment.changes))
    assert better.tokens_per_step == 524288


def test_on_12_gb_the_micro_batch_is_smaller_and_the_step_the_same() -> None:
    found = small_steps(device="NVIDIA GeForce RTX 4070 Ti", peak_flops=80.2e12)
    assert found is not None and "micro_batch_size = 8, grad_accum_steps = 64" in found.advice


def test_it_is_told_before_the_run_too_and_keeps_the_micro_batch_where_the_card_is_unknown() -> None:
    settings = profile("gpt2_124m", train__micro_batch_size=12, train__grad_accum_steps=1)
    found = find_one(batch.RULE, evidence(settings))
    assert found is not None and "micro_batch_size = 12, grad_accum_steps = 41" in found.advice


@pytest.mark.parametrize(
    "settings",
    [
        profile("fineweb_124m"),  # 524,288
        profile("fineweb_124m", train__tokens_per_step=131072),  # a quarter
        profile("openwebtext_30m"),  # 32,768: small models are trained well with that
        profile("finetune_shakespeare"),  # 32,768: tuned, not trained
        profile("shakespeare_char"),
    ],
    ids=lambda settings: f"{settings.name}-{settings.tokens_per_step}",
)
def test_sizes_of_steps_that_are_known_to_be_good(settings: Profile) -> None:
    assert find_one(batch.RULE, evidence(settings)) is None


def test_steps_far_above_the_measured_noise_scale_waste_tokens() -> None:
    """524,288 tokens, where 20,000 carry as much signal as noise."""
    found = find_one(batch.RULE, on_card(steps=8000, every=40, beside=noise(20_000.0)))
    assert found is not None and "20,000 would carry it: 96 % add nothing" in found.title
    assert found.treatment is not None and found.treatment.changes["train.tokens_per_step"] == 16384


def test_steps_far_below_it_follow_noise() -> None:
    """768 tokens where 100,000 would carry as much signal as noise."""
    found = find_one(batch.RULE, on_cpu(steps=1000, beside=noise(100_000.0)))
    assert (
        found is not None
        and found.severity == "warning"
        and found.title == "768 tokens a step are 130 parts noise to one of signal"
    )
    assert found.treatment is not None and (
        found.treatment.changes["train.micro_batch_size"],
        found.treatment.changes["train.grad_accum_steps"],
    ) == (64, 4)


def test_small_steps_that_are_merely_noisy_are_a_note() -> None:
    """768 tokens of 20,000: as small models are trained on small machines."""
    found = find_one(batch.RULE, on_cpu(steps=1000, beside=noise(20_000.0)))
    assert found is not None and found.severity == "note"
    assert find_one(batch.RULE, on_cpu(steps=1000, beside=noise(10_000.0))) is None


@pytest.mark.parametrize(
    ("steps", "measured"),
    [
        (8000, noise(100_000.0)),  # 5 times
        (2000, noise(20_000.0)),  # early: it grows
        (8000, noise(20_000.0, measurements=4)),
        (8000, noise(None)),  # noise hides the gradient
        (8000, noises([None] * 15 + [4e3, 6e3, 5e3, 9e3, 12e3])),  # a real run's: it has only begun to be seen
        (8000, noises([1e3 * 1.2**at for at in range(30)])),
    ],
)
def test_a_noise_scale_that_says_too_little(steps: int, measured: list[ev.Event]) -> None:
    assert find_one(batch.RULE, on_card(steps=steps, every=40, beside=measured)) is None
