"""The one look of everything that opens on top of the main screen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, TypeVar

from rich.text import Text
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Input, Static

from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.header import state_style
from cockpit.widgets.rows import Piece

Result = TypeVar("Result")


def text(*pieces: Piece) -> Text:
    """Pieces as one text that is never parsed as markup."""
    return Text.assemble(*pieces, no_wrap=False)


def hints(*keys: tuple[str, str]) -> Text:
    """The last line of a box: each key and what it does."""
    parts: list[Piece] = []
    for key, what in keys:
        parts += [(f"{'   ' if parts else ''}{key} ", ink.BRIGHT), (what, ink.DIM)]
    return text(*parts)


def run_pieces(state: RunState) -> list[Piece]:
    """What a run does and how far it is, in a few words."""
    total = f" / {state.max_steps:,}" if state.max_steps is not None else ""
    return [(f" {state.state.upper()} ", state_style(state.state)), (f"  step {state.step:,}{total}", ink.DIM)]


class LeftOnce(Screen[Result]):
    """A screen that closes once: a second key that came before it was gone closes nothing else."""

    _left = False

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        if self._left:
            return AwaitComplete.nothing()
        self._left = True
        return super().dismiss(result)


class Box(LeftOnce[Result], ModalScreen[Result]):
    """A titled box in the middle of the screen. Escape closes it with None."""

    BINDINGS: ClassVar = [("escape", "close", "close")]

    def body(self) -> Iterable[Widget]:
        """What is in the box."""
        raise NotImplementedError

    def __init__(self, title: str, foot: Text) -> None:
        super().__init__()
        self._title, self._foot = title, foot
        self.shows: RunState | None = None
        """The state that is shown; set before the box is opened, and by `show_run`."""
        self.is_complete = False
        """True once all its parts are there."""

    def compose(self) -> ComposeResult:
        with Vertical(id="box"):
            yield Static(text((self._title, ink.BRIGHT)), id="box-title")
            known = self.shows is not None and self.shows.first_time is not None
            yield Static(text(*run_pieces(self.shows)) if self.shows and known else "", id="box-run")
            with VerticalScroll(id="box-body", can_focus=False):
                yield from self.body()
            yield Static(self._foot, id="box-foot")

    def on_mount(self) -> None:
        self.is_complete = True

    def on_resize(self) -> None:
        """Leaves room for title and last line, whatever the size."""
        for part in self.query("#box-body"):  # none, where the program ends while the box opens
            part.styles.max_height = max(1, self.app.size.height - 8)

    def show_run(self, state: RunState) -> None:
        """Says what the run behind the box is doing; it goes on while the box is open."""
        self.shows = state
        if state.first_time is not None:
            self.query_one("#box-run", Static).update(text(*run_pieces(state)))

    def action_close(self) -> None:
        """Closes the box; nothing happens."""
        self.dismiss(None)


class LineBox(Box[Result]):
    """A box with one line to type in, which has the keys from the start. `body` yields the one Input."""

    @property
    def typed(self) -> str:
        """The line, without spaces at its ends."""
        return self.query_one(Input).value.strip()

    def on_mount(self) -> None:
        super().on_mount()
        for field in self.query(Input):  # none, where the program ends while the box opens
            field.cursor_blink = False
            field.focus()
