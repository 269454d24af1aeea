"""What differs between the profile on disk and the run, and what of it can change now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

from textual.widget import Widget
from textual.widgets import Static

from cockpit.sanitize import clean_line
from cockpit.screens.modal import Box, hints, text
from cockpit.widgets import ink
from cockpit.widgets.rows import Piece
from gpt.config import as_toml
from gpt.live import fixed_reason


class Difference(NamedTuple):
    """A setting that is not what it was."""

    key: str
    old: Any
    new: Any
    refusal: str | None
    """Why it cannot change while running; None where it can."""


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """The settings of two flat profiles that differ: those that can change now first."""
    changed = [
        Difference(key, old.get(key), value, fixed_reason(key)) for key, value in new.items() if old.get(key) != value
    ]
    return sorted(changed, key=lambda one: (one.refusal is not None, one.key))


class ReloadScreen(Box[bool]):
    """Shows the differences; closes with True to apply them, or None."""

    BINDINGS: ClassVar = [("enter", "apply", "apply")]

    def __init__(self, changes: list[Difference], source: str) -> None:
        live = sum(change.refusal is None for change in changes)
        apply = f"apply {live} from the next step on" if live else "log the refusals"
        super().__init__(
            f"{clean_line(source)} on disk differs", hints(("enter", apply), ("esc", "leave all as it is"))
        )
        self._changes = changes

    def body(self) -> Iterable[Widget]:
        key_width = max(len(change.key) for change in self._changes)
        for live, heading in ((True, "changes from the next step on"), (False, "cannot change in this run")):
            part = [change for change in self._changes if (change.refusal is None) == live]
            if not part:
                continue
            yield Static(text((heading, ink.GOOD if live else ink.WARNING)), classes="heading")
            for change in part:
                yield Static(text(*_line(change, key_width)), classes="difference")

    def action_apply(self) -> None:
        """Sends the differences to the trainer."""
        self.dismiss(True)


def _line(change: Difference, key_width: int) -> list[Piece]:
    glyph: Piece = ("▲ ", ink.GOOD) if change.refusal is None else ("△ ", ink.WARNING)
    pieces = [glyph, (f"{change.key:<{key_width}}  ", ink.TEXT), (show(change.old), ink.DIM), (" → ", ink.FAINT)]
    pieces.append((show(change.new), ink.BRIGHT))
    if change.refusal is not None:
        pieces.append((f"\n  {change.refusal}", ink.DIM))
    return pieces


def show(value: Any) -> str:
    """A setting as TOML writes it, fit for one row."""
    return clean_line(as_toml(value))
