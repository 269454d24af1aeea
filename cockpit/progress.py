"""How far a command is, told on standard error while somebody waits for it."""

from __future__ import annotations

import sys
import time

ON_TERMINAL, ELSEWHERE = 0.25, 10.0
"""Seconds between two tellings; what takes less is done in silence."""


class Progress:
    """One line that is drawn over on a terminal, gone at the end; elsewhere, in a pipe or a log, a line at a time.

    Args:
        elsewhere: whether anything is told there.
    """

    def __init__(self, *, elsewhere: bool = True) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._is_told = self._on_terminal or elsewhere
        self._interval = ON_TERMINAL if self._on_terminal else ELSEWHERE
        self._told = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time to tell again; what is to be told need not be worked out before."""
        return time.monotonic() - self._told >= self._interval

    def tell(self, line: str) -> None:
        """Shows a line, whether it is due or not."""
        self._told = time.monotonic()
        if not self._is_told:
            return
        sys.stderr.write(f"\r{line}\x1b[K" if self._on_terminal else f"{line}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Takes the line away."""
        if self._on_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
