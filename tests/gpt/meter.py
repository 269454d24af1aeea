"""What a step really holds: bytes saved for the backward pass, and the peak of all that is alive."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class SavedBytes:
    """Adds up the distinct storages that autograd keeps inside the block; parameters are not counted."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self._passed_over = {parameter.untyped_storage().data_ptr() for parameter in parameters}
        self._sizes: dict[int, int] = {}
        self._kept: list[Tensor] = []  # so that no address is used twice

    @property
    def total(self) -> int:
        return sum(self._sizes.values())

    def __enter__(self) -> SavedBytes:
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._passed_over:
            self._sizes[storage.data_ptr()] = storage.nbytes()
            self._kept.append(tensor)
        return tensor


class PeakBytes(TorchDispatchMode):
    """The most bytes that storages made inside the block hold at once, `before` included."""

    def __init__(self, before: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self._alive: dict[int, int] = {}
        self.now = self.peak = 0
        for tensor in before:
            self._count(tensor)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return out

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._alive:
            self._alive[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.now -= self._alive.pop(key)
