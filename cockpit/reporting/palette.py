"""The colours of a report: the screen's, dark or light as the reader's own screen is, and light on paper."""

from __future__ import annotations

from cockpit.widgets import ink
from cockpit.widgets.themes import LIGHT

_INKS = {
    "ground": ink.BACKGROUND, "raised": ink.RAISED, "text": ink.TEXT_COLOR, "bright": ink.BRIGHT_COLOR,
    "dim": ink.DIM_COLOR, "faint": ink.FAINT_COLOR, "rule": ink.RULE_COLOR, "train": ink.TRAIN_COLOR,
    "raw": ink.RAW_COLOR, "val": ink.VALIDATION_COLOR, "warning": ink.WARNING_COLOR, "critical": ink.CRITICAL_COLOR,
    "paused": ink.PAUSED_COLOR, "good": ink.GOOD_COLOR, "work": ink.WORK_COLOR, "curve": ink.CURVE_COLOR,
    "on": ink.ON_COLOR,
}  # fmt: skip
"""Name of a colour → the ink. A report says the names only."""

_DARK = "; ".join(f"--{name}: {color}" for name, color in _INKS.items())
_LIGHT = "; ".join(f"--{name}: {LIGHT.color(color)}" for name, color in _INKS.items())

VARIABLES = f"""\
:root {{ color-scheme: light dark; {_LIGHT} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
"""
"""Style rules that set the colours, as variables."""

PLOT_RULES = """\
.plot text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--dim) }
.plot .title { font-size: 13px; font-weight: 600; fill: var(--bright) }
.plot .key { fill: var(--text) }
.plot .tick { font-variant-numeric: tabular-nums }
.plot .grid { stroke: var(--rule); stroke-width: 1 }
.plot .axis { stroke: var(--faint); stroke-width: 1 }
.plot .band { fill: var(--raw); fill-opacity: .45; stroke: none }
.plot .raw { fill: none; stroke: var(--raw); stroke-width: 1; stroke-opacity: .8 }
.plot .line { fill: none; stroke: var(--train); stroke-width: 1.8; stroke-linejoin: round }
.plot .curve { fill: none; stroke: var(--curve); stroke-width: 1.5; stroke-linejoin: round }
.plot .spread { fill: var(--curve); fill-opacity: .35; stroke: none }
.plot .val { fill: none; stroke: var(--val); stroke-width: 1.2; stroke-opacity: .75 }
.plot .dot { fill: var(--val); stroke: var(--ground); stroke-width: 1 }
.plot .held { fill: none; stroke: var(--paused); stroke-width: 1.5 }
.plot .left { fill: none; stroke: var(--faint); stroke-width: 1.1; stroke-dasharray: 4 3 }
.plot .level { stroke: var(--dim); stroke-width: 1; stroke-dasharray: 2 4 }
.plot .event { stroke: var(--warning); stroke-width: 1; stroke-dasharray: 1 4 }
.plot .saved { fill: none; stroke: var(--train); stroke-width: 1.3 }
.plot .best { fill: var(--train); stroke: var(--train); stroke-width: 1.3 }
.plot .change { fill: var(--warning); stroke: none }
.plot .spike { fill: var(--critical); stroke: none }
.plot .stood { fill: var(--paused); stroke: none }
"""
