"""The loss before anything is learnt: with fresh weights every token is about as likely, so it is ln(vocabulary)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from cockpit.doctor.diagnosis import Diagnosis, Rule
from cockpit.doctor.evidence import Evidence
from cockpit.series import Series

TOLERANCE = 0.5
"""Nats that the first loss may lie off: GPT-2's sizes lie within 0.1, batches of a few hundred tokens within 0.2."""
INIT_VARIANCE = 0.02**2
"""Of a weight of the head (Radford et al. 2019, section 2.3; gpt.model)."""
NEAR = 0.5
"""Share of the expected loss below which the weights were hardly fresh, or the loss counts what it should not."""


def expected(rows: int, width: int) -> float:
    """Mean first loss, nats/token, of logits that are independent and normal: ln V + σ²/2, σ² = 0.02² · width.

    A head's weights have variance 0.02², and the normed activations it meets 1 in each channel.
    """
    return math.log(rows) + INIT_VARIANCE * width / 2


def find(evidence: Evidence) -> Iterator[Diagnosis]:
    """The loss of the first step, where training began with fresh weights."""
    profile, rows = evidence.profile, evidence.rows
    if profile is None or not rows or profile.model.init_from != "scratch":
        return
    found = _first(evidence.state.train_eval_loss, 0) or _first(evidence.state.loss, 1)
    if found is None:
        return
    wanted = expected(rows, profile.model.n_embd)
    off = found - wanted
    if abs(off) <= TOLERANCE:
        return
    if off > 0:
        why = "The fresh model is surer of wrong tokens than one that knows nothing: its first weights are too large, "
        why += "or a head that is not normed multiplies them."
        advice = "Look at what was changed in the model's initialization: matrices begin with a deviation of 0.02."
    else:
        why = "Fresh weights cannot know anything of a text they have not seen: they are not fresh, or the loss is not "
        why += "that of the next token (targets that are the inputs, or padding that counts)."
        advice = "Look at how the targets are made, or say in model.init_from what it starts from."
    yield Diagnosis(
        rule="first_loss", severity="warning" if off > 0 or found > NEAR * wanted else "critical",
        title=f"the first loss is {found:.2f}, not {wanted:.2f}",
        evidence={"first_loss": found, "expected": wanted, "ln_vocabulary": math.log(rows), "vocab_size": rows,
                  "n_embd": profile.model.n_embd},
        why=f"Before the first update every one of {rows:,} tokens should be about as likely: ln {rows:,} = "
        f"{math.log(rows):.2f}, and {wanted - math.log(rows):.2f} more for the spread of the first logits. " + why,
        advice=advice, reference="the entropy of a uniform choice; Radford et al. 2019, section 2.3, for the weights",
    )  # fmt: skip


def _first(series: Series, latest: int) -> float | None:
    """The first value of a curve, where it was taken at that step at the latest."""
    if not len(series.x) or series.x[0] > latest or not np.isfinite(series.y[0]):
        return None
    return float(series.y[0])


RULE = Rule("first_loss", "a loss at the start far from ln(vocabulary)", find)
