"""The schedule of the rate: where its decay ends, its warm-up, its floor. From the settings, at any time of the run."""

from __future__ import annotations

from collections.abc import Iterator

from cockpit.doctor.diagnosis import Diagnosis, Rule, Scalar, Treatment
from cockpit.doctor.evidence import Evidence
from cockpit.doctor.rates import needs_warmup
from gpt.schedule import decay_span, floor_of, learning_rate

SLACK = 0.1
"""Share of the run by which the decay may end before or after it: what rounding and a short extension make."""
LONG_WARMUP = 0.3
"""Share of the run; usual ones take 0.1 % (GPT-3: 375 M of 300 B tokens) to 4 % of it (llm.c: 700 of 18,865 steps)."""
SHORT_RUN = 20
"""Steps of a run whose schedule is nobody's concern: it tries something out."""
WARMUP_SHARE, LEAST_WARMUP, MOST_WARMUP = 0.02, 10, 2000
"""What is advised: 2 % of the run as nanoGPT's small configurations have it, at most its 2,000 steps."""
HIGH_FLOOR, FLAT_FLOOR, LOW_FLOOR = 0.3, 0.5, 0.02
"""Shares of the peak rate: a floor above the first takes most of the decay's use; a tenth is usual. Linear decays to 0
are sound too (Bergsma et al. 2025, arXiv 2502.15938), so a low one is spoken of on a cosine alone, as a note."""
SETTLED = 500
"""Steps after which a run that stood its beginning needs no warm-up any more: it is a note for the next one."""

_GPT3 = "Brown et al. 2020, appendix B: warm-up over 375 M tokens, cosine decay to 10 %"
_CHINCHILLA = "Hoffmann et al. 2022, appendix B: a cosine that overshoots the run's end by more than 25 % costs loss"


def find_decay(evidence: Evidence) -> Iterator[Diagnosis]:
    """A decay that ends well before the last step, or not by then."""
    profile, last = evidence.profile, evidence.max_steps
    if profile is None or last is None or last <= SHORT_RUN or profile.optim.schedule == "constant":
        return
    optim = profile.optim
    _, end = decay_span(optim, last)
    if abs(end - last) <= SLACK * last or end <= optim.warmup_steps:
        return
    floor, at_end = floor_of(optim), learning_rate(last - 1, optim, last)
    figures: dict[str, Scalar] = {
        "decay_end": end, "max_steps": last, "min_lr": floor, "rate_at_the_end": at_end, "step": evidence.state.step,
    }  # fmt: skip
    treatment = Treatment("live", "end the decay with the run", {"optim.decay_steps": last})
    if end < last:
        rest, passed = last - end, evidence.state.step >= end
        if passed:  # a longer decay would raise the rate again
            treatment = None
        yield Diagnosis(
            rule="decay_end", severity="warning", title=f"the rate is at its floor for the last {rest:,} steps",
            evidence=figures, why=f"The decay ends at step {end:,}, the run at {last:,}: for {100 * rest / last:.0f} % "
            f"of it the rate stays at {floor:.2g}, and {'nothing is' if floor == 0 else 'little is'} learnt.",
            advice=f"Stop here; next time set optim.decay_steps = {last}, or leave it out." if passed
            else f"Set optim.decay_steps = {last} (or leave it out), or stop at step {end:,}.",
            treatment=treatment, reference=_CHINCHILLA,
        )  # fmt: skip
    elif at_end > 2 * floor:
        times = f"{at_end / floor:.1f} times its floor" if floor else f"{at_end:.2g}, not at 0"
        yield Diagnosis(
            rule="decay_end", severity="warning", title=f"the run ends at a rate {times}",
            evidence=figures, why=f"The decay would end at step {end:,}, but the run ends at {last:,}. What a low rate "
            "settles at the end, often a tenth of a nat, is never reached.",
            advice=f"Set optim.decay_steps = {last} (or leave it out), or extend the run to {end:,} steps.",
            treatment=treatment if evidence.state.step < last else None, reference=_CHINCHILLA,
        )  # fmt: skip


