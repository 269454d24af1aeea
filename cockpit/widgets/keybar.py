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

    DEFAULT_CSS = "KeyBar { height: 1; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.cost: float | None = None
        """CPU time of the screen over wall time, 0…1."""

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        shown = [action for action in ACTIONS if action.in_footer and action.when(state)]
        share = f"{fmt.percent(self.cost):>4} % CPU "
        forms = [(False, f"screen {share}"), (False, share), (True, share if share.startswith(" ") else f" {share}")]
        forms += [(True, "")] * (width < 70)
        while True:
            for tight, cost in forms:
                left = [piece for action in shown for piece in _key(action, state, tight)]
                if width_of(left) + len(cost) <= width:
                    return [row(width, left, [(cost, ink.FAINT)])]
            if not shown:
                return []
            shown.remove(max(shown, key=lambda action: action.footer_rank))


def _key(action: Action, state: RunState, tight: bool) -> list[Piece]:
    """Its key and label.

    Args:
        tight: without blanks that only please, and in as few letters as there are.
    """
    click = Style(meta={"@click": action.method})
    key, label = action.key_label, action.label_for(state)
    if tight:
        return [(f" {key} ", ink.BRIGHT + click), (action.short or label, ink.DIM + click)]
    return [(f" {key} ", ink.BRIGHT + click), (f"{label} ", ink.DIM + click)]
