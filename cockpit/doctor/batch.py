"""Tokens per step far from what the size wants, or from what the measured noise scale does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cockpit.doctor.device import Portions, current_portions, portions_for
from cockpit.doctor.diagnosis import Diagnosis, Rule, Severity, Treatment
from cockpit.doctor.evidence import Evidence

GPT3_BATCHES: tuple[tuple[float, float], ...] = (
    (125e6, 0.5e6), (350e6, 0.5e6), (760e6, 0.5e6), (1.3e9, 1e6), (2.7e9, 1e6), (6.7e9, 2e6), (13e9, 2e6),
    (175e9, 3.2e6),
)  # fmt: skip
"""(parameters, tokens per step) of Brown et al. 2020, table 2.1."""
SMALLEST_KNOWN = 100e6
"""Parameters below which the table says nothing: small models are trained well with far smaller steps."""
FAR_BELOW = 1 / 8
"""Of the table's: 65,536 tokens for 124M. Between that and the table good runs are known."""
FAR_ABOVE = 8.0

MEASUREMENTS = 8
"""Of the noise scale, at least: its means remember about ten."""
PROGRESS = 0.25
"""Share of the run behind it before its noise scale counts: it grows many times over while the loss falls."""
RISING = 1.5
"""Times by which the later half of the newest measurements lies above the earlier one where they are still on their way
up: the first, enormous gradients take long to be forgotten, and hide the noise while they are not."""
MUCH_LARGER = 8.0
"""Noise scales in a step at which 8 of 9 tokens add nothing to it; at a few of them steps merely are large."""
MUCH_SMALLER = 1 / 16
"""Below, steps are worth a note: they use tokens well, but follow noise for the most part, and want a low rate."""
NOISE_ALONE = 1 / 64
"""Below, a warning: small models are trained well with a few hundredths, none with less is known."""
SUITS = 1 / 8
"""Noise scales in a step that is called noisy no more: one takes an eighth more tokens than the fewest."""


def wanted_tokens(parameters: float) -> float:
    """Tokens per step of GPT-3's sizes, between them on a line over the logarithms; beyond them as the nearest."""
    sizes, batches = np.log(np.array(GPT3_BATCHES)).T
    return float(np.exp(np.interp(np.log(parameters), sizes, batches)))


def find(evidence: Evidence) -> Iterator[Diagnosis]:
    """By the measured noise scale where it is known, else by the size; a tuned model's step is not looked at."""
    profile, tokens = evidence.profile, evidence.tokens_per_step
    if profile is None or tokens is None or profile.model.init_from != "scratch":
        return
    measured = noise_scale(evidence)
    if measured is not None:
        yield from _by_noise(evidence, tokens, measured)
    elif evidence.parameters is not None and evidence.parameters >= SMALLEST_KNOWN:
        yield from _by_size(evidence, tokens, evidence.parameters)


def noise_scale(evidence: Evidence) -> float | None:
    """Tokens of a step that carry as much signal as noise, as measured: the median of the newest quarter."""
    state = evidence.state
    if state.noise is None or state.noise.measurements < MEASUREMENTS or not evidence.max_steps:
        return None
    if state.step < PROGRESS * evidence.max_steps:
        return None
    newest = _newest(evidence)
    finite = newest[np.isfinite(newest)]
    return float(np.median(finite)) if len(finite) > len(newest) / 2 else None


