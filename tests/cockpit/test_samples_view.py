"""The samples of a run side by side: which are shown, how one moves among them, and what a token's cursor tells."""

from __future__ import annotations

import pytest
from played_runs import FakeLink, finished_story, screen_text, still_app, story
from rich.style import Style
from textual.pilot import Pilot

from cockpit.app import CockpitApp
from cockpit.gallery import Shot
from cockpit.reducer import reduce_all
from cockpit.screens.samples import ALTERNATIVES
from cockpit.state import RunState
from cockpit.widgets.tokens import CHANCES, chance_style, layout, line_of, neighbour
from gpt import commands as do
from gpt import events as ev

SIZE = (120, 35)


def tokens(*texts: str) -> list[ev.ScoredToken]:
    chances = (None, 0.9, 0.3, 0.1, 0.02, 0.001)
    return [ev.ScoredToken(t, chances[n % 6], [("likely", 0.5), (t, 0.25)] if n else []) for n, t in enumerate(texts)]


def sampled(steps: tuple[int, ...] = (100, 200, 300, 400), *, scored: bool = True) -> list[ev.Event]:
    """Two prompts, continued at some steps, after a run's story."""
    events, number = [event for event in story() if "Sample" not in type(event).__name__], 0
    for step in steps:
        for prompt in ("first ", "second "):
            number += 1
            text = f"text {number} goes on"
            events += [
                ev.SampleStarted(sample=number, step=step, prompt=prompt, seed=number),
                ev.SampleDone(sample=number, step=step, prompt=prompt, text=text, tokens=4, seconds=0.1),
            ]
            if scored:
                events.append(ev.SampleScored(
                    sample=number, step=step, prompt_loss=3.0 - step / 200, loss=2.0, prompt_tokens=2,
                    tokens=tokens(prompt[:3], prompt[3:], "text", f" {number}", " goes", " on"),
                ))  # fmt: skip
    return events


async def shown_after(pilot: Pilot, *keys: str) -> str:
    await pilot.press(*keys)
    await pilot.pause()
    assert isinstance(pilot.app, CockpitApp)
    return screen_text(pilot.app)


async def test_the_newest_texts_of_a_prompt_stand_side_by_side_and_arrows_move_among_them() -> None:
    async with still_app(FakeLink(sampled())).run_test(size=SIZE) as pilot:
        shown = await shown_after(pilot, "t")
        assert "prompt 1 of 2" in shown and "“first ”" in shown
        assert "  step 300" in shown and "▸ step 400" in shown and "step 200  sample" not in shown
        assert any("text 5 goes" in line and "text 7 goes" in line for line in shown.splitlines())
        shown = await shown_after(pilot, "left", "left")
        assert "▸ step 200" in shown and "text 3 goes" in shown and "step 400  sample" not in shown
        assert "▸ step 100" in await shown_after(pilot, "left", "left", "left")
        assert "▸ step 400" in await shown_after(pilot, "end")
        shown = await shown_after(pilot, "down", "down")
        assert "prompt 2 of 2" in shown and "text 8 goes" in shown
        assert "prompt 1 of 2" in await shown_after(pilot, "up")


async def test_the_prompts_own_perplexity_is_followed_through_the_run() -> None:
    async with still_app(FakeLink(sampled())).run_test(size=SIZE) as pilot:
        shown = await shown_after(pilot, "t")
    assert "12.2 at step 100 → 2.72 at step 400" in shown
    assert "perplexity  prompt 2.72  text 7.39" in shown


async def test_one_score_of_a_prompt_is_not_said_to_have_come_from_itself() -> None:
    async with still_app(FakeLink(sampled((100,)))).run_test(size=SIZE) as pilot:
        shown = await shown_after(pilot, "t")
    assert "perplexity of the prompt itself  12.2 at step 100" in shown and "→ 12.2" not in shown


