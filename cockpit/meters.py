"""Curves beside the losses: what a step stands for in tokens and wall time, and what the machine did meanwhile."""

from __future__ import annotations

import msgspec
import numpy as np

from cockpit.series import Series
from cockpit.stretch import COLUMNS, Stretch
from gpt import events as ev

_STEP, _TOKENS, _TIME = (COLUMNS.index(name) for name in ("step", "tokens", "time"))


class Meters(msgspec.Struct, frozen=True, kw_only=True):
    """All curves by step."""

    tokens: Series = msgspec.field(default_factory=Series)
    """Tokens seen."""
    seconds: Series = msgspec.field(default_factory=Series)
    """Wall time of the run, s, all its sittings added up; never falls."""
    rss: Series = msgspec.field(default_factory=Series)
    """Resident memory of the process, bytes."""
    gpu_memory: Series = msgspec.field(default_factory=Series)
    """What the framework holds on the device, bytes."""
    utilization: Series = msgspec.field(default_factory=Series)
    """Of the GPU, or of all cores where there is none; per cent."""
    watts: Series = msgspec.field(default_factory=Series)
    """Power of the GPU."""
    clock: tuple[float, float] | None = None
    """(wall time of the run in s, Unix time at which it was that much)."""

    def until(self, step: float) -> Meters:
        """What there was up to a step."""
        names = ("tokens", "seconds", "rss", "gpu_memory", "utilization", "watts")
        return _with(self, **{name: getattr(self, name).until(step) for name in names})


_with = msgspec.structs.replace


def sat_down(meters: Meters, time: float) -> Meters:
    """A sitting begins: the clock goes on from where it stood."""
    return _with(meters, clock=(meters.seconds.last or 0.0, time))


def step_done(meters: Meters, event: ev.StepDone) -> Meters:
    """One more step."""
    wall, at = meters.clock or (0.0, event.time)
    seconds = max(meters.seconds.last or 0.0, wall + event.time - at)
    return _with(
        meters, clock=meters.clock or (0.0, event.time), tokens=meters.tokens.append(event.step, event.tokens),
        seconds=meters.seconds.append(event.step, seconds),
    )  # fmt: skip


def ledger_updated(meters: Meters, event: ev.LedgerUpdated) -> Meters:
    """The run's own clock was read."""
    return _with(meters, clock=(event.wall, event.time))


def memory_sampled(meters: Meters, event: ev.MemorySampled, step: int) -> Meters:
    """The framework's memory was read, after `step`."""
    return _with(meters, gpu_memory=meters.gpu_memory.append(step, event.allocated))


def telemetry_sampled(meters: Meters, event: ev.TelemetrySampled, step: int) -> Meters:
    """The machine's meters were read, after `step`."""
    watts = meters.watts if event.gpu_watts is None else meters.watts.append(step, event.gpu_watts)
    return _with(
        meters, rss=meters.rss.append(step, event.rss), watts=watts,
        utilization=meters.utilization.append(step, _utilization(event)),
    )  # fmt: skip


def stretch_done(meters: Meters, stretch: Stretch, step: int) -> Meters:
    """Many steps, and the readings between them.

    Args:
        step: the newest step before them.
    """
    steps, tokens, times = stretch.columns[[_STEP, _TOKENS, _TIME]]
    clock = meters.clock or (0.0, float(times[0]))
    ledgers = [(before, event) for before, event in stretch.beside if isinstance(event, ev.LedgerUpdated)]
    if meters.clock is None and ledgers and ledgers[0][0] == 0:
        clock = (ledgers[0][1].wall, ledgers[0][1].time)
    wall = np.empty((2, len(steps)))  # (wall time then, Unix time then) by step
    wall[:] = np.array(clock)[:, None]
    ends = [before for before, _ in ledgers[1:]] + [len(steps)]
    for (before, event), end in zip(ledgers, ends, strict=False):  # without ledgers there is one end too many
        wall[0, before:end], wall[1, before:end] = clock = (event.wall, event.time)
    seconds = np.maximum.accumulate(np.maximum(wall[0] + times - wall[1], meters.seconds.last or 0.0))
    after = [step, *steps.tolist()]
    told = [(after[n], event) for n, event in stretch.beside if isinstance(event, ev.TelemetrySampled)]
    held = [(after[n], event) for n, event in stretch.beside if isinstance(event, ev.MemorySampled)]
    powered = [(at, event.gpu_watts) for at, event in told if event.gpu_watts is not None]
    at_told = [at for at, _ in told]
    return _with(
        meters, clock=clock, tokens=meters.tokens.extend(steps, tokens), seconds=meters.seconds.extend(steps, seconds),
        rss=meters.rss.extend(at_told, [event.rss for _, event in told]),
        utilization=meters.utilization.extend(at_told, [_utilization(event) for _, event in told]),
        watts=meters.watts.extend([at for at, _ in powered], [watts for _, watts in powered]),
        gpu_memory=meters.gpu_memory.extend([at for at, _ in held], [event.allocated for _, event in held]),
    )  # fmt: skip


def _utilization(event: ev.TelemetrySampled) -> float:
    return event.cpu_percent if event.gpu_utilization is None else event.gpu_utilization
