"""The list of runs: sorted, filtered, marked; what is done with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from played_runs import (
    FakeLink,
    demo_profile,
    finished_story,
    run_started,
    screen_text,
    settled,
    step_done,
    still_app,
    story,
    type_together,
)
from runs_on_disk import write_run

from cockpit import format as fmt
from cockpit.runs_app import RunsApp
from cockpit.screens.runs import RunsView
from cockpit.screens.runs_boxes import CompareScreen, DeleteScreen, ResumeScreen
from cockpit.widgets.runtable import COLUMNS, SORTS
from gpt import events as ev

QUIET = 'name = "quiet"\n[data]\nname = "python-stdlib"\n[optim]\nlearning_rate = 1e-4\n'


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    write_run(folder, "amber-heron", story(), age=0)
    write_run(folder, "best-fox", finished_story(), age=100, checkpoint=900)
    slow = [run_started(profile="quiet", max_steps=50), *(step_done(n, 3.0, tokens_per_s=100.0) for n in range(1, 40))]
    write_run(folder, "slow-crow", slow, age=7200, profile=QUIET)
    return folder


def the_view(app: Any) -> RunsView:
    (view,) = [screen for screen in app.screen_stack if isinstance(screen, RunsView)]
    return view


async def opened(app: Any, pilot: Any) -> RunsView:
    await pilot.pause()
    await settled(pilot, lambda: the_view(app).watcher.complete)
    view = the_view(app)
    view._look()
    await pilot.pause()
    return view


def names(view: RunsView) -> list[str]:
    return [item.name for item in view.table.items]


async def test_every_run_is_there_the_newest_first_and_sorted_by_any_column(runs_dir: Path) -> None:
    app = RunsApp(runs_dir)
    async with app.run_test(size=(200, 40)) as pilot:
        view = await opened(app, pilot)
        assert names(view) == ["amber-heron", "best-fox", "slow-crow"]
        shown = screen_text(app)
        for column in COLUMNS:
            assert column.title in shown
        speed = fmt.number(view.table.items[0].figures["tokens_per_s"])
        for text in ("interrupted", "finished", speed, "1.5500", "2 h", "3 runs"):
            assert text in shown, text
        seen = {}
        for _ in SORTS:
            await pilot.press("s")
            seen[view.table.column] = names(view)
        assert set(seen) == set(SORTS)
        assert seen["speed"][-1] == "slow-crow" and seen["run"] == ["amber-heron", "best-fox", "slow-crow"]
        assert seen["val"][-1] == "slow-crow", "what is unknown comes last"
        await pilot.press("i")
        assert view.table.descending != next(c for c in COLUMNS if c.id == "age").descending


async def test_what_the_doctor_found_is_in_the_list_and_the_worst_on_top(tmp_path: Path) -> None:
    def made(rule: str, severity: str) -> ev.Event:
        return ev.DiagnosisMade(step=5, rule=rule, severity=severity, title=f"what {rule} found")

    folder = tmp_path / "runs"
    write_run(folder, "fit-otter", story(20))
    write_run(folder, "mild-newt", [*story(20), made("min_lr", "note")])
    write_run(folder, "ill-crab", [*story(20), made("warmup", "warning"), made("not_finite", "critical")])
    app = RunsApp(folder)
    async with app.run_test(size=(120, 30)) as pilot:
        view = await opened(app, pilot)
        shown = screen_text(app).splitlines()
        names_there = ("fit-otter", "mild-newt", "ill-crab")
        well, noted, ill = (next(line for line in shown if name in line) for name in names_there)
        assert "×1 !1" in ill and "·1" in noted and not {"×", "!"} & set(well)
        view.action_sort_by("doctor")
        await pilot.pause()
        assert names(view) == ["ill-crab", "mild-newt", "fit-otter"]
        await pilot.press("home")
        await pilot.pause()
        assert "× what not_finite found   and 1 more found" in screen_text(app)
        await pilot.press("end")
        await pilot.pause()
        assert "doctor nothing found" in screen_text(app)


async def test_typed_words_leave_the_runs_that_have_them(runs_dir: Path) -> None:
    app = RunsApp(runs_dir)
    async with app.run_test(size=(120, 30)) as pilot:
        view = await opened(app, pilot)
        await pilot.press("slash", *"QUIET")
        assert names(view) == ["slow-crow"]
        await pilot.press(*" demo")
        assert names(view) == []
        await pilot.pause()
        assert "none of 3 runs has" in screen_text(app)
        await pilot.press("escape")
        assert len(names(view)) == 3 and app.screen is view
        await pilot.press("escape")
    assert app.start_next is None


async def test_keys_in_front_of_the_words_are_obeyed_first_where_they_arrive_together(runs_dir: Path) -> None:
    app = RunsApp(runs_dir)
    async with app.run_test(size=(120, 30)) as pilot:
        view = await opened(app, pilot)
        type_together(app, "m m slash f o x")
        await settled(pilot, lambda: bool(view.table.words))
        await pilot.pause()
        assert (view.table.words, names(view)) == ("fox", ["best-fox"])
        assert view.table.marked == {"amber-heron", "best-fox"}


async def test_enter_opens_a_run_and_q_comes_back(runs_dir: Path) -> None:
    app = RunsApp(runs_dir)
    async with app.run_test(size=(120, 30)) as pilot:
        view = await opened(app, pilot)
        await pilot.press("down", "enter")
        await settled(pilot, lambda: app.state.finished is not None)
        await pilot.pause()
        app.frame(force=True)
        await pilot.pause()
        assert "best-fox" in screen_text(app) and "all steps done" in screen_text(app)
        await pilot.press("q")
        await pilot.pause()
        assert app.screen is view and not app.homes and view.table.chosen == "best-fox"


async def test_marked_runs_are_drawn_with_the_one_in_view(runs_dir: Path) -> None:
    link = FakeLink(story())
    link.run_dir = runs_dir / "amber-heron"
    app = still_app(link)
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.pause()
        app.frame(force=True)
        await pilot.press("R")
        view = await opened(app, pilot)
        assert "this one" in screen_text(app)
        await pilot.press("m", "m", "m", "o")
        await settled(pilot, lambda: len(view.overlays.ghosts) == 2)
        assert {ghost.name for ghost in app._main.chart.look.overlays.ghosts} == {"best-fox", "slow-crow"}
        await settled(pilot, lambda: "overlaid" in screen_text(app))
        await pilot.press("o")
        assert view.overlays.ghosts == []
        await pilot.press("home", "enter")
        await pilot.pause()
        assert app.screen is app._main, "the run in view is behind the list"
        assert view.table.marked == {"amber-heron", "best-fox", "slow-crow"}


async def test_two_marked_runs_are_compared_setting_by_setting(runs_dir: Path) -> None:
    app = RunsApp(runs_dir)
    async with app.run_test(size=(120, 40)) as pilot:
        view = await opened(app, pilot)
        await pilot.press("d")
        assert app.screen is view, "one run is no pair"
        await pilot.press("m", "end", "d")
        await settled(pilot, lambda: isinstance(app.screen, CompareScreen) and app.screen._found is not None)
        await pilot.pause(0.3)
        shown = screen_text(app)
        for text in ("amber-heron", "slow-crow", "optim.learning_rate", "0.0001", "settings are the same"):
            assert text in shown, text
        assert "0.5" in next(line for line in shown.splitlines() if "optim.grad_clip" in line), "changed on the way"
        assert "optim.beta1" not in shown


async def test_delete_asks_and_deletes_only_what_is_not_live(runs_dir: Path) -> None:
    app = RunsApp(runs_dir)
    from cockpit.runs import Run

    with Run(runs_dir / "amber-heron").lock():
        async with app.run_test(size=(120, 40)) as pilot:
            view = await opened(app, pilot)
            await pilot.press("home")
            view.table.chosen = "amber-heron"
            await pilot.press("x")
            await pilot.pause()
            assert app.screen is view and "cannot be deleted" in screen_text(app)
            view.table.chosen = "slow-crow"
            await pilot.press("x")
            await pilot.pause()
            assert isinstance(app.screen, DeleteScreen) and "nothing brings them back" in screen_text(app)
            await pilot.press(*"no", "enter", "escape")
            await pilot.pause()
            assert (runs_dir / "slow-crow").exists() and app.screen is view
            await pilot.press("x")
            await pilot.press(*"slow-crow", "enter")
            await settled(pilot, lambda: not (runs_dir / "slow-crow").exists())
            await settled(pilot, lambda: names(view) == ["amber-heron", "best-fox"])
    assert (runs_dir / "best-fox").exists()


async def test_resume_shows_the_very_command_and_leaves_with_it(runs_dir: Path) -> None:
    app = RunsApp(runs_dir)
    async with app.run_test(size=(140, 40)) as pilot:
        view = await opened(app, pilot)
        await pilot.press("r")
        await pilot.pause()
        assert app.screen is view and "no checkpoint to go on from" in screen_text(app)
        await pilot.press("down", "r")
        await pilot.pause()
        assert isinstance(app.screen, ResumeScreen) and "--resume" in screen_text(app)
        await pilot.press("enter")
        await pilot.pause()
    chosen = app.start_next
    assert chosen and chosen.at_once and chosen.arguments[1:] == [
        "--run", "best-fox", "--runs-dir", str(runs_dir), "--resume"
    ]  # fmt: skip
    assert chosen.command.startswith("gpt-cockpit ") and "--run best-fox" in chosen.command


@pytest.mark.parametrize("keys", ["down r enter", "down r escape i i r enter", "down x n escape r enter"])
async def test_an_answer_that_arrives_with_the_key_that_asks_is_the_answer(runs_dir: Path, keys: str) -> None:
    app = RunsApp(runs_dir)
    async with app.run_test(size=(140, 40)) as pilot:
        await opened(app, pilot)
        type_together(app, keys)
        await settled(pilot, lambda: app.start_next is not None)
    assert app.start_next and app.start_next.at_once and "best-fox" in app.start_next.arguments


async def test_what_is_typed_into_a_box_may_arrive_with_the_key_that_opens_it(runs_dir: Path) -> None:
    app = RunsApp(runs_dir)
    async with app.run_test(size=(140, 40)) as pilot:
        view = await opened(app, pilot)
        view.table.chosen = "slow-crow"
        type_together(app, "x s l o w minus c r o w enter")
        await settled(pilot, lambda: not (runs_dir / "slow-crow").exists())
        await settled(pilot, lambda: app.screen is view)


async def test_a_run_that_trains_here_cannot_start_another(runs_dir: Path) -> None:
    link = FakeLink(story(), demo_profile())
    link.run_dir = runs_dir / "amber-heron"
    app = still_app(link)
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.pause()
        app.frame(force=True)
        await pilot.press("R")
        view = await opened(app, pilot)
        await pilot.press("down", "r", "enter", "p")
        await pilot.pause()
        assert isinstance(app.screen, ResumeScreen) and "in another terminal" in screen_text(app)
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is view and app.is_running


@pytest.mark.parametrize("size", [(1, 1), (20, 5), (60, 18), (80, 24), (120, 35), (200, 50)])
async def test_the_columns_fit_every_size(runs_dir: Path, size: tuple[int, int]) -> None:
    app = RunsApp(runs_dir)
    async with app.run_test(size=size) as pilot:
        await opened(app, pilot)
        head = next((line for line in screen_text(app).splitlines() if " run " in line), "")
        if size[0] >= 80:
            for title in ("state", "step", "loss", "val", "age"):
                assert title in head
            assert "…" not in head


async def test_names_and_errors_of_runs_are_made_clean(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    write_run(folder, "evil\x1b]52;c;aGk=\x07name", story(20))
    app = RunsApp(folder)
    async with app.run_test(size=(120, 30)) as pilot:
        await opened(app, pilot)
        shown = screen_text(app)
        assert "evil" in shown and "\x1b" not in shown and "\x07" not in shown
