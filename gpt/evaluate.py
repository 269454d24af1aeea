"""Losses estimated with dropout off, on batches of their own, without touching any random generator."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gpt.config import Profile
from gpt.data import Dataset, Tokens, evaluation_starts
from gpt.device import Device
from gpt.events import EvalDone, Event


@dataclass(frozen=True)
class Estimate:
    """A mean loss over evenly spaced windows of a split."""

    loss: float
    """nats/token."""
    stderr: float | None
    """Standard error of `loss` over the batches, nats/token; None for a single batch."""
    tokens: int


def to_device(windows: np.ndarray, device: Device) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets, each (B, T) int64, of windows (B, T+1); the targets are the inputs moved on by one."""
    batch = torch.from_numpy(windows)
    if device.type == "cuda":
        batch = batch.pin_memory().to(device.torch_device, non_blocking=True)
    elif device.type != "cpu":
        batch = batch.to(device.torch_device)
    return batch[:, :-1], batch[:, 1:]


def estimate_loss(
    model: torch.nn.Module,
    tokens: Tokens,
    device: Device,
    *,
    block_size: int,
    batch_size: int,
    batches: int,
    between: Callable[[], None] = lambda: None,
) -> Estimate:
    """Mean loss of `model(inputs, targets)` over `batches` batches of `tokens`, the same ones every time.

    Args:
        between: called after each batch, so that a long evaluation can report that it is alive.
    """
    starts = evaluation_starts(len(tokens), block_size, batches * batch_size)
    was_training = model.training
    model.eval()
    losses: list[torch.Tensor] = []
    weights: list[int] = []
    try:
        with torch.no_grad():
            for first in range(0, len(starts), batch_size):
                rows = starts[first : first + batch_size]
                inputs, targets = to_device(tokens.gather(rows, block_size + 1), device)
                with device.autocast():
                    _, loss = model(inputs, targets)
                losses.append(loss.float())
                weights.append(len(rows))
                between()
            means = torch.stack(losses).double().cpu().numpy()
    finally:
        model.train(was_training)
    mean = float(np.average(means, weights=weights))
    stderr = float(np.std(means, ddof=1) / math.sqrt(len(means))) if len(means) > 1 else None
    return Estimate(mean, stderr, len(starts) * block_size)


class Evaluator:
    """Evaluates one run: both splits, the same batches every time, and which step was best."""

    def __init__(self, data: Dataset, device: Device, emit: Callable[[Event], None]) -> None:
        self._data, self._device, self._emit = data, device, emit
        self.best_val_loss: float | None = None
        self.best_step: int | None = None
        self.train_loss: float | None = None
        self.val_loss: float | None = None
        self.step: int | None = None
        """Step of the newest losses; at the same step they would come out the same again."""

    def facts(self) -> dict[str, Any]:
        """JSON values for a checkpoint."""
        return {
            "step": self.step,
            "train_loss": finite(self.train_loss),
            "val_loss": finite(self.val_loss),
            "best_val_loss": self.best_val_loss,
            "best_step": self.best_step,
        }

    def restore(self, facts: dict[str, Any]) -> None:
        """Takes over what a checkpoint says of earlier evaluations."""
        self.step, self.train_loss, self.val_loss = facts["step"], facts["train_loss"], facts["val_loss"]
        self.best_val_loss, self.best_step = facts["best_val_loss"], facts["best_step"]

    def evaluate(self, step: int, model: torch.nn.Module, profile: Profile, between: Callable[[], None]) -> bool:
        """Estimates both losses and says so; True where val_loss is the lowest so far."""
        start = time.perf_counter()
        estimate = functools.partial(
            estimate_loss, model, device=self._device, block_size=profile.model.block_size,
            batch_size=profile.train.micro_batch_size, batches=profile.train.eval_steps, between=between,
        )  # fmt: skip
        train, val = estimate(tokens=self._data.train), estimate(tokens=self._data.val)
        best = math.isfinite(val.loss) and (self.best_val_loss is None or val.loss < self.best_val_loss)
        if best:
            self.best_val_loss, self.best_step = val.loss, step
        self.step, self.train_loss, self.val_loss = step, train.loss, val.loss
        per_token = self._data.val_bytes_per_token
        self._emit(EvalDone(
            step=step, train_loss=finite(train.loss), val_loss=finite(val.loss), val_stderr=finite(val.stderr),
            bpb=finite(val.loss / math.log(2) / per_token) if per_token else None,
            seconds=time.perf_counter() - start, best=best,
        ))  # fmt: skip
        return best


def finite(value: float | None) -> float | None:
    """The value, or None where it is not a finite number: JSON has no other way to say that."""
    return value if value is not None and math.isfinite(value) else None
