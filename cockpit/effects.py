"""What a change of settings will do to a run, foretold from the two profiles alone: figures before and after. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cockpit import format as fmt
from cockpit.state import RunState
from gpt.config import OptimConfig, Profile
from gpt.live import risk
from gpt.memory import estimate
from gpt.schedule import learning_rate


@dataclass(frozen=True)
class Effect:
    """One figure that a change moves."""

    label: str
    old: str
    new: str
    unit: str = ""


@dataclass(frozen=True)
class Forecast:
    """What becomes of a run."""

    effects: tuple[Effect, ...]
    moves_rate: bool
    """Whether the learning rate of any step to come differs."""
    risk: str | None
    """Why a checkpoint is made first, if one is."""


def forecast(before: Profile, after: Profile, state: RunState, step: int | None = None) -> Forecast:
    """What differs between going on with one profile and with the other.

    Args:
        state: what is known of the run: how far it is, how fast, on what device.
        step: the boundary at which it changes; None: now.
    """
    at = state.step if step is None else step
    lines = [
        *_rate(before, after, at), *_length(before, after, state), *_step_size(before, after),
        *_memory(before, after, state), *_beside(before, after, at),
    ]  # fmt: skip
    return Forecast(tuple(lines), _moves_rate(before, after, at), risk(before, after))


def rates(profile: Profile, first: int, last: int, columns: int) -> np.ndarray:
    """The learning rate at evenly spaced steps from `first` to `last`; (columns,), NaN after the run's end."""
    optim, end = profile.optim, profile.train.max_steps
    steps = np.linspace(first, last, columns).round().astype(int)
    return np.array([learning_rate(int(step), optim, end) if step <= end else np.nan for step in steps])


def _rate(before: Profile, after: Profile, at: int) -> list[Effect]:
    """The rate of the first step that differs, and the one that the run ends with."""
    now = [learning_rate(at, one.optim, one.train.max_steps) for one in (before, after)]
    last = [learning_rate(one.train.max_steps - 1, one.optim, one.train.max_steps) for one in (before, after)]
    pairs = [(f"rate at step {at + 1:,}", now), ("rate at the end", last)]
    return [Effect(label, *map(fmt.scientific, pair)) for label, pair in pairs if pair[0] != pair[1]]


def _moves_rate(before: Profile, after: Profile, at: int) -> bool:
    def shape(profile: Profile) -> tuple[OptimConfig, int]:
        return profile.optim, profile.train.max_steps

    if shape(before) == shape(after):
        return False
    end = max(before.train.max_steps, after.train.max_steps)
    return not np.array_equal(rates(before, at, end, 400), rates(after, at, end, 400), equal_nan=True)


def _length(before: Profile, after: Profile, state: RunState) -> list[Effect]:
    ends = [one.train.max_steps for one in (before, after)]
    sizes = [_tokens_per_step(one) for one in (before, after)]
    found: list[Effect] = []
    if ends[0] != ends[1]:
        found.append(Effect("last step", *[f"{end:,}" for end in ends]))
        if ms := state.median_ms():
            left = [fmt.duration(max(0, end - state.step) * ms / 1e3) for end in ends]
            found.append(Effect("training left", *left))
    if None not in sizes and (ends[0] != ends[1] or sizes[0] != sizes[1]):
        totals = [" ".join(fmt.count(end * (size or 0))) for end, size in zip(ends, sizes, strict=True)]
        found.append(Effect("tokens in all", *totals))
    return found


def _step_size(before: Profile, after: Profile) -> list[Effect]:
    old, new = _tokens_per_step(before), _tokens_per_step(after)
    return [] if old == new else [Effect("tokens per step", fmt.number(old), fmt.number(new))]


def _memory(before: Profile, after: Profile, state: RunState) -> list[Effect]:
    started = state.started
    if started is None or "auto" in (before.train.micro_batch_size, after.train.micro_batch_size):
        return []
    old, new = [
        estimate(
            one, one.model.vocab_size or started.vocab_size, dtype=started.dtype, device_type=started.device_type
        ).peak
        for one in (before, after)
    ]
    return [] if old == new else [Effect("memory, estimated", fmt.gib(old), fmt.gib(new), "GiB")]


def _beside(before: Profile, after: Profile, at: int) -> list[Effect]:
    """How often other things are still done."""
    intervals = {
        "evaluations to come": [one.train.eval_interval for one in (before, after)],
        "checkpoints to come": [one.checkpoint.interval for one in (before, after)],
        "samples to come": [one.sample.interval for one in (before, after)],
    }
    ends = before.train.max_steps, after.train.max_steps
    found = []
    for label, pair in intervals.items():
        if pair[0] != pair[1]:
            found.append(Effect(label, *[f"{_times(every, at, end):,}" for every, end in zip(pair, ends, strict=True)]))
    return found


def _times(every: int, at: int, end: int) -> int:
    """Steps after `at` up to `end` that an interval falls on."""
    return max(0, end // every - at // every) if every else 0


def _tokens_per_step(profile: Profile) -> int | None:
    if profile.train.micro_batch_size == "auto" and profile.train.tokens_per_step is None:
        return None
    return profile.tokens_per_step
