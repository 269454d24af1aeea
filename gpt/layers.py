"""The parts a GPT is made of: norms, rotary positions, attention with its cache, the MLP, and the layer of both.

Each part is GPT-2's unless the profile says otherwise; the switches are gpt.config.ModelConfig's.

Shapes: B sequences, T tokens, C width (n_embd), H heads, K key and value heads (n_kv_head), D = C / H, L layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt.config import ModelConfig
from gpt.gelu import gelu
from gpt.products import Linear
from gpt.recompute import again

if TYPE_CHECKING:
    from gpt.model import GPT

NORM_EPS = 1e-5
"""Added to the variance, or the mean square, of what is normed; GPT-2's, for all norms."""

ROTARY_BASE = 10_000.0
"""Su et al. 2021, section 3.2.2: the slowest pair turns by about one radian in this many tokens."""

Rotation = tuple[Tensor, Tensor]
"""Cosine and sine of the angle by which each position turns each pair of channels of all heads, float32: (1, T, D / 2)
each, or (B, 1, T, D / 2) where sequences have positions of their own."""


class KVCache:
    """Keys and values of the tokens a model has read, so that each further token costs one position only.

    Keys are kept as attention compares them: normed and turned by their own position.

    Args:
        model: the model it is for; it also settles device and number of layers.
        batch: sequences read side by side.
    """

    def __init__(self, model: GPT, batch: int = 1) -> None:
        config, weight = model.config, model.transformer.wte.weight
        shape = (config.n_layer, batch, config.kv_heads, config.block_size, config.head_width)
        kind = weight.device.type
        # Under autocast attention runs in the lower precision: kept in it, the cache is not cast anew for each token.
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        self.keys = torch.empty(shape, device=weight.device, dtype=dtype)  # (L, B, K, block_size, D)
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
        """Puts a layer's new (B, K, T, D) keys and values behind the old; returns all, (B, K, length + T, D)."""
        end = self.length + key.shape[2]
        self.keys[layer, :, :, self.length : end] = key
        self.values[layer, :, :, self.length : end] = value
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


def make_norm(config: ModelConfig) -> nn.Module:
    """Norm of the residual stream: GPT-2's LayerNorm, or RMSNorm (Zhang & Sennrich 2019, equation 4), never biased."""
    if config.norm == "rmsnorm":
        return nn.RMSNorm(config.n_embd, eps=NORM_EPS)
    return nn.LayerNorm(config.n_embd, eps=NORM_EPS, bias=config.bias)


