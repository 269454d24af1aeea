"""What several explanations ask of the evidence, and write in the same way."""

from __future__ import annotations

from cockpit import format as fmt
from cockpit.doctor.evidence import Evidence
from cockpit.pace import NANOGPT

FRESH_EPOCHS = 4.0
"""Epochs up to which repeated text teaches about as much as new text (Muennighoff et al. 2023, section 6)."""


def from_nanogpt(evidence: Evidence) -> bool:
    """Whether its figures are nanoGPT's: times with evaluation counted in, MFU of an A100, iterations from 0."""
    started = evidence.state.started
    return started.peak_source == NANOGPT if started else evidence.began


def count(value: float | None) -> str:
    """`7.60 B`."""
    number, unit = fmt.count(value)
    return f"{number} {unit}".strip()
