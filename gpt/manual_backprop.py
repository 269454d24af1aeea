"""GPT-2's loss and its gradient with the backward pass written out, for small models on a CPU.

The arithmetic is gpt.model's, and what autograd does with it. Two things are different. With torch's own products most
memory is taken once, so that what one operator leaves in the cache is there for the next; autograd takes new memory for
every result, which has to be fetched first. And attention, over a short context, is matrix products and a softmax:
torch's fused kernel is made for long ones. Both passes of 384 tokens through 4 layers of 128 take 27.5 ms instead of
30.0 (one core, torch 2.13.0). Matrix products are those of the faster library (gpt.products), which takes new memory.

Only where the model is GPT-2's own (`writes_out`); everything else goes through autograd.

Shapes: B sequences, T tokens, N = B·T rows, C width (n_embd), H heads, D width of a head, V rows of the token
embedding. `d_x` is the gradient of the loss with respect to x, and has its shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt import products
from gpt.config import ModelConfig
from gpt.gelu import gelu_and_slope
from gpt.layers import NORM_EPS, Block
from gpt.model import GPT

LONGEST_CONTEXT = 256
"""Tokens up to which attention's whole matrix of T × T is computed, the half above the diagonal in vain."""
PIECE = 2**16
"""Numbers of the residual stream, N·C, that go through all layers at a time at most, where a sequence is no more: for
the way back a layer keeps about seventeen times as many, and all layers' should stay in the cache."""

_layer_norm_backward = torch.ops.aten.native_layer_norm_backward.default
_softmax_backward = torch.ops.aten._softmax_backward_data.default


def writes_out(config: ModelConfig) -> bool:
    """Whether the model is one whose passes are written out here."""
    others = set(config.departures()) - {"tie_weights", "zero_init"}
    return not others and not config.dropout and config.block_size <= LONGEST_CONTEXT


class ManualBackprop:
    """Adds up the gradient of one model, in memory of its own.

    Args:
        model: one that `writes_out` holds for, in float32 on a CPU. Its weights are read where they are now: they may
            be written to, not replaced.
    """

    def __init__(self, model: GPT) -> None:
        transformer = model.transformer
        assert transformer.wpe is not None
        self._config = model.config
        self._layers = [_Layer(cast(Block, block)) for block in transformer.h]
        self._norm = _Norm(cast(nn.LayerNorm, transformer.ln_f))
        self._positions = _Vector(transformer.wpe.weight)
        self._head = _Matrix(transformer.wte.weight if model.lm_head is None else model.lm_head.weight)
        self._tokens = self._head if model.lm_head is None else _Vector(transformer.wte.weight)
        self._weights = [self._head, self._positions, *self._norm.weights]
        self._weights += [self._tokens] if model.lm_head is not None else []
        self._weights += [weight for layer in self._layers for weight in layer.weights]
        self._space: _Space | None = None

    @torch.no_grad()
    def add_gradient(
        self, inputs: Tensor, targets: Tensor, share: float, on_part: Callable[[str], None] = lambda part: None
    ) -> Tensor:
        """Adds `share` of the gradient of the mean loss over (B, T) ids and targets to the parameters' `grad`.

        Args:
            inputs, targets: int64; every target counts.
            on_part: told `forward` and `backward` in turns, whenever either has been done; the last `backward` is left
                to the caller.

        Returns that share of the mean loss, nats/token.
        """
        sequences = _sequences_at_a_time(len(inputs), inputs.shape[1] * self._config.n_embd)
        pieces = [*zip(inputs.split(sequences), targets.split(sequences), strict=True)]
        space = self._make_room(sequences, inputs.shape[1])
        for weight in self._weights:
            weight.take_over_gradient()
        losses = []
        for number, (some_inputs, some_targets) in enumerate(pieces):
            if number:
                on_part("backward")
            log_probabilities = self._forward(some_inputs, space)
            expected = some_targets.reshape(-1, 1)
            losses.append(log_probabilities.gather(1, expected).mean())
            on_part("forward")
            self._backward(some_inputs, expected, log_probabilities, share / len(pieces), space)
        return torch.stack(losses).mean() * -share

    def _make_room(self, sequences: int, tokens: int) -> _Space:
        if self._space is None or self._space.shape != (sequences, tokens):
            self._space = _Space(self._config, len(self._head.weight), sequences, tokens)
            for layer in self._layers:
                layer.make_room(self._space)
        return self._space

    def _forward(self, inputs: Tensor, space: _Space) -> Tensor:
        """(B, T) ids → (N, V) logarithms of the probabilities of what comes next."""
        tokens, positions = F.embedding(inputs, self._tokens.weight), self._positions.weight[: inputs.shape[1]]
        x = torch.add(tokens, positions, out=space.x.view(tokens.shape)).flatten(0, 1)
        for layer in self._layers:
            x = layer.forward(x)
        self._normed = self._norm.forward(x)
        return self._head.forward(self._normed, out=space.logits).log_softmax(dim=1)

    def _backward(
        self, inputs: Tensor, expected: Tensor, log_probabilities: Tensor, share: float, space: _Space
    ) -> None:
        d_logits = log_probabilities.exp_()  # softmax, minus one where the target is, over the number of rows
        d_logits.scatter_add_(1, expected, space.minus_one).mul_(share / len(expected))
        self._head.add_gradient(d_logits, self._normed)
        d_x = self._norm.backward(self._head.backward(d_logits, out=space.d_row))
        for layer in reversed(self._layers):
            layer.backward(d_x)
        self._tokens.gradient.index_add_(0, inputs.flatten(), d_x)
        self._positions.gradient[: inputs.shape[1]].add_(d_x.view(*inputs.shape, -1).sum(0))


