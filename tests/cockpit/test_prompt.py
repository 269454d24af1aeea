"""What the prompt box says of how samples will be drawn."""

from __future__ import annotations

import pytest

from cockpit.screens.prompt import ROOM, about

PLAIN = {"temperature": 0.8, "top_k": 200, "max_new_tokens": 200}


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "temperature 0.8, from the likeliest 200, up to 200 tokens"),
        ({"top_k": 0}, "temperature 0.8, from all tokens, up to 200 tokens"),
        ({"top_p": 0.9}, "temp 0.8, top-k 200, top-p 0.9, 200 tokens"),
        ({"top_k": 0, "repetition_penalty": 1.2}, "temp 0.8, penalty 1.2, 200 tokens"),
        ({"stop": "\n\n", "count": 4}, "temp 0.8, top-k 200, 200 tokens, ×4, stop '\\n\\n'"),
    ],
)
def test_the_box_tells_the_usual_settings_in_words_and_the_others_when_set(settings: dict, line: str) -> None:
    assert about(**PLAIN | settings) == line


def test_the_box_tells_all_settings_at_once_on_one_line() -> None:
    line = about(0.75, 200, 1000, top_p=0.95, repetition_penalty=1.25, stop="\x1b]52;the end of a story\n", count=16)
    assert len(line) <= ROOM and "\n" not in line and "\x1b" not in line
    assert (
        line.startswith("temp 0.75, top-k 200, top-p 0.95, penalty 1.25, 1,000 tokens, ×16, stop") and line[-1] == "…"
    )
