"""Text from data cannot steer the terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from played_runs import FakeLink, demo_profile, run_started, still_app, story
from rich.cells import cell_len

from cockpit.sanitize import clean, clean_line
from gpt import events as ev
from gpt.config import replace

OSC_52 = "\x1b]52;c;aGFja2Vk\x07"
EVIL = f"{OSC_52}\x1b[31m\x1b[2J\x9b31m\x00\x08\x7f\u202e\u200b\u2066\ud800[bold]x[/bold]\r"


@given(st.text())
def test_clean_text_holds_no_control_character(text: str) -> None:
    for char in clean(text):
        assert char == "\n" or (
            ord(char) >= 0x20 and not 0x7F <= ord(char) <= 0x9F and not 0xD800 <= ord(char) <= 0xDFFF
        )


@given(st.text())
def test_every_character_that_is_left_has_a_width(text: str) -> None:
    assert all(cell_len(char) >= 1 for char in clean_line(text))


def test_there_is_no_character_without_a_width_that_gets_through() -> None:
    """All of Unicode, for chance found one in a thousand runs: Hangul's vowels and finals are letters of width 0."""
    characters = (chr(number) for number in range(0x110000) if not 0xD800 <= number < 0xE000)
    assert not [char for char in characters if any(cell_len(left) < 1 for left in clean_line(char))]


@given(st.text())
def test_clean_is_idempotent(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("a\tb", "a    b"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("\x1b[31mred", "�[31mred"),
        ("\u202eevil", "evil"),
        ("e\u0301", "é"),
        ("日本 é ✓", "日本 é ✓"),
        ("\ud800", "�"),
    ],
)
def test_clean_keeps_what_prints_and_marks_what_does_not(dirty: str, expected: str) -> None:
    assert clean(dirty) == expected


def test_line_ends_are_visible_in_a_line() -> None:
    assert clean_line("a\nb") == "a⏎b"


async def test_no_widget_lets_control_characters_through() -> None:
    written = EVIL.encode(errors="replace").decode()  # what no file could hold is refused
    profile = replace(demo_profile(), {"name": written, "sample.prompts": [written]})
    at = 1_700_000_100.0
    events = [
        *story(300), run_started(run=EVIL, device=EVIL, dtype=EVIL),
        ev.StateChanged(time=at, state="running", detail=EVIL),
        ev.SampleStarted(time=at, sample=9, step=300, prompt=EVIL), ev.SampleText(time=at, sample=9, text=EVIL * 3),
        ev.SampleDone(time=at, sample=9, step=300, prompt=EVIL, text=EVIL * 3, tokens=3, seconds=0.1),
        ev.SampleScored(
            time=at, sample=9, step=300, prompt_loss=1.0, loss=1.0, prompt_tokens=1,
            tokens=[ev.ScoredToken(EVIL, None, []), ev.ScoredToken(EVIL, 0.5, [(EVIL, 0.5)])],
        ),
        ev.LogLine(time=at, level="error", text=EVIL), ev.LogLine(time=at, level="info", text=EVIL, source="console"),
        ev.CheckpointFailed(time=at, step=300, error=EVIL), ev.Failed(time=at, step=300, phase=EVIL, error=EVIL),
    ]  # fmt: skip
    link = FakeLink(events, profile)
    link.run = EVIL
    fresh = replace(profile, {"name": "other" + written, "data.name": "python-stdlib"})
    for keys in ((), ("s",), ("r",), ("t",), ("t", "enter"), ("i",)):
        link.deliver(*events)
        app = still_app(link, lambda: fresh)
        async with app.run_test(size=(120, 35)) as pilot:
            await pilot.press(*keys)
            await pilot.pause()
            for strip in app.screen._compositor.render_strips():
                assert not any(ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F for char in strip.text)
                assert not set(strip.text) & set("\u202e\u200b\u2066\ud800")
            if not keys:
                shown = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
                assert "[bold]x[/bold]" in shown  # shown as it is, not parsed as markup
