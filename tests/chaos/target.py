"""What gate 6 feeds with mutated inputs: a reader, sound inputs of its own, and the errors that it promises."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """A reader of what may be hostile."""

    name: str
    share: float
    """Of all inputs."""
    seeds: Callable[[], list[bytes]]
    """Sound inputs."""
    ready: Callable[[Path], Callable[[bytes], None]]
    """Given an empty folder: what reads one input, and swallows the errors that the reader promises."""


def of_file(
    name: str, read: Callable[[Path], object], *promised: type[Exception]
) -> Callable[[Path], Callable[[bytes], None]]:
    """A reader of a file of that name, which promises to raise nothing but these errors."""

    def ready(folder: Path) -> Callable[[bytes], None]:
        path = folder / name

        def feed(data: bytes) -> None:
            path.write_bytes(data)
            with suppress(*promised):
                read(path)

        return feed

    return ready
