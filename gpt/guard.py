"""Watches each step's loss and gradient norm: may its update be applied, and what is to be done if not. No torch.

A step is faulty where its loss or gradient is not finite, or lies far above what the last steps had. Far is counted in
robust deviations: the distance from the median in units of 1.4826 times the median absolute deviation (Iglewicz and
Hoaglin 1993), because a mean and its deviation are drawn along by the very spike they are to recognise, while a median
does not move until half of the window has. Only what lies above counts, so a loss that falls steeply is no spike, and
its fall widens the deviation meanwhile. A norm's spread is in proportion to its size: its logarithm is judged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpt.config import GuardConfig
from gpt.events import SpikeDetected

LARGEST = 3.4028234e38
"""The largest float32: what is not finite lies above it, or compares with nothing."""
LOSS_FLOOR = 0.01
"""Least deviation of the loss, as a share of its median: a very steady loss may still move."""
NORM_FLOOR = 0.2
"""Least deviation of the norm's natural logarithm; 8 of them are a factor of 5."""
OVERFLOWS = 16
"""Gradients in a row that may overflow in float16: so many halvings bring its scale of 65,536 down to 1."""


_Spreads = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Limits:
    """The largest loss (nats/token) and gradient norm with which a step's update is applied."""

    loss: float = LARGEST
    grad_norm: float = LARGEST


class Guard:
    """Judges the steps of one run."""

    def __init__(self) -> None:
        self.in_a_row = 0
        """Faulty steps since the last one that was not; its weights stood still meanwhile."""
        self.calm_step = 0
        """Newest step without fault."""
        self.rewinds = 0
        """Rewinds of the run so far."""
        self.demand: SpikeDetected | None = None
        """The fault after which more is to be done than leaving out an update; None: go on."""
        self._overflows = 0
        self._losses: list[float] = []
        self._norms: list[float] = []  # natural logarithms
        self._known: _Spreads | None = None  # of the window as it is

    def limits(self, config: GuardConfig) -> Limits | None:
        """What the next step's update must keep to; None: it is applied whatever it is."""
        if config.policy == "off":
            return None
        if config.policy == "warn" or not self._is_warm(config):
            return Limits()
        (loss, by), (norm, norm_by) = self._spreads()
        highest = norm + config.threshold * norm_by
        return Limits(
            min(LARGEST, loss + config.threshold * by), math.exp(highest) if highest < math.log(LARGEST) else LARGEST
        )

    def judge(
        self, step: int, loss: float, grad_norm: float, config: GuardConfig, *, applied: bool, scaled: bool = False
    ) -> SpikeDetected | None:
        """Takes in a finished step; returns what was wrong with it, or None. Sets `demand`.

        Args:
            applied: whether its update was.
            scaled: whether a float16 scaler is at work: it overflows now and then on purpose, to find its scale.
        """
        if config.policy == "off":
            return None
        is_finite = math.isfinite(loss) and math.isfinite(grad_norm)
        self._overflows = self._overflows + 1 if scaled and math.isfinite(loss) and not is_finite else 0
        if 0 < self._overflows <= OVERFLOWS:
            return None
        kind, value, z = self._furthest(loss, grad_norm, config) if is_finite else ("not finite", None, None)
        if is_finite:
            self._admit(loss, grad_norm, config.window)
        if applied and (z is None or z <= config.threshold):
            self.in_a_row, self.calm_step = 0, step
            return None
        self.in_a_row = 0 if applied else self.in_a_row + 1
        fault = SpikeDetected(
            step=step, kind=kind, value=value, z=z, in_a_row=max(1, self.in_a_row), action=self._action(applied, config)
        )
        self.demand = fault if fault.action in ("rewind", "pause") else None
        return fault

    def forgive(self) -> None:
        """Begins anew: what was too far above the steps before may be what steps are like from now on."""
        self.in_a_row, self.demand, self._overflows = 0, None, 0
        self._losses, self._norms, self._known = [], [], None

    def facts(self) -> dict[str, Any]:
        """JSON values for a checkpoint: with them a resumed run judges as one that never stopped."""
        return {
            "in_a_row": self.in_a_row, "calm_step": self.calm_step, "rewinds": self.rewinds,
            "overflows": self._overflows, "losses": list(self._losses), "norms": list(self._norms),
        }  # fmt: skip

    def restore(self, facts: dict[str, Any]) -> None:
        """Goes on from what a checkpoint says."""
        self.in_a_row, self.calm_step, self.rewinds = facts["in_a_row"], facts["calm_step"], facts["rewinds"]
        self._overflows, self.demand = facts["overflows"], None
        self._losses, self._norms, self._known = list(facts["losses"]), list(facts["norms"]), None

    def _action(self, applied: bool, config: GuardConfig) -> str:
        if applied:
            return "warned"
        if self.in_a_row < config.patience:
            return "skipped"
        return "rewind" if config.policy == "rewind" and self.rewinds < config.max_rewinds else "pause"

    def _is_warm(self, config: GuardConfig) -> bool:
        return 2 * len(self._losses) >= config.window

    def _spreads(self) -> _Spreads:
        """(median, deviation) of the loss and of the norm's logarithm."""
        if self._known is None:
            loss, by = _spread(self._losses)
            norm, norm_by = _spread(self._norms)
            self._known = (loss, max(by, LOSS_FLOOR * abs(loss))), (norm, max(norm_by, NORM_FLOOR))
        return self._known

    def _furthest(self, loss: float, grad_norm: float, config: GuardConfig) -> tuple[str, float, float | None]:
        """The one of loss and gradient that lies further above its like, its value, and by how many deviations."""
        if not self._is_warm(config):
            return "loss", loss, None
        (middle, by), (norm, norm_by) = self._spreads()
        of_loss = (loss - middle) / by if by else 0.0
        of_norm = (_log(grad_norm) - norm) / norm_by
        return ("loss", loss, of_loss) if of_loss >= of_norm else ("gradient", grad_norm, of_norm)

    def _admit(self, loss: float, grad_norm: float, window: int) -> None:
        """Spikes too: a median bears them, and what stays is what is usual after half a window."""
        self._losses = [*self._losses, loss][-window:]
        self._norms = [*self._norms, _log(grad_norm)][-window:]
        self._known = None


def describe(fault: SpikeDetected) -> str:
    """One line on a faulty step, without its number: what was wrong, and what was done."""
    name = {"loss": "the loss", "gradient": "the gradient norm"}.get(fault.kind)
    if name is None:
        what = "its loss or gradient is not finite"
    else:
        by = f", {fault.z:,.1f} deviations above the steps before" if fault.z is not None else ""
        what = f"{name} is {fault.value:,.4g}{by}"
    if fault.action == "warned":
        return what
    row = f", {fault.in_a_row} in a row" if fault.in_a_row > 1 else ""
    return f"{what}; its update was left out{row}"


def _log(norm: float) -> float:
    return math.log(max(norm, 1 / LARGEST))


def _spread(values: Sequence[float]) -> tuple[float, float]:
    """Median and 1.4826 median absolute deviations, which for normal values is their standard deviation."""
    middle = _median(values)
    return middle, 1.4826 * _median([abs(value - middle) for value in values])


def _median(values: Sequence[float]) -> float:
    """Of a short list, at each step: a fraction of what `statistics.median` takes."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2
