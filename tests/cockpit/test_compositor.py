"""What is sent to the terminal: the same cells and colours in fewer bytes."""

from __future__ import annotations

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.compositor import terse


def cells(text: str) -> list[list[pyte.screens.Char]]:
    """What a terminal of 40 × 4 shows."""
    screen = pyte.Screen(40, 4)
    pyte.Stream(screen).feed(text)
    return [[screen.buffer[y][x] for x in range(40)] for y in range(4)]


COLOURS = st.sampled_from(
    ["31", "97", "44", "103", "38;5;12", "48;5;200", "38;2;1;2;3", "48;2;31;44;97", "38;2;1;2;3;48;2;4;5;6",
     "1;38;2;1;2;3", "1;3;38;5;12;48;5;9", "1", "7;31;44", "3;38;2;9;9;9;48;2;4;5;6", "38;2;9;9;9;48;2;4;5;6"]
)  # fmt: skip
PIECES = st.one_of(
    st.builds("\x1b[{}m{}\x1b[0m".format, COLOURS, st.sampled_from(["x", "ab ", "⣿⣿"])),
    st.sampled_from(["plain", " ", "\x1b[2;5H", "\x1b[1;1H\x1b[3;20H", "\x1b[4;38Hend"]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=30))
def test_the_cells_are_the_same_in_no_more_bytes(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert cells(terse(text)) == cells(text)
    assert len(terse(text)) <= len(text)
    assert cells(terse(text) + "z") == cells(text + "z")  # the colours at the end are the terminal's own


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("\x1b[31ma\x1b[0m\x1b[31mb\x1b[0m", "\x1b[31mab\x1b[0m"),
        ("\x1b[31ma\x1b[0m\x1b[2;2H\x1b[31mb\x1b[0m", "\x1b[31ma\x1b[2;2Hb\x1b[0m"),  # on the way the pen is kept
        (
            "\x1b[38;2;1;2;3;48;2;4;5;6ma\x1b[0m\x1b[38;2;7;8;9;48;2;4;5;6mb\x1b[0m",
            "\x1b[38;2;1;2;3;48;2;4;5;6ma\x1b[38;2;7;8;9mb\x1b[0m",
        ),
        ("\x1b[38;2;1;2;3;44ma\x1b[0m\x1b[44mb\x1b[0m", "\x1b[38;2;1;2;3;44ma\x1b[39mb\x1b[0m"),
        ("\x1b[1;31ma\x1b[0m\x1b[31mb\x1b[0m", "\x1b[1;31ma\x1b[0;31mb\x1b[0m"),  # bold is not taken back alone
        ("\x1b[31ma\x1b[0mb", "\x1b[31ma\x1b[0mb"),
    ],
)
def test_only_what_changes_is_said(text: str, expected: str) -> None:
    assert terse(text) == expected
