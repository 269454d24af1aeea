"""Where text comes from: files named by paths, folders and globs, and standard input. No torch.

The order is that of the sources named, then of the files' paths. Sets that are fetched are gpt.hub's.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gpt.documents import is_known, read_pieces, readable
from gpt.errors import DataError
from gpt.prepare import is_text, walk

STDIN = "-"


class Source(Protocol):
    """An ordered list of files, fetched where need be."""

    @property
    def label(self) -> str:
        """Where the text comes from, for people."""
        ...

    def sizes(self) -> list[int | None]:
        """Bytes of each file; None where unknown. Raises DataError where the files cannot be had."""
        ...

    def identity(self) -> list[Any]:
        """Plain values that change where the files do."""
        ...

    def path(self, index: int) -> Path | None:
        """A file, brought to this machine if it is not here; None for standard input."""
        ...

    def release(self, index: int) -> None:
        """The file is not needed any more."""
        ...


@dataclass(frozen=True)
class LocalSource:
    """Files that are on this machine."""

    files: tuple[Path, ...]
    label: str

    @classmethod
    def of(cls, items: list[str]) -> LocalSource:
        """Files named by paths, folders and globs; each once. Raises DataError where something matches no file."""
        found: dict[Path, Path] = {}
        for item in items:
            for path in sorted(_matches(item), key=lambda path: path.as_posix()):
                found.setdefault(path.resolve(), path)
        label = items[0] + (f" and {len(items) - 1} more" if len(items) > 1 else "")
        return cls(tuple(found.values()), label)

    def sizes(self) -> list[int | None]:
        return [_state(path).st_size for path in self.files]

    def identity(self) -> list[Any]:
        """Name, size and time of change: hashing the content would read all of it twice."""
        digest = hashlib.sha256()
        for path in self.files:
            state = _state(path)
            digest.update(
                f"{path.absolute()}\0{state.st_size}\0{state.st_mtime_ns}\n".encode("utf-8", "surrogateescape")
            )
        return [len(self.files), digest.hexdigest()]

    def path(self, index: int) -> Path:
        return self.files[index]

    def release(self, index: int) -> None:
        """Stays where it is."""


@dataclass(frozen=True)
class StandardInput:
    """Text from a pipe: one text, read once."""

    label: str = "standard input"

    def sizes(self) -> list[int | None]:
        return [None]

    def identity(self) -> list[Any]:
        return ["standard input"]

    def path(self, index: int) -> None:
        return None

    def release(self, index: int) -> None:
        """Nothing to let go."""


def texts(source: Source, chars: int | None = None) -> Iterator[str]:
    """All the text of a source, piece by piece, each file let go once it has been read; or its first `chars`
    characters, to the end of a piece. Raises DataError as `read_pieces` does."""
    left = chars
    for index in range(len(source.sizes())):
        for piece in read_pieces(source.path(index)):
            if left is not None and left <= 0:
                return
            yield piece.text
            left = None if left is None else left - len(piece.text)
        source.release(index)


def _state(path: Path) -> os.stat_result:
    with readable(path):
        return path.stat()


def _matches(item: str) -> list[Path]:
    path = Path(item).expanduser()
    if path.is_dir():
        files = [file for file in walk(path) if is_known(file) or is_text(file)]
        if not files:
            raise DataError(f"no text, .jsonl or .parquet files in the folder {item}; name one that has some")
        return files
    files = [path] if path.exists() else [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207
    files = [file for file in files if not file.is_dir()]
    if not files:
        raise DataError(f"no file matches {item} (looked in {Path.cwd()}), nor is it a name; see gpt-cockpit data list")
    for file in files:
        if not is_known(file) and not is_text(file):
            raise DataError(f"{file} is not UTF-8 text (it holds NUL bytes), .jsonl[.gz|.zst] or .parquet; convert it")
    return files
