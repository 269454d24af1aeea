"""The draw of one token: who has a chance, and how large it is."""

from __future__ import annotations

import pytest
import torch

from gpt.draw import draw, nucleus_size


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frequencies(logits: torch.Tensor, count: int, **how: object) -> torch.Tensor:
    generator = chance()
    drawn = [draw(logits, generator=generator, **how) for _ in range(count)]  # type: ignore[arg-type]
    return torch.bincount(torch.tensor(drawn), minlength=len(logits)) / count


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_as_often_as_the_softmax_says(temperature: float):
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    seen = frequencies(logits, 4000, temperature=temperature, top_k=0)
    torch.testing.assert_close(seen, (logits / temperature).softmax(0), rtol=0, atol=0.03)


def test_top_k_keeps_the_k_likeliest_and_their_proportions():
    logits = torch.tensor([0.0, 3.0, 1.0, 2.5])
    seen = frequencies(logits, 4000, temperature=1.0, top_k=2)
    assert seen[0] == seen[2] == 0
    torch.testing.assert_close(seen[[1, 3]], logits[[1, 3]].softmax(0), rtol=0, atol=0.03)


@pytest.mark.parametrize("temperature", [0.0, 1e-30, 1e-5])
def test_the_coldest_draws_take_the_likeliest(temperature: float):
    logits = torch.tensor([1.0, 1.5, 1e30, -5.0])
    assert frequencies(logits, 20, temperature=temperature, top_k=0)[2] == 1


def test_a_top_k_above_the_vocabulary_is_all_of_it():
    assert frequencies(torch.zeros(3), 300, temperature=1.0, top_k=200).min() > 0.2


# -- the nucleus -------------------------------------------------------------------------------------------------------


def written_out_nucleus(probabilities: list[float], top_p: float) -> set[int]:
    """Tokens by falling probability, until what they make up reaches top_p."""
    chosen: set[int] = set()
    total = 0.0
    for token in sorted(range(len(probabilities)), key=lambda token: -probabilities[token]):
        if total >= top_p:
            break
        chosen.add(token)
        total += probabilities[token]
    return chosen


@pytest.mark.parametrize("top_p", [1e-9, 0.3, 0.5, 0.75, 0.9, 0.999])
@pytest.mark.parametrize("top_k", [0, 7])
@pytest.mark.parametrize("temperature", [0.7, 1.6])
def test_only_the_nucleus_is_drawn_from_in_its_proportions(top_p: float, top_k: int, temperature: float):
    logits = torch.randn(12, generator=chance(3)) * 2
    among = logits.clone()
    if top_k:
        among[logits.argsort(descending=True)[top_k:]] = -torch.inf
    probabilities = (among / temperature).softmax(0)
    nucleus = written_out_nucleus(probabilities.tolist(), top_p)
    expected = torch.zeros(12)
    expected[list(nucleus)] = probabilities[list(nucleus)] / probabilities[list(nucleus)].sum()
    seen = frequencies(logits, 1500, temperature=temperature, top_k=top_k, top_p=top_p)
    assert {token for token in range(12) if seen[token] > 0} <= nucleus
    torch.testing.assert_close(seen, expected, rtol=0, atol=0.05)


def test_the_nucleus_is_the_smallest_that_reaches_its_share():
    falling = torch.tensor([0.5, 0.25, 0.125, 0.125])
    assert [nucleus_size(falling, p) for p in (0.1, 0.5, 0.51, 0.75, 0.76, 0.99)] == [1, 1, 2, 2, 3, 4]


def test_without_top_p_and_penalty_the_draws_are_those_of_plain_top_k():
    logits = torch.randn(50, generator=chance(1))
    seen = torch.ones(50, dtype=torch.bool)
    for seed in range(20):
        values, candidates = torch.topk(logits, 9)
        plain = candidates[torch.multinomial((values / 0.8).softmax(0), 1, generator=chance(seed))]
        ours = draw(logits, temperature=0.8, top_k=9, top_p=1.0, repetition_penalty=1.0, seen=seen,
                    generator=chance(seed))  # fmt: skip
        assert ours == int(plain)


# -- the penalty -------------------------------------------------------------------------------------------------------


def test_the_penalty_divides_what_is_positive_and_multiplies_what_is_negative():
    logits = torch.tensor([2.0, -0.5, 0.5, -0.25])
    seen = torch.tensor([True, True, False, False])
    by_hand = torch.tensor([2.0 / 4, -0.5 * 4, 0.5, -0.25])
    counted = frequencies(logits, 4000, temperature=1.0, top_k=0, repetition_penalty=4.0, seen=seen)
    torch.testing.assert_close(counted, by_hand.softmax(0), rtol=0, atol=0.03)


def test_the_penalty_comes_before_the_likeliest_is_taken_and_before_top_k():
    logits, seen = torch.tensor([2.0, 1.5, -3.0]), torch.tensor([True, False, False])
    assert draw(logits, temperature=0, top_k=0, repetition_penalty=2.0, seen=seen, generator=chance()) == 1
    assert draw(logits, temperature=1.0, top_k=1, repetition_penalty=2.0, seen=seen, generator=chance()) == 1
    assert torch.equal(logits, torch.tensor([2.0, 1.5, -3.0]))
