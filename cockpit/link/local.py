"""The link to a trainer in this process. The one place where the cockpit reaches torch."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cockpit.budget import FrameBudget
from cockpit.eventlog import EventLog
from cockpit.link.base import OnThisDisk, nobody_looks
from cockpit.link.server import HERE, LinkServer
from cockpit.link.upkeep import Upkeep
from cockpit.longlog import Keeper
from cockpit.mirror import Mirror
from cockpit.runs import Run
from cockpit.state import Past, RunState
from cockpit.stretch import Stretch
from cockpit.telemetry import ConsoleTail, Telemetry
from cockpit.trackers import wanted_trackers
from gpt.commands import Command, Leave
from gpt.config import Profile
from gpt.events import (
    ConfigChanged,
    Event,
    Failed,
    Finished,
    LedgerUpdated,
    LogLine,
    PilotChanged,
    RanksRestarted,
    Resumed,
    RunStarted,
    StateChanged,
)
from gpt.ledger import TimeLedger
from gpt.ranks import ALONE, Ranks
from gpt.runtime import give_way, is_on_cpu

if TYPE_CHECKING:
    from cockpit.doctor.rounds import Rounds

METER_SECONDS = 1.0
"""Time between two readings of the machine's meters."""
LOOK_SECONDS = 0.5
"""Time at most that a long past is given to be drawn before the trainer is loaded."""
END_SECONDS = 10.0
"""Time at most that threads have to end. One that wants the interpreter while it is taken down may abort the process:
of 36 runs of 20 steps on two busy cores three ended so."""
DOCTOR_SECONDS = 0.5
"""Time between two thoughts of the doctor whether there is something new to look at."""


