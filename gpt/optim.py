"""AdamW as GPT-2's trainers use it: decay on matrices only, one fused kernel for all parameters, global clipping."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gpt.config import OptimConfig

_FUSED = ("cpu", "cuda", "mps")
"""Device types with a fused AdamW kernel."""


def make_optimizer(model: nn.Module, optim: OptimConfig, device_type: str) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) over two groups, each in the model's own order.

    `decay` holds the matrices: linear weights and embeddings, the tied one once. `no_decay` holds biases and layer
    norms, as in nanoGPT. Each group carries its name under `name`.

    Args:
        device_type: `cuda`, `cpu`, `mps` or another type torch knows; where it has no fused kernel, foreach is used.
    """
    matrices = [p for p in model.parameters() if p.requires_grad and p.dim() >= 2]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() < 2]
    fused = device_type in _FUSED
    return torch.optim.AdamW(
        [
            {"name": "decay", "params": matrices, "weight_decay": optim.weight_decay},
            {"name": "no_decay", "params": others, "weight_decay": 0.0},
        ],
        lr=optim.learning_rate,
        betas=(optim.beta1, optim.beta2),
        fused=fused,
        foreach=not fused,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """The rate of every group from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def set_weight_decay(optimizer: torch.optim.Optimizer, weight_decay: float) -> None:
    """The decay of the matrices from the next step on; the group `no_decay` stays without."""
    for group in optimizer.param_groups:
        if group["name"] == "decay":
            group["weight_decay"] = weight_decay


@torch.no_grad()
def clip_grad_norm(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scales all gradients so that their global L2 norm is at most `max_norm`; 0 only measures.

    Returns the norm before clipping, a float32 scalar on the device, without waiting for it. A norm that is not finite
    is returned as it is and spoils the gradients, so look at it before stepping.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # pyright: ignore[reportPrivateImportUsage]
    if max_norm and (norm.device.type != "cpu" or not norm <= max_norm):  # a CPU can look at it; others would wait
        torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))  # pyright: ignore[reportPrivateImportUsage]
    return norm
