"""A line to type in."""

from __future__ import annotations

import pytest
from played_runs import type_together
from textual.app import App, ComposeResult

from cockpit.widgets.lineinput import LineInput


class Line(App[None]):
    """Nothing but a field."""

    def compose(self) -> ComposeResult:
        yield LineInput("old", select_on_focus=False)


@pytest.mark.parametrize(
    ("keys", "left"),
    [("ctrl+u 3 e", "3e"), ("3 backspace 4", "old4"), ("home x", "xold"), ("left left delete 1", "o1d")],
)
async def test_keys_that_arrive_together_are_obeyed_in_their_order(keys: str, left: str) -> None:
    app = Line()
    async with app.run_test() as pilot:
        type_together(app, keys)
        await pilot.pause()
        assert app.query_one(LineInput).value == left
