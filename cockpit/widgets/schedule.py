"""The learning rate over the steps of a run, before and after a change, in a few rows of braille."""

from __future__ import annotations

import numpy as np
from rich.style import Style

from cockpit import format as fmt
from cockpit.effects import rates
from cockpit.widgets import ink, plot
from cockpit.widgets.rows import Piece, fit
from gpt.config import Profile

AXIS = 8
"""Cells left of the plot, for the greatest rate and for 0."""


def schedule_rows(before: Profile, after: Profile, step: int, width: int, height: int) -> list[list[Piece]]:
    """The two curves from step 0 to the later end, the new one from `step` on, with a row of steps below.

    Where both lie in one cell, it is the new one's colour; the old one alone is faint.

    Returns:
        `height` rows of `width` cells; none where there is no room.
    """
    cells, plot_rows = width - AXIS, height - 1
    if cells < 12 or plot_rows < 1:
        return []
    end = max(before.train.max_steps, after.train.max_steps)
    old = rates(before, 0, end, 2 * cells)
    new = rates(after, 0, end, 2 * cells)
    new[: round(2 * cells * min(1.0, step / end))] = np.nan
    top = float(np.nanmax(np.concatenate([old, new]))) or 1.0
    under, over = _cells(old, top, plot_rows), _cells(new, top, plot_rows)
    rows = []
    for index in range(plot_rows):
        label = fmt.scientific(top) if index == 0 else "0" if index == plot_rows - 1 and plot_rows > 1 else ""
        pieces: list[Piece] = [(f"{label:>{AXIS - 1}} ", ink.FAINT)]
        for back, front in zip(under[index], over[index], strict=True):
            style = ink.TRAIN if front else ink.FAINT
            dots = int(front) | int(back)
            _add(pieces, chr(0x2800 + dots) if dots else " ", style if dots else ink.TEXT)
        rows.append(fit(pieces, width))
    return [*rows, _steps(step, end, cells, width)]


def _cells(values: np.ndarray, top: float, rows: int) -> np.ndarray:
    """A curve as (rows, cells) braille patterns."""
    low, high = plot.joined(values, values)
    low[~np.isfinite(values)] = np.nan
    return plot.braille(plot.dots(low, high, 0.0, top, 4 * rows))


def _add(pieces: list[Piece], char: str, style: Style) -> None:
    if pieces[-1][1] is style:
        pieces[-1] = (pieces[-1][0] + char, style)
    else:
        pieces.append((char, style))


def _steps(step: int, end: int, cells: int, width: int) -> list[Piece]:
    """Below the curves: where it changes, and the last step."""
    here, last = f"▲ {step:,}", f"{end:,}"
    at = min(round(cells * min(1.0, step / end)), cells - 1)
    line = list(" " * cells)
    line[-len(last) :] = last
    start = min(at, cells - len(here) - len(last) - 1)
    if start >= 0:
        line[start : start + len(here)] = here
    return fit([(" " * AXIS, ink.TEXT), ("".join(line), ink.DIM)], width)
