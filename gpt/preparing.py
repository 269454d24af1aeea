"""A preparation under way: pieces of text become drafts, drafts become shards, and a state file tells how far it is.

No torch. What can interrupt it and what a later call may do with what it left is told by gpt.prepare_folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from gpt import durable
from gpt.dataset_file import DatasetFile, Layout, Split, SplitEntry, write_dataset_file
from gpt.documents import read_pieces
from gpt.encoding import Item, encode_groups, grouped
from gpt.errors import DataError
from gpt.shard_writer import SplitWriter
from gpt.sources import Source
from gpt.tokenizer import Tokenizer

STATE_FILE = ".preparing.json"
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


def wanted_settings(job: Preparation) -> dict[str, Any]:
    """The settings that the files depend on."""
    return {
        "tokenizer": job.tokenizer, "val": job.val, "tokens": job.tokens, "layout": job.layout,
        "shard_tokens": job.shard_tokens if job.layout == "llm.c" else None,
    }  # fmt: skip


def read_state(folder: Path) -> dict[str, Any] | None:
    """What an unfinished preparation recorded; None without one. Raises DataError where it makes no sense."""
    try:
        return msgspec.json.decode((folder / STATE_FILE).read_bytes(), type=dict)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{folder / STATE_FILE}: {error}; remove the folder to begin anew") from None


class Preparing:
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
        durable.sync_folder(self._job.out)
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
            "wanted": wanted_settings(self._job), "identity": self._identity, "tokenizer": self._tokenizer.to_dict(),
            "place": [self._number, self._file, self._in_file], "counts": self._counts, "splits": splits,
        }  # fmt: skip
        durable.replace(self._job.out / STATE_FILE, msgspec.json.encode(state))

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


def _finished(writer: SplitWriter) -> dict[str, Any]:
    """The state of a writer that has nothing in a draft any more."""
    shards = [{"file": shard.file, "tokens": shard.tokens, "sha256": shard.sha256} for shard in writer.shards]
    return {"shards": shards, "in_draft": 0}
