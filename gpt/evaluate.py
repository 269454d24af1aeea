"""Losses with dropout off, on batches of their own or a whole split, without touching any random generator."""

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
from gpt.errors import DataError
from gpt.events import EvalDone, Event, LogLine
from gpt.ranks import ALONE, Ranks
from gpt.tokenizer import Tokenizer

NOT_COUNTED = -100
"""A target that the loss leaves out."""
MOST_UNITS = 64
"""Stretches that a whole split is cut into for the standard error of its loss. Small batches side by side are alike:
the loss of a small GPT on plays, read four windows at a time, seemed known to 0.006 nats, 64 at a time to 0.010."""


class BrokenOff(Exception):
    """An evaluation was given up between two batches; there is no estimate."""


@dataclass(frozen=True)
class Estimate:
    """A mean loss over windows of a split."""

    loss: float
    """nats/token."""
    stderr: float | None
    """Standard error of `loss`, nats/token; None for a single batch."""
    tokens: int
    """Tokens that were predicted."""
    bytes: int | None = None
    """Bytes of text that they stand for, where that was asked for."""


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
    batches: int | None,
    count: int | None = None,
    byte_lengths: np.ndarray | None = None,
    go_on: Callable[[], bool] = lambda: True,
    ranks: Ranks = ALONE,
) -> Estimate:
    """Mean loss of `model(inputs, targets)` over `tokens`, on the same batches every time.

    The standard error is that of a ratio of two sums, loss over tokens, with batches as its units (Cochran 1977,
    section 6.4): √(n/(n-1) · Σ w²(m - mean)²) / Σ w for batches of w tokens and mean loss m. For batches of one size it
    is the familiar std/√n. Batches, not windows, are the units also where every window is read: neighbours come
    from the same documents and are alike, so counting them as independent would promise too much. There neighbouring
    batches are joined into MOST_UNITS at most: how many windows are read at a time makes no difference to the error.

    Ranks share the batches among them; each gets the mean over all.

    Args:
        batches: of evenly spaced windows; None: every token of the split but its first is predicted, once.
        count: of windows, in place of batches · batch_size: the same ones in other portions.
        byte_lengths: (V,) bytes of text behind each id, to be added up over the predicted tokens.
        go_on: asked after each batch; False gives the evaluation up.

    Raises BrokenOff.
    """
    if batches is None:
        starts, skipped = whole_split(len(tokens), block_size, batch_size)
    else:
        starts = evaluation_starts(len(tokens), block_size, count or batches * batch_size)
        skipped = np.zeros_like(starts)
    was_training = model.training
    model.eval()
    portions = [slice(first, first + batch_size) for first in range(0, len(starts), batch_size)]
    losses = torch.zeros(len(portions), device=device.torch_device)
    text_bytes = torch.zeros(1, dtype=torch.int64)
    try:
        # Not inference_mode: it is no faster, and what a model makes at its first use and keeps, such as a table of
        # positions, training could not use if it were made in it.
        with torch.no_grad():
            for number, is_ours in ranks.turns(len(portions)):
                windows = tokens.gather(starts[portions[number]], block_size + 1)
                counted = np.arange(block_size) >= skipped[portions[number], None]  # (B, T)
                inputs, targets = to_device(windows, device)
                if not counted.all():
                    left_out = torch.from_numpy(~counted).to(targets.device)
                    targets = targets.masked_fill(left_out, NOT_COUNTED)  # a copy: inputs lie in the same memory
                with device.autocast():
                    _, loss = model(inputs, targets)
                if is_ours:
                    losses[number] = loss.float()
                    if byte_lengths is not None:
                        text_bytes += int(byte_lengths[windows[:, 1:][counted]].sum())
                if not ranks.agree(go_on()):
                    raise BrokenOff
            means = ranks.sum(losses).cpu().double().numpy()
            text_bytes = ranks.sum(text_bytes)
    finally:
        model.train(was_training)
    weights = np.array([int((block_size - skipped[portion]).sum()) for portion in portions])
    loss, stderr = _weighted(means, weights, MOST_UNITS if batches is None else len(means))
    return Estimate(loss, stderr, int(weights.sum()), None if byte_lengths is None else int(text_bytes))


