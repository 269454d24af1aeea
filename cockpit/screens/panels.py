"""Which panes the main screen shows, kept for the next time; and moving back through what they have shown."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cockpit.app import CockpitApp


def toggle(pane: str, app: CockpitApp) -> None:
    """Hides a pane or shows it again, and says which key takes that back."""
    shown = app.main.toggle(pane)
    app.recall.keep()
    if not shown:
        app.say(f"{pane} hidden; the same key shows it again, 0 shows all")


toggle_chart = partial(toggle, "chart")
toggle_instruments = partial(toggle, "instruments")
toggle_time = partial(toggle, "time")
toggle_sample = partial(toggle, "sample")
toggle_log = partial(toggle, "log")


def show_all(app: CockpitApp) -> None:
    """Shows every pane."""
    app.main.show_all()
    app.recall.keep()


def scroll_back(app: CockpitApp) -> None:
    """To earlier lines."""
    app.main.scroll(-1)


def scroll_on(app: CockpitApp) -> None:
    """To later lines."""
    app.main.scroll(1)
