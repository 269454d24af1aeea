"""A pilot's own keys: `keys.toml` under $XDG_CONFIG_HOME/gpt-cockpit gives actions of the registry other keys.

pause = "p"                   # an action's id, as `gpt-cockpit keys` lists them, and a key,
evaluate = ["e", "f5"]        # or several; an empty list takes its key away
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import tomli
from textual.keys import Keys, _character_to_key

from cockpit.actions import ACTIONS, BY_ID, REBOUND
from gpt.errors import UserError

MAX_BYTES = 100_000
"""A file of keys longer than this is some other file."""

_NAMES = {key.value for key in Keys if not key.value.startswith("<")}
_MODIFIERS = {"ctrl", "shift", "alt"}
_ALWAYS = {"quit": ("ctrl+q", "ctrl+c")}
"""Keys that an action keeps whatever the file says: there is always a way out."""
_TAKEN = {"escape": "goes back"}
"""Keys that are no action's."""


class KeymapError(UserError):
    """The file of keys will not do. The message names the file, what was got and how to mend it."""


def usual_path() -> Path:
    """Where the file is looked for."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(home) if Path(home).is_absolute() else Path.home() / ".config"
    return folder / "gpt-cockpit" / "keys.toml"


def load(path: Path) -> None:
    """Gives the actions the keys that a file names; without a file, leaves them as they are.

    Raises KeymapError, with nothing changed, where it names no action or no key, or gives one key to two.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        text = raw.decode()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise KeymapError(f"{path}: cannot be read: {error}") from None
    if len(raw) > MAX_BYTES:
        raise KeymapError(f"{path}: longer than {MAX_BYTES:,} bytes; that is no file of keys")
    try:
        rebound = keys_of(tomli.loads(text))
    except RecursionError:
        raise KeymapError(f"{path}: nested too deeply; a line is an action and its keys") from None
    except ValueError as error:  # not TOML, a number of thousands of digits, or none of our actions and keys
        raise KeymapError(f"{path}: {error}") from None
    REBOUND.update(rebound)


def keys_of(wanted: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Textual's names of the keys by action. Raises ValueError where they will not do."""
    rebound: dict[str, tuple[str, ...]] = {}
    for name, keys in wanted.items():
        if name not in BY_ID:
            raise ValueError(f"no action {name!r}{_nearest(name, BY_ID)}; gpt-cockpit keys lists them")
        listed = [keys] if isinstance(keys, str) else keys
        if not isinstance(listed, list) or not all(isinstance(key, str) for key in listed):
            raise ValueError(f'{name} = {keys!r}: must be a key such as "p" or "ctrl+k", or a list of them')
        named = [_key(name, key) for key in listed if key]
        rebound[name] = tuple(dict.fromkeys([*named, *_ALWAYS.get(name, ())]))
    _refuse_conflicts(rebound)
    return rebound


def _refuse_conflicts(rebound: Mapping[str, tuple[str, ...]]) -> None:
    owners: dict[str, str] = {}
    for action in sorted(ACTIONS, key=lambda action: action.id in rebound):  # so that the file's line is the one named
        for key in rebound.get(action.id, action.bound_keys):
            if key in _TAKEN:
                raise ValueError(f'{action.id} = "{key}": {key} {_TAKEN[key]}; take another')
            if key in owners:
                other = owners[key]
                raise ValueError(f'{action.id} = "{key}": {key} is {other}\'s; take another, or give {other} another')
            owners[key] = action.id


def _key(name: str, written: str) -> str:
    """Textual's name of a key as a person writes it. Raises ValueError where there is none such."""
    if len(written) == 1 and written.isprintable() and written != " ":
        return _character_to_key(written)
    *modifiers, base = written.lower().split("+") if written != "+" else [written]
    if set(modifiers) <= _MODIFIERS and (len(base) == 1 or base in _NAMES):
        return "+".join([*modifiers, base])
    raise ValueError(f"{name} = {written!r}: no such key{_nearest(base, [name for name in _NAMES if '+' not in name])}")


def _nearest(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, list(known), 1, 0.6)
    return f"; did you mean {near[0]}?" if near else ""
