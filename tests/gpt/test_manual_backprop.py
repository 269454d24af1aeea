"""The backward pass that is written out: autograd's gradient, over any shape it is meant for."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt import manual_backprop, products
from gpt.config import ModelConfig, Profile
from gpt.data import open_dataset
from gpt.device import choose
from gpt.ledger import TimeLedger
from gpt.manual_backprop import ManualBackprop, writes_out
from gpt.model import GPT
from gpt.snapshot import build

VOCABULARY = 11

pytestmark = pytest.mark.usefixtures("library")


def make(**changes: object) -> GPT:
    """A model with weights far enough from zero that every part of the gradient shows."""
    torch.manual_seed(3)
    shape = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 8, "bias": True} | changes
    model = GPT(ModelConfig(**shape), VOCABULARY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


def batch(sequences: int, tokens: int = 8, seed: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    windows = torch.randint(0, VOCABULARY, (sequences, tokens + 1), generator=torch.Generator().manual_seed(seed))
    return windows[:, :-1], windows[:, 1:]


def of_autograd(model: GPT, *batches: tuple[torch.Tensor, torch.Tensor], share: float) -> tuple[float, dict]:
    """(the sum of the shares of the losses, the gradients by name), with torch's own products."""
    parameters = dict(model.named_parameters())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "is_onednn_faster", lambda: False)
        losses = [model(*each)[1] * share for each in batches]
        gradients = torch.autograd.grad(torch.stack(losses).sum(), list(parameters.values()))
    return float(torch.stack(losses).sum().detach()), dict(zip(parameters, gradients, strict=True))


def assert_same(model: GPT, expected: dict[str, torch.Tensor]) -> None:
    for name, parameter in model.named_parameters():
        error = (parameter.grad - expected[name]).norm() / expected[name].norm()
        assert error < 5e-6, f"{name}: {error}"


def assert_as_exact(model: GPT, expected: dict[str, torch.Tensor], exact: dict[str, torch.Tensor]) -> None:
    """Hardly further from the gradient in double precision than autograd's in single: where its terms cancel each
    other, both are off by more of it than usual."""
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        error, autograds = ((gradient - exact[name]).norm() for gradient in (parameter.grad, expected[name]))
        assert error <= 3 * autograds + 2e-6 * exact[name].norm(), f"{name}: {error}, autograd's {autograds}"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    layers=st.integers(1, 3), heads=st.sampled_from([1, 2, 4]), width=st.sampled_from([8, 24]),
    sequences=st.integers(1, 6), tokens=st.integers(1, 8), bias=st.booleans(), tied=st.booleans(),
    piece=st.sampled_from([1, 300, 2**16]),
)  # fmt: skip
def test_it_is_autograds_gradient(
    layers: int, heads: int, width: int, sequences: int, tokens: int, bias: bool, tied: bool, piece: int
) -> None:
    model = make(n_layer=layers, n_head=heads, n_embd=width, bias=bias, tie_weights=tied)
    loss, gradients = of_autograd(model, batch(sequences, tokens), share=0.25)
    _, exact = of_autograd(copy.deepcopy(model).double(), batch(sequences, tokens), share=0.25)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manual_backprop, "PIECE", piece)
        ours = ManualBackprop(model).add_gradient(*batch(sequences, tokens), 0.25)
    assert float(ours) == pytest.approx(loss, rel=1e-5)
    assert not ours.requires_grad
    assert_as_exact(model, gradients, exact)


def test_micro_steps_add_up_and_the_next_step_begins_at_zero() -> None:
    model = make()
    backprop = ManualBackprop(model)
    first, second = batch(4), batch(4, seed=6)
    backprop.add_gradient(*first, 1.0)  # a step whose gradient is dropped
    for forget in (lambda: model.zero_grad(set_to_none=True), lambda: model.zero_grad(set_to_none=False)):
        forget()
        for each in (first, second):
            backprop.add_gradient(*each, 0.5)
        assert_same(model, of_autograd(model, first, second, share=0.5)[1])


