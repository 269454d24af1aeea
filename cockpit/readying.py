"""What keys open is imported before a key asks for it: some views bring 40 modules, a tenth of a second."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

from cockpit.actions import ACTIONS
from gpt.runtime import give_way

LOOK_SECONDS = 0.2
"""Time between two looks whether there is time for it."""
PAUSE_SECONDS = 0.05
"""Time between two modules: whoever else wants the interpreter gets it."""


class Readying:
    """A thread that imports, one after the other, what the actions open; 0.3 s of CPU time, once.

    Args:
        may_begin: whether what the program does first is done; asked by that thread.
    """

    def __init__(self, may_begin: Callable[[], bool]) -> None:
        self._may_begin = may_begin
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="readying", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it, at the latest after the module that it is at."""
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._may_begin():
            if self._over.wait(LOOK_SECONDS):
                return
        give_way()
        for module in dict.fromkeys(action.opens.partition(":")[0] for action in ACTIONS if action.opens):
            if self._over.wait(PAUSE_SECONDS):
                return
            with suppress(Exception):  # the key says it, to somebody who is there
                import_module(module)
