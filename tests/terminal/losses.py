"""Ways in which a run loses its terminal, each with one of its kind to start it in; and what is looked at then."""

from __future__ import annotations

import collections
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from harness import Cockpit, read_all
from sshd import Login

from cockpit.link.socket import SocketLink
from cockpit.reducer import reduce
from cockpit.runs import Run
from cockpit.state import RunState
from gpt import events as ev
from tests.chaos.signalled import modes_left
from tests.patience import wait_until

NAME = "mine"
MORE = 0.1
"""Share of a core that counts as more than before."""
SPINNING = 0.9
"""Share of looks at which a thread that goes round in circles has the processor or waits for it."""
CLOSED, BROKEN = "the terminal was closed", "the screen failed"

BREAK = """
import pathlib
real = MainScreen.show
def show(self, state, **options):
    if pathlib.Path("break").exists(): raise RuntimeError("broken on purpose")
    return real(self, state, **options)
MainScreen.show = show
"""
"""The screen, broken as soon as there is a file `break`."""

Lose = Callable[[], None]
Terminal = Callable[..., Any]


class Loss(NamedTuple):
    """One of those ways."""

    terminal: Terminal
    """Starts the program in the context of a terminal: (what watches it, words, env, login) → what loses it."""
    said: str
    """What the log says of it."""
    needs: str = ""
    """The program that must be installed, if any."""


@contextmanager
def window(watched: Watched, words: list[str], env: dict[str, str], login: Login | None) -> Iterator[Lose]:
    """A window of its own, that is closed: SIGHUP, and no more input."""
    with Cockpit(*words, cwd=watched.desk, env=env) as cockpit:
        yield cockpit.hang_up
        assert cockpit.wait_exit() == 0, "who waits for the run hears how it ended"
    assert "all steps done" in watched.run.console_path.read_text(), "its report is not lost"


@contextmanager
def input_alone(watched: Watched, words: list[str], env: dict[str, str], login: Login | None) -> Iterator[Lose]:
    """A terminal that is not the controlling one, as after setsid: no signal comes, only the end of input."""
    with Cockpit(*words, cwd=watched.desk, env=env, controlling=False) as cockpit:
        yield cockpit.hang_up
        assert cockpit.wait_exit() == 0


@contextmanager
def broken_screen(watched: Watched, words: list[str], env: dict[str, str], login: Login | None) -> Iterator[Lose]:
    """A screen that raises; its terminal is still there, and sane."""
    with Cockpit(*words, cwd=watched.desk, env=env) as cockpit:
        yield (watched.desk / "break").touch
        assert cockpit.wait_exit() == 0
        assert cockpit.modes_restored() and not modes_left(bytes(cockpit.raw))
        assert BROKEN.encode() in cockpit.raw
    assert "broken on purpose" in watched.run.console_path.read_text()


@contextmanager
def tmux_session(watched: Watched, words: list[str], env: dict[str, str], login: Login | None) -> Iterator[Lose]:
    """A session of a tmux server of its own, that is killed."""
    desk = watched.desk
    tmux = ["tmux", "-S", str(desk / "tmux"), "-f", "/dev/null"]
    around = os.environ | {"SHELL": "/bin/sh", "XDG_STATE_HOME": str(desk / ".state")} | env
    command = f"exec {shlex.join([sys.executable, '-m', 'cockpit', *words])}"
    subprocess.run([*tmux, "new-session", "-d", "-x", "120", "-y", "35", command], cwd=desk, env=around, check=True)
    try:
        yield lambda: subprocess.run([*tmux, "kill-session"], env=around, check=True)  # type: ignore[func-returns-value]
    finally:
        subprocess.run([*tmux, "kill-server"], env=around, check=False, capture_output=True)


