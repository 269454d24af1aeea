"""The sample console: what it sends, what it shows while texts are written, and what it remembers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from played_runs import FakeLink, demo_profile, finished_story, save, screen_text, still_app, story
from textual.pilot import Pilot
from textual.widgets import Input

from cockpit.app import CockpitApp
from cockpit.screens.console import FIELDS, command_of
from cockpit.screens.prompt import PromptEditor
from gpt import checkpoint
from gpt import commands as do
from gpt import events as ev
from gpt.config import flatten, replace

SIZE = (120, 35)
PLAIN = {field.key: flatten(demo_profile()).get(f"sample.{field.key}") for field in FIELDS} | {"seed": None}


async def sent(*keys: str, link: FakeLink | None = None) -> list[do.Command]:
    link = link or FakeLink(story())
    async with still_app(link).run_test(size=SIZE) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
    return link.sent


async def deliver(app: CockpitApp, pilot: Pilot, *events: ev.Event) -> str:
    link = app.link
    assert isinstance(link, FakeLink)
    link.deliver(*events)
    app.frame(force=True)
    await pilot.pause()
    return screen_text(app)


def begun(number: int, step: int, prompt: str = "def main(", **more: int) -> ev.SampleStarted:
    return ev.SampleStarted(sample=number, step=step, prompt=prompt, **more)


def done(number: int, step: int, text: str, prompt: str = "def main(") -> ev.SampleDone:
    return ev.SampleDone(sample=number, step=step, prompt=prompt, text=text, tokens=50, seconds=0.5)


async def test_enter_sends_the_first_prompt_of_the_profile_as_the_profile_says() -> None:
    assert await sent("s", "enter") == [do.Sample(prompt="def main(", alternatives=5)]


async def test_what_is_typed_is_sent_and_kept_for_the_next_time() -> None:
    link = FakeLink(story())
    await sent("s", "x", "ctrl+j", "y", "tab", *"1.5", "enter", "escape", "s", "enter", link=link)
    assert link.sent == [do.Sample(prompt="def main(x\ny", temperature=1.5, alternatives=5)] * 2


async def test_escape_and_keys_that_do_other_things_elsewhere_send_nothing() -> None:
    assert await sent("s", *"cen q", "space", "escape") == []


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        ({}, do.Sample(prompt="p", alternatives=5)),
        ({"temperature": "0", "top_k": "1,000", "seed": " 7 "}, do.Sample(
            prompt="p", temperature=0.0, top_k=1000, seed=7, alternatives=5)),
        ({"stop": "\\n\\n", "against": "800"}, do.Sample(prompt="p", stop="\n\n", against=800, alternatives=5)),
        ({"count": "", "stop": ""}, do.Sample(prompt="p", stop="", alternatives=5)),
    ],
)  # fmt: skip
def test_fields_become_a_command_and_what_is_left_open_is_the_profiles(typed: dict, command: do.Sample) -> None:
    assert command_of("p", typed, PLAIN, True) == (command, "")


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ({"temperature": "warm"}, "temp must be a number; got warm"),
        ({"top_p": "2"}, "sample.top_p must be a number > 0 and ≤ 1; got 2.0"),
        ({"count": "65"}, "sample.count must be an integer ≥ 1 and ≤ 64; got 65"),
        ({"against": "-3"}, "beside step must be a checkpoint's step; got -3"),
    ],
)
def test_what_is_out_of_range_is_said_and_not_sent(typed: dict, why: str) -> None:
    assert command_of("p", typed, PLAIN, True) == (None, why)


async def test_a_mistake_is_said_in_the_console_and_nothing_is_sent() -> None:
    link = FakeLink(story())
    app = still_app(link)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("s", "tab", *"9x", "enter")
        await pilot.pause()
        assert "temp must be a number; got 9x" in screen_text(app) and link.sent == []


async def test_texts_appear_in_place_as_they_are_written_and_those_of_a_checkpoint_beside_them() -> None:
    app = still_app(FakeLink(story()))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("s", "enter")
        shown = await deliver(app, pilot, begun(8, 900, seed=3), ev.SampleText(sample=8, text="one two"))
        assert "step 900" in shown and "def main(one two▌" in shown and "writing" in shown
        shown = await deliver(
            app, pilot, done(8, 900, "one two three"), begun(9, 800, seed=3, beside=8),
            ev.SampleText(sample=9, text="uno"),
        )  # fmt: skip
        (line,) = [line for line in shown.splitlines() if "def main(one two three" in line]
        assert "def main(uno▌" in line, "the same prompt by both, on one line"
        itself = (begun(10, 900, "class "), done(10, 900, "by itself", "class "))
        shown = await deliver(app, pilot, done(9, 800, "uno dos"), *itself)
        assert "step 800" in shown and "def main(uno dos" in shown and "writing" not in shown
        assert "by itself" not in shown, "drawn by the schedule meanwhile: no answer to what was asked"


async def test_scores_come_as_perplexities_and_ctrl_t_leaves_them_out() -> None:
    link = FakeLink(story())
    app = still_app(link)
    tokens = [ev.ScoredToken("def main(", None, []), ev.ScoredToken("self", 0.03, [("x", 0.5)])]
    score = ev.SampleScored(sample=8, step=900, prompt_loss=1.0, loss=2.0, prompt_tokens=1, tokens=tokens)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("s", "enter")
        shown = await deliver(app, pilot, begun(8, 900), done(8, 900, "self"), score)
        assert "prompt 2.72" in shown and "text 7.39" in shown and "≥ 50 %" in shown
        await pilot.press("ctrl+t", "enter")
        await pilot.pause()
        assert link.sent[-1] == do.Sample(prompt="def main(")


async def test_up_and_down_turn_the_pages_of_earlier_prompts_and_come_back_to_what_was_being_written() -> None:
    app = still_app(FakeLink(story()))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("s", "1", "enter", "2")
        editor = app.screen.query_one(PromptEditor)
        seen = []
        for key in ("up", "up", "up", "up", "down", "down", "down", "down"):
            await pilot.press(key)
            await pilot.pause()
            seen.append(editor.text)
    assert seen == [
        "def main(1",
        "def main(",
        "class ",
        "class ",
        "def main(",
        "def main(1",
        "def main(12",
        "def main(12",
    ]


async def test_ctrl_b_goes_through_the_checkpoints_that_are_there(tmp_path: Path) -> None:
    link = FakeLink(story())
    link.run_dir = tmp_path
    app = still_app(link)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("s", "ctrl+b")
        await pilot.pause()
        assert "no checkpoint yet" in screen_text(app)
        parent = tmp_path / "checkpoints"
        save(parent, 300)
        checkpoint.set_aside(parent, 0)  # of a way that was abandoned
        for step in (200, 400):
            save(parent, step)
        for name in ("step-00000600", ".step-00000800.1.tmp"):
            (parent / name).mkdir()
        values = []
        for _ in range(4):
            await pilot.press("ctrl+b")
            values.append(app.screen.query_one("#field-against", Input).value)
        await pilot.press("enter")
        await pilot.pause()
    assert values == ["400", "200", "", "400"]
    assert link.sent == [do.Sample(prompt="def main(", against=400, alternatives=5)]


async def test_ctrl_g_stops_sampling_from_the_console_and_from_the_main_screen() -> None:
    assert await sent("s", "ctrl+g", "escape", "ctrl+g") == [do.StopSampling(), do.StopSampling()]


async def test_long_texts_can_be_scrolled_and_show_their_beginning_once_they_are_done() -> None:
    app = still_app(FakeLink(story()))
    text = "".join(f"line {n}\n" for n in range(80))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("s", "enter")
        shown = await deliver(app, pilot, begun(8, 900), ev.SampleText(sample=8, text=text))
        assert "line 79" in shown and "line 2\n" not in shown
        shown = await deliver(app, pilot, done(8, 900, text))
        assert "line 2 " in shown and "line 79" not in shown
        for _ in range(5):
            await pilot.press("pagedown")
        await pilot.pause()
        assert "line 79" in screen_text(app)


async def test_a_run_that_has_ended_samples_no_more_and_says_how_it_still_can() -> None:
    link = FakeLink(finished_story())
    app = still_app(link)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("s", "enter")
        await pilot.pause()
        assert "does nothing now" in screen_text(app) and link.sent == []


async def test_an_end_while_the_console_is_open_is_said_at_the_next_question() -> None:
    link = FakeLink(story())
    app = still_app(link)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("s")
        await deliver(app, pilot, ev.StateChanged(state="finished", step=900))
        await pilot.press("enter")
        await pilot.pause()
        assert "gpt-cockpit sample" in screen_text(app) and link.sent == []


@pytest.mark.parametrize("size", [(60, 18), (80, 24), (200, 50), (20, 6)])
async def test_the_console_can_be_used_at_any_size(size: tuple[int, int]) -> None:
    link = FakeLink(story(), replace(demo_profile(), {"sample.count": 3}))
    app = still_app(link)
    async with app.run_test(size=size) as pilot:
        await pilot.press("s", "enter")
        shown = await deliver(app, pilot, begun(8, 900), done(8, 900, "日本語 " * 40))
        assert link.sent and all(len(re.sub("[^\x00-\x7f]", "", line)) <= size[0] for line in shown.splitlines())
