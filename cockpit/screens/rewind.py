"""The run's checkpoints on its loss curve: go back to one, or fork a new run from one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from cockpit import format as fmt
from cockpit.saves import Save
from cockpit.screens.fork import ForkScreen, fork_from
from cockpit.screens.view import View
from cockpit.state import RunState
from cockpit.widgets import chart, ink
from cockpit.widgets.rows import Piece, RowsWidget, columns, row, rule
from gpt.commands import Rewind
from gpt.config import Profile, as_toml, flatten, replace
from gpt.errors import ProfileError
from gpt.schedule import learning_rate
from gpt.steering import rate_changes, settings_then

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

FACTORS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
"""By which the learning rate can be multiplied for what follows."""

_CURSOR = Style(color=ink.WARNING_COLOR, bold=True)
_MOST_ROWS = 10


def rewind(app: CockpitApp) -> None:
    """Shows the checkpoints, the newest of the run's own way chosen."""
    _open(app, forking=False)


def fork(app: CockpitApp) -> None:
    """Shows the checkpoints and the present, the present chosen, to begin a new run from one."""
    _open(app, forking=True)


def _open(app: CockpitApp, *, forking: bool) -> None:
    saves = app.link.saves()
    if not saves and (app.state.is_final or not forking):
        app.say("there is no checkpoint yet: c saves one", "warning")
        return

    def chosen(result: Rewind | None) -> None:
        if result is not None:
            app.send(result)
            app.say(f"going back to step {result.step:,} at the next step boundary; the present is saved first")

    app.open(RewindView(app, saves, forking=forking), chosen)


