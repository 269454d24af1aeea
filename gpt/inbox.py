"""The commands on their way to the trainer: sent from any thread, taken up by the one that trains.

What cannot be obeyed inside a step is held back until the step is done, and then comes before all that was sent later.
"""

from __future__ import annotations

import collections
import contextlib
import queue
from collections.abc import Iterator

from gpt import commands
from gpt.commands import Command
from gpt.ranks import Ranks

_CHANGES = (commands.SetConfig, commands.Cooldown, commands.Extend)
"""Commands that change settings: a step that has begun without them ends without them."""
_BETWEEN_STEPS = (commands.Rewind, commands.RangeTest)
"""Commands that find weights and generators at a step boundary."""


class Inbox:
    """The commands of one run's pilot.

    Args:
        ranks: those that obey together; what one of them was sent, all take up.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._waiting: collections.deque[Command] = collections.deque()
        self._held_back: list[Command] = []
        # An Event would be held for ever by a thread whose own signal handler sets it while it does so itself.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._inside_step = False

    def put(self, command: Command) -> None:
        """Adds a command. From any thread, and from a signal's handler in the middle of another call; never blocks."""
        self._waiting.append(command)
        self._wake.put(None)

    def take(self) -> Iterator[Command]:
        """The commands that can be obeyed now, in their order; what comes in meanwhile is taken up too."""
        waiting = self._ranks.exchange(self._waiting)
        while waiting:
            command = waiting.popleft()
            if self._inside_step and self._has_to_wait(command):
                self._held_back.append(command)
            else:
                yield command

    def _has_to_wait(self, command: Command) -> bool:
        """A setting, and a save that was asked for after it, wait for the step that began without it."""
        if isinstance(command, (*_CHANGES, *_BETWEEN_STEPS)):
            return True
        return bool(self._held_back) and isinstance(command, commands.Save)

    @property
    def wants_boundary(self) -> bool:
        """True where something waits that a step which stands still half-way is given up for."""
        return any(isinstance(command, _BETWEEN_STEPS) for command in self._held_back)

    def enter_step(self) -> None:
        """Notes that a step is half-way: what changes settings waits from here on."""
        self._inside_step = True

    def leave_step(self) -> None:
        """Notes that no step is under way; what was held back comes next."""
        self._inside_step = False
        self._waiting.extendleft(reversed(self._held_back))
        self._held_back.clear()

    def wait(self, seconds: float) -> None:
        """Waits until a command comes, no longer than that. Every rank comes here; only the first hears its pilot."""
        if self._ranks.is_first:  # the others wait for what it has heard
            with contextlib.suppress(queue.Empty):
                self._wake.get(timeout=seconds)
                while True:
                    self._wake.get_nowait()

    @property
    def is_empty(self) -> bool:
        """False where a command waits. From the thread that trains, like the rest here."""
        return not self._waiting

    @property
    def holds_break(self) -> bool:
        """True where a Stop or a BreakOff waits: a range test is given up for it."""
        return any(isinstance(command, commands.Stop | commands.BreakOff) for command in tuple(self._waiting))

    @property
    def holds_stop(self) -> bool:
        """True where a Stop waits: what is done beside training then is broken off for it."""
        return self._holds(commands.Stop)

    @property
    def holds_stop_sampling(self) -> bool:
        """True where a StopSampling waits; whoever samples meanwhile has seen it once it is taken up."""
        return self._holds(commands.StopSampling)

    def _holds(self, kind: type[Command]) -> bool:
        return any(isinstance(command, kind) for command in tuple(self._waiting))
