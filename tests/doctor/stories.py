"""Runs made of events, as the doctor's rules need them: each begins sound, and a test makes one thing wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cockpit import profile as profiles
from cockpit.doctor.evidence import Evidence, Host
from cockpit.reducer import reduce_all
from cockpit.state import RunState
from gpt import events as ev
from gpt.config import Profile, replace
from gpt.flops import flops_per_token, parameter_count
from gpt.schedule import learning_rate

START = 1_700_000_000.0
PROFILES = Path(__file__).parents[2] / "profiles"


def profile(file: str, /, **changes: Any) -> Profile:
    """A profile of this repository with some dotted keys (`__` for the dot) set otherwise."""
    loaded = profiles.load(PROFILES / f"{file}.toml").profile
    return replace(loaded, {key.replace("__", "."): value for key, value in changes.items()})


def sound_loss(step: float) -> float:
    """A training loss as a sound run's: from ln(vocabulary) down along a power law."""
    return 2.5 + 8.3 * (1 + step / 20) ** -0.5


def played(
    settings: Profile,
    *,
    steps: int,
    rows: int = 50304,
    loss: Callable[[float], float] = sound_loss,
    gap: Callable[[float], float] = lambda step: 0.02,
    noise: float = 0.02,
    ms: float = 1000.0,
    data_ms: float = 2.0,
    stderr: float = 0.004,
    grad_norm: Callable[[float], float] = lambda step: 0.4,
    train_tokens: int = 10_000_000_000,
    facts: dict[str, Any] | None = None,
    extra: Callable[[int], list[ev.Event]] = lambda step: [],
    every: int = 1,
    regularized: float = 0.0,
    evaluate_s: float = 5.0,
) -> RunState:
    """The state after so many steps of a run with these settings.

    Args:
        loss: training loss at a step; `gap` what validation lies above it; `noise` its standard deviation.
        extra: further events after a step.
        every: only each so-manieth step is told, as a long log's.
        regularized: what dropout puts on top of the running loss, nats/token.
        evaluate_s: seconds that an evaluation takes.
    """
    dice = np.random.default_rng(0)
    count = parameter_count(settings.model, rows)
    per_token = flops_per_token(settings.model, vocab_size=rows)
    given: dict[str, Any] = dict(
        time=START, run="amber-heron", profile=settings.name, step=0, max_steps=settings.train.max_steps,
        parameters=count[0], parameters_without_positions=count[1], block_size=settings.model.block_size,
        micro_batch_size=8, grad_accum_steps=max(1, settings.tokens_per_step // (8 * settings.model.block_size)),
        tokens_per_step=settings.tokens_per_step, vocab_size=rows, tokenizer="gpt2", train_tokens=train_tokens,
        val_tokens=10_000_000, tokens_per_epoch=train_tokens, bytes_per_token=4.2, device="NVIDIA H200",
        device_type="cuda", dtype="bfloat16", compiled=True, flops_per_token=per_token, peak_flops=989.4e12,
        peak_source="datasheet", pid=1, versions="torch",
    )  # fmt: skip
    started = ev.RunStarted(**{**given, **(facts or {})})
    events: list[ev.Event] = [started, ev.StateChanged(time=START, state="running")]
    at, best = START, math.inf
    seconds: dict[str, float] = dict.fromkeys(ev.PHASES, 0.0)
    for step in range(every, steps + 1, every):
        at += ms * every / 1e3
        seconds["train"] += (ms - data_ms) * every / 1e3
        seconds["data"] += data_ms * every / 1e3
        tokens = step * settings.tokens_per_step
        speed = settings.tokens_per_step / ms * 1e3
        mfu = per_token * speed / started.peak_flops if started.peak_flops else None
        value = loss(step) + regularized + dice.normal() * noise
        rate = learning_rate(step - 1, settings.optim, settings.train.max_steps)
        events.append(
            ev.StepDone(
                time=at, step=step, loss=value if math.isfinite(value) else None, lr=rate, grad_norm=grad_norm(step),
                ms=ms, data_ms=data_ms, tokens=tokens, tokens_per_s=speed, mfu=mfu,
            )
        )  # fmt: skip
        if step % settings.train.eval_interval == 0 or step == steps:
            at += evaluate_s
            seconds["evaluate"] += evaluate_s
            train, dice_val = loss(step) + dice.normal() * stderr, loss(step) + gap(step) + dice.normal() * stderr
            events.append(
                ev.EvalDone(
                    time=at, step=step, train_loss=train, val_loss=dice_val, val_stderr=stderr, seconds=evaluate_s,
                    val_tokens=settings.train.eval_steps * 8 * settings.model.block_size, best=dice_val < best,
                )
            )  # fmt: skip
            best = min(best, dice_val)
        events += extra(step)
    events.append(ev.LedgerUpdated(time=at, seconds=seconds, wall=at - START))
    return reduce_all(RunState(), events)


def evidence(settings: Profile | None, state: RunState | None = None, **more: Any) -> Evidence:
    """What the doctor looks at; a healthy machine unless said otherwise."""
    host = Host(cores=16, disk_free_bytes=10**12, memory_bytes=64 * 2**30, has_amx=False)
    return Evidence(settings, state or RunState(), **{"host": host, "vocab_size": 50304, **more})
