"""Text to token ids and back: bytes, characters, byte pairs of GPT-2's or one's own, behind one interface. No torch.

A tokenizer goes into every checkpoint as plain values (`to_dict`), so that a model can be sampled without its data.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from gpt.coherence import tokenizer_mistake
from gpt.errors import DataError
from gpt.vocabulary import END_OF_TEXT, GPT2_PATTERN, Vocabulary, gpt2_encoding, read_vocabulary, vocabulary_from_dict

if TYPE_CHECKING:
    import tiktoken

Errors = Literal["strict", "replace", "drop"]
"""What to do with characters that a tokenizer does not know."""

_ALL_KINDS = "".join(map(chr, range(128))) + "é ÿ ˙ 木 ٣ 😀 \u2028 \u0301"
_UNKNOWN = "\N{REPLACEMENT CHARACTER}".encode()


class Tokenizer(Protocol):
    """What every tokenizer offers. Ids are uint16 where all of them fit, else uint32: `id_dtype` of the size."""

    @property
    def name(self) -> str:
        """`byte`, `char`, `gpt2` or `bpe`."""
        ...

    @property
    def vocab_size(self) -> int:
        """Number of ids; a model may have more rows than that (padding), never fewer."""
        ...

    @property
    def end_of_text(self) -> int | None:
        """Id between documents; None where there is none."""
        ...

    def encode(self, text: str, errors: Errors = "strict") -> np.ndarray:
        """Ids of a text, (n,). Raises DataError for a character it does not know, if errors is `strict`."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids. What is not UTF-8, and ids that a padded model made up, come out as U+FFFD."""
        ...

    def token_bytes(self, token: int) -> bytes:
        """UTF-8 bytes that one id stands for; perhaps only a part of a character."""
        ...

    def byte_lengths(self) -> np.ndarray:
        """Bytes of text behind each id, (vocab_size,) int64; 0 for ids that stand for no text."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, from which `tokenizer_from_dict` makes the same tokenizer."""
        ...


class ByteTokenizer:
    """One id for each byte of the UTF-8 text."""

    name = "byte"
    vocab_size = 256
    end_of_text = None

    def encode(self, text: str, errors: Errors = "strict") -> np.ndarray:
        """Ids of a text, (n,) uint16. Knows every character; half a surrogate pair becomes `?`."""
        return np.frombuffer(text.encode("utf-8", errors="replace"), dtype=np.uint8).astype(np.uint16)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids."""
        return _decode(self, ids)

    def token_bytes(self, token: int) -> bytes:
        """The byte itself."""
        return bytes((token,)) if 0 <= token < 256 else _UNKNOWN

    def byte_lengths(self) -> np.ndarray:
        """One each, (256,) int64."""
        return np.ones(self.vocab_size, dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"name": self.name}


class CharTokenizer:
    """One id for each character of a fixed list.

    Args:
        chars: the characters by id, each once.

    Raises DataError for a repeated character and for more than fit uint16.
    """

    name = "char"
    end_of_text = None

    def __init__(self, chars: str) -> None:
        if not chars:
            raise DataError("a character vocabulary needs at least one character; got none; give it some text")
        if len(chars) > 2**16:
            raise DataError(f"{len(chars):,} different characters do not fit 65,536 ids; use the byte tokenizer")
        if len(set(chars)) != len(chars):
            raise DataError("a character vocabulary lists a character twice; each must have one id")
        self.chars = chars
        self.vocab_size = len(chars)
        codes = np.frombuffer(chars.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        self._ids = np.full(int(codes.max()) + 1, -1, dtype=np.int32)  # (highest code point + 1,), -1: unknown
        self._ids[codes] = np.arange(len(chars))

    @classmethod
    def of_text(cls, text: str) -> CharTokenizer:
        """The sorted set of a text's characters, as nanoGPT's `data/shakespeare_char/prepare.py` makes it."""
        return cls("".join(sorted(set(text))))

    def encode(self, text: str, errors: Errors = "strict") -> np.ndarray:
        """Ids of a text, (n,) uint16.

        Unknown characters raise DataError (`strict`), become a space or else the first character (`replace`), or
        are left out (`drop`).
        """
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        ids = np.where(codes < len(self._ids), self._ids[np.minimum(codes, len(self._ids) - 1)], -1)
        unknown = ids < 0
        if unknown.any():
            if errors == "strict":
                at = int(np.argmax(unknown))
                raise DataError(
                    f"character {text[at]!r} at position {at} is not among the {self.vocab_size} that the model knows; "
                    "leave it out"
                )
            ids = ids[~unknown] if errors == "drop" else np.where(unknown, max(0, self.chars.find(" ")), ids)
        return ids.astype(np.uint16)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids."""
        return _decode(self, ids)

    def token_bytes(self, token: int) -> bytes:
        """The character in UTF-8."""
        return self.chars[token].encode("utf-8", "replace") if 0 <= token < self.vocab_size else _UNKNOWN

    def byte_lengths(self) -> np.ndarray:
        """UTF-8 length of each character, (vocab_size,) int64."""
        return np.array([len(self.token_bytes(token)) for token in range(self.vocab_size)], dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"name": self.name, "chars": self.chars}


