"""What a run is compared with: earlier runs, drawn as ghosts, and published losses."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cockpit.reducer import reduce
from cockpit.references import REFERENCES
from cockpit.runs import Run, list_runs
from cockpit.series import Series
from cockpit.state import RunState

MOST_GHOSTS = 4
"""Earlier runs that are drawn at a time; more could not be told apart."""


@dataclass(frozen=True)
class Ghost:
    """An earlier run, as its log tells it."""

    name: str
    state: RunState


@dataclass
class Overlays:
    """What the pilot has chosen to see behind the run."""

    ghosts: list[Ghost] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    """Names in cockpit.references."""

    @property
    def levels(self) -> list[tuple[str, float]]:
        """(name, loss in nats/token) of the references."""
        return [(name, REFERENCES[name].loss) for name in self.references]

    def toggle_reference(self, name: str) -> None:
        """Shows a reference, or hides it."""
        if name in self.references:
            self.references.remove(name)
        else:
            self.references.append(name)

    def drop_ghost(self, name: str) -> bool:
        """Hides a run; False where it was not shown."""
        kept = [ghost for ghost in self.ghosts if ghost.name != name]
        gone = len(kept) < len(self.ghosts)
        self.ghosts = kept
        return gone

    @property
    def key(self) -> tuple:
        """Changes whenever something else is to be drawn."""
        return (tuple(ghost.name for ghost in self.ghosts), tuple(self.references))


def earlier_runs(run_dir: Path) -> list[Run]:
    """The other runs beside a run's folder, the one touched last first."""
    return [run for run in reversed(list_runs(run_dir.parent)) if run.name != run_dir.name]


class Reading:
    """Reads a run's log on a thread of its own; a long one takes a second.

    `ghost` is the run once it has been read, `error` why it could not be.
    """

    def __init__(self, run: Run) -> None:
        self.name = run.name
        self.ghost: Ghost | None = None
        self.error: str | None = None
        self._run = run
        self._thread = threading.Thread(target=self._read, name="ghost", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """True once there is a ghost or an error."""
        return self.ghost is not None or self.error is not None

    def _read(self) -> None:
        state = RunState()
        try:
            for event in self._run.read_past():
                state = reduce(state, event)
        except OSError as error:
            self.error = f"{self.name}: {error.strerror or error}"
            return
        if len(state.loss):
            self.ghost = Ghost(self.name, state)
        else:
            self.error = f"{self.name} has no step in its log"


def value_at(curve: Series, step: float) -> float | None:
    """A curve's value at a step, between its points by a line; None before the first and after the last."""
    points = curve.points(least=4096)
    known = np.isfinite(points.last)
    x, y = points.x[known], points.last[known]
    if not len(x) or not x[0] <= step <= x[-1]:
        return None
    return float(np.interp(step, x, y))


def ahead(ours: float | None, theirs: float | None) -> float | None:
    """By how much our loss is lower than theirs at the same place, nats/token; below 0 where it is higher."""
    return None if ours is None or theirs is None else theirs - ours
