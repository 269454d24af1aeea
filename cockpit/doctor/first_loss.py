"""The loss before anything is learnt: with fresh weights every token is about as likely, so it is ln(vocabulary)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from cockpit.doctor.diagnosis import Diagnosis, Rule
from cockpit.doctor.evidence import Evidence
from cockpit.series import Series
from gpt.config import ModelConfig

TOLERANCE = 0.5
"""Nats that the first loss may lie off: GPT-2's sizes lie within 0.1, batches of a few hundred tokens within 0.2."""
INIT_STD = 0.02
"""Of a weight of the embedding and the head (Radford et al. 2019, section 2.3; gpt.model)."""
NEAR = 0.5
"""Share of the expected loss below which the weights were hardly fresh, or the loss counts what it should not."""


def expected(rows: int, model: ModelConfig) -> float:
    """Mean first loss, nats/token, of logits that are independent and normal: ln V + σ²/2, σ² = 0.02² · width.

    A head's weights have variance 0.02², and the normed activations it meets 1 in each channel. Where layers begin as
    the identity (zero_init) and the head is the embedding, these activations are the embedding of the token just read,
    with its position where that is added: its own logit is 0.02 · width, or 1/√2 of it, and no longer one among many.
    At width 768 that makes 11.61 and, with rotary positions and a softcap of 30, 14.19; measured: 11.63 and 14.01.
    """
    others = math.log(rows) + INIT_STD**2 * model.n_embd / 2
    if not (model.zero_init and model.tie_weights):
        return others
    own = INIT_STD * model.n_embd * (1 if model.positions == "rotary" else math.sqrt(0.5))
    if model.logit_softcap:
        own = model.logit_softcap * math.tanh(own / model.logit_softcap)
    return float(np.logaddexp(others, own))


def find(evidence: Evidence) -> Iterator[Diagnosis]:
    """The loss of the first step, where training began with fresh weights."""
    profile, rows = evidence.profile, evidence.rows
    if profile is None or not rows or profile.model.init_from != "scratch":
        return
    found = _first(evidence.state.train_eval_loss, 0) or _first(evidence.state.loss, 1)
    if found is None:
        return
    wanted = expected(rows, profile.model)
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
        why=f"Before the first update every one of {rows:,} tokens is about as likely: ln {rows:,} = "
        f"{math.log(rows):.2f}, and {wanted - math.log(rows):.2f} more for what the first logits are made of. " + why,
        advice=advice, reference="the entropy of a uniform choice; Radford et al. 2019, section 2.3, for the weights",
    )  # fmt: skip


def _first(series: Series, latest: int) -> float | None:
    """The first value of a curve, where it was taken at that step at the latest."""
    if not len(series.x) or series.x[0] > latest or not np.isfinite(series.y[0]):
        return None
    return float(series.y[0])


RULE = Rule("first_loss", "a loss at the start far from ln(vocabulary)", find)
