"""A learning-rate range test (Smith 2017, arXiv 1506.01186, section 3.3) in the middle of a run, which it leaves alone.

The rate rises by the same factor from each step to the next, on batches that the run itself does not read, until the
loss diverges. Before that the whole training state is copied to host memory, and put back afterwards: weights,
optimizer, scaler and generators, bit for bit. All other settings are the run's: gradient clipping, weight decay,
tokens in a step.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil
import torch

from gpt import events as ev
from gpt.commands import RangeTest
from gpt.config import Profile
from gpt.data import Dataset
from gpt.device import Device
from gpt.evaluate import finite, to_device
from gpt.hostcopy import SPARE_BYTES, size_of
from gpt.optim import set_learning_rate, set_weight_decay
from gpt.order import BatchOrder
from gpt.ranks import Ranks
from gpt.reporter import Reporter
from gpt.snapshot import Snapshot

SPAN = 100.0
"""Without bounds of its own a test goes from a 100th of optim.learning_rate to 100 times it."""
SMOOTHING = 0.9
"""Decay of the mean of the losses, per step."""
DIVERGED = 0.25
"""Rise of the smoothed loss above its least, nats/token, at which it has diverged: a perplexity 1.28 times as high.
Four times the least, as in tests on images, is more than a language model's loss comes to: it ends at that of guessing
by frequency alone."""
DIVERGED_NOISE = 3.0
"""The same in deviations of a single step's loss, where those are wider."""
FALL_NOISE = 3.0
"""Fall of the smoothed loss, in deviations of a single step's, from which its steepest place means something."""
SAFETY = 10.0
"""How far below the rate at which the loss diverges a suggestion stays."""

_STREAM = 0x7E57  # parts the seed of a test's batches from the run's


class Run(Protocol):
    """What is tested of a run."""

    profile: Profile
    step: int
    ranks: Ranks
    reporter: Reporter
    device: Device
    data: Dataset
    snapshot: Snapshot


def try_rates(run: Run, command: RangeTest, go_on: Callable[[], bool]) -> None:
    """Makes a range test of a run that is at a step boundary, and says how it went.

    Args:
        go_on: asked after each step; False gives the test up.

    Changes nothing, and says why, where the bounds make no range, there is no memory for the copy, or several ranks
    train.
    """
    present = run.profile.optim.learning_rate
    low, high = command.low or present / SPAN, command.high or present * SPAN
    run.snapshot.begin_step_again()  # a step that was given up for this has drawn from the generators
    if why_not := _objection(run, low, high):
        run.reporter.log("warning", f"no range test: {why_not}")
        return
    start = time.perf_counter()
    run.reporter.emit(ev.RangeTestStarted(step=run.step, low=low, high=high, steps=command.steps, present=present))
    points: list[ev.RangeTestPoint] = []
    ending = ""
    state = _StateCopy(run.snapshot)
    try:
        for point in _sweep(run, low, high, command.steps):
            points.append(point)
            run.reporter.emit(point)
            if not go_on():
                ending = "it was given up"
                break
    except torch.OutOfMemoryError:
        ending = "out of memory"
    finally:
        state.put_back()
    diverged = points[-1].rate if points and has_diverged(points) else None
    suggestion, rule = (None, ending) if ending else suggest(points, diverged)
    run.reporter.emit(ev.RangeTestDone(
        step=run.step, points=len(points), suggestion=suggestion, rule=rule, diverged_at=diverged,
        seconds=time.perf_counter() - start,
    ))  # fmt: skip


def _objection(run: Run, low: float, high: float) -> str | None:
    if run.ranks.size > 1:
        return f"it takes a process that trains alone, and here {run.ranks.size} ranks do"
    if not low < high:
        return f"the rate cannot rise from {low:g} to {high:g}"
    needed, free = size_of(run.snapshot.tensors()), psutil.virtual_memory().available
    if needed + SPARE_BYTES > free:
        return f"a copy of the training state takes {needed / 1e6:,.0f} MB of memory, and {free / 1e6:,.0f} MB are free"
    return None


