"""What a person may ask of a sitting on the command line. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ScreenOptions:
    """Wishes that hold for one sitting."""

    theme: str | None = None
    """A name of cockpit.widgets.themes.LOOKS; None: what the profile says, or what was chosen last."""
    readonly: bool = False
    """Send the run no command."""
    thin: bool = False
    """Spare a slow line: fewer frames, numbers less often, no small curves."""


@dataclass(frozen=True)
class Manner:
    """How long, and in front of whom, a run is trained in one sitting."""

    screen: ScreenOptions | None = None
    """None: lines instead of a screen."""
    detach: bool = False
    """Give the prompt back as soon as training begins."""
    deadline: float | None = None
    """time.monotonic() at which it saves and ends, for another sitting to go on; None: never."""


USUAL = ScreenOptions()
