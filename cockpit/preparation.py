"""Text made into tokens while a person waits: by `data prepare`, and on the way to training by `--data`."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path

from cockpit import format as fmt
from cockpit.progress import Progress
from gpt.config import DataConfig
from gpt.dataset_file import DatasetFile
from gpt.errors import DataError
from gpt.hub import KNOWN, open_source
from gpt.prepare_folder import prepare_folder
from gpt.preparing import Done, Preparation
from gpt.ranks import launched_ranks
from gpt.shards import split_shards
from gpt.sources import STDIN

FOLDER = Path("data")
"""Where the tokens of `--data` are kept, beside those of the profiles; each text in a folder of its own."""


def training_folder(sources: Sequence[str], data: DataConfig) -> Path:
    """A folder of tokens made of what `data prepare` takes, or the one that the sources name; made once.

    The tokenizer is the profile's: its `data.tokenizer`, or what it would take without one. Of a set known by name
    0.0005 of the documents are for validation, of other texts the profile's share.

    Raises DataError where the text cannot be had, and for standard input, which no resume could read again.
    """
    if len(sources) == 1 and Path(sources[0]).is_dir() and split_shards(Path(sources[0]), "train")[0].is_file():
        return Path(sources[0])
    if STDIN in sources:
        raise DataError("--data - could not be read again by a resume; save the text to a file, or use data prepare")
    if launched_ranks() > 1:
        raise DataError("--data takes a folder of tokens where there are several ranks; make it first by data prepare")
    tokenizer = data.tokenizer or ("gpt2" if data.dir is not None else "byte")
    known = len(sources) == 1 and sources[0] in KNOWN and not Path(sources[0]).exists()
    val = "0.0005" if known else str(data.val_fraction)
    name = (
        f"{sources[0]}-{tokenizer}"
        if known
        else f"{Path(sources[0]).stem}-{tokenizer}-{_mark(sources, tokenizer, val)}"
    )
    out = FOLDER / re.sub(r"[^\w.-]+", "_", name).strip(".")
    prepare_shown(Preparation(tuple(sources), out, tokenizer=tokenizer, val=val))
    return out


def other_data(sources: Sequence[str], data: DataConfig) -> str:
    """The override by which a profile trains on such sources, prepared where they are not yet. Raises DataError."""
    return f"data.dir={json.dumps(str(training_folder(sources, data)), ensure_ascii=False)}"


def prepare_shown(job: Preparation) -> DatasetFile:
    """Prepares a folder and shows how far it is. Raises DataError as `prepare_folder` does."""
    meter = _Meter()
    try:
        return prepare_folder(job, meter.show)
    finally:
        meter.close()


def _mark(sources: Sequence[str], tokenizer: str, val: str) -> str:
    """What tells one text's folder from another's: it changes where the files do."""
    said = [open_source(sources, FOLDER).identity(), tokenizer, val]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:8]


class _Meter:
    """How far the preparation is, and how fast it goes."""

    def __init__(self) -> None:
        self._progress = Progress()
        self._began = time.monotonic()
        self._first: Done | None = None

    def show(self, done: Done) -> None:
        """Tells it, unless that has just been done."""
        now = time.monotonic()
        if self._first is None:  # what an earlier call did is no work of this one
            self._first, self._began = done, now
        if self._progress.is_due():
            self._progress.tell(_so_far(self._first, done, now - self._began))

    def close(self) -> None:
        """Takes it away."""
        self._progress.close()


def _so_far(first: Done, done: Done, seconds: float) -> str:
    seconds = max(seconds, 1e-9)
    eta = None
    if done.share is not None and first.share is not None and done.share > first.share:
        eta = (1 - done.share) / (done.share - first.share) * seconds
    filled = round(20 * (done.share or 0))
    bar = "" if done.share is None else f"{'█' * filled}{'░' * (20 - filled)} {fmt.percent(done.share):>5} %  "
    return (
        f"{bar}{_of(done.tokens)}tokens  {_of((done.bytes - first.bytes) / seconds)}B/s  "
        f"{_of((done.tokens - first.tokens) / seconds)}tokens/s  file {done.file}  ETA {fmt.duration(eta)}"
    )


def _of(value: float) -> str:
    number, unit = fmt.count(value)
    return f"{number} {unit}"
