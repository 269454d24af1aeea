"""The guard's judgement: what is a spike, what is not, and what it asks for."""

from __future__ import annotations

import json
import math
import random
import statistics
from pathlib import Path
from typing import Any

import pytest

from gpt.config import GuardConfig
from gpt.events import SpikeDetected
from gpt.guard import OVERFLOWS, Guard, Limits, _median, describe

CURVES: dict[str, list[tuple[float, float]]] = json.loads(Path(__file__).with_name("early_losses.json").read_text())
"""[loss, gradient norm] of each first step of real runs on Shakespeare's plays by characters."""


def judge(guard: Guard, step: int, loss: float, norm: float, config: GuardConfig, **options: Any) -> Any:
    """One step as the trainer takes it: what exceeds the limits is not applied."""
    limits = guard.limits(config)
    applied = limits is None or (loss <= limits.loss and norm <= limits.grad_norm)
    return guard.judge(step, loss, norm, config, applied=applied, **options)


def calm(steps: int = 100, *, config: GuardConfig | None = None, loss: float = 3.0, spread: float = 0.1) -> Guard:
    """A guard that has seen a steady, noisy run."""
    guard, chance = Guard(), random.Random(1)
    for step in range(1, steps + 1):
        noisy = chance.gauss(loss, spread), math.exp(chance.gauss(0, 0.15))
        assert judge(guard, step, *noisy, config or GuardConfig()) is None
    return guard


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("policy", ["warn", "skip"])
def test_the_steep_fall_of_a_real_run_raises_no_alarm(name: str, policy: Any) -> None:
    guard, config = Guard(), GuardConfig(policy=policy)
    faults = [judge(guard, step, *figures, config) for step, figures in enumerate(CURVES[name], 1)]
    assert len(faults) >= 250 and not any(faults)


@pytest.mark.parametrize("at", [120, 180, 240])
def test_a_spike_in_a_real_run_is_seen(at: int) -> None:
    """Not before the steep fall is over: up to then the window's own spread is a nat and more."""
    guard, config = Guard(), GuardConfig(policy="skip")
    curve = [*CURVES["shakespeare_char_cpu"]]
    curve[at] = (curve[at][0] + 2.5, curve[at][1])
    faults = [judge(guard, step, *figures, config) for step, figures in enumerate(curve, 1)]
    assert [(fault.step, fault.kind) for fault in faults if fault] == [(at + 1, "loss")]


@pytest.mark.parametrize(
    ("loss", "norm", "kind"), [(3.6, 1.0, None), (4.5, 1.0, "loss"), (3.0, 3.5, None), (3.0, 9.0, "gradient")]
)
def test_near_misses_do_not_fire(loss: float, norm: float, kind: str | None) -> None:
    fault = judge(calm(), 101, loss, norm, GuardConfig())
    assert (fault and fault.kind) == kind


def test_a_very_steady_loss_may_still_move() -> None:
    assert judge(calm(spread=1e-4), 101, 3.1, 1.0, GuardConfig()) is None


def test_a_loss_far_below_is_no_spike() -> None:
    assert judge(calm(), 101, 0.5, 0.01, GuardConfig(policy="skip")) is None


def test_by_default_a_spike_is_spoken_of_and_applied() -> None:
    fault = judge(calm(), 101, 6.0, 1.0, GuardConfig())
    assert (fault.action, fault.value) == ("warned", 6.0) and fault.z > 20
    assert "left out" not in describe(fault)


def test_skipping_leaves_out_a_spike() -> None:
    fault = judge(calm(), 101, 3.0, 90.0, GuardConfig(policy="skip"))
    assert (fault.action, fault.kind) == ("skipped", "gradient")
    assert describe(fault).endswith("its update was left out")


@pytest.mark.parametrize("figures", [(math.nan, 1.0), (3.0, math.inf), (math.inf, math.nan)])
def test_what_is_not_finite_is_left_out_from_the_first_step_on(figures: tuple[float, float]) -> None:
    fault = judge(Guard(), 1, *figures, GuardConfig())
    assert (fault.kind, fault.action, fault.value, fault.z) == ("not finite", "skipped", None, None)


def test_off_looks_at_nothing() -> None:
    config = GuardConfig(policy="off")
    guard = Guard()
    assert guard.limits(config) is None
    assert judge(guard, 1, math.nan, math.nan, config) is None


@pytest.mark.parametrize(("policy", "action"), [("warn", "pause"), ("rewind", "rewind"), ("pause", "pause")])
def test_more_is_asked_for_once_patience_is_at_its_end(policy: Any, action: str) -> None:
    config = GuardConfig(policy=policy, patience=3)
    guard = calm(config=config)
    faults = [judge(guard, step, math.nan, 1.0, config) for step in (101, 102, 103)]
    assert [fault.action for fault in faults] == ["skipped", "skipped", action]
    assert guard.demand == faults[-1] and guard.calm_step == 100


def test_a_sound_step_renews_patience() -> None:
    config = GuardConfig(patience=2)
    guard = calm()
    for step in range(101, 121):
        judge(guard, step, math.nan if step % 2 else 3.0, 1.0, config)
    assert guard.demand is None


def test_rewinds_are_bounded() -> None:
    config = GuardConfig(policy="rewind", patience=1, max_rewinds=2)
    guard = calm()
    guard.rewinds = 2
    assert judge(guard, 101, math.nan, 1.0, config).action == "pause"


def test_a_float16_scaler_may_search_for_its_scale_but_not_for_ever() -> None:
    guard, config = Guard(), GuardConfig(patience=2)
    faults = [judge(guard, step, 3.0, math.inf, config, scaled=True) for step in range(1, OVERFLOWS + 3)]
    assert not any(faults[:OVERFLOWS])
    assert [fault.action for fault in faults[OVERFLOWS:]] == ["skipped", "pause"]


def test_a_loss_that_is_not_finite_is_a_fault_with_a_scaler_too() -> None:
    assert judge(Guard(), 1, math.nan, math.nan, GuardConfig(), scaled=True)


def test_a_higher_level_becomes_the_usual_one() -> None:
    guard = calm()
    faults = [judge(guard, step, 5.0 + 0.01 * (step % 9), 1.0, GuardConfig()) for step in range(101, 201)]
    assert faults[0] and not any(faults[60:])


@pytest.mark.parametrize("values", [[2.0], [3.0, 1.0], [5.0, -1.0, 9.0], [4.0, 4.0, 1.0, 8.0]])
def test_the_median_is_the_median(values: list[float]) -> None:
    assert _median(values) == statistics.median(values)


def test_forgiving_begins_anew() -> None:
    config = GuardConfig(policy="skip")
    guard = calm(config=config)
    guard.forgive()
    assert guard.limits(config) == Limits()
    assert judge(guard, 101, 9.0, 50.0, config) is None


def test_a_guard_restored_from_json_judges_alike() -> None:
    config = GuardConfig(policy="skip")
    one, other = calm(config=config), Guard()
    judge(one, 101, math.nan, 1.0, config)
    other.restore(json.loads(json.dumps(one.facts())))
    assert other.limits(config) == one.limits(config)
    assert judge(other, 102, 7.0, 2.0, config).in_a_row == judge(one, 102, 7.0, 2.0, config).in_a_row == 2
    assert other.facts() == one.facts()


def test_a_line_on_a_fault_says_what_and_how_far() -> None:
    fault = SpikeDetected(step=7, kind="loss", value=9.314, z=14.21, action="skipped", in_a_row=2)
    assert describe(fault) == (
        "the loss is 9.314, 14.2 deviations above the steps before; its update was left out, 2 in a row"
    )
