"""Files that are on the disk, not only on their way there, once a call returns. No torch.

A new file is durable when its content is and its folder, which holds its name, is too. All of these raise OSError where
the disk refuses.
"""

from __future__ import annotations

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
