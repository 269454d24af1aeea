"""What is known of the runs in a table: of all of them in one line, of the one under the bar in a few."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from textual.strip import Strip

from cockpit import format as fmt
from cockpit.glance import Glance
from cockpit.runs import Run
from cockpit.sanitize import clean_line
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.diagnosed import GLYPHS
from cockpit.widgets.rows import Piece, RowsWidget, row, rule
from cockpit.widgets.runtable import RunTable, age_of, size_text


class RunsSummary(RowsWidget):
    """How many there are, and what is shown of them."""

    DEFAULT_CSS = "RunsSummary { height: 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[Piece] = []

    def tell(self, glances: Iterable[Glance], table: RunTable) -> None:
        """Says what the table shows."""
        glances = list(glances)
        live, size = sum(glance.live for glance in glances), sum(glance.size for glance in glances)
        self._pieces = [(f"   {len(glances):,}", ink.BRIGHT), (f" run{'s' * (len(glances) != 1)}", ink.DIM)]
        self._pieces += [(f"   {live:,}", ink.GOOD), (" live", ink.DIM)] if live else []
        self._pieces += [(f"   {size_text(size)}", ink.TEXT), (" on disk", ink.DIM)]
        if table.words:
            self._pieces += [(f"   {len(table.items):,}", ink.BRIGHT), (f" with “{clean_line(table.words)}”", ink.DIM)]
        if table.marked:
            self._pieces += [(f"   {len(table.marked):,}", ink.TRAIN), (" marked", ink.DIM)]
        if table.reading:
            self._pieces += [("   reading …", ink.WARNING)]
        self.redraw()

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        return [row(width, self._pieces)]


class RunDetails(RowsWidget):
    """What more is known of the run under the bar."""

    DEFAULT_CSS = "RunDetails { height: 6; }"

    def __init__(self) -> None:
        super().__init__()
        self._glance: Glance | None = None
        self._runs_dir: Path | None = None

    def tell(self, glance: Glance | None, runs_dir: Path) -> None:
        """Shows a run."""
        self._glance, self._runs_dir = glance, runs_dir
        self.redraw()

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        glance = self._glance
        if glance is None or self._runs_dir is None:
            return [rule(width)]
        how = _how(glance, Run(self._runs_dir / glance.name))
        lines = [_what(glance), _when(glance), _outcome(glance), _found(glance), how]
        return [rule(width, [(clean_line(glance.name), ink.TEXT)]), *(row(width, line) for line in lines)]


def _pairs(*pairs: tuple[str, str]) -> list[Piece]:
    pieces: list[Piece] = []
    for word, value in pairs:
        if value and value != fmt.UNKNOWN:
            pieces += [(f"   {word} ", ink.DIM), (clean_line(value), ink.TEXT)]
    return pieces


def _what(glance: Glance) -> list[Piece]:
    started, figures = glance.started, glance.figures
    parameters = " ".join(fmt.count(figures["parameters"])).strip()
    tokens = " ".join(fmt.count(figures["tokens"])).strip()
    return _pairs(
        ("profile", str(figures["profile"] or "")), ("parameters", parameters), ("tokens", tokens),
        ("on", f"{started.device}, {started.dtype}" if started else ""),
    )  # fmt: skip


def _when(glance: Glance) -> list[Piece]:
    created, figures = glance.facts.get("created"), glance.figures
    begun = f"{datetime.fromtimestamp(created):%Y-%m-%d %H:%M}" if isinstance(created, int | float) else ""
    return _pairs(
        ("begun", begun), ("last event", f"{fmt.duration(age_of(glance))} ago"),
        ("took", fmt.duration(figures["wall_s"])),
        ("goodput", f"{fmt.percent(figures['goodput'])} %" if figures["goodput"] else ""),
        ("MFU", f"{fmt.percent(figures['mfu'])} %" if figures["mfu"] else ""),
        ("ms/iter", fmt.significant(figures["ms_per_iter"])),
    )  # fmt: skip


def _outcome(glance: Glance) -> list[Piece]:
    best = glance.figures["best_val_loss"]
    known = _pairs(
        ("best val", f"{fmt.loss(best)} at step {fmt.number(glance.figures['best_step'])}" if best is not None else ""),
        ("newest checkpoint", glance.checkpoint or "none"),
    )
    if glance.failed and not glance.live:
        return [("   × ", ink.CRITICAL), (clean_line(glance.failed.error), ink.TEXT), *known]
    return known


def _found(glance: Glance) -> list[Piece]:
    """What the doctor found, the worst of it."""
    if not glance.checkup.findings:
        return _pairs(("doctor", "nothing found"))
    worst, *others = glance.checkup.findings
    glyph, style = GLYPHS.get(worst.severity, GLYPHS["warning"])
    more = f"   and {len(others)} more found" if others else ""
    return [(f"   {glyph} ", style), (clean_line(worst.title), ink.TEXT), (more, ink.DIM)]


def _how(glance: Glance, run: Run) -> list[Piece]:
    if glance.live:
        return [
            *_pairs(("trained by process", str(glance.facts.get("pid", "")))),
            ("   a", ink.BRIGHT),
            (" says where", ink.DIM),
        ]
    if not glance.checkpoint:
        return [("   nothing to go on from", ink.DIM)]
    return [("   go on ", ink.DIM), (clean_line(run.resume_command()), ink.TEXT)]
