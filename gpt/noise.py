"""The gradient noise scale: how many sequences a step can take in before more of them add little. No torch.

McCandlish et al. 2018, "An Empirical Model of Large-Batch Training", appendix A.1. The gradient g of B sequences has
E|g|² = |G|² + tr(Σ) / B, with G the true gradient and Σ the covariance of a single sequence's. Two sizes of B, a part
of a step and the whole of it, give two such equations, so

    |G|²  ≈ (B·|g_B|² - b·|g_b|²) / (B - b)        tr(Σ) ≈ (|g_b|² - |g_B|²) / (1/b - 1/B)

Both are unbiased, also where the part belongs to the whole: expectations add up whatever the two have in common. Their
ratio is not, so each is smoothed first. tr(Σ) / |G|² is the simple noise scale: a step of that many sequences needs
twice the fewest steps, and twice the fewest tokens, to get as far.
"""

from __future__ import annotations

import math
from typing import Any

from gpt.config import Profile
from gpt.events import NoiseScaleEstimated

MEMORY = 0.9
"""Decay of both means per measurement: they remember about ten."""


def moments(part_norm: float, whole_norm: float, part: int, whole: int) -> tuple[float, float]:
    """Unbiased estimates of (|G|², tr(Σ)) from the norms of a gradient over `part` and over `whole` > `part` sequences.

    Either can come out below 0: they are differences of noisy numbers.
    """
    small, large = part_norm**2, whole_norm**2
    return (whole * large - part * small) / (whole - part), (small - large) / (1 / part - 1 / whole)


class NoiseScale:
    """The noise scale of one run, smoothed over its measurements."""

    def __init__(self) -> None:
        self.measurements = 0
        self._weight = 0.0  # what the means would be if every estimate were 1: they start at 0
        self._gradient = self._noise = 0.0

    def add(self, part_norm: float, whole_norm: float, part: int, whole: int) -> bool:
        """Takes in one measurement, as `moments` does; False, and nothing changes, where it is not finite."""
        if not (math.isfinite(part_norm) and math.isfinite(whole_norm)):
            return False
        gradient, noise = moments(part_norm, whole_norm, part, whole)
        self._weight = MEMORY * self._weight + 1 - MEMORY
        self._gradient = MEMORY * self._gradient + (1 - MEMORY) * gradient
        self._noise = MEMORY * self._noise + (1 - MEMORY) * noise
        self.measurements += 1
        return True

    @property
    def sequences(self) -> float | None:
        """tr(Σ) / |G|², sequences; None where noise still hides the gradient, or either is not above 0."""
        return self._noise / self._gradient if self._gradient > 0 and self._noise > 0 else None

    def event(self, step: int, profile: Profile) -> NoiseScaleEstimated:
        """What is known after `step`, in words for the screen; there must have been a measurement."""
        assert self._weight
        sequences = self.sequences
        return NoiseScaleEstimated(
            step=step, sequences=sequences, tokens=sequences and sequences * profile.model.block_size,
            tokens_per_step=profile.tokens_per_step, gradient_square=self._gradient / self._weight,
            noise_trace=self._noise / self._weight, measurements=self.measurements,
        )  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """JSON values for a checkpoint."""
        return {
            "measurements": self.measurements, "weight": self._weight,
            "gradient": self._gradient, "noise": self._noise,
        }  # fmt: skip

    def restore(self, facts: dict[str, Any]) -> None:
        """Goes on from what a checkpoint says."""
        self.measurements, self._weight = facts["measurements"], facts["weight"]
        self._gradient, self._noise = facts["gradient"], facts["noise"]
