"""What the doctor found, in words for a terminal and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from cockpit.doctor.diagnosis import SEVERITIES, Diagnosis, Scalar, Severity
from cockpit.sanitize import clean_line

GLYPHS: dict[Severity, str] = {"critical": "✖", "warning": "▲", "note": "·"}
"""What tells the severities apart without colour."""
WIDTH = 100
"""Columns where there is no terminal, and the most a sentence is good to read in."""


def as_json(found: Sequence[Diagnosis]) -> list[dict[str, Any]]:
    """The list that scripts read; numbers that are not finite become null."""
    return [
        {
            "rule": each.rule, "severity": each.severity, "title": each.title,
            "evidence": {name: _plain(value) for name, value in each.evidence.items()},
            "why": each.why, "advice": each.advice, "action": _action(each), "reference": each.reference,
        }
        for each in found
    ]  # fmt: skip


def as_text(found: Sequence[Diagnosis], subject: str, silenced: Sequence[str] = (), width: int = WIDTH) -> str:
    """The findings, the worst first, each with its figures and what to do.

    Args:
        subject: what was looked at.
        silenced: entries of doctor.silence, with their reasons.
        width: columns that lines are wrapped to.
    """
    lines = [clean_line(f"{subject}: {_verdict(found)}")]
    for each in found:
        lines += ["", *_card(each, min(width, WIDTH))]
    if silenced:
        lines += ["", *_wrapped(f"silenced: {'; '.join(silenced)}", min(width, WIDTH), "", "  ")]
    return "\n".join(lines)


def _verdict(found: Sequence[Diagnosis]) -> str:
    counts = [(sum(each.severity == severity for each in found), severity) for severity in reversed(SEVERITIES)]
    words = [f"{count} {severity}{'s' if count > 1 and severity != 'critical' else ''}" for count, severity in counts]
    told = [word for word, (count, _) in zip(words, counts, strict=True) if count]
    return ", ".join(told) or "nothing found wrong"


def _card(each: Diagnosis, width: int) -> list[str]:
    head = f"{GLYPHS[each.severity]} {each.severity:<8}  "
    indent = " " * len(head)
    lines = _wrapped(f"{each.title}  ({each.rule})", width, head, indent)
    lines += _wrapped(each.why, width, indent, indent)
    lines += _wrapped(each.advice, width, f"{indent}→ ", f"{indent}  ")
    figures = [f"{name} {figure(value)}" for name, value in each.evidence.items() if value is not None]
    kept = " · ".join(clean_line(one).replace(" ", "\N{NO-BREAK SPACE}") for one in figures)  # a name with its value
    lines += [line.replace("\N{NO-BREAK SPACE}", " ") for line in _folded(kept, width, indent, indent)]
    if each.reference:
        lines += _wrapped(f"see {each.reference}", width, indent, indent)
    return lines


def figure(value: Scalar) -> str:
    """A figure of the evidence: whole ones with separators, others to four digits."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    return _folded(clean_line(text), width, first, rest)


def _folded(text: str, width: int, first: str, rest: str) -> list[str]:
    return wrap(
        text, max(24, width), initial_indent=first, subsequent_indent=rest, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _action(each: Diagnosis) -> dict[str, Any] | None:
    treatment = each.treatment
    if treatment is None:
        return None
    changes: Mapping[str, Scalar] = {key: _plain(value) for key, value in treatment.changes.items()}
    return {"kind": treatment.kind, "label": treatment.label, "changes": changes, "action": treatment.action}


def _plain(value: Any) -> Scalar:
    """A value of JSON's own: numpy's numbers become Python's."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    number = value.item() if hasattr(value, "item") else float(value)
    return None if isinstance(number, float) and not math.isfinite(number) else number
