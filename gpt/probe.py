"""The norm of a part of a step's gradient, for the noise scale (gpt.noise), without disturbing the step.

Where a step is made of parts anyway, micro-steps or lanes, the first one's gradient lies there before the others are
added, and its norm is all that is computed. Else half of the batch is run a second time, which takes half a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gpt.stepper import Stepper


def part_of_step(stepper: Stepper) -> int | None:
    """Sequences whose gradient `norm_of_part` measures, fewer than in a step; None where none can be had.

    That is a step of one compiled micro-step: half a batch is another shape, and compiling it takes longer than a
    measurement is worth. Outside CPU and CUDA dropout's generator cannot be put back. Of several ranks none has the
    gradient of a part: what lies there may be of any of them.
    """
    if stepper.ranks.size > 1:
        return None
    part = stepper.micro_batch_size // stepper.lane_count
    if part < stepper.micro_batch_size * stepper.accum:
        return part
    alone = stepper.device.compile or stepper.device.type not in ("cpu", "cuda") or stepper.micro_batch_size < 2
    return None if alone else stepper.micro_batch_size // 2


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
    devices = [stepper.device.torch_device] if stepper.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        loss = stepper.share_of_loss(inputs[:half], targets[:half])
        return _norm(list(torch.autograd.grad(loss * scale, stepper.parameters))) / scale


def _norm(gradients: list[Tensor]) -> Tensor:
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # pyright: ignore[reportPrivateImportUsage]