class RewindView(View[Rewind]):
    """Lets the pilot choose a checkpoint, and the rate to go on with; closes with the command to go back, or None.

    Args:
        saves: by step; the present, where the run goes on, is shown after them.
        forking: whether the view was opened to fork: enter does that then, and the present is chosen first.
    """

    BINDINGS: ClassVar = [
        ("left,h", "move(-1)", "older"),
        ("right,l", "move(1)", "newer"),
        ("up,k", "rate(1)", "higher rate"),
        ("down,j", "rate(-1)", "lower rate"),
        ("s", "keep", "settings"),
        ("enter", "go", "go"),
        ("f", "fork", "fork"),
    ]

    def __init__(self, app: CockpitApp, saves: Sequence[Save], *, forking: bool) -> None:
        keys = [("← →", "checkpoint"), ("↑ ↓", "rate"), ("s", "settings")]
        keys += [("enter", "fork")] if forking else [("enter", "go back"), ("f", "fork from it")]
        super().__init__("fork" if forking else "rewind", keys)
        self._app, self._forking = app, forking
        self._checkpoint = app.state.checkpoint
        self.choices: list[Save | None] = []
        self._offer(saves)
        own = [number for number, save in enumerate(saves) if save.abandoned is None]
        self.chosen = len(self.choices) - 1 if forking or not own else own[-1]
        self.factor = FACTORS.index(1.0)
        self.as_then = True
        self._curve, self._list, self._effect = _Curve(self), _Saves(self), _Effect(self)

    def body(self) -> Iterable[Widget]:
        yield self._curve
        yield self._list
        yield self._effect

    def _offer(self, saves: Sequence[Save]) -> None:
        """Takes up what there is to choose from; the present too, while the run goes on."""
        self.choices = [*saves, None] if not self._app.state.is_final else [*saves]

    def _look_again(self, state: RunState) -> None:
        """Where a checkpoint was written meanwhile, older ones may have gone; what was chosen stays so."""
        if state.checkpoint is self._checkpoint:
            return
        self._checkpoint, before = state.checkpoint, self.save
        self._offer(self._app.link.saves())
        same = [number for number, save in enumerate(self.choices) if save and before and save.path == before.path]
        self.chosen = same[0] if same else min(self.chosen, len(self.choices) - 1)
        if before is None:
            self.chosen = len(self.choices) - 1
        self._share_out()

    def show_body(self, state: RunState) -> bool:
        self._look_again(state)
        return any([part.show(state) for part in (self._curve, self._list, self._effect)])

    def on_mount(self) -> None:
        self._share_out()
        super().on_mount()

    def on_resize(self) -> None:
        self._share_out()

    def _share_out(self) -> None:
        """The list gets what it needs and no more than a third; the curve gets the rest."""
        height = self.app.size.height
        rows = min(len(self.choices), _MOST_ROWS, max(1, (height - 6) // 3))
        self._list.styles.height = 1 + rows
        self._effect.styles.height = 4 if height >= 18 else 2

    @property
    def save(self) -> Save | None:
        """The checkpoint that is chosen; None: the present."""
        return self.choices[self.chosen]

    def step_of(self, save: Save | None) -> int:
        """Its step; the present's where it is None."""
        return self.shows.step if save is None else save.step

    @property
    def now(self) -> Profile:
        """The settings in force."""
        return replace(self._app.link.profile, self._app.settings)

    def settings(self, save: Save | None) -> tuple[Profile, dict[str, Any]]:
        """(profile, changes): what the run would go on with from a checkpoint, and what of that is asked for here.

        Raises ProfileError where the settings do not hold together.
        """
        before = self.now
        if save is not None and save.profile is not None:
            if self._forking or save.abandoned is not None:
                before = save.profile
            elif self.as_then:
                before = replace(before, settings_then(before, save.profile, save.step))
        factor = FACTORS[self.factor]
        changes = {} if factor == 1 else rate_changes(before, factor)
        return replace(before, changes), changes

    def action_move(self, by: int) -> None:
        """Chooses a neighbour."""
        self.chosen = min(max(0, self.chosen + by), len(self.choices) - 1)
        self.show(self.shows)

    def action_choose(self, number: int) -> None:
        """Chooses one by its number, for the mouse."""
        self.action_move(number - self.chosen)

    def action_rate(self, by: int) -> None:
        """Another factor for the rate."""
        self.factor = min(max(0, self.factor + by), len(FACTORS) - 1)
        self.show(self.shows)

    def action_keep(self) -> None:
        """Goes on with the settings of now instead of those of then, or back."""
        self.as_then = not self.as_then
        self.show(self.shows)

    def action_go(self) -> None:
        """Goes back to what is chosen; forks where the view was opened for that."""
        if self._forking:
            self.action_fork()
            return
        save = self.save
        if save is None or save.abandoned is not None:
            what = "that is where the run is" if save is None else "it lies on an abandoned way: f forks a run from it"
            self._app.say(what, "warning")
            self.show(self.shows)
            return
        try:
            _, changes = self.settings(save)
        except ProfileError as error:
            self._app.say(str(error), "warning")
            self.show(self.shows)
            return
        self.dismiss(Rewind(step=save.step, changes=changes, as_then=self.as_then))

    def action_fork(self) -> None:
        """Asks for a name, then begins a new run from what is chosen."""
        app, save = self._app, self.save
        if app.main.takes("fork"):
            self.show(self.shows)
            return
        try:
            _, changes = self.settings(save)
        except ProfileError as error:
            app.say(str(error), "warning")
            return

        def named(name: str | None) -> None:
            if name is not None:
                fork_from(app, save, name or None, tuple(f"{key}={as_toml(value)}" for key, value in changes.items()))

        app.open(ForkScreen(self.step_of(save), app.link.run, live=not app.state.is_final), named)


class _Curve(RowsWidget):
    """The loss, with a line at what is chosen."""

    DEFAULT_CSS = "_Curve { height: 1fr; min-height: 3; }"

    def __init__(self, view: RewindView) -> None:
        super().__init__()
        self._view = view

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        there = tuple(marker for marker in state.markers if marker.kind not in ("checkpoint", "best"))  # or were once
        rows = chart.draw(msgspec.structs.replace(state, markers=there), width, height)
        cells = width - chart.AXIS
        if cells < 4 or height < 3 or not (len(state.loss) or len(state.val_loss)):
            return rows
        first, last = chart.step_range(state)

        def place(save: Save | None) -> int:
            share = (self._view.step_of(save) - first) / (last - first)
            return chart.AXIS + min(cells - 1, max(0, int(share * cells)))

        at = place(self._view.save)
        for number in range(height - 2):
            rows[number] = _with_cell(rows[number], at, "│" if number else "▼", keep=bool(number))
        for save in self._view.choices:
            mark = "◆" if save and save.is_best else "◇" if save else "●"
            rows[height - 2] = _with_cell(rows[height - 2], place(save), mark, style=ink.TRAIN)
        rows[height - 2] = _with_cell(rows[height - 2], at, "▲")
        return rows


def _with_cell(strip: Strip, at: int, char: str, *, keep: bool = False, style: Style = _CURSOR) -> Strip:
    """The strip with one cell changed; `keep`: a curve's dots stay there, in the cursor's colour."""
    cell = strip.crop(at, at + 1).text
    if keep and "⠁" <= cell <= "⣿":
        char = cell
    width = strip.cell_length
    return Strip.join([strip.crop(0, at), Strip([Segment(char, style)], 1), strip.crop(at + 1, width)])


class _Saves(RowsWidget):
    """The checkpoints, the newest first."""

    def __init__(self, view: RewindView) -> None:
        super().__init__()
        self._view = view

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        view = self._view
        room = height - 1
        newest_first = list(range(len(view.choices)))[::-1]
        at = newest_first.index(view.chosen)
        start = min(max(0, at - room // 2), max(0, len(newest_first) - room))
        hidden = len(newest_first) - room
        right: list[Piece] = [(f"{at + 1} of {len(newest_first)}", ink.DIM)] if hidden > 0 else []
        head: list[tuple[list[Piece], int]] = [
            ([(text, ink.FAINT)], size)
            for text, size in ((f"{'step':>11}", 11), (f"{'back':>9}", 9), (f"{'saved':>13}", 13), (f"{'val':>7}", 7),
                               (f"{'rate':>8}", 8), (f"{'size':>9}", 9), ("", 14))
        ]  # fmt: skip
        shown = [self._row(state, number, width) for number in newest_first[start : start + room]]
        table = columns(head, width, 1)
        return [rule(width, [(table.text.rstrip()[2:], ink.FAINT)], right), *shown]

    def _row(self, state: RunState, number: int, width: int) -> Strip:
        view, save = self._view, self._view.choices[number]
        step = view.step_of(save)
        is_chosen = number == view.chosen
        click = Style(meta={"@click": f"screen.choose({number})"})
        style = (ink.BRIGHT if is_chosen else ink.TEXT) + click
        dim = ink.DIM + click
        if save is None:
            evaluation = state.evaluation
            val = evaluation.val_loss if evaluation and evaluation.step == step else None
            rate, saved, size, note = view.now, "now", "", "the present"
        else:
            val, rate, size = save.val_loss, save.profile, f"{save.size / 1e6:,.1f} MB"
            saved = f"{fmt.duration(max(0.0, time.time() - save.time))} ago"
            note = f"abandoned {save.abandoned}" if save.abandoned else "best" if save.is_best else ""
        lr = learning_rate(step, rate.optim, rate.train.max_steps) if rate else None
        back = state.step - step
        cells: list[tuple[list[Piece], int]] = [
            ([("▌" if is_chosen else " ", ink.TRAIN), (f"{step:>10,}", style)], 11),
            ([(f"{f'-{back:,}' if back > 0 else f'+{-back:,}' if back else '':>9}", dim)], 9),
            ([(f"{saved:>13}", dim)], 13),
            ([(f"{fmt.loss(val):>7}", ink.VALIDATION + click if val is not None else dim)], 7),
            ([(f"{fmt.scientific(lr):>8}", dim)], 8),
            ([(f"{size:>9}", dim)], 9),
            ([(note, (ink.WARNING if save and save.abandoned else ink.TRAIN) + click)], 14),
        ]
        return columns(cells, width, 1)


class _Effect(RowsWidget):
    """What would be gone on with, and what would be left."""

    def __init__(self, view: RewindView) -> None:
        super().__init__()
        self._view = view

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        view, save = self._view, self._view.save
        step = view.step_of(save)
        try:
            after, _ = view.settings(save)
        except ProfileError as error:
            return [row(width, [(f" {error}", ink.WARNING)])]
        now = view.now
        rates = [learning_rate(at, each.optim, each.train.max_steps) for at, each in ((state.step, now), (step, after))]
        factor = FACTORS[view.factor]
        rate: list[Piece] = [
            (" rate      ", ink.DIM), (f"{fmt.scientific(rates[0])}", ink.TEXT), (" → ", ink.FAINT),
            (fmt.scientific(rates[1]), ink.BRIGHT), (f"   × {factor:g}", ink.BRIGHT if factor != 1 else ink.DIM),
            (" of what it was there" if factor != 1 else " as it was there", ink.DIM),
        ]  # fmt: skip
        lines = [rate, self._settings(now, after), self._left(state, save, step)]
        return ([Strip.blank(width)] if height > 3 else []) + [row(width, line) for line in lines]

    def _settings(self, now: Profile, after: Profile) -> list[Piece]:
        old, new = flatten(now), flatten(after)
        rates = ("optim.learning_rate", "optim.min_lr") if self._view.factor != FACTORS.index(1.0) else ()
        differing = [key for key in old if old[key] != new[key] and key.startswith(("optim.", "train.", "guard."))]
        changed = [f"{key} {as_toml(old[key])} → {as_toml(new[key])}" for key in differing if key not in rates]
        which = "of then" if self._view.as_then else "of now"
        what = "; ".join(changed) or "no other difference"
        return [(" settings  ", ink.DIM), (which, ink.TEXT), (f", {what}", ink.DIM)]

    def _left(self, state: RunState, save: Save | None, step: int) -> list[Piece]:
        head: Piece = (" left      ", ink.DIM)
        if self._view.save is None:
            return [head, ("nothing", ink.TEXT), (": a fork goes on where the run is now", ink.DIM)]
        back = state.step - step
        median = state.median_ms()
        took = f" ({fmt.duration(back * median / 1e3)})" if median and back > 0 else ""
        what = f"{back:,} steps{took}" if back > 0 else "nothing"
        return [head, (what, ink.TEXT), ("; the present is saved first, nothing is deleted", ink.DIM)]
