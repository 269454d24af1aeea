"""Small statistics of a curve: where it is going, how rough it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Line:
    """A straight line through a piece of a curve, by least squares."""

    slope: float
    """Per step."""
    stderr: float
    """Standard error of the slope, from the residuals."""
    centre: float
    """The step at which `level` is."""
    level: float
    level_stderr: float

    def at(self, step: float) -> float:
        """The line's level at a step."""
        return self.level + self.slope * (step - self.centre)


def line(x: np.ndarray, y: np.ndarray) -> Line | None:
    """The line through finite points; None for fewer than four, or where they are all at one step."""
    n = len(x)
    if n < 4 or x[0] == x[-1]:
        return None
    centre, level = float(np.mean(x)), float(np.mean(y))
    spread = float(np.sum((x - centre) ** 2))
    slope = float(np.sum((x - centre) * (y - level)) / spread)
    residual = float(np.sqrt(np.sum((y - level - slope * (x - centre)) ** 2) / (n - 2)))
    return Line(slope, residual / spread**0.5, centre, level, residual / n**0.5)


def roughness(y: np.ndarray) -> float | None:
    """Standard deviation of the noise on a smooth curve of four points or more, from its second differences, whose
    variance is six times the noise's."""
    return float(np.std(np.diff(y, 2)) / np.sqrt(6)) if len(y) >= 4 else None
