"""The plan of a run that goes on: what was assumed is replaced by what has been measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cockpit.planning.devices import find_card
from cockpit.planning.here import DEFAULT_SHARE
from cockpit.planning.plan import Best, Machine, Plan, best_for, machine_of, make_plan
from cockpit.state import RunState
from gpt.config import Profile, replace

BESIDE = ("4070 Ti", "4090", "A100-SXM4-80GB", "H100 80GB HBM3", "H200")
"""Cards that a run is planned for besides its own: what people have or rent."""
STEADY = 0.02
"""Share by which a speed must change before the plan is made anew."""
_WINDOW = 50
"""Steps whose median is a speed."""


@dataclass(frozen=True)
class Running:
    """A plan with what the run has shown; None is unknown."""

    plan: Plan
    """At the measured speed; before a step was taken, at the assumed one."""
    others: tuple[Plan, ...]
    """The same run on other cards."""
    share: float | None
    """MFU as measured, 0…1."""
    share_elsewhere: float
    """What the other cards are given: the measured one where this is a card too, else what is usual."""
    measured_peak: int | None
    """Most memory that the run has held on its device, bytes."""
    remaining_s: float | None
    """To the last step, with the share of other work that the run has had so far."""
    achieved: float | None
    """FLOP/s."""

    @property
    def unlike(self) -> float | None:
        """Measured over estimated memory. Of a process on a CPU it is not known: Python and data are in it too."""
        return self.measured_peak / self.plan.memory.peak if self.measured_peak else None


def speed_key(state: RunState) -> int | None:
    """Changes when the speed does by more than STEADY; None before it is known."""
    median = state.median_ms()
    return round(math.log(median) / math.log1p(STEADY)) if median and median > 0 else None


def running(profile: Profile, state: RunState) -> Running | None:
    """The plan of a run under way; None before its model is built.

    Args:
        profile: the settings in force.
    """
    started = state.started
    if started is None:
        return None
    profile = _settled(profile, state)
    median = state.median_ms(_WINDOW)
    speed = started.tokens_per_step / median * 1e3 if median else None
    share = _share(state)
    held, meters = state.memory, state.telemetry
    capacity = held.total if held and held.total else meters.gpu_memory_total if meters else None
    if started.device_type == "cpu" and meters:
        capacity = meters.host_memory_total
    machine = Machine(
        started.device, started.dtype, started.peak_flops, capacity, meters.gpu_watts if meters else None,
        started.device_type, share or DEFAULT_SHARE, speed,
    )  # fmt: skip
    price = profile.device.price_per_hour
    plan = make_plan(profile, started.vocab_size, machine, price_per_hour=price)
    elsewhere = share if share and started.device_type == "cuda" else DEFAULT_SHARE
    cards = [find_card(name) for name in BESIDE]
    return Running(
        plan,
        tuple(
            make_plan(profile, started.vocab_size, machine_of(card, _fastest(profile), elsewhere))
            for card in cards if card.name != started.device
        ),
        share, elsewhere, held.peak if held and held.peak and started.device_type == "cuda" else None,
        None if state.is_final else state.eta_seconds(), speed * started.flops_per_token if speed else None,
    )  # fmt: skip


def best_use(found: Running, days: float, vocab_size: int) -> Best | None:
    """The best size and tokens for this device and so many days, at the arithmetic that the run really gets done; None
    before a step was taken and where there is no peak."""
    machine = found.plan.machine
    if found.achieved:
        machine = Machine(machine.name, machine.dtype, found.achieved, machine.memory_bytes, share=1.0)
    return best_for(machine, days, vocab_size, found.plan.parameters)


def _share(state: RunState) -> float | None:
    recent = state.mfu.y[-_WINDOW:]
    recent = recent[np.isfinite(recent)]
    return float(np.median(recent)) if len(recent) else None


def _settled(profile: Profile, state: RunState) -> Profile:
    """With the portions that the run takes its steps in, and its present length."""
    started = state.started
    assert started is not None
    changes: dict[str, object] = {"train.micro_batch_size": started.micro_batch_size}
    if profile.train.tokens_per_step is None:
        changes["train.grad_accum_steps"] = started.grad_accum_steps
    if state.max_steps:
        changes["train.max_steps"] = state.max_steps
    return replace(profile, changes)


def _fastest(profile: Profile) -> Profile:
    """As another card would train it: in the precision that is fast there, whatever this device needed."""
    return replace(profile, {"train.dtype": "auto"})
