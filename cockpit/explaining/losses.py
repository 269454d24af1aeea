"""Losses explained: as perplexity, as a probability, against guessing, against what is known from elsewhere."""

from __future__ import annotations

import math

from cockpit import format as fmt
from cockpit.doctor.device import is_foreign
from cockpit.doctor.evidence import Evidence
from cockpit.explaining.explanation import Explanation, lines, said
from cockpit.explaining.standing import (
    LEARNT_BY_HEART,
    gap,
    gap_formula,
    listed,
    since_best,
    standing,
    usual,
    ways_to_say_it,
    what_the_gap_says,
)


def loss(evidence: Evidence) -> Explanation:
    """The training loss of the newest steps, smoothed as on screen."""
    state = evidence.state
    value, steps = state.smoothed_loss.last, len(state.loss)
    smoothed = None
    if steps > 1 and value is not None:
        smoothed = f"An exponential mean of the steps' losses; the newest step alone has {fmt.loss(state.loss.last)}."
    dropout = evidence.dropout
    return Explanation(
        id="loss", name="loss", value=fmt.loss(value),
        meaning="How surprised the model is by the next token of its training text, on average: -ln of the "
        "probability it gave to the right one, in nats per token. "
        + ("nanoGPT prints that of the iteration's last micro-step alone, " if is_foreign(evidence)
           else "Of the steps themselves, ")
        + (f"with dropout {dropout:g} on: higher than the same weights have without."
           if dropout else "with whatever dropout is set."),
        computation=lines(smoothed, *ways_to_say_it(evidence, value)),
        usual=usual(evidence), says=standing(evidence, value, ", which is of validation"),
        change=_what_lowers(evidence),
    )  # fmt: skip


def train_loss(evidence: Evidence) -> Explanation:
    """The evaluation's loss on the training split."""
    done = evidence.state.evaluation
    value = done.train_loss if done else None
    step = None
    if done and value is not None and (smooth := evidence.state.smoothed_loss.last) is not None:
        aside = "dropout and the steps since" if evidence.dropout else "the batches and the steps since"
        step = f"The steps' own loss is {fmt.loss(smooth)} now: {smooth - value:+.4f}, from {aside}."
    return Explanation(
        id="train_loss", name="train loss, evaluated", value=fmt.loss(value),
        meaning="The loss on batches of the training split with dropout off: what the validation loss may be compared "
        "with. Nats per token.",
        computation=lines(*ways_to_say_it(evidence, value)), usual=usual(evidence),
        says=said(step, what_the_gap_says(evidence)), change=_what_lowers(evidence),
    )  # fmt: skip


def val_loss(evidence: Evidence) -> Explanation:
    """The newest validation loss."""
    state = evidence.state
    done = state.evaluation
    value = done.val_loss if done else None
    error = f" ± {done.val_stderr:.4f}" if done and done.val_stderr is not None else ""
    of = None
    if done and done.val_tokens:
        kind = "all" if done.whole else "a sample of"
        of = f"Mean over {done.val_tokens:,} tokens, {kind} the validation split, at step {done.step:,}."
    return Explanation(
        id="val_loss", name="val loss", value=f"{fmt.loss(value)}{error}",
        meaning="The same as the loss, on text that is never trained on, with dropout off: how good the model is on "
        "what it has not seen. Nats per token" + ("; ± is its standard error." if error else "."),
        computation=lines(of, *ways_to_say_it(evidence, value), gap_formula(evidence)),
        usual=usual(evidence), says=said(standing(evidence, value), what_the_gap_says(evidence), since_best(evidence)),
        change=said(_what_lowers(evidence), _what_makes_sure(evidence)),
    )  # fmt: skip


