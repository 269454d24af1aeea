"""What is wrong with a profile's keys and values, in one wording: the key, what it must be, what was got.

Files, --set and live changes all pass here, key by key and before msgspec decodes the whole: its own errors name
neither the value nor the key that was meant. The place of a mistake (a file, a line in it) is the caller's to add.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

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
    "num_samples": "sample.count",
    "n_kv_heads": "model.n_kv_head", "num_key_value_heads": "model.n_kv_head", "hidden_act": "model.activation",
    "tie_word_embeddings": "model.tie_weights", "final_logit_softcapping": "model.logit_softcap",
}  # fmt: skip


class Mistake(NamedTuple):
    """The first thing that is wrong."""

    text: str
    """One sentence; keys and values stand in it as they were written, cut to fit a line."""
    key: str | None = None
    """The dotted key whose value will not do; None where there is no such key."""


class Keys(NamedTuple):
    """What a schema knows, with the types."""

    top: dict[str, Any]
    """Keys outside of sections."""
    sections: dict[str, dict[str, Any]]


@functools.cache
def keys_of(schema: type[msgspec.Struct]) -> Keys:
    """The keys of a struct whose fields are values or sections, which are structs of values."""
    hints = get_type_hints(schema, include_extras=True)
    sections = {
        name: get_type_hints(hint, include_extras=True)
        for name, hint in hints.items()
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct)
    }
    return Keys({name: hint for name, hint in hints.items() if name not in sections}, sections)


def find_mistake(tree: dict[str, Any], schema: type[msgspec.Struct]) -> Mistake | None:
    """Looks at every key and value by itself; None where the tree can be decoded.

    Args:
        tree: plain values by key, those of a section in a dict of their own. May be a part of the whole.
    """
    top, sections = keys_of(schema)
    for key, value in tree.items():
        mistake = None
        if key in top:
            mistake = _mistake_in_value(key, value, top[key])
        elif key not in sections:
            is_section = isinstance(value, dict)
            mistake = Mistake(_unknown_section(key, sections) if is_section else _unknown_key("", key, top, sections))
        elif not isinstance(value, dict):
            mistake = Mistake(f"{key} is a section, written [{key}]; got {_got(value)}", key)
        else:
            for name, item in value.items():
                if name not in sections[key]:
                    mistake = Mistake(_unknown_key(key, name, top, sections))
                else:
                    mistake = _mistake_in_value(f"{key}.{name}", item, sections[key][name])
                if mistake:
                    break
        if mistake:
            return mistake
    return None


def unknown(key: str, schema: type[msgspec.Struct]) -> str:
    """What to say of a dotted key that is not in a schema: `unknown key optim.lr; did you mean learning_rate?`."""
    top, sections = keys_of(schema)
    section, _, name = key.rpartition(".")
    if section in top:
        return f"unknown key {_cut(key)}; {section} is not a section"
    if section and section not in sections:
        return _unknown_section(section, sections)
    return _unknown_key(section, name, top, sections)


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


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that is most like another, or None where none is much like it."""
    found = difflib.get_close_matches(word, list(words), n=1, cutoff=0.7)
    return found[0] if found else None


def _mistake_in_value(key: str, value: Any, kind: Any) -> Mistake | None:
    if not _is_utf_8(value):
        return Mistake(f"{key} must be UTF-8 text; got {_got(value)}", key)
    try:
        msgspec.convert(value, kind)
        if _is_usable(value) and _is_above(value, kind):
            return None
    except msgspec.ValidationError:
        pass
    if isinstance(value, list) and _is_list(kind):
        for index, item in enumerate(value):
            if not isinstance(item, str):
                return Mistake(f"{key}.{index} must be a string; got {_got(item)}", key)
    return Mistake(f"{key} must be {describe(kind)}; got {_got(value)}", key)


def _is_utf_8(value: Any) -> bool:
    """False for what arguments that are not UTF-8 become, alone or in a list: no file of ours could hold it."""
    texts = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
    return not any("\ud800" <= char <= "\udfff" for text in texts for char in text)


def _is_usable(value: Any) -> bool:
    """False for what TOML can write and nothing here can use: nan, inf, and integers beyond 64 bits."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) < 2**63


def _is_above(value: Any, kind: Any) -> bool:
    """False for a number at an exclusive lower limit.

    msgspec asks for the next float above the limit. Above 0 that is a denormal, which is 0 in a thread where torch
    flushes denormals (gpt.device), so there it lets 0 pass.
    """
    if not isinstance(value, int | float):
        return True
    if get_origin(kind) is Annotated:
        limit = get_args(kind)[1].gt
        return limit is None or value > limit
    return all(_is_above(value, each) for each in get_args(kind))


def _is_list(kind: Any) -> bool:
    """True where a value may be a list, alone or among others."""
    return get_origin(kind) is list or any(_is_list(each) for each in get_args(kind))


def _unknown_section(name: str, sections: Iterable[str]) -> str:
    near = nearest(name, sections)
    advice = f"did you mean [{near}]?" if near else f"there are {', '.join(f'[{known}]' for known in sections)}"
    return f"unknown section [{_cut(name)}]; {advice}"


def _unknown_key(section: str, name: str, top: dict[str, Any], sections: dict[str, dict[str, Any]]) -> str:
    """Advises what there is first of: the name it has here, the section it belongs to, the key it is most like."""
    own = sections[section] if section else top
    elsewhere = [f"{other}.{name}" for other, keys in sections.items() if name in keys]
    dotted = {known: f"{other}.{known}" for other, keys in sections.items() for known in keys}
    if name in ALIASES:
        meant = [ALIASES[name]]
    elif elsewhere:
        meant = elsewhere
    elif near := nearest(name, own):
        meant = [near]
    elif near := nearest(name, dotted):
        meant = [dotted[near]]
    else:
        meant = []
    if meant:
        advice = f"did you mean {' or '.join(key.removeprefix(f'{section}.') for key in meant)}?"
    elif section:
        advice = f"[{section}] has {', '.join(own)}"
    else:
        advice = f"the top level has {', '.join([*own, *(f'[{known}]' for known in sections)])}"
    return f"unknown key {_cut(f'{section}.{name}' if section else name)}; {advice}"


def _describe_annotated(kind: Any, meta: msgspec.Meta) -> str:
    if meta.min_length:
        return f"{describe(kind)}, {meta.min_length} at least"
    signs = {"≥": meta.ge, ">": meta.gt, "≤": meta.le, "<": meta.lt}
    limits = " and ".join(f"{sign} {limit:g}" for sign, limit in signs.items() if limit is not None)
    return f"{describe(kind)} {limits}"


def _got(value: Any) -> str:
    """A value as a user wrote it."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value}, which is not finite"
    if isinstance(value, bool | str | list):
        try:
            return _cut(json.dumps(value, ensure_ascii=False, default=str))
        except (ValueError, RecursionError):
            return "a list nested too deeply"
    return _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"
