"""What the screen costs a run, worked out from the log of a run without it and one with it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gpt.bench import percentile
from gpt.errors import RunError
from gpt.events import AnyEvent, StepDone, TelemetrySampled


class Window(msgspec.Struct, frozen=True):
    """What one run did while it was measured. None: unknown."""

    tokens_per_s: float
    """By wall time: whatever held the trainer up is in it."""
    frames_per_s: float | None = None
    cpu_ms_per_frame: float | None = None
    """All CPU time of the screen's thread, between frames too, over the frames."""
    screen_share: float | None = None
    """CPU time of the screen's thread over wall time, 0…1."""
    bytes_per_frame: float | None = None
    bytes_per_s: float | None = None
    first_frame_s: float | None = None
    """From the start of the process to the first character that can be seen."""
    key_ms: tuple[float, ...] = ()
    """From a key's byte to the box that it opens, ms, once for each press."""


def window_of(
    events: Sequence[AnyEvent], start: float, end: float, bytes_between: Callable[[float, float], int] | None = None
) -> Window:
    """What the events of a run say of the time between two Unix times.

    Args:
        bytes_between: what the screen sent from one Unix time to another.

    Raises RunError where fewer than three steps were taken.
    """
    inside = [event for event in events if start <= event.time <= end]
    steps = [event for event in inside if isinstance(event, StepDone)]
    if len(steps) < 3:
        raise RunError(
            f"only {len(steps)} steps in {end - start:.0f} s; measure longer with --seconds, or while nothing else runs"
        )
    rate = (steps[-1].tokens - steps[0].tokens) / (steps[-1].time - steps[0].time)
    meters = [e for e in inside if isinstance(e, TelemetrySampled) and e.screen_frames is not None]
    if len(meters) < 2 or bytes_between is None:
        return Window(tokens_per_s=rate)
    first, last = meters[0], meters[-1]
    frames = (last.screen_frames or 0) - (first.screen_frames or 0)
    cpu, wall = (last.screen_cpu_s or 0.0) - (first.screen_cpu_s or 0.0), last.time - first.time
    sent = bytes_between(first.time, last.time)
    return Window(
        tokens_per_s=rate, frames_per_s=frames / wall, screen_share=cpu / wall, bytes_per_s=sent / wall,
        cpu_ms_per_frame=cpu / frames * 1e3 if frames else None, bytes_per_frame=sent / frames if frames else None,
    )  # fmt: skip


def summarize(pairs: Sequence[tuple[Window, Window]]) -> dict[str, Any]:
    """The figures of (without, with) pairs, each the median over the runs.

    screen_cost: the fraction of tokens/s that the screen takes, the median over the pairs (`screen_costs`). Below zero
    where the machine's own unrest is greater than it. The other names are those of Window; key_ms_p50 and key_ms_p95
    are over all presses.
    """
    costs = [1 - shown.tokens_per_s / bare.tokens_per_s for bare, shown in pairs]
    shown = [window for _, window in pairs]
    presses = [ms for window in shown for ms in window.key_ms]
    names = ("cpu_ms_per_frame", "frames_per_s", "screen_share", "bytes_per_frame", "bytes_per_s", "first_frame_s")
    return {
        "screen_cost": statistics.median(costs),
        "screen_costs": costs,
        "headless_tokens_per_s": statistics.median(bare.tokens_per_s for bare, _ in pairs),
        "screen_tokens_per_s": statistics.median(window.tokens_per_s for window in shown),
        **{name: _median([getattr(window, name) for window in shown]) for name in names},
        "key_ms_p50": percentile(presses, 0.5) if presses else None,
        "key_ms_p95": percentile(presses, 0.95) if presses else None,
        "key_presses": len(presses),
    }


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
