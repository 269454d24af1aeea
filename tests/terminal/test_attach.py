"""A run seen and steered from another terminal than its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import Cockpit, as_if_by_ssh

from gpt import events as ev

Start = Callable[..., Cockpit]


def test_attach_shows_a_headless_run_steers_it_and_leaves_it_alone(start: Start) -> None:
    run = start("sums.toml", "--headless", "--run", "apart")
    run.wait_event(ev.StepDone, step=20)
    screen = start("attach")
    screen.wait_for("sums · apart", "RUNNING", "has the controls")
    screen.press(" ")
    screen.wait_for("PAUSED")
    screen.press("n")
    run.wait_event(ev.CommandReceived, command="StepOnce")
    screen.press(" ")
    screen.wait_for("RUNNING")
    screen.press("q")
    screen.wait_for("leave it running")
    screen.press("d")
    assert screen.wait_exit() == 0
    assert screen.modes_restored() and "gpt-cockpit attach apart comes back" in screen.text
    left_at = max(event.step for event in run.events() if isinstance(event, ev.StepDone))
    run.wait_event(ev.StepDone, step=left_at + 20)
    again = start("attach", "apart")
    again.wait_for("RUNNING")
    again.press("q")
    again.wait_for("save and stop the run")
    again.press("s")
    assert run.wait_exit() == 0
    again.wait_for("stopped and saved")
    again.press("q")
    assert again.wait_exit() == 0
    assert "gpt-cockpit sums.toml --run apart --resume goes on with it" in again.text
    assert not (run.run_dir / "control.sock").exists()


def test_of_two_screens_one_steers_and_capital_p_takes_the_controls_over_on_both(start: Start) -> None:
    run = start("sums.toml", "--run", "shared")
    run.wait_for("RUNNING")
    other = start("attach", "shared")
    other.wait_for("the screen of the run steers", "RUNNING", "attached")
    other.press(" ")
    other.wait_for("pause is refused")
    other.press("P")
    other.wait_for("you have the controls")
    run.wait_for("steers")
    other.press(" ")
    run.wait_for("PAUSED")
    run.press(" ")
    run.wait_for("resume is refused")
    run.press("P")
    run.wait_for("you have the controls")
    other.wait_for("watching")
    run.press(" ")
    other.wait_for("RUNNING")


def test_a_screen_says_that_the_process_is_gone_where_it_was_killed(start: Start) -> None:
    run = start("sums.toml", "--headless", "--run", "killed")
    run.wait_event(ev.StepDone, step=20)
    screen = start("attach", "killed")
    screen.wait_for("RUNNING")
    run.process.kill()
    screen.wait_for("FAILED", "is gone without an ending")
    screen.press("q")
    assert screen.wait_exit() == 0
    assert "killed failed at step" in screen.text


def test_from_the_list_of_runs_a_live_one_is_attached_to_and_left_again(start: Start) -> None:
    run = start("sums.toml", "--headless", "--run", "apart")
    run.wait_event(ev.StepDone, step=20)
    runs = start("runs", "--screen")
    runs.wait_for("apart", "1 live")
    runs.press("a")
    runs.wait_for("sums · apart", "RUNNING", "you have the controls")
    runs.press(" ")
    runs.wait_for("PAUSED")
    runs.press("q")
    runs.wait_for("1 live")
    run.wait_event(ev.PilotChanged, seat=None)
    assert run.process.poll() is None


def test_checkpoints_are_gone_back_to_from_attached_screens_here_and_by_ssh(start: Start, desk: Path) -> None:
    run = start("sums.toml", "--headless", "--run", "apart")
    run.wait_event(ev.StepDone, step=20)
    far = ("attach", f"there:{desk}/runs/apart", *as_if_by_ssh(desk))
    for number, arguments in enumerate([("attach",), far], start=1):
        screen = start(*arguments)
        screen.wait_for("RUNNING", "has the controls")
        screen.press("c")
        run.wait_until(lambda n=number: len(told(run, ev.CheckpointSaved, reason="asked")) == n, "a checkpoint")
        saved = told(run, ev.CheckpointSaved, reason="asked")[-1].step
        run.wait_event(ev.StepDone, step=saved + 20)
        screen.press("b")
        screen.wait_for("rewind", f"{saved:,}", "the present", "go back")
        screen.press("f")
        screen.wait_for("cannot become a fork", "sums.toml --fork apart")
        screen.press("\r")
        run.wait_until(lambda n=number: len(told(run, ev.Resumed)) == n, "it goes back")
        back = told(run, ev.Resumed)[-1]
        assert back.step == saved and back.left >= saved + 20
        screen.wait_for("« rewound")
        screen.press("qd")
        assert screen.wait_exit() == 0
        run.wait_until(lambda n=number: len(told(run, ev.PilotChanged, seat=None)) == n, "nobody steers it")


def told(run: Cockpit, kind: type, **fields: Any) -> list[Any]:
    """The log's events of a kind with these fields."""
    return [
        event for event in run.events()
        if isinstance(event, kind) and all(getattr(event, key) == value for key, value in fields.items())
    ]  # fmt: skip
