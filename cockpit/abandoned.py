"""The stretches of a run that it went back from: what the chart goes on showing of them, dimmed."""

from __future__ import annotations

import msgspec
import numpy as np

from cockpit.series import Series

STRETCHES = 8
"""Kept at most: the newest."""
POINTS = 2_000
"""Kept of each stretch at most, so that a run that goes back often stays flat in memory."""


class Stretch(msgspec.Struct, frozen=True, eq=False):
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
    stretches: tuple[Stretch, ...], loss: Series, val_loss: Series, step: int
) -> tuple[Stretch, ...]:  # fmt: skip
    """The abandoned stretches of a run that goes back to `step` now; without any point after it, they stay as they are.

    Args:
        loss, val_loss: the curves as they were until now.
    """
    after = loss.x > step
    if not after.any():
        return stretches
    x, y = thinned(loss.x[after], loss.y[after], POINTS)
    late = val_loss.x > step
    val_x, val_y = thinned(val_loss.x[late], val_loss.y[late], POINTS)
    return (*stretches, Stretch(step, int(x[-1]), x, y, val_x, val_y))[-STRETCHES:]


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
