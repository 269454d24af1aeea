"""What others' losses let one expect: on which of their data a run trains, and what its size should reach on it."""

from __future__ import annotations

import re

from cockpit.planning.scaling import LAW
from cockpit.references import REFERENCES, Reference
from gpt.config import Profile

NAMES = {
    "gpt2-124m": "GPT-2 124M", "gpt2-350m": "GPT-2 350M", "gpt2-774m": "GPT-2 774M", "gpt2-1558m": "GPT-2 1558M",
    "nanogpt-124m": "nanoGPT 124M", "llmc-124m": "llm.c 124M", "shakespeare-char": "nanoGPT 10.65M",
    "shakespeare-char-cpu": "nanoGPT 0.8M (CPU)",
}  # fmt: skip
"""Short names of the references."""

SHAKESPEARES_CHARACTERS = 65
"""Different characters in the text of the references on Shakespeare."""

_PATTERNS = {"OpenWebText": r"openwebtext|\bowt\b", "FineWeb": r"fineweb", "Shakespeare": r"shakespeare"}


def data_set(profile: Profile | None, tokenizer: str | None = None) -> str | None:
    """Which of the references' data a profile trains on, by the names in it, with their tokenizer; None: none of them.

    Args:
        tokenizer: as the run says; None or `unknown`: as the profile does.
    """
    if profile is None:
        return None
    where = profile.data.dir or profile.data.input or ""
    text = " ".join([profile.name, profile.description, *([where] if isinstance(where, str) else where)]).lower()
    if re.search(r"fineweb-?edu", text):
        return None  # other text than the FineWeb of the references, and easier
    for name, pattern in _PATTERNS.items():
        if re.search(pattern, text):
            by = tokenizer if tokenizer not in (None, "unknown") else profile.data.tokenizer
            by = by or ("char" if "char" in text else "gpt2")
            return name if any(each.data == name and each.tokenizer == by for each in REFERENCES.values()) else None
    return None


def of_data(name: str | None) -> dict[str, Reference]:
    """Short name and reference of each on one set of data."""
    return {NAMES.get(key, key): each for key, each in REFERENCES.items() if each.data == name}


def nearest(name: str | None, parameters: float | None) -> tuple[str, Reference] | None:
    """The one on the same data whose size is nearest, of those trained on it."""
    trained = [(key, each) for key, each in of_data(name).items() if each.tokens]
    if not trained:
        return None
    return min(trained, key=lambda pair: abs(pair[1].parameters / (parameters or pair[1].parameters) - 1))


def expected_loss(name: str | None, parameters: float, tokens: float) -> tuple[float, str] | None:
    """(validation loss in nats/token, the reference it starts from) for a size after so many tokens of a set of data.

    A reference's loss, and the difference that Chinchilla's law gives to its size and tokens: offsets between texts and
    tokenizers fall out. For web text, where each token is seen about once; None elsewhere, and before there
    is a token for each parameter.
    """
    start = next(((key, each) for key, each in of_data(name).items() if (each.tokens or 0) >= 5e9), None)
    if start is None or start[1].tokens is None or parameters < 1e6 or tokens < parameters:
        return None
    known = start[1]
    return known.loss + LAW.loss(parameters, tokens) - LAW.loss(known.parameters, start[1].tokens), start[0]
