"""A report on disk: whole or not at all, never in the place of another; by key and by command."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cockpit"))
from played_runs import FakeLink, finished_story, run_started, save, screen_text, still_app, story
from rich.segment import Segment
from runs_on_disk import PROFILE, write_run

from cockpit import commands_report
from cockpit.app import CockpitApp
from cockpit.doctor.examination import IDS
from cockpit.listing import summarize
from cockpit.reporting import picture, tables, writing
from cockpit.reporting.gathering import from_log
from cockpit.runs import Run
from gpt.errors import RunError

SCREEN = [[Segment("step 1 <b>"), Segment(" & more")], [Segment("⣿⣦")]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has ended."""
    return write_run(tmp_path / "runs", "amber-heron", finished_story())


@pytest.fixture
def no_png(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package that draws PNGs is not there, and needs no time."""
    monkeypatch.setattr(picture, "PACKAGE", "no_such_package")


def names(run: Run) -> list[str]:
    return sorted(path.name for path in run.path.iterdir() if "report" in path.name)


def test_a_report_is_a_folder_of_page_text_and_pictures(run: Run, no_png: None) -> None:
    written = writing.write(from_log(run), run.path, SCREEN)
    assert names(run) == ["report-00000900"] and written.page.is_file()
    assert {"report.html", "report.md", "screen.svg", "figures/loss.svg", "figures/time.svg"} <= set(written.files)
    assert all((written.folder / name).stat().st_size for name in written.files)
    text = (written.folder / "report.md").read_text()
    assert all(f"({name})" in text for name in written.files if name.startswith("figures/"))
    assert "data:image/svg+xml" in written.page.read_text()


def test_of_a_run_that_was_extended_the_settings_in_force_are_told_and_the_earlier_ones_named(tmp_path: Path) -> None:
    events = [run_started(max_steps=1000), run_started(step=900, max_steps=3000)]
    begun = f"{PROFILE}[train]\nmax_steps = 1000\n[optim]\nlearning_rate = 5e-4\n"
    run = write_run(tmp_path / "runs", "amber-heron", events, profile=begun)
    save(run.checkpoints_path, 900, rate=2e-3)  # of a sitting that was to take 2000 steps
    told = from_log(run)
    assert (told.settings["train.max_steps"], told.settings["optim.learning_rate"]) == (3000, 2e-3)
    table = tables.settings(told.profile, told.settings)
    assert table is not None
    rows = {row[0]: row[1] for row in table.rows}
    assert rows["train.max_steps"] == "3000 (begun with 1000)"
    assert rows["optim.learning_rate"] == "0.002 (begun with 0.0005)"


def test_no_report_takes_the_place_of_another(run: Run, no_png: None) -> None:
    folders = [writing.write(from_log(run), run.path).folder.name for _ in range(3)]
    assert folders == ["report-00000900", "report-00000900-2", "report-00000900-3"] == names(run)
    with pytest.raises(RunError, match="is there already"):
        writing.write(from_log(run), run.path, out=run.path / "report-00000900")


def test_a_report_that_fails_half_way_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(document: object, screen: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "as_html", full)
    with pytest.raises(RunError, match="No space left"):
        writing.write(from_log(run), run.path)
    assert names(run) == [] and not list(run.path.glob(".report-*"))


def test_without_the_package_one_line_says_which_extra_draws_a_png(run: Run, no_png: None) -> None:
    written = writing.write(from_log(run), run.path, SCREEN)
    assert written.notes == ["no PNG: pip install 'gpt-cockpit[picture]' draws one"]
    assert "screen.png" not in written.files


def test_the_screen_becomes_svg_that_fetches_nothing_and_png(tmp_path: Path) -> None:
    svg = picture.as_svg(SCREEN, "<i>title</i>")
    assert "&lt;b&gt;" in svg and "⣿⣦" in svg and "@font-face" not in svg and "<i>" not in svg
    (tmp_path / "screen.svg").write_text(svg)
    pytest.importorskip("resvg_py")
    assert picture.draw_png(tmp_path / "screen.svg", tmp_path / "screen.png") is None
    assert (tmp_path / "screen.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "screen.svg").write_text("no picture")
    assert (picture.draw_png(tmp_path / "screen.svg", tmp_path / "none.png") or "").startswith("no PNG: ")


def said(app: CockpitApp) -> str:
    return (app.main.notice._message or ("", ""))[0]


async def test_s_writes_a_report_on_a_thread_and_says_where_on_every_screen(tmp_path: Path, no_png: None) -> None:
    link = FakeLink(story(60))
    link.run_dir = tmp_path
    app = still_app(link)
    async with app.run_test(size=(120, 35)) as pilot:
        await pilot.pause()
        for number, key in enumerate(["S", "g", "S"]):
            await pilot.press(key)
            while "report" in app.memory:
                await asyncio.sleep(0.02)
            await pilot.pause()
            if number != 1:
                assert "report.html" in said(app)
    pages = sorted(tmp_path.glob("report-*/report.html"))
    assert len(pages) == 2
    assert "ms/iter" in (pages[0].parent / "screen.svg").read_text()


async def test_where_the_report_of_an_ended_run_is_stands_in_front_of_its_outcome(tmp_path: Path, no_png: None) -> None:
    link = FakeLink(finished_story())
    link.run_dir = tmp_path
    app = still_app(link)
    async with app.run_test(size=(200, 35)) as pilot:
        await pilot.pause()
        await pilot.press("S")
        while "report" in app.memory:
            await asyncio.sleep(0.02)
        await pilot.pause()
        assert "report-00000900/report.html" in screen_text(app)


async def test_s_says_why_there_is_no_report(tmp_path: Path) -> None:
    link = FakeLink(story(60))
    link.run_dir = tmp_path / "gone"
    app = still_app(link)
    async with app.run_test(size=(120, 35)) as pilot:
        await pilot.pause()
        await pilot.press("S")
        while "report" in app.memory:
            await asyncio.sleep(0.02)
        await pilot.pause()
        assert "no report can be written" in said(app)


async def test_s_before_the_run_has_told_anything_writes_nothing(tmp_path: Path) -> None:
    link = FakeLink()
    link.run_dir = tmp_path
    app = still_app(link)
    async with app.run_test(size=(120, 35)) as pilot:
        await pilot.press("S")
        assert "nothing to report on yet" in said(app)
    assert not list(tmp_path.iterdir())


def test_the_command_tells_scripts_what_it_wrote(
    run: Run, no_png: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands_report.report(run.name, out=tmp_path / "out", json=True, runs_dir=run.path.parent) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["folder"] == str(tmp_path / "out") and told["step"] == 900 and told["best_val_loss"] is not None
    assert "FINISHED" in (tmp_path / "out" / "screen.svg").read_text() and "report.html" in told["files"]
    assert {each["rule"] for each in told["diagnoses"]} <= set(IDS) and told["ledger"]["train"] > 0
    listed = summarize(run)
    assert {key: told[key] for key in told if key in listed} == {key: listed[key] for key in listed if key in told}


def test_the_command_refuses_in_one_line_what_cannot_be(run: Run) -> None:
    command = [sys.executable, "-m", "cockpit", "report", "none", "--runs-dir", str(run.path.parent)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "no run none" in done.stderr
