"""Two ranks behind one screen: steered together, and started anew under the eyes of their pilot."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from harness import Cockpit, as_if_by_ssh

from gpt import events as ev

Start = Callable[..., Cockpit]


@contextmanager
def ended_in_any_case(run: Path) -> Iterator[None]:
    """Ends the launcher and its ranks, which outlive their screen, whatever comes of the block."""
    try:
        yield
    finally:
        with suppress(OSError, ValueError, psutil.Error):
            launcher = psutil.Process(int((run / "launcher.lock").read_text().split()[0]))
            for process in (launcher, *launcher.children(recursive=True)):
                process.kill()


def kill_rank(number: int, run: Path) -> None:
    children = psutil.Process(int((run / "launcher.lock").read_text().split()[0])).children()
    os.kill(next(child.pid for child in children if child.environ().get("RANK") == str(number)), signal.SIGKILL)


def test_screens_here_and_by_ssh_steer_all_ranks_stay_through_a_restart_and_stop_them(start: Start, desk: Path) -> None:
    run = desk / "runs/pair"
    with ended_in_any_case(run):
        screen = start("sums.toml", "--nproc", "2", "--run", "pair", "--set", "train.grad_accum_steps=2")
        screen.wait_for("sums · pair", "RUNNING", "has the controls")
        screen.press(" ")
        screen.wait_for("PAUSED")
        screen.press("c")
        saved = screen.wait_event(ev.CheckpointSaved, reason="asked")
        screen.wait_for("saved step-", "PAUSED")
        screen.press(" ")
        screen.wait_event(ev.Continued)
        far = start("attach", f"there:{run}", "--watch", *as_if_by_ssh(desk))  # or it might be the pilot afterwards
        far.wait_for("RUNNING", "watching")
        screen.wait_event(ev.StepDone, step=saved.step + 5)
        kill_rank(1, run)
        for each in (screen, far):  # it may have been said, and be over, before the second is looked at
            each.wait_until(lambda each=each: b"the ranks are started anew" in each.raw, "the ranks are started anew")
        restarted = screen.wait_event(ev.RanksRestarted)
        assert (restarted.rank, restarted.how) == (1, "signal SIGKILL") and restarted.step >= saved.step
        for each in (screen, far):
            each.wait_for("RUNNING", "» resumed")
            each.press("j")
            each.wait_for("c  chart", "l  log")
            each.press("l")  # all of it: the pane may have gone on before it was drawn
            each.wait_for("rank 1 was lost (signal SIGKILL)")
            each.press("\x1b")
            each.wait_for("─ loss")
        screen.wait_event(ev.StepDone, step=restarted.step + 10)
        screen.press("q")
        screen.wait_for("save and stop the run")
        screen.press("s")
        screen.wait_for("stopped and saved")
        screen.press("q")
        assert screen.wait_exit() == 0
        assert screen.modes_restored()
        far.wait_for("stopped and saved")
        far.press("q")
        assert far.wait_exit() == 0 and "pair stopped at step" in far.text
        assert [event.reason for event in screen.events() if isinstance(event, ev.Finished)] == ["stopped"]
        assert not (run / "control.sock").exists()
