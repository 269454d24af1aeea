"""The log of a run: `events.jsonl`, append-only, one event a line, written beside training and never in its way."""

from __future__ import annotations

import collections
import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from gpt.events import Event, encode

WRITE_SECONDS = 0.25
"""Time between two writes: what a killed process loses at most."""

_BLOCK = 65536


class EventLog:
    """Appends events to a file from a thread of its own.

    `append` is safe from any thread and never blocks. A full or failing disk never reaches the caller: the reason is in
    `error`, the events wait, and the next write tries again. Opening repairs what a crash left: a torn last line is cut
    off. One writer at a time; the run's lock sees to that.

    Raises OSError where the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: str | None = None
        """Why the newest write failed; None once one has succeeded."""
        self.heard: Callable[[int, bytes], None] | None = None
        """Takes each piece of the log as it is made, before it is on disk: its offset and its whole lines. Must not
        block."""
        self.interval = WRITE_SECONDS
        """Seconds between two writes."""
        self._queue: collections.deque[Event] = collections.deque()
        self._pending = b""  # encoded, not yet on disk
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._end = _cut_torn_line(self._file)
        self._torn = False  # whether something lies after that which a failed write has left
        self._guard = threading.Lock()
        self._closing = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._write_on, name="eventlog", daemon=True)
        self._thread.start()

    def append(self, event: Event) -> None:
        """Takes an event; it is on disk a quarter of a second later."""
        self._queue.append(event)

    def flush(self) -> None:
        """Writes all that has been appended, now. Failure is in `error`. Once the log is closed, does nothing."""
        with self._guard:
            if not self._closed:
                self._write()

    def position(self) -> tuple[int, bytes]:
        """Bytes of the log on disk, and what has been heard of that is not there yet."""
        with self._guard:
            return self._end, self._pending

    def close(self) -> None:
        """Writes all, makes it durable and ends the thread. A second call does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join()
        with self._guard:
            self._write()
            try:
                os.fsync(self._file)
            except OSError as error:
                self.error = f"{self.path}: {error.strerror}"
            os.close(self._file)
            self._closed = True

    def _write_on(self) -> None:
        while not self._closing.wait(self.interval):
            self.flush()

    def _write(self) -> None:
        """Appends what waits, whole lines or nothing: a write that fails half-way is taken back."""
        lines: list[bytes] = []
        while self._queue:  # one consumer, under the guard, so what is there stays there
            lines.append(_encoded(self._queue.popleft()))
        if lines:
            fresh = b"".join(lines)
            if self.heard:
                self.heard(self._end + len(self._pending), fresh)
            self._pending += fresh
        if not self._pending:
            return
        try:
            self._take_back()
            rest, self._torn = memoryview(self._pending), True
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            self.error = f"{self.path}: {error.strerror}"
            with contextlib.suppress(OSError):  # a disk that refuses this too is asked again before the next write
                self._take_back()
            return
        self._end += len(self._pending)
        self._pending, self._torn = b"", False
        self.error = None

    def _take_back(self) -> None:
        """Cuts off what a failed write has left."""
        if self._torn:
            os.ftruncate(self._file, self._end)
            self._torn = False


def _encoded(event: Event) -> bytes:
    try:
        return encode(event)
    except UnicodeEncodeError:  # a lone surrogate, as file names that are not UTF-8 have them
        texts = {name: value for name, value in msgspec.structs.asdict(event).items() if isinstance(value, str)}
        safe = {name: text.encode(errors="replace").decode() for name, text in texts.items()}
        return encode(msgspec.structs.replace(event, **safe))


def _cut_torn_line(file: int) -> int:
    """Cuts off what follows the last newline; returns the length of what stays, bytes."""
    end = os.fstat(file).st_size
    keep = end
    while keep:
        start = max(0, keep - _BLOCK)
        newline = os.pread(file, keep - start, start).rfind(b"\n")
        if newline >= 0:
            keep = start + newline + 1
            break
        keep = start
    if keep < end:
        os.ftruncate(file, keep)
    return keep
