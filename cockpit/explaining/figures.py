"""What several explanations ask of the evidence, and write in the same way."""

from __future__ import annotations

from cockpit import format as fmt

FRESH_EPOCHS = 4.0
"""Epochs up to which repeated text teaches about as much as new text (Muennighoff et al. 2023, section 6)."""


def count(value: float | None) -> str:
    """`7.60 B`."""
    number, unit = fmt.count(value)
    return f"{number} {unit}".strip()
