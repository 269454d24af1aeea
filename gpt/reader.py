"""The batches of a run, in order: made when they are asked for, or ahead of that by a thread.

Which tokens a batch holds depends on its first sequence's number and its size alone (gpt.order), so reading ahead can
change nothing: what was read for another place than the one asked for is dropped.

Reading ahead is for where making a batch can be slow, or would keep a GPU waiting: for tokens on disk, and for CUDA,
where the copy to the device runs beside the step on a stream of its own. On a CPU with tokens in memory, making a batch
takes less than being handed it by a thread; there several are cut from one gathering, which takes hardly longer than
one.
"""

from __future__ import annotations

import collections
import copy
import threading

import torch

from gpt.device import Device
from gpt.evaluate import to_device
from gpt.order import BatchOrder
from gpt.tokens import Tokens

AHEAD = 3
"""Batches that wait at most."""
GATHERED = 8
"""Batches that are gathered in one go where no thread reads ahead."""

Batch = tuple[torch.Tensor, torch.Tensor]
"""Inputs and targets, each (B, T) int64, on the device."""


class Reader:
    """Makes the batches of one run.

    Args:
        order: where each sequence of the run starts in `tokens`.
        ahead: how many batches to hold ready; 0: none; None: what pays (`why` says which and for what reason).
        every: of so many batches one is asked for, as each of several ranks does.
    """

    def __init__(
        self,
        tokens: Tokens,
        order: BatchOrder,
        block_size: int,
        device: Device,
        *,
        ahead: int | None = None,
        every: int = 1,
    ) -> None:
        self._tokens, self._block_size, self._device, self._every = tokens, block_size, device, every
        self._order = copy.copy(order)  # the thread's own: it keeps the newest epoch
        pays, self.why = _pays(tokens, device)
        self.ahead = ahead if ahead is not None else AHEAD if pays else 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        # All below belongs to whoever holds the condition.
        self._ready: collections.deque[_Made] = collections.deque()
        self._wanted = self._next = (
            0,
            0,
        )  # first sequence and size of what `_ready` begins with, and of what follows it
        self._is_reading = False  # whether anything follows: not after an error
        self._place = 0  # goes up when what is being made is no longer wanted
        self._gathered: tuple[int, int, list[Batch]] = (0, 0, [])  # the first sequence and size of the next, and they

    def take(self, first: int, count: int) -> Batch:
        """The sequences number first … first + count - 1, as inputs and targets.

        Raises DataError where the tokens cannot be read; the same place may be asked for again.
        """
        if not self.ahead:
            return self._cut(first, count)
        with self._changed:
            if (first, count) != self._wanted or not (self._ready or self._is_reading):
                self._seek(first, count)
            self._changed.wait_for(lambda: self._ready)
            made = self._ready.popleft()
            self._wanted = (first + self._every * count, count)
            self._changed.notify_all()
        return made.use()

    def _cut(self, first: int, count: int) -> Batch:
        """The batch, from those gathered with it. Several ranks gather one at a time: theirs are not neighbours."""
        wanted, size, batches = self._gathered
        if not batches or (wanted, size) != (first, count):
            many = GATHERED if self._tokens.in_memory and self._device.type == "cpu" and self._every == 1 else 1
            inputs, targets = self._make(first, many * count)
            batches = [*zip(inputs.split(count), targets.split(count), strict=True)]
        batch = batches.pop(0)
        self._gathered = (first + count, count, batches)
        return batch

    def close(self) -> None:
        """Drops what was read ahead and ends the thread. A later `take` makes its batch itself."""
        with self._changed:
            self._closed, self.ahead = True, 0
            self._ready.clear()
            self._changed.notify_all()
        if self._thread:
            self._thread.join()
            self._thread = None

    def _seek(self, first: int, count: int) -> None:
        self._ready.clear()
        self._wanted = self._next = (first, count)
        self._is_reading, self._place = True, self._place + 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._read_ahead, name="reader", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _read_ahead(self) -> None:
        stream = None
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device.torch_device)  # of this thread
            stream = torch.cuda.Stream()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or (self._is_reading and len(self._ready) < self.ahead))
                if self._closed:
                    return
                place, (first, count) = self._place, self._next
            made = _Made()
            try:
                with torch.cuda.stream(stream):  # None: nothing changes
                    made.batch = self._make(first, count)
                    if stream:
                        made.copied = torch.cuda.Event()
                        made.copied.record(stream)
            except BaseException as error:  # told where the batch is asked for
                made.error = error
            with self._changed:
                if place == self._place:
                    self._ready.append(made)
                    self._next, self._is_reading = (first + self._every * count, count), made.error is None
                    self._changed.notify_all()

    def _make(self, first: int, count: int) -> Batch:
        starts = self._order.starts(first, count)
        return to_device(self._tokens.gather(starts, self._block_size + 1), self._device)


class _Made:
    """A batch that was read ahead, or why it could not be."""

    batch: Batch | None = None
    copied: torch.cuda.Event | None = None
    """On the reader's stream, once the batch is on the device."""
    error: BaseException | None = None

    def use(self) -> Batch:
        """The batch, for the current stream; the host does not wait for it."""
        if self.error:
            raise self.error
        assert self.batch is not None
        if self.copied:
            stream = torch.cuda.current_stream()
            stream.wait_event(self.copied)
            for tensor in self.batch:
                tensor.record_stream(stream)  # or its memory would be the next batch's while the step still reads it
        return self.batch


def _pays(tokens: Tokens, device: Device) -> tuple[bool, str]:
    if device.type == "cuda":
        return True, "batches are gathered and copied while the GPU trains"
    if not tokens.in_memory:
        return True, "the tokens are on disk"
    return False, f"on {device.type} with tokens in memory a batch takes less time than a thread would"
