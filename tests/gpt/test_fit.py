"""The micro-batch within the memory there is: found at the start, lowered on the way, remembered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from piloted_runs import Pilot, Run, Tiny, files, of, state_of

import gpt.stepper
from gpt import commands, fit
from gpt import events as ev
from gpt.fit import largest_that_fits
from gpt.trainer import Trainer


def losses(events: list[ev.Event]) -> list[float]:
    return [step.loss for step in of(events, ev.StepDone)]


def portion(document: dict[str, Any]) -> tuple[int, int]:
    """Micro-batch and accumulation that a state.json tells of."""
    train = document["profile"]["train"]
    return train["micro_batch_size"], train["grad_accum_steps"]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Pilot]:
    """Makes memory run out at a place, from a step on, while a micro-step has more than `above` sequences."""

    def make(place: str, *, step: int = 5, above: int = 4, scaler: bool = False) -> Pilot:
        def prepare(trainer: Trainer, event: ev.Event) -> None:
            if not isinstance(event, ev.RunStarted):
                return
            stepper = trainer.snapshot.stepper
            if scaler:
                stepper.scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=3)
            # Where it comes after the work: a forward pass has drawn dropout then, a backward pass has left gradients.
            owner, name, after = {
                "forward": (stepper, "share_of_loss", True), "backward": (stepper, "backward", True),
                "clipping": (gpt.stepper, "clip_grad_norm", True), "update": (stepper.optimizer, "step", False),
                "half an update": (stepper.optimizer, "step", True),
                "the second optimizer": (getattr(stepper.optimizer, "_adamw", None), "step", False),
            }[place]  # fmt: skip
            whole = getattr(owner, name)

            def failing(*args: Any, **keywords: Any) -> Any:
                fails = trainer.step + 1 >= step and stepper.micro_batch_size > above
                result = whole(*args, **keywords) if after or not fails else None
                if fails and place == "update" and not stepper.optimizer.state:  # it was making its state
                    stepper.optimizer.state[stepper.parameters[0]]["step"] = torch.zeros(())
                if fails:
                    raise torch.OutOfMemoryError("2 GiB asked for, 1 GiB free")
                return result

            monkeypatch.setattr(owner, name, failing)

        return prepare

    return make


@pytest.mark.parametrize("place", ["forward", "backward", "clipping", "update"])
def test_a_step_without_memory_is_taken_again_in_halves(
    tiny: Tiny, run: Run, tmp_path: Path, short: Callable[..., Pilot], place: str
) -> None:
    small = run(tiny(model__dropout=0.0, train__micro_batch_size=4, train__grad_accum_steps=2), "small")
    events = run(tiny(model__dropout=0.0, train__micro_batch_size=8), "short", pilot=short(place))
    assert of(events, ev.Finished)
    assert losses(events) == pytest.approx(losses(small), abs=1e-5)
    assert [step.tokens for step in of(events, ev.StepDone)] == [8 * 16 * step for step in range(1, 13)]
    change = of(events, ev.ConfigChanged)[0]
    assert (change.step, change.key, change.old, change.new) == (4, "train.micro_batch_size", "8", "4")
    said = [line.text for line in of(events, ev.LogLine) if line.level == "warning"]
    assert len(said) == 1
    assert "out of memory at step 5" in said[0] and "micro-batch 4 × 2" in said[0] and "2 GiB asked for" in said[0]
    assert portion(state_of(tmp_path / "short", 4)) == (8, None)
    assert portion(state_of(tmp_path / "short", 8)) == (4, 2)


@pytest.mark.parametrize("place", ["forward", "backward", "update"])
def test_a_first_step_taken_again_has_the_bits_of_one_that_fitted(
    tiny: Tiny, run: Run, tmp_path: Path, short: Callable[..., Pilot], place: str
) -> None:
    """Dropout draws the same masks again, and the optimizer's state is made anew."""
    run(tiny(train__micro_batch_size=2, train__grad_accum_steps=4), "small")
    run(tiny(train__micro_batch_size=8), "short", pilot=short(place, step=1, above=2))
    assert files(tmp_path / "short", 12) == files(tmp_path / "small", 12)
    assert portion(state_of(tmp_path / "short", 12)) == (2, 4)


def test_odd_portions_fall_to_the_next_that_divides_the_step(
    tiny: Tiny, run: Run, tmp_path: Path, short: Callable[..., Pilot]
) -> None:
    profile = tiny(train__micro_batch_size=9, train__tokens_per_step=18 * 16)
    events = run(profile, "short", pilot=short("forward", above=3))
    assert [change.new for change in of(events, ev.ConfigChanged)] == ["3"]
    train = state_of(tmp_path / "short", 12)["profile"]["train"]
    assert (train["micro_batch_size"], train["grad_accum_steps"], train["tokens_per_step"]) == (3, None, 18 * 16)


