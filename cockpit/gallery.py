"""The samples of a run by prompt, so that one prompt's texts can be looked at through time. Bounded, and pure.

What a screen holds of them is thinned as a run gets long: the first and the newest of a prompt stay, and what is left
between them is spread evenly over the run.
"""

from __future__ import annotations

import msgspec

from gpt import events as ev

PROMPTS = 64
"""Prompts that are remembered; the one unused for longest goes first."""
TEXTS = 60
"""Samples of a prompt."""
NEWEST = 20
"""Of them those that no other pushes out."""
SCORED = 48
"""Samples whose tokens are remembered one by one, the newest; of the others the losses stay."""


class Shot(msgspec.Struct, frozen=True, kw_only=True):
    """One continuation of a prompt."""

    number: int
    """Of the sample within the run."""
    step: int
    """Of the weights that spoke."""
    text: str
    tokens: int
    seconds: float
    seed: int | None = None
    beside: int | None = None
    prompt_loss: float | None = None
    """Of the prompt's own tokens, nats/token."""
    loss: float | None = None
    """Of the continuation's, nats/token."""
    scored: tuple[ev.ScoredToken, ...] = ()
    """Prompt and text, token by token, where that was asked for."""
    prompt_tokens: int = 0


class Gallery(msgspec.Struct, frozen=True):
    """All samples that are remembered, and what is known of those that are not yet done."""

    by_prompt: dict[str, tuple[Shot, ...]] = {}
    """Prompts in the order in which they were first continued; of each the shots by step, then by number."""
    started: dict[int, ev.SampleStarted] = {}

    def take(self, event: ev.Event) -> Gallery:
        """The gallery after one more event; itself where that is not about samples."""
        match event:
            case ev.SampleStarted():
                return _replace(self, started={**self.started, event.sample: event})
            case ev.SampleDone():
                return self._done(event)
            case ev.SampleScored():
                return self._scored(event)
            case ev.Resumed():
                kept = {
                    prompt: tuple(s for s in shots if s.step <= event.step) for prompt, shots in self.by_prompt.items()
                }
                return Gallery({prompt: shots for prompt, shots in kept.items() if shots})
        return self

    def _done(self, event: ev.SampleDone) -> Gallery:
        begun = self.started.get(event.sample)
        shot = Shot(
            number=event.sample, step=event.step, text=event.text, tokens=event.tokens, seconds=event.seconds,
            seed=begun.seed if begun else None, beside=begun.beside if begun else None,
        )  # fmt: skip
        started = {number: other for number, other in self.started.items() if number > event.sample - 64}
        started.pop(event.sample, None)
        others = tuple(s for s in self.by_prompt.get(event.prompt, ()) if s.number != event.sample)
        shots = _thinned(tuple(sorted((*others, shot), key=lambda s: (s.step, s.number))))
        by_prompt = {**self.by_prompt, event.prompt: shots}
        if len(by_prompt) > PROMPTS:
            del by_prompt[min(by_prompt, key=lambda prompt: max(s.number for s in by_prompt[prompt]))]
        return Gallery(by_prompt, started)

    def _scored(self, event: ev.SampleScored) -> Gallery:
        for prompt, shots in self.by_prompt.items():
            place = next((i for i, s in enumerate(shots) if s.number == event.sample), None)
            if place is None:
                continue
            told = _replace(
                shots[place], prompt_loss=event.prompt_loss, loss=event.loss, scored=tuple(event.tokens),
                prompt_tokens=event.prompt_tokens,
            )  # fmt: skip
            by_prompt = {**self.by_prompt, prompt: (*shots[:place], told, *shots[place + 1 :])}
            return _replace(self, by_prompt=_forgetful(by_prompt))
        return self


_replace = msgspec.structs.replace


def _thinned(shots: tuple[Shot, ...]) -> tuple[Shot, ...]:
    """At most TEXTS of them: of more, one goes that stands closest between its neighbours; the newest all stay."""
    if len(shots) <= TEXTS:
        return shots
    inner = range(1, len(shots) - NEWEST)
    place = min(inner, key=lambda i: shots[i + 1].step - shots[i - 1].step)
    return (*shots[:place], *shots[place + 1 :])


def _forgetful(by_prompt: dict[str, tuple[Shot, ...]]) -> dict[str, tuple[Shot, ...]]:
    """Without the single tokens of all but the newest SCORED samples."""
    told = sorted(shot.number for shots in by_prompt.values() for shot in shots if shot.scored)
    if len(told) <= SCORED:
        return by_prompt
    oldest = told[-SCORED]
    return {
        prompt: tuple(_replace(shot, scored=()) if shot.number < oldest else shot for shot in shots)
        for prompt, shots in by_prompt.items()
    }
