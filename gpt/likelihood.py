"""How likely a model finds each token of a text, and what it would have said instead: one pass over the whole text.

It is done once a text is there, not while it is drawn: so drawing costs the same whether anybody asks or not, and all
positions of a window are read at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gpt.events import SampleScored, ScoredToken
from gpt.model import GPT
from gpt.ragged import RaggedCache
from gpt.tokenizer import StreamDecoder, Tokenizer

MOST_TOLD = 512
"""Tokens of a sample that are told one by one, from the first on: an event stays small."""
_ROWS = 64
"""Positions whose logits exist at once."""


@dataclass(frozen=True)
class Likelihoods:
    """Of each token of a text but the first, in order."""

    losses: list[float]
    """-ln probability, nats."""
    others: list[list[tuple[int, float]]]
    """The likeliest tokens in its place, and their probabilities, falling."""


def windows(length: int, prompt: int, capacity: int) -> Iterator[tuple[int, int]]:
    """(start, first) of each window a text of `length` tokens is read in: it predicts those from number `first` on.

    They are the windows the text was drawn with (gpt.generate): of the prompt the newest `capacity` tokens, then, each
    time the context is full, its newest half. A window predicts as far as one token behind its end.
    """
    start = max(0, prompt - capacity)
    first = start + 1
    while first < length:
        yield start, first
        first = start + capacity + 1
        start = first - max(1, capacity // 2)


def likelihoods(model: GPT, ids: Sequence[int], prompt: int, alternatives: int, vocab_size: int) -> Likelihoods:
    """What a model finds of a text. Autocast is the caller's.

    Args:
        ids: token ids of the text.
        prompt: how many of them were given.
        alternatives: how many of the likeliest tokens to name.
        vocab_size: ids from here on are never drawn, and have no share.

    The tokens of a prompt that were too far back to be read are read in windows of their own.

    Raises FloatingPointError where the logits are not finite.
    """
    losses: list[float] = []
    others: list[list[tuple[int, float]]] = []
    capacity = model.config.block_size
    device = model.transformer.wte.weight.device
    early = windows(prompt - capacity + 1, 0, capacity)
    plan = [*early, *windows(len(ids), prompt, capacity)]
    for number, (start, first) in enumerate(plan):
        end = plan[number + 1][1] if number + 1 < len(plan) else len(ids)
        window = torch.tensor([ids[start : end - 1]], device=device)
        following = torch.tensor(ids[start + 1 : end], device=device)
        at = start + 1
        for logits in model.forward_cached_whole(window, RaggedCache(model), _ROWS):
            skipped = max(0, first - at)
            targets = following[at - start - 1 :][: logits.shape[1]]
            at += logits.shape[1]
            if skipped < len(targets):
                _note(logits[0, skipped:, :vocab_size], targets[skipped:], alternatives, losses, others)
    return Likelihoods(losses, others)


def _note(
    logits: Tensor, targets: Tensor, alternatives: int,
    losses: list[float], others: list[list[tuple[int, float]]],
) -> None:  # fmt: skip
    logs = torch.log_softmax(logits.float(), dim=-1)  # (n, V)
    found = -logs.gather(1, targets[:, None])[:, 0]
    if not bool(torch.isfinite(found).all()):
        raise FloatingPointError("the model's logits are not finite: its training has diverged")
    losses += found.tolist()
    best = logs.topk(min(alternatives, logs.shape[1]), dim=-1)
    chances = best.values.exp().tolist()
    others += [list(zip(row, chance, strict=True)) for row, chance in zip(best.indices.tolist(), chances, strict=True)]


def scored(
    sample: int, step: int, model: GPT, tokenizer: Tokenizer, ids: Sequence[int], prompt: int, alternatives: int,
) -> SampleScored | None:  # fmt: skip
    """The event that tells what the model finds of a sample; None where it has fewer than two tokens.

    Args:
        ids: of prompt and continuation.
        prompt: how many of them are the prompt's.
    """
    if len(ids) < 2:
        return None
    vocab_size = min(tokenizer.vocab_size, model.vocab_size)
    found = likelihoods(model, ids, prompt, alternatives, vocab_size)
    decoder = StreamDecoder(tokenizer)
    tokens = [ScoredToken(decoder.feed(ids[0]), None, [])]
    for token, loss, others in zip(ids[1:MOST_TOLD], found.losses, found.others, strict=False):
        named = [(_text(tokenizer, other), _rounded(chance)) for other, chance in others]
        tokens.append(ScoredToken(decoder.feed(token), _rounded(math.exp(-loss)), named))
    given, drawn = found.losses[: max(0, prompt - 1)], found.losses[max(0, prompt - 1) :]
    return SampleScored(
        sample=sample, step=step, prompt_loss=_mean(given), loss=_mean(drawn),
        prompt_tokens=min(prompt, len(tokens)), tokens=tokens,
    )  # fmt: skip


def _mean(losses: list[float]) -> float | None:
    return sum(losses) / len(losses) if losses else None


def _rounded(chance: float) -> float:
    return float(f"{chance:.3g}")


def _text(tokenizer: Tokenizer, token: int) -> str:
    return tokenizer.token_bytes(token).decode("utf-8", errors="replace")
