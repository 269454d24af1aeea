"""What the engine's tests do to a run while it is trained, and what they ask of it afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpt import events as ev
from gpt.checkpoint import folder_name
from gpt.commands import Command
from gpt.config import Profile
from gpt.trainer import Trainer

Tiny = Callable[..., Profile]
"""The fixture `tiny`: makes a profile."""
Run = Callable[..., list[ev.Event]]
"""The fixture `run`: trains one to its end, and returns what was said."""
Pilot = Callable[[Trainer, ev.Event], None]
"""Called at each event, and may send commands then."""


def at_step(step: int, *sent: Command, kind: type = ev.StepDone) -> Pilot:
    """Sends commands at the first event of a kind that is about a step."""
    left = list(sent)

    def pilot(trainer: Trainer, event: Any) -> None:
        if isinstance(event, kind) and event.step == step:
            while left:
                trainer.send(left.pop(0))

    return pilot


def together(*pilots: Pilot) -> Pilot:
    """Several as one, each called in turn."""

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        for each in pilots:
            each(trainer, event)

    return pilot


def of(events: list[ev.Event], kind: type) -> list[Any]:
    """The events of a kind."""
    return [event for event in events if isinstance(event, kind)]


def said(folder: Path, kind: type) -> list[Any]:
    """The events of a kind in a run's log."""
    return of([ev.decode(line) for line in (folder / "events.jsonl").read_bytes().splitlines()], kind)


def state_of(folder: Path, step: int | None = None) -> dict[str, Any]:
    """state.json of a run's checkpoint of a step; None: of its newest."""
    name = "latest" if step is None else folder_name(step)
    return json.loads((folder / "checkpoints" / name / "state.json").read_text())


def files(folder: Path, step: int | None = None) -> dict[str, str]:
    """Hashes of a checkpoint's files: weights and optimizer, generators included."""
    return state_of(folder, step)["files"]
