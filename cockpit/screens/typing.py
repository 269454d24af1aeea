"""A view in which `/` lets words be typed: to filter by, or to search for."""

from __future__ import annotations

from typing import TypeVar

from textual import events
from textual.widgets import Input

from cockpit.screens.view import View
from cockpit.widgets.lineinput import LineInput

Result = TypeVar("Result")


class TypingView(View[Result]):
    """A view with a field that `/` opens, enter leaves and escape empties.

    Subclasses put `field` into their body.
    """

    AUTO_FOCUS = ""  # the field is for words only once they are asked for

    field: Input
    typing = False
    """Whether what is typed goes into the field."""

    def words_changed(self, words: str) -> None:
        """What is in the field is another."""

    def words_entered(self, words: str) -> None:
        """Enter was pressed."""

    def make_field(self, hint: str) -> Input:
        """The field, hidden until it is wanted."""
        self.field = LineInput(placeholder=hint, compact=True, select_on_focus=False)
        self.field.cursor_blink = False
        self.field.display = False
        return self.field

    async def on_key(self, event: events.Key) -> None:
        """Keys that were typed before the field had been focused come here: they are put into it in their order."""
        if self.is_covered:
            return
        if not self.typing and event.key == "slash":
            event.stop()
            self.typing = self.field.display = True
            self.set_focus(self.field)
        elif not self.typing:
            await self.obey(event)
        elif event.key == "enter":
            event.stop()
            self._end_typing()
            self.words_changed(self.field.value)  # the message of it may still be on its way, and another key behind
            self.words_entered(self.field.value)
        elif event.is_printable and event.character:
            event.stop()
            self.field.insert_text_at_cursor(event.character)

    def on_input_changed(self) -> None:
        self.words_changed(self.field.value)

    def action_close(self) -> None:
        """Ends the typing and empties the field, or else leaves the view."""
        if self.typing or self.field.value:
            self.field.value = ""
            self._end_typing()
        else:
            self.dismiss(None)

    def _end_typing(self) -> None:
        self.typing = False
        self.field.display = bool(self.field.value)
        self.set_focus(None)