class _Vector:
    """A parameter whose gradient is added to it as it comes: a bias, a norm's scale, an embedding's rows."""

    def __init__(self, parameter: nn.Parameter | Tensor) -> None:
        self._parameter = parameter
        self.weight, self.gradient = parameter.detach(), torch.empty_like(parameter, requires_grad=False)

    def take_over_gradient(self) -> None:
        """What lies in `grad` already goes on being added to; else the sum begins at zero."""
        if self._parameter.grad is not self.gradient:
            if self._parameter.grad is None:
                self._begin()
            else:
                self.gradient.copy_(self._parameter.grad)
            self._parameter.grad = self.gradient

    def _begin(self) -> None:
        self.gradient.zero_()


class _Matrix(_Vector):
    """The matrix of y = x·Wᵀ, whose gradient is a product as well. Results are in `out`, or in memory of their own."""

    _kept = 1
    """Of what the gradient holds when the next product is added: 0 for the first one, which needs no zeros."""

    def __init__(self, parameter: nn.Parameter | Tensor) -> None:
        super().__init__(parameter)
        self._is_by_onednn = products.is_onednn_faster()
        self._transposed = self.weight.t()

    def _begin(self) -> None:
        self._kept = 0

    def forward(self, x: Tensor, out: Tensor, bias: Tensor | None = None) -> Tensor:
        """y + bias."""
        if self._is_by_onednn:
            return products.linear(x, self.weight, bias)
        if bias is None:
            return torch.mm(x, self._transposed, out=out)
        return torch.addmm(bias, x, self._transposed, out=out)

    def forward_onto(self, stream: Tensor, x: Tensor, out: Tensor, bias: Tensor | None) -> Tensor:
        """stream + y + bias."""
        if self._is_by_onednn:
            return products.linear_onto(stream, x, self.weight, bias)
        torch.addmm(stream, x, self._transposed, out=out)
        return out if bias is None else out.add_(bias)

    def backward(self, d_y: Tensor, out: Tensor) -> Tensor:
        """d_x = d_y·W."""
        return products.product(d_y, self.weight) if self._is_by_onednn else torch.mm(d_y, self.weight, out=out)

    def add_gradient(self, d_y: Tensor, x: Tensor) -> None:
        """d_W = d_yᵀ·x, which sums over rows."""
        if not self._is_by_onednn:
            torch.addmm(self.gradient, d_y.t(), x, beta=self._kept, out=self.gradient)
        elif self._kept:
            self.gradient.add_(products.product(d_y.t(), x))
        else:
            self._parameter.grad = self.gradient = products.product(d_y.t(), x)
        self._kept = 1


