"""What the rest of a run is worth: real curves continued from their first half, and made ones whose law is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stories import evidence, played, profile

from cockpit.doctor.forecast import Forecast, forecast, rate_of, scheduled
from gpt.config import OptimConfig, replace

KINDS = ("brief", "long")


def curves(kind: str) -> list[dict[str, Any]]:
    """Validation losses of 20 real runs (tests/bench/forecasting.py)."""
    return json.loads(Path(__file__).with_name(f"curves_{kind}.json").read_text())


def continued(curve: dict[str, Any], share: float = 0.5) -> Forecast:
    losses = np.array(curve["val_loss"])
    steps = curve["every"] * np.arange(len(losses))
    seen = steps <= share * curve["max_steps"]
    rate = scheduled(OptimConfig(**curve["optim"]), curve["max_steps"])
    found = forecast(steps[seen], losses[seen], curve["max_steps"], rate)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_four_of_five_real_runs_end_in_the_interval_foretold_from_their_first_half(kind: str) -> None:
    """17 of 20 brief runs and 19 of 20 longer ones."""
    found = [(continued(curve), curve["val_loss"][-1]) for curve in curves(kind)]
    assert len(found) == 20
    assert sum(each.low <= end <= each.high for each, end in found) >= 16


@pytest.mark.parametrize("kind", KINDS)
def test_the_interval_says_something(kind: str) -> None:
    """It is about as wide as what the second half brings; nothing at all would leave that and as much again open."""
    found = [continued(curve) for curve in curves(kind)]
    widths = [each.high - each.low for each in found]
    brought = [curve["val_loss"][len(curve["val_loss"]) // 2] - curve["val_loss"][-1] for curve in curves(kind)]
    assert np.median(widths) < 1.25 * np.median(brought)
    assert sum(each.gain_low > 0 for each in found) >= 18  # that more comes is never in doubt


def test_the_more_is_seen_the_narrower_it_is() -> None:
    found = [[continued(curve, share) for curve in curves("long")] for share in (0.35, 0.5, 0.8)]
    widths = [np.median([each.high - each.low for each in row]) for row in found]
    assert widths[0] > 1.3 * widths[1] > 1.3 * 1.3 * widths[2]


def test_late_in_a_cosine_what_is_to_come_is_not_sold_short() -> None:
    """The loss follows a falling rate with a lag: more comes than the rate of the moment tells."""
    cosine = [curve for kind in KINDS for curve in curves(kind) if curve["optim"]["schedule"] == "cosine"]
    found = [continued(curve, 0.8) for curve in cosine]
    came = [each.final + each.gain - curve["val_loss"][-1] for each, curve in zip(found, cosine, strict=True)]
    assert np.mean([each.gain for each in found]) > 0.7 * np.mean(came)


def law(steps: np.ndarray, noise: float = 0.002) -> np.ndarray:
    return 2.8 + 12 * np.maximum(steps, 1) ** -0.4 + noise * np.random.default_rng(1).normal(size=len(steps))


def test_a_power_law_at_a_constant_rate_is_found() -> None:
    steps = np.arange(100, 5001, 100)
    found = forecast(steps, law(steps), 20_000)
    assert found is not None and found.floor is not None
    end = 2.8 + 12 * 20_000**-0.4
    assert found.low < end < found.high and found.high - found.low < 0.2
    assert found.gain == pytest.approx(12 * (5000**-0.4 - 20_000**-0.4), rel=0.25)
    assert found.exponent == pytest.approx(0.4, abs=0.25) and found.floor == pytest.approx(2.8, abs=0.35)


def test_a_decay_is_foretold_before_it_comes() -> None:
    """At a constant rate the curve seems to have ended; the schedule's fall takes another 0.1 off it."""
    optim = OptimConfig(learning_rate=1e-3, min_lr=0.0, schedule="wsd", cooldown_steps=2000)
    rate = scheduled(optim, 10_000)
    steps = np.arange(100, 8001, 100)
    losses = law(steps, 0.001)
    end = 2.8 + 12 * 10_000**-0.4 - 0.1
    with_schedule, without = forecast(steps, losses, 10_000, rate), forecast(steps, losses, 10_000)
    assert with_schedule is not None and without is not None
    assert with_schedule.low < end < with_schedule.high and end < without.low


def test_a_curve_that_has_ended_is_worth_nothing_more() -> None:
    steps = np.arange(100, 8001, 100)
    found = forecast(steps, 3.0 + 5 * np.exp(-steps / 500) + 0.002 * np.random.default_rng(2).normal(size=80), 16_000)
    assert found is not None and found.gain < 0.01 and found.gain_high < 0.025


@pytest.mark.parametrize(
    ("steps", "losses", "last"),
    [
        (np.arange(100, 701, 100), np.linspace(5, 4, 7), 5000),
        (np.arange(100, 3001, 100), np.linspace(5, 4, 30), 3000),
        (np.arange(100, 3001, 100), 4 + np.abs(np.linspace(-1, 0.4, 30)), 5000),
        (np.arange(100, 3001, 100), np.full(30, np.nan), 5000),
    ],
    ids=["too few points", "nothing left", "it rises", "not finite"],
)
def test_what_cannot_be_said_is_not_said(steps: np.ndarray, losses: np.ndarray, last: int) -> None:
    assert forecast(steps, losses, last) is None


def test_a_curve_of_another_law_is_not_continued() -> None:
    """It stands still and falls at last, most where the rate is least: hardly any draw has a decay that lowers it."""
    optim = OptimConfig(learning_rate=6e-4, warmup_steps=0)
    steps = np.arange(250, 15_001, 250)
    losses = 3.56 - 0.03 * (steps / 19_073) ** 4 + 0.002 * np.random.default_rng(4).normal(size=len(steps))
    assert forecast(steps, losses, 19_073, scheduled(optim, 19_073)) is None


def test_rates_are_those_that_were_logged_and_then_the_schedules() -> None:
    """The learning rate was halved while the run went on, which the profile in force does not tell of its past."""
    settings = profile("fineweb_124m", optim__learning_rate=3e-4, optim__schedule="constant", optim__warmup_steps=0)
    before = played(replace(settings, {"optim.learning_rate": 6e-4}), steps=500)
    rate = rate_of(evidence(settings, before))
    assert rate is not None
    assert list(rate(np.array([100, 500, 501, 19_073]))) == [6e-4, 6e-4, 3e-4, 3e-4]


def test_of_a_long_run_the_old_rates_are_remembered() -> None:
    """Its older steps are in buckets: what is known exactly begins long after the rate was high."""
    settings = profile(
        "fineweb_124m", optim__learning_rate=6e-4, optim__warmup_steps=0, optim__decay_steps=5000,
        train__max_steps=30_000, train__eval_interval=1000,
    )  # fmt: skip
    long = evidence(replace(settings, {"optim.learning_rate": 3e-4}), played(settings, steps=12_500))
    assert long.state.lr.x[0] > 2000
    rate = rate_of(long)
    assert rate is not None
    assert rate(np.array([100.0])) == pytest.approx(6e-4, rel=0.01)
