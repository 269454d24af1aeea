"""What stands around a plot: values on its left, and below it an axis with its ticks and what they stand for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from cockpit.widgets import ink
from cockpit.widgets.rows import Piece, row

AXIS = 8
"""Cells left of the plot: a label, a space and the axis."""

Ticks = Sequence[tuple[float, str]]
"""(where between the ends of the axis, 0…1, and what is written there) of each."""


def cell_at(place: float, cells: int) -> int:
    """The cell of a place between the ends, 0…1; at the edge where it is beyond."""
    return min(cells - 1, max(0, math.floor(place * cells)))


def plot_row(label: str | None, chars: np.ndarray, styles: np.ndarray, width: int, inks: Sequence[Style]) -> Strip:
    """A row of a plot, with its label on the left.

    Args:
        chars, styles: (cells,) code points, uint32, and numbers of `inks`.
    """
    segments = [Segment(f"{label or '':>{AXIS - 2}} ", ink.FAINT), Segment("┤" if label else "│", ink.RULE)]
    starts = [0, *(np.flatnonzero(np.diff(styles)) + 1).tolist(), len(styles)]
    text = chars.tobytes().decode("utf-32-le")
    segments += [Segment(text[start:end], inks[int(styles[start])]) for start, end in pairwise(starts)]
    return Strip(segments, width)


def axis_row(
    ticks: Ticks, cells: int, width: int, happened: Mapping[int, Piece] | None = None, cursor: float | None = None
) -> Strip:
    """The axis below a plot.

    Args:
        happened: by cell, the glyph of what happened there, set into the axis.
        cursor: where between the ends a crosshair stands, if one does.
    """
    glyphs: list[Piece] = [("─", ink.RULE)] * cells
    for place, _ in ticks:
        glyphs[cell_at(place, cells)] = ("┬", ink.RULE)
    for cell, glyph in (happened or {}).items():
        glyphs[cell] = glyph
    if cursor is not None and 0 <= cursor <= 1 and glyphs[cell_at(cursor, cells)][1] is ink.RULE:
        glyphs[cell_at(cursor, cells)] = ("┴", ink.CURSOR)
    pieces: list[Piece] = [(" " * (AXIS - 1) + "└", ink.RULE)]
    for glyph, style in glyphs:
        if pieces[-1][1] is style:
            pieces[-1] = (pieces[-1][0] + glyph, style)
        else:
            pieces.append((glyph, style))
    return row(width, pieces)


def label_row(ticks: Ticks, unit: str, cells: int, width: int) -> Strip:
    """What the ticks stand for, below the axis: those for which there is room, and the unit on the right."""
    text = [" "] * width
    text[max(0, width - len(unit) - 1) : width - 1] = unit
    for place, label in ticks:
        centre = AXIS + cell_at(place, cells)
        start = min(max(0, centre - len(label) // 2), width - len(label) - 1)
        if all(char == " " for char in text[max(0, start - 1) : start + len(label) + 1]):
            text[start : start + len(label)] = label
    return row(width, [("".join(text[:width]), ink.FAINT)])
