"""What `train.compile = "auto"` comes to: where a run repays it, where it goes on, and where a machine cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._inductor.exc import InvalidCxxCompiler

from gpt import compiling
from gpt.config import Profile, replace
from gpt.events import Event, LogLine, RunStarted

MODERN = {"model.positions": "rotary", "model.norm": "rmsnorm", "model.bias": False}
CPU = {
    "model.n_layer": 4, "model.n_head": 4, "model.n_embd": 128, "model.block_size": 64, "model.dropout": 0.0,
    "data.input": "text.txt", "data.tokenizer": "char", "train.micro_batch_size": 12,
}  # fmt: skip
"""nanoGPT's settings for a CPU: about 18 ms a step on two cores."""


@pytest.fixture(autouse=True)
def two_fast_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for switch in compiling.SWITCHES:
        monkeypatch.delenv(switch, raising=False)


def decided(
    changes: dict[str, Any], dtype: str = "float32", ranks: int = 1, begun: dict[str, Any] | None = None
) -> tuple[bool, str]:
    return compiling.decide(replace(Profile(), CPU | changes), "cpu", dtype, ranks, begun, tries=False)


@pytest.mark.parametrize(
    ("changes", "expected", "why"),
    [
        ({"train.max_steps": 2000}, False, "about 33 s of steps on fast cores do not repay it"),
        ({"train.max_steps": 40_000}, False, "about 11 min of steps on fast cores do not repay it"),
        ({"train.max_steps": 45_000}, True, "about 12 min of steps on fast cores repay it"),
        ({"train.max_steps": 1_000_000}, True, "about 5 h of steps on fast cores repay it"),
        (MODERN | {"train.max_steps": 7000}, False, "about 2 min of steps on fast cores do not repay it"),
        (MODERN | {"train.max_steps": 8000}, True, "about 2 min of steps on fast cores repay it"),
    ],
)
def test_a_run_is_compiled_where_its_length_repays_it(changes: dict[str, Any], expected: bool, why: str) -> None:
    assert decided(changes) == (expected, why)


@pytest.mark.parametrize(
    "changes",
    [
        {"model.dropout": 0.2},
        {"train.micro_batch_size": 1},
        {"train.micro_batch_size": "auto"},
        {"train.loss_chunk": 64},
        {"train.activation_checkpointing": "full"},
        {"data.tokenizer": "gpt2", "model.n_layer": 8, "model.n_head": 6, "model.n_embd": 384},
        {"model.n_layer": 12, "model.n_head": 12, "model.n_embd": 768},
    ],
)
def test_what_would_become_slower_or_is_not_known_to_gain_is_not_compiled(changes: dict[str, Any]) -> None:
    tokens = {"train.tokens_per_step": 768} if changes.get("train.micro_batch_size") == "auto" else {}
    compiled, why = decided({"train.max_steps": 10**7} | tokens | changes)
    assert not compiled and why.startswith("on cpu it pays only where threads share a micro-batch")


def test_neither_several_ranks_nor_a_single_thread_nor_bfloat16_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    long = {"train.max_steps": 10**7}
    assert decided(long)[0]
    assert decided(long, ranks=2) == (False, "on cpu it gains little where several ranks share the cores")
    assert not decided(long, "bfloat16")[0]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert not decided(long)[0]


@pytest.mark.parametrize("compiled", [False, True])
def test_what_goes_on_from_a_checkpoint_stays_on_a_cpu_as_it_was(compiled: bool) -> None:
    begun = {"compile": compiled}
    for changes in ({"train.max_steps": 10}, {"train.max_steps": 10**7}, {"model.dropout": 0.1}):
        assert decided(changes, begun=begun) == (compiled, "as in the checkpoint that is gone on from")
    assert decided({"train.compile": not compiled}, begun=begun) == (not compiled, "the profile says so")


@pytest.mark.parametrize(("steps", "expected"), [(499, False), (500, True)])
def test_on_cuda_the_steps_decide(steps: int, expected: bool) -> None:
    profile = replace(Profile(), CPU | {"train.max_steps": steps})
    for begun in (None, {"compile": not expected}):
        answer = compiling.decide(profile, "cuda", "bfloat16", 1, begun)
        assert answer == (expected, f"{steps} steps {'repay' if expected else 'do not repay'} it")
    assert compiling.decide(profile, "mps", "float32", 1) == (False, "on mps it gains little and takes long")


def test_a_machine_that_cannot_compile_does_without_where_nobody_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        raise InvalidCxxCompiler

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **options: real(function, backend=backend))
    torch.compiler.reset()
    long = replace(Profile(), CPU | {"train.max_steps": 10**7})
    compiled, why = compiling.decide(long, "cpu", "float32", 1)
    assert not compiled and why.startswith("this machine cannot (No working C++ compiler found in ") and "\n" not in why


def test_a_run_says_what_was_chosen(
    tiny: Callable[..., Profile], run: Callable[..., list[Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    profile = tiny(model__dropout=0.0, train__threads=2, train__max_steps=2)

    def said(name: str, **options: Any) -> list[str]:
        events = run(profile, name, **options)
        assert [event.compiled for event in events if isinstance(event, RunStarted)] == [False]
        return [event.text for event in events if isinstance(event, LogLine)]

    assert "compile off: about 0 s of steps on fast cores do not repay it" in said("short")
    monkeypatch.setattr(compiling, "CPU_COST", 0.0)
    monkeypatch.setattr(compiling, "_fault", lambda: "no compiler here")
    assert "compile off: this machine cannot (no compiler here)" in said("where any run repays it")
    assert "compile off: as in the checkpoint that is gone on from" in said("short", resume="step-00000002")
