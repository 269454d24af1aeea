"""Processes that are there to be killed: forked, so that one costs milliseconds, and watched while they live.

A victim says through a pipe what it has acknowledged, and in shared memory what it is doing. It is killed by SIGKILL at
a random instant of what it is to be killed in.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

from gpt import checkpoint

PHASES = ("start", "train", "save", "links", "delete", "evaluate", "sample", "config", "log", "resume", "end")
"""What a victim says it is doing."""

PATIENCE = 20.0
"""Seconds after which a victim that does nothing any more is killed, and that is a finding."""


class Words:
    """A victim's side: what it says to whoever kills it."""

    def __init__(self, pipe: int, memory: mmap.mmap) -> None:
        self._pipe, self._memory = pipe, memory

    def acknowledge(self, text: str) -> None:
        """Says that something is on the disk from now on."""
        os.write(self._pipe, f"{text}\n".encode())

    def doing(self, phase: str) -> str:
        """Says what is being done from now on; returns what was being done."""
        before, number = self._memory[0], PHASES.index(phase)
        self._memory[0] = number
        self._memory[1 + number] = 1
        return PHASES[before]


@dataclass
class Death:
    """How a victim has ended."""

    phase: str
    """What it was doing; `end` where it had done all before it could be killed."""
    said: list[str]
    """What it has acknowledged."""
    crash: str = ""
    """What is wrong with it beside being dead."""


def kill(life: Callable[[Words], None], chance: random.Random, *, within: float, phase: str | None = None) -> Death:
    """Lets a victim live and kills it.

    Args:
        within: seconds; it is killed at a random instant of as many.
        phase: they begin once it does this; None: with its birth. One that ends without is not killed.
    """
    memory = mmap.mmap(-1, 1 + len(PHASES))
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        _live(life, Words(theirs, memory), ours)
    os.close(theirs)
    crash, until = "", time.monotonic() + PATIENCE
    try:
        if phase is not None:
            _await(memory, PHASES.index(phase), until)
        time.sleep(chance.random() ** 2 * within)  # sooner rather than later: what was waited for may be short
    finally:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if time.monotonic() > until:
        crash = f"it hung while doing {PHASES[memory[0]]}"
    said = b""
    while block := os.read(ours, 65536):
        said += block
    os.close(ours)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        crash = f"it failed while doing {PHASES[memory[0]]}"
    return Death(PHASES[memory[0]], said.decode().split("\n")[:-1], crash)


def _await(memory: mmap.mmap, phase: int, until: float) -> None:
    """Waits until a victim does something; not for long once it has done that: it may not come again."""
    seen = None
    while memory[0] not in (phase, len(PHASES) - 1) and time.monotonic() < until:
        if memory[1 + phase]:
            seen = seen or time.monotonic()
            if time.monotonic() > seen + 0.02:
                return
        time.sleep(0.0001)


def live(life: Callable[[Words], None]) -> Death:
    """Lets a victim live to its end."""
    memory = mmap.mmap(-1, 1 + len(PHASES))
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        _live(life, Words(theirs, memory), ours)
    os.close(theirs)
    said = b""
    while block := os.read(ours, 65536):
        said += block
    os.close(ours)
    _, status = os.waitpid(pid, 0)
    return Death(PHASES[memory[0]], said.decode().split("\n")[:-1], "" if not status else "it failed")


def _live(life: Callable[[Words], None], words: Words, ours: int) -> None:
    """The child's whole life; never returns."""
    code = 1
    try:
        os.close(ours)
        life(words)
        words.doing("end")
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def phases_of_a_save(words: Words) -> Any:
    """Inside the block, the parts of a save say which they are."""
    parts = {"write": "save", "point": "links", "prune": "delete"}

    def telling(name: str) -> Callable[..., Any]:
        real = getattr(checkpoint, name)

        def tell(*arguments: Any) -> Any:
            before = words.doing(parts[name])
            try:
                return real(*arguments)
            finally:
                words.doing(before)

        return tell

    return mock.patch.multiple(checkpoint, **{name: telling(name) for name in parts})


def told(deaths: Counter[str]) -> str:
    """Where victims were killed, for people."""
    return "killed in " + ", ".join(f"{phase} {count:,}" for phase, count in deaths.most_common() if phase != "end")
