"""Waiting for what another thread or process does: for what it comes to, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 90.0
"""Seconds to wait for anything: shared machines stall. What has come is seen at once."""


def _rest() -> None:
    time.sleep(0.005)


def wait_until(
    holds: Callable[[], bool], what: str = "what is waited for", *,
    rest: Callable[[], object] = _rest, picture: Callable[[], str] = str,
) -> None:  # fmt: skip
    """Waits until a condition holds; an AssertionError says what has not come.

    Args:
        rest: what is done between two looks.
        picture: what else there is to see where it has not come.
    """
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s: {what}\n{picture()}"
        rest()
