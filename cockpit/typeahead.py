"""Keys typed ahead: each goes to what has the keys once those before it are done."""

from __future__ import annotations

import bisect
from typing import TypeVar

from textual import events
from textual.app import App
from textual.message import Message
from textual.widget import Widget

Result = TypeVar("Result")

ROUNDS = 2
"""Times that all must have been dealt with before a key counts as done: the key itself, then what it led to, such as
the word that a line was sent off."""
LOST_AFTER = 0.25
"""Seconds after which nobody waits for a key any more: what had it was closed."""


class AimedKey(events.Key):
    """A key, when it was typed, at what it is aimed, and on which screen that is."""

    def __init__(self, key: events.Key, number: int, at: Widget) -> None:
        super().__init__(key.key, key.character)
        self.number, self.at, self.screen = number, at, at.screen


AimedKey.handler_name = events.Key.handler_name  # for all who handle keys it is one


class KeyDone(Message):
    """Follows a key on its way up to the app, and comes there once the key is done.

    Args:
        owner: what had the key.
        rounds_left: how often it is sent there once more.
    """

    def __init__(self, owner: Widget, rounds_left: int) -> None:
        super().__init__()
        self.owner, self.rounds_left = owner, rounds_left


class TypeAheadApp(App[Result]):
    """An app in which a key that opens a screen may be followed at once by those that are meant for that screen.

    On a slow line they arrive together. Textual hands each of them to what has the keys at that moment, before the
    first is done: enter, behind a key that asks something, was the list's behind the question. Here a key that comes up
    to the app untaken while its screen is covered starts over; until it and those behind it are done, in their order,
    newer ones wait. What closes a screen is followed by no key of that screen.
    """

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._waits_for: KeyDone | None = None
        """None: nothing is waited for, and keys go their usual way."""
        self._behind: list[AimedKey] = []
        """What waits, in the order in which it was typed."""

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, events.Key) or event.is_forwarded:
            await super().on_event(event)
            return
        if self._exit or not self.screen_stack:  # it ends: nothing is there for keys any more
            return
        self._count += 1
        key = AimedKey(event, self._count, self._keys_owner)
        if self._waits_for:
            self._put_off(key)
        else:
            await super().on_event(key)

    def on_key(self, event: events.Key) -> None:
        """Comes before the app's own bindings, for a key that nobody below has taken."""
        if self._exit or not self.screen_stack:  # Textual's own handler would look for a screen
            event.prevent_default()
            return
        if not isinstance(event, AimedKey) or event.screen not in self.screen_stack or event.at is self._keys_owner:
            return
        event.stop()
        event.prevent_default()
        self._put_off(event)
        if not self._waits_for:
            self._wait_for(event.at)

    async def on_key_done(self, event: KeyDone) -> None:
        """The key that was waited for is done, or given up: on to the next."""
        if event is not self._waits_for:
            return
        self._waits_for = None
        if event.rounds_left:
            self._wait_for(event.owner, event.rounds_left - 1)
        elif self._behind and self.screen_stack and not self._exit:
            earlier = self._behind.pop(0)
            key = AimedKey(earlier, earlier.number, self._keys_owner)
            await super().on_event(key)
            self._wait_for(key.at)

    def _put_off(self, key: AimedKey) -> None:
        bisect.insort(self._behind, key, key=lambda one: one.number)

    def _wait_for(self, owner: Widget, rounds_left: int = ROUNDS - 1) -> None:
        done = self._waits_for = KeyDone(owner, rounds_left)
        if not owner.post_message(done):
            self.post_message(done)
        self.set_timer(LOST_AFTER, lambda: self.post_message(done))

    @property
    def _keys_owner(self) -> Widget:
        focused = self.focused
        return self.screen if focused is None else focused
