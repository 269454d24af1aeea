"""One optimizer step: gather, forward, backward, clip, update; and how long it took.

On a GPU the host never waits for the step it has just queued: the result of a step is read when the next one has been
queued, so `take` returns the step before (or None), and `drain` is the one place that waits for the newest.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from gpt.config import Profile
from gpt.cudagraphs import WARM_UP_PASSES
from gpt.data import BatchOrder, Tokens
from gpt.device import Device
from gpt.guard import Limits
from gpt.lanes import Lanes
from gpt.ledger import TimeLedger
from gpt.model import GPT
from gpt.optim import clip_grad_norm, set_learning_rate, set_weight_decay, step_within
from gpt.probe import norm_of_part
from gpt.ranks import ALONE, Ranks
from gpt.reader import Reader
from gpt.stepclock import StepClock, StepResult

PARTS = ("data", "forward", "backward", "both passes", "optimizer")
"""Parts of a step: a batch is made, the loss is computed, its gradient, or both in one, the update (clipping
included)."""


class Stepper:
    """Takes optimizer steps on a model.

    Args:
        forward: the model, or the compiled form of it; with several ranks, what shares their gradients.
        order: where each sequence of the run starts in `tokens`; a pure function of its number.
        ledger: the phase `data` is switched to while a batch is waited for.
    """

    def __init__(
        self,
        model: GPT,
        forward: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler | None,
        tokens: Tokens,
        order: BatchOrder,
        device: Device,
        profile: Profile,
        ledger: TimeLedger,
        lanes: Lanes | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.model, self.forward, self.optimizer, self.scaler = model, forward, optimizer, scaler
        self.tokens, self.order, self.device, self.ledger, self.ranks = tokens, order, device, ledger, ranks
        self.seed = profile.train.seed
        self.block_size = profile.model.block_size
        self.reader = Reader(tokens, order, self.block_size, device, every=ranks.size)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.portion(profile, lanes)
        self.on_part: Callable[[str], None] = _ignore
        """Told each of PARTS when `take` has done with it (on a GPU: has queued it). Must not wait for the device."""
        self.is_updating = False
        """True from a step's first change of a weight until it is whole; after an error then, nothing is saved."""
        self._under_way: StepClock | None = None
        self._queued: StepClock | None = None

    def portion(self, profile: Profile, lanes: Lanes | None) -> None:
        """Sets in what portions the sequences of each step that follows are taken."""
        self.micro_batch_size = profile.micro_batch_size
        self.accum = self.ranks.share(profile.grad_accum_steps)
        self.lanes = lanes
        """Splits each micro-batch over threads; None: it goes through `forward` as a whole."""

    @property
    def lane_count(self) -> int:
        """Parts that a micro-batch is split into; 1: none."""
        return self.lanes.count if self.lanes else 1

    def take(
        self, step: int, sequence: int, *, lr: float, weight_decay: float, grad_clip: float,
        between: Callable[[], bool], interrupted: Callable[[], bool] = lambda: False,
        limits: Limits | None = None, probe: bool = False,
    ) -> StepResult | None:  # fmt: skip
        """Takes step number `step` (from 1) on the sequences from number `sequence` on.

        Args:
            between: called between micro-steps; False abandons the step: no weight has changed then.
            interrupted: whether `between` will do more than look.
            limits: the update is left out where it exceeds them; None: it is applied whatever it is.
            probe: also measure the gradient norm of a part of the step.

        Returns the newest result that is to be had without waiting: this step's on a CPU, the one before on a GPU.

        Raises Abandoned when `between` said so.
        """
        set_learning_rate(self.optimizer, lr)
        set_weight_decay(self.optimizer, weight_decay)
        queued = StepClock(step, lr, self.device)
        self._under_way = queued
        total: torch.Tensor | None = None
        self.ranks.begin_step(self.seed, sequence)
        for micro_step in range(self.accum):
            if micro_step and interrupted():
                self.device.synchronize()  # or the wait for our own kernels would count as time away from the step
            if micro_step and not queued.pause_while(between):
                self.forget_gradient()
                raise Abandoned
            with self.ledger.during("data"), queued.waiting_for_data():
                place = micro_step * self.ranks.size + self.ranks.rank
                inputs, targets = self.reader.take(sequence + place * self.micro_batch_size, self.micro_batch_size)
            self.on_part("data")
            self.ranks.share_gradient(self.forward, now=micro_step == self.accum - 1)
            loss = self.add_gradient(inputs, targets)
            total = loss if total is None else total + loss
            if probe and micro_step == 0:
                queued.part_norm = norm_of_part(self, inputs, targets)
        assert total is not None
        total = self.ranks.mean(total)  # before the update: if another rank is lost here, the weights are still whole
        norm, applied = self.update(grad_clip, total, limits)
        self.on_part("optimizer")
        queued.finish(total, norm, applied)
        self._under_way = None
        self.is_updating = False
        if not self.device.lags:
            return queued.read()
        before, self._queued = self._queued, queued
        return before.read() if before else None

    def drain(self) -> StepResult | None:
        """Waits for the newest step and returns its result, if it was not returned before."""
        before, self._queued = self._queued, None
        return before.read() if before else None

    def add_gradient(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Adds a micro-step's share of the gradient; returns its share of the step's mean loss, on the device."""
        if self.lanes:
            loss = self.lanes.add_gradient(inputs, targets, 1 / self.accum, self.on_part)
            self.on_part(self.lanes.last_part)
        else:
            share = self.share_of_loss(inputs, targets)
            self._note_own_time()
            self.on_part("forward")
            self.backward(share)
            loss = share.detach()
            self.on_part("backward")
        return loss

    def _note_own_time(self) -> None:
        """At the end of each forward pass: in the last backward pass ranks wait for each other, if not before."""
        if self._under_way and self.ranks.size > 1 and not self.ranks.meets_early:
            self._under_way.note_own()

    def share_of_loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """This micro-step's share of this rank's mean loss in the step, on the device."""
        with self.device.autocast():
            _, loss = self.forward(inputs, targets)
        return loss / self.accum if self.accum > 1 else loss

    def backward(self, loss: torch.Tensor) -> None:
        """Adds a micro-step's share of the gradient."""
        (self.scaler.scale(loss) if self.scaler else loss).backward()

    def update(
        self, grad_clip: float, loss: torch.Tensor, limits: Limits | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Clips, updates the weights within the limits and clears the gradient.

        Returns the gradient norm before clipping, and whether the weights were updated; both on the device.
        """
        if not self.lanes:
            return self._update(grad_clip, loss, limits)
        with self.lanes.narrow():  # so short a piece of work is not worth the threads' meeting either
            self.lanes.gather()
            return self._update(grad_clip, loss, limits)

    def _update(self, grad_clip: float, loss: torch.Tensor, limits: Limits | None) -> tuple[torch.Tensor, torch.Tensor]:
        before, is_first = self._versions(), not self.optimizer.state
        try:
            if self.scaler:
                self.scaler.unscale_(self.optimizer)
            norm = clip_grad_norm(self.parameters, grad_clip, self.ranks)
            self.is_updating = True
            applied = step_within(self.optimizer, self.scaler, loss, norm, limits, waits=not self.device.lags)
        except torch.OutOfMemoryError:
            self._take_back(before, is_first)
            raise
        self.optimizer.zero_grad(set_to_none=True)
        return norm, applied

    def _take_back(self, before: list[int], is_first: bool) -> None:
        """After an update that ended for want of memory: as if it had not begun, where nothing has changed yet."""
        self.is_updating = self._versions() != before
        if is_first:  # a state that was made in part would pass for a whole one
            self.optimizer.state.clear()
        if self.scaler:
            self.scaler.update(new_scale=self.scaler.get_scale())  # the same, but it forgets what it has unscaled

    def _versions(self) -> list[int]:
        """How often each group's first weight and its optimizer state were written to: a group is updated in order, so
        none of it has changed where they have not. A fused update does not count as writing to the weights; before it,
        the numbers of steps in the state are raised, and that does."""
        firsts = [group["params"][0] for group in self.optimizer.param_groups if group["params"]]
        states = [self.optimizer.state.get(first, {}) for first in firsts]
        return [
            first._version + sum(value._version for value in state.values() if isinstance(value, torch.Tensor))
            for first, state in zip(firsts, states, strict=True)
        ]

    def warm_up(self, passes: int = 1) -> None:
        """Compiles or records both passes on a batch of zeros; weights, gradients and generators stay as they are.

        Raises DeviceError where they cannot be compiled here.
        """
        shape = (self.micro_batch_size, self.block_size + 1)
        windows = torch.zeros(shape, dtype=torch.int64, device=self.device.torch_device)
        devices = [self.device.torch_device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            for _ in range(max(passes, WARM_UP_PASSES) if self.device.cuda_graphs else passes):
                with self.device.compiling():
                    self.add_gradient(windows[:, :-1], windows[:, 1:])
        self.forget_gradient()
        self.device.synchronize()

    def forget_gradient(self) -> None:
        """Drops what the micro-steps of a step that is given up have added."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.lanes:
            self.lanes.clear()


def _ignore(part: str) -> None:
    """Nobody wants to know."""


class Abandoned(Exception):
    """A step was given up between two micro-steps; the weights are those of the step before."""
