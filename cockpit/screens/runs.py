"""All runs of a folder: live or ended, side by side; opened, overlaid, compared, resumed, deleted."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.widget import Widget

from cockpit.deletion import delete
from cockpit.glance import Glance, Watcher
from cockpit.overlays import MOST_GHOSTS, Overlays, Reading
from cockpit.runs import Run
from cockpit.sanitize import clean_line
from cockpit.screens.runs_boxes import AttachScreen, CompareScreen, DeleteScreen, ResumeScreen, StartNext
from cockpit.screens.typing import TypingView
from cockpit.state import RunState
from cockpit.widgets.rundetails import RunDetails, RunsSummary
from cockpit.widgets.runtable import BY_ID, SORTS, RunTable
from gpt.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from cockpit.app import CockpitApp

LOOK = 0.2
"""Seconds between two looks at what the watching thread has found."""
NEWLY = 10
"""Widths of a page key, in rows, where the table's height is not known yet."""


def show_runs(app: CockpitApp) -> None:
    """Opens the runs of the folder in which the run in view lies."""
    app.open(RunsView(app.link.run_dir.parent, app.link.run))


class RunsView(TypingView[StartNext]):
    """The list. Closes with what is to be started next, or None.

    Args:
        runs_dir: their folder.
        here: name of the run that is in view behind it; empty for none.
        can_start: whether the program is free to train what is chosen here.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("up,k", "move(-1)", "up"), ("down,j", "move(1)", "down"),
        ("pageup", "page(-1)", "page up"), ("pagedown", "page(1)", "page down"),
        ("home", "move(-1000000)", "first"), ("end", "move(1000000)", "last"),
        ("enter", "open", "open"), ("m", "mark", "mark"), ("M", "mark_all", "mark all"),
        ("s", "sort(1)", "sort"), ("S", "sort(-1)", "sort"), ("i", "reverse", "reverse"),
        ("o", "overlay", "overlay"), ("d", "compare", "compare"), ("equals_sign", "curves", "curves"),
        ("r", "resume", "resume"), ("a", "attach", "attach"),
        ("x,delete", "delete", "delete"),
    ]  # fmt: skip

    def __init__(self, runs_dir: Path, here: str = "", *, can_start: bool = False) -> None:
        super().__init__("runs", [
            ("enter", "open"), ("m", "mark"), ("/", "filter"), ("s", "sort"), ("o", "overlay"), ("d", "compare"),
            ("=", "curves"), ("r", "resume"), ("x", "delete"), ("a", "attach"), ("i", "reverse"),
        ])  # fmt: skip
        self.watcher = Watcher(runs_dir)
        self.table, self.about, self.details = RunTable(), RunsSummary(), RunDetails()
        self.make_field("words of a name, a profile, a state or a device")
        self.table.here = here or None
        self._runs_dir, self._can_start = runs_dir, can_start
        self._version = 0
        self._deleted: list[str] = []
        self._readings: list[Reading] = []

    def body(self) -> Iterable[Widget]:
        yield self.about
        yield self.field
        yield self.table
        yield self.details

    def on_mount(self) -> None:
        self.watcher.start()
        self.set_interval(LOOK, self._look)

    def on_unmount(self) -> None:
        self.watcher.close()

    def on_resize(self) -> None:
        self.details.display = self.app.size.height >= 16

    def show_body(self, state: RunState) -> bool:
        self.table.overlaid = {ghost.name for ghost in self.overlays.ghosts}
        self._arrange()
        return True

    @property
    def cockpit(self) -> CockpitApp:
        """The app, as what it is."""
        from cockpit.app import CockpitApp

        assert isinstance(self.app, CockpitApp)
        return self.app

    @property
    def chosen(self) -> list[Glance]:
        """The marked runs, or the one under the bar where none is."""
        marked = [glance for glance in self.watcher.glances if glance.name in self.table.marked]
        return marked or ([self.table.current] if self.table.current else [])

    @property
    def overlays(self) -> Overlays:
        """What is drawn behind the run in view."""
        return self.cockpit._main.chart.look.overlays

    def _look(self) -> None:
        self._take_ghosts()
        if self._deleted:
            self.cockpit.say(self._deleted.pop(0), "info" if not self._deleted else "warning")
            self.cockpit.frame(force=True)
        if self.watcher.version != self._version:
            self._arrange()

    def _arrange(self) -> None:
        self._version, glances = self.watcher.version, self.watcher.glances
        self.table.marked &= {glance.name for glance in glances}
        self.table.take(glances, reading=not self.watcher.complete)
        self._redraw()

    def _redraw(self) -> None:
        self.table.redraw()
        self.about.tell(self.watcher.glances, self.table)
        self.details.tell(self.table.current, self._runs_dir)

    # Moving, marking, sorting, filtering

    def action_move(self, by: int) -> None:
        """Moves the bar."""
        self.table.move(by)
        self._redraw()

    def action_page(self, by: int) -> None:
        """Moves the bar by a page."""
        self.action_move(by * (self.table.page - 1 or NEWLY))

    def action_pick(self, number: int) -> None:
        """A click: puts the bar on a run; on the one under the bar, opens it."""
        if number < len(self.table.items):
            if self.table.items[number].name == self.table.chosen:
                self.action_open()
            else:
                self.table.chosen = self.table.items[number].name
                self._redraw()

    def action_mark(self) -> None:
        """Marks the run under the bar, or takes its mark away, and goes on to the next."""
        if self.table.current:
            self.table.marked ^= {self.table.current.name}
            self.action_move(1)

    def action_mark_all(self) -> None:
        """Marks all that are shown; where they are, takes all marks away."""
        shown = {item.name for item in self.table.items}
        self.table.marked = set() if shown <= self.table.marked else self.table.marked | shown
        self._redraw()

    def action_sort(self, by: int) -> None:
        """Sorts by the next column."""
        self.action_sort_by(SORTS[(SORTS.index(self.table.column) + by) % len(SORTS)])

    def action_sort_by(self, column: str) -> None:
        """Sorts by a column, or the other way round where it is that already."""
        if column == self.table.column:
            self.table.descending = not self.table.descending
        else:
            self.table.column, self.table.descending = column, BY_ID[column].descending
        self._arrange()

    def action_reverse(self) -> None:
        """Sorts the other way round."""
        self.action_sort_by(self.table.column)

    def words_changed(self, words: str) -> None:
        self.table.words = words
        self._arrange()

    def on_mouse_scroll_down(self) -> None:
        self.action_move(3)

    def on_mouse_scroll_up(self) -> None:
        self.action_move(-3)

    # What can be done with runs

    def action_open(self) -> None:
        """Shows the run under the bar: its log, from the end."""
        from cockpit.screens.replay import visit_run

        glance = self.table.current
        if glance is None:
            return
        if glance.name == self.table.here:
            self.dismiss(None)
        else:
            visit_run(self.cockpit, Run(self._runs_dir / glance.name))

    def action_overlay(self) -> None:
        """Draws the chosen runs behind the one in view; where they all are already, no longer."""
        names = [glance.name for glance in self.chosen if glance.name != self.table.here]
        busy = {reading.name for reading in self._readings} | {ghost.name for ghost in self.overlays.ghosts}
        wanted = [name for name in names if name not in busy]
        for name in names if not wanted else ():
            self.overlays.drop_ghost(name)
        if len(busy) + len(wanted) > MOST_GHOSTS:
            self._tell(f"{MOST_GHOSTS} runs at a time are drawn behind another; o on those there hides them", "warning")
            return
        self._readings += [Reading(Run(self._runs_dir / name)) for name in wanted]
        self._tell(f"reading {', '.join(map(clean_line, wanted))}" if wanted else "no longer drawn behind the loss")

    def _take_ghosts(self) -> None:
        """Takes in the runs that have been read meanwhile."""
        for reading in [reading for reading in self._readings if reading.done]:
            self._readings.remove(reading)
            if reading.ghost:
                self.overlays.ghosts.append(reading.ghost)
                self._tell(f"{clean_line(reading.name)} is drawn behind the loss")
            else:
                self._tell(reading.error or "", "warning")

    def _tell(self, message: str, level: str = "info") -> None:
        self.cockpit.say(message, level)
        self.cockpit.frame(force=True)

    def action_compare(self) -> None:
        """Shows in what two runs differ: those marked, or the marked one and the one under the bar."""
        pair = self.chosen
        if len(pair) == 1 and self.table.current and self.table.current != pair[0]:
            pair = [*pair, self.table.current]
        if len(pair) != 2:
            self.cockpit.say("mark two runs with m to compare their settings", "warning")
            self.cockpit.frame(force=True)
            return
        self.cockpit.open(CompareScreen(pair[0], pair[1], self._runs_dir))

    def action_curves(self) -> None:
        """Shows the curves of the marked runs, where they stand at equal footing, and why."""
        from cockpit.screens.compare import show

        names = [glance.name for glance in self.chosen]
        if self.table.current and self.table.current.name not in names:
            names.append(self.table.current.name)
        if len(names) < 2:
            self._tell("mark two runs or more with m to compare their curves", "warning")
            return
        show(self.cockpit, self._runs_dir, names)

    def action_resume(self) -> None:
        """Says how the run under the bar is gone on with, or does it."""
        glance = self.table.current
        if glance is None:
            return
        why = "it is being trained: a says where" if glance.live else None
        why = why or (None if glance.checkpoint else "it has no checkpoint to go on from")
        if why:
            self.cockpit.say(f"{clean_line(glance.name)}: {why}", "warning")
            self.cockpit.frame(force=True)
            return

        def start(next_: StartNext | None) -> None:
            if next_ is not None:
                self.dismiss(next_)

        self.cockpit.open(ResumeScreen(Run(self._runs_dir / glance.name), glance, can_start=self._can_start), start)

    def action_attach(self) -> None:
        """Attaches to the run under the bar; where that cannot be, says where it is trained."""
        from cockpit.screens.attached import visit_live

        glance = self.table.current
        if glance is None:
            return
        if not glance.live:
            self.cockpit.say(f"{clean_line(glance.name)} is not being trained: enter opens it, r resumes it", "warning")
            self.cockpit.frame(force=True)
            return
        if glance.name == self.table.here:
            self.dismiss(None)
            return
        run = Run(self._runs_dir / glance.name)

        def watch(agreed: bool | None) -> None:
            if agreed:
                self.action_open()

        try:
            visit_live(self.cockpit, run)
        except UserError as error:
            self.cockpit.open(AttachScreen(run, glance, str(error)), watch)

    def action_delete(self) -> None:
        """Asks, then deletes the chosen runs; none that is being trained."""
        chosen = self.chosen
        live = [clean_line(glance.name) for glance in chosen if glance.live]
        if live:
            self.cockpit.say(f"{', '.join(live)} is being trained and cannot be deleted; stop it first", "warning")
            self.cockpit.frame(force=True)
            return
        if not chosen:
            return

        def agreed(yes: bool | None) -> None:
            if yes:
                names = [glance.name for glance in chosen]
                threading.Thread(target=self._delete, args=(names,), name="delete", daemon=True).start()

        self.cockpit.open(DeleteScreen(chosen), agreed)

    def _delete(self, names: list[str]) -> None:
        """Deletes runs one after the other, on a thread: gigabytes take a while."""
        done: list[str] = []
        complaints: list[str] = []
        for name in names:
            try:
                delete(Run(self._runs_dir / name))
                done.append(name)
            except UserError as error:
                complaints.append(str(error))
        self.watcher.look_again()
        self._deleted += [*([f"deleted {', '.join(done)}"] if done else []), *complaints]
