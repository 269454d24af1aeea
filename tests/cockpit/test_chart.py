"""The chart's arithmetic, and that strange curves are drawn without fuss."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from played_runs import run_started, step_done

from cockpit.reducer import reduce_all
from cockpit.state import RunState
from cockpit.widgets import chart, plot
from gpt import events as ev


def state_of(losses: list[float | None]) -> RunState:
    return reduce_all(RunState(), [run_started(), *(step_done(i + 1, loss) for i, loss in enumerate(losses))])


def test_a_single_spike_among_a_million_points_is_in_the_raster() -> None:
    y = np.full(1_000_000, 2.0)
    y[654_321] = 2.5
    x = np.arange(1.0, 1_000_001.0)
    low, high = plot.envelope(x, y, 0, 1_000_000, 200)
    column = int(654_322 / 1_000_000 * 200)
    assert high[column] == 2.5 and low[column] == 2.0
    mask = plot.dots(low, high, 1.9, 2.6, 40)
    assert mask[:, column].sum() > 20
    assert all(mask[:, other].sum() <= 2 for other in range(200) if other != column)


def test_envelope_agrees_with_a_plain_loop() -> None:
    dice = np.random.default_rng(0)
    x, y = np.sort(dice.uniform(0, 100, 500)), dice.normal(size=500)
    y[::7] = np.nan
    low, high = plot.envelope(x, y, 10, 90, 33)
    edges = np.linspace(10, 90, 34)
    for column in range(33):
        inside = y[(x >= edges[column]) & ((x < edges[column + 1]) | ((column == 32) & (x <= 90)))]
        finite = inside[np.isfinite(inside)]
        if len(finite):
            assert (low[column], high[column]) == (finite.min(), finite.max())
        else:
            assert np.isnan(low[column]) and np.isnan(high[column])


def test_envelope_leaves_out_what_is_not_finite() -> None:
    x, y = np.arange(4.0), np.array([1.0, np.nan, np.inf, 2.0])
    low, high = plot.envelope(x, y, 0, 3, 1)
    assert (low[0], high[0]) == (1.0, 2.0)


def test_joined_columns_touch() -> None:
    low, high = plot.joined(np.array([1.0, np.nan, np.nan, 4.0, 9.0]), np.array([2.0, np.nan, np.nan, 5.0, 9.0]))
    assert np.isfinite(low).all()
    assert all(low[i + 1] <= high[i] and high[i + 1] >= low[i] for i in range(4))


def test_line_is_straight_between_points_and_absent_outside_them() -> None:
    values = plot.line(np.array([2.0, 8.0]), np.array([0.0, 6.0]), 0, 10, 10)
    assert np.isnan(values[:2]).all() and np.isnan(values[9])
    assert values[2:9].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_braille_sets_the_bits_of_unicode() -> None:
    mask = np.zeros((4, 4), dtype=bool)
    mask[0, 0] = mask[3, 1] = mask[1, 2] = True
    assert plot.braille(mask).tolist() == [[0x81, 0x02]]


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0, 10, 5, [0, 5, 10]),
        (0, 1000, 4, [0, 500, 1000]),
        (1.31, 2.3, 5, [1.4, 1.6, 1.8, 2.0, 2.2]),
        (3.0, 3.001, 3, [3.0, 3.0005, 3.001]),
    ],
)
def test_ticks_are_round(low: float, high: float, most: int, expected: list[float]) -> None:
    ticks = plot.ticks(low, high, most)
    assert ticks == pytest.approx(expected)
    assert len(ticks) <= most


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (0.0, np.inf)])
def test_ticks_of_no_range_are_none(low: float, high: float) -> None:
    assert plot.ticks(low, high, 5) == []


def test_high_first_losses_do_not_flatten_the_rest() -> None:
    x = np.arange(1.0, 2001.0)
    low, high = plot.envelope(x, 3 + 8 * np.exp(-x / 15), 0, 2000, 200)
    y0, y1 = plot.clipped_range(low, high, np.array([]))
    assert y0 <= 3.0 and y1 < 4


def test_one_spike_does_not_flatten_the_rest() -> None:
    y = np.linspace(3.2, 3.0, 2000)
    y[1500] = 40
    low, high = plot.envelope(np.arange(2000.0), y, 0, 2000, 200)
    assert plot.clipped_range(low, high, np.array([]))[1] < 4


def test_scale_moves_in_strides() -> None:
    scales = {plot.scale(3.0 - shift, 3.6 - shift, 12)[:2] for shift in np.linspace(0, 0.05, 50)}
    assert len(scales) <= 4


@pytest.mark.parametrize("rows", [1, 2, 5, 8, 12, 25, 60])
@pytest.mark.parametrize("span", [(1.3, 2.4), (0, 11), (3.0, 3.0001), (-5, 5), (2.31, 2.32), (0, 1e30), (1e-9, 2e-9)])
def test_scale_holds_the_range_and_its_grid_is_even(span: tuple[float, float], rows: int) -> None:
    y0, y1, ticks = plot.scale(*span, rows)
    assert y0 <= span[0] and y1 >= span[1] - 1e-9 * (span[1] - span[0])
    at = [float(plot.row_of(np.array(tick), y0, y1, 4 * rows)) // 4 for tick in ticks]
    assert len({a - b for a, b in itertools.pairwise(at)}) <= 1
    assert len(ticks) >= min(2, rows // 3)


@pytest.mark.parametrize(
    "losses",
    [
        [], [2.0], [None], [None, None, None], [2.0, None, 1.0], [3.0] * 50, [0.0] * 5, [1e30, 1.0, 1e-30],
        [float("inf"), 2.0], [-5.0, 5.0], [10.0] * 30 + [None] * 30,
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [(120, 15), (13, 3), (12, 4), (5, 1), (1, 1)])
def test_strange_curves_are_drawn(losses: list[float | None], size: tuple[int, int]) -> None:
    width, height = size
    rows = chart.draw(state_of(losses), width, height)
    assert len(rows) == height
    assert all(row.cell_length == width for row in rows)


def test_what_is_above_the_scale_is_pointed_at_with_its_value() -> None:
    losses = [3.0 + 0.001 * (i % 7) for i in range(400)]
    losses[200] = 9.5
    text = "\n".join(row.text for row in chart.draw(state_of(losses), 120, 15))
    assert "↑ 9.50" in text


def test_events_of_the_run_are_set_into_the_axis() -> None:
    state = reduce_all(
        state_of([3.0] * 100),
        [
            ev.CheckpointSaved(step=50, path="checkpoints/x", size=1, seconds=0.1, reason="asked"),
            ev.ConfigChanged(step=80, key="optim.learning_rate", old="1.0", new="0.5"),
            ev.Paused(step=20),
        ],
    )
    axis = chart.draw(state, 108, 10)[-2].text
    assert (axis.index("◇"), axis.index("▲"), axis.index("‖")) == (8 + 40, 8 + 64, 8 + 16)  # 125 steps on 100 cells


def test_axis_grows_in_strides_up_to_the_last_step() -> None:
    ends = [chart.step_range(RunState(step=step, max_steps=2000))[1] for step in range(1, 2001)]
    assert len(set(ends)) < 30 and ends[-1] == 2000
    assert all(end >= step for step, end in enumerate(ends, start=1))


def test_sparkline_has_its_width_and_its_newest_value_at_the_right() -> None:
    line = plot.sparkline(np.array([1.0, np.nan, 3.0]), 6)
    assert line == "   ▁ █"
    assert plot.sparkline(np.array([]), 4) == "    "


def test_means_move_only_when_a_stretch_is_complete() -> None:
    y = np.arange(1000.0)
    assert np.array_equal(plot.recent_means(y[:993], 10), plot.recent_means(y[:994], 10))
    assert len(plot.recent_means(y, 10)) == 10
