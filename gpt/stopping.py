"""Where a text ends that comes in pieces: a stop string is found across them, and nothing of it gets out. No torch."""

from __future__ import annotations


class StopFinder:
    """Passes text on up to the first occurrence of a stop string.

    What may still turn out to be its beginning is held back until it is known: so what has been passed on is never
    taken back.

    Args:
        stop: the string; empty: there is none, and all text passes at once.
    """

    def __init__(self, stop: str) -> None:
        self._stop = stop
        self._held = ""
        self.found = False
        """True once the string has been seen; all that follows is dropped."""

    def feed(self, text: str) -> str:
        """What one more piece of text makes certain; perhaps nothing."""
        if self.found:
            return ""
        text = self._held + text
        if self._stop and (at := text.find(self._stop)) >= 0:
            self.found, self._held = True, ""
            return text[:at]
        certain = len(text) - self._beginning_at_end(text)
        self._held = text[certain:]
        return text[:certain]

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held

    def _beginning_at_end(self, text: str) -> int:
        """Length of the longest end of `text` that the stop string begins with."""
        longest = min(len(text), len(self._stop) - 1)
        return next((size for size in range(longest, 0, -1) if self._stop.startswith(text[-size:])), 0)