def _newest(evidence: Evidence) -> np.ndarray:
    measured = evidence.state.noise_tokens.y
    return measured[-max(MEASUREMENTS, len(measured) // 4) :]


def _is_rising(evidence: Evidence) -> bool:
    """Whether the noise scale is on its way up, or was hidden by the signal a while ago."""
    earlier, later = np.array_split(_newest(evidence), 2)
    return not np.isfinite(earlier).all() or bool(np.nanmedian(later) > RISING * np.median(earlier))


def _by_noise(evidence: Evidence, tokens: int, measured: float) -> Iterator[Diagnosis]:
    ratio = tokens / measured
    if MUCH_SMALLER <= ratio <= MUCH_LARGER or (ratio > 1 and _is_rising(evidence)):
        return
    better = portions_for(evidence, measured if ratio > 1 else measured * SUITS)
    if ratio > 1:
        idle = 100 * (1 - 1 / (1 + ratio))
        title = f"{tokens:,} tokens a step, where {measured:,.0f} would carry it: {idle:.0f} % add nothing"
        why = (
            f"The gradient's noise scale is {measured:,.0f} tokens: tokens beyond it hardly make a step better. "
            f"With {ratio:,.0f} times as many a run takes {1 + ratio:,.0f} times the fewest tokens it could."
        )
        advice = f"Smaller steps, and more of them: {better}." if better else "Lower grad_accum_steps."
    else:
        title = f"{tokens:,} tokens a step are {1 / ratio:,.0f} parts noise to one of signal"
        why = (
            f"The gradient's noise scale is {measured:,.0f} tokens: a step of {tokens:,} mostly follows the chance of "
            "its few sequences. The rate must be low for that, and each update is paid for by few tokens."
        )
        advice = (
            f"Larger steps see the same tokens in fewer updates: {better}." if better else "Raise grad_accum_steps."
        )
    severity: Severity = "note" if NOISE_ALONE <= ratio < 1 else "warning"
    figures = {"noise_scale_tokens": measured, "ratio": ratio}
    yield _told(evidence, severity, tokens, title, why, advice, better, figures,
                "McCandlish et al. 2018, An Empirical Model of Large-Batch Training, section 2.2")  # fmt: skip


def _by_size(evidence: Evidence, tokens: int, parameters: int) -> Iterator[Diagnosis]:
    wanted = wanted_tokens(parameters)
    ratio = tokens / wanted
    if FAR_BELOW <= ratio <= FAR_ABOVE:
        return
    better = portions_for(evidence, wanted)
    times = f"{1 / ratio:,.0f} times fewer than" if ratio < 1 else f"{ratio:,.0f} times"
    why = (
        "The usual rates for this size suit steps of about that many tokens. Smaller steps are noisier: with the same "
        "rate the loss jitters, and ends higher."
        if ratio < 1
        else "Steps so large gain little over smaller ones, and there are few of them for as many tokens."
    )
    present = current_portions(evidence)
    now = f" Now it is {present}." if present else ""
    advice = f"Set {better}.{now}" if better else f"Raise or lower grad_accum_steps to about {wanted:,.0f} tokens.{now}"
    title = f"{tokens:,} tokens a step, {times} the {wanted:,.0f} of models of this size"
    yield _told(
        evidence, "warning", tokens, title, why, advice, better,
        {"wanted_tokens": wanted, "ratio": ratio, "parameters": parameters}, "Brown et al. 2020, table 2.1",
    )  # fmt: skip


def _same_length(evidence: Evidence, tokens: int, better: Portions) -> str:
    steps = evidence.max_steps
    same = round(steps * tokens / better.tokens_per_step) if steps else 0
    return f" For the same tokens in all set max_steps = {same}, and warm-up and decay with it." if same else ""


def _told(
    evidence: Evidence, severity: Severity, tokens: int, title: str, why: str, advice: str, better: Portions | None,
    figures: dict[str, float], reference: str,
) -> Diagnosis:  # fmt: skip
    changes = better.changes(evidence) if better else {}
    return Diagnosis(
        rule="tokens_per_step", severity=severity, title=title,
        evidence={"tokens_per_step": tokens, **figures, "better_tokens": better.tokens_per_step if better else None},
        why=why, advice=advice + (_same_length(evidence, tokens, better) if better else ""),
        treatment=Treatment("profile", f"{better.tokens_per_step:,} tokens a step", changes) if better else None,
        reference=reference,
    )  # fmt: skip


RULE = Rule("tokens_per_step", "tokens per step far from what the size or the noise scale wants", find)
