"""What moves the weights explained: learning rate, gradient norm, noise scale."""

from __future__ import annotations

import math

import numpy as np

from cockpit import format as fmt
from cockpit.doctor.device import is_foreign
from cockpit.doctor.evidence import Evidence
from cockpit.explaining.explanation import Explanation, lines
from cockpit.explaining.figures import count
from gpt.config import OptimConfig
from gpt.schedule import decay_span, floor_of
from gpt.schedule import learning_rate as scheduled

USUAL_RATES: tuple[tuple[float, float, str], ...] = (
    (10.65e6, 1e-3, "nanoGPT, Shakespeare by characters"), (124e6, 6e-4, "GPT-3 125M"), (350e6, 3e-4, "GPT-3 350M"),
    (774e6, 2.5e-4, "GPT-3 760M"), (1.3e9, 2e-4, "GPT-3 1.3B"), (2.7e9, 1.6e-4, "GPT-3 2.7B"),
)  # fmt: skip
"""(parameters, highest rate, of whom): Brown et al. 2020, table 2.1, and nanoGPT's config/."""
FAR = 3.0
"""Times the usual rate, or its inverse, that is spoken of."""
RECENT = 100
"""Steps of which it is said how many were clipped."""


def learning_rate(evidence: Evidence) -> Explanation:
    """The rate of the newest step."""
    state, profile = evidence.state, evidence.profile
    value, last = state.lr.last, evidence.max_steps
    formula = says = ""
    if profile is not None and value is not None and last is not None and state.step:
        before = state.step - (not is_foreign(evidence))  # nanoGPT counts its iterations from 0
        formula, planned = _on_schedule(profile.optim, before, last)
        if not math.isclose(planned, value, rel_tol=1e-6, abs_tol=1e-12):
            formula = lines(formula, f"the step was taken at {fmt.scientific(value)}: settings have changed since")
        says = _phase(profile.optim, state.step, last)
    size = evidence.parameters_without_positions
    usual = ""
    if size:
        near = min(USUAL_RATES, key=lambda row: abs(math.log(row[0] / size)))
        usual = f"Highest rate {fmt.scientific(near[1])} at about this size ({near[2]}), with AdamW."
        if profile is not None:
            times = profile.optim.learning_rate / near[1]
            if not 1 / FAR <= times <= FAR:
                says += f" The highest rate is {fmt.significant(times)} times the usual."
    return Explanation(
        id="learning_rate", name="lr", value=fmt.scientific(value),
        meaning="How far a step moves the weights: AdamW moves each by about this much at most, whatever the size of "
        "its gradient.",
        computation=formula, usual=usual, says=says.strip(),
        change="optim.learning_rate, min_lr, warmup_steps, decay_steps and schedule, all while the run goes on "
        "(`l`); `L` tries which highest rate it bears.",
    )  # fmt: skip


def grad_norm(evidence: Evidence) -> Explanation:
    """The gradient's norm before clipping."""
    state, profile = evidence.state, evidence.profile
    value = state.grad_norm.last
    clip = profile.optim.grad_clip if profile else None
    formula = "√(sum of the squares of all parameters' gradients)" if value is not None else ""
    if value is not None and clip:
        factor = min(1.0, clip / value) if value else 1.0
        formula = lines(
            formula, f"clipping: gradients × min(1, {clip:g} / {fmt.significant(value)}) = × {fmt.significant(factor)}"
        )
    recent = state.grad_norm.y[-RECENT:]
    recent = recent[np.isfinite(recent)]
    says: list[str] = []
    if len(recent) >= 10:
        middle = float(np.median(recent))
        says.append(f"The median of the newest {len(recent)} steps is {fmt.significant(middle)}.")
        if clip:
            share = float((recent > clip).mean())
            says.append(
                "None of them was clipped."
                if share == 0
                else f"{fmt.percent(share, 0)} % of them were clipped"
                + (": the rate is in truth lower than it says." if share > 0.5 else ".")
            )
        if value is not None and middle > 0 and value > 5 * middle:
            says.append("This step is far above it: a spike.")
    return Explanation(
        id="grad_norm", name="grad norm", value=fmt.significant(value),
        meaning="Length of the gradient of all parameters together, before clipping.", computation=formula,
        usual="Several at the start, 0.2 to 1 after the warm-up of a GPT-2; it depends on size and loss, so compare it "
        "with its own past.",
        says=" ".join(says),
        change="optim.grad_clip bounds it. A steady rise means too high a rate; spikes come from odd data or too short "
        "a warm-up.",
    )  # fmt: skip


