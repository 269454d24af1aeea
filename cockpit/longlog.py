"""A long log read by a process of its own: decoding a million lines holds the interpreter's lock for a second.

Beside it the screen draws its first frame and the trainer loads. `python -m cockpit.longlog PATH START END` writes to
standard output what `cockpit.stretch.read` gives, in frames: four bytes of length, then a `_Frame` as MessagePack.
"""

from __future__ import annotations

import itertools
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from cockpit.stretch import COLUMNS, Reading, Stretch, read
from gpt.events import AnyEvent, Event, StepDone, decode, encode

LONG = 24 * 2**20
"""Bytes from which a process is worth its start, a fifth of a second."""
_ROOT = Path(__file__).resolve().parents[1]
_LENGTH = struct.Struct("<I")


class _Frame(msgspec.Struct, array_like=True, frozen=True):
    """An event, or a stretch; or at the end neither, and how many lines were no event."""

    event: bytes = b""
    """The event or the stretch's last step, as the log has it."""
    columns: bytes | None = None
    beside: list[tuple[int, bytes]] = []
    first_time: float = 0.0
    time: float = 0.0
    skipped: int = 0


def read_beside(path: Path, start: int, end: int, count_skipped: Callable[[int], None]) -> Iterator[Event | Stretch]:
    """What `cockpit.stretch.read` gives of a log from byte `start` to `end`, decoded by another process.

    Where that process fails, the rest is read by this one.

    Args:
        count_skipped: told at the end how many lines were no event.
    """
    delivered = 0
    with _reader(path, start, end) as process:
        assert process.stdout is not None
        try:
            for frame in _frames(process.stdout):
                if not frame.event:
                    count_skipped(frame.skipped)
                    return
                item = _unpacked(frame)
                delivered += 1
                yield item
        finally:
            process.kill()
    with path.open("rb") as file:
        yield from itertools.islice(read(file, start, end, count_skipped), delivered, None)


def _reader(path: Path, start: int, end: int) -> subprocess.Popen[bytes]:
    """The process; of a session of its own, so that ctrl+c at the terminal is not for it. It ends with the pipe."""
    command = [sys.executable, "-m", "cockpit.longlog", str(path.resolve()), str(start), str(end)]
    return subprocess.Popen(
        command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


def _frames(file: IO[bytes]) -> Iterator[_Frame]:
    """The frames of a pipe, up to the first that is cut short."""
    decoder = msgspec.msgpack.Decoder(_Frame)
    while len(head := file.read(_LENGTH.size)) == _LENGTH.size:
        (size,) = _LENGTH.unpack(head)
        if len(body := file.read(size)) < size:
            return
        yield decoder.decode(body)


def _packed(item: Event | Stretch) -> _Frame:
    if not isinstance(item, Stretch):
        return _Frame(encode(item))
    beside = [(number, encode(event)) for number, event in item.beside]
    return _Frame(encode(item.last), item.columns.tobytes(), beside, item.first_time, item.time)


def _unpacked(frame: _Frame) -> AnyEvent | Stretch:
    event = decode(frame.event)
    if frame.columns is None:
        return event
    columns = np.frombuffer(frame.columns, np.float64).reshape(len(COLUMNS), -1)
    beside: list[tuple[int, Reading]] = []
    for number, line in frame.beside:
        meter = decode(line)
        assert isinstance(meter, Reading)
        beside.append((number, meter))
    assert isinstance(event, StepDone)
    return Stretch(columns, event, tuple(beside), frame.first_time, frame.time)


def main() -> None:
    """Reads a log and writes frames, until it ends or nobody wants them any more."""
    path, start, end = sys.argv[1:]
    skipped = 0

    def count(lines: int) -> None:
        nonlocal skipped
        skipped += lines

    def write(frame: _Frame) -> None:
        body = msgspec.msgpack.encode(frame)
        out.write(_LENGTH.pack(len(body)) + body)

    with open(path, "rb") as file, os.fdopen(os.dup(1), "wb") as out:  # noqa: PTH123
        for item in read(file, int(start), int(end), count):
            write(_packed(item))
        write(_Frame(skipped=skipped))


if __name__ == "__main__":
    main()
