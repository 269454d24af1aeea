"""Muon: its step, whom it steps, and that a run with it resumes exactly and learns."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from piloted_runs import Run, Tiny, at_step, files, of

from gpt import commands
from gpt import events as ev
from gpt.config import ModelConfig, OptimConfig
from gpt.model import GPT
from gpt.optim import make_optimizer, set_learning_rate, set_weight_decay

MUON = OptimConfig(name="muon", learning_rate=0.1, weight_decay=0.5)


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(ModelConfig(n_layer=2, n_head=2, n_embd=16, block_size=4), 11)


def names_in(model: GPT, optimizer: torch.optim.Optimizer, group: str) -> set[str]:
    (parameters,) = [each["params"] for each in optimizer.param_groups if each["name"] == group]
    inside = {id(parameter) for parameter in parameters}
    return {name for name, parameter in model.named_parameters() if id(parameter) in inside}


def orthogonalized(gradient: torch.Tensor) -> torch.Tensor:
    """Five Newton-Schulz iterations with Jordan's coefficients, written out in float64."""
    x = gradient.double() / gradient.double().norm()
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x - 4.7750 * square @ x + 2.0315 * square @ square @ x
    return x


def test_matrices_inside_the_blocks_go_to_muon_and_all_else_to_adamw(model: GPT) -> None:
    optimizer = make_optimizer(model, MUON, "cpu")
    names = {name for name, _ in model.named_parameters()}
    hidden = {
        name for name in names if name.startswith("transformer.h.") and name.endswith(".weight") and "ln" not in name
    }
    assert len(hidden) == 2 * 4
    assert names_in(model, optimizer, "hidden") == hidden
    assert names_in(model, optimizer, "decay") == {"transformer.wte.weight", "transformer.wpe.weight"}
    assert names_in(model, optimizer, "no_decay") == names - hidden - {
        "transformer.wte.weight",
        "transformer.wpe.weight",
    }


@pytest.mark.parametrize("matrix", ["attn.c_attn", "mlp.c_proj"])  # taller than wide, and wider than tall
def test_two_steps_are_what_the_publications_say(model: GPT, matrix: str) -> None:
    """Momentum and iterations by Jordan 2024, the step's length by Liu et al. 2025, section 2.2."""
    optimizer = make_optimizer(model, MUON, "cpu")
    weight = model.get_parameter(f"transformer.h.1.{matrix}.weight")
    expected, mean = weight.detach().double().clone(), torch.zeros_like(weight).double()
    for seed in (1, 2):
        torch.manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        assert weight.grad is not None
        gradient = weight.grad.double()
        mean = 0.95 * mean + 0.05 * gradient
        direction = orthogonalized(0.05 * gradient + 0.95 * mean)  # Nesterov
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * 0.2 * math.sqrt(max(weight.shape)) * direction
        optimizer.step()
    off = (weight.detach().double() - expected).norm() / expected.norm()
    assert off < 0.02  # bfloat16 inside the iterations gives 0.011


def test_a_step_of_muon_is_as_long_as_one_of_adamw(model: GPT) -> None:
    """0.2 to 0.4 of the rate, root mean square, is what AdamW's steps measure (Liu et al. 2025)."""
    optimizer = make_optimizer(model, OptimConfig(name="muon", learning_rate=1.0, weight_decay=0.0), "cpu")
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = 1e-4 * torch.randn_like(parameter)
    optimizer.step()
    for name in names_in(model, optimizer, "hidden"):
        step = model.get_parameter(name).detach() - before[name]
        assert 0.12 < step.square().mean().sqrt() < 0.3


def test_what_muon_leaves_is_stepped_exactly_as_by_adamw(model: GPT) -> None:
    torch.manual_seed(0)
    twin = GPT(model.config, 11)
    for each, name in ((model, "muon"), (twin, "adamw")):
        optimizer = make_optimizer(each, OptimConfig(name=name), "cpu")  # type: ignore[arg-type]
        for _ in range(2):
            for parameter in each.parameters():
                parameter.grad = torch.full_like(parameter, 0.5)
            optimizer.step()
    for name, parameter in model.named_parameters():
        hidden = name.startswith("transformer.h.") and parameter.dim() == 2
        assert torch.equal(parameter, twin.get_parameter(name)) != hidden, name


