"""What several rules ask of the device: name, precision and memory, how a step is best portioned on it, its pace."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from cockpit.doctor.diagnosis import Scalar
from cockpit.doctor.evidence import Evidence
from cockpit.pace import NANOGPT
from cockpit.planning.devices import CARDS
from gpt.config import replace
from gpt.errors import ProfileError
from gpt.flops import datasheet_peak
from gpt.memory import MARGIN, largest_micro_batch, portions

ENOUGH_STEPS = 30
"""Steps before anything is said of speed: the first ones load kernels, fill caches and wake clocks."""

FULL_TOKENS = 65_536
"""Tokens of a micro-step above which a larger one is no faster on any single card: its matrix products fill it."""
CPU_TOKENS = 4096
"""The same of a CPU (gpt/fit.py)."""


@dataclass(frozen=True)
class Portions:
    """A step in micro-steps."""

    micro_batch_size: int
    grad_accum_steps: int
    block_size: int

    @property
    def tokens_per_step(self) -> int:
        """Predicted tokens of an optimizer step."""
        return self.micro_batch_size * self.grad_accum_steps * self.block_size

    def changes(self, evidence: Evidence) -> dict[str, Scalar]:
        """What to set in the profile, by the key that it uses already."""
        uses_tokens = evidence.profile is not None and evidence.profile.train.tokens_per_step is not None
        return {
            "train.micro_batch_size": self.micro_batch_size,
            "train.tokens_per_step": self.tokens_per_step if uses_tokens else None,
            "train.grad_accum_steps": None if uses_tokens else self.grad_accum_steps,
        }

    def __str__(self) -> str:
        micro, accum, block = self.micro_batch_size, self.grad_accum_steps, self.block_size
        return (
            f"micro_batch_size = {micro}, grad_accum_steps = {accum} "
            f"({micro} × {accum} × {block:,} = {self.tokens_per_step:,} tokens)"
        )


def is_foreign(evidence: Evidence) -> bool:
    """True for nanoGPT's log: it has steps, but nothing that a run of ours says of itself; its times have evaluation
    counted in, its MFU is of an A100, its iterations begin at 0."""
    started = evidence.state.started
    return evidence.began if started is None else started.peak_source == NANOGPT


def device_type(evidence: Evidence) -> str | None:
    """`cuda`, `mps` or `cpu`: what the run is on, or would be; None where that is not known."""
    if evidence.state.started:
        kind = evidence.state.started.device_type
        return kind if kind in ("cuda", "mps", "cpu") else None
    asked = evidence.profile.train.device.partition(":")[0] if evidence.profile else "auto"
    if asked != "auto":
        return asked
    return "cuda" if evidence.host.card else None


def card_name(evidence: Evidence) -> str | None:
    """The graphics card that the run is on, or would be."""
    if device_type(evidence) != "cuda":
        return None
    return evidence.state.started.device if evidence.state.started else evidence.host.card


def ranks(evidence: Evidence) -> int:
    """Processes that train together: a device's name says it, `2 × NVIDIA H200 (ddp)`."""
    started = evidence.state.started
    found = re.match(r"(\d+) × ", started.device) if started else None
    return int(found[1]) if found else 1


def threads(evidence: Evidence) -> int | None:
    """CPU threads that training uses: a CPU's name says it, `AMD EPYC, 2 threads`."""
    started = evidence.state.started
    found = re.search(r", (\d+) threads\b", started.device) if started else None
    if found:
        return int(found[1])
    return evidence.profile.train.threads if evidence.profile else None


def dtype(evidence: Evidence) -> str | None:
    """What products are computed in."""
    if evidence.state.started:
        kind = evidence.state.started.dtype
        return None if kind == "unknown" else kind
    asked = evidence.profile.train.dtype if evidence.profile else "auto"
    if asked != "auto":
        return asked
    name = card_name(evidence)
    if name is None:
        return None
    return next((kind for kind in ("bfloat16", "float16") if datasheet_peak(name, kind)), None)


def memory_bytes(evidence: Evidence) -> int | None:
    """What the device has: as the driver says, else as the card is sold; of a CPU the machine's."""
    state, kind = evidence.state, device_type(evidence)
    if kind == "cpu":
        return evidence.host.memory_bytes
    if kind != "cuda":
        return None
    if state.memory and state.memory.total:
        return state.memory.total
    if state.telemetry and state.telemetry.gpu_memory_total:
        return state.telemetry.gpu_memory_total
    name = card_name(evidence) or ""
    known = [card for card in CARDS if card.name in name]
    return max(known, key=lambda card: len(card.name)).memory_bytes if known else None


def current_portions(evidence: Evidence) -> Portions | None:
    """How a step is portioned now; None while that is open."""
    started, profile = evidence.state.started, evidence.profile
    if started:
        return Portions(started.micro_batch_size, started.grad_accum_steps, started.block_size)
    if profile is None or profile.train.micro_batch_size == "auto":
        return None
    return Portions(profile.micro_batch_size, profile.grad_accum_steps, profile.model.block_size)


def portions_for(evidence: Evidence, tokens: float) -> Portions | None:
    """About so many tokens a step (a power of two of sequences; exactly, where it is as many as now), in the
    micro-steps that suit: the largest that fit into a card's memory, as far as larger is faster; the present ones
    where that is not known."""
    profile, rows, present = evidence.profile, evidence.rows, current_portions(evidence)
    if profile is None or rows is None:
        return None
    block = profile.model.block_size
    sequences = 2 ** max(0, round(float(np.log2(tokens / block))))
    if present and tokens == present.tokens_per_step:
        sequences = present.micro_batch_size * present.grad_accum_steps
    memory, kind = memory_bytes(evidence), dtype(evidence)
    if device_type(evidence) == "cuda" and memory and kind:
        try:
            wanted = replace(profile, {
                "train.micro_batch_size": 1, "train.grad_accum_steps": None, "train.tokens_per_step": sequences * block,
            })  # fmt: skip
        except ProfileError:
            return None
        most = largest_micro_batch(wanted, rows, int(MARGIN * memory), dtype=kind)
        if most is None:
            return None
        micro = max(size for size in portions(sequences) if size <= min(most, max(1, FULL_TOKENS // block)))
        return Portions(micro, sequences // micro, block)
    if present is None:
        return None
    if device_type(evidence) == "cpu":
        most = max(present.micro_batch_size, CPU_TOKENS // block)
        micro = max(size for size in portions(sequences) if size <= most)
        return Portions(micro, sequences // micro, block)
    micro = min(present.micro_batch_size, sequences)
    return Portions(micro, max(1, round(tokens / block / micro)), block)


def pace(evidence: Evidence) -> float | None:
    """Seconds of a step, the median of the newest; None before it is settled."""
    median = evidence.state.median_ms()
    return median / 1e3 if median is not None and len(evidence.state.ms) >= ENOUGH_STEPS else None


def newest_mfu(evidence: Evidence) -> float | None:
    """Model FLOPs utilization of the newest steps, 0…1; None before it is settled, or where the peak is unknown."""
    newest = evidence.state.mfu.y[-ENOUGH_STEPS:]
    finite = newest[np.isfinite(newest)]
    return float(np.median(finite)) if len(finite) >= ENOUGH_STEPS / 2 and pace(evidence) is not None else None
