"""What keys do, done by commands from another process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from harness import ROOT, Cockpit

from gpt import events as ev
from tests.patience import PATIENCE

Start = Callable[..., Cockpit]


def cockpit(desk: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program without a terminal, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "cockpit", *arguments], cwd=desk, capture_output=True, text=True, timeout=PATIENCE,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_scripts_pause_change_schedule_continue_stop_and_wait(start: Start, desk: Path) -> None:
    assert cockpit(desk, "pause", "apart").returncode == 2
    run = start("sums.toml", "--headless", "--run", "apart")
    run.wait_event(ev.StepDone, step=5)
    changed = cockpit(desk, "send", "apart", "set", "optim.grad_clip=0.5")
    assert (changed.returncode, changed.stderr) == (0, "") and "optim.grad_clip is 0.5" in changed.stdout
    assert cockpit(desk, "pause", "apart").returncode == 0
    run.wait_event(ev.StateChanged, state="paused")
    refused = cockpit(desk, "send", "apart", "at", "1", "save")
    assert refused.returncode == 2 and "has passed" in refused.stderr
    assert cockpit(desk, "continue", "apart").returncode == 0
    refused = cockpit(desk, "send", "apart", "set", "model.n_layer=3")
    assert refused.returncode == 2 and "model.n_layer stays 2" in refused.stderr
    planned = cockpit(desk, "send", "apart", "at", "+1_000_000", "save")
    assert planned.returncode == 0 and "number 1" in planned.stdout
    nonsense = cockpit(desk, "send", "apart", "savve")
    assert nonsense.returncode == 2 and "did you mean save" in nonsense.stderr
    assert cockpit(desk, "stop", "apart").returncode == 0
    ended = cockpit(desk, "wait", "apart")
    assert ended.returncode == 0 and "stopped at step" in ended.stdout
    assert run.wait_exit() == 0
    assert cockpit(desk, "stop", "apart").returncode == 2


def test_wait_exits_as_a_run_does_that_fails_or_is_killed(start: Start, desk: Path) -> None:
    run = start("sums.toml", "--headless", "--run", "killed")
    run.wait_event(ev.StepDone, step=5)
    waiting = subprocess.Popen(
        [sys.executable, "-m", "cockpit", "wait", "killed"], cwd=desk, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    run.wait_event(ev.StepDone, step=50)
    run.process.kill()
    said, _ = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == 1 and "was interrupted" in said
