"""Two processes that are compared take turns, so that whatever else the machine does in the meantime it does to both.

One after the other they would be seconds or minutes apart, in which a shared machine may well become half as fast. A
pipe leads each way. What is written to it says whose turn it is; the end of it says that the other is gone, and the one
that is left goes on alone.
"""

from __future__ import annotations

import contextlib
import os
import time

TURN_SECONDS = 0.3
"""A turn ends with the first step that ends after this: long enough for the caches to be one's own again."""

_YOURS, _DONE = b".", b"!"


class Turns:
    """One side of two.

    Args:
        take, give: one side of `sides`; None: there is nobody else.
    """

    def __init__(self, take: int | None = None, give: int | None = None) -> None:
        self._pipes = (take, give) if take is not None and give is not None else None
        self._since: float | None = None  # since when it is our turn
        self._is_last = False  # the other has taken its last step
        self.waited = 0.0
        """Seconds that were the other's."""

    def wait(self) -> None:
        """To be called between two steps: returns when the next may be taken."""
        if not self._pipes or self._is_last:
            return
        now = time.perf_counter()
        if self._since is not None:
            if now - self._since < TURN_SECONDS:
                return
            self._tell(_YOURS)
        if self._pipes:
            self._is_last = os.read(self._pipes[0], 1) != _YOURS
        self._since = time.perf_counter()
        self.waited += self._since - now

    def finish(self) -> None:
        """After the last step: returns when the other has taken its last one, too, so that nothing that follows here
        is in its way."""
        if not self._is_last:
            self._tell(_DONE)
            while self._pipes and os.read(self._pipes[0], 1):  # to the end of the pipe
                pass
        self._close()

    def _tell(self, word: bytes) -> None:
        if self._pipes:
            try:
                os.write(self._pipes[1], word)
            except BrokenPipeError:
                self._close()

    def _close(self) -> None:
        for pipe in self._pipes or ():
            with contextlib.suppress(OSError):
                os.close(pipe)
        self._pipes = None


def sides() -> tuple[tuple[int, int], tuple[int, int]]:
    """File descriptors for two processes, the one that begins first: a pipe to be told on, and one to tell on.

    Whoever makes them closes its own copies once both have theirs, or the end of one would not be seen by the other.
    """
    (take_first, tell_first), (take_second, tell_second) = os.pipe(), os.pipe()
    os.write(tell_first, _YOURS)
    return (take_first, tell_second), (take_second, tell_first)
