"""What the program does to the disk in the life of a run, recorded call by call with what it has promised by then."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from cockpit import eventlog
from cockpit.eventlog import EventLog
from cockpit.runs import Run
from gpt import checkpoint
from gpt.errors import CheckpointError
from gpt.events import CheckpointSaved, Event, LogLine, encode
from gpt.saver import Saver
from tests.chaos.gate import scratch
from tests.chaos.image import Bench, Image
from tests.chaos.interposed import Call, Interposed

RUNS, RUN = "runs", "demo"
CHECKPOINTS = f"{RUNS}/{RUN}/checkpoints"
LOG = f"{RUNS}/{RUN}/events.jsonl"
KEEP = 2

Version = dict[str, bytes]
"""A checkpoint's files by name, as they were when it was acknowledged."""


@dataclass
class Standing:
    """What is promised at one moment."""

    protected: dict[int, int] = field(default_factory=dict)
    """Steps whose checkpoints are acknowledged and not yet given up: which of their versions, or a later one."""
    floor: int | None = None
    """Step at least of the checkpoint that a resume must find."""
    ceiling: int | None = None
    """And at most, after a rewind."""
    best: tuple[int, ...] = ()
    """Steps to one of which `best` must lead."""
    logged: int = 0
    """Lines that are durable."""


@dataclass
class Story:
    """A recorded stretch of a run's life."""

    name: str
    begin: Image = field(default_factory=dict)
    """What was on the disk, all of it durable."""
    calls: list[Call] = field(default_factory=list)
    standings: list[tuple[int, Standing]] = field(default_factory=list)
    """What holds from how many calls on."""
    versions: dict[int, list[Version]] = field(default_factory=dict)
    """By step, in their order."""
    lines: list[bytes] = field(default_factory=list)
    """All that is ever written to the log."""


def tensors(step: int) -> dict[str, dict[str, torch.Tensor]]:
    """A checkpoint's tensors, a few sectors of them, other ones for each step."""
    made = torch.Generator().manual_seed(step)
    weights = {f"h.{number}.w": torch.randn(9, 33, generator=made) for number in range(2)}
    return {"model": weights, "optimizer": {"state.0.m": torch.randn(400, generator=made)}}


class Author:
    """Lives a run's life below `root` and writes down what it promises."""

    def __init__(self, story: Story, root: Path, standing: Standing | None = None) -> None:
        self.story, self.root = story, root
        self.now = standing or Standing()
        self.parent = root / CHECKPOINTS
        self._saver = Saver(self.parent, self._heed)
        self._log: EventLog | None = None
        best = self.parent / "best"
        self._best = checkpoint.step_of(best.readlink()) if best.is_symlink() else None
        self._note()

    def _note(self, **changes: Any) -> None:
        self.now = Standing(**{**vars(self.now), **changes})
        self.story.standings.append((len(self.story.calls), self.now))

    def _heed(self, event: Event) -> None:
        assert isinstance(event, CheckpointSaved), event
        versions = self.story.versions.setdefault(event.step, [])
        place = self.parent / checkpoint.folder_name(event.step)
        versions.append({path.name: path.read_bytes() for path in place.iterdir()})
        self._note(
            protected=self.now.protected | {event.step: len(versions) - 1}, floor=max(event.step, self.now.floor or 0),
            best=(event.step,) if event.best else self.now.best,
        )  # fmt: skip

    def create(self) -> None:
        """A new run's folder."""
        run = Run.create(self.root / RUNS, RUN, "demo")
        run.write_profile('name = "demo"\n')
        run.write_facts({"run": RUN})

    def save(self, step: int, *, best: bool = False) -> None:
        """A checkpoint, and what goes with it: `latest`, `best`, and the oldest ones are deleted."""
        if best:
            self._note(best=(*self.now.best, step) if self.now.best else ())
            self._best = step
        real = checkpoint.prune

        def prune(parent: Path, keep: int) -> list[Path]:
            ours = {step: self.now.protected.get(step, 0)}
            standing = self.now.protected | ours
            kept = {*sorted(standing)[-keep:], step, self._best}
            self._note(protected={each: standing[each] for each in self.now.protected if each in kept})
            return real(parent, keep)

        with mock.patch.object(checkpoint, "prune", prune):
            saved = self._saver.save(
                step, lambda: tensors(step * 100 + len(self.story.versions.get(step, []))), {"tokens": step, "seed": 1},
                keep=KEEP, reason="asked", best=best,
            )  # fmt: skip
        assert saved, self._saver.refusal

    def rewind(self, step: int) -> None:
        """Back to a checkpoint; later ones are set aside, and nothing is deleted."""
        gone = [each for each in self.now.protected if each > step]
        best = None if self._best in gone or self._best is None else self._best
        self._note(floor=step, best=())
        checkpoint.set_aside(self.parent, step, best)
        self._best = best
        self._note(ceiling=step, best=(best,) if best is not None else ())

    def adopted(self, step: int) -> None:
        """The checkpoint of another run is this one's first."""
        self._note(protected={step: 0}, floor=step)

    def go_on(self, step: int) -> None:
        """From a checkpoint on, after a rewind or a crash: what came later is set aside, and may be there again."""
        protected = {each: version for each, version in self.now.protected.items() if each <= step}
        if step in self.story.versions:
            protected.setdefault(step, 0)  # whole, though the crash came before that could be said
        self._note(protected=protected, ceiling=None, floor=self.now.floor if protected else None)

    def log(self, events: int, *, close: bool = False) -> None:
        """Lines of the log, short ones and long ones; durable where it is closed."""
        self._log = self._log or EventLog(self.root / LOG)
        for number in range(events):
            event = LogLine(level="info", text=f"{len(self.story.lines)} " + "x" * (1300 if number % 5 == 4 else 40))
            self.story.lines.append(encode(event))
            self._log.append(event)
        self._log.flush()
        if close:
            self._log.close()
            self._log = None
            self._note(logged=len(self.story.lines))


