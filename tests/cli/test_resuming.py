"""What --resume auto goes on with, makes room for and refuses; how a run's time is told and used up."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from cockpit import profile as profiles
from cockpit import runlock
from cockpit.cli import _spelled_out
from cockpit.quantity import duration
from cockpit.resuming import run_for, sitting_for
from cockpit.runs import Run
from cockpit.signals import AtOnce, Signals
from gpt import events as ev
from gpt.commands import Command, Stop
from gpt.errors import CheckpointError, RunError


@pytest.fixture
def loaded(tmp_path: Path) -> profiles.Loaded:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[data]\ninput = "text"\n')
    return profiles.load(path)


def dead(runs_dir: Path, *, has_stepped: bool) -> Run:
    """What a run leaves that was killed before its first checkpoint."""
    run = Run.create(runs_dir, "first", "mine")
    run.write_facts({"run": "first"})
    if has_stepped:
        step = ev.StepDone(step=1, loss=1.0, lr=1.0, grad_norm=1.0, ms=1.0, tokens=1, tokens_per_s=1.0)
        run.events_path.write_bytes(ev.encode(step))
    return run


def test_without_a_run_there_is_nothing_to_go_on_with(loaded: profiles.Loaded, tmp_path: Path) -> None:
    assert sitting_for(loaded, None, tmp_path / "runs", "auto") is None
    assert sitting_for(loaded, "first", tmp_path / "runs", "auto") is None
    with pytest.raises(RunError, match="start without --resume"):
        sitting_for(loaded, None, tmp_path / "runs", True)


@pytest.mark.parametrize("has_stepped", [False, True])
def test_a_run_that_never_saved_gives_its_name_to_a_new_one_and_loses_no_step(
    loaded: profiles.Loaded, tmp_path: Path, has_stepped: bool
) -> None:
    dead(tmp_path, has_stepped=has_stepped)
    assert run_for(loaded, "first", tmp_path, "auto") is None
    Run.create(tmp_path, "first", "mine")
    assert (tmp_path / "first-lost-1" / "events.jsonl").exists() == has_stepped


def test_checkpoints_of_which_none_is_whole_are_not_passed_over_unseen(loaded: profiles.Loaded, tmp_path: Path) -> None:
    run = dead(tmp_path, has_stepped=True)
    (run.checkpoints_path / "step-00000005").mkdir()
    (run.checkpoints_path / "step-00000005" / "state.json").write_text("{")
    with pytest.raises(CheckpointError):
        sitting_for(loaded, "first", tmp_path, "auto")
    assert run.events_path.exists()


def test_a_run_that_goes_on_elsewhere_is_left_alone(loaded: profiles.Loaded, tmp_path: Path) -> None:
    run = dead(tmp_path, has_stepped=True)
    with run.lock(), pytest.raises(RunError, match=r"in use by process \d+ on .* since \d\d:\d\d; .* attach first"):
        run_for(loaded, "first", tmp_path, "auto")
    assert run.events_path.exists()


def test_a_run_that_is_being_made_is_not_taken_for_a_dead_one(loaded: profiles.Loaded, tmp_path: Path) -> None:
    Run.create(tmp_path, "first", "mine")  # its maker is about to lock it
    with pytest.raises(RunError, match="is being made"):
        run_for(loaded, "first", tmp_path, "auto")


def test_who_waited_for_a_lock_that_was_put_aside_does_not_get_the_new_run_by_it(tmp_path: Path) -> None:
    run = dead(tmp_path, has_stepped=False)
    file = (run.path / "lock").open("w+b")  # opened before, to be locked afterwards
    run.path.rename(tmp_path / "elsewhere")
    new = dead(tmp_path, has_stepped=False)
    (new.path / "lock").touch()
    with pytest.raises(RunError, match="put aside"):
        runlock._take(new.path / "lock", file.fileno())
    file.close()


@pytest.mark.parametrize(("text", "seconds"), [("3h30m", 12600), ("90m", 5400), ("1d12h", 129600), ("45s", 45)])
def test_a_time_is_read_as_people_write_it(text: str, seconds: int) -> None:
    assert duration(text, "--max-time") == seconds


@pytest.mark.parametrize("text", ["", "0s", "3", "30m2h", "-5m", "1.5h", "3h30"])
def test_what_is_no_time_is_refused_with_one(text: str) -> None:
    with pytest.raises(RunError, match=r"--max-time .* such as 3h30m"):
        duration(text, "--max-time")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["p.toml", "--resume", "auto"], ["p.toml", "--resume-auto"]),
        (["--resume=auto", "p.toml"], ["--resume-auto", "p.toml"]),
        (["--resume", "p.toml"], ["--resume", "p.toml"]),
        (["p.toml", "--resume"], ["p.toml", "--resume"]),
    ],
)
def test_resume_takes_auto_and_nothing_else_for_its_own(typed: list[str], meant: list[str]) -> None:
    assert _spelled_out(typed) == meant


def raised(*numbers: int) -> tuple[int, list[Command]]:
    """The exit code after these signals, and what the run was sent."""
    sent: list[Command] = []
    signals = Signals(sent.append)
    with signals.installed():
        for number in numbers:
            signal.raise_signal(number)
    return signals.exit_code, sent


def test_a_schedulers_warning_ends_with_75_whatever_it_sends_after_it() -> None:
    assert raised(signal.SIGUSR1) == (75, [Stop(save=True)])
    assert raised(signal.SIGUSR1, signal.SIGTERM)[0] == 75
    assert raised(signal.SIGTERM)[0] == 143
    assert raised()[0] == 0


def test_a_second_interrupt_ends_at_once_but_not_a_first_one_after_the_warning() -> None:
    assert raised(signal.SIGUSR1, signal.SIGINT)[0] == 75
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(AtOnce):
            raised(signal.SIGINT, signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # a third one would cut short what the second has begun
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_deadline_is_a_signal_like_any_other_and_gone_with_the_run() -> None:
    sent: list[Command] = []
    signals = Signals(sent.append)
    with signals.installed(deadline=time.monotonic() - 1):
        until = time.monotonic() + 30
        while not sent and time.monotonic() < until:
            time.sleep(0.01)
    assert signals.exit_code == 75
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_under_nohup_a_lost_terminal_changes_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        signals = Signals(lambda _: None)
        with signals.installed():
            signal.raise_signal(signal.SIGHUP)
        assert not signals.has_hung_up
    finally:
        signal.signal(signal.SIGHUP, before)
