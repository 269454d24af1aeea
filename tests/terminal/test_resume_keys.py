"""Interrupted, resumed and undisturbed runs of the real program end with the same bits, and its clock is right."""

from __future__ import annotations

import json
import signal
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Cockpit

from gpt import events as ev
from tests.patching import patched

Start = Callable[..., Cockpit]
STEPS = 1200
SETTINGS = [
    "sums.toml", "--headless", "--set", f"train.max_steps={STEPS}", "--set", "model.dropout=0.2",
    "--set", "train.grad_accum_steps=2",
]  # fmt: skip


def end_of(cockpit: Cockpit) -> dict[str, Any]:
    """Hashes of weights and optimizer (generators included), and the data position, at the last step."""
    assert cockpit.wait_exit() == 0
    state = json.loads((cockpit.run_dir / "checkpoints" / f"step-{STEPS:08d}" / "state.json").read_text())
    return state["files"] | {"sequences": state["sequences"], "tokens": state["tokens"]}


def test_a_run_interrupted_three_times_ends_like_one_that_was_not(start: Start, desk: Path) -> None:
    undisturbed = end_of(start(*SETTINGS))
    (desk / "runs").rename(desk / "runs-of-the-undisturbed")
    cockpit = start(*SETTINGS, "--set", "train.eval_interval=150", "--set", "sample.interval=100", "--run", "parted")
    stops = []
    for wanted in (100, 400, 777):
        cockpit.wait_event(ev.StepDone, step=wanted)
        cockpit.process.send_signal(signal.SIGTERM)
        assert cockpit.wait_exit() == 143
        stops.append(max(e.step for e in cockpit.events() if isinstance(e, ev.StepDone)))
        cockpit = start("sums.toml", "--headless", "--run", "parted", "--resume")
    assert end_of(cockpit) == undisturbed
    resumed = [e for e in cockpit.events() if isinstance(e, ev.Resumed)]
    assert [(e.step, e.exact) for e in resumed] == [(stop, True) for stop in stops]
    assert len(set(stops)) == 3 and stops[-1] < STEPS


def test_a_killed_run_goes_on_from_its_newest_checkpoint_to_the_same_end(start: Start, desk: Path) -> None:
    undisturbed = end_of(start(*SETTINGS))
    (desk / "runs").rename(desk / "runs-of-the-undisturbed")
    cockpit = start(*SETTINGS, "--set", "checkpoint.interval=50", "--run", "killed")
    cockpit.wait_event(ev.StepDone, step=430)
    cockpit.process.kill()
    cockpit.wait_exit()
    cockpit = start("sums.toml", "--headless", "--run", "killed", "--resume")
    assert end_of(cockpit) == undisturbed


def test_the_screen_of_a_resumed_run_shows_what_came_before(start: Start) -> None:
    cockpit = start("sums.toml", "--run", "parted")
    cockpit.wait_event(ev.StepDone, step=200)
    cockpit.process.send_signal(signal.SIGTERM)
    assert cockpit.wait_exit() == 143
    cockpit = start("sums.toml", "--run", "parted", "--resume")
    resumed = cockpit.wait_event(ev.Resumed)
    cockpit.wait_event(ev.StepDone, step=resumed.step + 20)
    cockpit.wait_for("RUNNING", f"resumed at step {resumed.step:,}")
    axis = next(line for line in cockpit.text.splitlines() if line.rstrip().endswith("step"))
    assert axis.split()[0] == "0"  # the curve begins at the beginning


def test_the_ledger_of_a_real_run_adds_up_to_its_wall_time(start: Start) -> None:
    cockpit = start(
        "sums.toml", "--headless", "--set", "train.max_steps=4000", "--set", "train.eval_interval=500",
        "--set", "checkpoint.interval=700", "--set", "sample.interval=900",
    )  # fmt: skip
    assert cockpit.wait_exit() == 0
    events = cockpit.events()
    ledger = [e for e in events if isinstance(e, ev.LedgerUpdated)][-1]
    created = json.loads((cockpit.run_dir / "run.json").read_text())["created"]
    wall = next(e.time for e in events if isinstance(e, ev.Finished)) - created
    assert sum(ledger.seconds.values()) == pytest.approx(wall, rel=0.01)
    assert all(ledger.seconds[phase] > 0 for phase in ("startup", "data", "train", "evaluate", "checkpoint", "sample"))
    steps = sum(e.ms for e in events if isinstance(e, ev.StepDone)) / 1e3
    assert steps == pytest.approx(ledger.seconds["train"] + ledger.seconds["data"], rel=0.05)


def test_the_time_of_an_evaluation_is_no_steps_time(start: Start, desk: Path) -> None:
    """Each is held up for far longer than a step takes, and the step after it reads like any other beside that."""
    slow = (
        "import time\n"
        "evaluate = Evaluator.evaluate\n"
        "Evaluator.evaluate = lambda *args, **options: (time.sleep(0.5), evaluate(*args, **options))[1]\n"
    )
    cockpit = start(
        "sums.toml", "--headless", "--set", "train.max_steps=300", "--set", "train.eval_interval=50",
        env=patched(desk, {"gpt.evaluate": slow}),
    )  # fmt: skip
    assert cockpit.wait_exit() == 0
    evaluated = [e.step for e in cockpit.events() if isinstance(e, ev.EvalDone)]
    ms = {e.step: e.ms for e in cockpit.events() if isinstance(e, ev.StepDone)}
    assert set(range(50, 301, 50)) <= set(evaluated)
    assert statistics.median(ms[step + 1] for step in range(50, 300, 50)) < 250
