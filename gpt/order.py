"""In which order windows of tokens are read: a pure function of the seed and the sequence's number. No torch.

All that is random here is taken from the raw words of Philox, a counter-based generator. NumPy promises that these
stay the same, but not what `Generator` makes of them (NEP 19): an update could give a resumed run another order.
"""

from __future__ import annotations

import numpy as np

from gpt.errors import DataError

_REPLACEMENT_STREAM = 2**64 - 1  # stands where epochs stand in the key; no run gets that far


class BatchOrder:
    """Start offsets of the run's sequences, numbered from 0. What is asked for, and in what portions, changes nothing.

    `shuffle`: each epoch lays windows of block_size tokens side by side, beginning at an offset of 0 … block_size - 1
    that is drawn anew, and visits them in random order. So each token is an input once in an epoch, but for fewer than
    2 · block_size at the two ends, which are others in each epoch. `replacement`: every start is drawn by itself.

    A window reads block_size + 1 tokens: its targets are its inputs shifted by one.

    Args:
        tokens: length of the split.
        block_size: inputs in a window, tokens.
        seed: natural number; the run's.
        sampling: `shuffle` or `replacement`.

    Raises DataError where the split is shorter than one window.
    """

    def __init__(self, tokens: int, block_size: int, seed: int, sampling: str) -> None:
        if tokens < block_size + 1:
            raise DataError(
                f"{tokens:,} tokens are fewer than the {block_size + 1:,} of one window; use a smaller model.block_size"
            )
        self._last = tokens - 1 - block_size  # the highest start
        self._block_size = block_size
        self._seed = seed % 2**64
        self._shuffle = sampling == "shuffle"
        # as many windows as fit behind any offset below block_size, so that all epochs are of one length
        self._windows = max(1, (tokens - block_size) // block_size) if self._shuffle else max(1, tokens // block_size)
        self._cached: tuple[int, np.ndarray] | None = None

    @property
    def sequences_per_epoch(self) -> int:
        """Sequences that make an epoch; for `replacement`, as many as have the split's number of tokens."""
        return self._windows

    @property
    def tokens_per_epoch(self) -> int:
        """Inputs in an epoch, tokens."""
        return self._windows * self._block_size

    def epoch(self, sequence: int) -> float:
        """Epochs behind the run when `sequence` sequences have been read."""
        return sequence / self._windows

    def starts(self, first: int, count: int) -> np.ndarray:
        """Start offsets of the sequences number first … first + count - 1, (count,) int64."""
        if not self._shuffle:
            return self._draw(first, count)
        parts = [np.empty(0, np.int64)]
        while count > 0:
            epoch, at = divmod(first, self._windows)
            part = self._epoch_starts(epoch)[at : at + count]
            parts.append(part)
            first, count = first + len(part), count - len(part)
        return np.concatenate(parts)

    def _epoch_starts(self, epoch: int) -> np.ndarray:
        """All starts of one epoch in order, (windows,) int64. The newest epoch's are kept."""
        if self._cached is None or self._cached[0] != epoch:
            self._cached = None  # let go of the last epoch's before the next is made
            words = self._philox(epoch).random_raw(1 + self._windows)
            room = self._last - (self._windows - 1) * self._block_size  # the last window can begin this much later
            offset = int(words[0] % np.uint64(min(room + 1, self._block_size)))
            order = np.argsort(words[1:], kind="stable")
            self._cached = (epoch, order * self._block_size + offset)
        return self._cached[1]

    def _draw(self, first: int, count: int) -> np.ndarray:
        """Word number n of one stream decides sequence n; Philox makes four words from each count of its counter."""
        skip = first % 4
        words = self._philox(_REPLACEMENT_STREAM, first // 4).random_raw(skip + count)[skip:]
        return (words % np.uint64(self._last + 1)).astype(np.int64)

    def _philox(self, stream: int, counter: int = 0) -> np.random.Philox:
        return np.random.Philox(key=np.array([self._seed, stream], dtype=np.uint64), counter=counter)


def evaluation_starts(tokens: int, block_size: int, count: int) -> np.ndarray:
    """Starts of `count` windows evenly spaced over a split, the same every time, (n,) int64.

    Windows never overlap: a split that holds fewer gives as many as it holds.
    """
    count = min(count, (tokens - 1) // block_size)
    return np.arange(count, dtype=np.int64) * (tokens - 1 - block_size) // max(1, count - 1)
