"""The one choke point between data and the files of a report: no text from data becomes markup."""

from __future__ import annotations

import re
from html import escape

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_BAD = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufffe\uffff\u2028\u2029]")
"""What XML cannot hold, C1 controls, and other lines' ends."""
_TURNS = re.compile(f"[{_BIDI}]")
_LINE_START = re.compile(r"^(\s*)([-+](?=\s|$)|[-=]{2}|#+(?=\s|$)|\d+(?=[.)](?:\s|$)))")


def plain(text: str) -> str:
    """Text without control characters, lone surrogates and what turns the reading direction round.

    Line ends are `\\n`; what cannot stand in a file of text becomes `�`.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _BAD.sub("\N{REPLACEMENT CHARACTER}", _TURNS.sub("", text))


def xml(text: str) -> str:
    """Text as HTML and SVG take it, inside elements and in quoted attributes."""
    return escape(plain(text), quote=True)


def line(text: str) -> str:
    """The text on one line, plain."""
    return plain(text).replace("\n", "⏎").replace("\t", " ")


def markdown(text: str) -> str:
    """Text on one line in which nothing is Markdown, nor HTML: neither a link, nor a heading, nor the end of a cell."""
    text = escape(line(text), quote=False)
    text = re.sub(r"([\\`*\[\]|~$])", r"\\\1", text)
    text = re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)
    text = re.sub(r"(?i)(https?|ftp|mailto)(:)|(www)(\.)", r"\1\3&#8203;\2\4", text)  # no address links by itself
    text = text.replace("@", "&#64;")
    return _LINE_START.sub(lambda found: found[1] + (f"{found[2]}\\" if found[2].isdigit() else f"\\{found[2]}"), text)


def fenced(text: str) -> str:
    """Text as a Markdown block that it cannot end itself."""
    text = plain(text)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text.rstrip()}\n{fence}"
