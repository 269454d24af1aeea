"""Files that are on the disk, not only on their way there, once a call returns; whether one is whole later. No torch.

A new file is durable when its content is and its folder, which holds its name, is too. All of these raise OSError where
the disk refuses.
"""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import IO, Any


def flush(file: IO[Any]) -> None:
    """Makes what was written to an open file durable; its name may not be yet."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes new names in a folder durable, and that others are gone."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it that are missing, durably; does nothing where it is there."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def reserve(path: Path, size: int) -> None:
    """Makes a new file for which the disk has set aside `size` bytes: one that is too full says so before anything is
    written.

    Where the file system cannot do that, the file is empty.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        if size and hasattr(os, "posix_fallocate"):  # macOS has none
            os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


def write(path: Path, content: bytes) -> None:
    """Writes a file where nobody looks for it yet: killed half-way, it stays cut short. Its name is not yet durable."""
    with path.open("wb") as file:
        file.write(content)
        flush(file)


def replace(path: Path, content: bytes) -> None:
    """Puts a file in its place in one step, name and all; whoever looks finds the old one or the new one, whole.

    One process at a time: the draft beside it has one name, so that what a killed one has left is written over.
    """
    draft = path.with_name(f".{path.name}.draft")
    write(draft, content)
    draft.replace(path)
    sync_folder(path.parent)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, read bit by bit. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
