"""What differs between the profile on disk and the run, and what of it can change now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from textual.widget import Widget
from textual.widgets import Static

from cockpit.sanitize import clean_line
from cockpit.screens.modal import Box, hints, text
from cockpit.widgets import ink
from cockpit.widgets.rows import Piece
from gpt.commands import SetConfig
from gpt.config import as_toml, flatten
from gpt.errors import UserError
from gpt.live import fixed_reason

if TYPE_CHECKING:
    from cockpit.app import CockpitApp


def reload(app: CockpitApp) -> None:
    """Reads the profile again, shows what differs, and sends it if the pilot agrees."""
    if app.reload_profile is None:
        app.say("this run has no profile on disk to read again", "warning")
        return
    try:
        fresh = app.reload_profile()
    except UserError as error:
        app.say(str(error), "error")
        return
    changes = differences(app.settings, flatten(fresh))
    if not changes:
        app.say("no change: the profile on disk is what the run uses")
        return

    def apply(agreed: bool | None) -> None:
        if agreed:
            app.send(SetConfig(changes={change.key: change.new for change in changes}))
            live = [f"{change.key} → {show(change.new)}" for change in changes if change.refusal is None]
            app.say("; ".join(live) or "nothing can change live")

    app.open(ReloadScreen(changes, app.link.profile.name), apply)


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
