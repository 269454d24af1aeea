"""Work beside a run, in pieces: between two of them whoever draws or trains may have the interpreter and the core."""

from __future__ import annotations

import threading
import time

LEAST = 0.001
TIMES = 4
"""After each piece so many seconds are let go by at least, and so many times as long as it took: a frame waits for one
piece, and training for a fifth of a core's time."""


class GivenUp(Exception):
    """The work is not wanted any more."""


class Breath:
    """To be called after each piece of the work that its own thread does.

    Args:
        given_up: set once the work is not wanted any more.
    """

    def __init__(self, given_up: threading.Event | None = None) -> None:
        self._given_up = given_up or threading.Event()
        self._began = time.thread_time()

    def __call__(self) -> None:
        """Stands still for a while, by what the thread has computed since the last time. Raises GivenUp."""
        if self._given_up.wait(max(LEAST, TIMES * (time.thread_time() - self._began))):
            raise GivenUp
        self._began = time.thread_time()
