"""When a checkpoint is written and what is said of it. How it is written is gpt.checkpoint's."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gpt import checkpoint
from gpt.events import CheckpointFailed, CheckpointSaved, Event


class Saver:
    """Writes the checkpoints of one run.

    Args:
        parent: the run's `checkpoints` folder.
        saved_step: the step that lies there already, when resumed.
    """

    def __init__(self, parent: Path, emit: Callable[[Event], None]) -> None:
        self._parent, self._emit = parent, emit
        self._saved_step: int | None = None

    def resumed_at(self, step: int) -> None:
        """Notes that this step's checkpoint is on disk already."""
        self._saved_step = step

    def save(
        self, step: int, tensors: Callable[[], dict[str, dict[str, torch.Tensor]]], document: dict[str, Any],
        *, keep: int, reason: str, best: bool,
    ) -> bool:  # fmt: skip
        """Writes a checkpoint of `step`, moves the links and deletes what is too many.

        Nothing is written twice: a step that lies on disk already is only pointed at, unless its pilot asked for it.

        Returns False, having said so, where the disk refused; the checkpoints before are then untouched.
        """
        start, size = time.perf_counter(), 0
        write = self._saved_step != step or reason == "asked"
        try:
            if write:
                size = checkpoint.write(self._parent, step, tensors(), document)
                checkpoint.point(self._parent, "latest", step)
            if best:
                checkpoint.point(self._parent, "best", step)
            checkpoint.prune(self._parent, keep)
        except OSError as error:
            self._emit(CheckpointFailed(step=step, error=f"{error.strerror or error}; training goes on"))
            return False
        self._saved_step = step
        if write:
            path = f"checkpoints/{checkpoint.folder_name(step)}"
            seconds = time.perf_counter() - start
            self._emit(CheckpointSaved(step=step, path=path, size=size, seconds=seconds, reason=reason, best=best))
        return True
