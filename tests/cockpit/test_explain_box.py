"""Asking about a number on the screen: its letter, its box, and the way on to the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from played_runs import FakeLink, finished_story, run_started, screen_text, still_app, story

from cockpit.app import CockpitApp
from cockpit.explaining.numbers import NUMBERS
from cockpit.screens.explain import ExplanationBox, LettersScreen, tiles
from gpt import events as ev

SIZE = (120, 35)


async def shown(*keys: str, size: tuple[int, int] = SIZE, events: list[ev.Event] | None = None) -> str:
    app = still_app(FakeLink(story() if events is None else events))
    async with app.run_test(size=size) as pilot:
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        return screen_text(app)


async def test_x_and_a_letter_open_the_number_with_the_runs_own_figures() -> None:
    """1.7e7 FLOPs a token, of which 6 · 2,680,000 = 16,080,000 are the matrices'; 8.2e12 FLOP/s."""
    text = await shown("x", "u")
    assert "MFU  11.0 %" in text and "what it is" in text
    assert "8.20 TFLOP/s in float32, measured here" in text
    assert "6 × 2,680,000 + 9.2e+05 = 1.7e+07" in text


@pytest.mark.parametrize(("letter", "name"), [("l", "loss  1."), ("m", "ms/iter  7"), ("z", "noise scale  –")])
async def test_each_letter_opens_its_number_wherever_it_stands(letter: str, name: str) -> None:
    assert name in await shown("x", letter, size=(80, 24))


@pytest.mark.parametrize("size", [(40, 14), (80, 24), (120, 35), (170, 40), (200, 50)])
async def test_the_letters_stand_before_their_numbers(size: tuple[int, int]) -> None:
    app = still_app(FakeLink(story()))
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        rows = screen_text(app).splitlines()
        places = tiles(app.main)
        assert {"loss", "val_loss"} <= set(places)
        labels = {"loss": "loss", "ms_per_iter": "ms/iter", "mfu": "MFU", "eta": "ETA", "goodput": "goodput"}
        for number, region in places.items():
            if number in labels:
                assert rows[region.y][region.x :].startswith(labels[number]), number
        await pilot.press("x")
        await pilot.pause()
        assert isinstance(app.screen, LettersScreen)
        rows = screen_text(app).splitlines()
        for number, region in places.items():
            assert rows[region.y][region.x - 1] == NUMBERS[number].letter, number


async def test_a_click_on_a_number_explains_it_too() -> None:
    app = still_app(FakeLink(story()))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("x")
        await pilot.pause()
        place = tiles(app.main)["learning_rate"]
        await pilot.click(offset=(place.x + 3, place.y))
        await pilot.pause()
        assert isinstance(app.screen, ExplanationBox)
        assert "lr  7.75e-4" in screen_text(app)


async def test_another_key_or_another_size_leaves_the_letters() -> None:
    app = still_app(FakeLink(story()))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("x", "escape")
        await pilot.pause()
        assert app.screen is app.main
        await pilot.press("x")
        await pilot.pause()
        await pilot.resize_terminal(90, 30)
        await pilot.pause()
        assert app.screen is app.main


async def test_left_and_right_lead_through_all_numbers_and_around() -> None:
    app = still_app(FakeLink(story()))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("x", "l")
        await pilot.pause()
        seen = []
        for _ in NUMBERS:
            seen.append(title(app))
            await pilot.press("right")
        assert len(set(seen)) == len(NUMBERS)
        assert title(app) == seen[0]
        await pilot.press("left")
        assert title(app) == seen[-1]
        await pilot.press("x")
        await pilot.pause()
        assert app.screen is app.main


def title(app: CockpitApp) -> str:
    assert isinstance(app.screen, ExplanationBox)
    return app.screen._told.id


async def test_numbers_of_a_run_that_has_ended_or_not_begun_are_explained() -> None:
    assert "ETA  –" in await shown("x", "e", events=finished_story())
    assert "MFU  – %" in await shown("x", "u", events=[run_started(peak_flops=None, peak_source=None)])
    assert "val loss  –" in await shown("x", "v", events=[])


async def test_settings_that_were_changed_while_it_ran_are_the_ones_in_the_formula() -> None:
    """The story sets optim.grad_clip to 0.5 at step 500."""
    assert "min(1, 0.5 / " in await shown("x", "g")


@pytest.mark.parametrize("keys", [["x"], ["x", "m"]], ids=["letters", "explanation"])
def test_picture_of_asking_about_a_number(snap_compare: Callable[..., bool], keys: list[str]) -> None:
    """The letters on the numbers; ms/iter explained."""
    assert snap_compare(still_app(FakeLink(story())), terminal_size=SIZE, press=keys)
