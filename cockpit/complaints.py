"""What is wrong with a profile's keys and values, in one line: where, what, what was got, what was perhaps meant."""

from __future__ import annotations

import difflib
import json
import math
import re
import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from cockpit.sanitize import clean_line
from gpt.config import Profile, Section
from gpt.errors import ProfileError

ALIASES = {
    # nanoGPT's names for what has another name here
    "max_iters": "train.max_steps", "batch_size": "train.micro_batch_size",
    "gradient_accumulation_steps": "train.grad_accum_steps", "eval_iters": "train.eval_steps",
    "warmup_iters": "optim.warmup_steps", "lr_decay_iters": "optim.decay_steps",
    "dataset": "data.dir", "always_save_checkpoint": "checkpoint.best", "start": "sample.prompts",
    # other common ones
    "lr": "optim.learning_rate", "accumulation_steps": "train.grad_accum_steps", "max_tokens": "sample.max_new_tokens",
    "context_length": "model.block_size", "seq_len": "model.block_size", "n_layers": "model.n_layer",
    "n_heads": "model.n_head", "d_model": "model.n_embd", "hidden_size": "model.n_embd", "prompt": "sample.prompts",
}  # fmt: skip

_HINTS = get_type_hints(Profile, include_extras=True)
SECTIONS: dict[str, dict[str, Any]] = {
    name: get_type_hints(hint, include_extras=True)
    for name, hint in _HINTS.items()
    if isinstance(hint, type) and issubclass(hint, Section)
}
"""Section to its keys to their types."""
TOP_LEVEL: dict[str, Any] = {name: hint for name, hint in _HINTS.items() if name not in SECTIONS} | {"extends": str}


@dataclass(frozen=True)
class Source:
    """One origin of settings: a file, or the --set arguments."""

    label: str
    text: str
    tree: dict[str, Any]

    def where(self, key: str) -> str:
        """`demo.toml:7:` for a dotted key whose line can be found, else `demo.toml:`."""
        line = _line_of(self.text, key)
        return f"{self.label}:{line}:" if line else f"{self.label}:"


def check_tree(source: Source) -> None:
    """Looks at every key and value by itself. Raises ProfileError for the first that is unknown or will not do."""
    for key, value in source.tree.items():
        if key in TOP_LEVEL:
            _check_value(source, key, value, TOP_LEVEL[key])
        elif key not in SECTIONS:
            raise ProfileError(f"{source.label}: unknown {_unknown('', key, isinstance(value, dict))}")
        elif not isinstance(value, dict):
            raise ProfileError(f"{source.where(key)} {key} is a section, written [{key}]; got {_got(value)}")
        else:
            for name, item in value.items():
                if name not in SECTIONS[key]:
                    raise ProfileError(f"{source.label}: unknown {_unknown(key, name)}")
                _check_value(source, f"{key}.{name}", item, SECTIONS[key][name])


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that is most like another, or None where none is much like it."""
    found = difflib.get_close_matches(word, list(words), n=1, cutoff=0.7)
    return found[0] if found else None


def shown(text: object) -> str:
    """A key, path or value that somebody wrote, fit for one line of an error."""
    line = clean_line(str(text))
    return line if len(line) <= 200 else f"{line[:199]}…"


def _check_value(source: Source, key: str, value: Any, kind: Any) -> None:
    try:
        msgspec.convert(value, kind)
        if _is_usable(value):
            return
    except msgspec.ValidationError:
        pass
    raise ProfileError(f"{source.where(key)} {key} must be {describe(kind)}; got {_got(value)}")


def _is_usable(value: Any) -> bool:
    """False for what TOML can write and nothing here can use: nan, inf, and integers beyond 64 bits."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) < 2**63


def _unknown(section: str, name: str, is_table: bool = False) -> str:
    """`key optim.lerning_rate; did you mean learning_rate?`"""
    if is_table:
        near = nearest(name, SECTIONS)
        advice = f"did you mean [{near}]?" if near else f"there are {_listed(f'[{known}]' for known in SECTIONS)}"
        return f"section [{shown(name)}]; {advice}"
    key = shown(f"{section}.{name}" if section else name)
    return f"key {key}; {_meant(section, name)}"


def _meant(section: str, name: str) -> str:
    own = SECTIONS[section] if section else TOP_LEVEL
    elsewhere = [f"{other}.{name}" for other, keys in SECTIONS.items() if name in keys]
    dotted = {known: f"{other}.{known}" for other, keys in SECTIONS.items() for known in keys}
    if name in ALIASES:
        meant = [ALIASES[name]]
    elif elsewhere:
        meant = elsewhere
    elif near := nearest(name, own):
        meant = [near]
    elif near := nearest(name, dotted):
        meant = [dotted[near]]
    else:
        return f"{f'[{section}]' if section else 'the top level'} has {_listed(own)}"
    return f"did you mean {' or '.join(key.removeprefix(f'{section}.') for key in meant)}?"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)


def describe(kind: Any) -> str:
    """A type in words: `an integer ≥ 1`, `"cosine", "linear" or "constant"`, `a number > 0 and ≤ 1`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _describe_annotated(arguments[0], arguments[1])
    if origin in (Union, types.UnionType):
        return " or ".join(describe(each) for each in arguments if each is not type(None))
    if origin is Literal:
        *most, last = [json.dumps(value) for value in arguments]
        return f"{', '.join(most)} or {last}" if most else last
    if origin is list:
        return "a list of strings"
    return {int: "an integer", float: "a number", bool: "true or false", str: "a string"}[kind]


def _describe_annotated(kind: Any, meta: msgspec.Meta) -> str:
    if meta.min_length:
        return f"{describe(kind)}, {meta.min_length} at least"
    signs = {"≥": meta.ge, ">": meta.gt, "≤": meta.le, "<": meta.lt}
    limits = " and ".join(f"{sign} {limit:g}" for sign, limit in signs.items() if limit is not None)
    return f"{describe(kind)} {limits}"


def _got(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, bool | str | list):
        try:
            return _cut(clean_line(json.dumps(value, ensure_ascii=False, default=str)))
        except (ValueError, RecursionError):
            return "a list nested too deeply"
    return _cut(shown(value))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


_HEADER = re.compile(r"\s*\[\s*([\w.\-]+)\s*\]")
_KEY = re.compile(r"\s*([\w.\-]+)\s*=")


def _line_of(text: str, key: str) -> int | None:
    """Number of the line that sets a dotted key, or None. Finds what is written plainly, which is nearly all."""
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            section = f"{header[1]}."
            if header[1] == key:
                return number
        elif (match := _KEY.match(line)) and section + match[1] == key:
            return number
    return None
