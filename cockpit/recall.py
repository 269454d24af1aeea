"""What a pilot arranged on the screen, kept between sittings in one small file.

Nothing depends on it: where the file cannot be read or written, or holds what nobody understands, the screen is as at
the first time.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from cockpit.places import PANES


class _File(msgspec.Struct, frozen=True):
    theme: str | None = None
    hidden: list[str] = msgspec.field(default_factory=list)


class Recall:
    """Theme and hidden panes.

    Args:
        path: the file; None: nothing is read or kept.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        found = self._read()
        self.theme: str | None = found.theme
        """A name of a theme, perhaps of another version's."""
        self.hidden: set[str] = set(found.hidden) & set(PANES)
        """Panes that are not shown."""

    @classmethod
    def usual(cls) -> Recall:
        """The file under $XDG_STATE_HOME."""
        home = os.environ.get("XDG_STATE_HOME", "")
        with contextlib.suppress(RuntimeError):  # no home folder at all
            folder = Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state"
            return cls(folder / "gpt-cockpit" / "screen.json")
        return cls(None)

    def keep(self) -> None:
        """Writes the file anew, whole or not at all."""
        if self._path is None:
            return
        temporary = self._path.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.json.encode(_File(self.theme, sorted(self.hidden))))
            temporary.replace(self._path)

    def _read(self) -> _File:
        if self._path is not None:
            with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                return msgspec.json.decode(self._path.read_bytes(), type=_File)
        return _File()