class _Linear:
    """y = x·Wᵀ + b: d_b = Σ d_y over rows, d_x = d_y·W. Results are where those of the matrix are."""

    def __init__(self, linear: nn.Linear) -> None:
        self._matrix = _Matrix(linear.weight)
        self._bias = _Vector(linear.bias) if linear.bias is not None else None
        self._added = self._bias.weight if self._bias else None
        self.weights = [self._matrix, *([self._bias] if self._bias else [])]

    def forward(self, x: Tensor, out: Tensor) -> Tensor:
        """y."""
        return self._matrix.forward(x, out, self._added)

    def forward_onto(self, stream: Tensor, x: Tensor, out: Tensor) -> Tensor:
        """stream + y."""
        return self._matrix.forward_onto(stream, x, out, self._added)

    def backward(self, d_y: Tensor, x: Tensor, out: Tensor) -> Tensor:
        """d_x."""
        self._matrix.add_gradient(d_y, x)
        if self._bias:
            self._bias.gradient.add_(d_y.sum(0))
        return self._matrix.backward(d_y, out)


class _Norm:
    """Layer norm, by torch's own kernels for both ways."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        self._of = (*norm.normalized_shape,)
        self._scale, self._bias = _Vector(norm.weight), _Vector(norm.bias) if norm.bias is not None else None
        self._shift = self._bias.weight if self._bias else None
        self._wanted = [True, True, self._bias is not None]
        self.weights = [self._scale, *([self._bias] if self._bias else [])]

    def forward(self, x: Tensor) -> Tensor:
        """(N, C) → (N, C); `x` must stay as it is until the way back."""
        y, self._mean, self._rstd = torch.native_layer_norm(x, self._of, self._scale.weight, self._shift, NORM_EPS)
        self._x = x
        return y

    def backward(self, d_y: Tensor) -> Tensor:
        """d_x."""
        d_x, d_scale, d_bias = _layer_norm_backward(
            d_y, self._x, self._of, self._mean, self._rstd, self._scale.weight, self._shift, self._wanted
        )
        self._scale.gradient.add_(d_scale)
        if self._bias:
            self._bias.gradient.add_(d_bias)
        return d_x


class _Space:
    """Memory for a piece of B sequences of T tokens that no layer keeps: each writes over what the one before left."""

    def __init__(self, config: ModelConfig, vocab_size: int, sequences: int, tokens: int) -> None:
        rows, width, heads, head_width = sequences * tokens, config.n_embd, config.n_head, config.head_width
        self.shape = (sequences, tokens)
        self.head_shape = (sequences, heads, tokens, head_width)
        self.x, self.d_row = torch.empty(rows, width), torch.empty(rows, width)
        self.logits, self.minus_one = torch.empty(rows, vocab_size), torch.full((rows, 1), -1.0)
        self.hidden, self.gate = _rows(rows, config.mlp_width), _rows(rows, config.mlp_width)
        self.qkv = _rows(rows, 3 * width)
        self.qkv_by_head = self.three_by_head(self.qkv)
        self.d_qkv_by_head = torch.empty(3, *self.head_shape)
        self.d_q, self.d_k, self.d_v = self.d_qkv_by_head.flatten(1, 2).unbind(0)
        self.y = torch.empty(sequences * heads, tokens, head_width)  # of attention, or d_y
        self.y_by_head = self.y.view(self.head_shape)
        self.scores = torch.empty(sequences * heads, tokens, tokens)
        self.later = torch.full((tokens, tokens), -torch.inf).triu(1)  # added to the scores of tokens that come later
        self.zero = torch.zeros(1, 1, 1)

    def by_head(self, rows: Tensor) -> Tensor:
        """(N, C) rows as (B, H, T, D), in the same memory."""
        sequences, heads, tokens, head_width = self.head_shape
        return rows.view(sequences, tokens, heads, head_width).transpose(1, 2)

    def three_by_head(self, rows: Tensor) -> Tensor:
        """(N, 3·C) rows as (3, B, H, T, D), in the same memory."""
        sequences, heads, tokens, head_width = self.head_shape
        return rows.view(sequences, tokens, 3, heads, head_width).permute(2, 0, 3, 1, 4)


class _Layer:
    """One block: attention and MLP, each normed before and added to the residual stream after."""

    def __init__(self, block: Block) -> None:
        self._norm_1, self._norm_2 = _Norm(cast(nn.LayerNorm, block.ln_1)), _Norm(cast(nn.LayerNorm, block.ln_2))
        self._qkv, self._out = _Linear(block.attn.c_attn), _Linear(block.attn.c_proj)
        self._up, self._down = _Linear(block.mlp.c_fc), _Linear(block.mlp.c_proj)
        parts = (self._norm_1, self._qkv, self._out, self._norm_2, self._up, self._down)
        self.weights = [weight for part in parts for weight in part.weights]

    def make_room(self, space: _Space) -> None:
        """Takes the memory that this layer keeps from its forward to its backward pass."""
        self._space, self._attention = space, _Attention(space)
        self._middle, self._after = torch.empty_like(space.x), torch.empty_like(space.x)  # if results go there
        self._activated, self._slope = _rows(*space.hidden.shape), _rows(*space.hidden.shape)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C) → (N, C)."""
        space = self._space
        self._normed_1 = self._norm_1.forward(x)
        self._attended = self._attention.forward(self._qkv.forward(self._normed_1, out=space.qkv))
        middle = self._out.forward_onto(x, self._attended, out=self._middle)
        self._normed_2 = self._norm_2.forward(middle)
        hidden = self._up.forward(self._normed_2, out=space.hidden)
        gelu_and_slope(hidden, self._activated, self._slope, space.gate)
        return self._down.forward_onto(middle, self._activated, out=self._after)

    def backward(self, d_x: Tensor) -> None:
        """Turns the gradient with respect to what came out into that with respect to what went in."""
        space = self._space
        d_hidden = self._down.backward(d_x, self._activated, out=space.hidden).mul_(self._slope)
        d_x.add_(self._norm_2.backward(self._up.backward(d_hidden, self._normed_2, out=space.d_row)))
        d_qkv = self._attention.backward(self._out.backward(d_x, self._attended, out=space.d_row))
        d_x.add_(self._norm_1.backward(self._qkv.backward(d_qkv, self._normed_1, out=space.d_row)))


