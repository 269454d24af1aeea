"""Curves grow without disturbing the versions before them."""

from __future__ import annotations

import numpy as np

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
