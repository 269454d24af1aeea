"""What a gate is: a function that tries to make the program lose something, and says how often and what it found.

A gate is registered where it is defined:

    @gate("7", "escapes", unit="texts")
    def escapes(effort: Effort) -> Outcome:
        ...
        return Outcome(count, findings)

and its module is named in `tests.chaos.__main__`. Findings are sentences; a gate without any has passed.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

ROOT = Path(__file__).resolve().parents[2]
"""Of the project's tree."""

MOST_FINDINGS = 20
"""No gate tells more of them: the first few say what is wrong."""


@dataclass(frozen=True)
class Effort:
    """How much a gate is to try."""

    scale: float = 1.0
    """1: what one push is worth; 20: `make chaos-long`; less: a smoke test."""
    seed: int = 0
    workers: int = 2
    """Processes at once."""

    def count(self, usual: int, least: int = 1) -> int:
        """How many tries, of as many as are usual."""
        return max(least, round(usual * self.scale))


@dataclass
class Outcome:
    """What a gate has tried and found."""

    count: int
    findings: list[str] = field(default_factory=list)
    note: str = ""
    """What the count is made of."""
    skipped: str = ""
    """Why it could not be tried here; it then counts neither as passed nor as failed."""


@dataclass(frozen=True)
class Gate:
    number: str
    """Those of one number belong together: 2a, 2b."""
    name: str
    unit: str
    """What is counted."""
    run: Callable[[Effort], Outcome]
    weight: float = 1.0
    """About how many seconds it takes one processor: what takes longest begins first."""
    waits: bool = False
    """Whether it mostly waits, and can go on beside those that compute."""


GATES: list[Gate] = []
"""All that have been registered, in the order of their modules."""


def gate(
    number: str, name: str, *, unit: str, weight: float = 1.0, waits: bool = False
) -> Callable[[Callable[[Effort], Outcome]], Callable[[Effort], Outcome]]:
    """Registers the function as a gate."""

    def register(run: Callable[[Effort], Outcome]) -> Callable[[Effort], Outcome]:
        GATES.append(Gate(number, name, unit, run, weight, waits))
        return run

    return register


def spread(work: Callable[[T], R], jobs: Iterable[T], workers: int) -> list[R]:
    """What `work` gives for each job, in their order; several processes share them, forked from this one.

    With one worker it is done in this process. An exception of any job is raised.
    """
    if workers == 1:
        return [work(job) for job in jobs]
    context = multiprocessing.get_context("fork")  # nothing is imported again
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        return list(pool.map(work, jobs))


def scratch() -> str | None:
    """Folder for what is written and thrown away, in memory where the machine has that; None: the usual one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder there, for as long as the block; what cannot be removed afterwards is left."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir=scratch()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