def rotation(positions: Tensor, head_width: int) -> Rotation:
    """What turns tokens at these positions, (T,) or (B, T): pair i of position p by p · base^(-2i / D) radians."""
    pairs = torch.arange(0, head_width, 2, device=positions.device, dtype=torch.float32)
    angles = positions[..., None, :, None] * ROTARY_BASE ** (-pairs / head_width)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """(B, heads, T, D) turned in the planes of channels i and i + D / 2, so that the product of a query and a key
    depends only on how far apart they are (Su et al. 2021, equation 34, with the halves as pairs)."""
    cos, sin = by
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class Attention(nn.Module):
    """Causal self-attention with H heads; query, key and value come from one matrix.

    Where K < H each key and value head serves H / K query heads side by side (Ainslie et al. 2023). With qk_norm an
    RMSNorm over D bounds queries, and one keys, before they are turned and compared (after Dehghani et al. 2023).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_head, self.n_kv_head, self.dropout = config.n_head, config.kv_heads, config.dropout
        self.head_width = config.head_width
        channels = (config.n_head + 2 * config.kv_heads) * config.head_width  # 3·C where every head has its own keys
        self.c_attn = Linear(config.n_embd, channels, bias=config.bias)
        self.c_proj = Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.q_norm = nn.RMSNorm(config.head_width, eps=NORM_EPS) if config.qk_norm else None
        self.k_norm = nn.RMSNorm(config.head_width, eps=NORM_EPS) if config.qk_norm else None

    def forward(self, x: Tensor, by: Rotation | None = None) -> Tensor:
        """(B, T, C) → (B, T, C); `by` turns queries and keys where positions are rotary."""
        query, key, value = self._heads(x, by)
        dropout = self.dropout if self.training else 0.0
        grouped = self.n_kv_head != self.n_head
        y = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True, enable_gqa=grouped)
        return self.c_proj(y.transpose(1, 2).reshape(x.shape))

    def forward_cached(self, x: Tensor, by: Rotation | None, cache: KVCache, layer: int) -> Tensor:
        """The same for T tokens that follow those in the cache; no dropout."""
        query, key, value = self._heads(x, by)
        key, value = cache.extend(layer, key, value)
        mask = cache.mask(x.shape[1])
        y = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None and x.shape[1] > 1,
            enable_gqa=self.n_kv_head != self.n_head,
        )  # fmt: skip
        return self.c_proj(y.transpose(1, 2).reshape(x.shape))

    def _heads(self, x: Tensor, by: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, C) → query (B, H, T, D), key and value (B, K, T, D)."""
        heads = self.c_attn(x).view(*x.shape[:2], -1, self.head_width).transpose(1, 2)  # (B, H + 2·K, T, D)
        query, key, value = heads.split([self.n_head, self.n_kv_head, self.n_kv_head], dim=1)
        if self.q_norm is not None and self.k_norm is not None:
            # Under autocast a norm keeps its float32 weights, and has no fused kernel for two dtypes.
            query, key = (part.type_as(self.q_norm.weight) for part in (query, key))
            query, key = self.q_norm(query), self.k_norm(key)
        if by is not None:
            query, key = rotate(query, by), rotate(key, by)
        return query.type_as(value), key.type_as(value), value  # under autocast both may have become float32


class MLP(nn.Module):
    """Two linear layers around GPT-2's GELU, which is the tanh approximation.

    `gelu_erf` is the exact GELU, as nanoGPT's. `relu2` squares a ReLU instead (So et al. 2021, Primer). `swiglu`
    multiplies by a gate, SiLU of a third linear layer (Shazeer 2020, equation 6).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = config.activation
        self.c_fc = Linear(config.n_embd, config.mlp_width, bias=config.bias)
        if config.activation == "swiglu":
            self.c_gate = Linear(config.n_embd, config.mlp_width, bias=config.bias)
        self.c_proj = Linear(config.mlp_width, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        hidden = self.c_fc(x)  # (B, T, mlp_width)
        if self.activation == "swiglu":
            hidden = F.silu(self.c_gate(x)) * hidden
        elif self.activation == "gelu_erf":
            hidden = F.gelu(hidden)
        elif self.activation == "relu2":
            hidden = F.relu(hidden).square()
        else:
            hidden = gelu(hidden)
        return self.c_proj(hidden)


class Block(nn.Module):
    """One layer: attention and MLP, each normed before and added to the residual stream after."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.recomputes = "off"
        """What the backward pass computes again: nothing (`off`), the MLP (`selective`) or the whole layer (`full`)."""
        self.ln_1 = make_norm(config)
        self.attn = Attention(config)
        self.ln_2 = make_norm(config)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, by: Rotation | None = None) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        if self.recomputes == "full":
            return again(self._layer, x, by, random=self.training and self.dropout > 0)
        return self._layer(x, by)

    def _layer(self, x: Tensor, by: Rotation | None) -> Tensor:
        x = x + self._drop(self.attn(self.ln_1(x), by))
        change = again(self._mlp, x) if self.recomputes == "selective" else self._mlp(x)
        return x + self._drop(change)

    def _mlp(self, x: Tensor) -> Tensor:
        return self.mlp(self.ln_2(x))

    def forward_cached(self, x: Tensor, by: Rotation | None, cache: KVCache, layer: int) -> Tensor:
        """The same for tokens that follow those in the cache; no dropout."""
        x = x + self.attn.forward_cached(self.ln_1(x), by, cache, layer)
        return x + self.mlp(self.ln_2(x))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x
