"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from gpt.config import OptimConfig

COOLDOWN_SHARE = 0.2
"""Share of a `wsd` run that its decay takes where the profile does not say. Hägele et al. 2024 (arXiv 2405.18392) find
that it then ends where cosine does, and that a longer one gains little."""


def learning_rate(step: int, optim: OptimConfig, max_steps: int) -> float:
    """Rate for the optimizer step that follows `step` finished ones (0 for the first).

    Linear warm-up to `learning_rate`, then the schedule down to `min_lr` at `decay_steps`, then `min_lr`. Warm-up and
    cosine are nanoGPT's: the first step of a warm-up of W has rate · 1/(W+1), so that it is never zero.

    `wsd` (warm-up, stable, decay) stays at `learning_rate` and falls evenly in the last `cooldown_steps` of it. Evenly,
    because that is the simplest form with a ground (Defazio et al. 2023, arXiv 2310.07831), and because a decay that is
    begun anew half-way goes on along the same line; Hägele et al. find 1 - sqrt slightly better.
    """
    peak = optim.learning_rate
    if step < optim.warmup_steps:
        return peak * (step + 1) / (optim.warmup_steps + 1)
    begin, end = decay_span(optim, max_steps)
    if optim.schedule == "constant" or step < begin:
        return peak
    floor = floor_of(optim)
    if step >= end:
        return floor
    progress = (step - begin) / (end - begin)
    share = 0.5 * (1 + math.cos(math.pi * progress)) if optim.schedule == "cosine" else 1 - progress
    return floor + share * (peak - floor)


def floor_of(optim: OptimConfig) -> float:
    """The rate at which the decay ends."""
    return optim.learning_rate / 10 if optim.min_lr is None else optim.min_lr


def decay_span(optim: OptimConfig, max_steps: int) -> tuple[int, int]:
    """The steps at which the rate begins to fall and at which it has fallen; a `constant` one never does either."""
    end = optim.decay_steps or max_steps
    if optim.schedule != "wsd":
        return optim.warmup_steps, end
    cooldown = optim.cooldown_steps or max(1, round(COOLDOWN_SHARE * end))
    return max(optim.warmup_steps, end - cooldown), end
