"""A new profile that extends another one and mends something of it: what the doctor offers where a run must begin anew.

The profile that it extends stays as it is.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cockpit import profile as profiles
from cockpit.sanitize import clean_line, shown
from gpt.config import as_toml, flatten
from gpt.errors import ProfileError


@dataclass(frozen=True)
class Remedy:
    """A file that is not there yet."""

    path: Path
    text: str


def draft(path: Path, changes: Mapping[str, Any], why: str) -> Remedy:
    """The profile `NAME-fixed.toml` beside another one, with some dotted keys set otherwise.

    Args:
        path: of the profile to extend.
        why: the first line of the file, as a comment.

    Raises ProfileError, one line, where the changes cannot be said or do not hold together.
    """
    before = flatten(profiles.load(path).profile)
    if unset := [key for key, value in changes.items() if value is None]:
        raise ProfileError(f"a profile that extends another cannot unset {', '.join(unset)}; edit {shown(path)}")
    body = _body(changes, before)
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / path.name
        trial.write_text(f"extends = {as_toml(str(path.resolve()))}\n{body}", encoding="utf-8")
        profiles.load(trial)
    text = f"# {clean_line(why)}\nextends = {as_toml(path.name)}\n{body}"
    return Remedy(_free(path), text)


def write(remedy: Remedy) -> None:
    """Puts the file there, whole or not at all. Raises ProfileError where there is one by now, or the disk refuses."""
    try:
        with remedy.path.open("x", encoding="utf-8") as file:
            file.write(remedy.text)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise ProfileError(f"{shown(remedy.path)} is there by now; look at it, or ask again") from None
    except OSError as error:
        remedy.path.unlink(missing_ok=True)
        raise ProfileError(f"{shown(remedy.path)} cannot be written: {error.strerror}") from None


def _body(changes: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """The keys by section, each with its old value beside it."""
    sections: dict[str, list[str]] = {}
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        was = f"  # was {as_toml(before[key])}" if key in before else ""
        sections.setdefault(section, []).append(f"{name} = {as_toml(value)}{was}\n")
    top = sections.pop("", [])
    return "".join(top) + "".join(f"\n[{name}]\n{''.join(lines)}" for name, lines in sections.items())


def _free(path: Path) -> Path:
    """`NAME-fixed.toml`, or with a number where there is one already."""
    for number in itertools.count(1):
        stem = f"{path.stem}-fixed" + (f"-{number}" if number > 1 else "")
        if not (candidate := path.with_name(f"{stem}.toml")).exists():
            return candidate
    raise AssertionError("there is always another number")
