"""The whole log: searched, filtered and followed, however long it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from played_runs import START, FakeLink, finished_story, screen_text, settled, step_done, still_app, story
from runs_on_disk import write_run

from cockpit import logbook
from cockpit.logbook import LEVELS, LogBook, console_lines, event_lines
from cockpit.reducer import reduce_all
from cockpit.runs import Run
from cockpit.screens.log import LogView, marked
from cockpit.state import RunState
from cockpit.widgets import ink
from gpt import events as ev

STEPS, INFO, WARNING, ERROR = range(len(LEVELS))


def many_lines() -> list[ev.Event]:
    said = [
        ev.LogLine(time=START + n, level=("info", "info", "warning", "error")[n % 4], text=f"line {n} says Ärger{n:03}")
        for n in range(400)
    ]
    return [event for n, line in enumerate(said) for event in (line, step_done(n + 1, 2.0, time=START + n))]


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogBook:
    monkeypatch.setattr(logbook, "BLOCK", 3000)
    monkeypatch.setattr(logbook, "KEPT", 3)
    book = LogBook(write_run(tmp_path, "a", many_lines()).events_path, event_lines)
    book._count()
    assert len(book._stretches) > 20
    return book


def test_a_line_is_found_by_its_number_at_every_level(book: LogBook) -> None:
    assert [book.count(level) for level in (STEPS, INFO, WARNING, ERROR)] == [800, 400, 200, 100]
    texts = [line.text for line in book.lines(0, 400, INFO)]
    assert texts == [f"line {n} says Ärger{n:03}" for n in range(400)]
    assert [line.text for line in book.lines(57, 61, INFO)] == texts[57:61]
    assert book.lines(99, 200, ERROR)[0].text == texts[399] and len(book.lines(99, 200, ERROR)) == 1
    assert "step 200: loss 2.0000" in book.lines(399, 400, STEPS)[0].text


def test_few_stretches_are_kept_however_much_is_read(book: LogBook) -> None:
    book.lines(0, 400, INFO)
    assert len(book._kept) <= 3


def test_the_lines_are_those_of_the_log_pane(tmp_path: Path) -> None:
    events = finished_story()
    book = LogBook(write_run(tmp_path, "a", events).events_path, event_lines)
    book._count()
    assert tuple(book.lines(0, 10**6, INFO)) == reduce_all(RunState(), events).log


def test_a_search_goes_both_ways_and_round_the_ends(book: LogBook) -> None:
    assert book.find("ärger123", 0, INFO, forward=True) == 123
    assert book.find("ärger123", 399, INFO, forward=False) == 123
    assert book.find("ärger123", 123, INFO, forward=True) == 123, "once round"
    assert book.find("ärger12", 123, INFO, forward=True) == 124
    assert book.find("ärger12", 123, INFO, forward=False) == 122
    assert book.find("ärger001", 300, INFO, forward=True) == 1
    assert book.find("ärger399", 3, INFO, forward=False) == 399
    assert book.find("nowhere", 3, INFO, forward=True) is None
    assert book.find("ärger002", 0, ERROR, forward=True) is None, "a line that is not shown is not found"


def test_a_moment_is_found_by_its_time(book: LogBook) -> None:
    assert book.number_at(START + 250, INFO) == 250
    assert book.number_at(START + 250, ERROR) == 62
    assert book.number_at(START - 5, INFO) == 0 and book.number_at(START + 999, INFO) == 400


def test_what_is_added_is_counted_once(book: LogBook) -> None:
    for number in range(400, 460):
        with book.path.open("ab") as log:
            log.write(ev.encode(ev.LogLine(time=START + number, level="info", text=f"more {number}")) + b'{"ev')
            book._count()
            log.truncate(log.tell() - 4)
    book._count()
    assert book.count(INFO) == 460
    assert [line.text for line in book.lines(398, 460, INFO)][2:] == [f"more {n}" for n in range(400, 460)]


def test_of_a_line_that_the_console_wrote_over_the_last_counts() -> None:
    assert [line.text for line in console_lines([b"10 %\r50 %\r100 %\r", b"", b"\xffnext"], True)] == ["100 %", "�next"]


def test_every_occurrence_is_marked_whatever_its_case() -> None:
    pieces = marked("Step and step", "STEP", ink.TEXT, ink.WARNING)
    assert [text for text, style in pieces if style is ink.WARNING] == ["Step", "step"]
    assert "".join(text for text, _ in pieces) == "Step and step"
    assert marked("İx step", "step", ink.TEXT, ink.WARNING)[0][0].startswith("İ")


# On the screen


async def opened(app: Any, pilot: Any) -> LogView:
    await pilot.pause()
    app.frame(force=True)
    await pilot.press("v")
    await settled(pilot, lambda: isinstance(app.screen, LogView) and app.screen.books[0].complete)
    app.screen._redraw()
    await pilot.pause()
    return app.screen


def with_log(tmp_path: Path, events: list[ev.Event]) -> tuple[Any, Run]:
    run = write_run(tmp_path, "amber-heron", events)
    run.console_path.write_text("".join(f"printed {n}\n" for n in range(300)))
    link = FakeLink(story(30))
    link.run_dir = run.path
    return still_app(link), run


async def test_keys_scroll_search_and_filter(tmp_path: Path) -> None:
    app, _ = with_log(tmp_path, many_lines())
    async with app.run_test(size=(100, 24)) as pilot:
        view = await opened(app, pilot)
        assert "line 399" in screen_text(app) and "following" in screen_text(app) and "of 400" in screen_text(app)
        await pilot.press("up", "up")
        await pilot.pause()
        assert "line 399" not in screen_text(app) and "following" not in screen_text(app)
        await pilot.press("g")
        await pilot.pause()
        assert "line 0 " in screen_text(app)
        await pilot.press("slash", *"ärger2", "enter")
        await settled(pilot, lambda: view.lines.match == 200)
        await pilot.pause()
        assert "line 200" in screen_text(app)
        await pilot.press("n")
        await settled(pilot, lambda: view.lines.match == 201)
        await pilot.press("N", "N")
        await settled(pilot, lambda: view.lines.match in (200, 299))
        await pilot.press("escape", "l")
        await pilot.pause()
        shown = screen_text(app)
        assert "warnings, errors" in shown and "of 200" in shown and app.screen is view
        await pilot.press("l", "l", "end")
        await pilot.pause()
        assert "step 400: loss 2.0000" in screen_text(app), "all, steps too"
        await pilot.press("tab")
        await settled(pilot, lambda: "printed 299" in screen_text(app))
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is app._main


async def test_a_log_that_grows_is_followed_unless_one_has_scrolled_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logbook, "LOOK_EVERY", 0.01)
    app, run = with_log(tmp_path, many_lines())

    def say(text: str) -> None:
        with run.events_path.open("ab") as log:
            log.write(ev.encode(ev.LogLine(level="info", text=text)))

    async with app.run_test(size=(100, 24)) as pilot:
        view = await opened(app, pilot)
        say("news one")
        await settled(pilot, lambda: "news one" in screen_text(app))
        await pilot.press("up")
        before = view.lines.first
        say("news two")
        await settled(pilot, lambda: view.books[0].count(INFO) == 402)
        view._redraw()
        await pilot.pause()
        assert view.lines.first == before and "news two" not in screen_text(app)
        await pilot.press("pagedown")
        await settled(pilot, lambda: "news two" in screen_text(app))
        assert view.lines.top is None


@pytest.mark.parametrize("size", [(1, 1), (12, 4), (40, 10), (200, 50)])
async def test_every_size_is_survived(tmp_path: Path, size: tuple[int, int]) -> None:
    long = ev.LogLine(time=START, level="error", text="a very long line\nof several rows " * 400)
    app, _ = with_log(tmp_path, [*many_lines(), long])
    async with app.run_test(size=size) as pilot:
        await opened(app, pilot)
        await pilot.press("up", "g", "pagedown", "end", "escape")


async def test_without_a_log_on_disk_it_says_so(tmp_path: Path) -> None:
    link = FakeLink(story(30))
    link.run_dir = tmp_path / "none"
    app = still_app(link)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app, pilot)
        assert "no such lines" in screen_text(app)
