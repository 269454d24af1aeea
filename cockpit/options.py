"""What a person may ask of the screen on the command line. Imports nothing heavy."""

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


USUAL = ScreenOptions()
