"""Where settings come from, so that a mistake in them is reported with its file and line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from cockpit.sanitize import clean_line
from gpt.config import Profile
from gpt.errors import ProfileError
from gpt.strict import find_mistake


class ProfileFile(Profile, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A profile as a file writes it."""

    extends: str | None = None
    """Path of the profile it starts from, relative to its own folder."""


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

    def check(self) -> None:
        """Looks at every key and value by itself. Raises ProfileError for the first that is unknown or will not do."""
        if mistake := find_mistake(self.tree, ProfileFile):
            place = self.where(mistake.key) if mistake.key else f"{self.label}:"
            raise ProfileError(f"{place} {clean_line(mistake.text)}")


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
