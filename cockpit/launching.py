"""A sitting of several ranks that this program starts itself: `--nproc N`. Their folder, what each is told, and the
screen, which attaches to the first rank as to any run."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from cockpit import forking
from cockpit.options import ScreenOptions
from cockpit.profile import Loaded
from cockpit.resuming import Resume, run_for
from cockpit.runs import Run
from cockpit.sanitize import clean, clean_line
from gpt.data import check_source
from gpt.errors import RunError, UserError
from gpt.ranks import check_share, launched_ranks

POLL_SECONDS = 0.2
"""Time between two looks whether ranks that are starting let a screen in."""


class Launch(NamedTuple):
    """What is to be trained on how many ranks."""

    run: Run
    is_new: bool
    """Whether the run was made just now."""
    is_fork: bool
    arguments: Sequence[str]
    """Of this program, for each rank."""
    nproc: int
    max_restarts: int


def prepare(
    loaded: Loaded, *, run_name: str | None, runs_dir: Path, resume: Resume, fork: str | None, nproc: int,
    max_restarts: int, deadline: float | None = None,
) -> Launch:  # fmt: skip
    """The run to train, made where it is new; the arguments are session.run's.

    Raises a UserError, with nothing touched, where that will not do.
    """
    if launched_ranks() > 1:
        raise RunError("torchrun starts the ranks already; leave --nproc out, or start gpt-cockpit itself")
    if nproc < 1 or max_restarts < 0:
        raise RunError(f"--nproc takes 1 or more and --max-restarts 0 or more; got {nproc} and {max_restarts}")
    if fork is not None and resume:
        raise RunError("--fork begins a new run and --resume goes on with one; give one of them")
    check_share(loaded.profile, nproc)
    check_source(loaded.profile.data, loaded.profile.model)
    run, is_new = _folder(loaded, run_name, runs_dir, resume=resume, fork=fork)
    arguments = [str(loaded.path), "--headless", "--run", run.name, "--runs-dir", str(runs_dir)]
    arguments += [word for override in loaded.overrides for word in ("--set", override)]
    arguments += ["--resume"] if fork or not is_new else []
    arguments += ["--max-time", f"{max(1, round(deadline - time.monotonic()))}s"] if deadline else []
    return Launch(run, is_new, fork is not None, arguments, nproc, max_restarts)


def train(launch: Launch) -> int:
    """Trains to the end, without a screen, and returns the exit code, as session.run's."""
    code = 2
    try:
        with launch.run.lock(launching=True):
            from cockpit import elastic  # imports torch

            code = elastic.launch(
                launch.run, launch.arguments, nproc=launch.nproc, max_restarts=launch.max_restarts
            )  # fmt: skip
    finally:
        if code == 2 and launch.is_new:
            _take_back(launch)
    return code


def train_with_screen(launch: Launch, options: ScreenOptions | None) -> int:
    """Trains in a process of its own and shows the run here, until the screen is left; the run may go on after that.

    Without options no screen is shown: the run is left once it has begun. Returns its exit code where it has ended,
    else 0.
    """
    with tempfile.TemporaryFile() as said:
        pid = _apart(launch, said)
        code = _show(launch, options, pid)
        if code is not None:
            said.seek(0)
            sys.stderr.write(clean(said.read().decode(errors="replace")))
    return code or 0


def _apart(launch: Launch, said: IO[bytes]) -> int:
    """Trains in a child that no terminal can end, for it has a session of its own; its number.

    What it says goes to `said`.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()  # neither torch nor a thread is here yet
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number, end in ((0, nowhere), (1, nowhere), (2, said.fileno())):
            os.dup2(end, number)
        code = train(launch)
    except UserError as error:
        code = 2
        sys.stderr.write(f"gpt-cockpit: {error}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _show(launch: Launch, options: ScreenOptions | None, pid: int) -> int | None:
    """Shows the run once its first rank lets a screen in. The launcher's exit code; None where the run goes on."""
    from cockpit import keymap
    from cockpit.attaching import show_link
    from cockpit.link.socket import SocketLink
    from cockpit.link.wire import LinkError

    keymap.load(keymap.usual_path())
    back = clean_line(" ".join(["gpt-cockpit attach", launch.run.name, *launch.run.where()]))
    sys.stdout.write(f"starting {launch.nproc} ranks …\n")
    sys.stdout.flush()
    while (code := _code_of(pid)) is None:
        try:
            link = SocketLink.attach(launch.run, watch=options is None or options.readonly)
        except LinkError:
            time.sleep(POLL_SECONDS)
            continue
        if options is None:
            link.close()
            sys.stdout.write(f"{clean_line(launch.run.name)} goes on by itself; {back} shows it\n")
            return None
        show_link(link, options, back)
        return _code_of(pid, wait=not link.alive)
    return code


def _code_of(pid: int, *, wait: bool = False) -> int | None:
    """A child's exit code; None while it runs, unless it is to be waited for."""
    ended, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _folder(
    loaded: Loaded, run_name: str | None, runs_dir: Path, *, resume: Resume, fork: str | None
) -> tuple[Run, bool]:
    """The run that is trained, and whether it was made just now."""
    if fork is not None:
        source_name, place = forking.parse_source(fork)
        source = Run.open(runs_dir, source_name)
        return forking.make(source, forking.find_source(source, place), run_name), True
    run = run_for(loaded, run_name, runs_dir, resume)
    return (run, False) if run else (Run.create(runs_dir, run_name, loaded.profile.name), True)


def _take_back(launch: Launch) -> None:
    """Removes a new run that has come to nothing."""
    if launch.is_fork:
        forking.discard(launch.run)
    else:
        launch.run.discard()
