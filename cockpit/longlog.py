"""A long log read by a process of its own: decoding a million lines holds the interpreter's lock for a second.

Beside it the screen draws its first frame and the trainer loads. `python -m cockpit.longlog PATH END` writes to
standard output what the log comes to up to a byte, now and then while it reads and at the end: four bytes of length,
then a `cockpit.state.Past` as `cockpit.digest` packs it. It begins with the digest beside the log, where there is one,
and leaves one there that is newer.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from cockpit.state import Past

# What reduces a log brings numpy: it is imported only where that is done, so that the process is started first.

LONG = 24 * 2**20
"""Bytes from which a process is worth its start, a fifth of a second; and of new log from which a digest is."""
GROWTH = 2 * LONG
"""Bytes by which the log of a run that goes on has grown when its digest is made anew."""
TOLD_SECONDS = 1.5
"""Time between two words on how far the reading is."""
_PIECE = 8 * 2**20
_ROOT = Path(__file__).resolve().parents[1]
_LENGTH = struct.Struct("<I")


class Reader:
    """Reads a log from its beginning up to byte `end`, where a line ends: at once, in a process of its own."""

    def __init__(self, path: Path, end: int) -> None:
        self.end = end
        self._path = path
        self._process: subprocess.Popen[bytes] | None = None
        with suppress(OSError):
            self._process = _start(path, end)

    def told(self) -> Iterator[Past]:
        """What the log comes to, ever more of it; the last is all up to `end`. Where the process fails, this one reads
        the rest. To be called once."""
        from cockpit.state import Past

        past = Past()
        try:
            if self._process and self._process.stdout:
                for past in _pasts(self._process.stdout):
                    yield past
        finally:
            self._let_go(finished=past.offset == self.end)
        if past.offset < self.end:
            yield from _read(self._path, past, self.end)

    def close(self) -> None:
        """Gives the reading up."""
        self._let_go(finished=False)

    def _let_go(self, *, finished: bool) -> None:
        """A process that has finished may still leave its digest."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdout:
            process.stdout.close()
        if not finished:
            process.kill()
        threading.Thread(target=process.wait, name="reaper", daemon=True).start()


class Keeper:
    """Keeps the digest of a log that grows within GROWTH of its end, by a process now and then. Used by one thread."""

    def __init__(self, path: Path, start: int) -> None:
        self._path, self._covered = path, start
        self._process: subprocess.Popen[bytes] | None = None

    def look(self, end: int) -> None:
        """Has it made anew where that is due.

        Args:
            end: bytes of the log that are on disk, whole lines.
        """
        if self._process and self._process.poll() is None:
            return
        self._process = None
        if end - self._covered >= GROWTH:
            self._covered = end
            self._process = _start(self._path, end, "--keep")


def _start(path: Path, end: int, *options: str) -> subprocess.Popen[bytes]:
    """The process; of a session of its own, so that ctrl+c at the terminal is not for it."""
    command = [sys.executable, "-m", "cockpit.longlog", str(path.resolve()), str(end), *options]
    return subprocess.Popen(
        command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL if options else subprocess.PIPE,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def _pasts(file: IO[bytes]) -> Iterator[Past]:
    """The pasts of a pipe, up to the first that is cut short."""
    from cockpit import digest

    while len(head := file.read(_LENGTH.size)) == _LENGTH.size:
        (size,) = _LENGTH.unpack(head)
        if len(body := file.read(size)) < size:
            return
        yield digest.unpacked(body)


def _read(path: Path, past: Past, end: int, due: Callable[[], bool] = lambda: False) -> Iterator[Past]:
    """Reads on from a past to the byte `end`; gives what that comes to, and what is known so far where it is due."""
    from cockpit import digest
    from cockpit.stretch import read

    skipped = past.skipped

    def count(lines: int) -> None:
        nonlocal skipped
        skipped += lines

    with path.open("rb") as file:
        while past.offset < end:
            file.seek(min(end, past.offset + _PIECE) - 1)
            whole = file.readline()  # to the end of the line that the piece ends in; nothing behind the log's own end
            until = min(end, file.tell()) if whole else end
            past = digest.onward(past, read(file, past.offset, until, count), until)
            past = msgspec.structs.replace(past, skipped=skipped)
            if past.offset < end and due():
                yield past
    yield past


def main() -> None:
    """Reads a log and says what it comes to, until it ends or nobody wants to know any more; leaves a digest."""
    from cockpit import digest
    from cockpit.state import Past

    path, end, quietly = Path(sys.argv[1]), int(sys.argv[2]), "--keep" in sys.argv
    if quietly:
        with suppress(OSError):
            os.nice(19)
    told = time.monotonic()

    def due() -> bool:
        nonlocal told
        late = not quietly and time.monotonic() - told >= TOLD_SECONDS
        told = time.monotonic() if late else told
        return late

    begun = digest.load(path, end) or Past()
    past = begun
    with os.fdopen(os.dup(1), "wb") as out:
        for past in _read(path, begun, end, due):
            if not quietly:
                body = digest.packed(past)
                out.write(_LENGTH.pack(len(body)) + body)
                out.flush()
    if past.offset - begun.offset >= LONG:
        digest.keep(path, past)


if __name__ == "__main__":
    main()
