"""A plan: what a run takes of arithmetic, memory, time, energy and money on a device, and what would suit it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from cockpit.planning.devices import CARDS, Card
from cockpit.planning.scaling import LAW, budget_flops, chinchilla_tokens
from gpt.config import ModelConfig, Profile
from gpt.flops import flops_per_token, parameter_count
from gpt.memory import FLOAT32, MARGIN, Memory, estimate, largest_micro_batch, optimizer_bytes

DAY = 86_400.0
"""Seconds."""

GPT2_SIZES: dict[str, tuple[int, int, int]] = {
    "GPT-2 124M": (12, 12, 768),
    "GPT-2 350M": (24, 16, 1024),
    "GPT-2 774M": (36, 20, 1280),
    "GPT-2 1558M": (48, 25, 1600),
}
"""(n_layer, n_head, n_embd) of the released sizes (Radford et al. 2019, table 2, as released)."""


@dataclass(frozen=True)
class Machine:
    """What a run is planned for; None is unknown."""

    name: str
    dtype: str
    peak_flops: float | None
    """Dense FLOP/s in `dtype`."""
    memory_bytes: int | None
    watts: float | None = None
    device_type: str = "cuda"
    share: float = 0.4
    """MFU that is assumed, 0…1."""
    tokens_per_s: float | None = None
    """As measured; replaces what peak and share say."""


def machine_of(card: Card, profile: Profile, share: float) -> Machine:
    """A card as the profile would use it."""
    asked = profile.train.dtype
    dtype = card.dtype() if asked == "auto" else asked
    return Machine(card.name, dtype, card.peak(dtype), card.memory_bytes, card.watts, share=share)


@dataclass(frozen=True)
class Remedy:
    """A change after which a run fits into memory."""

    changes: dict[str, object]
    """Dotted key to new value."""
    micro_batch_size: int


@dataclass(frozen=True)
class WayOut:
    """What would train where a run does not fit: the same model in less memory, else elsewhere, or another one here."""

    remedy: Remedy | None = None
    larger_card: str | None = None
    """The smallest card that it fits on."""
    largest_size: str | None = None
    """The largest of GPT-2's sizes that fits here."""


@dataclass(frozen=True)
class Plan:
    """The figures; None is unknown. Sizes in bytes, times in seconds, price in the currency of price_per_hour."""

    profile: str
    machine: Machine
    parameters: int
    parameters_without_positions: int
    parts: dict[str, int]
    """Parameters by part."""
    flops_per_token: float
    tokens_per_step: int
    tokens_total: int
    steps: int
    flops_total: float
    chinchilla_tokens: float
    micro_batch_size: int | None
    """The largest that fits; where the memory is unknown, the profile's; None: none fits."""
    grad_accum_steps: int | None
    asked_micro_batch: int | None
    """The profile's; None for `auto`."""
    memory: Memory
    """Of a step with that micro-batch, or with one sequence where none fits."""
    fits: bool | None
    seconds: float | None
    energy_kwh: float | None
    cost: float | None
    checkpoint_bytes: int
    way_out: WayOut
    """Where it does not fit: what would."""

    @property
    def tokens_per_parameter(self) -> float:
        """Tokens of the whole run for each parameter; about 20 at Chinchilla's optimum."""
        return self.tokens_total / self.parameters

    @property
    def asked_fits(self) -> bool | None:
        """Whether the profile's own micro-batch does."""
        if self.asked_micro_batch is None or self.fits is None:
            return self.fits
        return self.micro_batch_size is not None and self.asked_micro_batch <= self.micro_batch_size


