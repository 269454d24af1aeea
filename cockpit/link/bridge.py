"""The far end of a link over ssh: `gpt-cockpit link RUN`, which ssh starts beside the run.

It lets the reader's bytes through to the run's process, and what that tells back to him. What he is to read on disk,
and cannot from where he is, it reads for him: first the run's papers and the whole log, later what he was too slow for,
and which checkpoints there are. Where ranks are started anew it asks their first one on his behalf. If he takes it
slowly, this stands still, not the run.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from cockpit.link import wire
from cockpit.link.client import PATIENCE, RETURN_SECONDS, connect
from cockpit.link.place import knock
from cockpit.link.shelf import Shelf
from cockpit.logfile import blocks
from cockpit.runs import Run

_PIECE = 1 << 18


def serve(run: Run, source: int, sink: int) -> None:
    """Relays between two descriptors and the run's process until one of them ends.

    Raises LinkError where nobody trains the run.
    """
    reader = _Reader(source, connect(run, PATIENCE))

    def write(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(sink, rest) :]

    with suppress(BrokenPipeError):
        _Teller(run, write).tell(reader)
    reader.line.close()


class _Reader:
    """Who is at the other end of ssh: his bytes go to the run's process as they are, which looks at them.

    Args:
        source: the descriptor he is heard through.
        line: to the run's process.
    """

    def __init__(self, source: int, line: socket.socket) -> None:
        self.line = line
        self.is_gone = False
        self._source, self._ask, self._guard = source, b"", threading.Lock()
        threading.Thread(target=self._let_through, name="orders", daemon=True).start()

    def go_over_to(self, line: socket.socket) -> None:
        """Asks another process of the run as he asked the first, and hands on to it what he says from now on."""
        with self._guard:
            self.line.close()
            self.line = line
            with suppress(OSError):  # it is gone already: then it is not heard of either
                line.sendall(self._ask)

    def _let_through(self) -> None:
        with suppress(OSError):
            while data := os.read(self._source, _PIECE):
                with self._guard:
                    if not self._ask.endswith(b"\n"):
                        first, end, _ = data.partition(b"\n")
                        self._ask += first + end
                    with suppress(OSError):  # it may be on its way out, and another on its way in
                        self.line.sendall(data)
        self.is_gone = True
        with suppress(OSError):
            self.line.shutdown(socket.SHUT_RDWR)


class _Teller:
    """Tells him what the run's process tells, and what there is to be read beside it.

    Args:
        write: sends him bytes; raises BrokenPipeError once he is gone.
    """

    def __init__(self, run: Run, write: Callable[[bytes], None]) -> None:
        self._run, self._write = run, write
        self._shelf = Shelf(run)
        self._told = 0  # bytes of the log

    def tell(self, reader: _Reader) -> None:
        """Returns once there is nothing more to tell."""
        is_let_in = self.relay(reader.line)
        while is_let_in and (line := self._successor(reader)):
            reader.go_over_to(line)
            is_let_in = self.relay(line)
        if is_let_in:
            self.conclude()

    def relay(self, line: socket.socket) -> bool:
        """Until the process at the other end hangs up; False where it refuses him."""
        lines = wire.Lines(wire.LONGEST_LINE)
        while data := _received(line):
            for part in wire.parts(lines.feed(data)):
                if isinstance(part, bytes):
                    self._show_checkpoints()  # before the event that tells of them
                    self._write(part)
                    self._told += len(part)
                else:
                    self._pass_on(part)
                    if isinstance(part, wire.Refused):
                        return False
        return True

    def conclude(self) -> None:
        """Tells the rest of the log, and that the process is gone."""
        if self._told:
            self._read_up_to(None)
        self._write(wire.encode(wire.Gone(in_use=self._run.in_use)))

    def _pass_on(self, message: wire.ToReader) -> None:
        is_first = isinstance(message, wire.Hello) and not self._told
        if not isinstance(message, wire.GoOn):
            self._write(wire.encode(message))
        if is_first:
            self._write(wire.encode(_papers(self._run)))
        if isinstance(message, wire.Hello | wire.GoOn):
            self._show_checkpoints()
            self._read_up_to(message.offset)
            self._told = message.offset
            self._write(wire.encode(wire.GoOn(offset=self._told)))

    def _successor(self, reader: _Reader) -> socket.socket | None:
        """A line to the process that takes the run up again, where a launcher starts ranks anew; None: none will."""
        is_said = False
        while self._run.is_launched and not reader.is_gone:
            with suppress(wire.LinkError, OSError):
                if line := knock(self._run):
                    return line
            if not is_said:
                is_said = True
                self._write(wire.encode(wire.Away()))
            time.sleep(RETURN_SECONDS)
        return None

    def _show_checkpoints(self) -> None:
        if news := self._shelf.news():
            self._write(wire.encode(news))

    def _read_up_to(self, end: int | None) -> None:
        for _, block in blocks(self._run.events_path, self._told):
            block = block if end is None else block[: end - self._told]
            if not block:
                break
            # A line that somebody else put there must not pass for a message.
            self._write(b"".join(part for part in block.splitlines(keepends=True) if not part.startswith(wire.MARK)))
            self._told += len(block)


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
    return wire.Papers(facts=run.read_facts(), profile=profile, is_launched=run.is_launched)
