"""GELU against the formula in double precision, value and gradient."""

from __future__ import annotations

import math

import pytest
import torch

from gpt.gelu import LARGEST, gelu


def exact(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def test_value_and_gradient_are_those_of_the_tanh_approximation() -> None:
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([0.0, -0.0, 1e-30, 80.0, -80.0, 1e4, -1e4])])
    x.requires_grad_()
    double = x.detach().double().requires_grad_()
    factor = torch.linspace(-2, 2, len(x))
    y, expected = gelu(x), exact(double)
    y.backward(factor)
    expected.backward(factor.double())
    assert torch.allclose(y.double(), expected, rtol=1e-6, atol=1e-6)
    assert torch.allclose(x.grad.double(), double.grad, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(gelu(x), y)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_stays_so(value: float) -> None:
    assert not math.isfinite(float(gelu(torch.tensor([value]))))


def test_it_is_the_same_function_on_both_sides_of_the_largest_size() -> None:
    small = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    large = small.repeat(LARGEST // 1000 + 1)
    assert torch.allclose(gelu(large)[:1000], gelu(small), atol=1e-6)
