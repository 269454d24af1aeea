"""The screen pays for its frames."""

from __future__ import annotations

import pytest

from cockpit.budget import FASTEST, HURRIED_FRAMES, SLOWEST, FrameBudget


class Clock:
    def __init__(self, allowed: float) -> None:
        self.now = self.used = 0.0
        self.budget = FrameBudget(allowed, wall=lambda: self.now, cpu=lambda: self.used)

    def frames(self, seconds: float, cost: float) -> int:
        """Draws frames that cost `cost` seconds each for some time; returns how many."""
        until, count = self.now + seconds, 0
        while self.now < until:
            self.now += self.budget.next_delay(True)
            self.used += cost
            count += 1
        return count


@pytest.mark.parametrize("cost", [0.002, 0.005, 0.012])
def test_frames_stay_within_the_budget(cost: float) -> None:
    clock = Clock(0.01)
    clock.frames(10, cost)
    used, now = clock.used, clock.now
    clock.frames(100, cost)
    assert (clock.used - used) / (clock.now - now) <= 0.0105


def test_cheap_frames_come_ten_times_a_second_at_most() -> None:
    assert Clock(0.01).frames(10, 0.0) <= 10 / FASTEST + 1


def test_dear_frames_still_come_every_two_seconds() -> None:
    assert Clock(0.01).frames(20, 5.0) >= 20 / SLOWEST - 1


def test_a_key_press_is_drawn_at_once_and_made_up_for() -> None:
    clock = Clock(0.01)
    clock.frames(10, 0.01)
    clock.budget.hurry()
    delays = []
    for _ in range(HURRIED_FRAMES + 1):
        delays.append(clock.budget.next_delay(True))
        clock.now += delays[-1]
        clock.used += 0.01
    assert delays[:-1] == [FASTEST] * HURRIED_FRAMES
    assert delays[-1] > 1


def test_share_is_what_was_spent_over_the_time_it_took() -> None:
    clock = Clock(0.02)
    assert clock.budget.share is None
    clock.frames(60, 0.01)
    assert clock.budget.share == pytest.approx(0.02, rel=0.1)


def test_starting_up_is_not_held_against_the_frames() -> None:
    clock = Clock(0.01)
    clock.now, clock.used = 1.0, 0.9
    clock.budget.restart()
    clock.now += 0.1
    assert clock.budget.next_delay(False) == FASTEST


def test_the_total_counts_frames_and_all_cpu_time_since_the_start() -> None:
    clock = Clock(0.01)
    clock.used = 0.5
    clock.budget.restart()
    assert clock.budget.total == (0, 0.0)
    for drew in (True, False, True):
        clock.now += 1
        clock.used += 0.02
        clock.budget.next_delay(drew)
    assert clock.budget.total == (2, pytest.approx(0.06))
