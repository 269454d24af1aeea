"""`data prepare`: documents to a folder of token files and `dataset.json`, which survives being killed. No torch.

What has been done is recorded in a state file: the number of pieces read, and the length of each draft. A later call
with the same settings cuts the drafts to those lengths and reads on behind those pieces; so the files come out byte
for byte as if nothing had happened. Which split a piece belongs to depends on its number alone.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

from gpt.dataset_file import DatasetFile, read_dataset_file
from gpt.documents import read_pieces
from gpt.encoding import load
from gpt.errors import DataError
from gpt.hub import HubSource, open_source
from gpt.preparing import Done, Preparation, Preparing, read_state, wanted_settings
from gpt.sources import Source, StandardInput
from gpt.tokenizer import CharTokenizer, tokenizer_from_dict

_LOCK_FILE = ".preparing.lock"


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
    with _folder(job.out), _alone(job.out):
        old = read_state(job.out)
        source = open_source(job.sources, job.out / ".downloads")
        finished = read_dataset_file(job.out)
        began = finished.made_with if finished else {**old["wanted"], "identity": old["identity"]} if old else {}
        if isinstance(source, HubSource) and began == {**wanted_settings(job), "identity": began.get("identity")}:
            source.pin(began["identity"])
        settings = {**wanted_settings(job), "identity": source.identity()}
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
            if began != settings:
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
            run = Preparing(job, source, tokenizer, share, old, settings)
            run.go(progress, workers or _cores(), save_every_s)
            return run.finish()
        except OSError as error:
            raise DataError(
                f"{job.out}: cannot be written ({error.strerror}); make room and run the same again"
            ) from None


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


def _refuse_foreign(folder: Path) -> None:
    if found := sorted(path.name for path in folder.glob("*.bin")):
        raise DataError(f"{folder} holds {found[0]}, which was not made by this; choose another --out")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Makes the folder, and takes it away again where that was refused for which it was made."""
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from None
    try:
        yield
    except DataError:
        if is_new:
            with suppress(OSError):  # something is in it, to go on from
                folder.rmdir()
        raise


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
        try:
            yield
        finally:
            (folder / _LOCK_FILE).unlink(missing_ok=True)
