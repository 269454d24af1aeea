"""What the list of runs asks and tells before it does something with one of them."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from textual.widget import Widget
from textual.widgets import Static

from cockpit import format as fmt
from cockpit import profile as profiles
from cockpit.glance import Glance
from cockpit.logfile import changed_settings
from cockpit.pilotage import from_toml
from cockpit.runs import Run
from cockpit.sanitize import clean_line
from cockpit.screens.modal import Box, LineBox, hints, text
from cockpit.screens.reload import show
from cockpit.widgets import ink
from cockpit.widgets.lineinput import LineInput
from cockpit.widgets.rows import Piece, fit
from cockpit.widgets.runtable import size_text
from gpt.config import flatten
from gpt.errors import UserError

_CELL = 30
"""Cells of a value beside another."""
_ABSENT = "–"


class StartNext(NamedTuple):
    """What the program does once its screen is left."""

    arguments: list[str]
    at_once: bool
    """Do it; otherwise only say how."""

    @property
    def command(self) -> str:
        """What a person would type."""
        return shlex.join(["gpt-cockpit", *self.arguments])


class ResumeScreen(Box[StartNext]):
    """Shows the command with which a run goes on; closes with it where it shall be started, or printed.

    Args:
        can_start: whether this program can do it itself; one that trains already cannot.
    """

    BINDINGS: ClassVar = [("enter", "start(True)", "start"), ("p", "start(False)", "print")]

    def __init__(self, run: Run, glance: Glance, *, can_start: bool) -> None:
        keys = (("enter", "start it here"), ("p", "leave and print it")) if can_start else ()
        super().__init__(f"Go on with {clean_line(run.name)}", hints(*keys, ("esc", "back to the runs")))
        self._arguments, self._glance, self._can_start = run.resume_arguments(), glance, can_start

    def body(self) -> Iterable[Widget]:
        figures = self._glance.figures
        yield Static(text(
            ("from ", ink.DIM), (str(self._glance.checkpoint), ink.TEXT),
            (" of ", ink.DIM), (f"{fmt.number(figures['max_steps'])} steps, in this folder, by", ink.DIM),
        ))  # fmt: skip
        command = StartNext(self._arguments, False).command
        yield Static(text((clean_line(command), ink.BRIGHT)), classes="heading")
        if not self._can_start:
            yield Static(text(("in another terminal: this one trains or shows a run", ink.DIM)), classes="heading")

    def action_start(self, at_once: bool) -> None:
        """Leaves with the command."""
        if self._can_start:
            self.dismiss(StartNext(self._arguments, at_once))


class AttachScreen(Box[bool]):
    """Says where a live run is trained that cannot be attached to; closes with True to watch its log."""

    BINDINGS: ClassVar = [("enter", "watch", "watch")]

    def __init__(self, run: Run, glance: Glance, why: str) -> None:
        super().__init__(f"{clean_line(run.name)} is being trained", hints(("enter", "watch it here"), ("esc", "back")))
        self._run, self._glance, self._why = run, glance, why

    def body(self) -> Iterable[Widget]:
        facts = self._glance.facts
        where = clean_line(f"process {facts.get('pid', 'unknown')} on {facts.get('host', 'an unknown machine')}")
        yield Static(text(("by ", ink.DIM), (where, ink.TEXT), ("; its keys are in the terminal it runs in.", ink.DIM)))
        yield Static(text((clean_line(self._why), ink.WARNING)), classes="heading")
        command = shlex.join(["gpt-cockpit", "replay", self._run.name, *self._run.where(), "--end"])
        yield Static(text(("To watch it, following its log:", ink.DIM)), classes="heading")
        yield Static(text((clean_line(command), ink.BRIGHT)))

    def action_watch(self) -> None:
        """Opens it here."""
        self.dismiss(True)


class DeleteScreen(LineBox[bool]):
    """Asks whether runs shall be deleted; y, or the name of a single one, and enter says yes."""

    def __init__(self, glances: list[Glance]) -> None:
        one = clean_line(glances[0].name)
        title = f"Delete {one}?" if len(glances) == 1 else f"Delete these {len(glances):,} runs?"
        super().__init__(title, hints(("y enter", "delete for good"), ("esc", "keep")))
        self._glances = glances
        self._wrong = Static(" ")

    def body(self) -> Iterable[Widget]:
        for glance in self._glances[:8]:
            figures = glance.figures
            best = f", best val {fmt.loss(figures['best_val_loss'])}" if figures["best_val_loss"] is not None else ""
            kept = f", {glance.checkpoint}" if glance.checkpoint else ", no checkpoint"
            yield Static(text(
                (clean_line(glance.name), ink.TEXT),
                (f"  {figures['state']} at step {figures['step']:,}{best}{kept}, {size_text(glance.size)}", ink.DIM),
            ))  # fmt: skip
        if len(self._glances) > 8:
            yield Static(text((f"… and {len(self._glances) - 8:,} more", ink.DIM)))
        total = sum(glance.size for glance in self._glances)
        yield Static(text(
            (f"{size_text(total)} with all checkpoints and logs; nothing brings them back.\n", ink.WARNING),
            ("Type y, or the run's name:" if len(self._glances) == 1 else "Type y:", ink.TEXT),
        ), classes="heading")  # fmt: skip
        yield LineInput(id="agree", compact=True)
        yield self._wrong

    def on_input_submitted(self) -> None:
        typed = self.typed
        if typed.lower() in ("y", "yes") or (len(self._glances) == 1 and typed == self._glances[0].name):
            self.dismiss(True)
        elif typed:
            self._wrong.update(text(("neither y nor its name; esc keeps it", ink.WARNING)))


class CompareScreen(Box[None]):
    """In what two runs differ: what they came to, and their settings, those changed while they ran included."""

    BINDINGS: ClassVar = [
        ("q,enter,space,d", "close", "close"), ("down,j", "scroll(1)", "down"), ("up,k", "scroll(-1)", "up"),
        ("pagedown", "scroll(10)", "page down"), ("pageup", "scroll(-10)", "page up"),
    ]  # fmt: skip

    def __init__(self, one: Glance, other: Glance, runs_dir: Path) -> None:
        super().__init__("Two runs compared", hints(("↑ ↓", "scroll"), ("esc", "close")))
        self._pair = (one, other)
        self._body = Static("reading …")
        self._found: list[Piece] | None = None
        self._thread = threading.Thread(target=self._read, args=(runs_dir,), name="compare", daemon=True)

    def body(self) -> Iterable[Widget]:
        yield self._body

    def on_mount(self) -> None:
        self._thread.start()
        self._timer = self.set_interval(0.05, self._fill)

    def action_scroll(self, by: int) -> None:
        """Moves the text."""
        self.query_one("#box-body").scroll_relative(y=by, animate=False)

    def _fill(self) -> None:
        if self._found is not None:
            self._timer.stop()
            self._body.update(text(*self._found))

    def _read(self, runs_dir: Path) -> None:
        try:
            settings = [_settings(Run(runs_dir / glance.name)) for glance in self._pair]
        except (UserError, OSError) as error:
            self._found = [(f"{clean_line(str(error))}", ink.WARNING)]
            return
        self._found = compared(*self._pair, *settings)


def compared(one: Glance, other: Glance, first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Piece]:
    """A table of the results of two runs, then of every setting that is not the same."""
    width = max(14, *(len(key) for key in first))
    lines = [_line("", width, one.name, other.name, ink.TEXT)]
    for word, key, write in (
        ("state", "state", str), ("step", "step", fmt.number), ("val loss", "val_loss", fmt.loss),
        ("best val loss", "best_val_loss", fmt.loss), ("train loss", "train_loss", fmt.loss),
        ("parameters", "parameters", fmt.number), ("ms/iter", "ms_per_iter", fmt.significant),
        ("took", "wall_s", fmt.duration),
    ):  # fmt: skip
        lines.append(_line(word, width, write(one.figures[key]), write(other.figures[key]), ink.TEXT))
    differing = [key for key in {**first, **second} if first.get(key, _ABSENT) != second.get(key, _ABSENT)]
    differing = [key for key in differing if key not in ("name", "description")]
    lines.append([("\n", ink.TEXT)])
    if not differing:
        lines.append([("every setting is the same", ink.DIM), ("\n", ink.TEXT)])
    for key in differing:
        lines.append(_line(key, width, _shown(first, key), _shown(second, key), ink.BRIGHT))
    same = len({**first, **second}) - len(differing)
    if differing:
        lines.append([(f"\nthe other {same:,} settings are the same", ink.DIM)])
    return [piece for line in lines for piece in line]


def _line(word: str, width: int, one: str, other: str, style: Any) -> list[Piece]:
    cells = [*fit([(clean_line(one), style)], _CELL), ("  ", ink.TEXT), *fit([(clean_line(other), style)], _CELL)]
    return [(f"{word:<{width}}  ", ink.DIM), *cells, ("\n", ink.TEXT)]


def _shown(settings: Mapping[str, Any], key: str) -> str:
    return show(settings[key]) if key in settings else _ABSENT


def _settings(run: Run) -> dict[str, Any]:
    """A run's settings at the end of its log."""
    flat = flatten(profiles.load(run.path / "profile.toml").profile)
    return flat | {key: from_toml(new) for key, new in changed_settings(run.events_path).items()}
