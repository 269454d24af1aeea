"""Numbers as people type them on the command line. Imports nothing heavy."""

from __future__ import annotations

import re

from gpt.errors import DataError, RunError

_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>\d{{1,8}}){unit})?" for unit in _SECONDS), re.ASCII)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}


def count(text: str, option: str) -> int:
    """A whole number, perhaps with k, M, B or T behind it. Raises DataError, naming the option, for anything else."""
    digits, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "")
    try:
        return int(float(digits.replace("_", "").replace(",", "")) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise DataError(f"{option} is {text}, but must be a number such as 10B, 50M or 100000") from None


def duration(text: str, option: str) -> int:
    """Seconds of `3h30m`, `1d12h`, `90m` or `45s`. Raises RunError, naming the option, for anything else."""
    match = _DURATION.fullmatch(text.lower())
    seconds = sum(int(match[unit] or 0) * length for unit, length in _SECONDS.items()) if match else 0
    if not 0 < seconds < 10**8:
        raise RunError(f"{option} is {text}, but must be a time such as 3h30m, 90m or 1d12h")
    return seconds
