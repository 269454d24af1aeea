"""The chart's arithmetic: pure functions on arrays, without a terminal.

A cell of a braille chart has 2 × 4 dots. Columns below are dot columns, two to a cell; rows are dot rows from the top.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from cockpit.series import KEPT

_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], dtype=np.uint8)
_NICE = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0)


def envelope(
    x: np.ndarray, y: np.ndarray, x0: float, x1: float, columns: int, high_y: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest y of the points that fall in each column: a spike of one point in a million stays visible.

    Args:
        x: (n,) ascending. y: (n,), NaN and infinities are left out.
        x0, x1: where the first column begins and the last one ends.
        high_y: where each point stands for many, the greatest of them; `y` is then the least.

    Returns:
        low, high: (columns,) float64, NaN where a column has no point.
    """
    low, high = np.full(columns, np.nan), np.full(columns, np.nan)
    if not len(x) or x1 <= x0 or not columns:
        return low, high
    edges = np.searchsorted(x, np.linspace(x0, x1, columns + 1))
    edges[-1] = np.searchsorted(x, x1, side="right")
    filled = edges[1:] > edges[:-1]
    if not filled.any():
        return low, high
    starts = edges[:-1][filled]  # the points of a filled column end where those of the next one start
    inside = _finite(y[: edges[-1]], starts[0])
    low[filled] = np.fmin.reduceat(inside, starts)
    above = inside if high_y is None else _finite(high_y[: edges[-1]], starts[0])
    high[filled] = np.fmax.reduceat(above, starts)
    return low, high


def _finite(y: np.ndarray, start: int) -> np.ndarray:
    """Values with NaN for infinities, as they are where there are none from `start` on."""
    if math.isfinite(float(y[start:].sum())):
        return y
    return np.where(np.isfinite(y), y, np.nan)


def line(x: np.ndarray, y: np.ndarray, x0: float, x1: float, columns: int) -> np.ndarray:
    """y of a curve in each column: its newest point there, or a straight line between the points around it.

    Returns:
        (columns,) float64, NaN before the first point and after the last.
    """
    values = np.full(columns, np.nan)
    if not len(x) or x1 <= x0 or not columns:
        return values
    edges = np.searchsorted(x, np.linspace(x0, x1, columns + 1))
    edges[-1] = np.searchsorted(x, x1, side="right")
    filled = edges[1:] > edges[:-1]
    values[filled] = y[edges[1:][filled] - 1]
    known = np.flatnonzero(np.isfinite(values))
    if len(known):
        between = np.arange(known[0], known[-1] + 1)
        values[between] = np.interp(between, known, values[known])
    return values


