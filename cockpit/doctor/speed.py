"""Low MFU, with its causes: what the settings, the ledger and the meters say of where a card's speed goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cockpit.doctor.device import (
    ENOUGH_STEPS,
    Portions,
    card_name,
    current_portions,
    device_type,
    is_foreign,
    newest_mfu,
    pace,
    portions_for,
)
from cockpit.doctor.diagnosis import Diagnosis, Rule, Scalar, Severity, Treatment
from cockpit.doctor.evidence import Evidence
from gpt.flops import datasheet_peak

LOW = 0.25
"""MFU below which a card does not do what it can: nanoGPT's compiled 124M reaches about 0.4 of it, eager half that."""
WAITING = 0.10
"""Share of the time of steps spent waiting for data that is too much: it should hide behind the step before."""
SMALL_TOKENS = 8_192
"""Tokens of a micro-step below which a card's products are too small: 8 sequences of 1,024."""
OPERATORS_PER_LAYER = 40
"""Kernels of a layer's forward and backward pass in bfloat16, counted in gpt/model.py; those of the ends are few."""
LAUNCH_SECONDS = 5e-6
"""What launching one from eager torch takes at the least; a fast processor's figure."""
FUSED = 0.5
"""Share of them that is left where the step is compiled: products and attention stay kernels of their own."""
COMPILE_SECONDS = 60.0
"""What compiling takes, about; and what is left of a run must be longer, for a compiled step takes two thirds."""


@dataclass(frozen=True)
class Cause:
    """One thing that speed goes to."""

    word: str
    why: str
    advice: str
    changes: dict[str, Scalar] = field(default_factory=dict)
    figures: dict[str, Scalar] = field(default_factory=dict)
    label: str = ""


def waiting_share(evidence: Evidence) -> float | None:
    """Share of this sitting's steps spent waiting for data, 0…1; None before it is settled: the first one waits."""
    state = evidence.state
    if state.step - state.start_step < ENOUGH_STEPS:
        return None
    since = {phase: state.ledger.get(phase, 0.0) - state.ledger_at_start.get(phase, 0.0) for phase in ("train", "data")}
    total = since["train"] + since["data"]
    return since["data"] / total if total > 0 else None


def find(evidence: Evidence) -> Iterator[Diagnosis]:
    """One diagnosis with all causes, the weightiest first; waiting for data also where no MFU is known."""
    seconds = pace(evidence)
    if is_foreign(evidence) or seconds is None:
        return
    share, waiting = newest_mfu(evidence), list(_data(evidence))
    is_low = share is not None and share < LOW and device_type(evidence) == "cuda"
    if not is_low and not waiting:
        return
    causes = waiting + (list(_causes(evidence, seconds)) if is_low else [])
    first = causes[0] if causes else None
    severity: Severity = "warning" if any(cause.changes or cause in waiting for cause in causes) else "note"
    figures: dict[str, Scalar] = {"mfu": share, "ms_per_step": 1e3 * seconds}
    changes: dict[str, Scalar] = {}
    for cause in causes:
        figures |= cause.figures
        changes |= cause.changes
    title = f"MFU {100 * share:.1f} %: " if is_low and share is not None else ""
    yield Diagnosis(
        rule="low_mfu", severity=severity,
        title=title + (" and ".join(cause.word for cause in causes[:2]) if first else "no cause in the settings"),
        evidence=figures,
        why=" ".join(cause.why for cause in causes) or "The step is compiled, in low precision and of a good size, and "
        "does not wait for data; nothing else is known to slow it.",
        advice=" ".join(cause.advice for cause in causes)
        or "Run `gpt-cockpit bench` with this profile: it takes the step apart into its parts.",
        treatment=Treatment("profile", first.label or "train faster", changes) if first and changes else None,
        reference="MFU: Chowdhery et al. 2022 (PaLM), appendix B; peaks of the datasheets in gpt/flops.py",
    )  # fmt: skip


def _data(evidence: Evidence) -> Iterator[Cause]:
    share = waiting_share(evidence)
    if share is not None and share > WAITING:
        yield Cause(
            f"{100 * share:.0f} % of each step waits for data",
            f"The step stands still for {100 * share:.1f} % of its time until its tokens are read.",
            "Put the token files on a local disk; text that is tokenized on the fly is faster "
            "once `gpt-cockpit data prepare` has made tokens of it.", figures={"data_share": share},
        )  # fmt: skip


