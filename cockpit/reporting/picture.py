"""The screen as a picture: SVG with its text as text, and PNG where a package for that is installed."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.segment import Segment, Segments
from rich.terminal_theme import TerminalTheme

from cockpit.widgets import ink

PACKAGE = "resvg_py"
"""What draws the PNG; in the extra `picture`."""
NO_PNG = "no PNG: pip install 'gpt-cockpit[picture]' draws one"
WIDTH = 1800
"""Pixels of the PNG."""
_PATIENCE = 120.0  # seconds; fonts are looked for on the disk, and the processors may be busy

_FONT = "ui-monospace, SFMono-Regular, Menlo, 'DejaVu Sans Mono', monospace"
_PNG = """\
import sys, resvg_py
svg = open(sys.argv[1], encoding="utf-8").read().replace("ui-monospace, SFMono-Regular, Menlo, ", "")
png = resvg_py.svg_to_bytes(svg_string=svg, width=int(sys.argv[3]))
open(sys.argv[2], "wb").write(bytes(png))
"""


def as_svg(rows: Sequence[Sequence[Segment]], title: str) -> str:
    """Rows of a screen, as they were drawn, as SVG that fetches nothing."""
    width = max((sum(segment.cell_length for segment in row) for row in rows), default=1)
    console = Console(
        width=width, height=len(rows), file=io.StringIO(), force_terminal=True, color_system="truecolor", record=True,
        legacy_windows=False, safe_box=False,
    )  # fmt: skip
    for row in rows:
        console.print(Segments([*row, Segment.line()]), end="")
    svg = console.export_svg(title=title, theme=_theme())
    svg = re.sub(r"@font-face\s*{.*?}", "", svg, flags=re.DOTALL)
    return svg.replace("font-family: Fira Code, monospace", f"font-family: {_FONT}")


def can_draw_png() -> bool:
    """Whether the package is there."""
    return find_spec(PACKAGE) is not None


def draw_png(svg: Path, png: Path) -> str | None:
    """Draws an SVG file as PNG, in a process of its own: it would hold this one's threads up for seconds.

    Returns why there is none; None where there is.
    """
    if not can_draw_png():
        return NO_PNG
    command = [sys.executable, "-c", _PNG, str(svg), str(png), str(WIDTH)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError) as error:
        return f"no PNG: {type(error).__name__}"
    if done.returncode or not png.exists():
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        return f"no PNG: {last}"
    return None


def _theme() -> TerminalTheme:
    """What the picture's default colours are: those of the screen in its dark theme."""
    basic = [(0, 0, 0), (205, 49, 49), (13, 188, 121), (229, 229, 16), (36, 114, 200), (188, 63, 188), (17, 168, 205),
             (229, 229, 229)]  # fmt: skip
    return TerminalTheme(_rgb(ink.BACKGROUND), _rgb(ink.TEXT_COLOR), basic, basic)


def _rgb(color: str) -> tuple[int, int, int]:
    value = int(color[1:], 16)
    return value >> 16, value >> 8 & 255, value & 255
