"""MFU explained: its formula filled in, and the card that it is measured against."""

from __future__ import annotations

from cockpit import format as fmt
from cockpit.doctor.device import is_foreign
from cockpit.doctor.evidence import Evidence
from cockpit.explaining.explanation import Explanation, lines, said
from cockpit.pace import pace, peak_flops
from cockpit.planning.devices import CARDS
from cockpit.sanitize import clean_line

_COMPARED = ("RTX 3090", "RTX 4070 Ti", "RTX 4090", "H100 80GB HBM3")


def mfu(evidence: Evidence) -> Explanation:
    """Model FLOPs utilization."""
    state, started = evidence.state, evidence.state.started
    theirs = is_foreign(evidence)
    value = state.mfu.last if theirs else pace(state).mfu
    peak = peak_flops(state)
    against = None
    if theirs:
        against = "nanoGPT measures every card against an A100's 312 TFLOP/s in bfloat16 (model.py, estimate_mfu), and "
        against += "shows a mean that remembers about ten printed iterations."
    elif started and peak:
        source = {"datasheet": "by its datasheet, dense", "profile": "as the profile says"}.get(
            started.peak_source or "", "measured here with large matrix products"
        )
        against = (
            f"Measured against {clean_line(started.device)}: {fmt.significant(peak / 1e12)} TFLOP/s in "
            f"{clean_line(started.dtype)}, {source}."
        )
    elif started:
        against = f"The peak of {clean_line(started.device)} is not known; device.peak_tflops in the profile tells it."
    return Explanation(
        id="mfu", name="MFU", value=f"{fmt.percent(value, 2 if theirs else 1)} %",
        meaning=said("Model FLOPs utilization: the arithmetic that the model's tokens need, by formula, over what the "
                     "device could do in that time.", against),
        computation=lines(*_mfu_formula(evidence, value)),
        usual="30 to 50 % on one GPU with a compiled 124M or larger and bfloat16; 5 to 20 % for models under 30 M, "
        "whose products are too small to fill a card; 20 to 60 % of a CPU's measured peak.",
        says=said(_mfu_says(evidence, value), _elsewhere(evidence, value)),
        change="Compiling, bfloat16, larger micro-batches, a vocabulary padded to 50,304; a wider model raises it by "
        "itself. Evaluation and saving do not lower it: they are not in it."
        if not theirs else "Compiling, bfloat16, larger micro-batches, a vocabulary padded to 50,304; a wider model "
        "raises it by itself. Each evaluation lowers nanoGPT's for the next iterations: it is in its time.",
    )  # fmt: skip


def _mfu_formula(evidence: Evidence, value: float | None) -> list[str]:
    started, profile, per_step = evidence.state.started, evidence.profile, evidence.tokens_per_step
    made: list[str] = []
    if started is None:
        made.append("MFU = (6·N + 12·L·H·Q·T) × tokens a second / peak (Chowdhery et al. 2022, appendix B)")
        if value:
            made.append(
                f"{fmt.percent(value, 2)} % × 312 TFLOP/s = {value * 312:.2f} TFLOP/s of the model's arithmetic"
            )
            ms = evidence.state.ms.last
            if ms:
                made.append(
                    f"in {ms:,.2f} ms that would be {value * 312e12 * ms / 1e3:.3g} FLOPs; the size is not said here"
                )
        return made
    rest = started.flops_per_token
    multiplied = started.parameters_without_positions
    attention = rest - 6 * multiplied
    formula = f"FLOPs a token = 6·N + 12·L·H·Q·T = 6 × {multiplied:,} + {attention:.4g} = {rest:.4g}"
    if profile is not None:
        model = profile.model
        second = 12 * model.n_layer * model.n_head * model.head_width * model.block_size
        first = (rest - second) / 6
        if 0 < first <= multiplied + 0.5:  # else it is another model than the profile's
            formula = (
                f"FLOPs a token = 6·N + 12·L·H·Q·T = 6 × {first:,.0f} + 12 × {model.n_layer} × {model.n_head} × "
                f"{model.head_width} × {model.block_size:,} = {rest:.4g}"
            )
    made.append(formula)
    last = evidence.state.mfu.last
    if is_foreign(evidence) and started.peak_flops and last:
        step = started.flops_per_token * started.tokens_per_step
        made.append(
            f"{fmt.percent(last, 2)} % of 312 TFLOP/s are {last * 312:.2f} TFLOP/s: {step:.4g} FLOPs a step in "
            f"{step / last / started.peak_flops * 1e3:,.1f} ms"
        )
    ms = evidence.state.median_ms()
    peak = peak_flops(evidence.state)
    if peak and ms and per_step:
        rate = per_step / ms * 1e3
        made.append(
            f"MFU = {rest:.4g} × {rate:,.0f} tokens/s / {peak:.4g} FLOP/s = "
            f"{fmt.percent(rest * rate / peak, 2)} % by "
            + ("the time printed with it" if is_foreign(evidence) else "the median step")
        )
    return made


def _mfu_says(evidence: Evidence, value: float | None) -> str | None:
    started, peak = evidence.state.started, peak_flops(evidence.state)
    if value is None or started is None or not peak:
        return None
    words = f"{fmt.significant(value * peak / 1e12)} TFLOP/s of the model's arithmetic are done."
    if started.device_type == "cuda" and value < 0.2 and started.parameters > 60e6:
        words += " That is little for this size: something holds the card back."
    elif value < 0.2 and started.parameters < 30e6:
        words += " Little, as is usual for so small a model."
    elif value > 1:
        words += " More than the peak cannot be: the peak is of another device or precision."
    return words


def _elsewhere(evidence: Evidence, value: float | None) -> str | None:
    """What nanoGPT's MFU would be on another card."""
    if value is None or not is_foreign(evidence):
        return None
    cards = [card for card in CARDS if card.name.removeprefix("NVIDIA ").removeprefix("GeForce ") in _COMPARED]
    shares = [(card, peak) for card in cards if (peak := card.peak("bfloat16"))]
    words = ", ".join(
        f"{card.name.removeprefix('NVIDIA ').removeprefix('GeForce ')} {fmt.percent(value * 312e12 / peak)} %"
        for card, peak in shares
    )
    return f"Against the card's own peak in bfloat16 the same speed would be: {words}."
