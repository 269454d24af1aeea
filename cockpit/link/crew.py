"""A sitting of several ranks: how they meet, and what those do that are not the first.

The first rank has the run's folder, its log and its pilot, as a process that trains alone has. The others are told the
folder, the checkpoint and the profile, train their share, and write what they print to `console-rankN.log`.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cockpit.sanitize import clean_line
from cockpit.signals import MORE_TO_DO
from cockpit.terminal import captured_console
from gpt.commands import Stop
from gpt.config import Profile
from gpt.events import Event
from gpt.ranks import ALONE, Ranks, launched_ranks


@dataclass(frozen=True)
class Task:
    """What the first rank tells the others."""

    run_dir: Path
    """To be seen by all ranks; on several machines, in a file system that they share."""
    checkpoint: Path | None
    profile: Profile


Tell = Callable[[Task], None]


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks that torchrun started, met inside the block."""
    if launched_ranks() == 1:
        yield ALONE
        return
    from gpt.distributed import join  # imports torch

    ranks = join()
    at_once = False
    try:
        yield ranks
    except KeyboardInterrupt:
        at_once = True  # the trainer may be in talks with the others: leaving the group would wait for it
        raise
    finally:
        if not at_once:
            ranks.close()


@contextmanager
def told_in_any_case(ranks: Ranks) -> Iterator[Tell]:
    """Gives a function that tells the other ranks their task; leaving without having called it sends them home."""
    told = False

    def tell(task: Task) -> None:
        nonlocal told
        told = True
        ranks.agree(task)

    try:
        yield tell
    finally:
        if not told:
            ranks.agree(None)


def serve(ranks: Ranks) -> int:
    """Trains as a rank that is not the first, and returns the exit code: 128 + n where signal n came, 2, 1 or 0."""
    task: Task | None = ranks.agree(None)
    if task is None:
        return 2  # the first rank has said why
    from gpt.trainer import Trainer

    received, crash = 0, ""
    trainer = Trainer(task.profile, task.run_dir, _ignore, resume=task.checkpoint, ranks=ranks)

    def stop(number: int, frame: object) -> None:
        nonlocal received
        received = number
        trainer.send(Stop(save=True))  # all ranks stop at one step, whichever of them was told to

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with captured_console(task.run_dir / f"console-rank{ranks.rank}.log"):
            try:
                trainer.run()
            except Exception as error:
                traceback.print_exc()
                crash = f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if trainer.failure:
        sys.stderr.write(f"gpt-cockpit: {clean_line(trainer.failure.error)}\n")
        return 2 if trainer.failure.user_error else 1
    if crash:  # it broke while it said why it fails
        sys.stderr.write(f"gpt-cockpit: {clean_line(crash)}\n")
        return 1
    if received == signal.SIGUSR1:
        return MORE_TO_DO
    return 128 + received if received else 0


def _ignore(event: Event) -> None:
    """The first rank's events are the run's."""
