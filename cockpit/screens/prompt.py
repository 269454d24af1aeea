"""The prompt editor for a sample."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from textual import events
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static, TextArea

from cockpit.sanitize import clean, clean_line
from cockpit.screens.modal import Box, hints, text
from cockpit.widgets import ink
from gpt.commands import Sample

if TYPE_CHECKING:
    from cockpit.app import CockpitApp


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


SHOWN_SETTINGS = ("temperature", "top_k", "top_p", "repetition_penalty", "max_new_tokens", "stop", "count")
"""Keys of [sample] that the box tells."""
ROOM = 72
"""Cells that the box has for them."""


def ask(app: CockpitApp) -> None:
    """Asks for a prompt and sends it."""
    asked = {name: app.settings[f"sample.{name}"] for name in SHOWN_SETTINGS}
    prompts = app.settings["sample.prompts"] or app.link.profile.sample.prompts

    def sample(prompt: str | None) -> None:
        if prompt is not None:
            app.prompt = prompt
            app.send(Sample(prompt=prompt))
            app.say("sampling after this micro-step")

    app.open(PromptScreen(app.prompt if app.prompt is not None else prompts[0], **asked), sample)


class PromptScreen(Box[str]):
    """Asks what the model shall continue; closes with the prompt, or None.

    Args:
        prompt: what stands there at first.
        settings: what it will be sampled with, by SHOWN_SETTINGS; told below.
    """

    def __init__(self, prompt: str, **settings: Any) -> None:
        super().__init__("Continue this", hints(("enter", "sample"), ("ctrl+j", "new line"), ("esc", "cancel")))
        self._prompt = clean(prompt)
        self._about = about(**settings)

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


def about(
    temperature: float, top_k: int, max_new_tokens: int, top_p: float = 1.0, repetition_penalty: float = 1.0,
    stop: str = "", count: int = 1,
) -> str:  # fmt: skip
    """How samples will be drawn, on one line: in words, or shorter where more is set than is usual."""
    if top_p == 1 and repetition_penalty == 1 and not stop and count == 1:
        among = f"the likeliest {top_k}" if top_k else "all tokens"
        return f"temperature {temperature:g}, from {among}, up to {max_new_tokens:,} tokens"
    parts = [
        f"temp {temperature:g}", f"top-k {top_k}" if top_k else "", f"top-p {top_p:g}" if top_p < 1 else "",
        f"penalty {repetition_penalty:g}" if repetition_penalty != 1 else "", f"{max_new_tokens:,} tokens",
        f"×{count}" if count > 1 else "", f"stop {clean_line(repr(stop))}" if stop else "",
    ]  # fmt: skip
    line = ", ".join(part for part in parts if part)
    return line if len(line) <= ROOM else f"{line[: ROOM - 1]}…"
