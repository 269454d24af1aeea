"""Texts on disk to tokens in memory: which files, read how, split where, tokenized once. No torch."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shlex
import shutil
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpt import durable
from gpt.config import DataConfig
from gpt.errors import DataError
from gpt.tokenizer import CharTokenizer, PairTokenizer, Tokenizer, id_dtype, load_tokenizer
from gpt.vocabulary import GPT2_PATTERN, cache_folder

Progress = Callable[[int, int], None]
"""Called with (bytes tokenized so far, bytes in all)."""

_STDLIB_LEFT_OUT = frozenset({
    "site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__",
    "_bundled",  # ensurepip's wheels
    "pydoc_data",  # generated help texts: prose, not Python
})  # fmt: skip
_DOCUMENTS = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")
"""Files that have to be prepared first."""
_SNIFF_BYTES = 8192
_PIECE_CHARS = 2**18
"""Size of the pieces that are tokenized side by side, characters."""


@dataclass(frozen=True)
class Prepared:
    """Tokens of a text."""

    train: np.ndarray
    """(n,) uint16, or uint32 for a vocabulary above 65,536."""
    val: np.ndarray
    """(m,) likewise."""
    tokenizer: Tokenizer


def text_files(source: str | list[str]) -> list[Path]:
    """Files named by paths, folders and globs, each file once, sorted by path.

    A folder stands for all text files under it; hidden ones, and those with a NUL byte near their start, are not
    text. `~` is expanded. Raises DataError where something matches no file, or where a file asked for by name or
    glob is not text.
    """
    found: dict[Path, Path] = {}
    for item in [source] if isinstance(source, str) else source:
        for path in _matches(item):
            found.setdefault(path.resolve(), path)
    if not found:
        raise DataError("data.input is an empty list; name text files, folders or globs")
    return sorted(found.values(), key=lambda path: path.as_posix())


def _matches(item: str) -> list[Path]:
    path = Path(item).expanduser()
    if path.is_dir():
        files = [file for file in walk(path) if is_text(file)]
        if all(file.name.endswith(_DOCUMENTS) for file in files) and any(
            file.name.endswith(_DOCUMENTS) for file in walk(path)
        ):
            raise _to_be_prepared(f"the folder {item}", item)
        if not files:
            raise DataError(
                f"data.input: no text files in the folder {item}; name a folder, file or glob that has some"
            )
        return files
    if path.exists():
        files = [path]
    else:
        files = [Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file()]  # noqa: PTH207
    if documents := [file for file in files if file.name.endswith(_DOCUMENTS)]:
        raise _to_be_prepared(str(documents[0]), item)
    if not files:
        raise DataError(f"data.input: no file matches {item} (looked in {Path.cwd()}); check the path")
    for file in files:
        if not is_text(file):
            raise DataError(
                f"data.input: {file} is not UTF-8 text (it holds NUL bytes); prepared tokens are given by data.dir"
            )
    return files


def _to_be_prepared(what: str, item: str) -> DataError:
    return DataError(
        f"data.input: {what} holds documents, not plain text; run: gpt-cockpit data prepare {shlex.quote(item)} "
        "--out DIR, and set data.dir to DIR instead"
    )


def walk(folder: Path, left_out: frozenset[str] = frozenset()) -> Iterator[Path]:
    """All files under a folder, hidden ones aside. Links to folders are not followed, so that it always ends."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in left_out]
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def is_text(path: Path) -> bool:
    """Whether a file can be text: a regular file without a NUL byte near its start, the test git and grep use."""
    if not path.is_file():
        return False
    with _readable(path), path.open("rb") as file:
        return b"\0" not in file.read(_SNIFF_BYTES)


def python_stdlib_files() -> list[Path]:
    """The Python standard library's own source, sorted by path within it: about 11 MB, the same list every time.

    Tests, installed packages and generated files are left out. Raises DataError where this Python has no source files.
    """
    root = Path(sysconfig.get_path("stdlib"))
    files = [
        path
        for path in walk(root, _STDLIB_LEFT_OUT)
        if path.suffix == ".py" and not path.name.startswith("_sysconfigdata") and path.is_file()
    ]
    if not files:
        raise DataError(f"data.name: no .py files in this Python's library {root}; give a text as data.input instead")
    return sorted(files, key=lambda path: path.relative_to(root).as_posix())


def source_files(data: DataConfig) -> list[Path]:
    """The text files of a profile that trains on text (`data.input` or `data.name`)."""
    return python_stdlib_files() if data.input is None else text_files(data.input)


def read_text(paths: list[Path]) -> str:
    """The files' text, joined by newlines. Bytes that are not UTF-8 become U+FFFD; every line ends with one newline.

    Raises DataError for a file that cannot be read.
    """
    texts = []
    for path in paths:
        with _readable(path):
            texts.append(path.read_text(encoding="utf-8", errors="replace"))  # newlines are made one by Python
    return "\n".join(texts)


