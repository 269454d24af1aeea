"""A view fills the screen in front of the main one: the run goes on in it, and its keys work there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from played_runs import FakeLink, screen_text, step_done, still_app, story
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from cockpit.screens.help import TITLE, HelpScreen
from cockpit.screens.view import View
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.rows import RowsWidget, row
from gpt import commands as do


class _Step(RowsWidget):
    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        return [row(width, [(f"at {state.step:,}", ink.TEXT)])]


class _View(View[None]):
    def __init__(self) -> None:
        super().__init__("a view", [("x", "explain")])
        self._body = _Step()

    def body(self) -> Iterable[Widget]:
        yield self._body

    def show_body(self, state: RunState) -> bool:
        return self._body.show(state)


async def test_a_view_follows_the_run_takes_its_keys_and_is_left_by_escape() -> None:
    link = FakeLink(story())
    app = still_app(link)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        app.open(_View())
        await pilot.pause()
        app.frame(force=True)
        await pilot.pause()
        shown = screen_text(app)
        assert "a view" in shown and "at 900" in shown and "x explain" in shown and "esc back" in shown
        link.deliver(step_done(901, 2.0))
        app.frame(force=True)
        await pilot.pause()
        assert "at 901" in screen_text(app)
        await pilot.press("space", "r")
        await pilot.pause()
        assert link.sent == [do.Pause()], "what works everywhere works here, and nothing else"
        assert "pausing after this micro-step" in screen_text(app)
        await pilot.press("escape")
        await pilot.pause()
        assert "a view" not in screen_text(app) and "loss" in screen_text(app)


async def test_a_view_that_is_opened_has_its_name_and_its_text_in_the_first_thing_that_is_painted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = still_app(FakeLink(story()))
    painted: list[str] = []

    def display(screen: Screen[Any], update: Any) -> None:
        if isinstance(screen, HelpScreen):
            lines = screen._compositor.render_strips()
            painted.append("\n".join(line.text for line in lines))

    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        monkeypatch.setattr(app, "_display", display)
        await pilot.press("question_mark")
        await pilot.pause()
    first = painted[0]
    assert TITLE in first and "step 900" in first and "esc" in first and "more rows" in first
