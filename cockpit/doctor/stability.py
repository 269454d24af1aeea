"""Training that comes apart: steps that are not finite, a loss that rises for good, spikes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cockpit.doctor.diagnosis import Diagnosis, Rule, Scalar, Treatment
from cockpit.doctor.evidence import Evidence, whole
from cockpit.doctor.remedies import slower, slower_words
from cockpit.series import Series
from gpt.config import GuardConfig
from gpt.guard import LOSS_FLOOR

RECENT = 1000
"""Steps that count as now."""
SPIKES = 3
"""Spikes in RECENT steps from which on they are a habit: one or two come and go in any long run."""
APART = 20
"""Steps between two spikes, else they are one: the loss takes some to come back."""
RISE = 0.15
"""Share of the best loss by which a loss that has come apart lies above it: 0.5 nats at 3.3. What a higher rate or a
new part of the data does to a loss is smaller, and passes."""
DEVIATIONS = 6.0
"""Of the steps' own noise, that it must lie above the best too."""
BLOCKS = 20
LEAST = 100
"""Steps before a curve is judged."""

_PALM = "Chowdhery et al. 2022 (PaLM), section 5.1: spikes, going back before them and passing over the batches"


def find_not_finite(evidence: Evidence) -> Iterator[Diagnosis]:
    """Losses that are no number: now, lately or once."""
    state = evidence.state
    steps = np.union1d(_not_finite(state.loss), _not_finite(state.spikes))
    evaluations = _not_finite(state.val_loss)
    every = np.union1d(steps, evaluations)
    if not len(every):
        return
    first, newest, now = int(every[0]), int(every[-1]), state.step
    goes_on = (state.last is not None and state.last.loss is None) or bool(len(evaluations) and evaluations[-1] == now)
    often = int(np.sum(steps > now - LEAST)) >= SPIKES
    old = newest < now - RECENT
    profile = evidence.profile
    what = f"the loss is not finite since step {_since(state.loss, first):,}" if goes_on else (
        f"{len(every):,} {'steps were' if len(every) > 1 else 'step was'} not finite, the newest {newest:,}"
    )  # fmt: skip
    left_out = profile is not None and profile.guard.policy != "off" and state.started is not None
    hints = []
    if profile and profile.train.dtype == "float16":
        hints.append('train.dtype = "bfloat16", whose range is float32\'s,')
    if profile and not profile.optim.grad_clip:
        hints.append("optim.grad_clip = 1.0")
    hints.append(slower_words(profile))
    if left_out:
        treatment = Treatment("live", "halve the rate", slower(profile))
        then = "their updates were left out, so the weights are sound."
    else:
        treatment = Treatment("command", f"go back before step {first:,}", action="rewind") if state.started else None
        then = "an update with such a gradient makes every weight not a number; what follows is void."
    yield Diagnosis(
        rule="not_finite", severity="critical" if goes_on or often else "note" if old else "warning", title=what,
        evidence={"steps_not_finite": len(steps), "evaluations_not_finite": len(evaluations), "first_step": first,
                  "newest_step": newest, "step": now, "learning_rate": _rate_at(state.lr, first)},
        why=f"A loss or gradient overflowed at step {newest:,}; {then}",
        advice=f"Go on from the checkpoint before step {first:,} with {' and '.join(hints)}."
        if goes_on or not left_out else f"If it comes again: {' and '.join(hints)}.",
        treatment=treatment, reference="Micikevicius et al. 2018, arXiv 1710.03740: overflow in half precision",
    )  # fmt: skip


