"""Why two entries are where they are, in one paragraph that is made of their figures."""

from __future__ import annotations

import math

from cockpit import format as fmt
from cockpit.comparing.causes import apart, causes, count, name, ratio, steps_of
from cockpit.comparing.comparison import Comparison, Difference, compare, less
from cockpit.comparing.entry import Axis, Entry, Value
from cockpit.comparing.standing import describe, in_short

FAR = 3.0
"""Times as many tokens or seconds from which on a comparison of two ends says more about lengths than about models."""


def paragraph(a: Entry, b: Entry) -> str:
    """Where a and b end, what is unequal, what is left at equal footing, and what to make of it."""
    comparison = compare((a, b))  # what can be said of these two, whoever else is looked at beside them
    sentences = [_ends(comparison, a, b), _lengths(a, b), *_others(a, b)]
    if comparison.standing.ranked:
        sentences += [_equal(comparison, a, b), _share_of_length(comparison, a, b)]
    sentences += [_machines(a, b), _fair(comparison, a, b)]
    return " ".join(each for each in sentences if each)


def loss_text(value: Value | None) -> str:
    """`1.4735 ± 0.0031`."""
    if value is None:
        return fmt.UNKNOWN
    return fmt.loss(value.loss) + (f" ± {value.error:.4f}" if value.error is not None else "")


def difference_text(difference: Difference | None) -> str:
    """`-0.4154 ± 0.0120`."""
    if difference is None:
        return fmt.UNKNOWN
    return f"{difference.value:+.4f}" + (f" ± {difference.error:.4f}" if difference.error is not None else "")


def perplexity_text(value: Value) -> str:
    """exp(loss), with the range that one standard error makes of it: `4.37 (4.35 … 4.38)`."""
    if value.loss > 50:
        return fmt.UNKNOWN
    text = fmt.significant(math.exp(value.loss))
    if value.error is not None:
        low, high = (fmt.significant(math.exp(value.loss + sign * value.error)) for sign in (-1, 1))
        text += f" ({low} … {high})"
    return text


def place_text(axis: Axis, place: float) -> str:
    """`2,000 steps`, `1.54 M tokens`, `7.4e+12 FLOPs`, `12 m 04 s of training`."""
    match axis:
        case "step":
            return f"{place:,.0f} steps"
        case "tokens":
            return f"{count(place)} tokens"
        case "flops":
            return f"{place:.2e} FLOPs"
        case "seconds":
            return f"{fmt.duration(place)} of training"


def _unit(comparison: Comparison) -> str:
    return "nats" if comparison.standing.unit == "nats/token" else "bits/byte"


def _ends(comparison: Comparison, a: Entry, b: Entry) -> str:
    ours, theirs = comparison.best(a), comparison.best(b)
    if ours is None or theirs is None:
        lacking = " and ".join(name(each) for each, found in ((a, ours), (b, theirs)) if found is None)
        what = "validation loss" if comparison.measure == "val_loss" else "loss"
        return f"Of {lacking} no {what} is known yet."
    texts = []
    for each, (value, _) in ((a, ours), (b, theirs)):
        nats = each.best(comparison.curve(each))
        texts.append(
            f"{name(each)} reaches {loss_text(value)} {comparison.standing.unit} (perplexity "
            f"{fmt.significant(math.exp(nats[0].loss)) if nats and nats[0].loss < 50 else fmt.UNKNOWN} on "
            f"{in_short(each.data)})"
        )
    if not comparison.standing.ranked:
        return (
            f"{texts[0]}, {texts[1]}; which is the better model, that does not tell: {describe(a.data)} against "
            f"{describe(b.data)}."
        )
    difference = less(ours[0], theirs[0])
    assert difference is not None
    lower = a if difference.value < 0 else b
    by = f"{abs(difference.value):.4f}" + (f" ± {difference.error:.4f}" if difference.error is not None else "")
    end = f"{name(lower)} is {by} {_unit(comparison)} lower"
    if difference.sure is False:
        end = f"the {by} {_unit(comparison)} between them are within the evaluations' error"
    return f"{texts[0]}, {texts[1]}: {end}."


