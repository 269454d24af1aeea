"""The far end of a link over ssh: `gpt-cockpit link RUN`, which ssh starts beside the run.

It lets the reader's bytes through to the run's process, and what that tells back to him. What he is to read in the log,
and cannot from where he is, it reads for him: first the run's papers and the whole log, and later what he was too slow
for. If he takes it slowly, this stands still, not the run.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from cockpit.link import wire
from cockpit.link.client import PATIENCE, connect
from cockpit.logfile import blocks
from cockpit.runs import Run

_PIECE = 1 << 18


def serve(run: Run, source: int, sink: int) -> None:
    """Relays between two descriptors and the run's process until one of them ends.

    Raises LinkError where nobody trains the run.
    """
    line = connect(run, PATIENCE)
    threading.Thread(target=_let_through, args=(source, line), name="orders", daemon=True).start()

    def write(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(sink, rest) :]

    with suppress(BrokenPipeError):
        _tell(run, line, write)
    line.close()


def _let_through(source: int, line: socket.socket) -> None:
    """The reader's bytes, as they are: the run's process looks at them."""
    with suppress(OSError):
        while data := os.read(source, _PIECE):
            line.sendall(data)
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)  # he is gone


def _tell(run: Run, line: socket.socket, write: Callable[[bytes], None]) -> None:
    lines = wire.Lines(wire.LONGEST_LINE)
    told = 0  # bytes of the log

    def read_up_to(end: int | None) -> None:
        nonlocal told
        for _, block in blocks(run.events_path, told):
            block = block if end is None else block[: end - told]
            if not block:
                break
            # A line that somebody else put there must not pass for a message.
            write(b"".join(part for part in block.splitlines(keepends=True) if not part.startswith(wire.MARK)))
            told += len(block)

    while data := _received(line):
        for part in wire.parts(lines.feed(data)):
            if isinstance(part, bytes):
                write(part)
                told += len(part)
                continue
            if not isinstance(part, wire.GoOn):
                write(wire.encode(part))
            if isinstance(part, wire.Hello):
                write(wire.encode(_papers(run)))
            if isinstance(part, wire.Hello | wire.GoOn):
                read_up_to(part.offset)
                told = part.offset
                write(wire.encode(wire.GoOn(offset=told)))
            if isinstance(part, wire.Refused):
                return
    if told:
        read_up_to(None)
    write(wire.encode(wire.Gone(in_use=run.in_use)))


def _received(line: socket.socket) -> bytes:
    try:
        return line.recv(_PIECE)
    except OSError:
        return b""


def _papers(run: Run) -> wire.Papers:
    try:
        profile = (run.path / "profile.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        profile = ""
    return wire.Papers(facts=run.read_facts(), profile=profile)
