"""What the doctor says on the main screen: one line of the worst that stands, and how much there is in all."""

from __future__ import annotations

from rich.style import Style
from textual.strip import Strip

from cockpit.checkup import Checkup
from cockpit.sanitize import clean_line
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.rows import Piece, RowsWidget, row, width_of

GLYPHS: dict[str, tuple[str, Style]] = {
    "critical": ("×", ink.CRITICAL), "warning": ("!", ink.WARNING), "note": ("·", ink.DIM)
}  # fmt: skip
"""Of each severity, the worst first."""


class DiagnosisLine(RowsWidget):
    """The worst diagnosis that presses, how many more there are, and the key that tells of them. A click does too."""

    DEFAULT_CSS = "DiagnosisLine { height: 1; }"

    def height_for(self, state: RunState) -> int:
        """Rows it takes: one where something presses, else none."""
        return 1 if state.checkup.pressing else 0

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        pressing = state.checkup.pressing
        if not pressing:
            return []
        click = Style(meta={"@click": "app.pilot('doctor')"})
        glyph, style = GLYPHS.get(pressing[0].severity, GLYPHS["warning"])
        others = len(pressing) - 1
        left: list[Piece] = [(f" {glyph} ", style + click), (clean_line(pressing[0].title), style + click)]
        right: list[Piece] = []
        for more, advice in (
            (f" and {others} more ", "d why, and what to do "), (f" and {others} more ", "d why "),
            (f" +{others} ", "d "),
        ):  # fmt: skip
            right = [(more if others else " ", ink.DIM), (advice[:1], ink.BRIGHT), (advice[1:], ink.DIM)]
            right = [(text, look + click) for text, look in right]
            if width_of(left) + width_of(right) <= width:
                break
        return [row(width, left, right)]


def counted(checkup: Checkup, severities: tuple[str, ...] = ("critical", "warning")) -> list[Piece]:
    """`×1 !2`: how many diagnoses stand, by severity; notes are left to who asks. Empty where there are none."""
    pieces: list[Piece] = []
    for severity in severities:
        if count := checkup.counts[severity]:
            glyph, style = GLYPHS[severity]
            pieces.append((f"{glyph}{count} ", style))
    return pieces
