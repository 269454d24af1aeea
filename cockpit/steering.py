"""Commands to a live run from outside, and what becomes of them; the end of a run, waited for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, get_args

import msgspec

from cockpit import orders
from cockpit.link.client import PATIENCE, call
from cockpit.link.socket import SocketLink
from cockpit.link.wire import LinkError
from cockpit.logfile import decoded, tail
from cockpit.reducer import reduce_all
from cockpit.runs import Run
from cockpit.sanitize import shown
from cockpit.state import FINAL_STATES, RunState
from gpt import commands as do
from gpt import events as ev
from gpt.commands import Command
from gpt.errors import ProfileError
from gpt.strict import nearest

LOOK_SECONDS = 0.05
"""Time between two looks at what has come."""

_TAIL = 1 << 20  # bytes of a log among which its last state is; a run that has ended says so at its end
_KINDS = {kind.__name__.lower(): kind for kind in get_args(do.AnyCommand) if kind not in (do.Leave, do.At)}
_SHORT = {"set": "setconfig"}
_TIMED = ("at", "stop", "cancel")
"""Words that begin what a pilot types to have something done later."""


def understood(run: Run, word: str, arguments: Sequence[str]) -> Command:
    """The command that somebody means: `set optim.learning_rate=3e-4`, `range-test steps=50`, `at 5000 save`.

    Raises ProfileError for what is none.
    """
    if word == "at" or (word in _TIMED and arguments and "=" not in arguments[0]):
        state = reduce_all(RunState(), run.read_past())
        line = " ".join([word, *arguments])
        profile = SocketLink(run, call(run)).profile
        return orders.parse(line, profile, step=state.step, wall=state.wall, agenda=state.pilotage.agenda).command
    name = word.lower().replace("-", "").replace("_", "")
    kind = _KINDS.get(_SHORT.get(name, name))
    if kind is None:
        near = nearest(name, list(_KINDS))
        others = f"did you mean {near}?" if near else f"there are {', '.join(sorted({*_SHORT, *_KINDS, *_TIMED}))}"
        raise ProfileError(f"no command is called {shown(word)}; {others}")
    values: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise ProfileError(f"{shown(argument)} is not key=value")
        values[key.strip()] = orders.value_of(value)
    if kind is do.SetConfig:
        if not values:
            raise ProfileError("say what to set: set optim.learning_rate=3e-4")
        return do.SetConfig(changes=values)
    if unknown := [key for key in values if key not in kind.__struct_fields__]:
        known = ", ".join(kind.__struct_fields__) or "nothing"
        raise ProfileError(f"{kind.__name__} takes {known}; got {shown(unknown[0])}")
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise ProfileError(f"{kind.__name__}: {error}") from None


def carry_out(run: Run, command: Command, timeout: float) -> str | None:
    """Sends a command and waits until the trainer has taken it up; what came of it in a line, or None where nothing has
    in time.

    Raises LinkError where nobody trains the run, or the command is refused.
    """
    link = SocketLink(run, call(run), told_the_past=True)
    outcome = _Outcome(command)
    until = time.monotonic() + timeout
    try:
        link.start()
        link.send(command)
        while time.monotonic() < until:
            alive = link.alive  # asked before: what came until then is taken in
            for event in link.drain():
                if isinstance(event, ev.Event) and outcome.take(event):
                    return outcome.said
            if not alive:
                raise LinkError("the run has ended before it could take it up")
            time.sleep(LOOK_SECONDS)
    finally:
        link.close()
    return None


class _Outcome:
    """What the log says of a command that was sent."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._received = False
        self._open = set(command.changes) if isinstance(command, do.SetConfig) else set()
        self._words: list[str] = []

    @property
    def said(self) -> str:
        """What came of it."""
        return "; ".join(self._words) or f"{type(self._command).__name__}: taken up"

    def take(self, event: ev.Event) -> bool:
        """Takes in one more event; True once all is said. Raises LinkError where the command is refused."""
        name = type(self._command).__name__
        match event:
            case ev.LogLine(source="link", level="warning"):
                raise LinkError(event.text)
            case ev.LogLine(level="warning") if event.text.startswith(f"{name} came too late"):
                raise LinkError(event.text)
            case ev.CommandReceived(command=received) if received == name:
                self._received = True
                self._words.append(f"{name}: taken up at step {event.step:,}")
                return not isinstance(self._command, (*_ANSWERED, do.SetConfig))
            case _ if not self._received:
                return False
            case ev.ConfigChanged():
                self._open.discard(event.key)
                self._words.append(f"{event.key} is {event.new} from step {event.step + 1:,} on")
                return not self._open
            case ev.ConfigRefused():
                raise LinkError(f"{event.key} stays {event.old}: {event.reason}")
            case ev.CommandScheduled():
                self._words.append(f"{event.when}: {event.what} (number {event.item})")
                return True
            case ev.CommandUnscheduled():
                if event.why == "refused":
                    raise LinkError(f"not scheduled: {event.reason}")
                self._words.append(f"{event.why}: {event.what}")
                return True
            case ev.LogLine(level="warning", source="trainer"):
                raise LinkError(event.text)
        return False


_ANSWERED = (do.At, do.StopWhen, do.Cancel, do.Cooldown, do.Extend)
"""Commands of which the trainer says more than that it has received them."""


def ending(run: Run) -> tuple[str, str]:
    """Waits for the end of a run; its last state (`interrupted` where its process went without a word), and a line.

    One that nobody trains has ended.
    """
    refused_until = time.monotonic() + PATIENCE  # one that is just going has the lock a moment longer
    while run.in_use:
        try:
            link = SocketLink(run, call(run), told_the_past=True)
        except LinkError:
            if run.in_use and time.monotonic() > refused_until:
                raise
            time.sleep(LOOK_SECONDS)
            continue
        link.start()
        try:
            while link.alive:
                link.drain()
                time.sleep(LOOK_SECONDS)
        finally:
            link.close()
        if link.has_ended:
            break
    states = [event for event in decoded(tail(run.events_path, _TAIL))[0] if isinstance(event, ev.StateChanged)]
    if states and states[-1].state in FINAL_STATES:
        detail = f": {states[-1].detail}" if states[-1].detail else ""
        return states[-1].state, f"{run.name} {states[-1].state} at step {states[-1].step:,}{detail}"
    return "interrupted", f"{run.name} was interrupted; {run.resume_command()} goes on with it"
