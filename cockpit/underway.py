"""A run of the real program while it is measured: it goes on for a while, alone or in turns, and has keys pressed."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from cockpit.pseudoterminal import PseudoTerminal, signal_family, stop_family
from cockpit.runs import Run
from cockpit.sanitize import clean_line
from cockpit.screencost import Window, window_of
from gpt.errors import RunError
from gpt.events import StepDone

SETTLE_SECONDS = 2.0
"""Time after the first step before anything is measured."""
WRITE_SECONDS = 0.6
"""Time until what has happened is in the log."""
LEAD_SECONDS = 0.7
"""Beginning of a turn, which is not measured: the screen is drawn anew, and the caches hold what the other one left."""
KEY_PATIENCE = 5.0
"""Seconds that an answer to a key may take."""
START_PATIENCE = 900.0
"""Seconds until the first step: data may have to be tokenized, a model compiled."""


class MeasurementError(Exception):
    """A measurement ended in a way that is our bug."""


@dataclass(eq=False, frozen=True)
class Underway:
    """A program that trains.

    Args:
        wait: lets some seconds go by; False where the program has ended.
        ending: what to raise then.
        terminal: that it draws on.
    """

    run: Run
    process: subprocess.Popen[bytes]
    wait: Callable[[float], bool]
    ending: Callable[[], Exception]
    terminal: PseudoTerminal | None = None
    first_frame_s: float | None = None

    def settle(self) -> None:
        """Returns some time after the first step."""
        patience = time.monotonic() + START_PATIENCE
        while not self.run.has_step():
            self.go_on(0.2)
            if time.monotonic() > patience:
                raise RunError(f"no step within {START_PATIENCE:.0f} s of the start; measure a smaller profile")
        self.go_on(SETTLE_SECONDS)

    def go_on(self, seconds: float) -> None:
        """Lets it train for so long. Raises what `ending` says where it ends before."""
        if not self.wait(seconds):
            raise self.ending()

    def span(self, seconds: float) -> tuple[float, float]:
        """The same; Unix times of the beginning and the end."""
        start = time.time()
        self.go_on(seconds)
        return start, time.time()

    def turn(self, seconds: float) -> tuple[float, float]:
        """The same of one that is stopped, and is so again after; the times are those of what is to be measured."""
        self.resume()
        self.go_on(LEAD_SECONDS)
        span = self.span(seconds)
        self.stop()
        return span

    def stop(self) -> None:
        """Takes the processor from it until `resume`; it is not asked and does not know."""
        stop_family(self.process)

    def resume(self) -> None:
        """Takes `stop` back."""
        signal_family(self.process, signal.SIGCONT)

    def windows(self, spans: Sequence[tuple[float, float]]) -> list[Window]:
        """What it did in these spans of time, once they are in its log."""
        self.go_on(WRITE_SECONDS)
        events, sent = list(self.run.read_events()), self.terminal and self.terminal.bytes_between
        return [window_of(events, start, end, sent) for start, end in spans]

    def with_keys(self, window: Window, presses: int) -> Window:
        """The same, with the answers to so many keys that are pressed now."""
        assert self.terminal
        key_ms = tuple(press_keys(self.terminal, presses))
        return msgspec.structs.replace(window, first_frame_s=self.first_frame_s, key_ms=key_ms)

    def seconds_of_a_step(self) -> float:
        """Of the newest one that the log holds."""
        events = reversed(list(self.run.read_events()))
        return next((event.ms / 1e3 for event in events if isinstance(event, StepDone)), 0.0)


def press_keys(terminal: PseudoTerminal, presses: int) -> list[float]:
    """ms from `?` to the help that it opens, each time; the help is closed again in between. Misses are left out."""
    from cockpit.screens.help import TITLE

    answer, times = TITLE.encode(), []
    for press in range(presses):
        terminal.read(0.3 + 0.037 * (press % 8))  # not in time with the frames
        seen = len(terminal.output)
        pressed = time.monotonic()
        terminal.press(b"?")
        came = terminal.wait_until(lambda seen=seen: answer in terminal.output[seen:], KEY_PATIENCE)
        if came is not None:
            times.append((came - pressed) * 1e3)
        terminal.read(0.1)
        terminal.press(b"\x1b")
    return times


def failure(code: int, output: bytes | bytearray) -> Exception:
    """What a program that ended before its time died of, by its exit code and the end of what it said."""
    text = clean_line(output.decode(errors="replace").strip().rpartition("\n")[2]).removeprefix("gpt-cockpit: ")
    if code == 2:
        return RunError(text)
    if code == -9:
        return RunError("a measurement was killed, perhaps for want of memory; measure a smaller profile")
    return MeasurementError(f"a measurement ended with {code}: {text or 'without a word'}")
