"""The terminal, and who may write to it.

While the screen is up only the screen writes to the terminal, through a descriptor of its own. Descriptors 1 and 2 lead
to the run's console.log, so that warnings, compilers and C libraries cannot tear the picture. Whatever happens, the
terminal is afterwards as it was.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

RESET = (
    "\x1b[?1049l"  # leave the alternate screen
    "\x1b[?25h\x1b[?7h"  # show the cursor, wrap long lines
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l"  # no mouse reports
    "\x1b[?1004l\x1b[?2004l\x1b[?2026l\x1b[?2048l"  # no focus, paste, synchronised output or in-band resize reports
    "\x1b[<u"  # kitty keyboard protocol off
    "\x1b[0m"
)
"""Undoes every terminal mode the screen switches on. Harmless where none is on."""


def is_interactive() -> bool:
    """True where there is a terminal to draw on and to read keys from."""
    try:
        return os.isatty(0) and os.isatty(1)
    except OSError:
        return False


def mend() -> bool:
    """Puts a terminal back into use that a killed program has left: raw, in the alternate screen, its mouse reported.

    False where descriptor 0 or 1 is none.
    """
    if not is_interactive():
        return False
    modes = termios.tcgetattr(0)
    modes[0] |= termios.ICRNL | termios.IXON
    modes[0] &= ~(termios.INLCR | termios.IGNCR | termios.IXOFF | termios.ISTRIP)
    modes[1] |= termios.OPOST | termios.ONLCR
    modes[3] |= termios.ISIG | termios.ICANON | termios.IEXTEN | termios.ECHO | termios.ECHOE | termios.ECHOK
    modes[3] &= ~(termios.NOFLSH | termios.TOSTOP)
    modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
    _flush()
    os.write(1, RESET.encode())
    termios.tcsetattr(0, termios.TCSAFLUSH, modes)  # what is still there was typed for the killed one
    return True


class Outside(io.TextIOWrapper):
    """Writes to what descriptor 1 led to before it was sent to console.log, as long as somebody is there."""

    def __init__(self, saved: list[int]) -> None:
        super().__init__(os.fdopen(os.dup(1), "wb"), encoding="utf-8", errors="replace", line_buffering=True)
        self._saved = saved
        self.is_let_go = False
        """Whether all that is written here goes to console.log as well."""

    def let_go(self) -> None:
        """Gives terminal and pipes back for good: nothing is read from them any more, and all goes to console.log."""
        if self.is_let_go:
            return
        self.is_let_go = True
        with contextlib.suppress(OSError):
            self.flush()
        for copy in (self.fileno(), *self._saved):
            os.dup2(1, copy, inheritable=False)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)


@contextlib.contextmanager
def captured_console(log: Path) -> Iterator[Outside]:
    """Sends fds 1 and 2 to the end of `log` inside the block; yields a text file that still writes to the old fd 1."""
    log_fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    _flush()
    saved = [os.dup(1), os.dup(2)]
    outside = Outside(saved)
    try:
        os.dup2(log_fd, 1)
        os.dup2(log_fd, 2)
        yield outside
    finally:
        _flush()
        for number, copy in enumerate(saved, start=1):
            os.dup2(copy, number)
            os.close(copy)
        os.close(log_fd)
        with contextlib.suppress(OSError, ValueError):
            outside.close()


@contextlib.contextmanager
def screen_on_terminal(outside: IO[str]) -> Iterator[None]:
    """Lets the screen draw on the terminal behind `outside` inside the block, and puts the terminal back afterwards.

    Textual draws on `sys.__stderr__` and asks `sys.__stdout__` for the size, so both become
    the copy of the terminal.
    """
    real: tuple[Any, Any] = (sys.__stdout__, sys.__stderr__)
    with _modes_restored(outside):
        sys.__stdout__ = sys.__stderr__ = outside  # type: ignore[misc]
        try:
            yield
        finally:
            sys.__stdout__, sys.__stderr__ = real  # type: ignore[misc]


@contextlib.contextmanager
def _modes_restored(outside: IO[str]) -> Iterator[None]:
    try:
        before = termios.tcgetattr(0)
    except termios.error:
        before = None
    try:
        yield
    except BaseException:  # an orderly end has undone its modes already
        with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
            outside.write(RESET)
            outside.flush()
        raise
    finally:
        if before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, before)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # None where the descriptor was closed
            stream.flush()
