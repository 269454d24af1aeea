"""The learning rate against what is usual for a model of this width."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cockpit.doctor.diagnosis import Diagnosis, Rule, Scalar, Treatment
from cockpit.doctor.evidence import Evidence
from gpt.config import Profile

USUAL: tuple[tuple[int, float, str], ...] = (
    (128, 1e-3, "nanoGPT, README: Shakespeare on a CPU"),
    (384, 1e-3, "nanoGPT, config/train_shakespeare_char.py"),
    (768, 6.0e-4, "GPT-3 Small, 125M"),
    (1024, 3.0e-4, "GPT-3 Medium, 350M"),
    (1536, 2.5e-4, "GPT-3 Large, 760M"),
    (2048, 2.0e-4, "GPT-3 XL, 1.3B"),
    (2560, 1.6e-4, "GPT-3 2.7B"),
    (4096, 1.2e-4, "GPT-3 6.7B"),
    (5140, 1.0e-4, "GPT-3 13B"),
    (12288, 0.6e-4, "GPT-3 175B"),
)
"""(width, learning rate, whose). GPT-3's from Brown et al. 2020, table 2.1; the small ones are nanoGPT's."""
HIGH, LOW = 5.0, 10.0
"""Times above and below the usual from which on a rate is far from it. Recipes that tune it reach
about 3 times GPT-3's, and small batches want a few times less."""
FINE_TUNING = 0.5
"""Of the usual rate: training that begins from a model's weights stays well below it (nanoGPT: 3e-5 for 1558M)."""
WARMS = 0.5
"""Of the usual rate, from which on a warm-up is needed."""
SMALL = 3e6
"""Parameters of a model that stands a start at its usual rate."""
LEAST_FLOOR, MOST_FLOOR = 0.02, 0.3
"""Shares of a new rate between which the old floor can stay; else it becomes a tenth of it."""
SETTLED = 1000
"""Steps after which a rate that made no trouble has shown that this model bears it."""
BEARABLE = 15.0
"""Times the usual that a model may be found to bear. Far above, it makes no trouble but learns little: at 50 times
Shakespeare's usual rate the loss stays at 3.05; at that rate it is 2.50 after 120 steps (shakespeare_char_cpu)."""


def usual_rate(width: int) -> float:
    """What is usual for a width: between the table's widths on a straight line of logarithms."""
    widths, rates, _ = zip(*USUAL, strict=True)
    return float(np.exp(np.interp(np.log(width), np.log(widths), np.log(rates))))


def needs_warmup(profile: Profile, parameters: int | None) -> bool:
    """Whether the rate is one to begin low with: fresh weights, no tiny model, and near what is usual or above."""
    if profile.model.init_from != "scratch":
        return False
    usual = usual_rate(profile.model.n_embd)
    if parameters is not None and parameters < SMALL:
        return profile.optim.learning_rate > HIGH / 2 * usual
    return profile.optim.learning_rate >= WARMS * usual


def find(evidence: Evidence) -> Iterator[Diagnosis]:
    """A rate several times above or below the usual one."""
    profile = evidence.profile
    if profile is None:
        return
    rate, width = profile.optim.learning_rate, profile.model.n_embd
    usual = usual_rate(width)
    tuned = profile.model.init_from != "scratch"
    if tuned:
        if rate <= FINE_TUNING * usual:
            return
        wanted = float(f"{usual / 10:.1g}")
    elif usual / LOW <= rate <= HIGH * usual:
        return
    else:
        wanted = float(f"{usual:.2g}")
    too_high = rate > usual * (FINE_TUNING if tuned else 1)
    stood = evidence.state.step >= SETTLED and rate <= BEARABLE * usual
    nearest = min(USUAL, key=lambda row: abs(np.log(row[0] / width)))
    changes: dict[str, Scalar] = {"optim.learning_rate": wanted}
    floor = profile.optim.min_lr
    if floor and not LEAST_FLOOR * wanted <= floor <= MOST_FLOOR * wanted:
        changes["optim.min_lr"] = float(f"{wanted / 10:.2g}")
    settings = ", ".join(f"{key} = {value:g}" for key, value in changes.items())
    if tuned:
        why = f"Training goes on from {profile.model.init_from}: at a rate for fresh weights it forgets what it knows. "
        why += "A tenth of that rate and less is usual."
    elif too_high:
        why = "Longer steps than a model of this width bears end in spikes, or in a loss that stays high."
    else:
        why = "At so low a rate the run ends long before the loss has fallen as far as it could with these tokens."
    times = f"{rate / usual:.3g} times" if rate > usual else f"1/{usual / rate:.0f} of"
    yield Diagnosis(
        rule="learning_rate", severity="note" if too_high and stood else "warning",
        title=f"learning rate {rate:g}, {times} the usual {usual:.2g} at width {width}",
        evidence={"learning_rate": rate, "usual": usual, "n_embd": width, "init_from": profile.model.init_from,
                  "step": evidence.state.step},
        why=why, advice=f"Set {settings}"
        + ("; the range test finds what this run bears." if too_high and not tuned else "."),
        treatment=Treatment("live" if evidence.began else "profile", f"a rate of {wanted:g}", changes),
        reference=f"{nearest[2]} ({nearest[0]} wide): {nearest[1]:g}; GPT-3's from Brown et al. 2020, table 2.1",
    )  # fmt: skip


RULE = Rule("learning_rate", "a rate far from what is usual for the width", find)
