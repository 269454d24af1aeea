"""`gpt-cockpit wait`, `stop`, `pause`, `continue` and `send`: what keys do, for scripts.

A script acts beside whoever has the controls, and the screens say so: it is the same user who asks. The exit code is 0
once the trainer has taken a command up, 2 where it is refused or makes no sense, 1 where it has not answered in time.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cockpit.arguments import RunName, RunsDir
from cockpit.runs import Run
from cockpit.sanitize import clean_line
from gpt import commands as do

if TYPE_CHECKING:
    from gpt.commands import Command

Timeout = Annotated[
    float, Parameter(help="Seconds to wait for the trainer to take it up: a step, or a checkpoint.", show_default=True)
]


def wait(run: RunName, /, *, runs_dir: RunsDir = Path("runs")) -> int:
    """Waits for the end of a run. Exits as it does: 0 finished or stopped, 1 failed or interrupted."""
    from cockpit.steering import ending

    state, text = ending(Run.open(runs_dir, run))
    sys.stdout.write(f"{clean_line(text)}\n")
    return 0 if state in ("finished", "stopped") else 1


def stop(
    run: RunName,
    /,
    *,
    discard: Annotated[bool, Parameter(help="Without a checkpoint.")] = False,
    timeout: Timeout = 60,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """Ends a run after the step under way, with a checkpoint. wait waits for its end."""
    return _send(run, runs_dir, do.Stop(save=not discard), timeout)


def pause(run: RunName, /, *, timeout: Timeout = 60, runs_dir: RunsDir = Path("runs")) -> int:
    """Lets a run stand still as soon as the micro-step under way is done."""
    return _send(run, runs_dir, do.Pause(), timeout)


def continue_(run: RunName, /, *, timeout: Timeout = 60, runs_dir: RunsDir = Path("runs")) -> int:
    """Lets a run that stands still go on."""
    return _send(run, runs_dir, do.Continue(), timeout)


def send(
    run: RunName,
    command: Annotated[
        str, Parameter(help="save, evaluate, set, sample, rewind, range-test, cooldown, extend, at, stop, cancel, …")
    ],
    /,
    *arguments: Annotated[str, Parameter(help="key=value, a value as TOML; after at, stop or cancel: as with key a.")],
    timeout: Timeout = 60,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """Sends a run a command: `set optim.learning_rate=3e-4`, `rewind step=4000`, `range-test`, `at 5000 save` …"""
    from cockpit.steering import understood

    return _send(run, runs_dir, understood(Run.open(runs_dir, run), command, arguments), timeout)


def _send(name: str, runs_dir: Path, command: Command, timeout: float) -> int:
    from cockpit.steering import carry_out

    said = carry_out(Run.open(runs_dir, name), command, timeout)
    if said is None:
        sys.stderr.write(
            f"gpt-cockpit: {type(command).__name__} is sent, and has not been taken up for {timeout:g} s; it waits "
            "for the end of what the trainer does now\n"
        )
        return 1
    sys.stdout.write(f"{clean_line(said)}\n")
    return 0
