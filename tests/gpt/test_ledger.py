"""Every second of a run belongs to exactly one phase."""

from __future__ import annotations

import pytest

from gpt.events import PHASES
from gpt.ledger import TimeLedger


class Clock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def spent(ledger: TimeLedger) -> dict[str, float]:
    return {phase: seconds for phase, seconds in ledger.seconds.items() if seconds}


def test_time_goes_to_the_phase_that_is_on(clock: Clock):
    ledger = TimeLedger(clock=clock)
    clock.now += 2
    assert ledger.switch("train") == "startup"
    clock.now += 5
    ledger.update()
    assert spent(ledger) == {"startup": 2, "train": 5}


def test_a_nested_phase_suspends_the_one_around_it(clock: Clock):
    ledger = TimeLedger("train", clock=clock)
    clock.now += 1
    with ledger.during("evaluate"):
        clock.now += 10
        with ledger.during("sample"):
            clock.now += 100
        assert ledger.phase == "evaluate"
        clock.now += 20
    clock.now += 3
    ledger.update()
    assert ledger.phase == "train"
    assert spent(ledger) == {"train": 4, "evaluate": 30, "sample": 100}


def test_the_phases_add_up_to_wall_time(clock: Clock):
    ledger = TimeLedger(clock=clock)
    for number in range(100):
        with ledger.during(PHASES[number % len(PHASES)]):
            clock.now += 0.1 * number
        clock.now += 0.01
    ledger.update()
    assert ledger.wall == pytest.approx(clock.now - 1000)


def test_an_error_inside_a_phase_still_ends_it(clock: Clock):
    ledger = TimeLedger("train", clock=clock)
    with pytest.raises(OSError), ledger.during("checkpoint"):
        clock.now += 7
        raise OSError
    clock.now += 1
    ledger.update()
    assert spent(ledger) == {"checkpoint": 7, "train": 1}


def test_an_earlier_sessions_seconds_are_carried_over(clock: Clock):
    ledger = TimeLedger(seconds={"train": 50.0, "a phase of older days": 5.0}, clock=clock)
    clock.now += 1
    ledger.update()
    assert spent(ledger) == {"train": 50, "other": 5, "startup": 1}


def test_updating_twice_counts_once(clock: Clock):
    ledger = TimeLedger("train", clock=clock)
    clock.now += 4
    ledger.update()
    ledger.update()
    assert ledger.wall == 4


def test_an_unknown_phase_is_refused_and_changes_nothing(clock: Clock):
    ledger = TimeLedger("train", clock=clock)
    with pytest.raises(KeyError):
        ledger.switch("lunch")
    assert ledger.phase == "train"


def test_goodput_is_the_share_of_training(clock: Clock):
    ledger = TimeLedger(clock=clock)
    assert ledger.goodput is None
    clock.now += 1
    ledger.switch("train")
    clock.now += 3
    ledger.update()
    assert ledger.goodput == pytest.approx(0.75)