def find_warmup(evidence: Evidence) -> Iterator[Diagnosis]:
    """A warm-up that takes the run, or none where the rate needs one."""
    profile, last = evidence.profile, evidence.max_steps
    if profile is None or last is None or last <= SHORT_RUN:
        return
    warmup, wanted, step = profile.optim.warmup_steps, advised_warmup(last), evidence.state.step
    rate = profile.optim.learning_rate
    figures: dict[str, Scalar] = {
        "warmup_steps": warmup, "max_steps": last, "learning_rate": rate, "step": step,
    }  # fmt: skip
    if warmup >= LONG_WARMUP * last:
        never = warmup >= last
        yield Diagnosis(
            rule="warmup", severity="critical" if never else "warning",
            title=f"the warm-up takes {warmup:,} of {last:,} steps", evidence=figures,
            why="The run ends before the rate is what the profile says, and never decays." if never
            else f"For {100 * warmup / last:.0f} % of the run the rate is below what the profile says.",
            advice=f"Set optim.warmup_steps = {wanted}, 2 % of the run, or make the run longer.",
            treatment=Treatment("live", "shorten the warm-up", {"optim.warmup_steps": wanted})
            if step < warmup and step < last else None,
            reference=_GPT3,
        )  # fmt: skip
    elif warmup < LEAST_WARMUP / 2 and needs_warmup(profile, evidence.parameters):
        treatment = None
        if step <= wanted:
            kind = "live" if step else "profile"
            treatment = Treatment(kind, "warm up", {"optim.warmup_steps": wanted})
        yield Diagnosis(
            rule="warmup", severity="note" if step > SETTLED else "warning",
            title=f"{warmup or 'no'}{' steps of' if warmup else ''} warm-up at a rate of {rate:g}",
            evidence=figures, why="AdamW's second moments know nothing yet in the first steps, so that each weight "
            "moves by the whole rate whatever its gradient: at this rate that throws the first weights about, and "
            "costs loss to the end or makes spikes.",
            advice=f"Set optim.warmup_steps = {wanted}, 2 % of the run.", treatment=treatment,
            reference="Ma and Yarats 2021, arXiv 1910.04209: a warm-up of 2 / (1 - beta2) steps; " + _GPT3,
        )  # fmt: skip


def find_floor(evidence: Evidence) -> Iterator[Diagnosis]:
    """A rate at the end that is not about a tenth of the peak."""
    profile, last = evidence.profile, evidence.max_steps
    if profile is None or last is None or last <= SHORT_RUN or profile.optim.schedule == "constant":
        return
    optim = profile.optim
    floor, tenth = floor_of(optim), optim.learning_rate / 10
    share = floor / optim.learning_rate
    if share > HIGH_FLOOR:
        severity, why = (
            "warning" if share >= FLAT_FLOOR else "note",
            "The rate hardly falls, so what a low rate settles ",
        )
        why += "at the end is not reached. It is often left behind where only learning_rate was changed."
    elif 0 < share < LOW_FLOOR and optim.schedule == "cosine":
        severity, why = "note", "A cosine flattens out at its end: with so low a floor its last steps change nothing."
    else:
        return
    yield Diagnosis(
        rule="min_lr", severity=severity, title=f"min_lr is {100 * share:.3g} % of the rate, not about 10 %",
        evidence={"min_lr": floor, "learning_rate": optim.learning_rate, "share": share, "schedule": optim.schedule},
        why=why, advice=f"Set optim.min_lr = {tenth:.2g}, or leave it out, which is a tenth of learning_rate.",
        treatment=Treatment("live", "decay to a tenth", {"optim.min_lr": float(f"{tenth:.3g}")})
        if evidence.state.step < last else None,
        reference="Hoffmann et al. 2022, appendix B, and " + _GPT3,
    )  # fmt: skip


def advised_warmup(max_steps: int) -> int:
    """Steps of warm-up for a run of so many."""
    return round(min(MOST_WARMUP, max(LEAST_WARMUP, WARMUP_SHARE * max_steps)))


RULES = (
    Rule("decay_end", "a decay that ends long before or after the last step", find_decay),
    Rule("warmup", "a warm-up longer than the run, or none where the rate needs one", find_warmup),
    Rule("min_lr", "a lowest rate that is not about a tenth of the highest", find_floor),
)
