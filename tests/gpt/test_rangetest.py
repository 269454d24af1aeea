"""A range test in the middle of a run: what it says, what it suggests, and that the run is as if it had never been."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from piloted_runs import Run, Tiny, of

from gpt import commands, rangetest
from gpt import events as ev
from gpt.rangetest import has_diverged, suggest
from gpt.trainer import Trainer


def digest(folder: Path, step: int = 12) -> dict[str, Any]:
    state = json.loads((folder / f"checkpoints/step-{step:08d}/state.json").read_text())
    return state["files"] | {key: state[key] for key in ("sequences", "passed_over", "optimizer_groups", "guard")}


def asking(*steps: int, **test: Any) -> Callable[[Trainer, ev.Event], None]:
    def pilot(trainer: Trainer, event: ev.Event) -> None:
        begun = isinstance(event, ev.RunStarted) and 0 in steps
        if begun or (isinstance(event, ev.StepDone) and event.step in steps):
            trainer.send(commands.RangeTest(**{"steps": 20, **test}))

    return pilot


@pytest.mark.parametrize(
    "settings",
    [
        {"train__grad_accum_steps": 2},
        {"optim__name": "muon"},
        {"model__dropout": 0.0, "train__threads": 2},
        {"data__sampling": "replacement"},
    ],
    ids=["dropout", "muon", "lanes", "replacement"],
)
def test_training_afterwards_is_as_if_it_had_never_been(
    tiny: Tiny, run: Run, tmp_path: Path, settings: dict[str, Any]
) -> None:
    quiet = run(tiny(**settings), "quiet")
    events = run(tiny(**settings), "tested", pilot=asking(0, 5, 8))
    assert [done.step for done in of(events, ev.RangeTestDone)] == [0, 5, 8]
    assert len(of(events, ev.RangeTestPoint)) > 30
    assert [step.loss for step in of(events, ev.StepDone)] == [step.loss for step in of(quiet, ev.StepDone)]
    assert digest(tmp_path / "tested") == digest(tmp_path / "quiet")


def test_it_moves_the_weights_meanwhile(tiny: Tiny, run: Run) -> None:
    """Or the test above would say nothing."""
    before: list[float] = []
    during: list[float] = []

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        asks(trainer, event)
        if isinstance(event, ev.RangeTestStarted | ev.RangeTestPoint):
            moved = during if isinstance(event, ev.RangeTestPoint) else before
            moved.append(trainer.snapshot.model.transformer.wte.weight.norm().item())

    asks = asking(5)
    run(tiny(), pilot=pilot)
    assert all(norm != before[0] for norm in during) and len(set(during)) == len(during)


def test_while_it_stands_still_inside_a_step_that_is_given_up_and_taken_again(
    tiny: Tiny, run: Run, tmp_path: Path
) -> None:
    profile = tiny(train__grad_accum_steps=4)
    run(profile, "quiet")

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == 5:
            stepper: Any = trainer.snapshot.stepper
            add_gradient = stepper.add_gradient

            def pausing(*args: Any) -> Any:  # both come during the next step's first micro-step
                stepper.add_gradient = add_gradient
                trainer.send(commands.Pause())
                trainer.send(commands.RangeTest(steps=10))
                return add_gradient(*args)

            stepper.add_gradient = pausing
        if isinstance(event, ev.RangeTestDone):
            states.append([e.state for e in seen if isinstance(e, ev.StateChanged)][-1])
            threading.Timer(0.05, trainer.send, [commands.Continue()]).start()
        seen.append(event)

    seen: list[ev.Event] = []
    states: list[str] = []
    events = run(profile, "tested", pilot=pilot)
    assert states == ["testing"] and [e.step for e in of(events, ev.RangeTestDone)] == [5]
    assert digest(tmp_path / "tested") == digest(tmp_path / "quiet")


def test_the_rate_rises_evenly_by_factors_around_the_present_one(tiny: Tiny, run: Run) -> None:
    events = run(tiny(optim__learning_rate=1e-6), pilot=asking(5, steps=41))
    started, rates = of(events, ev.RangeTestStarted)[0], [point.rate for point in of(events, ev.RangeTestPoint)]
    assert (started.low, started.high, started.present, started.steps) == (1e-8, pytest.approx(1e-4), 1e-6, 41)
    assert rates[0] == pytest.approx(1e-8) and rates[-1] == pytest.approx(1e-4) and len(rates) == 41
    factors = [after / before for before, after in pairwise(rates)]
    assert factors == pytest.approx([10**0.1] * 40)


def test_it_stops_where_the_loss_diverges_and_its_time_is_none_of_training(tiny: Tiny, run: Run) -> None:
    events = run(tiny(train__max_steps=40), pilot=asking(30, steps=200, low=1e-3, high=1e3))
    done = of(events, ev.RangeTestDone)[0]
    assert done.diverged_at is not None and done.points < 200
    assert done.diverged_at == of(events, ev.RangeTestPoint)[-1].rate
    assert done.suggestion is not None and done.suggestion <= done.diverged_at / 10
    before, after = (
        [e for e in events if isinstance(e, ev.LedgerUpdated) and (e.time < at) == early][-1 if early else 0].seconds
        for at, early in ((of(events, ev.RangeTestStarted)[0].time, True), (done.time, False))
    )
    assert after["other"] - before["other"] >= 0.9 * done.seconds
    assert "testing" in [event.state for event in of(events, ev.StateChanged)]


@pytest.mark.parametrize("by", [commands.BreakOff(), commands.Stop()])
def test_it_can_be_given_up_and_all_is_put_back(tiny: Tiny, run: Run, tmp_path: Path, by: commands.Command) -> None:
    def pilot(trainer: Trainer, event: ev.Event) -> None:
        asks(trainer, event)
        if isinstance(event, ev.RangeTestPoint) and len(of(seen, ev.RangeTestPoint)) == 3:
            trainer.send(by)
        seen.append(event)

    asks, seen = asking(8, steps=100), []
    run(tiny(), "quiet")
    events = run(tiny(), "tested", pilot=pilot)
    done = of(events, ev.RangeTestDone)[0]
    assert (done.points, done.suggestion, done.rule) == (4, None, "it was given up")
    step = 8 if isinstance(by, commands.Stop) else 12
    assert (
        digest(tmp_path / "tested", step)["model.safetensors"] == digest(tmp_path / "quiet", step)["model.safetensors"]
    )
    assert digest(tmp_path / "tested", step) == digest(tmp_path / "quiet", step)


def test_bounds_that_make_no_range_and_want_of_memory_are_refused(
    tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = run(tiny(), pilot=asking(5, low=1.0, high=1e-3))
    assert any("cannot rise from 1 to 0.001" in line.text for line in of(events, ev.LogLine))
    monkeypatch.setattr(rangetest, "SPARE_BYTES", 2**60)
    events += run(tiny(), "again", pilot=asking(5))
    assert any("MB of memory" in line.text for line in of(events, ev.LogLine))
    assert not of(events, ev.RangeTestStarted) and len(of(events, ev.Finished)) == 2


def test_an_error_inside_it_puts_all_back_before_the_run_is_saved(
    tiny: Tiny, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tiny(), "quiet")

    def fail(points: Any) -> bool:
        if len(points) == 5:
            raise RuntimeError("a bug")
        return False

    monkeypatch.setattr(rangetest, "has_diverged", fail)
    with pytest.raises(RuntimeError):
        run(tiny(), "tested", pilot=asking(8))
    assert digest(tmp_path / "tested", 8) == digest(tmp_path / "quiet", 8)


def points(losses: Sequence[float | None], low: float = 1e-5, decades: float = 4) -> list[ev.RangeTestPoint]:
    """A test whose losses are as smooth as these."""
    rates = [low * 10 ** (decades * n / (len(losses) - 1)) for n in range(len(losses))]
    return [ev.RangeTestPoint(rate=r, loss=loss, smoothed=loss) for r, loss in zip(rates, losses, strict=True)]


def falling(n: int = 81, centre: float = 40) -> list[float]:
    """A loss that falls by 2 nats around point number `centre`."""
    return [4 - 2 / (1 + math.exp(-(number - centre) / 3)) for number in range(n)]


def test_the_steepest_descent_is_suggested() -> None:
    rate, rule = suggest(points(falling()), None)
    assert rate == pytest.approx(1e-3, rel=0.2) and rule == "steepest descent"


def test_a_suggestion_stays_a_tenth_below_divergence() -> None:
    rate, rule = suggest(points(falling()), 5e-3)
    assert rate == pytest.approx(5e-4) and "tenth" in rule


def test_a_loss_that_does_not_fall_gives_a_tenth_of_the_rate_at_which_it_diverges() -> None:
    flat = [2.0 + 0.01 * (-1) ** n for n in range(60)] + [2.0 + 0.1 * n for n in range(20)]
    assert suggest(points(flat), 1e-1) == (1e-2, "a tenth of the rate at which the loss diverges")
    assert suggest(points(flat[:60]), None)[0] is None


def test_a_loss_has_diverged_well_above_its_least_or_as_no_number() -> None:
    assert not has_diverged(points([4.0, 3.0, 3.2]))
    assert has_diverged(points([4.0, 3.0, 3.3]))
    noisy = [3.0, 3.4, 3.0, 3.4, 3.0, 3.4]
    assert not has_diverged(points([*noisy, 3.3])) and has_diverged(points([*noisy, 4.5]))
    assert has_diverged(points([4.0, None]))
    assert has_diverged(points([None, None]))
