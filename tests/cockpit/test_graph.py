"""The charts on a screen of their own: every key changes what is seen, and the hands of the main chart."""

from __future__ import annotations

import random

import pytest
from played_runs import FakeLink, screen_text, step_done, still_app, story
from textual.binding import Binding

from cockpit.app import CockpitApp
from cockpit.lens import PENS
from cockpit.screens.graph import GraphView
from cockpit.smoothing import DECAYS, USUAL
from cockpit.widgets.board import LOWEST, NARROWEST, share_out
from cockpit.widgets.measures import MEASURES

SIZE = (120, 35)


async def after(*keys: str, size: tuple[int, int] = SIZE) -> tuple[CockpitApp, str]:
    app = still_app(FakeLink(story()))
    async with app.run_test(size=size) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        return app, screen_text(app)


async def test_g_opens_charts_of_loss_rate_gradient_and_speed_and_escape_leads_back() -> None:
    _, text = await after("g")
    assert all(f"─ {title} " in text for title in ("loss", "lr", "grad norm", "ms/iter"))
    _, text = await after("g", "escape")
    assert "─ grad norm " not in text and "tokens/s" in text


async def test_digits_show_and_hide_measures_and_the_last_one_stays() -> None:
    _, text = await after("g", "6", "2", "3")
    assert "─ MFU " in text and "─ lr " not in text and "─ grad norm " not in text
    _, text = await after("g", "2", "3", "4", "1")
    assert "─ loss " in text
    _, text = await after("g", "9")
    assert "nothing known of power here" in text


async def test_a_chart_fills_the_screen_and_all_come_back() -> None:
    _, text = await after("g", "tab", "tab", "g")
    assert "─ grad norm " in text and "─ loss " not in text and "─ lr " not in text
    _, text = await after("g", "tab", "g", "g")
    assert "─ grad norm " in text and "─ loss " in text


async def test_x_goes_through_the_axes() -> None:
    app = still_app(FakeLink(story()))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("g", "g")
        for unit in ("tokens", "time", "FLOPs", "step"):
            await pilot.press("x")
            await pilot.pause()
            axis_row = screen_text(app).splitlines()[-5]
            assert axis_row.rstrip().endswith(f" {unit}")


async def test_every_way_of_looking_has_its_key() -> None:
    app, _ = await after("g", "X", "y", "k", "m", "right_square_bracket", "right_square_bracket")
    lens = app._main.chart.look.lens
    assert (lens.log_x, lens.log_y, lens.clip, lens.pen, lens.smoothing) == (True, True, False, PENS[1], USUAL + 2)


async def test_plus_goes_closer_comma_goes_back_and_a_shows_all_again() -> None:
    app, text = await after("g", "plus", "plus")
    first, last = app._main.chart.look.lens.window or (0, 0)
    assert 100 < first < 900 <= last and "steps " in text
    app, _ = await after("g", "plus", "plus", "comma")
    assert (app._main.chart.look.lens.window or (0, 0))[0] < first
    app, _ = await after("g", "plus", "plus", "a")
    assert app._main.chart.look.lens.window is None


async def test_the_crosshair_tells_the_values_at_a_step_and_what_happened_there() -> None:
    app = still_app(FakeLink(story()))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("g", "left")
        view = app.screen
        assert isinstance(view, GraphView)
        view.board.point_at(view.board.axis().place(500))
        view.show(app.state)
        await pilot.pause()
        text = screen_text(app)
        assert " step 500 " in text and "2.05 M tokens" in text and "grad_clip" in text
        losses = dict(zip(app.state.loss.x.tolist(), app.state.loss.y.tolist(), strict=True))
        assert f"{losses[500.0]:.4f}" in text
        before = view.board.look.lens.cursor
        await pilot.press("right")
        assert (view.board.look.lens.cursor or 0) > (before or 0)
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is view and view.board.look.lens.cursor is None


async def test_the_brackets_smooth_the_main_chart_too_as_far_as_there_is() -> None:
    app, text = await after("right_square_bracket")
    assert app._main.chart.look.lens.decay == DECAYS[USUAL + 1] and "smoothing 0.99" in text
    app, text = await after(*["left_square_bracket"] * 9)
    assert app._main.chart.look.lens.decay == 0 and "no smoothing" in text


async def test_wheel_drag_and_click_work_on_the_main_chart() -> None:
    app = still_app(FakeLink(story()))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        chart = app._main.chart
        chart.zoom(4.0, 0.5)
        window = chart.look.lens.window
        await pilot.mouse_down("#chart", offset=(60, 5))
        await pilot.hover("#chart", offset=(40, 5))
        await pilot.mouse_up("#chart", offset=(40, 5))
        await pilot.pause()
        assert window and chart.look.lens.window and chart.look.lens.window[0] > window[0], "drawn to the left"
        assert chart.look.lens.cursor is None
        await pilot.click("#chart", offset=(60, 5))
        app.frame(force=True)
        await pilot.pause()
        assert chart.look.lens.cursor and f"at {chart.look.lens.cursor:,.0f}" in screen_text(app)


async def test_the_view_follows_the_run() -> None:
    link = FakeLink(story())
    app = still_app(link)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("g")
        link.deliver(step_done(901, 1.2345))
        app.frame(force=True)
        await pilot.pause()
        assert "1.2345" in screen_text(app) and "step 901" in screen_text(app)


@pytest.mark.parametrize("size", [(60, 18), (200, 50), (20, 8), (1, 1)])
async def test_random_hands_at_any_size_leave_no_row_too_wide_and_nothing_stuck(size: tuple[int, int]) -> None:
    dice = random.Random(str(size))
    app = still_app(FakeLink(story(300)))
    async with app.run_test(size=size) as pilot:
        await pilot.press("g")
        view = app.screen
        assert isinstance(view, GraphView)
        hands = [b.action for b in GraphView.BINDINGS if isinstance(b, Binding) and b.action not in ("out", "close")]
        for _ in range(80):
            await view.run_action(dice.choice(hands))
            if dice.random() < 0.2:
                view.board.look.lens = view.board.look.lens.smoother(dice.choice((-3, 3)))
            assert all(strip.cell_length == view.board.size.width for strip in view.board._rows)
        await pilot.press("escape", "escape")
        await pilot.pause()
        assert app.screen is app._main


@pytest.mark.parametrize("size", [(120, 30), (80, 18), (200, 44), (34, 12), (30, 5), (70, 13)])
def test_places_for_charts_fill_the_board_without_overlap(size: tuple[int, int]) -> None:
    width, height = size
    for count in range(1, len(MEASURES) + 1):
        panes = share_out(list(MEASURES[:count]), width, height)
        cells = [(x, y) for p in panes for x in range(p.x, p.x + p.width) for y in range(p.y, p.y + p.height)]
        assert len(cells) == len(set(cells)) and all(0 <= x < width and 0 <= y < height for x, y in cells)
        assert len(panes) == 1 or all(p.height >= LOWEST and p.width >= min(width, NARROWEST) for p in panes)
