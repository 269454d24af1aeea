"""A run's whole log as lines, however long it is: an index of the file, and the stretch that is looked at.

The index has an entry for each stretch of about 64 kB: its place, and how many lines of each level it holds. Lines are
made of the bytes when they are looked at, and a few stretches of them are kept. So a log of a million steps takes some
hundred kilobytes of memory.
"""

from __future__ import annotations

import bisect
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from cockpit import format as fmt
from cockpit.logfile import METERS, STEP, blocks, decode_lines
from cockpit.reducer import reduce
from cockpit.state import LogRecord, RunState
from cockpit.telemetry import level_of
from gpt import events as ev

LEVELS = ("steps", "info", "warning", "error")
"""From all there is to the gravest; a level shows its own lines and those after it."""
BLOCK = 1 << 16
KEPT = 32
"""Stretches whose lines are kept."""
LONGEST = 4000
"""Characters of a line that are shown."""
LOOK_EVERY = 0.5
"""Seconds between two looks at a file that may grow."""

Line = LogRecord
_UNSPOKEN = (*METERS, b'{"event":"RanksTimed"', b'{"event":"SampleText"', b'{"event":"CommandReceived"')
_SPOKEN_AS_STEPS = (STEP, b'{"event":"StateChanged"', b'{"event":"SampleStarted"', b'{"event":"SampleDone"')


def event_lines(raw: list[bytes], steps: bool) -> list[Line]:
    """The lines of a stretch of `events.jsonl`: in the words of the log pane, and with `steps` a line for each step."""
    beside = _UNSPOKEN if steps else (*_UNSPOKEN, *_SPOKEN_AS_STEPS)
    lines: list[Line] = []
    nothing = RunState()
    for event in decode_lines([line for line in raw if not line.startswith(beside)])[0]:
        if text := _step_text(event):
            lines.append(LogRecord(event.time, "steps", text, "trainer"))
        else:
            lines += reduce(nothing, event).log
    return lines


def console_lines(raw: list[bytes], steps: bool) -> list[Line]:
    """The lines of a stretch of console.log; of a line that was written over, what it said last."""
    texts = (line.decode(errors="replace").rstrip("\r").rsplit("\r", 1)[-1] for line in raw)
    return [LogRecord(0.0, level_of(text), text, "console") for text in texts if text.strip()]


def _step_text(event: ev.AnyEvent) -> str:
    match event:
        case ev.StepDone():
            text = f"step {event.step:,}: loss {fmt.loss(event.loss)}, grad norm {fmt.significant(event.grad_norm)}"
            text += f", lr {fmt.scientific(event.lr)}, {event.ms:,.1f} ms, {event.tokens_per_s:,.0f} tokens/s"
            return text + ("" if event.applied else ", left out")
        case ev.StateChanged():
            return event.state + (f": {event.detail}" if event.detail else "")
        case ev.SampleStarted():
            return f"sample {event.sample} at step {event.step:,}"
        case ev.SampleDone():
            return f"sample {event.sample}: {event.prompt}{event.text}"
    return ""


class _Stretch(NamedTuple):
    offset: int
    size: int


