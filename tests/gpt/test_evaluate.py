"""Evaluation: every token once where all are asked for, honest errors, and an end when there must be one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from piloted_runs import Run, Tiny, at_step, of
from torch import nn

from gpt import commands
from gpt import events as ev
from gpt.data import Tokens
from gpt.device import Device
from gpt.evaluate import NOT_COUNTED, BrokenOff, Estimate, estimate_loss, whole_split
from gpt.model import GPT
from gpt.trainer import Trainer

CPU = Device(torch.device("cpu"), "cpu", "float32", False, "", None, None)


def tokens(count: int, seed: int = 0) -> Tokens:
    array = np.random.default_rng(seed).integers(0, 50, count).astype(np.uint16)
    return Tokens(array, vocab_size=50, name="made")


class ByPosition(nn.Module):
    """A loss that shows which targets are counted: each one's loss is its id. Notes shapes and what it counted."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[int] = []
        self.shapes: set[tuple[int, ...]] = set()

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[None, torch.Tensor]:
        assert not self.training and not torch.is_grad_enabled()
        assert bool((inputs >= 0).all()), "an input was overwritten with what is for targets"
        kept = targets[targets != NOT_COUNTED]
        self.counted += kept.tolist()
        self.shapes.add(tuple(inputs.shape))
        return None, kept.float().mean()


def whole(model: nn.Module, data: Tokens, **more: Any) -> Estimate:
    return estimate_loss(model, data, CPU, block_size=8, batch_size=3, batches=None, **more)


@pytest.mark.parametrize("count", [9, 10, 17, 25, 26, 49, 50, 73, 100, 101])
def test_on_a_whole_split_every_token_but_the_first_is_predicted_once(count: int) -> None:
    """Tokens numbered one by one, so that each is known by its id."""
    data = Tokens(np.arange(count, dtype=np.uint16), vocab_size=count, name="numbered")
    model = ByPosition()
    estimate = whole(model, data)
    assert sorted(model.counted) == list(range(1, count))
    assert model.shapes == {(3, 8)}, "another shape would be compiled anew"
    assert estimate.tokens == count - 1
    assert estimate.loss == pytest.approx(np.arange(1, count).mean(), rel=1e-6)


def test_the_last_incomplete_window_has_the_context_before_it() -> None:
    starts, skipped = whole_split(21, 8, 2)
    assert starts.tolist() == [0, 8, 12, 0] and skipped.tolist() == [0, 0, 4, 8]


def test_a_whole_splits_loss_is_the_mean_over_its_tokens(tiny: Tiny) -> None:
    torch.manual_seed(0)
    model, data = GPT(tiny().model, 50), tokens(70)
    estimate = estimate_loss(model, data, CPU, block_size=16, batch_size=2, batches=None)
    ids = torch.from_numpy(data.first(70).astype(np.int64))
    total = 0.0
    with torch.no_grad():
        model.eval()
        for start, skip in [(0, 0), (16, 0), (32, 0), (48, 0), (53, 11)]:
            logits = model(ids[None, start : start + 16])[0][0, skip:]
            targets = ids[start + skip + 1 : start + 17]
            total += float(nn.functional.cross_entropy(logits, targets, reduction="sum"))
    assert estimate.tokens == 69
    assert estimate.loss == pytest.approx(total / 69, abs=1e-6)


def test_an_evaluation_repeats_its_bits_and_leaves_mode_and_generator_alone(tiny: Tiny) -> None:
    model, data = GPT(tiny().model, 50).train(), tokens(200)
    state = torch.get_rng_state()
    for batches in (None, 3):
        first, second = (
            estimate_loss(model, data, CPU, block_size=16, batch_size=2, batches=batches) for _ in range(2)
        )
        assert first == second
    assert model.training and torch.equal(torch.get_rng_state(), state)


def test_the_weights_can_be_trained_after_an_evaluation(tiny: Tiny) -> None:
    model, data = GPT(tiny().model, 50).train(), tokens(200)
    with torch.autocast("cpu", torch.bfloat16):
        whole(model, data)
        model(torch.ones(1, 8, dtype=torch.int64), torch.ones(1, 8, dtype=torch.int64))[1].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


# -- the standard error ------------------------------------------------------------------------------------------------


class Given(nn.Module):
    """Answers with given mean losses, batch by batch."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.losses = list(losses)

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[None, torch.Tensor]:
        return None, torch.tensor(self.losses.pop(0))


def test_batches_of_one_size_have_the_familiar_standard_error() -> None:
    losses = [1.0, 2.5, 2.0, 4.0]
    estimate = estimate_loss(Given(losses), tokens(8 * 12 + 1), CPU, block_size=8, batch_size=3, batches=4)
    assert estimate.loss == pytest.approx(np.mean(losses))
    assert estimate.stderr == pytest.approx(np.std(losses, ddof=1) / 2)


def test_a_small_last_batch_counts_for_as_little_as_it_holds() -> None:
    """24 tokens, 24 and 2: by hand, the mean is over tokens and so is each batch's share of the error."""
    estimate = whole(Given([1.0, 2.0, 9.0]), tokens(51))
    mean = (24 * 1.0 + 24 * 2.0 + 2 * 9.0) / 50
    assert estimate.loss == pytest.approx(mean)
    squares = (24 * (1 - mean)) ** 2 + (24 * (2 - mean)) ** 2 + (2 * (9 - mean)) ** 2
    assert estimate.stderr == pytest.approx(math.sqrt(3 / 2 * squares) / 50)


