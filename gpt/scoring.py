"""How well a model predicts a text: loss, perplexity and bits per byte, on every token once.

Nats per token say nothing across tokenizers: a model that cuts text into longer tokens has fewer and harder ones to
predict. Bits per byte of the same text compare.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from gpt.config import DataConfig, ModelConfig
from gpt.data import open_dataset
from gpt.errors import DataError
from gpt.evaluate import byte_lengths, estimate_loss, finite, whole_split
from gpt.prepare import encode_in_pieces, read_text, text_files
from gpt.source import Source
from gpt.tokenizer import Gpt2Tokenizer, Tokenizer
from gpt.tokens import Tokens

MOST_WINDOWS = 64
"""Windows read together at most, where no profile says fewer."""
LEAST_BATCHES = 8
"""Of a text that is long enough: their spread is what the standard error comes from."""
_MOST_LOGITS = {"cuda": 2**30}
_MOST_LOGITS_ELSEWHERE = 2**27
"""Logits in memory at once, a few times, 4 bytes each: a run's micro-batch may be one for a larger machine."""
_DECODED_TOGETHER = 2**20


@dataclass(frozen=True)
class Corpus:
    """What models are measured on: documents, and perhaps the tokens they are kept as."""

    name: str
    """Where it comes from, for people."""
    texts: Sequence[str] | None = None
    """The documents; None: they are in `tokens`."""
    tokens: Tokens | None = None
    tokenizer: Tokenizer | None = None
    """Of `tokens`."""

    def tokens_for(self, source: Source) -> Tokens:
        """Its tokens as a model reads them: those it is kept as where the tokenizer is the same, else made anew.

        Between two documents stands the end of a text, where the tokenizer has one. Raises DataError where it does not
        know a character: leaving it out would make the text easier.
        """
        theirs = source.tokenizer
        if self.tokens is not None and self.tokenizer and theirs.to_dict() == self.tokenizer.to_dict():
            return self.tokens
        end = getattr(theirs, "end_of_text", None)
        parts: list[np.ndarray] = []
        for text in self.documents:
            if parts and end is not None:
                parts.append(np.array([end], parts[0].dtype))
            try:
                parts.append(_encode(text, theirs))
            except DataError as error:
                raise DataError(f"{source.name} cannot read {self.name}: {error}") from None
        array = np.concatenate(parts) if parts else np.empty(0, np.uint16)
        return Tokens(array, vocab_size=source.model.vocab_size, name=self.name)

    @cached_property
    def documents(self) -> Sequence[str]:
        """The texts, decoded where they are kept as tokens."""
        if self.texts is not None:
            return self.texts
        assert self.tokens is not None and self.tokenizer is not None
        ids = self.tokens.first(len(self.tokens))
        end = getattr(self.tokenizer, "end_of_text", None)
        ends = np.flatnonzero(ids == end) if end is not None else np.empty(0, np.int64)
        bounds = [0, *(ends + 1).tolist(), len(ids) + 1]
        pieces = [ids[first : after - 1] for first, after in itertools.pairwise(bounds)]
        return [_decode(piece, self.tokenizer) for piece in pieces if len(piece)]


def own_validation(source: Source) -> tuple[Corpus, bool]:
    """The validation data a run was trained beside, and whether it still is what it was then. Raises DataError."""
    if source.profile is None:
        raise DataError(f"{source.name} has no validation data of its own; add --data DIR or --text FILE")
    data = open_dataset(source.profile.data, source.profile.model)
    corpus = Corpus(f"{data.source} (validation)", tokens=data.val, tokenizer=data.tokenizer)
    return corpus, source.data_fingerprint in (None, data.fingerprint)


def prepared(folder: str) -> Corpus:
    """The validation split of a prepared folder. Raises DataError."""
    try:
        data = open_dataset(DataConfig(dir=folder), ModelConfig(block_size=1))
    except DataError as error:
        raise DataError(str(error).removeprefix("data.dir: ")) from None
    return Corpus(folder, tokens=data.val, tokenizer=data.tokenizer)


def raw_text(files: Sequence[str]) -> Corpus:
    """Text files, folders or globs; each file is a document. Raises DataError."""
    try:
        paths = text_files(list(files))
    except DataError as error:
        raise DataError(str(error).removeprefix("data.input: ")) from None
    name = str(files[0]) if len(paths) == 1 else f"{files[0]} and more, {len(paths)} files"
    return Corpus(name, texts=[read_text([Path(path)]) for path in paths])


