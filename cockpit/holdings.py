"""What holds a run's memory by estimate (gpt.memory), and which settings would free how much of it. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cockpit.state import RunState
from gpt.config import Profile, as_toml, replace
from gpt.errors import ProfileError
from gpt.memory import ACTIVATION_BYTES, MARGIN, Memory, estimate, largest_micro_batch

CHUNK_TOKENS = 1024
"""What is proposed for train.loss_chunk."""
WORTH = 0.01
"""A proposal that frees less than this share of the peak is not made."""


@dataclass(frozen=True)
class Saving:
    """A setting that would free memory."""

    changes: dict[str, Any]
    freed: int
    """Bytes less at the peak, by estimate."""
    peak: int
    """Bytes at the peak then."""
    price: str
    """What it costs."""

    @property
    def text(self) -> str:
        """As it is typed."""
        return " ".join(f"--set {key}={as_toml(value)}" for key, value in self.changes.items() if value is not None)


@dataclass(frozen=True)
class Holdings:
    """The estimate of a run's step, and what would make it smaller."""

    memory: Memory
    savings: list[Saving]
    """The one that frees most first."""
    largest: int | None
    """The largest micro-batch by estimate, where the device's memory is known."""


def holdings(profile: Profile, state: RunState) -> Holdings | None:
    """The estimate for a run under way; None before it has begun, or in an unknown precision.

    Args:
        profile: with the settings in force.
    """
    started = state.started
    if started is None or started.dtype not in ACTIVATION_BYTES:
        return None
    profile = _settled(profile, started.micro_batch_size, started.grad_accum_steps)
    vocab_size, dtype, device_type = started.vocab_size, started.dtype, started.device_type
    now = estimate(profile, vocab_size, dtype=dtype, device_type=device_type)
    savings = []
    for changes, price in _proposals(profile, device_type, dtype):
        try:
            then = replace(profile, changes)
            lowered = changes.get("train.dtype", dtype)
            peak = estimate(then, vocab_size, dtype=lowered, device_type=device_type).peak
        except ProfileError:
            continue
        if now.peak - peak >= WORTH * now.peak:
            savings.append(Saving(changes, now.peak - peak, peak, price))
    total = state.memory.total if state.memory else None
    largest = None
    if total:
        room = int(MARGIN * total)
        largest = largest_micro_batch(profile, vocab_size, room, dtype=dtype, device_type=device_type)
    return Holdings(now, sorted(savings, key=lambda saving: -saving.freed), largest)


def _settled(profile: Profile, micro_batch_size: int, accum: int) -> Profile:
    """The profile with the portions that the run really takes its steps in."""
    changes: dict[str, Any] = {"train.micro_batch_size": micro_batch_size}
    if profile.train.tokens_per_step is None:
        changes["train.grad_accum_steps"] = accum
    return replace(profile, changes)


def _proposals(profile: Profile, device_type: str, dtype: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Changes that leave the tokens in a step as they are, and their price."""
    train, size = profile.train, profile.micro_batch_size
    if size > 1 and profile.sequences_per_step % (half := -(-size // 2)) == 0:
        yield _portioned(profile, half), "more, shorter micro-steps"
    if train.activation_checkpointing == "off":
        yield {"train.activation_checkpointing": "selective"}, "+11 % FLOPs"
    if train.activation_checkpointing != "full":
        yield {"train.activation_checkpointing": "full"}, "+25…33 % FLOPs"
    chunk = min(CHUNK_TOKENS, profile.tokens_per_micro_step // 4)
    if chunk and not (train.loss_chunk and train.loss_chunk <= chunk):
        yield {"train.loss_chunk": chunk}, "the head's product once more"
    if dtype == "float32" and device_type == "cuda":
        yield {"train.dtype": "bfloat16"}, "products in lower precision"


def _portioned(profile: Profile, size: int) -> dict[str, Any]:
    changes: dict[str, Any] = {"train.micro_batch_size": size}
    if profile.train.tokens_per_step is None:
        changes["train.grad_accum_steps"] = profile.sequences_per_step // size
    return changes
