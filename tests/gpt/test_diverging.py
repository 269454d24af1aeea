"""A run whose gradients are poisoned on chosen steps, under each policy; and that nothing sick is ever saved."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from piloted_runs import Pilot, Run, Tiny, at_step, files, of
from safetensors.torch import load_file

from gpt import commands
from gpt import events as ev
from gpt.config import OptimConfig, Profile, replace
from gpt.guard import Limits
from gpt.model import GPT
from gpt.optim import make_optimizer, step_within
from gpt.trainer import Trainer

HUGE = 1e4


def poison(factor: float, *steps: int, then: Pilot | None = None, once: bool = False) -> Pilot:
    """Multiplies one parameter's gradient on chosen steps; `once`: only the first time each of them is taken."""
    left = [*steps]

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.RunStarted):

            def spoil(gradient: torch.Tensor) -> torch.Tensor:
                if (step := trainer.step + 1) not in left:
                    return gradient
                if once:
                    left.remove(step)
                return gradient * factor

            trainer.snapshot.model.transformer.wte.weight.register_hook(spoil)
        if then:
            then(trainer, event)

    return pilot


def saved(folder: Path) -> list[tuple[int, bool]]:
    """(step, whether every number is finite) of each checkpoint."""
    found = []
    for path in sorted(folder.glob("checkpoints/step-*")):
        tensors = [t for kind in ("model", "optimizer") for t in load_file(path / f"{kind}.safetensors").values()]
        found.append((int(path.name[5:]), all(t.isfinite().all().item() for t in tensors)))
    return found


def guarded(tiny: Tiny, policy: str = "warn", *, steps: int = 24, **guard: Any) -> Profile:
    """A run whose window is warm after five steps."""
    profile = tiny(train__max_steps=steps, train__eval_interval=0, optim__learning_rate=1e-3)
    settings = {"policy": policy, "window": 10, **guard}
    return replace(profile, {f"guard.{key}": value for key, value in settings.items()})


@pytest.mark.parametrize("factor", [math.nan, math.inf])
@pytest.mark.parametrize("policy", ["warn", "skip", "rewind", "pause"])
def test_one_poisoned_step_is_left_out_counted_and_spoken_of(
    tiny: Tiny, run: Run, tmp_path: Path, policy: str, factor: float
) -> None:
    events = run(guarded(tiny, policy), pilot=poison(factor, 7))
    spikes = of(events, ev.SpikeDetected)
    assert [(s.step, s.kind, s.action) for s in spikes] == [(7, "not finite", "skipped")]
    assert [s.step for s in of(events, ev.StepDone) if not s.applied] == [7]
    assert of(events, ev.Finished)[0].step == 24
    assert saved(tmp_path / "run") and all(sound for _, sound in saved(tmp_path / "run"))


