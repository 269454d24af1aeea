"""`gpt-cockpit data inspect`: what a prepared folder or a token file holds, as a report of plain values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cockpit.sanitize import clean_line
from gpt.coherence import tokenizer_mistake
from gpt.durable import sha256_of
from gpt.errors import DataError
from gpt.interop.nanogpt import read_meta
from gpt.shards import Shard, open_shard, split_shards
from gpt.survey import START_TOKENS, Survey, open_all, read, snippet_starts, survey
from gpt.tokenizer import CharTokenizer, StreamDecoder, Tokenizer, load_tokenizer, tokenizer_from_dict
from gpt.tokens import Tokens

_SNIPPETS = 3
_SNIPPET_TOKENS = 48
_LOOKED_AT, _ENOUGH = 4096, 64
"""Bytes of a file that tell text from tokens, and fewer that do not."""

Report = dict[str, Any]


@dataclass(frozen=True)
class _Symbols:
    """How ids are read, and who says so."""

    tokenizer: Tokenizer | None
    told_by: str


def inspect(path: Path, tokenizer: str | None = None, *, hashes: bool = True) -> Report:
    """The figures of a folder's splits, or of one file; plain values for JSON.

    What is wrong with a file is a line of `problems`, and the others are looked at all the same. `hashes`: each file is
    read whole once more and held against the SHA-256 that dataset.json lists. Raises DataError where nothing can be
    looked at.
    """
    folder = path if path.is_dir() else path.parent
    described = _described(folder)
    files = {split: split_shards(path, split) for split in ("train", "val")} if path.is_dir() else {path.name: [path]}
    problems: list[str] = []
    opened = {split: _open(paths, problems) for split, paths in files.items()}
    if not any(opened.values()):
        raise DataError("; ".join(problems[:1]))
    symbols = _symbols(tokenizer, folder, described, opened)
    report: Report = {
        "path": str(path),
        "tokenizer": symbols.tokenizer.name if symbols.tokenizer else None,
        "tokenizer_told_by": symbols.told_by,
        "vocab_size": symbols.tokenizer.vocab_size if symbols.tokenizer else None,
        "end_of_text": symbols.tokenizer.end_of_text if symbols.tokenizer else None,
        "splits": {},
    }
    for split, shards in opened.items():
        if shards:
            problems += _contradictions(folder, split, described, shards) if path.is_dir() else []
            with _readable(shards):
                report["splits"][split] = _split(shards, symbols, problems)
                listed = _listed_hashes(described) if hashes else {}
                for shard, entry in zip(shards, report["splits"][split]["shards"], strict=True):
                    entry["sha256_matches"] = _matches(shard, listed.get(shard.path.name), problems)
    return report | {"problems": list(dict.fromkeys(problems))}


def _open(paths: list[Path], problems: list[str]) -> list[Shard]:
    shards = []
    for path in paths:
        try:
            shard = open_shard(path)
            if shard.layout == "raw" and _is_text(path):
                raise DataError(
                    f"{path} is text, not tokens; gpt-cockpit data prepare {path} --out FOLDER makes tokens of it"
                )
            shards.append(shard)
        except DataError as error:
            problems.append(str(error))
    return shards


def _is_text(path: Path) -> bool:
    """Whether the first bytes of a file without a header are UTF-8 with no NUL: of ids below 256 every second byte is
    one, and others are not valid for long."""
    try:
        with path.open("rb") as file:
            start = file.read(_LOOKED_AT)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the file") from None
    try:
        start.decode()
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:  # not just a character that is cut at the end
            return False
    return len(start) >= _ENOUGH and b"\0" not in start


@contextmanager
def _readable(shards: list[Shard]) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # gone since it was looked at, or a disk that fails
        name = error.filename or shards[0].path
        raise DataError(f"{name}: cannot be read ({error.strerror}); check the file") from None


def _split(shards: list[Shard], symbols: _Symbols, problems: list[str]) -> Report:
    tokens = open_all(shards)
    tokenizer = symbols.tokenizer
    vocab_size = tokenizer.vocab_size if tokenizer else None
    end_of_text = tokenizer.end_of_text if tokenizer else None
    figures = survey(tokens, vocab_size=vocab_size, end_of_text=end_of_text)
    if figures.outside:
        problems.append(
            f"{tokens.name}: {figures.outside:,} of its ids are not in the vocabulary of {vocab_size:,}, the first at "
            f"position {figures.first_outside:,}; name what it was made with by --tokenizer"
        )
    try:
        spell: Callable[[int], str] = _speller(tokenizer)
    except DataError as error:  # counting goes without GPT-2's vocabulary
        problems.append(str(error))
        tokenizer, spell = None, str
    return {
        "shards": [
            {"file": str(s.path), "format": s.layout, "dtype": s.dtype.name, "tokens": s.tokens, "bytes": s.size}
            for s in shards
        ],
        "tokens": len(tokens),
        "bytes": sum(shard.size for shard in shards),
        **{key: getattr(figures, key) for key in ("largest_id", "outside", "first_outside", "distinct")},
        "frequent": [
            {"id": token, "text": spell(token), "count": count, "share": count / len(tokens)}
            for token, count in figures.frequent
        ],
        "documents": _documents(figures, tokens, tokenizer, end_of_text),
        "snippets": [
            {"position": start, "tokens": _pieces(read(tokens, start, _SNIPPET_TOKENS), tokenizer, end_of_text)}
            for start in snippet_starts(tokens, end_of_text, _SNIPPETS, _SNIPPET_TOKENS)
        ],
    }


def _documents(
    figures: Survey, tokens: Tokens, tokenizer: Tokenizer | None, end_of_text: int | None
) -> Report | None:  # fmt: skip
    documents = figures.documents
    if documents is None:
        return None
    values = asdict(documents)
    values["histogram"] = [{"from": least, "documents": count} for least, count in documents.histogram]
    for repeated in values["most_repeated"]:
        repeated["tokens"] = _pieces(read(tokens, repeated["position"], START_TOKENS), tokenizer, end_of_text)
        if None in repeated["tokens"]:  # what follows is another document's
            repeated["tokens"] = repeated["tokens"][: repeated["tokens"].index(None)]
    return values


def _speller(tokenizer: Tokenizer | None) -> Callable[[int], str]:
    """Text of one id; bytes that are only a part of a character as `\\xe6`. Raises DataError without the vocabulary."""
    if tokenizer is None:
        return str
    tokenizer.token_bytes(0)
    return lambda token: tokenizer.token_bytes(token).decode("utf-8", "backslashreplace")


def _pieces(ids: list[int], tokenizer: Tokenizer | None, end_of_text: int | None) -> list[str | None]:
    """Text of each id; what completes a character carries all of it. None: the end of a text."""
    feed = StreamDecoder(tokenizer).feed if tokenizer else str
    return [None if token == end_of_text else feed(token) for token in ids]


def _described(folder: Path) -> dict[str, Any] | None:
    """What dataset.json says, or None where there is none. Raises DataError for a damaged one."""
    path = folder / "dataset.json"
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or not isinstance(values.get("tokenizer"), dict):
        raise DataError(f"{path}: not what data prepare writes; prepare the data again, or delete it")
    return values


def _symbols(
    name: str | None, folder: Path, described: dict[str, Any] | None, opened: dict[str, list[Shard]]
) -> _Symbols:  # fmt: skip
    """The tokenizer that was asked for, else the folder's own, else the one training would take."""
    meta = folder / "meta.pkl"
    if name is not None:
        if name == "char":
            return _Symbols(CharTokenizer(read_meta(meta).chars), "meta.pkl")
        if mistake := tokenizer_mistake(clean_line(name)):
            raise DataError(f"--tokenizer {mistake}")
        return _Symbols(load_tokenizer(name), "--tokenizer")
    if described is not None:
        try:
            return _Symbols(tokenizer_from_dict(described["tokenizer"]), "dataset.json")
        except DataError as error:
            raise DataError(f"{folder / 'dataset.json'}: {error}") from None
    if meta.exists():
        return _Symbols(CharTokenizer(read_meta(meta).chars), "meta.pkl")
    if any(shard.dtype.itemsize > 2 for shards in opened.values() for shard in shards):
        return _Symbols(None, "nothing")
    return _Symbols(load_tokenizer("gpt2"), "nothing, training would take it too")


