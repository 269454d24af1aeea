"""Attaching through a real ssh to a real sshd on this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
from harness import Cockpit
from sshd import Login, needs_ssh

from gpt import events as ev

Start = Callable[..., Cockpit]
pytestmark = needs_ssh


def test_a_run_is_attached_to_over_ssh_steered_and_goes_on_when_the_line_breaks(
    start: Start, desk: Path, login: Login
) -> None:
    run = start("sums.toml", "--headless", "--run", "apart")
    run.wait_event(ev.StepDone, step=20)
    far = f"{login.host}:{desk}/runs/apart"
    arguments = ("attach", far, "--ssh-command", login.ssh, "--remote-command", login.program)
    screen = start(*arguments)
    screen.wait_for("sums · apart", "RUNNING", "you have the controls")
    screen.press(" ")
    screen.wait_for("PAUSED")
    run.wait_event(ev.StateChanged, state="paused")
    screen.press(" ")
    screen.wait_for("RUNNING")
    (session,) = children(screen.process.pid, "ssh")
    subprocess.run(["kill", "-9", str(session)], check=True)
    screen.wait_for("link lost")
    broken_at = max(event.step for event in run.events() if isinstance(event, ev.StepDone))
    run.wait_event(ev.StepDone, step=broken_at + 20)
    screen.press("q")
    assert screen.wait_exit() == 0
    run.wait_event(ev.PilotChanged, seat=None)
    again = start(*arguments)
    again.wait_for("RUNNING", "you have the controls")
    again.press("q")
    again.wait_for("leave it running")
    again.press("d")
    assert again.wait_exit() == 0 and f"gpt-cockpit attach {login.host}" in again.text
    assert run.process.poll() is None


def children(pid: int, name: str) -> list[int]:
    """Process ids of a process's children of a name."""
    return [child.pid for child in psutil.Process(pid).children() if child.name() == name]
