"""`data prepare`: documents to a folder of token files and `dataset.json`, which survives being killed. No torch.

What has been done is recorded in a state file: the number of pieces read, and the length of each draft. A later call
with the same settings cuts the drafts to those lengths and reads on behind those pieces; so the files come out byte
for byte as if nothing had happened. Which split a piece belongs to depends on its number alone.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from gpt.dataset_file import (
    DatasetFile,
    Layout,
    Split,
    SplitEntry,
    read_dataset_file,
    sync_folder,
    write_dataset_file,
    write_durably,
)
from gpt.documents import STDIN, LocalSource, Source, StandardInput, read_pieces
from gpt.encoding import Item, encode_groups, grouped, load
from gpt.errors import DataError
from gpt.hub import KNOWN, HubSource, known_source
from gpt.shard_writer import SplitWriter
from gpt.tokenizer import CharTokenizer, Tokenizer, tokenizer_from_dict

STATE_FILE = ".preparing.json"
_LOCK_FILE = ".preparing.lock"
_SPLITS: tuple[Split, ...] = ("train", "val")


@dataclass(frozen=True)
class Preparation:
    """What to make of which text."""

    sources: tuple[str, ...]
    """Files, folders, globs; or one name of gpt.hub.KNOWN; or `-`."""
    out: Path
    tokenizer: str = "gpt2"
    val: str = "0.0005"
    """Share of the documents kept for validation, between 0 and 1, as written: 0.0005 has no exact float."""
    tokens: int | None = None
    """Training tokens after which to stop, at the end of a document or of a long text's section; None: all."""
    layout: Layout = "llm.c"
    shard_tokens: int = 100_000_000


@dataclass(frozen=True)
class Done:
    """How far a preparation is."""

    share: float | None
    """0…1 of what there is to do; None where nobody knows."""
    tokens: int
    bytes: int
    """UTF-8 text behind the tokens."""
    documents: int
    file: str
    """The one being read."""


def is_validation(number: int, share: Fraction) -> bool:
    """Whether the piece of that number is for validation: the first one, and then evenly spaced ones."""
    return number * share.numerator % share.denominator < share.numerator


def prepare_folder(
    job: Preparation, progress: Callable[[Done], None] = lambda done: None, *,
    workers: int | None = None, save_every_s: float = 10.0,
) -> DatasetFile:  # fmt: skip
    """Makes the token files of a text, or goes on with those that an interrupted call began.

    Where the folder holds the finished result of the same settings, nothing is done. `workers` processes encode; None:
    one for each core. Raises DataError where the text or the vocabulary cannot be had, and where the folder holds
    something else.
    """
    share = _share(job.val)
    if job.shard_tokens < 1024 or (job.tokens is not None and job.tokens < 1):
        raise DataError("a shard needs at least 1,024 tokens, and --tokens at least one; give larger numbers")
    try:
        job.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{job.out}: cannot be made ({error.strerror}); choose another --out") from None
    with _alone(job.out):
        old = read_state(job.out)
        source = _source(job)
        if isinstance(source, HubSource) and old is not None and old["wanted"] == _wanted(job):
            source.pin(old["identity"])
        settings = {**_wanted(job), "identity": source.identity()}
        finished = read_dataset_file(job.out)
        if finished is not None:
            if finished.made_with != settings:
                raise DataError(
                    f"{job.out} holds another finished dataset, or its source changed; choose another --out"
                )
            return finished
        if old is None:
            _refuse_foreign(job.out)
            tokenizer = load(job.tokenizer) or _characters(source)
        else:
            if {**old["wanted"], "identity": old["identity"]} != settings:
                raise DataError(
                    f"{job.out} holds an unfinished preparation with other settings, or its source changed; repeat "
                    "those settings to go on, or remove the folder to begin anew"
                )
            tokenizer = tokenizer_from_dict(old["tokenizer"])
        if job.layout == "raw" and tokenizer.vocab_size > 2**16:
            raise DataError(
                f"--format raw is uint16, but {tokenizer.vocab_size:,} ids do not fit 65,536; use --format llm.c"
            )
        try:
            run = _Run(job, source, tokenizer, share, old, settings)
            run.go(progress, workers or _cores(), save_every_s)
            return run.finish()
        except OSError as error:
            raise DataError(
                f"{job.out}: cannot be written ({error.strerror}); make room and run the same again"
            ) from None


