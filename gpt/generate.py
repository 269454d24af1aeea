"""Text from a model, one token at a time, beside its training and without disturbing it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gpt.draw import draw
from gpt.errors import DataError
from gpt.model import GPT
from gpt.ragged import RaggedCache


def generate(
    model: GPT,
    prompt_ids: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float = 0.8,
    top_k: int = 200,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    generator: torch.Generator,
    vocab_size: int | None = None,
) -> Iterator[int]:
    """Continues a prompt, yielding each new token as soon as it is drawn; an iterator may be dropped half-way.

    Args:
        max_new_tokens: tokens to draw.

    The other arguments, and what is promised, are those of `Continuation`. Raises DataError at once, and
    FloatingPointError while drawing.
    """
    rows = Continuation(
        model, [prompt_ids], [generator], temperature=temperature, top_k=top_k, top_p=top_p,
        repetition_penalty=repetition_penalty, vocab_size=vocab_size,
    )  # fmt: skip
    return (rows.step()[0][1] for _ in range(max_new_tokens))


class Continuation:
    """Several prompts, continued side by side: all rows' newest tokens go through the model together.

    Each row has a generator of its own, so its text is the one it would have alone: up to rounding, for a product of
    several rows adds up in another order than that of one, and a draw on the very edge between two tokens could fall
    to the other side. A row that is let go of leaves the batch.

    Between two steps nothing is left switched: grad mode, train mode and torch's global generator stay as they were,
    so training can go on there. Autocast is the caller's.

    A full context cannot slide, for its positions are part of what the cache holds, and even with rotary ones what the
    upper layers made of it depends on the tokens that would fall out: its newest half is read again from position 0 and
    grows to block_size once more. That costs one long read every block_size / 2 tokens, where nanoGPT's costs one every
    token. Of a prompt longer than block_size the newest block_size tokens are read.

    An empty prompt gives the model nothing to condition on: the first token is then drawn evenly from the vocabulary.

    Args:
        prompts: token ids of each row, each below the vocabulary's size.
        generators: the only source of chance, one a row. On whatever device it is, tokens are drawn there: one on the
            CPU gives the same draws on every machine.
        temperature, top_k, top_p, repetition_penalty: how a token is drawn (gpt.draw). The penalty is on what the
            prompt holds and the row has drawn.
        vocab_size: ids from here on are never drawn: rows that only pad the embedding. None: no such rows.

    Raises:
        DataError: a prompt id is outside the vocabulary.
        FloatingPointError: in `step`, where the model's logits are not finite: its training has diverged.
    """

    def __init__(
        self,
        model: GPT,
        prompts: Sequence[Sequence[int]],
        generators: Sequence[torch.Generator],
        *,
        temperature: float = 0.8,
        top_k: int = 200,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        vocab_size: int | None = None,
    ) -> None:
        self._model = model
        self._vocab_size = min(vocab_size or model.vocab_size, model.vocab_size)
        self._cache = RaggedCache(model, len(prompts))
        self._draw = functools.partial(
            draw, temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=repetition_penalty
        )
        self._rows = [
            _Row(number, self._checked(prompt), generator)
            for number, (prompt, generator) in enumerate(zip(prompts, generators, strict=True))
        ]
        if repetition_penalty != 1:
            for row in self._rows:
                row.seen = self._seen(row.text, row.generator.device)

    def step(self) -> list[tuple[int, int]]:
        """Draws one token for each row that goes on: (row, token), by row. None once all have been let go of."""
        self._leave_stopped()
        drawn = []
        for row, logits in zip(self._rows, self._read(), strict=True):
            if logits is None:
                device = row.generator.device
                token = int(torch.randint(self._vocab_size, (), generator=row.generator, device=device))
            else:
                token = self._draw(logits[: self._vocab_size], generator=row.generator, seen=row.seen)
            row.take(token)
            drawn.append((row.number, token))
        return drawn

    def stop(self, number: int) -> None:
        """Lets go of a row: no more is drawn for it."""
        for row in self._rows:
            row.is_stopped |= row.number == number

    def _leave_stopped(self) -> None:
        going = [place for place, row in enumerate(self._rows) if not row.is_stopped]
        if len(going) < len(self._rows):
            self._cache.keep(going)
            self._rows = [self._rows[place] for place in going]

    def _read(self) -> Sequence[Tensor | None]:
        """Logits (V,) of each row's next token, or None where there is nothing to condition on.

        One token each is read together; while any row has more to read, or nothing, each reads alone.
        """
        cache, rows = self._cache, self._rows
        full = [length == cache.capacity for length in cache.lengths]
        for row, is_full in zip(rows, full, strict=True):
            if is_full:
                row.unread = row.text[-max(1, cache.capacity // 2) :]
        if len(rows) > 1 and not any(full) and all(len(row.unread) == 1 for row in rows):
            ids = torch.tensor([row.unread for row in rows], device=cache.keys.device)  # (B, 1)
            return list(self._model.forward_cached(ids, cache))
        logits: list[Tensor | None] = []
        for place, row in enumerate(rows):
            twin = self._twin(place)
            if not row.unread:
                logits.append(None)
            elif twin is None:
                logits.append(cache.read_row(place, self._model, row.unread, anew=full[place]))
            else:
                cache.copy_row(twin, place)
                logits.append(logits[twin])
        return logits

    def _twin(self, place: int) -> int | None:
        """An earlier row that has just read the prompt of this one, which has not: it need not be read twice."""
        if self._cache.lengths[place]:
            return None
        prompt = self._rows[place].unread
        return next((earlier for earlier in range(place) if self._rows[earlier].unread == prompt), None)

    def _checked(self, prompt: Sequence[int]) -> list[int]:
        """The part of a prompt that is read."""
        known = self._model.vocab_size
        strange = next((token for token in prompt if not 0 <= token < known), None)
        if strange is not None:
            raise DataError(
                f"the prompt holds token id {strange}, the model knows 0…{known - 1}; "
                "encode it with the tokenizer the model was trained with"
            )
        return list(prompt[-self._cache.capacity :])

    def _seen(self, prompt: list[int], device: torch.device) -> Tensor:
        """(V,) bool, the tokens of a prompt."""
        seen = torch.zeros(self._model.vocab_size, dtype=torch.bool, device=device)
        seen[prompt] = True
        return seen[: self._vocab_size]


class _Row:
    """One text under way.

    Args:
        number: its place among the prompts.
        text: token ids; what is drawn is added.
    """

    def __init__(self, number: int, text: list[int], generator: torch.Generator) -> None:
        self.number, self.text, self.generator = number, text, generator
        self.seen: Tensor | None = None
        """(V,) bool, the tokens of the text, where repetition is penalized."""
        self.unread = list(text)
        self.is_stopped = False

    def take(self, token: int) -> None:
        """Adds a token."""
        self.text.append(token)
        self.unread = [token]
        if self.seen is not None:
            self.seen[token] = True
