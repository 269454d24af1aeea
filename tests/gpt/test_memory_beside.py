"""Memory that runs out in an evaluation or a sample, made to: both do with less, or do without; training never ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from piloted_runs import Run, Tiny, at_step, files, of

from gpt import commands
from gpt import events as ev
from gpt.model import GPT
from gpt.trainer import Trainer


def warnings(events: list[ev.Event]) -> list[str]:
    return [line.text for line in of(events, ev.LogLine) if line.level == "warning"]


def evaluations_hold(most: int) -> Callable[[Trainer, ev.Event], None]:
    """Memory for that many sequences of an evaluation."""

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.RunStarted):

            def look(model: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
                if not model.training and len(args[0]) > most:
                    raise torch.OutOfMemoryError("2 GiB asked for, 1 GiB free\nand much more")

            trainer.snapshot.model.register_forward_pre_hook(look)

    return pilot


@pytest.mark.parametrize("eval_steps", [2, 0])
def test_an_evaluation_that_does_not_fit_is_taken_in_smaller_portions(
    tiny: Tiny, run: Run, tmp_path: Path, eval_steps: int
) -> None:
    """On the same windows, so the same losses; and the next evaluations know what fits."""
    profile = tiny(train__eval_steps=eval_steps)
    roomy = run(profile, "roomy")
    tight = run(profile, "tight", pilot=evaluations_hold(1))
    assert [line.partition(", ")[2].partition(" (")[0] for line in warnings(tight)] == [
        "which begins again with 2 at a time", "which begins again with 1 at a time"
    ]  # fmt: skip
    assert all("2 GiB asked for, 1 GiB free)" in line for line in warnings(tight))
    for one, other in zip(of(roomy, ev.EvalDone), of(tight, ev.EvalDone), strict=True):
        assert (other.step, other.val_tokens) == (one.step, one.val_tokens)
        assert (other.train_loss, other.val_loss) == pytest.approx((one.train_loss, one.val_loss), abs=1e-5)
    assert files(tmp_path / "tight") == files(tmp_path / "roomy")


def test_an_evaluation_that_cannot_fit_is_left_out_and_training_goes_on(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    run(tiny(), "roomy")
    events = run(tiny(), "tight", pilot=evaluations_hold(0))
    assert not of(events, ev.EvalDone)
    left_out = [line for line in warnings(events) if "left out" in line]
    assert [line.split()[3] for line in left_out] == ["0", "4", "8", "12", "12"]  # the last is tried once more
    finished = of(events, ev.Finished)[0]
    assert (finished.step, finished.val_loss, finished.reason) == (12, None, "max_steps")
    assert files(tmp_path / "tight") == files(tmp_path / "roomy")


def drawn(tiny: Tiny, run: Run, name: str) -> list[ev.Event]:
    """Three samples of eight tokens after the third step."""
    return run(tiny(train__max_steps=4, train__eval_interval=0), name, pilot=at_step(3, commands.Sample(count=3)))


@pytest.mark.parametrize("after", [0, 3])
def test_samples_that_do_not_fit_side_by_side_go_on_one_after_another(
    tiny: Tiny, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """From where they stood, with the same chance: their texts are those that they would have had."""
    roomy = drawn(tiny, run, "roomy")
    rows: list[int] = []
    read = GPT.forward_cached

    def full(model: GPT, ids: torch.Tensor, cache: Any) -> torch.Tensor:
        rows.append(len(ids))
        if len(ids) == 3 and rows.count(3) > after:
            raise torch.OutOfMemoryError("no room\nfor the cache")
        return read(model, ids, cache)

    monkeypatch.setattr(GPT, "forward_cached", full)
    tight = drawn(tiny, run, "tight")
    assert warnings(tight) == ["sample 1 to 3: out of memory side by side, so one after another (no room)"]
    assert [(e.sample, e.text, e.tokens) for e in of(tight, ev.SampleDone)] == [
        (e.sample, e.text, e.tokens) for e in of(roomy, ev.SampleDone)
    ]
    assert [e.tokens for e in of(tight, ev.SampleDone)] == [8, 8, 8]
    assert files(tmp_path / "tight") == files(tmp_path / "roomy")


def test_a_sample_that_cannot_fit_breaks_off_and_training_goes_on(
    tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(GPT, "forward_cached", full)
    events = drawn(tiny, run, "run")
    assert warnings(events)[1:] == [f"sample {number} broke off: no room" for number in (1, 2, 3)]
    assert [e.tokens for e in of(events, ev.SampleDone)] == [0, 0, 0]
    assert of(events, ev.Finished)[0].step == 4
