"""The palette: an action by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.command import CommandPalette
from textual.widgets import Input
from textual.worker import Worker, WorkerState

if TYPE_CHECKING:
    from cockpit.app import CockpitApp


def open_palette(app: CockpitApp) -> None:
    """Opens it, unless it is open."""
    if not isinstance(app.screen, CommandPalette):
        app.push_screen(Palette())


class Palette(CommandPalette):
    """Textual's palette, but enter takes only what is listed for what has been typed.

    There (8.2) enter takes the first entry of the list even while that is still the list of what had been typed some
    letters before: another action than the one that was asked for. Here it waits for the new list.
    """

    def __init__(self) -> None:
        super().__init__(placeholder="An action …", id="--command-palette")
        self._enter_waits = False

    @property
    def _is_searching(self) -> bool:
        return any(self._is_search(worker) and not worker.is_finished for worker in self.workers)

    def _is_search(self, worker: Worker) -> bool:
        return worker.node is self and worker.group == self._GATHER_COMMANDS_GROUP

    @on(Input.Submitted)
    def _let_enter_wait(self, event: Input.Submitted) -> None:
        if self._is_searching:
            event.stop()
            event.prevent_default()
            self._enter_waits = True

    @on(Input.Changed)
    def _forget_enter(self) -> None:
        self._enter_waits = False

    @on(Worker.StateChanged)
    def _take_what_was_found(self, event: Worker.StateChanged) -> None:
        if self._enter_waits and self._is_search(event.worker) and event.state is WorkerState.SUCCESS:
            self._enter_waits = False
            self._select_or_command()
