"""A line to type in."""

from __future__ import annotations

import pytest
from textual import events
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
        for key in keys.split():
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await pilot.pause()
        assert app.query_one(LineInput).value == left
