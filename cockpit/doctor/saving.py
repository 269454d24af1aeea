"""Checkpoints and the disk: full at which step, too far apart for what a failure costs, too close for their price."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cockpit.doctor.device import is_foreign, pace
from cockpit.doctor.diagnosis import Diagnosis, Rule, Treatment
from cockpit.doctor.evidence import Evidence
from cockpit.format import duration
from cockpit.planning.plan import checkpoint_bytes
from gpt.errors import ProfileError

LOG_BYTES_PER_STEP = 300
LOG_BYTES_PER_SECOND = 450
"""Growth of events.jsonl: a step's line; meters and ledger, once a second each."""

RARE_SECONDS = 3 * 3600.0
"""Work that a failure may undo before it is too much: an hour or two is what most runs risk."""
OFTEN_SHARE = 0.05
"""Share of wall time that saving may take; it is worth a failure every few hours."""
WANTED_SHARE = 0.01
ENOUGH_SAVES = 4
"""Saves before their share is looked at: the first takes memory for its copy."""
HALF_HOUR = 1800.0


def find_full_disk(evidence: Evidence) -> Iterator[Diagnosis]:
    """Whether what will be kept fits on the disk, and at which step it does not any more."""
    profile, state, free = evidence.profile, evidence.state, evidence.host.disk_free_bytes
    size = checkpoint_size(evidence)
    if profile is None or size is None or free is None or is_foreign(evidence):
        return
    settings, steps = profile.checkpoint, evidence.max_steps or profile.train.max_steps
    kept, has_best = kept_now(evidence)
    left = max(0, steps - state.step)
    coming = _saves(state.step, steps, settings.interval)
    growing = max(0, settings.keep - kept) + (1 if settings.best and not has_best else 0)
    most = (
        min(growing, len(coming) + (1 if settings.best and not has_best else 0)) + 1
    )  # a draft beside what it replaces
    log = LOG_BYTES_PER_STEP * left + LOG_BYTES_PER_SECOND * left * (pace(evidence) or 0.0)
    if not left or free >= most * size + log:
        return
    room = int(max(0.0, free - log) // size)
    full_at = coming[min(room, len(coming) - 1)] if room < most and coming else steps
    keep = settings.keep - (most - room)
    figures = {
        "disk_free_bytes": free, "checkpoint_bytes": size, "log_bytes": log, "keep": settings.keep, "kept_now": kept,
        "needed_bytes": most * size + log, "full_at_step": full_at,
    }  # fmt: skip
    can_keep_less = keep >= 1 and keep < settings.keep
    yield Diagnosis(
        rule="disk_full", severity="critical" if room < 2 else "warning",
        title=f"The disk will be full at about step {full_at:,}: {_size(free)} free, "
        f"{_size(most * size + log)} needed",
        evidence=figures,
        why=f"A checkpoint takes {_size(size)}. The newest {settings.keep} are kept"
        + (", the best besides" if settings.best else "") + f", and one more while it is written; {kept} are there.",
        advice=(f"Set checkpoint.keep = {keep}, or free " if can_keep_less else "Free ")
        + f"{_size(most * size + log - free)}. Where a save fails training goes on, and nothing is kept.",
        treatment=Treatment("live", f"keep {keep} checkpoints", {"checkpoint.keep": keep}) if can_keep_less else None,
        reference="12 bytes a parameter: weights and AdamW's two moments in float32",
    )  # fmt: skip


def _size(size: float) -> str:
    """Bytes in GB, or in MB where that says more."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def find_interval(evidence: Evidence) -> Iterator[Diagnosis]:
    """Hours that a failure would cost at this speed; or the share of time that saving takes."""
    profile, state, seconds = evidence.profile, evidence.state, pace(evidence)
    if profile is None or seconds is None or is_foreign(evidence):
        return
    interval, left = profile.checkpoint.interval, max(0, (evidence.max_steps or 0) - state.step)
    if not seconds or not left:
        return
    share = state.ledger.get("checkpoint", 0.0) / state.wall if state.wall else 0.0
    saves = saved_steps(evidence)
    since = state.step - (saves[-1] if saves else state.start_step)
    # What the settings promise, where the best do not save more often; and what has come of them so far.
    promised = interval or left + since
    recent = np.diff(saves[-6:])
    usual = min(promised, float(np.median(recent))) if len(recent) and profile.checkpoint.best else promised
    at_risk = max(since, min(usual, left + since))
    if at_risk * seconds > RARE_SECONDS:
        better = _round_steps(HALF_HOUR / seconds)
        yield _interval_told(
            evidence, f"A failure would undo up to {duration(at_risk * seconds)}: {at_risk:,.0f} steps "
            "between checkpoints", f"At {seconds:,.3g} s a step, checkpoint.interval = {interval} is that far"
            f"{'' if interval else ' (0: none but the best and the last)'}; {since:,} steps have been taken since the "
            "last one. Saving runs behind training and costs seconds.", better,
            {"at_risk_seconds": at_risk * seconds, "at_risk_steps": at_risk, "seconds_per_step": seconds},
        )  # fmt: skip
    elif share > OFTEN_SHARE and len(saves) >= ENOUGH_SAVES and interval:
        better = _round_steps(interval * share / WANTED_SHARE)
        yield _interval_told(
            evidence,
            f"Saving takes {100 * share:.1f} % of the time: a checkpoint every {duration(interval * seconds)}",
            f"{len(saves)} checkpoints have taken {duration(state.ledger['checkpoint'])} of training's time. What a "
            f"failure would undo is {duration(interval * seconds)} at most.", better,
            {"checkpoint_share": share, "checkpoint_seconds": state.ledger["checkpoint"], "saves": len(saves)},
        )  # fmt: skip


def _interval_told(
    evidence: Evidence, title: str, why: str, better: int, figures: dict[str, float]
) -> Diagnosis:  # fmt: skip
    interval = evidence.profile.checkpoint.interval if evidence.profile else 0
    return Diagnosis(
        rule="checkpoint_interval", severity="warning", title=title,
        evidence={**figures, "interval": interval}, why=why, advice=f"Set checkpoint.interval = {better}.",
        treatment=Treatment("live", f"save every {better:,} steps", {"checkpoint.interval": better}),
        reference="this run's own clock: the ledger's `checkpoint`, and the steps between its saves",
    )  # fmt: skip


def checkpoint_size(evidence: Evidence) -> float | None:
    """Bytes: as the newest one was, else by formula."""
    if evidence.state.checkpoint:
        return float(evidence.state.checkpoint.size)
    if evidence.profile is None or evidence.rows is None:
        return None
    try:
        return float(checkpoint_bytes(evidence.profile, evidence.rows))
    except ProfileError:
        return None


def saved_steps(evidence: Evidence) -> list[int]:
    """Steps whose state is on disk, or was; ascending."""
    return sorted({mark.step for mark in evidence.state.markers if mark.kind in ("checkpoint", "best")})


def kept_now(evidence: Evidence) -> tuple[int, bool]:
    """(checkpoints among the newest that are kept, whether the best is one beside them)."""
    keep = evidence.profile.checkpoint.keep if evidence.profile else 1
    newest = saved_steps(evidence)[-keep:]
    best = [mark.step for mark in evidence.state.markers if mark.kind == "best"]
    return len(newest), bool(best) and best[-1] not in newest


def _saves(step: int, steps: int, interval: int) -> list[int]:
    """The steps of the saves to come."""
    if not interval:
        return [steps]
    first = (step // interval + 1) * interval
    return sorted({*range(first, steps + 1, interval), steps})[:1000]


def _round_steps(steps: float) -> int:
    """A round number of steps near to so many: 1, 2, 2.5 or 5 times a power of ten."""
    steps = max(1.0, steps)
    scale = 10.0 ** np.floor(np.log10(steps))
    return max(1, int(min((1, 2, 2.5, 5, 10), key=lambda digit: abs(digit * scale - steps)) * scale))


DISK = Rule("disk_full", "checkpoints to come that the disk has no room for", find_full_disk)
INTERVAL = Rule("checkpoint_interval", "checkpoints too far apart for a failure's cost, or too close for theirs",
                find_interval)  # fmt: skip
