"""The prompt editor for a sample."""

from __future__ import annotations

from collections.abc import Iterable

from textual import events
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static, TextArea

from cockpit.sanitize import clean
from cockpit.screens.modal import Box, hints, text
from cockpit.widgets import ink


class PromptEditor(TextArea):
    """A text area in which enter sends and ctrl+j begins a new line. What is pasted is made clean first."""

    class Sent(Message):
        """Enter was pressed."""

    class Left(Message):
        """Escape was pressed."""

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

    async def _on_paste(self, event: events.Paste) -> None:
        event.text = clean(event.text)
        await super()._on_paste(event)


class PromptScreen(Box[str]):
    """Asks what the model shall continue; closes with the prompt, or None.

    Args:
        prompt: what stands there at first.
        temperature, top_k, max_new_tokens: the settings it will be sampled with, shown below.
    """

    def __init__(self, prompt: str, *, temperature: float, top_k: int, max_new_tokens: int) -> None:
        super().__init__("Continue this", hints(("enter", "sample"), ("ctrl+j", "new line"), ("esc", "cancel")))
        among = f"the likeliest {top_k}" if top_k else "all tokens"
        self._prompt = clean(prompt)
        self._about = f"temperature {temperature:g}, from {among}, up to {max_new_tokens:,} tokens"

    def body(self) -> Iterable[Widget]:
        yield PromptEditor(self._prompt, id="prompt", soft_wrap=True, tab_behavior="indent", compact=True)
        yield Static(text((self._about, ink.DIM)))

    def on_mount(self) -> None:
        editor = self.query_one(PromptEditor)
        editor.focus()
        editor.move_cursor(editor.document.end)

    def on_prompt_editor_left(self) -> None:
        self.dismiss(None)

    def on_prompt_editor_sent(self) -> None:
        self.dismiss(self.query_one(PromptEditor).text)
