"""Where everything on the main screen stands, at every size: pure, so that it can be tested without a screen."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from textual.geometry import NULL_OFFSET, NULL_SPACING, Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.widget import Widget

WIDE = 100
"""Columns from which sample and log stand side by side."""
ULTRAWIDE, ULTRAWIDE_ROWS = 190, 30
"""Columns and rows from which they stand beside the chart instead of below it."""
NARROWEST, LOWEST = 24, 5
"""Columns and rows below which a single line says it all."""
PANES = ("chart", "instruments", "time", "sample", "log")
"""What can be hidden, and fill the screen; ids of the widgets."""


class Heights(NamedTuple):
    """Rows of each part; 0 leaves it out. The chart gets the rest."""

    header: int
    chart: int
    instruments: int
    time: int
    panes: int
    notice: int
    keys: int
    gap: int
    """Empty rows above the instruments and above the time bar."""
    wide_gap: int
    """Empty rows above the panes."""


def heights(width: int, height: int, notice: int = 1, hidden: Collection[str] = (), *, beside: bool = False) -> Heights:
    """How the rows of a terminal are shared out. What matters least goes first where there are few.

    Args:
        notice: rows that the notice needs.
        hidden: panes that are not shown.
        beside: whether sample and log stand beside the chart, and need no rows of their own.
    """
    keys = 1 if height >= 3 else 0
    header = 2 if height >= 10 else 1
    notice = min(notice, max(0, height - 8)) if height >= 9 else 0
    instruments = 4 if height >= 20 else 3 if height >= 16 else 2 if height >= 12 else 0
    time = 2 if height >= 20 else 1 if height >= 14 else 0
    gap = 1 if height >= 30 else 0
    panes = 0 if height < 18 else 4 if height < 22 else 5 if height < 28 else max(7, round(0.28 * height))
    wide_gap = 1 if height >= 40 else 0
    instruments, time = [0 if name in hidden else rows for name, rows in (("instruments", instruments), ("time", time))]
    if beside or {"sample", "log"} <= set(hidden):
        panes = wide_gap = 0
    left = height - header - keys - notice - instruments - time - panes - gap * bool(instruments) - gap * bool(time)
    left -= wide_gap
    if left < 5 and panes:
        panes, left = max(0, panes - (5 - left)), max(left, 5)
    if "chart" in hidden:
        panes, left = (panes + left, 0) if panes else (0, 0)
    return Heights(header, max(0, left), instruments, time, panes, notice, keys, gap, wide_gap)


def places(
    width: int,
    height: int,
    *,
    notice: int = 1,
    doctor: int = 0,
    hidden: Collection[str] = (),
    front: str = "sample",
    zoomed: str | None = None,
    below: int = 0,
) -> dict[str, Region]:
    """The cells of each part by the id of its widget; what is not in it is not shown.

    Args:
        notice: rows that the notice needs.
        doctor: rows above it for what the doctor has found; it gives way where there are few.
        hidden: panes that are not shown.
        front: on a narrow screen, which of sample and log is shown.
        zoomed: a pane that has the room of all of them.
        below: rows between the notice and the keys, for what is named `below`.
    """
    if width < NARROWEST or height < LOWEST:
        rows = ["header", *["notice"] * (height >= 2), *["keys"] * (height >= 3)]
        return {name: Region(0, y if name != "keys" else height - 1, width, 1) for y, name in enumerate(rows)}
    beside = width >= ULTRAWIDE and height >= ULTRAWIDE_ROWS and "chart" not in hidden and not zoomed
    rows = heights(width, height - below, notice + doctor, hidden, beside=beside)
    bottom = height - rows.keys - below - rows.notice
    doctor = min(doctor, max(0, rows.notice - 1))
    placed = {
        "header": Region(0, 0, width, rows.header), "doctor": Region(0, bottom, width, doctor),
        "notice": Region(0, bottom + doctor, width, rows.notice - doctor),
        "below": Region(0, bottom + rows.notice, width, below), "keys": Region(0, height - rows.keys, width, rows.keys),
    }  # fmt: skip
    if zoomed:
        placed[zoomed] = Region(0, rows.header, width, bottom - rows.header)
    else:
        y = rows.header
        chart = placed["chart"] = Region(0, y, width, rows.chart)
        y += rows.chart
        for name, size in (("instruments", rows.instruments), ("time", rows.time)):
            y += rows.gap if size else 0
            placed[name] = Region(0, y, width, size)
            y += size
        shown = [name for name in ("sample", "log") if name not in hidden]
        if beside and shown:
            side = min(110, round(0.36 * width))
            placed["chart"] = chart.shrink((0, side + 2, 0, 0))
            placed |= _stacked(shown, Region(width - side, chart.y, side, chart.height))
        elif rows.panes and shown:
            placed |= _side_by_side(shown, Region(0, y + rows.wide_gap, width, rows.panes), front)
    return {name: region for name, region in placed.items() if region.width > 0 and region.height > 0}


def _stacked(shown: list[str], room: Region) -> dict[str, Region]:
    if len(shown) == 1:
        return {shown[0]: room}
    upper = room.height // 2
    return {shown[0]: room.shrink((0, 0, room.height - upper, 0)), shown[1]: room.shrink((upper, 0, 0, 0))}


def _side_by_side(shown: list[str], room: Region, front: str) -> dict[str, Region]:
    if len(shown) == 1:
        return {shown[0]: room}
    if room.width < WIDE:
        return {front: room}
    left = room.width // 2
    return {shown[0]: room.shrink((0, room.width - left, 0, 0)), shown[1]: room.shrink((0, 0, 0, left))}


class Placed(Layout):
    """Puts each child where `places` has put it. Textual's own (its tooltip, what it says in a corner) get no room."""

    name = "placed"

    def __init__(self) -> None:
        self.places: Mapping[str, Region] = {}

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> ArrangeResult:
        return [
            WidgetPlacement(region, NULL_OFFSET, NULL_SPACING, child)
            for child in children
            if (region := self.places.get(child.id or ""))
        ]
