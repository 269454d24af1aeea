"""Sampling beside training: right, repeatable, and without a trace."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from gpt.config import ModelConfig
from gpt.errors import DataError
from gpt.generate import Continuation, generate
from gpt.model import GPT
from tests.gpt.untrained import opinionated

VOCAB = 30


@pytest.fixture
def model() -> GPT:
    return opinionated(VOCAB, block_size=8)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def likeliest(model: GPT, window: list[int]) -> int:
    """The next token by the plain, uncached model."""
    was_training = model.training
    model.eval()
    token = int(model(torch.tensor([window]))[0][0, -1].argmax())
    model.train(was_training)
    return token


@pytest.mark.parametrize("prompt", [[1, 2, 3], list(range(8)), list(range(20))])
def test_at_temperature_zero_each_token_is_the_likeliest_of_its_window(model: GPT, prompt: list[int]):
    """Also past block_size, where the window falls back to the newest half and grows again."""
    window, expected = prompt[-8:], []
    for _ in range(25):
        token = likeliest(model, window)
        expected.append(token)
        window = [*window, token] if len(window) < 8 else [*window, token][-4:]
    drawn = list(generate(model, prompt, max_new_tokens=25, temperature=0, generator=chance()))
    assert drawn == expected


def test_a_context_of_one_token_still_works():
    torch.manual_seed(0)
    model = GPT(ModelConfig(n_layer=1, n_head=1, n_embd=4, block_size=1), VOCAB)
    assert len(list(generate(model, [1, 2], max_new_tokens=5, generator=chance()))) == 5


def test_the_same_seed_gives_the_same_text_and_another_another(model: GPT):
    def text(seed: int) -> list[int]:
        return list(generate(model, [1], max_new_tokens=30, temperature=1.0, generator=chance(seed)))

    assert text(1) == text(1)
    assert text(1) != text(2)


def test_tokens_come_one_by_one(model: GPT, monkeypatch: pytest.MonkeyPatch):
    reads: list[int] = []
    read = GPT.forward_cached
    monkeypatch.setattr(
        GPT, "forward_cached", lambda self, ids, cache: reads.append(ids.shape[1]) or read(self, ids, cache)
    )
    tokens = generate(model, [1, 2, 3], max_new_tokens=100, generator=chance())
    assert reads == []
    list(islice(tokens, 3))
    assert reads == [3, 1, 1]


def test_no_more_tokens_are_drawn_than_asked_for(model: GPT):
    assert list(generate(model, [1], max_new_tokens=0, generator=chance())) == []
    assert len(list(generate(model, [1], max_new_tokens=19, generator=chance()))) == 19


# -- side by side ------------------------------------------------------------------------------------------------------

PROMPTS = [[1, 2, 3], [4], [], list(range(20)), [1, 2, 3], [7] * 7]


def side_by_side(model: GPT, prompts: list[list[int]], count: int, stop: dict[int, int] | None = None, **how: float):
    """Tokens of each row; `stop` says after how many a row is let go of."""
    texts = Continuation(model, prompts, [chance(i) for i in range(len(prompts))], **how)  # type: ignore[arg-type]
    rows: list[list[int]] = [[] for _ in prompts]
    for _ in range(count):
        for row, token in texts.step():
            rows[row].append(token)
            if stop and len(rows[row]) == stop.get(row):
                texts.stop(row)
    return rows


@pytest.mark.parametrize("how", [{"temperature": 0.0}, {"temperature": 1.5, "top_p": 0.9, "repetition_penalty": 1.3}])
def test_each_row_is_the_text_it_would_be_alone(model: GPT, how: dict[str, float]):
    """Prompts of unequal length, one of them empty and one too long, each sliding past block_size at its own time."""
    rows = side_by_side(model, PROMPTS, 40, **how)
    alone = [
        list(generate(model, prompt, max_new_tokens=40, generator=chance(i), **how))  # type: ignore[arg-type]
        for i, prompt in enumerate(PROMPTS)
    ]
    assert rows == alone


@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_the_shortest_contexts_work_side_by_side_too(block_size: int):
    torch.manual_seed(0)
    model = GPT(ModelConfig(n_layer=1, n_head=1, n_embd=4, block_size=block_size), VOCAB)
    rows = side_by_side(model, [[1, 2], [3], []], 8)
    assert rows == [
        list(generate(model, prompt, max_new_tokens=8, generator=chance(i)))
        for i, prompt in enumerate([[1, 2], [3], []])
    ]


def test_rows_that_are_let_go_of_leave_the_others_alone(model: GPT):
    whole = side_by_side(model, PROMPTS, 30, temperature=1.0)
    stop = {0: 1, 2: 5, 5: 12, 3: 13}
    parts = side_by_side(model, PROMPTS, 30, stop, temperature=1.0)
    assert parts == [row[: stop.get(number, 30)] for number, row in enumerate(whole)]


def test_a_row_that_is_let_go_of_is_not_read_any_more(model: GPT, monkeypatch: pytest.MonkeyPatch):
    reads: list[tuple[int, ...]] = []
    read = GPT.forward_cached
    monkeypatch.setattr(
        GPT, "forward_cached", lambda self, ids, cache: reads.append(tuple(ids.shape)) or read(self, ids, cache)
    )
    rows = side_by_side(model, [[1, 2], [3], [4, 5, 6]], 5, {0: 2, 1: 3, 2: 4})
    assert [len(row) for row in rows] == [2, 3, 4]
    assert reads == [(1, 2), (1, 1), (1, 3), (3, 1), (2, 1), (1, 1)]


def test_one_prompt_continued_several_times_is_read_once(model: GPT, monkeypatch: pytest.MonkeyPatch):
    reads: list[tuple[int, ...]] = []
    read = GPT.forward_cached
    monkeypatch.setattr(
        GPT, "forward_cached", lambda self, ids, cache: reads.append(tuple(ids.shape)) or read(self, ids, cache)
    )
    rows = side_by_side(model, [[1, 2, 3, 4]] * 3, 3, temperature=20.0)
    assert reads == [(1, 4), (3, 1), (3, 1)]
    assert len({tuple(row) for row in rows}) == 3


def test_side_by_side_draws_touch_no_generator_but_their_own(model: GPT):
    model.train()
    ids = torch.tensor([[1, 2, 3, 4]])

    def gradients() -> list[torch.Tensor]:
        torch.manual_seed(5)
        model.zero_grad()
        model(ids, ids)[1].backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    alone = gradients()
    state = torch.get_rng_state()
    texts = Continuation(model, PROMPTS, [chance(i) for i in range(6)], top_p=0.9, repetition_penalty=1.2)
    for step in range(12):
        texts.step()
        if step == 4:
            texts.stop(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled() and all(module.training for module in model.modules())
    between = gradients()
    texts.step()
    assert all(torch.equal(a, b) for a, b in zip(alone, between, strict=True))


def test_a_token_that_has_been_seen_is_avoided_under_a_great_penalty(model: GPT):
    drawn = list(generate(model, [1, 2], max_new_tokens=20, temperature=0, repetition_penalty=1e9, generator=chance()))
    with torch.no_grad():
        logits = model.eval()(torch.tensor([[1, 2]]))[0][0, -1]
    fresh = [token for token in logits.argsort(descending=True).tolist() if token not in (1, 2)]
    assert drawn[0] == fresh[0]  # what is left of a positive logit is 0, of a negative one next to nothing
    assert len(set(drawn)) > len(set(generate(model, [1, 2], max_new_tokens=20, temperature=0, generator=chance())))


# -- without a trace ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_between_tokens_and_after_giving_up_nothing_is_left_switched(model: GPT, training: bool):
    model.train(training)
    state = torch.get_rng_state()
    tokens = generate(model, [], max_new_tokens=20, generator=chance())
    for _ in range(3):
        next(tokens)
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        assert all(module.training == training for module in model.modules())
    tokens.close()  # type: ignore[attr-defined]
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert all(module.training == training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_step_taken_between_two_tokens_is_the_step_taken_without_them(model: GPT):
    ids = torch.tensor([[1, 2, 3, 4]])

    def gradients() -> list[torch.Tensor]:
        torch.manual_seed(5)
        model.train().zero_grad()
        model(ids, ids)[1].backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    alone = gradients()
    tokens = generate(model, [1, 2], max_new_tokens=10, generator=chance())
    next(tokens)
    between = gradients()
    next(tokens)
    assert all(torch.equal(a, b) for a, b in zip(alone, between, strict=True))


def test_the_weights_can_be_trained_after_sampling_under_autocast(model: GPT):
    with torch.autocast("cpu", torch.bfloat16):
        list(generate(model, [1], max_new_tokens=3, generator=chance()))
    with torch.autocast("cpu", torch.bfloat16):
        _, loss = model.train()(torch.tensor([[1, 2]]), torch.tensor([[2, 3]]))
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_padding_rows_are_never_drawn_even_where_they_are_the_likeliest(model: GPT):
    with torch.no_grad():
        model.transformer.wte.weight[25:] *= 50
    drawn = generate(model, [1], max_new_tokens=200, temperature=5.0, top_k=0, generator=chance(), vocab_size=25)
    assert max(drawn) < 25
    firsts = [next(generate(model, [], max_new_tokens=1, generator=chance(seed), vocab_size=25)) for seed in range(200)]
    assert max(firsts) < 25


def test_an_empty_prompt_begins_with_an_evenly_drawn_token(model: GPT):
    firsts = {next(generate(model, [], max_new_tokens=1, generator=chance(seed))) for seed in range(400)}
    assert firsts == set(range(VOCAB))


@pytest.mark.parametrize("bad", [VOCAB, -1])
def test_a_prompt_from_another_tokenizer_is_refused_at_once(model: GPT, bad: int):
    with pytest.raises(DataError, match=rf"token id {bad}, the model knows 0…29"):
        generate(model, [1, bad], max_new_tokens=1, generator=chance())


def test_a_diverged_model_says_so(model: GPT):
    with torch.no_grad():
        model.transformer.ln_f.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="diverged"):
        list(generate(model, [1], max_new_tokens=5, generator=chance()))
