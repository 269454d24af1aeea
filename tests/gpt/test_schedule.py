"""The learning rate is a pure function of the step."""

from __future__ import annotations

import math

import msgspec
import pytest

from gpt.config import OptimConfig
from gpt.schedule import decay_span, learning_rate

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


WSD = OptimConfig(learning_rate=1.0, min_lr=0.2, warmup_steps=4, cooldown_steps=10, schedule="wsd")


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.2), (3, 0.8), (4, 1.0), (90, 1.0), (91, 0.92), (95, 0.6), (99, 0.28), (100, 0.2), (10_000, 0.2)],
)
def test_wsd_warms_up_stays_and_falls_evenly_in_its_last_steps(step: int, expected: float):
    assert learning_rate(step, WSD, max_steps=100) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "span"),
    [
        ({}, (90, 100)),
        ({"cooldown_steps": None}, (80, 100)),  # a fifth
        ({"cooldown_steps": None, "decay_steps": 50}, (40, 50)),
        ({"decay_steps": 60}, (50, 60)),
        ({"decay_steps": 130}, (120, 130)),  # never reached
        ({"cooldown_steps": 500}, (4, 100)),  # no longer than what the warm-up leaves
        ({"cooldown_steps": None, "decay_steps": 2, "warmup_steps": 0}, (1, 2)),
        ({"schedule": "cosine"}, (4, 100)),
        ({"schedule": "linear", "decay_steps": 70}, (4, 70)),
    ],
)
def test_the_decay_begins_and_ends_where_the_profile_says(changes: dict, span: tuple[int, int]):
    optim = msgspec.structs.replace(WSD, **changes)
    assert decay_span(optim, max_steps=100) == span
    begin, end = span
    rates = [learning_rate(step, optim, 100) for step in range(begin, end + 2)]
    assert rates[0] == 1.0 and rates[1] < 1.0 and rates[-3] > 0.2
    assert rates[-2:] == [0.2, 0.2]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
def test_the_floor_is_a_tenth_of_the_rate_where_nothing_else_is_said(schedule: str):
    optim = OptimConfig(learning_rate=0.5, schedule=schedule)  # type: ignore[arg-type]
    assert learning_rate(50, optim, max_steps=50) == 0.05


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "wsd"])
def test_a_warm_up_as_long_as_the_decay_never_divides_by_zero(schedule: str):
    optim = OptimConfig(learning_rate=1.0, warmup_steps=10, decay_steps=10, schedule=schedule)  # type: ignore[arg-type]
    assert all(0 < learning_rate(step, optim, 10) <= 1 for step in range(20))
