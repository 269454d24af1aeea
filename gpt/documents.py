"""Files as streams of documents, one at a time: text, JSON lines, parquet, standard input. No torch.

The order is that of the sources named, then of the files' paths, then of what is in a file; a stream can begin again
behind any document. A parquet row and a line of JSON are one document. A text file is one document, too; one that is
long comes in sections that can go to either split (see `sections`).
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from gpt.errors import DataError
from gpt.prepare import is_text, walk

if TYPE_CHECKING:
    import pyarrow.parquet

STDIN = "-"
SECTION_CHARS = 2**15
"""A text file's sections have at least so many characters, and at most twice as many."""
_READ_CHARS = 2**18
_ROWS = 256
"""Parquet rows made into Python's strings at once."""
_JSON_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")


@dataclass(frozen=True, slots=True)
class Piece:
    """A document, or a section of a text."""

    text: str
    ends: bool
    """Whether its document ends with it."""
    share: float
    """Of its file that has been read by then, 0…1."""


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
        return [path.stat().st_size for path in self.files]

    def identity(self) -> list[Any]:
        """Name, size and time of change: hashing the content would read all of it twice."""
        digest = hashlib.sha256()
        for path in self.files:
            state = path.stat()
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


def read_pieces(path: Path | None, skip: int = 0) -> Iterator[Piece]:
    """The pieces of one file from the one numbered `skip`; None is standard input.

    Raises DataError, naming the file, for one that cannot be read, is damaged, or holds no text where it should.
    """
    with _readable(path):
        if path is None:
            yield from _text_pieces(sys.stdin.buffer, None, skip)
        elif path.suffix == ".parquet":
            yield from _parquet_pieces(path, skip)
        elif path.name.endswith(_JSON_SUFFIXES):
            yield from _json_pieces(path, skip)
        else:
            with path.open("rb") as file:
                yield from _text_pieces(file, path.stat().st_size, skip)


def sections(read: Callable[[int], str]) -> Iterator[str]:
    """Cuts a text, read bit by bit, into parts of SECTION_CHARS to twice that; only the last may be shorter.

    At a blank line where there is one, else at a line's end, else between words: always where GPT-2's tokens are the
    same as those of the whole text (see `gpt.prepare`). A text without white space is cut anywhere.
    """
    held = ""
    while portion := read(_READ_CHARS):
        held += portion
        start = 0
        while len(held) - start > 2 * SECTION_CHARS:
            cut = _cut(held, start + SECTION_CHARS, start + 2 * SECTION_CHARS)
            yield held[start:cut]
            start = cut
        held = held[start:]
    if held:
        yield held


# A paragraph, a line, a word: in front of the last white space before it.
_CUTS = tuple(re.compile(pattern) for pattern in (r"(?<=\n)(?=[ \n]\S)", r"(?=\n\S)", r"(?=[ \n]\S)"))


def _cut(text: str, first: int, last: int) -> int:
    matches = (pattern.search(text, first, last) for pattern in _CUTS)
    return next((match.start() for match in matches if match), last)


def _text_pieces(file: IO[bytes], size: int | None, skip: int) -> Iterator[Piece]:
    """A text's sections, each known to be the last or not only when the next one is there."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="replace")  # every line end becomes one newline
    held: str | None = None
    number = -1
    try:
        for number, section in enumerate(sections(text.read)):
            if held is not None and number > skip:
                yield Piece(held, False, min(1.0, file.tell() / size) if size else 0.0)
            held = section
        if held is not None and number >= skip:
            yield Piece(held, True, 1.0)
    finally:
        text.detach()  # standard input is not ours to close


def _json_pieces(path: Path, skip: int) -> Iterator[Piece]:
    size = path.stat().st_size
    with path.open("rb") as raw, _decompressed(path, raw) as lines:
        for number, line in enumerate(line for line in lines if line.strip()):
            if number >= skip:
                yield Piece(_text_field(line, path, number), True, min(1.0, raw.tell() / size))


def _text_field(line: bytes, path: Path, number: int) -> str:
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str):
        raise DataError(f"{path}: document {number + 1:,} is not a JSON object with a text field; mend or remove it")
    return text


def _decompressed(path: Path, raw: IO[bytes]) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.GzipFile(fileobj=raw)  # pyright: ignore[reportReturnType]
    if path.suffix == ".zst":
        try:
            import zstandard
        except ImportError:
            raise DataError(
                f"{path}: reading zstandard needs an extra package; pip install 'gpt-cockpit[data]'"
            ) from None
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True), 2**20)  # pyright: ignore[reportArgumentType]
    return io.BufferedReader(raw, 2**20)  # pyright: ignore[reportArgumentType]


def _parquet_pieces(path: Path, skip: int) -> Iterator[Piece]:
    file = _open_parquet(path)
    rows, done = file.metadata.num_rows, 0
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        if done + size <= skip:  # not even read
            done += size
            continue
        for batch in file.iter_batches(batch_size=_ROWS, row_groups=[group], columns=["text"]):
            for text in batch.column(0).to_pylist():
                done += 1
                if done > skip:
                    yield Piece(text or "", True, done / rows)


def _open_parquet(path: Path) -> pyarrow.parquet.ParquetFile:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"{path}: reading parquet needs an extra package; pip install 'gpt-cockpit[data]'") from None
    file = pyarrow.parquet.ParquetFile(path, memory_map=False, pre_buffer=False)
    schema = file.schema_arrow
    types = (pyarrow.types.is_string, pyarrow.types.is_large_string, pyarrow.types.is_string_view)
    if "text" not in schema.names or not any(is_type(schema.field("text").type) for is_type in types):
        columns = ", ".join(schema.names[:8])
        raise DataError(f"{path}: no column named text with strings in it (it has {columns}); rename the one meant")
    return file


@contextmanager
def _readable(path: Path | None) -> Iterator[None]:
    """Makes what is wrong with a file the user's to mend."""
    name = path or "standard input"
    try:
        yield
    except OSError as error:  # gzip's BadGzipFile and some of pyarrow's among them
        raise DataError(f"{name}: cannot be read ({error.strerror or error}); get it again") from None
    except EOFError:
        raise DataError(f"{name}: the file ends too early; get it again") from None
    except Exception as error:
        if type(error).__module__.split(".")[0] in ("zlib", "zstd", "zstandard", "pyarrow"):
            raise DataError(f"{name}: damaged ({' '.join(str(error).split())}); get it again") from None
        raise


def _matches(item: str) -> list[Path]:
    path = Path(item).expanduser()
    if path.is_dir():
        files = [file for file in walk(path) if _is_known(file) or is_text(file)]
        if not files:
            raise DataError(f"no text, .jsonl or .parquet files in the folder {item}; name one that has some")
        return files
    files = [path] if path.exists() else [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207
    files = [file for file in files if not file.is_dir()]
    if not files:
        raise DataError(f"no file matches {item} (looked in {Path.cwd()}), nor is it a name; see gpt-cockpit data list")
    for file in files:
        if not _is_known(file) and not is_text(file):
            raise DataError(f"{file} is not UTF-8 text (it holds NUL bytes), .jsonl[.gz|.zst] or .parquet; convert it")
    return files


def _is_known(path: Path) -> bool:
    return path.suffix == ".parquet" or path.name.endswith(_JSON_SUFFIXES)
