"""Where a step stands on the horizontal axis, over steps, tokens, time or FLOPs, linear or logarithmic."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from cockpit import format as fmt
from cockpit.lens import Lens
from cockpit.state import RunState
from cockpit.widgets import plot

UNITS = {"step": "step", "tokens": "tokens", "time": "time", "flops": "FLOPs"}
CLOSEST = 4.0
"""Steps that a zoom shows at least."""
_KNOTS = 512
_TIMES = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


class Ruler(NamedTuple):
    """Turns steps into what the axis counts (tokens, seconds, FLOPs) and back, by lines between known places."""

    steps: np.ndarray | None
    """Known steps, ascending; None where the axis counts steps themselves."""
    values: np.ndarray

    def of(self, steps: np.ndarray) -> np.ndarray:
        """What the axis counts at given steps."""
        return steps if self.steps is None else _between(steps, self.steps, self.values)

    def back(self, values: np.ndarray) -> np.ndarray:
        """The steps at which the axis counts that."""
        return values if self.steps is None else _between(values, self.values, self.steps)


def ruler(state: RunState, axis: str) -> Ruler:
    """The ruler of a run. Where the run knows too little for an axis, it counts steps."""
    if axis == "step":
        return Ruler(None, np.empty(0))
    meters, started = state.meters, state.started
    points = (meters.seconds if axis == "time" else meters.tokens).points(least=_KNOTS)
    factor = started.flops_per_token if axis == "flops" and started else 1.0
    if len(points.x) < 2:
        return Ruler(None, np.empty(0))
    keep = np.concatenate(([True], np.diff(points.last) > 0))  # so that the way back is known everywhere
    steps, values = points.x[keep], points.last[keep] * factor
    if len(steps) < 2:
        return Ruler(None, np.empty(0))
    if len(steps) > 4 * _KNOTS:
        steps, values = (np.concatenate((each[:: len(each) // _KNOTS], each[-1:])) for each in (steps, values))
    return Ruler(steps, values)


def _between(x: np.ndarray, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """Linear interpolation that goes on with the mean slope outside."""
    x = np.asarray(x, dtype=np.float64)
    slope = (ys[-1] - ys[0]) / (xs[-1] - xs[0]) if xs[-1] > xs[0] else 0.0
    inside = np.interp(x, xs, ys)
    return inside + np.where(x > xs[-1], x - xs[-1], np.where(x < xs[0], x - xs[0], 0.0)) * slope


@dataclass(frozen=True)
class XAxis:
    """The part of an axis that is shown. Places are 0 at its left end and 1 at its right."""

    kind: str
    log: bool
    ruler: Ruler
    u0: float
    u1: float
    """What the axis counts at its ends, as a power of ten where it is logarithmic."""

    def u(self, steps: np.ndarray) -> np.ndarray:
        """Steps in the units of u0 and u1."""
        values = self.ruler.of(steps)
        return np.log10(np.maximum(values, 1e-9)) if self.log else values

    def place(self, step: float) -> float:
        """Where a step stands."""
        return float((self.u(np.array([step]))[0] - self.u0) / (self.u1 - self.u0))

    def step(self, place: float) -> float:
        """The step at a place."""
        u = self.u0 + place * (self.u1 - self.u0)
        return float(self.ruler.back(np.array([10**u if self.log else u]))[0])

    def steps(self) -> tuple[float, float]:
        """Steps at its ends."""
        return self.step(0.0), self.step(1.0)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Round values, at most about `most`: the place and the label of each, empty where it would say nothing new."""
        if self.log:
            decades = [(10.0**power, factor) for power in range(math.floor(self.u0), math.ceil(self.u1) + 1)
                       for factor in (1, 2, 5)]  # fmt: skip
            inside = [power * f for power, f in decades if self.u0 <= math.log10(power * f) <= self.u1]
            if len(inside) > most:
                inside = [v for v in inside if math.log10(v) == round(math.log10(v))]
            values = inside[:: max(1, math.ceil(len(inside) / most))] if inside else []
            if len(values) < 2:
                values = [v for v in plot.ticks(10**self.u0, 10**self.u1, most, whole=self.kind == "step") if v > 0]
        elif self.kind == "time":
            span = self.u1 - self.u0
            apart = next((t for t in _TIMES if span / t <= most), 86400 * math.ceil(span / most / 86400))
            values = [n * apart for n in range(math.ceil(self.u0 / apart), math.floor(self.u1 / apart) + 1)]
        else:
            values = plot.ticks(self.u0, self.u1, most, whole=self.kind == "step")
        span = self.u1 - self.u0
        places = [((math.log10(v) if self.log else v) - self.u0) / span for v in values]
        return list(zip(places, plot.distinct(values, [label(self.kind, v) for v in values]), strict=True))


