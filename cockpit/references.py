"""Published losses to compare a run with."""

from __future__ import annotations

from typing import NamedTuple


class Reference(NamedTuple):
    """A validation loss that somebody else has reached."""

    loss: float
    """nats/token of its own tokenizer: only runs with the same tokens and text compare."""
    about: str


REFERENCES = {
    "gpt2-124m": Reference(3.12, "GPT-2 124M as published, on OpenWebText (nanoGPT's README)"),
    "gpt2-350m": Reference(2.84, "GPT-2 350M as published, on OpenWebText (nanoGPT's README)"),
    "gpt2-774m": Reference(2.67, "GPT-2 774M as published, on OpenWebText (nanoGPT's README)"),
    "gpt2-1558m": Reference(2.54, "GPT-2 1558M as published, on OpenWebText (nanoGPT's README)"),
    "nanogpt-124m": Reference(2.85, "nanoGPT's 124M after 600,000 steps on OpenWebText (its README)"),
    "llmc-124m": Reference(3.28, "llm.c's GPT-2 124M on 10 B tokens of FineWeb"),
    "shakespeare-char": Reference(1.4697, "nanoGPT's 10.65 M on Shakespeare's characters, one GPU (its README)"),
    "shakespeare-char-cpu": Reference(1.88, "nanoGPT's 0.8 M on Shakespeare's characters, a CPU (its README)"),
}
"""By the names that `[screen] references` takes."""
