"""Settings written back to the profile they came from: only what its pilot changed, with the file's own comments."""

from __future__ import annotations

import contextlib
import difflib
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli
import tomlkit

from cockpit import profile as profiles
from cockpit.sanitize import shown
from gpt.config import flatten, replace
from gpt.errors import ProfileError


@dataclass(frozen=True)
class Draft:
    """What a file would become."""

    path: Path
    before: str
    after: str
    keys: tuple[str, ...]
    """The dotted keys that differ."""

    @property
    def difference(self) -> list[str]:
        """The changed lines as a unified diff has them, one line around each, without its two headings."""
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), lineterm="", n=1)
        return list(lines)[2:]


class WriteBack:
    """The profile's file, for settings to be saved to.

    Args:
        path: the file; where it is a link, what it points at is written.
        wrote: called with the settings of the file by dotted key once it has been written.
    """

    def __init__(self, path: Path, wrote: Callable[[dict[str, Any]], None] = lambda settings: None) -> None:
        self.path = path
        self._wrote = wrote

    def draft(self, changes: Mapping[str, Any]) -> Draft:
        """What the file becomes with some dotted keys set, None for unset; all else in it stays, letter by letter.

        Raises ProfileError, one line, where the file cannot be read or written, or cannot say a change.
        """
        self._check_writable()
        before = self._read()
        try:
            replace(profiles.load(self.path).profile, dict(changes))
        except ProfileError as error:
            raise ProfileError(f"{shown(self.path)} would not do with this: {error}; edit it by hand") from None
        if stuck := {key for key, value in changes.items() if value is None} & profiles.inherited(self.path):
            keys = ", ".join(sorted(stuck))
            raise ProfileError(
                f"{shown(self.path)} inherits {keys} and cannot say that it is unset; edit what it extends"
            )
        after = _worked_in(before, changes)
        wanted = {key: value for key, value in (_flat(before) | dict(changes)).items() if value is not None}
        if _flat(after) != wanted:
            raise ProfileError(f"{shown(self.path)} is written in a way that cannot be changed here; edit it by hand")
        return Draft(self.path, before, after, tuple(changes))

    def pending(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Those of some settings that the file, with all it extends, does not say already.

        Raises ProfileError where it cannot be read.
        """
        here = flatten(profiles.load(self.path).profile)
        return {key: value for key, value in changes.items() if here.get(key) != value}

    def write(self, draft: Draft) -> None:
        """Puts a draft in the file's place, whole or not at all. Raises ProfileError, with the file as it was."""
        self._check_writable()
        if self._read() != draft.before:
            raise ProfileError(f"{shown(self.path)} has changed on disk since; look at the difference again")
        target = self.path.resolve()
        draft_path = None
        try:
            mode = stat.S_IMODE(target.stat().st_mode)
            file, draft_path = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
            with os.fdopen(file, "w", encoding="utf-8", newline="") as stream:
                stream.write(draft.after)
                stream.flush()
                os.fchmod(file, mode)
                os.fsync(file)
            Path(draft_path).replace(target)
            draft_path = None
        except OSError as error:
            raise self._refused(error.strerror or str(error)) from None
        finally:
            if draft_path:
                Path(draft_path).unlink(missing_ok=True)
        with contextlib.suppress(ProfileError):
            self._wrote(flatten(profiles.load(self.path).profile))

    def _check_writable(self) -> None:
        """Asks the file's mode and its folder, for what may write anything would not be refused by them."""
        try:
            mode = self.path.stat().st_mode
        except OSError as error:
            raise self._refused(error.strerror or str(error)) from None
        if not mode & 0o222:
            raise self._refused("it is read-only")
        if not (os.access(self.path, os.W_OK) and os.access(self.path.resolve().parent, os.W_OK)):
            raise self._refused("permission denied")

    def _refused(self, why: str) -> ProfileError:
        return ProfileError(f"{shown(self.path)} cannot be written: {why}; the run keeps its settings all the same")

    def _read(self) -> str:
        try:
            return self.path.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ProfileError(f"{shown(self.path)} cannot be read: {reason}") from None


def _worked_in(text: str, changes: Mapping[str, Any]) -> str:
    """A profile's text with some keys set; what stands beside a value stays."""
    document = tomlkit.parse(text)
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        if section and section not in document and value is not None:
            document[section] = tomlkit.table()
        table: Any = document.get(section, {}) if section else document
        if value is None:
            table.pop(name, None)
            continue
        with profiles.before_its_tail(table):
            table[name] = value
    return tomlkit.dumps(document)


def _flat(text: str) -> dict[str, Any]:
    """The values of a profile's text by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in tomli.loads(text).items():
        flat |= {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, dict) else {key: value}
    return flat
