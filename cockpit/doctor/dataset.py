"""What the training data on disk is found to be: made with which tokenizer, and whether validation is part of it.

Sampled, so that a set of any size takes about a second; nothing here raises, what cannot be read stays unknown.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from cockpit.doctor.evidence import DataFacts
from gpt.config import Profile
from gpt.data import check_source
from gpt.dataset_file import read_dataset_file
from gpt.errors import DataError
from gpt.interop.nanogpt import read_meta
from gpt.prepare import source_files
from gpt.shards import split_shards
from gpt.tokenizer import load_tokenizer
from gpt.tokens import Tokens

WINDOW = 64
"""Tokens or bytes of a stretch that is looked for in the other split: long enough that only a copy has it."""
WINDOWS = 256
"""Stretches of validation that are looked for in training."""
MANY_WINDOWS = 4096
"""And of training in validation, which is the smaller part of the text."""
LEAST_FOUND = 5
"""Of those, else it is chance, or a licence that many documents begin with."""
SCANNED = 2**22
"""Tokens or bytes that they are looked for in, at each end and again in the middle."""
TEXT_BYTES = 2**26
"""A longer text is not looked through."""

_ANY_ID = 2**32
_PIECE = 2**18
_KEY = 4
"""Tokens that are compared first; the whole stretch where those are the same."""


Breathe = Callable[[], object]
"""Called between two pieces of work."""


def look(profile: Profile, breathe: Breathe | None = None) -> DataFacts | None:
    """The facts of a profile's data; None where it is not on this machine (yet), or comes from elsewhere.

    Args:
        breathe: where this is done beside a run that goes on. Whether a run would refuse the data is not asked then:
            one has taken it.
    """
    with suppress(OSError, DataError, ValueError):
        if profile.data.dir is not None:
            return _folder(Path(profile.data.dir).expanduser(), profile, breathe)
        if profile.data.input is not None:
            return _text(profile, breathe)
    return None


def unseen(profile: Profile) -> str | None:
    """Why a run would refuse data of which `look` found nothing, in one line; None where it would not, or there is no
    such data."""
    return _complaint(profile) if profile.data.dir is not None or profile.data.input is not None else None


class Remembered:
    """The facts of the data that was looked at last: once for as long as its files stay what they are."""

    def __init__(self) -> None:
        self._known: tuple[object, DataFacts | None] | None = None

    def look(self, profile: Profile, breathe: Breathe) -> DataFacts | None:
        """As the function of that name does beside a run."""
        now = _stamp(profile)
        if self._known is None or self._known[0] != now:
            self._known = now, look(profile, breathe)
        return self._known[1]


def _stamp(profile: Profile) -> object:
    """Another where the facts may be other ones."""
    files: list[Path] = []
    with suppress(OSError, DataError, ValueError):
        folder = profile.data.dir
        files = sorted(Path(folder).expanduser().iterdir()) if folder is not None else source_files(profile.data)
        found = [(path, path.stat().st_mtime_ns, path.stat().st_size) for path in files]
        return repr(profile.data), profile.model.vocab_size, found
    return repr(profile.data), profile.model.vocab_size, None


def _folder(folder: Path, profile: Profile, breathe: Breathe | None) -> DataFacts | None:
    if not folder.is_dir():
        return None
    described = read_dataset_file(folder)
    splits = [described.paths(folder, split) if described else split_shards(folder, split) for split in _SPLITS]
    if not all(path.is_file() for paths in splits for path in paths):
        return None
    train, val = (Tokens.open(paths, vocab_size=_ANY_ID, in_memory=0) for paths in splits)
    share, looked = shared_share(train, val, breathe or _on)
    first = [tokens.first(SCANNED) for tokens in (train, val)]
    name, vocabulary = _tokenizer(folder, profile)
    same: tuple[str, ...] = ()
    if described:
        by_hash = {shard.sha256: shard.file for shard in described.splits["train"].shards}
        pairs = [(by_hash.get(shard.sha256), shard.file) for shard in described.splits["val"].shards]
        same = tuple(f"{one} = {other}" for one, other in pairs if one)
    return DataFacts(
        tokenizer=name, tokenizer_vocab=vocabulary, train_tokens=len(train),
        largest_id=max(int(part.max()) for part in first if len(part)),
        ids_looked_at=sum(map(len, first)), complaint=None if breathe else _complaint(profile), same_files=same,
        windows=looked, shared=share, window=WINDOW,
    )  # fmt: skip


_SPLITS = ("train", "val")


def _tokenizer(folder: Path, profile: Profile) -> tuple[str | None, int | None]:
    """(name, ids) of what the folder was made with, or of what is taken for it: as gpt.data chooses."""
    if described := read_dataset_file(folder):
        return str(described.tokenizer.get("name") or described.tokenizer.get("type")), described.vocab_size
    if (folder / "meta.pkl").exists() and profile.data.tokenizer in (None, "char"):
        return "char", len(read_meta(folder / "meta.pkl").chars)
    name = profile.data.tokenizer or "gpt2"
    return name, None if name == "char" else load_tokenizer(name).vocab_size


def _text(profile: Profile, breathe: Breathe | None) -> DataFacts | None:
    """Of a text that is tokenized on the fly: its bytes stand for tokens."""
    files = source_files(profile.data)
    if not files or sum(path.stat().st_size for path in files) > TEXT_BYTES:
        return None
    text = b"\n".join(path.read_bytes() for path in files)
    end = len(text) - int(len(text) * profile.data.val_fraction)
    tokens = np.frombuffer(text, np.uint8)
    train, val = tokens[:end], tokens[end:]
    share, looked = shared_share(train, val, breathe or _on)
    vocabulary, count = None, end
    letters, length, unreadable = _characters(text, breathe or _on)
    if profile.data.tokenizer == "char":
        vocabulary, count = letters, length - int(length * profile.data.val_fraction)
    return DataFacts(
        tokenizer=profile.data.tokenizer or "byte", tokenizer_vocab=vocabulary,
        complaint=None if breathe else _complaint(profile),
        train_tokens=count if profile.data.tokenizer in (None, "byte", "char") else None,
        windows=looked, shared=share, window=WINDOW, unreadable=unreadable, characters=length,
    )  # fmt: skip


def _on() -> None:
    """Nobody waits: goes on at once."""


def _characters(text: bytes, breathe: Breathe) -> tuple[int, int, int]:
    """(different ones, all, those that came of bytes which are no UTF-8) of a text."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    letters: set[str] = set()
    count = replaced = 0
    for at in range(0, len(text), _PIECE):
        piece = decoder.decode(text[at : at + _PIECE], final=at + _PIECE >= len(text))
        letters.update(piece)
        count += len(piece)
        replaced += piece.count("\ufffd")
        breathe()
    return len(letters), count, replaced - text.count("\ufffd".encode())


