"""nanoGPT's files: `meta.pkl`, the character vocabulary beside `train.bin` and `val.bin`.

A pickle is a program, and loading one runs it. This one is read without pickle's machine: `pickletools.genops` only
parses opcodes, and the few that build dicts, strings and integers are carried out here. Importing, calling and
building objects are not among them, so there is nothing to exploit. (An Unpickler whose `find_class` raises would
import nothing either, but it still runs the C machine on hostile input: one opcode can make it allocate gigabytes.)
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt.errors import DataError

MAX_META_BYTES = 4 * 2**20
"""A vocabulary of 65,536 characters takes under 2 MB."""

_PUSH = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
})  # fmt: skip
_PUT = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GET = frozenset({"GET", "BINGET", "LONG_BINGET"})


@dataclass(frozen=True)
class Meta:
    """nanoGPT's character vocabulary."""

    vocab_size: int
    stoi: dict[str, int]
    """Character to id."""
    itos: dict[int, str]
    """Id to character."""

    @property
    def chars(self) -> str:
        """The characters by id."""
        return "".join(self.itos[token] for token in range(self.vocab_size))


def read_meta(path: Path) -> Meta:
    """The vocabulary in a `meta.pkl`, of any pickle protocol. Runs no code from the file.

    Raises DataError where the file is missing, too large, not a plain dict of `vocab_size`, `stoi` and `itos`, or
    where these contradict each other.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_META_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); run nanoGPT's prepare.py again") from None
    if len(content) > MAX_META_BYTES:
        raise DataError(f"{path}: larger than {MAX_META_BYTES:,} bytes; a character vocabulary is far smaller")
    try:
        return _meta(_load(content))
    except _Refused as refused:
        raise DataError(
            f"{path}: not nanoGPT's character vocabulary: {refused}; nothing in it was run; "
            "make it anew with nanoGPT's prepare.py"
        ) from None


class _Refused(Exception):
    """Why a pickle is not a plain vocabulary."""


def _load(content: bytes) -> Any:
    """The value of a pickle of dicts, strings and integers alone."""
    stack: list[Any] = []
    outer: list[list[Any]] = []  # the stacks below each open mark
    memo: dict[Any, Any] = {}
    try:
        for opcode, argument, position in pickletools.genops(content):
            name = opcode.name
            if name in _PUSH:
                stack.append(argument)
            elif name in _PUT:
                memo[argument] = stack[-1]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in _GET:
                stack.append(memo[argument])
            elif name == "MARK":
                outer.append(stack)
                stack = []
            elif name == "EMPTY_DICT":
                stack.append({})
            elif name == "DICT":
                items, stack = stack, outer.pop()
                stack.append({})
                _set_items(stack[-1], items)
            elif name == "SETITEM":
                items = [stack.pop(-2), stack.pop()]
                _set_items(stack[-1], items)
            elif name == "SETITEMS":
                items, stack = stack, outer.pop()
                _set_items(stack[-1], items)
            elif name == "STOP":
                return stack.pop()
            elif name not in ("PROTO", "FRAME"):
                raise _Refused(f"it asks for {name} at byte {position}, which no vocabulary needs")
    except (ValueError, IndexError, KeyError):
        raise _Refused("it is not a whole pickle") from None
    raise _Refused("it is not a whole pickle")


def _set_items(target: Any, items: list[Any]) -> None:
    if not isinstance(target, dict) or len(items) % 2:
        raise _Refused("its opcodes do not fit together")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | int):
            raise _Refused("a key in it is neither text nor an integer")
        target[key] = value


def _meta(value: Any) -> Meta:
    """The vocabulary of a plain dict, checked."""
    if not isinstance(value, dict) or not {"vocab_size", "stoi", "itos"} <= value.keys():
        raise _Refused("it lacks vocab_size, stoi or itos")
    vocab_size, stoi, itos = value["vocab_size"], value["stoi"], value["itos"]
    if not (isinstance(vocab_size, int) and isinstance(stoi, dict) and isinstance(itos, dict)):
        raise _Refused("vocab_size is not a number, or stoi and itos are not dicts")
    if vocab_size != len(itos) or set(itos) != set(range(vocab_size)):
        raise _Refused("its ids do not run from 0 to vocab_size - 1")
    for char in itos.values():
        if not isinstance(char, str) or len(char) != 1 or "\ud800" <= char <= "\udfff":
            raise _Refused("itos holds something else than single characters")
    if stoi != {char: token for token, char in itos.items()}:
        raise _Refused("stoi and itos contradict each other")
    return Meta(vocab_size, stoi, itos)
