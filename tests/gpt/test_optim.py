"""AdamW's groups, clipping, and changes of its settings."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gpt.config import ModelConfig, OptimConfig
from gpt.model import GPT
from gpt.optim import clip_grad_norm, make_optimizer, set_learning_rate, set_weight_decay

TINY = ModelConfig(n_layer=2, n_head=2, n_embd=8, block_size=4)


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(TINY, 11)


def group(optimizer: torch.optim.Optimizer, name: str) -> dict:
    return next(group for group in optimizer.param_groups if group["name"] == name)


def test_only_matrices_decay_and_every_parameter_is_in_one_group(model: GPT):
    optimizer = make_optimizer(model, OptimConfig(weight_decay=0.3), "cpu")
    decay, rest = group(optimizer, "decay"), group(optimizer, "no_decay")
    assert (decay["weight_decay"], rest["weight_decay"]) == (0.3, 0.0)
    assert all(parameter.dim() == 2 for parameter in decay["params"])
    assert all(parameter.dim() == 1 for parameter in rest["params"])
    everything = [id(parameter) for parameter in decay["params"] + rest["params"]]
    assert sorted(everything) == sorted(id(parameter) for parameter in model.parameters())


def test_the_tied_matrix_is_stepped_once(model: GPT):
    matrices = group(make_optimizer(model, OptimConfig(), "cpu"), "decay")["params"]
    assert sum(matrix is model.transformer.wte.weight for matrix in matrices) == 1


def test_groups_keep_the_models_order(model: GPT):
    optimizer = make_optimizer(model, OptimConfig(), "cpu")
    order = {id(parameter): number for number, parameter in enumerate(model.parameters())}
    for each in optimizer.param_groups:
        numbers = [order[id(parameter)] for parameter in each["params"]]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize(("device", "fused"), [("cpu", True), ("cuda", True), ("mps", True), ("xla", False)])
def test_the_fused_kernel_is_used_where_there_is_one(model: GPT, device: str, fused: bool):
    optimizer = make_optimizer(model, OptimConfig(), device)
    assert (optimizer.defaults["fused"], optimizer.defaults["foreach"]) == (fused, not fused)


def test_one_step_is_what_the_paper_says(model: GPT):
    """Loshchilov & Hutter 2019, algorithm 2, at t = 1: both moments are the gradient's own after bias correction."""
    optim = OptimConfig(learning_rate=0.1, weight_decay=0.5, beta1=0.8, beta2=0.9)
    optimizer = make_optimizer(model, optim, "cpu")
    matrix, vector = model.transformer.wte.weight, model.transformer.ln_f.bias
    before = [matrix.detach().clone(), vector.detach().clone()]
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    optimizer.step()
    move = 0.1 * 2.0 / (2.0 + 1e-8)
    torch.testing.assert_close(matrix.detach(), before[0] * (1 - 0.1 * 0.5) - move)
    torch.testing.assert_close(vector.detach(), before[1] - move)


def test_a_new_rate_reaches_every_group_and_a_new_decay_only_the_matrices(model: GPT):
    optimizer = make_optimizer(model, OptimConfig(), "cpu")
    set_learning_rate(optimizer, 0.25)
    set_weight_decay(optimizer, 0.75)
    assert [each["lr"] for each in optimizer.param_groups] == [0.25, 0.25]
    assert group(optimizer, "decay")["weight_decay"] == 0.75
    assert group(optimizer, "no_decay")["weight_decay"] == 0.0


# -- clipping ----------------------------------------------------------------------------------------------------------


def with_gradients(*gradients: list[float], device: str = "cpu") -> list[nn.Parameter]:
    parameters = [nn.Parameter(torch.zeros(len(values), device=device)) for values in gradients]
    for parameter, values in zip(parameters, gradients, strict=True):
        parameter.grad = torch.tensor(values, device=device)
    return parameters


def test_a_long_gradient_is_scaled_to_the_limit_and_its_old_norm_returned():
    parameters = with_gradients([3.0, 0.0], [0.0, 4.0])
    assert clip_grad_norm(parameters, 1.0).item() == pytest.approx(5.0)
    assert clip_grad_norm(parameters, 0).item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("limit", [0, 5.1])
def test_a_gradient_within_the_limit_or_without_one_keeps_every_bit(limit: float):
    parameters = with_gradients([3.0, 0.1], [0.3, 4.0])
    clip_grad_norm(parameters, limit)
    assert parameters[0].grad is not None and parameters[1].grad is not None
    assert parameters[0].grad.tolist() == torch.tensor([3.0, 0.1]).tolist()
    assert parameters[1].grad.tolist() == torch.tensor([0.3, 4.0]).tolist()


def test_clipping_agrees_with_torch(model: GPT):
    torch.manual_seed(0)
    twin = GPT(TINY, 11)
    for each in (model, twin):
        torch.manual_seed(7)
        ids = torch.randint(11, (2, 4))
        each(ids, ids)[1].backward()
    ours = clip_grad_norm(model.parameters(), 0.01)
    theirs = nn.utils.clip_grad_norm_(twin.parameters(), 0.01)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_parameters_without_a_gradient_are_passed_over():
    parameters = [nn.Parameter(torch.zeros(2)), *with_gradients([6.0, 8.0])]
    assert clip_grad_norm(parameters, 1.0).item() == pytest.approx(10.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_is_told(bad: float):
    assert not torch.isfinite(clip_grad_norm(with_gradients([1.0, bad]), 1.0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("limit", "after"), [(1.0, 1.0), (10.0, 5.0), (0, 5.0)])
def test_on_a_gpu_clipping_is_the_same_without_looking(limit: float, after: float):
    parameters = with_gradients([3.0, 0.0], [0.0, 4.0], device="cuda")
    assert clip_grad_norm(parameters, limit).item() == pytest.approx(5.0)
    assert clip_grad_norm(parameters, 0).item() == pytest.approx(after, abs=1e-5)
