"""Gate 7: no control byte of data reaches the terminal or a report, and no markup in data is markup.

Here texts go through the choke points, and what a terminal may be sent is told from what it may not. `views` reads what
the real program sends to one.
"""

from __future__ import annotations

import random
import re
import unicodedata

from cockpit.reporting import safe
from cockpit.sanitize import clean, clean_line, shown
from tests.chaos import hostile
from tests.chaos.gate import Effort, Outcome, gate, spread

_FORBIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
PIECE = 2500
"""Texts of one job."""


@gate("7a", "escapes: through every choke point", unit="texts")
def choke_points(effort: Effort) -> Outcome:
    """Screen, HTML, SVG, Markdown and the lines of a run without a screen."""
    total = effort.count(40_000)
    jobs = [(effort.seed + number, min(PIECE, total - number)) for number in range(0, total, PIECE)]
    found = spread(_choke, jobs, effort.workers)
    return Outcome(
        total, sorted({finding for each in found for finding in each})[:20], note="screen · HTML, SVG · Markdown"
    )


def _choke(job: tuple[int, int]) -> list[str]:
    seed, count = job
    chance, findings = random.Random(seed), []
    for _ in range(count):
        dirty = hostile.text(chance)
        cleaned = clean(dirty)
        marked = safe.markdown(dirty)
        wrong = [
            *(f"clean lets U+{ord(char):04X} through" for char in cleaned if not _is_harmless(char)),
            *(["clean is not idempotent"] if clean(cleaned) != cleaned else []),
            *(["a line has a line end"] if set(clean_line(dirty)) & set("\n\r\x85\u2028\u2029") else []),
            *(["an error is longer than a line"] if len(shown(dirty)) > 200 else []),
            *(f"xml lets U+{ord(char):04X} through" for char in safe.xml(dirty) if not is_plain(char)),
            *(["xml makes an element"] if set("<>") & set(safe.xml(dirty)) else []),
            *(f"markdown lets U+{ord(char):04X} through" for char in marked if not is_plain(char) or char == "\n"),
            *(["markdown makes an element"] if set("<>") & set(marked) else []),
            *(f"a block lets U+{ord(char):04X} through" for char in safe.fenced(dirty) if not is_plain(char)),
        ]  # fmt: skip
        findings += [f"{each}: {dirty!r:.80}" for each in wrong]
        if len(findings) > 5:
            break
    return findings


def _is_harmless(char: str) -> bool:
    """Of a row of the screen."""
    return char == "\n" or unicodedata.category(char) not in _FORBIDDEN


def is_plain(char: str) -> bool:
    """Of a file of text: line ends and tabs are its own."""
    if char in "\n\t":
        return True
    return (
        unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp")
        and char not in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )


# In a pseudo-terminal

_SEQUENCE = re.compile(
    rb"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC
    rb"|\x1b[PX^_].*?\x1b\\"  # DCS, SOS, PM, APC
    rb"|\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    rb"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)
_USED = re.compile(
    rb"\x1b\[(?:"
    rb"[0-9;:]*m|[0-9;]*H|[0-9]*[ABCDGJKX]"  # colours, the cursor, erasing
    rb"|\?(?:7|25|1000|1002|1003|1004|1006|1015|1016|1049|2004|2026|2031|2048)[hl]|\?(?:2026|2048)\$p"  # modes
    rb"|[<>=]?[0-9]*u|[>?]?[0-9]*c|\?u|c|14t|16t|18t|6n"  # kitty's keys, and questions about the terminal
    rb")|\x1b[78=>]|\x1b\][12]2;[a-z]*(?:\x07|\x1b\\)"  # cursor saved and restored; the pointer's shape
)
"""What the program itself writes. OSC 52, titles, links, scrolling regions and resets are not among it."""


def foreign(raw: bytes) -> list[str]:
    """What a terminal was sent that the program has no use for: sequences, control bytes, what turns lines round."""
    found = [repr(match[0][:60]) for match in _SEQUENCE.finditer(raw) if not _USED.fullmatch(match[0])]
    found += [repr(each) for each in hostile.SEQUENCES if each[0] == "\x1b" and each.encode() in raw]
    text = _SEQUENCE.sub(b"", raw).decode("utf-8", "replace")
    found += [
        f"U+{ord(char):04X}"
        for char in sorted(set(text))
        if char not in "\r\n\b\t" and unicodedata.category(char) in _FORBIDDEN
    ]
    return sorted(set(found))