def _causes(evidence: Evidence, seconds: float) -> Iterator[Cause]:
    started, profile, telemetry = evidence.state.started, evidence.profile, evidence.state.telemetry
    if started is None or profile is None:
        return
    if telemetry and telemetry.gpu_throttle:
        held = telemetry.gpu_throttle
        yield Cause(
            f"the clock is held down ({held})", f"The card's driver holds its clock down: {held}.",
            "See what the rule `throttled` says.", figures={"gpu_throttle": held},
        )  # fmt: skip
    name = card_name(evidence) or ""
    if started.dtype == "float32" and (known := datasheet_peak(name, "bfloat16") or datasheet_peak(name, "float16")):
        yield Cause(
            "float32", f"float32 runs as TF32 at best; in 16 bits this card does {known[0] / 1e12:,.4g} TFLOP/s, "
            f"and the MFU shown is a share of {(started.peak_flops or 0) / 1e12:,.4g}.", 'Set train.dtype = "auto".',
            {"train.dtype": "auto"}, {"dtype": started.dtype}, "train in bfloat16",
        )  # fmt: skip
    if started.dtype == "float32" and _said(evidence, "TensorFloat32 tensor cores", "not enabled"):
        yield Cause("TF32 is off", "torch says that TF32 is there and not enabled.", "Take NVIDIA_TF32_OVERRIDE=0 out "
                    "of the environment, if it is there.", figures={"tf32": False})  # fmt: skip
    left = (evidence.state.eta_seconds() or 0.0) / 3
    if not started.compiled and left > COMPILE_SECONDS:
        yield Cause(
            "compile is off", "Uncompiled, each small operator is a kernel of its own that reads and writes memory.",
            f"Set train.compile = true, stop and --resume: about a minute, of {3 * left / 60:,.0f} that are left.",
            {"train.compile": True}, {"compiled": False}, "compile the step",
        )  # fmt: skip
    yield from _small(evidence, seconds)


def _small(evidence: Evidence, seconds: float) -> Iterator[Cause]:
    """Micro-steps too small for the card: those that could be larger, and models whose kernels are too short anyway."""
    started, profile, present = evidence.state.started, evidence.profile, current_portions(evidence)
    if started is None or profile is None or present is None:
        return
    tokens = present.micro_batch_size * present.block_size
    better = _joined(evidence, present)
    figures: dict[str, Scalar] = {"tokens_per_micro_step": tokens, "micro_batch_size": present.micro_batch_size}
    if tokens < SMALL_TOKENS and better:
        yield Cause(
            f"micro-steps of {tokens:,} tokens", f"A micro-step of {tokens:,} tokens makes matrix products that leave "
            "most of the card idle.", f"Set {better}: the same step in fewer, larger portions.",
            better.changes(evidence), figures, f"micro-steps of {better.micro_batch_size * better.block_size:,} tokens",
        )  # fmt: skip
    launching = profile.model.n_layer * OPERATORS_PER_LAYER * LAUNCH_SECONDS * (FUSED if started.compiled else 1)
    ideal = started.flops_per_token * tokens / started.peak_flops if started.peak_flops else None
    if ideal is not None and ideal < launching:
        ms = 1e3 * seconds / present.grad_accum_steps
        yield Cause(
            "the model is too small for the card", f"A micro-step takes {ms:,.3g} ms; its arithmetic is "
            f"{1e3 * ideal:,.2g} ms of this card's time, less than launching its kernels ({1e3 * launching:,.2g} ms).",
            "" if better else "More tokens a step, or a larger model, cost next to nothing here.",
            figures={"ideal_ms_per_micro_step": 1e3 * ideal, "launch_ms_per_micro_step": 1e3 * launching},
        )  # fmt: skip


def _joined(evidence: Evidence, present: Portions) -> Portions | None:
    """The same step in larger micro-steps that fit; None where there are none, or the memory is not known."""
    fitting = portions_for(evidence, present.tokens_per_step)
    return fitting if fitting and fitting.micro_batch_size > present.micro_batch_size else None


def _said(evidence: Evidence, *words: str) -> bool:
    return any(all(word in line.text for word in words) for line in evidence.state.log if line.source == "console")


def explain_autotune(evidence: Evidence) -> Iterator[Diagnosis]:
    """`Not enough SMs to use max_autotune_gemm`: many take this message for the cause of a low MFU."""
    if not _said(evidence, "Not enough SMs to use max_autotune_gemm"):
        return
    share = newest_mfu(evidence)
    yield Diagnosis(
        rule="autotune_message", severity="note",
        title="“Not enough SMs to use max_autotune_gemm” says the card is small, and slows nothing",
        evidence={"device": card_name(evidence), "mfu": share},
        why="torch's compiler prints it on cards with fewer than 68 multiprocessors: it does not try out matrix "
        "products of its own there, and takes cuBLAS's, as training without that mode does everywhere.",
        advice="Nothing is to be done about it"
        + (f"; look for another cause of {100 * share:.1f} %." if share is not None and share < LOW else "."),
        reference="torch._inductor.utils.is_big_gpu",
    )  # fmt: skip


RULE = Rule("low_mfu", "low MFU, or steps that wait for data, with the causes", find)
AUTOTUNE = Rule("autotune_message", "a compiler's message that is taken for a fault", explain_autotune)
