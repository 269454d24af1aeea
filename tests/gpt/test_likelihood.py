"""What a model finds of a text, told once it is there: the numbers of a plain pass, in the windows it was drawn in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from gpt.config import ModelConfig
from gpt.generate import Continuation
from gpt.likelihood import MOST_TOLD, likelihoods, scored, windows
from gpt.model import GPT
from gpt.tokenizer import ByteTokenizer
from tests.gpt.untrained import opinionated

BLOCK, VOCAB = 8, 30


@pytest.fixture(scope="module")
def model() -> GPT:
    return opinionated(VOCAB, BLOCK)


@torch.no_grad()
def plain(model: GPT, window: Sequence[int], vocab: int = VOCAB) -> torch.Tensor:
    """Log-probabilities (V,) of the token after a window, by the uncached model."""
    was_training = model.training
    model.eval()
    logits = model(torch.tensor([list(window)]))[0][0, -1, :vocab]
    model.train(was_training)
    return torch.log_softmax(logits, dim=0)


def test_each_token_has_the_loss_of_a_plain_pass_over_what_is_before_it(model: GPT) -> None:
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    found = likelihoods(model.train(), ids, 4, 3, VOCAB)
    assert model.training
    for at, (loss, others) in enumerate(zip(found.losses, found.others, strict=True), start=1):
        logs = plain(model, ids[:at])
        assert loss == pytest.approx(-float(logs[ids[at]]), abs=1e-4)
        best = logs.topk(3)
        assert [token for token, _ in others] == best.indices.tolist()
        assert [chance for _, chance in others] == pytest.approx(best.values.exp().tolist(), abs=1e-5)
    assert len(found.losses) == 7


@pytest.mark.parametrize("prompt", [0, 1, 3, 8, 20])
def test_a_text_longer_than_the_context_is_found_as_likely_as_when_it_was_drawn(model: GPT, prompt: int) -> None:
    """Compared with the logits that its tokens were really drawn from."""
    given = [(7 * n) % VOCAB for n in range(prompt)]
    row = Continuation(model, [given], [torch.Generator().manual_seed(1)], temperature=1.0, top_k=0)
    drawn, losses = [], []
    draw = row._draw

    def watched(logits: torch.Tensor, **how: object) -> int:
        token = draw(logits, **how)
        losses.append(-float(torch.log_softmax(logits.float(), dim=0)[token]))
        return token

    row._draw = watched  # pyright: ignore[reportAttributeAccessIssue]
    drawn = [row.step()[0][1] for _ in range(30)]
    found = likelihoods(model, given + drawn, prompt, 1, VOCAB)
    assert len(found.losses) == prompt + 29
    assert found.losses[max(0, prompt - 1) :] == pytest.approx(losses, abs=1e-4)


@pytest.mark.parametrize(("length", "prompt", "capacity"), [(2, 0, 1), (40, 3, 8), (9, 9, 8), (41, 30, 8), (7, 2, 1)])
def test_windows_fit_the_context_and_predict_each_token_once(length: int, prompt: int, capacity: int) -> None:
    plan = list(windows(length, prompt, capacity))
    ends = [first for _, first in plan[1:]] + [length]
    for (start, first), end in zip(plan, ends, strict=True):
        assert start < first < end and end - 1 - start <= capacity
    assert plan[0][1] == max(0, prompt - capacity) + 1


def test_symbols_that_are_never_drawn_have_no_share(model: GPT) -> None:
    ids = [1, 2, 3]
    found = likelihoods(model, ids, 1, VOCAB, 10)
    assert found.losses[0] == pytest.approx(-float(plain(model, [1], 10)[2]), abs=1e-4)
    assert sum(chance for _, chance in found.others[0]) == pytest.approx(1, abs=1e-4)


@pytest.fixture(scope="module")
def speaker() -> GPT:
    torch.manual_seed(0)
    return GPT(ModelConfig(n_layer=1, n_head=2, n_embd=16, block_size=16), 256)


def test_the_event_tells_prompt_and_text_apart_and_its_texts_join_to_the_whole(speaker: GPT) -> None:
    ids = list("naïve ✓".encode())
    event = scored(5, 70, speaker, ByteTokenizer(), ids, 4, 2)
    assert event and "".join(token.text for token in event.tokens) == "naïve ✓"
    assert (event.sample, event.step, event.prompt_tokens) == (5, 70, 4)
    losses = [-math.log(token.probability) for token in event.tokens if token.probability]
    assert event.prompt_loss == pytest.approx(sum(losses[:3]) / 3, rel=1e-2)
    assert event.loss == pytest.approx(sum(losses[3:]) / len(losses[3:]), rel=1e-2)
    assert event.tokens[0].probability is None and all(len(token.others) == 2 for token in event.tokens[1:])


def test_a_prompt_of_one_token_has_no_loss_and_a_single_token_no_event(speaker: GPT) -> None:
    event = scored(1, 0, speaker, ByteTokenizer(), [65, 66, 67], 1, 1)
    assert event and event.prompt_loss is None and event.loss is not None
    assert scored(1, 0, speaker, ByteTokenizer(), [65], 0, 1) is None


def test_of_a_long_text_only_the_beginning_is_told_but_all_is_in_the_mean(speaker: GPT) -> None:
    ids = [65 + n % 20 for n in range(MOST_TOLD + 100)]
    event = scored(1, 0, speaker, ByteTokenizer(), ids, 1, 1)
    assert event and len(event.tokens) == MOST_TOLD
    found = likelihoods(speaker, ids, 1, 1, 256)
    assert event.loss == pytest.approx(sum(found.losses) / len(found.losses))


def test_weights_that_are_not_finite_are_an_error_and_no_number(model: GPT) -> None:
    broken = GPT(model.config, VOCAB)
    with torch.no_grad():
        broken.transformer.wte.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="diverged"):
        likelihoods(broken, [1, 2], 1, 1, VOCAB)
