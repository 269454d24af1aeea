"""Live settings: every key of the profile with what the code says of it; what can change is changed here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.binding import BindingType
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import Input

from cockpit.orders import value_of
from cockpit.sanitize import clean, clean_line
from cockpit.screens.apply import ask_to_apply, ask_to_save, undo
from cockpit.screens.reload import show
from cockpit.screens.view import View
from cockpit.state import RunState
from cockpit.widgets.keyform import KeyDetail, KeyList, Sheet
from cockpit.widgets.lineinput import LineInput
from gpt.config import Profile, as_toml, replace
from gpt.errors import ProfileError
from gpt.keys import Key

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

WIDE = 140
"""Columns from which what there is to say of a key stands beside the list, not below it."""


def settings(app: CockpitApp) -> None:
    """Opens the form."""
    app.open(SettingsScreen(app))


class SettingsScreen(View[None]):
    """Every key; those that can change live are edited in place, collected, and applied together.

    A key that cannot change can be typed into as well: what it would do is foretold, and enter says why it is not done.
    """

    AUTO_FOCUS: ClassVar[str | None] = ""  # keys are ours until a line is edited
    CSS = """
    SettingsScreen { layers: default edit; }
    #sheet { height: 1fr; }
    #sheet.wide { layout: horizontal; }
    #sheet.wide KeyDetail { margin-left: 2; }
    #filter { display: none; margin: 0 1; }
    #value { display: none; layer: edit; position: absolute; background: $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("down,j", "move(1)", "down"), ("up,k", "move(-1)", "up"),
        ("pagedown", "move(12)", "page down"), ("pageup", "move(-12)", "page up"),
        ("home", "move(-1000)", "first"), ("end", "move(1000)", "last"),
        ("enter", "edit", "change"), ("slash", "filter", "filter"), ("a", "apply", "apply"), ("x", "drop", "drop"),
        ("u", "undo", "undo"), ("s", "save", "save to file"),
    ]  # fmt: skip

    def __init__(self, app: CockpitApp) -> None:
        super().__init__(
            "live settings",
            [("enter", "change"), ("/", "filter"), ("a", "apply"), ("x", "drop"), ("u", "undo"), ("s", "save to file")],
        )
        self._cockpit = app
        self._drafts: dict[str, Any] = {}
        self._leaves = False
        self._layout_now: tuple[Any, ...] = ()
        self.list, self.detail = KeyList(), KeyDetail()
        self._filter = LineInput(id="filter", compact=True, placeholder="part of a key, or of what is said of it")
        self._value = LineInput(id="value", compact=True)
        for line in (self._filter, self._value):
            line.cursor_blink = False

    def body(self) -> Iterable[Widget]:
        yield self._filter
        yield Container(self.list, self.detail, id="sheet")
        yield self._value

    def show_body(self, state: RunState) -> bool:
        self._share_out()
        sheet = Sheet(
            self._cockpit.settings, self._drafts, state.pilotage.net, self._before, self._typed(), self._now_typed()
        )
        self.list.sheet = self.detail.sheet = sheet
        self.detail.key = self.list.chosen
        return any([self.list.show(state), self.detail.show(state)])

    def on_resize(self) -> None:
        self._share_out()

    def _share_out(self) -> None:
        """What there is to say of a key stands at the right of a wide terminal, else below, in as few rows as do."""
        width, height = self.app.size
        wide = width >= WIDE
        most = (height - 3) // 2
        rows = min(16, most) if self._drafts or self._value.display else min(6, most)
        layout = (wide, max(60, width * 2 // 5) if wide else "1fr", "1fr" if wide else max(4, rows))
        if layout != self._layout_now:
            self._layout_now = layout
            self.query_one("#sheet").set_class(wide, "wide")
            self.detail.styles.width, self.detail.styles.height = layout[1:]
            self.call_after_refresh(self._redraw)

    # What is in force, and what is typed

    @property
    def _before(self) -> Profile:
        return replace(self._cockpit.link.profile, self._cockpit.settings)

    def _typed(self) -> Profile | ProfileError | None:
        """The profile with what has been collected, and with the line under the cursor; None without either."""
        changes = dict(self._drafts)
        key = self.list.chosen
        if self._value.display and key:
            changes[key.key] = value_of(self._value.value)
        if not changes:
            return None
        try:
            return replace(self._before, changes)
        except ProfileError as error:
            return error

    def _now_typed(self) -> bool:
        return bool(self._value.display)

    def _redraw(self) -> None:
        self.show(self.shows)

    # Keys

    def action_move(self, by: int) -> None:
        """Moves the bar."""
        if not self._value.display:
            self._leaves = False
            self.list.move(by)
            self._redraw()

    def action_edit(self) -> None:
        """Lets the value under the bar be typed."""
        key = self.list.chosen
        if key is None or self.focused is not None:
            return
        self._leaves = False
        now = self._drafts.get(key.key, self._cockpit.settings[key.key])
        self._value.value = clean_line(as_toml(now)) if not isinstance(now, str) else clean_line(plain(now))
        self._value.display = True
        self._place()
        self.set_focus(self._value)  # at once: what is typed next is for it, and replaces what stands there
        self._value.action_select_all()
        self._redraw()

    def action_filter(self) -> None:
        """Lets a part of a key be typed; only what holds it is listed."""
        self._filter.display = True
        self.set_focus(self._filter)

    def action_apply(self) -> None:
        """Shows what has been collected, and sends it if the pilot agrees."""
        if not self._drafts:
            self._say("nothing to apply: enter changes a key first", "warning")
            return

        def applied(agreed: bool) -> None:
            if agreed:
                self._drafts.clear()
            self._redraw()

        ask_to_apply(self._cockpit, self._drafts, applied)

    def action_drop(self) -> None:
        """Forgets the change of the key under the bar that has not been applied."""
        if self.list.chosen and self._drafts.pop(self.list.chosen.key, None) is not None:
            self._redraw()

    def action_undo(self) -> None:
        """Takes back the newest change that has been applied."""
        undo(self._cockpit)
        self._redraw()

    def action_save(self) -> None:
        """Shows what the profile's file would become, and writes it if the pilot agrees."""
        ask_to_save(self._cockpit)
        self._redraw()

    def action_close(self) -> None:
        """Leaves the line, the filter, or the form; asks again where something has not been applied."""
        if self._value.display:
            self._end_edit()
        elif self._filter.display:
            self._filter.value = ""
            self._filter.display = False
            self.set_focus(None)
            self._redraw()
        elif self._drafts and not self._leaves:
            self._leaves = True
            count = len(self._drafts)
            self._say(f"{count} change{'s' * (count > 1)} not applied: a applies, esc again forgets", "warning")
        else:
            self.dismiss(None)

    # Lines

    def on_key(self, event: events.Key) -> None:
        """In a line with few possible values, up and down go through them."""
        if event.key not in ("up", "down"):
            return
        if self.focused is self._filter:
            event.stop()
            self.set_focus(None)
        elif self.focused is self._value and self.list.chosen and (choices := self.list.chosen.choices):
            event.stop()
            now = value_of(self._value.value)
            at = choices.index(now) if now in choices else -1
            self._value.value = plain(choices[(at + (1 if event.key == "down" else -1)) % len(choices)])
            self._value.action_end()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input is self._filter:
            self.list.filter(event.value)
        self._redraw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input is self._filter:
            self._filter.display = bool(self._filter.value)
            self.set_focus(None)
            self._redraw()
        elif self.list.chosen:
            self._collect(self.list.chosen, value_of(event.value))

    def on_key_list_picked(self, message: KeyList.Picked) -> None:
        """A click on a key moves the bar there; one on the bar edits."""
        if self._value.display:
            self._end_edit()
        if message.again:
            self.action_edit()
        self._redraw()

    def on_key_list_moved(self) -> None:
        """The line stays where the value is, whatever the parts around it do."""
        if self._value.display:
            self._place()

    def _collect(self, key: Key, value: Any) -> None:
        """Takes a typed value in if it will do; says why where not, and leaves it to be mended."""
        if value == self._cockpit.settings[key.key]:
            self._drafts.pop(key.key, None)
            self._end_edit()
        elif key.fixed:
            self._say(f"{key.key} stays {show(self._cockpit.settings[key.key])}: {key.fixed}", "warning")
        elif isinstance(typed := self._typed(), ProfileError):
            self._say(str(typed), "warning")
        else:
            self._drafts[key.key] = value
            self._end_edit()

    def _end_edit(self) -> None:
        self._value.display = False
        self.set_focus(None)
        self._redraw()

    def _place(self) -> None:
        """Puts the line where the value stands in the list."""
        x, y, width = self.list.value_place()
        self._value.styles.offset = (x, y)
        self._value.styles.width = max(8, width)

    def _say(self, text: str, level: str) -> None:
        self._cockpit.say(clean(text), level)
        self._redraw()


def plain(value: Any) -> str:
    """A value as it is typed most easily: a string without quotes where it is no other value without them."""
    if isinstance(value, str) and value and value == value.strip() and value_of(value) == value:
        return value
    return as_toml(value)
