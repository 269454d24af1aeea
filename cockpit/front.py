"""The process that a shell waits for, and the one that trains: two, so that a prompt can come back while a run goes on.

A process cannot leave the shell that waits for it: it can only fork and let the other half go on, and that only before
it has threads. So the program forks before anything heavy is loaded. The front stays in the terminal's job; it waits,
passes signals on, and ends as the run ends. The run goes into a session of its own, with screen, trainer and all, and
reads and draws through the descriptors it has inherited. Signals reach it through the front alone, so that none comes
twice. Once it says that it goes on alone, the front ends with 0.

Two other ways were left: to save and be resumed by a new process costs minutes of compiling, and on a GPU exactness; to
stop and be continued in the background, as by ctrl+z and bg, needs a shell with job control, which neither
`ssh HOST gpt-cockpit …` nor a window of tmux has.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import termios
from typing import Any, NoReturn

from cockpit.terminal import RESET

_PASSED_ON = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGTSTP, signal.SIGCONT,
    signal.SIGWINCH,
)  # fmt: skip
_HEARD = {*_PASSED_ON, signal.SIGCHLD}
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_GOES_ON = b"."

_front: tuple[int, int] | None = None
"""In the process that trains: the front's number, and where it is told that the run goes on alone."""


def split(*, needs_terminal: bool) -> None:
    """Forks. Returns in the process that is to train; the front never does.

    To be called while there is one thread, before anything is loaded that has more.

    Args:
        needs_terminal: waits until the job is in the foreground, as whatever draws on a terminal has to.
    """
    global _front
    if needs_terminal and _is_in_background():
        os.kill(0, signal.SIGTTOU)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    heard, told = os.pipe()
    front = os.getpid()
    run = os.fork()
    if run:
        os.close(told)
        _wait(run, heard)
    os.close(heard)
    os.setsid()
    die_with_parent()
    if os.getppid() != front:
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _front = (front, told)


def is_there() -> bool:
    """Whether there is a front that a shell waits for instead of this process."""
    return _front is not None


def leave() -> bool:
    """Ends the front with 0, so that the prompt comes back; False where there is none.

    From here on the terminal is the shell's: to be called once nothing here reads or draws on it any more.
    """
    global _front
    if _front is None:
        return False
    (front, told), _front = _front, None
    live_on()
    with contextlib.suppress(OSError):  # somebody has ended it before
        os.write(told, _GOES_ON)
        if os.getppid() == front:
            os.kill(front, signal.SIGCHLD)
    os.close(told)
    return True


def die_with_parent() -> None:
    """Has Linux kill this process when its parent ends: so `kill -9` of the one that is seen is the end of both.

    On macOS it lives on.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def live_on() -> None:
    """Takes `die_with_parent` back."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, 0)


def _wait(run: int, heard: int) -> NoReturn:
    """What the front does until the end."""
    os.set_blocking(heard, False)
    modes = _modes()
    for number in (signal.SIGCHLD, signal.SIGCONT, signal.SIGWINCH):  # macOS drops what nobody handles
        signal.signal(number, lambda *_: None)
    while True:
        number = signal.sigwait(_HEARD)
        if number == signal.SIGCHLD:
            _look_after(run, heard, modes)
        elif number == signal.SIGCONT and _is_in_background():
            os.kill(0, signal.SIGTTOU)  # `bg`: nobody draws on a terminal from there
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(run, number)


def _look_after(run: int, heard: int, modes: list[Any] | None) -> None:
    """Ends, or stands still, as the run does."""
    with contextlib.suppress(BlockingIOError):
        if os.read(heard, 1) == _GOES_ON:
            os._exit(0)
    while True:
        process, status = os.waitpid(run, os.WNOHANG | os.WUNTRACED)
        if not process:
            return
        if os.WIFSTOPPED(status):
            os.kill(os.getpid(), signal.SIGSTOP)
        elif os.WIFSIGNALED(status):
            _restore(modes)
            _die_of(os.WTERMSIG(status))
        else:
            os._exit(os.WEXITSTATUS(status))


def _die_of(number: int) -> NoReturn:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the run has left its own
    with contextlib.suppress(OSError):  # SIGKILL has no handler
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def _restore(modes: list[Any] | None) -> None:
    """Puts the terminal back after a run that could not do so itself: killed, or crashed in a library."""
    if modes is None:
        return
    with contextlib.suppress(OSError, termios.error):
        os.write(1, RESET.encode())
        termios.tcsetattr(0, termios.TCSADRAIN, modes)


def _modes() -> list[Any] | None:
    try:
        return termios.tcgetattr(0) if os.isatty(1) else None
    except (OSError, termios.error):
        return None


def _is_in_background() -> bool:
    """Whether the terminal is another job's. False where there is no terminal, or it is not that of this session."""
    try:
        return os.tcgetpgrp(0) != os.getpgrp()
    except OSError:
        return False
