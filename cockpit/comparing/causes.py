"""Why two runs differ: what is unequal between them, named, with its figures, the weightiest first."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

from cockpit import format as fmt
from cockpit.comparing.entry import Entry
from cockpit.sanitize import clean_line

Kind = Literal["tokens", "size", "context", "batch", "rate", "dropout", "precision", "device", "seed"]

Text = Callable[[Entry, Entry, float], str]

EQUAL = 0.02
"""Share by which two figures may differ and still be called the same."""


@dataclass(frozen=True)
class Cause:
    """One thing that is not equal."""

    kind: Kind
    text: str
    """A clause, without a full stop."""
    figures: dict[str, float | str | None]
    """By `name` of each entry, and what follows from both."""


def causes(a: Entry, b: Entry) -> list[Cause]:
    """What is unequal between two entries; what is not known of both is left out."""
    found = [_tokens(a, b), _size(a, b), _context(a, b), _batch(a, b), *_rates(a, b), _dropout(a, b), _precision(a, b),
             _device(a, b), _seed(a, b)]  # fmt: skip
    return [each for each in found if each is not None]


def count(value: float | None) -> str:
    """`82 M`, `1.5 M`: two figures are enough in a sentence, three where they are there."""
    return " ".join(fmt.count(value)).strip()


def ratio(value: float) -> str:
    """`53`, `4.6`, `1.25`: how many times."""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 1.95 else f"{value:.2f}"


def apart(a: float | None, b: float | None) -> bool:
    """Whether two figures are known and not the same."""
    return bool(a and b and abs(a / b - 1) > EQUAL)


def steps_of(entry: Entry) -> str:
    """`5,000 steps of 64 × 256 tokens`: as much of it as is known."""
    shape = ""
    if entry.micro_batch_size and entry.block_size:
        accumulated = f"{entry.grad_accum_steps:,} × " if (entry.grad_accum_steps or 1) > 1 else ""
        shape = f" of {accumulated}{entry.micro_batch_size:,} × {entry.block_size:,} tokens"
    elif entry.tokens_per_step:
        shape = f" of {count(entry.tokens_per_step)} tokens"
    return f"{fmt.number(entry.steps)} steps{shape}"


def _more(a: Entry, b: Entry, figure: float, other: float) -> tuple[Entry, Entry, float]:
    """(the one that has more, the other, how many times as much)."""
    return (a, b, figure / other) if figure >= other else (b, a, other / figure)


def _unequal(a: Entry, b: Entry, kind: Kind, of: Callable[[Entry], float | None], text: Text) -> Cause | None:
    """A cause that is a figure of each, where these are known and not the same.

    Args:
        text: makes the clause of the one that has more, the other, and how many times as much.
    """
    ours, theirs = of(a), of(b)
    if not (ours and theirs and apart(ours, theirs)):
        return None
    more, fewer, times = _more(a, b, ours, theirs)
    return Cause(kind, text(more, fewer, times), {a.name: ours, b.name: theirs, "ratio": times})


def _other(a: Entry, b: Entry, kind: Kind, of: Callable[[Entry], Any], text: Callable[[Any, Any], str]) -> Cause | None:
    """A cause that is a setting or a circumstance of each, where these are known and not the same.

    Args:
        text: makes the clause of what it is in the first and in the second.
    """
    ours, theirs = of(a), of(b)
    if ours is None or theirs is None or ours == theirs:
        return None
    return Cause(kind, text(ours, theirs), {a.name: ours, b.name: theirs})


def _tokens(a: Entry, b: Entry) -> Cause | None:
    return _unequal(a, b, "tokens", lambda entry: entry.tokens, lambda more, fewer, times: (
        f"tokens: {name(more)} has seen {count(more.tokens)} ({steps_of(more)}), {name(fewer)} {count(fewer.tokens)} "
        f"({steps_of(fewer)}): {ratio(times)} times as many"
    ))  # fmt: skip


def _size(a: Entry, b: Entry) -> Cause | None:
    return _unequal(a, b, "size", lambda entry: entry.parameters, lambda more, fewer, times: (
        f"size: {name(more)} has {count(more.parameters)} parameters, {name(fewer)} {count(fewer.parameters)}: "
        f"{ratio(times)} times as many"
    ))  # fmt: skip


def _context(a: Entry, b: Entry) -> Cause | None:
    return _unequal(a, b, "context", lambda entry: entry.block_size, lambda more, fewer, _: (
        f"context: a token of {name(more)} is predicted from up to {more.block_size:,} before it, one of {name(fewer)} "
        f"from {fewer.block_size:,}; that lowers the loss without any learning, in evaluation too"
    ))  # fmt: skip


def _batch(a: Entry, b: Entry) -> Cause | None:
    noise = (a if (a.tokens_per_step or 0) >= (b.tokens_per_step or 0) else b).noise_tokens
    noise = noise or a.noise_tokens or b.noise_tokens
    measured = f", where {count(noise)} were last measured to be enough" if noise else ""
    found = _unequal(a, b, "batch", lambda entry: entry.tokens_per_step, lambda more, fewer, times: (
        f"batch: a step of {name(more)} is {more.tokens_per_step:,} tokens, one of {name(fewer)} "
        f"{fewer.tokens_per_step:,}: {ratio(times)} times, and {ratio(math.sqrt(times))} times less noise in its "
        f"gradient{measured}"
    ))  # fmt: skip
    return replace(found, figures={**found.figures, "critical_tokens": noise}) if found else None


def _rates(a: Entry, b: Entry) -> list[Cause | None]:
    return [
        _other(a, b, "rate", _setting(key), lambda ours, theirs, word=word: (
            f"{word}: {_said(ours)} of {name(a)}, {_said(theirs)} of {name(b)}"
        ))
        for key, word in (("optim.learning_rate", "rate"), ("optim.name", "optimizer"), ("optim.schedule", "schedule"))
    ]  # fmt: skip


def _dropout(a: Entry, b: Entry) -> Cause | None:
    return _other(a, b, "dropout", _setting("model.dropout"), lambda ours, theirs: (
        f"dropout: {ours:g} in {name(a)}, {theirs:g} in {name(b)}; training losses as printed are not comparable, "
        "validation losses are"
    ))  # fmt: skip


def _precision(a: Entry, b: Entry) -> Cause | None:
    return _other(a, b, "precision", _fact("dtype"), lambda ours, theirs: (
        f"precision: {ours} in {name(a)}, {theirs} in {name(b)}; that is speed: with float32 weights, as both have "
        "them, it trains to the same loss (Micikevicius et al. 2018)"
    ))  # fmt: skip


def _device(a: Entry, b: Entry) -> Cause | None:
    speed, figures = _speeds(a, b)
    found = _other(a, b, "device", _fact("device"), lambda ours, theirs: (
        f"device: {ours} for {name(a)}, {theirs} for {name(b)}{speed}"
    ))  # fmt: skip
    return replace(found, figures=found.figures | figures) if found else None


def _speeds(a: Entry, b: Entry) -> tuple[str, dict[str, float]]:
    """(how much faster one is, for a sentence to end with; its figures); nothing where they are alike, or unknown."""
    if not (a.tokens_per_s and b.tokens_per_s and apart(a.tokens_per_s, b.tokens_per_s)):
        return "", {}
    faster, slower, times = _more(a, b, a.tokens_per_s, b.tokens_per_s)
    figures: dict[str, float] = {}
    text = (
        f": {name(faster)} makes {count(faster.tokens_per_s)} tokens/s, {name(slower)} "
        f"{count(slower.tokens_per_s)}, {ratio(times)} times as many"
    )
    if faster.flops_per_token and slower.flops_per_token and apart(faster.flops_per_token, slower.flops_per_token):
        work = times * faster.flops_per_token / slower.flops_per_token
        text += f" and {ratio(work)} times the arithmetic" if work >= 1 else ""
        figures["arithmetic_ratio"] = work
    return text, figures | {"speed_ratio": times}


def _seed(a: Entry, b: Entry) -> Cause | None:
    return _other(a, b, "seed", _setting("train.seed"), lambda ours, theirs: (
        f"seed: {ours} of {name(a)}, {theirs} of {name(b)}"
    ))  # fmt: skip


def name(entry: Entry) -> str:
    """Fit to be shown."""
    return clean_line(entry.name)


def _setting(key: str) -> Callable[[Entry], Any]:
    """What a run has a dotted key set to, None where that is not known."""
    return lambda entry: entry.settings.get(key)


def _fact(kind: Literal["device", "dtype"]) -> Callable[[Entry], str | None]:
    """What all sittings of a run were on: `A`, or `A, then B, then A`; None where none is known."""

    def of(entry: Entry) -> str | None:
        runs = (clean_line(each) for each, _ in groupby(getattr(sitting, kind) for sitting in entry.sittings))
        return ", then ".join(runs) or None

    return of


def _said(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
