"""AdamW as GPT-2's trainers use it: decay on matrices only, one fused kernel for all parameters, global clipping.

Or Muon for the matrices inside the blocks, beside it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gpt.config import OptimConfig
from gpt.guard import Limits
from gpt.muon import MuonWithAdamW
from gpt.ranks import ALONE, Ranks

_FUSED = ("cpu", "cuda", "mps")
"""Device types with a fused AdamW kernel."""


def make_optimizer(model: nn.Module, optim: OptimConfig, device_type: str) -> torch.optim.Optimizer:
    """The optimizer that `optim.name` asks for, over named groups, each in the model's own order.

    `decay` holds the matrices: linear weights and embeddings, the tied one once. `no_decay` holds biases and layer
    norms, as in nanoGPT. Both are AdamW's (Loshchilov & Hutter 2019). With `muon` the matrices inside the blocks leave
    `decay` for a group of their own, `hidden`. Each group carries its name under `name`.

    Args:
        device_type: `cuda`, `cpu`, `mps` or another type torch knows; where it has no fused kernel, foreach is used.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    hidden = [p for name, p in named.items() if is_hidden(name, p)] if optim.name == "muon" else []
    apart = {id(p) for p in hidden}
    matrices = [p for p in named.values() if p.dim() >= 2 and id(p) not in apart]
    others = [p for p in named.values() if p.dim() < 2]
    fused = device_type in _FUSED
    adamw = torch.optim.AdamW(
        [
            {"name": "decay", "params": matrices, "weight_decay": optim.weight_decay},
            {"name": "no_decay", "params": others, "weight_decay": 0.0},
        ],
        lr=optim.learning_rate,
        betas=(optim.beta1, optim.beta2),
        fused=fused,
        foreach=not fused,
    )
    if not hidden:
        return adamw
    return MuonWithAdamW(hidden, adamw, learning_rate=optim.learning_rate, weight_decay=optim.weight_decay)


def is_hidden(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter maps hidden features to hidden features: a matrix inside a block, not embedding or head."""
    return name.startswith("transformer.h.") and parameter.dim() == 2


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """The rate of every group from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def set_weight_decay(optimizer: torch.optim.Optimizer, weight_decay: float) -> None:
    """The decay of the matrices from the next step on; the group `no_decay` stays without."""
    for group in optimizer.param_groups:
        if group["name"] != "no_decay":
            group["weight_decay"] = weight_decay


@torch.no_grad()
def clip_grad_norm(parameters: Iterable[nn.Parameter], max_norm: float, ranks: Ranks = ALONE) -> Tensor:
    """Scales all gradients so that their global L2 norm is at most `max_norm`; 0 only measures.

    Returns the norm before clipping, a float32 scalar on the device, without waiting for it. A norm that is not finite
    is returned as it is and spoils the gradients, so look at it before stepping.
    """
    gradients = ranks.own_parts([p.grad for p in parameters if p.grad is not None])
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # pyright: ignore[reportPrivateImportUsage]
    norm = ranks.whole_norm(norm)
    if max_norm and (norm.device.type != "cpu" or not norm <= max_norm):  # a CPU can look at it; others would wait
        torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))  # pyright: ignore[reportPrivateImportUsage]
    return norm


def step_within(
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    loss: Tensor,
    norm: Tensor,
    limits: Limits | None,
    *,
    waits: bool,
) -> Tensor:
    """Takes the optimizer's step where `loss` and gradient `norm`, scalars on the device, keep to `limits`.

    Otherwise weights and the optimizer's whole state stay as they are. None: no limits but those of the scaler, whose
    gradients have been unscaled.

    Args:
        waits: let the host look at both first. Else the device decides, as it does for a scaler, and the host goes on.

    Returns whether the step was taken, a boolean scalar on the device.
    """
    if limits is None:
        applied = norm.isfinite() if scaler else torch.ones_like(norm, dtype=torch.bool)
        scaler.step(optimizer) if scaler else optimizer.step()
    else:
        applied = (loss <= limits.loss) & (norm <= limits.grad_norm)  # NaN keeps to nothing
        if not waits:
            setattr(optimizer, "found_inf", (~applied).float())  # noqa: B010  # what fused kernels obey; no declared field
            optimizer.step()
            delattr(optimizer, "found_inf")
        elif applied:
            optimizer.step()
    if scaler:
        scaler.update()
    return applied
