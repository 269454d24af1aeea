"""Tokens to train on: where they come from, how windows of them are read, and whether they fit the model. No torch.

In which order they are read is gpt.order's.
"""

from __future__ import annotations

import hashlib
import os
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpt.config import DataConfig, ModelConfig
from gpt.errors import DataError
from gpt.interop.nanogpt import read_meta
from gpt.order import BatchOrder, evaluation_starts
from gpt.prepare import Progress, prepare, read_text, source_files
from gpt.tokenizer import ByteTokenizer, CharTokenizer, Gpt2Tokenizer, Tokenizer

__all__ = ["BatchOrder", "Dataset", "Tokens", "check_source", "evaluation_starts", "open_dataset"]

MAX_BYTES_IN_MEMORY = 2**30
"""Token files up to this size are read into memory; larger ones are read window by window."""
_CHECKED_WHOLE_BYTES = 64 * 2**20
_SAMPLES = 64
_SAMPLE_TOKENS = 2**18
"""Of a larger file, 64 evenly spaced samples of 512 KiB are read: for its fingerprint, and to check its ids early."""
_DECODED_TOKENS = 4 * 2**20
"""Validation tokens whose bytes are counted, from the start of the split."""


class Tokens:
    """The tokens of one split, read-only, none of them outside the vocabulary.

    Held in memory, or read from a file with `pread`. A file is never mapped into memory: one that is cut short
    meanwhile would kill the process with SIGBUS, where `pread` just returns less.

    Args:
        array: token ids, (n,) uint16.
        vocab_size: what every id must be below.
        name: the file or text they come from, for errors.

    Raises DataError for an id that is not in the vocabulary.
    """

    def __init__(self, array: np.ndarray, *, vocab_size: int, name: str) -> None:
        self.name = name
        self.vocab_size = vocab_size
        self._array: np.ndarray | None = array.view()
        self._array.flags.writeable = False
        self._length = len(array)
        self._file: int | None = None
        self._check_ids(array, 0)  # once for all: they cannot change any more

    @classmethod
    def open(cls, path: Path, *, vocab_size: int, in_memory: int = MAX_BYTES_IN_MEMORY) -> Tokens:
        """The tokens in a file of raw little-endian uint16, as nanoGPT writes them.

        A file of more than `in_memory` bytes stays on disk. Raises DataError for a missing or empty file, for one of an
        odd number of bytes, and for an id that is not in the vocabulary (on disk: when it is read).
        """
        size = token_file_size(path)
        if size <= in_memory:
            array = np.fromfile(path, dtype="<u2")
            if 2 * len(array) < size:
                raise _shrunk(path, size)
            return cls(array, vocab_size=vocab_size, name=str(path))
        tokens = cls(np.empty(0, np.uint16), vocab_size=vocab_size, name=str(path))
        tokens._array = None
        tokens._length = size // 2
        tokens._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(tokens, os.close, tokens._file)
        return tokens

    def __len__(self) -> int:
        return self._length

    @property
    def in_memory(self) -> bool:
        """False where windows are read from the file."""
        return self._array is not None

    def gather(self, starts: np.ndarray, length: int) -> np.ndarray:
        """Windows of `length` tokens from each start, (len(starts), length) int64.

        Raises DataError, for tokens on disk, where the file has been cut short or an id is not in the vocabulary.
        """
        if not len(starts):
            return np.empty((0, length), dtype=np.int64)
        assert starts.min() >= 0 and starts.max() + length <= self._length, "a window outside the split"
        if self._array is not None:
            windows = np.lib.stride_tricks.sliding_window_view(self._array, length)  # (n - length + 1, length), no copy
            return windows[starts].astype(np.int64)
        rows = [self._read(int(start), length) for start in starts]
        return np.stack(rows).astype(np.int64)

    def first(self, count: int) -> np.ndarray:
        """The first tokens of the split, at most `count`, (n,) uint16."""
        count = min(count, self._length)
        return self._array[:count] if self._array is not None else self._read(0, count)

    def fingerprint(self) -> str:
        """Hash of the tokens: of all of them in memory; on disk, of the file's size and 64 samples of it."""
        digest = hashlib.sha256(self._length.to_bytes(8, "little"))
        if self._array is not None:
            digest.update(np.ascontiguousarray(self._array, dtype="<u2").data)
            return f"sha256:{digest.hexdigest()}"
        for start in _sample_starts(self._length):
            digest.update(self._read(start, min(_SAMPLE_TOKENS, self._length)).data)
        return f"sampled-sha256:{digest.hexdigest()}"

    def _read(self, start: int, count: int) -> np.ndarray:
        assert self._file is not None
        content = os.pread(self._file, 2 * count, 2 * start)
        if len(content) < 2 * count:
            raise _shrunk(self.name, 2 * self._length)
        row = np.frombuffer(content, dtype="<u2")
        self._check_ids(row, start)
        return row

    def _check_ids(self, ids: np.ndarray, position: int) -> None:
        if len(ids) and int(ids.max()) >= self.vocab_size:
            at = int(np.argmax(ids >= self.vocab_size))
            raise DataError(
                f"{self.name}: token id {ids[at]} at position {position + at:,} is not in the vocabulary of "
                f"{self.vocab_size:,}; set data.tokenizer or model.vocab_size to what the file was made with"
            )


