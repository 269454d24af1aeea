"""Each kind of loss in each phase of a run: it goes on to the same weights, at no more cost, and who comes sees all.

A selection that has each kind and each phase is tried every time; `make outlive` tries all.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import ROOT, Cockpit
from holding import ANYWHERE, SETTINGS
from losses import BREAK, LOSSES, NAME, Watched, installed, weights

from cockpit.steering import carry_out
from gpt import commands as do
from gpt import events as ev
from tests.chaos.signalled import modes_left
from tests.patching import patched

Start = Callable[..., Cockpit]

PHASES = ("running", "evaluating", "sampling", "saving", "paused")
SELECTION = {
    ("closed", "running"), ("input ended", "saving"), ("tmux killed", "evaluating"), ("ssh killed", "sampling"),
    ("screen broken", "paused"),
}  # fmt: skip
"""What is tried every time."""
FROZEN_SECONDS = 30.0
"""For how long a screen that is stopped stands still."""
SLOWLY = 0.15
"""Seconds that a step is made to take longer, where training is to be under way for a while."""


def pairs() -> Iterator[object]:
    for name, loss in LOSSES.items():
        for phase in PHASES:
            marks = [] if (name, phase) in SELECTION else [pytest.mark.slow]
            if not installed(loss.needs):
                marks.append(pytest.mark.skip(reason=f"not installed here: {loss.needs}"))
            yield pytest.param(name, phase, marks=marks, id=f"{name} while {phase}")


@pytest.fixture
def watched(desk: Path) -> Iterator[Watched]:
    run = Watched(desk)
    yield run
    run.end()


def order(run: Watched, command: do.Command) -> None:
    assert carry_out(run.run, command, timeout=60) is not None


def begin_slowly(desk: Path) -> dict[str, str]:
    """The environment of a run that takes its time, so that it is met in its first steps."""
    (desk / "pace").write_text(str(SLOWLY))
    return patched(desk, {**ANYWHERE, "cockpit.screens.main": BREAK})


def reach(phase: str, desk: Path, run: Watched) -> None:
    """Brings a run that trains slowly to a phase, and has it stay there."""
    if phase == "running":
        return
    if phase == "paused":
        order(run, do.Pause())
        run.wait_event(ev.StateChanged, state=phase)
    else:
        (desk / "hold").write_text(phase)
        (desk / "pace").unlink(missing_ok=True)
        run.wait_event(ev.StateChanged, state=phase, step=100)


def leave(phase: str, desk: Path, run: Watched) -> None:
    """Lets it go on from there."""
    for name in ("hold", "pace"):
        (desk / name).unlink(missing_ok=True)
    if phase == "paused":
        order(run, do.Continue())


def check_end(run: Watched, undisturbed: str) -> None:
    """What holds of a run that has ended, and of what those know who were attached."""
    run.wait_until(lambda: not run.run.in_use, "nobody trains it any more")
    assert run.steps == list(range(1, 201)), "each step once, in order"
    assert weights(run.run.path) == undisturbed
    known = run.learnt()
    assert known.loss.x.tolist() == list(range(1, 201)) and known.state == "finished"
    losses = {event.step: event.loss for event in run.told(ev.StepDone)}
    assert known.loss.y.tolist() == pytest.approx(list(losses.values()), abs=1e-6)
    assert known.evaluation and known.evaluation.step == 200 and known.checkpoint and known.checkpoint.step == 200


@pytest.mark.parametrize(("name", "phase"), pairs())
def test_whatever_takes_the_terminal_away_in_whatever_phase_the_run_comes_to_the_same_end(
    name: str, phase: str, start: Start, desk: Path, watched: Watched, undisturbed: str,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    loss = LOSSES[name]
    login = request.getfixturevalue("login") if loss.needs == "sshd" else None
    with loss.terminal(watched, ["sums.toml", "--run", NAME, *SETTINGS], begin_slowly(desk), login) as lose:
        watched.wait_event(ev.StepDone, step=5)
        reach(phase, desk, watched)
        before = watched.calm()
        lose()
        watched.wait_until(lambda: loss.said in watched.departure, f"the log says: {loss.said}")
        watched.settles(before)
        at = watched.steps[-1]
        screen = start("attach", NAME)
        screen.wait_for(phase.upper(), "has the controls")
        watched.attend()
        if phase == "running":
            watched.wait_event(ev.StepDone, step=at + 3)
        leave(phase, desk, watched)
        screen.wait_for("all steps done", "200 steps")
        screen.press("q")
        assert screen.wait_exit() == 0 and screen.modes_restored() and not modes_left(bytes(screen.raw))
        check_end(watched, undisturbed)
        assert "asked" in [event.reason for event in watched.told(ev.CheckpointSaved)], "saved as its screen went"


def walked(start: Start, desk: Path, run: Watched, lose: Callable[[Cockpit], None]) -> list[Cockpit]:
    """Starts a run without a screen and loses one that is attached in each of its phases; the screens."""
    screens: list[Cockpit] = []
    start("sums.toml", "--headless", "--run", NAME, *SETTINGS, env=begin_slowly(desk))
    run.wait_event(ev.StepDone, step=5)
    run.attend()
    for phase in ("running", "paused", "sampling", "evaluating", "saving"):
        reach(phase, desk, run)
        screen = start("attach", NAME)
        screen.wait_for(phase.upper())
        before = run.calm()
        lose(screen)
        run.settles(before)
        at = run.steps[-1]
        if phase == "running":
            run.wait_event(ev.StepDone, step=at + 3)
        if phase == "paused":
            order(run, do.Continue())
        screens.append(screen)
    return screens


def reset(screen: Cockpit) -> None:
    """Puts the terminal back that a killed screen has left."""
    command = [sys.executable, "-m", "cockpit", "reset"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ends = {"stdin": screen._slave, "stdout": screen._slave, "stderr": screen._slave}
    subprocess.run(command, env=environment, check=True, **ends)


def test_screens_killed_in_each_phase_leave_the_run_alone_and_a_terminal_that_reset_mends(
    start: Start, desk: Path, watched: Watched, undisturbed: str
) -> None:
    screens = walked(start, desk, watched, lambda screen: screen.process.kill())
    (desk / "hold").unlink()
    check_end(watched, undisturbed)
    killed = screens[-1]
    killed.wait_exit()
    reset(killed)
    killed.wait_until(lambda: not modes_left(bytes(killed.raw)), "nothing is left on")
    assert killed.modes_restored()


@pytest.mark.slow
def test_screens_that_stand_still_for_half_a_minute_miss_nothing_and_hold_nothing_up(
    start: Start, desk: Path, watched: Watched, undisturbed: str
) -> None:
    screens = walked(start, desk, watched, lambda screen: screen.process.send_signal(signal.SIGSTOP))
    stopped = time.monotonic()
    (desk / "pace").write_text("0.4")
    (desk / "hold").unlink()
    watched.wait_event(ev.StepDone, step=105)
    while time.monotonic() < stopped + FROZEN_SECONDS:
        at = watched.steps[-1]
        watched.wait_until(lambda at=at: watched.steps[-1] > at + 3, "training goes on")
    (desk / "pace").unlink()
    for screen in screens:
        screen.process.send_signal(signal.SIGCONT)
    for screen in screens:
        screen.wait_for("all steps done", "200 steps")
        screen.press("q")
        assert screen.wait_exit() == 0 and screen.modes_restored() and not modes_left(bytes(screen.raw))
    check_end(watched, undisturbed)
