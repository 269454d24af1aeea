"""The gradient's norm: exploding, vanishing, clipped on most steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cockpit.doctor.diagnosis import Diagnosis, Rule, Scalar, Treatment
from cockpit.doctor.evidence import Evidence, whole
from cockpit.doctor.remedies import slower, slower_words

RECENT = 1000
"""Steps that count as now."""
LEAST = 100
"""Steps before a curve is judged."""
BLOCKS = 20
EXPLODED, LARGE = 10.0, 5.0
"""Times its own least level, and the least norm, from which on a gradient has exploded. Norms of a sound GPT-2 lie
between 0.2 and 2, and rise by a factor of 2 or 3 where the rate falls."""
VANISHED = 1e-3
"""Norm below which nothing is learnt; sound ones lie above 0.05 (measured here and printed by llm.c's runs)."""
CLIPPED, FAR = 0.5, 5.0
"""Share of the steps that are clipped, and the median norm in units of grad_clip, from which on it is most and far.
nanoGPT's CPU settings for Shakespeare, with 768 characters a step, clip every step at a median of 1.9 to 2.3, and are
sound: AdamW divides a common factor out again."""

_PASCANU = "Pascanu et al. 2013, arXiv 1211.5063: exploding and vanishing gradients, clipping by norm"


def find_gradient(evidence: Evidence) -> Iterator[Diagnosis]:
    """A gradient norm far above its own level, or next to nothing."""
    norm = evidence.state.grad_norm
    x, y = whole(norm)
    if len(y) < LEAST:
        return
    levels = np.array([np.median(part) for part in np.array_split(y, BLOCKS)])
    now, least = float(min(levels[-1], levels[-2])), float(levels.min())
    figures: dict[str, Scalar] = {"grad_norm": now, "least_grad_norm": least, "step": int(x[-1])}
    if now >= LARGE and now >= EXPLODED * least:
        yield Diagnosis(
            rule="gradient_norm", severity="warning",
            title=f"gradient norm {now:.3g}, {now / max(least, 1e-12):.0f} times what it was",
            evidence=figures, why="The gradient has grown by more than a factor of ten and stays so: the weights move "
            "into a region where small steps change the loss much. Divergence often follows.",
            advice=f"Go on with {slower_words(evidence.profile)}.",
            treatment=Treatment("live", "halve the rate", slower(evidence.profile)) if evidence.profile else None,
            reference=_PASCANU,
        )  # fmt: skip
    elif max(levels[-1], levels[-2]) < VANISHED:
        yield Diagnosis(
            rule="gradient_norm", severity="critical" if now == 0 else "warning",
            title=f"gradient norm {now:.1e}: nothing is learnt",
            evidence=figures, why="Hardly any gradient reaches the weights. In float16 it underflows; a loss that is "
            "constant, targets that are all alike, or layers whose output is 0 give none either.",
            advice="Look at what the model is fed (gpt-cockpit data inspect), and train in bfloat16 or float32.",
            reference=_PASCANU,
        )  # fmt: skip


def find_clipping(evidence: Evidence) -> Iterator[Diagnosis]:
    """Most steps clipped, well after the warm-up."""
    profile, norm = evidence.profile, evidence.state.grad_norm
    if profile is None or not profile.optim.grad_clip:
        return
    clip, warm = profile.optim.grad_clip, 2 * profile.optim.warmup_steps + LEAST
    late = np.isfinite(norm.y) & (norm.x > max(warm, evidence.state.step - RECENT))
    y = norm.y[late]
    if len(y) < LEAST:
        return
    share, middle = float(np.mean(y > clip)), float(np.median(y))
    if share < CLIPPED:
        return
    far = middle >= FAR * clip
    wanted = float(f"{np.quantile(y, 0.9):.1g}")
    changes: dict[str, Scalar] = {"optim.grad_clip": max(wanted, 2 * clip)}
    yield Diagnosis(
        rule="clipping", severity="warning" if far and share >= 0.9 else "note",
        title=f"{100 * share:.0f} % of the steps are clipped at {clip:g}",
        evidence={"share_clipped": share, "median_grad_norm": middle, "grad_clip": clip, "steps_looked_at": len(y)},
        why=f"The median norm is {middle:.3g}. Clipping is there for the exception: on most steps it makes every batch "
        "count alike, however much it has to say, and hides when the gradient grows.",
        advice=f"Set optim.grad_clip = {changes['optim.grad_clip']:g}, which clips about one step in ten, or take more "
        f"tokens in a step, which makes the gradient less noisy; if it is unsteady then, {slower_words(profile)}.",
        treatment=Treatment("live", "clip only the exception", changes), reference=_PASCANU,
    )  # fmt: skip


RULES = (
    Rule("gradient_norm", "a gradient that explodes or vanishes", find_gradient),
    Rule("clipping", "gradients clipped on most steps", find_clipping),
)