@dataclass(frozen=True)
class Dataset:
    """Both splits, and how to read them as text."""

    train: Tokens
    val: Tokens
    tokenizer: Tokenizer
    fingerprint: str
    """Hash of both splits: `sha256:…` over all tokens; `sampled-sha256:…` where a split is too large for memory, over
    its size and 64 samples of it."""
    val_bytes_per_token: float | None
    """Mean bytes of text behind a validation token (of the first 4 M); None where the vocabulary cannot be had."""
    source: str
    """Where the tokens come from, for people."""


def open_dataset(data: DataConfig, model: ModelConfig, progress: Progress | None = None) -> Dataset:
    """Opens what a profile names, tokenizing texts first. Relative paths start at the current directory.

    `progress` is called with (bytes done, bytes in all) while GPT-2's tokens are made. Raises DataError for all that is
    wrong with the data, or between it and the model.
    """
    if data.dir is not None:
        folder, tokenizer = _prepared_folder(data.dir, data)
        vocab_size = _vocab_size(tokenizer, model)
        train, val = (Tokens.open(folder / f"{split}.bin", vocab_size=vocab_size) for split in ("train", "val"))
    else:
        prepared = prepare(data, progress)
        tokenizer = prepared.tokenizer
        vocab_size = _vocab_size(tokenizer, model)
        train = Tokens(prepared.train, vocab_size=vocab_size, name=f"{_source(data)} (train)")
        val = Tokens(prepared.val, vocab_size=vocab_size, name=f"{_source(data)} (validation)")
    _need_a_block(len(train), "training", data, model)
    _need_a_block(len(val), "validation", data, model)
    parts = [train.fingerprint(), val.fingerprint()]
    kind = "sha256" if train.in_memory and val.in_memory else "sampled-sha256"
    return Dataset(
        train=train,
        val=val,
        tokenizer=tokenizer,
        fingerprint=f"{kind}:{hashlib.sha256(' '.join(parts).encode()).hexdigest()}",
        val_bytes_per_token=_bytes_per_token(val, tokenizer),
        source=_source(data),
    )


