"""The run as those see it who steer, record and mend it, and do things beside training.

The trainer is one. It holds all of them and hands itself to each; what they use of it and of each other is said here
once, so that none of them has to import the trainer, which imports them all. What needs less says so itself: the
micro-batch (gpt.fit), a range test (gpt.rangetest), the watchdog (gpt.watchdog).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from gpt.agenda import Agenda
    from gpt.beside import Beside
    from gpt.config import Profile
    from gpt.data import Dataset
    from gpt.device import Device
    from gpt.evaluate import Evaluator
    from gpt.events import Event
    from gpt.helm import Helm
    from gpt.inbox import Inbox
    from gpt.ledger import TimeLedger
    from gpt.ranks import Ranks
    from gpt.record import Record
    from gpt.recovery import Recovery
    from gpt.reporter import Reporter
    from gpt.rewind import WayBack
    from gpt.snapshot import Snapshot
    from gpt.watch import Watch


class Run(Protocol):
    """One run, from the time on when its model is built."""

    profile: Profile
    """The settings in force; replaced by another where one changes."""
    step: int
    """Steps done since the run began, over all its sittings."""
    samples: int
    """Samples drawn since the run began."""
    config_log: list[dict[str, Any]]
    """Each change of a setting: `step`, `key`, `old` and `new`, oldest first."""
    emit: Callable[[Event], None]
    """Takes each event; never blocks."""

    device: Device
    data: Dataset
    ranks: Ranks
    ledger: TimeLedger
    reporter: Reporter
    inbox: Inbox
    agenda: Agenda
    snapshot: Snapshot
    evaluator: Evaluator
    watch: Watch

    helm: Helm
    beside: Beside
    record: Record
    recovery: Recovery
    way_back: WayBack

    @property
    def tokens(self) -> int:
        """Tokens seen since step 0."""
        ...

    @property
    def is_stopping(self) -> bool:
        """Whether the pilot has ended the run."""
        ...

    def due(self, interval: int) -> bool:
        """Whether what is done every `interval` steps is to be done now; 0: never."""
        ...

    def doing(self, state: str, phase: str) -> contextlib.AbstractContextManager[None]:
        """Another state and another phase of the clock inside the block; the newest step is reported first."""
        ...

    def drain(self) -> None:
        """Waits for the newest step and reports it; on a CPU there is never one waiting."""
        ...

    def state(self, state: str, detail: str = "") -> str:
        """Says what is being done now; returns what was being done before."""
        ...
