"""Evaluation counted in the time of a step: nanoGPT's clock does that, this one cannot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cockpit.doctor.device import is_foreign
from cockpit.doctor.diagnosis import Diagnosis, Rule
from cockpit.doctor.evidence import Evidence
from cockpit.state import RunState

MANY_TIMES = 5.0
"""Medians that a step timed with an evaluation takes at least: a slow disk or another program seldom costs as much."""
PLAIN_STEPS = 3
"""Steps without an evaluation that the median is taken of, at least."""


class Counted(NamedTuple):
    """What a step would have read with an evaluation counted in, or did."""

    step: int
    ms: float
    """With the evaluation."""
    plain_ms: float
    """Of the steps without one, the median."""
    evaluations: int
    """How many were looked at."""


def with_evaluation(state: RunState) -> Counted | None:
    """Of a run of ours: what nanoGPT's clock would have shown at the newest evaluation; None before there is one."""
    plain = state.median_ms()
    if state.evaluation is None or plain is None:
        return None
    return Counted(state.evaluation.step, plain + state.evaluation.seconds * 1e3, plain, len(state.val_loss))


def polluted(state: RunState) -> Counted | None:
    """Of a log from elsewhere: the newest step that was timed together with an evaluation; None where none was."""
    steps, ms = state.ms.x, state.ms.y
    evaluated = np.isin(steps, state.val_loss.x)
    plain = ms[~evaluated]
    if len(plain) < PLAIN_STEPS or not evaluated.any():
        return None
    usual = float(np.median(plain))
    slow = evaluated & (ms > MANY_TIMES * usual)
    if not usual or not slow.any():
        return None
    at = int(np.flatnonzero(slow)[-1])
    return Counted(int(steps[at]), float(ms[at]), usual, int(evaluated.sum()))


def find(evidence: Evidence) -> Iterator[Diagnosis]:
    """In nanoGPT's log alone: in a run of ours every second has one owner, and no step holds an evaluation."""
    if not is_foreign(evidence) or (found := polluted(evidence.state)) is None:
        return
    times = found.ms / found.plain_ms
    yield Diagnosis(
        rule="clock", severity="note",
        title=f"The {found.ms:,.2f} ms of step {found.step:,} are an evaluation; a step takes {found.plain_ms:,.0f} ms",
        evidence={
            "step": found.step, "ms": found.ms, "median_ms": found.plain_ms, "times": times,
            "evaluation_ms": found.ms - found.plain_ms, "evaluations": found.evaluations,
        },
        why=f"nanoGPT times a printed step from the end of the one before, so an evaluation in between counts in: "
        f"{times:,.0f} times the median of the steps without one. The MFU printed there holds it too.",
        advice=f"Read speed off the other steps: {found.plain_ms:,.1f} ms. The evaluation took about "
        f"{(found.ms - found.plain_ms) / 1e3:,.1f} s; fewer eval_iters or a longer eval_interval make it cheaper.",
        reference="nanoGPT, train.py: t0 is set before the evaluation, dt is taken after the step",
    )  # fmt: skip


RULE = Rule("clock", "evaluation counted in the time of a step, in a log from elsewhere", find)
