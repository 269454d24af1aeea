"""What a strict decoder found wrong, in a user's words: the key, what was got, what it may be."""

from __future__ import annotations

import difflib
import json
import re
import types
import typing
from typing import Any, Literal

import msgspec

_TYPES = {
    "int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false", "array": "a list",
    "object": "a section",
}  # fmt: skip
_BOUNDS = {">": "above", ">=": "at least", "<": "below", "<=": "at most"}

_EXPECTED = re.compile(r"Expected `([^`]+)`(?: of length)?(?: (>=|<=|>|<) (\S+))?(?:, got `\w+`)?")
_UNKNOWN = re.compile(r"Object contains unknown field `(.+)`")


def explain(error: msgspec.ValidationError, tree: Any, schema: type[msgspec.Struct]) -> str:
    """One line for what `msgspec.convert(tree, schema)` raised: what, what was got, what to do.

    Args:
        tree: the plain values that were decoded.
        schema: the struct they were decoded to; its fields are structs or values.
    """
    what, _, where = str(error).partition(" - at `$")
    path = [part for part in re.split(r"[.\[\]`]+", where) if part]
    if unknown := _UNKNOWN.fullmatch(what):
        return _explain_unknown(unknown[1], path, schema)
    value = tree
    for part in path:
        value = value[int(part)] if isinstance(value, list) else value[part]
    key = ".".join(path) or "the profile"
    expected = _EXPECTED.fullmatch(what)
    choices = _choices(path, schema)
    if choices:
        allowed = " or ".join(choices)
    elif expected:
        allowed = " or ".join(_TYPES[name] for name in expected[1].split(" | ") if name in _TYPES)
        allowed += f" {_BOUNDS[expected[2]]} {float(expected[3]):g}" if expected[2] else ""
        allowed = allowed.replace("a list at least", "a list of at least")
    else:
        return f"{key} is {_short(value)}: {what}"
    return f"{key} is {_short(value)}; it must be {allowed}"


def _explain_unknown(name: str, path: list[str], schema: type[msgspec.Struct]) -> str:
    """An unknown key: the one that is meant, the section it belongs to, or all there are."""
    sections = {
        key: kind
        for key, kind in typing.get_type_hints(schema).items()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    }
    known = (sections[path[0]] if path else schema).__struct_fields__
    key = ".".join([*path, name])
    if close := difflib.get_close_matches(name, known, n=1):
        return f"unknown key {key}; did you mean {close[0]}?"
    homes = [section for section, kind in sections.items() if name in kind.__struct_fields__]
    if homes:
        return f"unknown key {key}; it belongs in [{homes[0]}]"
    return f"unknown key {key}; {f'[{path[0]}]' if path else 'a profile'} has {', '.join(known)}"


def _choices(path: list[str], schema: Any) -> list[str]:
    """The values a key may have, as TOML, where its type lists them; else nothing."""
    kind = schema
    for part in path:
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return []
        kind = typing.get_type_hints(kind)[part]
    members = typing.get_args(kind) if isinstance(kind, types.UnionType) or _is_union(kind) else (kind,)
    literals = [json.dumps(value) for member in members for value in _literal_values(member)]
    return (["true", "false"] if literals and bool in members else []) + literals


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) is typing.Union


def _literal_values(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


def _short(value: Any) -> str:
    """A value as a user wrote it, cut to fit a line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"
