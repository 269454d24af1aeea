"""What there is to say of every key of a profile: read from gpt.config itself, so that it cannot say anything else.

The words are the docstrings under the keys, the ranges and units those of the types. No torch.
"""

from __future__ import annotations

import ast
import functools
import inspect
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import msgspec

from gpt import config
from gpt.config import Profile, flatten
from gpt.live import fixed_reason
from gpt.strict import describe, keys_of


@dataclass(frozen=True)
class Key:
    """One key of a profile."""

    key: str
    """Dotted, e.g. `optim.learning_rate`."""
    section: str
    """Empty for the keys outside of sections."""
    name: str
    kind: Any
    """Its type, limits included."""
    default: Any
    doc: str
    """What its docstring says, on one line; empty where its name says it all."""
    fixed: str | None
    """Why it cannot change while a run goes on; None where it can."""

    @property
    def range(self) -> str:
        """The values it takes, in words: `an integer ≥ 1`."""
        return describe(self.kind)

    @property
    def unit(self) -> str:
        """What a number of it counts: `steps`, `tokens`; empty where nothing."""
        return next((meta.extra["unit"] for meta in _metas(self.kind) if meta.extra and "unit" in meta.extra), "")

    @property
    def can_be_unset(self) -> bool:
        """Whether it may be left out, for something else to say what is used then."""
        return type(None) in get_args(self.kind)

    @property
    def choices(self) -> tuple[Any, ...]:
        """All values it takes, where they are few: those of an enumeration, or true and false."""
        if self.kind is bool:
            return (True, False)
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()


@functools.cache
def all_keys() -> tuple[Key, ...]:
    """Every key, in the order of gpt.config: those outside of sections first."""
    top, sections = keys_of(Profile)
    docs = _docs()
    defaults = flatten(Profile())
    hints = msgspec.structs.fields(Profile)
    whose = {field.name: field.type.__name__ for field in hints if field.name in sections}
    found = [
        ("", name, kind, docs["Profile"].get(name, "")) for name, kind in top.items()
    ] + [
        (section, name, kind, docs[whose[section]].get(name, ""))
        for section, keys in sections.items()
        for name, kind in keys.items()
    ]  # fmt: skip
    return tuple(
        Key(dotted, section, name, kind, defaults[dotted], doc, fixed_reason(dotted))
        for section, name, kind, doc in found
        for dotted in [f"{section}.{name}" if section else name]
    )


@functools.cache
def section_docs() -> dict[str, str]:
    """What each section is, by its name: the first line of its class."""
    _, sections = keys_of(Profile)
    fields = {field.name: field.type for field in msgspec.structs.fields(Profile)}
    return {name: (inspect.getdoc(fields[name]) or "").partition(": ")[2] for name in sections}


def _docs() -> dict[str, dict[str, str]]:
    """The docstrings under the fields of gpt.config's classes: by class, then by field.

    They are no part of the running program, so they are read from its source.
    """
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(config)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        docs = found[node.name] = {}
        field = None
        for part in node.body:
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                field = part.target.id
                continue
            if field and isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant):
                docs[field] = " ".join(str(part.value.value).split())
            field = None
    return found


def _metas(kind: Any) -> list[msgspec.Meta]:
    """All limits that are written in a type, in the order of its alternatives."""
    found = [part for part in getattr(kind, "__metadata__", ()) if isinstance(part, msgspec.Meta)]
    return found + [meta for part in get_args(kind) if not isinstance(part, msgspec.Meta) for meta in _metas(part)]
