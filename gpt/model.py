"""GPT-2 as Radford et al. 2019 describe and release it: a pre-norm decoder with learned positions and a tied head.

The parameters have nanoGPT's names (`transformer.h.0.attn.c_attn.weight`, …), except that the tied head has none of its
own: it is `transformer.wte.weight`.

Shapes: B sequences, T tokens, C width (n_embd), H heads, D = C / H, V rows of the token embedding, L layers.
"""

from __future__ import annotations

import math
from typing import cast

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt.config import ModelConfig
from gpt.gelu import gelu

INIT_STD = 0.02
"""Standard deviation of fresh weights (Radford et al. 2018, section 4.1)."""


class KVCache:
    """Keys and values of the tokens a model has read, so that each further token costs one position only.

    Args:
        model: the model it is for; it also settles device and number of layers.
        batch: sequences read side by side.
    """

    def __init__(self, model: GPT, batch: int = 1) -> None:
        config, weight = model.config, model.transformer.wte.weight
        shape = (config.n_layer, batch, config.n_head, config.block_size, config.n_embd // config.n_head)
        kind = weight.device.type
        # Under autocast attention runs in the lower precision: kept in it, the cache is not cast anew for each token.
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        self.keys = torch.empty(shape, device=weight.device, dtype=dtype)  # (L, B, H, block_size, D)
        self.values = torch.empty_like(self.keys)
        self.length = 0
        """Tokens read so far."""

    @property
    def capacity(self) -> int:
        """Tokens it can hold: the model's block_size."""
        return self.keys.shape[3]

    def clear(self) -> None:
        """Forgets everything read."""
        self.length = 0

    def positions(self, new: int) -> Tensor:
        """Positions of `new` tokens that follow: (new,). Raises ValueError where there is no room for them."""
        end = self.length + new
        if end > self.capacity:
            raise ValueError(f"{new} tokens after {self.length} exceed the cache's {self.capacity}")
        return torch.arange(self.length, end, device=self.keys.device)

    def mask(self, new: int) -> Tensor | None:
        """What each of `new` tokens looks at, (new, length + new) or one such a sequence; None: all before it."""
        if not self.length or new == 1:
            return None
        # is_causal would align the mask with the first key; the new tokens are the last ones
        return torch.ones(new, self.length + new, dtype=torch.bool, device=self.keys.device).tril(self.length)

    def advance(self, new: int) -> None:
        """Counts `new` tokens as read, once every layer has put its share in."""
        self.length += new

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Puts a layer's new (B, H, T, D) keys and values behind the old; returns all, (B, H, length + T, D)."""
        end = self.length + key.shape[2]
        self.keys[layer, :, :, self.length : end] = key
        self.values[layer, :, :, self.length : end] = value
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


class Attention(nn.Module):
    """Causal self-attention with H heads; query, key and value come from one matrix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_head, self.dropout = config.n_head, config.dropout
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        query, key, value = self._heads(x)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(x.shape))

    def forward_cached(self, x: Tensor, cache: KVCache, layer: int) -> Tensor:
        """The same for T tokens that follow those in the cache; no dropout."""
        query, key, value = self._heads(x)
        key, value = cache.extend(layer, key, value)
        mask = cache.mask(x.shape[1])
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None and x.shape[1] > 1)
        return self.c_proj(y.transpose(1, 2).reshape(x.shape))

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, length, width = x.shape
        qkv = self.c_attn(x).view(batch, length, 3, self.n_head, width // self.n_head)
        query, key, value = qkv.transpose(1, 3).unbind(2)  # each (B, H, T, D)
        return query, key, value


class MLP(nn.Module):
    """Two linear layers around GPT-2's GELU, which is the tanh approximation (nanoGPT takes the exact one)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        return self.c_proj(gelu(self.c_fc(x)))


class Block(nn.Module):
    """One layer: attention and MLP, each normed before and added to the residual stream after."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.ln_1 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        x = x + self._drop(self.attn(self.ln_1(x)))
        return x + self._drop(self.mlp(self.ln_2(x)))

    def forward_cached(self, x: Tensor, cache: KVCache, layer: int) -> Tensor:
        """The same for tokens that follow those in the cache; no dropout."""
        x = x + self.attn.forward_cached(self.ln_1(x), cache, layer)
        return x + self.mlp(self.ln_2(x))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x


class Transformer(nn.Module):
    """The layers, under the names GPT-2's released weights give them."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, bias=config.bias)


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
        device = torch.get_default_device()
        with torch.device("meta"):  # shapes without values: torch's own initial values cost seconds and are not GPT-2's
            self.transformer = Transformer(config, vocab_size)
        self.to_empty(device=device)
        self._init_weights()

    def forward(self, ids: Tensor, targets: Tensor | None = None) -> tuple[Tensor | None, Tensor | None]:
        """Logits, or the loss where targets are given: the other one is None.

        Args:
            ids: (B, T) int64, T ≤ block_size.
            targets: (B, T) int64, the token after each; -100 leaves a position out.

        Returns:
            (B, T, V) logits in the precision of the head; the mean cross entropy in nats/token, float32.
        """
        logits = self._head(self._embed(ids))
        if targets is None:
            return logits, None
        # .float() copies only what autocast has made smaller: in float32 the largest activation stays a single one.
        return None, F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    def _embed(self, ids: Tensor) -> Tensor:
        """(B, T) ids → (B, T, C) residual stream after the last layer."""
        positions = self.transformer.wpe.weight[: ids.shape[1]]  # (T, C)
        x = self.transformer.wte(ids) + positions
        if self.training and self.config.dropout:
            x = F.dropout(x, self.config.dropout)
        for block in self.transformer.h:
            x = block(x)
        return x

    def _head(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, V) logits, with the token embedding as the matrix."""
        return F.linear(self.transformer.ln_f(x), self.transformer.wte.weight)

    @torch.inference_mode()
    def forward_cached(self, ids: Tensor, cache: KVCache) -> Tensor:
        """Logits (B, V) of the last position, for (B, T) ids that follow what the cache holds; the cache grows by T.

        Never drops out, whatever mode the model is in. Raises ValueError where the cache has no room.
        """
        positions = cache.positions(ids.shape[1])  # (T,), or (B, T) where sequences differ in length
        x = self.transformer.wte(ids) + self.transformer.wpe.weight[positions]
        for layer, block in enumerate(self.transformer.h):
            x = cast(Block, block).forward_cached(x, cache, layer)
        cache.advance(ids.shape[1])
        return self._head(x[:, -1])

    def count_parameters(self, positions: bool = True) -> int:
        """Trainable numbers, the tied matrix once; without `positions` as nanoGPT prints it."""
        total = sum(parameter.numel() for parameter in self.parameters())
        return total if positions else total - self.transformer.wpe.weight.numel()

    def crop_block_size(self, block_size: int) -> None:
        """Shortens the longest context. Raises ValueError for one that is longer than the present one."""
        if not 1 <= block_size <= self.config.block_size:
            raise ValueError(f"block size {block_size} is not within 1…{self.config.block_size}")
        self.config = msgspec.structs.replace(self.config, block_size=block_size)
        kept = self.transformer.wpe.weight[:block_size].detach().clone()
        self.transformer.wpe = nn.Embedding.from_pretrained(kept, freeze=False)

    def _init_weights(self) -> None:
        """Normal weights, zero biases, unit norms. What writes to the residual stream is smaller by 1/√(2L), for the
        2L writes add up (Radford et al. 2019, section 2.3)."""
        residual_std = INIT_STD / math.sqrt(2 * self.config.n_layer)
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                nn.init.normal_(parameter, std=residual_std if name.endswith("c_proj.weight") else INIT_STD)
            else:
                nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
