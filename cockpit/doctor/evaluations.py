"""Evaluations that are too noisy for what is read from them, or take too much of the time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from cockpit import format as fmt
from cockpit.doctor.diagnosis import Diagnosis, Rule, Treatment
from cockpit.doctor.evidence import Evidence, tail
from cockpit.doctor.trend import roughness

COARSE = 0.01
"""Standard error as a share of the loss from which a figure says little: at 3.3 nats it spans 3.23 to 3.37, which is
wider than what a quarter more parameters bring. Worth a note."""
VERY_COARSE = 0.02
"""Share from which it is worth a warning."""
HOPELESS = 0.03
"""Share from which it says little even where the run's own progress can be seen: the windows are the same each time,
so what they happen to contain shifts all of a curve, and only its comparison with something else suffers."""
FINE = 0.0025
"""Share of the loss that is fine enough where there is no wider difference to be shown."""
CLEAR = 2.0
"""Standard errors that a difference must be wide to be seen."""
MOST_TIME = 0.10
"""Share of a run's time for evaluation above which it is worth words."""
GOOD_TIME = 0.05
"""Share that the advice comes down to."""
LEAST_SECONDS = 60.0
"""Of evaluation in the whole run, below which nobody minds."""
LEAST_EVALUATIONS = 5
"""Before any of this is judged: the first is slower than the others, and a trend needs points."""


