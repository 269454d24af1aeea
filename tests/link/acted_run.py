"""A run whose trainer does what a test tells it, behind the three links; without torch."""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cockpit.link.local import LocalLink
from cockpit.link.replay import ReplayLink
from cockpit.link.socket import SocketLink
from cockpit.reducer import reduce
from cockpit.runs import Run
from cockpit.state import Past, RunState
from cockpit.stretch import Stretch
from gpt import checkpoint
from gpt import events as ev
from gpt.commands import Command, Stop
from gpt.config import OptimConfig, Profile
from tests.patience import PATIENCE, wait_until

PROFILE = 'name = "demo"\n[data]\nname = "python-stdlib"\n'


class Actor:
    """In the trainer's place: emits what it is given, answers commands, and ends at a Stop."""

    current: Actor

    def __init__(self, profile: Profile, run_dir: Path, emit: Callable[[ev.Event], None], **_: Any) -> None:
        self.emit, self.failure = emit, None
        self.heard: list[Command] = []
        self._todo: queue.SimpleQueue[ev.Event | Command] = queue.SimpleQueue()
        Actor.current = self

    def send(self, command: Command) -> None:
        self._todo.put(command)

    def play(self, *events: ev.Event) -> None:
        """Has these emitted from its own thread, in order."""
        for event in events:
            self._todo.put(event)

    def run(self) -> None:
        while True:
            thing = self._todo.get()
            if isinstance(thing, ev.Event):
                self.emit(thing)
                continue
            self.heard.append(thing)
            self.emit(ev.CommandReceived(command=type(thing).__name__, step=0))
            if isinstance(thing, Stop):
                self.emit(ev.Finished(step=0, reason="stopped"))
                self.emit(ev.StateChanged(state="stopped"))
                return


class Stage:
    """A run that an actor trains, in this process, and what serves it."""

    def __init__(self, folder: Run, *, attended: bool = False) -> None:
        self.folder = folder
        self.local = LocalLink(folder, Profile(name="demo"), attended=attended)
        self.local.start()
        wait_until(lambda: self.local._trainer is not None)
        self.actor = Actor.current
        self.links: list[SocketLink] = []

    def attach(self, **options: Any) -> SocketLink:
        link = SocketLink.attach(self.folder, **options)
        self.links.append(link)
        link.start()
        return link

    def end(self) -> None:
        """Stops the trainer and closes what serves it."""
        self.local.send(Stop())
        assert self.local.join(PATIENCE)
        self.local.close()


@contextmanager
def stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, attended: bool = False, earlier: tuple[ev.Event, ...] = ()
) -> Iterator[Stage]:
    """A run under way; with `earlier` in its log from another sitting."""
    monkeypatch.setitem(sys.modules, "gpt.trainer", SimpleNamespace(Trainer=Actor))  # type: ignore[arg-type]
    folder = Run.create(tmp_path / "runs", "amber-heron", "demo")
    folder.write_profile(PROFILE)
    folder.write_facts({"run": folder.name, "pid": 1, "host": "here"})
    folder.events_path.write_bytes(b"".join(map(ev.encode, earlier)))
    with folder.lock():
        played = Stage(folder, attended=attended)
        try:
            yield played
        finally:
            played.end()
            for link in played.links:
                link.close()


class Seat:
    """One link, and what a screen behind it knows."""

    def __init__(self, link: LocalLink | SocketLink | ReplayLink) -> None:
        self.link = link
        self.state = RunState()
        self.told: list[ev.Event | Past] = []
        """Single events and whole pasts, in order; what was leapt over is only in the state."""

    def take(self) -> RunState:
        if isinstance(self.link, ReplayLink):
            moment = self.link.tick(time.monotonic())
            if moment is not None:
                self.state = moment.state
        for event in self.link.drain():
            self.state = reduce(self.state, event)
            self.told += [event] if not isinstance(event, Stretch) else []
        return self.state

    def wait(self, holds: Callable[[RunState], bool]) -> RunState:
        wait_until(lambda: holds(self.take()))
        return self.state


def put_save(folder: Run, step: int, rate: float = 1e-3) -> Path:
    """A checkpoint without tensors, whole for all that only looks."""
    profile = msgspec.to_builtins(Profile(name="demo", optim=OptimConfig(learning_rate=rate)))
    evaluation = {"step": step, "val_loss": 2.5, "best_val_loss": 2.5, "best_step": step}
    checkpoint.write(folder.checkpoints_path, step, {}, {"evaluation": evaluation, "profile": profile})
    return folder.checkpoints_path / checkpoint.folder_name(step)


def curve(state: RunState) -> list[tuple[float, float]]:
    return list(zip(state.loss.x.tolist(), state.loss.y.tolist(), strict=True))


def essence(state: RunState) -> dict[str, Any]:
    """What a run's trainer has said, without what meters and links say beside it."""
    plain = {
        name: getattr(state, name)
        for name in ("state", "step", "max_steps", "tokens", "evaluation", "checkpoint", "samples", "best_val_loss")
    }
    log = [(line.level, line.text) for line in state.log if line.source == "trainer"]
    markers = [msgspec.structs.astuple(marker) for marker in state.markers]
    return plain | {"curve": curve(state), "log": log, "markers": markers, "ledger": state.ledger}