def test_the_standard_error_is_how_far_estimates_scatter() -> None:
    """Many made evaluations of batches of unequal size: the error that each reports is the one that they have."""
    rng = np.random.default_rng(0)
    found, said = [], []
    for _ in range(200):
        losses = [float(rng.normal(3, 0.5)) for _ in range(20)] + [float(rng.normal(3, 1.0))]
        estimate = whole(Given(losses), tokens(20 * 24 + 6 + 1))
        found.append(estimate.loss)
        said.append(estimate.stderr)
    assert np.mean(said) == pytest.approx(np.std(found), rel=0.15)


def test_the_standard_error_is_the_same_however_many_windows_are_read_at_a_time() -> None:
    """1,024 windows of which neighbours are alike, read singly and by sixteens."""
    rng = np.random.default_rng(0)
    losses = [3.0]
    for _ in range(1023):
        losses.append(3.0 + 0.9 * (losses[-1] - 3.0) + float(rng.normal(0, 0.1)))
    text = tokens(1024 * 8 + 1)
    singly = estimate_loss(Given(losses), text, CPU, block_size=8, batch_size=1, batches=None)
    means = [float(np.mean(losses[at : at + 16])) for at in range(0, 1024, 16)]
    together = estimate_loss(Given(means), text, CPU, block_size=8, batch_size=16, batches=None)
    assert singly.loss == pytest.approx(together.loss)
    assert singly.stderr == pytest.approx(together.stderr)
    assert singly.stderr and singly.stderr > 2 * np.std(losses, ddof=1) / 32, "not as if they were independent"


def test_a_single_batch_has_no_standard_error() -> None:
    assert whole(Given([1.0]), tokens(20)).stderr is None


# -- in a run ----------------------------------------------------------------------------------------------------------


def test_a_whole_evaluation_on_request_stands_aside(tiny: Tiny, run: Run) -> None:
    events = run(tiny(), pilot=at_step(5, commands.Evaluate(whole=True)))
    (started,), rest = of(events, ev.RunStarted), of(events, ev.EvalDone)
    asked = next(e for e in rest if e.step == 5)
    assert asked.whole and asked.aside and not asked.best
    assert asked.val_tokens == started.val_tokens - 1
    assert asked.bpb == pytest.approx(asked.val_loss / math.log(2))  # by bytes
    others = [e for e in rest if e.step != 5]
    assert [e.step for e in others] == [0, 4, 8, 12] and not any(e.whole or e.aside for e in others)
    assert {e.val_tokens for e in others} == {2 * 4 * 16}


def test_a_whole_evaluation_changes_neither_the_newest_nor_the_best_loss(tiny: Tiny, run: Run) -> None:
    """Asked for at step 5, after which the run is stopped: what it ends with is of step 4."""

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        at_step(5, commands.Evaluate(whole=True))(trainer, event)
        if isinstance(event, ev.EvalDone) and event.whole:
            trainer.send(commands.Stop())

    events = run(tiny(), pilot=pilot)
    usual, finished = of(events, ev.EvalDone)[1], of(events, ev.Finished)[0]
    assert (usual.step, finished.step) == (4, 5)
    assert (finished.val_loss, finished.best_val_loss, finished.best_step) == (usual.val_loss, usual.val_loss, 4)


def test_eval_steps_0_means_all_and_then_all_is_what_is_compared(tiny: Tiny, run: Run) -> None:
    evals = of(run(tiny(train__eval_steps=0), pilot=at_step(5, commands.Evaluate(whole=True))), ev.EvalDone)
    assert [e.step for e in evals] == [0, 4, 5, 8, 12]
    assert all(e.whole and not e.aside for e in evals)
    assert all(e.best for e in evals), "the loss of this run falls all the time"


def test_bits_per_byte_are_counted_over_the_tokens_that_were_predicted(tiny: Tiny, run: Run, text_file: Any) -> None:
    text_file.write_text("".join(f"{a} + {b} → {a + b}é\n" for a in range(20) for b in range(20)), encoding="utf-8")
    profile = tiny(data__tokenizer="char", train__eval_steps=0, train__max_steps=1)
    done = of(run(profile), ev.EvalDone)[-1]
    text = text_file.read_text(encoding="utf-8")
    predicted = text[len(text) - done.val_tokens :]
    bits = done.val_loss * done.val_tokens / math.log(2)
    assert done.bpb == pytest.approx(bits / len(predicted.encode()))


@pytest.mark.parametrize("whole", [False, True])
def test_a_stop_breaks_an_evaluation_off_between_two_batches(
    tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """Nothing of it is told or kept, and the stop saves what it would have saved."""
    from gpt import evaluate

    batches = 0
    to_device = evaluate.to_device

    def counting(*arguments: Any) -> Any:
        nonlocal batches
        if trainers and trainers[0].step == 5:
            batches += 1
            if batches == 2:
                trainers[0].send(commands.Stop())
        return to_device(*arguments)

    trainers: list[Trainer] = []

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if not trainers:
            trainers.append(trainer)
        at_step(5, commands.Evaluate(whole=whole))(trainer, event)

    monkeypatch.setattr(evaluate, "to_device", counting)
    events = run(tiny(train__eval_interval=4, train__eval_steps=8), pilot=pilot)
    assert batches == 2
    assert [e.step for e in of(events, ev.EvalDone)] == [0, 4]
    assert [e.reason for e in of(events, ev.CheckpointSaved)][-1] == "stop"
    finished = of(events, ev.Finished)[0]
    assert (finished.step, finished.reason) == (5, "stopped")
    assert "evaluation at step 5 broken off" in [e.text for e in of(events, ev.LogLine)]


def test_an_estimate_that_was_broken_off_is_none_and_the_mode_is_back(tiny: Tiny) -> None:
    model = GPT(tiny().model, 50).train()
    with pytest.raises(BrokenOff):
        whole(model, tokens(100), go_on=lambda: False)
    assert model.training
