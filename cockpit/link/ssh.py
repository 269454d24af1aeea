"""The link to a run on another machine, over ssh: no daemon there, and no port.

`ssh HOST gpt-cockpit link RUN` is the line. What it tells is kept in a folder of its own here, so that whatever reads a
run's log finds one.
"""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from cockpit.link import shelf, wire
from cockpit.link.client import Client
from cockpit.link.socket import SocketLink
from cockpit.logfile import decoded
from cockpit.naming import check_name
from cockpit.runs import Run
from cockpit.sanitize import shown
from cockpit.saves import Save
from cockpit.stretch import packed
from gpt.errors import RunError

LOGIN_SECONDS = 180.0
"""Time for ssh to log in: a password may be asked for."""

_PIECE = 1 << 18


class Far(NamedTuple):
    """A run on another machine."""

    host: str
    """As ssh takes it: `ada@example.org`, or a name of ~/.ssh/config."""
    run: str | None
    """None: the only one that is trained there."""
    runs_dir: str
    """There; from the home folder on, where it does not begin with a slash."""

    def command(self, ssh: str, program: str) -> list[str]:
        """What is started here: arguments for the shell there are quoted for it."""
        words = [program, "link", *([self.run] if self.run else []), "--runs-dir", self.runs_dir]
        return [*shlex.split(ssh), "-C", "-T", self.host, " ".join(map(_quoted, words))]


def far(target: str, runs_dir: Path) -> Far:
    """Understands `user@host:RUN`, `host:FOLDER/RUN` and `host:`. Raises RunError for what is none."""
    host, _, path = target.partition(":")
    if not host or host.startswith("-") or any(char.isspace() for char in host):
        raise RunError(f"{shown(target)} is no user@host:RUN")
    folder, slash, name = path.rpartition("/")
    if name:
        check_name(name)
    return Far(host, name or None, folder + slash if slash else str(runs_dir))


class RemoteLink(SocketLink):
    """Shows a run on another machine, and steers it while it has the controls.

    Args:
        target: which run.
        ssh: the command that logs in.
        program: gpt-cockpit's name or path there.

    Raises LinkError where ssh, gpt-cockpit there or the run cannot be reached.
    """

    def __init__(self, target: Far, *, watch: bool, ssh: str, program: str) -> None:
        self._host = target.host
        line = ProgramLine(target.command(ssh, program))
        try:
            client = Client(line, screen=True, watch=watch, patience=LOGIN_SECONDS)
        except wire.LinkError as error:
            raise wire.LinkError(_reason(line, error, target.host, program)) from None
        self._kept = tempfile.TemporaryDirectory(prefix="gpt-cockpit-", ignore_cleanup_errors=True)
        try:
            check_name(client.hello.run)
            folder = Path(self._kept.name, client.hello.run)
            folder.mkdir(mode=0o700)
            super().__init__(Run(folder), client)
        except BaseException:
            client.close()
            raise
        self._log: IO[bytes] = self._folder.events_path.open("ab", buffering=0)
        self._in_the_past = True
        self._gone = self._launched = False
        self._saves: list[Save] = []

    def saves(self) -> list[Save]:
        """The checkpoints there are over there, as they were told last."""
        return self._saves

    def close(self) -> None:
        """Leaves; the run goes on."""
        super().close()
        self._thread.join(timeout=1.0) if self._thread.ident else None
        self._log.close()
        self._kept.cleanup()

    def _read_up_to(self, offset: int, *, past: bool) -> None:
        """What there is to be read comes over the line."""

    def _take(self, lines: bytes) -> None:
        with suppress(ValueError):  # closed meanwhile
            self._log.write(lines)
        events = decoded(lines)[0]
        self._deliver(packed(events) if self._in_the_past else events, past=self._in_the_past)

    def _heed(self, message: wire.ToReader) -> None:
        match message:
            case wire.Papers():
                self._folder.write_profile(message.profile)
                self._folder.write_facts(message.facts)
                self._launched = message.is_launched
            case wire.Saves():
                self._saves = shelf.heard(message, self._folder.checkpoints_path)
            case wire.GoOn():
                self._in_the_past = False
            case wire.Away():
                self._wait(self._may_return)
            case wire.Hello():
                self._client.hello = message
                self._begin_anew(message)
            case wire.Gone():
                self._gone = not message.in_use
            case _:
                super()._heed(message)

    @property
    def _is_launched(self) -> bool:
        return self._launched and not self._gone

    def _successor(self) -> Client | None:
        """None: the far end looks for one, and says so by another Hello."""
        self._wait(False)
        return None

    @property
    def _process_lives(self) -> bool:
        return not self._gone

    def _way_back(self) -> str:
        return f"gpt-cockpit attach {self._host}:{self.run}"


class ProgramLine:
    """A line through the pipes of a program."""

    def __init__(self, command: list[str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the line is)
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, bufsize=0
            )
        except OSError as error:
            raise wire.LinkError(f"{shown(command[0])} cannot be started: {error.strerror}") from None
        assert self._process.stdin and self._process.stdout
        self._in, self._out = self._process.stdin, self._process.stdout.fileno()

    def receive(self, timeout: float | None = None) -> bytes:
        if not select.select([self._out], [], [], timeout)[0]:
            raise TimeoutError
        try:
            return os.read(self._out, _PIECE)
        except OSError:
            return b""

    def send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._in.write(rest) or 0 :]

    def close(self) -> None:
        with suppress(OSError):
            self._in.close()  # at which the far end goes
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)

    def outcome(self) -> tuple[int | None, str]:
        """How the program ended, None if it had to be ended, and its last line of complaint."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return self._process.returncode, shown(lines[-1].strip()) if lines else ""


def _reason(line: ProgramLine, error: wire.LinkError, host: str, program: str) -> str:
    """Why there is no link, in words of whoever knows."""
    code, said = line.outcome()
    host = shown(host)
    if code == 127:
        return f"{shown(program)} is not found on {host} ({said}); give its path there by --remote-command"
    if code == 255:
        return f"ssh does not reach {host}: {said or 'it says nothing more'}"
    if code and code > 0:
        said = said.removeprefix("gpt-cockpit: ")
        return f"{host}: {said or f'{program} ended with {code}'}"
    return f"{host}: {error}"


def _quoted(word: str) -> str:
    """A word for the shell there; a leading `~/` stays what it means."""
    return "~/" + shlex.quote(word[2:]) if word.startswith("~/") else shlex.quote(word)
