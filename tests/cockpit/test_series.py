"""Curves grow without disturbing the versions before them."""

from __future__ import annotations

import numpy as np
import pytest

from cockpit import series as curves
from cockpit.series import Series


def filled(count: int) -> Series:
    series = Series()
    for step in range(count):
        series = series.append(step, step * 10)
    return series


def test_append_leaves_the_older_version_as_it_was() -> None:
    old = filled(5)
    new = old.append(5, 99)
    assert (len(old), len(new), old.last, new.last) == (5, 6, 40, 99)


def test_two_branches_of_one_curve_do_not_mix() -> None:
    trunk = filled(5)
    one, other = trunk.append(5, 1), trunk.append(5, 2)
    assert (one.last, other.last, trunk.last) == (1, 2, 40)
    assert np.array_equal(one.y[:5], other.y[:5])


def test_growing_past_the_buffer_keeps_every_point() -> None:
    series = filled(1000)
    assert np.array_equal(series.x, np.arange(1000)) and np.array_equal(series.y, np.arange(1000) * 10)


def test_until_keeps_that_step_and_can_be_extended_anew() -> None:
    series = filled(10)
    cut = series.until(4)
    again = cut.append(5, -1)
    assert cut.x.tolist() == [0, 1, 2, 3, 4]
    assert (again.last, series.y[5]) == (-1, 50)


def test_none_is_kept_as_unknown() -> None:
    series = filled(2).append(2, None)
    assert series.last is None and np.isnan(series.y[2]) and len(series) == 3


def test_empty_curve_has_no_last_value() -> None:
    assert Series().last is None and len(Series().until(3)) == 0


def long_curve(count: int, spikes: dict[int, float]) -> Series:
    """Noise around 2 with some spikes, as a run appends it: in pieces."""
    y = 2 + 0.1 * np.random.default_rng(5).standard_normal(count)
    for step, value in spikes.items():
        y[step - 1] = value
    series = Series()
    for start in range(0, count, 5000):
        end = min(count, start + 5000)
        series = series.extend(np.arange(start + 1.0, end + 1.0), y[start:end])
    return series


def held(series: Series) -> int:
    """Bytes behind a curve."""
    return series._buffer.data.nbytes + sum(level.data.nbytes for level in series._levels)


def test_a_curve_of_a_million_points_is_flat_in_memory_and_keeps_every_spike_at_every_zoom() -> None:
    spikes = {1: 9.0, 123_456: 8.0, 500_000: -3.0, 900_001: 7.0, 999_999: 6.0}
    series = long_curve(1_000_000, spikes)
    assert len(series) == 1_000_000 and held(series) < 1e6
    assert held(long_curve(300_000, {})) > 0.5 * held(series), "three times as long takes little more"
    for step, value in spikes.items():
        for around in (1e6, 1e5, 1e4, 1000, 50):
            points = series.points(step - around, step + around, least=400)
            greatest = points.high if value > 2 else -points.low
            assert greatest[np.isfinite(greatest)].max() >= abs(value), (step, around)
            assert len(points.x) < 12_000 and (np.diff(points.x) >= 0).all()


def test_the_newest_points_of_a_long_curve_are_exact() -> None:
    series = long_curve(100_000, {})
    assert len(series.x) >= 4096 and np.array_equal(series.x, np.arange(100_001.0 - len(series.x), 100_001.0))
    assert series.points(99_000, 100_000).x.tolist() == list(range(99_000, 100_001))


def test_the_first_step_is_known_however_long_the_curve() -> None:
    assert (Series().first_x, filled(5).first_x, long_curve(200_000, {}).first_x) == (None, 0, 1)


def test_a_long_curve_that_is_cut_far_back_ends_there_and_goes_on() -> None:
    series = long_curve(200_000, {150_000: 9.0})
    for step in (3, 17, 1000, 70_000, 140_003, 199_000, 200_000):
        cut = series.until(step)
        points = cut.points()
        assert step - 4096 < len(cut) <= step and (not len(points.x) or points.x[-1] <= step)
        assert not (points.high > 5).any() or step >= 150_000
        on = cut.extend(np.arange(step + 1.0, step + 20_001.0), np.full(20_000, 4.0))
        assert on.last == 4.0 and len(on) == len(cut) + 20_000 and (np.diff(on.points().x) > 0).all()
    assert len(series) == 200_000 and (series.points().high > 5).any(), "the older version is as it was"


def test_appending_one_by_one_and_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "KEPT", 64)
    monkeypatch.setattr(curves, "BUCKETS", 16)
    dice = np.random.default_rng(2)
    singly = pieces = Series()
    for _ in range(30):
        y = dice.normal(size=dice.integers(0, 400))
        x = len(pieces) + np.arange(1.0, len(y) + 1)
        for one, value in zip(x, y, strict=True):
            singly = singly.append(one, value)
        pieces = pieces.extend(x, y)
        assert all(np.array_equal(*pair) for pair in zip(singly.points(least=50), pieces.points(least=50), strict=True))
        if dice.random() < 0.3:
            step = dice.integers(0, len(pieces) + 1)
            singly, pieces = singly.until(step), pieces.until(step)
