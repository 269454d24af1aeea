"""Published losses to compare a run with."""

from __future__ import annotations

from typing import NamedTuple


class Reference(NamedTuple):
    """A validation loss that somebody else has reached."""

    loss: float
    """nats/token of its own tokenizer: only runs with the same tokens and text compare."""
    about: str
    data: str
    """What it was measured on."""
    tokenizer: str
    parameters: int
    """As it is named."""
    steps: int | None = None
    tokens: int | None = None
    """Trained on; None: not published."""


REFERENCES = {
    "gpt2-124m": Reference(
        3.12, "on OpenWebText, by nanoGPT's README", "OpenWebText", "gpt2", 124_000_000
    ),
    "gpt2-350m": Reference(
        2.84, "on OpenWebText, by nanoGPT's README", "OpenWebText", "gpt2", 350_000_000
    ),
    "gpt2-774m": Reference(
        2.67, "on OpenWebText, by nanoGPT's README", "OpenWebText", "gpt2", 774_000_000
    ),
    "gpt2-1558m": Reference(
        2.54, "on OpenWebText, by nanoGPT's README", "OpenWebText", "gpt2", 1_558_000_000
    ),
    "nanogpt-124m": Reference(
        2.85, "OpenWebText, 600,000 steps (README)", "OpenWebText", "gpt2", 124_000_000,
        600_000, 600_000 * 491_520,
    ),
    "llmc-124m": Reference(
        3.28, "llm.c's, on 10 B tokens of FineWeb", "FineWeb", "gpt2", 124_000_000, None, 10_000_000_000
    ),
    "shakespeare-char": Reference(
        1.4697, "10.65 M on one GPU, nanoGPT's README", "Shakespeare", "char",
        10_650_000, 5_000, 5_000 * 64 * 256,
    ),
    "shakespeare-char-cpu": Reference(
        1.88, "0.8 M on a CPU, nanoGPT's README", "Shakespeare", "char", 800_000,
        2_000, 2_000 * 12 * 64,
    ),
}  # fmt: skip
"""By the names that `[screen] references` and `compare` take."""
