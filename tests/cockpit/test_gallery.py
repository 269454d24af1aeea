"""What a screen remembers of a run's samples: by prompt, by step, bounded."""

from __future__ import annotations

from itertools import pairwise

from cockpit.gallery import PROMPTS, SCORED, TEXTS, Gallery
from cockpit.reducer import reduce_all
from cockpit.state import RunState
from gpt import events as ev


def drawn(number: int, step: int, prompt: str = "a", *, scored: bool = False, **started: int) -> list[ev.Event]:
    events: list[ev.Event] = [
        ev.SampleStarted(sample=number, step=step, prompt=prompt, **started),
        ev.SampleDone(sample=number, step=step, prompt=prompt, text=f"text {number}", tokens=6, seconds=0.5),
    ]
    tokens = [ev.ScoredToken("a", None, []), ev.ScoredToken("b", 0.5, [("b", 0.5)])]
    score = ev.SampleScored(sample=number, step=step, prompt_loss=1.5, loss=2.5, prompt_tokens=1, tokens=tokens)
    return [*events, score] if scored else events


def gallery_of(*events: ev.Event) -> Gallery:
    return reduce_all(RunState(), events).gallery


def test_samples_of_a_prompt_lie_by_step_with_what_is_known_of_them() -> None:
    gallery = gallery_of(
        *drawn(1, 100, seed=7), *drawn(2, 100, "b"), *drawn(4, 50, beside=1), *drawn(3, 200, scored=True)
    )
    assert list(gallery.by_prompt) == ["a", "b"]
    assert [(s.step, s.number, s.text) for s in gallery.by_prompt["a"]] == [
        (50, 4, "text 4"), (100, 1, "text 1"), (200, 3, "text 3"),
    ]  # fmt: skip
    earlier, first, last = gallery.by_prompt["a"]
    assert (first.seed, earlier.beside) == (7, 1)
    assert (last.prompt_loss, last.loss, last.prompt_tokens, len(last.scored)) == (1.5, 2.5, 1, 2)
    assert not gallery.started


def test_a_resume_drops_what_later_steps_said() -> None:
    gallery = gallery_of(*drawn(1, 100), *drawn(2, 200), *drawn(3, 200, "b"), ev.Resumed(step=150, exact=True))
    assert [s.number for s in gallery.by_prompt["a"]] == [1] and "b" not in gallery.by_prompt
    again = reduce_all(RunState(gallery=gallery), drawn(2, 200)).gallery
    assert [s.number for s in again.by_prompt["a"]] == [1, 2]


def test_a_long_run_keeps_the_first_and_the_newest_of_a_prompt_and_some_between() -> None:
    gallery = gallery_of(*(event for n in range(1, 1001) for event in drawn(n, 10 * n)))
    numbers = [s.number for s in gallery.by_prompt["a"]]
    assert len(numbers) <= TEXTS and numbers[0] == 1 and numbers[-20:] == list(range(981, 1001))
    older = numbers[:-20]
    assert len(older) == 40 and max(b - a for a, b in pairwise([*older, 981])) < 80


def test_single_tokens_are_kept_of_the_newest_samples_only_and_the_losses_of_all() -> None:
    events = [e for n in range(1, SCORED + 11) for e in drawn(n, n, "ab"[n % 2], scored=True)]
    shots = [s for shots in gallery_of(*events).by_prompt.values() for s in shots]
    assert {s.number for s in shots if s.scored} == set(range(11, SCORED + 11))
    assert all(s.loss == 2.5 for s in shots) and len(shots) == SCORED + 10


def test_prompts_are_bounded_too_and_the_one_unused_for_longest_goes() -> None:
    gallery = gallery_of(*(event for n in range(1, PROMPTS + 4) for event in drawn(n, n, f"prompt {n}")))
    assert len(gallery.by_prompt) == PROMPTS
    assert "prompt 3" not in gallery.by_prompt and f"prompt {PROMPTS + 3}" in gallery.by_prompt


def test_samples_that_broke_off_do_not_pile_up() -> None:
    starts = [ev.SampleStarted(sample=n, step=n, prompt="a") for n in range(1, 500)]
    assert len(gallery_of(*starts, *drawn(500, 500)).started) < 70
