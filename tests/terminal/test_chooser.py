"""`gpt-cockpit attach` where several runs are being trained: which one is meant."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from harness import ROOT, Cockpit

from cockpit.chooser import choose
from cockpit.commands_attach import trained
from cockpit.runs import Run
from gpt import events as ev
from tests.link.acted_run import PROFILE, Actor, Stage
from tests.patience import wait_until

Start = Callable[..., Cockpit]


@pytest.fixture
def two(desk: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Run]]:
    """Runs of this process that can be attached to, the one made last first; without torch."""
    monkeypatch.setitem(sys.modules, "gpt.trainer", SimpleNamespace(Trainer=Actor))
    with ExitStack() as stack:
        for name, made in (("newer", 2e9), ("older", 1e9)):
            run = Run.create(desk / "runs", name, "demo")
            run.write_profile(PROFILE)
            run.write_facts({"run": name, "pid": os.getpid(), "host": "here", "created": made})
            stack.enter_context(run.lock())
            stage = Stage(run)
            stack.callback(stage.end)
            stage.actor.play(ev.StepDone(
                step=7, tokens=7, loss=3.25, lr=1e-3, grad_norm=1.0, ms=10.0, tokens_per_s=1.0, mfu=None
            ))  # fmt: skip
        runs = [Run(desk / "runs" / name) for name in ("newer", "older")]
        for run in runs:
            wait_until(run.has_step, "the step in the log")
        yield runs


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("\n", 0), ("1\n", 0), ("2\n", 1), ("older\n", 1), ("3\nodler\n0\n-1\n2\n", 1), ("q\n", None), ("", None)],
)
def test_a_number_a_name_or_enter_chooses_and_anything_else_is_asked_again(
    two: list[Run], typed: str, meant: int | None
) -> None:
    said = io.StringIO()
    chosen = choose(two, io.StringIO(typed), said)
    assert chosen is (None if meant is None else two[meant])
    assert said.getvalue().count("Attach to which?") == max(1, typed.count("\n"))
    assert ("did you mean older?" in said.getvalue()) == ("odler" in typed)


def test_a_run_whose_name_is_a_number_is_meant_by_it(tmp_path: Path) -> None:
    runs = [Run.create(tmp_path, name, "demo") for name in ("first", "1")]
    assert choose(runs, io.StringIO("1\n"), io.StringIO()) is runs[1]


def test_attach_alone_asks_which_and_shows_that_one(start: Start, two: list[Run]) -> None:
    assert [run.name for run in trained(two[0].path.parent)] == ["newer", "older"]
    screen = start("attach")
    screen.wait_for("2 runs are being trained", "1  newer", "2  older", "step 7", "Attach to which?")
    screen.press("2\n")
    screen.wait_for("demo · older", "has the controls")
    screen.press("q")
    screen.wait_for("leave it running")
    screen.press("d")
    assert screen.wait_exit() == 0 and screen.modes_restored()
    assert "gpt-cockpit attach older comes back" in screen.text


def test_none_is_chosen_by_q_and_by_the_end_of_input_and_the_prompt_is_back(start: Start, two: list[Run]) -> None:
    for typed in ("q\n", "\x04"):
        screen = start("attach")
        screen.wait_for("Attach to which?")
        screen.press(typed)
        assert screen.wait_exit() == 0 and b"\x1b[?1049h" not in screen.raw


def test_without_a_terminal_one_line_names_them(two: list[Run], desk: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cockpit", "attach"], cwd=desk, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gpt-cockpit: 2 runs are being trained: newer, older; name one of them\n"
