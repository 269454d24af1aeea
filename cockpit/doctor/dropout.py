"""Validation below training with dropout on: two losses that were not measured alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cockpit import format as fmt
from cockpit.doctor.diagnosis import Diagnosis, Rule, Treatment
from cockpit.doctor.evidence import Evidence, tail
from cockpit.doctor.trend import line

LEAST_GAP = 0.01
"""Nats/token below which nobody would wonder: less than what two seeds differ by."""
LEAST_STEP = 100
"""Before that the loss falls so fast that two means of it cannot be compared."""
CLEAR = 2.0
"""Standard errors that the gap must be wide."""


def find(evidence: Evidence) -> Iterator[Diagnosis]:
    """Once an evaluation lies clearly below the running loss of the same steps."""
    state, dropout = evidence.state, evidence.dropout
    validation = state.val_loss.last
    at = state.val_loss.x
    if not dropout or validation is None or not len(at) or at[-1] < LEAST_STEP:
        return
    running, error = running_loss(evidence, float(at[-1]))
    alike = state.train_eval_loss.last
    training = running if running is not None else alike
    noise = state.evaluation.val_stderr if state.evaluation and not state.evaluation.aside else None
    if training is None:
        return
    gap = training - validation
    if gap <= max(LEAST_GAP, CLEAR * np.hypot(error, noise or 0.0)):
        return
    epochs = epochs_planned(evidence)
    once = epochs is not None and epochs <= 1
    easier = running is not None and alike is not None and running - alike < gap / 2
    why = f"The running loss is taken with dropout {dropout:g}, the validation loss without: they are not comparable. "
    if running is None:
        why = (f"If that training loss was taken with dropout {dropout:g}, it is no match for validation, which never "
               "has it; if it was not, the validation text is the easier one. ")  # fmt: skip
    elif alike is not None:
        why += (f"Measured alike, training reads {fmt.loss(alike)}: dropout accounts for {running - alike:+.4f} of the "
                f"difference, the two texts for {alike - validation:+.4f}. ")  # fmt: skip
    else:
        why += "Measured alike, without dropout, training would read lower. "
    if once and epochs is not None:
        advice = (f"Set model.dropout = 0: the whole run reads {fmt.significant(epochs)} epochs, and what is seen "
                  "once cannot be memorized, so dropout only slows it down.")  # fmt: skip
    else:
        advice = "Read overfitting off the two evaluation losses only, never off the running loss."
        if epochs is None:
            advice += " If the whole run reads less than one epoch, set model.dropout = 0."
    yield Diagnosis(
        rule="dropout_gap", severity="warning" if once else "note",
        title=f"validation {gap:.3f} below training: "
        + ("its text is the easier one" if easier else f"one has dropout {dropout:g}, the other none"),
        evidence={
            "running_loss": running, "running_loss_stderr": error or None, "train_eval_loss": alike,
            "val_loss": validation, "val_stderr": noise, "dropout": dropout, "tokens": state.tokens,
            "epochs": state.epochs, "epochs_planned": epochs,
        },
        why=why.strip(), advice=advice,
        treatment=Treatment("fork", "go on without dropout", {"model.dropout": 0.0}) if once else None,
        reference="Srivastava et al. 2014, JMLR 15, section 10: dropout is for training only; Muennighoff et al. 2023 "
        "(arXiv 2305.16264): data seen once leaves nothing to memorize",
    )  # fmt: skip


def running_loss(evidence: Evidence, step: float) -> tuple[float | None, float]:
    """(running training loss at a step, its standard error): of the newest quarter, by a line, for it still falls.

    Of too few points the newest, with 0 for an error that nobody knows.
    """
    through = line(*tail(evidence.state.loss, least=20))
    if through is None:
        return evidence.state.loss.last, 0.0
    return through.at(step), float(np.hypot(through.level_stderr, through.stderr * (step - through.centre)))


def epochs_planned(evidence: Evidence) -> float | None:
    """Passes over the training split that the whole run makes; None where the split's size is not known."""
    started, last_step, per_step = evidence.state.started, evidence.max_steps, evidence.tokens_per_step
    per_epoch = (started.tokens_per_epoch or started.train_tokens) if started else None
    return last_step * per_step / per_epoch if per_epoch and last_step and per_step else None


RULE = Rule("dropout_gap", "validation below training because only one of them was measured with dropout", find)
