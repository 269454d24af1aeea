"""Other programs that show a run: TensorBoard and Weights & Biases, fed with the same events as the log."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from cockpit.curves import point
from cockpit.runs import Run
from gpt import events as ev
from gpt.config import Profile, TrackConfig, flatten
from gpt.errors import RunError
from gpt.events import Event


class Tracker(Protocol):
    """What is fed with events. Any method may raise, and may take its time."""

    def take(self, event: Event) -> None:
        """Takes one event; what it has no use for is passed over."""
        ...

    def flush(self) -> None:
        """Lets go of what is held back."""
        ...

    def close(self) -> None:
        """The last call."""
        ...


class TensorBoard:
    """Writes an event file that TensorBoard reads. The time of each point is the event's.

    Where a run goes back to an earlier step the file says so (a session's start at the step after it), upon which
    TensorBoard drops what it has of later steps.

    Args:
        folder: made if it is missing; each sitting adds a file of its own.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        protos: Any = event_pb2  # made at import, so that no type checker sees what is in it
        self._event, self._session, self._summary = protos.Event, protos.SessionLog, vars(summary_pb2)["Summary"]
        self._writer = EventFileWriter(str(folder))

    def take(self, event: Event) -> None:
        """Writes the figures of an event, if it has any."""
        if isinstance(event, ev.Resumed):
            start = self._session(status=self._session.START)
            self._writer.add_event(self._event(wall_time=event.time, step=event.step + 1, session_log=start))
        elif found := point(event):
            step, figures = found
            summary = self._summary(value=[self._summary.Value(tag=tag, simple_value=v) for tag, v in figures.items()])
            self._writer.add_event(self._event(wall_time=event.time, step=step, summary=summary))

    def flush(self) -> None:
        """Hands the file to the system."""
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


class WandB:
    """Sends a run to Weights & Biases, or keeps it for `wandb sync` where WANDB_MODE is offline.

    A resumed run goes on under the same id. Steps are a figure like any other there (`step`, the horizontal axis of all
    charts), for W&B's own count cannot go back: after a rewind its charts show both ways.
    """

    def __init__(self, project: str, run: Run, profile: Profile) -> None:
        wandb: Any = importlib.import_module("wandb")  # no type checker is to look for a package that is optional
        if os.environ.get("WANDB_MODE", "online") == "online" and not wandb.api.api_key:
            # It would ask for one, on the terminal that the screen draws on.
            raise RunError("W&B has no key; type `wandb login` once, or set WANDB_MODE=offline")
        created = run.read_facts().get("created")
        self._run: Any = wandb.init(
            project=project, name=run.name, dir=str(run.path), resume="allow", config=flatten(profile),
            id=hashlib.sha256(f"{run.name} {created}".encode()).hexdigest()[:16],
            settings=wandb.Settings(console="off", silent=True),
        )  # fmt: skip
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def take(self, event: Event) -> None:
        """Sends the figures of an event, if it has any."""
        if found := point(event):
            step, figures = found
            self._run.log({"step": step, **figures})

    def flush(self) -> None:
        """Nothing: it sends on its own."""

    def close(self) -> None:
        """Waits until all is sent, or on disk."""
        self._run.finish()


def check_trackers(track: TrackConfig) -> None:
    """Raises RunError where a package that [track] needs is not installed."""
    for key, wanted in (("tensorboard", track.tensorboard), ("wandb", track.wandb)):
        if wanted and not _is_installed(key):
            raise RunError(
                f"track.{key} needs the package {key}; pip install 'gpt-cockpit[track]', or leave the key out"
            )


def wanted_trackers(run: Run, profile: Profile) -> dict[str, Callable[[], Tracker]]:
    """What makes each tracker that [track] asks for, by its name. Making one imports its package."""
    track, makers = profile.track, {}
    if track.tensorboard:
        makers["TensorBoard"] = lambda: TensorBoard(run.path / "tensorboard")
    if project := track.wandb:
        makers["W&B"] = lambda: WandB(project, run, profile)
    return makers


def _is_installed(name: str) -> bool:
    if name in sys.modules:
        return sys.modules[name] is not None
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None  # a mere folder of that name, as W&B makes them, has no origin
