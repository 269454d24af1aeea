"""Textual's driver for Unix terminals with seven habits changed.

It asks the terminal it draws on for its size, whatever descriptor 1 leads to and whatever COLUMNS says. It asks for
mouse clicks and drags but not for every movement, each of which would be bytes on the line and a wake-up of the screen.
A terminal that has gone away is no error: what is written to it is dropped, so that the screen can end in order. And it
is noticed where keys are read, for its end of input is there to be read for ever: Textual would read it at full speed.
A SIGTSTP and a SIGCONT wait until the screen has done what it is doing. A SIGCONT never starts a second reader of keys
beside the first, nor brings back a screen that has been left: either would outlive the program's end and hold it up for
ever. And nothing that a terminal sends ends the reading of keys.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message


class TerminalDriver(LinuxDriver):
    """Draws on `sys.__stderr__`, reads keys from `sys.__stdin__`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._file: Any = _Outlet(self._file)
        self._shown = False

    @property
    def is_behind(self) -> bool:
        """Whether the terminal has not yet taken what was drawn before."""
        return self._writer_thread is not None and not self._writer_thread._queue.empty()

    def start_application_mode(self) -> None:
        super().start_application_mode()
        self._shown = True

    def stop_application_mode(self) -> None:
        self._shown = self._must_signal_resume = False  # who wants it back says so afterwards
        super().stop_application_mode()

    def abandon(self) -> None:
        """After a crash: ends the reader of keys, which would hold up the program's end for ever, and the drawing: a
        frame that still waits would hide the cursor again."""
        self.exit_event.set()
        self._file.close()

    def run_input_thread(self) -> None:
        """Reads keys until the screen is left, or the terminal is gone."""
        keys = Keys(self._debug)
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(0.1):
                    data = self._read()
                    if not data:
                        getattr(self._app, "hang_up", self._app.exit)()
                        break
                    for message in keys.feed(data):
                        self.process_message(message)
                for message in keys.tick():
                    self.process_message(message)
        keys.close()

    def _read(self) -> bytes:
        """What has been typed; nothing where the terminal is gone."""
        try:
            return os.read(self.fileno, 4096)
        except OSError:
            return b""

    # What a signal interrupts may have put the terminal's modes half-way; or it holds the lock of the queue that is
    # written to here, for which its handler would wait for ever.

    def _sigtstp_application(self, *arguments: object) -> None:
        """Stands still once the screen has done what it is doing."""
        if self._loop.is_closed():  # the screen has been left
            self._stand_still()
        else:
            self._loop.call_soon_threadsafe(self._stand_still)

    def _sigcont_application(self, *arguments: object) -> None:
        """Sets the terminal up and has all drawn anew, once the screen has done what it is doing."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._come_back)

    def _stand_still(self) -> None:
        if self._shown and self._auto_restart:
            self.suspend_application_mode()
            self._must_signal_resume = True
        os.kill(os.getpid(), signal.SIGSTOP)

    def _come_back(self) -> None:
        if self._shown and self._auto_restart:  # was stopped without having been asked to suspend, or never stopped
            self.suspend_application_mode()
            self._must_signal_resume = True
        if self._must_signal_resume and self._auto_restart:
            self.resume_application_mode()

    def _get_terminal_size(self) -> tuple[int, int]:
        try:
            width, height = os.get_terminal_size(self._file.fileno())
        except (OSError, ValueError):
            return super()._get_terminal_size()
        return width or 80, height or 24

    def _enable_mouse_support(self) -> None:
        if self._mouse:
            self.write("\x1b[?1002h\x1b[?1006h")  # clicks and drags, in SGR coordinates
            self.flush()

    def _disable_mouse_support(self) -> None:
        super()._disable_mouse_support()
        if self._mouse:
            self.write("\x1b[?1002l")  # not every terminal takes the others' end for this one's
            self.flush()

    def _enable_mouse_pixels(self) -> None:
        """Cells are exact enough."""


class Keys:
    """What a terminal sends, as messages.

    Textual's parser raises a ValueError at some sequences that are nearly a key's (`ESC [97:5u`), and can go on after
    none: the reader would end, and no key be heard any more. Here such a sequence is dropped, with what came in one
    piece after it.
    """

    def __init__(self, debug: bool = False) -> None:
        self._debug = debug
        self._decode = getincrementaldecoder("utf-8")("replace").decode
        self._parser = XTermParser(debug)

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole by now."""
        text = self._decode(data)
        yield from self._understood(lambda: self._parser.feed(text) if text else ())

    def tick(self) -> Iterator[Message]:
        """What was waited for in vain, such as the rest of what turns out to be a single escape."""
        yield from self._understood(lambda: self._parser.tick())

    def close(self) -> None:
        """Ends the parser."""
        with contextlib.suppress(EOFError, ParseError):
            for _ in self._parser.feed(""):
                pass

    def _understood(self, read: Callable[[], Iterable[Message]]) -> Iterator[Message]:
        messages = iter(read())
        while True:
            try:
                message = next(messages)
            except StopIteration:
                return
            except Exception:
                # Whatever Textual's parser stumbles over, as it did over the bytes ESC[97:5u: raised further, it would
                # end the thread that reads the keys, and no key would be heard afterwards.
                self._parser = XTermParser(self._debug)
                return
            yield message


class _Outlet:
    """A text file that swallows what it can no longer write."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> None:
        self._attempt(lambda: self._file.write(text))

    def flush(self) -> None:
        self._attempt(lambda: self._file.flush())

    def _attempt(self, act: Callable[[], object]) -> None:
        try:
            act()
        except (OSError, ValueError):
            self.close()

    def close(self) -> None:
        """From here on all is swallowed."""
        self._file = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 (kept until the end)

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return self._file.isatty()
