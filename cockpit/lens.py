"""How a pilot looks at curves: which axis, how smooth, which stretch. Pure values; nothing is drawn here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cockpit.smoothing import DECAYS, USUAL

AXES = ("step", "tokens", "time", "flops")
"""What a curve can be drawn over: steps, tokens seen, wall time of the run, FLOPs spent."""
PENS = ("braille", "blocks", "ascii")
"""Characters to draw with: 2 × 4 dots a cell, 1 × 2, or one letter."""


@dataclass(frozen=True)
class Lens:
    """One way of looking at the curves of a run. Methods return another one."""

    axis: str = "step"
    log_x: bool = False
    log_y: bool = False
    smoothing: int = USUAL
    """Index into cockpit.smoothing.DECAYS."""
    clip: bool = True
    """Whether lone spikes and the first fall may stick out of the range, pointed at by an arrow."""
    pen: str = "braille"
    window: tuple[float, float] | None = None
    """First and last step shown; None: all of the run, and what is still to come."""
    cursor: float | None = None
    """Step under the crosshair; None: no crosshair."""

    @property
    def decay(self) -> float:
        """Weight of the past in the smoothed curves, 0…1."""
        return DECAYS[self.smoothing]

    def smoother(self, by: int) -> Lens:
        """Smoothed more, or less where `by` is negative."""
        return replace(self, smoothing=min(len(DECAYS) - 1, max(0, self.smoothing + by)))

    def next_axis(self) -> Lens:
        """Over the next of AXES."""
        return replace(self, axis=AXES[(AXES.index(self.axis) + 1) % len(AXES)])

    def next_pen(self) -> Lens:
        """Drawn with the next of PENS."""
        return replace(self, pen=PENS[(PENS.index(self.pen) + 1) % len(PENS)])

    def words(self) -> str:
        """What is unusual about it, in a few words; empty where nothing is."""
        said = [
            f"smoothing {self.decay:g}" if self.smoothing != USUAL else "", f"over {self.axis}" * (self.axis != "step"),
            "log x" * self.log_x, "log y" * self.log_y, "" if self.clip else "unclipped",
            f"steps {self.window[0]:,.0f}…{self.window[1]:,.0f}" if self.window else "",
        ]  # fmt: skip
        return " · ".join(word for word in said if word)
