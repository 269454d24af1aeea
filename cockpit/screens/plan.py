"""The plan of the run in view: its figures at the speed it really has, other cards, and the best use of some days."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.events import Key
from textual.strip import Strip
from textual.widget import Widget

from cockpit import format as fmt
from cockpit.planning import report
from cockpit.planning.running import Running, best_use, running, speed_key
from cockpit.sanitize import clean_line
from cockpit.screens.view import View
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.rows import Piece, RowsWidget, row, rule
from gpt.config import Profile, replace

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

DAYS = "30"
"""What stands there until other days are typed."""
BUSY = 20_000_000
"""Parameters under which a step's products are too small to keep a large card busy, whatever the batch."""
_LONGEST = 5
"""Digits of the days."""


def plan(app: CockpitApp) -> None:
    """Opens the view."""
    app.open(PlanView(app))


class PlanView(View[None]):
    """The figures in rows; digits type the days."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("up,k", "scroll(-1)", "up"), ("down,j", "scroll(1)", "down"), ("pageup", "scroll(-10)", "up"),
        ("pagedown", "scroll(10)", "down"), ("backspace", "erase", "erase"),
    ]  # fmt: skip

    def __init__(self, app: CockpitApp) -> None:
        super().__init__("plan", [("0…9 .", "days"), ("backspace", "erase"), ("↑↓", "scroll")])
        self._cockpit, self.figures = app, PlanRows()
        self._typed = False

    def body(self) -> Iterable[Widget]:
        yield self.figures

    def show_body(self, state: RunState) -> bool:
        self.figures.profile = replace(self._cockpit.link.profile, self._cockpit.settings)
        return self.figures.show(state)

    async def on_key(self, event: Key) -> None:
        """A digit or the point: other days. The first one replaces what stood there."""
        char = event.character or ""
        is_part_of_number = char == "." or (char.isdigit() and char.isascii())
        if self.is_covered or not is_part_of_number:
            await self.obey(event)
            return
        event.stop()
        days = (self.figures.days if self._typed else "") + char
        if days.count(".") <= 1 and len(days) <= _LONGEST:
            self.figures.days, self._typed = days, True
        self.show(self.shows)

    def action_erase(self) -> None:
        """Takes the last digit away."""
        self.figures.days, self._typed = self.figures.days[:-1], True
        self.show(self.shows)

    def action_scroll(self, by: int) -> None:
        """Moves the rows."""
        self.figures.scroll(by)
        self.show(self.shows)


class PlanRows(RowsWidget):
    """The plan. Made anew only when a setting, the speed, the memory, the days or the size is another."""

    DEFAULT_CSS = "PlanRows { height: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self.profile = Profile()
        """The settings in force."""
        self.days = DAYS
        """As typed."""
        self.top = 0
        self._known: tuple[tuple, Running | None] | None = None
        self._key: tuple | None = None
        self._made: list[Strip] = []

    def scroll(self, by: int) -> None:
        """Moves by so many rows, not beyond the ends."""
        self.top = min(max(0, self.top + by), max(0, len(self._made) - self.size.height))

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        held = state.memory.peak if state.memory else None
        key = (self.profile, state.started, state.max_steps, speed_key(state), held, _minutes(state))
        if self._known is None or self._known[0] != key:
            self._known = key, running(self.profile, state)
        found = self._known[1]
        if found is None:
            return [row(width, [(" the model is not built yet", ink.FAINT)])]
        drawn = (key, self.days, width)
        if drawn != self._key:
            self._key = drawn
            self._made = [
                *own(found, state, width), *cards(found, width), *best(found, state, self.days, width)
            ]  # fmt: skip
        return self._made[self.top : self.top + height]


def own(found: Running, state: RunState, width: int) -> list[Strip]:
    """What the run takes, at the speed that it has."""
    machine = found.plan.machine
    head = [("this run", ink.TEXT), (f"  on {clean_line(machine.name)}, {machine.dtype}", ink.DIM)]
    lines = report.lines(found.plan)
    at = next(number for number, line in enumerate(lines) if line[0] == "memory") + 1
    lines.insert(at, _measured(found))
    at = next(number for number, line in enumerate(lines) if line[0] == "time") + 1
    lines.insert(at, ("of them left", fmt.duration(found.remaining_s), _left(found, state)))
    return [rule(width, head), *_rows(lines, width)]


def _measured(found: Running) -> report.Line:
    if found.measured_peak is None or found.unlike is None:
        return "measured", fmt.UNKNOWN, "known on a GPU; key i tells what this process holds"
    verdict = f"{found.unlike:.2f} times the estimate"
    return "measured", f"{fmt.gib(found.measured_peak, 1)} GiB", f"the most that was held at once, {verdict}"


def _left(found: Running, state: RunState) -> str:
    steps = f"{max(0, (state.max_steps or 0) - state.step):,} steps"
    share = f"; {fmt.percent(found.share)} % of the peak is got" if found.share else ""
    return f"{steps}, evaluating and saving counted in as so far{share}"


def cards(found: Running, width: int) -> list[Strip]:
    """The whole run on other cards."""
    share = f"at {fmt.percent(found.share_elsewhere, 0)} % of each peak"
    source = ", as measured here" if found.share_elsewhere == found.share else ", which is usual"
    if found.share_elsewhere != found.share and found.plan.parameters < BUSY:
        source = ", far more than one so small gets"
    head: list[Piece] = [("the same run elsewhere", ink.TEXT), (f"  {share}{source}", ink.DIM)]
    lines = report.table(list(found.others)).split("\n")
    drawn = [row(width, [(line[1:], ink.DIM if not number else ink.TEXT)]) for number, line in enumerate(lines)]
    return [Strip.blank(width), rule(width, head), *drawn]


def best(found: Running, state: RunState, days: str, width: int) -> list[Strip]:
    """The best size and tokens for the days that are typed."""
    head: list[Piece] = [("best use of ", ink.TEXT), (days or "–", ink.BRIGHT), (" days here", ink.TEXT)]
    wanted = float(days) if days.strip(".") else 0.0
    use = best_use(found, wanted, state.started.vocab_size) if wanted > 0 and state.started else None
    if use is None:
        why = "type the days" if wanted <= 0 else "the speed is not known yet"
        return [Strip.blank(width), rule(width, head), row(width, [(f" {why}", ink.FAINT)])]
    speed = f"at {found.achieved:.2e} FLOP/s, as this run gets done" if found.achieved else "at the assumed speed"
    lines = report.best_lines(use, wanted, found.plan.machine)
    lines[0] = ("arithmetic", lines[0][1], speed)
    return [Strip.blank(width), rule(width, head), *_rows(lines, width)]


def _rows(lines: Iterable[report.Line], width: int) -> list[Strip]:
    """A label, a value, and the rest wrapped beside them."""
    lines = list(lines)
    label, value = (max(len(line[column]) for line in lines) for column in (0, 1))
    indent = label + value + 5
    made = []
    for name, what, more in lines:
        first, *others = fmt.wrapped(more, max(20, width - indent - 1)) or [""]
        pieces: list[Piece] = [
            (f" {name:<{label}}  ", ink.DIM),
            (f"{what:>{value}}", ink.BRIGHT),
            (f"  {first}", ink.TEXT),
        ]
        made.append(row(width, pieces))
        made += [row(width, [(" " * indent + each, ink.TEXT)]) for each in others]
    return made


def _minutes(state: RunState) -> int | None:
    """What is left, in whole minutes: often enough."""
    left = state.eta_seconds()
    return round(left / 60) if left is not None else None
