"""What token files hold: counts, documents, frequent tokens, repeated beginnings. In bounded memory, no torch.

Documents are what lies between two end-of-text tokens. Tools put that token behind each document (nanoGPT, this
program) or before it (llm.c, modded-nanogpt); either way it is not counted into a document's length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gpt.shards import Shard
from gpt.tokens import Tokens

START_TOKENS = 32
"""Documents whose first 32 tokens are the same begin the same; a shorter one is compared whole."""
MAX_COMPARED = 2**22
"""Documents whose beginnings are compared at most, the first ones: 64 MB of hashes and positions."""
_BLOCK = 2**18
"""Tokens looked at in one go: about 70 MB at worst, where every second one ends a document."""
_COUNTED_IDS = 2**20
"""Ids below this are counted one by one; no vocabulary reaches it."""
LONGEST = 2**16
"""Documents from this length on are one class."""
_ANY_ID = 2**32


@dataclass(frozen=True)
class Repeated:
    """A beginning that several documents share."""

    documents: int
    """How many begin so."""
    position: int
    """Where in the split the first of them begins, tokens."""


@dataclass(frozen=True)
class Documents:
    """What is between end-of-text tokens. Lengths are in tokens, without that token."""

    count: int
    """With at least one token."""
    empty: int
    """End-of-text tokens that end nothing, the first token of a split aside."""
    shortest: int
    longest: int
    mean: float
    median: int
    """`LONGEST` where more than half are longer."""
    histogram: list[tuple[int, int]]
    """(least length of the class, documents), classes by powers of two, those between the first and last that occur."""
    compared: int
    """Documents whose first START_TOKENS tokens were compared."""
    repeated: int
    """Of them, those that begin as an earlier one does."""
    most_repeated: list[Repeated]
    """The most frequent ones first, at most three."""


@dataclass(frozen=True)
class Survey:
    """Figures of one split."""

    tokens: int
    largest_id: int
    outside: int
    """Tokens whose id is not in the vocabulary; 0 where that is unknown."""
    first_outside: int | None
    """Position of the first of them."""
    distinct: int
    """Different ids, of those below a million."""
    frequent: list[tuple[int, int]]
    """(id, how often), the most frequent first, at most ten."""
    documents: Documents | None
    """None where there is no end-of-text token."""


def survey(tokens: Tokens, *, vocab_size: int | None, end_of_text: int | None) -> Survey:
    """Reads a whole split once, in order.

    Raises DataError, naming the file, where one becomes shorter meanwhile.
    """
    counts = np.zeros(0, np.int64)
    largest, outside, first_outside = -1, 0, None
    documents = _DocumentCounter(end_of_text) if end_of_text is not None else None
    for start, block in _blocks(tokens):
        own = block[:_BLOCK]  # what follows belongs to the next block
        largest = max(largest, int(own.max()))
        if vocab_size is not None and largest >= vocab_size and (beyond := own >= vocab_size).any():
            first_outside = start + int(np.argmax(beyond)) if first_outside is None else first_outside
            outside += int(beyond.sum())
        if largest >= _COUNTED_IDS:
            own = own[own < _COUNTED_IDS]
        block_counts = np.bincount(own, minlength=len(counts))
        block_counts[: len(counts)] += counts
        counts = block_counts
        if documents:
            documents.add(start, block)
    top = np.argsort(-counts, kind="stable")[:10]
    return Survey(
        tokens=len(tokens), largest_id=largest, outside=outside, first_outside=first_outside,
        distinct=int(np.count_nonzero(counts)), frequent=[(int(i), int(counts[i])) for i in top if counts[i]],
        documents=documents.result(len(tokens)) if documents else None,
    )  # fmt: skip


def open_all(shards: Sequence[Shard]) -> Tokens:
    """The tokens of files, read from disk as they are asked for; ids outside any vocabulary are no error here."""
    return Tokens.open([shard.path for shard in shards], vocab_size=_ANY_ID, in_memory=0)


def snippet_starts(tokens: Tokens, end_of_text: int | None, count: int, apart: int) -> list[int]:
    """Positions to show a text from: evenly spaced, each moved to the next document where one begins soon after.

    Fewer than `count` where they would be less than `apart` tokens from each other.
    """
    starts = []
    for number in range(count):
        start = len(tokens) * number // count
        if end_of_text is not None:
            near = _window(tokens, start, _BLOCK)
            if number or near[0] == end_of_text:
                ends = np.flatnonzero(near[:-1] == end_of_text)
                start += int(ends[0]) + 1 if len(ends) else 0
        if not starts or start >= starts[-1] + apart:
            starts.append(start)
    return starts


def read(tokens: Tokens, start: int, count: int) -> list[int]:
    """The ids from a position on, at most `count`."""
    return _window(tokens, start, count).tolist()


def _window(tokens: Tokens, start: int, count: int) -> np.ndarray:
    return tokens.gather(np.array([start]), min(count, len(tokens) - start))[0]


def _blocks(tokens: Tokens) -> Iterator[tuple[int, np.ndarray]]:
    """(position, ids) of consecutive blocks; each reaches START_TOKENS + 1 into the next one."""
    for start in range(0, len(tokens), _BLOCK):
        yield start, _window(tokens, start, _BLOCK + START_TOKENS + 1)


class _DocumentCounter:
    """Counts documents in a stream of blocks."""

    def __init__(self, end_of_text: int) -> None:
        self._end = end_of_text
        self._begun = 0  # where the document under way begins
        self._lengths = np.zeros(LONGEST + 1, np.int64)
        self._shortest, self._longest = _ANY_ID, 0
        self._tokens = self._empty = self._compared = 0
        self._hashes: list[np.ndarray] = []
        self._positions: list[np.ndarray] = []
        # Sum of token × odd random number, modulo 2^64: two beginnings that differ meet by chance once in 2^48.
        self._factors = np.random.default_rng(0).integers(0, 2**63, START_TOKENS, np.uint64) * np.uint64(2) + np.uint64(
            1
        )

    def add(self, start: int, block: np.ndarray) -> None:
        """Takes the block at a position; beyond _BLOCK tokens only the beginnings of documents are looked at."""
        ends = start + np.flatnonzero(block[:_BLOCK] == self._end)
        begins = np.concatenate(([self._begun], ends + 1))
        if start == 0:
            self._compare(start, block, begins)
        else:  # the one under way began in a block before
            self._compare(start, block, begins[1:])
        self._count(ends - begins[:-1], begins[:-1])
        self._begun = int(begins[-1])

    def result(self, tokens: int) -> Documents | None:
        """The figures, once `tokens` tokens have been taken."""
        if self._begun < tokens:  # nothing ends the last one
            self._count(np.array([tokens - self._begun]), np.array([self._begun]))
        count = int(self._lengths.sum())
        if not count:
            return None
        repeated, most = self._repeated()
        return Documents(
            count=count, empty=self._empty, shortest=self._shortest, longest=self._longest,
            mean=self._tokens / count, median=int(np.searchsorted(np.cumsum(self._lengths), (count + 1) // 2)),
            histogram=self._histogram(), compared=self._compared, repeated=repeated, most_repeated=most,
        )  # fmt: skip

    def _count(self, lengths: np.ndarray, begins: np.ndarray) -> None:
        self._empty += int(((lengths == 0) & (begins > 0)).sum())  # the first token may be one that begins a document
        lengths = lengths[lengths > 0]
        if len(lengths):
            self._lengths += np.bincount(np.minimum(lengths, LONGEST), minlength=LONGEST + 1)
            self._shortest, self._longest = (
                min(self._shortest, int(lengths.min())),
                max(self._longest, int(lengths.max())),
            )
            self._tokens += int(lengths.sum())

    def _compare(self, start: int, block: np.ndarray, begins: np.ndarray) -> None:
        """Keeps a hash of each beginning in the block."""
        inside = begins - start
        inside = inside[inside < len(block)]
        inside = inside[block[inside] != self._end][: MAX_COMPARED - self._compared]  # empty ones all begin the same
        if not len(inside):
            return
        padded = np.concatenate((block, np.full(START_TOKENS, self._end)))
        rows = padded[inside[:, None] + np.arange(START_TOKENS)]  # (documents, START_TOKENS)
        ended = np.logical_or.accumulate(rows == self._end, axis=1)
        rows[ended] = self._end  # what follows belongs to another document
        self._hashes.append((rows.astype(np.uint64) * self._factors).sum(axis=1, dtype=np.uint64))
        self._positions.append(start + inside)
        self._compared += len(inside)

    def _repeated(self) -> tuple[int, list[Repeated]]:
        _, first, times = np.unique(np.concatenate(self._hashes), return_index=True, return_counts=True)
        positions = np.concatenate(self._positions)[first]
        order = np.lexsort((positions, -times))[:3]
        most = [Repeated(int(times[i]), int(positions[i])) for i in order if times[i] > 1]
        return int((times - 1).sum()), most

    def _histogram(self) -> list[tuple[int, int]]:
        edges = 2 ** np.arange(LONGEST.bit_length())  # 1, 2, 4 … LONGEST
        classes = np.add.reduceat(self._lengths, edges)
        used = np.flatnonzero(classes)
        return [(int(edges[i]), int(classes[i])) for i in range(used[0], used[-1] + 1)]
