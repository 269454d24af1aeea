"""The learning rate is a pure function of the step."""

from __future__ import annotations

import math

import pytest

from gpt.config import OptimConfig
from gpt.schedule import learning_rate

COSINE = OptimConfig(learning_rate=1.0, min_lr=0.1, warmup_steps=4, decay_steps=104)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.2),  # 1/(W+1): never zero
        (3, 0.8),
        (4, 1.0),  # the peak, right after the warm-up
        (29, 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4))),
        (54, 0.55),  # half-way: the mean of both ends
        (103, 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.99))),
        (104, 0.1),
        (10_000, 0.1),
    ],
)
def test_warm_up_then_cosine_then_the_floor(step: int, expected: float):
    assert learning_rate(step, COSINE, max_steps=10**9) == pytest.approx(expected, rel=1e-12)


def test_it_is_nanogpts_schedule_for_its_shakespeare_settings():
    optim = OptimConfig(learning_rate=1e-3, min_lr=1e-4, warmup_steps=100, decay_steps=5000)

    def nanogpt(step: int) -> float:
        if step < 100:
            return 1e-3 * (step + 1) / 101
        if step > 5000:
            return 1e-4
        return 1e-4 + 0.5 * (1 + math.cos(math.pi * (step - 100) / 4900)) * 9e-4

    for step in (0, 1, 99, 100, 101, 2500, 4999, 5000, 5001, 9999):
        assert learning_rate(step, optim, max_steps=5000) == pytest.approx(nanogpt(step), rel=1e-12)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.2), (4, 1.0), (54, 0.55), (79, 0.325), (104, 0.1)])
def test_linear_falls_evenly(step: int, expected: float):
    optim = OptimConfig(learning_rate=1.0, min_lr=0.1, warmup_steps=4, decay_steps=104, schedule="linear")
    assert learning_rate(step, optim, max_steps=104) == pytest.approx(expected)


def test_constant_stays_at_the_peak_after_its_warm_up():
    optim = OptimConfig(learning_rate=1.0, warmup_steps=4, decay_steps=10, schedule="constant")
    assert [learning_rate(step, optim, 10) for step in (0, 4, 9, 10, 999)] == [0.2, 1.0, 1.0, 1.0, 1.0]


def test_the_decay_ends_at_max_steps_at_a_tenth_where_nothing_else_is_said():
    optim = OptimConfig(learning_rate=1.0)
    assert learning_rate(0, optim, max_steps=50) == 1.0
    assert learning_rate(50, optim, max_steps=50) == pytest.approx(0.1)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_a_warm_up_as_long_as_the_decay_never_divides_by_zero(schedule: str):
    optim = OptimConfig(learning_rate=1.0, warmup_steps=10, decay_steps=10, schedule=schedule)  # type: ignore[arg-type]
    assert all(0 < learning_rate(step, optim, 10) <= 1 for step in range(20))