def _complaint(profile: Profile) -> str | None:
    try:
        check_source(profile.data, profile.model)
    except DataError as error:
        return str(error)
    return None


def shared_share(
    train: Tokens | np.ndarray, val: Tokens | np.ndarray, breathe: Breathe = _on
) -> tuple[float, int]:  # fmt: skip
    """(share of validation that stands in training too, 0…1; stretches that were looked for).

    Stretches of validation are looked for in training, of which only a part is scanned where it is large. And the other
    way round: a small validation split is seen whole, and few of training's stretches stand in it even where all of it
    is a copy, so those are counted against the number that would be.
    """
    found, looked = _found(train, val, WINDOWS, breathe)
    share = found / looked if looked else 0.0
    back, looked_back = _found(val, train, MANY_WINDOWS, breathe)
    if back >= LEAST_FOUND:
        scanned = min(len(val), 3 * SCANNED)
        share = max(share, min(1.0, back / looked_back * len(train) / scanned))
    return share, looked


def _found(
    where: Tokens | np.ndarray, what: Tokens | np.ndarray, windows: int, breathe: Breathe
) -> tuple[int, int]:  # fmt: skip
    """(stretches of `what` found in `where`, stretches looked for)."""
    if min(len(where), len(what)) < WINDOW:
        return 0, 0
    starts = np.unique(np.linspace(0, len(what) - WINDOW, windows).astype(np.int64))
    wanted = np.unique(_rows(what, starts, WINDOW), axis=0)
    wanted = wanted[[len(np.unique(row)) >= WINDOW // 8 for row in wanted]]  # a rule or blank lines are in any text
    if not len(wanted):
        return 0, 0
    keys = _keys(wanted[:, :_KEY].T)
    ordered = np.argsort(keys, kind="stable")
    found: set[int] = set()
    for block in _blocks(where):
        ids = block.astype(np.uint64)
        here = _keys([ids[at : len(ids) - WINDOW + 1 + at] for at in range(_KEY)])
        place = np.searchsorted(keys[ordered], here)
        place[place == len(keys)] = 0
        for at in np.flatnonzero(keys[ordered][place] == here)[:100_000]:
            same = np.flatnonzero(keys == here[at])
            stretch = block[at : at + WINDOW]
            found |= {int(row) for row in same if row not in found and np.array_equal(wanted[row], stretch)}
        breathe()
    return len(found), len(wanted)


def _keys(columns: np.ndarray | list[np.ndarray]) -> np.ndarray:
    """One number for the tokens in a row of columns, uint64."""
    key = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        key = key * np.uint64(0x9E3779B97F4A7C15) + column.astype(np.uint64) + np.uint64(1)
    return key


def _blocks(tokens: Tokens | np.ndarray) -> Iterator[np.ndarray]:
    """All of a short split; of a long one its beginning, its end and what lies evenly between. Each stretch is whole in
    one of the pieces."""
    spans = [(0, len(tokens))]
    if len(tokens) > 2 * SCANNED:
        middles = np.linspace(SCANNED, len(tokens) - SCANNED - _PIECE, SCANNED // _PIECE)
        spans = [(0, SCANNED), *((int(at), int(at) + _PIECE) for at in middles), (len(tokens) - SCANNED, len(tokens))]
    for start, end in spans:
        for at in range(start, end - WINDOW + 1, _PIECE):
            yield _rows(tokens, np.array([at]), min(_PIECE + WINDOW - 1, end - at))[0]


def _rows(tokens: Tokens | np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    if isinstance(tokens, Tokens):
        return tokens.gather(starts, length)
    return np.lib.stride_tricks.sliding_window_view(tokens, length)[starts].astype(np.int64)
