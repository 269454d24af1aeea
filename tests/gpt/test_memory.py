"""The estimate of a step's memory, against what a step really holds on a CPU."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import pytest
import torch
from meter import PeakBytes, SavedBytes

from gpt.config import Profile, decode
from gpt.memory import estimate, largest_micro_batch, portions
from gpt.model import GPT
from gpt.optim import make_optimizer

VOCAB = 300


def profile(**settings: Any) -> Profile:
    """A small model's; dotted keys as keyword arguments with `__` for the dot."""
    tree: dict[str, Any] = {
        "model": {"n_layer": 3, "n_head": 2, "n_embd": 64, "block_size": 48, "dropout": 0.1},
        "data": {"name": "python-stdlib"}, "train": {"micro_batch_size": 6}, "optim": {},
    }  # fmt: skip
    for key, value in settings.items():
        section, inner = key.split("__")
        tree[section][inner] = value
    return decode(tree)


def measured(profile: Profile, vocab_size: int, dtype: str) -> tuple[int, int]:
    """Bytes that one micro-step's forward pass saves, and the peak of a whole step that is not the first."""
    torch.manual_seed(0)
    model = GPT(profile.model, vocab_size)
    model.save_memory(profile.train.activation_checkpointing, profile.train.loss_chunk)
    optimizer = make_optimizer(model, profile.optim, "cpu")
    shape = (profile.micro_batch_size, profile.model.block_size)

    def forward() -> torch.Tensor:
        ids, targets = torch.randint(vocab_size, shape), torch.randint(vocab_size, shape)
        lower = torch.autocast("cpu", torch.bfloat16) if dtype == "bfloat16" else contextlib.nullcontext()
        with lower:
            _, loss = model(ids, targets)
        assert loss is not None
        return loss

    def step() -> None:
        for _ in range(profile.grad_accum_steps):
            forward().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    moments = [value for entries in optimizer.state.values() for value in entries.values()]
    with PeakBytes([*model.parameters(), *moments]) as alive:
        step()
    with SavedBytes(model.parameters()) as saved:
        forward()
    return saved.total, alive.peak


SWITCHES = [
    {"model__dropout": dropout, "train__activation_checkpointing": mode, "train__loss_chunk": chunk}
    for dropout, mode, chunk in itertools.product((0.0, 0.1), ("off", "selective", "full"), (0, 100))
]
SHAPES = [
    {"model__n_layer": 1, "model__bias": False, "train__grad_accum_steps": 3},
    {"model__n_layer": 6, "model__n_head": 8, "model__n_embd": 32, "train__micro_batch_size": 3},
    {"model__n_embd": 128, "model__block_size": 16, "train__micro_batch_size": 2, "model__dropout": 0.0},
    {"optim__name": "muon", "model__n_embd": 128, "train__micro_batch_size": 2},
    {"model__block_size": 160, "train__micro_batch_size": 1, "train__activation_checkpointing": "full"},
]

DEPARTURES = [
    {"model__dropout": 0.0, **{f"model__{key}": value for key, value in parts.items()}}
    for parts in (
        {"norm": "rmsnorm"}, {"activation": "swiglu"}, {"activation": "relu2"}, {"qk_norm": True},
        {"positions": "rotary"}, {"n_kv_head": 1}, {"tie_weights": False}, {"logit_softcap": 15.0},
        {"norm": "rmsnorm", "activation": "relu2", "qk_norm": True, "positions": "rotary", "tie_weights": False},
    )
]  # fmt: skip
DEPARTURES.append(DEPARTURES[-1] | {"model__dropout": 0.1, "train__activation_checkpointing": "selective"})


@pytest.mark.parametrize(
    "settings", SWITCHES + SHAPES + DEPARTURES, ids=lambda settings: "-".join(map(str, settings.values()))
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_estimate_is_what_a_step_really_holds(settings: dict[str, Any], dtype: str) -> None:
    asked = profile(**settings)
    saved, peak = measured(asked, VOCAB, dtype)
    expected = estimate(asked, VOCAB, dtype=dtype, device_type="cpu")
    assert sum(expected.saved.values()) == pytest.approx(saved, rel=0.001)
    assert expected.peak == pytest.approx(peak, rel=0.05)


def test_parts_add_up_to_the_peak() -> None:
    memory = estimate(profile(), VOCAB)
    assert sum(memory.parts.values()) == memory.peak == max(sum(parts.values()) for parts in memory.moments.values())
    assert memory.parts["weights"] * 2 == memory.parts["optimizer"]


def test_gpt2_small_fits_where_its_profile_says() -> None:
    """fineweb_124m's header promises 12 GB at a micro-batch of 8 in bfloat16; without the chunks the logits rule."""
    small = profile(
        model__n_layer=12, model__n_head=12, model__n_embd=768, model__block_size=1024, model__dropout=0.0,
        train__micro_batch_size=8, train__grad_accum_steps=64,
    )  # fmt: skip
    memory = estimate(small, 50304, dtype="bfloat16")
    assert memory.peak < 12e9
    assert memory.moment == "loss" and memory.parts["logits"] == 12 * 8 * 1024 * 50304


def test_the_largest_micro_batch_fits_and_the_next_does_not() -> None:
    asked = profile(train__micro_batch_size=1, train__tokens_per_step=60 * 48)
    for capacity in (4_000_000, 8_000_000, 20_000_000, 100_000_000):
        size = largest_micro_batch(asked, VOCAB, capacity, dtype="bfloat16")
        assert size is not None and 60 % size == 0
        larger = [other for other in portions(60) if other > size][:1]
        assert estimate(asked, VOCAB, dtype="bfloat16", micro_batch_size=size).peak <= capacity
        assert all(estimate(asked, VOCAB, dtype="bfloat16", micro_batch_size=other).peak > capacity for other in larger)
    assert largest_micro_batch(asked, VOCAB, 1_000_000) is None
