"""The colours of the cockpit: one for each meaning, the same one everywhere.

They are the dark theme's, and every widget draws with them whatever the theme: another theme puts its own colours in
their places on the way out (cockpit.widgets.themes). So a style from here may be kept, copied and combined; a colour
written anywhere else would stay as it is in every theme.

Chosen so that each falls on a colour of its own in the 256 and in the 16 colour palettes as well; the greys are neutral
enough to land on the grey ramp. No meaning rests on colour alone: glyphs and words carry it too.
"""

from __future__ import annotations

from rich.style import Style

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
BRIGHT_COLOR = "#ffffff"
RAW_COLOR = "#2a7c8e"
VALIDATION_CURVE_COLOR = "#95508b"
CURVE_COLOR = "#66707c"
WORK_COLOR = "#3f9a5f"
SCROLLBAR_COLOR = "#39404a"
ON_COLOR = "#000000"
HEAT_COLORS = ("#e2635c", "#e0915a", "#d8bf5e", "#b3cc70", "#83cd92", "#c3dbd0")
GHOST_COLORS = ("#a08d57", "#8f7bb0", "#5f9a88", "#b0776f")

TEXT = Style(color=TEXT_COLOR)
BRIGHT = Style(color=BRIGHT_COLOR, bold=True)
DIM = Style(color=DIM_COLOR)
"""Labels."""
FAINT = Style(color=FAINT_COLOR)
"""Units and axes."""
RULE = Style(color=RULE_COLOR)
TRAIN = Style(color=TRAIN_COLOR, bold=True)
RAW = Style(color=RAW_COLOR)
"""The raw loss: the training colour, darker, so that the smoothed line stands out on it."""
VALIDATION = Style(color=VALIDATION_COLOR, bold=True)
VALIDATION_CURVE = Style(color=VALIDATION_CURVE_COLOR)
CURVE = Style(color=CURVE_COLOR)
"""Recent values beside a number whose meaning has no colour of its own."""
WARNING = Style(color=WARNING_COLOR)
CRITICAL = Style(color=CRITICAL_COLOR, bold=True)
PAUSED = Style(color=PAUSED_COLOR)
GOOD = Style(color=GOOD_COLOR)
WORK = Style(color=WORK_COLOR)
"""Time spent training: large areas of it, so quieter than GOOD."""
HEAT = tuple(Style(color=color) for color in HEAT_COLORS)
"""A measure from the least to the greatest, such as the probability of a token."""
GHOSTS = tuple(Style(color=color) for color in GHOST_COLORS)
"""Other runs beside this one; each with a name or a glyph of its own."""
CURSOR = Style(color=BRIGHT_COLOR)
"""The crosshair, and the step it stands on."""
REFERENCE = Style(color=DIM_COLOR)
"""A published loss, as a level with its name."""


def on(color: str) -> Style:
    """Letters on a coloured ground: dark ones, or light ones where the theme is light."""
    return Style(color=ON_COLOR, bgcolor=color, bold=True)


STATE_COLORS = {
    "starting": DIM_COLOR, "compiling": DIM_COLOR, "running": GOOD_COLOR, "evaluating": VALIDATION_COLOR,
    "saving": TRAIN_COLOR, "sampling": TRAIN_COLOR, "testing": TRAIN_COLOR, "paused": PAUSED_COLOR,
    "stopping": WARNING_COLOR,
    "finished": GOOD_COLOR, "stopped": WARNING_COLOR, "failed": CRITICAL_COLOR,
}  # fmt: skip
"""Colour of each of gpt.events.STATES; the word itself is always shown with it."""