class LocalLink(OnThisDisk):
    """Runs a trainer on a thread of its own, keeps its log, passes events and commands between it and the screen, and
    serves it to others.

    Args:
        run: the run's folder, locked by the caller.
        resume: the checkpoint's folder to go on from, or None.
        attended: whether somebody watches, and can be asked what to do; until Leave is sent.
        ranks: those that train the run together, this one the first.
        restarted: what there is to say where they were started anew, for one of them had died.
    """

    def __init__(
        self, run: Run, profile: Profile, *, resume: Path | None = None, attended: bool = False, ranks: Ranks = ALONE,
        restarted: RanksRestarted | None = None,
    ) -> None:  # fmt: skip
        self.run, self.run_dir, self.profile = run.name, run.path, profile
        self.failure: Failed | None = None
        """What ended the trainer, if it was an error."""
        self.is_complete = False
        """Whether the trainer has ended with all steps done."""
        self.crash: BaseException | None = None
        """The exception behind a failure that is our bug."""
        self.screen: FrameBudget | None = None
        """What the screen in front of the run costs, for the log; None while there is none."""
        self.known: Callable[[], RunState] | None = None
        """Gives what follows the run here knows of it, for the doctor to look at: nobody reduces its events twice."""
        self._on_standing = nobody_looks
        self._folder = run
        self._resume, self._attended, self._ranks, self._restarted = resume, attended, ranks, restarted
        self._log = EventLog(run.events_path)
        self._server = LinkServer(
            run, profile, self._log, obey=self._obey, tell=lambda event: self._emit(event), attended=attended
        )
        self._earlier: collections.deque[Event | Stretch | Past] = collections.deque()
        self._events: collections.deque[Event] = collections.deque()
        self._is_looked_at = threading.Event()  # whether a screen has taken in earlier sittings, and asked for more
        self._is_told = not (resume or restarted)  # whether earlier sittings are in `_earlier`, all of them
        self._mirrors = [Mirror(name, make, self._emit) for name, make in wanted_trackers(run, profile).items()]
        self._early: list[Command] = []
        self._guard = threading.RLock()  # a signal's handler may send while its own thread does
        self._trainer = None
        self._started = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._train, name="trainer", daemon=True)
        self._meters = threading.Thread(target=self._read_meters, name="meters", daemon=True)
        self._doctor = threading.Thread(target=self._make_rounds, name="doctor", daemon=True)
        self._rounds: Rounds | None = None
        self._begun: RunStarted | None = None
        self._start = self._log.position()[0]  # bytes that earlier sittings have left
        self._keeper = Keeper(run.events_path, self._start)
        self._ahead = run.read_ahead(self._start) if resume or restarted else None
        self._changes: collections.deque[ConfigChanged] = collections.deque()
        self._at_work = threading.Lock()  # of the doctor
        self._leaving = threading.Event()
        self._telemetry, self._upkeep = Telemetry(), Upkeep(self.tell)
        self._log_error: str | None = None
        self._console = ConsoleTail(run.console_path)  # from here on: what is printed at the start counts too

    def start(self) -> None:
        """Starts the trainer; a resumed run's earlier events come first. A second call does nothing."""
        if not self._started:
            self._started = True
            self._server.start()
            self._thread.start()
            self._meters.start()
            self._doctor.start()

    def drain(self) -> list[Event | Stretch | Past]:
        """All events since the last call, oldest first; those of earlier sittings in stretches, or as a whole."""
        events: list[Event | Stretch | Past] = []
        if self._is_told and not self._earlier:
            self._is_looked_at.set()
        is_told = self._is_told  # asked first: what has happened since waits for all that came before
        for waiting in (self._earlier, self._events) if is_told else (self._earlier,):
            while waiting:  # one reader, so what is there stays there
                events.append(waiting.popleft())
        return events

    def send(self, command: Command) -> None:
        """Hands a command to the trainer; before it is up, keeps it for then. Whoever has the controls: the screen asks
        `has_controls` first, and a signal is obeyed in any case."""
        if isinstance(command, Leave):
            self._server.screen_left()
        self._obey(command)

    def _obey(self, command: Command) -> None:
        with self._guard:
            if self._trainer is None:
                self._early.append(command)
            else:
                self._trainer.send(command)

    def tell(self, level: str, text: str) -> None:
        """Adds a line to the run's log. From any thread, never blocks. `level` is `info`, `warning` or `error`."""
        self._emit(LogLine(level=level, text=text))

    @property
    def alive(self) -> bool:
        """False once the trainer has ended."""
        return not self._ended.is_set()

    @property
    def has_controls(self) -> bool:
        """Whether no attached screen has them."""
        return self._server.pilot in (HERE, None)

    @property
    def standing(self) -> str:
        """Who steers the run, where that is somebody else."""
        return "" if self.has_controls else f"watching · {self._server.pilot_name} steers"

    def when_standing_changes(self, look: Callable[[], None]) -> None:
        """Has `look` called, from any thread, when another screen takes the controls, or gives them back."""
        self._on_standing = look

    catching_up = False  # what was said in earlier sittings comes in stretches, before the trainer is up

    def take_controls(self) -> None:
        """Takes them back from an attached screen."""
        self._server.take_controls()

    def join(self, timeout: float | None = None) -> bool:
        """Waits for the trainer's end; True once it has ended."""
        return self._ended.wait(timeout)

    def close(self) -> None:
        """Ends the mirrors, makes the log durable and sends home those who are attached.

        To be called once the trainer has ended.
        """
        self._leaving.set()
        if self._started:
            self._thread.join(timeout=END_SECONDS)  # it has ended, but for letting go of its tensors
            self._meters.join(timeout=2 * METER_SECONDS)
            self._doctor.join(timeout=2 * METER_SECONDS)
        if self._rounds:
            self._rounds.close(timeout=END_SECONDS)
        for mirror in self._mirrors:
            mirror.close()
        self._log.close()
        self._server.close()

    def _emit(self, event: Event) -> None:
        self._log.append(event)
        self._events.append(event)
        if isinstance(event, PilotChanged):
            self._on_standing()
        for mirror in self._mirrors:
            mirror.take(event)
        if isinstance(event, RunStarted):
            self._begun = event
            if event.device_uuid:
                self._telemetry.watch_gpu(event.device_uuid)
        elif isinstance(event, Failed):
            self.failure = event
        elif isinstance(event, Finished):
            self.is_complete = event.reason == "max_steps"
        elif isinstance(event, ConfigChanged):
            self._changes.append(event)

    def conclude(self, state: RunState) -> None:
        """Has the doctor look at a run that has ended, before its last events are drained."""
        if state.is_final:
            self._upkeep.attempt("the doctor's round", lambda: self._examine(state))

    def _train(self) -> None:
        ledger = TimeLedger("startup")
        if self._attended and is_on_cpu(self.profile.train.device):
            give_way()  # to the screen, which draws in this process
        try:
            if self._resume or self._restarted:
                ledger = TimeLedger("startup", seconds=self._tell_earlier())
            if self._restarted:
                self._tell_restart(self._restarted)
            from gpt.trainer import Trainer  # imports torch: after the first frame

            trainer = Trainer(
                self.profile, self.run_dir, self._emit, resume=self._resume, ledger=ledger, attended=self._attended,
                ranks=self._ranks, forked_from=self._folder.forked_from,
            )  # fmt: skip
            with self._guard:
                self._trainer = trainer
                for command in self._early:
                    trainer.send(command)
            trainer.run()
        except BaseException as error:
            self.crash = error
            if self.failure is None:
                text = f"{type(error).__name__}: {error}".splitlines()[0]
                self._emit(Failed(step=0, phase="startup", error=text))
                self._emit(StateChanged(state="failed", detail=text))
        finally:
            self._ended.set()
            self._server.trainer_ended()

    def _tell_restart(self, restarted: RanksRestarted) -> None:
        self._emit(msgspec.structs.replace(restarted, time=time.time()))
        if self._resume is None:  # what the log holds is void; a trainer that begins does not say so
            self._emit(Resumed(step=0, exact=False, why="begun anew, before there was a checkpoint"))

    def _tell_earlier(self) -> dict[str, float] | None:
        """Delivers what the log holds, as it is read; returns the newest ledger in it, if any, seconds by phase."""
        seconds = None
        try:
            for event in self._folder.read_past(self._start, self._ahead):
                self._earlier.append(event)
                if isinstance(event, Past):
                    seconds = event.state.ledger or None
                    continue
                for _, told in event.beside if isinstance(event, Stretch) else [(0, event)]:
                    if isinstance(told, LedgerUpdated):
                        seconds = told.seconds
        finally:
            self._is_told = True
        if self._attended and self._ahead:
            self._is_looked_at.wait(LOOK_SECONDS)  # loading torch would take the interpreter from who draws it
        return seconds

    def _read_meters(self) -> None:
        ended = False
        while not ended:
            ended = self._ended.wait(METER_SECONDS)
            self._upkeep.attempt("reading console.log", self._pass_on_console)
            self._upkeep.attempt("reading the machine's meters", self._read_machine)
            self._upkeep.attempt("looking after the log", self._watch_log)
            self._upkeep.attempt("keeping the log's digest", lambda: self._keeper.look(self._log.position()[0]))

    def _pass_on_console(self) -> None:
        for line in self._console.read():
            self._emit(line)

    def _read_machine(self) -> None:
        screen = self.screen
        self._emit(self._telemetry.sample(screen.total if screen else None))

    def _make_rounds(self) -> None:
        """Lets the doctor look at the run, beside it and beside the screen."""
        while not self._leaving.wait(DOCTOR_SECONDS):
            if known := self.known:
                self._upkeep.attempt("the doctor's round", lambda known=known: self._examine(known()))

    def _examine(self, state: RunState) -> None:
        if state.started is None or state.started is not self._begun:
            return  # the trainer is not up yet: what is known is of an earlier sitting, and perhaps half of that
        from cockpit.doctor.rounds import Rounds  # once the first frame has long been drawn

        with self._at_work:
            if self._rounds is None:
                self._rounds = Rounds(self._emit, self.profile, self.run_dir, self._changes)
            self._rounds.look(state)

    def _watch_log(self) -> None:
        """Says once that the log cannot be written, and once that it can again. The file itself cannot tell."""
        error = self._log.error
        if (error is None) == (self._log_error is None):
            return
        self._log_error = error
        if error:
            level, text = "error", f"{error}; the run's events wait in memory until there is room again"
        else:
            level, text = "info", "the run's events are written again"
        self._emit(LogLine(level=level, text=text))