def x_axis(state: RunState, lens: Lens, extent: tuple[float, float]) -> XAxis:
    """The axis for a way of looking at a run.

    Args:
        extent: first and last step of the whole axis, where no part of it is chosen.
    """
    measure = ruler(state, lens.axis)
    kind = lens.axis if measure.steps is not None else "step"
    first, last = lens.window or extent
    axis = XAxis(kind, lens.log_x, measure, 0.0, 1.0)
    if lens.log_x:
        first = max(first, extent[0] + 1)
        last = max(last, first + CLOSEST)
    u0, u1 = axis.u(np.array([first, last])).tolist()
    if kind != "step" and not lens.log_x and lens.window is None:
        u0 = max(0.0, u0)
    return replace(axis, u0=u0, u1=u1 if u1 > u0 else u0 + 1.0)


def zoomed(lens: Lens, axis: XAxis, factor: float, place: float, extent: tuple[float, float]) -> Lens:
    """A lens that shows 1 / factor of what the axis does; what stood at `place` stays there."""
    width = 1 / factor
    return _shown(lens, axis, place - place * width, place + (1 - place) * width, extent)


def panned(lens: Lens, axis: XAxis, share: float, extent: tuple[float, float]) -> Lens:
    """A lens that looks further right by a share of what is shown; not beyond the run."""
    if lens.window is None:
        return lens
    left, right = (axis.place(step) for step in extent)
    share = max(min(share, right - 1), left) if right - left > 1 else 0.0
    return _shown(lens, axis, share, 1 + share, extent)


def _shown(lens: Lens, axis: XAxis, left: float, right: float, extent: tuple[float, float]) -> Lens:
    first, last = axis.step(left), axis.step(right)
    if last - first < CLOSEST:
        middle = (first + last) / 2
        first, last = middle - CLOSEST / 2, middle + CLOSEST / 2
    first, last = max(first, extent[0]), min(last, extent[1])
    if last - first < CLOSEST:
        first, last = max(extent[0], last - CLOSEST), min(extent[1], first + CLOSEST)
    whole = first <= extent[0] and last >= extent[1]
    return replace(lens, window=None if whole or last <= first else (first, last))


def label(kind: str, value: float) -> str:
    """A value of an axis, short: `14,500`, `1.2 B`, `3:20:00`, `4.1e18`."""
    if kind == "step":
        return f"{round(value):,}"
    if kind == "time":
        whole = round(value)
        days, rest = divmod(whole, 86400)
        clock = f"{rest // 3600}:{rest // 60 % 60:02}" + (f":{rest % 60:02}" if rest % 60 else "")
        short = f"{rest // 60}:{rest % 60:02}"
        return f"{days} d {clock}" if days and rest else f"{days} d" if days else short if rest < 3600 else clock
    if kind == "flops":
        return fmt.scientific(value).replace(".00e", "e") if value else "0"
    number, letter = fmt.count(value)
    number = number.rstrip("0").rstrip(".") if "." in number else number
    return f"{number} {letter}".strip()