def _contradictions(folder: Path, split: str, described: dict[str, Any] | None, shards: list[Shard]) -> list[str]:
    """Lines about files that are not as dataset.json says."""
    try:
        listed = {entry["file"]: entry["tokens"] for entry in described["splits"][split]["shards"]} if described else {}
    except (KeyError, TypeError):
        return [f"{folder / 'dataset.json'}: does not list the shards of {split}; prepare the data again"]
    found = {shard.path.name: shard.tokens for shard in shards}
    return [
        f"{folder / name}: dataset.json says {tokens} tokens, here are {found.get(name, 'none')}; prepare it again"
        for name, tokens in listed.items()
        if found.get(name) != tokens
    ]


def _listed_hashes(described: dict[str, Any] | None) -> dict[str, str]:
    """SHA-256 by file, as far as dataset.json lists any."""
    try:
        splits = described["splits"].values() if described else ()
        return {entry["file"]: entry["sha256"] for split in splits for entry in split["shards"]}
    except (KeyError, TypeError, AttributeError):
        return {}  # that it lists nothing is said where the counts are held against it


def _matches(shard: Shard, expected: str | None, problems: list[str]) -> bool | None:
    """Whether a file is the one whose hash is listed; None where none is, or none was asked for."""
    if expected is None:
        return None
    found = sha256_of(shard.path)
    if found != expected:
        problems.append(
            f"{shard.path}: its SHA-256 is {found[:12]}…, dataset.json says {expected[:12]}…; something changed it: "
            "copy it again, or prepare it again"
        )
    return found == expected
