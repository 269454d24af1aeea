"""A sitting of several ranks that this program starts itself: `--nproc N`. Their folder, and what each is told."""

from __future__ import annotations

import time
from pathlib import Path

from cockpit import forking
from cockpit.profile import Loaded
from cockpit.resuming import Resume, run_for
from cockpit.runs import Run
from gpt.data import check_source
from gpt.errors import RunError
from gpt.ranks import check_share, launched_ranks

MOST_RESTARTS = 3
"""Restarts of a run whose ranks keep dying, where nothing else is asked for."""


def launch(
    loaded: Loaded, *, run_name: str | None, runs_dir: Path, resume: Resume, fork: str | None, nproc: int,
    max_restarts: int = MOST_RESTARTS, deadline: float | None = None,
) -> int:  # fmt: skip
    """Trains one run on `nproc` ranks to its end, without a screen, and returns the exit code, as session.run's.

    `deadline` is as there.

    Raises a UserError, with nothing touched, where the profile or the run will not do.
    """
    if launched_ranks() > 1:
        raise RunError("torchrun starts the ranks already; leave --nproc out, or start gpt-cockpit itself")
    if fork is not None and resume:
        raise RunError("--fork begins a new run and --resume goes on with one; give one of them")
    check_share(loaded.profile, nproc)
    check_source(loaded.profile.data, loaded.profile.model)
    run, is_new = _folder(loaded, run_name, runs_dir, resume=resume, fork=fork)
    arguments = [str(loaded.path), "--headless", "--run", run.name, "--runs-dir", str(runs_dir)]
    arguments += [word for override in loaded.overrides for word in ("--set", override)]
    arguments += ["--resume"] if fork or not is_new else []
    arguments += ["--max-time", f"{max(1, round(deadline - time.monotonic()))}s"] if deadline else []
    code = 2
    try:
        with run.lock(launching=True):
            from cockpit import elastic  # imports torch

            code = elastic.launch(run, arguments, nproc=nproc, max_restarts=max_restarts)
    finally:
        if code == 2 and is_new:
            _take_back(run, forked=fork is not None)
    return code


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


def _take_back(run: Run, *, forked: bool) -> None:
    """Removes a new run that has come to nothing."""
    if forked:
        forking.discard(run)
    else:
        run.discard()
