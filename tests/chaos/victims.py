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


class _Victim:
    """One forked process, from its birth to what it has left."""

    def __init__(self, life: Callable[[Words], None]) -> None:
        self.memory = mmap.mmap(-1, 1 + len(PHASES))
        self._pipe, theirs = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            _live(life, Words(theirs, self.memory), self._pipe)
        os.close(theirs)

    def death(self, *, killed: bool) -> Death:
        """Waits until it has ended, and says how; it has failed unless it came to its end or was killed as meant."""
        said = b""
        while block := os.read(self._pipe, 65536):
            said += block
        os.close(self._pipe)
        _, status = os.waitpid(self.pid, 0)
        phase, code = PHASES[self.memory[0]], os.waitstatus_to_exitcode(status)
        is_meant = code == 0 or (killed and code == -signal.SIGKILL)
        crash = "" if is_meant else f"it failed while doing {phase} (exit code {code})"
        return Death(phase, said.decode().split("\n")[:-1], crash)


def kill(life: Callable[[Words], None], chance: random.Random, *, within: float, phase: str | None = None) -> Death:
    """Lets a victim live and kills it.

    Args:
        within: seconds; it is killed at a random instant of as many.
        phase: they begin once it does this; None: with its birth. One that ends without is not killed.
    """
    victim, until = _Victim(life), time.monotonic() + PATIENCE
    try:
        if phase is not None:
            _await(victim.memory, PHASES.index(phase), until)
        time.sleep(chance.random() ** 2 * within)  # sooner rather than later: what was waited for may be short
    finally:
        os.kill(victim.pid, signal.SIGKILL)
        death = victim.death(killed=True)
    if time.monotonic() > until and not death.crash:
        death.crash = f"it hung while doing {death.phase}"
    return death


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
    return _Victim(life).death(killed=False)


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