def find_noisy(evidence: Evidence) -> Iterator[Diagnosis]:
    """Where the error is coarse, and neither the gap to training nor the recent progress stands out of it."""
    state, profile = evidence.state, evidence.profile
    event, validation = state.evaluation, state.val_loss.last
    if event is None or event.aside or event.whole or validation is None or len(state.val_loss) < LEAST_EVALUATIONS:
        return
    error, tokens = event.val_stderr, event.val_tokens
    at_least = error is None
    if error is None and tokens:
        error = validation / math.sqrt(tokens)
    if error is None or error < COARSE * validation:
        return
    _, recent = tail(state.val_loss, 0.5)
    progress = float(np.mean(recent[: len(recent) // 2]) - np.mean(recent[-(len(recent) // 2) :]))
    train = state.train_eval_loss.last
    gap = validation - train if train is not None else None
    rough = roughness(recent)
    # Against itself, on the same windows; of too few evaluations it is no more than their error, where that is known.
    wavers = rough if rough is not None else math.inf if at_least else error
    shows = abs(progress) > CLEAR * math.sqrt(2) * wavers
    if abs(gap or 0.0) >= CLEAR * math.sqrt(2) * error or (shows and error < HOPELESS * validation):
        return
    seen = max(abs(progress), abs(gap or 0.0))
    wanted = min(COARSE * validation, max(FINE * validation, seen / (CLEAR * math.sqrt(2))))
    if shows:
        wanted = VERY_COARSE * validation
    batches = profile.train.eval_steps if profile else None
    settings, sentence = _more_batches(evidence, batches, error, wanted, tokens)
    about = "at least " if at_least else ""
    yield Diagnosis(
        rule="noisy_evaluation", severity="warning" if error >= VERY_COARSE * validation and not shows else "note",
        title=f"evaluation is {about}± {error:.3f}"
        + (f", {100 * error / validation:.0f} % of the loss: it shows this run's progress, not how it stands to another"
           if shows else f"; what is read from it differs by {seen:.3f}"),
        evidence={
            "val_loss": validation, "val_stderr": event.val_stderr, "stderr_used": error, "progress": progress,
            "roughness": rough,
            "gap": gap, "eval_steps": batches, "val_tokens": tokens, "wanted_stderr": wanted,
            "eval_steps_wanted": settings.get("train.eval_steps"),
        },
        why=f"One evaluation reads {fmt.number(tokens)} tokens; its standard error is {about}{error:.3f} nats."
        + (f" Validation minus training is {gap:+.3f}, and" if gap is not None else "")
        + f" over the newest half of the evaluations it moved by {-progress:+.3f}"
        + (f", while one wavers by {rough:.3f} about the next" if rough is not None else "")
        + ". The windows are the same each time, so a run compares better with itself than with training, other data "
        "or a published figure.",
        advice=sentence,
        treatment=Treatment("live", "evaluate more text", settings) if settings and not state.is_final else None,
        reference="the standard error of a mean falls with the square root of the batches (Cochran 1977, section 6.4)",
    )  # fmt: skip


def _more_batches(
    evidence: Evidence, batches: int | None, error: float, wanted: float, tokens: int | None
) -> tuple[dict[str, int], str]:
    """The change of settings, and what it brings."""
    factor = (error / wanted) ** 2
    if not batches:
        return {}, f"Evaluate {factor:,.1f} times as many batches: that brings the error to ± {wanted:.4f}."
    steps = math.ceil(factor * batches)
    event, started = evidence.state.evaluation, evidence.state.started
    took = f" An evaluation then takes about {fmt.duration(event.seconds * steps / batches)}." if event else ""
    if tokens and started and started.val_tokens and tokens / batches * steps >= started.val_tokens:
        error_there = error * math.sqrt(tokens / started.val_tokens)
        return {"train.eval_steps": 0}, (
            f"Set train.eval_steps = 0: the whole split, {started.val_tokens:,} tokens, ± {error_there:.4f}; "
            f"{steps:,} batches would be more than it has.")  # fmt: skip
    return {"train.eval_steps": steps}, (
        f"Set train.eval_steps = {steps:,}: that brings the error to ± {wanted:.4f} (it is {batches:,}).{took}"
    )


def find_costly(evidence: Evidence) -> Iterator[Diagnosis]:
    """Where evaluation takes more than a tenth of the time."""
    state, profile = evidence.state, evidence.profile
    since = {phase: state.ledger.get(phase, 0.0) - state.ledger_at_start.get(phase, 0.0) for phase in state.ledger}
    spent, work = since.get("evaluate", 0.0), since.get("train", 0.0) + since.get("data", 0.0)
    steps, interval = state.step - state.start_step, profile.train.eval_interval if profile else None
    evaluations = int(np.sum(state.val_loss.x > state.start_step))
    if spent <= 0 or work <= 0 or steps <= 0 or evaluations < LEAST_EVALUATIONS:
        return
    share, each, step_s = spent / (spent + work), spent / evaluations, work / steps
    whole_run = spent * max(1.0, ((evidence.max_steps or state.step) - state.start_step) / steps)
    if share <= MOST_TIME or whole_run < LEAST_SECONDS:
        return
    exact = each * (1 - GOOD_TIME) / (GOOD_TIME * step_s)
    limit = each * (1 - MOST_TIME) / (MOST_TIME * step_s)
    wanted = _rounded_up(exact)
    now = f" (it is {interval:,})" if interval else ""
    yield Diagnosis(
        rule="costly_evaluation", severity="warning",
        title=f"evaluation takes {100 * share:.0f} % of the time",
        evidence={
            "share": share, "seconds": spent, "evaluations": evaluations, "seconds_each": each, "step_seconds": step_s,
            "eval_interval": interval, "eval_interval_wanted": wanted, "eval_interval_for_10_percent": math.ceil(limit),
            "eval_steps": profile.train.eval_steps if profile else None,
        },
        why=f"One evaluation takes {fmt.duration(each)}, as {each / step_s:,.0f} steps of {1e3 * step_s:,.1f} ms do"
        + (f", and comes every {interval:,} steps." if interval else "."),
        advice=f"Set train.eval_interval = {wanted:,}{now} for {100 * GOOD_TIME:.0f} % of the time; "
        f"{math.ceil(limit):,} is the least for {100 * MOST_TIME:.0f} %. Or keep the interval, and evaluate fewer "
        "batches.",
        treatment=None if state.is_final else
        Treatment("live", f"evaluate every {wanted:,} steps", {"train.eval_interval": wanted}),
        reference="this run's own clock: evaluation over evaluation, training and waiting for data",
    )  # fmt: skip


def _rounded_up(steps: float) -> int:
    """To two significant digits."""
    unit = 10 ** max(0, math.floor(math.log10(max(steps, 1))) - 1)
    return math.ceil(steps / unit) * unit


NOISY = Rule("noisy_evaluation", "evaluations whose error hides the differences that are read from them", find_noisy)
COSTLY = Rule("costly_evaluation", "evaluation that takes more than a tenth of the time", find_costly)
