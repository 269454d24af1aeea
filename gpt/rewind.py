"""Which checkpoint a run that has gone wrong goes back to, and what is changed so that it does not go wrong again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gpt import checkpoint
from gpt.config import Profile
from gpt.errors import CheckpointError


def last_good(parent: Path, calm_step: int) -> tuple[Path, dict[str, Any]] | None:
    """The folder and state.json of the newest checkpoint that verifies and has proved good, or None.

    A checkpoint proves good by the step after it: that is where its weights are used first. So one before `calm_step`,
    the newest step without fault, goes before one of that very step, and later ones do not count.
    """
    paths = [path for path in checkpoint.list_newest_first(parent) if checkpoint.step_of(path) <= calm_step]
    for path in sorted(paths, key=lambda path: checkpoint.step_of(path) == calm_step):  # stable: newest first
        try:
            return path, checkpoint.verify(path)
        except CheckpointError:
            continue
    return None


def gentler(profile: Profile) -> dict[str, Any]:
    """Settings to go on with: the learning rate, and its floor where one is set, times guard.rate_factor."""
    optim, factor = profile.optim, profile.guard.rate_factor
    changes = {"optim.learning_rate": optim.learning_rate * factor}
    return changes if optim.min_lr is None else changes | {"optim.min_lr": optim.min_lr * factor}
