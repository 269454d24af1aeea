"""What a run says of itself: its beginning, each step's figures, its state, where the time and the memory went."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable

import torch

from gpt import events as ev
from gpt.config import Profile
from gpt.data import Dataset
from gpt.device import Device, dtype_of, measure_matmul
from gpt.evaluate import finite
from gpt.flops import flops_per_token, mfu, parameter_count
from gpt.ledger import TimeLedger
from gpt.ranks import ALONE, Ranks
from gpt.stepclock import StepResult

TICK_SECONDS = 0.5
"""Longest time between two reports of the ledger while something goes on."""


class Reporter:
    """Makes events of what one run does.

    Args:
        emit: takes each event; must not block.
    """

    def __init__(self, emit: Callable[[ev.Event], None], ledger: TimeLedger, ranks: Ranks = ALONE) -> None:
        self.emit, self.ledger, self.ranks = emit, ledger, ranks
        self.device: Device | None = None
        """Set once it has been chosen."""
        self.is_sound = True
        """Whether the newest loss was a number."""
        self._flops_per_token = 0.0
        self._device_peak: float | None = None
        self._peak_too_low = False
        self._last_tick = 0.0
        self._said = "starting"

    def state(self, state: str, *, step: int, detail: str = "") -> str:
        """Says what is being done now; returns what was being done before."""
        before, self._said = self._said, state
        self.emit(ev.StateChanged(state=state, step=step, detail=detail))
        return before

    def log(self, level: str, text: str) -> None:
        """A line for the log; `level` is `info`, `warning` or `error`."""
        self.emit(ev.LogLine(level=level, text=text))

    def device_chosen(self, device: Device) -> None:
        """Notes the device and its peak; from here on its memory is reported too."""
        self.device, self._device_peak = device, device.peak_flops
        self.log("info", f"compile {'on' if device.compile else 'off'}: {device.compile_reason}")

    def started(
        self, run: str, step: int, profile: Profile, data: Dataset, vocab_size: int, *, tokens_per_epoch: int,
        forked_from: ev.Origin | None = None,
    ) -> None:  # fmt: skip
        """Says what is about to be trained, on what."""
        assert self.device is not None
        device = self.device
        parameters, without_positions = parameter_count(profile.model, vocab_size)
        self._flops_per_token = flops_per_token(profile.model, vocab_size=vocab_size)
        self.emit(ev.RunStarted(
            run=run, profile=profile.name, step=step, max_steps=profile.train.max_steps,
            parameters=parameters, parameters_without_positions=without_positions,
            block_size=profile.model.block_size, micro_batch_size=profile.micro_batch_size,
            grad_accum_steps=profile.grad_accum_steps, tokens_per_step=profile.tokens_per_step,
            vocab_size=vocab_size, tokenizer=data.tokenizer.name,
            train_tokens=len(data.train), val_tokens=len(data.val), tokens_per_epoch=tokens_per_epoch,
            bytes_per_token=data.val_bytes_per_token, device=self._devices(device), device_type=device.type,
            device_uuid=device.uuid, dtype=device.dtype,
            compiled=device.compile, flops_per_token=self._flops_per_token, peak_flops=self._peak(profile),
            peak_source=device.peak_source, pid=os.getpid(),
            forked_from=forked_from, versions=f"torch {torch.__version__}, python {platform.python_version()}",
        ))  # fmt: skip

    def step_done(self, result: StepResult, profile: Profile, *, tokens: int) -> None:
        """Reports one step; `tokens` are those seen up to its end."""
        assert self.device is not None
        self.is_sound = math.isfinite(result.loss)
        in_step = profile.tokens_per_step
        share = mfu(self._flops_per_token, in_step // self.ranks.size, result.seconds, self._peak(profile))
        if share is not None and share > 1 and self.device.peak_source == "measured":
            share, self._peak_too_low = None, True
        self.emit(ev.StepDone(
            step=result.step, loss=finite(result.loss), lr=result.lr, grad_norm=finite(result.grad_norm),
            ms=result.seconds * 1e3, data_ms=result.data_seconds * 1e3, tokens=tokens,
            tokens_per_s=in_step / result.seconds if result.seconds > 0 else 0.0, mfu=share, applied=result.applied,
        ))  # fmt: skip

    def tick(self, *, now: bool = False, every: float = TICK_SECONDS) -> None:
        """Reports the ledger and the allocator every so often."""
        clock = time.monotonic()
        if not now and clock - self._last_tick < every:
            return
        self._last_tick = clock
        self.ledger.update()
        self.emit(ev.LedgerUpdated(seconds=dict(self.ledger.seconds), wall=self.ledger.wall))
        if self.device and self.device.type == "cuda":
            device = self.device.torch_device
            self.emit(ev.MemorySampled(
                allocated=torch.cuda.memory_allocated(device), reserved=torch.cuda.memory_reserved(device),
                peak=torch.cuda.max_memory_allocated(device),
                total=torch.cuda.get_device_properties(device).total_memory,
            ))  # fmt: skip

    def state_measured(self, weights: int, optimizer: int) -> None:
        """Says what the training state takes, bytes."""
        self.emit(ev.StateMeasured(weights=weights, optimizer=optimizer))

    def maybe_measure_peak(self) -> None:
        """Measures the peak again where a step beat it: something else had the machine at the first measurement."""
        if self._peak_too_low and self.device:
            self._peak_too_low = False
            with self.ledger.during("other"):
                peak = measure_matmul(self.device.torch_device, dtype_of(self.device.dtype))
            self._device_peak = max(peak, self._device_peak or 0.0)
            self.log("info", f"measured the peak again: {self._device_peak / 1e12:.3g} TFLOP/s")

    def _devices(self, device: Device) -> str:
        """The device's name; that of several ranks says how many, and how they share the work."""
        ranks = self.ranks
        return device.name if ranks.size == 1 else f"{ranks.size} × {device.name} ({ranks.parallel})"

    def _peak(self, profile: Profile) -> float | None:
        """FLOP/s: the profile's where it gives one (it may change live), else the device's."""
        tflops = profile.device.peak_tflops
        return tflops * 1e12 if tflops else self._device_peak