def find_divergence(evidence: Evidence) -> Iterator[Diagnosis]:
    """A training loss that lies far above where it has been, and stays there."""
    x, y = whole(evidence.state.loss)
    if len(y) < LEAST:
        return
    parts = np.array_split(y, BLOCKS)
    levels = np.array([np.median(part) for part in parts])
    noise = float(np.median([1.4826 * np.median(np.abs(part - np.median(part))) for part in parts]))
    best, now = int(np.argmin(levels)), float(min(levels[-1], levels[-2]))  # both: it stays
    rise = now - float(levels[best])
    if rise < max(RISE * float(levels[best]), DEVIATIONS * noise):
        return
    at = int(np.array_split(x, BLOCKS)[best][-1])
    profile = evidence.profile
    yield Diagnosis(
        rule="divergence", severity="critical", title=f"training loss {now:.2f}, it was {levels[best]:.2f} at {at:,}",
        evidence={"loss": now, "best_loss": float(levels[best]), "best_step": at, "rise": rise, "noise": noise,
                  "learning_rate": evidence.state.lr.last},
        why=f"The training loss rose by {rise:.2f} nats, {rise / noise if noise else 0:.0f} times its own noise, and "
        "did not come back: the steps are too long for where the weights are.",
        advice=f"Go back to a checkpoint at or before step {at:,} and go on with {slower_words(profile)}"
        + ("" if profile is None or profile.optim.warmup_steps else "; begin the next run with a warm-up") + ".",
        treatment=Treatment("command", f"go back before step {at:,}", action="rewind")
        if evidence.state.started else None,
        reference=_PALM,
    )  # fmt: skip


def find_spikes(evidence: Evidence) -> Iterator[Diagnosis]:
    """Several steps in a thousand far above those before them."""
    state, profile = evidence.state, evidence.profile
    guarded = state.started is not None and profile is not None and profile.guard.policy != "off"
    known = state.spikes.x[np.isfinite(state.spikes.y)] if guarded else spikes_of(state.loss)
    recent = known[known > state.step - RECENT]
    episodes = recent[np.diff(recent, prepend=-np.inf) > APART]
    if len(episodes) < SPIKES:
        return
    share = 1e3 * len(episodes) / min(RECENT, max(LEAST, state.step))
    changes: dict[str, Scalar] = dict(slower(profile))
    words = slower_words(profile)
    if profile and not profile.optim.grad_clip:
        changes["optim.grad_clip"], words = 1.0, f"optim.grad_clip = 1.0 and {words}"
    if profile and profile.guard.policy == "warn":
        changes["guard.policy"], words = "skip", f'{words}; guard.policy = "skip" leaves their updates out'
    yield Diagnosis(
        rule="spikes", severity="warning",
        title=f"{len(episodes)} spikes in the last {min(RECENT, state.step):,} steps",
        evidence={"spikes": len(episodes), "per_1000_steps": share, "newest_step": int(episodes[-1]),
                  "worst_deviations": _worst(state.spikes), "learning_rate": state.lr.last},
        why="Loss or gradient jumped far above the steps before. Now and then that is a strange batch; so often it is "
        "a rate at the edge of what the model bears.",
        advice=f"Try {words}.",
        treatment=Treatment("live", "halve the rate", changes) if profile else None, reference=_PALM,
    )  # fmt: skip


def spikes_of(loss: Series) -> np.ndarray:
    """Steps of a curve that lie as far above those before as gpt.guard's spikes do; for runs that nobody guarded."""
    config = GuardConfig()
    finite = np.isfinite(loss.y)
    x, y = loss.x[finite], loss.y[finite]
    if len(y) <= config.window:
        return np.empty(0)
    before = np.lib.stride_tricks.sliding_window_view(y, config.window)[:-1]  # of each point from `window` on
    middle = np.median(before, axis=1)
    by = 1.4826 * np.median(np.abs(before - middle[:, None]), axis=1)
    far = y[config.window :] - middle > config.threshold * np.maximum(by, LOSS_FLOOR * np.abs(middle))
    return x[config.window :][far]


def _not_finite(series: Series) -> np.ndarray:
    return series.x[~np.isfinite(series.y)]


def _since(loss: Series, otherwise: int) -> int:
    """The step from which on no loss is finite."""
    finite = np.flatnonzero(np.isfinite(loss.y))
    after = int(finite[-1]) + 1 if len(finite) else 0
    return int(loss.x[after]) if after < len(loss.x) else otherwise


def _rate_at(lr: Series, step: int) -> float | None:
    at = int(np.searchsorted(lr.x, step))
    value = float(lr.y[min(at, len(lr.y) - 1)]) if len(lr.y) else float("nan")
    return value if np.isfinite(value) else None


def _worst(spikes: Series) -> float | None:
    finite = spikes.y[np.isfinite(spikes.y)]
    return float(finite.max()) if len(finite) else None


RULES = (
    Rule("not_finite", "losses and gradients that are no number", find_not_finite),
    Rule("divergence", "a training loss that rose and did not come back", find_divergence),
    Rule("spikes", "losses and gradients far above the steps before, again and again", find_spikes),
)
