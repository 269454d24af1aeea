"""The last row: the keys that do something now, and what the screen costs."""

from __future__ import annotations

from rich.style import Style
from textual.strip import Strip

from cockpit import format as fmt
from cockpit.actions import ACTIONS, Action
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.rows import Piece, RowsWidget, row, width_of


class KeyBar(RowsWidget):
    """Keys from the registry of actions; each can be clicked."""

    DEFAULT_CSS = "KeyBar { height: 1; dock: bottom; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.cost: float | None = None
        """CPU time of the screen over wall time, 0…1."""

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        shown = [action for action in ACTIONS if action.in_footer and action.when(state)]
        share = f"{fmt.percent(self.cost):>4} % CPU "
        for cost in (f"screen {share}", share if width >= 60 else ""):
            left = [piece for action in shown for piece in _key(action, state)]
            if width_of(left) + len(cost) <= width:
                break
        while width_of(left) + len(cost) > width and len(shown) > 1:
            shown.remove(max(shown, key=lambda action: action.footer_rank))
            left = [piece for action in shown for piece in _key(action, state)]
        return [row(width, left, [(cost, ink.FAINT)])]


def _key(action: Action, state: RunState) -> list[Piece]:
    click = Style(meta={"@click": action.method})
    return [(f" {action.key_label} ", ink.BRIGHT + click), (f"{action.label_for(state)} ", ink.DIM + click)]
