"""Changes of settings, shown with what they will do before they are sent; taking them back; saving them to the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.widget import Widget
from textual.widgets import Static

from cockpit.effects import forecast
from cockpit.orders import step_of
from cockpit.pilotage import from_toml
from cockpit.profile import short
from cockpit.sanitize import clean_line, shown
from cockpit.screens.foretelling import ForetellingBox
from cockpit.screens.modal import Box, hints, text
from cockpit.screens.reload import show
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.keyform import foretold
from cockpit.widgets.lineinput import LineInput
from cockpit.widgets.rows import Piece
from cockpit.widgets.schedule import schedule_rows
from cockpit.writeback import Draft
from gpt.commands import At, Command, SetConfig
from gpt.config import Profile, flatten, replace
from gpt.errors import ProfileError

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

_ROOM = 70
"""Cells of a line in the box."""
_CHART = 6
"""Rows of the schedule."""


def undo(app: CockpitApp) -> None:
    """Takes the newest change back by sending the opposite one; pressed again, the one before it."""
    if app.state.is_final:
        app.say("the run has ended: its settings stay", "warning")
        return
    group = app.state.pilotage.last(app.settings)
    if not group:
        app.say("nothing to undo: no setting has been changed in this run", "warning")
        return
    app.send(SetConfig(changes={change.key: from_toml(change.old) for change in group}))
    app.say("; ".join(f"taking back {change.key}: {change.new} → {change.old}" for change in group))


def ask_to_apply(app: CockpitApp, changes: Mapping[str, Any], then: Callable[[bool], None]) -> None:
    """Shows changes and their effect; sends them, now or for a step, if the pilot agrees, and tells `then`."""
    if app.state.is_final:
        app.say("the run has ended: nothing can be applied any more; s saves to the file", "warning")
        return

    def answered(command: Command | None) -> None:
        if command is not None:
            app.send(command)
            when = f"after step {command.step:,}" if isinstance(command, At) else "at the next step boundary"
            app.say(f"{len(changes)} change{'s' * (len(changes) > 1)} {when}")
        then(command is not None)

    app.open(ApplyScreen(replace(app.link.profile, app.settings), dict(changes)), answered)


def ask_to_save(app: CockpitApp) -> None:
    """Shows what saving the pilot's changes makes of the profile's file; writes it if the pilot agrees."""
    if app.file is None:
        app.say("this run has no profile on disk to save to", "warning")
        return
    file = app.file
    net = app.state.pilotage.net
    wanted = {key: app.settings[key] for key, change in net.items() if app.settings.get(key) == from_toml(change.new)}
    try:
        pending = file.pending(wanted)
        if not pending:
            said = "the file says already what has been changed here" if wanted else "nothing has been changed here"
            app.say(f"{said}: nothing to save to {_file(file.path)}")
            return
        draft = file.draft(pending)
    except ProfileError as error:
        app.say(str(error), "error")
        return

    def answered(agreed: bool | None) -> None:
        if not agreed:
            return
        try:
            file.write(draft)
        except ProfileError as error:
            app.say(str(error), "error")
        else:
            app.say(f"saved {', '.join(draft.keys)} to {_file(draft.path)}")

    app.open(SaveScreen(draft), answered)


class ApplyScreen(ForetellingBox[Command]):
    """Confirms changes; closes with the command that makes them, now or at the step that is typed, or None."""

    def __init__(self, before: Profile, changes: dict[str, Any]) -> None:
        count = len(changes)
        super().__init__(
            f"Apply {count} change{'s' * (count > 1)}?", hints(("enter", "apply"), ("esc", "go on changing"))
        )
        self._before, self._changes = before, changes
        self._after = replace(before, changes)

    def body(self) -> Iterable[Widget]:
        old, width = flatten(self._before), max(map(len, self._changes))
        for key, new in self._changes.items():
            yield Static(text(
                ("▲ ", ink.WARNING), (f"{key:<{width}}  ", ink.TEXT), (show(old[key]), ink.DIM), (" → ", ink.FAINT),
                (show(new), ink.BRIGHT),
            ))  # fmt: skip
        yield Static(text(("from which step on?  empty: now; or 5000, 5k, +200", ink.DIM)), classes="heading")
        yield LineInput(id="steps", compact=True, placeholder="now")
        yield self.told

    def on_input_submitted(self) -> None:
        try:
            step = self._step_of(self.typed, self.shows or RunState())
        except ProfileError:
            return  # it is told below the line
        command = SetConfig(changes=self._changes)
        self.dismiss(command if step is None else At(step=step, what=command))

    def _step_of(self, typed: str, state: RunState) -> int | None:
        """The boundary that is typed; None for now. Raises ProfileError where it is none to come."""
        return step_of(typed, state.step) if typed and typed != "now" else None

    def foretell(self, typed: str, state: RunState) -> list[Piece]:
        try:
            step = self._step_of(typed, state)
        except ProfileError as error:
            return [(clean_line(str(error)), ink.WARNING)]
        what = forecast(self._before, self._after, state, step)
        lines = foretold(what, _ROOM) or [[("no figure of the run changes by it", ink.DIM)]]
        if what.moves_rate:
            at = state.step if step is None else step
            lines += [[], *schedule_rows(self._before, self._after, at, _ROOM, _CHART)]
        pieces: list[Piece] = []
        for line in lines:
            pieces += [*line, ("\n", ink.TEXT)]
        return pieces[:-1]


class SaveScreen(Box[bool]):
    """Shows the lines of a file that will differ; closes with True to write it, or None."""

    BINDINGS: ClassVar = [("enter", "save", "save")]

    def __init__(self, draft: Draft) -> None:
        super().__init__(
            f"Save to {_file(draft.path)}?", hints(("enter", "write it"), ("esc", "leave the file as it is"))
        )
        self._draft = draft

    def body(self) -> Iterable[Widget]:
        styles = {"-": ink.CRITICAL, "+": ink.GOOD, "@": ink.FAINT}
        for line in self._draft.difference:
            yield Static(text((clean_line(line), styles.get(line[:1], ink.DIM))), classes="difference")

    def action_save(self) -> None:
        """Writes the file."""
        self.dismiss(True)


def _file(path: Path) -> str:
    """A file as one would name it here."""
    return shown(short(path))
