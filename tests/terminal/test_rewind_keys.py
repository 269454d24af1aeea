"""Going back, forking and testing rates by the keys, in the real program."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from harness import Cockpit

from gpt import events as ev

Start = Callable[..., Cockpit]


@pytest.fixture
def cockpit(start: Start) -> Cockpit:
    """The program, training, with a checkpoint."""
    cockpit = start("sums.toml", "--run", "first")
    cockpit.wait_event(ev.StepDone, step=5)
    cockpit.press("c")
    cockpit.wait_event(ev.CheckpointSaved, reason="asked")
    return cockpit


def test_b_goes_back_to_a_checkpoint_at_another_rate_and_keeps_what_it_leaves(cockpit: Cockpit) -> None:
    saved = cockpit.wait_event(ev.CheckpointSaved, reason="asked").step
    cockpit.wait_event(ev.StepDone, step=saved + 20)
    cockpit.press("b")
    cockpit.wait_for("rewind", "the present", f"{saved:,}", "go back")
    cockpit.press("\x1b[B")  # one lower
    cockpit.wait_for("× 0.7")
    cockpit.press("\r")
    resumed = cockpit.wait_event(ev.Resumed)
    assert resumed.step == saved and resumed.left >= saved + 20
    changed = cockpit.wait_event(ev.ConfigChanged, key="optim.learning_rate")
    assert (changed.step, changed.new) == (saved, "0.0007")
    cockpit.wait_for("« rewound")
    aside = cockpit.run_dir / "checkpoints/abandoned/1" / f"step-{resumed.left:08d}"
    cockpit.wait_until(aside.exists, "the present is kept aside")
    cockpit.press(" ")
    cockpit.wait_for("PAUSED")


def test_capital_l_tests_rates_and_y_takes_the_suggestion(cockpit: Cockpit) -> None:
    cockpit.press("L")
    cockpit.wait_for("learning-rate range test", "enter begin")
    cockpit.press("\r")
    done = cockpit.wait_event(ev.RangeTestDone)
    assert done.suggestion is not None and done.points > 10
    cockpit.wait_for("suggests")
    cockpit.press("y")
    changed = cockpit.wait_event(ev.ConfigChanged, key="optim.learning_rate")
    assert float(changed.new) == done.suggestion


def test_f_goes_on_in_a_new_run_from_a_checkpoint(cockpit: Cockpit) -> None:
    saved = cockpit.wait_event(ev.CheckpointSaved, reason="asked").step
    cockpit.press("f")
    cockpit.wait_for("fork", "the present")
    cockpit.press("\x1b[D\r")
    cockpit.wait_for(f"Fork a new run from step {saved:,}?", "--resume --run first")
    before = len(cockpit.raw)
    cockpit.press("second\r")
    cockpit.wait_until(lambda: b"STARTING" in cockpit.raw[before:], "the new run")  # it may soon be over
    cockpit.wait_for("RUNNING", "second")
    runs = cockpit.cwd / "runs"
    assert json.loads((runs / "second/run.json").read_text())["forked_from"] == {"run": "first", "step": saved}
    events: list[ev.Event] = []

    def resumes() -> bool:
        events[:] = [ev.decode(line) for line in (runs / "second/events.jsonl").read_bytes().split(b"\n")[:-1]]
        return any(isinstance(event, ev.Resumed) for event in events)

    cockpit.wait_until(resumes, "the fork's log")
    (started,) = [event for event in events if isinstance(event, ev.RunStarted)]
    assert (started.step, started.forked_from) == (saved, ev.Origin(run="first", step=saved))
    (resumed,) = [event for event in events if isinstance(event, ev.Resumed)]
    assert resumed.exact, resumed.why
    first = [ev.decode(line) for line in (runs / "first/events.jsonl").read_bytes().splitlines()]
    assert [event.reason for event in first if isinstance(event, ev.Finished)] == ["stopped"]
