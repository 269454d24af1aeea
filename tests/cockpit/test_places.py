"""Where the parts of the main screen stand, and that they can be hidden, filled and moved back."""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path

import pytest
from played_runs import FakeLink, paused_story, screen_text, still_app, story

from cockpit import keymap, keytable
from cockpit.actions import ACTIONS, BY_ID, REBOUND
from cockpit.app import CockpitApp
from cockpit.options import ScreenOptions
from cockpit.places import PANES, places
from cockpit.recall import Recall
from gpt import events as ev

SIZES = [
    (columns, rows) for columns in (1, 23, 24, 40, 60, 99, 100, 189, 190, 250, 400) for rows in (*range(1, 45), 90)
]


@pytest.mark.parametrize("hidden", [(), ("chart",), ("sample", "log"), PANES, ("log", "time")])
@pytest.mark.parametrize("zoomed", [None, "log", "chart"])
def test_parts_stay_on_the_screen_and_never_lie_on_each_other(hidden: tuple[str, ...], zoomed: str | None) -> None:
    for columns, rows in SIZES:
        placed = places(columns, rows, notice=2, hidden=hidden, zoomed=zoomed, below=1 if rows > 20 else 0)
        for name, region in placed.items():
            assert region.x >= 0 and region.right <= columns and region.y >= 0 and region.bottom <= rows, (name, region)
        for one, other in combinations(placed.values(), 2):
            assert not one.overlaps(other), (columns, rows, placed)


def test_everything_is_there_from_60_by_18_on() -> None:
    for columns, rows in ((60, 18), (80, 24), (120, 35), (250, 60)):
        placed = places(columns, rows)
        assert {"header", "chart", "instruments", "time", "sample", "notice", "keys"} <= set(placed)
        assert placed["chart"].height >= 5


def test_an_ultrawide_screen_has_sample_and_log_beside_the_chart() -> None:
    placed = places(250, 60)
    assert placed["sample"].x == placed["log"].x > placed["chart"].right
    assert placed["sample"].y == placed["chart"].y and placed["log"].bottom == placed["chart"].bottom


async def shown(app: CockpitApp, *keys: str, size: tuple[int, int]) -> str:
    async with app.run_test(size=size) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        return screen_text(app)


@pytest.mark.parametrize("size", [(50, 4), (23, 30), (40, 1)])
async def test_too_small_a_screen_says_it_all_in_a_line(size: tuple[int, int]) -> None:
    line = (await shown(still_app(FakeLink(story())), size=size)).splitlines()[0]
    assert "RUNNING" in line and "900" in line and ("loss 1.5" in line or size[0] < 30)


@pytest.mark.parametrize("events", [story, paused_story])
async def test_at_60_columns_the_key_bar_has_the_keys_that_matter(events) -> None:
    keys = (await shown(still_app(FakeLink(events())), size=(60, 18))).splitlines()[-1]
    assert all(f" {key} " in keys for key in ("space", "s", "c", "?", "q")) and len(keys) <= 60


async def test_the_log_is_moved_back_and_stands_still_until_it_is_at_its_end_again() -> None:
    link = FakeLink(story())
    app = still_app(link)
    async with app.run_test(size=(120, 35)) as pilot:
        app.frame(force=True)
        link.deliver(*[ev.LogLine(level="info", text=f"line {n}", source="trainer") for n in range(40)])
        app.frame(force=True)
        await pilot.pause()
        await pilot.press("pageup")
        await pilot.pause()
        before = screen_text(app)
        assert "line 39" not in before and "below" in before
        link.deliver(ev.LogLine(level="info", text="line 40", source="trainer"))
        app.frame(force=True)
        await pilot.pause()
        assert "line 40" not in screen_text(app) and "line 31" in screen_text(app)
        await pilot.press("pagedown", "pagedown")
        await pilot.pause()
        assert "line 40" in screen_text(app) and "below" not in screen_text(app)


async def test_readonly_sends_nothing_whatever_is_pressed() -> None:
    link = FakeLink(story())
    app = CockpitApp(link, options=ScreenOptions(readonly=True))
    async with app.run_test(size=(120, 35)) as pilot:
        await pilot.pause()
        for action in ACTIONS:
            if action.id == "quit":
                continue
            app.action_pilot(action.id)
            await pilot.pause()
            if action.is_steering and action.when(app.state):
                assert "refused: this screen only watches" in screen_text(app), action.id
            await pilot.press("enter", "escape")
            await pilot.pause()
    assert link.sent == []


def test_what_was_arranged_is_kept_and_garbage_is_as_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "screen.json"
    recall = Recall(path)
    recall.hidden.add("time")
    recall.theme = "light"
    recall.keep()
    assert (Recall(path).hidden, Recall(path).theme) == ({"time"}, "light")
    assert [file.name for file in path.parent.iterdir()] == ["screen.json"]
    for garbage in (b"", b"\xff\x00", b"[1,2]", b'{"theme": 3}', b'{"hidden": ["moon"], "more": 1}'):
        path.write_bytes(garbage)
        assert (Recall(path).hidden, Recall(path).theme) == (set(), None)
    path.unlink()
    path.mkdir()
    Recall(path).keep()  # where nothing can be written, nothing happens


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ('puase = "x"', ["keys.toml", "puase", "did you mean pause?"]),
        ('pause = "e"', ["e is evaluate's"]),
        ('pause = "ctrl+escpe"', ["no such key", "escape"]),
        ("pause = 3", ["3", "must be a key"]),
        ('pause = "escape"', ["escape", "goes back"]),
        ("pause = ", ["keys.toml", "Invalid value"]),
    ],
)
def test_a_file_of_keys_that_will_not_do_is_an_error_that_says_why(tmp_path: Path, line: str, parts: list[str]) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(line)
    with pytest.raises(keymap.KeymapError) as caught:
        keymap.load(path)
    assert all(part in str(caught.value) for part in parts), caught.value
    assert not REBOUND


async def test_other_keys_are_pressed_shown_and_leave_the_way_out(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("cockpit.actions.REBOUND", REBOUND)
    path = tmp_path / "keys.toml"
    path.write_text('pause = "Z"\ncheckpoint = ["f5", "+"]\nextend = "X"\nquit = "z"\njump = []\n')
    try:
        keymap.load(path)
        assert BY_ID["quit"].bound_keys == ("z", "ctrl+q", "ctrl+c")
        link = FakeLink(story())
        text = await shown(still_app(link), "Z", "f5", "space", "j", size=(120, 35))
        assert [type(command).__name__ for command in link.sent] == ["Pause", "Save"]
        assert " Z pause" in text and " z quit" in text and "c  chart" not in text
    finally:
        REBOUND.clear()


def test_the_readme_has_the_table_of_keys() -> None:
    text = Path("README.md").read_text(encoding="utf-8")
    assert keytable.with_table(text) == text, "python -m cockpit.keytable README.md"


async def test_forty_sizes_from_one_cell_on_are_survived_and_the_screen_is_whole_again() -> None:
    dice = random.Random(3)
    app = still_app(FakeLink(story()))
    async with app.run_test(size=(120, 35)) as pilot:
        for size in [(1, 1), *[(dice.randint(1, 300), dice.randint(1, 80)) for _ in range(38)], (120, 35)]:
            await pilot.resize_terminal(*size)
            await pilot.press(dice.choice(["1", "2", "j", "c", "escape", "question_mark", "tab", "pageup", "0"]))
        await pilot.press("escape", "escape", "0")
        await pilot.pause()
        text = screen_text(app)
        assert all(word in text for word in ("RUNNING", "─ loss", "goodput", "─ log", "quit"))
