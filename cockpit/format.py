"""Numbers as the screen writes them. Unknown is `–`; every function takes None for it."""

from __future__ import annotations

import math
import re
import textwrap

UNKNOWN = "–"


def number(value: float | None, digits: int = 0) -> str:
    """A number with thousands separators and a fixed number of decimals: `489,700`, `72.4`."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value:,.{digits}f}"


def loss(value: float | None) -> str:
    """A loss in nats/token, four decimals: `1.6482`."""
    return number(value, 4)


def significant(value: float | None, digits: int = 3) -> str:
    """A positive number in about the same width over many magnitudes: `0.842`, `12.3`, `1,071`."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 1
    return number(value, max(0, digits - whole))


def scientific(value: float | None) -> str:
    """A learning rate: `3.00e-4`, `0`."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share 0…1 as per cent, without the sign: `93.1`."""
    return UNKNOWN if share is None else number(100 * share, digits)


def count(value: float | None) -> tuple[str, str]:
    """A count and its unit letter: (`7.60`, `B`), (`489`, `k`), (`812`, ``)."""
    if value is None or not math.isfinite(value):
        return UNKNOWN, ""
    # 0.9995: what rounds to a thousand of one unit is one of the next.
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return significant(value / size), letter
    return number(value), ""


def gib(value: float | None, digits: int = 2) -> str:
    """Bytes in GiB, without the unit: `61.20`."""
    return UNKNOWN if value is None else number(value / 2**30, digits)


def duration(seconds: float | None) -> str:
    """A time in two units at most: `0.8 s`, `42 s`, `12 m 04 s`, `3 h 12 m`, `4 d 07 h`."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} m"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24:02} h"


def clock(seconds: float | None) -> str:
    """Time since the run began, for the log: `0:12:03`, `102:00:09`."""
    if seconds is None:
        return UNKNOWN
    whole = max(0, int(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def saving_time(seconds: float, stall: float | None) -> str:
    """How long a checkpoint took, and for how much of that training stood still: `3.42 s, stall 0.17 s`."""
    behind = stall is not None and stall < seconds
    return f"{seconds:.2f} s" + (f", stall {stall:.2f} s" if behind else "")


_BEFORE_UNIT = re.compile(r"(?<=[\d.]) (?=(?:k|M|B|T|kB|MB|GB|MiB|GiB|ms|s|m|h|d|W|nats|TFLOP/s)(?![\w/])|%)")
_KEPT = "\N{NO-BREAK SPACE}"


def together(text: str) -> str:
    """The text, as long as before, with no line to be broken between a number and its unit."""
    return _BEFORE_UNIT.sub(_KEPT, text)


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters; a number stays with its unit."""
    return [line.replace(_KEPT, " ") for line in textwrap.wrap(together(text), width)]
