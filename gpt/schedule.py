"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from gpt.config import OptimConfig


def learning_rate(step: int, optim: OptimConfig, max_steps: int) -> float:
    """Rate for the optimizer step that follows `step` finished ones (0 for the first).

    Linear warm-up to `learning_rate`, then the schedule down to `min_lr` at `decay_steps`, then `min_lr`. Warm-up and
    cosine are nanoGPT's: the first step of a warm-up of W has rate · 1/(W+1), so that it is never zero.
    """
    peak = optim.learning_rate
    if step < optim.warmup_steps:
        return peak * (step + 1) / (optim.warmup_steps + 1)
    if optim.schedule == "constant":
        return peak
    floor = peak / 10 if optim.min_lr is None else optim.min_lr
    end = optim.decay_steps or max_steps
    if step >= end:
        return floor
    progress = (step - optim.warmup_steps) / (end - optim.warmup_steps)
    share = 0.5 * (1 + math.cos(math.pi * progress)) if optim.schedule == "cosine" else 1 - progress
    return floor + share * (peak - floor)