def read_state(folder: Path) -> dict[str, Any] | None:
    """What an unfinished preparation recorded; None without one. Raises DataError where it makes no sense."""
    try:
        return msgspec.json.decode((folder / STATE_FILE).read_bytes(), type=dict)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"{folder / STATE_FILE}: {error}; remove the folder to begin anew") from None


class _Run:
    """A preparation under way."""

    def __init__(
        self, job: Preparation, source: Source, tokenizer: Tokenizer, share: Fraction,
        old: dict[str, Any] | None, settings: dict[str, Any],
    ) -> None:  # fmt: skip
        self._job, self._source, self._tokenizer, self._share, self._settings = job, source, tokenizer, share, settings
        self._identity = settings["identity"]
        self._end_of_text: int | None = getattr(tokenizer, "end_of_text", None)
        self._dtype: Literal["uint16", "uint32"] = "uint16" if tokenizer.vocab_size <= 2**16 else "uint32"
        # pieces so far, and where the next one is: (file, piece in it)
        self._number, self._file, self._in_file = old["place"] if old else (0, 0, 0)
        self._counts = old["counts"] if old else {split: {"bytes": 0, "documents": 0} for split in _SPLITS}
        self._writers: dict[Split, SplitWriter] = {
            split: SplitWriter(
                job.out, split, layout=job.layout, dtype=np.dtype(self._dtype).newbyteorder("<"),
                shard_tokens=job.shard_tokens, state=old["splits"][split] if old else None,
            )
            for split in _SPLITS
        }  # fmt: skip
        self._released = self._file
        self._sizes = source.sizes()

    def go(self, progress: Callable[[Done], None], workers: int, save_every_s: float) -> None:
        """Reads, encodes and writes until the text or the target ends."""
        self._save()
        saved = time.monotonic()
        groups = grouped(self._pieces())
        for encoded, places in encode_groups(groups, self._tokenizer, workers):
            at, done_of_file = 0, 0.0
            for (number, file, in_file, is_val, ends, share), tokens, size in zip(
                places, encoded.tokens, encoded.bytes, strict=True
            ):
                if self._is_enough():
                    return
                split = "val" if is_val else "train"
                self._writers[split].append(encoded.ids[at : at + tokens])
                at += tokens
                self._counts[split]["bytes"] += size
                self._counts[split]["documents"] += ends
                self._number, self._file, self._in_file, done_of_file = number + 1, file, in_file + 1, share
            if time.monotonic() - saved >= save_every_s:
                self._save()
                saved = time.monotonic()
            progress(self._done(done_of_file))

    def finish(self) -> DatasetFile:
        """Closes the last shards and writes dataset.json."""
        for split, writer in self._writers.items():
            if not writer.tokens:
                what = "validation" if split == "val" else "training"
                self._discard()
                raise DataError(
                    f"{self._source.label}: no {what} tokens; it needs at least two documents, or more text"
                )
        # The state of before stays until dataset.json is there: a kill in between does this again from that.
        for writer in self._writers.values():
            writer.finish()
        splits: dict[Split, SplitEntry] = {
            split: SplitEntry(shards=tuple(writer.shards), tokens=writer.tokens, **self._counts[split])
            for split, writer in self._writers.items()
        }
        dataset = DatasetFile(
            tokenizer=self._tokenizer.to_dict(), vocab_size=self._tokenizer.vocab_size, end_of_text=self._end_of_text,
            dtype=self._dtype, layout=self._job.layout, source=self._source.label, splits=splits,
            made_with=self._settings,
        )  # fmt: skip
        self._record({split: _finished(writer) for split, writer in self._writers.items()})
        for writer in self._writers.values():
            writer.promote()
        write_dataset_file(self._job.out, dataset)
        (self._job.out / STATE_FILE).unlink()
        for index in range(self._released, min(self._file + 1, len(self._sizes))):
            self._source.release(index)
        sync_folder(self._job.out)
        return dataset

    def _pieces(self) -> Iterator[tuple[Item, tuple[int, int, int, bool, bool, float]]]:
        """Pieces from the place reached, each with (number, file, number in it, validation?, ends?, share of it)."""
        number, skip = self._number, self._in_file
        for file in range(self._file, len(self._sizes)):
            for in_file, piece in enumerate(read_pieces(self._source.path(file), skip), start=skip):
                is_val = is_validation(number, self._share)
                # Where the next section goes to the other split, what follows here is another text.
                ends = piece.ends or is_val != is_validation(number + 1, self._share)
                yield Item(piece.text, ends), (number, file, in_file, is_val, ends, piece.share)
                number += 1
            skip = 0

    def _is_enough(self) -> bool:
        return self._job.tokens is not None and self._writers["train"].tokens >= self._job.tokens

    def _save(self) -> None:
        """Records what is done; only then gives full shards their names, and lets go of what has been read."""
        self._record({split: writer.state() for split, writer in self._writers.items()})
        for writer in self._writers.values():
            writer.promote()
        while self._released < self._file:
            self._source.release(self._released)
            self._released += 1

    def _record(self, splits: dict[str, Any]) -> None:
        state = {
            "wanted": _wanted(self._job), "identity": self._identity, "tokenizer": self._tokenizer.to_dict(),
            "place": [self._number, self._file, self._in_file], "counts": self._counts, "splits": splits,
        }  # fmt: skip
        write_durably(self._job.out / STATE_FILE, msgspec.json.encode(state))

    def _discard(self) -> None:
        """Nothing of use has been made: a call with other settings shall not trip over it."""
        for path in [*self._job.out.glob(".*.bin.draft"), *self._job.out.glob("*.bin"), self._job.out / STATE_FILE]:
            path.unlink(missing_ok=True)

    def _done(self, share_of_file: float) -> Done:
        tokens = self._writers["train"].tokens
        share = None
        if None not in self._sizes:
            sizes = [size or 0 for size in self._sizes]
            share = (sum(sizes[: self._file]) + share_of_file * sizes[self._file]) / max(1, sum(sizes))
        if self._job.tokens is not None:
            share = max(share or 0.0, min(1.0, tokens / self._job.tokens))
        return Done(
            share=share,
            tokens=tokens + self._writers["val"].tokens,
            bytes=sum(counts["bytes"] for counts in self._counts.values()),
            documents=sum(counts["documents"] for counts in self._counts.values()),
            file=f"{self._file + 1} of {len(self._sizes)}",
        )


