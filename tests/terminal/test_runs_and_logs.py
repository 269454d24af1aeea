"""The runs of a folder, a replay and the whole log, in the real program."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from harness import Cockpit

sys.path.insert(0, str(Path(__file__).parents[1] / "cockpit"))
import played_runs
from runs_on_disk import write_run

from gpt import events as ev

Start = Callable[..., Cockpit]


def write(desk: Path, name: str, steps: int) -> None:
    """A finished run without a checkpoint, made of events alone."""
    at = played_runs.START
    events = [
        played_runs.run_started(run=name, profile="sums", max_steps=steps),
        ev.StateChanged(time=at, state="running"),
        *(played_runs.step_done(step, 3.0 - step / 100) for step in range(1, steps + 1)),
        ev.Finished(time=at + steps, step=steps, reason="max_steps", train_loss=2.0, val_loss=2.1),
        ev.StateChanged(time=at + steps, state="finished", step=steps),
    ]
    text = (desk / "sums.toml").read_text().replace("200_000", f"{steps}")
    write_run(desk / "runs", name, events, profile=text)


def test_the_runs_screen_marks_opens_compares_and_deletes(start: Start, desk: Path) -> None:
    write(desk, "first", 40)
    write(desk, "second", 20)
    cockpit = start("runs", "--screen")
    cockpit.wait_for("2 runs", "first", "second", "finished")
    cockpit.press("mmd")
    cockpit.wait_for("Two runs compared", "train.max_steps", "settings are the same")
    cockpit.press("\x1b")
    cockpit.wait_for("Two runs compared", gone=True)
    cockpit.press("M/first\r")
    cockpit.wait_for("1 with", "first")
    cockpit.press("\r")
    cockpit.wait_for("FINISHED", "40 / 40", "all steps done")
    cockpit.press("q")
    cockpit.wait_for("2 runs")
    cockpit.press("x")
    cockpit.wait_for("Delete first?")
    cockpit.press("y\r")
    cockpit.wait_until(lambda: not (desk / "runs" / "first").exists(), "first is deleted")
    cockpit.wait_for("1 run ", "deleted first", "with “first”")
    cockpit.press("\x1b")
    cockpit.wait_for("with “first”", gone=True)
    cockpit.press("q")
    assert cockpit.wait_exit() == 0
    assert (desk / "runs" / "second").exists() and cockpit.modes_restored()


def test_a_run_is_resumed_from_the_list_by_the_command_that_it_shows(start: Start, desk: Path) -> None:
    ended = start("sums.toml", "--headless", "--run", "first", "--set", "train.max_steps=40")
    assert ended.wait_exit() == 0
    profile = desk / "sums.toml"
    profile.write_text(profile.read_text().replace("max_steps = 200_000", "max_steps = 60"))
    cockpit = start("--runs-dir", "runs")  # without a profile, and with runs there: their list
    cockpit.wait_for("first")
    cockpit.press("r\r")
    cockpit.wait_for("FINISHED")
    cockpit.press("q")
    assert cockpit.wait_exit() == 0
    text = bytes(cockpit.raw).decode(errors="replace")
    assert "gpt-cockpit sums.toml --run first --resume" in text
    resumed = [event for event in cockpit.events() if isinstance(event, ev.Resumed)]
    assert resumed and resumed[0].step == 40 and cockpit.modes_restored()


def test_a_replay_moves_in_time_without_torch(start: Start, desk: Path) -> None:
    write(desk, "first", 40)
    (desk / "sitecustomize.py").write_text(
        "import sys\nif 'replay' in sys.orig_argv: sys.modules['torch'] = None\n"  # an import of it fails
    )
    cockpit = start("replay", "first", "--end", env={"PYTHONPATH": f"{desk}:{Path(__file__).parents[2]}"})
    cockpit.wait_for("FINISHED", "40 / 40")
    cockpit.press(":")
    cockpit.wait_for("Go to which step?")
    cockpit.press("12\r")
    cockpit.wait_for("step 12 / 40")
    cockpit.press(".")
    cockpit.wait_for("step 13 / 40")
    cockpit.press("S")
    cockpit.wait_for("report-00000013/report.html")
    cockpit.press("v")
    cockpit.wait_for("level", "all but steps")
    cockpit.press("/all steps\r")
    cockpit.wait_for("all steps done at step 40")
    cockpit.press("\x1b")
    cockpit.wait_for("“all steps”", gone=True)
    cockpit.press("\x1b")
    cockpit.wait_for("home end", "step 13 / 40")  # only then q: right after an escape it would be alt+q
    cockpit.press("q")
    assert cockpit.wait_exit() == 0
    assert cockpit.modes_restored()


def test_r_and_v_open_runs_and_log_while_training_goes_on(start: Start, desk: Path) -> None:
    write(desk, "first", 40)
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


def test_what_needs_a_terminal_says_so_without_one(desk: Path) -> None:
    write(desk, "first", 4)
    for arguments in (["runs", "--screen"], ["replay", "first"]):
        done = subprocess.run(
            [sys.executable, "-m", "cockpit", *arguments], cwd=desk, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        assert done.returncode == 2 and "no terminal to draw on" in done.stderr
