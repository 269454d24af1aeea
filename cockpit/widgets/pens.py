"""Dots as characters: braille, half blocks, or letters that every terminal has."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cockpit.widgets import plot


class Pen(NamedTuple):
    """What a cell is divided into, and the characters for its dots."""

    across: int
    down: int
    """Dots in a cell. `down` divides 4."""
    bold: np.ndarray
    """Code points by dot pattern for the curve that matters most; 0 is no dot."""
    thin: np.ndarray
    """The same for the others: a letter of its own where dots say nothing of which curve they are."""

    def patterns(self, mask: np.ndarray) -> np.ndarray:
        """(down·r, across·c) bool dots as (r, c) dot patterns."""
        if self.down == 4:
            return plot.braille(mask)
        rows = mask.reshape(-1, self.down, mask.shape[1])
        return (rows * (1 << np.arange(self.down))[:, None]).sum(axis=1).astype(np.uint8)


_BRAILLE = 0x2800 + np.arange(256, dtype=np.uint32)
_BLOCKS = np.array([ord(char) for char in " ▀▄█"], dtype=np.uint32)

PENS = {
    "braille": Pen(2, 4, _BRAILLE, _BRAILLE),
    "blocks": Pen(1, 2, _BLOCKS, _BLOCKS),
    "ascii": Pen(1, 1, np.array([32, ord("*")], dtype=np.uint32), np.array([32, ord(":")], dtype=np.uint32)),
}
"""By the names of cockpit.lens.PENS."""
