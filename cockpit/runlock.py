"""Who has a run: locks in its folder, by flock, of which a crash lets go too.

`lock` is held by the process that trains the run, goes on with it or deletes it. `launcher.lock` is held besides by a
launcher, for ranks that may be started anew: as long as it is, only a child of its holder gets the other one. Each says
in three lines whose it is: the process's number, its machine's name, and since when, in Unix seconds.
"""

from __future__ import annotations

import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cockpit.sanitize import shown
from gpt.errors import RunError

_LOCK, _LAUNCHER_LOCK = "lock", "launcher.lock"
FILES = (_LOCK, _LAUNCHER_LOCK)
"""Names of what this leaves in a run's folder."""

_PATIENCE = 0.3  # seconds; a listing that looks whether a run is locked holds the lock for microseconds


class Held(Exception):
    """Another process has the run."""


@contextmanager
def hold(folder: Path, *, launching: bool = False) -> Iterator[None]:
    """Holds the run in a folder for this process inside the block.

    Args:
        launching: for ranks that are yet to be started, and may be started anew: one child of this process at a time
            can hold the run inside the block, and nobody else.

    Raises Held where another process has it, RunError where the locks cannot be used.
    """
    first, second = (_LAUNCHER_LOCK, _LOCK) if launching else (_LOCK, _LAUNCHER_LOCK)
    with ExitStack() as held:
        held.enter_context(_holding(folder / first))
        if (folder / second).exists():
            with _holding(folder / second):
                pass  # nobody else has the other one
        yield


def is_held(folder: Path) -> bool:
    """True while a process, or a launcher, has the run in a folder."""
    return is_launched(folder) or _is_locked(folder / _LOCK)


def is_launched(folder: Path) -> bool:
    """True while a launcher holds the run in a folder for its ranks, which may be started anew."""
    return _is_locked(folder / _LAUNCHER_LOCK)


def holder(folder: Path) -> str:
    """`process 123 on HOST since 13:05`, with the date before the time where that is not today's."""
    try:
        held = folder / (_LAUNCHER_LOCK if is_launched(folder) else _LOCK)
        pid, host, since = held.read_bytes()[:300].decode("utf-8", "replace").split("\n")[:3]
        at = time.localtime(int(since))
        days = time.strftime("%Y-%m-%d ", at) if time.strftime("%j", at) != time.strftime("%j") else ""
        return f"process {shown(pid)} on {shown(host)} since {days}{time.strftime('%H:%M', at)}"
    except (OSError, ValueError, OverflowError):
        return "another process"  # an older version's, or one that is just taking it


@contextmanager
def _holding(lock: Path) -> Iterator[None]:
    try:
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RunError(f"{shown(lock)} cannot be opened: {error.strerror}; see to its folder") from None
    try:
        _take(lock, file)
        yield
    finally:
        # Never unlinked: who has it open already would then lock a file that nobody else finds.
        os.close(file)


def _take(lock: Path, file: int) -> None:
    run = lock.parent.name
    try:
        of_parent = lock.name == _LAUNCHER_LOCK and os.pread(file, 32, 0).startswith(f"{os.getppid()}\n".encode())
        if of_parent and not _try_lock(file, 0):
            return  # our launcher has it for us
        taken = _try_lock(file, _PATIENCE)
        if taken:
            if not os.path.samestat(os.fstat(file), lock.stat()):
                raise RunError(f"run {run} was put aside by another process just now; try again")
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n{platform.node()}\n{int(time.time())}\n".encode(), 0)
    except OSError as error:
        raise RunError(f"run {run} cannot be locked: {error.strerror}; see --runs-dir") from None
    if not taken:
        raise Held


def _is_locked(lock: Path) -> bool:
    try:
        file = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _try_lock(file, 0)
    finally:
        os.close(file)


def _try_lock(file: int, patience: float) -> bool:
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)
