"""Both passes in one compiled graph: autograd's gradient, compiled once for all lanes."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed
from torch._inductor.exc import InvalidCxxCompiler

from gpt import bench
from gpt.config import ModelConfig, Profile
from gpt.data import open_dataset
from gpt.device import choose
from gpt.errors import DeviceError
from gpt.joint_graph import JointGraph
from gpt.lanes import Lanes, replica
from gpt.ledger import TimeLedger
from gpt.model import GPT
from gpt.snapshot import build

CONFIG = ModelConfig(n_layer=2, n_head=2, n_embd=16, block_size=8, bias=True)
VOCABULARY = 11


class Traced:
    """Stands in for torch.compile: traces as it does, and runs what was traced as it is."""

    def __init__(self) -> None:
        torch.compiler.reset()
        self.graphs: list[torch.fx.GraphModule] = []
        self.options: dict[str, Any] = {}

    def __call__(self, function: Callable[..., Any], *, fullgraph: bool, options: dict[str, Any]) -> Any:
        self.options = options
        return torch.compile(function, fullgraph=fullgraph, backend=self._keep)

    def _keep(self, graph: torch.fx.GraphModule, inputs: Any) -> Any:
        self.graphs.append(graph)
        return graph.forward


def make(lanes: int = 2) -> tuple[GPT, Lanes, Traced]:
    torch.manual_seed(3)
    model, compiler = GPT(CONFIG, VOCABULARY), Traced()
    replicas = [replica(model) for _ in range(lanes - 1)]
    joint = JointGraph(model, compiler)
    return model, Lanes(model, [*map(joint.passes, [model, *replicas])], replicas, 1, backward="joint graph"), compiler


def batch(seed: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    windows = torch.randint(0, VOCABULARY, (6, 9), generator=torch.Generator().manual_seed(seed))
    return windows[:, :-1], windows[:, 1:]


def of_autograd(model: GPT, share: float, *seeds: int) -> tuple[float, tuple[torch.Tensor, ...]]:
    """(the sum of the shares of the losses, the gradients)."""
    loss = torch.stack([model(*batch(seed))[1] * share for seed in seeds]).sum()
    return float(loss.detach()), torch.autograd.grad(loss, [*model.parameters()])


def assert_same(model: GPT, expected: tuple[torch.Tensor, ...]) -> None:
    for (name, parameter), gradient in zip(model.named_parameters(), expected, strict=True):
        assert parameter.grad is not None and (parameter.grad - gradient).norm() < 2e-6 * gradient.norm(), name


def test_micro_steps_add_up_to_autograds_gradient_over_lanes() -> None:
    model, lanes, _ = make()
    expected, gradients = of_autograd(model, 1 / 2, 5, 6)
    losses = [lanes.add_gradient(*batch(seed), 1 / 2) for seed in (5, 6)]
    lanes.gather()
    assert float(sum(losses)) == pytest.approx(expected, rel=1e-6)
    assert not any(loss.requires_grad for loss in losses)
    assert_same(model, gradients)


def test_it_is_compiled_once_for_all_lanes_and_whatever_share_a_micro_step_has(library: str) -> None:
    _, lanes, compiler = make(3)
    for share in (1.0, 1 / 2, 1 / 3):
        lanes.add_gradient(*batch(), share)
    assert len(compiler.graphs) == 1
    changed = compiler.options.pop("post_grad_custom_post_pass", None)
    assert compiler.options == {"cpp_wrapper": True}, "or the lanes would wait for each other"
    assert (changed is not None) == (library == "oneDNN")


def test_weights_are_read_where_they_are_written_to() -> None:
    model, lanes, _ = make()
    lanes.add_gradient(*batch(), 1.0)
    model.zero_grad(set_to_none=True)
    lanes.clear()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    expected, gradients = of_autograd(model, 1.0, 5)
    assert float(lanes.add_gradient(*batch(), 1.0)) == pytest.approx(expected, rel=1e-6)
    lanes.gather()
    assert_same(model, gradients)


def test_the_gradient_is_the_steps_own() -> None:
    """Not memory that the next pass writes to again."""
    model, lanes, _ = make()
    lanes.add_gradient(*batch(), 1.0)
    kept = [parameter.grad for parameter in model.parameters()]
    copies = [gradient.clone() for gradient in kept if gradient is not None]
    model.zero_grad(set_to_none=True)
    lanes.clear()
    lanes.add_gradient(*batch(seed=6), 1.0)
    assert all(one is not None and torch.equal(one, other) for one, other in zip(kept, copies, strict=True))


def test_no_pass_is_told_of_for_they_are_not_apart() -> None:
    _, lanes, _ = make()
    told: list[str] = []
    lanes.add_gradient(*batch(), 1.0, told.append)
    assert (told, lanes.last_part) == ([], "both passes")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "joint graph"), ({"model__norm": "rmsnorm", "model__positions": "rotary"}, "joint graph"),
        ({"train__compile": False}, "written out"), ({"train__dtype": "bfloat16"}, "autograd"),
        ({"train__activation_checkpointing": "selective"}, "autograd"), ({"train__loss_chunk": 16}, "autograd"),
    ],
)  # fmt: skip
def test_lanes_take_it_where_they_are_compiled_and_nothing_else_was_asked_for(
    tiny: Callable[..., Profile], monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], expected: str
) -> None:
    monkeypatch.setattr("gpt.device.has_amx", lambda: True)  # or bfloat16 is refused on a CPU
    profile = tiny(
        **{"model__dropout": 0.0, "train__threads": 2, "train__compile": True, "train__dtype": "float32"} | settings
    )
    device, data = choose(profile), open_dataset(profile.data, profile.model)
    lanes = build(profile, device, data, TimeLedger("other")).stepper.lanes
    assert lanes is not None and lanes.backward == expected


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no compiler")
@pytest.mark.usefixtures("library")
def test_a_compiled_step_learns_what_one_that_is_not_does(
    tiny: Callable[..., Profile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole of it, through the real compiler: two lanes, two micro-steps."""
    monkeypatch.setattr("gpt.device.measure_matmul", lambda *args, **options: 1e11)  # takes a second
    torch.compiler.reset()
    same = {"model__dropout": 0.0, "model__n_layer": 1, "train__threads": 2, "train__grad_accum_steps": 2}
    plain, compiled = (
        bench.measure(tiny(**same, train__compile=compiles), steps=6, warmup=1) for compiles in (False, True)
    )
    assert (plain["compiled"], compiled["compiled"], compiled["lanes"]) == (False, True, 2)
    assert compiled["losses"] == pytest.approx(plain["losses"], abs=2e-6)
    assert compiled["losses"][-1] < compiled["losses"][0] - 0.1
    assert set(compiled["breakdown"]) == {"data", "both passes", "optimizer", "other"}


