"""Samples drawn beside training and told as events: each starts, its text comes in pieces, it is done.

Where that is asked for, it is then told how likely the model found each token (gpt.likelihood).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec
import torch

from gpt.commands import Sample
from gpt.config import Profile, SampleConfig
from gpt.device import Device
from gpt.errors import DataError, ProfileError
from gpt.events import Event, LogLine, SampleDone, SampleStarted, SampleText
from gpt.generate import Continuation
from gpt.likelihood import scored
from gpt.model import GPT
from gpt.stopping import StopFinder
from gpt.strict import find_mistake
from gpt.tokenizer import StreamDecoder, Tokenizer

CHUNK_SECONDS = 0.1
"""Text is sent in pieces of at least this age, so that a fast model does not flood the log."""
SIDE_BY_SIDE = 16
"""Samples drawn together at most: each one's keys and values take memory."""


def draw_samples(
    model: GPT,
    tokenizer: Tokenizer,
    device: Device,
    settings: SampleConfig,
    command: Sample,
    *,
    prompts: Sequence[str] | None = None,
    number: int,
    step: int,
    emit: Callable[[Event], None],
    go_on: Callable[[], bool],
    beside: int | None = None,
) -> int:
    """Continues prompts side by side, each `count` times and with a generator of its own; returns how many samples.

    A sample's seed is the profile's plus its number, or the command's plus its place among those drawn, so its text
    does not depend on what is drawn beside it (gpt.generate says how far).

    Args:
        settings: what the command leaves open.
        prompts: what to continue; None: the command's prompt, or the profile's first, or all of them if it says so.
        number: of the first sample.
        step: of the model's weights.
        beside: the sample that the first one is to be compared with; each next one with the next.
        go_on: asked after each token; False ends all samples early.

    A command out of range draws nothing and is answered with a warning, as is a model that cannot speak. Where memory
    does not suffice for samples side by side they go on one after another, each from where it stood.
    """
    try:
        settings = settled(settings, command)
    except ProfileError as error:
        emit(LogLine(level="warning", text=f"no sample: {error}"))
        return 0
    if prompts is None and command.every_prompt:
        prompts = settings.prompts
    prompts = prompts or [settings.prompts[0] if command.prompt is None else command.prompt]
    offset = 0 if command.seed is not None or command.every_prompt else number
    samples = [
        _Sample(number + place, step, prompt, settings.seed + offset + place, tokenizer, device, settings, emit,
                None if beside is None else beside + place)
        for place, prompt in enumerate(prompt for prompt in prompts for _ in range(settings.count))
    ]  # fmt: skip
    for first in range(0, len(samples), SIDE_BY_SIDE):
        together = samples[first : first + SIDE_BY_SIDE]
        for sample in together:
            sample.start()
        _draw(model, tokenizer, device, settings, together, emit, go_on)
        for sample in together:
            sample.end()
            if settings.alternatives and go_on():
                _score(model, device, settings, sample, emit)
    return len(samples)


def settled(settings: SampleConfig, command: Sample) -> SampleConfig:
    """The settings with what a command asks for. Raises ProfileError, one line, for what is out of range."""
    asked = {
        key: value
        for key, value in msgspec.structs.asdict(command).items()
        if key in SampleConfig.__struct_fields__ and value is not None
    }
    if mistake := find_mistake({"sample": asked}, Profile):
        raise ProfileError(mistake.text)
    return msgspec.structs.replace(settings, **asked)


def _draw(
    model: GPT, tokenizer: Tokenizer, device: Device, settings: SampleConfig, samples: list[_Sample],
    emit: Callable[[Event], None], go_on: Callable[[], bool],
) -> None:  # fmt: skip
    """Draws samples as far as they get; says why where that is not to their end. Training goes on in any case."""
    which = f"sample {samples[0].number}" + (f" to {samples[-1].number}" if len(samples) > 1 else "")
    try:
        with device.autocast():
            _draw_together(model, tokenizer, settings, samples, go_on)
        return
    except torch.OutOfMemoryError as error:
        why, one_by_one = str(error).partition("\n")[0], len(samples) > 1
    except (FloatingPointError, DataError) as error:  # a model that has diverged, or no vocabulary at hand
        why, one_by_one = str(error).partition("\n")[0], False
    device.release_memory()
    if not one_by_one:
        emit(LogLine(level="warning", text=f"{which} broke off: {why}"))
        return
    emit(LogLine(level="warning", text=f"{which}: out of memory side by side, so one after another ({why})"))
    for sample in samples:
        if not sample.is_stopped and go_on():
            _draw(model, tokenizer, device, settings, [sample], emit, go_on)
            sample.end()