def noise_scale(evidence: Evidence) -> Explanation:
    """The gradient noise scale, and what it wants of the batch."""
    noise, profile = evidence.state.noise, evidence.profile
    critical = noise.tokens if noise else None
    formula = says = change = ""
    change = "train.grad_accum_steps or micro_batch_size; the scale itself grows as the loss falls."
    if noise and critical and noise.sequences:
        now = noise.tokens_per_step
        formula = lines(
            f"tr(Σ) / |G|² = {noise.noise_trace:.3g} / {noise.gradient_square:.3g} = "
            f"{fmt.significant(noise.sequences)} sequences = {count(critical)} tokens",
            f"at {count(now)} tokens a step: 1 + {fmt.significant(critical / now)} = "
            f"{fmt.significant(1 + critical / now)} times the fewest steps, 1 + {fmt.significant(now / critical)} = "
            f"{fmt.significant(1 + now / critical)} times the fewest tokens",
        )
        says = (
            f"A step of {count(now)} tokens is far below it: larger steps, at a higher rate, would need hardly more "
            "tokens and many fewer steps." if now < critical / 4
            else f"A step of {count(now)} tokens is far above it: most of each step's tokens add little."
            if now > 4 * critical
            else f"A step of {count(now)} tokens is of about its size: a fair balance of time and tokens."
        )  # fmt: skip
        if profile is not None and profile.train.micro_batch_size != "auto":
            micro = profile.tokens_per_micro_step
            wanted = max(1, round(critical / micro))
            if wanted != (has := max(1, now // micro)):
                change = (
                    f"train.grad_accum_steps = {wanted:,} (now {has:,}) makes a step of that size; the scale itself "
                )
                change += "grows as the loss falls."
    elif noise:
        says = "The noise still hides the gradient: more measurements will tell."
    return Explanation(
        id="noise_scale", name="noise scale", value=f"{count(critical)} tokens" if critical else fmt.UNKNOWN,
        meaning="Tokens in a step from which on more of them add little: there the gradient's noise is as large as it "
        "is itself (McCandlish et al. 2018).",
        computation=formula,
        usual="A few thousand tokens at the start, growing as the loss falls to the order of a million for GPT-2 on "
        "web text.",
        says=says, change=change,
    )  # fmt: skip


def _on_schedule(optim: OptimConfig, before: int, last: int) -> tuple[str, float]:
    """(the schedule's formula with its figures, the rate of the step that follows so many)."""
    planned = scheduled(before, optim, last)
    peak, floor = optim.learning_rate, floor_of(optim)
    begin, end = decay_span(optim, last)
    if before < optim.warmup_steps:
        formula = f"warm-up: {peak:g} × {before + 1:,} / ({optim.warmup_steps:,} + 1)"
    elif optim.schedule == "constant" or before < begin:
        formula = "the highest rate"
    elif before >= end:
        formula = f"the floor, from step {end:,} on"
    else:
        progress = f"({before:,} - {begin:,}) / ({end:,} - {begin:,})"
        shape = f"½·(1 + cos(π · {progress}))" if optim.schedule == "cosine" else f"(1 - {progress})"
        formula = f"{optim.schedule}: {floor:g} + {shape} × ({peak:g} - {floor:g})"
    return f"{formula} = {fmt.scientific(planned)}", planned


def _phase(optim: OptimConfig, step: int, last: int) -> str:
    begin, end = decay_span(optim, last)
    if step <= optim.warmup_steps:
        return f"Warming up until step {optim.warmup_steps:,}."
    if optim.schedule == "constant":
        return "It stays as it is until the end."
    if step < begin:
        return f"It stays until step {begin:,} and then falls until step {end:,}."
    if step >= end:
        left = last - step
        return "At its floor." + (f" The {left:,} steps that are left teach little at this rate." if left > 0 else "")
    return f"It falls to {fmt.scientific(floor_of(optim))} at step {end:,}" + (
        f", {last - end:,} steps before the end." if last > end
        else f"; the run ends at {last:,} before that." if last < end else ", the last one."
    )  # fmt: skip
