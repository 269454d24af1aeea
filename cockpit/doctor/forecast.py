"""What the rest of a run is worth: its validation loss continued to the last step, with an interval.

The trend is L = E + A·(u^-α - 1)/α + B·r, which for an α above 0 is L∞ + A'·u^-α + B·r. u is the learning rate summed
over the steps so far, as a share of the sum up to now: a warm-up counts for little, and a decay slows the power law
down. r is the rate as a share of its peak, a little behind: noisy steps keep the loss above the valley that they walk
along, the more the larger they are, and a decay lets it sink by up to B. (After Tissue et al. 2024, arXiv 2408.11029,
equation 1, who sum rates in the same way, and whose annealing remembers older rates too.) An α below 0 has no floor:
small models leave the plateau of mere letter frequencies so late that their curves bend down for a while.

What it knows: the evaluations so far, the rates so far, the rates that the schedule has still to give. What it does
not: data that is seen again (a curve that rises is not continued at all), changes that a pilot has yet to make, jumps
such as a skill learnt late, and the loss on other text than the evaluation's. Before a rate has ever fallen nothing in
a run's own curve tells what its fall will bring: there B is what other runs had, and the interval is as wide as that.

How often it comes true (tests/bench/forecasting.py): 40 small real runs that its constants were not chosen on were
continued from their first half. 36 ended in the interval, whose median width was 0.15 nats; that is about what the
second half brought. From four fifths on it was 0.07, and 37 did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cockpit.doctor.evidence import Evidence
from cockpit.doctor.trend import line, roughness
from gpt.config import OptimConfig
from gpt.schedule import learning_rate

LEVEL = 0.9
"""Chance that the interval promises; its ends are 1.645 standard deviations out."""
DEVIATIONS = 1.645
LEAST_POINTS = 8
"""Evaluations below which nothing is foretold: there are four unknowns."""
MEMORY = 0.3
"""Points with a smaller u are left out: they followed another law."""
LAG = 0.07
"""Steps over which the loss follows a falling rate, as a share of those so far."""
RISING = 4.0
"""Standard errors of the newest quarter's slope from which on a curve counts as rising; neighbours are alike."""
MODEL_ERROR = 0.3
"""Standard deviation of what the trend itself is wrong by, as a share of the gain that it foretells."""
LEAST_ERROR = 0.002
"""The same as a share of the loss, however little is foretold."""
DECAY_SHARE = (0.04, 0.02)
"""B as a share of the loss, mean and standard deviation, where a run has not shown it yet. Measured on small runs."""
EXPONENT = (0.1, 0.3)
"""Mean and standard deviation of α beforehand; small runs that leave a plateau have it below 0, others near 0.4."""

LEAST_DRAWS = 20
"""Draws that the interval must rest on, by Kish's effective number. Fewer are left where nearly all of them have A or B
below 0: the curve is none of this law."""

_EXPONENTS = np.arange(-0.95, 2.5, 0.1)
_DRAWS = 128  # for each exponent


@dataclass(frozen=True)
class Forecast:
    """A continued curve; losses in nats/token."""

    step: int
    """Newest evaluation that it rests on."""
    last_step: int
    """The step foretold."""
    points: int
    """Evaluations that it rests on."""
    final: float
    """Loss at the last step, the median."""
    low: float
    high: float
    """Interval of the evaluation at the last step, its own scatter included."""
    gain: float
    """By how much the trend will still fall, the median."""
    gain_stderr: float
    """The standard deviation that the gain's interval stands for: 3.29 of them are its width."""
    gain_low: float
    gain_high: float
    floor: float | None
    """L∞, where it would end after endless steps and a last decay; None where the curve shows none."""
    exponent: float
    """α, the weighted median."""
    scatter: float
    """Standard deviation of one evaluation about the trend."""


