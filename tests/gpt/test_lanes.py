"""A micro-batch split over threads: the same gradient, the same bits every time, and no thread left behind."""

from __future__ import annotations

import gc
import threading

import pytest
import torch

from gpt.config import ModelConfig
from gpt.lanes import Lanes, by_autograd, count_lanes, replica
from gpt.model import GPT

CONFIG = ModelConfig(n_layer=2, n_head=2, n_embd=16, block_size=8, bias=True)


def make(count: int) -> tuple[GPT, Lanes]:
    torch.manual_seed(3)
    model = GPT(CONFIG, 11)
    replicas = [replica(model) for _ in range(count - 1)]
    passes = [by_autograd(lambda i, t, m=m: m(i, t)[1]) for m in (model, *replicas)]
    return model, Lanes(model, passes, replicas, threads=1)


def batch(rows: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    windows = torch.randint(0, 11, (rows, 9), generator=torch.Generator().manual_seed(5))
    return windows[:, :-1], windows[:, 1:]


@pytest.mark.parametrize("count", [2, 3])
def test_the_gradient_is_that_of_the_whole_batch(count: int) -> None:
    """Over two micro-steps, each with half of the step's loss."""
    whole, _ = make(1)
    model, lanes = make(count)
    inputs, targets = batch()
    for _ in range(2):
        expected = whole(inputs, targets)[1] / 2
        expected.backward()
        loss = lanes.add_gradient(inputs, targets, 1 / 2)
        assert float(loss) == pytest.approx(float(expected.detach()), abs=1e-6)
    lanes.gather()
    for (name, ours), theirs in zip(model.named_parameters(), whole.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-7), name


def test_the_same_lanes_give_the_same_bits() -> None:
    def gradients() -> list[torch.Tensor]:
        model, lanes = make(2)
        lanes.add_gradient(*batch(), 1.0)
        lanes.gather()
        return [p.grad for p in model.parameters()]

    assert all(torch.equal(one, other) for one, other in zip(gradients(), gradients(), strict=True))


def test_every_lane_sees_weights_that_were_changed_in_place() -> None:
    model, lanes = make(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    loss = lanes.add_gradient(*batch(), 1.0)
    assert float(loss) == pytest.approx(float(torch.tensor(11.0).log()), abs=1e-6)  # all logits are zero


def test_what_was_not_gathered_can_be_forgotten() -> None:
    model, lanes = make(2)
    lanes.add_gradient(*batch(), 1.0)
    lanes.clear()
    model.zero_grad(set_to_none=True)
    lanes.add_gradient(*batch(), 1.0)
    lanes.gather()
    fresh, others = make(2)
    others.add_gradient(*batch(), 1.0)
    others.gather()
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(model.parameters(), fresh.parameters(), strict=True))


def test_an_error_in_any_lane_is_raised_and_the_lanes_go_on() -> None:
    model, lanes = make(2)
    inputs, targets = batch()
    bad = inputs.clone()
    bad[-1, 0] = 99  # a row of the second lane
    with pytest.raises(IndexError):
        lanes.add_gradient(bad, targets, 1.0)
    lanes.clear()
    model.zero_grad(set_to_none=True)
    assert float(lanes.add_gradient(inputs, targets, 1.0)) > 0


def test_threads_end_with_their_lanes_and_the_callers_thread_count_stays() -> None:
    before, threads = set(threading.enumerate()), torch.get_num_threads()
    _, lanes = make(3)
    ours = set(threading.enumerate()) - before
    assert len(ours) == 2
    lanes.add_gradient(*batch(), 1.0)
    assert torch.get_num_threads() == threads
    del lanes, _
    gc.collect()
    for thread in ours:
        thread.join(timeout=10)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("threads", "rows", "dropout", "parameters", "lanes"),
    [
        (2, 12, 0.0, 800_000, 2),
        (1, 12, 0.0, 800_000, 1),
        (2, 1, 0.0, 800_000, 1),
        (2, 5, 0.0, 800_000, 1),  # 5 rows do not part evenly
        (4, 6, 0.0, 800_000, 2),  # two lanes of two threads, rather than three of one
        (8, 12, 0.0, 800_000, 4),
        (2, 12, 0.1, 800_000, 1),  # the order of random numbers would not be kept
        (2, 12, 0.0, 124_000_000, 1),
    ],
)
def test_lanes_are_counted_by_threads_rows_dropout_and_size(
    threads: int, rows: int, dropout: float, parameters: int, lanes: int
) -> None:
    assert count_lanes(threads, rows, dropout=dropout, parameters=parameters) == lanes
