"""Samples told as events: how many, of what, which text, and what a command may not ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import torch

from gpt import events as ev
from gpt.commands import Sample
from gpt.config import ModelConfig, SampleConfig
from gpt.device import Device
from gpt.model import GPT
from gpt.sampler import SIDE_BY_SIDE, draw_samples
from gpt.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer

CPU = Device(torch.device("cpu"), "cpu", "float32", False, "", None, None)
PLAIN = SampleConfig(prompts=["1 + "], temperature=2.0, top_k=0, max_new_tokens=24)


@pytest.fixture(scope="module")
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(ModelConfig(n_layer=1, n_head=2, n_embd=16, block_size=16, dropout=0.2), 256).train()


@pytest.fixture
def told(model: GPT, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Draws samples and returns the events; every piece of text is sent as soon as it is certain."""
    monkeypatch.setattr("gpt.sampler.CHUNK_SECONDS", -1.0)

    def draw(
        command: Sample | None = None, settings: SampleConfig = PLAIN, *, tokenizer: Tokenizer | None = None,
        prompts: list[str] | None = None, number: int = 1, go_on: Callable[[], bool] = lambda: True,
    ) -> list[Any]:  # fmt: skip
        events: list[Any] = []
        count = draw_samples(
            model, tokenizer or ByteTokenizer(), CPU, settings, command or Sample(), prompts=prompts, number=number,
            step=7, emit=events.append, go_on=go_on,
        )  # fmt: skip
        assert count == len([event for event in events if isinstance(event, ev.SampleDone)])
        return events

    return draw


def texts(events: list[Any]) -> dict[int, str]:
    return {event.sample: event.text for event in events if isinstance(event, ev.SampleDone)}


def test_a_sample_is_the_same_alone_and_among_others(told: Callable[..., list[Any]]) -> None:
    together = texts(told(settings=msgspec.structs.replace(PLAIN, count=2), prompts=["1 + ", "", "a longer prompt"]))
    assert list(together) == [1, 2, 3, 4, 5, 6] and len(set(together.values())) == 6
    assert texts(told(Sample(prompt="1 + "), number=2)) == {2: together[2]}
    assert texts(told(Sample(prompt=""), number=4)) == {4: together[4]}
    assert texts(told(Sample(prompt="a longer prompt"), number=5)) == {5: together[5]}


def test_more_samples_than_go_side_by_side_are_drawn_in_portions(told: Callable[..., list[Any]]) -> None:
    events = told(Sample(count=SIDE_BY_SIDE + 3, max_new_tokens=3))
    assert [e.sample for e in events if isinstance(e, ev.SampleStarted)] == list(range(1, SIDE_BY_SIDE + 4))
    alone = told(Sample(max_new_tokens=3), number=SIDE_BY_SIDE + 2)
    assert texts(alone)[SIDE_BY_SIDE + 2] == texts(events)[SIDE_BY_SIDE + 2]


def test_a_commands_seed_is_the_first_samples_and_the_next_have_the_next(told: Callable[..., list[Any]]) -> None:
    both = texts(told(Sample(seed=40, count=2), number=5))
    assert both[5] == texts(told(Sample(seed=40), number=1))[1]
    assert both[6] == texts(told(Sample(seed=41), number=9))[9]
    assert both[5] != both[6]


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), CharTokenizer("".join(map(chr, range(0xC0, 0x1C0))))])
def test_a_sample_ends_before_its_stop_and_nothing_of_it_is_sent(
    told: Callable[..., list[Any]], tokenizer: Tokenizer
) -> None:
    """Two samples with a stop that only the first one holds, in its middle and across tokens."""
    free = texts(told(Sample(count=2), tokenizer=tokenizer))
    stop = free[1][10:13]
    assert len(stop) == 3 and stop not in free[2]
    events = told(Sample(count=2, stop=stop), tokenizer=tokenizer)
    before = free[1].split(stop)[0]
    assert texts(events) == {1: before, 2: free[2]}
    for number, whole in texts(events).items():
        sent = "".join(e.text for e in events if isinstance(e, ev.SampleText) and e.sample == number)
        assert whole.startswith(sent)
    done = {e.sample: e for e in events if isinstance(e, ev.SampleDone)}
    assert done[1].tokens < done[2].tokens == 24
    assert events.index(done[1]) < max(i for i, e in enumerate(events) if isinstance(e, ev.SampleText))


