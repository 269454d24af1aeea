"""What a list shows of each run: the beginning and the end of its log, samples, and what the doctor has said."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import msgspec

from cockpit import checkup, listing
from cockpit.checkup import Checkup
from cockpit.listing import Summary
from cockpit.logfile import DIAGNOSED, METERS, STEP, decode_lines, events_of, sampled_steps, tail
from cockpit.reducer import reduce_all
from cockpit.runs import Run, list_runs
from cockpit.state import RunState
from gpt import events as ev

TAILS = (1 << 17, 1 << 20, 1 << 23)
"""Bytes of a log's end that are read; more where they hold no step, after a long pause. Where even the last holds none,
the step is that of the last sample before."""
HEAD = 1 << 14
"""Bytes of its beginning, where the first sitting says what it trains."""
STEPS = 64
"""Newest steps that are taken in: as many as the speed's median needs, and some."""
CURVE = 48
"""Places at which the loss is looked up."""
LOOK_EVERY = 2.0
"""Seconds between two looks at the folder while a list is open."""

_SEVERAL = b'{"event":"SampleText"'


class Glance(msgspec.Struct, frozen=True):
    """One run as a list shows it. None means unknown."""

    name: str
    figures: Summary
    """As `gpt-cockpit runs --json` gives them; `best_val_loss` is that of the newest checkpoint where the end of the
    log does not tell."""
    live: bool
    """A process holds the run now."""
    loss: float | None
    """Mean training loss of the newest steps, nats/token."""
    losses: tuple[float, ...]
    """Training loss at places spread evenly over the log, nats/token."""
    size: int
    """Bytes on disk."""
    touched: float
    """Unix time of the log's newest line."""
    checkpoint: str | None
    """Name of the newest checkpoint's folder."""
    started: ev.RunStarted | None
    finished: ev.Finished | None
    failed: ev.Failed | None
    facts: dict
    """run.json."""
    checkup: Checkup
    """What the doctor has found, by all of the log."""
    followed: int
    """Bytes of the log in which the doctor's findings have been looked for."""


def glance(run: Run, before: Glance | None = None) -> Glance:
    """Reads the ends of a run's log, what in it tells of diagnoses, its newest checkpoint's facts, and its size.

    Args:
        before: the same of the run when its log was shorter; only what is new is looked through for diagnoses.
    """
    if before is not None and _size(run.events_path) < before.followed:
        before = None  # another log by that name
    told, followed = events_of(run.events_path, DIAGNOSED, before.followed if before else 0)
    found = checkup.followed(before.checkup if before else Checkup(), told)
    sampled = sampled_steps(run.events_path, CURVE)
    state = _end_state(run, sampled)
    figures = {**listing.figures(run, state), "severity": found.worst}
    losses = tuple(step.loss for step in sampled if step.loss is not None)
    checkpoint, evaluation = _newest_checkpoint(run)
    for name, source in (
        ("val_loss", state.finished), ("best_val_loss", state.finished), ("best_step", state.finished),
    ):  # fmt: skip
        if figures[name] is None and source is not None:
            figures[name] = getattr(source, name)
    for name in ("train_loss", "val_loss", "best_val_loss", "best_step"):
        if figures[name] is None or (name.startswith("best") and _is_better(evaluation, figures)):
            figures[name] = evaluation.get(name)
    return Glance(
        run.name, figures, run.in_use, state.smoothed_loss.last, losses, disk_size(run.path), _touched(run), checkpoint,
        state.started, state.finished, state.failed, run.read_facts(), found, followed,
    )  # fmt: skip


def _is_better(evaluation: dict, figures: Summary) -> bool:
    """Whether the checkpoint knows of a better evaluation than the end of the log does."""
    best = evaluation.get("best_val_loss")
    return isinstance(best, float) and best < (figures["best_val_loss"] or 0)


