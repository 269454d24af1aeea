"""The view of the range test: how it is drawn, and what its keys send."""

from __future__ import annotations

import pytest
from played_runs import START, FakeLink, demo_profile, finished_story, shown_by, story

from cockpit.reducer import reduce_all
from cockpit.screens.rangetest import draw
from cockpit.state import RunState
from gpt import commands as do
from gpt import events as ev
from gpt.config import replace


def made_test(*, suggestion: float | None = 2e-3, done: bool = True) -> list[ev.Event]:
    """A test of 41 rates from 1e-5 to 1e-1 whose loss diverges at the last."""
    events: list[ev.Event] = [
        ev.RangeTestStarted(time=START, step=900, low=1e-5, high=1e-1, steps=41, present=1e-3),
        ev.StateChanged(time=START, state="testing", step=900),
    ]
    for number in range(41):
        loss = 2.0 + (0.2 * (number - 36) if number > 36 else 0.0)
        rate = 1e-5 * 10 ** (number / 10)
        events.append(ev.RangeTestPoint(time=START, rate=rate, loss=loss if number != 40 else None, smoothed=loss))
    if done:
        rule = "a tenth of the rate at which the loss diverges"
        events += [
            ev.RangeTestDone(
                time=START, step=900, points=41, suggestion=suggestion, rule=rule, diverged_at=2e-2, seconds=3.0
            ),
            ev.StateChanged(time=START, state="running", step=900),
        ]
    return events


def link_with(*events: ev.Event, **optim: float) -> FakeLink:
    changes = {"train.max_steps": 2000, "optim.learning_rate": 1e-3}
    return FakeLink([*story(), *events], replace(demo_profile(), changes | {f"optim.{k}": v for k, v in optim.items()}))


async def test_enter_begins_one_of_the_length_that_is_chosen() -> None:
    assert "100 steps, 1.00e-5 … 1.00e-1, about" in await shown_by(link_with(), ["L"])
    await shown_by(link := link_with(), ["L", "enter", "up", "enter"])
    assert link.sent == [do.RangeTest(steps=100), do.RangeTest(steps=200)]


@pytest.mark.parametrize("size", [(80, 24), (120, 35), (200, 50)])
async def test_the_result_stands_there_whole_at_every_size(size: tuple[int, int]) -> None:
    shown = await shown_by(link_with(*made_test()), ["L"], size=size)
    assert "at step 900, 41 steps in 3.0 s; the loss diverged at 2.00e-2" in shown
    assert "suggests 2.00e-3 by a tenth of the rate at which the loss diverges" in shown
    assert "suggested" in shown and "diverged" in shown and "…" not in shown.replace("1.00e-5 … 1.00e-1", "")


async def test_y_takes_the_suggestion_and_its_floor_along() -> None:
    await shown_by(link := link_with(*made_test(), min_lr=1e-4), ["L", "y"])
    assert link.sent == [do.SetConfig(changes={"optim.learning_rate": 2e-3, "optim.min_lr": 2e-4})]
    assert "no suggestion to take" in await shown_by(link := link_with(*made_test(suggestion=None)), ["L", "y"])
    assert link.sent == []


async def test_one_under_way_is_shown_can_be_given_up_and_is_not_begun_twice() -> None:
    link = link_with(*made_test(done=False))
    shown = await shown_by(link, ["L", "enter"])
    assert "41 of 41 steps" in shown and "a test is under way" in shown and link.sent == []
    await shown_by(link := link_with(*made_test(done=False)), ["L", "x"])
    assert link.sent == [do.BreakOff()]


async def test_a_run_that_has_ended_begins_none() -> None:
    link = FakeLink(finished_story())
    assert "does nothing now" in await shown_by(link, ["L", "enter"])
    assert link.sent == []


def test_the_plot_keeps_its_size_whatever_the_losses() -> None:
    state = reduce_all(RunState(), made_test())
    assert state.range_test is not None and "range test at step 900" in state.log[-1].text
    for width, height in ((120, 30), (30, 6), (9, 3), (8, 2)):
        rows = draw(state.range_test, width, height)
        assert len(rows) == height and {row.cell_length for row in rows} <= {width}
    flat = reduce_all(RunState(), [made_test()[0], ev.RangeTestPoint(rate=1e-5, loss=2.0, smoothed=2.0)])
    assert flat.range_test is not None and len(draw(flat.range_test, 60, 12)) == 12
