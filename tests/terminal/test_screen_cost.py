"""`bench --screen` on the real program: every figure is there, and those that take turns do."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from harness import ROOT

from cockpit import profile as profiles
from cockpit import trial, underway
from cockpit.pseudoterminal import kill_session, signal_family, stop_family
from cockpit.runs import Run
from cockpit.screencost import Window
from gpt.events import StepDone
from tests.patience import wait_until


@pytest.fixture
def attempt(desk: Path, monkeypatch: pytest.MonkeyPatch) -> trial.Trial:
    monkeypatch.chdir(desk)
    monkeypatch.setattr(underway, "SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(trial, "KEY_PRESSES", 2)
    loaded = profiles.load(desk / "sums.toml")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return trial.Trial(loaded.path, trial.settings(loaded.profile, compiled=False), environment, columns=100, rows=30)


def check(window: Window) -> None:
    figures = (window.frames_per_s, window.cpu_ms_per_frame, window.screen_share, window.bytes_per_frame)
    assert all(figure is not None and figure > 0 for figure in figures), window


def check_keys(window: Window) -> None:
    assert window.first_frame_s is not None and window.key_ms and min(window.key_ms) > 0


def test_a_run_behind_the_screen_gives_every_figure(attempt: trial.Trial) -> None:
    # Between the first and the last reading of the meters there has to be a frame; beside other work one costs so much
    # that the screen waits seconds for the next.
    ((bare, shown),) = attempt.one_after_the_other(repeats=1, seconds=9.0)
    assert shown.tokens_per_s > 0
    check(shown)
    check_keys(shown)
    assert bare == Window(tokens_per_s=bare.tokens_per_s) and bare.tokens_per_s > 0


def test_in_turns_one_trains_while_the_other_is_stopped(attempt: trial.Trial, desk: Path) -> None:
    pairs = attempt.in_turns(repeats=3, seconds=2.5)
    assert len(pairs) == 3
    assert all(window.tokens_per_s > 0 for pair in pairs for window in pair)
    # In so short a turn, beside other work, there may be no frame between two readings of the meters.
    check(max((shown for _, shown in pairs), key=lambda shown: shown.frames_per_s or 0.0))
    check_keys(pairs[-1][1])
    steps = [
        (event.time, name)
        for name in ("run-1", "run-2")
        for event in Run(desk / "runs" / name).read_events()
        if isinstance(event, StepDone)
    ]
    turns = [name for name, _ in itertools.groupby(name for _, name in sorted(steps))]
    assert len(steps) > 100
    # Each settles; three pairs, every second one the other way round; each writes the last of its log.
    assert turns == ["run-1", "run-2"] * 4


def test_a_stop_reaches_those_that_lead_sessions_of_their_own() -> None:
    sleep = "import time; time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {sleep!r}], start_new_session=True)"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    leader = psutil.Process(process.pid)
    try:
        wait_until(lambda: len(leader.children()) == 1)
        (child,) = leader.children()
        # Until the child has become what it is to be, its parent waits in vfork, and stops for nobody.
        wait_until(lambda: child.cmdline() != leader.cmdline())
        family = [leader, child]
        stop_family(process)
        assert all(member.status() == psutil.STATUS_STOPPED for member in family)
        signal_family(process, signal.SIGCONT)
        wait_until(lambda: all(member.status() != psutil.STATUS_STOPPED for member in family))
    finally:
        signal_family(process, signal.SIGKILL)
        kill_session(process)
    stop_family(process)  # gone: nothing happens