def measure_where_compiling_raises(
    tiny: Callable[..., Profile], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("gpt.device.measure_matmul", lambda *args, **options: 1e11)

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        raise error

    def compiler(function: Callable[..., Any], **options: Any) -> Any:
        return torch.compile(function, backend=backend)

    monkeypatch.setattr("gpt.snapshot.JointGraph", functools.partial(JointGraph, compiler=compiler))
    torch.compiler.reset()
    bench.measure(tiny(model__dropout=0.0, train__threads=2, train__compile=True), steps=1, warmup=1)


def test_a_machine_that_cannot_compile_is_told_what_is_missing(
    tiny: Callable[..., Profile], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DeviceError) as raised:
        measure_where_compiling_raises(tiny, monkeypatch, InvalidCxxCompiler())
    said = str(raised.value)
    assert said.startswith("train.compile: this machine cannot compile the step (No working C++ compiler found in ")
    assert said.endswith("or set train.compile = false") and "\n" not in said


def test_what_else_goes_wrong_in_the_compiler_stays_the_error_it_is(
    tiny: Callable[..., Profile], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackendCompilerFailed, match="a pass of ours"):
        measure_where_compiling_raises(tiny, monkeypatch, AssertionError("a pass of ours"))


@pytest.mark.parametrize("switch", ["TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE"])
def test_nothing_is_said_to_be_compiled_where_the_environment_switches_the_compiler_off(
    tiny: Callable[..., Profile], monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    monkeypatch.setenv(switch, "1")
    device = choose(tiny(train__compile=True), measure=False)
    assert (device.compile, device.compile_reason) == (False, f"the environment switches the compiler off ({switch})")
    monkeypatch.setenv(switch, "0")
    assert choose(tiny(train__compile=True), measure=False).compile
