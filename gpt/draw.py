"""One token from logits: which of them have a chance, and the throw of the dice."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_COLDEST = 1e-5
"""Below this temperature only the likeliest token has a chance, and dividing by it would overflow."""


@torch.inference_mode()
def draw(
    logits: Tensor,
    *,
    temperature: float,
    top_k: int,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    seen: Tensor | None = None,
    generator: torch.Generator,
) -> int:
    """One token id from (V,) logits, by `generator` alone.

    In this order: the penalty on what has been seen, the temperature, the k likeliest, of them the likeliest that make
    up p. What is off costs nothing and changes no bit.

    Args:
        temperature: divides the logits; 0 always takes the likeliest token.
        top_k: draw among the k likeliest tokens; 0: among all.
        top_p: draw among the fewest likeliest tokens whose probabilities make up this share (Holtzman et al. 2020,
            section 3.1); 1: among all that top_k leaves.
        repetition_penalty: divides the positive logits of seen tokens and multiplies the negative ones, so that either
            way they become less likely (Keskar et al. 2019, section 4.1, who divide both); 1: none.
        seen: (V,) bool, the tokens to penalize.

    Raises FloatingPointError where the logits are not finite.
    """
    logits = logits.to(generator.device, torch.float32)
    if repetition_penalty != 1 and seen is not None:
        penalized = torch.where(logits > 0, logits / repetition_penalty, logits * repetition_penalty)
        logits = torch.where(seen, penalized, logits)
    peak, likeliest = logits.max(dim=0)  # not a number if any logit is not
    if not math.isfinite(peak):
        raise FloatingPointError("the model's logits are not finite: its training has diverged")
    if temperature < _COLDEST:
        return int(likeliest)
    candidates = None
    if 0 < top_k < len(logits):
        logits, candidates = torch.topk(logits, top_k)
    elif top_p < 1:
        logits, candidates = torch.sort(logits, descending=True, stable=True)
    probabilities = torch.softmax(logits / temperature, dim=0)
    if top_p < 1:
        nucleus = nucleus_size(probabilities, top_p)
        probabilities = probabilities[:nucleus]
    choice = torch.multinomial(probabilities, 1, generator=generator)
    return int(choice if candidates is None else candidates[choice])


def nucleus_size(probabilities: Tensor, top_p: float) -> int:
    """How many of the falling (n,) probabilities it takes to make up `top_p`; 1 at least."""
    before = probabilities.cumsum(dim=0) - probabilities  # what the likelier ones make up without this one
    return max(1, int((before < top_p).sum()))
