"""The colours of the cockpit: one for each meaning, the same one everywhere.

Chosen so that each falls on a colour of its own in the 256 and in the 16 colour palettes as well; the greys are neutral
enough to land on the grey ramp. No meaning rests on colour alone: glyphs and words carry it too.
"""

from __future__ import annotations

from rich.style import Style
from textual.theme import Theme

BACKGROUND = "#0d1014"
RAISED = "#171b21"
TEXT_COLOR = "#d5dbe3"
DIM_COLOR = "#8a94a1"
FAINT_COLOR = "#59606a"
RULE_COLOR = "#2c3036"
TRAIN_COLOR = "#4fc3dc"
VALIDATION_COLOR = "#ee82dc"
WARNING_COLOR = "#f2c84b"
CRITICAL_COLOR = "#ff6b64"
PAUSED_COLOR = "#7f8cff"
GOOD_COLOR = "#5fd787"

TEXT = Style(color=TEXT_COLOR)
BRIGHT = Style(color="#ffffff", bold=True)
DIM = Style(color=DIM_COLOR)
"""Labels."""
FAINT = Style(color=FAINT_COLOR)
"""Units and axes."""
RULE = Style(color=RULE_COLOR)
TRAIN = Style(color=TRAIN_COLOR, bold=True)
RAW = Style(color="#2a7c8e")
"""The raw loss: the training colour, darker, so that the smoothed line stands out on it."""
VALIDATION = Style(color=VALIDATION_COLOR, bold=True)
VALIDATION_CURVE = Style(color="#95508b")
CURVE = Style(color="#66707c")
"""Recent values beside a number whose meaning has no colour of its own."""
WARNING = Style(color=WARNING_COLOR)
CRITICAL = Style(color=CRITICAL_COLOR, bold=True)
PAUSED = Style(color=PAUSED_COLOR)
GOOD = Style(color=GOOD_COLOR)

STATE_COLORS = {
    "starting": DIM_COLOR, "compiling": DIM_COLOR, "running": GOOD_COLOR, "evaluating": VALIDATION_COLOR,
    "saving": TRAIN_COLOR, "sampling": TRAIN_COLOR, "paused": PAUSED_COLOR, "stopping": WARNING_COLOR,
    "finished": GOOD_COLOR, "stopped": WARNING_COLOR, "failed": CRITICAL_COLOR,
}  # fmt: skip
"""Colour of each of gpt.events.STATES; the word itself is always shown with it."""

THEME = Theme(
    name="cockpit", primary=TRAIN_COLOR, secondary=VALIDATION_COLOR, accent=TRAIN_COLOR, warning=WARNING_COLOR,
    error=CRITICAL_COLOR, success=GOOD_COLOR, foreground=TEXT_COLOR, background=BACKGROUND, surface=BACKGROUND,
    panel=RAISED, dark=True,
)  # fmt: skip
