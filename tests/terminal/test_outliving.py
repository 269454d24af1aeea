"""A run that is left on purpose, or whose pilot does not answer any more, and what can be done about it from elsewhere.

What is lost against anybody's will is tried in test_losses.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
from harness import Cockpit
from holding import SETTINGS
from losses import weights

from cockpit.runs import list_runs
from gpt import events as ev
from tests.patience import PATIENCE

Start = Callable[..., Cockpit]


def test_a_paused_run_waits_and_the_controls_are_taken_from_a_screen_that_stands_still(
    start: Start, undisturbed: str
) -> None:
    cockpit = start("sums.toml", *SETTINGS)
    cockpit.wait_event(ev.StepDone, step=5)
    cockpit.press(" ")
    cockpit.wait_for("PAUSED")
    cockpit.hang_up()
    frozen = start("attach")
    frozen.wait_for("PAUSED", "has the controls")
    other = start("attach")  # whoever comes first has them
    frozen.process.send_signal(signal.SIGSTOP)
    other.wait_for("PAUSED")
    other.press("P")
    other.wait_for("you have the controls")
    other.press(" ")
    assert cockpit.wait_exit() == 0
    other.wait_for("all steps done", "200 steps")
    frozen.process.send_signal(signal.SIGCONT)
    frozen.wait_for("all steps done", "200 steps")
    for screen in (other, frozen):
        screen.press("q")
        assert screen.wait_exit() == 0 and screen.modes_restored()
    assert [event.step for event in cockpit.events() if isinstance(event, ev.StepDone)] == list(range(1, 201))
    assert weights(cockpit.run_dir) == undisturbed


def test_detached_from_the_start_the_prompt_comes_back_and_a_second_start_hears_who_trains(
    start: Start, desk: Path
) -> None:
    detached = start("sums.toml", "--detach", "--run", "alone")
    assert detached.wait_exit() == 0
    assert "gpt-cockpit attach alone" in detached.text and f"process {detached.run_pid}" in detached.text
    assert detached.run_pid != detached.process.pid and psutil.pid_exists(detached.run_pid)
    assert detached.modes_restored()
    assert detached.text.startswith("alone goes on without a screen"), "no bar is left before it"
    detached.hang_up()
    detached.wait_event(ev.StepDone, step=20)
    second = start("sums.toml", "--detach", "--run", "alone", columns=200)
    assert second.wait_exit() == 2
    assert f"in use by process {detached.run_pid} on" in second.text and "gpt-cockpit attach alone" in second.text
    os.kill(detached.run_pid, signal.SIGTERM)
    detached.wait_end()
    assert detached.wait_event(ev.Finished).reason == "stopped"


def test_what_is_wrong_at_a_detached_start_is_told_before_the_prompt_comes_back(start: Start, desk: Path) -> None:
    (desk / "sums.txt").write_text("too short")
    failed = start("sums.toml", "--detach", columns=200)
    assert failed.wait_exit() == 2
    assert "sums.txt" in failed.text and not list_runs(desk / "runs")


def test_killing_what_the_shell_waits_for_kills_the_run(start: Start) -> None:
    cockpit = start("sums.toml")
    cockpit.wait_event(ev.StepDone, step=3)
    run = psutil.Process(cockpit.run_pid)
    cockpit.process.kill()
    run.wait(PATIENCE)
