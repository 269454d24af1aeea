"""Matrix products by oneDNN: torch's results, whatever lies how in memory, and only where they are faster."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

from gpt import processor, products
from gpt.device import measure_matmul

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN in it")


def made(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_gaps(matrix: Tensor) -> Tensor:
    """The same numbers, in rows that begin further apart than they are long."""
    wide = torch.zeros(len(matrix), matrix.shape[1] + 16)
    wide[:, : matrix.shape[1]] = matrix
    return wide[:, : matrix.shape[1]]


LAID = {"rows": lambda m: m, "columns": lambda m: m.t().contiguous().t(), "gaps": with_gaps}


@needs_onednn
@pytest.mark.parametrize("first", LAID)
@pytest.mark.parametrize("second", LAID)
def test_products_are_torchs_however_they_lie(first: str, second: str) -> None:
    x, weight, bias, stream = made(48, 32, seed=1), made(24, 32, seed=2), made(24, seed=3), made(48, 24, seed=4)
    a, w = LAID[first](x), LAID[second](weight)
    near = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(products.linear(a, w), x @ weight.t(), **near)
    torch.testing.assert_close(products.linear(a, w, bias), x @ weight.t() + bias, **near)
    torch.testing.assert_close(products.product(a, w.t()), x @ weight.t(), **near)
    kept = stream.clone()
    torch.testing.assert_close(products.linear_onto(stream, a, w, bias), stream + x @ weight.t() + bias, **near)
    torch.testing.assert_close(products.linear_onto(stream, a, w, None), stream + x @ weight.t(), **near)
    assert torch.equal(stream, kept)


@pytest.mark.parametrize("turned", [False, True])
def test_what_has_gaps_is_put_together_and_nothing_else_is_copied(turned: bool) -> None:
    """oneDNN's reference, which it would take for such ones, needs half a second for a small product."""
    whole = made(6, 4, seed=1).t() if turned else made(6, 4, seed=1)
    assert products._in_one_piece(whole) is whole
    parted = with_gaps(made(6, 4, seed=1)).t() if turned else with_gaps(made(6, 4, seed=1))
    put = products._in_one_piece(parted)
    assert put.is_contiguous() and torch.equal(put, parted)


@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 8), (1, 1, 8)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_linear_layer_gives_torchs_result_and_gradient(library: str, shape: tuple[int, ...], has_bias: bool) -> None:
    layer = products.Linear(8, 6, bias=has_bias)
    assert isinstance(layer, nn.Linear)
    results = []
    for apply in (layer, lambda x: F.linear(x, layer.weight, layer.bias)):
        x = made(*shape, seed=1).requires_grad_()
        layer.zero_grad()
        y = apply(x)
        (y * made(*y.shape, seed=2)).sum().backward()
        results.append([y.detach(), x.grad, *(p.grad for p in layer.parameters())])
        assert y.grad_fn is not None
    for ours, torchs in zip(*results, strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        assert not layer(made(*shape, seed=1)).requires_grad


def test_a_gradient_that_is_one_number_for_all_is_taken(library: str) -> None:
    """A sum's is expanded: all of it is one number in memory."""
    layer = products.Linear(8, 6)
    layer(made(4, 8, seed=1)).sum().backward()
    torch.testing.assert_close(layer.weight.grad, made(4, 8, seed=1).sum(0).expand(6, 8))


def test_other_precisions_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "is_onednn_faster", lambda: True)
    monkeypatch.setattr(products._Product, "apply", lambda *_: pytest.fail("not in float32"))
    layer = products.Linear(8, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(made(4, 8, seed=1)).dtype == torch.bfloat16
    assert layer.double()(made(4, 8, seed=1).double()).dtype == torch.float64


@pytest.mark.parametrize(
    ("vendor", "instructions", "expected"),
    [("AuthenticAMD", "AVX512", True), ("AuthenticAMD", "AVX2", False), ("GenuineIntel", "AVX512", False)],
)
def test_it_is_for_processors_on_which_torchs_library_leaves_instructions_unused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vendor: str, instructions: str, expected: bool
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "CPUINFO", cpuinfo)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    for backend in (torch.backends.mkldnn, torch.backends.mkl):
        monkeypatch.setattr(backend, "is_available", lambda: True)
    decide = products.is_onednn_faster.__wrapped__
    assert decide() is False, "where there is no such file nothing is known"
    cpuinfo.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n")
    assert decide() is expected
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert decide() is False


def test_a_run_says_whose_products_it_has(library: str) -> None:
    assert products.name("cpu", "float32") == library
    assert products.name("cpu", "bfloat16") == products.name("cuda", "float32") == "torch"
    assert bool(products.compile_options("cpu", "float32")) == (library == "oneDNN")
    assert not products.compile_options("cuda", "float32")


def test_the_machines_rate_is_that_of_the_library_it_trains_with(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    real = products.product

    def product(a: Tensor, b: Tensor) -> Tensor:
        taken.append("oneDNN")
        return real(a, b)

    monkeypatch.setattr(products, "product", product)
    assert measure_matmul(torch.device("cpu"), torch.float32, seconds=0.01) > 1e8
    assert bool(taken) == (library == "oneDNN")
    taken.clear()
    assert measure_matmul(torch.device("cpu"), torch.bfloat16, seconds=0.01) > 1e6
    assert not taken


# In graphs


def targets(graph: torch.fx.Graph) -> list[str]:
    return [str(node.target) for node in graph.nodes if node.op == "call_function"]


@needs_onednn
def test_products_in_a_graph_are_replaced_and_come_to_the_same() -> None:
    from gpt.products_in_graphs import ByOneDNN

    aten = torch.ops.aten

    def function(bias: Tensor, a: Tensor, b: Tensor, stream: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        doubled = aten.addmm.default(stream, a, b, beta=2.0)
        return aten.mm.default(a, b), aten.addmm.default(bias, a, b), aten.addmm.default(stream, a, b), doubled, c @ c

    inputs = made(5, seed=1), made(4, 3, seed=2), made(3, 5, seed=3), made(4, 5, seed=4), made(3, 3, seed=5).double()
    module = make_fx(function)(*inputs)
    for node in module.graph.nodes:
        node.meta.setdefault("val", node.meta.get("tensor_meta"))
    ByOneDNN()(module.graph)
    module.recompile()
    names = targets(module.graph)
    assert names.count("mkldnn._linear_pointwise.default") == 2
    assert names.count("aten.addmm.default") == 2, "what is no bias, or is scaled, stays"
    assert names.count("aten.mm.default") == 1, "and what is not in float32"
    for ours, torchs in zip(module(*inputs), function(*inputs), strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-5, atol=1e-5)


@needs_onednn
def test_compiled_code_of_the_pass_is_told_from_other_code_in_the_cache() -> None:
    from gpt.products_in_graphs import ByOneDNN

    assert ByOneDNN().uuid() == ByOneDNN().uuid() != ""