def _end_state(run: Run, sampled: list[ev.StepDone]) -> RunState:
    """The state at the end of the log, without most of its steps: good for figures, not for curves."""
    end: list[bytes] = []
    for size in TAILS:
        end = tail(run.events_path, size).splitlines()
        if any(line.startswith(STEP) for line in end):
            break
    events: list[ev.AnyEvent] = []
    if not any(line.startswith(b'{"event":"RunStarted"') for line in end):
        events += [event for event in _head(run) if isinstance(event, ev.RunStarted | ev.Resumed)]
    if not any(line.startswith(STEP) for line in end):
        events += sampled
    steps = [number for number, line in enumerate(end) if line.startswith(STEP)]
    newest = steps[-STEPS] if len(steps) > STEPS else 0
    meters = {max((n for n, line in enumerate(end) if line.startswith(kind)), default=-1) for kind in METERS}
    wanted = [
        line for number, line in enumerate(end)
        if not line.startswith((STEP, _SEVERAL, *METERS)) or (line.startswith(STEP) and number >= newest)
        or number in meters
    ]  # fmt: skip
    return reduce_all(RunState(), [*events, *decode_lines(wanted)[0]])


def _head(run: Run) -> list[ev.AnyEvent]:
    try:
        with run.events_path.open("rb") as file:
            block = file.read(HEAD)
    except OSError:
        return []
    return decode_lines([line for line in block.splitlines() if not line.startswith(STEP)])[0]


def _newest_checkpoint(run: Run) -> tuple[str | None, dict]:
    """Name of the newest checkpoint, and the evaluation it remembers; nothing where there is none."""
    latest = run.checkpoints_path / "latest"
    try:
        name = latest.readlink().name
        evaluation = json.loads((latest / "state.json").read_bytes()).get("evaluation")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None, {}
    return name, evaluation if isinstance(evaluation, dict) else {}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _touched(run: Run) -> float:
    for path in (run.events_path, run.path / "run.json"):
        try:
            return path.stat().st_mtime
        except OSError:
            continue
    return 0.0


def disk_size(folder: Path) -> int:
    """Bytes of all files in a folder and those below; links count as themselves and are not followed."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    total += disk_size(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    except OSError:  # something is being written or deleted right now
        pass
    return total


class Watcher:
    """Looks at all runs of a folder from a thread of its own, again and again until it is closed.

    A run is read anew only when its files have changed. `glances` is replaced as a whole, so any thread may read it.

    Args:
        every: seconds between two looks.
    """

    def __init__(self, runs_dir: Path, *, every: float = LOOK_EVERY) -> None:
        self.runs_dir = runs_dir
        self.glances: tuple[Glance, ...] = ()
        """The run touched last first."""
        self.version = 0
        """Grows when `glances` is another."""
        self.complete = False
        """True once every run has been looked at."""
        self._every = every
        self._known: dict[str, tuple[tuple, Glance]] = {}
        self._wake, self._closed = threading.Event(), False
        self._thread = threading.Thread(target=self._look_on, name="runs", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def look_again(self) -> None:
        """Looks at once: something has been deleted, or begun."""
        self._wake.set()

    def close(self) -> None:
        """Ends the thread; it is not waited for."""
        self._closed = True
        self._wake.set()

    def _look_on(self) -> None:
        while not self._closed:
            self.look()
            self._wake.wait(self._every)
            self._wake.clear()

    def look(self) -> None:
        """Looks at every run once; what is new appears while the rest is still being read."""
        runs = list_runs(self.runs_dir)[::-1]
        found: list[Glance] = []
        shown_at = time.monotonic()
        for run in runs:
            if self._closed:
                return
            found.append(self._glance(run))
            if not self.complete and time.monotonic() - shown_at > 0.1:
                self._show(found)
                shown_at = time.monotonic()
        self._known = {name: self._known[name] for name in (run.name for run in runs)}
        first, self.complete = not self.complete, True
        if first or tuple(found) != self.glances:
            self._show(found)

    def _show(self, found: list[Glance]) -> None:
        self.glances = tuple(found)
        self.version += 1

    def _glance(self, run: Run) -> Glance:
        signature = (run.in_use, *map(_stamp, _stamped(run)))
        known = self._known.get(run.name)
        if known is None or known[0] != signature:
            known = self._known[run.name] = (signature, glance(run, known[1] if known else None))
        return known[1]


def _stamped(run: Run) -> tuple[Path, ...]:
    return run.events_path, run.path / "run.json", run.checkpoints_path, run.console_path


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
