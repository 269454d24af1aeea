"""The screen as an application: drains a link on a timer, reduces events to a state, draws it, sends commands."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from textual.app import SystemCommand
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.filter import LineFilter
from textual.screen import Screen
from textual.widget import Widget

from cockpit.actions import ACTIONS, BY_ID, Action
from cockpit.announcing import announcement
from cockpit.budget import FASTEST, FrameBudget
from cockpit.driver import TerminalDriver
from cockpit.forking import Fork
from cockpit.lens import Lens
from cockpit.link.base import Link
from cockpit.options import USUAL, ScreenOptions
from cockpit.pilotage import from_toml
from cockpit.readying import Readying
from cockpit.recall import Recall
from cockpit.reducer import pilot_text, reduce
from cockpit.screens.main import MainScreen
from cockpit.screens.modal import Box
from cockpit.screens.palette import open_palette
from cockpit.screens.quit import CHOICES, QuitChoice, QuitScreen
from cockpit.screens.view import View
from cockpit.state import Past, RunState
from cockpit.stretch import Stretch
from cockpit.typeahead import TypeAheadApp
from cockpit.visit import ENDED, Sight, attend, leave, leave_all
from cockpit.widgets.filters import Ascii, Plain, draws_unicode
from cockpit.widgets.notice import Notice
from cockpit.widgets.themes import DARK, LOOKS, Look
from gpt import events as ev
from gpt.commands import Command, Continue, Stop
from gpt.config import Profile, flatten

if TYPE_CHECKING:
    from cockpit.writeback import WriteBack

NUMBERS_EVERY, THIN_NUMBERS_EVERY = 0.25, 2.0
"""Seconds between two changes of the numbers at least; nobody reads faster. The second with --thin."""
STILL_EVERY = 30.0
"""The same while the run stands still and only its clock and the machine's meters move."""
TICKING = (ev.LedgerUpdated, ev.TelemetrySampled, ev.MemorySampled, ev.RanksTimed)
"""Events that come whether anything happens or not."""
BOX_EVERY = 0.5
"""Seconds between two changes of what an open box says of the run."""
COST_EVERY = 2.0
"""Seconds between two readings of the screen's own cost."""
MESSAGE_SECONDS = 10.0
"""How long a message stays."""


