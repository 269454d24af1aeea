"""The doctor at work beside a run: looks again whenever there is something new, and tells what stands.

Never on the thread that draws, nor on the one that trains; and between two rules it lets go of the interpreter.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from cockpit.doctor import gathering
from cockpit.doctor.breath import Breath, GivenUp
from cockpit.doctor.dataset import Remembered
from cockpit.doctor.diagnosis import SEVERITIES, Diagnosis, Rule
from cockpit.doctor.evidence import DataFacts, Evidence
from cockpit.doctor.examination import RULES, examine
from cockpit.doctor.standing import Standing
from cockpit.pilotage import from_toml
from cockpit.runs import Run
from cockpit.sanitize import clean_line
from cockpit.state import RunState
from gpt.config import Profile, replace
from gpt.errors import ProfileError
from gpt.events import ConfigChanged, Event, LogLine

EVERY_STEPS = 100
EVERY_SECONDS = 30.0
"""It looks again after so many steps or so much time, whichever is first, and at every evaluation."""
SHARE = 1 / 500
"""Of one core's time that looking may take; where steps are quick, it looks less often."""
LEAST_GAP = 1.0
"""Seconds between two examinations at least."""

_DATA = Remembered()


class Occasion(NamedTuple):
    """What an examination was made of; where it is another now, there may be something new."""

    begun: int
    evaluated: int
    """Step of the newest evaluation."""
    resumed: int
    knows_data: bool
    """Whether the data has been looked at."""
    is_final: bool


