"""MFU measured against somebody else's card: the peak it is a share of is not this device's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cockpit.doctor.device import card_name, is_foreign, newest_mfu
from cockpit.doctor.diagnosis import Diagnosis, Rule, Treatment
from cockpit.doctor.evidence import Evidence, tail
from cockpit.planning.devices import CARDS
from gpt.flops import datasheet_peak

TOLERANCE = 0.10
"""Share by which a given peak may miss the datasheet's: boards of one name differ in clock by less than that."""
A100 = 312e12
"""FLOP/s that nanoGPT divides by."""


def find(evidence: Evidence) -> Iterator[Diagnosis]:
    """A given peak that is not the device's; an MFU that cannot be; nanoGPT's, which is an A100's share everywhere."""
    started = evidence.state.started
    if is_foreign(evidence):
        yield from _nanogpt(evidence)
        return
    share, name = newest_mfu(evidence), card_name(evidence)
    kind = started.dtype if started else None
    given = evidence.profile.device.peak_tflops if evidence.profile else None
    if given and name and kind:
        known = (kind == "float32" and datasheet_peak(name, "tfloat32")) or datasheet_peak(name, kind)
        if known and abs(given * 1e12 / known[0] - 1) > TOLERANCE:
            yield _another(given * 1e12, known, name, kind, share)
            return
    if share is not None and share > 1 and started and started.peak_flops:
        yield Diagnosis(
            rule="mfu_peak", severity="warning", title=f"MFU {100 * share:.0f} %: more than all there is",
            evidence={"mfu": share, "peak_flops": started.peak_flops, "peak_source": started.peak_source},
            why=f"No step can do more than the device's peak. It is taken for {started.peak_flops / 1e12:,.3g} TFLOP/s "
            f"({started.peak_source}), so the device does more than that.",
            advice=f"Set device.peak_tflops to the datasheet's dense figure for {kind}.",
            reference="MFU: Chowdhery et al. 2022 (PaLM), appendix B",
        )  # fmt: skip


def _another(given: float, known: tuple[float, str], name: str, kind: str, share: float | None) -> Diagnosis:
    peak, source = known
    owner = _owner(given, kind, name)
    real = f"; it is {100 * share * given / peak:.1f} %" if share is not None else ""
    right = round(peak / 1e12, 1)
    return Diagnosis(
        rule="mfu_peak", severity="warning",
        title=f"MFU is a share of {given / 1e12:,.4g} TFLOP/s, and this card does {peak / 1e12:,.4g}",
        evidence={
            "given_flops": given, "datasheet_flops": peak, "device": name, "dtype": kind, "mfu_shown": share,
            "mfu": share * given / peak if share is not None else None,
        },
        why=f"device.peak_tflops is {given / 1e12:,.4g}{owner}. {name} does {peak / 1e12:,.4g} TFLOP/s in {kind}"
        + (f": the {100 * share:.1f} % shown are not its MFU{real}." if share is not None else "."),
        advice=f"Set device.peak_tflops = {right}, or leave it out: this card is known.",
        treatment=Treatment("live", f"measure against {right:,} TFLOP/s", {"device.peak_tflops": right}),
        reference=source,
    )  # fmt: skip


def _nanogpt(evidence: Evidence) -> Iterator[Diagnosis]:
    x, y = tail(evidence.state.mfu)
    if not len(x):
        return
    share = float(y[-1])
    achieved = share * A100
    cards = {"RTX 4090": "NVIDIA GeForce RTX 4090", "H100": "NVIDIA H100 80GB HBM3"}
    examples = {short: datasheet_peak(full, "bfloat16") for short, full in cards.items()}
    other = ", ".join(f"{100 * achieved / peak[0]:.1f} % of an {short}" for short, peak in examples.items() if peak)
    yield Diagnosis(
        rule="mfu_peak", severity="note",
        title=f"MFU {100 * share:.2f} % is a share of an A100, whichever card this was",
        evidence={"mfu_shown": share, "against_flops": A100, "achieved_flops": achieved},
        why=f"nanoGPT divides by 312 TFLOP/s, an A100's bfloat16 peak, on every device. {100 * share:.2f} % of that "
        f"are {achieved / 1e12:,.3g} TFLOP/s: {other}. The figure is a mean over about ten printed steps, those timed "
        "with an evaluation included.",
        advice="Divide these TFLOP/s by the card's own dense peak before comparing it with anybody's.",
        reference="nanoGPT, model.py, estimate_mfu; NVIDIA A100 datasheet",
    )  # fmt: skip


def _owner(given: float, kind: str, name: str) -> str:
    """Whose peak it is, in words; empty where no known card has it."""
    for card in CARDS:
        peak = card.peak(kind)
        if peak and abs(given / peak - 1) < 0.01 and card.name not in name:
            return ", which is what " + re.sub(r"^NVIDIA (GeForce )?", "", card.name) + " does"
    return ""


RULE = Rule("mfu_peak", "MFU measured against the peak of another card", find)
