"""Token files being written: drafts that grow, are made durable now and then, and become shards when full. No torch.

A draft has a name that no reader looks for. What it holds beyond the length that was last recorded is cut off when it
is opened again, so that a process killed at any moment loses at most what came after that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gpt import durable
from gpt.dataset_file import Layout, ShardEntry
from gpt.shards import HEADER_BYTES, header


class SplitWriter:
    """One split's files.

    Args:
        folder: where they are.
        split: `train` or `val`.
        layout: `raw`: one file without a header; `llm.c`: shards of `shard_tokens`.
        dtype: little-endian uint16 or uint32.
        state: what `state` gave when an earlier writer was interrupted.
    """

    def __init__(
        self, folder: Path, split: str, *, layout: Layout, dtype: np.dtype, shard_tokens: int,
        state: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._split = split
        self._raw = layout == "raw"
        self._dtype = dtype
        self._room = shard_tokens
        self._start = 0 if self._raw else HEADER_BYTES
        self.shards = [ShardEntry(**entry) for entry in state["shards"]] if state else []
        """Those that are full, in order."""
        self._in_draft = state["in_draft"] if state else 0
        self._promoted = 0
        self.promote()  # what was recorded as full but not yet renamed
        self._file = self._open()

    @property
    def tokens(self) -> int:
        """Written so far."""
        return sum(shard.tokens for shard in self.shards) + self._in_draft

    def append(self, ids: np.ndarray) -> None:
        """Writes tokens behind the others, beginning new shards as they fill."""
        while len(ids):
            part = ids if self._raw else ids[: self._room - self._in_draft]
            self._file.write(np.ascontiguousarray(part, self._dtype).data)
            self._in_draft += len(part)
            ids = ids[len(part) :]
            if not self._raw and self._in_draft == self._room:
                self._close()
                self._file = self._open()

    def state(self) -> dict[str, Any]:
        """Makes all that is written durable, and says what it is: plain values for JSON."""
        durable.flush(self._file)
        shards = [{"file": shard.file, "tokens": shard.tokens, "sha256": shard.sha256} for shard in self.shards]
        return {"shards": shards, "in_draft": self._in_draft}

    def finish(self) -> None:
        """The last shard is as long as it is; no more is written. An empty one leaves no file."""
        if self._in_draft:
            self._close()
        else:
            self._file.close()
            self._draft(self._name(len(self.shards))).unlink()

    def promote(self) -> None:
        """Gives full shards their names. Call it once their `state` is recorded: a name is never given twice."""
        for shard in self.shards[self._promoted :]:
            if not (self._folder / shard.file).exists():
                self._draft(shard.file).replace(self._folder / shard.file)
        self._promoted = len(self.shards)
        durable.sync_folder(self._folder)

    def _open(self) -> BinaryIO:
        """The draft of the next shard, cut to what was recorded of it."""
        path = self._draft(self._name(len(self.shards)))
        length = self._start + self._in_draft * self._dtype.itemsize if self._in_draft else 0
        file = path.open("r+b" if length else "wb")
        file.truncate(length)
        file.seek(length)
        if not length:
            file.write(bytes(self._start))  # the header's place
        return file

    def _close(self) -> None:
        """Fills in the header and takes the hash."""
        if not self._raw:
            self._file.seek(0)
            self._file.write(header(self._in_draft, self._dtype))
        durable.flush(self._file)
        self._file.close()
        name = self._name(len(self.shards))
        self.shards.append(ShardEntry(file=name, tokens=self._in_draft, sha256=durable.sha256_of(self._draft(name))))
        self._in_draft = 0

    def _name(self, number: int) -> str:
        return f"{self._split}.bin" if self._raw else f"{self._split}_{number:06}.bin"

    def _draft(self, name: str) -> Path:
        return self._folder / f".{name}.draft"
