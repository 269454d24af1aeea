"""Documents to token ids on all cores, in order. No torch.

On a few cores threads do it: tiktoken works outside the interpreter's lock, and nothing need be copied. What a thread
does between two calls holds that lock, so with many cores all would wait for it: there processes do it. Texts and ids
cross in groups, so that a pipe costs little.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpt.tokenizer import Tokenizer, load_tokenizer, tokenizer_from_dict

GROUP_CHARS = 2**19
"""Texts that are encoded together, characters; a longer document is a group of its own."""
_MOST_THREADS = 8
"""With more cores than that, processes."""
_GROUPS_HERE = 8
"""So many are encoded in this process before others are started, which takes a second."""


@dataclass(frozen=True, slots=True)
class Item:
    """A piece on its way to a split."""

    text: str
    ends: bool
    """Whether the end of a text follows it."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A group's pieces as tokens."""

    ids: np.ndarray
    """(n,) uint16 or uint32, one piece after the other."""
    tokens: list[int]
    """Of each piece, the end of a text with it."""
    bytes: list[int]
    """UTF-8 bytes of each piece."""


class Encoder:
    """Makes a group's tokens. Where the tokenizer has no end of a text, a newline ends a document that lacks one."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.end_of_text: int | None = getattr(tokenizer, "end_of_text", None)
        self.dtype = np.dtype("<u2" if tokenizer.vocab_size <= 2**16 else "<u4")

    def __call__(self, group: list[Item]) -> Encoded:
        parts, tokens, sizes = [], [], []
        end = None if self.end_of_text is None else np.array([self.end_of_text], self.dtype)
        for item in group:
            text = item.text
            if item.ends and end is None and not text.endswith("\n"):
                text += "\n"
            content = text.encode("utf-8", "replace")  # half a surrogate pair, which JSON can hold, becomes `?`
            if not text.isascii():
                text = content.decode()
            ids = self._tokenizer.encode(text)
            parts.append(ids)
            if item.ends and end is not None:
                parts.append(end)
            tokens.append(len(ids) + (item.ends and end is not None))
            sizes.append(len(content))
        ids = np.concatenate(parts, dtype=self.dtype) if parts else np.empty(0, self.dtype)
        return Encoded(ids, tokens, sizes)


def encode_groups(
    groups: Iterable[tuple[list[Item], Any]],
    tokenizer: Tokenizer,
    workers: int,
    here: int = _GROUPS_HERE,
    most_threads: int = _MOST_THREADS,
) -> Iterator[tuple[Encoded, Any]]:
    """Encodes groups, each with whatever belongs to it, and yields them in the order they came.

    `workers` threads do it, or processes if they are more than `most_threads`, once `here` groups have been made here.
    At most three groups for each of them are in memory.
    """
    groups = iter(groups)
    encode = Encoder(tokenizer)
    for count, (group, extra) in enumerate(groups):
        yield encode(group), extra
        if count + 1 >= here and workers > 1:
            break
    pending: deque[tuple[Future[Encoded], Any]] = deque()
    pool: Executor | None = None
    work = encode if workers <= most_threads else _encode
    try:
        for group, extra in groups:
            if pool is None and workers <= most_threads:
                pool = ThreadPoolExecutor(workers)
            elif pool is None:
                context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks
                pool = ProcessPoolExecutor(workers, context, _begin, (tokenizer.to_dict(),))
            pending.append((pool.submit(work, group), extra))
            if len(pending) >= 3 * workers:
                future, of_it = pending.popleft()
                yield future.result(), of_it
        for future, of_it in pending:
            yield future.result(), of_it
    finally:
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)


def grouped(pieces: Iterable[tuple[Item, Any]], chars: int = GROUP_CHARS) -> Iterator[tuple[list[Item], list[Any]]]:
    """Pieces in groups of about so many characters, with what belongs to each."""
    group: list[Item] = []
    extras: list[Any] = []
    size = 0
    for item, extra in pieces:
        group.append(item)
        extras.append(extra)
        size += len(item.text) + 64  # a piece is work even without text
        if size >= chars:
            yield group, extras
            group, extras, size = [], [], 0
    if group:
        yield group, extras


_encoder: Callable[[list[Item]], Encoded] | None = None


def _begin(tokenizer: dict[str, Any]) -> None:
    """In a new process: make the tokenizer, leave an interrupt to the parent, and do not outlive it."""
    global _encoder
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _encoder = Encoder(tokenizer_from_dict(tokenizer))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # it was killed: nobody will fetch what is made here


def _encode(group: list[Item]) -> Encoded:
    assert _encoder is not None
    return _encoder(group)


def load(name: str) -> Tokenizer | None:
    """The tokenizer that `--tokenizer` names, its vocabulary read; None for `char`, which the text must make.

    Raises DataError for a name that nobody knows, and where the vocabulary cannot be had.
    """
    if name == "char":
        return None
    tokenizer = load_tokenizer(name)
    tokenizer.encode("")  # what is missing is said before anything is written
    return tokenizer
