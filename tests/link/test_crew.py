"""What a rank that is not the first ends with, whatever its trainer does; without torch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cockpit.link import crew
from gpt import events as ev
from gpt.config import Profile
from gpt.ranks import Ranks

Ends = Callable[[Any], None]


class Told(Ranks):
    """A second rank whom the first has told what to do."""

    rank, size = 1, 2

    def __init__(self, task: crew.Task) -> None:
        self._task = task

    def agree(self, value: Any) -> Any:
        return self._task


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Ends], int]:
    """Serves with a trainer that does nothing but end in this way; gives the exit code."""

    def serve(end: Ends) -> int:
        class Trainer:
            failure: ev.Failed | None = None

            def __init__(self, *_: Any, **__: Any) -> None: ...

            def run(self) -> None:
                end(self)

        monkeypatch.setitem(sys.modules, "gpt.trainer", SimpleNamespace(Trainer=Trainer))  # type: ignore[arg-type]
        return crew.serve(Told(crew.Task(tmp_path, None, Profile(name="demo"))))

    return serve


@pytest.mark.parametrize(("user_error", "code"), [(True, 2), (False, 1)])
def test_a_failure_decides_the_exit_code(
    user_error: bool, code: int, served: Callable[[Ends], int], capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(trainer: Any) -> None:
        trainer.failure = ev.Failed(step=3, phase="train", error="no more room", user_error=user_error)

    assert served(fails) == code
    assert "gpt-cockpit: no more room\n" in capsys.readouterr().err


def test_a_trainer_that_breaks_without_saying_why_is_no_success(
    served: Callable[[Ends], int], capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(trainer: Any) -> None:
        raise OSError("the disk has gone")

    assert served(breaks) == 1
    assert "gpt-cockpit: OSError: the disk has gone\n" in capsys.readouterr().err


def test_one_that_comes_to_its_end_is(served: Callable[[Ends], int]) -> None:
    assert served(lambda trainer: None) == 0
