"""What the main screen shows of a run, when it draws, and at which sizes."""

from __future__ import annotations

from threading import Thread

import pytest
from played_runs import (
    FakeLink,
    demo_profile,
    failed_story,
    finished_story,
    paused_story,
    press,
    screen_text,
    settled,
    step_done,
    still_app,
    story,
)

from cockpit.app import CockpitApp
from cockpit.options import ScreenOptions
from cockpit.screens.main import heights
from gpt import events as ev
from gpt.config import replace

SIZE = (120, 35)


async def test_result_of_a_finished_run_stays_on_screen() -> None:
    shown = await press(still_app(FakeLink(finished_story())))
    assert "FINISHED" in shown
    assert "all steps done  val 1.5500  best 1.5500 at step 800  train 1.5100  900 steps in" in shown


async def test_failure_is_shown_with_its_reason() -> None:
    shown = await press(still_app(FakeLink(failed_story())), size=(80, 24))
    assert "FAILED" in shown and "failed in train at step 900" in shown and "lower train.micro_batch_size" in shown


async def test_a_failure_that_comes_while_the_screen_stands_has_the_rows_its_reason_needs() -> None:
    why = "the last checkpoint could not be written (No space left on device); mend that and resume the run"
    app = still_app(FakeLink(story()))
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        assert isinstance(app.link, FakeLink)
        app.link.deliver(ev.Failed(step=900, phase="train", error=why))
        app.frame(force=True)
        await pilot.pause()
        assert "mend that and resume the run" in " ".join(screen_text(app).split())


async def test_failed_checkpoint_stays_until_one_succeeds() -> None:
    link = FakeLink([*story(), ev.CheckpointFailed(step=900, error="disk full")])
    app = still_app(link)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert "disk full" in screen_text(app)
        link.deliver(ev.CheckpointSaved(step=901, path="checkpoints/x", size=1, seconds=0.1, reason="asked"))
        app.frame(force=True)
        await pilot.pause(0.1)
        assert "disk full; those" not in screen_text(app)


async def test_tab_brings_the_log_to_the_front_on_a_narrow_screen() -> None:
    app = still_app(FakeLink(story()))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "return 0" in screen_text(app) and "saved step-00000800" not in screen_text(app)
        await pilot.press("tab")
        await pilot.pause()
        assert "return 0" not in screen_text(app) and "saved step-00000800" in screen_text(app)


async def test_wide_screen_shows_sample_and_log_together() -> None:
    shown = await press(still_app(FakeLink(story())))
    assert "return 0" in shown and "saved step-00000800" in shown


async def test_state_and_progress_are_in_the_header() -> None:
    shown = (await press(still_app(FakeLink(paused_story())))).splitlines()[0]
    for part in ("demo", "amber-heron", "AMD EPYC, 2 threads", "fp32", "PAUSED", "900 / 2,000", "45.0 %", "ETA"):
        assert part in shown


@pytest.mark.parametrize(
    ("width", "said"),
    [(120, "watching · ada on pts/1 steers  "), (80, "watching  "), (60, "watching  ")],
)
async def test_who_watches_sees_the_step_before_who_steers(width: int, said: str) -> None:
    link = FakeLink(paused_story())
    link.standing = "watching · ada on pts/1 steers"
    head = (await press(still_app(link), size=(width, 24))).splitlines()[0]
    assert said in head and "900 / 2,000" in head and "PAUSED" in head


async def test_a_name_that_is_cut_keeps_off_what_stands_at_the_right() -> None:
    link = FakeLink(paused_story(), replace(demo_profile(), {"name": "a_profile_of_a_long_name_" * 3}))
    for width in range(50, 130, 7):
        head = (await press(still_app(link), size=(width, 24))).splitlines()[0]
        assert "…" not in head or "…  " in head, width


@pytest.mark.parametrize("thin", [False, True])
async def test_what_becomes_of_the_link_is_shown_at_once_though_nothing_happens_in_the_run(thin: bool) -> None:
    link = FakeLink(paused_story())
    app = CockpitApp(link, options=ScreenOptions(thin=thin))
    ticks: list[bool] = []

    def far_away(drew: bool) -> float:
        ticks.append(app.is_reading)
        return 3600.0

    app.budget.next_delay = far_away
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot, lambda: False in ticks and "PAUSED" in screen_text(app))
        for link.standing in ("the ranks are started anew", "watching"):
            Thread(target=link.on_standing).start()
            await settled(pilot, lambda: link.standing in screen_text(app))

    def fail(*_: object) -> bool:
        raise RuntimeError("Event loop is closed")

    link.on_standing()  # the screen is left, the link is not
    app.call_later = fail
    link.on_standing()


async def test_measured_peak_is_labelled_as_measured() -> None:
    assert "measured peak" in await press(still_app(FakeLink(story())))


async def test_unknown_numbers_are_dashes_before_anything_has_happened() -> None:
    shown = await press(still_app(FakeLink([])))
    assert "STARTING" in shown and "–" in shown and "nan" not in shown.lower()


async def test_nothing_is_drawn_where_nothing_has_happened() -> None:
    link = FakeLink(story())
    app = still_app(link)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        app.frame(force=True)
        assert app.frame() is False
        link.deliver(step_done(901, 1.5))
        assert app.frame(force=True) is True


async def test_numbers_wait_their_turn_but_are_not_lost() -> None:
    link = FakeLink(story())
    app = still_app(link)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        app.frame(force=True)
        link.deliver(step_done(901, 1.5))
        app.frame()  # a moment after the last numbers
        assert app._dirty
        app._numbers_drawn = float("-inf")
        assert app.frame() is True


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (10, 2), (40, 12), (41, 13), (20, 40), (300, 8), (300, 100)])
async def test_any_size_is_survived(size: tuple[int, int]) -> None:
    for events in (story(), failed_story(), []):
        await press(still_app(FakeLink(events)), "question_mark", "escape", size=size)


async def test_resizing_lays_the_screen_out_anew() -> None:
    app = still_app(FakeLink(story()))
    async with app.run_test(size=(200, 50)) as pilot:
        for size in ((80, 24), (1, 1), (40, 12), (120, 35)):
            await pilot.resize_terminal(*size)
            await pilot.pause(0.05)
        assert "goodput" in screen_text(app)


@pytest.mark.parametrize("height", range(1, 70))
def test_parts_never_take_more_rows_than_there_are(height: int) -> None:
    rows = heights(100, height)
    taken = rows.header + rows.chart + rows.instruments + rows.time + rows.panes + rows.notice + rows.keys
    assert taken + 2 * rows.gap + rows.wide_gap <= max(height, 2)


async def test_a_spike_is_a_warning_above_the_keys() -> None:
    fault = ev.SpikeDetected(step=7, kind="gradient", value=93.0, z=21.0, action="warned")
    assert "! step 7: the gradient norm is 93, 21.0 deviations above" in await press(
        still_app(FakeLink([*story(), fault]))
    )
