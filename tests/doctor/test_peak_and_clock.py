"""MFU against another card's peak; an evaluation in the time of a step."""

from __future__ import annotations

from typing import Any

import pytest
from machines import find_one, on_card, on_cpu
from stories import START, evidence, profile

from cockpit.doctor import clock, peak
from cockpit.reducer import reduce_all
from cockpit.state import RunState
from gpt import events as ev


def nanogpt_log(*, slow: float = 4446.83, plain: float = 33.0, steps: int = 5000) -> RunState:
    """As its train.py prints: every tenth step, and an evaluation each 250, timed with the step of its number."""
    told: list[ev.Event] = []
    for step in range(0, steps + 1, 10):
        evaluated = step % 250 == 0
        if evaluated:
            told.append(ev.EvalDone(time=START, step=step, train_loss=0.6224, val_loss=1.7044, seconds=4.4, best=False))
        told.append(
            ev.StepDone(
                time=START, step=step, loss=0.8236, lr=1e-3, grad_norm=None, ms=slow if evaluated else plain,
                tokens=step * 16384, tokens_per_s=1.0, mfu=0.0999,
            )
        )  # fmt: skip
    return reduce_all(RunState(), told)


def test_the_step_of_4_446_83_ms_is_an_evaluation() -> None:
    """`iter 5000: loss 0.8236, time 4446.83ms, mfu 9.99%`, where steps take 33 ms."""
    found = find_one(clock.RULE, evidence(None, nanogpt_log()))
    assert found is not None and found.severity == "note"
    assert found.title == "The 4,446.83 ms of step 5,000 are an evaluation; a step takes 33 ms"
    assert found.evidence["times"] == pytest.approx(134.75, abs=0.01)


@pytest.mark.parametrize("log", [nanogpt_log(slow=120.0), nanogpt_log(steps=10), RunState()])
def test_a_log_in_which_no_step_stands_out(log: RunState) -> None:
    """120 ms for 33: a slow step; two printed steps: too few."""
    assert find_one(clock.RULE, evidence(None, log)) is None


def test_our_own_clock_is_never_accused() -> None:
    """Not even where the step of an evaluation was slow."""
    about = on_card(steps=250)
    state = reduce_all(about.state, [_slow_step(251), _evaluation(251)])
    assert find_one(clock.RULE, evidence(about.profile, state)) is None


def test_what_a_step_would_have_read_is_known_for_whoever_asks() -> None:
    """1,000 ms a step, 5 s an evaluation."""
    counted = clock.with_evaluation(on_card(steps=250).state)
    assert counted is not None and (counted.ms, counted.plain_ms, counted.step) == (6000.0, 1000.0, 250)
    assert clock.with_evaluation(RunState()) is None


def test_nanogpts_mfu_is_a_share_of_an_a100() -> None:
    """9.99 % of 312 TFLOP/s."""
    found = find_one(peak.RULE, evidence(None, nanogpt_log()))
    assert found is not None and found.severity == "note"
    assert "31.2 TFLOP/s" in found.why and "18.9 % of an RTX 4090" in found.why


def test_a_peak_copied_from_another_profile_is_found() -> None:
    """312 TFLOP/s on an H200: 45 % of its own are shown as 144 %."""
    copied = profile("fineweb_124m", device__peak_tflops=312.0)
    found = find_one(peak.RULE, on_card(copied, facts={"peak_flops": 312e12, "peak_source": "profile"}))
    assert found is not None and found.severity == "warning"
    assert found.title == "MFU is a share of 312 TFLOP/s, and this card does 989.4"
    assert "which is what A100-SXM4-40GB does" in found.why
    assert found.evidence["mfu"] == pytest.approx(0.453, abs=1e-3)
    assert found.treatment is not None and found.treatment.kind == "live"
    assert found.treatment.changes == {"device.peak_tflops": 989.4}


@pytest.mark.parametrize(
    "facts",
    [
        {"peak_flops": 950e12, "device": "NVIDIA H200"},  # within a tenth
        {"peak_flops": 950e12, "device": "A card of tomorrow"},
        {"peak_flops": 494.7e12, "dtype": "float32"},  # TF32's
    ],
)
def test_a_given_peak_that_may_be_right(facts: dict[str, Any]) -> None:
    given = profile("fineweb_124m", device__peak_tflops=facts["peak_flops"] / 1e12)
    assert find_one(peak.RULE, on_card(given, facts={"peak_source": "profile"} | facts, ms=2000.0)) is None


def test_more_than_the_peak_cannot_be() -> None:
    given = profile("fineweb_124m", device__peak_tflops=40.0)
    facts = {"peak_flops": 40e12, "peak_source": "profile", "device": "A card of tomorrow"}
    found = find_one(peak.RULE, on_card(given, facts=facts))
    assert found is not None and "more than all there is" in found.title


def test_a_measured_or_looked_up_peak_is_not_doubted() -> None:
    assert find_one(peak.RULE, on_card()) is None
    assert find_one(peak.RULE, on_cpu()) is None


def _slow_step(step: int) -> ev.Event:
    return ev.StepDone(
        time=START, step=step, loss=3.0, lr=1e-3, grad_norm=0.4, ms=60_000.0, tokens=step, tokens_per_s=1.0
    )


def _evaluation(step: int) -> ev.Event:
    return ev.EvalDone(time=START, step=step, train_loss=3.0, val_loss=3.0, seconds=60.0, best=False)
