"""Tensors in a file of the safetensors format, written piece by piece and hashed on the way.

The layout (github.com/huggingface/safetensors, "Format"): the header's length as 8 bytes, little-endian; the header,
JSON that gives each tensor's dtype, shape and place, padded with spaces to a multiple of 8 bytes; then the tensors'
bytes, row-major and without gaps. Tensors of wider elements come first, so that each is aligned. The bytes are those
that the library writes; but here the interpreter is free while they are hashed and written: another thread can train.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

PIECE_BYTES = 16 * 2**20
"""What is hashed and written at once; the interpreter is free meanwhile."""

_WORDS = {
    torch.int64: "I64", torch.float64: "F64", torch.float32: "F32", torch.int32: "I32", torch.bfloat16: "BF16",
    torch.float16: "F16", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""The format's name of each dtype, in the order in which the library lays tensors down."""

_RANKS = {dtype: rank for rank, dtype in enumerate(_WORDS)}


def write(path: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    """Writes tensors, contiguous and on the CPU, into a new file, or one that was reserved for them.

    Returns its SHA-256 once it is durable.

    Raises OSError where the disk refuses; what has been written by then stays.
    """
    assert sys.byteorder == "little", "the format is little-endian"
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        for piece in _pieces(_ordered(tensors)):
            digest.update(piece)
            rest = piece
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def size_of(tensors: Mapping[str, torch.Tensor]) -> int:
    """Length of the file that holds them, bytes."""
    content = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    return len(_header(_ordered(tensors))) + content


def _ordered(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(sorted(tensors.items(), key=lambda item: (_RANKS[item[1].dtype], item[0])))


def _pieces(tensors: Mapping[str, torch.Tensor]) -> Iterator[memoryview]:
    """The file's bytes, in order."""
    yield memoryview(_header(tensors))
    for tensor in tensors.values():
        assert tensor.is_contiguous() and tensor.device.type == "cpu"
        if tensor.numel():
            content = tensor.detach().reshape(-1).view(torch.uint8).numpy().data
            for start in range(0, len(content), PIECE_BYTES):
                yield content[start : start + PIECE_BYTES]


def _header(tensors: Mapping[str, torch.Tensor]) -> bytes:
    entries, end = {}, 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {"dtype": _WORDS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
