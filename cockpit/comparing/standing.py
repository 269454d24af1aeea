"""May two losses be ranked? Only on the same text: as they are where the tokens are the same, else in bits per byte."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from cockpit import format as fmt
from cockpit.comparing.entry import Data, Entry
from cockpit.sanitize import clean_line

BYTES_APART = 0.005
"""Share by which the bytes of the same validation text may differ as two tokenizers count them: a run knows them as a
mean per token, and splits end at whole tokens."""

_NAMES: tuple[tuple[str, str], ...] = (
    (r"fineweb[-_ ]?edu", "FineWeb-Edu"), (r"fineweb", "FineWeb"), (r"open[-_ ]?web[-_ ]?text|\bowt\b", "OpenWebText"),
    (r"wiki[-_ ]?text[-_ ]?103", "WikiText-103"), (r"wiki[-_ ]?text[-_ ]?2", "WikiText-2"),
    (r"shakespeare", "Shakespeare"), (r"tiny[-_ ]?stories", "TinyStories"), (r"python-stdlib", "python-stdlib"),
    (r"enwik8", "enwik8"), (r"text8", "text8"),
)  # fmt: skip

Kind = Literal["same", "tokens", "presumed", "unknown", "other"]
"""`same`: text and tokens. `tokens`: the same text in other tokens. `presumed`: nothing speaks against its being the
same. `unknown`: nothing is known. `other`: another text."""


@dataclass(frozen=True)
class Relation:
    """How the data of two entries are related."""

    kind: Kind
    why: str


@dataclass(frozen=True)
class Standing:
    """Whether entries can be ranked by their losses, and in what unit."""

    ranked: bool
    unit: Literal["nats/token", "bits/byte"]
    why: str
    """Why not; or what is to be borne in mind. Empty: nothing."""


def known_name(text: str) -> str | None:
    """The data set that everybody knows by this name, or that a path or a description speaks of; None for any other."""
    return next((name for pattern, name in _NAMES if re.search(pattern, text, re.IGNORECASE)), None)


def describe(data: Data) -> str:
    """What a loss is of: `Shakespeare, char (65 symbols)`."""
    symbols = f" ({data.vocab_size:,} symbols)" if data.vocab_size else ""
    return f"{_label(data)}, {data.tokenizer or 'unknown tokens'}{symbols}"


def in_short(data: Data) -> str:
    """The same without the symbols: what a perplexity is of."""
    return f"{_label(data)}, {data.tokenizer or 'unknown'} tokens"


def relation(a: Data, b: Data) -> Relation:
    """How two data are related, from what is known of both."""
    if a.fingerprint and a.fingerprint == b.fingerprint:
        return Relation("same", "the token files have the same hash")
    if a.known_as and b.known_as and a.known_as != b.known_as:
        return Relation("other", f"{a.known_as} is another text than {b.known_as}")
    if not _same_tokens(a, b):
        if a.val_bytes and b.val_bytes and abs(a.val_bytes / b.val_bytes - 1) <= BYTES_APART:
            return Relation("tokens", f"{_tokens(a)} against {_tokens(b)}, of the same {_bytes(a)}")
        if a.val_bytes and b.val_bytes:
            why = f"{_bytes(a)} of validation text against {_bytes(b)}"
            return Relation("other", f"{_tokens(a)} against {_tokens(b)}, and {why}")
        named = a.known_as and a.known_as == b.known_as
        why = f"{_tokens(a)} against {_tokens(b)}"
        return Relation("tokens", why) if named else Relation("other", why)
    counts = [(a.train_tokens, b.train_tokens), (a.val_tokens, b.val_tokens)]
    if all(ours and ours == theirs for ours, theirs in counts):
        return Relation("same", f"the same tokenizer, and {a.train_tokens:,} and {a.val_tokens:,} tokens in both")
    if all(ours and theirs for ours, theirs in counts):
        ours, theirs = (f"{each.train_tokens:,} + {each.val_tokens:,}" for each in (a, b))
        return Relation("other", f"training and validation have {ours} tokens against {theirs}")
    if a.known_as and a.known_as == b.known_as:
        return Relation("presumed", f"both are called {a.known_as}; that the splits are the same is not known")
    if a.vocab_size and a.vocab_size == b.vocab_size:
        return Relation("presumed", "the vocabularies are of one size; that the text is the same is not known")
    return Relation("unknown", "it is not known whether the data are the same")


def standing(entries: list[Entry]) -> Standing:
    """Whether these can be ranked: by nats/token, by bits per byte, or not at all."""
    relations = [(a, b, relation(a.data, b.data)) for a, b in combinations(entries, 2)]
    for kind in ("other", "unknown"):
        apart = next(((a, b, each) for a, b, each in relations if each.kind == kind), None)
        if apart:
            a, b, each = apart
            names = f"{clean_line(a.name)} and {clean_line(b.name)}"
            hint = " Settings of a log are given by --profile." if "log" in (a.kind, b.kind) else ""
            return Standing(
                False, "nats/token",
                f"Not ranked: {names}: {each.why}. A loss says how hard its own text and tokens are to predict, so a "
                f"lower one is no better model.{hint}",
            )  # fmt: skip
    in_tokens = [(a, b, each) for a, b, each in relations if each.kind == "tokens"]
    if in_tokens:
        a, b, each = in_tokens[0]
        lacking = [clean_line(entry.name) for entry in entries if not entry.data.bytes_per_token]
        if lacking:
            return Standing(
                False, "nats/token",
                f"Not ranked: {each.why}, and of {', '.join(lacking)} the bytes behind a token are not known, without "
                "which there are no bits per byte.",
            )  # fmt: skip
        return Standing(True, "bits/byte", f"Ranked in bits per byte: {each.why}.")
    presumed = next((each for _, _, each in relations if each.kind == "presumed"), None)
    return Standing(True, "nats/token", f"Ranked on trust: {presumed.why}." if presumed else "")


def bits_per_byte(data: Data) -> float | None:
    """What a loss in nats/token is multiplied by to be in bits per byte; None where the bytes are not known."""
    return 1 / (math.log(2) * data.bytes_per_token) if data.bytes_per_token else None


def _label(data: Data) -> str:
    return data.known_as or (clean_line(data.label) if data.label else "unknown data")


def _same_tokens(a: Data, b: Data) -> bool:
    """Unknown is taken for the same: a vocabulary's size tells most of them apart."""
    if a.tokenizer and b.tokenizer and a.tokenizer != b.tokenizer:
        return False
    padded = {_unpadded(a), _unpadded(b)}
    return not (a.vocab_size and b.vocab_size and len(padded) == 2)


def _unpadded(data: Data) -> int | None:
    """GPT-2's 50,257 symbols are often padded to a rounder number; no token is ever in the padding."""
    return 50257 if data.vocab_size and 50257 <= data.vocab_size <= 50304 else data.vocab_size


def _tokens(data: Data) -> str:
    symbols = f" of {data.vocab_size:,} symbols" if data.vocab_size else ""
    return f"{data.tokenizer or 'unknown'} tokens{symbols}"


def _bytes(data: Data) -> str:
    return f"{' '.join(fmt.count(data.val_bytes)).strip()}B"
