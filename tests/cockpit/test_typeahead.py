"""Keys that arrive in bursts, whatever they are: each is done once or dropped, and the screen stays up."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from played_runs import FakeLink, finished_story, settled, still_app, story, type_together
from runs_on_disk import write_run

from cockpit.app import CockpitApp
from cockpit.link.replay import ReplayLink
from cockpit.runs import Run
from cockpit.runs_app import RunsApp
from cockpit.screens.replay import ReplayScreen

KEYS = [*"qrxmodlgvesiabny123uTtpfcL", "escape", "enter", "down", "up", "left", "right", "tab", "slash", "colon"]
KEYS += ["full_stop", "comma", "equals_sign", "backspace", "space", "question_mark", "home", "end", "ctrl+u"]


def app_of(kind: str, folder: Path) -> CockpitApp:
    if kind == "training":
        return still_app(FakeLink(story()))
    write_run(folder, "fox", finished_story())
    if kind == "runs":
        return RunsApp(folder)
    link = ReplayLink(Run(folder / "fox"), at_end=True)
    return CockpitApp(link, main=ReplayScreen(link))


@pytest.mark.parametrize("kind", ["training", "runs", "replay"])
@pytest.mark.parametrize("seed", range(8))
async def test_bursts_of_keys_leave_a_screen_that_waits_for_nothing(kind: str, seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    app = app_of(kind, tmp_path)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        for _ in range(12):
            type_together(app, " ".join(chance.choices(KEYS, k=chance.randint(1, 9))))
            await pilot.pause(chance.choice([0, 0.01, 0.05]))
        await settled(pilot, lambda: app._exit or not (app._behind or app._waits_for))
    assert app._exception is None


@pytest.mark.parametrize("kind", ["training", "runs", "replay"])
@pytest.mark.parametrize(
    "keys", ["l escape l escape", "p escape p q", "q p l x", "escape l p", "x q l", "v escape v q p"]
)
async def test_what_is_closed_or_ends_before_it_was_there_is_no_error(kind: str, keys: str, tmp_path: Path) -> None:
    app = app_of(kind, tmp_path)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        type_together(app, keys)
        await settled(pilot, lambda: app._exit or not (app._behind or app._waits_for))
        await pilot.pause(0.05)
    assert app._exception is None
