"""The reader's end of a link: it is let in, hears lines of the log and answers, and sends orders. For screens and for
scripts; the line may be a Unix socket, or a program such as ssh that leads to one."""

from __future__ import annotations

import getpass
import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Protocol

from cockpit import __version__
from cockpit.link import wire
from cockpit.link.place import knock
from cockpit.runs import Run
from cockpit.sanitize import shown
from gpt.commands import Command

PATIENCE = 5.0
"""Seconds for which a run that is only just beginning is knocked at."""
RETURN_SECONDS = 0.2
"""Time between two looks whether ranks that are started anew are there."""
ANSWER_SECONDS = 10.0
"""Time in which the run's process says hello; its link is a thread beside training."""

_PIECE = 1 << 18


class Line(Protocol):
    """Bytes to and from the run's process. Both calls block; `close` ends them."""

    def receive(self, timeout: float | None = None) -> bytes:
        """Some bytes; none once the other end is gone. Raises TimeoutError."""
        ...

    def send(self, data: bytes) -> None:
        """Sends all. Raises OSError or ValueError where the other end is gone."""
        ...

    def close(self) -> None: ...


class SocketLine:
    """A line over a connected socket."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def receive(self, timeout: float | None = None) -> bytes:
        self._socket.settimeout(timeout)
        try:
            return self._socket.recv(_PIECE)
        except TimeoutError:
            raise
        except OSError:
            return b""

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes whoever waits in receive
        self._socket.close()


class Client:
    """One who is let in.

    Args:
        line: to the run's process; closed where this fails.
        screen, watch: as in wire.Ask.
        patience: seconds in which it must be greeted.

    Raises LinkError where it is refused, or where what is there is no run's process.
    """

    def __init__(
        self, line: Line, *, screen: bool = False, watch: bool = False, patience: float = ANSWER_SECONDS
    ) -> None:
        self._line, self._patience = line, patience
        self._lines = wire.Lines(wire.LONGEST_LINE)
        self._ahead: list[bytes | wire.ToReader] = []
        self._numbers = itertools.count(1)
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        threading.Thread(target=self._send_on, name="orders", daemon=True).start()
        try:
            self._post(wire.Ask(
                protocol=wire.PROTOCOL, version=__version__, name=own_name(), screen=screen, watch=watch
            ))  # fmt: skip
            self.hello = self._greeted()
        except BaseException:
            self.close()
            raise

    def _greeted(self) -> wire.Hello:
        until = time.monotonic() + self._patience
        try:
            for part in self.heard(until):
                if isinstance(part, wire.Hello):
                    return part
                if isinstance(part, wire.Refused):
                    raise wire.LinkError(f"the run's process refuses: {shown(part.why)}")
        except TimeoutError:
            raise wire.LinkError(f"the run's process has not answered for {self._patience:g} s") from None
        raise wire.LinkError("the run's process has hung up")

    def heard(self, until: float | None = None) -> Iterator[bytes | wire.ToReader]:
        """Stretches of the log's lines, and messages, as they come; ends where the other end is gone.

        Args:
            until: monotonic seconds at which TimeoutError is raised; None: never. What has come stays for the next
                call.

        Raises LinkError for what cannot come from a run's process.
        """
        while True:
            while self._ahead:
                yield self._ahead.pop(0)
            left = None if until is None else max(0.001, until - time.monotonic())
            data = self._line.receive(left)
            if not data:
                return
            self._ahead += wire.parts(self._lines.feed(data))

    def order(self, command: Command) -> int:
        """Sends a command; its number. Never blocks."""
        number = next(self._numbers)
        self._post(wire.Order(number=number, command=command))  # type: ignore[arg-type]  (every Command is one of them)
        return number

    def take_controls(self) -> None:
        """Asks for the controls. Never blocks."""
        self._post(wire.TakeControls())

    def close(self) -> None:
        """Leaves."""
        self._outbox.put(None)
        self._line.close()

    def _post(self, message: wire.Message) -> None:
        self._outbox.put(wire.encode(message))

    def _send_on(self) -> None:
        """A thread: the process at the other end may stand still, and who sends must not."""
        while (data := self._outbox.get()) is not None:
            try:
                self._line.send(data)
            except (OSError, ValueError):
                return  # whoever reads has learnt it too


def call(run: Run, *, screen: bool = False, watch: bool = False, patience: float = PATIENCE) -> Client:
    """Attaches to a run of this machine.

    Raises LinkError where nobody trains it, or its process cannot be reached.
    """
    return Client(SocketLine(connect(run, patience)), screen=screen, watch=watch)


def connect(run: Run, patience: float) -> socket.socket:
    """A connection to the run's process. Raises as `call` does."""
    until = time.monotonic() + patience
    while (connected := knock(run)) is None:
        if not run.in_use:
            how = "" if run.checkpoint_time() is None else f"; go on with it by {run.resume_command()}"
            raise wire.LinkError(f"run {run.name} is not being trained{how}")
        if time.monotonic() >= until:
            facts = run.read_facts()
            raise wire.LinkError(
                f"run {run.name} is in use by process {shown(facts.get('pid', 'unknown'))} on "
                f"{shown(facts.get('host', 'another machine'))}, which cannot be attached to from here"
            )
        time.sleep(0.05)
    return connected


def own_name() -> str:
    """Who is here, in words: `ada on pts/3`, `ada from 10.0.0.7`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"user {os.getuid()}"
    if origin := os.environ.get("SSH_CONNECTION", "").split(" ")[0]:
        return f"{user} from {origin}"
    with suppress(OSError):
        return f"{user} on {os.ttyname(0).removeprefix('/dev/')}"
    return f"{user}, process {os.getpid()}"