def joined(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The envelope without gaps: empty columns between two filled ones lie on the line that joins their middles, and
    each column reaches to the one before it. (columns,) each."""
    known = np.flatnonzero(np.isfinite(low))
    if not len(known):
        return low, high
    low, high = low.copy(), high.copy()
    between = np.arange(known[0], known[-1] + 1)
    empty = between[~np.isfinite(low[between])]
    if len(empty):
        low[empty] = high[empty] = np.interp(empty, known, (low[known] + high[known]) / 2)
    inner = between[1:]
    low_before, high_before = low[inner - 1].copy(), high[inner - 1].copy()
    low[inner] = np.where(low[inner] > high_before, high_before, low[inner])
    high[inner] = np.where(high[inner] < low_before, low_before, high[inner])
    return low, high


def dots(low: np.ndarray, high: np.ndarray, y0: float, y1: float, rows: int, coarser: int = 1) -> np.ndarray:
    """(rows, columns) bool: in each column the dots from low to high. What lies outside y0…y1 is cut off.

    Args:
        coarser: so many dots below each other become one; (rows / coarser, columns).
    """
    bottom, top = row_of(low, y0, y1, rows), row_of(high, y0, y1, rows)
    if coarser > 1:
        bottom, top = bottom // coarser, top // coarser
    index = np.arange(rows // coarser)[:, None]
    with np.errstate(invalid="ignore"):
        return (index >= top) & (index <= bottom) & np.isfinite(low)


def row_of(y: np.ndarray, y0: float, y1: float, rows: int) -> np.ndarray:
    """Dot row of a value, 0 at the top; outside 0…rows-1 where the value is outside y0…y1. NaN stays NaN."""
    return np.round((y1 - y) / (y1 - y0) * (rows - 1))


def braille(mask: np.ndarray) -> np.ndarray:
    """(4·r, 2·c) bool dots as (r, c) uint8 dot patterns; a pattern's character is U+2800 plus it."""
    bits = mask.view(np.uint8)
    patterns = np.zeros((mask.shape[0] // 4, mask.shape[1] // 2), dtype=np.uint8)
    for down, across in np.ndindex(_BITS.shape):  # eight whole planes: a third of the time of one product and sum
        patterns |= bits[down::4, across::2] * _BITS[down, across]
    return patterns


def nice_ceiling(value: float) -> float:
    """The least of 1, 1.25, 1.5, 1.75, 2, 2.5, … 9, 10 times a power of ten that is not below a positive value."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((nice * power for nice in _NICE if nice * power >= value * (1 - 1e-12)), 10 * power)


def ticks(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """Round numbers within low…high, evenly spaced by 1, 2 or 5 times a power of ten, `most` at the most.

    Args:
        whole: only whole numbers, for steps.
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low or most < 1:
        return []
    spacing = tick_spacing((high - low) / (2 * most))
    if whole:
        spacing = max(1.0, spacing)
    while math.floor(high / spacing + 1e-9) - math.ceil(low / spacing - 1e-9) + 1 > most:
        spacing = tick_spacing(spacing * 1.01)
    first, last = math.ceil(low / spacing - 1e-9), math.floor(high / spacing + 1e-9)
    return [index * spacing for index in range(first, last + 1)]


def tick_spacing(least: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def whole_range(low: np.ndarray, high: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """(least, greatest) value to show where nothing may stick out."""
    known = np.concatenate((low[np.isfinite(low)], high[np.isfinite(high)], others[np.isfinite(others)]))
    if not len(known):
        return 0.0, 1.0
    bottom, top = float(known.min()), float(known.max())
    span = max(top - bottom, 1e-3 * abs(bottom), 1e-12)
    return bottom - 0.02 * span, max(top, bottom + span) + 0.02 * span


def clipped_range(
    low: np.ndarray, high: np.ndarray, others: np.ndarray, *, whole_run: bool = True
) -> tuple[float, float]:
    """(least, greatest) value to show of a curve.

    The first few per cent of a run fall from ln(vocabulary) and would flatten the rest for ever, and so would a lone
    spike: neither counts once there is a curve to look at. What is then above the range is for the caller to point at.

    Args:
        low, high: the envelope by column, NaN where empty. others: values that must fit in (smoothed, validation).
        whole_run: whether the first columns are the run's own beginning.
    """
    drawn = np.flatnonzero(np.isfinite(low))
    others = others[np.isfinite(others)]
    if not len(drawn):
        if not len(others):
            return 0.0, 1.0
        low = high = others
        drawn = np.arange(len(others))
    bottom = float(min(low[drawn].min(), others.min(initial=math.inf)))
    settled = drawn[len(drawn) // 12 :] if len(drawn) >= 24 and whole_run else drawn
    top = float(high[settled].max())
    usual = float(np.quantile(high[settled], 0.97))
    if top - bottom > 1.5 * (usual - bottom) > 0:
        top = usual + 0.15 * (usual - bottom)
    top = max(top, float(others.max(initial=-math.inf)))
    span = max(top - bottom, 1e-3 * abs(bottom), 1e-12)
    return bottom - 0.02 * span, max(top, bottom + span) + 0.02 * span


def scale(bottom: float, top: float, rows: int) -> tuple[float, float, list[float]]:
    """(y0, y1, ticks): the tightest scale for bottom…top on which round values are a whole number of rows apart.

    So the grid is even, and the scale moves by whole rows, now and then, instead of with every point.

    Args:
        rows: cells; y0 and y1 are the values of the lowest and the highest of their 4 · rows dot rows.
    """
    every = (2, 3, 4, 5, 6, 7, 8) if rows >= 16 else (2, 3, 4, 5, 6) if rows >= 9 else (1, 2, 3)
    power = math.floor(math.log10((top - bottom) / rows))
    spacings = [digit * 10.0**exponent for exponent in range(power - 1, power + 3) for digit in (1, 2, 5)]
    for cell, spacing in sorted((spacing / apart, spacing) for spacing in spacings for apart in every):
        dot = cell / 4
        y1 = math.ceil((top - 2 * dot) / cell - 1e-9) * cell + 2 * dot  # a round value in the middle of the highest row
        y0 = y1 - dot * (4 * rows - 1)
        if y0 <= bottom:
            first, last = math.ceil(y0 / spacing - 1e-9), math.floor(y1 / spacing + 1e-9)
            return y0, y1, [index * spacing for index in range(first, last + 1)]
    raise AssertionError(f"no scale for {bottom}…{top} on {rows} rows")


def log_scale(bottom: float, top: float, rows: int) -> tuple[float, float, list[float]]:
    """(y0, y1, ticks): a logarithmic scale for bottom…top, all as powers of ten.

    The ticks are whole powers, or 1, 2 and 5 times one, or round numbers where the range is too narrow for these.
    """
    room = max(2, rows // 3)
    powers = range(math.floor(bottom), math.ceil(top) + 1)
    for factors in ((1, 2, 5), (1,)):
        marks = [power + math.log10(factor) for power in powers for factor in factors]
        marks = [mark for mark in marks if bottom <= mark <= top]
        if 3 <= len(marks) <= 2 * room:
            return bottom, top, marks
    if len(marks) > room:
        return bottom, top, marks[:: math.ceil(len(marks) / room)]
    return bottom, top, [math.log10(value) for value in ticks(10**bottom, 10**top, room) if value > 0]


def tick_labels(values: Sequence[float]) -> list[str]:
    """Round values as labels of at most six characters, with as many decimals as tell them apart; see `distinct`."""
    return distinct(values, _labels(values))


def distinct(values: Sequence[float], labels: Sequence[str]) -> list[str]:
    """Each label once: of values that are written alike only the roundest keeps it; those of the others are empty."""
    owner: dict[str, float] = {}
    for value, label in zip(values, labels, strict=True):
        owner[label] = min(owner.get(label, value), value, key=_digits)
    return [label if owner[label] == value else "" for value, label in zip(values, labels, strict=True)]


def _digits(value: float) -> int:
    """Characters that write a value's digits, to nine of them: the fewer, the rounder it is."""
    return len(f"{abs(value):.8e}".partition("e")[0].rstrip("0"))


def _labels(values: Sequence[float]) -> list[str]:
    known = [abs(value) for value in values if value]
    if not known:
        return ["0"] * len(values)
    greatest = max(known)
    if greatest < 1e-2 or min(known) < 1e-4:
        return [_short_power(value) for value in values]
    for limit, unit, letter in ((1e13, 1e12, "T"), (1e10, 1e9, "B"), (1e7, 1e6, "M"), (1e4, 1e3, "k")):
        if greatest >= limit:
            return [f"{value / unit:.4g}{letter}" if value else "0" for value in values]
    apart = min((b - a for a, b in pairwise(sorted(values)) if b > a), default=greatest)
    digits = max(0, -math.floor(math.log10(apart) + 1e-9))
    return [f"{value:.{min(4, digits)}f}" for value in values]


def _short_power(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}" if value else "0"


SPARKS = " ▁▂▃▄▅▆▇█"


def recent_means(y: np.ndarray, width: int, before: int = 0) -> np.ndarray:
    """The newest third or so of a curve as means of equal stretches, (≤ width,).

    The stretches begin at fixed places, so what is drawn from them moves only when a new one is complete.

    Args:
        before: points of the curve before those in `y`, where it is too long to be kept.
    """
    size = 2 ** max(0, int(math.log2(max(1.0, (before + len(y)) / (3 * max(1, width))))))
    if before:
        size = min(size, 2 ** int(math.log2(KEPT // max(1, width))))  # so many points are always there
    end = (before + len(y)) // size * size - before
    stretches = y[max(0, end - min(width, end // size) * size) : end].reshape(-1, size)
    finite = np.isfinite(stretches)
    counts = finite.sum(axis=1)
    sums = np.where(finite, stretches, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def sparkline(y: np.ndarray, width: int) -> str:
    """Values as `width` bars, newest at the right, the least lowest; blanks where there is nothing."""
    recent = y[-width:] if width > 0 else y[:0]
    finite = recent[np.isfinite(recent)]
    if not len(finite):
        return " " * max(0, width)
    low = float(finite.min())
    span = float(finite.max()) - low
    steady = span <= 1e-3 * max(1e-12, abs(low))  # noise of a constant is not worth a mountain range
    scaled = np.full(len(recent), 2.0) if steady else 1 + np.round((recent - low) / span * 7)
    return "".join(SPARKS[int(level)] for level in np.where(np.isfinite(recent), scaled, 0.0)).rjust(width)
