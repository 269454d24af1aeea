"""The link to a log: events come again in their own time, or faster, from any moment on. Nobody is there to command."""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from cockpit import profile as profiles
from cockpit.link.base import OnThisDisk, Unsteered
from cockpit.logfile import blocks, decoded
from cockpit.reducer import reduce_all
from cockpit.runs import Run
from cockpit.state import RunState
from gpt import events as ev
from gpt.commands import Command
from gpt.config import Profile
from gpt.errors import UserError
from gpt.events import AnyEvent, Event

SPEEDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""How many times as fast as it was."""
GAP = 30.0
"""Seconds without an event after which nobody was there: a stretch between two sittings."""
LEAP = 1.0
"""Seconds that such a stretch lasts when it is played."""
FRAMES = 128
"""Moments kept of a log, about, from which playing can begin. Each has curves of its own, up to 0.6 MB."""
SMALLEST = 1 << 17
"""Bytes of log between two of them at least."""
FOLLOW_SECONDS = 0.5
"""Time between two looks at a log that still grows."""

_MARKED = {
    ev.EvalDone: "evaluate", ev.SpikeDetected: "spike", ev.ConfigChanged: "config", ev.Resumed: "resume",
    ev.Paused: "pause", ev.CheckpointSaved: "checkpoint",
}  # fmt: skip


class Moment(NamedTuple):
    """A place in the log and all that is known there."""

    offset: int
    """Bytes of the log before it."""
    clock: float
    """Seconds of playing at speed 1 up to it."""
    time: float | None
    """Unix time of the latest event before it."""
    state: RunState
    changes: Mapping[str, str]
    """Settings changed so far, as TOML."""


class Mark(NamedTuple):
    """Something on the way that can be jumped to."""

    clock: float
    step: int
    kind: str
    """As in cockpit.state.Marker."""


BEGINNING = Moment(0, 0.0, None, RunState(), {})


class ReplayLink(Unsteered, OnThisDisk):
    """Plays the log of a run.

    A thread reads the log once, in pieces, and keeps some moments of it; any other one is made anew from the one
    before it in some milliseconds. So memory stays bounded, and what has been read can be seen at once. A log
    that is still being written is followed.

    Args:
        at_end: begin at the end, with the whole run in view; otherwise at the beginning, playing.
        speed: times as fast as it was.
        share: share of one core that the reading may take; less than 1 where training goes on meanwhile.
    """

    alive = False  # no trainer is behind it: nothing can be asked of it, and leaving needs no question

    def __init__(self, run: Run, *, at_end: bool = False, speed: float = 10, share: float = 1.0) -> None:
        self.run, self.run_dir = run.name, run.path
        self.profile, self.complaint = _profile_of(run)
        self.speed = speed
        self.playing = not at_end
        self.at_end = at_end
        """The newest there is, is shown, and what is written to the log from now on too."""
        self.position = 0.0
        """Seconds of playing, at speed 1, up to what is shown."""
        self.complete = False
        """True once the log has been read to its end."""
        self.followed = False
        """True while a process still writes to it."""
        self.marks: list[Mark] = []
        """In the order of the log; grows while it is read."""
        self.unreadable = 0
        """Lines that are no events."""
        self._folder, self._share = run, share
        self._moments = [BEGINNING]
        self._newest = BEGINNING
        self._ahead: list[tuple[float, AnyEvent]] = []  # read, not yet shown
        self._next = 0  # of them
        self._here = BEGINNING  # where `_ahead` ends; its state is not used
        self._ticked: float | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name="replay", daemon=True)
        self._block = max(SMALLEST, self.size // FRAMES)

    # The link

    def start(self) -> None:
        """Begins to read."""
        if not self._thread.ident:
            self._thread.start()

    def close(self) -> None:
        """Ends the reading; the thread is not waited for."""
        self._closed.set()

    def drain(self) -> list[Event]:
        """The events that have become due."""
        due: list[Event] = []
        while not self.at_end:
            while self._next < len(self._ahead) and self._ahead[self._next][0] <= self.position:
                due.append(self._ahead[self._next][1])
                self._next += 1
            if self._next < len(self._ahead) or not self._load():
                break
        return due

    def send(self, command: Command) -> None:
        """Does nothing: what is in a log has happened."""

    # Time

    @property
    def length(self) -> float:
        """Seconds of playing in all that has been read."""
        return self._newest.clock

    @property
    def size(self) -> int:
        """Bytes of the log."""
        try:
            return self._folder.events_path.stat().st_size
        except OSError:
            return 0

    @property
    def share_read(self) -> float:
        """How much of the log has been read, 0…1."""
        return 1.0 if self.complete else min(1.0, self._newest.offset / max(1, self.size))

    def tick(self, now: float) -> Moment | None:
        """Lets time pass up to `now` (monotonic seconds). A moment to show where that leads too far for single events;
        None where those come from `drain`, or nothing is due."""
        elapsed, self._ticked = now - self._ticked if self._ticked is not None else 0.0, now
        if self.at_end:
            if self._newest.offset == self._here.offset:
                return None
            return self._to_end()
        if not self.playing:
            return None
        self.position = min(self.length, self.position + elapsed * self.speed)
        if self.position >= self.length and self.complete:
            return self._to_end()
        if self._moment_before(self.position) > self._moment_before(self._here.clock) + 1:
            return self.seek(self.position)
        return None

    def seek(self, position: float) -> Moment:
        """Goes to a time; what is known there. Beyond the end of what has been read it is that end."""
        if position >= self.length:
            return self._to_end()
        self.at_end, self.position = False, max(0.0, position)
        moment = self._moments[self._moment_before(self.position)]
        self._here, self._ahead, self._next = moment, [], 0
        state, changes = moment.state, moment.changes
        while events := self.drain():
            state, changes = reduce_all(state, events), _changed(changes, events)
        return Moment(self._here.offset, self.position, state.last_time, state, changes)

    def seek_step(self, step: int) -> Moment:
        """Goes to where a step was taken, of a rewound or resumed run for the last time."""
        at = len(self._moments) - 1
        while at > 0 and self._moments[at].state.step >= step:
            at -= 1
        enough = self._moments[at + 1].offset if at + 1 < len(self._moments) else self._newest.offset
        self.seek(self._moments[at].clock)
        found: float | None = None
        for clock, event in self._walk():
            if isinstance(event, ev.Resumed) and event.step < step:
                found = None  # that step was taken anew
            elif found is None and isinstance(event, ev.StepDone) and event.step >= step:
                found = clock
            if found is not None and self._here.offset > enough:
                break
        return self._to_end() if found is None else self.seek(found)

    def seek_mark(self, kind: str, *, forward: bool) -> Moment | None:
        """Goes to the next or the last such mark before; None where there is none."""
        clocks = [mark.clock for mark in list(self.marks) if mark.kind == kind]
        here = self.length if self.at_end else self.position
        at = bisect.bisect_right(clocks, here) if forward else bisect.bisect_left(clocks, here) - 1
        return self.seek(clocks[at]) if 0 <= at < len(clocks) else None

    def shift_step(self, by: int, step: int) -> Moment:
        """Goes some steps on or back from a step."""
        return self.seek_step(max(1, step + by)) if step + by > 0 else self.seek(0.0)

    def faster(self, by: int) -> None:
        """The next speed up (1) or down (-1)."""
        at = min(range(len(SPEEDS)), key=lambda number: abs(SPEEDS[number] - self.speed))
        self.speed = SPEEDS[min(len(SPEEDS) - 1, max(0, at + by))]

    def toggle(self) -> Moment | None:
        """Plays or stands still; at the end it begins again from the beginning, whose moment it returns."""
        if self.at_end and not self.followed:
            self.playing = True
            return self.seek(0.0)
        self.playing = not self.playing
        return None

    def _to_end(self) -> Moment:
        newest = self._newest
        self.at_end, self.position = True, newest.clock
        self._here, self._ahead, self._next = newest, [], 0
        if self.complete and not self.followed:
            self.playing = False
        return newest

    def _moment_before(self, clock: float) -> int:
        return max(0, bisect.bisect_right(self._moments, clock, key=lambda moment: moment.clock) - 1)

    # Reading

    def _load(self) -> bool:
        """Takes the next stretch of what has been read into `_ahead`; False where there is no more."""
        left = self._newest.offset - self._here.offset
        if left <= 0:
            return False
        _, block = next(blocks(self._folder.events_path, self._here.offset, min(left, self._block)), (0, b""))
        if not block:
            return False
        self._ahead, latest = _timed(decoded(block)[0], self._here)
        self._next = 0
        clock = self._ahead[-1][0] if self._ahead else self._here.clock
        self._here = self._here._replace(offset=self._here.offset + len(block), clock=clock, time=latest)
        return True

    def _walk(self) -> Iterator[tuple[float, AnyEvent]]:
        """The events from here on with their times, to the end of what has been read."""
        while True:
            yield from self._ahead[self._next :]
            if not self._load():
                return

    def _read(self) -> None:
        """Reads the log from its beginning to its end, and as long as somebody writes to it."""
        now = BEGINNING
        while not self._closed.is_set():
            for offset, block in blocks(self._folder.events_path, now.offset, self._block):
                if self._closed.is_set():
                    return
                began = time.thread_time()
                if offset - self._moments[-1].offset >= self._block:
                    self._moments.append(now)
                events, unreadable = decoded(block)
                self.unreadable += unreadable
                timed, latest = _timed(events, now)
                self.marks += [
                    Mark(clock, getattr(event, "step", 0), _MARKED[type(event)])
                    for clock, event in timed
                    if type(event) in _MARKED
                ]
                clock = timed[-1][0] if timed else now.clock
                state = reduce_all(now.state, events)
                now = Moment(offset + len(block), clock, latest, state, _changed(now.changes, events))
                self._newest = now
                self._closed.wait((time.thread_time() - began) * (1 / self._share - 1))
            followed = self._folder.in_use
            self.complete, self.followed = True, followed
            if not followed:
                return
            self._closed.wait(FOLLOW_SECONDS)


def _timed(events: list[AnyEvent], since: Moment) -> tuple[list[tuple[float, AnyEvent]], float | None]:
    """Events with the time at which each is played, and the latest Unix time of all up to there. Time never goes back;
    where nobody was there, it leaps."""
    clock, latest = since.clock, since.time
    timed: list[tuple[float, AnyEvent]] = []
    for event in events:
        passed = event.time - latest if latest is not None else 0.0
        if passed < -GAP:  # the machine's clock was set back
            latest, passed = event.time, 0.0
        clock += LEAP if passed > GAP else max(0.0, passed)
        latest = event.time if latest is None else max(event.time, latest)
        timed.append((clock, event))
    return timed, latest


def _changed(changes: Mapping[str, str], events: Sequence[Event]) -> Mapping[str, str]:
    news = {event.key: event.new for event in events if isinstance(event, ev.ConfigChanged)}
    return {**changes, **news} if news else changes


def _profile_of(run: Run) -> tuple[Profile, str | None]:
    """The profile that the run kept; where it cannot be read, an empty one of its name, and why."""
    try:
        return profiles.load(run.path / "profile.toml").profile, None
    except UserError as error:
        return Profile(name=run.profile_name or "unknown"), str(error)
