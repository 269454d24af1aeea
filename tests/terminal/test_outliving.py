"""A run whose terminal, screen or pilot goes away: it goes on to the same weights, and nothing is left spinning."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from harness import PATIENCE, PROFILE, ROOT, Cockpit, patched
from holding import HOLDS, SETTINGS

from cockpit.runs import list_runs
from gpt import events as ev
from tests.tiny_runs import sums

Start = Callable[..., Cockpit]
Lose = Callable[[Cockpit], None]

BREAK = """
import pathlib
real = MainScreen.show
def show(self, state, **options):
    if pathlib.Path("break").exists(): raise RuntimeError("broken on purpose")
    return real(self, state, **options)
MainScreen.show = show
"""


def weights(run: Path) -> str:
    """SHA-256 of the weights that a run came to."""
    return hashlib.sha256((run / "checkpoints" / "latest" / "model.safetensors").read_bytes()).hexdigest()


def steps(cockpit: Cockpit) -> list[int]:
    return [event.step for event in cockpit.events() if isinstance(event, ev.StepDone)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Hash of the weights of a run that nothing happens to."""
    desk = tmp_path_factory.mktemp("undisturbed")
    (desk / "sums.txt").write_text(sums(60))
    (desk / "sums.toml").write_text(PROFILE)
    command = [sys.executable, "-m", "cockpit", "sums.toml", "--headless", "--run", "calm", *SETTINGS]
    subprocess.run(command, cwd=desk, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    return weights(desk / "runs" / "calm")


def close_terminal(cockpit: Cockpit) -> None:
    cockpit.hang_up()


def send_sighup(cockpit: Cockpit) -> None:
    cockpit.process.send_signal(signal.SIGHUP)


def break_screen(cockpit: Cockpit) -> None:
    (cockpit.cwd / "break").touch()


LOSSES = [
    ("running", close_terminal, "the terminal was closed"), ("evaluating", send_sighup, "SIGHUP"),
    ("sampling", break_screen, "the screen failed"), ("saving", close_terminal, "the terminal was closed; "),
]  # fmt: skip
"""In which phase, what happens, and what the log says of it. While saving there is no signal, only an end of input."""


@pytest.mark.parametrize(("phase", "lose", "why"), LOSSES)
def test_whatever_takes_the_screen_away_the_run_comes_to_the_same_end(
    start: Start, desk: Path, undisturbed: str, phase: str, lose: Lose, why: str
) -> None:
    hold = desk / "hold"
    if phase != "running":
        hold.touch()
    cockpit = start("sums.toml", *SETTINGS, env=patched(desk, {**HOLDS[phase], "cockpit.screens.main": BREAK}),
                    controlling=phase != "saving")  # fmt: skip
    if phase == "running":
        cockpit.wait_event(ev.StepDone, step=5)
        hold.touch()
    cockpit.wait_event(ev.StateChanged, state=phase)
    lose(cockpit)
    cockpit.wait_until(lambda: why in departure(cockpit), f"the log says {why}")
    assert spent_while_idle(cockpit.run_pid) < 0.3, "nothing spins where the screen was"
    hold.unlink()
    assert cockpit.wait_exit() == 0, "who waits for the run hears how it ended"
    assert steps(cockpit) == list(range(1, 201))
    saves = [event for event in cockpit.events() if isinstance(event, ev.CheckpointSaved)]
    assert "asked" in [event.reason for event in saves]
    assert weights(cockpit.run_dir) == undisturbed
    if lose is not close_terminal:
        assert cockpit.modes_restored()
        assert cockpit.raw.rindex(b"\x1b[?1049l") > cockpit.raw.rindex(b"\x1b[?1049h")
        assert cockpit.raw.rindex(b"\x1b[?25h") > cockpit.raw.rindex(b"\x1b[?25l")
    if lose is break_screen:
        assert "broken on purpose" in (cockpit.run_dir / "console.log").read_text()
    elif lose is close_terminal:
        assert "all steps done" in (cockpit.run_dir / "console.log").read_text(), "its report is not lost"


def test_a_paused_run_waits_for_who_attaches_whatever_becomes_of_the_others(
    start: Start, desk: Path, undisturbed: str
) -> None:
    """Of those who attach one is stopped while he has the controls, one is killed, and the third goes on."""
    cockpit = start("sums.toml", *SETTINGS)
    cockpit.wait_event(ev.StepDone, step=5)
    cockpit.press(" ")
    cockpit.wait_for("PAUSED")
    cockpit.hang_up()
    cockpit.wait_until(lambda: "the terminal was closed" in departure(cockpit), "the log says why")
    assert spent_while_idle(cockpit.run_pid) < 0.3
    frozen, killed, third = start("attach"), start("attach"), start("attach")
    frozen.wait_for("PAUSED", "has the controls")
    frozen.process.send_signal(signal.SIGSTOP)
    killed.wait_for("PAUSED")
    killed.process.kill()
    third.wait_for("PAUSED")
    third.press("P")
    third.wait_for("you have the controls")
    third.press(" ")
    assert cockpit.wait_exit() == 0
    third.wait_for("all steps done", "200 steps")
    frozen.process.send_signal(signal.SIGCONT)
    frozen.wait_for("all steps done", "200 steps")
    for screen in (third, frozen):
        screen.press("q")
        assert screen.wait_exit() == 0 and screen.modes_restored()
    assert steps(cockpit) == list(range(1, 201))
    assert weights(cockpit.run_dir) == undisturbed


def test_detached_from_the_start_the_prompt_comes_back_and_a_second_start_hears_who_trains(
    start: Start, desk: Path
) -> None:
    detached = start("sums.toml", "--detach", "--run", "alone")
    assert detached.wait_exit() == 0
    assert "gpt-cockpit attach alone" in detached.text and f"process {detached.run_pid}" in detached.text
    assert detached.run_pid != detached.process.pid and psutil.pid_exists(detached.run_pid)
    assert detached.modes_restored()
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


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_a_run_outlives_its_tmux_session(desk: Path, start: Start) -> None:
    tmux = ["tmux", "-S", str(desk / "tmux"), "-f", "/dev/null"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SHELL": "/bin/sh", "XDG_STATE_HOME": str(desk / ".state")}
    command = f"exec {sys.executable} -m cockpit sums.toml --run inside --set train.max_steps=400"
    subprocess.run([*tmux, "new-session", "-d", "-x", "120", "-y", "35", command], cwd=desk, env=env, check=True)
    run = desk / "runs" / "inside"
    try:
        wait_until(lambda: logged(run, '"event":"StepDone"'), "a step")
        subprocess.run([*tmux, "kill-session"], env=env, check=True)
        wait_until(lambda: logged(run, '"event":"Finished"'), "the end")
        assert logged(run, "the terminal was closed")
        assert logged(run, '"reason":"max_steps"')
    finally:
        subprocess.run([*tmux, "kill-server"], env=env, check=False, capture_output=True)


def logged(run: Path, text: str) -> bool:
    try:
        return text in (run / "events.jsonl").read_text()
    except OSError:
        return False


def wait_until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def departure(cockpit: Cockpit) -> str:
    """What the log says of nobody seeing the run any more."""
    lines = [event.text for event in cockpit.events() if isinstance(event, ev.LogLine)]
    return " ".join(line for line in lines if "the run goes on without a screen" in line)


def spent_while_idle(pid: int) -> float:
    """Share of a core that a process which has nothing to do takes."""
    time.sleep(0.3)  # the screen is being left
    process = psutil.Process(pid)

    def spent() -> float:
        times = process.cpu_times()
        return times.user + times.system

    before, began = spent(), time.monotonic()
    time.sleep(1.0)
    return (spent() - before) / (time.monotonic() - began)
