"""What a diagnosis offers, done: shown first, exactly as it will be, and only then begun."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from textual.widget import Widget
from textual.widgets import Static

from cockpit import remedy
from cockpit.actions import BY_ID, Action
from cockpit.doctor.diagnosis import Diagnosis, Treatment
from cockpit.profile import short
from cockpit.sanitize import clean_line, shown
from cockpit.screens.apply import ask_to_apply
from cockpit.screens.fork import ForkScreen, fork_from
from cockpit.screens.modal import Box, LineBox, hints, text
from cockpit.screens.view import View
from cockpit.widgets import ink
from cockpit.widgets.lineinput import LineInput
from cockpit.widgets.rows import Piece
from gpt.commands import SetConfig
from gpt.config import as_toml, replace
from gpt.errors import ProfileError

if TYPE_CHECKING:
    from cockpit.app import CockpitApp


def treat(app: CockpitApp, view: View[Any], diagnosis: Diagnosis) -> None:
    """Opens the box that says what a diagnosis's treatment will do; nothing is done before the pilot agrees there."""
    treatment = diagnosis.treatment
    if treatment is None:
        app.say("there is no treatment on a key for this: the card says what to do")
        return
    if not may_steer(app):
        return
    try:
        match treatment.kind:
            case "live":
                replace(app.link.profile, {**app.settings, **treatment.changes})
                ask_to_apply(app, treatment.changes, lambda agreed: None)
            case "profile":
                _write_profile(app, diagnosis, treatment)
            case "fork":
                _fork(app, treatment)
            case "command":
                _command(app, view, treatment)
    except ProfileError as error:
        app.say(f"this cannot be done here: {error}", "warning")


def _write_profile(app: CockpitApp, diagnosis: Diagnosis, treatment: Treatment) -> None:
    if app.file is None:
        app.say("this run has no profile on disk that a new one could extend", "warning")
        return
    why = f"{diagnosis.rule}: {diagnosis.title} (as the doctor saw {app.link.run} at step {app.state.step:,})"
    made = remedy.draft(app.file.path, treatment.changes, why)

    def answered(agreed: bool | None) -> None:
        if not agreed:
            return
        try:
            remedy.write(made)
        except ProfileError as error:
            app.say(str(error), "error")
        else:
            name = str(short(made.path))
            app.say(f"wrote {shown(made.path)}; gpt-cockpit {shlex.quote(name)} starts a run with it")

    app.open(RemedyScreen(made, treatment.label), answered)


def _fork(app: CockpitApp, treatment: Treatment) -> None:
    state = app.state
    if state.is_final and state.checkpoint is None and state.resumed is None:
        app.say("this run has no checkpoint to fork from", "warning")
        return
    replace(app.link.profile, {**app.settings, **treatment.changes})
    overrides = tuple(f"{key}={as_toml(value)}" for key, value in treatment.changes.items() if value is not None)
    step = state.checkpoint.step if state.is_final and state.checkpoint else state.step

    def named(name: str | None) -> None:
        if name is not None:
            fork_from(app, None, name or None, overrides)

    box = ForkScreen(step, app.link.run, live=not state.is_final, settings=difference(app, treatment))
    app.open(box, named)


def _command(app: CockpitApp, view: View[Any], treatment: Treatment) -> None:
    action = BY_ID.get(treatment.action or "")
    if action is None or not action.when(app.state):
        app.say(f"{treatment.label} cannot be done now", "warning")
        return

    def answered(agreed: bool | None) -> None:
        if agreed:
            view.dismiss(None)
            app.call_later(app.action_pilot, action.id)

    app.open(CommandScreen(action, treatment.label), answered)


def difference(app: CockpitApp, treatment: Treatment) -> list[list[Piece]]:
    """The settings that a treatment changes, a line each."""
    width = max(map(len, treatment.changes), default=0)
    return [
        [
            ("▲ ", ink.WARNING), (f"{key:<{width}}  ", ink.TEXT), (as_toml(app.settings.get(key)), ink.DIM),
            (" → ", ink.FAINT), (clean_line(as_toml(value)), ink.BRIGHT),
        ]
        for key, value in treatment.changes.items()
    ]  # fmt: skip


