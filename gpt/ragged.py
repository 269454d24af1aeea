"""A key-value cache for sequences of unequal length, read side by side.

Every sequence lies in its row from position 0 on, as if it were read alone, and what is free of a row lies behind it.
So positions mean what they mean to a single sequence, whatever the model makes of them, and no padding is ever read.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from gpt.model import GPT, KVCache


class RaggedCache(KVCache):
    """Keys and values of B sequences, each of a length of its own.

    While all lengths are equal it is the plain cache, bit for bit; a mask and scattered writes come only where they
    differ. A row can be read alone, copied and let go of.

    Args:
        batch: sequences, B.
    """

    def __init__(self, model: GPT, batch: int = 1) -> None:
        super().__init__(model, batch)
        if batch > 1:  # what lies behind a row is masked, but a mask does not hide what is not a number
            self.keys.zero_()
            self.values.zero_()
        self.lengths = [0] * batch
        """Tokens read so far, by row; `length` is the greatest of them."""
        self._places: tuple[Tensor, Tensor] | None = None
        """While a forward pass over unequal rows is under way: positions (B, new), mask (B, 1, new, keys)."""

    def clear(self) -> None:
        """Forgets everything read."""
        self._set_lengths([0] * len(self.lengths))

    def positions(self, new: int) -> Tensor:
        """Positions of `new` tokens that follow each row: (new,), or (B, new) where the rows differ."""
        positions = super().positions(new)
        self._places = None
        if len(set(self.lengths)) > 1:
            device = self.keys.device
            positions = torch.tensor(self.lengths, device=device)[:, None] + torch.arange(new, device=device)
            keys = torch.arange(self.length + new, device=device)
            self._places = positions, (keys <= positions[:, :, None])[:, None]
        return positions

    def mask(self, new: int) -> Tensor | None:
        """As the plain cache's; (B, 1, new, length + new) where the rows differ."""
        return self._places[1] if self._places else super().mask(new)

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Puts a layer's new (B, K, T, D) keys and values behind each row's own; what lies behind those is masked."""
        if not self._places:
            return super().extend(layer, key, value)
        end = self.length + key.shape[2]
        rows = torch.arange(len(self.lengths), device=key.device)[:, None]
        for kept, new in ((self.keys[layer], key), (self.values[layer], value)):
            kept[rows, :, self._places[0]] = new.transpose(1, 2).to(kept.dtype)  # (B, T, K, D)
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, new: int) -> None:
        """Counts `new` tokens as read in each row."""
        self._places = None
        self._set_lengths([length + new for length in self.lengths])

    def read_row(self, row: int, model: GPT, ids: Sequence[int], *, anew: bool = False) -> Tensor:
        """Reads tokens into one row, the others untouched; logits (V,) of the token after them.

        Args:
            anew: forget first what the row holds.
        """
        alone = copy.copy(self)
        alone.keys, alone.values = self.keys[:, row : row + 1], self.values[:, row : row + 1]
        alone._set_lengths([0 if anew else self.lengths[row]])
        logits = model.forward_cached(torch.tensor([ids], device=self.keys.device), alone)[0]
        self._set_lengths([*self.lengths[:row], *alone.lengths, *self.lengths[row + 1 :]])
        return logits

    def copy_row(self, source: int, target: int) -> None:
        """Makes a row hold what another one does."""
        length = self.lengths[source]
        for kept in (self.keys, self.values):
            kept[:, target, :, :length] = kept[:, source, :, :length]
        self._set_lengths([*self.lengths[:target], length, *self.lengths[target + 1 :]])

    def keep(self, rows: Sequence[int]) -> None:
        """Lets go of all rows but these, given in rising order; they keep it, and only those that move are copied."""
        for target, source in enumerate(rows):
            if source != target:
                self.copy_row(source, target)
        self.keys, self.values = self.keys[:, : len(rows)], self.values[:, : len(rows)]
        self._set_lengths(self.lengths[: len(rows)])

    def _set_lengths(self, lengths: list[int]) -> None:
        self.lengths, self.length = lengths, max(lengths, default=0)