class _Attention:
    """Causal self-attention of all heads of all sequences: y = P·v, P = softmax(q·kᵀ / √D), later tokens left out.

    d_v = Pᵀ·d_y;  d_P = d_y·vᵀ;  d_scores = P · (d_P - Σ d_P·P);  d_q = d_scores·k / √D;  d_k = d_scoresᵀ·q / √D.
    """

    def __init__(self, space: _Space) -> None:
        self._space, self._scale = space, space.head_shape[-1] ** -0.5
        self._kept = torch.empty_like(space.d_qkv_by_head)
        self._q, self._k, self._v = self._kept.flatten(1, 2).unbind(0)  # (B·H, T, D) each
        self._k_transposed, self._v_transposed = self._k.mT, self._v.mT
        self._p = torch.empty_like(space.scores)  # (B·H, T, T)
        self._p_transposed = self._p.mT
        self._attended = _rows(*space.x.shape)
        self._attended_by_head = space.by_head(self._attended)

    def forward(self, qkv: Tensor) -> Tensor:
        """(N, 3·C) → (N, C)."""
        space = self._space
        self._kept.copy_(space.three_by_head(qkv))
        torch.baddbmm(space.later, self._q, self._k_transposed, alpha=self._scale, out=space.scores)
        torch.softmax(space.scores, dim=-1, out=self._p)
        torch.bmm(self._p, self._v, out=space.y)
        self._attended_by_head.copy_(space.y_by_head)
        return self._attended

    def backward(self, d_attended: Tensor) -> Tensor:
        """(N, C) → (N, 3·C), in `space.qkv`."""
        space = self._space
        space.y_by_head.copy_(space.by_head(d_attended))
        torch.bmm(self._p_transposed, space.y, out=space.d_v)
        d_p = torch.bmm(space.y, self._v_transposed, out=space.scores)
        d_scores = _softmax_backward(d_p, self._p, -1, torch.float32)
        torch.baddbmm(space.zero, d_scores, self._k, beta=0, alpha=self._scale, out=space.d_q)
        torch.baddbmm(space.zero, d_scores.mT, self._q, beta=0, alpha=self._scale, out=space.d_k)
        space.qkv_by_head.copy_(space.d_qkv_by_head)
        return space.qkv


def _rows(rows: int, width: int) -> Tensor:
    """(rows, width), a cache line apart: rows that begin a power of two apart push each other out of the cache, which
    takes a seventh of the rate from the product that sums over them. oneDNN wants them without gaps."""
    if products.is_onednn_faster():
        return torch.empty(rows, width)
    return torch.empty(rows, width + 16)[:, :width]


def _sequences_at_a_time(sequences: int, numbers: int) -> int:
    """A divisor of `sequences`, each of so many numbers: the greatest that keeps to PIECE."""
    return next((some for some in range(sequences, 1, -1) if not sequences % some and some * numbers <= PIECE), 1)
