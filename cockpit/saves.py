"""The checkpoints of a run as its pilot chooses among them: read from disk, newest last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from gpt import checkpoint
from gpt.config import Profile
from gpt.errors import CheckpointError


class Save(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint on disk; not verified, its files may yet be found damaged."""

    step: int
    path: Path
    time: float
    """Unix time at which it was written."""
    size: int
    """Bytes."""
    val_loss: float | None
    """nats/token; None where that step was not evaluated."""
    is_best: bool
    """Whether it is the one that `best` leads to."""
    abandoned: int | None
    """Number of the abandoned way that it lies on; None: on the run's own."""
    profile: Profile | None
    """The settings in force; None where this program cannot read them."""


def list_saves(parent: Path) -> list[Save]:
    """All that are in a run's `checkpoints` folder, by step; of two of a step the abandoned one comes first."""
    ways: list[tuple[int | None, Path]] = [(None, parent)]
    ways += [(int(folder.name), folder) for folder in checkpoint.abandoned(parent)]
    found = [read_save(path, way) for way, folder in ways for path in checkpoint.list_newest_first(folder)]
    saves = [save for save in found if save is not None]
    return sorted(saves, key=lambda save: (save.step, save.abandoned is None, save.abandoned or 0))


def read_save(path: Path, abandoned: int | None = None) -> Save | None:
    """What there is to say of a checkpoint, or None where it is none."""
    try:
        state: dict[str, Any] = checkpoint.read_state(path)
        files = [file.stat() for file in path.iterdir()]
        evaluation = state["evaluation"]
        val_loss = evaluation["val_loss"] if evaluation["step"] == state["step"] else None
    except (CheckpointError, OSError, KeyError, TypeError):
        return None
    is_best = (path.parent / "best").resolve() == path.resolve()
    return Save(
        step=state["step"], path=path, time=max(file.st_mtime for file in files),
        size=sum(file.st_size for file in files), val_loss=val_loss, is_best=is_best, abandoned=abandoned,
        profile=profile_of(state.get("profile")),
    )  # fmt: skip


def profile_of(settings: Any) -> Profile | None:
    """Settings made of plain values; None where this program cannot read them."""
    try:
        return msgspec.convert(settings, Profile)
    except msgspec.ValidationError:
        return None
