"""The link to a trainer in another process: its log first, then what happens, as it happens."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import msgspec

from cockpit import longlog
from cockpit.link import wire
from cockpit.link.base import OnThisDisk, nobody_looks
from cockpit.link.client import PATIENCE, RETURN_SECONDS, Client, call
from cockpit.logfile import decoded
from cockpit.longlog import Reader
from cockpit.runs import Run
from cockpit.sanitize import clean_line
from cockpit.state import FINAL_STATES, Past
from cockpit.stretch import Stretch
from gpt.commands import Command
from gpt.config import Profile
from gpt.events import Event, Failed, LogLine, PilotChanged, StateChanged, StepDone

DYING_SECONDS = 2.0
"""Time after which a process that holds the run's lock and says nothing is taken to live."""

Told = Event | Stretch | Past


class SocketLink(OnThisDisk):
    """Shows a run that another process trains, and steers it while it has the controls.

    The past is read from the log up to where the process begins to tell, in stretches, by a thread; then comes what it
    tells. Where it could not tell all, the log is read in between: nothing is missing, and nothing comes twice.

    Args:
        run: the run's folder.
        client: let in by its process.
        told_the_past: deliver only what happens from now on.
        watch: never the pilot, of a process that takes the run up again either.
        ahead: reads the log already, from before the run's process could be asked how far it has come.
    """

    def __init__(
        self, run: Run, client: Client, *, told_the_past: bool = False, watch: bool = False,
        ahead: Reader | None = None,
    ) -> None:  # fmt: skip
        hello = client.hello
        self.run, self.run_dir = hello.run, run.path
        self.profile = _profile(hello)
        self.pid = hello.pid
        self._on_standing = nobody_looks
        self._folder, self._client, self._ahead = run, client, ahead
        self._events: collections.deque[tuple[bool, Told]] = collections.deque()  # whether of the past, what
        self._pilot, self._pilot_name = hello.pilot, clean_line(hello.pilot_name)
        self._at = hello.offset if told_the_past else 0
        """Bytes of the log that have been delivered."""
        self._step = 0
        self._state = ""  # the newest that was told
        self._watch, self._waiting = watch, False
        self._ended = hello.over
        """Whether the trainer has ended in order."""
        self._lost = ""
        """Why nothing more comes, where it has not."""
        self._closed = False
        self._stood = self.standing
        """What was told of it last."""
        self.catching_up = True
        self._thread = threading.Thread(target=self._follow, name="link", daemon=True)

    @classmethod
    def attach(
        cls, run: Run, *, watch: bool = False, patience: float = PATIENCE, ahead: Reader | None = None
    ) -> SocketLink:
        """A link to a run of this machine. Raises LinkError where nobody trains it or lets nobody in."""
        return cls(run, call(run, screen=True, watch=watch, patience=patience), watch=watch, ahead=ahead)

    def start(self) -> None:
        """Begins to deliver. A second call does nothing."""
        if not self._thread.ident:
            self._thread.start()

    def drain(self) -> list[Told]:
        """What has come since the last call, oldest first; the past and the present never in one call."""
        events: list[Told] = []
        while self._events:  # one reader, so what is there stays there
            past, event = self._events[0]
            if events and past != self.catching_up:
                break
            self.catching_up = past
            events.append(event)
            self._events.popleft()
        return events

    def send(self, command: Command) -> None:
        """Hands a command to the run's process, which obeys its pilot only. Never blocks."""
        self._client.order(command)

    @property
    def alive(self) -> bool:
        """False once the trainer has ended, or nothing more is heard of it."""
        return not (self._ended or self._lost)

    @property
    def has_ended(self) -> bool:
        """Whether the trainer has ended: in order, or with its process."""
        return self._ended

    @property
    def has_controls(self) -> bool:
        """Whether this screen is the pilot."""
        return self._pilot == self._client.hello.seat

    @property
    def standing(self) -> str:
        """What has become of the link, or who steers where it is not this screen."""
        if self._lost:
            return self._lost
        if self._waiting:
            return "the ranks are started anew"
        if self.has_controls or self._ended:
            return ""
        return (
            f"watching · {self._pilot_name or 'the screen of the run'} steers"
            if self._pilot is not None
            else "watching"
        )

    def when_standing_changes(self, look: Callable[[], None]) -> None:
        """Has `look` called whenever it does, by the thread of the link."""
        self._on_standing = look

    def take_controls(self) -> None:
        """Asks for the controls; they are here once a PilotChanged says so."""
        self._client.take_controls()

    def close(self) -> None:
        """Leaves; the run goes on."""
        self._closed = True
        self._client.close()

    # The thread

    def _follow(self) -> None:
        why = self._hear(past=True)
        while successor := self._successor():
            with suppress(wire.LinkError):
                self._adopt(successor)
                why = self._hear(past=False)
        if not self._closed:
            self._hung_up(why)

    def _hear(self, *, past: bool) -> str:
        """Delivers what one process tells, what came before it first; why it tells no more."""
        why = "its process is gone"
        try:
            self._read_up_to(self._client.hello.offset, past=past)
            for part in self._client.heard():
                if isinstance(part, bytes):
                    self._take(part)
                else:
                    self._heed(part)
        except (wire.LinkError, OSError) as error:
            why = str(error)
        return why

    def _successor(self) -> Client | None:
        """The process that takes the run up again, where a launcher starts ranks anew; None once it will not."""
        while self._may_return and not self._closed:
            self._wait(True)
            with suppress(wire.LinkError, OSError):
                client = call(self._folder, screen=True, watch=self._watch)
                if client.hello.pid != self.pid:
                    return client
                client.close()  # it has not quite gone
            time.sleep(RETURN_SECONDS)
        self._wait(False)
        return None

    def _wait(self, waiting: bool) -> None:
        self._waiting = waiting
        self._tell_standing()

    def _tell_standing(self) -> None:
        if self.standing != self._stood:
            self._stood = self.standing
            self._on_standing()

    @property
    def _may_return(self) -> bool:
        return self._state not in ("finished", "stopped") and self._is_launched

    @property
    def _is_launched(self) -> bool:
        return self._folder.is_launched

    def _adopt(self, client: Client) -> None:
        """Goes on with another process of the same run. Raises LinkError where it is not readable here."""
        self._client.close()
        self._client = client
        self._begin_anew(client.hello)

    def _begin_anew(self, hello: wire.Hello) -> None:
        """Takes what is said of a process that has taken the run up again. Raises as `_adopt` does."""
        self._waiting = False
        self.profile, self.pid = _profile(hello), hello.pid
        self._pilot, self._pilot_name = hello.pilot, clean_line(hello.pilot_name)
        self._ended = hello.over
        self._tell_standing()

    def _take(self, lines: bytes) -> None:
        self._at += len(lines)
        self._deliver(decoded(lines)[0], past=False)

    def _heed(self, message: wire.ToReader) -> None:
        match message:
            case wire.GoOn():
                self._read_up_to(message.offset, past=False)
            case wire.Over():
                self._ended = not self._may_return
                self._tell_standing()
            case wire.Answer(refused=why) if why:
                self._say("warning", f"not done: {why}")
            case wire.Refused():
                raise wire.LinkError(f"the run's process refuses: {message.why}")

    def _read_up_to(self, offset: int, *, past: bool) -> None:
        """Delivers what the log holds up to there and has not been delivered."""
        if offset > self._at:
            if self._at and offset - self._at < longlog.LONG:
                told = self._folder.read_stretches(self._at, offset)
            else:
                told, self._ahead = self._folder.read_past(offset, self._ahead), None
            self._deliver(told, past=past)
            self._at = offset

    def _deliver(self, events: Iterable[Told], *, past: bool) -> None:
        for event in events:
            match event:
                case Stretch():
                    self._step = event.last.step
                case StepDone():
                    self._step = event.step
                case Past():
                    self._step, self._state = event.state.step, event.state.state
                    self._heed_pilot(event.state.pilot, past=past)
                case StateChanged():
                    self._state = event.state
                case PilotChanged():
                    self._heed_pilot(event, past=past)
                case _:
                    pass
            self._events.append((past, event))
            if isinstance(event, Past | PilotChanged):
                self._tell_standing()

    def _heed_pilot(self, event: PilotChanged | None, *, past: bool) -> None:
        if event and event.pid == self.pid and not past:
            self._pilot, self._pilot_name = event.seat, clean_line(event.pilot)

    def _hung_up(self, why: str) -> None:
        """Says what has become of the run, where its process went without a word."""
        if self._ended:
            return
        self._read_up_to(self._folder.size_of_log(), past=False)  # what it wrote and could not tell any more
        if self._state in FINAL_STATES:
            self._ended = True
        elif self._process_lives:
            self._lost = "link lost"
            self._say("error", f"the link to the run is lost: {why}; {self._way_back()} comes back to it")
        else:
            self._ended = True
            error = f"process {self.pid}, which trained it, is gone without an ending; its log is all here"
            self._events.append((False, Failed(step=self._step, phase="other", error=error)))
            self._events.append((False, StateChanged(state="failed", step=self._step, detail="process gone")))
        self._tell_standing()

    @property
    def _process_lives(self) -> bool:
        """Whether it goes on without us: a process that is just dying may hold its lock for a moment longer."""
        until = time.monotonic() + DYING_SECONDS
        while self._folder.in_use:
            if time.monotonic() >= until:
                return True
            time.sleep(0.05)
        return False

    def _way_back(self) -> str:
        return f"gpt-cockpit attach {self.run}"

    def _say(self, level: str, text: str) -> None:
        """A line for this screen alone."""
        self._events.append((False, LogLine(level=level, text=text, source="link")))


def _profile(hello: wire.Hello) -> Profile:
    """Raises LinkError where this program does not know the settings of that one."""
    try:
        return msgspec.json.decode(hello.profile, type=Profile)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise wire.LinkError(
            f"the run's settings are of gpt-cockpit {hello.version} and not readable here ({error}); use that version"
        ) from None