def test_a_step_left_out_changes_neither_weights_nor_optimizer(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    def save(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step in (6, 7):
            trainer.send(commands.Save())

    run(guarded(tiny, steps=8), pilot=poison(math.nan, 7, then=save))
    before, after = (load_file(tmp_path / f"run/checkpoints/step-{step:08d}/model.safetensors") for step in (6, 7))
    assert all(torch.equal(before[name], after[name]) for name in before)
    before, after = (load_file(tmp_path / f"run/checkpoints/step-{s:08d}/optimizer.safetensors") for s in (6, 7))
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("state."))


def test_with_the_guard_off_a_poisoned_step_spoils_the_run_but_no_checkpoint(
    tiny: Tiny, run: Run, tmp_path: Path
) -> None:
    events = run(guarded(tiny, "off"), pilot=poison(math.nan, 7))
    assert not of(events, ev.SpikeDetected)
    assert of(events, ev.StepDone)[-1].loss is None
    assert saved(tmp_path / "run") == [(4, True)]
    assert (tmp_path / "run/checkpoints/latest").resolve().name == "step-00000004"
    assert "not finite" in of(events, ev.CheckpointFailed)[0].error
    assert "not finite" in of(events, ev.Failed)[0].error and of(events, ev.Failed)[0].user_error


@pytest.mark.parametrize(("policy", "action"), [("warn", "warned"), ("skip", "skipped"), ("pause", "skipped")])
def test_a_huge_gradient_is_a_spike(tiny: Tiny, run: Run, policy: str, action: str) -> None:
    events = run(guarded(tiny, policy), pilot=poison(HUGE, 15))
    first = of(events, ev.SpikeDetected)[0]
    assert (first.step, first.kind, first.action) == (15, "gradient", action) and first.z > 8
    assert [s.step for s in of(events, ev.StepDone) if not s.applied] == ([] if policy == "warn" else [15])
    assert of(events, ev.Finished)


@pytest.mark.parametrize("accum", [1, 3])
def test_the_guard_changes_no_bit_of_a_sound_run(tiny: Tiny, run: Run, tmp_path: Path, accum: int) -> None:
    for policy in ("off", "warn", "skip"):
        profile = guarded(tiny, policy, steps=40)
        events = run(replace(profile, {"train.grad_accum_steps": accum}), policy)
        assert not of(events, ev.SpikeDetected)
    hashes = [files(tmp_path / policy, 40) for policy in ("off", "warn", "skip")]
    assert hashes[0] == hashes[1] == hashes[2]


def test_a_run_that_nobody_watches_saves_and_ends_where_it_would_ask(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    events = run(guarded(tiny, "pause", patience=3), pilot=poison(math.nan, *range(10, 25)))
    failed = of(events, ev.Failed)[0]
    assert failed.user_error and failed.step == 12
    assert "3 in a row" in failed.error and "optim.learning_rate" in failed.error
    assert not of(events, ev.Paused)
    assert saved(tmp_path / "run")[-1] == (12, True)
    assert of(run(guarded(tiny, "pause"), resume="latest"), ev.Finished)[0].step == 24


def test_a_state_that_has_not_proved_itself_is_saved_beside_the_others(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    profile = replace(guarded(tiny, "pause", patience=3), {"checkpoint.keep": 1})
    run(profile, pilot=poison(math.nan, *range(10, 25)))
    assert saved(tmp_path / "run") == [(8, True), (12, True)]


def test_a_watched_run_pauses_obeys_and_goes_on(tiny: Tiny, tmp_path: Path) -> None:
    events: list[ev.Event] = []

    def emit(event: ev.Event) -> None:
        events.append(event)
        spoil(trainer, event)
        if isinstance(event, ev.StateChanged) and event.state == "paused" and not of(events, ev.EvalDone):
            trainer.send(commands.Evaluate())
            threading.Timer(0.05, trainer.send, [commands.Continue()]).start()

    spoil = poison(math.nan, 10, 11, 12)
    trainer = Trainer(guarded(tiny, "pause", patience=3), tmp_path / "run", emit, attended=True)
    trainer.run()
    assert [e.step for e in of(events, ev.Paused)] == [e.step for e in of(events, ev.Continued)] == [12]
    assert of(events, ev.EvalDone)[0].step == 12
    assert [e.action for e in of(events, ev.SpikeDetected)] == ["skipped", "skipped", "pause"]
    assert of(events, ev.Finished)[0].step == 24


def test_a_run_paused_to_ask_ends_when_its_pilot_leaves(tiny: Tiny, tmp_path: Path) -> None:
    events: list[ev.Event] = []

    def emit(event: ev.Event) -> None:
        events.append(event)
        spoil(trainer, event)
        if isinstance(event, ev.Paused):
            threading.Timer(0.05, trainer.send, [commands.Leave()]).start()

    spoil = poison(math.nan, *range(10, 25))
    trainer = Trainer(guarded(tiny, patience=3), tmp_path / "run", emit, attended=True)
    trainer.run()
    assert of(events, ev.Failed)[0].user_error and saved(tmp_path / "run")[-1] == (12, True)


def test_a_rewind_goes_back_more_slowly_on_other_data(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    read: list[tuple[int, int]] = []

    def watch(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.RunStarted):
            reader = trainer.snapshot.stepper.reader
            take = reader.take
            reader.take = lambda first, count: (read.append((trainer.step, first)), take(first, count))[1]

    profile = guarded(tiny, "rewind", patience=2)
    events = run(profile, pilot=poison(math.nan, 11, 12, then=watch, once=True))
    resumed = of(events, ev.Resumed)[0]
    assert (resumed.step, resumed.exact) == (8, False) and "rewound from step 12" in resumed.why
    changed = of(events, ev.ConfigChanged)
    assert [(e.key, e.old, e.new, e.step) for e in changed] == [("optim.learning_rate", "0.001", "0.0005", 8)]
    assert [first for _, first in read] == [4 * number for number in range(12 + 16)]  # none twice, none left out
    assert [step for step, _ in read] == [*range(12), *range(8, 24)]
    steps = of(events, ev.StepDone)
    assert steps[-1].step == 24 and steps[-1].tokens == 24 * 4 * 16
    assert [step for step, _ in saved(tmp_path / "run")] == [4, 8, 12, 16, 20, 24]


def test_what_was_saved_on_the_abandoned_way_is_not_resumed_from(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == 11 and not of(seen, ev.Resumed):
            trainer.send(commands.Save())
        if isinstance(event, ev.CheckpointSaved) and event.reason == "rewind":
            trainer.send(commands.Stop(save=False))
        seen.append(event)

    seen: list[ev.Event] = []
    run(guarded(tiny, "rewind", patience=2), pilot=poison(math.nan, 11, 12, then=pilot))
    assert [e.step for e in of(seen, ev.CheckpointSaved) if e.reason == "asked"] == [11]
    assert [step for step, _ in saved(tmp_path / "run")] == [4, 8]
    assert (tmp_path / "run/checkpoints/latest").resolve().name == "step-00000008"


def test_a_run_stopped_after_a_rewind_and_resumed_ends_with_the_same_bits(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    profile = guarded(tiny, "rewind", patience=2)
    run(profile, "whole", pilot=poison(math.nan, 11, 12, once=True))
    run(profile, "parted", pilot=poison(math.nan, 11, 12, once=True, then=at_step(14, commands.Stop())))
    slower = replace(profile, {"optim.learning_rate": 5e-4})  # as the command line goes on with it
    resumed = of(run(slower, "parted", resume="latest"), ev.Resumed)[0]
    assert (resumed.step, resumed.exact) == (14, True)
    assert files(tmp_path / "whole", 24) == files(tmp_path / "parted", 24)


def test_rewinds_end_and_so_does_the_run(tiny: Tiny, run: Run) -> None:
    events = run(guarded(tiny, "rewind", patience=1, max_rewinds=2), pilot=poison(math.nan, *range(10, 25)))
    assert [e.step for e in of(events, ev.Resumed)] == [8, 8]
    assert [e.new for e in of(events, ev.ConfigChanged)] == ["0.0005", "0.00025"]
    assert of(events, ev.Failed)[0].user_error


def test_a_rewind_without_a_checkpoint_asks_instead(tiny: Tiny, run: Run) -> None:
    events = run(guarded(tiny, "rewind", patience=1), pilot=poison(math.nan, 2))
    assert not of(events, ev.Resumed) and of(events, ev.Failed)[0].user_error


@pytest.mark.parametrize("stop_at", [6, 14])
def test_a_resumed_run_judges_as_one_that_never_stopped(tiny: Tiny, run: Run, tmp_path: Path, stop_at: int) -> None:
    """The spike comes when the window holds steps of both sittings; without the first's it would not be recognised."""
    profile = guarded(tiny, "skip")
    whole = run(profile, "whole", pilot=poison(HUGE, 8, 16))
    run(profile, "parted", pilot=poison(HUGE, 8, 16, then=at_step(stop_at, commands.Stop())))
    resumed = run(profile, "parted", resume="latest", pilot=poison(HUGE, 8, 16))
    assert of(resumed, ev.Resumed)[0].exact
    assert [s.step for s in of(whole, ev.SpikeDetected)] == [8, 16]
    assert [s.z for s in of(resumed, ev.SpikeDetected)] == [
        s.z for s in of(whole, ev.SpikeDetected) if s.step > stop_at
    ]
    assert files(tmp_path / "whole", 24) == files(tmp_path / "parted", 24)


def test_a_scalers_search_for_its_scale_is_no_fault_until_it_lasts(tiny: Tiny, run: Run) -> None:
    """A scaler on the CPU stands in for CUDA's: the trainer and the stepper treat both alike."""

    def give_scaler(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.RunStarted):
            trainer.snapshot.scaler = trainer.snapshot.stepper.scaler = torch.amp.GradScaler("cpu")

    events = run(guarded(tiny), "some", pilot=poison(math.inf, 3, 4, 5, 6, 7, 8, then=give_scaler))
    assert not of(events, ev.SpikeDetected) and of(events, ev.Finished)
    assert [s.step for s in of(events, ev.StepDone) if not s.applied] == [3, 4, 5, 6, 7, 8]
    lasting = run(guarded(tiny, steps=40), "many", pilot=poison(math.inf, *range(3, 41), then=give_scaler))
    assert of(lasting, ev.SpikeDetected)[0].step == 19 and of(lasting, ev.Failed)[0].user_error


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("scaled", [True, False])
def test_the_device_leaves_out_an_update_as_the_host_would(tiny: Tiny, waits: bool, scaled: bool) -> None:
    """Fused AdamW on the CPU obeys the same flag as on CUDA, so the way without waiting can be tried here."""
    torch.manual_seed(0)
    model = GPT(tiny().model, 64)
    optimizer = make_optimizer(model, OptimConfig(), "cpu")
    scaler = torch.amp.GradScaler("cpu") if scaled else None

    def step(norm: float) -> bool:
        if scaler:
            scaler.scale(torch.ones(()))
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 0.5)
        if scaler:
            scaler.unscale_(optimizer)
        limits = Limits(grad_norm=2.0)
        return bool(step_within(optimizer, scaler, torch.tensor(3.0), torch.tensor(norm), limits, waits=waits))

    assert step(1.0)
    kept = [p.detach().clone() for p in model.parameters()]
    state = [{k: v.clone() for k, v in entry.items()} for entry in optimizer.state.values()]
    for norm in (2.1, math.nan, math.inf):
        assert not step(norm)
    assert all(torch.equal(a, b) for a, b in zip(kept, model.parameters(), strict=True))
    for before, after in zip(state, optimizer.state.values(), strict=True):
        assert all(torch.equal(before[key], after[key]) for key in before)
    assert step(2.0) and not torch.equal(kept[0], next(model.parameters()))
    assert not hasattr(optimizer, "found_inf")
