"""Saturated, and what only looks far along."""

from __future__ import annotations

from typing import Any

import pytest
from stories import evidence, played, profile

from cockpit.doctor import saturation
from cockpit.doctor.diagnosis import Diagnosis
from gpt.config import Profile

NARROW = profile(
    "fineweb_124m", model__n_embd=384, model__dropout=0.1, expected_parameters=None, optim__schedule="constant"
)
"""40.56M as nanoGPT counts, 40.95M with positions; half a million tokens a step."""


def flat(step: float) -> float:
    return 3.56 + 8 * (1 + step / 20) ** -1.5


def falling(step: float) -> float:
    return 3.0 + 8 * (1 + step / 20) ** -0.35


def found(settings: Profile = NARROW, **story: Any) -> list[Diagnosis]:
    state = played(settings, **{"steps": 14_500, "every": 50, "loss": flat, "stderr": 0.002, **story})
    return list(saturation.find(evidence(settings, state)))


def test_it_says_what_the_remaining_steps_are_worth_and_which_size_would_have_suited() -> None:
    (one,) = found()
    assert one.severity == "warning"
    assert one.title.startswith("saturated: 186 tokens per parameter; the remaining 4,573 steps are worth 0.00")
    figures = one.evidence
    assert figures["times_chinchilla"] == pytest.approx(9.3, abs=0.1)
    assert figures["suited_parameters"] == pytest.approx((40.95e6 * 19073 * 524288 / 20) ** 0.5, rel=0.01)
    assert figures["suited_n_embd"] == 832 and figures["suited_n_layer"] == 13
    slope, error = figures["slope_per_1000_steps"], figures["slope_stderr"]
    assert isinstance(slope, float) and isinstance(error, float) and abs(slope) < 3 * error
    assert one.treatment is not None and one.treatment.kind == "live"
    assert one.treatment.changes["train.max_steps"] == 14_500 + 4573 // 4
    assert "end at step 15,643, which saves 3,430 steps" in one.advice


def test_a_single_line_of_a_log_says_it_by_the_tokens() -> None:
    """40.56M at step 14,500: 7.6 B tokens are 9.4 times what suits it."""
    (one,) = found(every=14_500)
    assert one.severity == "warning" and one.title == "saturated: 186 tokens per parameter"
    gain = one.evidence["suited_gain"]
    assert isinstance(gain, float) and gain == pytest.approx(0.117, abs=0.005) and one.treatment is None


@pytest.mark.parametrize(
    "story",
    [
        {"settings": profile("fineweb_124m", optim__schedule="constant"), "steps": 9000},
        {"settings": profile("fineweb_124m", optim__schedule="constant"), "loss": falling, "steps": 9000},
        {"settings": profile("fineweb_124m"), "loss": falling},
        {"settings": profile("fineweb_124m"), "loss": lambda s: flat(s) - 0.1 * (s / 19_073) ** 2, "steps": 16_500},
        {"settings": profile("fineweb_124m"), "steps": 18_000},
    ],
    ids=["few tokens", "still falling", "falling in its decay", "falling late in it", "nearly over"],
)
def test_it_is_silent(story: dict[str, Any]) -> None:
    assert not found(**story)


def test_a_rate_that_has_yet_to_fall_is_worth_something() -> None:
    """The same flat curve, but a decay is planned: what it brings is not known to be nothing."""
    (one,) = found(profile("fineweb_124m", model__n_embd=384, expected_parameters=None, optim__schedule="wsd"))
    gain = one.evidence["forecast_gain_high"]
    assert isinstance(gain, float) and gain > 0.05
