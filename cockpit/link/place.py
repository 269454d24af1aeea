"""Where a run's process listens: `control.sock` in the run's folder, and who may knock there.

The name of a Unix socket has at most 107 bytes, and some file systems have no sockets. Then it is made in a folder of
the user's own, `$XDG_RUNTIME_DIR/gpt-cockpit` or else one in the folder for temporary files, and `control.path` in the
run's folder says where.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import struct
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cockpit.link.wire import LinkError
from cockpit.runs import Run
from cockpit.sanitize import shown

SOCKET = "control.sock"
POINTER = "control.path"
LONGEST_NAME = 107
"""Bytes of a socket's name, by sun_path of unix(7)."""


class Door:
    """A socket that listens, until it is closed.

    Raises LinkError, or OSError, where none can be made.
    """

    def __init__(self, run: Run) -> None:
        self._pointer = run.path / POINTER
        _clear(self._pointer, stat.S_ISREG)
        beside = run.path.absolute() / SOCKET
        _clear(beside, stat.S_ISSOCK)  # the run is locked: whoever listened here is gone
        self.path = beside
        self.socket = _listen(beside) if _is_private(run.path) else None
        if self.socket is None:
            self.path = _elsewhere(run)
            _clear(self.path, stat.S_ISSOCK)
            self.socket = _listen(self.path)
            if self.socket is None:
                raise LinkError(f"{shown(self.path)} is too long for a socket; set XDG_RUNTIME_DIR to a short folder")
            _point(self._pointer, self.path)

    def close(self) -> None:
        """Stops listening, and leaves no file behind."""
        assert self.socket is not None
        self.socket.close()
        for path in (self.path, self._pointer):
            with suppress(OSError):
                path.unlink()


def knock(run: Run) -> socket.socket | None:
    """A connection to the run's process; None where nobody listens.

    Raises LinkError where what is there is not the same user's.
    """
    path = run.path.absolute() / SOCKET
    pointer = run.path / POINTER
    if _is_own(pointer, stat.S_ISREG):
        path = _pointed_at(pointer)
    if not _is_own(path, stat.S_ISSOCK):
        return None
    if len(os.fsencode(path)) > LONGEST_NAME:
        path = Path(os.path.relpath(path))  # made by a process that stood nearer
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.connect(os.fspath(path))
    except OSError as error:
        line.close()
        if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
            return None
        raise LinkError(f"{shown(path)} cannot be connected to: {error.strerror}") from None
    if not is_same_user(line):
        line.close()
        raise LinkError(f"{shown(path)} belongs to another user's process")
    return line


def is_same_user(line: socket.socket) -> bool:
    """Whether the process at the other end of a Unix socket is this user's."""
    return peer_user(line) == os.getuid()


def peer_user(line: socket.socket) -> int | None:
    """User id of the process at the other end, by the kernel's word; None where it does not say."""
    try:
        if hasattr(socket, "SO_PEERCRED"):  # Linux: struct ucred
            return struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        return struct.unpack("2I", line.getsockopt(0, 1, 8))[1]  # LOCAL_PEERCRED: the beginning of struct xucred
    except OSError:
        return None


def _clear(path: Path, is_kind: Callable[[int], bool]) -> None:
    """Removes what an earlier process left. Raises LinkError where something else is there, a link above all."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not is_kind(mode):
        raise LinkError(f"{shown(path)} is no {'socket' if path.suffix == '.sock' else 'file'} of ours; move it away")
    path.unlink()


def _listen(path: Path) -> socket.socket | None:
    """A socket of that name, for its user alone; None where there can be none."""
    if len(os.fsencode(path)) > LONGEST_NAME:
        return None
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(door.fileno(), 0o600)  # before it has a name: there is no moment at which others could knock
        door.bind(os.fspath(path))
        path.chmod(0o600)  # not every system heeds the first
        door.listen(64)
        door.setblocking(False)
    except OSError as error:
        door.close()
        if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL, errno.EROFS):  # a file system without sockets
            return None
        raise
    return door


def _is_private(folder: Path) -> bool:
    """Whether nobody else can put something in its place there."""
    facts = folder.stat()
    return facts.st_uid == os.getuid() and not facts.st_mode & 0o022


def _is_own(path: Path, is_kind: Callable[[int], bool]) -> bool:
    """Whether that is there, no link, and this user's. Raises LinkError where it is a link, or another's."""
    try:
        facts = path.lstat()
    except OSError:
        return False
    if not is_kind(facts.st_mode) or facts.st_uid != os.getuid():
        raise LinkError(f"{shown(path)} is not what a run of yours leaves there; it is not followed")
    return True


def _elsewhere(run: Run) -> Path:
    """The socket's name in a folder of the user's own. Raises LinkError where that folder is not his alone."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime, "gpt-cockpit") if runtime else Path(tempfile.gettempdir(), f"gpt-cockpit-{os.getuid()}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise LinkError(f"{shown(folder)} is not a folder of yours alone; set XDG_RUNTIME_DIR to one")
    return folder / f"{hashlib.sha256(os.fsencode(run.path.absolute())).hexdigest()[:16]}.sock"


def _pointed_at(pointer: Path) -> Path:
    """Where it says that the socket is. Raises LinkError where it names no file."""
    with pointer.open("rb") as file:
        name = file.read(LONGEST_NAME + 1)
    if not 0 < len(name) <= LONGEST_NAME or b"\0" in name:
        raise LinkError(f"{shown(pointer)} names no socket; delete it, and start the run again")
    return Path(os.fsdecode(name))


def _point(pointer: Path, path: Path) -> None:
    file = os.open(pointer, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, os.fsencode(path))
    finally:
        os.close(file)
