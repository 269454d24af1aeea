"""Runs of the real program that are only made to be measured: without the screen, behind it, and with a long log.

With the screen it runs in a pseudo-terminal where nobody looks; after the time that is measured, keys are pressed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from cockpit.front import die_with_parent
from cockpit.pseudoterminal import PseudoTerminal, has_visible, kill_session
from cockpit.runs import Run
from cockpit.sanitize import clean_line
from cockpit.screencost import Window, summarize, window_of
from gpt.config import Profile
from gpt.errors import RunError
from gpt.events import StepDone, encode

SETTLE_SECONDS = 2.0
"""Time after the first step before anything is measured."""
KEY_PRESSES = 40
"""Of each run: of three runs 120, so that six of them lie beyond the 95th percentile."""
KEY_PATIENCE = 5.0
"""Seconds that an answer to a key may take."""
START_PATIENCE = 900.0
"""Seconds until the first step: data may have to be tokenized, a model compiled."""
DIGEST_PATIENCE = 10.0
"""Seconds within which the reader of the long log has left its digest."""
LONG_LOG_STEPS = 1_000_000
OPEN_PATIENCE = 120.0
"""Seconds that opening the long log may take."""


class MeasurementError(Exception):
    """A measurement ended in a way that is our bug."""


def measure_screen(
    profile: Profile, text: str, *, columns: int, rows: int, seconds: float, repeats: int, compiled: bool,
    environment: dict[str, str], say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Runs a profile without and with the screen, `repeats` times each in alternating order.

    Args:
        text: the profile as TOML, whole.
        seconds: what is measured of each run.
        compiled: whether both runs compile the step.
        say: takes a line about what is being done.

    Returns the figures of `summarize`, open_1m_steps_s, and open_1m_again_s: the second time.

    Raises RunError where the run cannot be started, MeasurementError where it fails by a bug of ours.
    """
    pairs: list[tuple[Window, Window]] = []
    with tempfile.TemporaryDirectory(prefix="gpt-cockpit-bench-") as folder:
        path = Path(folder) / "profile.toml"
        path.write_text(text, encoding="utf-8")
        trial = Trial(path, settings(profile, compiled), environment, seconds, columns, rows)
        for number in range(repeats):
            windows: dict[bool, Window] = {}
            for screen in (False, True) if number % 2 == 0 else (True, False):
                say(f"screen: run {2 * number + len(windows) + 1} of {2 * repeats}, {'with' if screen else 'without'}")
                windows[screen] = trial.with_screen() if screen else trial.without_screen()
            pairs.append((windows[False], windows[True]))
        say(f"screen: opening a log of {LONG_LOG_STEPS:,} steps")
        opened, again = trial.open_long_log(LONG_LOG_STEPS)
    budget = {"screen_columns": columns, "screen_rows": rows, "cpu_budget": profile.screen.cpu_budget}
    return summarize(pairs) | {"open_1m_steps_s": opened, "open_1m_again_s": again} | budget


def settings(profile: Profile, compiled: bool) -> list[str]:
    """--set arguments for a run that does nothing but train, for as long as it is let."""
    decay = profile.optim.decay_steps or profile.train.max_steps
    changes = {
        "train.max_steps": 10**9, "optim.decay_steps": decay, "train.eval_interval": 0, "sample.interval": 0,
        "checkpoint.interval": 0, "train.compile": "true" if compiled else "false",
    }  # fmt: skip
    return [argument for key, value in changes.items() for argument in ("--set", f"{key}={value}")]


