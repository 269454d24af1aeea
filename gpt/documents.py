"""Files as streams of documents, one at a time: text, JSON lines, parquet, standard input. No torch.

Which files is gpt.sources'. A stream can begin again behind any document. A parquet row and a line of JSON are one
document. A text file is one document, too; one that is long comes in sections that can go to either split (see
`sections`).
"""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from gpt.errors import DataError

if TYPE_CHECKING:
    import pyarrow.parquet

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


def read_pieces(path: Path | None, skip: int = 0) -> Iterator[Piece]:
    """The pieces of one file from the one numbered `skip`; None is standard input.

    Raises DataError, naming the file, for one that cannot be read, is damaged, or holds no text where it should.
    """
    with readable(path):
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
def readable(path: Path | None) -> Iterator[None]:
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


def is_known(path: Path) -> bool:
    """Whether a file is of a form that holds documents, by its name."""
    return path.suffix == ".parquet" or path.name.endswith(_JSON_SUFFIXES)
