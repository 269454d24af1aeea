"""The program in a pseudo-terminal that outlives whoever looks at it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Awaitable, Callable, Sequence

from cockpit.sanitize import clean

COLUMNS, ROWS = 120, 35
"""Its size before the first browser has told its own."""
MOST_LINES = 65536
"""Bytes that are kept of what it has written outside the screen."""
ENTERS, LEAVES = b"\x1b[?1049h", b"\x1b[?1049l"
"""What begins and ends the use of a terminal's second screen."""
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(?:\x07|\x1b\\)|[ -/]*[0-~])", re.DOTALL)

Show = Callable[[bytes], Awaitable[None]]
"""Where its output goes."""


class Program:
    """`gpt-cockpit` with some arguments, in a pseudo-terminal and a session of its own.

    Where nobody looks its output is dropped, as a screen that is drawn anew needs none of it.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._master, slave = pty.openpty()
        self._size = (0, 0)
        self.resize(COLUMNS, ROWS)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cockpit", *arguments], stdin=slave, stdout=slave, stderr=slave,
                env=_environment(dict(os.environ)), start_new_session=True, preexec_fn=_own_terminal,
            )  # fmt: skip
        finally:
            os.close(slave)
        self._show: Show | None = None
        self._output = Output()

    async def follow(self) -> int:
        """Hands its output on until it has ended; returns its exit code."""
        while data := await self._read():
            self._output.add(data)
            if self._show is not None:
                with contextlib.suppress(ConnectionError):
                    await self._show(data)
        code = await asyncio.to_thread(self.process.wait)
        return code if code >= 0 else 128 - code

    async def attach(self, show: Show) -> None:
        """Sends its output to a terminal that knows nothing of it yet."""
        self._show = show
        if self._output.is_on_screen:
            self.signal(signal.SIGCONT)  # cockpit.driver: it sets the terminal up and draws everything anew
        else:
            await show(b"\x1b[2J\x1b[H" + bytes(self._output.lines))

    def detach(self) -> None:
        """Drops its output from now on."""
        self._show = None

    async def type(self, keys: bytes) -> None:
        """Types into its terminal."""
        with contextlib.suppress(OSError):  # it has just ended
            await asyncio.to_thread(os.write, self._master, keys)

    def resize(self, columns: int, rows: int) -> None:
        """Tells it the terminal's size, as far as that is one."""
        size = (min(max(1, rows), 1000), min(max(1, columns), 1000))
        if size != self._size:
            self._size = size
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))

    def signal(self, number: int) -> None:
        """Sends it a signal, unless it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    @property
    def last_words(self) -> str:
        """What it has written since it left the screen."""
        return clean(_ESCAPE.sub("", self._output.lines.decode(errors="replace")).replace("\r\n", "\n")).strip("\n")

    def close(self) -> None:
        """Hangs up: a run that still goes on does so without a screen."""
        os.close(self._master)

    async def _read(self) -> bytes:
        """The next of its output; nothing once it has hung up."""
        loop = asyncio.get_running_loop()
        there = loop.create_future()
        loop.add_reader(self._master, lambda: there.done() or there.set_result(None))
        try:
            await there
            return os.read(self._master, 65536)
        except OSError:  # EIO: nobody has the other end open any more
            return b""
        finally:
            loop.remove_reader(self._master)


class Output:
    """What a program writes to its terminal, in pieces that end anywhere."""

    def __init__(self) -> None:
        self.is_on_screen = False
        """Whether it draws on the terminal's second screen."""
        self.lines = bytearray()
        """What it has written since it left that, or since its start; the last of it."""
        self._end = b""

    def add(self, data: bytes) -> None:
        """Takes the next piece."""
        seen = self._end + data
        self._end = seen[1 - len(ENTERS) :]
        left, entered = seen.rfind(LEAVES), seen.rfind(ENTERS)
        if max(left, entered) >= 0:
            self.is_on_screen = entered > left
            self.lines.clear()
            data = seen[left + len(LEAVES) :]
        if not self.is_on_screen:
            self.lines += data
            del self.lines[:-MOST_LINES]


def _environment(ours: dict[str, str]) -> dict[str, str]:
    """Ours, as xterm.js is a terminal of 24-bit colour and UTF-8, whatever we were started from."""
    for name in ("COLUMNS", "LINES", "TMUX", "STY", "TERM_PROGRAM", "LC_ALL"):
        ours.pop(name, None)
    return ours | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_CTYPE": "C.UTF-8"}


def _own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
