"""A run that nobody can see any more: what is done with the terminal before it is let go."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest

from cockpit.following import Follower
from cockpit.headless import HeadlessReporter
from cockpit.state import RunState
from gpt.config import Profile


class Terminal(io.StringIO):
    """One that may be let go, and knows what had been drawn on it by then."""

    drawn = ""
    is_let_go = False

    def isatty(self) -> bool:
        return True

    def let_go(self) -> None:
        self.drawn, self.is_let_go = self.getvalue(), True


def test_the_bar_gives_the_cursor_back_before_the_terminal_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal: Any = Terminal()
    link: Any = SimpleNamespace(alive=False)
    reporter = HeadlessReporter(Profile(), stream=terminal)
    assert terminal.getvalue().rindex("\x1b[?25l") > terminal.getvalue().rfind("\x1b[?25h")
    Follower(link, reporter, terminal, state=RunState(), since=0.0, silent=True)._fall_silent("why")
    assert terminal.drawn.rindex("\x1b[?25h") > terminal.drawn.rindex("\x1b[?25l")
