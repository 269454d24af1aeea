"""What goes on beside training and is no reason to lose anything: where it fails, that is said once."""

from __future__ import annotations

import traceback
from collections.abc import Callable


class Upkeep:
    """Does things that may fail, each again and again.

    Args:
        tell: takes a line for the run's log: its level and its text.
    """

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        self._tell = tell
        self._failed: set[str] = set()

    def attempt(self, what: str, act: Callable[[], object]) -> None:
        """Does it. An exception ends neither the thread nor what else it does: the first one is told, in console.log
        whole, and the next time it is tried again."""
        try:
            act()
        except Exception as error:
            if what not in self._failed:
                self._failed.add(what)
                traceback.print_exc()  # into console.log
                reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                self._tell("warning", f"{what} failed ({reason}); the run goes on, and it is tried again")
