"""The text area in which a prompt is written."""

from __future__ import annotations

from textual import events
from textual.message import Message
from textual.widgets import TextArea

from cockpit.sanitize import clean


class PromptEditor(TextArea):
    """A text area in which enter sends and ctrl+j begins a new line. What is pasted is made clean first.

    Up in the first line and down in the last one leave it, for an earlier or a later prompt.
    """

    class Sent(Message):
        """Enter was pressed."""

    class Left(Message):
        """Escape was pressed."""

    class Turned(Message):
        """An earlier prompt is wanted, or a later one."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    class Paged(Message):
        """What stands below is to be scrolled by a page: a prompt is short."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.post_message(self.Sent())
        elif event.key == "escape":  # which a text area takes for itself
            event.stop()
            event.prevent_default()
            self.post_message(self.Left())
        elif event.key in ("ctrl+j", "shift+enter", "alt+enter"):
            event.stop()
            event.prevent_default()
            self.insert("\n")
        else:
            await super()._on_key(event)

    def action_cursor_up(self, select: bool = False) -> None:
        if not select and self.cursor_at_first_line:
            self.post_message(self.Turned(-1))
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        if not select and self.cursor_at_last_line:
            self.post_message(self.Turned(1))
        else:
            super().action_cursor_down(select)

    def action_cursor_page_up(self) -> None:
        self.post_message(self.Paged(-1))

    def action_cursor_page_down(self) -> None:
        self.post_message(self.Paged(1))

    async def _on_paste(self, event: events.Paste) -> None:
        event.text = clean(event.text)
        await super()._on_paste(event)
