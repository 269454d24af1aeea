"""A log played again: any moment of it is what it was, and nothing is held up by its length."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from played_runs import (
    START,
    FakeLink,
    finished_story,
    screen_text,
    settled,
    step_done,
    still_app,
    story,
    type_together,
)
from runs_on_disk import write_run

from cockpit.app import CockpitApp
from cockpit.link import replay
from cockpit.link.replay import ReplayLink
from cockpit.reducer import reduce_all
from cockpit.runs import Run
from cockpit.screens.replay import ReplayScreen, visit_run
from cockpit.state import RunState
from gpt import commands as do
from gpt import events as ev


def read(link: ReplayLink) -> ReplayLink:
    """The link once it has read all of its log."""
    link.start()
    end = time.monotonic() + 30
    while not link.complete and time.monotonic() < end:
        time.sleep(0.005)
    assert link.complete
    return link


def small_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "SMALLEST", 4096)


def known(state: RunState) -> tuple:
    """What tells one moment from another."""
    curves = [tuple(zip(series.x, series.y, strict=True)) for series in (state.loss, state.val_loss, state.ms)]
    return (state.step, state.state, state.best_val_loss, state.markers, state.log, state.samples, *curves)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    small_stretches(monkeypatch)
    return write_run(tmp_path, "played", finished_story())


def test_any_moment_is_what_the_events_up_to_it_make(run: Run) -> None:
    link, events = read(ReplayLink(run)), finished_story()
    assert len(link._moments) > 20
    for number in (700, 5, 350, 351, len(events) - 1, 120):
        at = events[number].time
        moment = link.seek(at - START + 1e-6)
        before = [event for event in events if event.time <= at]
        assert known(moment.state) == known(reduce_all(RunState(), before)), number


def test_a_seek_reads_no_more_than_one_stretch_of_the_log(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    link = read(ReplayLink(run))
    taken: list[int] = []
    real = replay.decoded
    monkeypatch.setattr(replay, "decoded", lambda block: taken.append(len(block)) or real(block))
    for position in (40.0, 10.0, 70.0):
        taken.clear()
        link.seek(position)
        assert sum(taken) <= 3 * 4096


def test_playing_delivers_each_event_once_in_order_and_in_its_time(run: Run) -> None:
    link = read(ReplayLink(run, speed=10))
    assert link.tick(100.0) is None
    heard: list[ev.Event] = []
    now, length = 100.0, link.length
    while not link.at_end:
        now += 0.02
        moment = link.tick(now)
        heard += link.drain()
        assert all(event.time - START <= link.position + 1e-6 for event in heard[-1:])
        assert moment is None or link.at_end, "slow enough for single events"
    assert now - 100.0 == pytest.approx(length / 10, abs=0.05)
    events = finished_story()
    assert heard == events[: len(heard)] and len(heard) > 900


def test_what_is_due_too_fast_for_single_events_is_shown_as_a_moment(run: Run) -> None:
    link = read(ReplayLink(run, speed=1000))
    link.tick(0.0)
    moment = link.tick(0.05)  # 50 s of the run
    assert moment is not None and moment.state.step > 500 and link.drain() == []


def test_a_stretch_in_which_nobody_was_there_passes_in_a_second(tmp_path: Path) -> None:
    later = [step_done(step, 2.0, time=START + 86_400 + step) for step in range(11, 20)]
    events = [step_done(step, 3.0, time=START + step) for step in range(1, 11)]
    link = read(ReplayLink(write_run(tmp_path, "two days", [*events, *later])))
    assert link.length == pytest.approx(9 + 1 + 8)


def test_jumps_lead_to_steps_and_evaluations(run: Run) -> None:
    link = read(ReplayLink(run))
    assert link.seek_step(333).state.step == 333
    assert link.shift_step(-3, 333).state.step == 330
    assert link.shift_step(1, 330).state.step == 331
    found = []
    while moment := link.seek_mark("evaluate", forward=True):
        found.append(moment.state.evaluation and moment.state.evaluation.step)
    assert found == [400, 600, 800]
    back = link.seek_mark("evaluate", forward=False)
    assert back and back.state.evaluation and back.state.evaluation.step == 600
    assert link.seek_step(10**9).state.finished is not None


@pytest.mark.parametrize("stretch", [4096, 1 << 17])
def test_a_step_that_was_taken_twice_is_found_where_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stretch: int
) -> None:
    monkeypatch.setattr(replay, "SMALLEST", stretch)
    first = [step_done(step, 4.0, time=START + step / 10) for step in range(1, 201)]
    again = [step_done(step, 2.0, time=START + 30 + step / 10) for step in range(101, 201)]
    events = [*first, ev.Resumed(time=START + 29, step=100, exact=True), *again]
    link = read(ReplayLink(write_run(tmp_path, "twice", events)))
    moment = link.seek_step(150)
    assert moment.state.step == 150 and moment.state.loss.last == 2.0


def test_settings_changed_on_the_way_belong_to_a_moment(run: Run) -> None:
    link = read(ReplayLink(run))
    assert link.seek_step(499).changes == {}
    assert link.seek_step(510).changes == {"optim.grad_clip": "0.5"}


def test_a_log_that_is_being_written_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "FOLLOW_SECONDS", 0.01)
    run = write_run(tmp_path, "live", story(50))
    with run.lock():
        link = read(ReplayLink(run, at_end=True))
        assert link.followed
        link.tick(0.0)
        with run.events_path.open("ab") as log:
            log.write(ev.encode(step_done(51, 1.5)) + b'{"event":"Step')
        end = time.monotonic() + 30
        moment = None
        while moment is None and time.monotonic() < end:
            moment = link.tick(time.monotonic())
        assert moment and moment.state.step == 51 and link.unreadable == 0
    link.close()


def test_lines_that_are_no_events_are_passed_over_and_counted(tmp_path: Path) -> None:
    run = write_run(tmp_path, "torn", story(20))
    run.events_path.write_bytes(b"not json\n" + run.events_path.read_bytes() + b'{"event":"Nothing"}\n\xff\n')
    link = read(ReplayLink(run))
    assert link.unreadable == 3 and link.seek(link.length).state.step == 20


def test_a_run_whose_profile_is_of_another_time_is_played_all_the_same(tmp_path: Path) -> None:
    run = write_run(tmp_path, "old", story(20), profile='name = "old"\n[train]\nwarp = 9\n')
    link = ReplayLink(run)
    assert link.profile.name == "old" and link.complaint and "warp" in link.complaint


# On the screen


def replay_app(run: Run, **options: object) -> CockpitApp:
    link = ReplayLink(run, **options)  # type: ignore[arg-type]
    read(link)
    link.playing = False
    app = CockpitApp(link, main=ReplayScreen(link))
    app.budget = still_app(FakeLink()).budget
    return app


async def pressed(app: CockpitApp, pilot, *keys: str) -> str:
    await pilot.press(*keys)
    await pilot.pause()
    app.frame(force=True)
    await pilot.pause()
    return screen_text(app)


async def test_the_step_to_go_to_may_arrive_with_the_key_that_asks_for_it(run: Run) -> None:
    app = replay_app(run)
    async with app.run_test(size=(100, 30)) as pilot:
        await pressed(app, pilot, "home")
        type_together(app, "colon 3 2 1 enter full_stop")
        await settled(pilot, lambda: app.state.step == 322)


async def test_what_arrives_while_a_box_opens_stays_behind_what_was_there_before(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = replay_app(run)
    async with app.run_test(size=(100, 30)) as pilot:
        await pressed(app, pilot, "home")
        opening = app.push_screen

        def push_screen(*arguments: Any, **options: Any) -> Any:
            result = opening(*arguments, **options)
            type_together(app, "1 enter full_stop")
            return result

        monkeypatch.setattr(app, "push_screen", push_screen)
        type_together(app, "colon 3 2")
        await settled(pilot, lambda: app.state.step == 322)


async def test_a_key_that_closes_a_view_is_followed_by_none_of_the_views_keys(run: Run) -> None:
    app = replay_app(run)
    async with app.run_test(size=(100, 30)) as pilot:
        await pressed(app, pilot, "home", "v")
        main, *_ = app.screen_stack
        assert app.screen is not main
        type_together(app, "q q")
        await settled(pilot, lambda: app.screen is main)
        await pilot.pause(0.2)
        assert app.is_running and app.screen is main and not app._exit


async def test_keys_move_in_time_and_the_screen_shows_the_moment(run: Run) -> None:
    app = replay_app(run)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        shown = await pressed(app, pilot, "end")
        assert "FINISHED" in shown and "900 / 2,000" in shown and "all steps done" in shown
        shown = await pressed(app, pilot, "home")
        assert app.state.step < 2 and "FINISHED" not in shown
        shown = await pressed(app, pilot, "colon", *"321", "enter")
        assert app.state.step == 321 and "step   321 / 2,000" in shown
        await pressed(app, pilot, "full_stop", "full_stop", "comma")
        assert app.state.step == 322
        await pressed(app, pilot, "e")
        assert app.state.evaluation and app.state.evaluation.step == 400
        await pressed(app, pilot, "E")
        assert app.state.evaluation and app.state.evaluation.step == 200
        await pressed(app, pilot, "shift+right")
        assert 270 < app.state.step < 320
        speed = app.link.speed  # type: ignore[attr-defined]
        assert f"{speed * 2:>5}×" in await pressed(app, pilot, "plus")


async def test_the_track_is_seen_also_where_textual_keeps_a_tooltip_ready(run: Run) -> None:
    """As on every terminal; a test has none unless it is asked for."""
    app = replay_app(run)
    async with app.run_test(size=(100, 30), tooltips=True) as pilot:
        await pilot.pause()
        await pilot.press("end")
        await pilot.pause()
        track, where = screen_text(app).splitlines()[-3:-1]
    assert "━━━" in track and where.startswith(" step ")


async def test_the_help_of_a_replay_tells_its_own_keys_and_none_that_does_nothing(run: Run) -> None:
    app = replay_app(run)
    async with app.run_test(size=(100, 90)) as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        shown = screen_text(app)
    assert "space      play. Let time go on" in shown and "- +        speed. Slower or faster" in shown
    assert "ctrl+p     compare." in shown, "its key makes a replay faster"
    assert "v          log." in shown and "one step. While paused" not in shown and "save. Write" not in shown


async def test_space_plays_and_nothing_is_sent_to_anybody(run: Run) -> None:
    app = replay_app(run)
    link = app.link
    assert isinstance(link, ReplayLink)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        await pressed(app, pilot, "home", "space")
        assert link.playing
        await pressed(app, pilot, "space")
        assert not link.playing
        at = link.position
        shown = await pressed(app, pilot, "c", "s", "w", "f")
        assert "saving" not in shown and len(app.screen_stack) == 1 and link.position == at
        titles = [command.title for command in app.get_system_commands(app.screen)]
        assert not any("save" in title for title in titles) and any("help" in title for title in titles)


async def test_a_click_on_the_track_goes_there(run: Run) -> None:
    app = replay_app(run)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        await pilot.click("#scrubber", offset=(14 + 42, 0))
        await pilot.pause()
        assert 0.45 * 900 < app.state.step < 0.58 * 900


@pytest.mark.parametrize("size", [(1, 1), (20, 4), (60, 12), (80, 24), (200, 50)])
async def test_every_size_is_survived(run: Run, size: tuple[int, int]) -> None:
    app = replay_app(run, at_end=True)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        shown = await pressed(app, pilot, "space", "home", "end")
        if size[0] >= 60:
            assert "step   900 / 2,000" in shown


# In front of a run that is trained


async def test_a_visit_leaves_the_run_behind_it_alone(run: Run) -> None:
    home = FakeLink(story())
    app = still_app(home)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        app.frame(force=True)
        settings = app.settings
        visit_run(app, run)
        await pilot.pause()
        link = app.link
        assert isinstance(link, ReplayLink)
        read(link)
        shown = await pressed(app, pilot, "end")
        assert "played" in shown and "FINISHED" in shown
        home.deliver(step_done(901, 2.0), ev.ConfigChanged(step=901, key="optim.grad_clip", old="0.5", new="0.25"))
        await pressed(app, pilot, "space", "e", "c")
        assert home.sent == [], "its keys are for the run in view"
        assert app.homes[0].state.step == 901 and app.state is not app.homes[0].state
        shown = await pressed(app, pilot, "q")
        assert app.link is home and app.state.step == 901 and "901 / 2,000" in shown and "amber-heron" in shown
        assert app.settings is settings and settings["optim.grad_clip"] == 0.25
        assert not app.homes and len(app.screen_stack) == 1
        await pressed(app, pilot, "space")
        assert home.sent == [do.Pause()]


async def test_a_signal_during_a_visit_reaches_the_run_that_is_trained(run: Run) -> None:
    home = FakeLink(story())
    app = still_app(home)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        app.frame(force=True)
        visit_run(app, run)
        await pilot.pause()
        app.terminate()
        await pilot.pause()
    assert home.sent == [do.Stop(save=True)]
    assert app.state.step == 900 and app.state.started and app.state.started.run == "amber-heron" and app.link is home
