"""Keys typed ahead: each goes to what has the keys once those before it are done."""

from __future__ import annotations

from typing import TypeVar

from textual import events
from textual.app import App
from textual.widget import Widget

Result = TypeVar("Result")


class TypeAheadApp(App[Result]):
    """An app in which a key that opens a screen may be followed at once by one that is meant for that screen.

    On a slow line they arrive together. Textual hands each of them to what has the keys at that moment, before the
    first is done: enter, behind a key that asks something, was the list's behind the question.
    """

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key) and not event.is_forwarded:
            event.aimed_at = self._has_keys  # pyright: ignore[reportAttributeAccessIssue]
        await super().on_event(event)

    def on_key(self, event: events.Key) -> None:
        """Comes before the app's own bindings, for a key that nobody below has taken: starts it over where another has
        the keys by now."""
        if getattr(event, "aimed_at", None) is not self._has_keys:
            event.stop()
            event.prevent_default()
            self.post_message(events.Key(event.key, event.character))

    @property
    def _has_keys(self) -> Widget:
        focused = self.focused
        return self.screen if focused is None else focused
