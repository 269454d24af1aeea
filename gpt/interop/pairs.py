"""Byte pairs as the document of Hugging Face's `tokenizers` library, `tokenizer.json`, and back. No torch.

tiktoken joins whichever neighbours make the token of the lowest rank; the library joins the pair that its list of
merges names first. Both do the same where that list holds every way to make each token, by the rank of what is made,
and where a piece that is a token as it stands is taken whole in both (`ignore_merges`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from gpt.byte_letters import spelled, unspelled
from gpt.errors import DataError
from gpt.tokenizer import BpeTokenizer, Tokenizer
from gpt.vocabulary import GPT2_PATTERN, Vocabulary

_TRIED_IDS = 50_000
"""Ids in the text that the library is tried on."""


def document(
    vocabulary: dict[str, int], merges: list[str], before: Any, decoder: Any, special: dict[str, int], *,
    whole_pieces: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """The library's document. Byte pairs without merges are its way to say one id a symbol.

    Args:
        vocabulary: ids by their letters · merges: two of those, a space between them, the first to be joined first.
        before: splits a text · decoder: puts it together again · special: ids by name.
        whole_pieces: a piece that is in the vocabulary is not joined from its letters.
    """
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": before,
        "added_tokens": [{"id": token, "content": name, "special": True} | flags for name, token in special.items()],
        "post_processor": None, "decoder": decoder,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": whole_pieces,
            "vocab": vocabulary, "merges": merges,
        },
    }  # fmt: skip


def byte_level(*, regex: bool) -> dict[str, Any]:
    """Bytes as letters, on both ways; `regex`: split as GPT-2 does."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": regex}


def own_document(vocabulary: Vocabulary) -> dict[str, Any]:
    """The document of a vocabulary of one's own."""
    if vocabulary.pattern == GPT2_PATTERN:  # the library knows it by itself
        before: dict[str, Any] = byte_level(regex=True)
    else:
        split = {"type": "Split", "pattern": {"Regex": vocabulary.pattern}, "behavior": "Isolated", "invert": False}
        before = {"type": "Sequence", "pretokenizers": [split, byte_level(regex=False)]}
    letters = {spelled(token): rank for rank, token in enumerate(vocabulary.tokens)}
    return document(
        letters | vocabulary.special, _merges(vocabulary), before, byte_level(regex=True), vocabulary.special,
        whole_pieces=True,
    )  # fmt: skip


def own_tokenizer(folder: Path) -> BpeTokenizer | None:
    """The tokenizer whose `own_document` lies in a folder, whoever has written it anew; None for any other."""
    try:
        written = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        model, before = written["model"], written["pre_tokenizer"]
        if not model.get("ignore_merges"):
            return None
        special = {token["content"]: token["id"] for token in written["added_tokens"] if token["special"]}
        ranked = sorted((rank, name) for name, rank in model["vocab"].items() if name not in special)
        pattern = before["pretokenizers"][0]["pattern"]["Regex"] if before["type"] == "Sequence" else GPT2_PATTERN
        vocabulary = Vocabulary([unspelled(name) for _, name in ranked], pattern, special, str(folder))
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
        expected = own_document(vocabulary)
        if expected["model"]["vocab"] != model["vocab"] or expected["model"]["merges"] != merges:
            return None
        if before.get("use_regex", False) != expected["pre_tokenizer"].get("use_regex", False):
            return None
        return BpeTokenizer(vocabulary)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, DataError):
        return None  # of another kind, or damaged: whoever reads it next says so


def fault(written: dict[str, Any], tokenizer: Tokenizer) -> str | None:
    """Why the library, if it is installed, does not make a tokenizer's ids with a document; None where it does."""
    try:
        import tokenizers
    except ImportError:
        return None
    generator = np.random.default_rng(0)
    text = tokenizer.decode(generator.permutation(tokenizer.vocab_size)[:_TRIED_IDS])
    try:
        theirs = tokenizers.Tokenizer.from_str(json.dumps(written))
    except Exception as error:  # the library raises plain Exceptions
        return f"the tokenizers library does not take it ({error})"
    theirs.encode_special_tokens = True  # their names may have come up in that text
    if theirs.encode(text, add_special_tokens=False).ids != tokenizer.encode(text).tolist():
        return "the tokenizers library makes other ids with its pattern"
    return None


def _merges(vocabulary: Vocabulary) -> list[str]:
    """Every pair of tokens that makes a token, in the order of what it makes."""
    ranks = set(vocabulary.tokens)
    return [
        f"{spelled(token[:at])} {spelled(token[at:])}"
        for token in vocabulary.tokens
        for at in range(1, len(token))
        if token[:at] in ranks and token[at:] in ranks
    ]