def test_a_new_rate_reaches_every_group_and_a_new_decay_all_matrices(model: GPT) -> None:
    optimizer = make_optimizer(model, MUON, "cpu")
    set_learning_rate(optimizer, 0.25)
    set_weight_decay(optimizer, 0.75)
    settings = {group["name"]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups}
    assert settings == {"hidden": (0.25, 0.75), "decay": (0.25, 0.75), "no_decay": (0.25, 0.0)}
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # of a gradient of zero only the decay is left
    for name, parameter in model.named_parameters():
        factor = 1 - 0.25 * 0.75 if parameter.dim() == 2 else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * factor)


def test_rates_and_decays_still_reach_both_after_a_state_was_loaded(model: GPT) -> None:
    """Loading gives an optimizer new groups; the two inside must be stepped by those."""
    optimizer = make_optimizer(model, MUON, "cpu")
    optimizer.load_state_dict(json.loads(json.dumps(optimizer.state_dict())))  # as state.json keeps the groups
    set_learning_rate(optimizer, 0.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
    assert len(optimizer.state_dict()["state"]) == len(before)


@pytest.mark.parametrize(("gradient", "moves"), [(1.0, True), (math.inf, False)])
def test_a_scaled_step_is_taken_by_both_or_by_neither(model: GPT, gradient: float, moves: bool) -> None:
    optimizer = make_optimizer(model, MUON, "cpu")
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(torch.zeros(1))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, 8.0 * (gradient if number == 0 else 1.0))
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, old) != moves


@pytest.mark.parametrize("stop_at", [1, 6])
def test_a_stopped_and_resumed_run_with_muon_ends_with_the_same_bits(
    tiny: Tiny, run: Run, tmp_path: Path, stop_at: int
) -> None:
    profile = tiny(optim__name="muon")
    run(profile, "whole")
    run(profile, "parted", pilot=at_step(stop_at, commands.Stop(save=True)))
    torch.manual_seed(99)
    (resumed,) = of(run(profile, "parted", resume="latest"), ev.Resumed)
    assert (resumed.step, resumed.exact) == (stop_at, True)
    assert files(tmp_path / "whole", 12) == files(tmp_path / "parted", 12)


def test_a_run_learns_with_muon_at_adamws_rate(tiny: Tiny, run: Run) -> None:
    settings = {"train__max_steps": 60, "train__eval_interval": 60, "checkpoint__interval": 0, "model__dropout": 0.0}
    ends = {
        name: [event.val_loss for event in of(run(tiny(optim__name=name, **settings), name), ev.EvalDone)]
        for name in ("adamw", "muon")
    }
    assert ends["muon"][0] == ends["adamw"][0] == pytest.approx(math.log(256), abs=0.3)
    assert ends["muon"][-1] < ends["muon"][0] - 1.5
    assert ends["muon"][-1] < ends["adamw"][-1] + 0.3


def test_going_on_with_another_optimizer_is_refused_in_words(tiny: Tiny, run: Run) -> None:
    run(tiny())
    (failed,) = [e for e in run(tiny(optim__name="muon"), resume="latest") if isinstance(e, ev.Failed)]
    assert failed.user_error and "optim.name" in failed.error


@pytest.mark.parametrize("found", [0.0, 1.0])
def test_a_verdict_against_the_gradients_reaches_both_optimizers(model: GPT, found: float) -> None:
    """`found_inf` is what a GradScaler, and the guard on a GPU, set on the optimizer."""
    optimizer = make_optimizer(model, MUON, "cpu")
    model(*torch.randint(0, 11, (2, 3, 4)))[1].backward()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer.found_inf = torch.tensor(found)  # type: ignore[attr-defined]
    optimizer.step()
    stayed = [torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert all(stayed) if found else not any(stayed)