async def test_the_cursor_tells_what_a_token_was_worth_and_what_would_have_stood_there() -> None:
    async with still_app(FakeLink(sampled())).run_test(size=SIZE) as pilot:
        shown = await shown_after(pilot, "t", "enter", "right")
        assert "token 4 of 6  “ 7”  10.0 %  the model's choice number 2  surprise 3.3 bits" in shown
        assert "“likely” 50.0 %" in shown
        shown = await shown_after(pilot, "home")
        assert "token 1 of 6" in shown and "nothing comes before it" in shown
        shown = await shown_after(pilot, "escape")
        assert "token 1 of 6" not in shown and "samples" in shown, "escape first takes the cursor away"
        assert "loss" in await shown_after(pilot, "escape")


async def test_without_scores_the_cursor_says_how_to_get_them() -> None:
    link = FakeLink(sampled(scored=False))
    async with still_app(link).run_test(size=SIZE) as pilot:
        assert "p turns that on" in await shown_after(pilot, "t", "enter")
        assert "sample.alternatives changes" in await shown_after(pilot, "p")
    assert link.sent == [do.SetConfig(changes={"sample.alternatives": ALTERNATIVES})]


async def test_sampling_can_be_asked_for_and_turned_on_from_here() -> None:
    link = FakeLink([event for event in story() if "Sample" not in type(event).__name__])
    async with still_app(link).run_test(size=SIZE) as pilot:
        assert "nothing has been sampled yet" in await shown_after(pilot, "t")
        await shown_after(pilot, "s", "a")
        assert link.sent == [do.Sample(every_prompt=True), do.SetConfig(changes={"sample.at_evaluation": True})]


async def test_samples_of_a_run_that_has_ended_can_be_read_but_none_can_be_asked_for() -> None:
    link = FakeLink([*sampled(), *finished_story()[-2:]])
    async with still_app(link).run_test(size=SIZE) as pilot:
        assert "text 7 goes" in await shown_after(pilot, "t")
        assert "the run has ended" in await shown_after(pilot, "s", "a")
    assert link.sent == []


@pytest.mark.parametrize("size", [(20, 6), (60, 18), (200, 50)])
async def test_any_size_is_survived_with_the_cursor_out(size: tuple[int, int]) -> None:
    async with still_app(FakeLink(sampled())).run_test(size=size) as pilot:
        shown = await shown_after(pilot, "t", "enter", "down", "right", "up", "pagedown", "c", "down", "left")
    assert len(shown.splitlines()) == size[1]


def shot() -> Shot:
    state = reduce_all(RunState(), sampled((100,)))
    return state.gallery.by_prompt["first "][0]


def test_likely_and_unlikely_tokens_differ_without_colour_too() -> None:
    assert [chance_style(least) for least, _, _ in CHANCES] == [style for _, _, style in CHANCES]
    assert len({style for _, _, style in CHANCES}) == len(CHANCES)
    assert not chance_style(0.06).underline and chance_style(0.04).underline
    assert chance_style(0.001).bold and not chance_style(0.04).bold


def test_a_layout_shows_the_whole_text_and_knows_its_tokens() -> None:
    lines = layout("first ", shot(), 9, colored=True, cursor=3)
    assert "".join(text for line in lines for text, _ in line).replace(" ", "") == "firsttext1goeson"
    (found,) = [text for line in lines for text, style in line if style.reverse]
    assert found.strip() == "1"


def test_the_cursor_moves_along_the_text_and_between_its_lines() -> None:
    lines = layout("first ", shot(), 9, colored=True, cursor=None)
    count = len(shot().scored)
    assert neighbour(lines, count, 0, -1, 0) == 0 and neighbour(lines, count, 5, 1, 0) == 5
    below = neighbour(lines, count, 0, 0, 1)
    assert line_of(lines, below) == line_of(lines, 0) + 1
    assert neighbour(lines, count, below, 0, -1) in (0, 1)
    assert neighbour(lines, count, 0, 0, -1) == 0


def test_escape_sequences_in_tokens_do_not_get_through() -> None:
    evil = Shot(number=1, step=1, text="x", tokens=1, seconds=0.1, scored=(ev.ScoredToken("\x1b]52;c;x\x07", 0.5, []),))
    for line in layout("p", evil, 20, colored=True, cursor=None):
        assert all("\x1b" not in text and isinstance(style, Style) for text, style in line)
