"""A program in a pseudo-terminal where nobody sits: keys go in, bytes come out and are counted. For measuring.

What the bytes draw is not worked out: a measurement needs to know when they came and how many they were.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence

import psutil

from cockpit.front import die_with_parent

STOP_PATIENCE = 2.0
"""Seconds after which a process that was told to stop counts as stopped."""
_ESCAPES = re.compile(
    rb"\x1b\[[0-?]*[ -/]*(?:[@-~]|$)"  # control sequences, an unfinished one at the end included
    rb"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # strings to the terminal: titles, device control
    rb"|\x1b[ -/]*(?:[0-~]|$)",
    re.DOTALL,
)


def has_visible(output: bytes | bytearray) -> bool:
    """Whether there is anything to see in what a program wrote: a character that is neither blank nor control."""
    return any(byte > 0x20 for byte in _ESCAPES.sub(b"", output))


class PseudoTerminal:
    """A program with a pseudo-terminal as its controlling terminal.

    Use as a context manager: at the end the program and all that it started in its session is killed.

    Args:
        arguments: the command.
        env: the whole environment; TERM, COLORTERM and LANG are set to those of a usual terminal.
    """

    def __init__(self, arguments: Sequence[str], *, columns: int, rows: int, env: dict[str, str]) -> None:
        self.output = bytearray()
        """All that the program has written so far."""
        self._arrivals: list[tuple[float, int]] = []  # Unix time, bytes
        self._master, slave = pty.openpty()
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        usual = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
        plain = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.started = time.monotonic()
        try:
            self.process = subprocess.Popen(
                arguments, stdin=slave, stdout=slave, stderr=slave, env=plain | usual, start_new_session=True,
                preexec_fn=_own_terminal,
            )  # fmt: skip
        except BaseException:
            os.close(self._master)
            raise
        finally:
            os.close(slave)

    def __enter__(self) -> PseudoTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        kill_session(self.process)
        os.close(self._master)

    def press(self, keys: bytes) -> None:
        """Types into the terminal."""
        os.write(self._master, keys)

    def read(self, seconds: float) -> None:
        """Takes in what the program writes, for so long or until it has ended."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self._read_once(left):
            pass

    def wait_until(self, holds: Callable[[], bool], seconds: float) -> float | None:
        """Takes in output until a condition holds, looked at after each arrival and ten times a second at least.

        Returns the monotonic time at which it was seen to hold, or None where it did not within `seconds`, or not
        before the program ended.
        """
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() >= end or not self._read_once(0.1):
                return time.monotonic() if holds() else None
        return time.monotonic()

    def bytes_between(self, start: float, end: float) -> int:
        """Bytes that arrived from one Unix time to another."""
        return sum(size for at, size in self._arrivals if start < at <= end)

    def _read_once(self, seconds: float) -> bool:
        """Takes in one arrival, if one comes within `seconds`; False once the program has hung up."""
        if not select.select([self._master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: nobody has the other end open any more
            return False
        self._arrivals.append((time.time(), len(data)))
        self.output += data
        return bool(data)


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """Kills a process that leads a session, with all of its group, and waits for its end."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS: EPERM where only a zombie is left
        process.kill()
    process.wait()


def signal_family(process: subprocess.Popen[bytes], number: int) -> list[psutil.Process]:
    """Sends a signal to a process and all that descends from it, whatever sessions they lead: children first. Returns
    them."""
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        leader = psutil.Process(process.pid)
        family = [*reversed(leader.children(recursive=True)), leader]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.send_signal(number)
    return family


def stop_family(process: subprocess.Popen[bytes]) -> None:
    """Stops a process and all that descends from it, and returns when they stand still.

    Which is not at once: until the one thread that the signal goes to has had the processor, the others run on.
    """
    patience = time.monotonic() + STOP_PATIENCE
    for member in signal_family(process, signal.SIGSTOP):
        while _runs(member) and time.monotonic() < patience:
            time.sleep(1e-3)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _own_terminal() -> None:
    die_with_parent()  # a run outlives its terminal on purpose; one that was only started to be measured must not
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
