"""Overfitting: validation rises while training goes on to fall."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cockpit import format as fmt
from cockpit.doctor.diagnosis import Diagnosis, Rule, Treatment
from cockpit.doctor.evidence import Evidence
from cockpit.doctor.trend import line, roughness

PATIENCE = 3
"""Evaluations after the best one before a rise is more than luck."""
RISE = 0.005
"""Share of the loss that validation must have risen by: less is within what one run wavers by."""
CLEAR = 3.0
"""Deviations of the curve's own roughness that the rise must exceed."""
MEMORIZED = 0.6
"""Training loss over validation loss below which training text is known by heart, however few evaluations show it.
Sound runs of nanoGPT's size on Shakespeare end near 0.75."""
OFTEN = 20
"""Evaluations in a run that find its best step well enough."""
BAD = 0.05
"""Share of the loss from which a rise is critical: the model of the best step is another one by then."""


@dataclass(frozen=True)
class Rise:
    """Validation since its best evaluation."""

    best_step: int
    best: float
    now: float
    """Mean of the newest evaluations."""
    train_at_best: float
    train_now: float

    @property
    def share(self) -> float:
        """By what share of the best loss it has risen."""
        return self.now / self.best - 1


def find(evidence: Evidence) -> Iterator[Diagnosis]:
    """A rise that is seen, or a gap that speaks for itself."""
    state = evidence.state
    rise, train, validation = risen(evidence), state.train_eval_loss.last, state.val_loss.last
    epochs = state.epochs
    if not len(state.val_loss.x) or (rise is None and not _memorized(train, validation, epochs)):
        return
    best_step = rise.best_step if rise else int(state.val_loss.x[np.nanargmin(state.val_loss.y)])
    best = rise.best if rise else float(np.nanmin(state.val_loss.y))
    at_best = epochs * best_step / state.step if epochs and state.step else None
    seen = f" after {fmt.significant(epochs)} epochs" if epochs else ""
    if rise:
        title = f"overfitting since step {best_step:,}: validation {rise.now - best:+.3f}, training still falls"
        why = (f"Validation was {fmt.loss(best)} at step {best_step:,} and is {fmt.loss(rise.now)} now, while training "
               f"went from {fmt.loss(rise.train_at_best)} to {fmt.loss(rise.train_now)}: the model learns its training "
               f"text by heart{seen}.")  # fmt: skip
    else:
        title = f"overfitting: validation {fmt.loss(validation)} against training {fmt.loss(train)}"
        why = (f"Training text costs {fmt.loss(train)} nats a token, text not seen {fmt.loss(validation)}: the model "
               f"knows its training text by heart{seen}.")  # fmt: skip
    if rise is None and best_step == int(state.val_loss.x[-1]):
        yield _unseen(evidence, title, why, len(state.val_loss) >= PATIENCE + 2)
        return
    settings, words = _remedies(evidence, best_step)
    again = Treatment("profile", f"train again, to step {best_step:,}", settings)
    stop = Treatment("command", "stop; the best checkpoint is kept", action="quit")
    keeps = evidence.profile is None or evidence.profile.checkpoint.best
    where = "the checkpoint `best` has it" if keeps else "set checkpoint.best = true to have it kept next time"
    yield Diagnosis(
        rule="overfitting",
        severity="critical" if (rise and rise.share > BAD) or _memorized(train, validation, epochs) else "warning",
        title=title,
        evidence={
            "best_step": best_step, "best_val_loss": best, "val_loss": validation, "train_eval_loss": train,
            "rise": rise.now - best if rise else None, "train_at_best": rise.train_at_best if rise else None,
            "epochs": epochs, "epochs_at_best": at_best,
        },
        why=why,
        advice=f"Stop, and use step {best_step:,} ({where}); or rewind to it and go on with less rate. To come "
        f"further: more data, or a new run {words}.",
        treatment=stop if not state.is_final and keeps and rise else again if settings else None,
        reference="Prechelt 1998, Early stopping - but when?; Muennighoff et al. 2023 (arXiv 2305.16264): up to about "
        "4 epochs repeated data is worth nearly as much as new",
    )  # fmt: skip


def _unseen(evidence: Evidence, title: str, why: str, falling: bool) -> Diagnosis:
    """A gap with the newest evaluation the best: either validation does still fall, or the best step was passed by."""
    state = evidence.state
    often = max(1, round(state.step / OFTEN))
    if falling:
        words = "Validation still falls, so the run is not spoilt; watch for the step from which it rises."
    else:
        words = (
            f"Its best step was passed unseen: set train.eval_interval = {often:,} and train again, or find more data."
        )
    return Diagnosis(
        rule="overfitting", severity="note" if falling else "critical", title=title,
        evidence={
            "val_loss": state.val_loss.last, "train_eval_loss": state.train_eval_loss.last, "epochs": state.epochs,
            "eval_interval_wanted": None if falling else often,
        },
        why=why, advice=words,
        treatment=None if falling else
        Treatment("profile", f"train again, evaluated every {often:,} steps", {"train.eval_interval": often}),
        reference="Prechelt 1998, Early stopping - but when?",
    )  # fmt: skip


def risen(evidence: Evidence) -> Rise | None:
    """The rise since the best evaluation, where it is clear and training has fallen meanwhile."""
    state = evidence.state
    both = np.isfinite(state.val_loss.y) & np.isfinite(state.train_eval_loss.y) if _paired(evidence) else None
    if both is None or both.sum() < PATIENCE + 2:
        return None
    x, val, train = state.val_loss.x[both], state.val_loss.y[both], state.train_eval_loss.y[both]
    best = int(np.argmin(val))
    since = line(x[best:], val[best:])
    if len(x) - 1 - best < PATIENCE or since is None or since.slope < CLEAR * since.stderr:
        return None
    now, train_now = float(np.mean(val[-PATIENCE:])), float(np.mean(train[-PATIENCE:]))
    around = slice(max(0, best - 1), best + 2)  # of the lowest one alone part is luck
    least = max(RISE * val[best], CLEAR * (roughness(val[best:]) or 0.0))
    if now - float(np.median(val[around])) < least or train_now > float(np.median(train[around])) - least / 2:
        return None
    return Rise(int(x[best]), float(val[best]), now, float(train[best]), train_now)


def _paired(evidence: Evidence) -> bool:
    return len(evidence.state.val_loss) == len(evidence.state.train_eval_loss)


def _memorized(train: float | None, validation: float | None, epochs: float | None) -> bool:
    if train is None or not validation or (epochs is not None and epochs < 1):
        return False
    return train < MEMORIZED * validation


def _remedies(evidence: Evidence, best_step: int) -> tuple[dict[str, int | float | None], str]:
    """Settings for a run begun anew, and words for them: it ends, its rate fallen, where this one was best."""
    dropout = evidence.dropout
    if best_step < 1:
        return {}, "with fewer steps"
    settings: dict[str, int | float | None] = {"train.max_steps": best_step, "optim.decay_steps": None}
    words = f"with train.max_steps = {best_step:,}"
    if dropout is not None and dropout < 0.2:
        settings["model.dropout"] = 0.2
        words += f" and model.dropout = 0.2 (it is {dropout:g})"
    return settings, words


RULE = Rule("overfitting", "validation rises while training falls, or training text is known by heart", find)