class LogBook:
    """One file as lines, counted by a thread of its own, which goes on looking whether it grows.

    Args:
        lines_of: makes lines of a stretch's raw ones; the second argument says whether those of level `steps` are
            wanted.
    """

    def __init__(self, path: Path, lines_of: Callable[[list[bytes], bool], list[Line]]) -> None:
        self.path = path
        self.complete = False
        """True once the whole file has been counted."""
        self.version = 0
        """Grows with the file."""
        self._lines_of = lines_of
        self._stretches: list[_Stretch] = []
        self._before: list[list[int]] = [[0] for _ in LEVELS]  # lines shown at each level before each stretch
        self._kept: OrderedDict[tuple[int, int, int], list[Line]] = OrderedDict()
        self._guard = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._count_on, name="logbook", daemon=True)

    def start(self) -> None:
        """Begins to count."""
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; it is not waited for."""
        self._closed.set()

    def count(self, level: int) -> int:
        """Lines that are shown at a level, a number of LEVELS, as far as they have been counted."""
        return self._before[level][-1]

    def lines(self, start: int, stop: int, level: int) -> list[Line]:
        """The lines from number `start` up to `stop`, of those shown at a level."""
        found: list[Line] = []
        with self._guard:
            at = max(0, bisect.bisect_right(self._before[level], start) - 1)
            stretches = self._stretches[at:]
            first = self._before[level][at]
        for stretch in stretches:
            if first + len(found) >= stop:
                break
            found += self._shown(stretch, level)
        return found[max(0, start - first) : max(0, stop - first)]

    def number_at(self, time: float, level: int) -> int:
        """Number of the first line at or after a Unix time; their count where there is none."""
        low, high = 0, len(self._stretches)
        while low < high:  # the first stretch that begins after it
            middle = (low + high) // 2
            shown = self._shown(self._stretches[middle], level)
            if shown and shown[0].time <= time:
                low = middle + 1
            else:
                high = middle
        at = max(0, low - 1)
        if at >= len(self._stretches):
            return 0
        shown = self._shown(self._stretches[at], level)
        return self._before[level][at] + sum(line.time < time for line in shown)

    def find(self, words: str, start: int, level: int, *, forward: bool) -> int | None:
        """Number of the nearest line after (or before) `start` that holds the words, whatever their case; from the
        other end on where there is none. None where no line does, or the book is closed."""
        needle = words.lower()
        for number, line in self._from(start, level, forward):
            if self._closed.is_set():
                return None
            if needle in line.text.lower():
                return number
        return None

    def _from(self, start: int, level: int, forward: bool) -> Iterator[tuple[int, Line]]:
        with self._guard:
            stretches, before = list(self._stretches), list(self._before[level])
        if not stretches:
            return
        order = range(len(stretches))
        at = min(max(0, bisect.bisect_right(before, start) - 1), len(stretches) - 1)
        turned = [*order[at:], *order[: at + 1]] if forward else [*order[at::-1], *order[: at - 1 if at else None : -1]]
        for turn, number in enumerate(turned):
            numbered = list(enumerate(self._shown(stretches[number], level), before[number]))
            for index, line in numbered if forward else reversed(numbered):
                if turn or (index > start if forward else index < start):
                    yield index, line

    def _shown(self, stretch: _Stretch, level: int) -> list[Line]:
        key = (stretch.offset, stretch.size, level)
        with self._guard:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        raw = self._raw(stretch)
        wanted = LEVELS[level:]
        lines = [line for line in self._lines_of(raw, level == 0) if line.level in wanted]
        with self._guard:
            self._kept[key] = lines
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return lines

    def _raw(self, stretch: _Stretch) -> list[bytes]:
        try:
            with self.path.open("rb") as file:
                file.seek(stretch.offset)
                return file.read(stretch.size).split(b"\n")[:-1]
        except OSError:
            return []

    def _count_on(self) -> None:
        while not self._closed.is_set():
            self._count()
            self.complete = True
            self._closed.wait(LOOK_EVERY)

    def _count(self) -> None:
        """Counts what has been added; the newest stretch grows until it is long enough."""
        with self._guard:
            last = self._stretches[-1] if self._stretches else None
        grows = last is not None and last.size < BLOCK
        start = 0 if last is None else last.offset if grows else last.offset + last.size
        for offset, block in blocks(self.path, start, BLOCK):
            if self._closed.is_set():
                return
            if grows and last is not None and len(block) == last.size:
                grows = False  # it is whole, or nothing new has come
                continue
            counts = self._counts(block)
            with self._guard:
                if grows:
                    self._stretches.pop()
                    for before in self._before:
                        before.pop()
                    grows = False
                self._stretches.append(_Stretch(offset, len(block)))
                for level, before in enumerate(self._before):
                    before.append(before[-1] + sum(counts[level:]))
                self.version += 1

    def _counts(self, block: bytes) -> list[int]:
        """Lines by level. Those of steps, most of a log, are counted without being decoded."""
        raw = block.split(b"\n")[:-1]
        others = [line for line in raw if not line.startswith(STEP)]
        lines = self._lines_of(others, True)
        counts = [sum(line.level == level for line in lines) for level in LEVELS]
        counts[0] += len(raw) - len(others)
        return counts
