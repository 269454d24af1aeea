"""Explanations in words for a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from textwrap import wrap

from cockpit.explaining.explanation import Explanation

LABEL = 19
"""Columns of a heading, its indent included."""
LEAST = 30
"""Columns of text at least, however narrow the terminal."""


def as_json(explanations: Sequence[Explanation]) -> list[dict[str, str]]:
    """Each explanation's texts by name."""
    return [asdict(each) for each in explanations]


def as_text(explanations: Sequence[Explanation], title: str, width: int | None = None) -> str:
    """One after the other, headings at the left.

    Args:
        width: columns to wrap to; None: texts are not wrapped.
    """
    room = max(LEAST, width - LABEL) if width else None
    made = [title]
    for each in explanations:
        made += ["", f"{each.name}  {each.value}"]
        for heading, text in each.sections:
            body = [part for line in text.splitlines() for part in (wrap(line, room) if room else [line])]
            for number, line in enumerate(body):
                made.append(f"{'  ' + heading if number == 0 else '':<{LABEL}}{line}")
    return "\n".join(made)
