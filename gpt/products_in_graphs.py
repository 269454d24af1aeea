"""The same products (gpt.products) in a graph that torch compiles: a pass over it that puts oneDNN's in their places.

Inductor knows oneDNN's linear layer only with weights that never change. Here they do, so it is told to call the
operator as it is; in C++ that costs nothing worth a name.
"""

from __future__ import annotations

import torch
from torch import fx
from torch._inductor import lowering
from torch._inductor.custom_graph_pass import CustomGraphPass
from torch._inductor.fx_passes.mkldnn_fusion import _mkldnn_fusion_init

_aten, _linear = torch.ops.aten, torch.ops.mkldnn._linear_pointwise.default


class ByOneDNN(CustomGraphPass):
    """A pass after all others, over both passes' graph in float32 on a CPU."""

    def __call__(self, graph: fx.Graph) -> None:
        """Replaces `mm`, and `addmm` of a bias."""
        _mkldnn_fusion_init()  # otherwise it comes later, and puts back what is changed here
        lowering.lowerings[_linear] = lowering.fallback_handler(_linear, add_to_fallback_set=False)
        for node in [*graph.nodes]:
            if found := _product(node):
                _replace(graph, node, *found)

    def uuid(self) -> str:
        """What compiled code in torch's cache was made with."""
        return "gpt-cockpit: matrix products by oneDNN, 1"


def _product(node: fx.Node) -> tuple[fx.Node, fx.Node, fx.Node | None] | None:
    """(a, b, bias) where the node is a·b + bias."""
    if node.target not in (_aten.mm.default, _aten.addmm.default) or node.kwargs:
        return None
    if node.meta["val"].dtype != torch.float32:
        return None
    if node.target == _aten.mm.default:
        return (*node.args, None)  # pyright: ignore[reportReturnType]
    bias, a, b = node.args
    return (a, b, bias) if bias.meta["val"].dim() == 1 else None  # pyright: ignore


def _replace(graph: fx.Graph, node: fx.Node, a: fx.Node, b: fx.Node, bias: fx.Node | None) -> None:
    with graph.inserting_before(node):
        turned = graph.call_function(_aten.permute.default, (b, [1, 0]))
        turned.meta["val"] = b.meta["val"].t()
        made = graph.call_function(_linear, (a, turned, bias, "none", [], ""))
    made.meta.update(node.meta)
    node.replace_all_uses_with(made)
    graph.erase_node(node)
