"""A line to type in that keeps the order of what is typed, also where much of it arrives at once."""

from __future__ import annotations

from textual import events
from textual.binding import Binding
from textual.widgets import Input

_OTHERS = ("submit", "copy", "cut", "paste")
"""Of the field's actions those that do more than edit: they go the way that screens watch."""
_EDITS = {
    key: binding.action
    for binding in Input.BINDINGS
    if isinstance(binding, Binding) and binding.action not in _OTHERS
    for key in binding.key.split(",")
}


class LineInput(Input):
    """Textual's field puts characters in at once, but a key that deletes or moves goes up to the app first.

    On a slow line keys arrive together: of `ctrl+u 3 e - 4` nothing was left, and `3`, backspace, `4` was 3.
    """

    async def on_key(self, event: events.Key) -> None:
        """Edits here and now."""
        if (action := _EDITS.get(event.key)) is not None:
            event.stop()
            event.prevent_default()
            await self.run_action(action)
