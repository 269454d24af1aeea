"""What the screen knows of a run, built from events alone (cockpit.reducer).

A live, an attached and a replayed run differ only in where the events come from.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from cockpit.abandoned import Abandoned
from cockpit.checkup import Checkup
from cockpit.chronicle import Chronicle
from cockpit.gallery import Gallery
from cockpit.meters import Meters
from cockpit.pilotage import Pilotage, from_toml
from cockpit.rangetest import RangeTestRecord
from cockpit.rollbook import RollBook
from cockpit.series import Series
from cockpit.timeline import Timeline
from gpt import events as ev

FINAL_STATES = ("finished", "stopped", "failed")


class Marker(msgspec.Struct, frozen=True):
    """Something that happened at a step, for the chart."""

    step: int
    kind: str
    """`checkpoint`, `best`, `config`, `refused`, `sample`, `pause`, `resume`, `rewind`, `spike`, `diagnosis` or
    `evaluate`."""
    text: str


class SampleRecord(msgspec.Struct, frozen=True):
    """A prompt and its continuation."""

    number: int
    step: int
    prompt: str
    text: str = ""
    done: bool = False
    beside: int | None = None
    """The sample that this one, by an earlier checkpoint, is to be compared with."""


class LogRecord(msgspec.Struct, frozen=True):
    """One line of the log pane."""

    time: float
    level: str
    text: str
    source: str


class RunState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a widget may draw. None means unknown."""

    started: ev.RunStarted | None = None
    """The facts of the run: device, sizes, peak."""
    first_time: float | None = None
    last_time: float | None = None
    """Unix time of the first and the newest event."""
    state: str = "starting"
    """One of gpt.events.STATES."""
    stands_still: bool = False
    """Whether training waits for its pilot to go on; the run may save, sample or evaluate meanwhile."""
    detail: str = ""
    step: int = 0
    max_steps: int | None = None
    start_step: int = 0
    """The step this session began at."""
    tokens: int = 0
    resumed: ev.Resumed | None = None

    last: ev.StepDone | None = None
    loss: Series = msgspec.field(default_factory=Series)
    smoothed_loss: Series = msgspec.field(default_factory=Series)
    train_eval_loss: Series = msgspec.field(default_factory=Series)
    val_loss: Series = msgspec.field(default_factory=Series)
    lr: Series = msgspec.field(default_factory=Series)
    grad_norm: Series = msgspec.field(default_factory=Series)
    ms: Series = msgspec.field(default_factory=Series)
    tokens_per_s: Series = msgspec.field(default_factory=Series)
    mfu: Series = msgspec.field(default_factory=Series)
    meters: Meters = msgspec.field(default_factory=Meters)

    spike: ev.SpikeDetected | None = None
    """The newest step that was not finite, or far above those before it."""
    spikes: Series = msgspec.field(default_factory=Series)
    """Every such step, and its robust deviations above the others; not a number where it was not finite."""
    noise: ev.NoiseScaleEstimated | None = None
    noise_tokens: Series = msgspec.field(default_factory=Series)
    """Critical batch size, tokens, by step."""

    abandoned: tuple[Abandoned, ...] = ()
    """What the run went back from, oldest first."""
    range_test: RangeTestRecord | None = None

    evaluation: ev.EvalDone | None = None
    best_val_loss: float | None = None
    best_step: int | None = None
    checkpoint: ev.CheckpointSaved | None = None
    checkpoint_error: ev.CheckpointFailed | None = None
    """The newest failed save, until one succeeds."""
    ledger: dict[str, float] = msgspec.field(default_factory=dict)
    """Seconds by phase."""
    wall: float = 0.0
    ledger_time: float | None = None
    """Unix time of the newest ledger."""
    ledger_at_start: dict[str, float] = msgspec.field(default_factory=dict)
    """The ledger at this session's first step: what came before it says nothing of the steps to come."""
    memory: ev.MemorySampled | None = None
    measured: ev.StateMeasured | None = None
    """What weights and optimizer take."""
    telemetry: ev.TelemetrySampled | None = None
    cpu_load: Series = msgspec.field(default_factory=Series)
    """Load of all cores, per cent, by Unix time."""
    samples: tuple[SampleRecord, ...] = ()
    """Oldest first; the last may still be growing."""
    gallery: Gallery = msgspec.field(default_factory=Gallery)
    """Samples by prompt, thinned where the run is long."""
    chronicle: Chronicle = msgspec.field(default_factory=Chronicle)
    """Its sittings, evaluations, checkpoints, changes and returns, for a report."""
    timeline: Timeline = msgspec.field(default_factory=Timeline)
    """Where the time went, through time."""
    log: tuple[LogRecord, ...] = ()
    markers: tuple[Marker, ...] = ()
    stalled: ev.Stalled | None = None
    """Since it has given no sign of life; None while it lives."""
    finished: ev.Finished | None = None
    failed: ev.Failed | None = None
    pilotage: Pilotage = msgspec.field(default_factory=Pilotage)
    """What its pilot has changed, and what waits on the agenda."""
    checkup: Checkup = msgspec.field(default_factory=Checkup)
    """What the doctor has found."""
    pilot: ev.PilotChanged | None = None
    """Who has the controls since they last changed hands in this sitting; None: they have not."""
    ranks: RollBook = msgspec.field(default_factory=RollBook)
    """What the ranks of a shared run took, and how often they were started anew."""

    @property
    def is_final(self) -> bool:
        """True once the trainer has ended."""
        return self.state in FINAL_STATES

    @property
    def goodput(self) -> float | None:
        """Share of wall time spent in `train`, 0…1."""
        return self.ledger.get("train", 0.0) / self.wall if self.wall else None

    @property
    def epochs(self) -> float | None:
        """Passes over the training split behind the run."""
        per_epoch = self.started.tokens_per_epoch if self.started else None
        return self.tokens / per_epoch if per_epoch else None

    @property
    def bits_per_byte(self) -> float | None:
        """Bits per byte of the newest evaluation, where the bytes are known."""
        return self.evaluation.bpb if self.evaluation else None

    def median_ms(self, window: int = 50) -> float | None:
        """Median ms/iter of the newest steps."""
        recent = self.ms.y[-window:]
        return float(np.median(recent)) if len(recent) else None

    def eta_seconds(self) -> float | None:
        """Seconds to the last step, at the newest steps' speed and this run's own share of other work."""
        median = self.median_ms()
        if median is None or self.max_steps is None:
            return None
        since = {phase: self.ledger.get(phase, 0.0) - self.ledger_at_start.get(phase, 0.0) for phase in self.ledger}
        working = since.get("train", 0.0) + since.get("data", 0.0)
        beside = sum(since.get(phase, 0.0) for phase in ("evaluate", "checkpoint", "sample"))
        overhead = 1 + beside / working if working > 0 else 1.0
        return max(0, self.max_steps - self.step) * median / 1e3 * overhead


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """All that a log says up to a place in it, as if its events had been reduced one by one (cockpit.digest)."""

    state: RunState = msgspec.field(default_factory=RunState)
    offset: int = 0
    """Bytes of the log that it is made of; a line ends there."""
    held: tuple[ev.ConfigChanged, ...] = ()
    """Changes of settings that no resume or rewind has undone, oldest first."""
    changed: tuple[ev.ConfigChanged, ...] = ()
    """The newest change of each setting in the newest sitting."""
    skipped: int = 0
    """Lines that were no event."""

    @property
    def changed_settings(self) -> dict[str, Any]:
        """What the newest sitting has changed, by dotted key."""
        return {change.key: from_toml(change.new) for change in self.changed}