def test_it_adds_to_a_gradient_that_somebody_else_has_begun() -> None:
    model = make()
    backprop = ManualBackprop(model)
    (model(*batch(4))[1] * 0.5).backward()
    backprop.add_gradient(*batch(4, seed=6), 0.5)
    assert_same(model, of_autograd(model, batch(4), batch(4, seed=6), share=0.5)[1])


def test_weights_are_read_where_they_are_written_to() -> None:
    model = make()
    backprop = ManualBackprop(model)
    backprop.add_gradient(*batch(4), 1.0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    model.zero_grad(set_to_none=True)
    backprop.add_gradient(*batch(4), 1.0)
    assert_same(model, of_autograd(model, batch(4), share=1.0)[1])


def test_another_batch_shape_is_made_room_for() -> None:
    model = make()
    backprop = ManualBackprop(model)
    for sequences, tokens in ((4, 8), (2, 8), (2, 5)):
        model.zero_grad(set_to_none=True)
        backprop.add_gradient(*batch(sequences, tokens), 1.0)
        assert_same(model, of_autograd(model, batch(sequences, tokens), share=1.0)[1])


def test_a_poisoned_gradient_does_not_outlive_its_step() -> None:
    """Memory is taken once: what is not a number in it must not be added to."""
    model = make()
    backprop = ManualBackprop(model)
    weight = model.transformer.h[0].mlp.c_fc.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[0, 0] = float("nan")
    assert not backprop.add_gradient(*batch(4), 1.0).isfinite()
    with torch.no_grad():
        weight.copy_(kept)
    model.zero_grad(set_to_none=True)
    assert backprop.add_gradient(*batch(4), 1.0).isfinite()
    assert_same(model, of_autograd(model, batch(4), share=1.0)[1])


def test_the_passes_are_told_in_turns_and_the_last_is_left_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manual_backprop, "PIECE", 2 * 8 * 16)  # two sequences
    parts: list[str] = []
    ManualBackprop(make()).add_gradient(*batch(6), 1.0, parts.append)
    assert parts == ["forward", "backward", "forward", "backward", "forward"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True), ({"bias": False}, True), ({"tie_weights": False}, True), ({"zero_init": True}, True),
        ({"n_kv_head": 2}, True),  # as many as there are
        ({"n_kv_head": 1}, False), ({"dropout": 0.1}, False), ({"norm": "rmsnorm"}, False),
        ({"positions": "rotary"}, False), ({"activation": "gelu_erf"}, False), ({"activation": "swiglu"}, False),
        ({"qk_norm": True}, False), ({"logit_softcap": 15.0}, False),
        ({"block_size": 256}, True), ({"block_size": 512}, False),
    ],
)  # fmt: skip
def test_it_is_for_gpt_2_alone(changes: dict[str, object], expected: bool) -> None:
    shape = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 8, "dropout": 0.0} | changes
    assert writes_out(ModelConfig(**shape)) is expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, True), ({"model__n_embd": 64}, True), ({"model__norm": "rmsnorm"}, False),
        ({"train__dtype": "bfloat16"}, False), ({"train__compile": True}, False),
        ({"train__activation_checkpointing": "selective"}, False), ({"train__loss_chunk": 16}, False),
    ],
)  # fmt: skip
def test_lanes_take_it_where_nothing_else_was_asked_for(
    tiny: Callable[..., Profile], monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], expected: bool
) -> None:
    if "train__dtype" in settings:
        monkeypatch.setattr("gpt.device.has_amx", lambda: True)  # or bfloat16 is refused on a CPU
    profile = tiny(**{"model__dropout": 0.0, "train__threads": 2} | settings)
    device, data = choose(profile), open_dataset(profile.data, profile.model)
    lanes = build(profile, device, data, TimeLedger("other")).stepper.lanes
    assert lanes is not None and (lanes.backward == "written out") is expected
