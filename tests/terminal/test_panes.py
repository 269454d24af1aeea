"""What the screen is made of, moved about in the real program by keys and mouse, and what is kept for the next time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from harness import Cockpit

from gpt import events as ev

Start = Callable[..., Cockpit]


def click(cockpit: Cockpit, x: int, y: int) -> None:
    """Presses and releases the left button on a cell."""
    cockpit.press(f"\x1b[<0;{x + 1};{y + 1}M\x1b[<0;{x + 1};{y + 1}m")


def wheel(cockpit: Cockpit, x: int, y: int, *, up: bool) -> None:
    cockpit.press(f"\x1b[<{64 if up else 65};{x + 1};{y + 1}M")


def row_of(cockpit: Cockpit, text: str) -> int:
    return next(number for number, line in enumerate(cockpit.text.splitlines()) if text in line)


def test_panes_are_switched_hidden_filled_and_moved_back_by_keys_and_mouse(start: Start) -> None:
    cockpit = start("sums.toml", "--set", "train.eval_interval=4", columns=90, rows=30)
    cockpit.wait_for("RUNNING", "─ sample")
    cockpit.press("\t")
    cockpit.wait_for("─ log")
    for key, text in (("1", "─ loss"), ("2", "ms/iter"), ("3", "goodput")):
        cockpit.press(key)
        cockpit.wait_for(text, gone=True)
    cockpit.press("5")
    cockpit.wait_for("─ sample", "press s")
    cockpit.press("4")
    cockpit.wait_for("─ sample", gone=True)
    cockpit.press("0")
    cockpit.wait_for("─ loss", "ms/iter", "goodput", "─ log")
    cockpit.press("j")
    cockpit.wait_for("c  chart", "l  log")
    cockpit.press("l")
    cockpit.wait_for("─ loss", "ms/iter", gone=True)
    cockpit.wait_event(ev.EvalDone, step=400)  # more than a pane holds, though the screen may be behind
    cockpit.press(" ")  # or more than a page may come between two keys
    cockpit.wait_for("PAUSED", "paused at step")
    cockpit.press("\x1b[5~")
    cockpit.wait_for("below")
    cockpit.press("\x1b[6~")
    cockpit.wait_for("below", gone=True)
    wheel(cockpit, 40, 12, up=True)
    cockpit.wait_for("↓ 3 below")
    wheel(cockpit, 40, 12, up=False)
    cockpit.wait_for("below", gone=True)
    cockpit.press("\x1b")
    cockpit.wait_for("─ loss", "ms/iter")
    click(cockpit, 20, row_of(cockpit, "─ loss"))
    cockpit.wait_for("ms/iter", gone=True)
    click(cockpit, 20, row_of(cockpit, "─ loss"))
    cockpit.wait_for("ms/iter")
    saved = cockpit.text.splitlines()[-1].index("save")
    click(cockpit, saved, 29)
    cockpit.wait_event(ev.CheckpointSaved, reason="asked")


def test_a_theme_from_the_palette_and_a_hidden_pane_are_there_the_next_time(start: Start, desk: Path) -> None:
    kept = {"XDG_STATE_HOME": str(desk / "state")}
    cockpit = start("sums.toml", "--run", "one", env=kept)
    cockpit.wait_for("RUNNING")
    cockpit.press("2")
    cockpit.wait_for("ms/iter", gone=True)
    cockpit.press("\x10")
    cockpit.wait_for("An action")
    cockpit.press("theme\r")  # at once: enter waits for the list
    cockpit.wait_for("dark letters on a light ground")
    cockpit.press("\x1b[B\r")
    cockpit.wait_for("theme light")
    cockpit.press("qx")
    assert cockpit.wait_exit() == 0
    (file,) = (desk / "state" / "gpt-cockpit").iterdir()
    assert file.read_text() == '{"theme":"light","hidden":["instruments"]}'
    again = start("sums.toml", "--run", "two", env=kept)
    again.wait_for("RUNNING", "─ loss")
    assert b"48;2;250;250;250" in again.raw and "ms/iter" not in again.text


def test_readonly_refuses_every_key_that_steers_and_leaves_the_run_to_itself(start: Start) -> None:
    cockpit = start("sums.toml", "--readonly", "--set", "train.max_steps=1500")
    cockpit.wait_for("RUNNING")
    cockpit.wait_event(ev.StepDone, step=1)
    for key, word in ((" ", "pause"), ("c", "save"), ("w", "cool down"), ("s", "sample")):
        cockpit.press(key)
        cockpit.wait_for(f"{word} is refused: this screen only watches")
    cockpit.press("q")
    cockpit.wait_for("that only watches", "leave it running")
    cockpit.press("s")
    cockpit.press("x")
    cockpit.press("\r")
    assert cockpit.wait_exit() == 0
    assert cockpit.wait_event(ev.Finished).reason == "max_steps"
    assert {event.command for event in cockpit.events() if isinstance(event, ev.CommandReceived)} <= {"Leave", "Save"}


def test_other_keys_from_a_file_work_and_a_conflict_is_refused(start: Start, desk: Path) -> None:
    folder = desk / "config" / "gpt-cockpit"
    folder.mkdir(parents=True)
    (folder / "keys.toml").write_text('pause = "Z"\n')
    env = {"XDG_CONFIG_HOME": str(desk / "config")}
    cockpit = start(env=env)
    cockpit.wait_for("RUNNING", "Z pause")
    cockpit.press(" Z")
    cockpit.wait_for("PAUSED")
    (folder / "keys.toml").write_text('pause = "e"\n')
    refused = start(env=env)
    assert refused.wait_exit() == 2
    assert "e is evaluate's" in refused.text.replace("\n", "")


def test_a_thin_line_gets_less_than_2_kb_a_second_and_nothing_while_paused(start: Start) -> None:
    cockpit = start("sums.toml", "--thin", "--set", "screen.cpu_budget=1.0")
    cockpit.wait_event(ev.StepDone, step=50)
    cockpit.wait_for("RUNNING")
    assert bytes_in(cockpit, 4.0) < 8000
    cockpit.press(" ")
    cockpit.wait_for("PAUSED")
    bytes_in(cockpit, 2.5)  # what was under way
    assert bytes_in(cockpit, 2.0) < 200


def settle(cockpit: Cockpit) -> None:
    """Waits until a screen on which nothing changes by itself has done with all keys: it has stopped drawing."""
    while bytes_in(cockpit, 0.7):
        pass


def bytes_in(cockpit: Cockpit, seconds: float) -> int:
    before, end = len(cockpit.raw), time.monotonic() + seconds
    while time.monotonic() < end:
        cockpit._read(0.05)
    return len(cockpit.raw) - before


def test_forty_sizes_one_after_the_other_and_the_screen_is_whole_again(start: Start) -> None:
    dice = random.Random(11)
    cockpit = start()
    cockpit.wait_for("RUNNING")
    sizes = [(1, 1), (2, 1), (1, 40), (300, 1), (300, 90), (60, 18), (59, 17), (190, 30), (23, 5), (24, 4)]
    sizes += [(dice.randint(1, 260), dice.randint(1, 70)) for _ in range(29)] + [(120, 35)]
    for columns, rows in sizes:
        cockpit.resize(columns, rows)
        cockpit._read(0.02)
    cockpit.press("?")
    cockpit.wait_for("Keys, and how to read")
    cockpit.press("\x1b")
    cockpit.wait_for("RUNNING", "─ loss", "goodput", "quit")


def test_ten_thousand_random_keys_and_clicks_leave_the_run_as_it_would_have_been(start: Start, desk: Path) -> None:
    """With --readonly, so that no key steers; without what leaves the screen, and clicks on the row that has it."""
    dice = random.Random(5)
    keys = [
        *"012345jcitslnerwEku+?/xyz[]gGh",
        "\t",
        "\x1b",
        "\x1b[A",
        "\x1b[B",
        "\x1b[C",
        "\x1b[D",
        "\x1b[5~",
        "\x1b[6~",
    ]
    short = ["sums.toml", "--set", "train.max_steps=600", "--set", "checkpoint.interval=600"]
    cockpit = start(*short, "--run", "shaken", "--readonly")
    cockpit.wait_for("RUNNING")
    for _ in range(100):
        burst = [dice.choice(keys) if dice.random() < 0.7 else mouse(dice, columns=120, rows=34) for _ in range(100)]
        cockpit.press("".join(burst))
        cockpit._read(0)
    cockpit.wait_event(ev.Finished)
    for key in ("\x1b", "\x1b", "\x1b", "\x1b", "0"):  # one at a time: a box that is closing takes what comes behind
        settle(cockpit)
        cockpit.press(key)
    cockpit.wait_for("FINISHED", "goodput")
    settle(cockpit)
    cockpit.press("q")
    assert cockpit.wait_exit() == 0
    assert start(*short, "--run", "still", "--headless").wait_exit() == 0
    weights = [
        (desk / "runs" / name / "checkpoints" / "step-00000600" / "model.safetensors").read_bytes()
        for name in ("shaken", "still")
    ]
    assert weights[0] == weights[1]


def mouse(dice: random.Random, columns: int, rows: int) -> str:
    """A click, a drag's beginning or a notch of the wheel on some cell."""
    x, y = dice.randint(1, columns), dice.randint(1, rows)
    button = dice.choice([0, 0, 2, 64, 65])
    return f"\x1b[<{button};{x};{y}M" + (f"\x1b[<{button};{x};{y}m" if dice.random() < 0.9 else "")
