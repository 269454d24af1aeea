"""An explanation: what a number is, how it comes about, what is usual, what it says and what would change it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """All there is to say about one number of one run. Lines of one text are separated by newlines."""

    id: str
    """Which number: one of cockpit.explaining.numbers.NUMBERS."""
    name: str
    """As it is called on screen."""
    value: str
    """As it is written on screen, with its unit; `–` is unknown."""
    meaning: str
    computation: str
    """The formula with this run's figures filled in; empty where there are none yet."""
    usual: str
    """For this size and data, as far as that is known."""
    says: str
    """What this value tells."""
    change: str
    """What would move it."""

    @property
    def sections(self) -> list[tuple[str, str]]:
        """(heading, text) of all there is something to say under."""
        texts = [
            ("what it is", self.meaning), ("computed", self.computation), ("usual", self.usual),
            ("this value", self.says), ("what changes it", self.change),
        ]  # fmt: skip
        return [(heading, text) for heading, text in texts if text]


def said(*sentences: str | None) -> str:
    """Sentences on one line; what is None or empty is left out."""
    return " ".join(sentence for sentence in sentences if sentence)


def lines(*texts: str | None) -> str:
    """Texts below each other; what is None or empty is left out."""
    return "\n".join(text for text in texts if text)
