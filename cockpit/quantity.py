"""Numbers as people type them on the command line. Imports nothing heavy."""

from __future__ import annotations

from gpt.errors import DataError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}


def count(text: str, option: str) -> int:
    """A whole number, perhaps with k, M, B or T behind it. Raises DataError, naming the option, for anything else."""
    digits, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "")
    try:
        return int(float(digits.replace("_", "").replace(",", "")) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise DataError(f"{option} is {text}, but must be a number such as 10B, 50M or 100000") from None
