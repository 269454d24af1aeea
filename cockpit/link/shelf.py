"""A run's checkpoints, told to those who cannot read its disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import msgspec

from cockpit.link import wire
from cockpit.runs import Run
from cockpit.saves import Save, list_saves, profile_of
from gpt import checkpoint

MOST_TOLD = 500
"""Checkpoints that are told, the newest ones: some kilobytes each."""


class Shelf:
    """Looks whether a run's checkpoints are others than before.

    Args:
        run: on this machine.
    """

    def __init__(self, run: Run) -> None:
        self._parent = run.checkpoints_path
        self._seen: list[tuple[Path, int]] | None = None

    def news(self) -> wire.Saves | None:
        """All there are, where something has come, gone or been moved since the last call; else None."""
        seen = self._look()
        if seen == self._seen:
            return None
        self._seen = seen
        return told(list_saves(self._parent), self._parent)

    def _look(self) -> list[tuple[Path, int]]:
        """When each folder of checkpoints was changed; what is written in one of them is written under another name."""
        folders = [self._parent, *checkpoint.abandoned(self._parent)]
        return [(folder, changed) for folder in folders if (changed := _changed(folder)) is not None]


def told(saves: Sequence[Save], parent: Path) -> wire.Saves:
    """As they cross; `parent` is the folder that all are in."""
    return wire.Saves(
        saves=[
            wire.Saved(
                place=save.path.relative_to(parent).as_posix(), step=save.step, time=save.time, size=save.size,
                val_loss=save.val_loss, is_best=save.is_best, abandoned=save.abandoned,
                profile=msgspec.to_builtins(save.profile) if save.profile else None,
            )
            for save in saves[-MOST_TOLD:]
        ]
    )  # fmt: skip


def heard(message: wire.Saves, parent: Path) -> list[Save]:
    """As a pilot chooses among them; of their paths, which are not on this machine, only that they differ is of use."""
    return [
        Save(
            step=saved.step, path=parent / PurePosixPath(saved.place), time=saved.time, size=saved.size,
            val_loss=saved.val_loss, is_best=saved.is_best, abandoned=saved.abandoned,
            profile=profile_of(saved.profile),
        )
        for saved in message.saves
    ]  # fmt: skip


def _changed(folder: Path) -> int | None:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return None
