"""The one choke point between data and the terminal.

Samples, file names, warnings and prompts can hold escape sequences (OSC 52 writes to the clipboard), characters that
turn the reading direction round, and characters without a width. None of it may reach the screen: every text that
was not written in this repository goes through `clean` or `clean_line` first. What comes out is drawn as plain
segments and never parsed as markup.
"""

from __future__ import annotations

import re
import unicodedata

from rich.cells import cell_len

_TAB = "    "
_CONTROL = "\N{REPLACEMENT CHARACTER}"
# Cc: C0, DEL and C1. Cf: bidi controls, zero-width characters, soft hyphen, tags. Cs: lone surrogates. Co: private use.
# Zl and Zp: line and paragraph separators, which some terminals take for a newline.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_PLAIN = re.compile(r"[\n\x20-\x7e]*")


def clean(text: str) -> str:
    """The text with tabs as four spaces, line ends as `\\n`, and everything that is not a printing character as `�`.

    What has no width of its own is dropped without a trace: format characters (bidi controls, zero-width spaces and
    joiners, tags), and combining marks that do not compose with the letter before them, whose width terminals and
    width tables disagree on.
    """
    if _PLAIN.fullmatch(text):
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", _TAB)
    return "".join(_character(char) for char in unicodedata.normalize("NFC", text))


def clean_line(text: str) -> str:
    """The text made clean and fit for one row: line ends become `⏎`."""
    return clean(text).replace("\n", "⏎")


def shown(text: object) -> str:
    """A key, path or value that somebody wrote, fit for one line of an error."""
    line = clean_line(str(text))
    return line if len(line) <= 200 else f"{line[:199]}…"


def _character(char: str) -> str:
    if char == "\n" or " " <= char <= "~":
        return char
    category = unicodedata.category(char)
    if category == "Cf":
        return ""
    if category in _UNSAFE:
        return _CONTROL
    if category == "Zs":
        return " "
    # Letters can be without a width too: Hangul's vowels and finals, which join the consonant before them.
    return "" if category in ("Mn", "Me", "Mc") or cell_len(char) < 1 else char
