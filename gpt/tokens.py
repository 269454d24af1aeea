"""The tokens of one split, in memory or on disk, and how windows of them are read. No torch."""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpt.errors import DataError
from gpt.shards import Shard, open_shard

MAX_BYTES_IN_MEMORY = 2**30
"""Files up to this size together are read into memory; larger ones are read window by window."""
_SAMPLES = 64
_SAMPLE_TOKENS = 2**18
"""Of larger ones, 64 evenly spaced samples of 512 KiB are read: for the fingerprint, and to check ids early."""


class Tokens:
    """The tokens of one split, read-only, none of them outside the vocabulary.

    Held in memory, or read from files with `pread`. A file is never mapped into memory: one that is cut short
    meanwhile would kill the process with SIGBUS, where `pread` just returns less.

    Args:
        array: token ids, (n,) uint16 or uint32.
        vocab_size: what every id must be below.
        name: the file or text they come from, for errors.

    Raises DataError for an id that is not in the vocabulary.
    """

    def __init__(self, array: np.ndarray, *, vocab_size: int, name: str) -> None:
        self.name = name
        self.vocab_size = vocab_size
        self._array: np.ndarray | None = array.view()
        self._array.flags.writeable = False
        self._length = len(array)
        self._shards: list[Shard] = []
        self._files: list[int] = []
        self._ends = np.empty(0, np.int64)  # tokens up to the end of each shard
        self._check_ids(array, 0)  # once for all: they cannot change any more

    @classmethod
    def open(
        cls, paths: Path | Sequence[Path], *, vocab_size: int, in_memory: int = MAX_BYTES_IN_MEMORY
    ) -> Tokens:  # fmt: skip
        """The tokens in one file or several, one after the other, in any format of gpt.shards.

        More than `in_memory` bytes stay on disk. Raises DataError for a missing, empty or damaged file, and for an id
        that is not in the vocabulary (on disk: when it is read).
        """
        shards = [open_shard(path) for path in ([paths] if isinstance(paths, Path) else paths)]
        name = str(shards[0].path) + (f" and {len(shards) - 1} more" if len(shards) > 1 else "")
        if sum(shard.size for shard in shards) <= in_memory:
            arrays = [_read_whole(shard) for shard in shards]
            array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
            return cls(array, vocab_size=vocab_size, name=name)
        tokens = cls(np.empty(0, np.uint16), vocab_size=vocab_size, name=name)
        tokens._array = None
        tokens._shards = shards
        tokens._ends = np.cumsum([shard.tokens for shard in shards])
        tokens._length = int(tokens._ends[-1])
        for shard in shards:
            tokens._files.append(os.open(shard.path, os.O_RDONLY | os.O_CLOEXEC))
            weakref.finalize(tokens, os.close, tokens._files[-1])
        return tokens

    def __len__(self) -> int:
        return self._length

    @property
    def in_memory(self) -> bool:
        """False where windows are read from the file."""
        return self._array is not None

    def gather(self, starts: np.ndarray, length: int) -> np.ndarray:
        """Windows of `length` tokens from each start, (len(starts), length) int64.

        Raises DataError, for tokens on disk, where the file has been cut short or an id is not in the vocabulary.
        """
        if not len(starts):
            return np.empty((0, length), dtype=np.int64)
        assert starts.min() >= 0 and starts.max() + length <= self._length, "a window outside the split"
        if self._array is not None:
            windows = np.lib.stride_tricks.sliding_window_view(self._array, length)  # (n - length + 1, length), no copy
            return windows[starts].astype(np.int64)
        rows = [self._read(int(start), length) for start in starts]
        return np.stack(rows).astype(np.int64)

    def first(self, count: int) -> np.ndarray:
        """The first tokens of the split, at most `count`, (n,) uint16 or uint32."""
        count = min(count, self._length)
        return self._array[:count] if self._array is not None else self._read(0, count)

    def fingerprint(self) -> str:
        """Hash of the tokens: of all of them in memory; on disk, of their number and 64 samples of them.

        The same tokens have the same hash in any format and any number of files.
        """
        digest = hashlib.sha256(self._length.to_bytes(8, "little"))
        kind = "<u2" if self.vocab_size <= 2**16 else "<u4"
        if self._array is not None:
            digest.update(np.ascontiguousarray(self._array, dtype=kind).data)
            return f"sha256:{digest.hexdigest()}"
        for start in sample_starts(self._length):
            sample = self._read(start, min(_SAMPLE_TOKENS, self._length))
            digest.update(np.ascontiguousarray(sample, dtype=kind).data)
        return f"sampled-sha256:{digest.hexdigest()}"

    def check_samples(self) -> None:
        """Reads 64 evenly spaced samples; raises DataError where an id in them is not in the vocabulary."""
        for start in sample_starts(self._length):
            self.gather(np.array([start]), min(_SAMPLE_TOKENS, self._length))

    def _read(self, start: int, count: int) -> np.ndarray:
        """Tokens from disk, across the ends of files."""
        parts = []
        index = int(np.searchsorted(self._ends, start, side="right"))
        while count:
            shard = self._shards[index]
            first = start - int(self._ends[index]) + shard.tokens
            length = min(count, shard.tokens - first)
            width = shard.dtype.itemsize
            content = os.pread(self._files[index], width * length, shard.offset + width * first)
            if len(content) < width * length:
                raise _shrunk(shard)
            row = np.frombuffer(content, dtype=shard.dtype)
            self._check_ids(row, start)
            parts.append(row)
            start, count, index = start + length, count - length, index + 1
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _check_ids(self, ids: np.ndarray, position: int) -> None:
        if len(ids) and int(ids.max()) >= self.vocab_size:
            at = int(np.argmax(ids >= self.vocab_size))
            raise DataError(
                f"{self.name}: token id {ids[at]} at position {position + at:,} is not in the vocabulary of "
                f"{self.vocab_size:,}; set data.tokenizer or model.vocab_size to what the file was made with"
            )


def sample_starts(length: int) -> list[int]:
    """Evenly spaced positions of samples in a split of `length` tokens."""
    room = max(0, length - _SAMPLE_TOKENS)
    return [room * i // (_SAMPLES - 1) for i in range(_SAMPLES)]


def _read_whole(shard: Shard) -> np.ndarray:
    array = np.fromfile(shard.path, dtype=shard.dtype, offset=shard.offset, count=shard.tokens)
    if len(array) < shard.tokens:
        raise _shrunk(shard)
    return array


def _shrunk(shard: Shard) -> DataError:
    return DataError(
        f"{shard.path}: the file has become shorter than the {shard.size:,} bytes it had; restore it and resume"
    )