class Trial:
    """Starts the program on one profile, each time as a process of its own with a fresh folder for its run.

    Args:
        path: the profile.
        overrides: --set arguments.
        environment: of the program.
        seconds: what is measured of each run.
    """

    def __init__(
        self, path: Path, overrides: Sequence[str], environment: dict[str, str], seconds: float, columns: int, rows: int
    ) -> None:
        self._path, self._overrides, self._environment = path, list(overrides), environment
        self._seconds, self._columns, self._rows = seconds, columns, rows
        self._runs = 0

    def without_screen(self) -> Window:
        """A run that prints its lines to nobody."""
        run = self._fresh_run()
        with self._headless(run, *self._overrides) as (process, said):

            def wait(seconds: float) -> bool:
                try:
                    process.wait(timeout=seconds)
                except subprocess.TimeoutExpired:
                    return True
                return False

            start, end = self._watch(run, wait, lambda: _ending(process, said))
        return window_of(list(run.read_events()), start, end)

    def with_screen(self) -> Window:
        """A run behind the screen; keys are pressed once it has been measured."""
        run = self._fresh_run()
        with self._screen(run, *self._overrides) as terminal:
            seen = terminal.wait_until(lambda: has_visible(terminal.output), START_PATIENCE)

            def wait(seconds: float) -> bool:
                terminal.read(seconds)
                return terminal.process.poll() is None

            def ending() -> Exception:
                return failure(terminal.process.wait(), terminal.output)

            start, end = self._watch(run, wait, ending)
            key_ms = press_keys(terminal, KEY_PRESSES)
        first = None if seen is None else seen - terminal.started
        window = window_of(list(run.read_events()), start, end, terminal.bytes_between)
        return msgspec.structs.replace(window, first_frame_s=first, key_ms=tuple(key_ms))

    def open_long_log(self, steps: int) -> tuple[float | None, float | None]:
        """Seconds from the start of the program, resuming a run, until the screen shows the last step of its log: where
        nobody has read it before, and the second time, with the digest that the first has left.

        The run is one of a single step whose log is then made longer; the times include the program's own start.
        None where that step was not seen.
        """
        run = self._fresh_run()
        short = ("--set", "train.max_steps=1", "--set", "train.eval_steps=1", "--set", "optim.decay_steps=1")
        kept = [pair for pair in zip(self._overrides[::2], self._overrides[1::2], strict=True)]
        keep = [part for pair in kept if not pair[1].startswith(("train.max", "optim.decay")) for part in pair]
        with self._headless(run, *keep, *short) as (process, said):
            if process.wait(timeout=START_PATIENCE):
                raise _ending(process, said)
        lengthen(run, steps)
        length = run.events_path.stat().st_size
        first = self._time_to_open(run, steps, "--resume", *keep)
        patience = time.monotonic() + DIGEST_PATIENCE
        while not run.digest_path.exists() and time.monotonic() < patience:
            time.sleep(0.1)
        os.truncate(run.events_path, length)  # what that sitting has written would take the steps back
        return first, self._time_to_open(run, steps, "--resume", *keep)

    def _time_to_open(self, run: Run, steps: int, *options: str) -> float | None:
        last = f"{steps:,}".encode()
        with self._screen(run, *options) as terminal:
            seen = terminal.wait_until(lambda: last in terminal.output, OPEN_PATIENCE)
        return None if seen is None else seen - terminal.started

    def _fresh_run(self) -> Run:
        self._runs += 1
        return Run(self._path.parent / "runs" / f"run-{self._runs}")

    def _command(self, run: Run, *options: str) -> list[str]:
        command = [sys.executable, "-P", "-m", "cockpit", str(self._path), "--run", run.name]
        return [*command, "--runs-dir", str(run.path.parent), *options]

    @contextmanager
    def _headless(self, run: Run, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                self._command(run, "--headless", *options), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=said, env=self._environment, start_new_session=True, preexec_fn=die_with_parent,
            )  # fmt: skip
            try:
                yield process, said
            finally:
                kill_session(process)

    def _screen(self, run: Run, *options: str) -> PseudoTerminal:
        command = self._command(run, *options)
        return PseudoTerminal(command, columns=self._columns, rows=self._rows, env=self._environment)

    def _watch(self, run: Run, wait: Callable[[float], bool], ending: Callable[[], Exception]) -> tuple[float, float]:
        """Waits for the first step and then for what is to be measured; Unix times of its beginning and end.

        Args:
            wait: lets some seconds go by; False where the program has ended.
            ending: what to raise then.
        """
        patience = time.monotonic() + START_PATIENCE
        while not run.has_step():
            if not wait(0.2):
                raise ending()
            if time.monotonic() > patience:
                raise RunError(f"no step within {START_PATIENCE:.0f} s of the start; measure a smaller profile")
        if not wait(SETTLE_SECONDS):
            raise ending()
        start = time.time()
        if not wait(self._seconds):
            raise ending()
        end = time.time()
        if not wait(0.6):  # until the log has been written
            raise ending()
        return start, end


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


def lengthen(run: Run, steps: int) -> None:
    """Makes a run's log one that ends with step number `steps`, by copies of its own last step."""
    events = list(run.read_events())
    at = max(number for number, event in enumerate(events) if isinstance(event, StepDone))
    done = events[at]
    assert isinstance(done, StepDone)
    with run.events_path.open("wb", buffering=2**20) as file:
        for event in events[: at + 1]:
            file.write(encode(event))
        for step in range(done.step + 1, steps + 1):
            loss = (done.loss or 1.0) * (1 + 0.02 * (step % 7))
            file.write(encode(msgspec.structs.replace(done, step=step, loss=loss, time=done.time + step * 1e-3)))


def failure(code: int, output: bytes | bytearray) -> Exception:
    """What a program that ended before its time died of, by its exit code and the end of what it said."""
    text = clean_line(output.decode(errors="replace").strip().rpartition("\n")[2]).removeprefix("gpt-cockpit: ")
    if code == 2:
        return RunError(text)
    if code == -9:
        return RunError("a measurement was killed, perhaps for want of memory; measure a smaller profile")
    return MeasurementError(f"a measurement ended with {code}: {text or 'without a word'}")


def _ending(process: subprocess.Popen[bytes], said: IO[bytes]) -> Exception:
    said.seek(0)
    return failure(process.wait(), said.read())
