"""The keys, what they send and what they show; how the screen begins and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module

import pytest
from played_runs import (
    FakeLink,
    demo_profile,
    finished_story,
    paused_story,
    press,
    screen_text,
    step_done,
    still_app,
    story,
)
from textual.pilot import Pilot
from textual.widgets import Input

from cockpit.actions import ACTIONS, BY_ID
from cockpit.app import CockpitApp
from gpt import commands as do
from gpt import events as ev
from gpt.config import replace
from gpt.errors import ProfileError

SIZE = (120, 35)


async def sent_by(*keys: str, events: list[ev.Event] | None = None) -> list[do.Command]:
    link = FakeLink(story() if events is None else events)
    await press(still_app(link), *keys)
    return link.sent


async def test_what_a_key_led_to_is_seen_though_there_is_news_at_that_moment() -> None:
    link = FakeLink(story())
    app = still_app(link)
    async with app.run_test(size=(120, 35)) as pilot:
        await pilot.pause()
        link.deliver(ev.LogLine(level="info", text="attached: somebody", source="link"))
        await pilot.press("P")
        await pilot.pause()
        assert "you have the controls" in screen_text(app)
        link.deliver(ev.LogLine(level="info", text="attached: another", source="link"))
        app.frame(force=True)
        await pilot.pause()
        assert "▸ attached: another" in screen_text(app), "once it has been seen, news take its place"
        link.deliver(ev.LogLine(level="warning", text="the disk is full", source="log"))
        await pilot.press("P")
        await pilot.pause()
        assert "! the disk is full" in screen_text(app), "a warning does so at once"


async def test_link_is_started_once_after_the_first_frame() -> None:
    link = FakeLink(story())
    app = still_app(link)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.pause()
        assert link.started == 1


@pytest.mark.parametrize(
    ("key", "command"),
    [("space", do.Pause()), ("c", do.Save()), ("e", do.Evaluate())],
)
async def test_key_sends_its_command(key: str, command: do.Command) -> None:
    assert await sent_by(key) == [command]


async def test_space_while_paused_goes_on() -> None:
    assert await sent_by("space", events=paused_story()) == [do.Continue()]


async def test_n_takes_one_step_while_paused() -> None:
    assert await sent_by("n", events=paused_story()) == [do.StepOnce()]


async def test_n_while_running_sends_nothing_and_says_what_to_press() -> None:
    link = FakeLink(story())
    shown = await press(still_app(link), "n")
    assert link.sent == []
    assert "press space first" in shown


async def test_a_key_press_is_answered_at_once() -> None:
    assert "saving a checkpoint at the next step boundary" in await press(still_app(FakeLink(story())), "c")


async def test_an_open_box_says_what_the_run_does_meanwhile() -> None:
    link = FakeLink(story())
    app = still_app(link)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("w")
        await pilot.pause()
        link.deliver(ev.StateChanged(state="evaluating", step=1))
        app._numbers_drawn = -10.0
        app.frame(force=True)
        await pilot.pause()
        assert "EVALUATING" in str(app.screen.query_one("#box-run").render())


@pytest.mark.parametrize("beside", ["paused", "saving", "sampling", "evaluating"])
async def test_space_lets_a_paused_run_go_on_whatever_it_does_meanwhile(beside: str) -> None:
    """It may do so between the look at the screen and the key."""
    link = FakeLink([*story(), ev.Paused(step=1), ev.StateChanged(state=beside, step=1)])
    await press(still_app(link), "space")
    assert link.sent == [do.Continue()]
    link = FakeLink([*story(), ev.StateChanged(state=beside, step=1)])
    await press(still_app(link), "space")
    assert link.sent == [do.Pause()]


async def test_leaving_a_paused_run_to_itself_lets_it_go_on() -> None:
    link = FakeLink([*story(), ev.Paused(step=1), ev.StateChanged(state="paused", step=1)])
    await press(still_app(link), "q", "d")
    assert link.sent == [do.Continue()]


async def test_a_second_ctrl_c_saves_and_stops() -> None:
    assert await sent_by("ctrl+c", "ctrl+c") == [do.Stop(save=True)]


async def test_r_shows_what_changes_and_what_is_refused_and_enter_sends_all_of_it() -> None:
    fresh = replace(demo_profile(), {"optim.learning_rate": 2e-4, "model.n_layer": 16})
    link = FakeLink([])
    app = still_app(link, lambda: fresh)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("r")
        shown = screen_text(app)
        assert "optim.learning_rate" in shown and "0.0002" in shown
        assert "model.n_layer" in shown and "it shapes the weights" in shown
        await pilot.press("enter")
    assert link.sent == [do.SetConfig(changes={"optim.learning_rate": 2e-4, "model.n_layer": 16})]


async def test_r_compares_with_settings_changed_while_running() -> None:
    changed = ev.ConfigChanged(step=5, key="optim.learning_rate", old="0.0006", new="0.0002")
    unset = ev.ConfigChanged(step=5, key="optim.min_lr", old="1e-05", new="unset")
    fresh = replace(demo_profile(), {"optim.learning_rate": 2e-4})
    link = FakeLink([changed, unset])
    assert "no change" in await press(still_app(link, lambda: fresh), "r")
    assert link.sent == []


async def test_r_with_a_profile_that_is_wrong_shows_the_error_and_changes_nothing() -> None:
    def broken() -> None:
        raise ProfileError("demo.toml: unknown key optim.lerning_rate; did you mean learning_rate?")

    link = FakeLink(story())
    assert "did you mean learning_rate?" in await press(still_app(link, broken), "r")
    assert link.sent == []


async def test_help_lists_every_action() -> None:
    shown = await press(still_app(FakeLink(story())), "question_mark", size=(120, 120))
    for action in ACTIONS:
        assert action.help.split(".")[0][:40] in shown


async def test_palette_offers_the_actions_and_enter_takes_the_one_that_was_typed() -> None:
    """Without a wait between the last letter and enter: the list is then still that of other letters."""
    link = FakeLink(story())
    app = still_app(link)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("ctrl+p")
        await pilot.pause(0.3)
        field = app.screen.query_one(Input)
        field.value = "evaluate"
        await field.action_submit()
        await until(pilot, lambda: bool(link.sent))
    assert link.sent == [do.Evaluate()]


async def until(pilot: Pilot, holds: Callable[[], bool]) -> None:
    for _ in range(200):
        if holds():
            return
        await pilot.pause(0.02)
    raise AssertionError("not within four seconds")


@pytest.mark.parametrize(
    ("keys", "result", "sent"),
    [
        (("q", "enter"), "stop", [do.Stop(save=True)]),
        (("q", "down", "enter"), "discard", [do.Stop(save=False)]),
        (("q", "d"), "detach", []),
        (("ctrl+c", "s"), "stop", [do.Stop(save=True)]),
        (("ctrl+q", "x"), "discard", [do.Stop(save=False)]),
    ],
)
async def test_quitting_returns_the_choice(keys: tuple[str, ...], result: str, sent: list[do.Command]) -> None:
    link = FakeLink(story())
    app = still_app(link)
    await press_and_leave(app, *keys)
    assert (app.return_value, link.sent) == (result, sent)


async def press_and_leave(app: CockpitApp, *keys: str) -> None:
    async with app.run_test(size=SIZE) as pilot:
        for key in keys:
            await pilot.press(key)
        await pilot.pause()


@pytest.mark.parametrize("keys", [("q", "escape"), ("q", "c")])
async def test_quitting_can_be_thought_better_of(keys: tuple[str, ...]) -> None:
    app = still_app(FakeLink(story()))
    shown = await press(app, *keys)
    assert "Leave the cockpit?" not in shown and app.return_value is None


async def test_q_after_the_end_just_leaves() -> None:
    app = still_app(FakeLink(finished_story()))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("q")
        await pilot.pause()
        assert not app.is_running or app._exit


async def test_commands_do_nothing_after_the_end() -> None:
    link = FakeLink(finished_story())
    shown = await press(still_app(link), "space", "c")
    assert link.sent == []
    assert "save does nothing now" in shown


async def test_clicking_a_key_does_what_pressing_it_does() -> None:
    link = FakeLink(story())
    app = still_app(link)
    async with app.run_test(size=SIZE) as pilot:
        row = screen_text(app).splitlines()[-1]
        await pilot.click("#keys", offset=(row.index("evaluate") + 2, 0))
        await pilot.pause()
    assert link.sent == [do.Evaluate()]


async def test_hang_up_ends_the_screen_and_lets_the_run_go_on() -> None:
    link = FakeLink(story())
    app = still_app(link)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        app.hang_up()
        await pilot.pause(0.05)
    assert (app.return_value, link.sent) == ("detach", [])


async def test_terminate_from_another_thread_saves_and_ends() -> None:
    link = FakeLink(story())
    app = still_app(link)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        await asyncio.to_thread(app.terminate)
        await pilot.pause(0.05)
    assert (app.return_value, link.sent) == ("stop", [do.Stop(save=True)])


def test_every_action_can_be_done() -> None:
    for action in ACTIONS:
        if action.opens:
            module, _, function = action.opens.partition(":")
            assert callable(getattr(import_module(module), function)), action.id
        else:
            assert action.command or hasattr(CockpitApp, f"do_{action.id}"), action.id
    assert len(BY_ID) == len(ACTIONS)
    keys = [key for action in ACTIONS for key in action.bound_keys]
    assert len(keys) == len(set(keys))


async def test_a_run_paused_for_a_spike_says_why_until_it_goes_on_and_the_keys_work() -> None:
    fault = ev.SpikeDetected(step=1, kind="not finite", value=None, z=None, action="pause", in_a_row=5)
    paused = [ev.Paused(step=1), ev.StateChanged(state="paused", step=1)]
    link = FakeLink([ev.StateChanged(state="running"), step_done(1, None), fault, *paused])
    app = still_app(link)
    async with app.run_test(size=SIZE) as pilot:
        app.say("")  # the message of a moment is gone
        app._main.notice.clear()
        app.frame(force=True)
        await pilot.pause()
        shown = " ".join(screen_text(app).split())  # it takes two rows
        assert "step 1: its loss or gradient is not finite" in shown and "space goes on" in shown
        await pilot.press("space")
    assert link.sent == [do.Continue()]
