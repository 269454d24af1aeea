"""The real program in a pseudo-terminal: keys go in, a screen comes out, as a person has it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyte

from cockpit.runs import Run, list_runs
from gpt import events as ev
from tests.patience import wait_until

ROOT = Path(__file__).resolve().parents[2]


PROFILE = """\
name = "sums"
[model]
n_layer = 2
n_head = 2
n_embd = 48   # narrow
block_size = 32
[data]
input = "sums.txt"
[train]
max_steps = 200_000
micro_batch_size = 8
eval_interval = 0
eval_steps = 2
device = "cpu"
threads = 1
[optim]
learning_rate = 1e-3
warmup_steps = 10
[checkpoint]
interval = 0
[sample]
prompts = ["1 + "]
max_new_tokens = 40
[device]
peak_tflops = 0.05
"""
"""A small run."""


def _as_a_login_does(controlling: bool) -> None:
    """In the child: signals mean what they usually do, and perhaps the terminal is its own.

    A script that starts the tests with `&` has them ignore SIGINT and SIGQUIT, and what is ignored is inherited.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if controlling:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def as_if_by_ssh(desk: Path) -> list[str]:
    """Options of `attach` with which what is to run on another machine runs on this one, and nobody logs in."""
    ssh = desk / "ssh"
    ssh.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    ssh.chmod(0o700)
    return ["--ssh-command", str(ssh), "--remote-command", str(put_program(desk))]


def put_program(folder: Path) -> Path:
    """A `gpt-cockpit` that a shell can start."""
    program = folder / "gpt-cockpit"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="${{PYTHONPATH:-{ROOT}}}" exec "{sys.executable}" -m cockpit "$@"\n')
    program.chmod(0o700)
    return program


_TERMINALS: list[Cockpit] = []
"""Those that are open."""


def read_all() -> None:
    """Reads what has come to any terminal: one that nobody reads is full before long, and its program draws no more."""
    for terminal in _TERMINALS:
        terminal._take(0)


class Cockpit:
    """`gpt-cockpit` with the given arguments, in a pseudo-terminal of its own.

    Args:
        controlling: whether it is the program's controlling terminal, so that its end comes as SIGHUP; else it is only
            read from and written to, as after `setsid`.

    Use as a context manager: at the end the process, and the run where that has outlived it, is killed.
    """

    def __init__(
        self, *arguments: str, cwd: Path, columns: int = 120, rows: int = 35, env: dict[str, str] | None = None,
        controlling: bool = True,
    ) -> None:  # fmt: skip
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = bytearray()
        """All bytes the program wrote to its terminal."""
        self._master, slave = pty.openpty()
        self._set_size(columns, rows)
        self.modes_before = termios.tcgetattr(slave)
        self._slave = slave  # kept open, to look at its modes after the program has ended
        ours = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
        ours |= {"XDG_STATE_HOME": str(cwd / ".state"), "XDG_CONFIG_HOME": str(cwd / ".config")}
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cockpit", *arguments],
            stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=inherited | ours | (env or {}),
            start_new_session=True, preexec_fn=lambda: _as_a_login_does(controlling),
        )  # fmt: skip
        self.cwd = cwd

    def __enter__(self) -> Cockpit:
        _TERMINALS.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _TERMINALS.remove(self)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for run in self._runs_in_use():
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((run.path / "lock").read_text().split()[0]), signal.SIGKILL)
        for descriptor in (self._master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)

    # -- hands ------------------------------------------------------------------------------------------------------

    def press(self, keys: str) -> None:
        """Types into the terminal."""
        os.write(self._master, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Changes the terminal's size, as dragging a window's corner does."""
        self._set_size(columns, rows)
        self.screen.resize(rows, columns)
        self.process.send_signal(signal.SIGWINCH)

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    # -- eyes -------------------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """What is on the screen now."""
        self._read(0)
        return "\n".join(self.screen.display)

    def wait_for(self, *wanted: str, gone: bool = False) -> str:
        """Waits until all of the texts are on the screen (or, with `gone`, none); returns the screen."""
        return self.wait_until(lambda: all((text in self.text) != gone for text in wanted), f"{wanted} {gone=}")

    def wait_until(self, holds: Callable[[], bool], what: str) -> str:
        """Waits until a condition holds; an AssertionError shows the screen otherwise."""

        def have_come() -> bool:
            self._read(0.02)
            if holds():
                return True
            if self.process.poll() is not None and not self._runs_in_use():
                self._read(0.2)
                assert holds(), f"ended with {self.process.returncode} before: {what}\n{self._picture()}"
                return True
            return False

        wait_until(have_come, what, rest=lambda: None, picture=self._picture)
        return self.text

    def wait_event(self, kind: type, **fields: Any) -> Any:
        """Waits until events.jsonl holds an event of a kind with these fields; returns the first such."""
        found: list[Any] = []

        def there() -> bool:
            found[:] = [
                event for event in self.events()
                if isinstance(event, kind) and all(getattr(event, key) == value for key, value in fields.items())
            ]  # fmt: skip
            return bool(found)

        self.wait_until(there, f"event {kind.__name__} {fields}")
        return found[0]

    def wait_exit(self) -> int:
        """Waits for the end of the program; returns its exit code."""
        wait_until(
            lambda: self.process.poll() is not None, "its end", rest=lambda: self._read(0.02), picture=self._picture
        )
        self._read(0.2)
        return self.process.returncode

    def wait_end(self) -> None:
        """Waits until nobody trains the run any more, whether or not the program was waited for."""
        wait_until(lambda: not self._runs_in_use(), "the end of training", rest=lambda: self._read(0.02))

    @property
    def run_pid(self) -> int:
        """The process that trains: not the one that a shell waits for."""
        return int((self.run_dir / "lock").read_text().split()[0])

    def _runs_in_use(self) -> list[Run]:
        return [run for run in list_runs(self.cwd / "runs") if run.in_use]

    @property
    def run_dir(self) -> Path:
        """The one run under ./runs."""
        (folder,) = (self.cwd / "runs").iterdir()
        return folder

    def events(self) -> list[Any]:
        """All events logged so far."""
        try:
            lines = (self.run_dir / "events.jsonl").read_bytes().split(b"\n")[:-1]
        except (OSError, ValueError):
            return []
        return [ev.decode(line) for line in lines]

    def hang_up(self) -> None:
        """Closes the terminal, as a window or a line does; nothing of it can be read any more."""
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = -1

    def modes_restored(self) -> bool:
        """Whether the terminal's line discipline is as it was at the start."""
        return termios.tcgetattr(self._slave) == self.modes_before

    def _read(self, timeout: float) -> None:
        self._take(timeout)
        read_all()

    def _take(self, timeout: float) -> None:
        if self._master < 0:
            time.sleep(timeout)
            return
        while select.select([self._master], [], [], timeout)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            if not data:
                return
            self.raw += data
            self._stream.feed(data)
            timeout = 0

    def _picture(self) -> str:
        bar = "─" * self.screen.columns
        return f"{bar}\n" + "\n".join(self.screen.display) + f"\n{bar}"
