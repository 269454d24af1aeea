"""Memory for arithmetic: what a forward pass does not keep, and computes a second time in the backward pass.

Losses, gradients and dropout masks stay the same, for the same kernels run again on the same values: only what lies in
memory between the two passes changes. How much that is says gpt.memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def again(function: Callable[..., Tensor], *arguments: Any, random: bool = False) -> Tensor:
    """`function(*arguments)`, of which only these are kept for the backward pass; without gradients itself.

    Recomputing stops at the last tensor that is needed, so a matrix product at the function's end is not done twice
    (oneDNN's, of gpt.products, is: as a function of ours it says what it keeps once it is done).

    Args:
        random: whether the function draws random numbers (dropout); it will draw the same ones again.
    """
    if not torch.is_grad_enabled():
        return function(*arguments)
    return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=random)


def chunked_loss(head: Callable[[Tensor], Tensor], x: Tensor, targets: Tensor, chunk: int) -> Tensor:
    """Mean cross entropy in nats/token, float32, of which never more than `chunk` tokens' logits exist at once.

    The logits of each portion are computed once for the loss and once more for its gradient, which costs a third of the
    head's arithmetic again.

    Args:
        head: (N, C) → (N, V) logits.
        x: (B, T, C), what the head reads.
        targets: (B, T) int64; -100 leaves a position out.
    """
    portions = zip(x.flatten(0, 1).split(chunk), targets.flatten().split(chunk), strict=True)
    total = torch.stack([again(lambda x, t: _summed_loss(head, x, t), *portion) for portion in portions]).sum()
    return total / (targets != -100).sum()


def _summed_loss(head: Callable[[Tensor], Tensor], x: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of (N, C) against (N,) targets, summed, nats.

    Each portion casts the head's matrix anew: one cast for all would add up their gradients in the lower precision.
    """
    kind = x.device.type
    with torch.autocast(
        kind, dtype=torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind), cache_enabled=False
    ):
        return F.cross_entropy(head(x).float(), targets, reduction="sum")