def test_a_sample_that_has_ended_is_not_read_any_more(
    told: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = texts(told(Sample(count=2)))
    stop = free[1][4:8]
    assert stop not in free[2]
    rows: list[int] = []
    read = GPT.forward_cached
    monkeypatch.setattr(
        GPT, "forward_cached", lambda self, ids, cache: rows.append(ids.shape[0]) or read(self, ids, cache)
    )
    done = {e.sample: e.tokens for e in told(Sample(count=2, stop=stop)) if isinstance(e, ev.SampleDone)}
    assert set(rows[1 : done[1]]) == {2} and set(rows[done[1] :]) == {1}


def test_an_empty_stop_in_a_command_overrides_the_profiles(told: Callable[..., list[Any]]) -> None:
    free = texts(told())
    stopping = msgspec.structs.replace(PLAIN, stop=free[1][5])
    assert texts(told(settings=stopping)) != free
    assert texts(told(Sample(stop=""), stopping)) == free


def test_a_stop_of_the_run_ends_all_samples_after_one_token(told: Callable[..., list[Any]]) -> None:
    events = told(Sample(count=SIDE_BY_SIDE + 1), go_on=lambda: False)
    assert {e.tokens for e in events if isinstance(e, ev.SampleDone)} == {1}


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (Sample(top_p=0.0), "no sample: sample.top_p must be a number > 0 and ≤ 1; got 0.0"),
        (Sample(top_p=1.5), "no sample: sample.top_p must be a number > 0 and ≤ 1; got 1.5"),
        (Sample(repetition_penalty=0.5), "no sample: sample.repetition_penalty must be a number ≥ 1; got 0.5"),
        (Sample(count=0), "no sample: sample.count must be an integer ≥ 1 and ≤ 64; got 0"),
        (Sample(temperature=-1.0), "no sample: sample.temperature must be a number ≥ 0; got -1.0"),
        (Sample(seed=-1), "no sample: sample.seed must be an integer ≥ 0 and ≤ 1e+09; got -1"),
    ],
)
def test_a_command_out_of_range_is_answered_in_one_line(
    told: Callable[..., list[Any]], command: Sample, line: str
) -> None:
    (event,) = told(command)
    assert isinstance(event, ev.LogLine) and (event.level, event.text) == ("warning", line)


def test_sampling_side_by_side_leaves_the_global_generator_alone(told: Callable[..., list[Any]]) -> None:
    state = torch.get_rng_state()
    told(Sample(count=3, top_p=0.9, repetition_penalty=1.1, stop="x"))
    assert torch.equal(torch.get_rng_state(), state)


def test_out_of_memory_breaks_the_samples_off_and_nothing_else(
    told: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("no room\nfor the cache")

    monkeypatch.setattr(GPT, "forward_cached", full)
    events = told(Sample(count=2))
    assert [e.text for e in events if isinstance(e, ev.LogLine)] == [
        "sample 1 to 2: out of memory side by side, so one after another (no room)",
        "sample 1 broke off: no room", "sample 2 broke off: no room",
    ]  # fmt: skip
    assert texts(events) == {1: "", 2: ""}


# -- what the model found of it ---------------------------------------------------------------------------------------


def test_without_being_asked_nothing_is_scored_and_asking_changes_no_text(told: Callable[..., list[Any]]) -> None:
    asked, plain = told(Sample(alternatives=3, count=2)), told(Sample(count=2))
    assert texts(asked) == texts(plain)
    assert not [event for event in plain if isinstance(event, ev.SampleScored)]
    scores = [event for event in asked if isinstance(event, ev.SampleScored)]
    assert [event.sample for event in scores] == [1, 2]
    for event in scores:
        assert "".join(t.text for t in event.tokens).startswith("1 + ") and len(event.tokens) == 4 + 24
        assert asked.index(event) > next(i for i, e in enumerate(asked) if getattr(e, "text", None) is not None)


def test_of_a_text_that_a_stop_string_ended_only_what_is_shown_is_scored(told: Callable[..., list[Any]]) -> None:
    stop = texts(told())[1][10:13]
    events = told(Sample(stop=stop, alternatives=1))
    (score,) = [event for event in events if isinstance(event, ev.SampleScored)]
    assert "".join(token.text for token in score.tokens[4:]) == texts(events)[1]


def test_every_prompt_is_continued_with_the_same_seeds_whenever_it_is_asked_for(told: Callable[..., list[Any]]) -> None:
    settings = msgspec.structs.replace(PLAIN, prompts=["a", "b"])
    early, late = told(Sample(every_prompt=True), settings), told(Sample(every_prompt=True), settings, number=9)
    assert [e.prompt for e in late if isinstance(e, ev.SampleStarted)] == ["a", "b"]
    assert list(texts(early).values()) == list(texts(late).values())
    assert [e.seed for e in early if isinstance(e, ev.SampleStarted)] == [1, 2]
