"""The norm of a part of a step's gradient, for the noise scale (gpt.noise), without disturbing the step.

Where a step is made of parts anyway, micro-steps or lanes, the first one's gradient lies there before the others are
added, and its norm is all that is computed. Else half of the batch is run a second time, which takes half a step; of a
compiled step, which knows one shape only, the whole batch with half of the loss, which takes nearly a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gpt.evaluate import NOT_COUNTED

if TYPE_CHECKING:
    from gpt.stepper import Stepper


def part_of_step(stepper: Stepper) -> int | None:
    """Sequences whose gradient `norm_of_part` measures, fewer than in a step; None where none can be had.

    `why_none` says why.
    """
    if why_none(stepper):
        return None
    part = stepper.micro_batch_size // stepper.lane_count
    return part if part < stepper.micro_batch_size * stepper.accum else stepper.micro_batch_size // 2


def why_none(stepper: Stepper) -> str | None:
    """Why no part of a step can be measured, for people; None where one can."""
    if stepper.ranks.size > 1:
        return "what lies on one of several ranks may be a part of any of their gradients"
    if stepper.accum > 1 or stepper.lane_count > 1:
        return None
    if stepper.micro_batch_size < 2:
        return "a step of a single sequence has no parts"
    if stepper.device.type not in ("cpu", "cuda"):
        return f"dropout's generator cannot be put back on {stepper.device.type}; accumulate over two micro-steps"
    return None


def norm_of_part(stepper: Stepper, inputs: Tensor, targets: Tensor) -> Tensor:
    """L2 norm of the gradient of the mean loss over `part_of_step` sequences, a scalar on the device.

    To be called once the first micro-step's gradient has been added; `inputs` and `targets` are its batch, (B, T). Does
    not wait for the device, and leaves gradients and generators as they are.
    """
    one = torch.ones((), device=stepper.device.torch_device)
    scale = stepper.scaler.scale(one) if stepper.scaler else one  # of fp16's gradients, without fetching it
    parts = stepper.accum * stepper.lane_count
    if parts > 1:
        gradients = [p.grad for p in stepper.parameters if p.grad is not None]
        return _norm(gradients) * parts / scale
    half = len(inputs) // 2
    if stepper.device.compile:
        targets = _only_first(targets, half)
    else:
        inputs, targets = inputs[:half], targets[:half]
    devices = [stepper.device.torch_device] if stepper.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        loss = stepper.share_of_loss(inputs, targets)
        return _norm(list(torch.autograd.grad(loss * scale, stepper.parameters))) / scale


def _only_first(targets: Tensor, count: int) -> Tensor:
    """A copy of (B, T) targets of which only the first `count` rows count in the loss, a mean over what counts.

    Laid out as they are: another layout would be compiled anew, just as another shape would.
    """
    masked = torch.empty_strided(targets.shape, targets.stride(), dtype=targets.dtype, device=targets.device)
    masked.copy_(targets)
    masked[count:] = NOT_COUNTED
    return masked


def _norm(gradients: list[Tensor]) -> Tensor:
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # pyright: ignore[reportPrivateImportUsage]