def record(
    name: str, tell: Callable[[Author], None], begin: Story | None = None, standing: Standing | None = None
) -> Story:
    """Lives a story in a scratch folder and writes it down.

    Args:
        begin: whose disk, versions and lines it begins with.
    """
    story = Story(name)
    if begin:
        story.begin = begin.begin
        story.versions = {step: list(versions) for step, versions in begin.versions.items()}
        story.lines = list(begin.lines)
    with tempfile.TemporaryDirectory(dir=scratch()) as folder, mock.patch.object(eventlog, "WRITE_SECONDS", 3600):
        root = Path(folder) / "disk"
        root.mkdir()
        Bench(root).hold(story.begin)

        def after(call: Call) -> None:
            # Relative to another root, so that it can be replayed anywhere.
            call.path = call.path.replace(str(root), "", 1)
            call.other = call.other.replace(str(root), "", 1) if call.name != "symlink" else call.other
            story.calls.append(call)

        with Interposed(root, after=after):
            tell(Author(story, root, standing))
    return story


# -- the stories ------------------------------------------------------------------------------------------------------


def a_run(author: Author) -> None:
    """Six checkpoints from nothing on, one of them twice; the best one moves and old ones go."""
    author.create()
    author.save(10)
    author.save(20, best=True)
    author.save(30)
    author.save(30)
    author.save(40)
    author.save(50, best=True)
    author.save(60)


def a_rewind(author: Author) -> None:
    """Back to an earlier checkpoint, from a best one that is left too, and on."""
    author.create()
    for step in (10, 20, 30):
        author.save(step, best=step != 20)
    author.rewind(20)
    author.go_on(20)
    author.save(30)
    author.save(40, best=True)


def a_fork(author: Author) -> None:
    """A run that begins with another's checkpoint."""
    author.create()
    other = Run.create(author.root / RUNS, "other", "demo").checkpoints_path
    checkpoint.write(other, 15, tensors(15), {"tokens": 15})
    source = other / checkpoint.folder_name(15)
    author.story.versions[15] = [{path.name: path.read_bytes() for path in source.iterdir()}]
    checkpoint.adopt(source, author.parent)
    author.adopted(15)
    author.save(20)


def a_log(author: Author) -> None:
    """A log that is written, closed, opened again and written on."""
    author.create()
    author.log(9)
    author.log(7)
    author.log(3, close=True)
    author.log(8)
    author.log(5)


def a_resume(seed: int) -> Callable[[Author], None]:
    """What follows a crash: the newest checkpoint is found and the run goes on."""

    def tell(author: Author) -> None:
        try:
            step = checkpoint.newest(author.parent)[1]["step"]
        except CheckpointError:
            step = 0  # right before the first save; else whoever replays the story before has found it
        author.go_on(step)
        # What a resume does not find durable was never promised; what it trains on anew gets versions of its own.
        for later in random.Random(seed).choice(((10, 20), (5, 10, 20), (1, 2))):
            author.save(step + later, best=later == 10)

    return tell
