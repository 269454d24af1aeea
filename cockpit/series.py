"""Append-only curves that share their memory between versions, so that a pure reducer can afford them."""

from __future__ import annotations

import numpy as np


class Series:
    """An immutable curve: `x` ascending steps and `y` values.

    `append` returns a longer one and leaves this one as it was.

    Versions share one growing buffer, as long as each is extended only once; a second extension copies. An append
    costs O(1) on average. A `None` is kept as NaN.
    """

    __slots__ = ("_buffer", "_length")

    def __init__(self) -> None:
        self._buffer = _Buffer(64)
        self._length = 0

    def append(self, x: float, y: float | None) -> Series:
        """This curve and one more point."""
        buffer = self._buffer
        if buffer.used != self._length or self._length == buffer.data.shape[1]:
            buffer = buffer.grown(self._length)
        buffer.data[0, self._length] = x
        buffer.data[1, self._length] = np.nan if y is None else y
        buffer.used = self._length + 1
        return self._version(buffer, self._length + 1)

    def until(self, x: float) -> Series:
        """The part of this curve with steps up to and including `x`."""
        return self._version(self._buffer, int(np.searchsorted(self.x, x, side="right")))

    @property
    def x(self) -> np.ndarray:
        """Steps, (n,) float64; a view, not to be written to."""
        return self._buffer.data[0, : self._length]

    @property
    def y(self) -> np.ndarray:
        """Values, (n,) float64; a view, not to be written to."""
        return self._buffer.data[1, : self._length]

    @property
    def last(self) -> float | None:
        """The newest value, or None where there is none or it is not a number."""
        if not self._length or np.isnan(self._buffer.data[1, self._length - 1]):
            return None
        return float(self._buffer.data[1, self._length - 1])

    def __len__(self) -> int:
        return self._length

    @staticmethod
    def _version(buffer: _Buffer, length: int) -> Series:
        series = Series.__new__(Series)
        series._buffer, series._length = buffer, length
        return series


class _Buffer:
    __slots__ = ("data", "used")

    def __init__(self, capacity: int) -> None:
        self.data = np.empty((2, capacity))  # (x and y, point)
        self.used = 0

    def grown(self, length: int) -> _Buffer:
        """A copy of the first `length` points with room for as many again."""
        copy = _Buffer(max(64, 2 * length))
        copy.data[:, :length] = self.data[:, :length]
        copy.used = length
        return copy
