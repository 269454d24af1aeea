"""A link joins a screen to a run: events come out of it, commands go in. The screen knows nothing else of the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from cockpit.saves import Save, list_saves
from cockpit.state import Past
from cockpit.stretch import Stretch
from gpt.commands import Command
from gpt.config import Profile
from gpt.events import Event


def nobody_looks() -> None:
    """What is called when `standing` changes, as long as nobody wants to know."""


class Unsteered:
    """What a link has instead of controls that leads to no trainer."""

    has_controls, standing, catching_up = True, "", False

    def when_standing_changes(self, look: Callable[[], None]) -> None:
        """It never does."""

    def take_controls(self) -> None:
        """There are none."""


class OnThisDisk:
    """What a link has to a run whose folder can be read here."""

    run_dir: Path

    def saves(self) -> Sequence[Save]:
        """The checkpoints on disk now."""
        return list_saves(self.run_dir / "checkpoints")


class Link(Protocol):
    """What every source of events offers: a trainer in this process, a socket, or a log."""

    run: str
    """The run's name."""
    run_dir: Path
    profile: Profile
    """The profile the run was started with; live changes come as events."""

    def start(self) -> None:
        """Begins to deliver events; for a local link, starts the trainer's thread. Called after the first frame."""
        ...

    def drain(self) -> Sequence[Event | Stretch | Past]:
        """All events since the last call, oldest first; what a log holds may come in stretches, or what it comes to
        as a whole. Never blocks."""
        ...

    def send(self, command: Command) -> None:
        """Hands a command to the trainer. Never blocks."""
        ...

    def saves(self) -> Sequence[Save]:
        """The run's checkpoints, those of abandoned ways too, by step. Never waits for another machine."""
        ...

    @property
    def alive(self) -> bool:
        """False once no more events will come, those already waiting aside."""
        ...

    @property
    def has_controls(self) -> bool:
        """Whether what is sent is obeyed; False while another screen steers the run."""
        ...

    @property
    def standing(self) -> str:
        """How this screen stands to the run, in a word or two for the header; empty where it simply steers it."""
        ...

    def when_standing_changes(self, look: Callable[[], None]) -> None:
        """Has `look` called, from any thread, whenever `standing` is another: by the next frame it may be as before."""
        ...

    @property
    def catching_up(self) -> bool:
        """Whether what `drain` gave last is of the past: taken in, and not worth a message."""
        ...

    def take_controls(self) -> None:
        """Asks for the controls; an event PilotChanged says that they are here. Never blocks."""
        ...
