"""How fast the newest steps are: one speed, said as time, as tokens and as a share of the peak."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cockpit.state import RunState

WINDOW = 50
"""Newest steps whose median counts."""
NANOGPT = "nanoGPT"
"""Source of a peak in logs of nanoGPT's, whose MFU is a mean over ten printed lines, not the printed step's."""


class Pace(NamedTuple):
    """Three names of one speed, so that any two of them agree; None is unknown."""

    ms: float | None = None
    """Of an optimizer step."""
    tokens_per_s: float | None = None
    mfu: float | None = None
    """Model FLOPs utilization, 0…1, against the peak that the newest steps were measured against."""


def pace(state: RunState, window: int = WINDOW) -> Pace:
    """The median time of the newest steps, and what that is in tokens and of the peak.

    Not the mean of their rates: that is above what they reach together as soon as they are uneven.
    """
    ms, rate, newest = state.median_ms(window), state.tokens_per_s.last, state.ms.last
    if not ms or not newest:
        return Pace(ms, rate, state.mfu.last)
    ideal = _at_the_peak(state)
    share = ideal / ms if ideal else None
    if share is not None and share > 1 and state.started and state.started.peak_source == "measured":
        share = None  # the peak was taken too low, and is going to be measured again
    return Pace(ms, rate * newest / ms if rate is not None else None, share)


def peak_flops(state: RunState) -> float | None:
    """FLOP/s that the newest MFU is a share of: a measured peak may have been measured again since the run began, and
    the profile may have given another. Of several ranks it is all of theirs; None is unknown."""
    started, ideal = state.started, _at_the_peak(state)
    if started is None or not started.peak_flops:
        return None
    if not ideal or started.peak_source == NANOGPT or state.step <= state.start_step:  # by steps of this sitting
        return started.peak_flops
    return started.flops_per_token * started.tokens_per_step / ideal * 1e3


def _at_the_peak(state: RunState) -> float | None:
    """ms that a step would take at the whole of the peak, by the newest one with a known MFU."""
    shares, times = state.mfu.y, state.ms.y
    length = min(len(shares), len(times), WINDOW)
    products = shares[-length:] * times[-length:] if length else shares[:0]
    known = products[np.isfinite(products)]
    return float(known[-1]) if len(known) else None