def may_steer(app: CockpitApp) -> bool:
    """Whether anything may be done here; says so where not."""
    if app.options.readonly:
        app.say("nothing is done here: this screen only watches (--readonly or --watch)", "warning")
    return not app.options.readonly


def silence(app: CockpitApp, diagnosis: Diagnosis) -> None:
    """Asks for the reason, and silences a diagnosis's rule in this run's settings."""

    def answered(reason: str | None) -> None:
        if not reason:
            return
        app.send(SetConfig(changes={"doctor.silence": silenced(app, diagnosis.rule, reason)}))
        app.say(
            f"{diagnosis.rule} is silenced from the next step on; u takes that back, l and s save it to the profile"
        )

    if not may_steer(app):
        return
    if app.state.is_final:
        app.say(f"the run has ended; a profile silences it: [doctor] silence = {as_toml([f'{diagnosis.rule}: why'])}")
        return
    app.open(SilenceScreen(app, diagnosis), answered)


def silenced(app: CockpitApp, rule: str, reason: str) -> list[str]:
    """`doctor.silence` with one more rule in it."""
    others = [entry for entry in app.settings.get("doctor.silence") or [] if entry.partition(":")[0] != rule]
    return [*others, f"{rule}: {reason}"]


class RemedyScreen(Box[bool]):
    """Shows the profile that would be written; closes with True to write it, or None."""

    BINDINGS: ClassVar = [("enter", "write", "write")]

    def __init__(self, made: remedy.Remedy, label: str) -> None:
        super().__init__(f"Write {shown(short(made.path))}?", hints(("enter", "write it"), ("esc", "write nothing")))
        self._made, self._label = made, label

    def body(self) -> Iterable[Widget]:
        for line in self._made.text.splitlines():
            yield Static(text((clean_line(line), ink.DIM if line.startswith("#") else ink.GOOD)), classes="difference")
        yield Static(
            text(("A new profile, to ", ink.DIM), (clean_line(self._label), ink.TEXT),
                 ("; this run goes on as it is, and so does its own profile.", ink.DIM)),
            classes="heading",
        )  # fmt: skip

    def action_write(self) -> None:
        """Writes the file."""
        self.dismiss(True)


class CommandScreen(Box[bool]):
    """Says what an action does; closes with True to do it, or None."""

    BINDINGS: ClassVar = [("enter", "go", "do it")]

    def __init__(self, action: Action, label: str) -> None:
        super().__init__(f"{label[:1].upper()}{label[1:]}?", hints(("enter", action.label), ("esc", "not now")))
        self._action = action

    def body(self) -> Iterable[Widget]:
        yield Static(text((self._action.help, ink.TEXT)))
        if self._action.keys:
            where = f"On the main screen that is {self._action.key_label}."
            yield Static(text((where, ink.DIM)), classes="heading")

    def action_go(self) -> None:
        """Does it."""
        self.dismiss(True)


class SilenceScreen(LineBox[str]):
    """Asks why a rule does not apply here; closes with the reason, or None."""

    def __init__(self, app: CockpitApp, diagnosis: Diagnosis) -> None:
        super().__init__(f"Silence {diagnosis.rule} in this run?", hints(("enter", "silence it"), ("esc", "keep it")))
        self._cockpit, self._rule = app, diagnosis.rule
        self._said = Static(id="effect")

    def body(self) -> Iterable[Widget]:
        yield Static(text(("Why does it not apply here? The reason is kept with it.", ink.TEXT)))
        yield LineInput(id="reason", compact=True, placeholder="shrunk for a test")
        yield self._said

    def on_mount(self) -> None:
        super().on_mount()
        self._tell()

    def on_input_changed(self) -> None:
        self._tell()

    def on_input_submitted(self) -> None:
        if self.typed:
            self.dismiss(self.typed)

    def _tell(self) -> None:
        """What will be in force, as a profile says it."""
        after = silenced(self._cockpit, self._rule, clean_line(self.typed) or "…")
        self._said.update(text(
            ("It says nothing more until the run ends. For runs to come, the profile says the same "
             "(l, then s, saves it there):\n", ink.DIM),
            ("[doctor]\n", ink.TEXT), (f"silence = {clean_line(as_toml(after))}", ink.TEXT),
        ))  # fmt: skip
