"""Texts that would steer a terminal, turn its line round, or pass for markup; and events that are full of them."""

from __future__ import annotations

import random
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from gpt import events as ev

SEQUENCES = (
    "\x1b]52;c;aGFja2Vk\x07", "\x1b]0;owned\x07", "\x1b]8;;http://x\x1b\\y\x1b]8;;\x1b\\", "\x1b[3J", "\x1b[35;7m",
    "\x1b[?47h",
    "\x1b[?1003h", "\x1bc", "\x1b[6n", "\x1b[c", "\x1bP$q\x1b\\", "\x1b_G\x1b\\", "\x1b^x\x1b\\", "\x1bX", "\x9b31m",
    "\x9d52;c;x\x9c", "\x90q\x9c",
    "\x84", "\x85", "\x00", "\x07", "\x08\x08\x08", "\x0b", "\x0c", "\x0e", "\x0f", "\x7f", "\r", "\r\n", "\n", "\t",
    "\u202e", "\u2066", "\u200f", "\u061c", "\u2069", "\u200b", "\ufeff", "\u2028", "\u2029", "\ud800", "\udc9b",
    "\ue000", "\U000e0041",
)  # fmt: skip
MARKUP = (
    "[bold]x[/bold]", "[/]", "[@click=app.quit]x[/]", "[link=http://x]y[/link]", "[$error]", "[[", "\\[", ":smile:",
    "<script>alert(1)</script>", "\"'><img src=x onerror=alert(2)>", "&amp;", "](http://x)", "`a`", "|", "*b*", "# h",
    "```", "]]>",
    "<!--", "{0}", "%s",
)  # fmt: skip
EVIL = "".join(SEQUENCES) + " ".join(MARKUP)
"""All of them at once."""


def text(chance: random.Random) -> str:
    """A text in which some of these stand between letters of any script."""
    parts = []
    for _ in range(chance.randrange(1, 9)):
        kind = chance.randrange(5)
        if kind == 0:
            parts.append(chance.choice(SEQUENCES))
        elif kind == 1:
            parts.append(chance.choice(MARKUP))
        elif kind == 2:
            parts.append(
                chr(chance.choice((chance.randrange(0xA0), chance.randrange(0x3000), chance.randrange(0x110000))))
            )
        elif kind == 3:
            sequence = chance.choice(SEQUENCES)
            parts.append(sequence[: chance.randrange(len(sequence) + 1)])
        else:
            parts.append(chance.choice(("loss", " ", "é", "日本", "step 3", "e\u0301", "한", "🙂")))
    return "".join(parts)


def every_event(words: str, time: float = 1_700_000_000.0) -> list[ev.Event]:
    """One event of each kind, every field of it filled, and every text of it `words`."""
    return [_filled(kind, words, time) for kind in get_args(ev.AnyEvent)]


def _filled(kind: type[msgspec.Struct], words: str, time: float) -> Any:
    values = {name: _value(hint, words) for name, hint in get_type_hints(kind, include_extras=False).items()}
    if "time" in values:
        values["time"] = time
    return kind(**values)


def _value(hint: Any, words: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _value(next(each for each in arguments if each is not type(None)), words)
    if origin is Literal:
        return arguments[0]
    if origin in (list, tuple):
        inner = [each for each in arguments if each is not Ellipsis]
        return origin(_value(each, words) for each in inner)
    if origin is dict:
        return {_value(arguments[0], words): _value(arguments[1], words)}
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        made = [_value(each, words) for each in _hints(hint)]
        return hint(**dict(zip(hint.__struct_fields__, made, strict=True)))
    return {str: words, int: 3, float: 1.5, bool: True, bytes: b"x"}.get(hint, 1)


def _hints(kind: type[msgspec.Struct]) -> Iterator[Any]:
    hints = get_type_hints(kind)
    return (hints[name] for name in kind.__struct_fields__)
