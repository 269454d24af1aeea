"""The gradient noise scale against problems whose answer is known, and in a run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from piloted_runs import Run, Tiny

from gpt import events as ev
from gpt.data import open_dataset
from gpt.device import choose
from gpt.ledger import TimeLedger
from gpt.noise import NoiseScale, moments
from gpt.probe import norm_of_part, part_of_step
from gpt.snapshot import build


def linear_regression(seed: int, size: int, dimensions: int = 50) -> tuple[np.ndarray, float, float]:
    """Gradients (size, dimensions) of ½(x·δ - e)² at distance δ, with x and e normal; the true |G|² and tr(Σ).

    A single one is g = x (x·δ - e), so G = δ and tr(Σ) = E|g|² - |δ|² = (d + 2)|δ|² + d σ² - |δ|².
    """
    chance = np.random.default_rng(seed)
    delta, sigma = np.full(dimensions, 0.3), 0.5
    x = chance.standard_normal((size, dimensions))
    gradients = x * (x @ delta - sigma * chance.standard_normal(size))[:, None]
    square = float(delta @ delta)
    return gradients, square, (dimensions + 1) * square + dimensions * sigma**2


@pytest.mark.parametrize(("part", "whole"), [(1, 8), (4, 8), (8, 64)])
def test_the_estimates_are_unbiased_on_linear_regression(part: int, whole: int) -> None:
    """Over 4,000 draws the mean lies within five of its own standard errors, and those below 5 % and 20 %."""
    estimates = []
    for seed in range(4000):
        gradients, square, trace = linear_regression(seed, whole)
        norms = [float(np.linalg.norm(gradients[:size].mean(0))) for size in (part, whole)]
        estimates.append(moments(*norms, part, whole))
    error = np.std(estimates, axis=0) / np.sqrt(len(estimates))
    assert (np.abs(np.mean(estimates, axis=0) - (square, trace)) < 5 * error).all()
    assert error[1] < 0.05 * trace and error[0] < 0.2 * square


def test_the_smoothed_ratio_comes_near_the_true_noise_scale() -> None:
    """It remembers ten measurements, so one run is within a factor of 2; the median of 40 seeds within 15 %."""
    found, truth = [], 0.0
    for seed in range(40):
        noise = NoiseScale()
        for step in range(60):
            gradients, square, trace = linear_regression(1000 * seed + step, 64)
            truth = trace / square
            noise.add(*(float(np.linalg.norm(gradients[:size].mean(0))) for size in (8, 64)), 8, 64)
        assert noise.sequences is not None
        found.append(noise.sequences / truth)
    assert np.median(found) == pytest.approx(1, abs=0.15)
    assert min(found) > 0.5 and max(found) < 2


def test_noise_that_hides_the_gradient_is_unknown_not_negative() -> None:
    noise = NoiseScale()
    assert noise.add(2.0, 1.0, 1, 4)
    assert noise.sequences is None


def test_a_measurement_that_is_not_finite_changes_nothing() -> None:
    noise = NoiseScale()
    assert not noise.add(float("nan"), 1.0, 1, 4) and not noise.add(1.0, float("inf"), 1, 4)
    assert noise.facts() == NoiseScale().facts()


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"train__grad_accum_steps": 3}, 4),
        ({}, 2),
        ({"model__dropout": 0.0, "train__threads": 2}, 2),
        ({"model__dropout": 0.0, "train__threads": 2, "train__grad_accum_steps": 2}, 2),
    ],
)
def test_the_norm_measured_is_that_of_the_steps_first_sequences(
    tiny: Tiny, settings: dict[str, Any], part: int
) -> None:
    """With and without accumulation and lanes; and it leaves the gradient and the generators alone."""
    profile = tiny(**settings)
    device, before = choose(profile), torch.get_num_threads()
    torch.set_num_threads(profile.train.threads or 1)
    try:
        snapshot = build(profile, device, open_dataset(profile.data, profile.model), TimeLedger("other"))
        stepper = snapshot.stepper
        tokens = torch.from_numpy(stepper.tokens.gather(stepper.order.starts(0, 4), 17))
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        generator = torch.get_rng_state()
        stepper.add_gradient(inputs, targets)
        after = torch.get_rng_state()
        gradients = [p.grad.clone() for p in stepper.parameters if p.grad is not None]
        measured = norm_of_part(stepper, inputs, targets)
        assert torch.equal(torch.get_rng_state(), after)
        assert all(torch.equal(a, p.grad) for a, p in zip(gradients, stepper.parameters, strict=True))  # pyright: ignore
        assert part_of_step(stepper) == part
        torch.set_rng_state(after if part < 4 else generator)  # half a batch is run after, with dropout of its own
        loss = snapshot.model(inputs[:part], targets[:part])[1]
        expected = torch.stack([g.norm() for g in torch.autograd.grad(loss, stepper.parameters)]).norm()
        assert measured.item() == pytest.approx(expected.item(), rel=1e-4)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("chunk", [0, 24])
def test_a_compiled_step_is_measured_without_compiling_anew(tiny: Tiny, chunk: int) -> None:
    """By half of the loss: the same norm as that of half of the batch, in the shape that is compiled already."""
    profile = tiny(model__dropout=0.0, train__loss_chunk=chunk)
    shapes: list[int] = []

    def counting(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        shapes.append(len(inputs))
        return graph.forward

    torch.compiler.reset()
    plain = build(profile, choose(profile), open_dataset(profile.data, profile.model), TimeLedger("other")).stepper
    device = dataclasses.replace(plain.device, compile=True)
    plain.device, plain.forward = device, torch.compile(plain.model, backend=counting)
    inputs, targets = plain.reader.take(0, 4)
    assert plain.lane_count == plain.accum == 1 and part_of_step(plain) == 2
    plain.add_gradient(inputs, targets)
    graphs = len(shapes)
    kept, generator = targets.clone(), torch.get_rng_state()
    gradients = [p.grad.clone() for p in plain.parameters if p.grad is not None]
    measured = norm_of_part(plain, inputs, targets)
    assert graphs and len(shapes) == graphs
    assert torch.equal(kept, targets) and torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(a, p.grad) for a, p in zip(gradients, plain.parameters, strict=True))  # pyright: ignore
    loss = plain.model(inputs[:2], targets[:2])[1]
    expected = torch.stack([g.norm() for g in torch.autograd.grad(loss, plain.parameters)]).norm()
    assert measured.item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_step_without_parts_says_once_why_it_is_not_measured(tiny: Tiny, run: Run) -> None:
    events = run(tiny(train__micro_batch_size=1, train__noise_scale_interval=3))
    assert not [e for e in events if isinstance(e, ev.NoiseScaleEstimated)]
    said = [e.text for e in events if isinstance(e, ev.LogLine) and "noise scale" in e.text]
    assert said == ["the gradient noise scale stays unknown: a step of a single sequence has no parts"]


@pytest.mark.parametrize("accum", [1, 3])
def test_measuring_changes_no_bit(tiny: Tiny, run: Run, tmp_path: Path, accum: int) -> None:
    hashes = []
    for name, interval in (("off", 0), ("on", 2)):
        events = run(tiny(train__grad_accum_steps=accum, train__noise_scale_interval=interval), name)
        estimates = [e for e in events if isinstance(e, ev.NoiseScaleEstimated)]
        assert [e.step for e in estimates] == ([2, 4, 6, 8, 10, 12] if interval else [])
        state = json.loads((tmp_path / name / "checkpoints/latest/state.json").read_text())
        hashes.append(state["files"])
    assert hashes[0] == hashes[1]
    assert estimates[-1].measurements == 6 and estimates[-1].noise_trace > 0
    assert estimates[-1].tokens == (estimates[-1].sequences and estimates[-1].sequences * 16)


def test_a_resumed_run_goes_on_with_the_same_estimate(tiny: Tiny, run: Run) -> None:
    profile = tiny(train__noise_scale_interval=2)
    whole = [e for e in run(profile) if isinstance(e, ev.NoiseScaleEstimated)]
    parted = [e for e in run(profile, resume="step-00000008") if isinstance(e, ev.NoiseScaleEstimated)]
    assert [(e.step, e.sequences, e.measurements) for e in parted] == [
        (e.step, e.sequences, e.measurements) for e in whole if e.step > 8
    ]
