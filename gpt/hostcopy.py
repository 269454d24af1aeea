"""A copy of the training state in host memory that is kept: all that a checkpoint costs while training stands still.

The memory is taken once and touched once, so that a copy meets no page faults; for CUDA tensors it is pinned, and the
host waits for the device a single time, at the copy's end.
"""

from __future__ import annotations

from collections.abc import Mapping

import psutil
import torch

Files = Mapping[str, Mapping[str, torch.Tensor]]
"""Tensors by file name without `.safetensors`, then by tensor name."""

SPARE_BYTES = 512 * 2**20
"""What must stay free of the host's memory beside the copy."""

_ALIGNMENT = 64  # bytes: a cache line


class HostCopy:
    """Room for one copy of a run's tensors."""

    def __init__(self) -> None:
        self._room: dict[str, dict[str, torch.Tensor]] = {}
        self._pinned = False

    def make_room(self, files: Files) -> str | None:
        """Sees to it that there is room for tensors like these; None, or why there is none.

        Room that fits is kept. To be called while nothing reads the last copy.
        """
        if _layout(files) == _layout(self._room):
            return None
        self._room = {}  # let go before more is taken: never two
        self._pinned = any(tensor.is_cuda for tensors in files.values() for tensor in tensors.values())
        sizes = [_spans(tensors)[-1] for tensors in files.values()]
        needed = sum(1 << max(0, size - 1).bit_length() for size in sizes) if self._pinned else sum(sizes)
        free = psutil.virtual_memory().available
        if needed + SPARE_BYTES <= free:
            try:
                self._room = {name: _views(tensors, self._pinned) for name, tensors in files.items()}
                return None
            except (MemoryError, RuntimeError):  # torch's own word for it; what was taken for one file goes again
                pass
        return f"a copy takes {needed / 1e6:,.0f} MB of memory, and {free / 1e6:,.0f} MB are free"

    def take(self, files: Files) -> Files:
        """Copies tensors into the room made for them and returns the copy; it holds until the next one."""
        for name, tensors in files.items():
            for key, tensor in tensors.items():
                self._room[name][key].copy_(tensor, non_blocking=self._pinned)
        if self._pinned:
            torch.cuda.synchronize()
        return self._room


def on_host(files: Files) -> Files:
    """The tensors contiguous and on the CPU; those that are so already are not copied."""
    return {
        name: {key: tensor.detach().to("cpu").contiguous() for key, tensor in tensors.items()}
        for name, tensors in files.items()
    }


def size_of(files: Files) -> int:
    """Bytes of all tensors together."""
    return sum(tensor.numel() * tensor.element_size() for tensors in files.values() for tensor in tensors.values())


def _layout(files: Files) -> dict[str, dict[str, tuple[torch.Size, torch.dtype]]]:
    return {name: {key: (t.shape, t.dtype) for key, t in tensors.items()} for name, tensors in files.items()}


def _spans(tensors: Mapping[str, torch.Tensor]) -> list[int]:
    """Where each tensor begins in a common block, bytes; the last is the block's length."""
    spans = [0]
    for tensor in tensors.values():
        size = tensor.numel() * tensor.element_size()
        spans.append(spans[-1] + -(-size // _ALIGNMENT) * _ALIGNMENT)
    return spans


def _views(tensors: Mapping[str, torch.Tensor], pinned: bool) -> dict[str, torch.Tensor]:
    """Tensors like these in one new block of memory, every page of it touched. Pinned, it is the next power of two."""
    spans = _spans(tensors)
    block = torch.empty(spans[-1], dtype=torch.uint8, pin_memory=pinned).fill_(0)
    return {
        key: block[start : start + tensor.numel() * tensor.element_size()].view(tensor.dtype).view(tensor.shape)
        for (key, tensor), start in zip(tensors.items(), spans[:-1], strict=True)
    }
