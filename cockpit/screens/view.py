"""What fills the whole screen in front of the main one: the run's state above, a notice and the keys below."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.strip import Strip
from textual.widget import Widget

from cockpit.actions import ACTIONS, bindings
from cockpit.compositor import SpanCompositor
from cockpit.screens.modal import LeftOnce, run_pieces
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.notice import Notice
from cockpit.widgets.rows import Piece, RowsWidget, row, rule, width_of

Result = TypeVar("Result")


class View(LeftOnce[Result]):
    """A screen of its own beside the main one, drawn in frames as that is. Escape or q closes it with None.

    Subclasses say what is in it (`body`) and draw their own widgets in `show_body`.

    Args:
        title: its name, at the top.
        keys: each key that works here and what it does, for the last row.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,q", "close", "close"),
        *bindings(action for action in ACTIONS if action.everywhere),
    ]

    def __init__(self, title: str, keys: Iterable[tuple[str, str]]) -> None:
        super().__init__()
        self._compositor = SpanCompositor()
        self._top, self._bottom = _Top(title), _Keys([*keys, ("esc", "back")])
        self.notice = Notice(answers=True)
        self.shows = RunState()
        """The state that is shown; set before the view is opened, and by `show`."""
        self.is_complete = False
        """True once all its parts are there."""

    def body(self) -> Iterable[Widget]:
        """What is between the first row and the notice."""
        raise NotImplementedError

    def show_body(self, state: RunState) -> bool:
        """Draws the body for a state; True where anything changed."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        self._top.begin(self.shows)
        yield self._top
        yield from self.body()
        yield self.notice
        yield self._bottom

    def on_mount(self) -> None:
        self.is_complete = True
        self.call_after_refresh(lambda: self.show(self.shows))

    def show(self, state: RunState) -> bool:
        """Draws a state; True where anything changed."""
        self.shows = state
        return any([self._top.show(state), self.show_body(state), self.notice.show(state), self._bottom.show(state)])

    @property
    def is_covered(self) -> bool:
        """Whether another screen is in front of it: that gets the keys, also those that came here before it was there
        (cockpit.typeahead)."""
        return self.app.screen is not self and self in self.app.screen_stack

    async def obey(self, event: events.Key) -> None:
        """Does here and now what a key is bound to.

        For views that take other keys themselves, which they do at once: by the usual way, up to the app, this one
        would be done after those that came behind it.
        """
        if self.is_covered:
            return
        bound = self.active_bindings.get(event.key)
        if bound and bound.enabled:
            event.stop()
            event.prevent_default()
            await self.app.run_action(bound.binding.action, bound.node)

    def action_close(self) -> None:
        """Goes back to the main screen."""
        self.dismiss(None)


class _Top(RowsWidget):
    """The view's name, and what the run does meanwhile."""

    DEFAULT_CSS = "_Top { height: 1; }"
    at_once = True

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        return [rule(width, [(self._title, ink.BRIGHT)], run_pieces(state) if state.first_time is not None else [])]


class _Keys(RowsWidget):
    """The keys of the view."""

    DEFAULT_CSS = "_Keys { height: 1; dock: bottom; }"
    at_once = True

    def __init__(self, keys: Iterable[tuple[str, str]]) -> None:
        super().__init__()
        self._keys = list(keys)

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        *first, last = [[(f" {key} ", ink.BRIGHT), (f"{what} ", ink.DIM)] for key, what in self._keys]
        pieces: list[Piece] = []
        for key in first:  # how to get back is always said
            if width_of(pieces) + width_of(key) + width_of(last) <= width:
                pieces += key
        return [row(width, [*pieces, *last])]