def forecast(
    steps: np.ndarray, losses: np.ndarray, last_step: int, rate: Callable[[np.ndarray], np.ndarray] | None = None
) -> Forecast | None:
    """Continues a curve; None where it has too few points, or they are no falling trend.

    Every exponent on a grid is tried; E, A and B then follow by linear least squares, with what is known of B
    beforehand as one more equation, and with none of them below 0. Exponents count by how well they fit, where
    residuals that resemble their neighbours' count as fewer. The interval is that of draws from all of these fits, with
    the scatter of an evaluation and the error of the trend itself added. The evaluations' standard errors are not used:
    all are made on the same windows, so what these windows happen to contain shifts the curve as a whole.

    Args:
        steps: (n,) of the evaluations, ascending.
        losses: (n,) in nats/token.
        last_step: to be foretold, after the newest one.
        rate: learning rates at steps (k,), past and to come; None: constant.
    """
    grid = np.linspace(0, last_step, 2049)
    rates = np.ones_like(grid) if rate is None else np.maximum(rate(grid), 0.0)
    if len(steps) < LEAST_POINTS or last_step <= steps[-1]:
        return None
    peak = rates[grid <= steps[-1]].max()
    if not peak > 0:
        return None
    rates = rates / peak
    felt = _lagging(rates, LAG * steps[-1] / grid[1])
    summed = np.concatenate([[0.0], np.cumsum((rates[1:] + rates[:-1]) / 2 * np.diff(grid))])
    now = np.interp(steps[-1], grid, summed)
    u = np.interp(steps, grid, summed) / now
    kept = np.isfinite(losses) & (u >= MEMORY)
    u, y, r = u[kept], losses[kept], np.interp(steps[kept], grid, felt)
    if len(y) < LEAST_POINTS or u[0] > 0.6:
        return None
    newest = line(u[-max(6, len(u) // 4) :], y[-max(6, len(u) // 4) :])
    if newest is not None and newest.slope > RISING * newest.stderr:
        return None
    return _continued(u, y, r, float(summed[-1] / now), float(felt[-1]), int(steps[-1]), last_step)


def _continued(
    u: np.ndarray, y: np.ndarray, r: np.ndarray, u_end: float, r_end: float, step: int, last_step: int
) -> Forecast | None:
    n, level = len(y), float(np.median(y))
    mean, spread = DECAY_SHARE[0] * level, DECAY_SHARE[1] * level
    designs = [np.stack([np.ones(n), _power(u, alpha), r], axis=1) for alpha in _EXPONENTS]  # each (n, 3)
    # The scatter first, from the best fit; it weighs what is known beforehand against the points.
    fits = [_fitted(design, y, mean, spread, max(roughness(y) or 0.0, 1e-5)) for design in designs]
    residuals = min((y - design @ fit[0] for design, fit in zip(designs, fits, strict=True)), key=lambda e: e @ e)
    scatter = max(float(np.sqrt(residuals @ residuals / max(1, n - 4))), 1e-5)
    alike = float(np.clip(residuals[1:] @ residuals[:-1] / (residuals @ residuals + 1e-30), 0.0, 0.8))
    noise = scatter * np.sqrt((1 + alike) / (1 - alike))  # of points that stand for fewer

    dice = np.random.default_rng(0)
    normal = dice.normal(size=(_DRAWS, 3))
    parts, weights = [], []
    for alpha, design in zip(_EXPONENTS, designs, strict=True):
        best, covariance, misfit = _fitted(design, y, mean, spread, noise)
        before = -0.5 * ((alpha - EXPONENT[0]) / EXPONENT[1]) ** 2
        log_weight = -0.5 * misfit + 0.5 * np.linalg.slogdet(covariance)[1] + before
        drawn = best + normal @ np.linalg.cholesky(covariance + 1e-15 * np.eye(3)).T  # (draws, 3)
        floor = drawn[:, 0] - (drawn[:, 1] / alpha if alpha > 0 else 0)
        possible = (drawn[:, 1:] >= 0).all(axis=1) & (floor >= 0)
        parts.append(np.column_stack([drawn, floor, np.full(_DRAWS, alpha)]))
        weights.append(np.where(possible, log_weight, -np.inf))
    drawn, logs = np.concatenate(parts), np.concatenate(weights)
    if not np.isfinite(logs.max()):
        return None
    weight = np.exp(logs - logs.max())
    if weight.sum() ** 2 < LEAST_DRAWS * (weight**2).sum():
        return None
    level_now, height, fall, floor, alpha = drawn.T
    end = level_now + height * _power(u_end, alpha) + fall * r_end
    gain = level_now + height * _power(u[-1], alpha) + fall * r[-1] - end
    wrong = dice.normal(size=len(gain)) * np.hypot(MODEL_ERROR * gain, LEAST_ERROR * level)
    gain_low, gain_median, gain_high = _quantiles(gain + wrong, weight)
    low, final, high = _quantiles(end - wrong + scatter * dice.normal(size=len(gain)), weight)
    exponent = _quantiles(alpha, weight)[1]
    return Forecast(
        step=step, last_step=last_step, points=n, final=final, low=low, high=high, gain=gain_median,
        gain_stderr=(gain_high - gain_low) / (2 * DEVIATIONS), gain_low=gain_low, gain_high=gain_high,
        floor=_quantiles(floor, weight)[1] if exponent > 0 else None, exponent=exponent, scatter=scatter,
    )  # fmt: skip


def _lagging(rates: np.ndarray, memory: float) -> np.ndarray:
    """Exponential mean of rates on an even grid, over about `memory` points; it begins with the first."""
    keep = np.exp(-1 / max(memory, 1e-9))
    felt, at = np.empty_like(rates), rates[0]
    for number, rate in enumerate(rates):
        at = felt[number] = keep * at + (1 - keep) * rate
    return felt


def _power(u: Any, alpha: Any) -> Any:
    """(u^-α - 1) / α: as u^-α, but 0 at u = 1 and falling for an α below 0 too."""
    return np.expm1(-alpha * np.log(u)) / alpha


def _fitted(
    design: np.ndarray, y: np.ndarray, mean: float, spread: float, noise: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """(E, A, B), their covariance (3, 3), and the misfit in squared standard deviations, B's from its mean included."""
    rows = np.vstack([design / noise, [0.0, 0.0, 1 / spread]])
    wanted = np.concatenate([y / noise, [mean / spread]])
    covariance = np.linalg.inv(rows.T @ rows + 1e-9 * np.eye(3))
    best = covariance @ rows.T @ wanted
    return best, covariance, float(np.sum((wanted - rows @ best) ** 2))


def _quantiles(values: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """The interval's lower end, the median, and its upper end."""
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    found = values[order][np.searchsorted(share, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])]
    return float(found[0]), float(found[1]), float(found[2])


def of_run(evidence: Evidence) -> Forecast | None:
    """A run's own validation loss, continued to its last step; None where that cannot be said."""
    state, last_step = evidence.state, evidence.max_steps
    finite = np.isfinite(state.val_loss.y)
    if last_step is None or not finite.any():
        return None
    return forecast(state.val_loss.x[finite], state.val_loss.y[finite], last_step, rate_of(evidence))


def rate_of(evidence: Evidence) -> Callable[[np.ndarray], np.ndarray] | None:
    """Learning rates by step: as logged, then as the schedule goes on; None where neither is known."""
    logged, profile, last_step = evidence.state.lr.points(), evidence.profile, evidence.max_steps
    known = np.isfinite(logged.last)
    x, y = logged.x[known], logged.last[known]
    planned = scheduled(profile.optim, last_step) if profile and last_step else None
    if not len(x):
        return planned

    def rate(steps: np.ndarray) -> np.ndarray:
        taken = np.interp(steps, x, y)
        return taken if planned is None else np.where((steps >= x[0]) & (steps <= x[-1]), taken, planned(steps))

    return rate


def scheduled(optim: OptimConfig, max_steps: int) -> Callable[[np.ndarray], np.ndarray]:
    """The schedule's rates at steps (k,); of a step, the rate that it was taken with."""
    return lambda steps: np.array([learning_rate(max(0, int(step) - 1), optim, max_steps) for step in steps])