def test_the_scaler_keeps_its_scale_and_can_unscale_again(tiny: Tiny, run: Run, short: Callable[..., Pilot]) -> None:
    """The norm is taken after the gradients are unscaled, which a scaler does once a step."""
    scales: list[dict[str, Any]] = []

    def watch(pilot: Pilot) -> Pilot:
        def both(trainer: Trainer, event: ev.Event) -> None:
            pilot(trainer, event)
            if isinstance(event, ev.StepDone):
                assert trainer.snapshot.stepper.scaler
                scales.append(trainer.snapshot.stepper.scaler.state_dict())

        return both

    parts = {"train__grad_accum_steps": 2, "train__micro_batch_size": 4, "model__dropout": 0.0}
    small = run(tiny(**parts), "small", pilot=watch(short("clipping", above=99, scaler=True)))
    events = run(
        tiny(model__dropout=0.0, train__micro_batch_size=8), "short", pilot=watch(short("clipping", scaler=True))
    )
    assert losses(events) == pytest.approx(losses(small), abs=1e-5)
    assert scales[12:] == scales[:12] and scales[0]["scale"] < scales[-1]["scale"]


@pytest.mark.parametrize(
    ("name", "place"), [("adamw", "half an update"), ("muon", "half an update"), ("muon", "the second optimizer")]
)
def test_weights_that_may_have_changed_are_neither_trained_on_nor_saved(
    tiny: Tiny, run: Run, tmp_path: Path, short: Callable[..., Pilot], name: str, place: str
) -> None:
    events = run(tiny(train__micro_batch_size=8, optim__name=name), pilot=short(place, step=6))
    failure = of(events, ev.Failed)[0]
    assert failure.user_error and failure.step == 5
    assert "inside the update of step 6" in failure.error and "resume" in failure.error
    assert (tmp_path / "run/checkpoints/latest").resolve().name == "step-00000004"


def test_a_single_sequence_that_does_not_fit_ends_the_run_with_advice(
    tiny: Tiny, run: Run, tmp_path: Path, short: Callable[..., Pilot]
) -> None:
    events = run(tiny(), pilot=short("backward", step=6, above=0))
    failure = of(events, ev.Failed)[0]
    assert failure.user_error and "one sequence at a time" in failure.error and "train.loss_chunk" in failure.error
    assert [change.new for change in of(events, ev.ConfigChanged)] == ["2", "1"]
    assert (tmp_path / "run/checkpoints/latest").resolve().name == "step-00000005"  # its weights are whole