def _lengths(a: Entry, b: Entry) -> str:
    if not (a.tokens and b.tokens):
        return ""
    ours, theirs = (f"{steps_of(each)}, {count(each.tokens)} in all" if each.steps else count(each.tokens)
                    for each in (a, b))  # fmt: skip
    if not apart(a.tokens, b.tokens):
        return f"Both have seen {count(a.tokens)} tokens."
    more, fewer = (a, b) if a.tokens > b.tokens else (b, a)
    times = (more.tokens or 1) / (fewer.tokens or 1)
    counts = ""
    if a.steps and b.steps and apart(a.tokens_per_step, b.tokens_per_step):
        counts = ", which their numbers of steps do not tell"
    return f"{name(a)} took {ours}; {name(b)} {theirs}: {name(more)} has seen {ratio(times)} times the tokens{counts}."


def _others(a: Entry, b: Entry) -> list[str]:
    """The unequal things that no other sentence speaks of."""
    found = [cause.text for cause in causes(a, b) if cause.kind not in ("tokens", "device")]
    return [f"Unequal besides: {'; '.join(found)}."] if found else []


def _equal(comparison: Comparison, a: Entry, b: Entry) -> str:
    """What is left of the difference where both had as much."""
    said = []
    axes: list[Axis] = ["tokens", "seconds"] if apart(a.tokens_per_step, b.tokens_per_step) else ["step", "seconds"]
    if apart(a.flops_per_token, b.flops_per_token):
        axes.insert(1, "flops")
    for axis in axes:
        place = comparison.common_end(axis, (a, b))
        if place is None:
            continue
        ours, theirs = (comparison.at(each, axis, place) for each in (a, b))
        difference = less(ours, theirs)
        if difference is None or ours is None or theirs is None:
            continue
        by = f"{abs(difference.value):.2f}" if abs(difference.value) >= 0.1 else f"{abs(difference.value):.4f}"
        verdict = f"{name(a if difference.value < 0 else b)} by {by}"
        if difference.sure is False:
            verdict = "neither beyond the error"
        said.append(f"at {place_text(axis, place)} {fmt.loss(ours.loss)} against {fmt.loss(theirs.loss)} ({verdict})")
    return f"As far as both have come: {'; '.join(said)}." if said else ""


def _share_of_length(comparison: Comparison, a: Entry, b: Entry) -> str:
    """What the tokens were worth that only one of them has seen."""
    if not (a.tokens and b.tokens and max(a.tokens, b.tokens) > FAR * min(a.tokens, b.tokens)):
        return ""
    more, fewer = (a, b) if a.tokens > b.tokens else (b, a)
    place = comparison.common_end("tokens", (a, b))
    best = comparison.best(more)
    then = comparison.at(more, "tokens", place) if place else None
    if best is None or then is None:
        return ""
    return (
        f"The {count((more.tokens or 0) - (fewer.tokens or 0))} tokens that only {name(more)} has seen took it from "
        f"{fmt.loss(then.loss)} to {fmt.loss(best[0].loss)}, {then.loss - best[0].loss:.2f} {_unit(comparison)}."
    )


def _machines(a: Entry, b: Entry) -> str:
    device = next((cause for cause in causes(a, b) if cause.kind == "device"), None)
    if device is None:
        return ""
    text = f"{device.text[0].upper()}{device.text[1:]}"
    faster, slower = (a, b) if (a.tokens_per_s or 0) >= (b.tokens_per_s or 0) else (b, a)
    if slower.tokens_per_s and slower.flops_per_token and faster.flops and faster.seconds:
        there = faster.flops / (slower.tokens_per_s * slower.flops_per_token)
        if there > FAR * faster.seconds:
            text += (
                f"; what took {name(faster)} {fmt.duration(faster.seconds)} of training would take {name(slower)}'s "
                f"machine {fmt.duration(there)}, were it as busy as with its own model"
            )
    return text + "."


def _fair(comparison: Comparison, a: Entry, b: Entry) -> str:
    if not comparison.standing.ranked:
        return ""
    kinds = {cause.kind for cause in causes(a, b)}
    if kinds and kinds <= {"device", "precision"}:
        return "Only the machine differs: what is left between the losses is rounding and chance."
    if "device" in kinds and kinds & {"tokens", "size", "context", "batch"}:
        return "So the losses compare the runs, not the machines: for those, train one profile on both."
    return ""