def best(evidence: Evidence) -> Explanation:
    """The lowest validation loss so far."""
    state = evidence.state
    value, at = state.best_val_loss, state.best_step
    where = f" at step {at:,}" if at is not None and value is not None else ""
    bias = None
    if value is not None and len(state.val_loss) > 2:
        bias = f"The lowest of {len(state.val_loss)} noisy estimates: chance makes it a little lower than it is."
    return Explanation(
        id="best", name="best val", value=f"{fmt.loss(value)}{where}",
        meaning="The lowest validation loss of the run; its checkpoint is kept as `best`, whatever comes after.",
        computation=lines(*ways_to_say_it(evidence, value)[:1]), usual=usual(evidence),
        says=said(since_best(evidence), bias), change=_what_lowers(evidence),
    )  # fmt: skip


def perplexity(evidence: Evidence) -> Explanation:
    """e to the validation loss."""
    done = evidence.state.evaluation
    value = done.val_loss if done else None
    power = math.exp(value) if value is not None and value < 50 else None
    rows = evidence.rows
    return Explanation(
        id="perplexity", name="perplexity", value=fmt.significant(power, 4),
        meaning="Among how many equally likely tokens the model is left to guess, on average: e to the val loss.",
        computation=f"e^{value:.4f} = {fmt.significant(power, 4)}" if power else "",
        usual=said(
            f"From {rows:,}, all of the vocabulary, down." if rows else None,
            listed(evidence, lambda loss: fmt.significant(math.exp(loss))),
            "It compares only with perplexities on the same text by the same tokenizer; bits per byte compare further.",
        ),
        says=f"As good as choosing blindly among {fmt.significant(power)} tokens at each place." if power else "",
        change="All that changes the validation loss; 0.1 nats less is 9.5 % less of it.",
    )  # fmt: skip


def bits_per_byte(evidence: Evidence) -> Explanation:
    """The validation loss on a scale that does not depend on the tokenizer."""
    state = evidence.state
    done, started = state.evaluation, state.started
    value = done.bpb if done else None
    formula = ""
    if done and value is not None and done.val_loss is not None:
        per_token = done.val_loss / math.log(2) / value if value else None
        formula = f"{done.val_loss:.4f} nats / ln 2 / {fmt.significant(per_token)} bytes a token = {value:.3f}"
    elif done and done.val_loss is not None and not started:
        bits = done.val_loss / math.log(2)
        formula = f"{done.val_loss:.4f} nats / ln 2 = {bits:.3f} bits a token; the bytes of a token are not known here"
    return Explanation(
        id="bits_per_byte", name="bits per byte", value="–" if value is None else f"{value:.3f} bpb",
        meaning="Bits that the model would need to write down each byte of the validation text: the loss, freed of "
        "the tokenizer. The one figure that compares models with different tokenizers, on the same text.",
        computation=formula,
        usual="8 is no knowledge at all. gzip takes about 3 bits a byte of English, xz about 2; "
        "GPT-2 124M needs about 1 on web text (3.12 nats / ln 2 / 4.5 bytes a token = 1.00).",
        says=f"It would shrink this text to {100 * value / 8:.0f} % of its size." if value is not None else "",
        change="All that changes the validation loss. A larger vocabulary alone does not count here.",
    )  # fmt: skip


def _what_lowers(evidence: Evidence) -> str:
    epochs, apart = evidence.state.epochs, gap(evidence)
    if apart is not None and apart > LEARNT_BY_HEART:
        return "More text, more dropout, a smaller model, or ending at the best step; more steps make it worse."
    if epochs is not None and epochs < 1 and evidence.dropout:
        return (
            f"More tokens, a larger model, a rate that decays to its floor; dropout 0 instead of {evidence.dropout:g}: "
            "under one epoch there is nothing to learn by heart."
        )
    return "More tokens, a larger model, a rate that suits it and decays to its floor."


def _what_makes_sure(evidence: Evidence) -> str | None:
    done, profile = evidence.state.evaluation, evidence.profile
    if done is None or not done.val_stderr or done.whole or profile is None or not profile.train.eval_steps:
        return None
    steps = profile.train.eval_steps
    return f"Four times the {steps} eval_steps, {4 * steps}, halve its error to ± {done.val_stderr / 2:.4f}."
