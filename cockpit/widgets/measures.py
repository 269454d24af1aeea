"""What can be drawn over a run: each with its curve, its unit and how its numbers are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.style import Style

from cockpit import format as fmt
from cockpit.series import Series
from cockpit.state import RunState
from cockpit.widgets import ink


@dataclass(frozen=True)
class Measure:
    """One quantity by step."""

    id: str
    key: str
    """Shows and hides it in the chart view."""
    title: str
    unit: str
    curve: Callable[[RunState], Series]
    write: Callable[[float | None], str] = fmt.significant
    """Its value in its unit, as text."""
    factor: float = 1.0
    """Turns what the curve holds into the unit."""
    points: Callable[[RunState], Series] | None = None
    """Points drawn on top: validation."""
    noisy: bool = True
    """Whether a smoothed line says more than the curve itself."""
    raw: Style = ink.CURVE
    line: Style = ink.TEXT


def _memory(state: RunState) -> Series:
    return state.meters.gpu_memory if len(state.meters.gpu_memory) else state.meters.rss


MEASURES = (
    Measure("loss", "1", "loss", "nats/token", lambda s: s.loss, fmt.loss, points=lambda s: s.val_loss, raw=ink.RAW,
            line=ink.TRAIN),
    Measure("lr", "2", "lr", "", lambda s: s.lr, fmt.scientific, noisy=False),
    Measure("grad_norm", "3", "grad norm", "", lambda s: s.grad_norm),
    Measure("ms", "4", "ms/iter", "ms", lambda s: s.ms, lambda value: fmt.number(value, 1)),
    Measure("tokens_per_s", "5", "tokens/s", "", lambda s: s.tokens_per_s, fmt.number),
    Measure("mfu", "6", "MFU", "%", lambda s: s.mfu, lambda value: fmt.number(value, 1), 100.0),
    Measure("memory", "7", "memory", "GiB", _memory, lambda value: fmt.number(value, 2), 2.0**-30, noisy=False),
    Measure("utilization", "8", "utilisation", "%", lambda s: s.meters.utilization, fmt.number),
    Measure("power", "9", "power", "W", lambda s: s.meters.watts, fmt.number),
    Measure("noise", "0", "noise scale", "tokens", lambda s: s.noise_tokens, fmt.number, noisy=False),
)  # fmt: skip
LOSS = MEASURES[0]
