"""Training that comes apart, and training that does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from stories import START, evidence, played, profile, sound_loss

from cockpit.doctor import first_loss, gradients, stability
from cockpit.doctor.diagnosis import Diagnosis
from cockpit.doctor.evidence import Evidence
from gpt import events as ev

SMALL = profile("fineweb_124m", train__max_steps=4000)


def run(steps: int = 2000, settings: Any = SMALL, **story: Any) -> Evidence:
    return evidence(settings, played(settings, steps=steps, **story))


def from_step(step: int, then: Callable[[float], float]) -> Callable[[float], float]:
    return lambda at: then(at) if at >= step else sound_loss(at)


def spike_at(*steps: int, z: float | None = 12.0) -> Callable[[int], list[ev.Event]]:
    def told(step: int) -> list[ev.Event]:
        kind = "loss" if z else "not finite"
        faulty = ev.SpikeDetected(time=START, step=step, kind=kind, value=9.0 if z else None, z=z, action="warned")
        return [faulty] if step in steps else []

    return told


def test_a_loss_that_is_no_number_any_more_is_critical() -> None:
    (one,) = stability.find_not_finite(run(loss=from_step(1500, lambda step: math.nan)))
    assert one.severity == "critical" and one.title == "the loss is not finite since step 1,500"
    assert one.treatment is not None and one.treatment.changes["optim.learning_rate"] == pytest.approx(3e-4)


def test_one_step_that_was_left_out_long_ago_is_a_note() -> None:
    def once(step: float) -> float:
        return math.nan if step == 500 else sound_loss(step)

    (one,) = stability.find_not_finite(run(loss=once, extra=spike_at(500, z=None)))
    assert one.severity == "note" and one.evidence["steps_not_finite"] == 1
    (lately,) = stability.find_not_finite(run(1200, loss=once, extra=spike_at(500, z=None)))
    assert lately.severity == "warning"


def test_finite_losses_and_a_log_without_gradients_say_nothing_of_it() -> None:
    assert not list(stability.find_not_finite(run()))
    assert not list(stability.find_not_finite(run(grad_norm=lambda step: math.nan)))


def test_a_loss_that_rises_for_good_has_diverged() -> None:
    (one,) = stability.find_divergence(run(loss=from_step(1500, lambda step: 6.0)))
    assert one.severity == "critical" and one.title == "training loss 5.99, it was 3.47 at 1,500"
    assert one.treatment is not None and one.treatment.action == "rewind"
    assert "optim.learning_rate = 0.0003" in one.advice


@pytest.mark.parametrize(
    "loss",
    [
        sound_loss,
        from_step(1500, lambda step: sound_loss(step) + 0.25),  # a higher rate, or another part of the data
        from_step(1500, lambda step: 6.0 if step < 1700 else sound_loss(step)),  # it came back
        lambda step: 10.9,  # it never fell
    ],
)
def test_a_loss_that_wanders_or_comes_back_has_not_diverged(loss: Callable[[float], float]) -> None:
    assert not list(stability.find_divergence(run(loss=loss)))


def test_a_loss_whose_noise_is_as_large_as_its_rise_has_not_diverged() -> None:
    rising = from_step(1500, lambda step: sound_loss(step) + 1.2)
    assert list(stability.find_divergence(run(loss=rising)))
    assert not list(stability.find_divergence(run(loss=rising, noise=0.5)))


def test_spikes_again_and_again_are_a_habit_and_two_are_not() -> None:
    (one,) = stability.find_spikes(run(extra=spike_at(1200, 1500, 1501, 1502, 1900)))
    assert one.severity == "warning" and one.title == "3 spikes in the last 1,000 steps"
    assert one.treatment is not None and one.treatment.changes["guard.policy"] == "skip"
    assert not list(stability.find_spikes(run(extra=spike_at(1500, 1501, 1502, 1900))))
    assert not list(stability.find_spikes(run(extra=spike_at(100, 500, 800))))  # long ago


def test_spikes_are_found_in_a_log_that_nobody_guarded() -> None:
    unguarded = profile("fineweb_124m", guard__policy="off", train__max_steps=4000)

    def loss(step: float) -> float:
        return sound_loss(step) + (3 if step in (1200, 1500, 1900) else 0)

    assert len(list(stability.find_spikes(run(settings=unguarded, loss=loss)))) == 1
    assert not list(stability.find_spikes(run(settings=unguarded)))


@pytest.mark.parametrize(
    ("norm", "said"),
    [
        (lambda step: 0.4 if step < 1500 else 40.0, "gradient norm 40, 100 times what it was"),
        (lambda step: 1e-5, "gradient norm 1.0e-05: nothing is learnt"),
        (lambda step: 0.4 if step < 1500 else 1.2, None),  # as the rate falls
        (lambda step: 3.0 if step < 100 else 0.2, None),
        (lambda step: 40.0, None),  # a loss that is a sum: always so
    ],
)
def test_a_gradient_explodes_or_vanishes(norm: Callable[[float], float], said: str | None) -> None:
    assert [one.title for one in gradients.find_gradient(run(grad_norm=norm))] == ([said] if said else [])


def test_clipping_on_most_steps_is_told_and_far_above_it_is_a_warning() -> None:
    (mild,) = gradients.find_clipping(run(3000, grad_norm=lambda step: 0.9 + 0.4 * (step % 2)))
    (far,) = gradients.find_clipping(run(3000, grad_norm=lambda step: 5.0))
    assert (mild.severity, mild.title) == ("note", "50 % of the steps are clipped at 1")
    assert far.severity == "warning" and far.treatment is not None
    assert far.treatment.changes == {"optim.grad_clip": 5.0}


def test_clipping_now_and_then_or_in_the_warm_up_is_what_it_is_for() -> None:
    assert not list(gradients.find_clipping(run(3000, grad_norm=lambda step: 1.5 if step % 5 == 0 else 0.4)))
    assert not list(gradients.find_clipping(run(1450, grad_norm=lambda step: 5.0)))  # 700 steps of warm-up


def first(value: float, **more: Any) -> list[Diagnosis]:
    return list(first_loss.find(run(5, loss=lambda step: value, noise=0.0, **more)))


def test_the_first_loss_is_the_entropy_of_a_uniform_choice() -> None:
    assert first_loss.expected(50304, SMALL.model) == pytest.approx(10.98, abs=0.01)  # measured: 10.97
    assert not first(10.98) and not first(10.6)
    (high,), (low,), (tiny,) = first(14.0), first(9.0), first(2.0)
    assert (high.severity, low.severity, tiny.severity) == ("warning", "warning", "critical")
    assert high.title == "the first loss is 14.00, not 10.98"


def test_a_tied_head_over_layers_that_do_nothing_yet_repeats_its_token() -> None:
    """Measured on fresh weights of width 768: 11.63; with rotary positions and a softcap, as modern_124m, 14.01."""
    zero = profile("fineweb_124m", model__zero_init=True)
    assert first_loss.expected(50304, zero.model) == pytest.approx(11.63, abs=0.1)
    modern = profile("modern_124m")
    assert first_loss.expected(50304, modern.model) == pytest.approx(14.01, abs=0.2)
    assert not first(14.01, settings=modern) and first(10.98, settings=modern)


def test_weights_that_are_not_fresh_may_begin_anywhere() -> None:
    assert not first(3.1, settings=profile("fineweb_124m", model__init_from="gpt2", model__bias=True))


def test_the_first_steps_of_a_run_are_not_judged() -> None:
    early = run(40, loss=lambda step: 10.9 + step, grad_norm=lambda step: step**2)
    for find in (stability.find_divergence, stability.find_spikes, gradients.find_gradient, gradients.find_clipping):
        assert not list(find(early))