class _StateCopy:
    """All that training depends on, in host memory."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._facts = copy.deepcopy(snapshot.facts())
        self._files = {
            name: {key: tensor.detach().to("cpu", copy=True) for key, tensor in tensors.items()}
            for name, tensors in snapshot.tensors().items()
        }

    def put_back(self) -> None:
        stepper = self._snapshot.stepper
        stepper.forget_gradient()
        self._snapshot.put(self._files["model"], self._files["optimizer"], self._facts, Path("the copy"))
        self._snapshot.capture_generators()
        stepper.is_updating = False


def _sweep(run: Run, low: float, high: float, steps: int) -> Iterator[ev.RangeTestPoint]:
    """Takes the test's steps, one a point, until the last rate or the loss has diverged."""
    stepper, optim, block_size = run.snapshot.stepper, run.profile.optim, run.profile.model.block_size
    size, accum = stepper.micro_batch_size, stepper.accum
    seed = int(np.random.SeedSequence([run.profile.train.seed, _STREAM, run.step]).generate_state(1, np.uint64)[0])
    order = BatchOrder(len(run.data.train), block_size, seed, "replacement")
    set_weight_decay(stepper.optimizer, optim.weight_decay)
    points: list[ev.RangeTestPoint] = []
    mean = 0.0
    for number in range(steps):
        rate = low * (high / low) ** (number / (steps - 1))
        set_learning_rate(stepper.optimizer, rate)
        loss = torch.zeros((), device=run.device.torch_device)
        for micro_step in range(accum):
            starts = order.starts((number * accum + micro_step) * size, size)
            windows = run.data.train.gather(starts, block_size + 1)
            loss = loss + stepper.add_gradient(*to_device(windows, run.device))
        stepper.update(optim.grad_clip, loss)
        value = finite(loss.item())
        if value is not None:
            mean = SMOOTHING * mean + (1 - SMOOTHING) * value
        smoothed = mean / (1 - SMOOTHING ** (number + 1)) if value is not None else None
        points.append(ev.RangeTestPoint(rate=rate, loss=value, smoothed=smoothed))
        yield points[-1]
        if has_diverged(points):
            return


def has_diverged(points: Sequence[ev.RangeTestPoint]) -> bool:
    """Whether the newest loss is no number, or the smoothed one lies DIVERGED or DIVERGED_NOISE above its least."""
    newest = points[-1].smoothed
    if newest is None:
        return True
    losses = np.array([point.loss for point in points])
    least = min(point.smoothed for point in points if point.smoothed is not None)
    return newest - least > max(DIVERGED, DIVERGED_NOISE * _noise(losses))


def _noise(losses: np.ndarray) -> float:
    """Robust deviation of a single loss about its trend, nats/token: from the differences between neighbours, of which
    the half that a beginning divergence can widen counts for nothing."""
    steps = np.abs(np.diff(losses))
    return 1.4826 / math.sqrt(2) * float(np.median(steps)) if len(steps) >= 4 else 0.0


def suggest(points: Sequence[ev.RangeTestPoint], diverged_at: float | None) -> tuple[float | None, str]:
    """A learning rate, to two digits, and the rule that it comes from; None, and why there is none.

    The rate of steepest descent: where the smoothed loss falls fastest by the logarithm of the rate, before its least
    (fastai's `lr_find`, suggestion `steep`). It counts only where the loss falls by more than FALL_NOISE: weights that
    have been trained for long hardly fall at any rate. Else a tenth of the rate at which the loss diverges, and
    never above that (an order of magnitude below the end of the range is how `lr_find` was first read).
    """
    known = [point for point in points if point.loss is not None and point.smoothed is not None]
    if len(known) < 10:
        return None, "too few steps"
    smoothed, noise = np.array([p.smoothed for p in known]), _noise(np.array([p.loss for p in known]))
    window = max(3, len(known) // 10)
    least = int(np.argmin(smoothed))
    limit = diverged_at / SAFETY if diverged_at is not None else None
    if least >= window and smoothed[:window].mean() - smoothed[least] > FALL_NOISE * noise:
        falls = smoothed[: least + 1 - window] - smoothed[window : least + 1]
        steepest = known[int(np.argmax(falls)) + window // 2].rate
        if limit is None or steepest <= limit:
            return _rounded(steepest), "steepest descent"
    if limit is None:
        return None, "the loss neither falls clearly nor diverges"
    return _rounded(limit), "a tenth of the rate at which the loss diverges"


def _rounded(rate: float) -> float:
    """Down to two digits: up could take it over its limit."""
    unit = 10.0 ** (math.floor(math.log10(rate)) - 1)
    return float(f"{math.floor(rate / unit + 1e-9) * unit:.1e}")