@contextmanager
def ssh_session(watched: Watched, words: list[str], env: dict[str, str], login: Login | None) -> Iterator[Lose]:
    """A session on this machine by ssh, whose client is killed here."""
    assert login is not None
    desk = watched.desk
    around = {"XDG_STATE_HOME": str(desk / ".state"), **env}
    command = shlex.join(["env", *(f"{key}={value}" for key, value in around.items()), login.program, *words])
    session = subprocess.Popen(
        [*shlex.split(login.ssh), "-tt", login.host, f"cd {shlex.quote(str(desk))} && {command}"],
        env=os.environ | {"TERM": "xterm-256color"},
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield session.kill
    finally:
        session.kill()
        session.communicate()


LOSSES = {
    "closed": Loss(window, CLOSED),
    "input ended": Loss(input_alone, f"{CLOSED}; "),
    "tmux killed": Loss(tmux_session, CLOSED, needs="tmux"),
    "ssh killed": Loss(ssh_session, CLOSED, needs="sshd"),
    "screen broken": Loss(broken_screen, BROKEN),
}


class Spent(NamedTuple):
    """What processes take of the machine."""

    share: float
    """Of a core."""
    busiest: float
    """Share of looks at which the busiest of their threads had the processor or waited for it. On a machine with much
    to do a thread that spins has little of a core, but always wants one. 0 where the system does not say."""


def _seconds(processes: list[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _wanting(processes: list[psutil.Process]) -> Iterator[str]:
    """Threads that have the processor or wait for it now, where there is /proc."""
    for process in processes:
        for file in Path(f"/proc/{process.pid}/task").glob("*/stat"):
            with suppress(OSError):
                if file.read_text().rpartition(")")[2].split()[0] == "R":
                    yield file.parent.name


def installed(program: str) -> bool:
    """Whether it can be run here; no program at all always can."""
    return not program or bool(shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"))


def weights(run: Path) -> str:
    """SHA-256 of the weights that a run came to."""
    return hashlib.sha256((run / "checkpoints" / "latest" / "model.safetensors").read_bytes()).hexdigest()


class Watched:
    """A run that is looked at from outside: its log, its process, and what one learns who attaches."""

    def __init__(self, desk: Path) -> None:
        self.desk, self.run = desk, Run(desk / "runs" / NAME)
        self._link: SocketLink | None = None
        self._learnt = RunState()

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        wait_until(holds, what, rest=lambda: self._rest(0.02))

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            read_all()
            time.sleep(min(left, 0.02))

    def wait_event(self, kind: type, **fields: Any) -> None:
        def there() -> bool:
            return any(all(getattr(event, key) == value for key, value in fields.items()) for event in self.told(kind))

        self.wait_until(there, f"event {kind.__name__} {fields}")

    def told(self, kind: type) -> list[Any]:
        """The log's events of a kind so far."""
        try:
            return [event for event in self.run.read_events() if isinstance(event, kind)]
        except OSError:  # not begun
            return []

    @property
    def steps(self) -> list[int]:
        return [event.step for event in self.told(ev.StepDone)]

    @property
    def departure(self) -> str:
        """What the log says of nobody seeing the run any more."""
        lines = [event.text for event in self.told(ev.LogLine)]
        return " ".join(line for line in lines if "the run goes on without a screen" in line)

    @property
    def pid(self) -> int:
        """The process that trains."""
        return int((self.run.path / "lock").read_text().split()[0])

    def processes(self) -> list[psutil.Process]:
        """That one, and the one that a shell waits for, where there is one; none once they have ended."""
        try:
            run = psutil.Process(self.pid)
            front = run.parent()
            return [run, front] if front and "cockpit" in front.cmdline() else [run]
        except psutil.NoSuchProcess:
            return []

    def spent(self) -> Spent:
        """What they take, over half a second."""
        processes = self.processes()
        looks, wanting = 25, collections.Counter[str]()
        before, began = _seconds(processes), time.monotonic()
        for _ in range(looks):
            self._rest(0.02)
            wanting.update(_wanting(processes))
        passed = time.monotonic() - began
        return Spent(max(0.0, _seconds(processes) - before) / passed, max(wanting.values(), default=0) / looks)

    def calm(self) -> float:
        """What they take once they have settled: what is begun or left takes its time on a busy machine."""
        shares: list[float] = []

        def low() -> bool:
            shares.append(self.spent().share)
            return shares[-1] < 2 * MORE

        self.wait_until(low, "a process that has little to do takes little")
        return shares[-1]

    def settles(self, before: float) -> None:
        """Waits until they take no more than before, and nothing in them spins; where it does, it does to the end."""

        def low() -> bool:
            spent = self.spent()
            return spent.share <= before + MORE and spent.busiest < SPINNING

        def stays_low() -> bool:
            return all(low() for _ in range(3))  # on a busy machine what spins has to wait, too

        self.wait_until(stays_low, f"no more than {before:.2f} of a core is taken")
        assert not self.told(ev.Finished), "it took more for as long as it trained"

    def attend(self) -> None:
        """Attaches, to learn what there is to learn."""
        self._link = SocketLink.attach(self.run, watch=True)
        self._link.start()

    def learnt(self) -> RunState:
        """All that one learns who is attached until the end."""
        link = self._link
        assert link is not None

        def ended() -> bool:
            alive = link.alive
            while events := link.drain():
                for event in events:
                    self._learnt = reduce(self._learnt, event)
            return not alive

        self.wait_until(ended, "the end of the run is told")
        link.close()
        return self._learnt

    def end(self) -> None:
        """Kills what is left of it."""
        with suppress(OSError, ValueError):
            if self.run.in_use:
                os.kill(self.pid, signal.SIGKILL)
