"""A compiled model whose kernels are replayed as CUDA graphs, for models so small that a GPU waits for its host.

torch's `reduce-overhead` mode records the kernels of a forward and a backward pass once and launches each recording as
one. A replay writes its results to where the recording had them, so that whatever is to outlive it must be copied out:
the loss, which is read a step later, and gradients, which the micro-steps of a step add up.

Its gain and its memory, of which a recording keeps its own, have not been measured yet: it is off unless asked for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

WARM_UP_PASSES = 3
"""The first compiles, the second records, the third replays."""


class Replayed(nn.Module):
    """Calls a model compiled in that mode by its rules; what it returns and the gradients belong to the caller.

    Args:
        model: the parameters are its; each copies its gradient as it comes.
        recorded: `torch.compile(model, mode="reduce-overhead")`, or what reuses its memory likewise.
    """

    def __init__(self, model: nn.Module, recorded: Any) -> None:
        super().__init__()
        self._recorded = (recorded,)  # in a tuple, so that the parameters keep the names they have in the model
        for parameter in model.parameters():
            parameter.register_hook(torch.clone)

    def forward(self, ids: Tensor, targets: Tensor) -> tuple[None, Tensor]:
        """None, and the mean loss in nats/token, of (B, T) ids and the tokens after them."""
        torch.compiler.cudagraph_mark_step_begin()
        _, loss = self._recorded[0](ids, targets)
        return None, loss.clone()
