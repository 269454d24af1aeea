"""Text from a model, one token at a time, beside its training and without disturbing it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gpt.errors import DataError
from gpt.model import GPT, KVCache

_COLDEST = 1e-5
"""Below this temperature only the likeliest token has a chance, and dividing by it would overflow."""


def generate(
    model: GPT,
    prompt_ids: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float = 0.8,
    top_k: int = 200,
    generator: torch.Generator,
    vocab_size: int | None = None,
) -> Iterator[int]:
    """Continues a prompt, yielding each new token as soon as it is drawn.

    Between two tokens nothing is left switched: grad mode, train mode and torch's global generator stay as they were,
    so training can go on there, and an iterator may be dropped half-way. Autocast is the caller's.

    Positions are learned and absolute, so a full context cannot slide: its newest half is read again from position 0
    and grows to block_size once more. That costs one long read every block_size / 2 tokens; nanoGPT's costs one every
    token. Of a prompt longer than block_size the newest block_size tokens are read.

    An empty prompt gives the model nothing to condition on: the first token is then drawn evenly from the vocabulary.

    Args:
        prompt_ids: token ids, each below the vocabulary's size.
        max_new_tokens: tokens to draw.
        temperature: divides the logits; 0 always takes the likeliest token.
        top_k: draw among the k likeliest tokens; 0: among all.
        generator: the only source of chance. On whatever device it is, tokens are drawn there: one on the CPU gives
            the same draws on every machine.
        vocab_size: ids from here on are never drawn: rows that only pad the embedding. None: no such rows.

    Raises:
        DataError: a prompt id is outside the vocabulary.
        FloatingPointError: while drawing, where the model's logits are not finite: its training has diverged.
    """
    vocab_size = min(vocab_size or model.vocab_size, model.vocab_size)
    strange = next((token for token in prompt_ids if not 0 <= token < model.vocab_size), None)
    if strange is not None:
        raise DataError(
            f"the prompt holds token id {strange}, the model knows 0…{model.vocab_size - 1}; "
            "encode it with the tokenizer the model was trained with"
        )
    return _continue(model, list(prompt_ids), max_new_tokens, temperature, top_k, generator, vocab_size)


def _continue(
    model: GPT,
    context: list[int],
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    generator: torch.Generator,
    vocab_size: int,
) -> Iterator[int]:
    cache = KVCache(model)
    unread = context = context[-cache.capacity :]
    for _ in range(max_new_tokens):
        if unread:
            logits = _read(model, unread, cache)[:vocab_size]
            token = draw(logits, temperature=temperature, top_k=top_k, generator=generator)
        else:
            token = int(torch.randint(vocab_size, (), generator=generator, device=generator.device))
        context.append(token)
        unread = [token]
        if cache.length == cache.capacity:
            cache.clear()
            unread = context = context[-max(1, cache.capacity // 2) :]
        yield token


def _read(model: GPT, ids: list[int], cache: KVCache) -> Tensor:
    """Logits (V,) of the token after `ids`."""
    return model.forward_cached(torch.tensor([ids], device=cache.keys.device), cache)[0]


@torch.inference_mode()
def draw(logits: Tensor, *, temperature: float, top_k: int, generator: torch.Generator) -> int:
    """One token id from (V,) logits, by `generator` alone. Raises FloatingPointError where they are not finite."""
    logits = logits.to(generator.device, torch.float32)
    peak, likeliest = logits.max(dim=0)  # not a number if any logit is not
    if not math.isfinite(peak):
        raise FloatingPointError("the model's logits are not finite: its training has diverged")
    if temperature < _COLDEST:
        return int(likeliest)
    candidates = None
    if 0 < top_k < len(logits):
        logits, candidates = torch.topk(logits, top_k)
    probabilities = torch.softmax(logits / temperature, dim=0)
    choice = torch.multinomial(probabilities, 1, generator=generator)
    return int(choice if candidates is None else candidates[choice])
