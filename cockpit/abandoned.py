"""The stretches of a run that it went back from: what the chart goes on showing of them, dimmed."""

from __future__ import annotations

import msgspec
import numpy as np

from cockpit.series import Series

STRETCHES = 8
"""Kept at most: the newest."""
POINTS = 2_000
"""Kept of each stretch at most, so that a run that goes back often stays flat in memory."""


class Abandoned(msgspec.Struct, frozen=True, eq=False):
    """Steps that were taken, and then left for another way."""

    start: int
    """The step that the run went back to; the stretch begins after it."""
    end: int
    x: np.ndarray
    """Steps, (n,) float64."""
    y: np.ndarray
    """Training loss, (n,) nats/token."""
    val_x: np.ndarray
    val_y: np.ndarray
    """Validation loss, (m,) nats/token, and its steps."""


def left_behind(
    stretches: tuple[Abandoned, ...], loss: Series, val_loss: Series, step: int
) -> tuple[Abandoned, ...]:  # fmt: skip
    """The abandoned stretches of a run that goes back to `step` now; without any point after it, they stay as they are.

    Args:
        loss, val_loss: the curves as they were until now.
    """
    x, y = _after(loss, step)
    if not len(x):
        return stretches
    val_x, val_y = _after(val_loss, step)
    return (*stretches, Abandoned(step, int(x[-1]), x, y, val_x, val_y))[-STRETCHES:]


def _after(curve: Series, step: int) -> tuple[np.ndarray, np.ndarray]:
    """The points after a step, those of buckets as their least and greatest value, thinned."""
    points = curve.points(step + 1, least=POINTS)
    single = np.array_equal(points.low, points.high, equal_nan=True)
    x = points.x if single else np.repeat(points.x, 2)
    return thinned(x, points.high if single else np.stack([points.low, points.high], axis=1).ravel(), POINTS)


def thinned(x: np.ndarray, y: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` points of a curve, (m,) each, copied: of every few neighbours the least and the greatest, so that
    a spike stays, and its last point, so that its end does."""
    if len(x) <= most:
        return x.copy(), y.copy()
    every = -(-2 * len(x) // (most - 1))
    kept = {len(x) - 1}
    for first in range(0, len(x), every):
        some = y[first : first + every]
        if np.isfinite(some).any():
            kept |= {first + int(np.nanargmin(some)), first + int(np.nanargmax(some))}
    index = np.array(sorted(kept))
    return x[index], y[index]