def _source(job: Preparation) -> Source:
    names = [name for name in job.sources if name in KNOWN and not Path(name).exists()]
    if names or STDIN in job.sources:
        if len(job.sources) > 1:
            raise DataError(f"{(names or [STDIN])[0]} stands alone, not beside other sources; prepare them one by one")
        return known_source(names[0], job.out / ".downloads") if names else StandardInput()
    if not job.sources:
        raise DataError("name a text: files, folders, globs, - for standard input, or a name of gpt-cockpit data list")
    return LocalSource.of(list(job.sources))


def _wanted(job: Preparation) -> dict[str, Any]:
    """The settings that the files depend on."""
    return {
        "tokenizer": job.tokenizer, "val": job.val, "tokens": job.tokens, "layout": job.layout,
        "shard_tokens": job.shard_tokens if job.layout == "llm.c" else None,
    }  # fmt: skip


def _characters(source: Source) -> CharTokenizer:
    """The vocabulary of a whole text, which is read once for it alone."""
    if isinstance(source, StandardInput | HubSource):
        raise DataError(f"{source.label}: a character vocabulary needs the text twice; save it to a file, or use byte")
    chars = {"\n"}  # which ends a document that lacks one
    for index in range(len(source.sizes())):
        for piece in read_pieces(source.path(index)):
            chars.update(piece.text.encode("utf-8", "replace").decode())
    return CharTokenizer("".join(sorted(chars)))


def _share(text: str) -> Fraction:
    try:
        share = Fraction(text)
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not 0 < share < 1:
        raise DataError(f"--val is {text}, but must be a share of the documents between 0 and 1, such as 0.0005")
    return share


def _finished(writer: SplitWriter) -> dict[str, Any]:
    """The state of a writer that has nothing in a draft any more."""
    shards = [{"file": shard.file, "tokens": shard.tokens, "sha256": shard.sha256} for shard in writer.shards]
    return {"shards": shards, "in_draft": 0}


def _refuse_foreign(folder: Path) -> None:
    if found := sorted(path.name for path in folder.glob("*.bin")):
        raise DataError(f"{folder} holds {found[0]}, which was not made by this; choose another --out")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps a second process out of the folder; the lock goes with the process."""
    with (folder / _LOCK_FILE).open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(
                f"{folder} is being prepared by another process; wait for it, or choose another --out"
            ) from None
        yield
        (folder / _LOCK_FILE).unlink(missing_ok=True)
