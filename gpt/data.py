"""Tokens to train on: where they come from, how windows of them are read, and whether they fit the model. No torch.

In which order they are read is gpt.order's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from gpt.config import DataConfig, ModelConfig
from gpt.dataset_file import DatasetFile, read_dataset_file
from gpt.errors import DataError
from gpt.interop.nanogpt import read_meta
from gpt.order import BatchOrder, evaluation_starts
from gpt.prepare import Progress, prepare, read_text, source_files
from gpt.shards import open_shard, split_shards
from gpt.tokenizer import CharTokenizer, Tokenizer, load_tokenizer, tokenizer_from_dict
from gpt.tokens import Tokens

__all__ = ["BatchOrder", "Dataset", "Tokens", "check_source", "evaluation_starts", "open_dataset", "rows_of_embedding"]

_SPLITS: tuple[Literal["train"], Literal["val"]] = ("train", "val")
_CHECKED_WHOLE_BYTES = 64 * 2**20
_DECODED_TOKENS = 4 * 2**20
"""Validation tokens whose bytes are counted, from the start of the split."""


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
    """Mean bytes of text behind a validation token, as dataset.json counts them, else of the first 4 M; None where the
    vocabulary cannot be had."""
    source: str
    """Where the tokens come from, for people."""


def open_dataset(data: DataConfig, model: ModelConfig, progress: Progress | None = None) -> Dataset:
    """Opens what a profile names, tokenizing texts first. Relative paths start at the current directory.

    `progress` is called with (bytes done, bytes in all) while GPT-2's tokens are made. Raises DataError for all that is
    wrong with the data, or between it and the model.
    """
    described: DatasetFile | None = None
    if data.dir is not None:
        folder, tokenizer, described = _prepared_folder(data.dir, data)
        vocab_size = _vocab_size(tokenizer, model)
        train, val = (
            Tokens.open(_shards(folder, described, split), vocab_size=vocab_size) for split in _SPLITS
        )  # fmt: skip
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
        val_bytes_per_token=described.splits["val"].bytes_per_token if described else _bytes_per_token(val, tokenizer),
        source=_source(data),
    )


def check_source(data: DataConfig, model: ModelConfig) -> None:
    """Quick checks before anything is started: files, sizes, vocabularies. Raises DataError with one line.

    What takes the tokens themselves (a text that makes fewer of them than it has bytes) is left to `open_dataset`.
    """
    if data.dir is None:
        _check_text(data, model)
        return
    folder, tokenizer, described = _prepared_folder(data.dir, data)
    vocab_size = _vocab_size(tokenizer, model)
    for split, name in zip(("training", "validation"), _SPLITS, strict=True):
        paths = _shards(folder, described, name)
        shards = [open_shard(path) for path in paths]
        _need_a_block(sum(shard.tokens for shard in shards), split, data, model)
        if sum(shard.size for shard in shards) <= _CHECKED_WHOLE_BYTES:
            Tokens.open(paths, vocab_size=vocab_size)
        else:
            Tokens.open(paths, vocab_size=vocab_size, in_memory=0).check_samples()


def rows_of_embedding(data: DataConfig, model: ModelConfig) -> int | None:
    """Ids that the model will have, without tokenizing anything; None where what settles that is not here, or is a text
    too long to be looked through at once."""
    if model.vocab_size is not None:
        return model.vocab_size
    try:
        if data.dir is not None:
            return _prepared_folder(data.dir, data)[1].vocab_size
        if data.tokenizer != "char":
            return load_tokenizer(data.tokenizer or "byte").vocab_size
        files = source_files(data)
        if sum(path.stat().st_size for path in files) > _CHECKED_WHOLE_BYTES:
            return None
        return CharTokenizer.of_text(read_text(files)).vocab_size
    except DataError:
        return None


def _check_text(data: DataConfig, model: ModelConfig) -> None:
    files = source_files(data)
    size = sum(path.stat().st_size for path in files) + len(files) - 1
    if size < len(files):
        raise DataError(f"{_source(data)}: there is no text in it; name a file that holds some")
    for split, share in (("training", 1 - data.val_fraction), ("validation", data.val_fraction)):
        _need_a_block(int(size * share) + 1, split, data, model)  # no text has more tokens than bytes
    if data.tokenizer == "char":
        if model.vocab_size is not None and size <= _CHECKED_WHOLE_BYTES:
            _vocab_size(CharTokenizer.of_text(read_text(files)), model)
    else:
        _vocab_size(load_tokenizer(data.tokenizer or "byte"), model)


def _prepared_folder(name: str, data: DataConfig) -> tuple[Path, Tokenizer, DatasetFile | None]:
    """A folder of token files, its tokenizer by the rules of DataConfig.tokenizer, and its dataset.json, if any."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"data.dir: no folder {name} (looked in {Path.cwd()}); check the path, or prepare the data first"
        )
    if (described := read_dataset_file(folder)) is not None:
        tokenizer = tokenizer_from_dict(described.tokenizer)
        if data.tokenizer is not None and not _same(data.tokenizer, tokenizer):
            raise DataError(
                f"data.tokenizer is {data.tokenizer}, but {name} was prepared with {tokenizer.name}; "
                f"{_instead(tokenizer)}"
            )
        return folder, tokenizer, described
    meta = folder / "meta.pkl"
    if data.tokenizer == "char" or (data.tokenizer is None and meta.exists()):
        if not meta.exists():
            raise DataError(
                f"data.dir: {name} has no meta.pkl with its characters; add it or choose another data.tokenizer"
            )
        return folder, CharTokenizer(read_meta(meta).chars), None
    return folder, load_tokenizer(data.tokenizer or "gpt2"), None


def _instead(tokenizer: Tokenizer) -> str:
    """What to put for a tokenizer that does not fit: a profile that inherits its key has no line to leave out."""
    named = tokenizer.name in ("byte", "char", "gpt2")
    return f'set data.tokenizer = "{tokenizer.name}", or leave it out' if named else "name that vocabulary's file"


def _same(name: str, tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer is the one that a profile names."""
    return name == tokenizer.name if name == "char" else load_tokenizer(name).to_dict() == tokenizer.to_dict()


def _shards(folder: Path, described: DatasetFile | None, split: Literal["train", "val"]) -> list[Path]:
    """A split's files: those that dataset.json lists, each as long as it says, else those that are there."""
    if described is None:
        return split_shards(folder, split)
    for path, entry in zip(described.paths(folder, split), described.splits[split].shards, strict=True):
        if (found := open_shard(path).tokens) != entry.tokens:
            raise DataError(f"{path}: {found:,} tokens, but dataset.json says {entry.tokens:,}; copy the file again")
    return described.paths(folder, split)


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
