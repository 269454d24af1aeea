"""Matrix products in float32 on a CPU by oneDNN, where that is faster than what torch takes for them by itself.

torch's are MKL's, and MKL keeps to AVX2 on processors that are not Intel's. oneDNN, which torch has in it for other
precisions, takes what the processor has. 384×128 times 128×512 on one core of an AMD EPYC with AVX-512: 235 GFLOP/s
instead of 108; kept to AVX2, 1.1 times as fast (torch 2.13.0).
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt import processor

USUAL = "torch"
"""What is said of a run whose products are those that torch takes by itself."""


@functools.cache
def is_onednn_faster() -> bool:
    """Whether oneDNN uses instructions on this machine that MKL does not.

    By what the processor is, not by the clock: the same machine has to give the same bits at any time.
    """
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkl.is_available():
        return False
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and processor.is_from_amd()


def name(device_type: str, dtype: str) -> str:
    """Whose products a run has, for its record, as the bits are others."""
    return "oneDNN" if device_type == "cpu" and dtype == "float32" and is_onednn_faster() else USUAL


def compile_options(device_type: str, dtype: str) -> dict[str, Any]:
    """For `torch.compile`, so that what it compiles takes the same products."""
    if name(device_type, dtype) == USUAL:
        return {}
    from gpt.products_in_graphs import ByOneDNN  # the compiler is not loaded for runs that do without

    return {"post_grad_custom_post_pass": ByOneDNN()}


class Linear(nn.Linear):
    """torch's, with its products by the faster library."""

    def forward(self, input: Tensor) -> Tensor:
        """(…, K) → (…, M)."""
        return apply_linear(input, self.weight, self.bias)


def apply_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(…, K) · (M, K)ᵀ + (M,) → (…, M), differentiable.

    In a graph that is compiled it is torch's operator: gpt.products_in_graphs replaces it afterwards.
    """
    if not torch.compiler.is_compiling() and is_onednn_faster() and _is_plain(x, weight):
        return _Product.apply(x, weight, bias)  # pyright: ignore[reportReturnType]
    return F.linear(x, weight, bias)


def _is_plain(*tensors: Tensor) -> bool:
    """Whether all are in float32 on a CPU, and stay so."""
    return all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors) and not (
        torch.is_autocast_enabled("cpu")
    )


class _Product(torch.autograd.Function):
    """y = x·Wᵀ + b: d_x = d_y·W, d_W = d_yᵀ·x, d_b = Σ d_y over rows."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # pyright: ignore
        return linear(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], len(weight))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows = d_y.reshape(-1, d_y.shape[-1])
        return (
            product(rows, weight).view_as(x) if wants_x else None,
            product(rows.t(), x.reshape(-1, x.shape[-1])) if wants_weight else None,
            rows.sum(0) if wants_bias else None,
        )


def product(a: Tensor, b: Tensor) -> Tensor:
    """(N, K) · (K, M) → (N, M), by oneDNN."""
    return linear(a, b.t())


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(N, K) · (M, K)ᵀ + (M,) → (N, M), by oneDNN."""
    # Named here and not at the top: not every build of torch has it.
    return torch.ops.mkldnn._linear_pointwise.default(_in_one_piece(x), _in_one_piece(weight), bias, "none", [], "")


def linear_onto(stream: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(N, M) + (N, K) · (M, K)ᵀ + (M,) → (N, M), by oneDNN; `stream` stays as it is."""
    factors = _in_one_piece(x), stream, _in_one_piece(weight)
    return torch.ops.mkldnn._linear_pointwise.binary(*factors, bias, "add")


def _in_one_piece(matrix: Tensor) -> Tensor:
    """The matrix, copied where neither its rows nor its columns follow each other without a gap: for such ones oneDNN
    has nothing but a reference that is a thousand times slower."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()
