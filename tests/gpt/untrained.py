"""Models that have learnt nothing, for what is to be right with any weights."""

from __future__ import annotations

import torch

from gpt.config import ModelConfig
from gpt.model import GPT


def opinionated(vocab_size: int, block_size: int, *, scale: float = 8, dropout: float = 0.3) -> GPT:
    """A model of two small layers, its first weights times `scale`: fresh ones hold all tokens for equally likely."""
    torch.manual_seed(0)
    model = GPT(ModelConfig(n_layer=2, n_head=2, n_embd=16, block_size=block_size, dropout=dropout), vocab_size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model