def check_source(data: DataConfig, model: ModelConfig) -> None:
    """Quick checks before anything is started: files, sizes, vocabularies. Raises DataError with one line.

    What takes the tokens themselves (a text that makes fewer of them than it has bytes) is left to `open_dataset`.
    """
    if data.dir is None:
        _check_text(data, model)
        return
    folder, tokenizer = _prepared_folder(data.dir, data)
    vocab_size = _vocab_size(tokenizer, model)
    for split, file in (("training", "train.bin"), ("validation", "val.bin")):
        size = token_file_size(folder / file)
        _need_a_block(size // 2, split, data, model)
        if size <= _CHECKED_WHOLE_BYTES:
            Tokens.open(folder / file, vocab_size=vocab_size)
        else:
            tokens = Tokens.open(folder / file, vocab_size=vocab_size, in_memory=0)
            tokens.gather(np.array(_sample_starts(len(tokens))), _SAMPLE_TOKENS)


def _check_text(data: DataConfig, model: ModelConfig) -> None:
    files = source_files(data)
    size = sum(path.stat().st_size for path in files) + len(files) - 1
    for split, share in (("training", 1 - data.val_fraction), ("validation", data.val_fraction)):
        _need_a_block(int(size * share) + 1, split, data, model)  # no text has more tokens than bytes
    if data.tokenizer == "char":
        if model.vocab_size is not None and size <= _CHECKED_WHOLE_BYTES:
            _vocab_size(CharTokenizer.of_text(read_text(files)), model)
    else:
        _vocab_size(Gpt2Tokenizer() if data.tokenizer == "gpt2" else ByteTokenizer(), model)


def token_file_size(path: Path) -> int:
    """Bytes of a file of uint16 tokens. Raises DataError where it is missing, empty or of an odd number of bytes."""
    if not path.is_file():
        raise DataError(
            f"{path}: no such file; a prepared folder needs train.bin and val.bin, as nanoGPT's prepare.py makes"
        )
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    if size == 0:
        raise DataError(f"{path}: the file is empty; prepare the data again")
    if size % 2:
        raise DataError(f"{path}: {size:,} bytes are not a whole number of uint16 tokens; prepare the data again")
    return size


def _prepared_folder(name: str, data: DataConfig) -> tuple[Path, Tokenizer]:
    """A folder of token files, and its tokenizer by the rules of DataConfig.tokenizer."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"data.dir: no folder {name} (looked in {Path.cwd()}); check the path, or prepare the data first"
        )
    meta = folder / "meta.pkl"
    if data.tokenizer == "char" or (data.tokenizer is None and meta.exists()):
        if not meta.exists():
            raise DataError(
                f"data.dir: {name} has no meta.pkl with its characters; add it or choose another data.tokenizer"
            )
        return folder, CharTokenizer(read_meta(meta).chars)
    return folder, ByteTokenizer() if data.tokenizer == "byte" else Gpt2Tokenizer()


def _vocab_size(tokenizer: Tokenizer, model: ModelConfig) -> int:
    """Rows of the model's embedding. Raises DataError where they are fewer than the tokenizer's ids."""
    if model.vocab_size is None:
        return tokenizer.vocab_size
    if model.vocab_size < tokenizer.vocab_size:
        raise DataError(
            f"model.vocab_size {model.vocab_size:,} is smaller than the {tokenizer.name} tokenizer's "
            f"{tokenizer.vocab_size:,}; raise it, or leave it out to use the tokenizer's"
        )
    return model.vocab_size


def _need_a_block(tokens: int, split: str, data: DataConfig, model: ModelConfig) -> None:
    needed = model.block_size + 1
    if tokens < needed:
        remedy = "more data" if data.dir is not None else "more text, another data.val_fraction"
        raise DataError(
            f"{_source(data)}: {tokens:,} {split} tokens are shorter than a block of {model.block_size:,} and its last "
            f"target, {needed:,}; use {remedy} or a smaller model.block_size"
        )


def _bytes_per_token(tokens: Tokens, tokenizer: Tokenizer) -> float | None:
    try:
        lengths = tokenizer.byte_lengths()
    except DataError:  # GPT-2's vocabulary is not here: training on prepared tokens goes without it
        return None
    counts = np.bincount(tokens.first(_DECODED_TOKENS), minlength=len(lengths))
    known = counts[: len(lengths)]
    return float(known @ lengths) / float(counts.sum())


def _source(data: DataConfig) -> str:
    if data.dir is not None:
        return data.dir
    if data.input is None:
        return "the Python standard library's source"
    if isinstance(data.input, str):
        return data.input
    return data.input[0] + (f" and {len(data.input) - 1} more" if len(data.input) > 1 else "")


def _sample_starts(length: int) -> list[int]:
    """Evenly spaced positions of samples in a split of `length` tokens."""
    room = max(0, length - _SAMPLE_TOKENS)
    return [room * i // (_SAMPLES - 1) for i in range(_SAMPLES)]


def _shrunk(name: Path | str, size: int) -> DataError:
    return DataError(f"{name}: the file has become shorter than the {size:,} bytes it had; restore it and resume")
