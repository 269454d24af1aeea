"""GPT-2 as Radford et al. 2019 describe and release it: a pre-norm decoder with learned positions and a tied head.

The profile can switch single parts to what later models have (gpt.config.ModelConfig); all of that is off by default.

The parameters have nanoGPT's names (`transformer.h.0.attn.c_attn.weight`, …), except that the tied head has none of its
own: it is `transformer.wte.weight`. An untied one is `lm_head.weight`.

Shapes: B sequences, T tokens, C width (n_embd), D width of a head, V rows of the token embedding, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt.config import ModelConfig
from gpt.layers import Block, KVCache, Rotation, make_norm, rotation
from gpt.products import Linear, apply_linear
from gpt.recompute import chunked_loss

INIT_STD = 0.02
"""Standard deviation of fresh weights (Radford et al. 2018, section 4.1)."""


class Transformer(nn.Module):
    """The layers, under the names GPT-2's released weights give them."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd) if config.positions == "learned" else None
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = make_norm(config)


class GPT(nn.Module):
    """A language model: token ids in, logits or loss out. Fresh weights come from torch's global generator.

    Args:
        config: the shape; `n_embd` is a multiple of `n_head`.
        vocab_size: rows of the token embedding, V.
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.loss_chunk = 0
        """Tokens whose logits exist at once while the loss is computed; 0: all of them."""
        device = torch.get_default_device()
        with torch.device("meta"):  # shapes without values: torch's own initial values cost seconds and are not GPT-2's
            self.transformer = Transformer(config, vocab_size)
            self.lm_head = None if config.tie_weights else Linear(config.n_embd, vocab_size, bias=False)
        self.to_empty(device=device)
        self._init_weights()

    def forward(self, ids: Tensor, targets: Tensor | None = None) -> tuple[Tensor | None, Tensor | None]:
        """Logits, or the loss where targets are given: the other one is None.

        Args:
            ids: (B, T) int64, T ≤ block_size.
            targets: (B, T) int64, the token after each; -100 leaves a position out.

        Returns:
            (B, T, V) logits in the precision of the head, capped ones in float32; the mean cross entropy in nats/token,
            float32.
        """
        x = self._embed(ids)
        if targets is not None and self.loss_chunk:
            return None, chunked_loss(self._head, x, targets, self.loss_chunk)
        logits = self._head(x)
        if targets is None:
            return logits, None
        # .float() copies only what autocast has made smaller: in float32 the largest activation stays a single one.
        return None, F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    def _embed(self, ids: Tensor) -> Tensor:
        """(B, T) ids → (B, T, C) residual stream after the last layer."""
        x, by = self._place(ids)
        if self.training and self.config.dropout:
            x = F.dropout(x, self.config.dropout)
        for block in self.transformer.h:
            x = block(x, by)
        return x

    def _place(self, ids: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Rotation | None]:
        """(B, T) ids → (B, T, C), and by what attention turns them where positions are rotary.

        Args:
            positions: (T,) or (B, T); None: from 0 on.
        """
        x, wpe, tokens = self.transformer.wte(ids), self.transformer.wpe, ids.shape[1]
        if wpe is not None:
            return x + (wpe.weight[:tokens] if positions is None else wpe.weight[positions]), None
        positions = torch.arange(tokens, device=ids.device) if positions is None else positions
        return x, rotation(positions, self.config.head_width)

    def _head(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, V) logits, with the token embedding as the matrix where the head is tied.

        A soft cap (Bello et al. 2016, section 5.2; Gemma Team 2024) keeps the order of the logits.
        """
        matrix = self.transformer.wte.weight if self.lm_head is None else self.lm_head.weight
        logits = apply_linear(self.transformer.ln_f(x), matrix)
        cap = self.config.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits.float() / cap)

    def save_memory(self, activation_checkpointing: str, loss_chunk: int) -> None:
        """Sets what is computed twice instead of kept (`train.activation_checkpointing`, `train.loss_chunk`)."""
        self.loss_chunk = loss_chunk
        for block in self.transformer.h:
            cast(Block, block).recomputes = activation_checkpointing

    @torch.inference_mode()
    def forward_cached(self, ids: Tensor, cache: KVCache) -> Tensor:
        """Logits (B, V) of the last position, for (B, T) ids that follow what the cache holds; the cache grows by T.

        Never drops out, whatever mode the model is in. Raises ValueError where the cache has no room.
        """
        return self._head(self._embed_cached(ids, cache)[:, -1])

    @torch.inference_mode()
    def forward_cached_whole(self, ids: Tensor, cache: KVCache, rows: int) -> Iterator[Tensor]:
        """As `forward_cached`, but of all positions: (B, ≤ rows, V) after (B, ≤ rows, V), so that the logits of a
        large vocabulary never exist at once."""
        x = self._embed_cached(ids, cache)
        for first in range(0, x.shape[1], rows):
            yield self._head(x[:, first : first + rows])

    def _embed_cached(self, ids: Tensor, cache: KVCache) -> Tensor:
        """(B, T) ids → (B, T, C) residual stream after the last layer."""
        positions = cache.positions(ids.shape[1])  # (T,), or (B, T) where sequences differ in length
        x, by = self._place(ids, positions)
        for layer, block in enumerate(self.transformer.h):
            x = cast(Block, block).forward_cached(x, by, cache, layer)
        cache.advance(ids.shape[1])
        return x

    def count_parameters(self, positions: bool = True) -> int:
        """Trainable numbers, the tied matrix once; without `positions` as nanoGPT prints it."""
        total = sum(parameter.numel() for parameter in self.parameters())
        wpe = self.transformer.wpe
        return total if positions or wpe is None else total - wpe.weight.numel()

    def crop_block_size(self, block_size: int) -> None:
        """Shortens the longest context. Raises ValueError for one that is longer than the present one."""
        if not 1 <= block_size <= self.config.block_size:
            raise ValueError(f"block size {block_size} is not within 1…{self.config.block_size}")
        self.config = msgspec.structs.replace(self.config, block_size=block_size)
        if self.transformer.wpe is not None:
            kept = self.transformer.wpe.weight[:block_size].detach().clone()
            self.transformer.wpe = nn.Embedding.from_pretrained(kept, freeze=False)

    def _init_weights(self) -> None:
        """Normal weights, zero biases, unit norms. What writes to the residual stream is smaller by 1/√(2L), for the
        2L writes add up (Radford et al. 2019, section 2.3), or zero: then each layer begins as the identity."""
        residual_std = 0.0 if self.config.zero_init else INIT_STD / math.sqrt(2 * self.config.n_layer)
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                nn.init.normal_(parameter, std=residual_std if name.endswith("c_proj.weight") else INIT_STD)
            else:
                nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