def _draw_together(
    model: GPT, tokenizer: Tokenizer, settings: SampleConfig, samples: list[_Sample], go_on: Callable[[], bool]
) -> None:
    texts = Continuation(
        model, [sample.ids for sample in samples], [sample.generator for sample in samples],
        temperature=settings.temperature, top_k=settings.top_k, top_p=settings.top_p,
        repetition_penalty=settings.repetition_penalty, vocab_size=tokenizer.vocab_size,
    )  # fmt: skip
    for _ in range(settings.max_new_tokens - len(samples[0].drawn)):
        for row, token in texts.step():
            samples[row].take(token)
            if samples[row].is_stopped:
                texts.stop(row)
                samples[row].end()
        if all(sample.is_stopped for sample in samples) or not go_on():
            return


def _score(
    model: GPT, device: Device, settings: SampleConfig, sample: _Sample, emit: Callable[[Event], None]
) -> None:  # fmt: skip
    """Tells what the model found of a sample, or why it cannot."""
    try:
        with device.autocast():
            sample.tell_likelihoods(model, settings.alternatives)
        return
    except (FloatingPointError, DataError, torch.OutOfMemoryError) as error:
        why = str(error).partition("\n")[0]
    device.release_memory()
    emit(LogLine(level="warning", text=f"sample {sample.number} was not scored: {why}"))


class _Sample:
    """One sample under way: its text so far, and how much of it has been sent."""

    def __init__(
        self, number: int, step: int, prompt: str, seed: int, tokenizer: Tokenizer, device: Device,
        settings: SampleConfig, emit: Callable[[Event], None], beside: int | None,
    ) -> None:  # fmt: skip
        self.number, self.prompt, self.seed = number, prompt, seed
        self.generator = torch.Generator(device.torch_device).manual_seed(seed)
        self.drawn: list[int] = []
        """Tokens that the prompt was continued with."""
        self._tokenizer, self._step, self._emit, self._beside = tokenizer, step, emit, beside
        self._decoder, self._finder = StreamDecoder(tokenizer), StopFinder(settings.stop)
        self._text = self._waiting = ""
        self._ended = False

    @property
    def ids(self) -> list[int]:
        """Tokens of the prompt and what followed it. Raises DataError where the vocabulary is not at hand."""
        return [*self._tokenizer.encode(self.prompt, errors="drop").tolist(), *self.drawn]

    @property
    def is_stopped(self) -> bool:
        """Whether its stop string has come."""
        return self._finder.found

    def start(self) -> None:
        """Says that it begins."""
        self._emit(SampleStarted(
            sample=self.number, step=self._step, prompt=self.prompt, seed=self.seed, beside=self._beside
        ))  # fmt: skip
        self._start = self._sent = time.perf_counter()

    def take(self, token: int) -> None:
        """Adds a token; sends text that is certain and has waited long enough."""
        self.drawn.append(token)
        self._waiting += self._finder.feed(self._decoder.feed(token))
        if self._waiting and not self.is_stopped and time.perf_counter() - self._sent > CHUNK_SECONDS:
            self._emit(SampleText(sample=self.number, text=self._waiting))
            self._text, self._waiting, self._sent = self._text + self._waiting, "", time.perf_counter()

    def end(self) -> None:
        """Says that it is done; a second call does nothing."""
        if self._ended:
            return
        self._ended = True
        self._text += self._waiting + self._finder.feed(self._decoder.flush()) + self._finder.flush()
        self._emit(SampleDone(
            sample=self.number, step=self._step, prompt=self.prompt, text=self._text, tokens=len(self.drawn),
            seconds=time.perf_counter() - self._start,
        ))  # fmt: skip

    def tell_likelihoods(self, model: GPT, alternatives: int) -> None:
        """Says how likely the model found each token of the prompt and of the text, as far as it was shown."""
        decoder, length, shown = StreamDecoder(self._tokenizer), 0, 0
        for token in self.drawn:  # a stop string ends the text before the tokens
            length += len(decoder.feed(token))
            if length > len(self._text):
                break
            shown += 1
        given = len(self.ids) - len(self.drawn)
        ids = self.ids[: given + shown]
        event = scored(self.number, self._step, model, self._tokenizer, ids, given, alternatives)
        if event:
            self._emit(event)
