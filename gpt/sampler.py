"""A sample drawn beside training and told as events: it starts, its text comes in pieces, it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from gpt.commands import Sample
from gpt.config import SampleConfig
from gpt.device import Device
from gpt.errors import DataError
from gpt.events import Event, LogLine, SampleDone, SampleStarted, SampleText
from gpt.generate import generate
from gpt.model import GPT
from gpt.tokenizer import StreamDecoder, Tokenizer

_T = TypeVar("_T")

CHUNK_SECONDS = 0.1
"""Text is sent in pieces of at least this age, so that a fast model does not flood the log."""


def draw_sample(
    model: GPT,
    tokenizer: Tokenizer,
    device: Device,
    settings: SampleConfig,
    command: Sample,
    *,
    number: int,
    step: int,
    emit: Callable[[Event], None],
    go_on: Callable[[], bool],
) -> None:
    """Continues a prompt with a generator of its own, seeded by the sample's number.

    Args:
        settings: what the command leaves open.
        go_on: asked after each token; False ends the sample early.
    """
    prompt = _first(command.prompt, settings.prompts[0])
    generator = torch.Generator(device.torch_device).manual_seed(_first(command.seed, settings.seed + number))
    emit(SampleStarted(sample=number, step=step, prompt=prompt))
    start = sent = time.perf_counter()
    decoder, text, waiting, count = StreamDecoder(tokenizer), "", "", 0
    try:
        tokens: Iterator[int] = generate(
            model, tokenizer.encode(prompt, errors="drop").tolist(),
            max_new_tokens=_first(command.max_new_tokens, settings.max_new_tokens),
            temperature=_first(command.temperature, settings.temperature), top_k=_first(command.top_k, settings.top_k),
            generator=generator, vocab_size=tokenizer.vocab_size,
        )  # fmt: skip
        with device.autocast():
            for token in tokens:
                count += 1
                waiting += decoder.feed(token)
                if waiting and time.perf_counter() - sent > CHUNK_SECONDS:
                    emit(SampleText(sample=number, text=waiting))
                    text, waiting, sent = text + waiting, "", time.perf_counter()
                if not go_on():
                    break
    except (FloatingPointError, DataError) as error:
        # A model that has diverged cannot speak, nor one whose vocabulary is not at hand; training goes on.
        emit(LogLine(level="warning", text=f"sample {number} broke off: {error}"))
    emit(SampleDone(
        sample=number, step=step, prompt=prompt, text=text + waiting + decoder.flush(), tokens=count,
        seconds=time.perf_counter() - start,
    ))  # fmt: skip


def _first(given: _T | None, default: _T) -> _T:
    return default if given is None else given
