"""`gpt-cockpit PROFILE --fork RUN[@STEP]`: a new run that begins at another's checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_runs import lay_out, train

from gpt import events as ev


def files(run: str, step: int) -> dict[str, str]:
    return json.loads(Path(f"runs/{run}/checkpoints/step-{step:08d}/state.json").read_text())["files"]


def events(run: str, kind: type) -> list[Any]:
    lines = Path(f"runs/{run}/events.jsonl").read_bytes().splitlines()
    return [event for event in map(ev.decode, lines) if isinstance(event, kind)]


@pytest.fixture(autouse=True)
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lay_out()
    assert train("--run", "first") == 0


def test_a_fork_without_a_change_takes_the_same_steps_and_says_where_it_came_from() -> None:
    assert train("--fork", "first@4", "--run", "second") == 0
    assert files("second", 12) == files("first", 12)
    assert json.loads(Path("runs/second/run.json").read_text())["forked_from"] == {"run": "first", "step": 4}
    (started,), (resumed,) = events("second", ev.RunStarted), events("second", ev.Resumed)
    assert started.forked_from == ev.Origin(run="first", step=4) and (resumed.step, resumed.exact) == (4, True)
    assert [step.step for step in events("second", ev.StepDone)] == [*range(5, 13)]
    assert [step.step for step in events("first", ev.StepDone)] == [*range(1, 13)]


def test_a_fork_of_the_newest_goes_on_with_other_settings() -> None:
    assert train("--fork", "first", "--run", "third", "--set", "train.max_steps=14") == 0
    assert [step.step for step in events("third", ev.StepDone)] == [13, 14]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--fork", "first@5"], "no checkpoint of step 5; there are: 4, 8, 12"),
        (["--fork", "nobody"], "no run nobody"),
        (["--fork", "first@4", "--resume"], "give one of them"),
        (["--fork", "first@4", "--set", "model.n_embd=32"], "another shape"),
    ],
)
def test_what_cannot_be_forked_leaves_no_run_behind(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*arguments, "--run", "second") == 2
    assert why in capsys.readouterr().err
    assert [path.name for path in Path("runs").iterdir()] == ["first"]
