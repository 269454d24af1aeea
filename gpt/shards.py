"""Files of tokens, as the field's tools write them: raw uint16, or a header of 256 integers before them. No torch.

- nanoGPT: nothing but little-endian uint16.
- llm.c and modded-nanogpt: 256 little-endian int32 (magic 20240520, version 1, number of tokens, zeros), then uint16.
- llm.c for Llama 3: the same with magic 20240801, version 7, then uint32.

A raw file cannot be mistaken for one with a header: read as uint16, either magic begins with an id above 55,000, and
the largest vocabulary that nanoGPT writes ends at 50,304.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpt.errors import DataError

HEADER_BYTES = 4 * 256
_KINDS = {20240520: (1, "<u2", "llm.c"), 20240801: (7, "<u4", "llm.c, Llama 3")}
"""Magic → (version, type of a token, whose)."""


@dataclass(frozen=True)
class Shard:
    """A file of tokens whose size is what it says."""

    path: Path
    tokens: int
    dtype: np.dtype
    """Little-endian uint16 or uint32."""
    offset: int
    """Bytes before the first token."""
    layout: str = "raw"
    """`raw`, `llm.c`, or `llm.c, Llama 3`."""

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.offset + self.tokens * self.dtype.itemsize


def open_shard(path: Path) -> Shard:
    """Looks at a file's size and header; the tokens are not read.

    Raises DataError, naming the file, where it is missing, empty, cut short, too long, or of a version nobody knows.
    """
    if not path.is_file():
        raise DataError(
            f"{path}: no such file; a prepared folder needs train.bin and val.bin, as nanoGPT's prepare.py makes, "
            "or shards as llm.c's"
        )
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header = file.read(HEADER_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    if size == 0:
        raise DataError(f"{path}: the file is empty; prepare the data again")
    magic = int.from_bytes(header[:4], "little")
    if len(header) >= 4 and magic in _KINDS:
        return _with_header(path, size, header)
    if size % 2:
        raise DataError(f"{path}: {size:,} bytes are not a whole number of uint16 tokens; prepare the data again")
    return Shard(path, size // 2, np.dtype("<u2"), 0)


def split_shards(folder: Path, split: str) -> list[Path]:
    """The files of one split, `train` or `val`, in order.

    Either `train.bin`, or all of `train_*.bin`, `*_train.bin` and `*_train_*.bin`, sorted by name. Where there is none,
    the path of the one that is missing.
    """
    single = folder / f"{split}.bin"
    if single.exists():
        return [single]
    patterns = (f"{split}_*.bin", f"*_{split}.bin", f"*_{split}_*.bin")
    return sorted({path for pattern in patterns for path in folder.glob(pattern)}) or [single]


def header(tokens: int, dtype: np.dtype) -> bytes:
    """The header before `tokens` tokens of uint16 or uint32."""
    magic, version = next((m, v) for m, (v, kind, _) in _KINDS.items() if np.dtype(kind) == dtype)
    integers = np.zeros(256, dtype="<i4")
    integers[:3] = magic, version, tokens
    return integers.tobytes()


def _with_header(path: Path, size: int, start: bytes) -> Shard:
    if len(start) < HEADER_BYTES:
        raise DataError(f"{path}: {size:,} bytes are less than its header's {HEADER_BYTES:,}; copy the file again")
    magic, version, tokens = (int(value) for value in np.frombuffer(start, dtype="<i4")[:3])
    expected, kind, whose = _KINDS[magic]
    if version != expected:
        raise DataError(f"{path}: version {version} of {whose}'s format, only {expected} is known; prepare it again")
    if tokens < 1:
        raise DataError(f"{path}: its header counts {tokens:,} tokens; prepare the data again")
    shard = Shard(path, tokens, np.dtype(kind), HEADER_BYTES, whose)
    if size != shard.size:
        fault = "has been cut short" if size < shard.size else "is longer than that"
        raise DataError(
            f"{path}: its header counts {tokens:,} tokens, {shard.size:,} bytes in all, but the file's {size:,} "
            f"say that it {fault}; copy it again"
        )
    return shard