@dataclass(frozen=True)
class Score:
    """How well one model predicts one corpus. None is unknown, or not finite."""

    source: str
    step: int | None
    data: str
    tokenizer: str
    tokenizer_sha256: str
    """Of its content: where it differs, losses and perplexities do not compare."""
    loss: float | None
    """nats/token."""
    loss_stderr: float | None
    """Standard error of `loss`, nats/token (gpt.evaluate); None where there is a single batch."""
    perplexity: float | None
    """exp(loss): as undecided as among so many equally likely tokens."""
    perplexity_stderr: float | None
    """perplexity · loss_stderr, the first order of its expansion."""
    bpb: float | None
    """Bits per byte of UTF-8 text: loss / ln 2 · tokens / bytes."""
    bpb_stderr: float | None
    tokens: int
    """Predicted: all but the first."""
    bytes: int | None
    """Of text behind them."""
    parameters: int
    block_size: int
    """Context in which they were predicted, tokens."""
    device: str
    dtype: str
    seconds: float


def score(source: Source, corpus: Corpus, progress: Callable[[float], None] = lambda share: None) -> Score:
    """Measures a model on a corpus, every token but the first once (gpt.evaluate.whole_split).

    `progress` is called after each batch with the share that is done, 0…1. Raises DataError where the corpus is too
    short or cannot be read by this model.
    """
    start = time.perf_counter()
    tokens = corpus.tokens_for(source)
    if len(tokens) < 2:
        raise DataError(f"{corpus.name}: {len(tokens)} tokens of {source.name}; at least 2 are needed to predict one")
    block_size = min(source.block_size, len(tokens) - 1)
    windows = len(whole_split(len(tokens), block_size, 1)[0])
    batch_size = _batch_size(source, windows, block_size)
    batches, done = -(-windows // batch_size), 0

    def count() -> bool:
        nonlocal done
        done += 1
        progress(done / batches)
        return True

    lengths = byte_lengths(source.tokenizer, tokens.vocab_size)
    estimate = estimate_loss(
        source.model, tokens, source.device, block_size=block_size, batch_size=batch_size, batches=None,
        byte_lengths=lengths, go_on=count,
    )  # fmt: skip
    loss, stderr = finite(estimate.loss), finite(estimate.stderr)
    per_byte = estimate.tokens / estimate.bytes / math.log(2) if estimate.bytes else None
    perplexity = math.exp(loss) if loss is not None and loss < 700 else None  # beyond that, no float holds it
    return Score(
        source=source.name, step=source.step, data=corpus.name,
        tokenizer=source.tokenizer.name, tokenizer_sha256=_digest(source.tokenizer),
        loss=loss, loss_stderr=stderr,
        perplexity=perplexity, perplexity_stderr=_product(perplexity, stderr),
        bpb=_product(loss, per_byte), bpb_stderr=_product(stderr, per_byte),
        tokens=estimate.tokens, bytes=estimate.bytes,
        parameters=source.model.count_parameters(), block_size=block_size,
        device=source.device.name, dtype=source.device.dtype, seconds=time.perf_counter() - start,
    )  # fmt: skip


def _batch_size(source: Source, windows: int, block_size: int) -> int:
    """As in training, where it is not too much for this machine, and leaves batches to estimate an error from."""
    asked = source.profile.train.micro_batch_size if source.profile else "auto"
    wanted = asked if isinstance(asked, int) else MOST_WINDOWS
    most = _MOST_LOGITS.get(source.device.type, _MOST_LOGITS_ELSEWHERE) // (block_size * source.model.vocab_size)
    return max(1, min(wanted, most, -(-windows // LEAST_BATCHES)))


def _product(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a * b


def _digest(tokenizer: Tokenizer) -> str:
    return hashlib.sha256(json.dumps(tokenizer.to_dict(), sort_keys=True).encode()).hexdigest()


def _encode(text: str, tokenizer: Tokenizer) -> np.ndarray:
    if isinstance(tokenizer, Gpt2Tokenizer):
        return encode_in_pieces(text, tokenizer, lambda size: None)
    return tokenizer.encode(text)


def _decode(ids: np.ndarray, tokenizer: Tokenizer) -> str:
    """Text of many ids, without a list of as many objects."""
    parts = [
        b"".join(tokenizer.token_bytes(token) for token in ids[first : first + _DECODED_TOGETHER].tolist())
        for first in range(0, len(ids), _DECODED_TOGETHER)
    ]
    return b"".join(parts).decode("utf-8", errors="replace")
