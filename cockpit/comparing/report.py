"""A comparison as aligned text and as JSON."""

from __future__ import annotations

import math
from itertools import pairwise
from textwrap import wrap
from typing import Any

from cockpit import format as fmt
from cockpit.comparing.causes import causes, count, name
from cockpit.comparing.comparison import Comparison, less
from cockpit.comparing.entry import AXES, WORDS, Axis, Entry, Value
from cockpit.comparing.standing import bits_per_byte, describe
from cockpit.comparing.story import difference_text, loss_text, paragraph, perplexity_text, place_text
from cockpit.sanitize import clean_line
from gpt.config import as_toml

Table = list[list[str]]


def as_text(comparison: Comparison, axis: Axis | None = None, width: int | None = None) -> str:
    """The whole comparison.

    Args:
        axis: instead of the common end on every axis, a table along this one.
        width: columns that sentences are wrapped to; None: they are not.
    """
    sections = [_head(comparison), aligned(facts(comparison)), _ranking(comparison)]
    if comparison.standing.ranked:
        sections.append(aligned(along(comparison, axis) if axis else at_common_ends(comparison)))
    first, *others = comparison.entries
    sections += [paragraph(first, other) for other in others]
    if differing := settings(comparison):
        sections.append("settings that differ\n" + aligned(differing))
    sections += [line for each in comparison.entries if (line := sittings(each))]
    sections += [f"{name(each)}: {each.about}." for each in comparison.entries if each.about]
    return "\n\n".join(_wrapped(each, width) for each in sections if each)


def _head(comparison: Comparison) -> str:
    what = "validation loss" if comparison.measure == "val_loss" else "training loss (one was never evaluated)"
    data = list(dict.fromkeys(describe(each.data) for each in comparison.entries))
    return f"{what}, {comparison.standing.unit}; {'; '.join(data)}"


def facts(comparison: Comparison) -> Table:
    """What each is and has reached: a column each."""
    rows: list[tuple[str, list[str]]] = []

    def add(label: str, values: list[str]) -> None:
        if any(value != fmt.UNKNOWN for value in values):
            rows.append((label, values))

    entries = comparison.entries
    best = [comparison.best(each) for each in entries]
    if not comparison.standing.ranked:
        add("data", [describe(each.data) for each in entries])
    add("best loss", [loss_text(found[0]) if found else fmt.UNKNOWN for found in best])
    add("at step", [fmt.number(found[1]) if found else fmt.UNKNOWN for found in best])
    add("newest loss", [loss_text(comparison.last(each)) if each.kind != "reference" else fmt.UNKNOWN
                        for each in entries])  # fmt: skip
    add("perplexity", [perplexities(comparison, each) for each in entries])
    add("bits per byte", [_bits(comparison, each) for each in entries])
    add("tokens", [count(each.tokens) for each in entries])
    add("steps", [fmt.number(each.steps) for each in entries])
    add("tokens a step", [fmt.number(each.tokens_per_step) for each in entries])
    add("parameters", [count(each.parameters) for each in entries])
    add("FLOPs", [f"{each.flops:.2e}" if each.flops else fmt.UNKNOWN for each in entries])
    add("training", [fmt.duration(each.seconds) for each in entries])
    add("whole run", [fmt.duration(each.wall) for each in entries])
    add("tokens/s", [fmt.number(each.tokens_per_s) for each in entries])
    add("MFU %", [fmt.percent(each.mfu) for each in entries])
    add("device", [_newest(each, "device") for each in entries])
    add("precision", [_newest(each, "dtype") for each in entries])
    return [["", *(name(each) for each in entries)], *([label, *values] for label, values in rows)]


def perplexities(comparison: Comparison, entry: Entry) -> str:
    """exp(loss) of its own tokens: from the first evaluation to the best, with the best one's range."""
    curve = comparison.curve(entry)
    best = entry.best(curve)
    if best is None:
        return fmt.UNKNOWN
    finite = curve.loss[curve.loss < 50]
    first = f"{fmt.significant(math.exp(finite[0]))} → " if len(finite) > 1 else ""
    return first + perplexity_text(best[0])


def _bits(comparison: Comparison, entry: Entry) -> str:
    factor, best = bits_per_byte(entry.data), entry.best(comparison.curve(entry))
    return loss_text(best[0].scaled(factor)) if factor and best else fmt.UNKNOWN


def _newest(entry: Entry, fact: str) -> str:
    sitting = entry.last_sitting
    return clean_line(getattr(sitting, fact)) if sitting else fmt.UNKNOWN


def _ranking(comparison: Comparison) -> str:
    """Who is lowest, and what cannot be told apart; or why there is no ranking."""
    order, lines = comparison.order, []
    if order:
        words = [name(order[0])]
        for better, worse in pairwise(order):
            difference = less(_best(comparison, better), _best(comparison, worse))
            words.append(("≈ " if difference and difference.sure is False else "< ") + name(worse))
        close = "; ≈: within the evaluations' error" if any(word.startswith("≈") for word in words) else ""
        lines.append(f"lowest first: {' '.join(words)}{close}")
    if comparison.standing.why:
        lines.append(comparison.standing.why)
    return "\n".join(lines)


def _best(comparison: Comparison, entry: Entry) -> Value | None:
    found = comparison.best(entry)
    return found[0] if found else None


def at_common_ends(comparison: Comparison) -> Table:
    """The losses as far as all have come, on every axis; differences are to the first."""
    rows = [["at equal", "as far as all", *_columns(comparison)]]
    for axis in AXES:
        place = comparison.common_end(axis)
        if place is not None and (row := _row(comparison, axis, place)):
            rows.append([WORDS[axis], place_text(axis, place), *row])
    return rows if len(rows) > 1 else []