def whole_split(tokens: int, block_size: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows that predict every token of a split but its first, each once: starts and skipped, both (n,) int64.

    Windows lie side by side. What is left at the end is the end of one more whole window, which overlaps the one before
    it and skips that many targets: so what is predicted there has a context, and every batch has the same shape, for
    which a compiled model is compiled already. Windows that only fill up the last batch skip all.
    """
    predicted = tokens - 1
    count = -(-predicted // block_size)
    starts = np.minimum(np.arange(count, dtype=np.int64) * block_size, predicted - block_size)
    skipped = np.arange(count, dtype=np.int64) * block_size - starts
    filling = np.zeros(-count % batch_size, dtype=np.int64)
    return np.concatenate([starts, filling]), np.concatenate([skipped, filling + block_size])


def _weighted(means: np.ndarray, weights: np.ndarray, most_units: int) -> tuple[float, float | None]:
    """Mean over all tokens, and its standard error, from each batch's mean and number of tokens.

    Args:
        most_units: where there are more batches, so many neighbours are taken together that there are not.
    """
    mean = float(np.average(means, weights=weights))
    if len(means) == 1:
        return mean, None
    first = np.arange(0, len(means), -(-len(means) // most_units))
    sums = np.add.reduceat(weights * (means - mean), first)
    n = len(sums)
    return mean, float(np.sqrt(n / (n - 1) * np.sum(sums**2)) / weights.sum())


class Evaluator:
    """Evaluates one run: both splits, the same windows every time, and which step was best.

    Args:
        batch: sequences that one of the profile's eval_steps stands for; the portions they are taken in do not matter.
    """

    def __init__(
        self, data: Dataset, device: Device, emit: Callable[[Event], None], batch: int, ranks: Ranks = ALONE
    ) -> None:
        self._data, self._device, self._emit, self._batch, self._ranks = data, device, emit, batch, ranks
        self.best_val_loss: float | None = None
        self.best_step: int | None = None
        self.train_loss: float | None = None
        self.val_loss: float | None = None
        self.step: int | None = None
        """Step of the newest losses."""
        self._whole_step: int | None = None
        self._fitting: int | None = None  # sequences at a time, since more ran out of memory

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
        self._whole_step = None  # of a way that a rewind has left, perhaps

    def knows(self, step: int, *, whole: bool) -> bool:
        """Whether the losses at a step are known already: they would come out the same again."""
        return step == (self._whole_step if whole else self.step)

    def evaluate(
        self, step: int, model: torch.nn.Module, profile: Profile, *, whole: bool = False,
        go_on: Callable[[], bool] = lambda: True,
    ) -> bool:  # fmt: skip
        """Estimates both losses and says so; True where val_loss is the lowest so far.

        Args:
            whole: on the whole validation split, whatever the profile says. Where it says otherwise the estimate stands
                aside: compared with those on other tokens, it could make a step look the best that is not.
            go_on: asked after each batch; where it says no, nothing has been estimated and nothing is noted.
        """
        start = time.perf_counter()
        train_config, block_size = profile.train, profile.model.block_size
        aside = whole and train_config.eval_steps > 0
        whole = whole or not train_config.eval_steps
        batches, size = train_config.eval_steps, min(profile.micro_batch_size, self._batch)
        if whole:
            batches = len(whole_split(len(self._data.val), block_size, size)[0]) // size

        def both(portion: int) -> tuple[Estimate, Estimate]:
            estimate = functools.partial(
                estimate_loss, model, device=self._device, block_size=block_size, batch_size=portion,
                count=batches * (size if whole else self._batch), go_on=go_on, ranks=self._ranks,
            )  # fmt: skip
            return estimate(tokens=self._data.train, batches=batches), estimate(
                tokens=self._data.val, batches=None if whole else batches,
                byte_lengths=self._byte_lengths if whole else None,
            )  # fmt: skip

        try:
            estimates = self._within_memory(step, both, size)
        except BrokenOff:
            self._emit(LogLine(level="info", text=f"evaluation at step {step:,} broken off"))
            return False
        if estimates is None:
            return False
        train, val = estimates
        best = not aside and math.isfinite(val.loss) and (self.best_val_loss is None or val.loss < self.best_val_loss)
        if best:
            self.best_val_loss, self.best_step = val.loss, step
        if whole:
            self._whole_step = step
        if not aside:
            self.step, self.train_loss, self.val_loss = step, train.loss, val.loss
        per_token = val.bytes / val.tokens if val.bytes is not None else self._data.val_bytes_per_token
        self._emit(EvalDone(
            step=step, train_loss=finite(train.loss), val_loss=finite(val.loss), val_stderr=finite(val.stderr),
            bpb=finite(val.loss / math.log(2) / per_token) if per_token else None, val_tokens=val.tokens,
            whole=whole, aside=aside, seconds=time.perf_counter() - start, best=best,
        ))  # fmt: skip
        return best

    def _within_memory(
        self, step: int, both: Callable[[int], tuple[Estimate, Estimate]], size: int
    ) -> tuple[Estimate, Estimate] | None:
        """What `both` makes of portions of `size` sequences, or of smaller ones where memory runs out.

        None, said as a warning, where not even one sequence fits. Of several ranks one cannot begin again while the
        others go on: there the error is raised on.
        """
        size = min(size, self._fitting or size)
        while True:
            try:
                return both(size)
            except torch.OutOfMemoryError as error:
                if self._ranks.size > 1:
                    raise
                why = str(error).partition("\n")[0]
            self._device.release_memory()
            if size == 1:
                text = f"evaluation at step {step:,} left out: out of memory with one sequence at a time ({why})"
                self._emit(LogLine(level="warning", text=text))
                return None
            size = self._fitting = size // 2
            text = f"out of memory in the evaluation at step {step:,}, which begins again with {size} at a time ({why})"
            self._emit(LogLine(level="warning", text=text))

    @functools.cached_property
    def _byte_lengths(self) -> np.ndarray | None:
        """(V,) bytes of text behind each id; None where the vocabulary is not at hand."""
        return byte_lengths(self._data.tokenizer, self._data.val.vocab_size)


def byte_lengths(tokenizer: Tokenizer, rows: int) -> np.ndarray | None:
    """(rows,) bytes of text behind each id of a model that has so many, 0 for those that only pad it.

    None where the vocabulary is not at hand: tokens can be predicted without it.
    """
    try:
        known = tokenizer.byte_lengths()
    except DataError:
        return None
    return np.pad(known, (0, max(0, rows - len(known))))


def finite(value: float | None) -> float | None:
    """The value, or None where it is not a finite number: JSON has no other way to say that."""
    return value if value is not None and math.isfinite(value) else None
