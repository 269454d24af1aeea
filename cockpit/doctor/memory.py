"""Memory close to what there is: the card's, or the machine's."""

from __future__ import annotations

from collections.abc import Iterator

from cockpit.doctor.device import (
    Portions,
    card_name,
    current_portions,
    device_type,
    dtype,
    is_foreign,
    memory_bytes,
    portions_for,
    ranks,
)
from cockpit.doctor.diagnosis import Diagnosis, Rule, Scalar, Treatment
from cockpit.doctor.evidence import Evidence
from gpt.memory import estimate

FULL = 0.95
"""Share of a card's memory at whose peak little is missing: a sample or an evaluation needs some too."""
HOST_FULL = 0.96
"""Share of the machine's memory in use at which the kernel begins to end programs."""
STRANGER = 0.10
"""Share of the card that another program holds."""
CONTEXT_BYTES = 1.5e9
"""What CUDA itself, its libraries and compiled kernels hold beside torch's allocator, at most about."""


def find(evidence: Evidence) -> Iterator[Diagnosis]:
    """Before the run by estimate, where the card is known; then by what was measured."""
    if is_foreign(evidence):
        return
    if evidence.state.started is None:
        yield from _foreseen(evidence)
    elif device_type(evidence) == "cuda":
        yield from _measured(evidence)


def _foreseen(evidence: Evidence) -> Iterator[Diagnosis]:
    profile, rows, kind, total = evidence.profile, evidence.rows, dtype(evidence), memory_bytes(evidence)
    present, device = current_portions(evidence), device_type(evidence)
    if profile is None or rows is None or kind is None or total is None or present is None or device != "cuda":
        return
    needed = estimate(profile, rows, dtype=kind, device_type=device)
    if needed.peak <= total:
        return
    smaller = portions_for(evidence, present.tokens_per_step)
    yield Diagnosis(
        rule="device_memory", severity="critical",
        title=f"Needs {needed.peak / 2**30:,.1f} GiB, and the card has {total / 2**30:,.1f}",
        evidence={"needed_bytes": needed.peak, "memory_bytes": total, "device": card_name(evidence),
                  "micro_batch_size": present.micro_batch_size},
        why=f"A step of {present.micro_batch_size} sequences at once takes "
        + ", ".join(f"{part} {size / 2**30:,.2f} GiB" for part, size in needed.parts.items() if size) + ".",
        advice=f"Set {smaller}." if smaller else 'Set train.activation_checkpointing = "full" and train.loss_chunk = '
        "1024, or take a smaller model; `gpt-cockpit plan` says what fits.",
        treatment=_treatment(evidence, smaller), reference="gpt/memory.py: bytes of a step by part",
    )  # fmt: skip


def _measured(evidence: Evidence) -> Iterator[Diagnosis]:
    held, present = evidence.state.memory, current_portions(evidence)
    if held is None or not held.total or present is None or held.peak < FULL * held.total:
        return
    half = _halved(present)
    yield Diagnosis(
        rule="device_memory", severity="warning",
        title=f"{100 * held.peak / held.total:.0f} % of the card's memory at its peak: "
        f"{(held.total - held.peak) / 2**20:,.0f} MiB are left",
        evidence={"peak_bytes": held.peak, "reserved_bytes": held.reserved, "memory_bytes": held.total,
                  "micro_batch_size": present.micro_batch_size, "grad_accum_steps": present.grad_accum_steps},
        why="A longer sample, another program on the card or the allocator's fragments can take the rest; the step is "
        "then taken again in smaller portions, after compiling anew.",
        advice=f"Set {half}: the same step in half the activations." if half else "Set train.loss_chunk = 1024, or "
        'train.activation_checkpointing = "selective".',
        treatment=_treatment(evidence, half) or Treatment(
            "profile", "keep less of each step", {"train.activation_checkpointing": "selective"}
        ),
        reference="torch.cuda.max_memory_allocated against the card's total_memory",
    )  # fmt: skip


def find_stranger(evidence: Evidence) -> Iterator[Diagnosis]:
    """Another program on the card, while the run goes on."""
    held, telemetry = evidence.state.memory, evidence.state.telemetry
    if held is None or telemetry is None or not telemetry.gpu_memory_used or not telemetry.gpu_memory_total:
        return
    if evidence.state.is_final or device_type(evidence) != "cuda":
        return
    others = telemetry.gpu_memory_used - held.reserved - CONTEXT_BYTES
    total = telemetry.gpu_memory_total
    # NVML counts the whole card: other ranks on it, where there are more ranks than cards, are no strangers.
    if ranks(evidence) > 1 or others < STRANGER * total:
        return
    yield Diagnosis(
        rule="shared_card", severity="warning" if telemetry.gpu_memory_used > FULL * total else "note",
        title=f"Another program holds about {others / 2**30:,.1f} GiB of the card",
        evidence={"others_bytes": others, "used_bytes": telemetry.gpu_memory_used, "reserved_bytes": held.reserved,
                  "memory_bytes": total},
        why=f"The driver counts {telemetry.gpu_memory_used / 2**30:,.1f} GiB in use, this run has reserved "
        f"{held.reserved / 2**30:,.1f}. A program that computes there too makes steps slower and uneven.",
        advice="Look for it with `nvidia-smi`, and end it if it is yours.",
        reference="NVML, nvmlDeviceGetMemoryInfo, against torch.cuda.memory_reserved",
    )  # fmt: skip


def find_host(evidence: Evidence) -> Iterator[Diagnosis]:
    """The machine's own memory, while the run goes on."""
    telemetry = evidence.state.telemetry
    if (
        evidence.state.is_final
        or telemetry is None
        or telemetry.host_memory_used < HOST_FULL * telemetry.host_memory_total
    ):
        return
    free = telemetry.host_memory_total - telemetry.host_memory_used
    half = _halved(current_portions(evidence)) if device_type(evidence) == "cpu" else None
    yield Diagnosis(
        rule="host_memory", severity="critical", title=f"The machine has {free / 2**20:,.0f} MiB of memory left",
        evidence={"host_memory_used": telemetry.host_memory_used, "host_memory_total": telemetry.host_memory_total,
                  "rss": telemetry.rss, "rss_peak": telemetry.rss_peak},
        why=f"This process has {telemetry.rss / 2**30:,.1f} GiB of it, others the rest. When nothing is left the "
        "kernel ends the largest program without a word.",
        advice="Save now (c), and end what else is running there" + (f"; or set {half}." if half else "."),
        treatment=Treatment("command", "save now", action="checkpoint"),
        reference="Linux, out-of-memory killer",
    )  # fmt: skip


def _halved(present: Portions | None) -> Portions | None:
    if present is None or present.micro_batch_size % 2:
        return None
    return Portions(present.micro_batch_size // 2, 2 * present.grad_accum_steps, present.block_size)


def _treatment(evidence: Evidence, portions: Portions | None) -> Treatment | None:
    if portions is None:
        return None
    changes: dict[str, Scalar] = portions.changes(evidence)
    return Treatment("profile", f"micro-batch {portions.micro_batch_size}", changes)


RULES = (
    Rule("device_memory", "memory close to what the card has", find),
    Rule("shared_card", "another program that holds much of the card", find_stranger),
    Rule("host_memory", "the machine's memory used up", find_host),
)
