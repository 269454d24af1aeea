"""The screen at the sizes and colour depths that terminals have."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from harness import Cockpit

from gpt import events as ev

Start = Callable[..., Cockpit]


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 35), (200, 50)])
def test_everything_that_matters_is_on_the_screen(start: Start, columns: int, rows: int) -> None:
    cockpit = start("sums.toml", "--set", "train.eval_interval=50", columns=columns, rows=rows)
    cockpit.wait_event(ev.EvalDone, step=50)
    cockpit.wait_for(
        "RUNNING", "loss", "val loss", "ms/iter", "tokens/s", "MFU", "lr", "grad norm", "memory", "goodput"
    )
    cockpit.wait_for("ETA", "pause", "quit", "% CPU")
    cockpit.wait_until(lambda: bool(re.search(r"[\u2801-\u28ff]{3}", cockpit.text)), "a braille curve")


def test_a_resize_is_followed(start: Start) -> None:
    cockpit = start()
    cockpit.wait_for("RUNNING")
    for columns, rows in [(80, 24), (200, 50), (30, 8), (1, 1), (120, 35)]:
        cockpit.resize(columns, rows)
        cockpit.wait_event(
            ev.StepDone, step=max((e.step for e in cockpit.events() if isinstance(e, ev.StepDone)), default=1)
        )
    cockpit.wait_for("RUNNING", "quit")


@pytest.mark.parametrize(
    ("env", "allowed"),
    [
        ({"COLORTERM": "truecolor"}, "truecolor"),
        ({"COLORTERM": "", "TERM": "xterm-256color"}, "256"),
        ({"COLORTERM": "", "TERM": "xterm-16color"}, "16"),
        ({"NO_COLOR": "1"}, "none"),
    ],
)
def test_colours_stay_within_what_the_terminal_has(start: Start, env: dict[str, str], allowed: str) -> None:
    cockpit = start(env=env)
    cockpit.wait_for("RUNNING")
    cockpit.wait_event(ev.StepDone, step=30)
    cockpit.press(" ")
    cockpit.wait_for("PAUSED")
    codes = [code for sequence in re.findall(rb"\x1b\[([0-9;]*)m", bytes(cockpit.raw)) for code in [sequence.decode()]]
    depths = {depth_of(code) for code in codes} - {"none"}
    assert depths == ({allowed} if allowed != "none" else set())


def depth_of(code: str) -> str:
    """The colour depth that a select-graphic-rendition sequence needs."""
    if re.search(r"[34]8;2;", code):
        return "truecolor"
    if re.search(r"[34]8;5;", code):
        return "256"
    return "16" if re.search(r"(^|;)(3[0-7]|4[0-7]|9[0-7]|10[0-7])($|;)", code) else "none"


def test_no_byte_of_the_texts_reaches_the_terminal_as_a_control(start: Start) -> None:
    """A prompt with an escape sequence in it: shown, sampled and logged, never obeyed."""
    cockpit = start(
        "sums.toml",
        "--set",
        'sample.prompts=["\\u001b]52;c;aGk=\\u0007 1 + \\u009b31m"]',
        "--set",
        "sample.interval=20",
    )
    cockpit.wait_event(ev.SampleDone)
    cockpit.wait_for("sample  ")
    assert b"\x1b]52" not in cockpit.raw and "\u009b".encode() not in cockpit.raw
