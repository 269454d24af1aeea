"""Runs beside each other on the screen: chosen, drawn, and explained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from played_runs import FakeLink, finished_story, run_started, screen_text, settled, step_done, still_app, story
from runs_on_disk import write_run

from cockpit import format as fmt
from cockpit.comparing.comparison import compare
from cockpit.comparing.reading import read
from cockpit.runs_app import RunsApp
from cockpit.screens.compare import ChooseView, CompareView
from cockpit.widgets import ink, overlay
from cockpit.widgets.overlay import draw
from cockpit.widgets.panes import wrap
from gpt import events as ev

OTHER = 'name = "other"\n[data]\nname = "python-stdlib"\n[optim]\nlearning_rate = 1e-4\n'


def slower() -> list[ev.Event]:
    """A run of a fifth of the tokens on another machine."""
    told: list[ev.Event] = [run_started(device="NVIDIA L4", device_type="cuda", dtype="bfloat16", tokens_per_step=1024)]
    for step in range(1, 801):
        told.append(step_done(step, 3.0, tokens=1024 * step, tokens_per_s=90_000.0, ms=11.4))
        if step % 100 == 0:
            told.append(ev.EvalDone(
                step=step, train_loss=2.5, val_loss=4.0 - step / 400, val_stderr=0.01, seconds=1.0, best=True
            ))  # fmt: skip
    return told


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    write_run(folder, "amber-heron", story())
    write_run(folder, "best-fox", finished_story(), age=100)
    write_run(folder, "small-crow", slower(), profile=OTHER, age=50)
    return folder


async def shown_by(app: Any, *keys: str, size: tuple[int, int] = (120, 35), after: tuple[str, ...] = ()) -> str:
    async with app.run_test(size=size) as pilot:
        app.frame(force=True)
        await pilot.press("equals_sign")
        await pilot.pause()
        await pilot.press(*keys)
        await pilot.pause()
        if isinstance(app.screen, CompareView):
            await settled(pilot, lambda: not app.screen.is_reading)
            await pilot.press(*after)
            await pilot.pause()
        return re.sub(r"\s+", " ", screen_text(app))


def app_in(runs_dir: Path) -> Any:
    link = FakeLink(story())
    link.run_dir = runs_dir / "amber-heron"
    return still_app(link)


async def test_runs_and_references_are_there_to_choose_from_this_run_chosen(runs_dir: Path) -> None:
    shown = await shown_by(app_in(runs_dir))
    assert "1 amber-heron this run" in shown and "small-crow" in shown and "gpt2-124m on OpenWebText" in shown


async def test_enter_compares_this_run_with_the_one_under_the_bar(runs_dir: Path) -> None:
    shown = await shown_by(app_in(runs_dir), "enter")
    assert "1 amber-heron 1.5500" in shown and "2 small-crow 2.0000" in shown
    assert "tokens 819 k tokens" in shown  # as far as both have come
    assert "amber-heron reaches 1.5500 ± 0.0080 nats/token" in shown and "amber-heron is 0.4500" in shown


async def test_the_axis_turns_and_is_logarithmic_where_they_lie_far_apart(runs_dir: Path) -> None:
    steps = await shown_by(app_in(runs_dir), "enter", after=("left",))
    assert re.search(r"\b600 .*steps\b", steps)
    seconds = await shown_by(app_in(runs_dir), "enter", after=("right", "right"))
    assert "seconds of training" in seconds
    assert "FLOPs" in await shown_by(app_in(runs_dir), "enter", after=("right", "l"))


async def test_three_are_drawn_and_tab_explains_the_next_pair(runs_dir: Path) -> None:
    first = await shown_by(app_in(runs_dir), "m", "m", "enter")
    assert "1 and 2" in first and "3 best-fox" in first
    second = await shown_by(app_in(runs_dir), "m", "m", "enter", after=("tab",))
    assert "1 and 3" in second and "best-fox reaches" in second


@pytest.mark.parametrize("size", [(80, 24), (120, 35), (200, 50)])
async def test_it_fits_every_size_and_the_text_scrolls(runs_dir: Path, size: tuple[int, int]) -> None:
    shown = await shown_by(app_in(runs_dir), "enter", size=size, after=("down",) * 30)
    assert "─ compare ─" in shown and "esc back" in shown
    assert "Unequal besides" in shown or "train one profile on both" in shown


async def test_what_cannot_be_ranked_says_why_on_the_screen(runs_dir: Path) -> None:
    app = app_in(runs_dir)
    shown = await shown_by(app, "down", "down", "enter")  # the first reference
    assert "python-stdlib is another text than OpenWebText" in shown and "gpt2-124m 3.1200 not drawn" in shown
    assert "lower" not in shown.replace("a lower one", "")


async def test_a_log_that_cannot_be_read_is_told_and_one_alone_is_not_compared(runs_dir: Path) -> None:
    (runs_dir / "small-crow" / "events.jsonl").write_text("")
    shown = await shown_by(app_in(runs_dir), "enter")
    assert "has not begun to train" in shown


async def test_the_list_of_runs_hands_its_marked_ones_over(runs_dir: Path) -> None:
    app = RunsApp(runs_dir)
    async with app.run_test(size=(120, 35)) as pilot:
        await pilot.pause()
        view = app.screen
        await settled(pilot, lambda: view.watcher.complete)  # type: ignore[attr-defined]
        view._look()  # type: ignore[attr-defined]
        await pilot.press("M", "equals_sign")
        await pilot.pause()
        assert isinstance(app.screen, CompareView)
        await settled(pilot, lambda: app.screen.plot.comparison is not None)  # type: ignore[attr-defined]
        assert len(app.screen.plot.comparison.entries) == 3  # type: ignore[attr-defined]


async def test_nothing_is_drawn_anew_while_nothing_changes(runs_dir: Path) -> None:
    app = app_in(runs_dir)
    async with app.run_test(size=(120, 35)) as pilot:
        app.frame(force=True)
        await pilot.press("equals_sign")
        await pilot.pause()
        await pilot.press("enter")
        await settled(pilot, lambda: app.screen.plot.comparison is not None)
        view, made = app.screen, None
        app.frame(force=True)
        made = (view.plot._made, view.words._made)
        app.link.deliver(step_done(901, 1.5))
        app.frame(force=True)
        assert (view.plot._made is made[0]) and (view.words._made is made[1])


def test_the_plot_keeps_its_size_whatever_it_is_given(runs_dir: Path) -> None:
    found = compare([read(name, runs_dir) for name in ("amber-heron", "small-crow", "gpt2-124m")])
    for axis in ("step", "tokens", "flops", "seconds"):
        for logarithmic in (False, True):
            for width, height in ((120, 30), (40, 6), (12, 3), (9, 2)):
                rows = draw(found, axis, logarithmic, width, height)
                assert len(rows) == height and {row.cell_length for row in rows} <= {width}


async def test_escape_leads_back(runs_dir: Path) -> None:
    app = app_in(runs_dir)
    async with app.run_test(size=(120, 35)) as pilot:
        app.frame(force=True)
        await pilot.press("equals_sign")
        await pilot.pause()
        assert isinstance(app.screen, ChooseView)
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is app._main


def test_curves_that_share_a_cell_keep_their_dots() -> None:
    def drawn(*lines: overlay.Line) -> np.ndarray:
        chars, styles = np.full((6, 20), ord(" "), np.uint32), np.zeros((6, 20), np.uint8)
        for number, line in enumerate(lines):
            overlay._draw_line(chars, styles, line, number, (0.0, 1.0), (0.0, 1.0))
        return np.where(chars >= 0x2800, chars - 0x2800, 0)

    falling, rising = (overlay.Line(np.array([0.0, 1.0]), np.array(ends), False) for ends in ([1.0, 0.0], [0.0, 1.0]))
    both, crossed = drawn(falling, rising), drawn(rising)
    assert np.array_equal(both, drawn(falling) | crossed) and (drawn(falling) & crossed == 0).any()


def test_a_number_stays_with_its_unit_where_a_line_is_broken() -> None:
    """Of 18 characters the line would end after `27.6`."""
    assert fmt.wrapped("memory, that is 27.6 MiB of 4 kinds", 20) == ["memory, that is", "27.6 MiB of 4 kinds"]
    (first, second) = wrap([("memory, that is 27.6 MiB of 4 kinds", ink.TEXT)], 20)
    assert "".join(text for text, _ in first).strip() == "memory, that is"
    assert "".join(text for text, _ in second) == "27.6 MiB of 4 kinds"
