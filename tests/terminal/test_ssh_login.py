"""Attaching through a real ssh to a real sshd on this machine: keys and all in a folder of the test's own."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from harness import PATIENCE, ROOT, Cockpit

from cockpit.runs import Run
from gpt import events as ev

Start = Callable[..., Cockpit]
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin:/opt/homebrew/sbin") or shutil.which("sshd")
missing = [name for name in ("ssh", "ssh-keygen") if not shutil.which(name)] + ([] if SSHD else ["sshd"])
pytestmark = pytest.mark.skipif(bool(missing), reason=f"not installed here: {', '.join(missing)}")


class Login(NamedTuple):
    """How to log in to the test's sshd."""

    host: str
    ssh: str
    program: str
    sshd: subprocess.Popen[bytes]


@pytest.fixture
def login(desk: Path) -> Iterator[Login]:
    folder = desk / "sshd"
    folder.mkdir(mode=0o700)
    for name in ("host", "mine"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/mine.pub\nPidFile none\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    )
    known = folder / "known"
    known.write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    program = folder / "gpt-cockpit"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m cockpit "$@"\n')
    program.chmod(0o700)
    if os.getuid() == 0:
        with contextlib.suppress(OSError):
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # root's sshd wants it, and its service would make it
    said = folder / "said"
    with said.open("wb") as log:
        sshd = subprocess.Popen([SSHD or "sshd", "-D", "-e", "-f", str(folder / "config")], stderr=log)
    ssh = [
        "ssh", "-F", "none", "-p", str(port), "-i", str(folder / "mine"), "-o", f"UserKnownHostsFile={known}",
        "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
    ]  # fmt: skip
    host = f"{getpass.getuser()}@127.0.0.1"
    try:
        end = time.monotonic() + PATIENCE
        while subprocess.run([*ssh, host, "true"], capture_output=True).returncode:
            if sshd.poll() is not None or time.monotonic() > end:
                pytest.skip(f"sshd does not serve this user: {said.read_text()[-300:]}")
            time.sleep(0.1)
        yield Login(host, shlex.join(ssh), str(program), sshd)
    finally:
        sshd.kill()
        sshd.wait()


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


def test_a_run_outlives_the_ssh_session_that_it_was_started_in(desk: Path, login: Login) -> None:
    command = f"cd {desk} && XDG_STATE_HOME={desk} {login.program} sums.toml --run inside --set train.max_steps=400"
    session = subprocess.Popen(
        [*shlex.split(login.ssh), "-tt", login.host, command], env={**os.environ, "TERM": "xterm-256color"},
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    run = Run(desk / "runs" / "inside")

    def wait_for(holds: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.05)

    wait_for(run.has_step)
    session.kill()
    session.wait()
    wait_for(lambda: not run.in_use)
    events = list(run.read_events())
    assert any(isinstance(event, ev.LogLine) and "the terminal was closed" in event.text for event in events)
    assert [event.step for event in events if isinstance(event, ev.StepDone)] == list(range(1, 401))


def children(pid: int, name: str) -> list[int]:
    """Process ids of a process's children of a name."""
    import psutil

    return [child.pid for child in psutil.Process(pid).children() if child.name() == name]
