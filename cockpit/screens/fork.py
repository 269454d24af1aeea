"""How a run that begins at another's checkpoint is to be called; and leaving the present run for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textual.widget import Widget
from textual.widgets import Static

from cockpit import forking
from cockpit.forking import Fork
from cockpit.naming import check_name
from cockpit.runs import Run
from cockpit.saves import Save
from cockpit.screens.modal import LineBox, hints, text
from cockpit.widgets import ink
from cockpit.widgets.lineinput import LineInput
from cockpit.widgets.rows import Piece
from gpt.errors import RunError, UserError

if TYPE_CHECKING:
    from cockpit.app import CockpitApp


def fork_from(app: CockpitApp, save: Save | None, name: str | None, overrides: tuple[str, ...]) -> None:
    """Leaves the present run, saved and stopped, for a fork of it.

    A fork of a checkpoint is made at once, before the run's last save can delete that; one of the present afterwards.
    """
    try:
        made = forking.make(Run(app.link.run_dir), save.path, name) if save else None
    except UserError as error:
        app.say(str(error), "error")
        return
    app.leave_for(Fork(made, name, overrides))


class ForkScreen(LineBox[str]):
    """Asks for the new run's name; closes with it, empty for one that is made up, or None.

    Args:
        live: whether the present run goes on, and has to be stopped.
        settings: lines that say what the new run has set otherwise.
    """

    def __init__(self, step: int, run: str, *, live: bool, settings: Sequence[Sequence[Piece]] = ()) -> None:
        super().__init__(f"Fork a new run from step {step:,}?", hints(("enter", "fork"), ("esc", "stay with this run")))
        self._from, self._goes_on, self._settings = run, live, settings
        self._complaint = Static(id="complaint")

    def body(self) -> Iterable[Widget]:
        for line in self._settings:
            yield Static(text(*line))
        yield LineInput(placeholder="a name for it, or nothing: one is made up", id="name", compact=True)
        yield self._complaint

    def on_mount(self) -> None:
        super().on_mount()
        self._say()

    def on_input_changed(self) -> None:
        self._say()

    def on_input_submitted(self) -> None:
        if not self._mistake:
            self.dismiss(self.typed)

    @property
    def _mistake(self) -> str:
        try:
            if self.typed:
                check_name(self.typed)
        except RunError as error:
            return str(error)
        return ""

    def _say(self) -> None:
        goes_on = "This run is saved and stops; the screen goes on with the new one." if self._goes_on else (
            "The screen goes on with the new run."
        )  # fmt: skip
        back = f"Back to this one: --resume --run {self._from}"
        if mistake := self._mistake:
            self._complaint.update(text((mistake, ink.WARNING)))
        else:
            self._complaint.update(text((goes_on, ink.TEXT), (f"\n{back}", ink.DIM)))