class CockpitApp(TypeAheadApp[QuitChoice]):
    """Shows a run and lets its pilot act on it.

    `run()` returns how the pilot left: `stop` (save and end; the command is on its way), `discard` (end without saving;
    likewise), `detach` (the run goes on, without a screen), or None where the run had ended already.

    Args:
        link: where events come from and commands go to. Its `start` is called once the first frame has been drawn.
        reload_profile: reads the profile from disk again; may raise UserError. None: there is nothing to read.
        options: what was asked for on the command line.
        file: the profile on disk, to save settings to; None: there is none.
        recall: what the pilot arranged before; None: nothing, and nothing is kept.
        main: another main screen than the usual one.
    """

    CSS_PATH = "cockpit.tcss"
    TITLE = "gpt-cockpit"

    def __init__(
        self,
        link: Link,
        *,
        reload_profile: Callable[[], Profile] | None = None,
        file: WriteBack | None = None,
        options: ScreenOptions = USUAL,
        recall: Recall | None = None,
        main: MainScreen | None = None,
    ) -> None:
        super().__init__()
        self.link = link
        self.options = options
        self.state = RunState()
        self.budget = FrameBudget(link.profile.screen.cpu_budget)
        self.settings: dict[str, Any] = flatten(link.profile)
        """The run's settings by dotted key, changes while running included."""
        self.reload_profile, self.file = reload_profile, file
        self._main = main or MainScreen(link.profile.name, link.run, thin=options.thin)
        self._main.chart.look.overlays.references = list(link.profile.screen.references)
        self.homes: list[Sight] = []
        """What was in view before another run was visited, the first of all first."""
        self._dirty = True
        self._drew = False
        self.is_reading = True
        """Whether the past is still being told, as far as is known."""
        self._numbers_every = THIN_NUMBERS_EVERY if options.thin else NUMBERS_EVERY
        self._numbers_drawn = float("-inf")
        self._frame_drawn = float("-inf")
        self._stirred = True
        self._cost_drawn = 0.0
        self._message_until: float | None = None
        self._has_unseen_answer = False
        """Whether a message is to be drawn that no line of the log may take the place of."""
        self.gone_because: str | None = None
        """Why the terminal can no longer be drawn on, once it cannot."""
        self.fork: Fork | None = None
        """The fork that its pilot has left the run for, if he has."""
        self.memory: dict[str, Any] = {}
        """What views remember between two openings, by name."""
        self._loop_of_screen: asyncio.AbstractEventLoop | None = None
        self._leave_with: QuitChoice | None = None
        self._readying: Readying | None = None
        self.animation_level = "none"
        self._ascii = [] if draws_unicode(os.environ) else [Ascii()]
        if self._ascii:
            self._main.chart.look.lens = Lens(pen="ascii")
        self._output_filters: list[LineFilter] = []
        for look in LOOKS.values():
            self.register_theme(look.theme)
        self.recall = recall or Recall(None)
        self._main.hidden = self.recall.hidden
        self.wear(LOOKS.get(options.theme or link.profile.screen.theme or self.recall.theme or "", DARK))

    # Textual's own hooks

    def get_driver_class(self) -> type[Driver]:
        """Our driver wherever Textual would take the one for Unix terminals."""
        chosen = super().get_driver_class()
        return TerminalDriver if chosen is LinuxDriver else chosen

    def get_line_filters(self) -> Sequence[LineFilter]:
        """The theme's colours, none at all for NO_COLOR, and ASCII for terminals that need it.

        Textual's own filter for the terminal's 16 colours is left out: nothing here is drawn with them.
        """
        return self._output_filters

    def _print(self, text: str, stderr: bool = False) -> None:
        """What Python code prints goes where everything else does that is printed: to the descriptor itself.

        Textual would drop it, and with it the warnings of the training thread.
        """
        super()._print(text, stderr)
        if not self.is_headless:
            with contextlib.suppress(OSError):
                os.write(2 if stderr else 1, text.encode(errors="replace"))

    def wear(self, look: Look) -> None:
        """Shows everything in a theme. NO_COLOR is stronger."""
        self.look = DARK if self.no_color else look
        self._output_filters = [*([Plain()] if self.no_color else self.look.filters), *self._ascii]
        self.theme = self.look.theme.name
        if self.is_running:
            self.call_next(self._paint_anew)

    def _paint_anew(self) -> None:
        for screen in self.screen_stack:
            for widget in screen.walk_children(Widget, with_self=True):
                widget.refresh()

    def get_default_screen(self) -> Screen:
        return self._main

    def get_system_commands(self, screen: Screen) -> Iterable[SystemCommand]:
        """The palette: every action that can be done now."""
        for action in ACTIONS:
            if self.may(action) and action.id != "palette":
                title = action.label_for(self.state) + (f"  ({action.key_label})" if action.key_label else "")
                yield SystemCommand(
                    title, action.help, lambda chosen=action.id: self.call_next(self.action_pilot, chosen)
                )

    def on_ready(self) -> None:
        self._loop_of_screen = asyncio.get_running_loop()
        if self._leave_with:
            self.exit(self._leave_with)
            return
        # A terminal that comes back, or another one in its place, has nothing of what was drawn before.
        self.app_resume_signal.subscribe(self, lambda _: self._paint_anew())
        self.frame(force=True)
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        attend(self, self.link)
        if not self.is_headless:
            self._readying = Readying(lambda: self.state.last is not None)
        self.budget.restart()
        self.set_timer(FASTEST, self._tick)

    # Frames

    def _tick(self) -> None:
        delay = self.budget.next_delay(self._drew)
        if self.is_reading:  # what the log comes to is waited for, by somebody who looks at an empty chart
            delay = FASTEST
        self._drew = self.frame()
        self.set_timer(delay, self._tick)

    def frame(self, *, force: bool = False) -> bool:
        """Takes in what has happened and draws what has changed; True where it drew.

        Args:
            force: draw the numbers even if they changed a moment ago.
        """
        if not self.screen_stack:
            return False  # the screen is being taken down: what comes now is for whoever follows it
        for home in self.homes:
            home.keep_up()
        for event in self.link.drain():
            self.state = reduce(self.state, event)
            self._notice(event)
            self._dirty = True
            if isinstance(event, Past):
                self._numbers_drawn = float("-inf")  # it is shown at once, numbers and all
            self.is_reading = isinstance(event, Stretch | Past)
            if self.is_reading:
                self.budget.hurry()  # a log that is being read: what it costs is not the screen's
            self._stirred |= not isinstance(event, TICKING)
        if self._main.header.standing != self.link.standing:  # of which no event need tell
            self._main.header.standing = self.link.standing
            self._dirty, self._numbers_drawn, self._frame_drawn = True, float("-inf"), float("-inf")
        now = time.monotonic()
        if self._message_until is not None and now >= self._message_until:
            self._message_until, self._has_unseen_answer = None, False
            for notice in self._notices():
                notice.clear()
            self._dirty = True
        if now - self._cost_drawn >= COST_EVERY and self.budget.share is not None:
            self._cost_drawn = now
            self._main.keys.cost = self.budget.share
            self._dirty = True
        if isinstance(self.screen, View):
            return self._show_in_view(self.screen, now, force=force)
        if self.screen is not self._main:
            return self._show_in_box(now)
        if not (self._dirty or force):
            return False
        if self.options.thin and not force and now - self._frame_drawn < self._numbers_every:
            return False  # what a sample or the log has got meanwhile waits too
        if isinstance(self._driver, TerminalDriver) and self._driver.is_behind:
            return False  # the line is slow: what is drawn later replaces what would be drawn now
        self._frame_drawn = now
        still = not self._stirred and (self.state.is_final or self.state.state == "paused")
        numbers = force or now - self._numbers_drawn >= (STILL_EVERY if still else self._numbers_every)
        if numbers:
            self._numbers_drawn, self._stirred = now, False
        self._dirty, self._has_unseen_answer = not numbers, False
        return self._main.show(self.state, numbers=numbers)

    def _show_in_view(self, view: View[Any], now: float, *, force: bool) -> bool:
        """Draws the view that fills the screen; the main screen behind it stands still."""
        due = force or now - self._numbers_drawn >= self._numbers_every
        if not (due and view.is_complete and (self._dirty or force)):
            return False
        self._numbers_drawn = now
        self._dirty = self._has_unseen_answer = False
        return view.show(self.state)

    def _show_in_box(self, now: float) -> bool:
        """Says in the open box what the run does meanwhile; the main screen behind it stands still."""
        box = self.screen
        if not isinstance(box, Box) or not box.is_complete or box.shows is self.state:
            return False
        if now - self._numbers_drawn < BOX_EVERY:
            return False
        self._numbers_drawn = now
        box.show_run(self.state)
        return True

    def _notice(self, event: ev.Event | Stretch | Past) -> None:
        """Says what a command led to, and keeps the settings up to date."""
        match event:
            case ev.RunStarted():  # what an earlier sitting changed is in the link's profile already
                self.settings = flatten(self.link.profile)
            case Past():
                self.settings = flatten(self.link.profile) | event.changed_settings
                for change in event.changed:
                    self._obey_setting(change.key)
            case ev.ConfigChanged():
                self.settings[event.key] = from_toml(event.new)
                self._obey_setting(event.key)
        if self.link.catching_up:
            return
        if isinstance(event, ev.SampleStarted):
            self._main.front_sample()
        if self._has_unseen_answer and isinstance(event, ev.LogLine) and event.level == "info":
            return  # it is in the log in any case
        if said := announcement(event, has_controls=self.link.has_controls):
            self._put(*said)

    def _obey_setting(self, key: str) -> None:
        """Follows a change of a setting that is the screen's own."""
        if key == "screen.cpu_budget":
            self.budget.share_allowed = self.settings[key]
        elif key == "screen.theme":
            self.wear(LOOKS[self.settings[key] or DARK.name])
        elif key == "screen.references":
            self._main.chart.look.overlays.references = list(self.settings[key])

    @property
    def main(self) -> MainScreen:
        """The main screen."""
        return self._main

    def say(self, text: str, level: str = "info") -> None:
        """Answers a key by a message above the keys, for a while. `level` is `info`, `warning` or `error`."""
        self._put(text, level)
        self._has_unseen_answer = True

    def _put(self, text: str, level: str) -> None:
        for notice in self._notices():
            notice.say(text, level)
        self._message_until = time.monotonic() + MESSAGE_SECONDS
        self._dirty = True

    def _notices(self) -> Iterable[Notice]:
        """Where a message is read: on the main screen, and in every view in front of it."""
        yield self._main.notice
        yield from (screen.notice for screen in self.screen_stack if isinstance(screen, View))

    # What a pilot does

    def send(self, command: Command) -> None:
        """Hands a command to the run; where it only watches, says that it does not."""
        if self.options.readonly:
            self.say("nothing is sent: this screen only watches (--readonly or --watch)", "warning")
        elif not self.link.has_controls:
            self.say(f"nothing is sent: {self._who_steers()}", "warning")
        else:
            self.link.send(command)

    def _who_steers(self) -> str:
        who = pilot_text(self.state.pilot) if self.state.pilot else self.link.standing
        return f"{who}; {BY_ID['controls'].key_label or 'the palette'} takes the controls over"

    def action_pilot(self, name: str) -> None:
        """Does an action of cockpit.actions by its id, if it can be done now."""
        action = BY_ID[name]
        if self.screen is not self._main and not (action.everywhere and isinstance(self.screen, View)):
            return
        if self._main.takes(name):
            pass
        elif self.options.readonly and action.is_steering:
            self.say(f"{action.label} is refused: this screen only watches (--readonly or --watch)", "warning")
        elif action.is_steering and self.link.alive and not self.link.has_controls:
            self.say(f"{action.label_for(self.state)} is refused: {self._who_steers()}", "warning")
        elif self.may(action):
            if action.command:
                said = action.said(self.state) if action.said else ""
                self.send(action.command(self.state))
                self.say(said)
            elif action.opens:
                module, _, function = action.opens.partition(":")
                getattr(import_module(module), function)(self)
            else:
                getattr(self, f"do_{name}")()
        elif self.state.is_final or not self.link.alive:
            end = "failed" if self.state.failed else "ended"
            self.say(f"the run has {end}: {action.label} does nothing now; q leaves", "warning")
        else:
            self.say(f"{action.label} works while paused: press space first", "warning")
        self.budget.hurry()
        self.frame(force=True)

    def may(self, action: Action) -> bool:
        """Whether an action can be done now; of a run that nobody trains here only what an ended one allows."""
        return action.when(self.state) and (self.link.alive or action.when(ENDED))

    def show_moment(self, state: RunState, changes: Mapping[str, str]) -> None:
        """Puts another moment of the run in place of this one.

        Args:
            changes: the settings changed up to then, as TOML.
        """
        self.state = state
        self.settings = flatten(self.link.profile) | {key: from_toml(new) for key, new in changes.items()}
        self._dirty = True
        self.frame(force=True)

    def open(self, screen: Box[Any] | View[Any], then: Callable[[Any], None] | None = None) -> None:
        """Puts a box or a view in front; `then` is called with its result once it is closed."""
        screen.shows = self.state

        def closed(result: Any) -> None:
            if then is not None:
                then(result)
            self.frame(force=True)

        self.push_screen(screen, closed)

    def do_switch_pane(self) -> None:
        """Brings the other one of sample and log to the front."""
        self._main.switch_pane()

    def action_command_palette(self) -> None:
        """Opens the palette, in place of Textual's own."""
        open_palette(self)

    def do_controls(self) -> None:
        """Takes the controls over from the screen that has them."""
        if self.options.readonly:
            self.say("the controls stay where they are: this screen only watches", "warning")
        elif self.link.has_controls:
            self.say("you have the controls")
        else:
            self.link.take_controls()
            self.say("taking the controls over")

    def do_palette(self) -> None:
        """Opens the palette."""
        open_palette(self)

    async def action_quit(self) -> None:
        """Leaves, or asks how to."""
        self.do_quit()

    def action_help_quit(self) -> None:
        """ctrl+c does what q does; a second one, in the box that this opens, saves and stops."""
        self.do_quit()

    def do_quit(self) -> None:
        """Leaves where the run has ended, else asks how to; from a run that is only visited, goes back."""
        if self.homes:
            leave(self)
        elif self.state.is_final or not self.link.alive:
            self.exit(None)
        elif not isinstance(self.screen, QuitScreen):
            self.open(QuitScreen(self.ways_out, refused=self._why_not_stop()), self._leave)

    ways_out = CHOICES
    """How a run that goes on can be left."""

    def _why_not_stop(self) -> str:
        """Why this screen cannot end the run; empty where it can."""
        if self.options.readonly:
            return "not from a screen that only watches"
        return "" if self.link.has_controls else f"{self._who_steers()}"

    def _leave(self, choice: QuitChoice | None) -> None:
        if choice is None:
            return
        if choice != "detach":
            self.send(Stop(save=choice == "stop"))
        elif self.state.stands_still and not self.options.readonly and self.link.has_controls:
            self.send(Continue())  # without a screen nobody could
        self.exit(choice)

    def leave_for(self, fork: Fork) -> None:
        """Saves and stops the run, if it goes on, and leaves the screen for a fork of it."""
        self.fork = fork
        if not self.state.is_final:
            self.send(Stop(save=True))
        self.exit(None if self.state.is_final else "stop")

    # What signals ask for; safe from any thread

    def hang_up(self, why: str = "the terminal was closed") -> None:
        """The terminal is gone: ends the screen with `detach`; the run goes on."""
        self.gone_because = self.gone_because or why
        self._end("detach")

    def terminate(self) -> None:
        """Asks the run to save and stop, and ends the screen with `stop`. A signal is obeyed with --readonly too."""
        (self.homes[0].link if self.homes else self.link).send(Stop(save=True))
        self._end("stop")

    def abandon(self) -> None:
        """After a crash: stands for its own run again, and leaves no reader of keys behind."""
        leave_all(self)
        if isinstance(self._driver, TerminalDriver):
            self._driver.abandon()

    def exit(self, result: QuitChoice | None = None, return_code: int = 0, message: Any = None) -> None:
        """Ends the screen; what it knows then is of the run that it was opened for."""
        leave_all(self)
        if self._readying:
            self._readying.close()
        super().exit(result, return_code, message)

    def _end(self, choice: QuitChoice) -> None:
        self._leave_with = choice
        if self._loop_of_screen is not None:
            with contextlib.suppress(RuntimeError):  # the screen has just been left, and its loop closed
                self._loop_of_screen.call_soon_threadsafe(self.exit, choice)
