"""Where a step stands on the axis, and what zooming and panning make of it."""

from __future__ import annotations

import random

import numpy as np
import pytest
from played_runs import START, run_started, step_done

from cockpit.lens import AXES, Lens
from cockpit.reducer import reduce_all
from cockpit.state import RunState
from cockpit.widgets import plot
from cockpit.widgets.axes import label, panned, x_axis, zoomed
from cockpit.widgets.drawing import step_range


def run_of(steps: int) -> RunState:
    """A run whose second half is twice as slow a step."""
    at = START
    events = [run_started(max_steps=2 * steps)]
    for step in range(1, steps + 1):
        at += 1.0 if step <= steps // 2 else 2.0
        events.append(step_done(step, 2.0, time=at))
    return reduce_all(RunState(), events)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("window", [None, (200.0, 700.0)])
def test_a_place_on_the_axis_leads_back_to_its_step(axis: str, log: bool, window: tuple[float, float] | None) -> None:
    state = run_of(1000)
    shown = x_axis(state, Lens(axis=axis, log_x=log, window=window), step_range(state))
    for step in (210.0, 500.0, 690.0):
        assert shown.step(shown.place(step)) == pytest.approx(step, rel=1e-3)
    places = [shown.place(step) for step in (210, 300, 500, 690)]
    assert places == sorted(places) and places[0] >= 0 and places[-1] <= 1


def test_over_time_slow_steps_take_more_room_than_over_steps() -> None:
    state = run_of(1000)
    extent = step_range(state)
    over_steps, over_time = (x_axis(state, Lens(axis=axis), extent) for axis in ("step", "time"))
    assert over_steps.place(500) > over_time.place(500)


def test_over_tokens_and_flops_a_step_counts_what_the_run_counts() -> None:
    state = run_of(100)
    for axis, each in (("tokens", 4096.0), ("flops", 4096.0 * 1.7e7)):
        assert x_axis(state, Lens(axis=axis), (0, 100)).u(np.array([50.0]))[0] == pytest.approx(50 * each)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("axis", AXES)
def test_zooming_keeps_what_is_under_the_hand_in_its_place(axis: str, log: bool) -> None:
    state = run_of(1000)
    extent = step_range(state)
    lens = Lens(axis=axis, log_x=log)
    shown = x_axis(state, lens, extent)
    step = shown.step(0.4)
    closer = zoomed(lens, shown, 2.0, 0.4, extent)
    assert x_axis(state, closer, extent).place(step) == pytest.approx(0.4, abs=0.02)
    assert closer.window is not None and closer.window[1] - closer.window[0] < extent[1] - extent[0]


def test_hands_that_zoom_and_pan_at_random_never_leave_the_run() -> None:
    state, dice = run_of(300), random.Random(3)
    extent = step_range(state)
    lens = Lens()
    for _ in range(500):
        lens = dice.choice((lens, lens.next_axis(), Lens(lens.axis, not lens.log_x, window=lens.window)))
        shown = x_axis(state, lens, extent)
        if dice.random() < 0.5:
            lens = zoomed(lens, shown, dice.choice((1.6, 1 / 1.6)), dice.random(), extent)
        else:
            lens = panned(lens, shown, dice.uniform(-1, 1), extent)
        first, last = lens.window or extent
        assert extent[0] <= first < last <= extent[1] and last - first >= 3.9


def test_zooming_out_far_enough_shows_the_whole_run_again() -> None:
    state = run_of(300)
    extent = step_range(state)
    lens = Lens(window=(100.0, 200.0))
    for _ in range(12):
        lens = zoomed(lens, x_axis(state, lens, extent), 1 / 1.6, 0.5, extent)
    assert lens.window is None


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("step", 14500, "14,500"), ("tokens", 2.5e9, "2.5 B"), ("tokens", 200, "200"), ("time", 75, "1:15"),
        ("time", 12000, "3:20"), ("time", 2 * 86400, "2 d"), ("flops", 4.1e18, "4.10e18"), ("flops", 0, "0"),
    ],
)  # fmt: skip
def test_labels_of_an_axis_are_short(kind: str, value: float, text: str) -> None:
    assert label(kind, value) == text


@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("log", [False, True])
def test_an_axis_has_ticks_in_order_and_not_too_many(kind: str, log: bool) -> None:
    state = run_of(1000)
    for window in (None, (500.0, 510.0), (100.0, 900.0)):
        ticks = x_axis(state, Lens(axis=kind, log_x=log, window=window), step_range(state)).ticks(8)
        places = [place for place, _ in ticks]
        assert 1 <= len(ticks) <= 12 and places == sorted(places)


@pytest.mark.parametrize("span", [(0.1, 1.0), (1.4, 4.2), (1e-6, 1e-3), (3.0, 3.01), (1.0, 1e12)])
def test_a_logarithmic_scale_has_round_ticks_within_it(span: tuple[float, float]) -> None:
    y0, y1, ticks = plot.log_scale(float(np.log10(span[0])), float(np.log10(span[1])), 14)
    assert 2 <= len(ticks) <= 10 and all(y0 - 1e-9 <= tick <= y1 + 1e-9 for tick in ticks)
    labels = plot.tick_labels([10**tick for tick in ticks])
    assert all(len(text) <= 6 for text in labels) and len(set(labels)) == len(labels)


@pytest.mark.parametrize("value", [3e-7, 1e-4, 6e-4, 0.1, 2.5, 12_345.0, 1e6])
@pytest.mark.parametrize("rows", [5, 14, 30])
def test_an_axis_of_a_constant_never_says_the_same_twice(value: float, rows: int) -> None:
    constant = np.full(50, value)
    _, _, ticks = plot.scale(*plot.whole_range(constant, constant, np.empty(0)), rows)
    said = [label for label in plot.tick_labels(ticks) if label]
    assert said and len(set(said)) == len(said)


def test_of_values_written_alike_the_roundest_is_labelled() -> None:
    assert plot.tick_labels([0.99995e-4, 1e-4, 1.00005e-4]) == ["", "1e-4", ""]
    assert plot.tick_labels([1e-4, 2e-4, 3e-4]) == ["1e-4", "2e-4", "3e-4"]


@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("log", [False, True])
def test_no_place_on_a_narrow_axis_is_named_as_another_is(kind: str, log: bool) -> None:
    state = run_of(2000)
    shown = x_axis(state, Lens(axis=kind, log_x=log, window=(1900.0, 1906.0)), step_range(state))
    said = [text for _, text in shown.ticks(8) if text]
    assert said and len(set(said)) == len(said)
