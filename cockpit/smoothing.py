"""The exponential mean that smooths a curve, however much of it the pilot asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cockpit.series import Series

DECAYS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995)
"""What a pilot chooses from; 0 is no smoothing at all."""
USUAL = 5
"""Which of them the smoothed loss of a run's state has."""


def smoothed(values: Sequence[float | None], previous: float | None, count: int, decay: float) -> list[float]:
    """Exponential means after each of `values`; where one is unknown, the one before it again.

    It starts at the first value and has a short memory at first, when a loss falls fast: at most a quarter of the run.

    Args:
        previous: the mean so far; None where there is none.
        count: how many values it has taken in.
        decay: weight of the mean so far, once the run is long enough.
    """
    mean = math.nan if previous is None else previous
    means: list[float] = []
    for number, value in enumerate(values, start=count):
        memory = 1 - 4 / (number + 4)
        if memory >= decay:
            break
        mean = _onward(mean, value, memory)
        means.append(mean)
    rest, share = values[len(means) :], 1 - decay
    known = [value for value in rest if value is not None and value == value]
    if mean == mean and len(known) == len(rest):
        means += [mean := decay * mean + share * value for value in known]
    else:  # the same, at a quarter of the speed
        means += [mean := _onward(mean, value, decay) for value in rest]
    return means


def _onward(mean: float, value: float | None, memory: float) -> float:
    if value is None or value != value:
        return mean
    return memory * mean + (1 - memory) * value if mean == mean else value


class Smoother:
    """Smoothed versions of curves that grow: what is new is added to what was smoothed before.

    A curve is known by its name; one that has been cut, or is smoothed otherwise than before, is done anew.
    """

    def __init__(self) -> None:
        self._done: dict[str, tuple[object, int, float, Series]] = {}

    def of(self, name: str, curve: Series, decay: float) -> Series:
        """The exponential mean of a curve; of a long one, older parts from the newest values of their buckets."""
        line, seen, before, mean = self._done.get(name, (None, 0, 0.0, Series()))
        if line is not curve.line or before != decay or seen > len(curve) or seen < curve.folded:
            points = curve.points(least=4096)
            finite = [middle if last == last else math.nan for middle, last in zip(
                ((points.low + points.high) / 2).tolist(), points.last.tolist(), strict=True
            )]  # fmt: skip
            mean, seen = Series().extend(points.x, smoothed(finite, None, 0, decay)), len(curve)
        elif seen < len(curve):
            start = seen - curve.folded
            new = smoothed(curve.y[start:].tolist(), mean.last, seen, decay)
            mean, seen = mean.extend(curve.x[start:], new), len(curve)
        self._done[name] = (curve.line, seen, decay, mean)
        return mean