def along(comparison: Comparison, axis: Axis) -> Table:
    """The losses at several places on one axis; differences are to the first."""
    rows = [[f"at {WORDS[axis]}", *_columns(comparison)]]
    rows += [[place_text(axis, place), *row] for place in comparison.places(axis)
             if (row := _row(comparison, axis, place))]  # fmt: skip
    return rows if len(rows) > 1 else []


def _columns(comparison: Comparison) -> list[str]:
    first, *others = comparison.entries
    differences = [f"{name(each)} − {name(first)}" for each in others] if comparison.standing.ranked else []
    return [*(name(each) for each in comparison.entries), *differences]


def _row(comparison: Comparison, axis: Axis, place: float) -> list[str]:
    values = [comparison.at(each, axis, place) for each in comparison.entries]
    if sum(value is not None for value in values) < 2:
        return []
    losses = [loss_text(value) + ("*" if value and value.between else "") for value in values]
    if not comparison.standing.ranked:
        return losses
    return losses + [difference_text(less(value, values[0])) for value in values[1:]]


def settings(comparison: Comparison) -> Table:
    """Keys with a value each."""
    rows = [[key, *("–" if value is None else clean_line(as_toml(value)) for value in values)]
            for key, values in comparison.differing.items()]  # fmt: skip
    return [["", *(name(each) for each in comparison.entries)], *rows] if rows else []


def sittings(entry: Entry) -> str:
    """On what a run was trained, where it was gone on with: a line a sitting."""
    if len(entry.sittings) < 2:
        return ""
    lines = [f"{name(entry)}: {len(entry.sittings)} sittings"]
    for each in entry.sittings:
        how = "" if each.exact is None else ", went on exactly" if each.exact else f", went on, not exactly: {each.why}"
        speed = f", {each.tokens_per_s:,.0f} tokens/s" if each.tokens_per_s else ""
        compiled = ", compiled" if each.compiled else ""
        lines.append(
            f"  steps {each.first_step + 1:,} to {each.last_step:,} on "
            f"{clean_line(each.device)}, {clean_line(each.dtype)}{compiled}{speed}{clean_line(how)}"
        )
    return "\n".join(lines)


def aligned(table: Table) -> str:
    """The first column to the left, the others to the right."""
    if not table:
        return ""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) if not column else cell.rjust(width)
                       for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
             for row in table]  # fmt: skip
    note = "\n*: on the line between two evaluations" if any("*" in cell for row in table for cell in row) else ""
    return "\n".join(lines) + note


def _wrapped(text: str, width: int | None) -> str:
    """Sentences fit the width; tables stay as they are."""
    if not width or "  " in text:
        return text
    return "\n".join(part for line in text.split("\n") for part in wrap(line, max(40, width)) or [""])


def as_json(comparison: Comparison, axis: Axis | None = None) -> dict[str, Any]:
    """The figures that scripts read; None is unknown. Losses in `unit`, perplexities of each one's own tokens."""
    entries = comparison.entries
    first, *others = entries
    at_equal: dict[str, list[dict[str, Any]]] = {}
    if comparison.standing.ranked:
        for each in (axis,) if axis else AXES:
            end = comparison.common_end(each)
            places = comparison.places(each) if axis else [end] if end is not None else []
            at_equal[each] = [_equal(comparison, each, place) for place in places]
    return {
        "measure": comparison.measure, "unit": comparison.standing.unit, "ranked": comparison.standing.ranked,
        "why": comparison.standing.why, "order": [each.name for each in comparison.order],
        "runs": [_figures(comparison, each) for each in entries],
        "at_equal": at_equal,
        "settings": {key: dict(zip((each.name for each in entries), values, strict=True))
                     for key, values in comparison.differing.items()},
        "causes": {other.name: [{"kind": each.kind, "text": each.text, "figures": each.figures}
                                for each in causes(first, other)] for other in others},
        "story": {other.name: paragraph(first, other) for other in others},
    }  # fmt: skip


def _figures(comparison: Comparison, entry: Entry) -> dict[str, Any]:
    best, curve = comparison.best(entry), comparison.curve(entry)
    own, factor = entry.best(curve), bits_per_byte(entry.data)
    return {
        "name": entry.name, "kind": entry.kind, "data": entry.data.known_as or entry.data.label,
        "tokenizer": entry.data.tokenizer, "vocab_size": entry.data.vocab_size,
        "best_loss": best[0].loss if best else None, "best_loss_stderr": best[0].error if best else None,
        "best_step": best[1] if best else None,
        "perplexity": math.exp(own[0].loss) if own and own[0].loss < 50 else None,
        "bpb": own[0].loss * factor if own and factor else None,
        "steps": entry.steps, "tokens": entry.tokens, "flops": entry.flops, "train_s": entry.seconds,
        "wall_s": entry.wall, "parameters": entry.parameters, "tokens_per_step": entry.tokens_per_step,
        "tokens_per_s": entry.tokens_per_s, "mfu": entry.mfu,
        "sittings": [{
            "first_step": each.first_step, "last_step": each.last_step, "device": each.device, "dtype": each.dtype,
            "compiled": each.compiled, "tokens_per_s": each.tokens_per_s, "exact": each.exact, "why": each.why,
        } for each in entry.sittings],
        "about": entry.about or None,
    }  # fmt: skip


def _equal(comparison: Comparison, axis: Axis, place: float) -> dict[str, Any]:
    values = {each.name: comparison.at(each, axis, place) for each in comparison.entries}
    return {"place": place, "loss": {key: value.loss if value else None for key, value in values.items()},
            "stderr": {key: value.error if value else None for key, value in values.items()},
            "interpolated": {key: bool(value.between) if value else None for key, value in values.items()}}  # fmt: skip
