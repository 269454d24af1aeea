"""The last thing before the terminal: output for terminals that lack colours or characters."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter

_ASCII = str.maketrans(
    {
        "█": "#", "▓": "%", "▒": "=", "░": ":", "▚": "@", "‖": "|", "≡": "+", "▖": ".", "·": ".", "–": "-", "─": "-",
        "━": "=", "│": "|", "┤": "+", "┬": "+", "└": "+", "┈": ".", "●": "o", "◆": "B", "◇": "S", "▲": "^", "△": "?",
        "▪": "s", "»": ">", "›": ">", "▸": ">", "×": "x", "■": "#", "▌": ">", "↑": "^", "↓": "v", "→": ">", "…": "~",
        "“": '"', "”": '"', "«": "<", "✚": "D",
        "±": "~", "°": " ", "⏎": "$", "�": "?", "▁": "_", "▂": "_", "▃": "-", "▄": "-", "▅": "=", "▆": "=", "▇": "#",
        "⣿": ":",
    }
)  # fmt: skip


def draws_unicode(environ: Mapping[str, str]) -> bool:
    """Whether the terminal is likely to show braille and block characters, by its locale and type.

    Without any locale set (most containers) it is taken to: terminals of today do.
    """
    if environ.get("TERM") in ("linux", "vt100", "vt220", "dumb"):
        return False
    locale = next((environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environ.get(name)), "")
    if locale in ("C", "POSIX"):
        return not environ.get("LC_ALL")  # only LC_ALL is a choice: LANG=C is what many systems begin with
    charset = locale.partition(".")[2].partition("@")[0].replace("-", "").lower()
    return charset in ("", "utf8")


class Ascii(LineFilter):
    """Writes every character in ASCII, one for one; the bold curve of a chart as `*`, the other as `:`."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment if segment.control or segment.text.isascii() else Segment(_ascii(*segment[:2]), segment.style)
            for segment in segments
        ]


def _ascii(text: str, style: Style | None) -> str:
    dots = "*" if style and style.bold else ":"
    text = "".join(dots if "⠁" <= char <= "⣿" else char for char in text).translate(_ASCII)
    return text.encode("ascii", "replace").decode()


class Plain(LineFilter):
    """No colours at all (NO_COLOR): what was bright is bold, what was dark is dim, a coloured ground is reversed."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(text, _plain(style) if style else style, control) for text, style, control in segments]


@lru_cache(1024)
def _plain(style: Style) -> Style:
    ink = Color.from_rich_color(style.color) if style.color else None
    ground = Color.from_rich_color(style.bgcolor) if style.bgcolor else None
    reverse = bool(style.reverse) or (ground is not None and ground.brightness > 0.3)
    dim = ink is not None and not reverse and not style.bold and ink.brightness < 0.55
    return Style(
        bold=style.bold, dim=dim, reverse=reverse, underline=style.underline, italic=style.italic, meta=style.meta
    )
