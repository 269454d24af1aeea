"""What a loss is held against: guessing, what others have on the same data, the training text, its own best."""

from __future__ import annotations

import math
from collections.abc import Callable

from cockpit import format as fmt
from cockpit.doctor.evidence import Evidence
from cockpit.explaining.expectations import NAMES, data_set, expected_loss, nearest, of_data
from cockpit.explaining.explanation import said
from cockpit.explaining.figures import FRESH_EPOCHS, count
from cockpit.references import REFERENCES

CLOSE = 0.1
"""Nats: what the expectation is good for, across a tenfold of sizes and tokens."""
SURE = 2.0
"""Standard errors of a difference from which on it is spoken of as one."""
LEAST_GAP = 0.02
"""Nats between training and validation that are spoken of, where the error is smaller or unknown."""
LARGEST = 50.0
"""Nats from which on e to them says nothing to anybody."""
LEARNT_BY_HEART = 0.3
"""Nats by which validation lies above training where text is learnt by heart rather than merely better known."""


def ways_to_say_it(evidence: Evidence, value: float | None) -> list[str]:
    """Perplexity, probability, and what guessing would have."""
    if value is None or value >= LARGEST:
        return []
    chance = math.exp(-value)
    made = [
        f"perplexity e^{value:.4f} = {fmt.significant(math.exp(value), 4)}",
        f"probability of the right token e^-{value:.4f} = {fmt.significant(100 * chance)} % on (geometric) average, "
        f"1 in {fmt.significant(1 / chance)}",
    ]
    if rows := evidence.rows:
        start = math.log(rows)
        made.append(
            f"start value ln(vocabulary) = ln {rows:,} = {start:.2f}; {start - value:.2f} below it: the right token is "
            f"{fmt.significant(math.exp(start - value))} times as likely as by guessing"
            if value <= start
            else f"start value ln(vocabulary) = ln {rows:,} = {start:.2f}; {value - start:.2f} above it: worse than "
            "guessing"
        )
    else:
        made.append(
            f"start value ln(vocabulary): ln 50,304 = {math.log(50304):.2f} with GPT-2's tokens, ln 65 = "
            f"{math.log(65):.2f} with Shakespeare's characters; {math.log(50304) - value:.2f} and "
            f"{math.log(65) - value:.2f} below"
        )
    return made


def _data(evidence: Evidence) -> str | None:
    started = evidence.state.started
    return data_set(evidence.profile, started.tokenizer if started else None)


def _expected(evidence: Evidence) -> tuple[float, str] | None:
    """(validation loss to expect by now, in which words) on web text seen about once."""
    size, tokens = evidence.parameters_without_positions, evidence.state.tokens
    if not size or not tokens or (evidence.state.epochs or 0) > FRESH_EPOCHS:
        return None
    found = expected_loss(_data(evidence), size, tokens)
    if found is None:
        return None
    value, start = found
    return value, (
        f"{value:.2f} is to be expected of {count(size)} parameters after {count(tokens)} tokens once the rate has "
        f"decayed ({start}'s loss, moved along Chinchilla's law)"
    )


def usual(evidence: Evidence) -> str:
    """What losses others have on this data, and what this size should have by now."""
    expected = _expected(evidence)
    return said(listed(evidence, lambda loss: f"{loss:g}"), f"{expected[1]}." if expected else None)


def listed(evidence: Evidence, write: Callable[[float], str]) -> str:
    """The references on this data, each loss written by `write`."""
    name = _data(evidence)
    if name:
        there = ", ".join(f"{who} {write(each.loss)}" for who, each in of_data(name).items())
        return f"Validation on {name}: {there}."
    if evidence.profile is None:
        there = ", ".join(f"{NAMES[key]} {write(each.loss)} ({each.data})" for key, each in REFERENCES.items())
        return f"Which text this is of is not said here. Validation elsewhere: {there}."
    return "No model is known here that was trained on this text; losses on other texts or tokens do not compare."


