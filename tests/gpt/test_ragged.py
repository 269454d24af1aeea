"""Sequences of unequal length in one cache: each is read as if it were alone."""

from __future__ import annotations

import pytest
import torch

from gpt.model import GPT, KVCache
from gpt.ragged import RaggedCache
from tests.gpt.untrained import opinionated

VOCAB = 40
LENGTHS = [3, 9, 1, 6]


@pytest.fixture(scope="module")
def model() -> GPT:
    return opinionated(VOCAB, block_size=16, scale=4, dropout=0.0).eval()


@pytest.fixture(scope="module")
def texts() -> torch.Tensor:
    return torch.randint(VOCAB, (4, 16), generator=torch.Generator().manual_seed(1))


def filled(model: GPT, texts: torch.Tensor) -> RaggedCache:
    """Each row has read the first of its LENGTHS tokens; what lies behind must not matter, and is made to show."""
    cache = RaggedCache(model, 4)
    cache.keys.fill_(1e4)
    cache.values.fill_(1e4)
    for row, length in enumerate(LENGTHS):
        logits = cache.read_row(row, model, texts[row, :length].tolist())
        torch.testing.assert_close(logits, model(texts[row : row + 1, :length])[0][0, -1], rtol=0, atol=1e-5)
    return cache


@pytest.mark.parametrize("portions", [[1] * 7, [2, 1, 3, 1]])
def test_cached_logits_of_unequal_rows_are_the_uncached_ones(model: GPT, texts: torch.Tensor, portions: list[int]):
    """Until the longest is full: across all of block_size."""
    cache, expected = filled(model, texts), model(texts)[0]
    ends = list(LENGTHS)
    for portion in portions:
        ids = torch.stack([texts[row, end : end + portion] for row, end in enumerate(ends)])
        logits = model.forward_cached(ids, cache)
        ends = [end + portion for end in ends]
        assert cache.lengths == ends and cache.length == max(ends)
        for row, end in enumerate(ends):
            torch.testing.assert_close(logits[row], expected[row, end - 1], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="1 tokens after 16 exceed the cache's 16"):
        model.forward_cached(texts[:, :1], cache)


def test_memory_that_was_never_written_does_not_matter(model: GPT, texts: torch.Tensor):
    torch.use_deterministic_algorithms(True)  # fills memory that is only reserved with what is not a number
    try:
        cache = RaggedCache(model, 2)
        cache.read_row(0, model, [1, 2, 3])
        cache.read_row(1, model, [1])
        assert torch.isfinite(model.forward_cached(texts[:2, :1], cache)).all()
    finally:
        torch.use_deterministic_algorithms(False)


def test_rows_of_one_length_are_the_plain_cache_bit_for_bit(model: GPT, texts: torch.Tensor):
    plain, ragged = KVCache(model, 4), RaggedCache(model, 4)
    for portion in (texts[:, :5], texts[:, 5:6], texts[:, 6:9]):
        assert torch.equal(model.forward_cached(portion, plain), model.forward_cached(portion, ragged))


def test_a_row_read_anew_begins_at_position_0(model: GPT, texts: torch.Tensor):
    cache = filled(model, texts)
    logits = cache.read_row(1, model, texts[2, :4].tolist(), anew=True)
    torch.testing.assert_close(logits, model(texts[2:3, :4])[0][0, -1], rtol=0, atol=1e-5)
    assert cache.lengths == [3, 4, 1, 6]


def test_rows_that_stay_are_what_they_were(model: GPT, texts: torch.Tensor):
    cache, expected = filled(model, texts), model(texts)[0]
    cache.keep([1, 3])
    assert cache.lengths == [9, 6]
    logits = model.forward_cached(torch.stack([texts[1, 9:10], texts[3, 6:7]]), cache)
    torch.testing.assert_close(logits, torch.stack([expected[1, 9], expected[3, 6]]), rtol=0, atol=1e-5)
    cache.keep([1])
    logits = model.forward_cached(texts[3:4, 7:8], cache)
    torch.testing.assert_close(logits[0], expected[3, 7], rtol=0, atol=1e-5)


def test_a_copied_row_goes_on_as_the_other_does(model: GPT, texts: torch.Tensor):
    cache = filled(model, texts)
    cache.copy_row(1, 2)
    assert cache.lengths == [3, 9, 9, 6]
    logits = model.forward_cached(texts[[0, 1, 1, 3], 9:10], cache)
    torch.testing.assert_close(logits[2], logits[1], rtol=0, atol=1e-5)


def test_under_autocast_unequal_rows_are_kept_in_the_lower_precision(model: GPT, texts: torch.Tensor):
    with torch.autocast("cpu", torch.bfloat16):
        cache = RaggedCache(model, 2)
        cache.read_row(0, model, texts[0, :3].tolist())
        cache.read_row(1, model, texts[1, :5].tolist())
        logits = model.forward_cached(texts[:2, 5:6], cache)
    assert cache.keys.dtype == torch.bfloat16 and torch.isfinite(logits).all()
