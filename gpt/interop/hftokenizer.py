"""The tokenizer that lies in a Hugging Face folder. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gpt.byte_letters import BYTES, unspelled
from gpt.errors import DataError
from gpt.interop.pairs import own_tokenizer
from gpt.tokenizer import ByteTokenizer, CharTokenizer, Errors, Gpt2Tokenizer, Tokenizer


def tokenizer_of(folder: Path, vocab_size: int) -> Tokenizer:
    """The tokenizer of a Hugging Face GPT-2 folder whose embedding has `vocab_size` rows.

    It is one of gpt.tokenizer's where the folder's files say the same: characters, bytes, byte pairs that were exported
    from here, or GPT-2's, which is also meant where a vocabulary of that size has no files. Raises DataError where none
    can be had, or where it has more tokens than the model.
    """
    gpt2 = Gpt2Tokenizer()
    if not _files(folder):
        if vocab_size < gpt2.vocab_size:
            raise DataError(
                f"{folder}: holds no tokenizer.json, and its vocabulary of {vocab_size:,} is not GPT-2's; "
                "save the tokenizer beside the model with save_pretrained"
            )
        return gpt2
    found = _characters(folder) or own_tokenizer(folder) or HuggingFaceTokenizer(folder)
    if found.vocab_size > vocab_size:
        raise DataError(
            f"{folder}: its tokenizer has {found.vocab_size:,} tokens, its model knows {vocab_size:,}; copy both again"
        )
    if isinstance(found, HuggingFaceTokenizer):
        return next((known for known in (gpt2, ByteTokenizer()) if found.is_same_as(known)), found)
    return found


class HuggingFaceTokenizer:
    """Byte-level byte pairs as Hugging Face's tokenizers library reads them, of any vocabulary.

    Args:
        folder: with `tokenizer.json`, or `vocab.json` and `merges.txt`.

    Raises DataError where they cannot be read, or are of another kind: what bytes a token stands for must be known.
    """

    name = "huggingface"

    def __init__(self, folder: Path) -> None:
        try:
            import tokenizers
            from tokenizers import decoders, models, pre_tokenizers
        except ImportError:
            raise DataError(
                f"{folder}: its tokenizer needs the package tokenizers; pip install 'gpt-cockpit[hf]'"
            ) from None
        self.folder = folder
        files = _files(folder)
        try:
            if len(files) == 1:
                self._tokenizer = tokenizers.Tokenizer.from_file(str(files[0]))
            else:
                self._tokenizer = tokenizers.Tokenizer(models.BPE.from_file(*map(str, files)))
                self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
                self._tokenizer.decoder = decoders.ByteLevel()
            kind = json.loads(self._tokenizer.to_str())
        except Exception as error:  # the library raises plain Exceptions
            raise DataError(f"{folder}: its tokenizer cannot be read ({error}); copy it again") from None
        if (kind.get("decoder") or {}).get("type") != "ByteLevel" or kind["model"]["type"] != "BPE":
            raise DataError(f"{folder}: its tokenizer is not byte-level BPE, as GPT-2's is; no other kind can be used")
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # a special token's name in a text is text like any other
        self.vocab_size = max(self._tokenizer.get_vocab().values(), default=-1) + 1
        self._special = frozenset(
            number for number, token in self._tokenizer.get_added_tokens_decoder().items() if token.special
        )
        ends = [self._tokenizer.token_to_id(name) for name in ("<|endoftext|>", "</s>")]
        self.end_of_text: int | None = next((end for end in ends if end in self._special), None)

    def encode(self, text: str, errors: Errors = "strict") -> np.ndarray:
        """Ids of a text, (n,) uint16, or uint32 where the vocabulary is larger. Knows every character."""
        text = text.encode("utf-8", errors="replace").decode()  # it refuses half surrogate pairs
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return np.array(ids, dtype=np.uint16 if self.vocab_size <= 2**16 else np.uint32)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids."""
        return b"".join(self.token_bytes(int(token)) for token in ids).decode("utf-8", errors="replace")

    def token_bytes(self, token: int) -> bytes:
        """Bytes of one id; a special one is spelled as its name."""
        return self._bytes[token] if 0 <= token < self.vocab_size else "\N{REPLACEMENT CHARACTER}".encode()

    def byte_lengths(self) -> np.ndarray:
        """Bytes behind each id, (vocab_size,) int64; 0 for special ones."""
        return np.array(
            [0 if token in self._special else len(text) for token, text in enumerate(self._bytes)], dtype=np.int64
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values that are equal for equal tokenizers."""
        return {"name": self.name, "tokenizer.json": json.loads(self._tokenizer.to_str())}

    def is_same_as(self, other: Tokenizer) -> bool:
        """Whether each id stands for the same bytes there: byte pairs are merged in the order of their ids."""
        try:
            return self.vocab_size == other.vocab_size and all(
                self.token_bytes(token) == other.token_bytes(token) for token in range(self.vocab_size)
            )
        except DataError:  # its vocabulary is not at hand
            return False

    @cached_property
    def _bytes(self) -> list[bytes]:
        """Bytes of every id. Byte-level vocabularies spell each byte as a printable character."""
        spelled = {token: name for name, token in self._tokenizer.get_vocab().items()}
        plain = self._tokenizer.get_added_tokens_decoder()
        texts = []
        for token in range(self.vocab_size):
            name = spelled.get(token, "")
            is_spelled = token not in plain and all(char in BYTES for char in name)
            texts.append(unspelled(name) if is_spelled else name.encode("utf-8", "replace"))
        return texts


def _characters(folder: Path) -> CharTokenizer | None:
    """A character tokenizer where `tokenizer.json` is byte pairs that are no bytes and are never joined."""
    try:
        kind = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        model, around = kind["model"], [kind.get(key) for key in ("pre_tokenizer", "normalizer", "post_processor")]
        chars = sorted(model["vocab"], key=model["vocab"].__getitem__)
        is_plain = model["type"] == "BPE" and not model["merges"] and not any(around)
        ids = [model["vocab"][char] for char in chars]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not is_plain or ids != list(range(len(chars))) or any(len(char) != 1 for char in chars):
        return None
    return CharTokenizer("".join(chars))


def _files(folder: Path) -> list[Path]:
    """`tokenizer.json`, or else `vocab.json` and `merges.txt`, where they are there."""
    whole, parts = folder / "tokenizer.json", [folder / "vocab.json", folder / "merges.txt"]
    if whole.is_file():
        return [whole]
    return parts if all(part.is_file() for part in parts) else []
