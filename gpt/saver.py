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
        self.refusal = ""
        """Why the newest save failed, if it did."""

    @property
    def parent(self) -> Path:
        """The run's `checkpoints` folder."""
        return self._parent

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

        Returns False, having said so, where the disk refused or a tensor holds anything but finite numbers; the
        checkpoints before are then untouched.
        """
        start, size = time.perf_counter(), 0
        saved = (step, _essence(document))
        write = self._saved != saved or reason == "asked"
        try:
            if write:
                files = tensors()
                if sick := _first_not_finite(files):
                    return self._refuse(step, f"{sick} holds numbers that are not finite")
                size = checkpoint.write(self._parent, step, files, document)
                checkpoint.point(self._parent, "latest", step)
            if best:
                checkpoint.point(self._parent, "best", step)
            if keep is not None:
                checkpoint.prune(self._parent, keep)
        except OSError as error:
            return self._refuse(step, f"{error.strerror or error}")
        self._saved = saved
        if write:
            path = f"checkpoints/{checkpoint.folder_name(step)}"
            seconds = time.perf_counter() - start
            self._emit(CheckpointSaved(step=step, path=path, size=size, seconds=seconds, reason=reason, best=best))
        return True

    def _refuse(self, step: int, why: str) -> bool:
        self.refusal = why
        self._emit(CheckpointFailed(step=step, error=f"{why}; training goes on"))
        return False


def _first_not_finite(files: dict[str, dict[str, torch.Tensor]]) -> str | None:
    """Name of a tensor with an infinity or no number in it, or None."""
    for kind, tensors in files.items():
        names = [name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel()]
        # A norm is finite only if all it is made of is, and needs no mask as large as the tensor.
        norms = torch._foreach_norm([tensors[name] for name in names]) if names else ()  # pyright: ignore[reportPrivateImportUsage]
        for name, norm in zip(names, norms, strict=True):
            if not norm.isfinite() and not tensors[name].isfinite().all():
                return f"{kind} {name}"
    return None


def _essence(document: dict[str, Any]) -> str:
    """What a checkpoint says beside its tensors; the clock, which always goes on, left out."""
    return json.dumps({key: value for key, value in document.items() if key != "ledger"}, sort_keys=True)
