"""What is on a disk, as values; and a real folder that is made to hold it."""

from __future__ import annotations

import os
from pathlib import Path

Image = dict[str, bytes | str | None]
"""What is on a disk, by path below the root: a file's content, what a link leads to, None for a folder."""


class Bench:
    """A real folder that is made to hold one image after another; only what differs is written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._held: Image = {}

    def hold(self, image: Image) -> None:
        """Makes the folder hold the image."""
        root, held = str(self.root), self._held
        gone = [path for path, content in held.items() if path not in image or _kind(image[path]) != _kind(content)]
        for path in sorted(gone, reverse=True):  # what is in a folder before the folder
            (os.rmdir if held[path] is None else os.unlink)(f"{root}/{path}")
            del held[path]
        for path in sorted(image):
            content = image[path]
            if path in held and (held[path] is content or held[path] == content):
                continue
            if content is None:
                Path(f"{root}/{path}").mkdir()
            elif isinstance(content, str):
                if path in held:
                    Path(f"{root}/{path}").unlink()
                Path(f"{root}/{path}").symlink_to(content)
            else:
                descriptor = os.open(f"{root}/{path}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                os.write(descriptor, content)
                os.close(descriptor)
            held[path] = content

    def look(self) -> Image:
        """What the folder holds now, after something else has written into it."""
        image: Image = {}
        for folder, folders, files in os.walk(self.root):
            for name in (*folders, *files):
                path = Path(folder, name)
                place = str(path.relative_to(self.root))
                if path.is_symlink():
                    image[place] = str(path.readlink())
                else:
                    image[place] = None if path.is_dir() else path.read_bytes()
        self._held = dict(image)
        return image


def _kind(content: bytes | str | None) -> type:
    return type(content)
