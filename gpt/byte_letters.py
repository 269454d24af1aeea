"""The letters that byte-level vocabularies spell bytes with, GPT-2's and all that followed it. No torch."""

from __future__ import annotations

from collections.abc import Iterable

_PRINTING = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}


def _letters() -> list[str]:
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in _PRINTING else next(others)) for byte in range(256)]


LETTERS = _letters()
"""By byte: a byte that prints is its own Latin-1 letter, and the others, in order, are the letters from U+0100 on
(GPT-2's encoder.py, bytes_to_unicode)."""
BYTES = {letter: byte for byte, letter in enumerate(LETTERS)}
"""The other way round."""


def spelled(token: Iterable[int]) -> str:
    """A token's bytes in letters."""
    return "".join(LETTERS[byte] for byte in token)


def unspelled(letters: str) -> bytes:
    """The bytes behind letters. Raises KeyError for a letter that stands for none."""
    return bytes(BYTES[letter] for letter in letters)