def standing(evidence: Evidence, value: float | None, of: str = "") -> str:
    """What a loss says, against guessing, expectation and others.

    Args:
        of: added where it is compared with the validation loss of others.
    """
    if value is None:
        return ""
    rows = evidence.rows
    if rows and value > math.log(rows) + 0.5:
        return "Above guessing: sure of itself and wrong. It has diverged, or its start is unsound."
    if rows and value > math.log(rows) - 0.5:
        return "About what guessing gives: it has learnt next to nothing yet."
    if (expected := _expected(evidence)) is not None:
        off = value - expected[0]
        if abs(off) <= CLOSE:
            return f"As expected ({off:+.2f} from {expected[0]:.2f}): the run does what its size and tokens allow."
        decaying = evidence.max_steps is not None and evidence.state.step < 0.9 * evidence.max_steps
        more = "; the rate's decay will still take some of that" if decaying else ""
        if off > 0:
            return f"{off:.2f} above the {expected[0]:.2f} to be expected{more}."
        return (
            f"{-off:.2f} below the {expected[0]:.2f} to be expected of a GPT-2: a better one, or validation text that "
            "is in the training text too."
        )
    other = nearest(_data(evidence), evidence.parameters_without_positions)
    if other is not None:
        name, known = other
        return (
            f"{abs(value - known.loss):.2f} {'above' if value > known.loss else 'below'} {name}'s {known.loss:g}{of}."
        )
    if evidence.profile is None and evidence.rows is None and value < 2.0:
        return (
            "Of GPT-2's tokens nobody gets near this but on text learnt by heart (GPT-2 1558M: 2.54); of characters it "
            + ("is ordinary." if value > 1.3 else "is below all that is reached on new text (1.47): training text "
               "known by heart.")
        )  # fmt: skip
    return ""


def gap(evidence: Evidence) -> float | None:
    """Validation minus training of the newest evaluation, nats/token."""
    done = evidence.state.evaluation
    if done is None or done.val_loss is None or done.train_loss is None:
        return None
    return done.val_loss - done.train_loss


def gap_formula(evidence: Evidence) -> str | None:
    """The same with its figures."""
    done, apart = evidence.state.evaluation, gap(evidence)
    if done is None or apart is None:
        return None
    told = f"validation - training, both with dropout off: {done.val_loss:.4f} - {done.train_loss:.4f} = {apart:+.4f}"
    if abs(apart) < LARGEST:
        told += f"; e^{apart:.2f} = {fmt.significant(math.exp(apart))} times the perplexity"
    return told


def what_the_gap_says(evidence: Evidence) -> str | None:
    """Whether the model generalizes, remembers, or is not measured alike."""
    done, apart = evidence.state.evaluation, gap(evidence)
    if done is None or apart is None:
        return None
    if abs(apart) <= max(LEAST_GAP, SURE * math.sqrt(2) * (done.val_stderr or 0.0)):
        return "Training and validation agree: nothing is learnt by heart."
    if apart < 0:
        dropped = f" (dropout {evidence.dropout:g})" if evidence.dropout else ""
        return (
            f"Validation is {-apart:.2f} below training. Measured alike, that is easier text or few batches; if the "
            f"training loss is that of the steps, dropout{dropped} and its older weights explain it."
        )
    epochs = evidence.state.epochs
    seen = f" after {fmt.significant(epochs)} epochs" if epochs is not None else ""
    if apart > LEARNT_BY_HEART:
        return f"Validation is {apart:.2f} above training{seen}: much of the training text is known by heart."
    return f"Validation is {apart:.2f} above training{seen}: it begins to know the training text."


def since_best(evidence: Evidence) -> str | None:
    """How the newest evaluation stands to the best."""
    state, done = evidence.state, evidence.state.evaluation
    if done is None or done.val_loss is None or state.best_val_loss is None or state.best_step is None:
        return None
    if done.step == state.best_step:
        return "It is the lowest so far." if len(state.val_loss) > 1 else None
    lost = done.val_loss - state.best_val_loss
    if lost <= max(LEAST_GAP, SURE * math.sqrt(2) * (done.val_stderr or 0.0)):
        return f"No different from the best, {fmt.loss(state.best_val_loss)} at step {state.best_step:,}."
    return (
        f"{lost:.2f} worse than the {fmt.loss(state.best_val_loss)} of step {state.best_step:,}: it has been "
        "overfitting since; use that checkpoint."
    )
