"""The boxes that end a run sooner or later: what they foretell, and what they send."""

from __future__ import annotations

from typing import Any

import pytest
from played_runs import FakeLink, demo_profile, finished_story, screen_text, shown_by, step_done, still_app, story

from gpt import commands as do
from gpt import events as ev
from gpt.config import replace


def link_with(events: list[ev.Event] | None = None, **optim: Any) -> FakeLink:
    """At step 900 of 2,000, at a peak of 6e-4."""
    changes = {"train.max_steps": 2000} | {f"optim.{key}": value for key, value in optim.items()}
    return FakeLink(story() if events is None else events, replace(demo_profile(), changes))


async def test_w_foretells_a_cooldown_and_enter_sends_it() -> None:
    link = link_with()
    shown = await shown_by(link, ["w"])
    assert "rate 3.72e-4 → 6.00e-5, evenly" in shown
    assert "end step 2,000 → 1,125" in shown
    assert link.sent == []
    await shown_by(link := link_with(), ["w", "enter"])
    assert link.sent == [do.Cooldown(steps=225)]


async def test_the_number_can_be_typed_and_its_effect_is_foretold() -> None:
    shown = await shown_by(link_with(), ["w", *"40"])
    assert "end step 2,000 → 940" in shown
    await shown_by(link := link_with(), ["w", *"40", "enter"])
    assert link.sent == [do.Cooldown(steps=40)]


@pytest.mark.parametrize("typed", [["backspace"], ["0"], [*"-+e."]])
async def test_without_a_whole_number_enter_sends_nothing(typed: list[str]) -> None:
    link = link_with()
    shown = await shown_by(link, ["w", "backspace", *typed, "enter"])
    assert "a whole number of steps" in shown
    assert link.sent == []


@pytest.mark.parametrize("key", ["w", "plus"])
async def test_escape_leaves_the_run_as_it_is(key: str) -> None:
    link = link_with()
    assert "by so many" not in await shown_by(link, [key, "escape"])
    assert link.sent == []


@pytest.mark.parametrize(
    ("optim", "rate"),
    [
        ({}, "rate 3.72e-4, goes on falling until step 2,000, then 6.00e-5"),
        ({"decay_steps": 2100}, "goes on falling until step 2,100, then 6.00e-5"),
        ({"decay_steps": 5000}, "goes on falling until step 2,200 "),
        ({"decay_steps": 800}, "rate 6.00e-5, as it is"),
        ({"warmup_steps": 1000}, "falls until step 2,000 → 2,200"),
        ({"schedule": "wsd"}, "rate 6.00e-4, begins to fall at step 1,600 → 1,760"),
        ({"schedule": "constant"}, "rate 6.00e-4, as it is"),
    ],
)
async def test_plus_says_what_the_schedule_makes_of_more_steps(optim: dict[str, Any], rate: str) -> None:
    shown = await shown_by(link_with(**optim), ["plus"])
    assert rate in shown
    assert "end step 2,000 → 2,200" in shown


async def test_plus_and_enter_sends_the_extension() -> None:
    await shown_by(link := link_with(), ["plus", "enter", "plus", *"50", "enter"])
    assert link.sent == [do.Extend(steps=200), do.Extend(steps=50)]


async def test_a_change_made_while_running_counts() -> None:
    changed = ev.ConfigChanged(step=900, key="train.max_steps", old="2000", new="1000")
    shown = await shown_by(link_with([*story(), changed]), ["plus"])
    assert "end step 1,000 → 1,100" in shown


async def test_an_open_box_foretells_from_the_step_the_run_has_reached() -> None:
    link = link_with()
    app = still_app(link)
    async with app.run_test(size=(120, 35)) as pilot:
        await pilot.press("w")
        link.deliver(step_done(950, 1.5))
        app._numbers_drawn = -10.0
        app.frame()
        await pilot.pause()
        assert "1,175" in screen_text(app)


async def test_a_run_that_has_ended_can_no_longer_be_steered() -> None:
    link = link_with(finished_story())
    assert "extend does nothing now" in await shown_by(link, ["w", "plus", "enter"])
    assert link.sent == []
