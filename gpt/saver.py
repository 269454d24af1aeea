"""When a checkpoint is written and what is said of it. How it is written is gpt.checkpoint's.

Training stands still only while its state is copied (gpt.hostcopy); a thread hashes and writes the copy behind it.
There is one copy and one write at a time: a request that comes meanwhile waits its turn, and then gets the newest step;
only the best step's weights cannot wait. The last checkpoint of a run is written at once, and so is every one that is
small, or where there is no memory for a copy.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpt import checkpoint
from gpt.events import CheckpointFailed, CheckpointSaved, Event, LogLine
from gpt.hostcopy import Files, HostCopy, on_host, size_of
from gpt.ranks import ALONE, Ranks

_CAN_WAIT = ("interval", "asked")
_AT_ONCE = ("stop", "end", "failed", "safety", "rewind")
_LAST = ("stop", "end", "failed")
"""Reasons of saves that may be of a later step, of those that are durable before anything else is done, and of those
after which there is no step."""

BEHIND_FROM_BYTES = 32 * 2**20
"""Smaller checkpoints are written at once: it takes about 0.1 s, and behind training would slow its next steps."""

RETRY_SECONDS, LONGEST_RETRY_SECONDS = 5.0, 300.0
"""From a save that the disk refused to the next try, on new files; twice as long each time, and at most."""

PATIENCE_SECONDS = 0.1
"""How long a request stops training for the write under way, which is mostly done by then, before it is put off."""


class Saver:
    """Writes the checkpoints of one run. All but the writing itself is done by the thread that trains.

    Every rank has one, for each may hold a share of the state; only the first one's writes.

    Args:
        parent: the run's `checkpoints` folder.
        emit: takes each event, from either thread; must not block.
    """

    def __init__(self, parent: Path, emit: Callable[[Event], None], ranks: Ranks = ALONE) -> None:
        self._parent, self._emit, self._ranks = parent, emit, ranks
        self._saved: tuple[int, str] | None = None
        self._copy = HostCopy()
        self._has_said_why_not = False
        self._thread: threading.Thread | None = None
        self._step_under_way: int | None = None
        self._crash: BaseException | None = None  # of the thread; not the disk's fault
        self._refusals, self._try_from = 0, 0.0  # one after the other; on the monotonic clock
        self.waiting: str | None = None
        """Why a checkpoint is to be written once the one under way is durable."""
        self.refusal = ""
        """Why the newest save failed, if it did."""
        self.is_sick = False
        """Whether it failed because there was something not finite to save, not because the disk refused."""

    @property
    def parent(self) -> Path:
        """The run's `checkpoints` folder."""
        return self._parent

    def resumed_at(self, step: int, document: dict[str, Any]) -> None:
        """Notes that this step's checkpoint is on disk already, with what `document` says."""
        self._saved = (step, _essence(document))

    def make_room(self, files: Files) -> bool:
        """Takes the memory for copies of tensors like these, if they are many; says so, once, where it is short.

        Several ranks write at once: what a thread has done by a step is not the same on all of them.
        """
        if self._ranks.size > 1:
            return False
        if size_of(files) < BEHIND_FROM_BYTES:
            return False
        why_not = self._copy.make_room(files)
        if why_not and not self._has_said_why_not:
            self._has_said_why_not = True
            self._emit(LogLine(level="info", text=f"training stops while a checkpoint is written: {why_not}"))
        return why_not is None

    def has(self, step: int) -> bool:
        """Whether a checkpoint of this step is on disk, or on its way there."""
        return (self._saved is not None and self._saved[0] == step) or (
            self.is_writing and self._step_under_way == step
        )

    @property
    def is_writing(self) -> bool:
        """Whether the write behind training is still under way."""
        return self._thread is not None and self._thread.is_alive()

    def postpones(self, step: int, reason: str) -> bool:
        """Whether a request of this step is put off until after the write under way; it is `overdue` then."""
        if reason not in _CAN_WAIT or self._thread is None:
            return False
        self._thread.join(PATIENCE_SECONDS)
        if not self.is_writing:
            return False
        if reason == "interval" and step == self._step_under_way:
            return True  # it is being done
        self.waiting = "asked" if "asked" in (self.waiting, reason) else reason
        return True

    @property
    def overdue(self) -> str | None:
        """Why a checkpoint is to be written now: what waited for the one before, or was refused a while ago; or None.

        Raises what the write behind training met, where that was our own error.
        """
        if self.is_writing:
            return None
        self.wait()
        return self.waiting if time.monotonic() >= self._try_from else None

    def save(
        self, step: int, tensors: Callable[[], Files], document: dict[str, Any],
        *, keep: int | None, reason: str, best: bool,
    ) -> bool:  # fmt: skip
        """Writes a checkpoint of `step`, moves the links and deletes what is more than `keep` (None: deletes nothing).

        Returns once the state is copied, or, for the last one of a run, once it is durable. Nothing is written twice: a
        step that lies on disk already is written again only where something beside the weights has changed since (a
        setting, an evaluation, a sample), or where its pilot asked for it.

        Returns False, having said so, where it was written at once and the disk refused, or a tensor holds anything but
        finite numbers; the checkpoints before are then untouched.
        """
        start = time.perf_counter()
        self.wait()
        if self.waiting == "asked" and reason not in _AT_ONCE:
            reason = "asked"  # this one is it
        self.waiting = None
        essence = _essence(document)
        is_new = self._ranks.agree(self._saved != (step, essence) or reason == "asked")
        job = _Job(step, copy.deepcopy(document), essence, reason, best, keep, start)  # its lists go on growing
        if not is_new:
            return self._carry_out_at_once(job, None)
        files = tensors()
        if reason in _AT_ONCE or not self.make_room(files):
            return self._carry_out_at_once(job, on_host(files))
        taken = self._copy.take(files)
        stall = time.perf_counter() - start
        self._step_under_way = step
        self._thread = threading.Thread(target=self._write_behind, args=(job, taken, stall), name="saver", daemon=True)
        self._thread.start()
        return True

    def wait(self) -> None:
        """Waits until what is being written is durable, or has failed. Raises what the thread met, if our own error."""
        self.close()
        if self._crash:
            crash, self._crash = self._crash, None
            raise crash

    def close(self) -> None:
        """Ends the thread once it has written what it has. Never raises for what went wrong there."""
        if self._thread:
            self._thread.join()
            self._thread = None

    def _write_behind(self, job: _Job, files: Files, stall: float) -> None:
        try:
            self._carry_out(job, files, stall)
        except BaseException as error:
            self._crash = error

    def _carry_out_at_once(self, job: _Job, files: Files | None) -> bool:
        """What the first rank achieves, on every rank."""
        done = self._ranks.is_first and self._carry_out(job, files)
        done, self.refusal, self.is_sick = self._ranks.agree((done, self.refusal, self.is_sick))
        if done:
            self._saved = (job.step, job.essence)
        return done

    def _carry_out(self, job: _Job, files: Files | None, stall: float | None = None) -> bool:
        """Writes `files` (None: they lie there already), then moves the links and prunes; says how it went.

        `stall` is how long training stood still, seconds; None: until now.
        """
        size = 0
        self.is_sick = False
        try:
            if files is not None:
                if sick := _first_not_finite(files):
                    self.is_sick = True
                    return self._refuse(job.step, f"{sick} holds numbers that are not finite")
                size = checkpoint.write(self._parent, job.step, files, job.document)
                checkpoint.point(self._parent, "latest", job.step)
            if job.best:
                checkpoint.point(self._parent, "best", job.step)
            if job.keep is not None:
                checkpoint.prune(self._parent, job.keep)
        except OSError as error:
            return self._refuse(job.step, f"{error.strerror or error}", self._try_again_later(job.reason))
        self._refusals, self._try_from = 0, 0.0
        self._saved = (job.step, job.essence)
        if files is not None:
            path = f"checkpoints/{checkpoint.folder_name(job.step)}"
            seconds = time.perf_counter() - job.start
            self._emit(CheckpointSaved(
                step=job.step, path=path, size=size, seconds=seconds, stall_s=seconds if stall is None else stall,
                reason=job.reason, best=job.best,
            ))  # fmt: skip
        return True

    def _refuse(self, step: int, why: str, outlook: str = "") -> bool:
        self.refusal = why
        self._emit(CheckpointFailed(step=step, error=f"{why}; training goes on{outlook}"))
        return False

    def _try_again_later(self, reason: str) -> str:
        """Has the newest step saved in a while, as one that waits; says so. Several ranks have no clock in common."""
        if reason in _LAST or self._ranks.size > 1:
            return ""
        pause = min(RETRY_SECONDS * 2**self._refusals, LONGEST_RETRY_SECONDS)
        self._refusals, self._try_from = self._refusals + 1, time.monotonic() + pause
        self.waiting = "asked" if "asked" in (self.waiting, reason) else "interval"
        return f", the next try is in {pause:.0f} s"


@dataclass(frozen=True)
class _Job:
    """A checkpoint that is to be written: of which step, with what beside its tensors, and since when."""

    step: int
    document: dict[str, Any]
    essence: str
    reason: str
    best: bool
    keep: int | None
    start: float


def _first_not_finite(files: Files) -> str | None:
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
