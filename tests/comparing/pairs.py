"""Runs on disk that differ as people's do, each a log of events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cockpit import profile as profiles
from cockpit.runs import Run
from gpt import events as ev

START = 1_700_000_000.0
FACTS: dict[str, Any] = dict(
    profile="shakespeare", step=0, max_steps=2000, parameters=804_096, parameters_without_positions=795_904,
    block_size=64, micro_batch_size=12, grad_accum_steps=1, tokens_per_step=768, vocab_size=65, tokenizer="char",
    train_tokens=1_003_854, val_tokens=111_540, bytes_per_token=1.0, device="Apple M1", device_type="cpu",
    dtype="float32", compiled=False, flops_per_token=5.2e6, pid=1, versions="torch",
)  # fmt: skip
GPU: dict[str, Any] = dict(
    max_steps=5000, parameters=10_745_088, parameters_without_positions=10_646_784, block_size=256,
    micro_batch_size=64, tokens_per_step=16_384, device="NVIDIA A100-SXM4-40GB", device_type="cuda",
    dtype="bfloat16", compiled=True, flops_per_token=7.1e7,
)  # fmt: skip


def make(
    folder: Path,
    name: str,
    *,
    steps: int,
    loss: Callable[[int], float | None],
    facts: dict[str, Any] | None = None,
    every: int = 250,
    ms: float = 90.0,
    stderr: float | None = 0.01,
    profile: str = "shakespeare_char_cpu",
    overrides: Iterable[str] = (),
    noise: float | None = None,
    more: Iterable[ev.Event] = (),
) -> Run:
    """A run of so many steps whose training loss is `loss(step)`, and whose validation loss is the same."""
    run = Run.create(folder, name, "shakespeare")
    run.write_facts({"run": name})
    run.write_profile(profiles.load(profiles.find(profile), tuple(overrides)).text)
    started = ev.RunStarted(time=START, run=name, **{**FACTS, **(facts or {})})
    told: list[ev.Event] = [started, *taken(started, 1, steps, loss, every=every, ms=ms, stderr=stderr)]
    if noise:
        told.append(ev.NoiseScaleEstimated(
            step=steps, sequences=1.0, tokens=noise, tokens_per_step=768, gradient_square=1.0, noise_trace=1.0,
            measurements=9,
        ))  # fmt: skip
    told += [*more, ev.LedgerUpdated(seconds={"train": steps * ms / 1e3}, wall=steps * ms / 1e3 + 60)]
    write(run, told)
    return run


def taken(
    started: ev.RunStarted, first: int, last: int, loss: Callable[[int], float | None], *, every: int = 250,
    ms: float = 90.0, stderr: float | None = 0.01,
) -> list[ev.Event]:  # fmt: skip
    """The steps from first to last, and the evaluations among them."""
    told: list[ev.Event] = []
    for step in range(first - 1, last + 1):
        if step >= first:
            told.append(ev.StepDone(
                step=step, loss=loss(step), lr=1e-3, grad_norm=1.0, ms=ms, tokens=step * started.tokens_per_step,
                tokens_per_s=started.tokens_per_step / ms * 1e3,
            ))  # fmt: skip
        if every and step % every == 0:
            told.append(ev.EvalDone(
                step=step, train_loss=loss(step), val_loss=loss(step), val_stderr=stderr, seconds=1.0, best=True
            ))  # fmt: skip
    return told


def write(run: Run, told: Iterable[ev.Event]) -> None:
    run.events_path.write_bytes(b"".join(ev.encode(event) for event in told))


def checkpoint(run: Run, step: int, **state: Any) -> None:
    """The least of a checkpoint that a comparison looks at."""
    folder = run.checkpoints_path / f"step-{step:08}"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"step": step, **state}))


def falling(start: float, end: float, steps: int, power: float = 0.5) -> Callable[[int], float]:
    """From a loss at step 0 along a power law to another at the last."""
    scale = (start - end) / (1 - (1 + steps / 20) ** -power)
    return lambda step: start - scale * (1 - (1 + step / 20) ** -power)


def laptop_and_gpu(folder: Path) -> None:
    """The pair that people ask about: nanoGPT's character model on a laptop and on a GPU."""
    make(folder, "laptop", steps=2000, loss=falling(4.18, 1.88, 2000), ms=90.0)
    make(folder, "gpu", steps=5000, loss=falling(4.2, 1.4697, 5000), ms=36.0, facts=GPU, stderr=0.003,
         profile="shakespeare_char")  # fmt: skip
