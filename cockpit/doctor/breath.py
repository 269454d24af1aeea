"""Work beside a run, in pieces: between two of them whoever draws or trains may have the interpreter and the core."""

from __future__ import annotations

import time

LEAST = 0.001
TIMES = 4
"""After each piece so many seconds are let go by at least, and so many times as long as it took: a frame waits for one
piece, and training for a fifth of a core's time."""


class Breath:
    """To be called after each piece of the work that its own thread does."""

    def __init__(self) -> None:
        self._began = time.thread_time()

    def __call__(self) -> None:
        """Stands still for a while, by what the thread has computed since the last time."""
        time.sleep(max(LEAST, TIMES * (time.thread_time() - self._began)))
        self._began = time.thread_time()