def make_plan(
    profile: Profile,
    vocab_size: int,
    machine: Machine,
    *,
    tokens: int | None = None,
    price_per_hour: float | None = None,
) -> Plan:
    """Plans a run.

    Args:
        vocab_size: rows of the token embedding.
        tokens: to train on; None: as many as the profile's max_steps see.
        price_per_hour: of the device, in any currency.
    """
    model = profile.model
    parameters, without = parameter_count(model, vocab_size)
    per_token = flops_per_token(model, vocab_size=vocab_size)
    steps = profile.train.max_steps if tokens is None else -(-tokens // profile.tokens_per_step)
    total = steps * profile.tokens_per_step
    asked = None if profile.train.micro_batch_size == "auto" else profile.micro_batch_size
    fitting = _largest(profile, vocab_size, machine)
    micro_batch = asked if machine.memory_bytes is None else fitting
    memory = _memory(profile, vocab_size, machine, micro_batch or 1)
    fits = None if machine.memory_bytes is None else fitting is not None
    speed = machine.tokens_per_s or (machine.peak_flops * machine.share / per_token if machine.peak_flops else None)
    seconds = total / speed if speed else None
    hours = seconds / 3600 if seconds is not None else None
    return Plan(
        profile=profile.name, machine=machine, parameters=parameters, parameters_without_positions=without,
        parts=parameters_by_part(model, vocab_size), flops_per_token=per_token,
        tokens_per_step=profile.tokens_per_step, tokens_total=total, steps=steps, flops_total=per_token * total,
        chinchilla_tokens=chinchilla_tokens(parameters), micro_batch_size=micro_batch,
        grad_accum_steps=profile.sequences_per_step // micro_batch if micro_batch else None, asked_micro_batch=asked,
        memory=memory, fits=fits, seconds=seconds,
        energy_kwh=hours * machine.watts / 1e3 if hours is not None and machine.watts else None,
        cost=hours * price_per_hour if hours is not None and price_per_hour else None,
        checkpoint_bytes=checkpoint_bytes(profile, vocab_size),
        way_out=_way_out(profile, vocab_size, machine) if fits is False else WayOut(),
    )  # fmt: skip


def parameters_by_part(model: ModelConfig, vocab_size: int) -> dict[str, int]:
    """Parameters of embeddings, head, attention, MLPs and norms; they add up to the model's."""
    width, layers, bias = model.n_embd, model.n_layer, int(model.bias)
    channels = (model.n_head + 2 * model.kv_heads) * model.head_width
    attention = (
        (width + bias) * channels + width * width + bias * width + (2 * model.head_width if model.qk_norm else 0)
    )
    norm = width if model.norm == "rmsnorm" else width * (1 + bias)
    parts = {
        "token embedding": vocab_size * width,
        "head": 0 if model.tie_weights else vocab_size * width,
        "positions": model.block_size * width if model.positions == "learned" else 0,
        "attention": layers * attention,
        "norms": (2 * layers + 1) * norm,
    }
    parts["MLPs"] = parameter_count(model, vocab_size)[0] - sum(parts.values())
    return {part: count for part, count in parts.items() if count}


def checkpoint_bytes(profile: Profile, vocab_size: int) -> int:
    """Weights and optimizer of one checkpoint."""
    return FLOAT32 * parameter_count(profile.model, vocab_size)[0] + optimizer_bytes(profile, vocab_size)


def _memory(profile: Profile, vocab_size: int, machine: Machine, micro_batch: int) -> Memory:
    return estimate(
        profile, vocab_size, dtype=machine.dtype, device_type=machine.device_type, micro_batch_size=micro_batch
    )


def _largest(profile: Profile, vocab_size: int, machine: Machine) -> int | None:
    if machine.memory_bytes is None:
        return None
    room = int(machine.memory_bytes * MARGIN)
    return largest_micro_batch(profile, vocab_size, room, dtype=machine.dtype, device_type=machine.device_type)


_CHANGES: tuple[dict[str, object], ...] = (
    {"loss_chunk": 1024},
    {"activation_checkpointing": "selective"},
    {"activation_checkpointing": "full", "loss_chunk": 1024},
)
"""Of [train], what to try where not one sequence fits, the cheapest first."""


def _way_out(profile: Profile, vocab_size: int, machine: Machine) -> WayOut:
    for changes in _CHANGES:
        lighter = msgspec.structs.replace(profile, train=msgspec.structs.replace(profile.train, **changes))
        if (size := _largest(lighter, vocab_size, machine)) is not None:
            return WayOut(Remedy({f"train.{key}": value for key, value in changes.items()}, size))
    by_memory = sorted(CARDS, key=lambda card: (card.memory_bytes or 0, card.watts or 0))
    larger = (card for card in by_memory if _largest(profile, vocab_size, machine_of(card, profile, machine.share)))
    card = next(larger, None)
    return WayOut(None, card.name if card else None, largest_size(profile, vocab_size, machine))


def largest_size(profile: Profile, vocab_size: int, machine: Machine) -> str | None:
    """The largest of GPT-2's sizes that trains in the machine's memory; None: not even the smallest."""
    fitting = None
    for name, (layers, heads, width) in GPT2_SIZES.items():
        shape = msgspec.structs.replace(profile.model, n_layer=layers, n_head=heads, n_embd=width, n_kv_head=None)
        if _largest(msgspec.structs.replace(profile, model=shape), vocab_size, machine) is not None:
            fitting = name
    return fitting


@dataclass(frozen=True)
class Best:
    """The size and number of tokens with the least loss for a budget, by Chinchilla's fit."""

    flops: float
    parameters: float
    tokens: float
    shape: tuple[int, int, int]
    """(n_layer, n_head, n_embd) of about that size."""
    loss_gain: float | None
    """By how much it would be better than this profile's size with the same budget, nats/token of Chinchilla's data."""
    source: str = LAW.source


def best_for(machine: Machine, days: float, vocab_size: int, parameters: int | None = None) -> Best | None:
    """The best size and tokens for a machine and some days; None where its speed is unknown.

    Args:
        parameters: a size to compare with at the same budget.
    """
    if not machine.peak_flops:
        return None
    flops = budget_flops(machine.peak_flops, machine.share, days * DAY)
    best, tokens = LAW.best(flops)
    gain = None
    if parameters:
        gain = LAW.loss(parameters, flops / 6 / parameters) - LAW.loss(best, tokens)
    return Best(flops, best, tokens, shape_of(best, vocab_size), gain)


def shape_of(parameters: float, vocab_size: int) -> tuple[int, int, int]:
    """(n_layer, n_head, n_embd) of about so many parameters: heads of 64 channels, and a width of 64 channels a layer
    up to 1536, above that more, as GPT-3's sizes have it (Brown et al. 2020, table 2.1: 64, 64, 85, 80, 128)."""
    return min(_shapes(), key=lambda shape: abs(_size(shape, vocab_size) - parameters))


def _shapes() -> Iterator[tuple[int, int, int]]:
    for heads in (*range(2, 17), *range(18, 33, 2), *range(36, 129, 4)):
        width = 64 * heads
        aspect = min(128.0, 64.0 * max(1.0, width / 1536))
        yield max(2, round(width / aspect)), heads, width


def _size(shape: tuple[int, int, int], vocab_size: int) -> int:
    layers, heads, width = shape
    return parameter_count(ModelConfig(n_layer=layers, n_head=heads, n_embd=width, bias=False), vocab_size)[0]