class Rounds:
    """Examines a run that goes on, and emits what stands and what has ended.

    `look` is to be called every so often, from one thread at a time; it knows itself when it is time.

    Args:
        emit: takes the events.
        profile: as the run was started.
        changes: of settings since, as they come; taken out of it.
        wall, cpu: clocks, seconds.
        run_dir: with the profile's text in it.
    """

    def __init__(
        self,
        emit: Callable[[Event], None],
        profile: Profile,
        run_dir: Path,
        changes: deque[ConfigChanged],
        rules: Sequence[Rule] = RULES,
        *,
        wall: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._emit, self._run, self._rules = emit, Run(run_dir), rules
        self._profile = profile
        self._wall, self._cpu = wall, cpu
        self._changes = changes
        self._pending: dict[str, Any] = {}
        self._source = read_source(run_dir)
        self._standing: Standing | None = None
        self._resumed: object = None
        self._last: Occasion | None = None
        self._step, self._at, self._cost = 0, 0.0, 0.0
        self._broken: set[str] = set()
        self._data: DataFacts | None = None
        self._given_up = threading.Event()
        self.reading: threading.Thread | None = None
        """Looks at the data, once, beside all else; None before the first examination."""

    def look(self, state: RunState) -> bool:
        """Examines a state if there is reason to; True where it did."""
        if state.started is None or not self._is_due(state):
            return False
        self._examine(state)
        return True

    def close(self, timeout: float) -> None:
        """Gives the look at the data up; at the end of the process a thread that computes could abort it."""
        self._given_up.set()
        if self.reading:
            self.reading.join(timeout)

    def _is_due(self, state: RunState) -> bool:
        now = self._occasion(state)
        if self._last is None or now.is_final != self._last.is_final:
            return True
        gone = self._wall() - self._at
        if gone < max(LEAST_GAP, self._cost / SHARE):
            return False
        if self._changes or now != self._last:
            return True
        return state.step != self._step and (abs(state.step - self._step) >= EVERY_STEPS or gone >= EVERY_SECONDS)

    def _occasion(self, state: RunState) -> Occasion:
        return Occasion(
            id(state.started), state.evaluation.step if state.evaluation else -1, id(state.resumed),
            self._data is not None, state.is_final,
        )  # fmt: skip

    def _examine(self, state: RunState) -> None:
        self._last, self._step = self._occasion(state), state.step
        self._take_changes()
        if self._standing is None or state.resumed is not self._resumed:
            self._resumed = state.resumed
            self._standing = Standing(state.checkup.findings)
        began = self._cpu()
        evidence = gathering.beside(self._run, self._profile, state, self._source, self._data)
        found, broken = look(evidence, [rule for rule in self._rules if rule.id not in self._broken])
        self._cost = self._cpu() - began
        self._at = self._wall()
        for rule, error in broken.items():
            self._broken.add(rule)
            self._emit(LogLine(level="warning", text=f"doctor: rule {rule} failed and is left out: {error}"))
        silenced = {entry.partition(":")[0] for entry in self._profile.doctor.silence}
        sure = not evidence.began or state.is_final  # with nothing measured in it, or nothing more to come
        for event in self._standing.examined(found, state.step, sure=sure, silenced=silenced):
            self._emit(event)
        if self.reading is None:
            self.reading = threading.Thread(target=self._read_data, name="doctor reading", daemon=True)
            self.reading.start()

    def _read_data(self) -> None:
        try:
            self._data = _DATA.look(self._profile, Breath(self._given_up))
        except GivenUp:
            pass
        except Exception as error:  # as of a rule
            text = clean_line(f"{type(error).__name__}: {error}")[:200]
            self._emit(LogLine(level="warning", text=f"doctor: the data could not be looked at: {text}"))

    def _take_changes(self) -> None:
        while self._changes:  # one reader, so what is there stays there
            change = self._changes.popleft()
            self._pending[change.key] = from_toml(change.new)
        try:
            self._profile = replace(self._profile, self._pending)
        except ProfileError:
            return  # it holds only with what is told next
        self._pending = {}


class Opinion(NamedTuple):
    """What one examination has come to."""

    evidence: Evidence
    found: list[Diagnosis]
    broken: Mapping[str, str]


class Consultation:
    """Examines on a thread of its own for whoever draws: ask, go on, and look at `opinion` later.

    The first time there are two: one at once, and another when the data has been looked at.
    """

    def __init__(self, run_dir: Path) -> None:
        self.opinion: Opinion | None = None
        """The newest."""
        self._run = Run(run_dir)
        self._source = read_source(run_dir)
        self._data: DataFacts | None = None
        self._has_read = False
        self._thread: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        """Whether an answer is on its way."""
        return self._thread is not None and self._thread.is_alive()

    def ask(self, profile: Profile, state: RunState) -> None:
        """Begins an examination. Does nothing while one is under way."""
        if self.is_busy:
            return
        self._thread = threading.Thread(target=self._answer, args=(profile, state), name="doctor asked", daemon=True)
        self._thread.start()

    def _answer(self, profile: Profile, state: RunState) -> None:
        self.opinion = self._examined(profile, state)
        if self._has_read:
            return
        self._has_read = True
        with suppress(Exception):  # what goes wrong here is told beside the run
            self._data = _DATA.look(profile, Breath())
        if self._data is not None:
            self.opinion = self._examined(profile, state)

    def _examined(self, profile: Profile, state: RunState) -> Opinion:
        evidence = gathering.beside(self._run, profile, state, self._source, self._data)
        return Opinion(evidence, *look(evidence))


def look(evidence: Evidence, rules: Sequence[Rule] = RULES) -> tuple[list[Diagnosis], dict[str, str]]:
    """(diagnoses, the worst first; rules that failed, and how): one rule at a time, with a breath after each."""
    found: list[Diagnosis] = []
    broken: dict[str, str] = {}
    breathe = Breath()
    for rule in rules:
        try:
            found += examine(evidence, [rule])
        except Exception as error:  # a mistake of ours in a rule must not cost the run
            broken[rule.id] = clean_line(f"{type(error).__name__}: {error}")[:200]
        breathe()
    return sorted(found, key=lambda each: -SEVERITIES.index(each.severity)), broken


def read_source(run_dir: Path) -> str:
    """The text of the profile that a run has kept, with its comments; empty where there is none."""
    try:
        return (run_dir / "profile.toml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
