"""The clock through time: what each stretch of a run was spent on, however long the run is."""

from __future__ import annotations

import pytest

from cockpit.timeline import FINE, MOMENTS, Timeline
from gpt.events import PHASES


def clock(**seconds: float) -> dict[str, float]:
    return dict.fromkeys(PHASES, 0.0) | seconds


def run_of(minutes: int, every: float = 0.5) -> tuple[Timeline, dict[str, float]]:
    """Training, and in each minute's last six seconds an evaluation."""
    timeline, seconds = Timeline(), clock()
    for tick in range(round(minutes * 60 / every)):
        seconds["evaluate" if tick * every % 60 >= 54 else "train"] += every
        timeline = timeline.take(seconds)
    return timeline, seconds


def test_the_last_minutes_are_told_apart_from_the_whole_run() -> None:
    timeline, seconds = run_of(5)
    timeline = timeline.take(seconds := seconds | {"paused": 60.0})
    recent = timeline.since(66.0, seconds)
    assert recent["paused"] == pytest.approx(60, abs=0.6) and recent["evaluate"] == pytest.approx(6, abs=0.6)
    assert recent["train"] < 0.6
    assert sum(timeline.since(60.0, seconds).values()) == pytest.approx(60)


def test_a_run_younger_than_what_is_asked_for_gives_all_it_has() -> None:
    timeline, seconds = run_of(1)
    assert timeline.since(3600.0, seconds) == pytest.approx(seconds)


def test_stretches_add_up_to_the_run_and_say_when_it_evaluated() -> None:
    timeline, seconds = run_of(4)
    columns = timeline.columns(0.0, 240.0, 40)  # of 6 s each
    for phase in PHASES:
        assert sum(column[phase] for column in columns) == pytest.approx(seconds[phase])
    assert [n for n, column in enumerate(columns) if column["evaluate"] > 5] == [9, 19, 29, 39]


def test_a_long_run_takes_bounded_memory_and_still_shows_all_of_it() -> None:
    timeline, seconds = run_of(60 * 12, every=2.0)
    assert len(timeline.coarse) <= MOMENTS and len(timeline.fine) <= FINE
    assert len(timeline.coarse) > MOMENTS / 3
    whole = timeline.columns(0.0, sum(seconds.values()), 100)
    assert sum(sum(column.values()) for column in whole) == pytest.approx(12 * 3600)
    assert all(column["evaluate"] == pytest.approx(0.1 * 432, rel=0.5) for column in whole)
    assert timeline.since(300.0, seconds)["evaluate"] == pytest.approx(30, abs=4)


def test_a_clock_that_was_set_back_begins_anew_from_there() -> None:
    timeline, _ = run_of(3)
    timeline = timeline.take(clock(train=60.0)).take(clock(train=61.0))
    assert timeline.coarse[-1].wall == timeline.fine[-1].wall == 61.0
    walls = [reading.wall for reading in timeline.fine]
    assert walls == sorted(walls)


def test_nothing_measured_is_nothing() -> None:
    assert sum(Timeline().since(60.0, {}).values()) == 0
    assert len(Timeline().columns(0.0, 0.0, 3)) == 3
