"""What counts as standing still, in which phase; and that a real run which hangs says so, with its stacks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from gpt import events as ev
from gpt.config import Profile, TrainConfig
from gpt.ledger import TimeLedger
from gpt.watchdog import Watchdog


class Watched:
    """A run of which only the clock is real enough, and that clock is ours."""

    def __init__(self, *, stalled_after: float = 60.0, phase: str = "train") -> None:
        self.now = 1000.0
        self.said: list[Any] = []
        run: Any = SimpleNamespace(
            profile=Profile(train=TrainConfig(stalled_after=stalled_after)), step=7, ledger=TimeLedger(phase)
        )
        self.run = run
        self.dog = Watchdog(run, self.said.append, clock=lambda: self.now)

    def step(self, seconds: float) -> None:
        self.now += seconds
        self.dog.hear(ev.StepDone(step=7, loss=1.0, lr=1.0, grad_norm=1.0, ms=1e3 * seconds, tokens=1, tokens_per_s=1))

    def silence(self, seconds: float) -> list[Any]:
        """What is said while nothing is heard for so long, the clock being looked at once a second."""
        self.said.clear()
        for _ in range(round(seconds)):
            self.now += 1
            self.dog.look()
        return list(self.said)


@pytest.fixture(autouse=True)
def stacks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    dumped: list[int] = []
    monkeypatch.setattr("gpt.watchdog.faulthandler.dump_traceback", lambda file, all_threads: dumped.append(file))
    return dumped


def test_a_long_silence_is_told_once_with_its_phase_and_so_is_its_end(stacks: list[int]) -> None:
    watched = Watched(phase="data")
    (stalled,) = watched.silence(200)
    assert (stalled.phase, stalled.step) == ("data", 7) and 60 < stalled.seconds <= 62
    assert stacks == [2]
    watched.step(1.0)
    assert [type(event) for event in watched.silence(30)] == [ev.StallEnded]
    assert [type(event) for event in watched.silence(200)] == [ev.Stalled], "and the next one is told again"


def test_steps_that_take_minutes_are_given_ten_times_as_long() -> None:
    watched = Watched()
    for _ in range(3):
        watched.step(90.0)
    assert not watched.silence(890)
    assert watched.silence(20)


@pytest.mark.parametrize(
    ("phase", "seconds"),
    [("startup", 600), ("compile", 1800), ("evaluate", 120), ("sample", 120), ("checkpoint", 600), ("paused", 60)],
)
def test_every_phase_has_a_patience_of_its_own(phase: str, seconds: int) -> None:
    watched = Watched(phase=phase)
    assert not watched.silence(seconds)
    assert [event.phase for event in watched.silence(3)] == [phase]


def test_a_process_that_itself_stood_still_did_not_hang() -> None:
    watched = Watched()
    watched.silence(10)
    watched.now += 3600  # ctrl+z, and fg an hour later
    assert not watched.silence(50)


def test_zero_turns_it_off() -> None:
    assert not Watched(stalled_after=0).silence(100_000)


def test_a_run_that_hangs_says_where_and_goes_on(
    tiny: Callable[..., Profile], run: Callable[..., list[ev.Event]], monkeypatch: pytest.MonkeyPatch,
    stacks: list[int],
) -> None:  # fmt: skip
    """A step is held up until the watchdog has barked; without it this test would never end."""
    from gpt import trainer

    rate, heard = trainer.learning_rate, threading.Event()

    def held_up(step: int, *arguments: Any) -> float:
        if step == 5:
            assert heard.wait(60)
        return rate(step, *arguments)

    def told() -> list[tuple[type, bool]]:
        """What was said of stalls once step 5 was held up; a busy machine may have had some before."""
        kinds = (ev.Stalled, ev.StallEnded)
        return [(type(event), event.step == 5) for event in events if isinstance(event, kinds) and event.step >= 5]

    def pilot(event: ev.Event) -> None:
        events.append(event)
        if isinstance(event, ev.Stalled) and event.step == 5:
            heard.set()
        until = time.monotonic() + 60
        while isinstance(event, ev.StepDone) and event.step == 6 and len(told()) < 2 and time.monotonic() < until:
            time.sleep(0.01)

    events: list[ev.Event] = []
    monkeypatch.setattr(trainer, "learning_rate", held_up)
    run(tiny(train__stalled_after=0.5), pilot=lambda _, event: pilot(event))
    assert told()[0] == (ev.Stalled, True) and told()[1][0] is ev.StallEnded and stacks
    assert [event.step for event in events if isinstance(event, ev.StepDone)] == list(range(1, 13))