@pytest.mark.parametrize("asked", [8, 2])
def test_a_resumed_run_goes_on_with_what_it_came_to_unless_asked_for_a_third(
    tiny: Tiny, run: Run, tmp_path: Path, short: Callable[..., Pilot], asked: int
) -> None:
    profile = tiny(train__micro_batch_size=8)
    run(profile, "whole", pilot=short("forward"))

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        fails(trainer, event)
        if isinstance(event, ev.StepDone) and event.step == 6:
            trainer.send(commands.Stop(save=True))

    fails = short("forward")
    run(profile, "parted", pilot=pilot)
    again = tiny(train__micro_batch_size=asked, train__grad_accum_steps=8 // asked)
    resumed = run(again, "parted", resume="latest")
    started = of(resumed, ev.RunStarted)[0]
    expected = (4, 2) if asked == 8 else (2, 4)
    assert (started.micro_batch_size, started.grad_accum_steps, started.tokens_per_step) == (*expected, 8 * 16)
    assert of(resumed, ev.Resumed)[0].exact == (asked == 8)
    if asked == 8:
        assert files(tmp_path / "parted", 12) == files(tmp_path / "whole", 12)


def test_smaller_portions_are_evaluated_on_the_same_windows(
    tiny: Tiny, run: Run, short: Callable[..., Pilot], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpt import evaluate

    windows: list[tuple[int, int]] = []

    def noting(*args: Any, **keywords: Any) -> Any:
        windows.append((keywords["batch_size"], keywords["count"]))
        return estimate(*args, **keywords)

    estimate = evaluate.estimate_loss
    monkeypatch.setattr(evaluate, "estimate_loss", noting)
    run(tiny(train__micro_batch_size=8), pilot=short("forward"))
    assert windows[0] == (8, 16) and windows[-1] == (4, 16)
    run(tiny(train__micro_batch_size=4, train__grad_accum_steps=2, train__max_steps=13), resume="latest")
    assert len(windows) == 10 and windows[-1] == (4, 16)


def test_auto_finds_the_most_that_fit_and_keeps_the_step(
    tiny: Tiny, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve sequences a step; memory for five of them, so four at a time."""
    from gpt.memory import estimate

    profile = tiny(train__micro_batch_size="auto", train__tokens_per_step=12 * 16)
    five = estimate(profile, 256, device_type="cpu", micro_batch_size=5).peak
    monkeypatch.setattr(fit, "free_memory", lambda device: int(five / fit.MARGIN))
    events = run(profile)
    started = of(events, ev.RunStarted)[0]
    assert (started.micro_batch_size, started.grad_accum_steps, started.tokens_per_step) == (4, 3, 12 * 16)
    assert any("micro-batch 4 × 3" in line.text for line in of(events, ev.LogLine))
    assert state_of(tmp_path / "run", 12)["profile"]["train"]["micro_batch_size"] == 4

    monkeypatch.setattr(fit, "free_memory", lambda device: 10 * five)  # more memory now, but the run has its portions
    resumed = run(profile, resume="step-00000004")
    assert of(resumed, ev.RunStarted)[0].micro_batch_size == 4
    assert of(resumed, ev.Resumed)[0].exact


def test_auto_takes_no_more_on_a_cpu_than_pays(tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "CPU_TOKENS", 3 * 16)
    events = run(tiny(train__micro_batch_size="auto", train__tokens_per_step=12 * 16, train__max_steps=1))
    assert of(events, ev.RunStarted)[0].micro_batch_size == 3


def test_trying_sizes_leaves_nothing_behind(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """What CUDA's memory is tried with, here on the CPU: weights, generators, gradients and portions stay."""
    from gpt.data import open_dataset
    from gpt.device import choose
    from gpt.ledger import TimeLedger
    from gpt.reporter import Reporter
    from gpt.snapshot import build

    trainer: Any = type("Run", (), {"profile": tiny(train__tokens_per_step=192), "step": 0, "config_log": []})()
    device = choose(trainer.profile)
    data = open_dataset(trainer.profile.data, trainer.profile.model)
    snapshot = build(trainer.profile, device, data, TimeLedger())
    fitting = fit.Fit(trainer, Reporter(lambda event: None, TimeLedger()))
    before, generator = [p.clone() for p in snapshot.stepper.parameters], torch.get_rng_state()
    monkeypatch.setattr(fit, "free_memory", lambda device: 1_000_000)
    add_gradient = snapshot.stepper.add_gradient

    def limited(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = add_gradient(inputs, targets)
        if len(inputs) > 6:
            raise torch.OutOfMemoryError
        return loss

    monkeypatch.setattr(snapshot.stepper, "add_gradient", limited)
    assert [size for size in (1, 2, 3, 4, 6, 12) if fitting._really_fits(snapshot, size)] == [1, 2, 3, 4, 6]
    assert all(map(torch.equal, before, snapshot.stepper.parameters))
    assert torch.equal(generator, torch.get_rng_state())
    assert all(p.grad is None for p in snapshot.stepper.parameters)


@pytest.mark.parametrize("guess", [1, 4, 64, 512])
def test_the_largest_size_is_found_from_any_guess(guess: int) -> None:
    sizes = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    for limit in (0, 1, 3, 32, 512, 600):
        asked: list[int] = []

        def fits(size: int, limit: int = limit, asked: list[int] = asked) -> bool:
            asked.append(size)
            return size <= limit

        expected = max((size for size in sizes if size <= limit), default=None)
        assert largest_that_fits(sizes, fits, guess) == expected
        assert len(asked) == len(set(asked)) <= 6
        if guess == expected:
            assert len(asked) <= 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_runs_out_of_memory_and_goes_on(tiny: Tiny, run: Run) -> None:
    """A limit on the process's share of the card makes the memory run out for real."""
    settings = {
        "model__n_embd": 256, "model__block_size": 256, "train__device": "cuda", "train__compile": False,
        "train__max_steps": 3, "train__eval_interval": 0,
    }  # fmt: skip
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(1.5e9 / total)
    try:
        events = run(tiny(train__micro_batch_size=1024, **settings), "fixed")
        assert of(events, ev.Finished) and of(events, ev.ConfigChanged)
        events = run(tiny(train__micro_batch_size="auto", train__tokens_per_step=1024 * 256, **settings), "auto")
        assert of(events, ev.Finished) and not of(events, ev.ConfigChanged)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