def split_text(text: str, val_fraction: float) -> tuple[str, str]:
    """(train, validation): the end of the text is for validation, as in nanoGPT's prepare.py."""
    at = int(len(text) * (1 - val_fraction))
    return text[:at], text[at:]


def split_files(paths: list[Path], val_fraction: float) -> tuple[list[Path], list[Path]]:
    """(train, validation): evenly spaced files of a sorted list are for validation, one of ten for 0.1.

    The end of an alphabetical list would be of another kind than the rest: of the standard library, all of XML.
    """
    is_val = [int((i + 1) * val_fraction) > int(i * val_fraction) for i in range(len(paths))]
    train = [path for path, held in zip(paths, is_val, strict=True) if not held]
    return train, [path for path, held in zip(paths, is_val, strict=True) if held]


def prepare(data: DataConfig, progress: Progress | None = None) -> Prepared:
    """Tokens of the text that a profile names. Both splits and the text are held in memory.

    Tokens of byte pairs are kept in `tokens/` of the cache folder, by the text's hash, and read from there next time.
    Raises DataError where the text, or the vocabulary, cannot be had.
    """
    files = source_files(data)
    if data.input is None:
        train, val = (read_text(part) for part in split_files(files, data.val_fraction))
    else:
        train, val = split_text(read_text(files), data.val_fraction)
    if data.tokenizer == "char":
        tokenizer = CharTokenizer.of_text(train + val)
    else:
        tokenizer = load_tokenizer(data.tokenizer or "byte")
    if isinstance(tokenizer, PairTokenizer):
        return Prepared(*_pair_tokens(train, val, tokenizer, progress), tokenizer)
    return Prepared(tokenizer.encode(train), tokenizer.encode(val), tokenizer)


def _pair_tokens(
    train: str, val: str, tokenizer: PairTokenizer, progress: Progress | None
) -> tuple[np.ndarray, np.ndarray]:
    """(train, validation) ids, from the cache where they have been made before."""
    contents = [text.encode("utf-8", errors="replace") for text in (train, val)]
    total = sum(map(len, contents))
    digest = hashlib.sha256(b"gpt2 1" if tokenizer.name == "gpt2" else json.dumps(tokenizer.to_dict()).encode())
    for content in contents:  # all that the tokens depend on; a moved file is still the same text
        digest.update(len(content).to_bytes(8, "little") + content)
    folder = cache_folder() / "tokens" / digest.hexdigest()[:32]
    files = [folder / "train.bin", folder / "val.bin"]
    if all(file.is_file() for file in files):
        if progress:
            progress(total, total)
        train_ids, val_ids = (np.fromfile(file, id_dtype(tokenizer.vocab_size)) for file in files)
        return train_ids, val_ids

    done = 0

    def report(size: int) -> None:
        nonlocal done
        done += size
        if progress:
            progress(done, total)

    tokens = (encode_in_pieces(train, tokenizer, report), encode_in_pieces(val, tokenizer, report))
    _store(folder, dict(zip(("train.bin", "val.bin"), tokens, strict=True)))
    return tokens


def encode_in_pieces(
    text: str, tokenizer: PairTokenizer, report: Callable[[int], None], piece_chars: int = _PIECE_CHARS
) -> np.ndarray:
    """Ids of a long text, (n,), the same as in one go but on all cores. Reports the bytes of each portion."""
    threads = min(8, os.cpu_count() or 1)
    # Of another pattern than GPT-2's nothing is known about where a text can be cut: it is one piece, on one core.
    pieces = list(_pieces(text, piece_chars if tokenizer.pattern == GPT2_PATTERN else len(text)))
    ids = [np.empty(0, id_dtype(tokenizer.vocab_size))]
    for at in range(0, len(pieces), 2 * threads):
        portion = pieces[at : at + 2 * threads]
        ids += tokenizer.encode_batch(portion, threads)
        report(sum(len(piece.encode("utf-8", errors="replace")) for piece in portion))
    return np.concatenate(ids)


# GPT-2 never puts the last white space before a word into one token with what stands in front of it (`\s+(?!\S)` stops
# there; a space is joined to the word behind it), and takes a run of white space at an end as it takes one that stops
# there. So on either side of this place a text is split the same with and without the other side.
_BEFORE_WORD = re.compile(r"(?=[ \n]\S)")


def _pieces(text: str, size: int) -> Iterator[str]:
    """Parts of a text of about `size` characters that tokenize alone as they do together."""
    start = 0
    while start < len(text):
        cut = _BEFORE_WORD.search(text, start + size)
        end = cut.start() if cut else len(text)
        yield text[start:end]
        start = end


def _store(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays into a new folder that appears whole or not at all. Without a writable cache, does nothing."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
        try:
            for name, array in arrays.items():
                durable.write(temporary / name, array.tobytes())
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)  # still there where writing failed or another was first
    except OSError:
        pass


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Makes a failure to read a file the user's to mend."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
