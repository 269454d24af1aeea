"""Whatever a run has to show, or has not: every key of everything that can be opened leaves the screen whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from played_runs import FakeLink, finished_story, run_started, still_app, story
from textual.pilot import Pilot

from cockpit.actions import ACTIONS, Action
from gpt import events as ev

MOVES = ("up", "down", "left", "right", "pageup", "pagedown", "home", "end", "tab", "shift+tab", "space")
STORIES = {
    "nothing yet": lambda: [run_started(), ev.StateChanged(state="running")],
    "under way": lambda: story(300),
    "ended": finished_story,
}


async def _open(pilot: Pilot, action: Action) -> bool:
    """Opens it from the main screen; False where nothing came to the front."""
    while len(pilot.app.screen_stack) > 1:
        pilot.app.pop_screen()
        await pilot.pause()
    await pilot.press(action.bound_keys[0])
    await pilot.pause()
    return len(pilot.app.screen_stack) > 1


@pytest.mark.parametrize("at", STORIES)
@pytest.mark.parametrize("action", [a for a in ACTIONS if a.opens and a.bound_keys], ids=lambda action: action.id)
async def test_every_key_of_what_an_action_opens_can_be_pressed(
    action: Action, at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # what is written, a report for one, is written here
    app = still_app(FakeLink(STORIES[at]()))
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        if not await _open(pilot, action):
            return
        own = [key for key in app.screen._bindings.key_to_bindings if not key.startswith("ctrl+")]
        for key in (*MOVES, *own, "a", "1", "enter", "escape"):
            if len(app.screen_stack) == 1:
                await _open(pilot, action)
            await pilot.press(key)
            app.frame(force=True)
        await pilot.pause()
