"""Runs of the real program that are only made to be measured: without the screen, behind it, and with a long log.

With the screen it runs in a pseudo-terminal where nobody looks; after the time that is measured, keys are pressed. On a
CPU both are there at once and take turns, the other one stopped: from one run to the next a shared machine changes by
several times what the screen takes. Elsewhere they run one after the other, for together they might not fit into the
device's memory.
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
from cockpit.screencost import Window, summarize
from cockpit.underway import START_PATIENCE, Underway, failure
from gpt.config import Profile
from gpt.events import StepDone, encode
from gpt.runtime import is_on_cpu

TURN_SECONDS = 5.0
"""What is measured of a turn."""
TURN_STEPS = 6
"""As many steps a turn has at least; it is longer where they take longer."""
KEY_PRESSES = 120
"""In all: six of them lie beyond the 95th percentile."""
DIGEST_PATIENCE = 10.0
"""Seconds within which the reader of the long log has left its digest."""
LONG_LOG_STEPS = 1_000_000
OPEN_PATIENCE = 120.0
"""Seconds that opening the long log may take."""


def measure_screen(
    profile: Profile, text: str, *, columns: int, rows: int, seconds: float, repeats: int, compiled: bool,
    environment: dict[str, str], say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Runs a profile without and with the screen.

    Args:
        text: the profile as TOML, whole.
        seconds: what is measured of each of them in a repeat: in turns of `TURN_SECONDS`, where they take turns.
        compiled: whether both compile the step.
        say: takes a line about what is being done.

    Returns the figures of `summarize`, open_1m_steps_s, and open_1m_again_s: the second time.

    Raises RunError where the run cannot be started, MeasurementError where it fails by a bug of ours.
    """
    with tempfile.TemporaryDirectory(prefix="gpt-cockpit-bench-") as folder:
        path = Path(folder) / "profile.toml"
        path.write_text(text, encoding="utf-8")
        trial = Trial(path, settings(profile, compiled), environment, columns, rows, say)
        measure = trial.in_turns if is_on_cpu(profile.train.device) else trial.one_after_the_other
        pairs = measure(repeats, seconds)
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
        columns, rows: size of the screen.
        say: takes a line about what is being done.
    """

    def __init__(
        self, path: Path, overrides: Sequence[str], environment: dict[str, str], columns: int, rows: int,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:  # fmt: skip
        self._path, self._overrides, self._environment = path, list(overrides), environment
        self._columns, self._rows, self._say = columns, rows, say
        self._runs = 0

    def one_after_the_other(self, repeats: int, seconds: float) -> list[tuple[Window, Window]]:
        """Two runs, one without and one with the screen, in alternating order; `repeats` times."""
        pairs: list[tuple[Window, Window]] = []
        for number in range(repeats):
            windows: dict[bool, Window] = {}
            for shown in (False, True) if number % 2 == 0 else (True, False):
                done, which = 2 * number + len(windows) + 1, "with" if shown else "without"
                self._say(f"screen: run {done} of {2 * repeats}, {which}")
                with self._with_screen() if shown else self._without_screen() as program:
                    program.settle()
                    (windows[shown],) = program.windows([program.span(seconds)])
                    if shown:
                        windows[shown] = program.with_keys(windows[shown], -(-KEY_PRESSES // repeats))
            pairs.append((windows[False], windows[True]))
        return pairs

    def in_turns(self, repeats: int, seconds: float) -> list[tuple[Window, Window]]:
        """Both at once, of which one is stopped while the other trains; turns that follow each other make a pair."""
        self._say("screen: starting without, then with")
        with self._without_screen() as bare:
            bare.settle()
            bare.stop()
            with self._with_screen() as shown:
                shown.settle()
                shown.stop()
                length = max(min(seconds, TURN_SECONDS), TURN_STEPS * shown.seconds_of_a_step())
                pairs = repeats * max(1, round(seconds / length))
                spans: dict[Underway, list[tuple[float, float]]] = {bare: [], shown: []}
                for number in range(pairs):
                    self._say(f"screen: pair of turns {number + 1} of {pairs}")
                    for program in (bare, shown) if number % 2 == 0 else (shown, bare):
                        spans[program].append(program.turn(length))
                bare.resume()
                without = bare.windows(spans[bare])
                bare.stop()
                shown.resume()
                behind = shown.windows(spans[shown])
                self._say(f"screen: pressing {KEY_PRESSES} keys")
                behind[-1] = shown.with_keys(behind[-1], KEY_PRESSES)
        return list(zip(without, behind, strict=True))

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
    def _without_screen(self) -> Iterator[Underway]:
        """A run that prints its lines to nobody."""
        run = self._fresh_run()
        with self._headless(run, *self._overrides) as (process, said):

            def wait(seconds: float) -> bool:
                try:
                    process.wait(timeout=seconds)
                except subprocess.TimeoutExpired:
                    return True
                return False

            yield Underway(run, process, wait, lambda: _ending(process, said))

    @contextmanager
    def _with_screen(self) -> Iterator[Underway]:
        """A run behind the screen."""
        run = self._fresh_run()
        with self._screen(run, *self._overrides) as terminal:
            seen = terminal.wait_until(lambda: has_visible(terminal.output), START_PATIENCE)

            def wait(seconds: float) -> bool:
                terminal.read(seconds)
                return terminal.process.poll() is None

            def ending() -> Exception:
                return failure(terminal.process.wait(), terminal.output)

            first = None if seen is None else seen - terminal.started
            yield Underway(run, terminal.process, wait, ending, terminal, first)

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


def _ending(process: subprocess.Popen[bytes], said: IO[bytes]) -> Exception:
    said.seek(0)
    return failure(process.wait(), said.read())
