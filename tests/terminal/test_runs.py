"""The runs of a folder, a replay and the whole log, in the real program."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Cockpit

from gpt import events as ev

Start = Callable[..., Cockpit]


@pytest.fixture
def ended(start: Start) -> Cockpit:
    """A run `first` of 40 steps, which has ended."""
    cockpit = start("sums.toml", "--headless", "--run", "first", "--set", "train.max_steps=40")
    assert cockpit.wait_exit() == 0
    return cockpit


def test_the_runs_screen_marks_opens_compares_and_deletes(ended: Cockpit, start: Start, desk: Path) -> None:
    other = start("sums.toml", "--headless", "--run", "second", "--set", "train.max_steps=20")
    assert other.wait_exit() == 0
    cockpit = start("runs", "--screen")
    cockpit.wait_for("2 runs", "first", "second", "finished")
    cockpit.press("mmd")
    cockpit.wait_for("Two runs compared", "train.max_steps", "settings are the same")
    cockpit.press("\x1b")
    cockpit.wait_for("Two runs compared", gone=True)
    cockpit.press("MM/first\r")
    cockpit.wait_for("1 with", "first")
    cockpit.press("\r")
    cockpit.wait_for("FINISHED", "40 / 40", "all steps done")
    cockpit.press("q")
    cockpit.wait_for("2 runs")
    cockpit.press("x")
    cockpit.wait_for("Delete first?")
    cockpit.press("y\r")
    cockpit.wait_until(lambda: not (desk / "runs" / "first").exists(), "first is deleted")
    cockpit.wait_for("1 runs", "deleted first")
    cockpit.press("\x1b")
    cockpit.wait_for("1 with", gone=True)
    cockpit.press("q")
    assert cockpit.wait_exit() == 0
    assert (desk / "runs" / "second").exists() and cockpit.modes_restored()


def test_without_arguments_the_runs_are_shown_and_one_is_resumed(ended: Cockpit, start: Start, desk: Path) -> None:
    profile = desk / "sums.toml"
    profile.write_text(profile.read_text().replace("max_steps = 200_000", "max_steps = 60"))
    cockpit = start("runs", "--screen")
    cockpit.wait_for("first")
    cockpit.press("r")
    cockpit.wait_for("gpt-cockpit sums.toml --run first --resume")
    cockpit.press("\r")
    cockpit.wait_for("FINISHED")
    cockpit.press("q")
    assert cockpit.wait_exit() == 0
    text = bytes(cockpit.raw).decode(errors="replace")
    assert "gpt-cockpit sums.toml --run first --resume" in text
    resumed = [event for event in cockpit.events() if isinstance(event, ev.Resumed)]
    assert resumed and resumed[0].step == 40 and cockpit.modes_restored()


def test_a_replay_moves_in_time_without_torch(ended: Cockpit, start: Start, desk: Path) -> None:
    (desk / "sitecustomize.py").write_text(
        "import sys\nif 'replay' in sys.orig_argv: sys.modules['torch'] = None\n"  # an import of it fails
    )
    cockpit = start("replay", "first", "--end", env={"PYTHONPATH": f"{desk}:{Path(__file__).parents[2]}"})
    cockpit.wait_for("FINISHED", "40 / 40")
    cockpit.press(":12\r")
    cockpit.wait_for("step 12 / 40")
    cockpit.press(".")
    cockpit.wait_for("step 13 / 40")
    cockpit.press("v")
    cockpit.wait_for("level", "all but steps")
    cockpit.press("g/all steps\r")
    cockpit.wait_for("all steps done at step 40")
    cockpit.press("\x1b")
    cockpit.wait_for("“all steps”", gone=True)
    cockpit.press("\x1b")
    cockpit.wait_for("step 13 / 40")
    cockpit.press("q")
    assert cockpit.wait_exit() == 0
    assert cockpit.modes_restored()


def test_r_and_v_open_runs_and_log_while_training_goes_on(ended: Cockpit, start: Start) -> None:
    cockpit = start("sums.toml", "--run", "other")
    cockpit.wait_for("RUNNING")
    cockpit.press("v")
    cockpit.wait_for("all but steps", "following")
    cockpit.press("\x1b")
    cockpit.wait_for("all but steps", gone=True)
    cockpit.press("R")
    cockpit.wait_for("2 runs", "1 live", "this one", "first")
    cockpit.press("/first\r\r")
    cockpit.wait_for("FINISHED", "40 / 40")
    cockpit.press("q")
    cockpit.wait_for("2 runs")
    cockpit.process.send_signal(signal.SIGTERM)
    assert cockpit.wait_exit() == 143
    log = (cockpit.cwd / "runs" / "other" / "events.jsonl").read_bytes().splitlines()
    assert any(isinstance(event, ev.Finished) and event.reason == "stopped" for event in map(ev.decode, log))
    assert cockpit.modes_restored()


def test_what_needs_a_terminal_says_so_without_one(ended: Cockpit, desk: Path) -> None:
    import subprocess
    import sys

    for arguments in (["runs", "--screen"], ["replay", "first"]):
        done = subprocess.run(
            [sys.executable, "-m", "cockpit", *arguments], cwd=desk, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        assert done.returncode == 2 and "no terminal to draw on" in done.stderr