class PairTokenizer:
    """Byte pairs, joined by tiktoken. What is the same for GPT-2's and for one's own."""

    name: str
    vocab_size: int
    end_of_text: int | None
    """Id between documents; None where the vocabulary has none."""
    pattern: str
    """Where a text is split before bytes are joined."""
    ranks: int
    """Ids that stand for text; special ones are above them."""

    @cached_property
    def _encoding(self) -> tiktoken.Encoding:
        raise NotImplementedError

    def encode(self, text: str, errors: Errors = "strict") -> np.ndarray:
        """Ids of a text, (n,). Knows every character; `<|endoftext|>` in it is text like any other."""
        dtype = id_dtype(self.vocab_size)
        try:  # without a Python list in between
            return self._encoding.encode_to_numpy(text, disallowed_special=()).astype(dtype)
        except UnicodeEncodeError:  # half a surrogate pair, which only the other call replaces
            return np.array(self._encoding.encode_ordinary(text), dtype)

    def encode_batch(self, texts: list[str], threads: int) -> list[np.ndarray]:
        """Ids of several texts, encoded on several threads outside the GIL."""
        dtype = id_dtype(self.vocab_size)
        return [np.array(ids, dtype) for ids in self._encoding.encode_ordinary_batch(texts, num_threads=threads)]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids."""
        return _decode(self, ids)

    def token_bytes(self, token: int) -> bytes:
        """Bytes of one id; a special one is spelled out: the end of a text is `<|endoftext|>`."""
        if not 0 <= token < self.vocab_size:
            return _UNKNOWN
        try:
            return self._encoding.decode_single_token_bytes(token)
        except KeyError:  # between the ranks and a special id there may be ids of nothing
            return _UNKNOWN

    def byte_lengths(self) -> np.ndarray:
        """Bytes behind each id, (vocab_size,) int64; 0 for special ones, such as the end of a text."""
        lengths = np.zeros(self.vocab_size, dtype=np.int64)
        lengths[: self.ranks] = [len(self.token_bytes(token)) for token in range(self.ranks)]
        return lengths

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"name": self.name}


class Gpt2Tokenizer(PairTokenizer):
    """GPT-2's byte pairs. The vocabulary is loaded at the first use, not before.

    Every method but `to_dict` raises DataError where the vocabulary is neither on this machine nor to be fetched.
    """

    name = "gpt2"
    vocab_size = 50257
    end_of_text = 50256
    pattern = GPT2_PATTERN
    ranks = 50256

    @cached_property
    def _encoding(self) -> tiktoken.Encoding:
        return gpt2_encoding()


class BpeTokenizer(PairTokenizer):
    """Byte pairs of a vocabulary of one's own. `to_dict` holds all of it, so that a checkpoint needs no file besides.

    Raises DataError for a pattern that is not a regular expression, or that leaves out some of a text.
    """

    name = "bpe"

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocab_size = vocabulary.size
        self.end_of_text = vocabulary.special.get(END_OF_TEXT)
        self.pattern = vocabulary.pattern
        self.ranks = len(vocabulary.tokens)
        self._values = {"name": self.name} | vocabulary.to_dict()
        self._encoding = vocabulary.encoding()
        if self.decode(self.encode(_ALL_KINDS)) != _ALL_KINDS:
            raise DataError(
                f"{vocabulary.name}: its pattern does not match every character, and what it leaves out would be lost; "
                "end it with |\\s or the like"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the tokens themselves and their hash, not the path they came from."""
        return self._values


def id_dtype(vocab_size: int) -> np.dtype:
    """The type of ids below `vocab_size`: uint16, or uint32 above 65,536."""
    return np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)


def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer of a name in a profile: byte, gpt2, or a path that ends in `.tiktoken`. `~` is expanded.

    Raises DataError for another name, and where the file is not a whole vocabulary. `char` is none: it needs a text.
    """
    if name.endswith(".tiktoken"):
        return BpeTokenizer(read_vocabulary(Path(name).expanduser()))
    if name in ("byte", "gpt2"):
        return ByteTokenizer() if name == "byte" else Gpt2Tokenizer()
    raise DataError(f"the tokenizer {tokenizer_mistake(name) or f'{name} is made from a text, and there is none'}")


def tokenizer_from_dict(values: dict[str, Any]) -> Tokenizer:
    """The tokenizer of `to_dict`'s values. Raises DataError for anything else."""
    name = values.get("name")
    if name == "byte":
        return ByteTokenizer()
    if name == "gpt2":
        return Gpt2Tokenizer()
    if name == "char" and isinstance(chars := values.get("chars"), str):
        return CharTokenizer(chars)
    if name == "bpe" and "tokens" in values:
        return BpeTokenizer(vocabulary_from_dict(values))
    raise DataError(
        f"cannot make a tokenizer named {name!r}; expected byte, gpt2, char with its characters, or bpe with its tokens"
    )


class StreamDecoder:
    """Decodes ids one at a time and never emits half a character: its bytes are held back until it is whole."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: int) -> str:
        """Text that one more id completes; perhaps none."""
        return self._decoder.decode(self._tokenizer.token_bytes(token))

    def flush(self) -> str:
        """What was held back and will not become whole any more: U+FFFD, or nothing."""
        return self._decoder.decode(b"", final=True)


def _decode(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    return b"".join(tokenizer.token_bytes(int(token)) for token in ids).decode("utf-8", errors="replace")
