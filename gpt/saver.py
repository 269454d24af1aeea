"""When a checkpoint is written and what is said of it. How it is written is gpt.checkpoint's."""

from __future__ import annotations

import json
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
        self._saved: tuple[int, str] | None = None

    def resumed_at(self, step: int, document: dict[str, Any]) -> None:
        """Notes that this step's checkpoint is on disk already, with what `document` says."""
        self._saved = (step, _essence(document))

    def save(
        self, step: int, tensors: Callable[[], dict[str, dict[str, torch.Tensor]]], document: dict[str, Any],
        *, keep: int | None, reason: str, best: bool,
    ) -> bool:  # fmt: skip
        """Writes a checkpoint of `step`, moves the links and deletes what is more than `keep` (None: deletes nothing).

        Nothing is written twice: a step that lies on disk already is written again only where something beside the
        weights has changed since (a setting, an evaluation, a sample), or where its pilot asked for it.

        Returns False, having said so, where the disk refused; the checkpoints before are then untouched.
        """
        start, size = time.perf_counter(), 0
        saved = (step, _essence(document))
        write = self._saved != saved or reason == "asked"
        try:
            if write:
                size = checkpoint.write(self._parent, step, tensors(), document)
                checkpoint.point(self._parent, "latest", step)
            if best:
                checkpoint.point(self._parent, "best", step)
            if keep is not None:
                checkpoint.prune(self._parent, keep)
        except OSError as error:
            self._emit(CheckpointFailed(step=step, error=f"{error.strerror or error}; training goes on"))
            return False
        self._saved = saved
        if write:
            path = f"checkpoints/{checkpoint.folder_name(step)}"
            seconds = time.perf_counter() - start
            self._emit(CheckpointSaved(step=step, path=path, size=size, seconds=seconds, reason=reason, best=best))
        return True


def _essence(document: dict[str, Any]) -> str:
    """What a checkpoint says beside its tensors; the clock, which always goes on, left out."""
    return json.dumps({key: value for key, value in document.items() if key != "ledger"}, sort_keys=True)
