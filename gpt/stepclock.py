"""The clock of one step, and what it gave: its figures on their way to the host, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from gpt.device import Device


@dataclass(frozen=True)
class StepResult:
    """What one finished step gave. Losses in nats/token, times in seconds."""

    step: int
    loss: float
    grad_norm: float
    lr: float
    seconds: float
    """Phases train and data of this step."""
    data_seconds: float
    applied: bool
    """False where the update was left out."""
    part_norm: float | None = None
    """Gradient norm of a part of the step (gpt.probe), where that was asked for."""
    own_seconds: float | None = None
    """Part of `seconds` before this rank had to wait for the others; None alone, or where that cannot be told."""


class StepClock:
    """A step under way: its clocks, and its figures on their way to the host."""

    def __init__(self, step: int, lr: float, device: Device) -> None:
        self.step, self.lr, self.device = step, lr, device
        self.data_seconds = 0.0
        self.part_norm: torch.Tensor | None = None
        self.away = 0.0  # seconds spent between micro-steps on other phases: paused, sampling, evaluating
        self._own: torch.cuda.Event | None = None
        self._own_seconds: float | None = None
        self.start = time.perf_counter()
        self.events = None
        if device.lags:
            self.events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            self.events[0].record()

    def pause_while(self, between: Callable[[], bool]) -> bool:
        """What `between` returns; the seconds it takes are none of the step's."""
        start = time.perf_counter()
        go_on = between()
        self.away += time.perf_counter() - start
        return go_on

    def waiting_for_data(self) -> _DataClock:
        """A block whose time counts as waiting for data."""
        return _DataClock(self)

    def note_own(self) -> None:
        """Marks up to where this rank has waited for no other; of several marks the last one counts."""
        if self.events:
            self._own = self._own or torch.cuda.Event(enable_timing=True)
            self._own.record()
        else:
            self._own_seconds = time.perf_counter() - self.start - self.away

    def finish(self, loss: torch.Tensor, norm: torch.Tensor, applied: torch.Tensor) -> None:
        """Marks the end of the step; on a GPU starts the copy of all scalars to the host."""
        known = [loss, norm, applied] if self.part_norm is None else [loss, norm, applied, self.part_norm]
        figures = torch.stack([figure.float() for figure in known])
        if self.events:
            self.scalars = torch.empty(len(known), pin_memory=True)
            self.scalars.copy_(figures, non_blocking=True)
            self.events[1].record()
        else:
            self.scalars = figures.cpu()
            self.seconds = time.perf_counter() - self.start - self.away

    def read(self) -> StepResult:
        """The one place where the host waits for the device."""
        if self.events:
            self.events[1].synchronize()
            self.seconds = max(0.0, self.events[0].elapsed_time(self.events[1]) / 1e3 - self.away)
            if self._own:
                self._own_seconds = max(0.0, self.events[0].elapsed_time(self._own) / 1e3 - self.away)
        loss, norm, applied, *part = self.scalars.tolist()
        return StepResult(
            self.step, loss, norm, self.lr, self.seconds, self.data_seconds, bool(applied), part[0] if part else None,
            self._own_seconds,
        )  # fmt: skip


class _DataClock:
    """Adds the time inside a `with` block to a step's data_seconds."""

    def __init__(self, clock: StepClock) -> None:
        self.clock = clock

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.clock.data_seconds += time.perf_counter() - self.start
