"""The live settings, undo and the agenda, in the real program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness import Cockpit

from gpt import events as ev

Start = Callable[..., Cockpit]


def test_l_changes_a_setting_u_takes_it_back_and_s_saves_it(start: Start, desk: Path) -> None:
    cockpit = start()
    cockpit.wait_for("RUNNING")
    cockpit.wait_event(ev.StepDone, step=1)
    cockpit.press("l")
    cockpit.wait_for("live settings", "Highest rate", "a number > 0")
    cockpit.press("\r")
    cockpit.wait_for("enter takes it")
    cockpit.press("5e-3\r")
    cockpit.wait_for("0.001 → 0.005", "not applied", "the learning rate rises")
    cockpit.press("a")
    cockpit.wait_for("Apply 1 change?")
    cockpit.press("\r")
    changed = cockpit.wait_event(ev.ConfigChanged, key="optim.learning_rate", new="0.005")
    assert cockpit.wait_event(ev.CheckpointSaved, reason="change").step == changed.step
    cockpit.wait_for(f"step {changed.step:,}", "changed after step")
    cockpit.press("s")
    cockpit.wait_for("Save to sums.toml?", "-learning_rate = 1e-3", "+learning_rate = 0.005")
    cockpit.press("\r")
    cockpit.wait_for("saved optim.learning_rate to sums.toml")
    assert "n_embd = 48   # narrow" in (desk / "sums.toml").read_text()
    cockpit.press("\x1b")
    cockpit.wait_for("live settings", gone=True)
    cockpit.press("u")
    assert cockpit.wait_event(ev.ConfigChanged, key="optim.learning_rate", new="0.001").old == "0.005"


def test_a_schedules_and_cancels(start: Start) -> None:
    cockpit = start()
    cockpit.wait_for("RUNNING")
    cockpit.wait_event(ev.StepDone, step=1)
    cockpit.press("a")
    cockpit.wait_for("To be done later", "nothing waits")
    cockpit.press("at 150000 save\r")
    scheduled = cockpit.wait_event(ev.CommandScheduled)
    assert (scheduled.what, scheduled.at_step) == ("save", 150_000)
    cockpit.wait_for("at step 150,000: save  in")
    cockpit.press("cancel 1\r")
    cockpit.wait_event(ev.CommandUnscheduled, why="cancelled")
    cockpit.wait_for("nothing waits")
    cockpit.press("at +40 stop\r")
    stop = cockpit.wait_event(ev.CommandScheduled, item=2)
    assert cockpit.wait_event(ev.Finished).step == stop.at_step
