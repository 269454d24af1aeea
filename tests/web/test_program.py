"""What a served program has written, told from pieces that end anywhere."""

from __future__ import annotations

import pytest

from cockpit.web.program import ENTERS, LEAVES, MOST_LINES, Output

_WRITTEN = b"preparing \x1b[31mdata\x1b[m\r\n" + ENTERS + b"\x1b[?25lloss 4.17\x1b[?25h" + LEAVES + b"saved\r\n"


@pytest.mark.parametrize("pieces", range(1, len(_WRITTEN) + 1))
def test_a_screen_is_entered_and_left_wherever_the_pieces_end(pieces: int) -> None:
    output, entered, left = Output(), _WRITTEN.index(ENTERS) + len(ENTERS), _WRITTEN.index(LEAVES) + len(LEAVES)
    for start in range(0, len(_WRITTEN), pieces):
        end = min(start + pieces, len(_WRITTEN))
        output.add(_WRITTEN[start:end])
        assert output.is_on_screen == (entered <= end < left), (start, end)
        if end < entered - len(ENTERS):
            assert output.lines == _WRITTEN[:end]
    assert output.lines == b"saved\r\n"


def test_the_last_of_long_output_is_kept() -> None:
    output = Output()
    for number in range(20_000):
        output.add(b"%d\r\n" % number)
    assert len(output.lines) == MOST_LINES and output.lines.endswith(b"19998\r\n19999\r\n")
